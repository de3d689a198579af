"""What training minimises; the twins of `src/learn/loss.rs`."""

import dataclasses

import torch
import torch.nn.functional as F

MASKED = -1e30


@dataclasses.dataclass
class Pairing:
    """Which document belongs to which query: `positive[i]` answers query `i`; `also_right`
    `[N, M]` marks documents that answer it as well and must not count as wrong, `doubtful`
    those that nobody has called right or wrong."""

    positive: torch.Tensor
    also_right: torch.Tensor
    doubtful: torch.Tensor


def info_nce(queries, documents, pairing, temperature, margin=None):
    """Symmetric InfoNCE (arXiv 1807.03748, CLIP's form) of unit rows `[N, D]` among `[M, D]`.
    A doubtful document that is more similar than the positive by more than `margin` is taken
    for a false negative and left out."""
    similarities, positive = queries @ documents.T, pairing.positive
    masked = pairing.also_right
    if margin is not None:
        fixed = similarities.detach()
        masked = masked | (pairing.doubtful & (fixed > fixed.gather(1, positive[:, None]) + margin))
    logits = (similarities / temperature).masked_fill(masked, MASKED)
    there = F.cross_entropy(logits, positive)
    back = F.cross_entropy(logits.T[positive], torch.arange(len(queries), device=queries.device))
    return (there + back) / 2


def cosine_distance(students, teachers):
    """The mean of `1 - cosine` of unit rows."""
    return 1 - (students * teachers).sum(1).mean()


def similarity_divergence(students, teachers, temperature):
    """Divergence of the similarities within a batch from the teacher's, each row a
    distribution over the others."""
    own = torch.eye(len(students), dtype=torch.bool, device=students.device)
    spread = lambda x: torch.log_softmax((x @ x.T / temperature).masked_fill(own, MASKED), 1)
    teacher = spread(teachers)
    return (teacher.exp() * (teacher - spread(students))).sum(1).mean()


def policy_loss(current, sampled, reference, advantages, policy):
    """GRPO's loss (arXiv 2402.03300) over tokens, with a wider upper clip (arXiv 2503.14476),
    and the mean divergence from the reference."""
    ratio = (current - sampled).exp()
    clipped = ratio.clamp(1 - policy["clip_low"], 1 + policy["clip_high"])
    surrogate = torch.minimum(ratio * advantages, clipped * advantages)
    gap = reference - current
    divergence = gap.exp() - gap - 1
    loss = (policy["kl_weight"] * divergence - surrogate).mean()
    return loss, divergence.detach().mean()
