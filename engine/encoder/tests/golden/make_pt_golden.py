"""Writes ../fixtures/pt: files of torch.save, what they hold, and files to be refused.

    python engine/encoder/tests/golden/make_pt_golden.py

Made with torch 2.x on a little-endian machine; the fixtures are committed.
"""

import json
import os
import zipfile
from pathlib import Path

import torch

FOLDER = Path(__file__).parent.parent / "fixtures" / "pt"
torch.manual_seed(20)


def flat(value, name=""):
    """Names, types and values of the tensors below a value, in its order."""
    if isinstance(value, torch.Tensor):
        value = value.detach()
        kind = str(value.dtype).removeprefix("torch.")
        return [[name, kind, list(value.shape), value.reshape(-1).double().tolist()]]
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return []
    below = lambda key: f"{name}.{key}" if name else str(key)
    return [row for key, item in items for row in flat(item, below(key))]


class Evil:
    def __reduce__(self):
        return os.system, ("echo a file of tensors must never do this",)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    matrix = torch.randn(3, 4)
    gate = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.GELU(), torch.nn.Linear(2, 1))
    held = {
        "tensor": matrix,
        "parameter": torch.nn.Parameter(torch.randn(2, 4)),
        "state": gate.state_dict(),
        "half": torch.randn(5).half(),
        "bfloat": torch.randn(5).bfloat16(),
        "double": torch.randn(5, dtype=torch.float64),
        "long": torch.tensor([[-(2**40), 3], [16777216, -1]]),
        "scalar": torch.tensor(2.5),
        "views": {"t": matrix.t(), "part": matrix[1:, ::2], "row": matrix[2], "all": matrix},
        "nested": {
            "a": {"b": [torch.ones(2), (torch.zeros(1), torch.full((1, 1), 7.0))]},
            "step": 3, "big": 1 << 40, "rate": 0.5, "on": True, "off": None, "note": "text",
            5: torch.arange(3, dtype=torch.float32),
        },
        "long-list": list(torch.arange(300.0).unbind()),
    }
    for name, value in held.items():
        torch.save(value, FOLDER / f"{name}.pt")
    for protocol in (3, 4, 5):
        torch.save(held["state"], FOLDER / f"protocol{protocol}.pt", pickle_protocol=protocol)
        held[f"protocol{protocol}"] = held["state"]
    expected = {name: flat(value) for name, value in held.items()}
    (FOLDER / "expected.json").write_text(json.dumps(expected) + "\n")

    refused = FOLDER / "refused"
    refused.mkdir(exist_ok=True)
    torch.save({"weight": matrix, "evil": Evil()}, refused / "evil.pt")
    torch.save(gate, refused / "module.pt")
    torch.save(matrix, refused / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(refused / "script.pt"))
    torch.save(torch.arange(3, dtype=torch.uint8), refused / "bytes.pt")
    torch.save(torch.zeros(0, 4), refused / "empty.pt")
    torch.save(torch.zeros(1).expand(1000), refused / "expanded.pt")
    torch.save(torch.tensor([1.0, float("nan")]), refused / "nan.pt")
    torch.save(torch.tensor([2**53 + 1]), refused / "inexact.pt")
    torch.save(torch.nn.Buffer(torch.ones(2)), refused / "subclass.pt")
    torch.save({"step": 3}, refused / "nothing.pt")
    torch.save(matrix.to_sparse(), refused / "sparse.pt")
    rewrite("big-endian.pt", lambda name: b"big" if name.endswith("byteorder") else None)
    rewrite("compressed.pt", lambda name: None, zipfile.ZIP_DEFLATED)


def rewrite(name, other, compression=zipfile.ZIP_STORED):
    """Copies tensor.pt with other contents where `other` gives any."""
    with zipfile.ZipFile(FOLDER / "tensor.pt") as source:
        with zipfile.ZipFile(FOLDER / "refused" / name, "w", compression) as target:
            for entry in source.namelist():
                target.writestr(entry, other(entry) or source.read(entry))


if __name__ == "__main__":
    main()
