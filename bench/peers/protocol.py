"""The peers' side of the conversation with `twn-bench encoder`.

One JSON object a line on standard input, one on standard output for each, in order:

    {"op": "describe"}                                          -> {"name": ..., ...}
    {"op": "prefill", "batch": 8, "tokens": 128}                -> {"seconds": ..., ...}
    {"op": "decode", "batch": 1, "prompt": 128, "steps": 64}    -> {"seconds": ..., ...}

A prefill runs `batch` prompts of `tokens` tokens each from an empty cache and computes the
logits of each prompt's last token. A decode fills the cache with `batch` prompts, which is
not timed, and then takes `steps` steps of one token for each of them, with logits. A
request that cannot be done is answered by {"error": ...}. The end of the input ends the
process.
"""

import json
import os
import random
import sys
import time

LIMITS = {"batch": 64, "tokens": 8192, "prompt": 8192, "steps": 4096}

# Ordinary tokens of the default model's vocabulary, clear of its special ones.
TOKENS = range(100, 40_000)


def random_tokens(count, seed):
    """`count` ordinary tokens, the same ones for the same seed."""
    return random.Random(seed).choices(TOKENS, k=count)


def number(request, field):
    """The request's whole number `field`, within its limits."""
    value = request.get(field)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"`{field}` is {value!r}, not a whole number")
    if not 1 <= value <= LIMITS[field]:
        raise ValueError(f"`{field}` is {value}, not within 1 to {LIMITS[field]}")
    return value


def answer(peer, request):
    """What `peer` says to one request."""
    match request.get("op"):
        case "describe":
            return peer.describe()
        case "prefill":
            return peer.prefill(number(request, "batch"), number(request, "tokens"))
        case "decode":
            sizes = (number(request, field) for field in ("batch", "prompt", "steps"))
            return peer.decode(*sizes)
        case "step" if hasattr(peer, "step"):
            return peer.step(request)
        case op:
            raise ValueError(f"`op` is {op!r}, not describe, prefill or decode")


def serve(open_peer):
    """Opens a peer and answers requests until the input ends.

    The answers get standard output for themselves: whatever a library prints there goes to
    standard error instead.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    peer = open_peer()
    for line in sys.stdin:
        try:
            reply = answer(peer, json.loads(line))
        except (ValueError, AttributeError, RuntimeError, MemoryError) as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=answers, flush=True)


def timed(work):
    """How long `work()` takes, on a monotonic clock and in processor time."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"seconds": wall, "cpu_seconds": cpu}
