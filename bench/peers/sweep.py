#!/usr/bin/env python3
"""Tries a peer's settings on this machine and prints tokens/s of each.

    target/peers/venv/bin/python bench/peers/sweep.py llama target/peers/models/q4_0.gguf
    target/peers/venv/bin/python bench/peers/sweep.py torch target/peers/models/source.gguf

The first row is the peer's defaults; each other row changes one setting. Threads that wait
for each other by spinning lose far more than the share of the processor that others take.
So a run waits for a quiet moment, and one that did not get its processors is thrown away:
`of N` says over how many the median is; in brackets stands the least disturbed run where
none was undisturbed, with the share that it got.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
PEERS = {
    "llama": (
        "llama_cpp_encoder.py",
        [
            [],
            ["--flash-attention", "off"],
            ["--flash-attention", "on"],
            ["--ubatch", "128"],
            ["--ubatch", "1024"],
            ["--cache", "f32"],
            ["--unified"],
            ["--no-mmap"],
            ["--no-repack"],
        ],
    ),
    "torch": ("torch_encoder.py", [[], ["--no-keep-memory"], ["--compile"]]),
}
WORKLOADS = {
    "prefill 1x128": ({"op": "prefill", "batch": 1, "tokens": 128}, 128),
    "prefill 1x512": ({"op": "prefill", "batch": 1, "tokens": 512}, 512),
    "prefill 8x128": ({"op": "prefill", "batch": 8, "tokens": 128}, 1024),
    "decode 1": ({"op": "decode", "batch": 1, "prompt": 128, "steps": 64}, 64),
    "decode 8": ({"op": "decode", "batch": 8, "prompt": 128, "steps": 32}, 256),
}
UNDISTURBED = 0.9


class Peer:
    """A peer's process."""

    def __init__(self, script, model, threads, settings):
        self.threads = threads
        command = [sys.executable, HERE / script, model, "--threads", str(threads), *settings]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def call(self, request):
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline() or '{"error": "the peer has ended"}')
        if "error" in answer:
            raise SystemExit(f"{request}: {answer['error']}")
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def busy_and_total():
    """Clock ticks of the whole machine so far."""
    counts = [int(word) for word in open("/proc/stat").readline().split()[1:9]]
    return sum(counts) - counts[3] - counts[4], sum(counts)


def wait_for_quiet(patience):
    """Returns when the machine was idle for a quarter of a second, or patience is out."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        before = busy_and_total()
        time.sleep(0.25)
        after = busy_and_total()
        if after[0] - before[0] <= 0.1 * (after[1] - before[1]):
            return


def measure(peer, request, tokens, options):
    peer.call(request)
    runs = []
    until = time.monotonic() + options.patience
    while sum(share >= UNDISTURBED for share, _ in runs) < options.repeat:
        if runs and time.monotonic() > until:
            break
        wait_for_quiet(until - time.monotonic())
        answer = peer.call(request)
        share = answer["cpu_seconds"] / (answer["seconds"] * peer.threads)
        runs.append((share, tokens / answer["seconds"]))
    kept = [speed for share, speed in runs if share >= UNDISTURBED]
    if not kept:
        share, speed = max(runs)
        return f"({speed:.0f} at {share:.0%})"
    return f"{statistics.median(kept):.0f} of {len(kept)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--variants", type=int, help="only the first so many rows")
    parser.add_argument("--patience", type=float, default=60, help="seconds for each cell")
    options = parser.parse_args()

    script, variants = PEERS[options.peer]
    print("\t".join(["settings", *WORKLOADS]), flush=True)
    for settings in variants[: options.variants]:
        peer = Peer(script, options.model, options.threads, settings)
        cells = [measure(peer, *workload, options) for workload in WORKLOADS.values()]
        print("\t".join([" ".join(settings) or "defaults", *cells]), flush=True)
        peer.close()


if __name__ == "__main__":
    main()
