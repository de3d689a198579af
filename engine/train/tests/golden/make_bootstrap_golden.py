"""Writes bootstrap.json: paired scores with scipy's bootstrap of their mean difference.

Run in this folder, with numpy and scipy installed:
python make_bootstrap_golden.py > bootstrap.json

The p-value is read off scipy's distribution, shifted to a mean of 0: two-sided, and with
the observed difference counted as one of the draws.
"""

import json

import numpy as np
from scipy.stats import bootstrap

SAMPLES = 100_000


def case(random, count, gain, noise):
    # Like nDCG: in [0, 1], with many queries on which both systems do the same.
    b = random.beta(1, 1, count)
    change = np.where(random.random(count) < 0.4, random.normal(gain, noise, count), 0)
    a = np.clip(b + change, 0, 1)
    a, b = a.round(6), b.round(6)
    differences = a - b
    result = bootstrap(
        (differences,),
        np.mean,
        n_resamples=SAMPLES,
        method="percentile",
        confidence_level=0.95,
        random_state=random,
    )
    shifted = np.abs(result.bootstrap_distribution - differences.mean())
    extreme = np.sum(shifted >= abs(differences.mean()) - 1e-12)
    return {
        "a": a.tolist(),
        "b": b.tolist(),
        "difference": float(differences.mean()),
        "low": float(result.confidence_interval.low),
        "high": float(result.confidence_interval.high),
        "p_value": float((extreme + 1) / (SAMPLES + 1)),
    }


def main():
    random = np.random.default_rng(23)
    shapes = [(40, 0.0, 0.2), (40, 0.1, 0.2), (150, 0.03, 0.3), (150, 0.1, 0.2), (300, 0.05, 0.1)]
    cases = [case(random, *shape) for shape in shapes]
    print("[\n" + ",\n".join(json.dumps(one) for one in cases) + "\n]")


if __name__ == "__main__":
    main()
