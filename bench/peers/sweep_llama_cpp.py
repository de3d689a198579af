#!/usr/bin/env python3
"""Tries llama.cpp's settings on this machine and prints tokens/s of each.

    target/peers/venv/bin/python bench/peers/sweep_llama_cpp.py target/peers/models/q4_0.gguf

Each row changes one setting of llama_cpp_encoder.py; the first row is the defaults. A
sample during which the process did not get its processors is thrown away, since
llama.cpp's threads wait for each other by spinning: `of N` says how many were taken.
"""

import argparse
import pathlib
import statistics
import sys
import time

import llama_cpp_encoder

VARIANTS = [
    [],
    ["--flash-attention", "on"],
    ["--flash-attention", "off"],
    ["--ubatch", "128"],
    ["--ubatch", "256"],
    ["--ubatch", "1024"],
    ["--cache", "f32"],
    ["--unified"],
    ["--no-mmap"],
    ["--no-repack"],
]
WORKLOADS = {
    "prefill 1x128": ("prefill", (1, 128), 128),
    "prefill 1x512": ("prefill", (1, 512), 512),
    "prefill 8x128": ("prefill", (8, 128), 1024),
    "decode 1": ("decode", (1, 128, 64), 64),
    "decode 8": ("decode", (8, 128, 32), 256),
}
UNDISTURBED = 0.93


def sample(peer, operation, sizes, threads):
    """Seconds of one run, and the share of its processors that the process got."""
    cpu, wall = time.process_time(), time.perf_counter()
    seconds = getattr(peer, operation)(*sizes)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return seconds, cpu / (wall * threads)


def measure(peer, operation, sizes, tokens, options):
    getattr(peer, operation)(*sizes)
    kept, best_share, tries = [], (0.0, 0.0), 0
    while len(kept) < options.repeat and tries < options.repeat * 6:
        seconds, share = sample(peer, operation, sizes, options.threads)
        tries += 1
        best_share = max(best_share, (share, tokens / seconds))
        if share >= UNDISTURBED:
            kept.append(tokens / seconds)
    if not kept:
        return f"({best_share[1]:.0f} at {best_share[0]:.0%})"
    return f"{statistics.median(kept):.0f} of {len(kept)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--variants", type=int, default=len(VARIANTS))
    options = parser.parse_args()

    print("\t".join(["settings", *WORKLOADS]), flush=True)
    for variant in VARIANTS[: options.variants]:
        arguments = [str(options.model), "--threads", str(options.threads), *variant]
        peer = llama_cpp_encoder.LlamaCpp(llama_cpp_encoder.parser().parse_args(arguments))
        cells = [measure(peer, *workload, options) for workload in WORKLOADS.values()]
        print("\t".join([" ".join(variant) or "defaults", *cells]), flush=True)
        peer.close()


if __name__ == "__main__":
    sys.exit(main())
