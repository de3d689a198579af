#!/usr/bin/env python3
"""Writes what PyTorch and peft make of the losses on the tiny model, for tests/gradients.rs.

    python3 make_gradient_golden.py

needs torch, transformers, peft and safetensors, and writes beside itself

    gradients/adapters/      an adapter folder: reasoning/, embedding/, head.safetensors, twn.json
    gradients/batch.json     sequences, pairing and constants
    gradients/golden.safetensors   losses and gradients, as CASE.loss and CASE.PARAMETER

Everything is computed in f64, one sequence at a time and without padding.
"""

import hashlib
import json
import math
import pathlib

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
from transformers.cache_utils import DynamicCache

HERE = pathlib.Path(__file__).parent
TINY = HERE / "../../../encoder/tests/fixtures/tiny-llama"
OUT = HERE / "gradients"
RANK, ALPHA, QUERIES, DIMENSION = 2, 4, 3, 24
TEMPERATURE, SPREAD = 0.05, 0.07
POLICY = {"clip_low": 0.2, "clip_high": 0.28, "kl_weight": 0.04}

torch.manual_seed(5)
torch.set_default_dtype(torch.float64)

base = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float64, attn_implementation="eager")
targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
config = lambda: LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets, lora_dropout=0.0)
model = get_peft_model(base, config(), adapter_name="reasoning")
model.add_adapter("embedding", config())
hidden_size = base.config.hidden_size

lora = {}
for name, parameter in model.named_parameters():
    if "lora_" in name:
        # f32 values, so that the files hold exactly what is computed with.
        parameter.data = (torch.randn_like(parameter) * 0.2).float().double()
        lora[name] = parameter
small = lambda *shape: (torch.randn(*shape) * 0.2).float().double().requires_grad_(True)
head = {
    "queries": small(QUERIES, hidden_size),
    "project.queries.weight": small(DIMENSION, hidden_size),
    "project.queries.bias": small(DIMENSION),
    "project.mean.weight": small(DIMENSION, hidden_size),
    "project.mean.bias": small(DIMENSION),
}
gate = {
    "gate.inner.weight": torch.zeros(4, hidden_size),
    "gate.inner.bias": torch.zeros(4),
    "gate.outer.weight": torch.zeros(1, 4),
    "gate.outer.bias": torch.zeros(1),
}


def use(adapter):
    model.set_adapter(adapter)
    for parameter in lora.values():
        parameter.requires_grad_(True)


def draw(count, low, high, thought=0):
    """Sequences with the content from position 2 to 2 before the thought."""
    sequences = []
    for _ in range(count):
        length = int(torch.randint(low, high, (1,)))
        size = length + (int(torch.randint(2, thought, (1,))) if thought else 0)
        tokens = torch.randint(3, 600, (size,)).tolist()
        sequences.append({"tokens": tokens, "content": [2, length - 2], "thought": [length, size] if thought else [0, 0]})
    return sequences


queries, documents, thoughts = draw(4, 8, 30), draw(6, 8, 40), draw(3, 8, 20, thought=12)
reasoned = draw(2, 8, 20, thought=9)
teacher = torch.nn.functional.normalize(torch.randn(len(queries), DIMENSION), dim=1).float().double()
positive = [0, 3, 1, 2]
also_right = [[0, 5], [3], [1], [2]]


def run(embeds, adapter, cache=None):
    use(adapter)
    past = cache.get_seq_length() if cache is not None else 0
    positions = torch.arange(past, past + embeds.shape[0])[None]
    body = model.get_base_model().model
    out = body(inputs_embeds=embeds[None], past_key_values=cache, position_ids=positions, use_cache=cache is not None)
    return out.last_hidden_state[0]


def token_rows(tokens):
    return base.get_input_embeddings()(torch.tensor(tokens))


def pooled(hidden, sequence):
    low, high = sequence["content"]
    start, end = sequence["thought"]
    at = [p for p in range(len(sequence["tokens"])) if p > 0 and (low <= p < high or start <= p < end)]
    return hidden[at].mean(0)


def embed(sequence, wiring):
    rows = token_rows(sequence["tokens"])
    if wiring == "reencode":
        hidden = run(torch.cat([rows, head["queries"]]), "embedding")
        states, prefix = hidden[-QUERIES:], hidden[:-QUERIES]
    else:
        cache = DynamicCache()
        prefix = run(rows, "reasoning", cache)
        if wiring == "detached":
            prefix = prefix.detach()
            for layer in cache.layers:
                layer.keys, layer.values = layer.keys.detach(), layer.values.detach()
        states = run(head["queries"], "embedding", cache)
    affine = lambda part, x: x @ head[f"project.{part}.weight"].T + head[f"project.{part}.bias"]
    vector = affine("queries", states.mean(0)) + affine("mean", pooled(prefix, sequence))
    return vector / vector.norm()


def info_nce(q, d, margin=None, symmetric=True):
    s = q @ d.T
    mask = torch.zeros_like(s)
    for i, right in enumerate(also_right):
        for j in right:
            if j != positive[i]:
                mask[i, j] = -1e30
        if margin is not None:
            for j in range(s.shape[1]):
                if j != positive[i] and s[i, j] > s[i, positive[i]] + margin:
                    mask[i, j] = -1e30
    logits = s / TEMPERATURE + mask
    there = torch.nn.functional.cross_entropy(logits, torch.tensor(positive))
    if not symmetric:
        return there
    columns = logits.T[torch.tensor(positive)]
    back = torch.nn.functional.cross_entropy(columns, torch.arange(len(positive)))
    return (there + back) / 2


def similarity_divergence(student, taught):
    own = torch.eye(len(student)) * -1e30
    spread = lambda x: torch.log_softmax(x @ x.T / SPREAD + own, dim=1)
    return (spread(taught).exp() * (spread(taught) - spread(student))).sum() / len(student)


def log_probabilities(sequence):
    hidden = run(token_rows(sequence["tokens"]), "reasoning")
    logits = hidden @ base.get_output_embeddings().weight.T
    start, end = sequence["thought"]
    chosen = torch.tensor(sequence["tokens"][start:end])
    return torch.log_softmax(logits[start - 1 : end - 1], dim=1).gather(1, chosen[:, None])[:, 0]


def policy(current):
    ratio = (current - sampled).exp()
    clipped = ratio.clamp(1 - POLICY["clip_low"], 1 + POLICY["clip_high"])
    surrogate = torch.minimum(ratio * advantages, clipped * advantages)
    gap = reference - current
    divergence = gap.exp() - gap - 1
    return (POLICY["kl_weight"] * divergence - surrogate).mean()


golden = {}


def record(case, loss):
    for parameter in [*lora.values(), *head.values()]:
        parameter.grad = None
    loss.backward()
    golden[f"{case}.loss"] = loss.detach().float().reshape(1)
    for name, parameter in lora.items():
        if parameter.grad is not None and parameter.grad.abs().max() > 0:
            adapter = "reasoning" if ".reasoning." in name else "embedding"
            plain = name.replace(f".{adapter}.", ".")
            golden[f"{case}.{adapter}.{plain}"] = parameter.grad.float().clone()
    for name, parameter in head.items():
        if parameter.grad is not None:
            golden[f"{case}.{name}"] = parameter.grad.float().clone()


def contrastive(wiring, margin=None):
    q = torch.stack([embed(s, wiring) for s in queries])
    d = torch.stack([embed(s, wiring) for s in documents])
    return q, info_nce(q, d, margin)


with torch.no_grad():
    current = torch.cat([log_probabilities(s) for s in thoughts])
noise = lambda: (torch.randn(len(current)) * 0.3).float().double()
sampled, reference = (current + noise()).float().double(), (current + noise()).float().double()
advantages = torch.randn(len(current)).float().double()

record("thought", -torch.cat([log_probabilities(s) for s in thoughts]).mean())
record("policy", policy(torch.cat([log_probabilities(s) for s in thoughts])))
for wiring in ("reencode", "detached", "attached"):
    record(f"contrast.{wiring}", contrastive(wiring)[1])
record("margin.reencode", contrastive("reencode", 0.02)[1])
q, _ = contrastive("reencode")
record("cosine.reencode", 1 - (q * teacher).sum(1).mean())
q, _ = contrastive("reencode")
record("similarity.reencode", similarity_divergence(q, teacher))
record("reasoned.detached", torch.stack([embed(s, "detached") for s in reasoned])[:, :5].sum())

(OUT / "adapters").mkdir(parents=True, exist_ok=True)
for adapter in ("reasoning", "embedding"):
    folder = OUT / "adapters" / adapter
    folder.mkdir(exist_ok=True)
    tensors = {n.replace(f".{adapter}.", "."): p.detach().float().contiguous() for n, p in lora.items() if f".{adapter}." in n}
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": targets, "bias": "none", "base_model_name_or_path": "tiny-llama"}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
save_file({n: t.detach().float().contiguous() for n, t in {**head, **gate}.items()}, OUT / "adapters" / "head.safetensors")
manifest = {
    "format_version": 1,
    "backbone": {"name": "tiny-llama", "weights_sha256": hashlib.sha256((TINY / "model.safetensors").read_bytes()).hexdigest()},
    "interface": "reencode", "pooling": "queries+mean", "queries": QUERIES, "gate_threshold": 0.5,
    "thought": {"open": "<think>\n", "close": "</think>", "token_budget": 32},
    "instructions": {"query": "q", "document": "d"}, "trained": True,
}
(OUT / "adapters" / "twn.json").write_text(json.dumps(manifest, indent=2) + "\n")
save_file(golden, OUT / "golden.safetensors")
batch = {
    "queries": queries, "documents": documents, "thoughts": thoughts, "reasoned": reasoned,
    "positive": positive, "also_right": also_right, "temperature": TEMPERATURE, "spread": SPREAD,
    "margin": 0.02, "teacher": teacher.tolist(), "advantages": advantages.tolist(),
    "sampled": sampled.tolist(), "reference": reference.tolist(), **POLICY,
}
(OUT / "batch.json").write_text(json.dumps(batch) + "\n")
print({name: round(float(value), 5) for name, value in golden.items() if name.endswith(".loss")})
