#!/usr/bin/env python3
"""Trains and evaluates every variant of a plan with PyTorch: the twin of `twn train ablate`.

    python3 ablate.py packed.npz --plan twn-mini-ablations.toml --model MODEL.gguf
        --teacher RUN/teacher.pt --out RUNS [--only mini,single]

Every variant has the same data, seed and steps. `RUNS/table.jsonl` has a line for each with
nDCG@10 never, adaptively and always thinking, and its difference from the first variant's of
the same mode (paired bootstrap); `RUNS/VARIANT.npz` has the figures by query, for other pairs.
"""

import json
import pathlib
import tomllib

import numpy

from train import Trainer, arguments, read


def difference(ours, theirs, rounds=10_000):
    """Mean of `ours - theirs`, its 95 % interval, and how often a resample has no difference
    of that sign, twice (paired bootstrap)."""
    both = ~(numpy.isnan(ours) | numpy.isnan(theirs))
    apart = (ours - theirs)[both]
    draw = numpy.random.default_rng(1)
    means = numpy.array([apart[draw.integers(0, len(apart), len(apart))].mean() for _ in range(rounds)])
    tail = min((means <= 0).mean(), (means >= 0).mean())
    low, high = numpy.quantile(means, [0.025, 0.975])
    return {"difference": round(float(apart.mean()), 4), "low": round(float(low), 4),
            "high": round(float(high), 4), "p": round(min(1.0, 2 * float(tail)), 4)}


def main():
    parser = arguments(__doc__)
    parser.add_argument("--plan", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="")
    options = read(parser)
    plan = tomllib.loads(options.plan.read_text())
    wanted = [one for one in plan["variant"] if not options.only or one["name"] in options.only.split(",")]
    out, earlier, first = options.out, None, None
    for variant in wanted:
        options.out = out / variant["name"]
        trainer = Trainer(options, plan["set"] | variant.get("set", {}), earlier)
        stages = [stage["name"] for stage in trainer.recipe["stage"] if not stage.get("skip")]
        options.quiet = stages[:-1]
        seen = trainer.run()
        figures = seen["figures"] | {"adaptive": seen["adaptive"]}
        line = {"variant": variant["name"], "report": seen["report"], "tokens": round(float(seen["tokens"].mean()), 2)}
        for mode in ("never", "adaptive", "always"):
            line[mode] = round(float(numpy.nanmean(figures[mode])), 4)
            for kind in ("resolving",):
                line[f"{mode}_{kind}"] = round(float(numpy.nanmean(figures[mode][seen["kinds"] == kind])), 4)
            if first:
                line[f"{mode}_from_first"] = difference(figures[mode], first[mode])
        numpy.savez(out / f"{variant['name']}.npz", tokens=seen["tokens"], kinds=seen["kinds"], **figures)
        earlier, first = trainer, first or figures
        print(json.dumps(line), flush=True)
        with open(out / "table.jsonl", "a") as table:
            table.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
