"""Writes calibration.json: scores and labels with scikit-learn's own figures.

Run in this folder, with numpy and scikit-learn installed:
python make_calibration_golden.py > calibration.json
"""

import json

import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_auc_score

BINS = 10


def case(random, count, decimals):
    # Rounding makes ties, and scores that lie on the edges of the bins. Scores are f32.
    scores = random.beta(0.8, 1.2, count).round(decimals).astype(np.float32).astype(float)
    labels = random.random(count) < scores ** random.uniform(0.3, 3)
    labels[0], labels[1] = True, False
    helped, mean_scores = calibration_curve(labels, scores, n_bins=BINS, strategy="uniform")
    edges = np.linspace(0, 1, BINS + 1)
    weights = np.bincount(np.searchsorted(edges[1:-1], scores), minlength=BINS)
    weights = weights[weights > 0] / count
    return {
        "scores": scores.tolist(),
        "labels": labels.tolist(),
        "auroc": roc_auc_score(labels, scores),
        "brier": brier_score_loss(labels, scores),
        "expected_calibration_error": float(np.sum(weights * np.abs(helped - mean_scores))),
        "mean_scores": mean_scores.tolist(),
        "helped": helped.tolist(),
    }


def main():
    random = np.random.default_rng(11)
    shapes = [(count, decimals) for count in (5, 20, 60, 120) for decimals in (1, 2, 6)]
    cases = [case(random, *shape) for shape in shapes * 2]
    print("[\n" + ",\n".join(json.dumps(one) for one in cases) + "\n]")


if __name__ == "__main__":
    main()
