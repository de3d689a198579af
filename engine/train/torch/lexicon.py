"""The lexical part of embeddings, which stays as it is while the states' part learns; the twin
of `engine/encoder/src/lexicon.rs`."""

import torch
import torch.nn.functional as F

PREFIX = "lexicon."


class Lexicon:
    """Weights of tokens `[vocabulary]`, a projection `[dimension, hidden]`, and the part's
    length where that of the states has length 1."""

    def __init__(self, tensors, device):
        self.stored = {name: part for name, part in tensors.items() if name.startswith(PREFIX)}
        read = lambda name: self.stored[PREFIX + name].to(device).float()
        self.weights, self.projection, self.share = read("weights"), read("projection"), read("share")

    @torch.no_grad()
    def part(self, embedding, batch):
        """Rows of the lexical length, `[count, dimension]`, of a batch's contents and thoughts.
        `embedding` are the backbone's input embeddings."""
        ids = batch.ids[batch.pooled]
        words = F.embedding(ids, embedding) * self.weights[ids][:, None]
        bags = torch.zeros(batch.count, embedding.shape[1], device=embedding.device)
        bags.index_add_(0, batch.owner, words)
        projected = F.linear(F.normalize(bags, dim=1), self.projection)
        return F.normalize(projected, dim=1) * self.share
