#!/usr/bin/env python3
"""Trains adapters by a recipe with PyTorch on a GPU: the twin of `twn train run`.

    python3 train.py packed.npz --model MODEL.gguf --teacher MINILM_FOLDER --out RUN
        [--seconds reasoning=110,embedding=220,policy=60] [--set embedding.steps=100]

RUN gets `log.jsonl` and after every stage STAGE.safetensors, which `adapters.py` makes a
folder of adapters from. A stage ends at its steps or its seconds, whichever are over first;
its learning rate falls along the same measure.
"""

import argparse
import copy
import json
import math
import os
import pathlib
import time

# Batches differ in size from step to step: segments that grow keep memory in one piece.
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

import numpy
import torch

import losses
import teacher
from adapters import Adapters
from backbone import Backbone
from data import Packed
from evaluate import adaptive, embed_all, evaluate, passes
from model import Student
from ragged import Ragged

#: Texts of the closed form, and its penalty relative to the mean variance.
RIDGE_TEXTS, RIDGE = 12_000, 0.1
#: Steps between two looks at whether a run is still finite.
CHECKED = 20
#: Steps after which the reasoning stage saves what it has.
SAVED = 100
#: Positions, budgets included, of thoughts that are decoded together: bounds the cache.
THOUGHT_POSITIONS = 800_000
#: What a stage need not name, as `twn train` has it.
STAGE = {"warmup": 1, "temperature": 0.05, "negatives_max": 4, "false_negative_margin": 0.1}
WEIGHTS = ("thought", "direct", "reasoned", "cosine", "similarity")
POLICY = {"kl_weight": 0.04, "kl_max": 0.5, "clip_low": 0.2, "clip_high": 0.28}


class Trainer:
    """A run: `changes` are settings by name that differ from the recipe's. What it has read
    can be taken from an `earlier` run."""

    def __init__(self, options, changes, earlier=None):
        self.options = options
        self.packed = earlier.packed if earlier else Packed(options.packed)
        self.recipe = copy.deepcopy(self.packed.recipe)
        for name, value in changes.items():
            place, last = self.place(name)
            place[last] = value
        for stage in self.recipe["stage"]:
            for name, value in STAGE.items():
                stage.setdefault(name, value)
            stage["weights"] = {name: stage.get("weights", {}).get(name, 0.0) for name in WEIGHTS}
            if "policy" in stage:
                stage["policy"] = POLICY | stage["policy"]
        if self.recipe["adapters"]["pooling"] != "queries+mean":
            raise SystemExit("only the pooling `queries+mean` is trained here")
        torch.manual_seed(self.recipe["seed"])
        device = torch.device(options.device)
        self.dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        # cuDNN's attention plans for every shape anew, and every step has new ones.
        torch.backends.cuda.enable_cudnn_sdp(False)
        self.started = time.time()
        backbone = earlier.student.backbone if earlier else Backbone(options.model, device)
        self.adapters = Adapters(backbone, self.recipe)
        self.student = Student(backbone, self.adapters, self.dtype, options.compile)
        learning = sum(part.numel() for part in self.adapters.parameters())
        options.out.mkdir(parents=True, exist_ok=True)
        self.log_file = open(options.out / "log.jsonl", "a")
        self.log({"backbone": backbone.parameters, "learning": learning, "share": learning / backbone.parameters,
                  "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu"})
        self.cache = self.recipe["adapters"]["interface"] == "cache"
        self.queries_in_batch = 0 if self.cache else self.recipe["adapters"]["queries"]
        self.detach = self.recipe.get("wiring", {}).get("detach", True)
        self.taught, self.teacher = {}, earlier.teacher if earlier else None
        self.own = {}
        self.tokens = 0

    def place(self, name):
        """Where a setting such as `embedding.steps` or `adapters.interface` lies."""
        head, *rest = name.removeprefix("stage.").split(".")
        stage = next((one for one in self.recipe["stage"] if one["name"] == head), None)
        known = ("adapters", "wiring", "data", "evaluate")
        if stage is None and head not in known:
            raise SystemExit(f"`{name}`: the recipe has no stage `{head}`")
        at = stage if stage is not None else self.recipe.setdefault(head, {})
        for part in rest[:-1]:
            at = at.setdefault(part, {})
        return at, rest[-1]

    def log(self, line):
        line = {"at": round(time.time() - self.started, 1), **line}
        text = json.dumps(line)
        print(text, flush=True)
        self.log_file.write(text + "\n")
        self.log_file.flush()

    # What stages share

    def embedder(self):
        """Embeds batches with the adapters as they are now."""
        student, adapters = self.student, self.adapters
        embedding = student.merged(adapters.embedding)
        if not self.cache:
            return lambda batch: student.embed(embedding, batch)
        reasoning = student.merged(adapters.reasoning)
        return lambda batch: student.embed_from_cache(reasoning, embedding, batch, self.detach)

    def think(self, prompts, temperature):
        """Thoughts of the reasoning adapter's own, in the prompts' order."""
        with torch.no_grad():
            merged = self.student.merged(self.adapters.reasoning)
        packed, thoughts = self.packed, [None] * len(prompts)
        opened = [packed.opened(prompt) for prompt in prompts]
        order = numpy.argsort([len(one.tokens) for one in opened], kind="stable")
        budget = self.recipe["adapters"]["thought"]["token_budget"]
        end = len(order)
        while end > 0:
            # The longest first: as many as have room beside it.
            longest = len(opened[order[end - 1]].tokens) + budget
            start = max(0, end - max(1, THOUGHT_POSITIONS // longest))
            rows, end = order[start:end], start
            made = self.student.think(
                merged, [opened[at] for at in rows], packed.close, budget, temperature, packed.end_of_text
            )
            for at, thought in zip(rows, made):
                thoughts[at] = thought
        return thoughts

    def teach(self):
        """The teacher's vectors, and the closed form of the means' projection."""
        device = self.student.backbone.device
        if self.teacher is not None:
            table = self.teacher
        elif self.options.teacher.is_file():
            table = torch.load(self.options.teacher, map_location=device)
        else:
            table = teacher.vectors(self.options.teacher, self.packed, device, torch.float32)
            torch.save(table, self.options.out / "teacher.pt")
        if len(table) != len(self.packed.teacher_rows):
            raise SystemExit("the teacher's vectors are not those of the packed texts")
        self.teacher = table
        self.taught = {int(row): at for at, row in enumerate(self.packed.teacher_rows)}
        self.log({"taught": len(table)})
        if self.options.initial:
            return
        draw = numpy.random.default_rng(self.recipe["seed"])
        chosen = draw.permutation(len(table))[: self.options.ridge_texts]
        sequences = [self.packed.prompt(self.packed.teacher_rows[at], "query") for at in chosen]
        means = torch.zeros(len(chosen), self.student.backbone.hidden, device=device)
        with torch.no_grad():
            merged = self.student.merged(None)
            for group in passes(sequences, 0, 200_000):
                batch = Ragged([sequences[at] for at in group], 0, device)
                rows = torch.nn.functional.embedding(batch.ids, self.student.tokens)
                hidden = self.student.forward(merged, rows, batch)
                means[torch.tensor(numpy.array(group), device=device)] = self.student.means(batch, hidden)
            wanted = table[torch.from_numpy(chosen).to(device)].double()
            means = means.double()
            center, middle = means.mean(0), wanted.mean(0)
            x, y = means - center, wanted - middle
            gram = x.T @ x
            gram += torch.eye(len(gram), device=device) * RIDGE * gram.diagonal().mean()
            weight = torch.linalg.solve(gram, x.T @ y).T
            self.adapters.mean_weight.copy_(weight)
            self.adapters.mean_bias.copy_(middle - weight @ center)
            got = torch.nn.functional.normalize(means @ weight.T + middle - weight @ center, dim=1)
            self.log({"closed_form_distance": losses.cosine_distance(got, wanted).item()})

    def steps(self, stage):
        """Yields steps and how far the stage is, 0 to 1, until it ends."""
        seconds = self.options.seconds.get(stage["name"], math.inf)
        started = time.time()
        for step in range(stage["steps"]):
            spent = (time.time() - started) / seconds
            if spent >= 1:
                break
            yield step, max(step / stage["steps"], spent)

    def learn(self, stage, optimizer, step, share, loss=None):
        """One update along the stage's learning rate: warm-up, then half a cosine."""
        rate = min(1.0, (step + 1) / stage["warmup"]) * (0.1 + 0.9 * (1 + math.cos(math.pi * share)) / 2)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        if loss is not None:
            loss.backward()
        parameters = [part for part in self.adapters.parameters() if part.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        if step % CHECKED == 0 and not math.isfinite(norm.item()):
            raise SystemExit(f"{stage['name']}: step {step} diverged, the gradient's norm is {norm.item()}")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return norm

    def optimizer(self, stage):
        rate = stage["learning_rate"]
        # The closed form begins near its optimum: small steps keep it.
        rates = {"adapters": rate, "queries": rate, "projections": rate / 4}
        return torch.optim.AdamW(
            self.adapters.groups(rates), betas=(0.9, 0.98), eps=1e-8, weight_decay=0.01
        )

    def end(self, stage, count, started):
        self.adapters.save(self.options.out / f"{stage['name']}.safetensors")
        spent = time.time() - started
        self.log({"stage": stage["name"], "steps": count, "seconds": round(spent, 1), "tokens": self.tokens})
        self.tokens = 0

    # Stages

    def thought_loss(self, examples):
        """Next-token loss of written thoughts: `examples` are `(query, thought)` rows."""
        packed, student = self.packed, self.student
        sequences = [packed.written(packed.prompt(query, "query"), thought) for query, thought in examples]
        self.tokens += sum(len(one.tokens) for one in sequences)
        linears = student.learning(self.adapters.reasoning)
        earlier, still = None, 0
        if self.options.economical:
            frame = packed.frames["query"]
            with torch.no_grad():
                earlier = student.beginning(linears, frame)
            sequences = [one.after(len(frame)) for one in sequences]
            still = student.backbone.layers // 3
        batch = Ragged(sequences, 0, student.backbone.device)
        return -student.log_probabilities(linears, sequences, batch, earlier, still).mean()

    def draw_thoughts(self, stage, step):
        for kind, count in stage["batch"].items():
            known = self.packed.kinds[kind]
            for at in known.draw(step, count):
                if known.thought[at] >= 0:
                    yield known.query[at], known.thought[at]

    def reasoning(self, stage):
        if self.options.economical:
            used = numpy.unique(self.packed.thoughts.values).astype("int64")
            self.student.vocabulary = torch.from_numpy(used).to(self.student.backbone.device)
        optimizer, started, count = self.optimizer(stage), time.time(), 0
        for step, share in self.steps(stage):
            examples = list(self.draw_thoughts(stage, step))
            if not examples:
                continue
            loss = self.thought_loss(examples)
            norm = self.learn(stage, optimizer, step, share, loss)
            count = step + 1
            if step % 20 == 0:
                self.log({"stage": stage["name"], "step": step, "thought": loss.item(), "norm": norm.item()})
            if count % SAVED == 0:
                self.adapters.save(self.options.out / f"{stage['name']}.safetensors")
        self.student.vocabulary = None
        self.end(stage, count, started)

    def write_thoughts(self, stage):
        """Thoughts of the adapter's own for all that the stage's examples may need, as it
        stands at the beginning: where the stage moves it as well, they grow stale."""
        started = time.time()
        self.own = {}
        for kind, count in stage["batch"].items():
            known = self.packed.kinds[kind]
            if kind == "distill" or not stage.get("sampled_thoughts"):
                continue
            most = min(len(known.query), stage["steps"] * count)
            rows = []
            for at in range(0, most):
                rows.append(known.draw(at, 1)[0])
            draw = numpy.random.default_rng([self.recipe["seed"], 7])
            rows = [row for row in rows if draw.random() < stage["sampled_thoughts"]]
            prompts = [self.packed.prompt(known.query[row], "query") for row in rows]
            thoughts = self.think(prompts, stage.get("thought_temperature", 0.7))
            self.own[kind] = dict(zip(rows, thoughts))
        closed = [closed for made in self.own.values() for _, closed in made.values()]
        self.log({"own_thoughts": len(closed), "closed": float(numpy.mean(closed or [0])),
                  "seconds": round(time.time() - started, 1)})

    def embedding(self, stage):
        self.write_thoughts(stage)
        optimizer, started, count = self.optimizer(stage), time.time(), 0
        for step, share in self.steps(stage):
            loss, parts = self.embedding_loss(stage, step)
            norm = self.learn(stage, optimizer, step, share, loss)
            count = step + 1
            if step % 20 == 0:
                parts = {name: round(part.item(), 4) for name, part in parts.items()}
                self.log({"stage": stage["name"], "step": step, "norm": norm.item(), "tokens": self.tokens, **parts})
        self.end(stage, count, started)

    def embedding_loss(self, stage, step):
        packed, weights = self.packed, stage["weights"]
        device = self.student.backbone.device
        draw = numpy.random.default_rng([self.recipe["seed"], 11, step])
        sequences, taught, documents = [], [], {}

        def document(row):
            if row not in documents:
                documents[row] = len(sequences)
                sequences.append(packed.prompt(row, "document"))
                taught.append((documents[row], row))
            return documents[row]

        direct, reasoned = [], []
        for kind, size in stage["batch"].items():
            known = packed.kinds[kind]
            for at in known.draw(step, size):
                prompt = packed.prompt(known.query[at], "query")
                taught.append((len(sequences), known.query[at]))
                direct_row = len(sequences)
                sequences.append(prompt)
                positives = known.positives[at]
                if not len(positives):
                    continue
                positive = document(int(draw.choice(positives)))
                negatives = draw.permutation(known.negatives[at])[: stage["negatives_max"]]
                for row in negatives:
                    document(int(row))
                hard = [int(row) for row in negatives]
                right = [int(row) for row in positives]
                direct.append((direct_row, positive, right, hard))
                own = self.own.get(kind, {}).get(at)
                if weights["reasoned"] > 0 and (own is not None or known.thought[at] >= 0):
                    thought = packed.think(prompt, *own) if own is not None else packed.written(prompt, known.thought[at])
                    reasoned.append((len(sequences), positive, right, hard))
                    sequences.append(thought)
        batch = Ragged(sequences, self.queries_in_batch, device)
        self.tokens += batch.total
        vectors, _ = self.embedder()(batch)
        rows = torch.tensor(list(documents.values()), device=device)
        place = {row: at for at, row in enumerate(documents.values())}
        table, parts = vectors[rows], {}
        for name, queries in [("direct", direct), ("reasoned", reasoned)]:
            if weights.get(name, 0) > 0 and queries:
                also, doubtful = numpy.zeros((2, len(queries), len(place)), dtype=bool)
                doubtful[:] = True
                for at, (_, positive, right, hard) in enumerate(queries):
                    for row in right:
                        if row in documents and documents[row] != positive:
                            also[at, place[documents[row]]] = True
                    doubtful[at, [place[documents[row]] for row in hard]] = False
                    doubtful[at, place[positive]] = False
                put = lambda values: torch.from_numpy(values).to(device)
                mine = vectors[torch.tensor([one[0] for one in queries], device=device)]
                pairing = losses.Pairing(
                    torch.tensor([place[one[1]] for one in queries], device=device), put(also), put(doubtful)
                )
                margin = stage["false_negative_margin"]
                parts[name] = losses.info_nce(mine, table, pairing, stage["temperature"], margin)
        known = [(row, self.taught[int(text)]) for row, text in taught if int(text) in self.taught]
        if known:
            students = vectors[torch.tensor([row for row, _ in known], device=device)]
            teachers = self.teacher[torch.tensor([at for _, at in known], device=device)].float()
            teachers = torch.nn.functional.normalize(teachers, dim=1)
            parts["cosine"] = losses.cosine_distance(students, teachers)
            parts["similarity"] = losses.similarity_divergence(students, teachers, stage["temperature"])
        examples = list(self.draw_thoughts(stage, step)) if weights["thought"] > 0 else []
        if examples:
            parts["thought"] = self.thought_loss(examples)
        return sum(weights[name] * part for name, part in parts.items()), parts

    def policy(self, stage):
        """GRPO: thoughts are rewarded by the rank and lead that they give the embedding."""
        policy, packed, device = stage["policy"], self.packed, self.student.backbone.device
        optimizer, started, count = self.optimizer(stage), time.time(), 0
        with torch.no_grad():
            reference = self.student.merged(self.adapters.reasoning)
        group = policy["group"]
        for step, share in self.steps(stage):
            queries, documents, owners = [], [], []
            for kind, size in stage["batch"].items():
                known = packed.kinds[kind]
                # Another place in the order than where the stages before began.
                for at in known.draw(step + 10_000, size):
                    positives, negatives = known.positives[at], known.negatives[at]
                    rows = [positives[0], *negatives[: stage["negatives_max"]]]
                    owners.append(range(len(documents), len(documents) + len(rows)))
                    documents += [packed.prompt(row, "document") for row in rows]
                    queries.append(packed.prompt(known.query[at], "query"))
            table, _ = embed_all(self, documents)
            prompts = [prompt for prompt in queries for _ in range(group)]
            thoughts = self.think(prompts, policy["temperature"])
            sequences = [packed.think(prompt, *thought) for prompt, thought in zip(prompts, thoughts)]
            vectors, _ = embed_all(self, sequences)
            wide = max(map(len, owners))
            places = torch.tensor([list(o) + [o[0]] * (wide - len(o)) for o in owners], device=device)
            padded = torch.tensor([[False] * len(o) + [True] * (wide - len(o)) for o in owners], device=device)
            near = torch.einsum("qgd,qnd->qgn", vectors.view(len(queries), group, -1), table[places])
            others = near[..., 1:].masked_fill(padded[:, None, 1:], -1)
            own = near[..., :1]
            rank = 1 + (others >= own).sum(2)
            gap = own[..., 0] - others.amax(2)
            closed = torch.tensor([c for _, c in thoughts], device=device).view(len(queries), group).float()
            size = torch.tensor([float(len(t)) for t, _ in thoughts], device=device).view(len(queries), group)
            reward = (
                policy["format_reward"] * closed + policy["rank_reward"] / rank
                + policy["gap_reward"] * gap - policy["token_price"] * size
            )
            advantage = (reward - reward.mean(1, keepdim=True)) / (reward.std(1, unbiased=False, keepdim=True) + 1e-4)
            advantage = advantage.reshape(-1).cpu().numpy()
            kept = [at for at, (tokens, _) in enumerate(thoughts) if len(tokens)]
            total = sum(len(thoughts[at][0]) for at in kept)
            if not total:
                continue
            divergence = 0.0
            # A pass holds what its gradient needs; the update is one.
            order = passes([sequences[at] for at in kept], 0, self.options.pass_tokens)
            for part in order:
                some = [sequences[kept[at]] for at in part]
                weights = numpy.concatenate([numpy.full(one.thought[1] - one.thought[0], advantage[kept[at]]) for one, at in zip(some, part)])
                batch = Ragged(some, 0, device)
                self.tokens += batch.total
                with torch.no_grad():
                    expected = self.student.log_probabilities(reference, some, batch)
                current = self.student.log_probabilities(self.student.merged(self.adapters.reasoning), some, batch)
                loss, apart = losses.policy_loss(
                    current, current.detach(), expected,
                    torch.from_numpy(weights.astype("float32")).to(device), policy,
                )
                portion = len(weights) / total
                (loss * portion).backward()
                divergence += apart.item() * portion
            norm = self.learn(stage, optimizer, step, share)
            count = step + 1
            mean = lambda x: round(x.mean().item(), 4)
            self.log({"stage": stage["name"], "step": step, "reward": mean(reward), "closed": mean(closed),
                      "reciprocal_rank": mean(1 / rank), "gap": mean(gap), "thought_tokens": mean(size),
                      "divergence": round(divergence, 5), "norm": norm.item()})
            if divergence > policy["kl_max"]:
                break
        self.end(stage, count, started)

    def evaluate(self, label, gate=False):
        if self.student.backbone.device.type == "cuda":
            torch.cuda.empty_cache()
        seen = {}
        for name in self.packed.sets if gate else self.packed.sets[:1]:
            report, seen[name] = evaluate(self, name)
            self.log({"evaluated": label, **report})
        if gate and len(seen) == 2:
            figures, report = adaptive(*seen.values())
            self.log({"evaluated": label, "adaptive": report})
            return list(seen.values())[1] | {"adaptive": figures, "report": report}
        return None

    def run(self):
        if self.options.initial:
            self.adapters.load(self.options.initial)
        stages = [stage for stage in self.recipe["stage"] if not stage.get("skip")]
        taught = any(stage["weights"]["cosine"] + stage["weights"]["similarity"] for stage in stages)
        if taught:
            self.teach()
        seen = None
        for stage in stages:
            embeds = any(weight for name, weight in stage["weights"].items() if name != "thought")
            {(True, False): self.policy, (False, True): self.embedding, (False, False): self.reasoning}[
                "policy" in stage, embeds
            ](stage)
            if stage["name"] not in self.options.quiet:
                seen = self.evaluate(stage["name"], gate=stage is not stages[0])
        return seen


def arguments(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("packed", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--teacher", type=pathlib.Path, required=True, help="its folder, or an earlier run's teacher.pt")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--initial", type=pathlib.Path, help="begin with a folder of adapters")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", default="", help="STAGE=SECONDS,...")
    parser.add_argument("--quiet", action="append", default=[], metavar="STAGE", help="no evaluation after it")
    parser.add_argument("--pass-tokens", type=int, default=60_000, help="of reinforcement, with gradients")
    parser.add_argument("--ridge-texts", type=int, default=RIDGE_TEXTS)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument(
        "--economical", action="store_true",
        help="thoughts are learned without a gradient for the frame that all prompts begin with\n"
        "and for the lowest third of the layers, and compete with tokens of thoughts alone",
    )
    return parser


def read(parser):
    options = parser.parse_args()
    pairs = [one.split("=") for one in options.seconds.split(",") if one]
    options.seconds = {name: float(value) for name, value in pairs}
    return options


def main():
    parser = arguments(__doc__)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON")
    options = read(parser)
    pairs = [change.split("=", 1) for change in options.set]
    Trainer(options, {name: json.loads(value) for name, value in pairs}).run()


if __name__ == "__main__":
    main()
