#!/usr/bin/env python3
"""Averages the embedding side of two folders of adapters of the same plan (model soups, arXiv
2203.05482): `share` of the second, the rest of the first. The reasoning adapter and the gate's
form are the second's.

    python3 soup.py FIRST SECOND SHARE OUT

The mean of two low-rank changes has twice their rank; it is cut back to the plan's by the
singular values, and what that loses is printed. Runs that began with the same closed form
project to the same teacher's space, so their projections can be averaged as well, and so can those
of a run and of what it went on from. A lexicon has to be the same in both.
"""

import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file

STORED = "embedding/adapter_model.safetensors"


def mixed(parts, shares):
    """The mean of `(a, b)` pairs, `b @ a` each, at the first one's rank, and the share of its
    squared norm that is lost."""
    rank = parts[0][0].shape[0]
    down = torch.cat([a for a, _ in parts], 0)
    up = torch.cat([b * share for (_, b), share in zip(parts, shares)], 1)
    left, inner_left = torch.linalg.qr(up)
    right, inner_right = torch.linalg.qr(down.T)
    u, values, v = torch.linalg.svd(inner_left @ inner_right.T)
    root = values[:rank].sqrt()
    lost = (values[rank:] ** 2).sum() / (values**2).sum().clamp_min(1e-30)
    return (root[:, None] * (right @ v.T[:, :rank]).T), (left @ u[:, :rank]) * root, lost.item()


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    first, second, out = (pathlib.Path(sys.argv[at]) for at in (1, 2, 4))
    shares = (1 - float(sys.argv[3]), float(sys.argv[3]))
    configs = [json.loads((folder / "embedding/adapter_config.json").read_text()) for folder in (first, second)]
    if any(configs[0][name] != configs[1][name] for name in ("r", "lora_alpha", "target_modules")):
        sys.exit("the two have other plans")
    shutil.copytree(second, out)
    stored = [{k: v.float() for k, v in load_file(folder / STORED).items()} for folder in (first, second)]
    made, lost = {}, []
    for name in (name for name in stored[0] if name.endswith("lora_A.weight")):
        other = name.replace("lora_A", "lora_B")
        a, b, gone = mixed([(one[name], one[other]) for one in stored], shares)
        made[name], made[other] = a.half().contiguous(), b.half().contiguous()
        lost.append(gone)
    save_file(made, out / STORED)
    heads = [load_file(folder / "head.safetensors") for folder in (first, second)]
    lexicons = [{name: value.half() for name, value in head.items() if name.startswith("lexicon.")} for head in heads]
    if lexicons[0].keys() != lexicons[1].keys() or any(
        not torch.equal(value, lexicons[1][name]) for name, value in lexicons[0].items()
    ):
        sys.exit("the two have other lexicons")
    for name, value in heads[1].items():
        if not name.startswith(("gate.", "lexicon.")):
            mean = shares[0] * heads[0][name].float() + shares[1] * value.float()
            heads[1][name] = mean.half()
    save_file(heads[1], out / "head.safetensors")
    print(json.dumps({"lost": round(sum(lost) / len(lost), 4)}))


if __name__ == "__main__":
    main()
