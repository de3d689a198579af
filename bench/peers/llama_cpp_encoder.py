#!/usr/bin/env python3
"""llama.cpp beside the encoder benchmark: answers the requests of protocol.py.

    llama_cpp_encoder.py MODEL.gguf --threads 2        answers requests
    llama_cpp_encoder.py MODEL.gguf --quantize FOLDER  writes the peers' model files

The settings' defaults are those that sweep.py found fastest.
"""

import argparse
import ctypes
import json
import os
import pathlib
import sys

import protocol

# The library is the one that setup.sh built for this machine's processor.
PEERS = pathlib.Path(os.environ.get("TWN_PEERS", pathlib.Path(sys.prefix).parent))
os.environ.setdefault("LLAMA_CPP_LIB_PATH", str(PEERS / "llama.cpp" / "lib"))

import llama_cpp as llama  # noqa: E402

FILE_TYPES = {"q4_0": 2, "q8_0": 7, "f32": 0}
FLASH_ATTENTION = {
    "auto": llama.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "off": llama.LLAMA_FLASH_ATTN_TYPE_DISABLED,
    "on": llama.LLAMA_FLASH_ATTN_TYPE_ENABLED,
}
CACHE_TYPES = {"f32": 0, "f16": 1}
LOG_ERROR, LOG_CONTINUED = 4, 5


@llama.llama_log_callback
def keep_errors(level, text, _data):
    if LOG_ERROR <= level < LOG_CONTINUED:
        sys.stderr.write(text.decode("utf-8", "replace"))


class Batch:
    """`sequences` times `tokens` tokens from position `start`, laid out before the clock runs."""

    def __init__(self, sequences, tokens, start, seed):
        count = sequences * tokens
        self.raw = llama.llama_batch_init(count, 0, 1)
        self.raw.n_tokens = count
        words = protocol.random_tokens(count, seed)
        for index, word in enumerate(words):
            sequence, offset = divmod(index, tokens)
            self.raw.token[index] = word
            self.raw.pos[index] = start + offset
            self.raw.n_seq_id[index] = 1
            self.raw.seq_id[index][0] = sequence
            self.raw.logits[index] = int(offset == tokens - 1)

    def close(self):
        llama.llama_batch_free(self.raw)


class LlamaCpp:
    """One model and one context with fixed settings."""

    def __init__(self, options):
        self.options = options
        llama.llama_log_set(keep_errors, ctypes.c_void_p(0))
        llama.llama_backend_init()
        self.model = llama.llama_model_load_from_file(
            str(options.model).encode(), self._model_params()
        )
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {options.model}")
        self.context = llama.llama_init_from_model(self.model, self._context_params())
        if not self.context:
            raise SystemExit(f"llama.cpp cannot open a context with {vars(options)}")
        self.memory = llama.llama_get_memory(self.context)

    def _model_params(self):
        params = llama.llama_model_default_params()
        params.n_gpu_layers = 0
        params.load_mode = (
            llama.LLAMA_LOAD_MODE_MMAP if self.options.mmap else llama.LLAMA_LOAD_MODE_NONE
        )
        params.use_extra_bufts = self.options.repack
        return params

    def _context_params(self):
        options = self.options
        params = llama.llama_context_default_params()
        params.n_ctx = options.sequences * options.sequence_tokens
        params.n_batch = params.n_ctx
        params.n_ubatch = options.ubatch
        params.n_seq_max = options.sequences
        params.n_threads = params.n_threads_batch = options.threads
        params.flash_attn_type = FLASH_ATTENTION[options.flash_attention]
        params.type_k = params.type_v = CACHE_TYPES[options.cache]
        params.kv_unified = options.unified
        params.no_perf = True
        return params

    def describe(self):
        text = ctypes.create_string_buffer(256)
        llama.llama_model_desc(self.model, text, len(text))
        options = self.options
        return {
            "name": "llama.cpp",
            "version": f"llama-cpp-python {llama.__version__}",
            "threads": options.threads,
            "model": {
                "file": options.model.name,
                "kind": text.value.decode(),
                "parameters": llama.llama_model_n_params(self.model),
                "tensor_bytes": llama.llama_model_size(self.model),
            },
            "settings": {
                "flash_attention": options.flash_attention,
                "ubatch": options.ubatch,
                "cache": options.cache,
                "unified_cache": options.unified,
                "mmap": options.mmap,
                "repack": options.repack,
                "sequences": options.sequences,
                "sequence_tokens": options.sequence_tokens,
            },
            "system_info": llama.llama_print_system_info().decode().strip(),
            "build": build_record(),
        }

    def _check(self, batch, tokens):
        if batch > self.options.sequences or tokens > self.options.sequence_tokens:
            raise ValueError(
                f"{batch} sequences of {tokens} tokens do not fit a context of "
                f"{self.options.sequences} of {self.options.sequence_tokens}"
            )

    def _run(self, batch):
        status = llama.llama_decode(self.context, batch.raw)
        llama.llama_synchronize(self.context)
        if status != 0:
            raise RuntimeError(f"llama_decode returned {status}")

    def prefill(self, batch, tokens):
        self._check(batch, tokens)
        llama.llama_memory_clear(self.memory, True)
        work = Batch(batch, tokens, 0, seed=tokens)
        try:
            return protocol.timed(lambda: self._run(work))
        finally:
            work.close()

    def decode(self, batch, prompt, steps):
        self._check(batch, prompt + steps)
        self.prefill(batch, prompt)
        work = [Batch(batch, 1, prompt + step, seed=step) for step in range(steps)]

        def take_steps():
            for step in work:
                self._run(step)

        try:
            return protocol.timed(take_steps)
        finally:
            for step in work:
                step.close()


def build_record():
    """What setup.sh wrote down about the library's build."""
    path = PEERS / "llama.cpp" / "build.json"
    return json.loads(path.read_text()) if path.exists() else None


def quantize(source, folder):
    """Writes the model in each of FILE_TYPES; files that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    llama.llama_log_set(keep_errors, ctypes.c_void_p(0))
    for name, file_type in FILE_TYPES.items():
        target = folder / f"{name}.gguf"
        if target.exists():
            continue
        params = llama.llama_model_quantize_default_params()
        params.ftype = file_type
        params.allow_requantize = True
        part = folder / f"{name}.gguf.part"
        status = llama.llama_model_quantize(
            str(source).encode(), str(part).encode(), ctypes.byref(params)
        )
        if status != 0:
            raise SystemExit(f"llama_model_quantize of {source} to {name} returned {status}")
        part.rename(target)
        print(f"wrote {target}, {target.stat().st_size} bytes", file=sys.stderr)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    switch = argparse.BooleanOptionalAction
    parser.add_argument("model", type=pathlib.Path, metavar="MODEL.gguf")
    parser.add_argument("--quantize", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--flash-attention", choices=FLASH_ATTENTION, default="auto")
    parser.add_argument("--ubatch", type=int, default=512)
    parser.add_argument("--cache", choices=CACHE_TYPES, default="f16")
    parser.add_argument("--unified", action=switch, default=False)
    parser.add_argument("--mmap", action=switch, default=True)
    parser.add_argument("--repack", action=switch, default=True)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--sequence-tokens", type=int, default=512)
    return parser.parse_args()


def main():
    options = parse()
    if options.quantize:
        quantize(options.model, options.quantize)
    else:
        protocol.serve(lambda: LlamaCpp(options))


if __name__ == "__main__":
    main()
