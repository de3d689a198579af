"""Writes ../fixtures/released: gates and queries of random numbers for tiny-llama, as
torch.save and safetensors write them, and the scores that PyTorch computes.

    python engine/encoder/tests/golden/make_released_golden.py
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

FOLDER = Path(__file__).parent.parent / "fixtures" / "released"
HIDDEN, QUERIES = 64, 3
torch.manual_seed(21)


def linear(inner, outer):
    layer = torch.nn.Linear(inner, outer)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(outer, inner) / inner**0.5)
        layer.bias.copy_(0.5 * torch.randn(outer))
    return layer


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    nn = torch.nn
    gates = {
        "gelu": nn.Sequential(linear(HIDDEN, 5), nn.GELU(), linear(5, 1)),
        "relu": nn.Sequential(linear(HIDDEN, 5), nn.ReLU(), linear(5, 4), nn.ReLU(), linear(4, 1)),
        "silu": nn.Sequential(linear(HIDDEN, 5), nn.SiLU(), linear(5, 2)),
        "tanh": nn.Sequential(linear(QUERIES * HIDDEN, 5), nn.Tanh(), linear(5, 1)),
        "gelu_tanh": nn.Sequential(linear(HIDDEN, 5), nn.GELU("tanh"), linear(5, 1)),
        "identity": linear(HIDDEN, 1),
    }
    states = torch.randn(4, QUERIES, HIDDEN)
    golden = {"states": states.flatten().tolist(), "scores": {}}
    for name, gate in gates.items():
        read = states.flatten(1) if name == "tanh" else states.mean(1)
        with torch.no_grad():
            out = gate(read)
        scores = torch.softmax(out, 1)[:, 1] if out.shape[1] == 2 else torch.sigmoid(out)[:, 0]
        golden["scores"][name] = scores.tolist()
        torch.save(gate.state_dict(), FOLDER / f"gate_{name}.pt")
    save_file(gates["relu"].state_dict(), FOLDER / "gate_relu.safetensors")
    queries = torch.randn(QUERIES, HIDDEN)
    golden["queries"] = queries.flatten().tolist()
    torch.save(nn.Parameter(queries), FOLDER / "queries.pt")
    torch.save({"queries": queries[None].bfloat16()}, FOLDER / "queries_bfloat.pt")
    save_file({"queries": queries}, FOLDER / "queries.safetensors")
    (FOLDER / "golden.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
