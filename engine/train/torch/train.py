#!/usr/bin/env python3
"""Trains adapters by a recipe with PyTorch on a GPU: the twin of `twn train run`.

    python3 train.py packed.npz --model MODEL.gguf --teacher MINILM_FOLDER --out RUN
        [--seconds reasoning=110,embedding=220,policy=60] [--set embedding.steps=100]

RUN gets `log.jsonl` and after every stage STAGE.safetensors, which `adapters.py` makes a
folder of adapters from. A stage ends at its steps or its seconds, whichever are over first;
its learning rate falls along the same measure.
"""

import argparse
import copy
import json
import math
import os
import pathlib
import time

# Batches differ in size from step to step: segments that grow keep memory in one piece.
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

import numpy
import torch

import embedding
import gate
import policy
import reasoning
import teacher
from adapters import Adapters
from backbone import Backbone
from data import Packed
from evaluate import adaptive, evaluate
from model import Student

#: Texts of the closed form.
RIDGE_TEXTS = 12_000
#: Steps between two looks at whether a run is still finite.
CHECKED = 20
#: Seconds after which a stage saves what it has.
SAVED = 30
#: Positions, budgets included, of thoughts that are decoded together: bounds the cache.
THOUGHT_POSITIONS = 800_000
#: What a stage need not name, as `twn train` has it.
STAGE = {"warmup": 1, "neighbours": 0, "temperature": 0.05, "negatives_max": 4, "false_negative_margin": 0.1}
WEIGHTS = ("thought", "direct", "reasoned", "cosine", "similarity")
POLICY = {"kl_weight": 0.04, "kl_max": 0.5, "clip_low": 0.2, "clip_high": 0.28}


class Trainer:
    """A run: `changes` are settings by name that differ from the recipe's. What it has read
    can be taken from an `earlier` run."""

    def __init__(self, options, changes, earlier=None):
        self.options = options
        self.packed = earlier.packed if earlier else Packed(options.packed)
        self.recipe = copy.deepcopy(self.packed.recipe)
        for name, value in changes.items():
            place, last = self.place(name)
            place[last] = value
        for stage in self.recipe["stage"]:
            for name, value in STAGE.items():
                stage.setdefault(name, value)
            stage["weights"] = {name: stage.get("weights", {}).get(name, 0.0) for name in WEIGHTS}
            if "policy" in stage:
                stage["policy"] = POLICY | stage["policy"]
        if self.recipe["adapters"]["pooling"] != "queries+mean":
            raise SystemExit("only the pooling `queries+mean` is trained here")
        torch.manual_seed(self.recipe["seed"])
        device = torch.device(options.device)
        self.dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        # cuDNN's attention plans for every shape anew, and every step has new ones.
        torch.backends.cuda.enable_cudnn_sdp(False)
        self.started = time.time()
        backbone = earlier.student.backbone if earlier else Backbone(options.model, device)
        self.adapters = Adapters(backbone, self.recipe)
        self.student = Student(backbone, self.adapters, self.dtype, options.compile)
        learning = sum(part.numel() for part in self.adapters.parameters())
        options.out.mkdir(parents=True, exist_ok=True)
        self.log_file = open(options.out / "log.jsonl", "a")
        self.log({"backbone": backbone.parameters, "learning": learning, "share": learning / backbone.parameters,
                  "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu"})
        self.cache = self.recipe["adapters"]["interface"] == "cache"
        self.queries_in_batch = 0 if self.cache else self.recipe["adapters"]["queries"]
        self.detach = self.recipe.get("wiring", {}).get("detach", True)
        self.taught, self.teacher = {}, earlier.teacher if earlier else None
        self.tokens, self.saved = 0, time.time()

    def place(self, name):
        """Where a setting such as `embedding.steps` or `adapters.interface` lies."""
        head, *rest = name.removeprefix("stage.").split(".")
        stage = next((one for one in self.recipe["stage"] if one["name"] == head), None)
        known = ("adapters", "wiring", "data", "evaluate")
        if stage is None and head not in known:
            raise SystemExit(f"`{name}`: the recipe has no stage `{head}`")
        at = stage if stage is not None else self.recipe.setdefault(head, {})
        for part in rest[:-1]:
            at = at.setdefault(part, {})
        return at, rest[-1]

    def log(self, line):
        line = {"at": round(time.time() - self.started, 1), **line}
        text = json.dumps(line)
        print(text, flush=True)
        self.log_file.write(text + "\n")
        self.log_file.flush()

    # What stages share

    def embedder(self):
        """Embeds batches with the adapters as they are now."""
        student, adapters = self.student, self.adapters
        embeds = student.merged(adapters.embedding)
        if not self.cache:
            return lambda batch: student.embed(embeds, batch)
        thinks = student.merged(adapters.reasoning)
        return lambda batch: student.embed_from_cache(thinks, embeds, batch, self.detach)

    def think(self, prompts, temperature):
        """Thoughts of the reasoning adapter's own, in the prompts' order."""
        with torch.no_grad():
            merged = self.student.merged(self.adapters.reasoning)
        packed, thoughts = self.packed, [None] * len(prompts)
        opened = [packed.opened(prompt) for prompt in prompts]
        order = numpy.argsort([len(one.tokens) for one in opened], kind="stable")
        budget = self.recipe["adapters"]["thought"]["token_budget"]
        end = len(order)
        while end > 0:
            # The longest first: as many as have room beside it.
            longest = len(opened[order[end - 1]].tokens) + budget
            start = max(0, end - max(1, THOUGHT_POSITIONS // longest))
            rows, end = order[start:end], start
            made = self.student.think(
                merged, [opened[at] for at in rows], packed.close, budget, temperature, packed.end_of_text
            )
            for at, thought in zip(rows, made):
                thoughts[at] = thought
        return thoughts

    def teach(self):
        """Reads or makes the teacher's vectors, and begins with projections near to them."""
        device, given = self.student.backbone.device, self.options.teacher
        if self.teacher is None and given.is_file():
            self.teacher = torch.load(given, map_location=device)
        elif self.teacher is None:
            dtype = torch.float16 if device.type == "cuda" else torch.float32
            self.teacher = teacher.vectors(given, self.packed, device, dtype)
            torch.save(self.teacher, self.options.out / "teacher.pt")
        if len(self.teacher) != len(self.packed.teacher_rows):
            raise SystemExit("the teacher's vectors are not those of the packed texts")
        self.taught = {int(row): at for at, row in enumerate(self.packed.teacher_rows)}
        self.log({"taught": len(self.teacher)})
        if not self.options.initial:
            self.log({"closed_form_distance": teacher.closed_form(self, self.options.ridge_texts)})

    def steps(self, stage):
        """Yields steps and how far the stage is, 0 to 1, until it ends."""
        seconds = self.options.seconds.get(stage["name"], math.inf)
        started = time.time()
        for step in range(stage["steps"]):
            spent = (time.time() - started) / seconds
            if spent >= 1:
                break
            yield step, max(step / stage["steps"], spent)

    def learn(self, stage, optimizer, step, share, loss=None):
        """One update along the stage's learning rate: warm-up, then half a cosine."""
        rate = min(1.0, (step + 1) / stage["warmup"]) * (0.1 + 0.9 * (1 + math.cos(math.pi * share)) / 2)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        if loss is not None:
            loss.backward()
        parameters = [part for part in self.adapters.parameters() if part.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        if step % CHECKED == 0 and not math.isfinite(norm.item()):
            raise SystemExit(f"{stage['name']}: step {step} diverged, the gradient's norm is {norm.item()}")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if time.time() - self.saved > SAVED:
            self.save(stage)
        return norm

    def save(self, stage):
        self.adapters.save(self.options.out / f"{stage['name']}.safetensors")
        self.saved = time.time()

    def optimizer(self, stage):
        rate = stage["learning_rate"]
        # The closed form begins near its optimum: small steps keep it.
        rates = {"adapters": rate, "queries": rate, "projections": rate / 4}
        return torch.optim.AdamW(
            self.adapters.groups(rates), betas=(0.9, 0.98), eps=1e-8, weight_decay=0.01
        )

    def end(self, stage, count, started):
        self.save(stage)
        spent = time.time() - started
        self.log({"stage": stage["name"], "steps": count, "seconds": round(spent, 1), "tokens": self.tokens})
        self.tokens = 0

    def evaluate(self, label, gated=False):
        """Judges the adapters as they are now; with a gate fitted to them on all collections."""
        if self.student.backbone.device.type == "cuda":
            torch.cuda.empty_cache()
        seen = {}
        for name in self.packed.sets if gated else self.packed.sets[:1]:
            report, seen[name] = evaluate(self, name)
            self.log({"evaluated": label, **report})
        if gated and len(seen) == 2:
            fitted = gate.run(self)
            self.adapters.gate = fitted.tensors()
            scores = [fitted(one["states"]).detach().cpu().numpy() for one in seen.values()]
            figures, report = adaptive(scores, *seen.values())
            self.log({"evaluated": label, "adaptive": report})
            return list(seen.values())[1] | {"adaptive": figures, "report": report}
        return None

    def run(self):
        if self.options.initial:
            self.adapters.load(self.options.initial)
        stages = [stage for stage in self.recipe["stage"] if not stage.get("skip")]
        seen = None
        for stage in stages:
            weights = stage["weights"]
            if weights["cosine"] + weights["similarity"] > 0 and not self.taught:
                self.teach()
            embeds = any(weight for name, weight in weights.items() if name != "thought")
            # A gate that was fitted to what the adapters were before is none.
            self.adapters.gate = {}
            kind = policy if "policy" in stage else embedding if embeds else reasoning
            kind.run(self, stage)
            if stage["name"] not in self.options.quiet:
                seen = self.evaluate(stage["name"], gated=stage is not stages[0])
                self.save(stage)
        return seen


def arguments(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("packed", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--teacher", type=pathlib.Path, required=True, help="its folder, or an earlier run's teacher.pt")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--initial", type=pathlib.Path, help="begin with a folder of adapters")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", default="", help="STAGE=SECONDS,...")
    parser.add_argument("--quiet", action="append", default=[], metavar="STAGE", help="no evaluation after it")
    parser.add_argument("--pass-tokens", type=int, default=60_000, help="of reinforcement, with gradients")
    parser.add_argument("--ridge-texts", type=int, default=RIDGE_TEXTS)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument(
        "--economical", action="store_true",
        help="thoughts are learned without a gradient for the frame that all prompts begin with\n"
        "and for the lowest third of the layers, and compete with tokens of thoughts alone",
    )
    return parser


def read(parser):
    options = parser.parse_args()
    pairs = [one.split("=") for one in options.seconds.split(",") if one]
    options.seconds = {name: float(value) for name, value in pairs}
    return options


def main():
    parser = arguments(__doc__)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON")
    options = read(parser)
    pairs = [change.split("=", 1) for change in options.set]
    Trainer(options, {name: json.loads(value) for name, value in pairs}).run()


if __name__ == "__main__":
    main()
