"""Learning thoughts: the next-token loss of written ones, prompts masked."""

import time

import numpy
import torch

from ragged import Ragged


def loss(trainer, examples):
    """Of `(query, thought)` rows."""
    packed, student = trainer.packed, trainer.student
    sequences = [packed.written(packed.prompt(query, "query"), thought) for query, thought in examples]
    trainer.tokens += sum(len(one.tokens) for one in sequences)
    linears = student.learning(trainer.adapters.reasoning)
    earlier, still = None, 0
    if trainer.options.economical:
        frame = packed.frames["query"]
        with torch.no_grad():
            earlier = student.beginning(linears, frame)
        sequences = [one.after(len(frame)) for one in sequences]
        still = student.backbone.layers // 3
    batch = Ragged(sequences, 0, student.backbone.device)
    return -student.log_probabilities(linears, sequences, batch, earlier, still).mean()


def draw(trainer, stage, step):
    """The `(query, thought)` rows of a step."""
    for kind, count in stage["batch"].items():
        known = trainer.packed.kinds[kind]
        for at in known.draw(step, count):
            if known.thought[at] >= 0:
                yield known.query[at], known.thought[at]


def run(trainer, stage):
    """The stage of a recipe that weights nothing but `thought`."""
    student = trainer.student
    if trainer.options.economical:
        used = numpy.unique(trainer.packed.thoughts.values).astype("int64")
        student.vocabulary = torch.from_numpy(used).to(student.backbone.device)
    optimizer, started, count = trainer.optimizer(stage), time.time(), 0
    for step, share in trainer.steps(stage):
        examples = list(draw(trainer, stage, step))
        if not examples:
            continue
        value = loss(trainer, examples)
        norm = trainer.learn(stage, optimizer, step, share, value)
        count = step + 1
        if step % 20 == 0:
            trainer.log({"stage": stage["name"], "step": step, "thought": value.item(), "norm": norm.item()})
    student.vocabulary = None
    trainer.end(stage, count, started)
