#!/usr/bin/env python3
"""PyTorch with PEFT beside the training benchmark: answers `step` requests.

    torch_training.py MODEL.gguf ADAPTERS --threads 2

The model is the default model, dequantised to f32 on loading; ADAPTERS is a folder that
`twn-bench training` wrote, so that both begin with the same adapters. A step encodes the
texts, computes symmetric InfoNCE over all embeddings, and encodes all but the first pass once
more for the gradients (GradCache), in passes of texts of similar length:

    {"op": "describe"}                       -> {"name": ..., ...}
    {"op": "step", "queries": [{"tokens": [...], "content": [begin, end]}], ...}
                                             -> {"seconds": ..., "loss": ...}
"""

import argparse
import pathlib

import protocol
from torch_encoder import build_record, prepare_process


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path, metavar="MODEL.gguf")
    parser.add_argument("adapters", type=pathlib.Path, metavar="ADAPTERS")
    parser.add_argument("--threads", type=int, default=2)
    parser.set_defaults(keep_memory=True)
    return parser.parse_args()


class Torch:
    """The model in f32 on the CPU with a LoRA, embedding queries and projections."""

    def __init__(self, options):
        import peft
        import safetensors.torch
        import torch
        import transformers

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        self.torch, self.transformers, self.peft = torch, transformers, peft
        self.options = options
        torch.set_num_threads(options.threads)
        torch.set_num_interop_threads(1)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            options.model.parent, gguf_file=options.model.name, dtype=torch.float32
        )
        folder = options.adapters / "embedding"
        self.model = peft.PeftModel.from_pretrained(model, folder, is_trainable=True).train()
        self.decoder = self.model.base_model.model.model
        head = safetensors.torch.load_file(options.adapters / "head.safetensors")
        part = lambda name: torch.nn.Parameter(head[name].float())
        self.head = torch.nn.ParameterDict(
            {
                name.replace(".", "_"): part(name)
                for name in head
                if name == "queries" or name.startswith("project.")
            }
        )
        adapters = [value for value in self.model.parameters() if value.requires_grad]
        self.learning = adapters + list(self.head.parameters())
        self.optimizer = None

    def describe(self):
        torch = self.torch
        return {
            "name": "PyTorch + PEFT",
            "version": f"torch {torch.__version__}, transformers {self.transformers.__version__}, "
            f"peft {self.peft.__version__}",
            "threads": torch.get_num_threads(),
            "learning_parameters": sum(part.numel() for part in self.learning),
            "settings": {
                "attention": self.model.config._attn_implementation,
                "keep_memory": self.options.keep_memory,
            },
            "system_info": torch.backends.cpu.get_cpu_capability(),
            "build": build_record(torch),
        }

    def embed(self, texts):
        """Unit embeddings of one pass: the mean of the content's final states and that of
        the queries, which follow each text, through their projections."""
        torch = self.torch
        queries = self.head["queries"]
        count = queries.shape[0]
        width = max(len(text["tokens"]) for text in texts) + count
        ids = torch.zeros(len(texts), width, dtype=torch.long)
        pool = torch.zeros(len(texts), 2, width)
        place = torch.zeros(len(texts), width, count)
        for row, text in enumerate(texts):
            end = len(text["tokens"])
            ids[row, :end] = torch.tensor(text["tokens"])
            begin, stop = max(text["content"][0], 1), text["content"][1]
            pool[row, 0, begin:stop] = 1 / (stop - begin)
            pool[row, 1, end : end + count] = 1 / count
            place[row, end : end + count] = torch.eye(count)
        tokens = self.decoder.embed_tokens(ids)
        is_query = place.sum(2, keepdim=True)
        rows = tokens * (1 - is_query) + place @ queries
        # Padding stands behind everything that is read, so causality hides it.
        states = self.decoder(inputs_embeds=rows, use_cache=False).last_hidden_state
        means = pool @ states
        linear = torch.nn.functional.linear
        pooled = linear(
            means[:, 0], self.head["project_mean_weight"], self.head["project_mean_bias"]
        ) + linear(
            means[:, 1], self.head["project_queries_weight"], self.head["project_queries_bias"]
        )
        return torch.nn.functional.normalize(pooled, dim=1)

    def passes(self, texts, most):
        """Places of texts by length, so many that a pass has at most `most` positions."""
        order = sorted(range(len(texts)), key=lambda at: -len(texts[at]["tokens"]))
        extra = self.head["queries"].shape[0]
        groups = []
        for at in order:
            length = len(texts[at]["tokens"]) + extra
            if groups and (len(groups[-1][1]) + 1) * groups[-1][0] <= most and 2 * length > groups[-1][0]:
                groups[-1][1].append(at)
            else:
                groups.append((length, [at]))
        return [group for _, group in groups]

    def loss(self, embeddings, request):
        torch = self.torch
        queries = len(request["queries"])
        positive = torch.tensor(request["positive"])
        logits = embeddings[:queries] @ embeddings[queries:].T / request["temperature"]
        there = torch.nn.functional.cross_entropy(logits, positive)
        back = torch.nn.functional.cross_entropy(logits.T[positive], torch.arange(queries))
        return (there + back) / 2

    def step(self, request):
        torch = self.torch
        if self.optimizer is None:
            self.optimizer = torch.optim.AdamW(
                self.learning,
                lr=request["learning_rate"],
                betas=request["betas"],
                eps=request["epsilon"],
                weight_decay=request["weight_decay"],
            )
        texts = request["queries"] + request["documents"]
        seen = {}

        def work():
            groups = self.passes(texts, request["pass_tokens"])
            # The first pass keeps what its gradient needs, and need not run again.
            first = self.embed([texts[at] for at in groups[0]])
            with torch.no_grad():
                parts = [self.embed([texts[at] for at in group]) for group in groups[1:]]
            parts.insert(0, first.detach())
            order = torch.tensor([at for group in groups for at in group])
            embeddings = torch.empty(len(texts), parts[0].shape[1])
            embeddings[order] = torch.cat(parts)
            embeddings.requires_grad_()
            loss = self.loss(embeddings, request)
            loss.backward()
            self.optimizer.zero_grad(set_to_none=True)
            (first * embeddings.grad[groups[0]]).sum().backward()
            for group in groups[1:]:
                again = self.embed([texts[at] for at in group])
                (again * embeddings.grad[group]).sum().backward()
            torch.nn.utils.clip_grad_norm_(self.learning, request["norm_max"])
            self.optimizer.step()
            seen["loss"] = loss.item()

        return protocol.timed(work) | seen


def main():
    options = parse()
    prepare_process(options)
    protocol.serve(lambda: Torch(options))


if __name__ == "__main__":
    main()
