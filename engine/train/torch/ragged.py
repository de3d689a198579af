"""Sequences of many lengths in one pass, with little padding.

All positions lie end to end in one row of tokens, which everything but attention reads;
attention reads groups of sequences of about one length as rectangles.
"""

import dataclasses

import numpy
import torch

#: Lengths are rounded up to a multiple of this on a GPU, and one length is one group.
ROUNDED = 8
#: There, groups of fewer rows join the next longer one, if that makes them little longer.
ROWS_MIN = 16


@dataclasses.dataclass
class Sequence:
    """Token ids and the half-open ranges of content and thought; `queries` rows follow."""

    tokens: numpy.ndarray
    content: tuple
    thought: tuple = (0, 0)

    def after(self, count):
        """The sequence without its first `count` tokens."""
        moved = lambda span: tuple(max(at - count, 0) for at in span)
        return Sequence(self.tokens[count:], moved(self.content), moved(self.thought))


class Ragged:
    """A batch on a device: `groups` are `(start, rows, length)` in the row of tokens, and
    `order[i]` is the sequence at place `i`."""

    def __init__(self, sequences, queries, device):
        lengths = numpy.array([len(one.tokens) + queries for one in sequences])
        self.order = numpy.argsort(lengths, kind="stable")
        on_gpu = torch.device(device).type == "cuda"
        rounded, rows_min = (ROUNDED, ROWS_MIN) if on_gpu else (1, 1)
        self.groups = []
        total, at = 0, 0
        starts = numpy.zeros(len(sequences), dtype=numpy.int64)
        while at < len(self.order):
            longest = shortest = round_up(lengths[self.order[at]], rounded)
            end = at
            while end < len(self.order):
                length = round_up(lengths[self.order[end]], rounded)
                few = end - at < rows_min and length <= 1.25 * shortest
                if length > longest and not few:
                    break
                longest = max(longest, length)
                end += 1
            rows = self.order[at:end]
            starts[rows] = total + numpy.arange(end - at) * longest
            self.groups.append((total, end - at, int(longest)))
            total += (end - at) * longest
            at = end
        self.total, self.count = int(total), len(sequences)
        ids = numpy.zeros(total, dtype=numpy.int64)
        positions = numpy.zeros(total, dtype=numpy.int64)
        for start, rows, length in self.groups:
            positions[start : start + rows * length] = numpy.tile(numpy.arange(length), rows)
        pooled, owner, weight = [], [], []
        for at, (one, start) in enumerate(zip(sequences, starts)):
            ids[start : start + len(one.tokens)] = one.tokens
            spans = [range(max(one.content[0], 1), one.content[1]), range(*one.thought)]
            places = numpy.concatenate([numpy.arange(s.start, max(s.stop, s.start)) for s in spans])
            pooled.append(start + places)
            owner.append(numpy.full(len(places), at))
            weight.append(numpy.full(len(places), 1 / max(len(places), 1)))
        self.starts, self.ends = starts, starts + lengths - queries
        self.ids, self.positions = put(ids, device), put(positions, device)
        self.pooled = put(numpy.concatenate(pooled).astype("int64"), device)
        self.owner = put(numpy.concatenate(owner).astype("int64"), device)
        self.weight = put(numpy.concatenate(weight).astype("float32"), device)
        places = self.ends[:, None] + numpy.arange(queries)
        self.query_places = put(places.reshape(-1), device)

    def targets(self, sequences):
        """Places whose next token belongs to a thought, and those tokens."""
        places, wanted = [], []
        for one, start in zip(sequences, self.starts):
            begin, end = one.thought
            places.append(start + numpy.arange(begin - 1, end - 1))
            wanted.append(one.tokens[begin:end])
        both = (numpy.concatenate(parts).astype("int64") for parts in (places, wanted))
        return tuple(put(values, self.ids.device) for values in both)


def put(values, device):
    """An array on a device. A GPU that still computes is not waited for."""
    values = torch.from_numpy(numpy.ascontiguousarray(values))
    if torch.device(device).type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


def round_up(length, multiple=ROUNDED):
    return -(-int(length) // multiple) * multiple
