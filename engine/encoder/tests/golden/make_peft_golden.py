"""Makes tests/fixtures/peft: random LoRA adapters on tiny-llama, and what peft computes with them.

Run from anywhere: python make_peft_golden.py
Needs torch, transformers and peft. Each folder is a PEFT checkpoint; `golden.safetensors`
holds two prompts' ids (`0.ids`, `1.ids`) and the hidden states after the final norm, for
the bare model (`base.0`, `base.1`) and under each adapter (`NAME.0`, `NAME.1`).
"""

import json
import pathlib

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CONFIGS = {
    "all": LoraConfig(r=4, lora_alpha=8, target_modules=ALL),
    "rslora": LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=ALL),
    "patterns": LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=ALL,
        rank_pattern={"layers.1.self_attn.q_proj": 2, "down_proj": 6},
        alpha_pattern={"layers.0.mlp.gate_proj": 3, r"layers\.1\..*_proj": 10},
    ),
    "qv": LoraConfig(r=3, lora_alpha=3, target_modules=["q_proj", "v_proj"]),
    "regex": LoraConfig(r=2, lora_alpha=4, target_modules=r".*layers\.1\..*\.(up|o)_proj"),
}


def load():
    return AutoModelForCausalLM.from_pretrained(FIXTURES / "tiny-llama", dtype=torch.float32).eval()


def tidy(folder: pathlib.Path) -> None:
    """Leaves out what depends on the machine: the model card, and the path of the base model."""
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = "tiny-llama"
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2) + "\n")


@torch.no_grad()
def main() -> None:
    torch.manual_seed(11)
    base = load()
    prompts = [torch.randint(3, base.config.vocab_size, (length,)) for length in (17, 5)]
    golden = {}
    for number, ids in enumerate(prompts):
        golden[f"{number}.ids"] = ids.to(torch.int32)
        golden[f"base.{number}"] = base.model(ids[None]).last_hidden_state[0].contiguous()
    for name, config in CONFIGS.items():
        model = get_peft_model(load(), config)
        for key, parameter in model.named_parameters():
            if "lora_" in key:
                parameter.normal_(0.0, 0.2)
        folder = FIXTURES / "peft" / name
        model.save_pretrained(folder)
        tidy(folder)
        for number, ids in enumerate(prompts):
            hidden = model.base_model.model.model(ids[None]).last_hidden_state[0]
            golden[f"{name}.{number}"] = hidden.contiguous()
            moved = (hidden - golden[f"base.{number}"]).abs().max().item()
            assert moved > 0.1, f"adapter {name} changes nothing"
    save_file(golden, FIXTURES / "peft" / "golden.safetensors")


if __name__ == "__main__":
    main()
