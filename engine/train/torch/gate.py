"""The gate: from a query's direct states to the chance that a thought helps it.

It is fitted to examples that no stage has learned. The labels cost nobody's judgement: a query
was embedded directly and after a thought of its own, and either the thought widened the lead of
the best answer over all other documents or it did not.
"""

import math

import numpy
import torch

from evaluate import auroc, embed_all, margins

#: Queries of a kind at most, and documents beside them, which no thought helps.
QUERIES, DOCUMENTS = 4_000, 4_000
#: The fit: width, passes over all examples at most, and the share that only measures.
WIDTH, EPOCHS, HELD_OUT = 64, 300, 0.2
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 0.05


class Gate(torch.nn.Module):
    """GELU units on the standardised mean query state, as the recipe's `gate_depth` has it; a logit
    for each."""

    def __init__(self, states, seed=1):
        super().__init__()
        torch.manual_seed(seed)
        self.mean, self.deviation = states.mean(0), states.std(0) + 1e-6
        self.inner = torch.nn.Linear(states.shape[1], WIDTH, device=states.device)
        self.outer = torch.nn.Linear(WIDTH, 1, device=states.device)

    def forward(self, states):
        standard = (states - self.mean) / self.deviation
        return self.outer(torch.nn.functional.gelu(self.inner(standard)))[:, 0]

    @torch.no_grad()
    def tensors(self):
        """As adapters store it, for states as they are."""
        weight = self.inner.weight / self.deviation
        return {
            "gate.inner.weight": weight, "gate.inner.bias": self.inner.bias - weight @ self.mean,
            "gate.outer.weight": self.outer.weight, "gate.outer.bias": self.outer.bias,
        }


def fit(states, labels, seed=1):
    """A gate, from the epoch whose loss on the held-out share is least."""
    with torch.enable_grad():
        wanted = torch.from_numpy(labels.astype("float32")).to(states.device)
        order = torch.from_numpy(numpy.random.default_rng(seed).permutation(len(labels))).to(states.device)
        held, learned = order.split([int(HELD_OUT * len(labels)), len(labels) - int(HELD_OUT * len(labels))])
        gate = Gate(states[learned], seed)
        optimizer = torch.optim.AdamW(gate.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        loss = lambda rows: torch.nn.functional.binary_cross_entropy_with_logits(gate(states[rows]), wanted[rows])
        best = (math.inf, None)
        for _ in range(EPOCHS):
            optimizer.zero_grad()
            loss(learned).backward()
            optimizer.step()
            with torch.no_grad():
                seen = loss(held).item()
            if seen < best[0]:
                best = (seen, {name: value.clone() for name, value in gate.state_dict().items()})
        gate.load_state_dict(best[1])
    return gate


@torch.no_grad()
def examples(trainer, gain_min):
    """What the gate reads of held-out queries and of documents, and whether a thought widens the
    lead by more than `gain_min`."""
    packed = trainer.packed
    queries, answers, texts = [], [], {}
    for name in ("resolving", "explain", "plain"):
        known = packed.kinds.get(name)
        for at in known.held_out()[:QUERIES] if known else []:
            for text in (*known.positives[at].tolist(), *known.negatives[at].tolist()):
                texts.setdefault(text, len(texts))
            queries.append(packed.prompt(known.query[at], "query"))
            answers.append([texts[text] for text in known.positives[at].tolist()])
    documents = [packed.prompt(text, "document") for text in texts]
    table, of_documents = embed_all(trainer, documents)
    direct, states = embed_all(trainer, queries)
    thoughts = trainer.think(queries, 0.0)
    reasoned, _ = embed_all(trainer, [packed.think(query, *thought) for query, thought in zip(queries, thoughts)])
    gain = margins(reasoned, table, answers) - margins(direct, table, answers)
    some = numpy.random.default_rng(1).permutation(len(documents))[:DOCUMENTS]
    states = torch.cat([states, of_documents[torch.from_numpy(some).to(states.device)]])
    return states, numpy.concatenate([gain > gain_min, numpy.zeros(len(some), dtype=bool)])


def run(trainer, gain_min=0.1):
    """Fits a gate to what the adapters do now, and saves it with them."""
    states, labels = examples(trainer, gain_min)
    gate = fit(states, labels)
    scores = gate(states).detach().cpu().numpy()
    trainer.log({"gate": len(labels), "helped": float(labels.mean()), "auroc_fitted": auroc(scores, labels)})
    return gate
