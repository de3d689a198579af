"""The frozen decoder: a Llama from a GGUF file, its linears stacked over the layers."""

import functools

import numpy
import torch

#: The linears that adapters change: GGUF name, PEFT module, inputs, outputs.
LINEARS = {
    "q": ("attn_q", "self_attn.q_proj"),
    "k": ("attn_k", "self_attn.k_proj"),
    "v": ("attn_v", "self_attn.v_proj"),
    "o": ("attn_output", "self_attn.o_proj"),
    "gate": ("ffn_gate", "mlp.gate_proj"),
    "up": ("ffn_up", "mlp.up_proj"),
    "down": ("ffn_down", "mlp.down_proj"),
}


class Backbone:
    """Weights in f32, dequantised as every other reader of the file does it.

    `linears[name]` is `[layers, out, in]`, `norms` are `[layers, hidden]`.
    """

    def __init__(self, path, device):
        import gguf

        reader = gguf.GGUFReader(path)
        field = lambda name: reader.fields[f"llama.{name}"].contents()
        self.layers = field("block_count")
        self.hidden = field("embedding_length")
        self.heads = field("attention.head_count")
        self.kv_heads = field("attention.head_count_kv")
        self.head_size = self.hidden // self.heads
        self.epsilon = field("attention.layer_norm_rms_epsilon")
        self.rope_base = field("rope.freq_base")
        found = {tensor.name: tensor for tensor in reader.tensors}

        def read(name):
            tensor = found[name]
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
            return torch.from_numpy(numpy.ascontiguousarray(values, dtype=numpy.float32))

        def stacked(name, heads=None):
            parts = [read(f"blk.{layer}.{name}.weight") for layer in range(self.layers)]
            if heads:
                parts = [halves_of_pairs(part, heads) for part in parts]
            return torch.stack(parts).to(device)

        rotated = {"q": self.heads, "k": self.kv_heads}
        self.linears = {
            name: stacked(stored, rotated.get(name)) for name, (stored, _) in LINEARS.items()
        }
        self.attention_norm = stacked("attn_norm")
        self.mlp_norm = stacked("ffn_norm")
        self.final_norm = read("output_norm.weight").to(device)
        self.embedding = read("token_embd.weight").to(device)
        self.device = torch.device(device)

    @functools.cache
    def joined(self, names, dtype):
        """Linears that read the same rows as one, `[layers, out, in]`."""
        return torch.cat([self.linears[name] for name in names], 1).to(dtype)

    @property
    def parameters(self):
        parts = [*self.linears.values(), self.attention_norm, self.mlp_norm]
        return sum(part.numel() for part in [*parts, self.final_norm, self.embedding])


def halves_of_pairs(weight, heads):
    """GGUF rotates neighbours, `[x0, y0, x1, y1]`; here halves rotate, `[x0, x1, y0, y1]`."""
    width = weight.shape[0] // heads // 2
    return weight.reshape(heads, width, 2, -1).swapaxes(1, 2).reshape(weight.shape)
