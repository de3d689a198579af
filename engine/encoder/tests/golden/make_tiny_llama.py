"""Makes tests/fixtures/tiny-llama: a random Llama of 0.1 M parameters in Hugging Face's layout.

Run from anywhere: python make_tiny_llama.py
Needs torch, transformers and tokenizers. The seed is fixed; another version of torch may
draw other weights, and then the golden files made from this model must be made again.
"""

import json
import pathlib

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "tiny-llama"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a small model.<|im_end|>\n' }}"
    "{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# What the tokenizer learns its merges from: plain sentences on what retrieval is about.
CORPUS = """
A search engine answers a question with documents. It reads each document once, turns it into
a vector, and keeps the vector where it can be found again. A query becomes a vector too, and
the nearest vectors win. Most questions are easy: the words of the question are the words of
the answer. Some questions are hard: what is asked and what is written share no word, and one
must think before one can search. Which crate parses the command line? How do I read a file
without copying it? What keeps a queue from growing without end? When the system is under
load, the threshold rises and fewer questions are thought about.
Represent this query for retrieving relevant documents. Represent this document for retrieval.
The wing of an aircraft in a supersonic stream heats at the leading edge. The boundary layer
is thin there, and the pressure is high. Heat flows from the gas to the wall. Experiments in a
wind tunnel agree with the theory within ten percent. The cat sat on the mat; the dog lay by
the door. She sells sea shells on the sea shore. The capital of France is Paris, the capital
of Italy is Rome, and the capital of Japan is Tokyo. Water boils at one hundred degrees.
The moon goes round the earth, and the earth goes round the sun. You are a small model. You
are a helpful assistant. The user asks and the assistant answers. The system sets the task.
fn main() { let words: Vec<String> = text.split(' ').map(String::from).collect(); }
pub struct Vector { pub values: Vec<f32>, pub norm: f32 } impl Vector { pub fn new() -> Self }
für über schön Straße größer naïve café déjà vu señor mañana привет мир 你好世界 こんにちは
"""


def make_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[AddedToken(token, special=True) for token in SPECIAL],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS.strip().splitlines(), trainer)
    return tokenizer


def make_model(vocab_size: int) -> LlamaForCausalLM:
    torch.manual_seed(20)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        # Wide enough that the logits differ clearly from token to token.
        initializer_range=0.2,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5)
    return model


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    tokenizer.save(str(FOLDER / "tokenizer.json"))
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "model_max_length": 512,
        "chat_template": TEMPLATE,
    }
    (FOLDER / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=2) + "\n")
    model = make_model(tokenizer.get_vocab_size())
    model.save_pretrained(FOLDER, safe_serialization=True)


if __name__ == "__main__":
    main()
