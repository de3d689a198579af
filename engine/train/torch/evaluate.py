"""Retrieval on a packed test collection: nDCG@10 directly, after written thoughts and after
the adapter's own, by kind of query."""

import numpy
import torch

from ragged import Ragged

#: Positions of one pass without gradients.
PASS_TOKENS = 200_000


def passes(sequences, extra, most):
    """Places of sequences by length, so many that a pass has about `most` positions."""
    order = numpy.argsort([len(one.tokens) for one in sequences], kind="stable")
    groups, total = [[]], 0
    for at in order:
        size = len(sequences[at].tokens) + extra
        if groups[-1] and total + size > most:
            groups.append([])
            total = 0
        groups[-1].append(at)
        total += size
    return groups


@torch.no_grad()
def embed_all(trainer, sequences):
    """Embeddings `[count, dimension]` and mean query states, in the order given."""
    student = trainer.student
    queries = trainer.queries_in_batch
    vectors = states = None
    embed = trainer.embedder()
    for group in passes(sequences, queries, PASS_TOKENS):
        batch = Ragged([sequences[at] for at in group], queries, student.backbone.device)
        part, state = embed(batch)
        if vectors is None:
            vectors = torch.zeros(len(sequences), part.shape[1], device=part.device)
            states = torch.zeros(len(sequences), state.shape[1], device=part.device)
        places = torch.tensor(numpy.array(group), device=part.device)
        vectors[places], states[places] = part, state
    return vectors, states


def ndcg_at_10(similarities, answers):
    """One figure a query; `answers[i]` maps rows of documents to grades."""
    top = similarities.topk(min(10, similarities.shape[1]), dim=1).indices.cpu().numpy()
    discount = 1 / numpy.log2(numpy.arange(2, 12))
    figures = []
    for ranked, wanted in zip(top, answers):
        gains = numpy.array([wanted.get(int(row), 0) for row in ranked])
        best = numpy.sort(list(wanted.values()))[::-1][:10]
        ideal = (best * discount[: len(best)]).sum()
        figures.append((gains * discount[: len(gains)]).sum() / ideal if ideal else numpy.nan)
    return numpy.array(figures)


def margins(similarities, answers):
    """The best answer's lead over the best other document."""
    lead = []
    table = similarities.cpu().numpy()
    for row, wanted in zip(table, answers):
        if not wanted:
            lead.append(numpy.nan)
            continue
        right = max(row[at] for at in wanted)
        others = row.copy()
        others[list(wanted)] = -2
        lead.append(right - others.max())
    return numpy.array(lead)


def auroc(scores, labels):
    order = numpy.argsort(scores, kind="stable")
    ranks = numpy.empty(len(scores))
    ranks[order] = numpy.arange(1, len(scores) + 1)
    positive = int(labels.sum())
    if positive in (0, len(labels)):
        return None
    return float((ranks[labels].sum() - positive * (positive + 1) / 2) / (positive * (len(labels) - positive)))


def fit_gate(states, labels, seed=1):
    """A gate like the product's (64 GELU units on the mean query state): a scorer."""
    with torch.enable_grad():
        torch.manual_seed(seed)
        mean, deviation = states.mean(0), states.std(0) + 1e-6
        inner = torch.nn.Linear(states.shape[1], 64, device=states.device)
        outer = torch.nn.Linear(64, 1, device=states.device)
        optimizer = torch.optim.AdamW([*inner.parameters(), *outer.parameters()], lr=2e-3, weight_decay=0.05)
        score = lambda x: outer(torch.nn.functional.gelu(inner((x - mean) / deviation)))[:, 0]
        wanted = torch.tensor(labels.astype("float32"), device=states.device)
        for _ in range(60):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(score(states), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return lambda x: score(x).detach().cpu().numpy()


@torch.no_grad()
def evaluate(trainer, name, written=True):
    """Figures of one collection, and per query what a gate is fitted to."""
    packed, raw = trainer.packed, trainer.packed.raw
    documents = [packed.prompt(row, "document") for row in raw[f"{name}.documents"]]
    queries = [packed.prompt(row, "query") for row in raw[f"{name}.queries"]]
    answers = [{} for _ in queries]
    for query, document, grade in raw[f"{name}.answers"]:
        answers[query][int(document)] = int(grade)
    kinds = raw[f"{name}.kinds"]
    known = raw[f"{name}.thoughts"]
    table, _ = embed_all(trainer, documents)
    direct, states = embed_all(trainer, queries)
    thoughts = trainer.think(queries, 0.0)
    tokens = numpy.array([len(tokens) for tokens, _ in thoughts])
    own = [packed.think(query, *thought) for query, thought in zip(queries, thoughts)]
    reasoned, _ = embed_all(trainer, own)
    similarities = {"never": direct @ table.T, "always": reasoned @ table.T}
    if written:
        with_written = [
            packed.written(query, thought) if thought >= 0 else query
            for query, thought in zip(queries, known)
        ]
        similarities["written"] = embed_all(trainer, with_written)[0] @ table.T
    figures = {mode: ndcg_at_10(table, answers) for mode, table in similarities.items()}
    report = {"collection": name}
    for mode, values in figures.items():
        report[mode] = {"all": mean(values)} | {k: mean(values[kinds == k]) for k in sorted(set(kinds))}
    report["tokens"] = {"all": mean(tokens)} | {k: mean(tokens[kinds == k]) for k in sorted(set(kinds))}
    right = [
        known[at] >= 0 and numpy.array_equal(tokens, packed.thoughts[known[at]])
        for at, (tokens, _) in enumerate(thoughts)
    ]
    report["as_written"] = {k: mean(numpy.array(right)[kinds == k]) for k in sorted(set(kinds))}
    report["closed"] = mean(numpy.array([closed for _, closed in thoughts]))
    gain = margins(similarities["always"], answers) - margins(similarities["never"], answers)
    return report, {"states": states, "gain": gain, "figures": figures, "tokens": tokens, "kinds": kinds}


def adaptive(fitted_on, seen_on, share=0.5):
    """A gate fitted to one collection decides on another: its AUROC there and nDCG@10 at
    the threshold that keeps within `share` of the tokens on the first: figures by query, and
    a report."""
    score = fit_gate(fitted_on["states"], fitted_on["gain"] > 0)
    first, second = score(fitted_on["states"]), score(seen_on["states"])
    best = (-1.0, numpy.inf)
    for threshold in numpy.quantile(first, numpy.linspace(0, 1, 201)):
        thinks = first >= threshold
        if fitted_on["tokens"][thinks].sum() > share * fitted_on["tokens"].sum():
            continue
        figure = numpy.where(thinks, fitted_on["figures"]["always"], fitted_on["figures"]["never"])
        best = max(best, (float(numpy.nanmean(figure)), float(threshold)))
    thinks = second >= best[1]
    figure = numpy.where(thinks, seen_on["figures"]["always"], seen_on["figures"]["never"])
    kinds = seen_on["kinds"]
    return figure, {
        "auroc": auroc(second, seen_on["gain"] > 0),
        "ndcg_at_10": mean(figure),
        "token_share": float(seen_on["tokens"][thinks].sum() / max(seen_on["tokens"].sum(), 1)),
        "think_rate": {k: mean(thinks[kinds == k]) for k in sorted(set(kinds))},
    }


def mean(values):
    return round(float(numpy.nanmean(values)), 4) if len(values) else None
