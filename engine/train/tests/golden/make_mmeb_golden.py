"""Writes mmeb.json: random similarities, what is relevant, and the two scores of MMEB-V2,
computed with numpy alone.

    python engine/train/tests/golden/make_mmeb_golden.py

hit@1: whether the best candidate is relevant. NDCG@5 with linear gain: the sum over the
first five of grade / log2(rank + 1), ranks from 1, divided by that of the relevant
candidates in falling order of grade.
"""

import json
from pathlib import Path

import numpy as np

random = np.random.default_rng(22)


def discounted(grades):
    return float((grades / np.log2(np.arange(len(grades)) + 2.0)).sum())


def case():
    count = int(random.integers(1, 40))
    similarities = np.round(random.uniform(-1, 1, count), 6)
    while len(set(similarities)) < count:
        similarities = np.round(random.uniform(-1, 1, count), 6)
    # Positions of a query's own candidates among all of the task's.
    positions = random.permutation(100)[:count]
    relevant = random.integers(1, min(count, 8) + 1)
    graded = bool(random.integers(2))
    grades = np.zeros(count)
    chosen = random.permutation(count)[:relevant]
    grades[chosen] = random.integers(1, 4, relevant) if graded else 1
    order = np.argsort(-similarities)
    ranked = grades[order]
    ideal = np.sort(grades)[::-1]
    ideal = ideal[ideal > 0]
    return {
        "similarities": similarities.tolist(),
        "positions": positions.tolist(),
        "grades": [[int(positions[i]), int(grades[i])] for i in range(count)],
        "hit_at_1": float(ranked[0] > 0),
        "ndcg_linear_at_5": discounted(ranked[:5]) / discounted(ideal[:5]),
    }


if __name__ == "__main__":
    cases = [case() for _ in range(100)]
    assert 0 < sum(c["hit_at_1"] for c in cases) < 100
    text = json.dumps(cases, separators=(",", ":"))
    (Path(__file__).parent / "mmeb.json").write_text(text + "\n")
