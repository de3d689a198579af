"""What learns: two LoRA adapters, embedding queries, projections; and their folder."""

import json
import math
import pathlib

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import lexicon
from backbone import LINEARS

PREFIX = "base_model.model.model.layers"


class Lora(torch.nn.Module):
    """Low-rank changes of all linears: `a[name]` is `[layers, rank, in]`, `b[name]`
    `[layers, out, rank]`; `b` begins at zero, so that nothing is changed at first."""

    def __init__(self, backbone, rank, scale):
        super().__init__()
        self.rank, self.scale = rank, scale
        self.a, self.b = torch.nn.ParameterDict(), torch.nn.ParameterDict()
        for name, weight in backbone.linears.items():
            layers, out, width = weight.shape
            bound = math.sqrt(1 / width)
            a = torch.empty(layers, rank, width, device=weight.device).uniform_(-bound, bound)
            self.a[name] = torch.nn.Parameter(a)
            self.b[name] = torch.nn.Parameter(torch.zeros(layers, out, rank, device=weight.device))

    def tensors(self):
        found = {}
        for name, (_, module) in LINEARS.items():
            for layer in range(self.a[name].shape[0]):
                stem = f"{PREFIX}.{layer}.{module}"
                found[f"{stem}.lora_A.weight"] = self.a[name][layer]
                found[f"{stem}.lora_B.weight"] = self.b[name][layer]
        return found

    @torch.no_grad()
    def load(self, folder):
        stored = load_file(folder / "adapter_model.safetensors")
        for name, tensor in self.tensors().items():
            tensor.copy_(stored[name])


class Adapters(torch.nn.Module):
    """Both adapters and the head, for mean and queries each projected to `dimension`."""

    def __init__(self, backbone, recipe):
        super().__init__()
        plan = recipe["adapters"]
        device, hidden = backbone.device, backbone.hidden
        self.single = recipe.get("wiring", {}).get("single", False)
        self.reasoning = Lora(backbone, plan["reasoning_rank"], plan["scale"])
        self.embedding = self.reasoning
        if not self.single:
            self.embedding = Lora(backbone, plan["embedding_rank"], plan["scale"])
        dimension = plan["dimension"]
        zeros = lambda *shape: torch.nn.Parameter(torch.zeros(*shape, device=device))
        # Rows like those of tokens, which the backbone is used to.
        spread = backbone.embedding.std().item()
        draw = torch.randn(plan["queries"], hidden, device=device) * spread
        self.queries = torch.nn.Parameter(draw)
        self.mean_weight, self.mean_bias = zeros(dimension, hidden), zeros(dimension)
        self.queries_weight, self.queries_bias = zeros(dimension, hidden), zeros(dimension)
        #: Tensors of a fitted gate by name, and after how many layers it reads the query states;
        #: without a number after the final norm.
        self.gate = {}
        self.gate_depth = plan.get("gate_depth")
        #: The lexical part of adapters that training goes on from.
        self.lexicon = None

    def head(self):
        return {
            "queries": self.queries,
            "project.mean.weight": self.mean_weight,
            "project.mean.bias": self.mean_bias,
            "project.queries.weight": self.queries_weight,
            "project.queries.bias": self.queries_bias,
        }

    def groups(self, rates):
        """Parameters for an optimiser: the adapters' rate, and the head's."""
        lora = [*self.reasoning.parameters()]
        if not self.single:
            lora += self.embedding.parameters()
        return [
            {"params": lora, "lr": rates["adapters"], "peak": rates["adapters"]},
            {"params": [self.queries], "lr": rates["queries"], "peak": rates["queries"]},
            {
                "params": [part for name, part in self.head().items() if name != "queries"],
                "lr": rates["projections"],
                "peak": rates["projections"],
            },
        ]

    def state(self):
        """One file's tensors, halves: `reasoning.*`, `embedding.*` and the head."""
        parts = {f"reasoning.{name}": value for name, value in self.reasoning.tensors().items()}
        parts |= {f"embedding.{name}": value for name, value in self.embedding.tensors().items()}
        parts |= self.head() | self.gate | (self.lexicon.stored if self.lexicon else {})
        return {name: part.detach().half().cpu().contiguous() for name, part in parts.items()}

    def save(self, path):
        depth = {"gate_depth": str(self.gate_depth)} if self.gate and self.gate_depth else None
        save_file(self.state(), path, metadata=depth)

    @torch.no_grad()
    def load(self, folder):
        folder = pathlib.Path(folder)
        self.reasoning.load(folder / "reasoning")
        self.embedding.load(folder / "embedding")
        stored = load_file(folder / "head.safetensors")
        if any(name.startswith(lexicon.PREFIX) for name in stored):
            self.lexicon = lexicon.Lexicon(stored, self.queries.device)
        for name, part in self.head().items():
            kept = stored[name]
            # With a lexicon the states' part has fewer dimensions than the recipe's.
            start = 1 if self.lexicon and name.startswith("project.") else 0
            if kept.shape[start:] != part.shape[start:]:
                raise SystemExit(f"{folder}: {name} is {list(kept.shape)}, not {list(part.shape)}")
            part.data = kept.to(part.device, part.dtype)


def write_folder(state, like, out):
    """Writes a saved state as a folder of adapters. `like` is a folder of the same plan,
    whose manifest is taken over, and the form of its gate where the state has none: one that a
    fit begins with, and that scores every input 0.5. `twn train gate` fits it, or chooses the
    threshold of a fitted one (`--fitted`). The lexicon is the state's, not the folder's."""
    like, out = pathlib.Path(like), pathlib.Path(out)
    stored = load_file(state)
    for adapter in ("reasoning", "embedding"):
        (out / adapter).mkdir(parents=True, exist_ok=True)
        prefix = f"{adapter}."
        part = {k[len(prefix):]: v for k, v in stored.items() if k.startswith(prefix)}
        save_file(part, out / adapter / "adapter_model.safetensors")
        config = (like / adapter / "adapter_config.json").read_text()
        (out / adapter / "adapter_config.json").write_text(config)
    head = load_file(like / "head.safetensors")
    head = {k: v for k, v in head.items() if not k.startswith(lexicon.PREFIX)}
    head |= {k: v for k, v in stored.items() if not k.startswith(("reasoning.", "embedding."))}
    if "gate.inner.weight" not in stored:
        inner = head["gate.inner.weight"]
        bound = 1 / math.sqrt(inner.shape[1])
        draw = torch.Generator().manual_seed(1)
        head["gate.inner.weight"] = (torch.rand(inner.shape, generator=draw) * 2 - 1).mul(bound).half()
        for name in ("gate.inner.bias", "gate.outer.weight", "gate.outer.bias"):
            head[name] = torch.zeros_like(head[name])
    save_file(head, out / "head.safetensors")
    manifest = json.loads((like / "twn.json").read_text())
    manifest.pop("gate_curve", None)
    if "gate.inner.weight" in stored:
        manifest.pop("gate_depth", None)
        with safe_open(state, "pt") as file:
            depth = (file.metadata() or {}).get("gate_depth")
        if depth:
            manifest["gate_depth"] = int(depth)
    (out / "twn.json").write_text(json.dumps(manifest | {"gate_threshold": 0.5}, indent=2) + "\n")


if __name__ == "__main__":
    import sys

    if len(sys.argv) != 4:
        sys.exit("usage: adapters.py STATE.safetensors LIKE_FOLDER OUT_FOLDER")
    write_folder(*sys.argv[1:])
