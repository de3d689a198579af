#!/usr/bin/env python3
"""From the data of `twn train data` to adapters with a gate, every step of it: twn-mini's recipe.

    python3 recipe.py DATA --model MODEL.gguf --teacher MINILM_FOLDER --out RUN

Broken off, the same command goes on at the step that it was in. `RUN/adapters` is the result.
With `--initial FOLDER` it goes on from adapters that have a lexicon, and leaves out what makes such.
`--lines 300 --steps 2 --device cpu` is a trial of all steps, in minutes.
"""

import argparse
import pathlib
import shlex
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
#: Whose manifest and form of gate new adapters take over.
LIKE = HERE.parent.parent / "encoder/twn-mini"
#: Of the second training's embedding in the result; the rest is the first one's.
SHARE = 0.3
#: Seconds of the stages, on an H100: thoughts and embedding from nothing, and after the lexicon.
FIRST = {"reasoning": 125, "embedding": 235}
SECOND = {"reasoning": 75, "embedding": 300, "policy": 72}
#: What the second training has otherwise than the recipe's file.
CHANGES = [
    "reasoning.learning_rate=1e-3", "reasoning.warmup=10", "embedding.learning_rate=3e-4",
    "embedding.weights.cosine=0", "embedding.weights.similarity=2",
]
STAGES = ("reasoning", "embedding", "policy")
#: Examples of a step in trials.
SMALL = [
    "reasoning.batch.resolving=6", "reasoning.batch.explain=2", "embedding.batch.resolving=4",
    "embedding.batch.explain=2", "embedding.batch.plain=4", "embedding.batch.distill=8", "policy.batch.resolving=2",
]
#: After so many layers the gate reads the query states (docs/adr/0074-gate-between-layers.md).
GATE_DEPTH = 18


class Run:
    """A folder of steps' results; a step whose result is there is done."""

    def __init__(self, options):
        self.options, self.out = options, options.out
        self.out.mkdir(parents=True, exist_ok=True)

    def step(self, name, *command):
        """Runs a command that writes to `{out}`, which gets its name when it has ended well."""
        done = self.out / name
        if done.exists():
            return done
        # The suffix stays last: writers go by it.
        part = done.with_name(f"part-{name}")
        subprocess.run(["rm", "-rf", str(part)], check=True)
        words = [str(word).replace("{out}", str(part)) for word in command]
        print(f"{name}: {shlex.join(words)}", flush=True)
        started = time.time()
        subprocess.run(words, check=True)
        part.rename(done)
        print(f"{name}: {time.time() - started:.0f} s", flush=True)
        return done

    def python(self, name, script, *arguments):
        return self.step(name, sys.executable, HERE / script, *arguments)

    def training(self, name, packed, seconds, changes, *more):
        """A run of `train.py` and its last adapters."""
        given = self.options
        if given.steps:
            changes = [*changes, *(f"{stage}.steps={given.steps}" for stage in STAGES), *SMALL]
        skipped = [f"{stage}.skip=true" for stage in STAGES if stage not in seconds]
        settings = [word for change in [*changes, *skipped] for word in ("--set", change)]
        times = ",".join(f"{stage}={count * given.pace}" for stage, count in seconds.items())
        trained = self.python(
            f"{name}-run", "train.py", packed, "--model", given.model, "--teacher", given.teacher,
            "--out", "{out}", "--device", given.device, "--seconds", times, *settings, *more,
            *(["--compile"] if given.device == "cuda" else ["--economical"]),
        )
        state = trained / f"{list(seconds)[-1]}.safetensors"
        return self.python(name, "adapters.py", state, given.initial or LIKE, "{out}")

    def words(self, states):
        """Adapters with a lexicon beside their states."""
        files = sorted(self.options.data.glob("train_*.jsonl"))
        few = ["--texts", "1200"] if self.options.lines else []
        return self.twn("words", "train", "lexicon", *files, "--adapters", states, "--out", "{out}", "--f16", *few)

    def twn(self, name, *arguments):
        return self.step(name, self.options.twn, *arguments, "--model", self.options.model)

    def all(self):
        given = self.options
        recipe = given.data / "twn-mini-gpu.toml"
        recipe.write_text((HERE / "twn-mini-gpu.toml").read_text())
        lines = ["--lines", given.lines] if given.lines else []
        packed = self.python(
            "packed.npz", "pack.py", recipe, "--model", given.model, "--teacher", given.teacher, "--out", "{out}", *lines
        )
        before = given.initial or self.words(self.training("first", packed, FIRST, []))
        after = self.training("second", packed, SECOND, CHANGES, "--initial", before)
        mean = self.python("mean", "soup.py", before, after, SHARE, "{out}")
        kinds = ["--kinds", "resolving=40,plain=40,explain=40"] if given.lines else []
        # What is judged beside them in a trial is as small.
        beside = [] if given.lines else ["--beside", given.data / "valid/mixed"]
        unseen = self.python("unseen", "unseen.py", recipe, "{out}", *kinds, *beside)
        gate = ["--depth", GATE_DEPTH, "--gain", "0.1", "--token-share", "0.5", "--adapters", mean, "--out", "{out}", "--f16"]
        made = self.twn("adapters", "train", "gate", unseen, *gate)
        print(f"adapters: {made}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--teacher", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--initial", type=pathlib.Path, help="adapters with a lexicon")
    parser.add_argument("--twn", default="twn", help="the program")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--pace", type=float, default=1.0, help="times the seconds of an H100")
    parser.add_argument("--lines", type=int, help="of each file, at most; for trials")
    parser.add_argument("--steps", type=int, help="of each stage, at most; for trials")
    Run(parser.parse_args()).all()


if __name__ == "__main__":
    main()
