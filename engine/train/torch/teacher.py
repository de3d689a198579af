"""A sentence encoder's vectors for the texts to distil, made where the training runs."""

import numpy
import torch


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
