"""Writes bm25.json: BM25 scores of made-up texts (pip install bm25s==0.3.16).

Run in this folder: python make_bm25_golden.py > bm25.json

bm25s's "lucene" method leaves out the constant factor (k1 + 1) of the formula, which
changes no ranking; it is put back here.
"""

import json
import random
import re

import bm25s
import numpy as np

K1, B = 0.9, 0.4
WORDS = (
    "wing rotor heat flow shock layer boundary lift drag speed wave plate shell gas "
    "jet nose cone angle mach ratio load stress test theory tail"
).split()


def tokens(text):
    return re.findall(r"\w+", text.lower())


def main():
    random_source = random.Random(11)
    pick = lambda low, high: " ".join(
        random_source.choice(WORDS).title() for _ in range(random_source.randint(low, high))
    )
    texts = [pick(1, 40) for _ in range(40)]
    queries = [pick(1, 6) for _ in range(12)] + ["Wing, wing: heat!", "unheard"]

    model = bm25s.BM25(method="lucene", k1=K1, b=B)
    model.index([tokens(text) for text in texts], show_progress=False)
    scores = []
    for query in queries:
        known = [word for word in tokens(query) if word in model.vocab_dict]
        row = model.get_scores(known) if known else np.zeros(len(texts))
        scores.append([float(score) * (K1 + 1) for score in row])
    print(json.dumps({"texts": texts, "queries": queries, "scores": scores}))


if __name__ == "__main__":
    main()
