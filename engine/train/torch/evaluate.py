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
    """Embeddings `[count, dimension]` and what the gate reads, in the order given."""
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


def margins(queries, documents, answers):
    """The lead of each query's best answer over the best other document; without any answer
    not a number. Unit rows, and lists of documents' rows."""
    lead = numpy.full(len(answers), numpy.nan)
    for rows in numpy.array_split(numpy.arange(len(answers)), max(1, len(answers) // 1_000)):
        similarities = (queries[torch.from_numpy(rows).to(queries.device)] @ documents.T).cpu()
        right = torch.zeros_like(similarities, dtype=torch.bool)
        for place, at in enumerate(rows):
            right[place, list(answers[at])] = True
        best = similarities.masked_fill(~right, -2).amax(1) - similarities.masked_fill(right, -2).amax(1)
        known = right.any(1).numpy()
        lead[rows[known]] = best.numpy()[known]
    return lead


def auroc(scores, labels):
    order = numpy.argsort(scores, kind="stable")
    ranks = numpy.empty(len(scores))
    ranks[order] = numpy.arange(1, len(scores) + 1)
    positive = int(labels.sum())
    if positive in (0, len(labels)):
        return None
    return float((ranks[labels].sum() - positive * (positive + 1) / 2) / (positive * (len(labels) - positive)))


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
    gain = margins(reasoned, table, answers) - margins(direct, table, answers)
    return report, {"states": states, "gain": gain, "figures": figures, "tokens": tokens, "kinds": kinds}


def adaptive(scores, fitted_on, seen_on, share=0.5):
    """A gate decides: nDCG@10 of one collection at the threshold that was best on another
    within `share` of the tokens there: figures by query, and a report. `scores` are the
    gate's of both."""
    first, second = scores
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
    better = seen_on["figures"]["always"] > seen_on["figures"]["never"]
    return figure, {
        "auroc": auroc(second, seen_on["gain"] > 0),
        "auroc_ndcg": auroc(second, better),
        "ndcg_at_10": mean(figure),
        "token_share": float(seen_on["tokens"][thinks].sum() / max(seen_on["tokens"].sum(), 1)),
        "think_rate": {k: mean(thinks[kinds == k]) for k in sorted(set(kinds))},
    }


def mean(values):
    return round(float(numpy.nanmean(values)), 4) if len(values) else None
