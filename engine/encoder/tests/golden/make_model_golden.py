"""Makes model_smollm2.safetensors and model_tiny_llama.safetensors: what transformers computes.

Run: python make_model_golden.py GGUF_FILE
GGUF_FILE is the default model's file (SmolLM2-135M-Instruct.Q4_1.gguf); transformers
dequantises it to float32. Needs torch, transformers and gguf.

Each golden file holds, for prompt N: `N.ids`, `N.positions` (sampled positions, the last
one included), `N.logits` (at those positions, for the ids in `vocabulary`), `N.argmax`,
`N.logsumexp` (over the whole vocabulary) and `N.greedy` (32 tokens, the end-of-turn token
not heeded). A greedy step whose two best logits are too close to call is refused, so that
the continuation is a fair test of another implementation.
"""

import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER = pathlib.Path(__file__).resolve().parent
GREEDY_TOKENS = 32
MARGIN = 2e-3

PARAGRAPH = (
    "An index keeps its sealed segments in files that never change. A reader pins a snapshot, "
    "searches every segment and the tail that is still in memory, and merges what it found by "
    "score. A writer appends to a log, waits until the log is on disk, and only then answers. "
    "When enough rows have gathered, they are sealed into a new segment, and a graph is built "
    "over them. Deleted rows leave a mark; compaction drops them later. "
)
PROMPTS = [
    "The",
    "The capital of France is",
    "fn main() {\n    let words: Vec<String> =",
    "Les documents sont transformés en vecteurs, puis",
    "1, 1, 2, 3, 5, 8, 13, 21,",
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWhy does ice float on water? Explain it to a child in two sentences.<|im_end|>\n"
    "<|im_start|>assistant\n",
    PARAGRAPH,
    PARAGRAPH * 2 + "In short,",
    PARAGRAPH * 7,
]


def greedy(model, ids: list[int]) -> list[int]:
    """Continues `ids` by the most likely tokens."""
    chosen: list[int] = []
    step = torch.tensor([ids])
    past = None
    for _ in range(GREEDY_TOKENS):
        out = model(step, past_key_values=past, use_cache=True)
        past = out.past_key_values
        best = out.logits[0, -1].topk(2)
        margin = (best.values[0] - best.values[1]).item()
        if margin < MARGIN:
            raise SystemExit(f"step {len(chosen)} of prompt {ids[:8]}... is too close to call: {margin}")
        chosen.append(best.indices[0].item())
        step = best.indices[:1].unsqueeze(0)
    return chosen


@torch.no_grad()
def golden(model, prompts: list[list[int]], vocabulary: torch.Tensor, samples: int) -> dict[str, torch.Tensor]:
    tensors = {"vocabulary": vocabulary.to(torch.int32)}
    for number, ids in enumerate(prompts):
        logits = model(torch.tensor([ids])).logits[0]
        positions = sorted({round(i * (len(ids) - 1) / max(samples - 1, 1)) for i in range(samples)})
        rows = logits[positions]
        tensors |= {
            f"{number}.ids": torch.tensor(ids, dtype=torch.int32),
            f"{number}.positions": torch.tensor(positions, dtype=torch.int32),
            f"{number}.logits": rows[:, vocabulary].contiguous(),
            f"{number}.argmax": rows.argmax(-1).to(torch.int32),
            f"{number}.logsumexp": rows.logsumexp(-1).contiguous(),
            f"{number}.greedy": torch.tensor(greedy(model, ids), dtype=torch.int32),
        }
        print(number, len(ids), "tokens")
    return tensors


def main() -> None:
    torch.set_num_threads(2)
    gguf = pathlib.Path(sys.argv[1])

    tiny = FOLDER.parent / "fixtures" / "tiny-llama"
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32).eval()
    prompts = [tokenizer(text, add_special_tokens=False)["input_ids"][:300] for text in PROMPTS]
    everything = torch.arange(model.config.vocab_size)
    save_file(golden(model, prompts, everything, 5), FOLDER / "model_tiny_llama.safetensors")

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()
    prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in PROMPTS]
    generator = torch.Generator().manual_seed(7)
    vocabulary = torch.randperm(model.config.vocab_size, generator=generator)[:64].sort().values
    save_file(golden(model, prompts, vocabulary, 16), FOLDER / "model_smollm2.safetensors")


if __name__ == "__main__":
    main()
