"""A sentence encoder's vectors for the texts to distil, made where the training runs, and
projections that begin near to them."""

import numpy
import torch

import losses
from evaluate import passes
from ragged import Ragged, put

#: The closed form's penalty relative to the mean variance.
RIDGE = 0.1


@torch.no_grad()
def vectors(folder, packed, device, dtype, batch_tokens=131_072):
    """Unit vectors `[taught, dimension]` in halves: mean pooling, as all-MiniLM-L6-v2 has it."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).to(device, dtype).eval()
    lists = packed.teacher
    lengths = numpy.diff(lists.offsets)
    order = numpy.argsort(lengths, kind="stable")
    out = torch.zeros(len(order), model.config.hidden_size, dtype=torch.float16, device=device)
    at = 0
    while at < len(order):
        count = 1
        while at + count < len(order) and (count + 1) * lengths[order[at + count]] <= batch_tokens:
            count += 1
        rows = order[at : at + count]
        at += count
        longest = lengths[rows[-1]]
        ids = numpy.zeros((count, longest), dtype=numpy.int64)
        for place, row in enumerate(rows):
            ids[place, : lengths[row]] = lists[row]
        ids = torch.from_numpy(ids).to(device)
        mask = (torch.arange(int(longest)) < torch.from_numpy(lengths[rows])[:, None]).to(device)
        hidden = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float()
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        unit = torch.nn.functional.normalize(mean, dim=1)
        out[torch.from_numpy(rows).to(device)] = unit.half()
    return out


@torch.no_grad()
def closed_form(trainer, texts):
    """Ridge regression of the means' projection on the teacher's vectors of so many texts, all
    embedded as queries by the bare backbone: their mean cosine distance then."""
    student, head, table = trainer.student, trainer.adapters, trainer.teacher
    device = student.backbone.device
    chosen = numpy.random.default_rng(trainer.recipe["seed"]).permutation(len(table))[:texts]
    sequences = [trainer.packed.prompt(trainer.packed.teacher_rows[at], "query") for at in chosen]
    means = torch.zeros(len(chosen), student.backbone.hidden, device=device)
    merged = student.merged(None)
    for group in passes(sequences, 0, 200_000):
        batch = Ragged([sequences[at] for at in group], 0, device)
        rows = torch.nn.functional.embedding(batch.ids, student.tokens)
        hidden = student.forward(merged, rows, batch)
        means[put(numpy.array(group), device)] = student.means(batch, hidden)
    x, y = means.double(), table[put(chosen, device)].double()
    x_mean, y_mean = x.mean(0), y.mean(0)
    centred = x - x_mean
    gram = centred.T @ centred
    gram += torch.eye(len(gram), device=device) * RIDGE * gram.diagonal().mean()
    weight = torch.linalg.solve(gram, centred.T @ (y - y_mean)).T
    bias = y_mean - weight @ x_mean
    head.mean_weight.copy_(weight)
    head.mean_bias.copy_(bias)
    return losses.cosine_distance(torch.nn.functional.normalize(x @ weight.T + bias, dim=1), y).item()
