"""Packed examples: what a step draws, and the sequences that it makes."""

import json
import math

import numpy

from ragged import Sequence


class Lists:
    """Lists of many lengths, end to end."""

    def __init__(self, values, offsets):
        self.values, self.offsets = values, offsets

    def __getitem__(self, at):
        return self.values[self.offsets[at] : self.offsets[at + 1]]

    def __len__(self):
        return len(self.offsets) - 1


#: Share of a kind's examples, the last ones, that no stage draws (texts alone can still be
#: neighbours): the gate is fitted to them.
HELD_OUT = 0.08


class Kind:
    """Examples of one kind, drawn without repetition until all that are not held out were."""

    def __init__(self, packed, name, seed):
        self.query = packed[f"{name}.query"]
        self.thought = packed[f"{name}.thought"]
        self.positives = Lists(packed[f"{name}.positives"], packed[f"{name}.positives_at"])
        self.negatives = Lists(packed[f"{name}.negatives"], packed[f"{name}.negatives_at"])
        self.seed, self.drawn = seed, math.ceil((1 - HELD_OUT) * len(self.query))

    def held_out(self):
        return numpy.arange(self.drawn, len(self.query))

    def draw(self, step, count):
        total, drawn = self.drawn, []
        for place in range(step * count, (step + 1) * count):
            turn, at = divmod(place, total)
            if getattr(self, "turn", None) != turn:
                self.turn = turn
                self.order = numpy.random.default_rng([self.seed, turn]).permutation(total)
            drawn.append(self.order[at])
        return numpy.array(drawn)


class Packed:
    """The file that `pack.py` wrote."""

    def __init__(self, path):
        packed = dict(numpy.load(path))
        self.recipe = json.loads(str(packed["recipe"]))
        self.sets = [str(name) for name in packed["sets"]]
        self.contents = Lists(packed["contents"], packed["contents_at"])
        self.thoughts = Lists(packed["thoughts"], packed["thoughts_at"])
        self.closed = packed["thoughts_closed"]
        self.teacher = Lists(packed["teacher"], packed["teacher_at"])
        self.teacher_rows = packed["teacher_rows"]
        part = lambda name: packed[f"frame.{name}"].astype(numpy.int64)
        self.frames = {"query": part("query"), "document": part("document")}
        self.after, self.open, self.close = part("after"), part("open"), part("close")
        self.end_of_text = int(part("end")[0])
        seed = self.recipe["seed"]
        self.kinds = {name: Kind(packed, name, seed + at) for at, name in enumerate(self.recipe["data"])}
        self.raw = packed

    def prompt(self, row, role):
        before, content = self.frames[role], self.contents[row]
        tokens = numpy.concatenate([before, content, self.after])
        return Sequence(tokens, (len(before), len(before) + len(content)))

    def think(self, prompt, tokens, closed):
        """A thought after a prompt; one that did not close itself is closed, by a marker
        that is read and not pooled."""
        begin = len(prompt.tokens) + len(self.open)
        parts = [prompt.tokens, self.open, tokens] + ([] if closed else [self.close])
        return Sequence(numpy.concatenate(parts), prompt.content, (begin, begin + len(tokens)))

    def written(self, prompt, thought):
        return self.think(prompt, self.thoughts[thought], bool(self.closed[thought]))

    def opened(self, prompt):
        return Sequence(numpy.concatenate([prompt.tokens, self.open]), prompt.content)
