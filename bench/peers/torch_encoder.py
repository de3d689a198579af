#!/usr/bin/env python3
"""PyTorch (transformers, f32) beside the encoder benchmark: answers protocol.py's requests.

    torch_encoder.py MODEL.gguf --threads 2

The model is the default model itself, dequantised to f32 on loading. Eager mode is the
default, since it is what people run; `--compile` compiles the decoding step with static
caches.
"""

import argparse
import os
import pathlib
import platform
import sys

import protocol


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path, metavar="MODEL.gguf")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument(
        "--keep-memory",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="let malloc keep freed memory instead of giving it back to the system",
    )
    return parser.parse_args()


KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
}


def prepare_process(options):
    """Sets what must stand in the environment before the libraries are loaded."""
    wanted = {"OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
    if options.keep_memory and platform.libc_ver()[0] == "glibc":
        wanted |= KEEP_MEMORY
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.environ.update(wanted)
        os.execv(sys.executable, [sys.executable, *sys.argv])


class Torch:
    """The model in f32 on the CPU."""

    def __init__(self, options):
        import torch
        import transformers

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        self.torch, self.transformers, self.options = torch, transformers, options
        torch.set_num_threads(options.threads)
        torch.set_num_interop_threads(1)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            options.model.parent, gguf_file=options.model.name, dtype=torch.float32
        ).eval()
        self.step_model = torch.compile(self.model) if options.compile else self.model

    def describe(self):
        torch = self.torch
        return {
            "name": "PyTorch",
            "version": f"torch {torch.__version__}, transformers {self.transformers.__version__}",
            "threads": torch.get_num_threads(),
            "model": {
                "file": self.options.model.name,
                "kind": f"{self.model.config.model_type} {self.model.dtype}",
                "parameters": sum(part.numel() for part in self.model.parameters()),
            },
            "settings": {
                "attention": self.model.config._attn_implementation,
                "compile": self.options.compile,
                "keep_memory": self.options.keep_memory,
            },
            "system_info": torch.backends.cpu.get_cpu_capability(),
            "build": build_record(torch),
        }

    def _tokens(self, batch, tokens, seed):
        words = protocol.random_tokens(batch * tokens, seed)
        return self.torch.tensor(words).view(batch, tokens)

    def _cache(self, batch, tokens):
        if not self.options.compile:
            return self.transformers.DynamicCache(config=self.model.config)
        return self.transformers.StaticCache(config=self.model.config, max_cache_len=tokens)

    def _run(self, model, words, cache):
        return model(words, past_key_values=cache, use_cache=True, logits_to_keep=1)

    def prefill(self, batch, tokens):
        words, cache = self._tokens(batch, tokens, seed=tokens), self._cache(batch, tokens)
        with self.torch.inference_mode():
            return protocol.timed(lambda: self._run(self.model, words, cache))

    def decode(self, batch, prompt, steps):
        cache = self._cache(batch, prompt + steps)
        words = [self._tokens(batch, 1, seed=step) for step in range(steps)]

        def take_steps():
            for word in words:
                self._run(self.step_model, word, cache)

        with self.torch.inference_mode():
            self._run(self.model, self._tokens(batch, prompt, seed=prompt), cache)
            return protocol.timed(take_steps)


def build_record(torch):
    """How torch was built, without the line of every compiler flag."""
    lines = (line.strip(" -") for line in torch.__config__.show().splitlines()[1:])
    return [line for line in lines if line and not line.startswith("Build settings")]


def main():
    options = parse()
    prepare_process(options)
    protocol.serve(lambda: Torch(options))


if __name__ == "__main__":
    main()
