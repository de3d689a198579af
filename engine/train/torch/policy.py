"""GRPO: thoughts are rewarded by the rank and lead that they give the embedding."""

import time

import numpy
import torch

import losses
from evaluate import embed_all, passes
from ragged import Ragged

#: Steps of another place in the data's order than where the stages before began.
ELSEWHERE = 10_000


def draw(trainer, stage, step):
    """Prompts of a step's queries and documents, and the rows of each query's own documents,
    the one that answers it first."""
    queries, documents, owned = [], [], []
    for kind, size in stage["batch"].items():
        known = trainer.packed.kinds[kind]
        for at in known.draw(step + ELSEWHERE, size):
            rows = [known.positives[at][0], *known.negatives[at][: stage["negatives_max"]]]
            owned.append(list(range(len(documents), len(documents) + len(rows))))
            documents += [trainer.packed.prompt(row, "document") for row in rows]
            queries.append(trainer.packed.prompt(known.query[at], "query"))
    return queries, documents, owned


def standing(vectors, table, owned):
    """Rank of each query's answer among its own documents and its lead over the nearest
    other, `[queries, group]`, for embeddings `[queries, group, dimension]`."""
    wide, device = max(map(len, owned)), table.device
    places = torch.tensor([rows + rows[:1] * (wide - len(rows)) for rows in owned], device=device)
    absent = torch.tensor([[at >= len(rows) for at in range(wide)] for rows in owned], device=device)
    near = torch.einsum("qgd,qnd->qgn", vectors, table[places])
    others = near[..., 1:].masked_fill(absent[:, None, 1:], -1)
    right = near[..., :1]
    return 1 + (others >= right).sum(2), right[..., 0] - others.amax(2)


def update(trainer, policy, reference, sequences, advantages):
    """Leaves the gradient of one update and returns the divergence from the reference. A pass
    holds what its gradient needs."""
    student, adapters = trainer.student, trainer.adapters
    total = sum(one.thought[1] - one.thought[0] for one in sequences)
    divergence = 0.0
    for part in passes(sequences, 0, trainer.options.pass_tokens):
        some = [sequences[at] for at in part]
        weights = [numpy.full(sequences[at].thought[1] - sequences[at].thought[0], advantages[at]) for at in part]
        weights = torch.from_numpy(numpy.concatenate(weights).astype("float32")).to(student.backbone.device)
        batch = Ragged(some, 0, student.backbone.device)
        trainer.tokens += batch.total
        with torch.no_grad():
            expected = student.log_probabilities(reference, some, batch)
        current = student.log_probabilities(student.merged(adapters.reasoning), some, batch)
        loss, apart = losses.policy_loss(current, current.detach(), expected, weights, policy)
        portion = len(weights) / total
        (loss * portion).backward()
        divergence += apart.item() * portion
    return divergence


def run(trainer, stage):
    """The stage of a recipe that has a `policy`."""
    policy, packed, device = stage["policy"], trainer.packed, trainer.student.backbone.device
    optimizer, started, count = trainer.optimizer(stage), time.time(), 0
    with torch.no_grad():
        reference = trainer.student.merged(trainer.adapters.reasoning)
    for step, share in trainer.steps(stage):
        queries, documents, owned = draw(trainer, stage, step)
        shape = (len(queries), policy["group"])
        table, _ = embed_all(trainer, documents)
        prompts = [prompt for prompt in queries for _ in range(policy["group"])]
        thoughts = trainer.think(prompts, policy["temperature"])
        sequences = [packed.think(prompt, *thought) for prompt, thought in zip(prompts, thoughts)]
        vectors, _ = embed_all(trainer, sequences)
        rank, gap = standing(vectors.view(*shape, -1), table, owned)
        closed = torch.tensor([float(closed) for _, closed in thoughts], device=device).view(shape)
        size = torch.tensor([float(len(tokens)) for tokens, _ in thoughts], device=device).view(shape)
        reward = (
            policy["format_reward"] * closed + policy["rank_reward"] / rank
            + policy["gap_reward"] * gap - policy["token_price"] * size
        )
        advantages = (reward - reward.mean(1, keepdim=True)) / (reward.std(1, unbiased=False, keepdim=True) + 1e-4)
        advantages = advantages.reshape(-1).cpu().numpy()
        kept = [at for at, (tokens, _) in enumerate(thoughts) if len(tokens)]
        if not kept:
            continue
        divergence = update(trainer, policy, reference, [sequences[at] for at in kept], advantages[kept])
        norm = trainer.learn(stage, optimizer, step, share)
        count = step + 1
        mean = lambda values: round(values.mean().item(), 4)
        trainer.log({"stage": stage["name"], "step": step, "reward": mean(reward), "closed": mean(closed),
                     "reciprocal_rank": mean(1 / rank), "gap": mean(gap), "thought_tokens": mean(size),
                     "divergence": round(divergence, 5), "norm": norm.item()})
        if divergence > policy["kl_max"]:
            break
    trainer.end(stage, count, started)
