"""Learning embeddings: InfoNCE of queries directly and after thoughts, and a teacher's vectors."""

import time

import numpy
import torch

import losses
import reasoning
from ragged import Ragged, put


def own_thoughts(trainer, stage):
    """Thoughts of the adapter's own for a share of what the stage's examples draw, by kind and
    row, as it stands at the beginning: where the stage moves it as well, they grow stale."""
    started, own = time.time(), {}
    for kind, count in stage["batch"].items():
        known = trainer.packed.kinds[kind]
        if kind == "distill" or not stage.get("sampled_thoughts"):
            continue
        most = min(known.drawn, stage["steps"] * count)
        draw = numpy.random.default_rng([trainer.recipe["seed"], 7])
        rows = [row for row in known.draw(0, most) if draw.random() < stage["sampled_thoughts"]]
        prompts = [trainer.packed.prompt(known.query[row], "query") for row in rows]
        thoughts = trainer.think(prompts, stage.get("thought_temperature", 0.7))
        own[kind] = dict(zip(rows, thoughts))
    closed = [closed for made in own.values() for _, closed in made.values()]
    trainer.log({"own_thoughts": len(closed), "closed": float(numpy.mean(closed or [0])),
                 "seconds": round(time.time() - started, 1)})
    return own


@torch.no_grad()
def neighbours(trainer, stage):
    """The nearest texts, by the teacher's vectors, of every text that is only distilled: rows of
    them `[texts, count]` by kind. What a teacher knows of similar texts is in how it orders them."""
    count, found = stage["neighbours"], {}
    for kind in stage["batch"] if count else []:
        known = trainer.packed.kinds[kind]
        if len(known.positives.values):
            continue
        places = numpy.array([trainer.taught[int(text)] for text in known.query])
        table = trainer.teacher[put(places, trainer.student.backbone.device)].float()
        nearest = []
        for rows in torch.arange(len(table), device=table.device).split(2_048):
            near = table[rows] @ table.T
            near[torch.arange(len(rows)), rows] = -1
            nearest.append(near.topk(count, 1).indices.cpu())
        found[kind] = torch.cat(nearest).numpy()
    return found


class Batch:
    """What a step embeds: prompts, and which of them belong together."""

    def __init__(self, trainer, stage, step, own, near):
        self.packed, self.negatives_max = trainer.packed, stage["negatives_max"]
        self.neighbours = stage["neighbours"]
        self.draw = numpy.random.default_rng([trainer.recipe["seed"], 11, step])
        self.sequences, self.documents = [], {}
        #: `(row, text)` of all but thoughts.
        self.texts = []
        #: By loss, `(row, positive, all positives, negatives)`: a query's row, and texts.
        self.queries = {"direct": [], "reasoned": []}
        for kind, size in stage["batch"].items():
            known, thoughts = self.packed.kinds[kind], own.get(kind, {})
            rows = known.draw(step, max(1, size // (1 + self.neighbours)) if kind in near else size)
            if kind in near:
                # Each once: a text that a step has twice is so similar to itself that it learns nothing else.
                rows = numpy.unique(numpy.concatenate([rows, near[kind][rows].reshape(-1)]))
            for at in rows:
                self.example(known, at, thoughts.get(at), stage["weights"]["reasoned"] > 0)

    def add(self, sequence):
        self.sequences.append(sequence)
        return len(self.sequences) - 1

    def document(self, text):
        if text not in self.documents:
            self.documents[text] = self.add(self.packed.prompt(text, "document"))
            self.texts.append((self.documents[text], text))

    def example(self, known, at, own_thought, reasoned):
        right = known.positives[at].tolist()
        # In a neighbourhood a text may be either.
        is_query = right or not self.neighbours or self.draw.random() < 0.5
        role = "query" if is_query else "document"
        prompt = self.packed.prompt(known.query[at], role)
        row = self.add(prompt)
        self.texts.append((row, int(known.query[at])))
        if not right:
            return
        positive = int(self.draw.choice(right))
        wrong = self.draw.permutation(known.negatives[at])[: self.negatives_max].tolist()
        for text in (positive, *wrong):
            self.document(text)
        self.queries["direct"].append((row, positive, right, wrong))
        if not reasoned:
            return
        if own_thought is not None:
            after = self.packed.think(prompt, *own_thought)
        elif known.thought[at] >= 0:
            after = self.packed.written(prompt, known.thought[at])
        else:
            return
        self.queries["reasoned"].append((self.add(after), positive, right, wrong))

    def pairing(self, queries, device):
        """Rows of queries, and how they go with the documents in their order."""
        place = {text: at for at, text in enumerate(self.documents)}
        also_right = numpy.zeros((len(queries), len(place)), dtype=bool)
        doubtful = numpy.ones_like(also_right)
        for at, (_, positive, right, wrong) in enumerate(queries):
            also_right[at, [place[text] for text in right if text in place and text != positive]] = True
            doubtful[at, [place[text] for text in (positive, *wrong)]] = False
        rows = numpy.array([row for row, *_ in queries])
        positive = numpy.array([place[positive] for _, positive, *_ in queries])
        return put(rows, device), losses.Pairing(*(put(one, device) for one in (positive, also_right, doubtful)))


def loss(trainer, stage, step, own, near):
    """The weighted losses of a step, and each of them."""
    weights, device = stage["weights"], trainer.student.backbone.device
    made = Batch(trainer, stage, step, own, near)
    batch = Ragged(made.sequences, trainer.queries_in_batch, device)
    document_rows = put(numpy.array(list(made.documents.values())), device)
    pairings = {
        name: made.pairing(queries, device)
        for name, queries in made.queries.items() if weights[name] > 0 and queries
    }
    taught = [(row, trainer.taught[text]) for row, text in made.texts if text in trainer.taught]
    taught = put(numpy.array(taught, dtype="int64").reshape(-1, 2), device)
    trainer.tokens += batch.total
    vectors, _ = trainer.embedder()(batch)
    documents, parts = vectors[document_rows], {}
    for name, (rows, pairing) in pairings.items():
        margin = stage["false_negative_margin"]
        parts[name] = losses.info_nce(vectors[rows], documents, pairing, stage["temperature"], margin)
    if len(taught) and weights["cosine"] + weights["similarity"] > 0:
        students = vectors[taught[:, 0]]
        teachers = torch.nn.functional.normalize(trainer.teacher[taught[:, 1]].float(), dim=1)
        if weights["cosine"] > 0:
            parts["cosine"] = losses.cosine_distance(students, teachers)
        parts["similarity"] = losses.similarity_divergence(students, teachers, stage["temperature"])
    examples = list(reasoning.draw(trainer, stage, step)) if weights["thought"] > 0 else []
    if examples:
        parts["thought"] = reasoning.loss(trainer, examples)
    return sum(weights[name] * part for name, part in parts.items()), parts


def run(trainer, stage):
    """The stage of a recipe that weights losses of embeddings."""
    if trainer.adapters.lexicon and stage["weights"]["cosine"] > 0:
        raise SystemExit("a lexicon's dimensions are no teacher's: set the weight of `cosine` to 0")
    if stage["neighbours"] and stage["weights"]["similarity"] == 0:
        raise SystemExit("wants neighbours, but has no loss `similarity`")
    own, near = own_thoughts(trainer, stage), neighbours(trainer, stage)
    optimizer, started, count = trainer.optimizer(stage), time.time(), 0
    for step, share in trainer.steps(stage):
        value, parts = loss(trainer, stage, step, own, near)
        norm = trainer.learn(stage, optimizer, step, share, value)
        count = step + 1
        if step % 20 == 0:
            parts = {name: round(part.item(), 4) for name, part in parts.items()}
            trainer.log({"stage": stage["name"], "step": step, "norm": norm.item(), "tokens": trainer.tokens, **parts})
    trainer.end(stage, count, started)
