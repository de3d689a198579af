"""The student: the backbone with an adapter merged in, as it embeds, thinks and learns."""

import functools

import numpy
import torch
import torch.nn.functional as F

from ragged import Ragged, Sequence, round_up


class Merged:
    """A backbone's linears with one adapter's change added, cast for the matrix units.

    Adding `scale * B A` to the frozen weights costs a pass over the weights and saves the
    side products of every linear over all positions; gradients reach A and B through it.
    """

    def __init__(self, backbone, lora, dtype):
        full = {}
        for name, weight in backbone.linears.items():
            if lora is not None:
                weight = torch.baddbmm(weight, lora.b[name], lora.a[name], alpha=lora.scale)
            full[name] = weight.to(dtype)
        joined = lambda *names: torch.cat([full[name] for name in names], 1).unbind(0)
        self.qkv, self.out = joined("q", "k", "v"), full["o"].unbind(0)
        self.gate_up, self.down = joined("gate", "up"), full["down"].unbind(0)


class Beside:
    """A backbone's linears with an adapter's side products beside them: for a CPU, where the
    gradient of whole merged weights would cost as much again as the pass."""

    def __init__(self, backbone, lora, dtype):
        def joined(*names):
            full = backbone.joined(names, dtype).unbind(0)
            # The parts of a joined linear have a side product each: blocks of one matrix.
            down = torch.cat([lora.a[name] for name in names], 1).unbind(0)
            layers = range(len(full))
            up = [torch.block_diag(*(lora.b[name][at] for name in names)) for at in layers]
            return [(full[at], down[at], up[at] * lora.scale) for at in layers]

        self.qkv, self.out = joined("q", "k", "v"), joined("o")
        self.gate_up, self.down = joined("gate", "up"), joined("down")


def linear(rows, weight):
    """Rows times a merged weight, or times one with a side product."""
    if isinstance(weight, tuple):
        full, down, up = weight
        return torch.addmm(F.linear(rows, full), F.linear(rows, down), up.T)
    return F.linear(rows, weight)


def before_attention(rows, norm, qkv, cos, sin, epsilon, heads, size):
    normed = F.rms_norm(rows, (rows.shape[1],), norm, epsilon)
    joined = linear(normed, qkv)
    rotating = joined[:, : heads * size].view(-1, heads, size)
    half = size // 2
    low, high = rotating[..., :half], rotating[..., half:]
    turned = torch.cat([low * cos - high * sin, high * cos + low * sin], -1)
    return turned, joined[:, heads * size :]


class GatedDown(torch.autograd.Function):
    """`down(silu(gate) * up)`, which keeps gate and up for the backward pass and makes the
    products once more: a third less memory for a layer."""

    @staticmethod
    def forward(ctx, gate_up, down):
        ctx.save_for_backward(gate_up, down)
        gate, up = gate_up.chunk(2, 1)
        return F.linear(F.silu(gate) * up, down)

    @staticmethod
    def backward(ctx, gradient):
        gate_up, down = ctx.saved_tensors
        gate, up = gate_up.chunk(2, 1)
        opened = torch.sigmoid(gate)
        silu = gate * opened
        inner = gradient @ down
        of_down = gradient.T @ (silu * up) if ctx.needs_input_grad[1] else None
        # silu' = s + x s (1 - s), with x s the silu itself.
        slope = opened + silu * (1 - opened)
        return torch.cat([inner * up * slope, inner * silu], 1), of_down


def after_attention(rows, seen, out, norm, gate_up, down, epsilon):
    rows = rows + linear(seen, out)
    normed = F.rms_norm(rows, (rows.shape[1],), norm, epsilon)
    opened = linear(normed, gate_up)
    if isinstance(down, tuple):
        gate, up = opened.chunk(2, 1)
        return rows + linear(F.silu(gate) * up, down)
    return rows + GatedDown.apply(opened, down)


def mean_states(rows, count):
    """The means of `count` inputs' query states, which lie one after another, in f32."""
    return rows.float().view(count, -1, rows.shape[1]).mean(1)


def at_one_length(rows):
    """Rows between two layers, each scaled to a root mean square of 1, in f32."""
    return F.rms_norm(rows.float(), (rows.shape[1],), eps=1e-6)


class Student:
    """A frozen backbone and adapters that learn."""

    def __init__(self, backbone, adapters, dtype, compiled=False):
        self.backbone, self.adapters, self.dtype = backbone, adapters, dtype
        cast = lambda weight: weight.to(dtype)
        self.attention_norm = cast(backbone.attention_norm).unbind(0)
        self.mlp_norm = cast(backbone.mlp_norm).unbind(0)
        self.final_norm, self.tokens = cast(backbone.final_norm), cast(backbone.embedding)
        #: Ids that a learned thought's tokens compete with; all without.
        self.vocabulary = None
        wrap = functools.partial(torch.compile, dynamic=True) if compiled else lambda f: f
        self.before, self.after = wrap(before_attention), wrap(after_attention)
        half = torch.arange(0, backbone.head_size, 2, device=backbone.device).float()
        turns = backbone.rope_base ** (-half / backbone.head_size)
        angles = torch.arange(2048, device=backbone.device).float()[:, None] * turns
        self.cos, self.sin = angles.cos().to(dtype), angles.sin().to(dtype)

    def merged(self, lora):
        return Merged(self.backbone, lora, self.dtype)

    def learning(self, lora):
        """The linears for a pass that differentiates, as the device does it fastest."""
        kind = Merged if self.backbone.device.type == "cuda" else Beside
        return kind(self.backbone, lora, self.dtype)

    def layer(self, merged, at, rows, turn, attend):
        b = self.backbone
        cos, sin = turn
        turned, values = self.before(
            rows, self.attention_norm[at], merged.qkv[at], cos, sin,
            b.epsilon, b.heads + b.kv_heads, b.head_size,
        )
        values = values.view(-1, b.kv_heads, b.head_size)
        seen = attend(at, turned[:, : b.heads], turned[:, b.heads :], values)
        return self.after(
            rows, seen, merged.out[at], self.mlp_norm[at], merged.gate_up[at],
            merged.down[at], b.epsilon,
        )

    def turn(self, positions):
        return self.cos[positions][:, None], self.sin[positions][:, None]

    def forward(self, merged, rows, batch, keep=None, earlier=None, still=0, between=None):
        """Hidden states after the final norm, `[total, hidden]`. `keep` is called with a
        layer's keys and values, `[total, kv_heads, head_size]`, and `between` with how many
        layers are done and the residual stream; `earlier` has keys and values of a beginning
        that all sequences share; the first `still` layers learn nothing."""
        b = self.backbone
        shared = len(earlier[0][0]) if earlier else 0

        def attend(at, q, k, v):
            if keep:
                keep(at, k, v)
            seen = []
            sizes = [count * length for _, count, length in batch.groups]
            parts = zip(batch.groups, q.split(sizes), k.split(sizes), v.split(sizes))
            for (_, count, length), queries, keys, values in parts:
                cut = lambda x: x.view(count, length, -1, b.head_size).transpose(1, 2)
                keys, values, mask = cut(keys), cut(values), None
                if shared:
                    before = [x.transpose(0, 1).expand(count, -1, -1, -1) for x in earlier[at]]
                    keys, values = torch.cat([before[0], keys], 2), torch.cat([before[1], values], 2)
                    size = (length, shared + length)
                    mask = torch.ones(size, dtype=torch.bool, device=q.device).tril(shared)
                one = F.scaled_dot_product_attention(
                    cut(queries), keys, values, attn_mask=mask, is_causal=not shared, enable_gqa=True
                )
                seen.append(one.transpose(1, 2).reshape(count * length, b.hidden))
            return torch.cat(seen) if len(seen) > 1 else seen[0]

        turn = self.turn(batch.positions + shared)
        with torch.no_grad():
            for at in range(still):
                rows = self.layer(merged, at, rows, turn, attend)
        for at in range(still, b.layers):
            rows = self.layer(merged, at, rows, turn, attend)
            if between:
                between(at + 1, rows)
        return F.rms_norm(rows, (b.hidden,), self.final_norm, b.epsilon)

    # Embedding

    def embed(self, merged, batch):
        """Unit embeddings `[count, dimension]` and what the gate reads, `[count, hidden]`, in
        f32, of a batch that was made with room for the queries (interface `reencode`)."""
        queries = self.adapters.queries
        rows = F.embedding(batch.ids, self.tokens)
        placed = queries.to(self.dtype).repeat(batch.count, 1)
        rows = torch.index_put(rows, (batch.query_places,), placed)
        inner, depth = [], self.adapters.gate_depth

        def between(done, rows):
            if done == depth:
                inner.append(mean_states(at_one_length(rows.detach()[batch.query_places]), batch.count))

        hidden = self.forward(merged, rows, batch, between=between)
        states = mean_states(hidden[batch.query_places], batch.count)
        return self.pool(batch, hidden, states), inner[0] if inner else states

    def means(self, batch, hidden):
        weighted = hidden[batch.pooled].float() * batch.weight[:, None]
        zeros = torch.zeros(batch.count, hidden.shape[1], device=hidden.device)
        return zeros.index_add(0, batch.owner, weighted)

    def pool(self, batch, hidden, states):
        head = self.adapters
        pooled = F.linear(self.means(batch, hidden), head.mean_weight, head.mean_bias)
        pooled = pooled + F.linear(states, head.queries_weight, head.queries_bias)
        unit = F.normalize(pooled, dim=1)
        if head.lexicon is None:
            return unit
        words = head.lexicon.part(self.backbone.embedding, batch)
        return F.normalize(torch.cat([unit, words], 1), dim=1)

    def embed_from_cache(self, reasoning, embedding, batch, detach):
        """The same for interface `cache`: tokens run under the reasoning adapter, and the
        queries read the keys and values that they left. `batch` has no room for queries."""
        b, count = self.backbone, batch.count
        left = {}
        rows = F.embedding(batch.ids, self.tokens)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not detach):
            keep = lambda at, k, v: left.update({at: (k, v)})
            hidden = self.forward(reasoning, rows, batch, keep)
        queries = self.adapters.queries
        number = len(queries)
        lengths = torch.from_numpy(batch.ends - batch.starts).to(batch.ids.device)
        rows = queries.to(self.dtype).repeat(count, 1)
        places = lengths[:, None] + torch.arange(number, device=lengths.device)
        own = torch.ones(number, number, dtype=torch.bool, device=lengths.device).tril()
        # The queries' rows stand in the order of the groups' sequences.
        order = torch.from_numpy(batch.order).to(lengths.device)
        sizes = [(start, rows_in, length) for start, rows_in, length in batch.groups]

        def attend(at, q, k, v):
            seen, begin = [], 0
            for start, rows_in, length in sizes:
                part = slice(begin * number, (begin + rows_in) * number)
                cut = lambda x: x[part].view(rows_in, number, -1, b.head_size)
                earlier = [
                    x[start : start + rows_in * length].view(rows_in, length, -1, b.head_size)
                    for x in left[at]
                ]
                keys = torch.cat([earlier[0], cut(k)], 1).transpose(1, 2)
                values = torch.cat([earlier[1], cut(v)], 1).transpose(1, 2)
                known = lengths[order[begin : begin + rows_in]]
                there = torch.arange(length, device=known.device) < known[:, None]
                mask = torch.cat(
                    [
                        there[:, None].expand(-1, number, -1),
                        own.expand(rows_in, -1, -1),
                    ],
                    2,
                )[:, None]
                grouped = b.heads // b.kv_heads
                one = F.scaled_dot_product_attention(
                    cut(q).transpose(1, 2),
                    keys.repeat_interleave(grouped, 1),
                    values.repeat_interleave(grouped, 1),
                    attn_mask=mask,
                )
                seen.append(one.transpose(1, 2).reshape(rows_in * number, b.hidden))
                begin += rows_in
            return torch.cat(seen)

        turn = self.turn(places[order].reshape(-1))
        inner = None
        for at in range(b.layers):
            rows = self.layer(embedding, at, rows, turn, attend)
            if at + 1 == self.adapters.gate_depth:
                inner = mean_states(at_one_length(rows.detach()), count)
        states = mean_states(F.rms_norm(rows, (b.hidden,), self.final_norm, b.epsilon), count)
        back = torch.empty_like(order)
        back[order] = torch.arange(count, device=order.device)
        states = states[back]
        return self.pool(batch, hidden, states), states if inner is None else inner[back]

    # Thinking

    def log_probabilities(self, merged, sequences, batch, earlier=None, still=0):
        """`log p` of the thoughts' tokens, one for each, sequence by sequence."""
        places, wanted = batch.targets(sequences)
        rows = F.embedding(batch.ids, self.tokens)
        hidden = self.forward(merged, rows, batch, earlier=earlier, still=still)
        states, tokens = hidden[places], self.tokens
        if self.vocabulary is not None:
            tokens = tokens[self.vocabulary]
            wanted = torch.searchsorted(self.vocabulary, wanted)
        parts = [
            -F.cross_entropy(F.linear(some, tokens).float(), target, reduction="none")
            for some, target in zip(states.split(8192), wanted.split(8192))
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def beginning(self, merged, tokens):
        """Keys and values of each layer for the tokens that all sequences begin with."""
        batch = Ragged([Sequence(tokens, (0, 0))], 0, self.backbone.device)
        left = []
        keep = lambda at, k, v: left.append((k[: len(tokens)], v[: len(tokens)]))
        self.forward(merged, F.embedding(batch.ids, self.tokens), batch, keep)
        return left

    @torch.no_grad()
    def think(self, merged, sequences, close, budget, temperature, end_of_text):
        """Decodes a thought after each sequence: lists of `(tokens, closed)`. A temperature
        of 0 is greedy."""
        b, device = self.backbone, self.backbone.device
        batch = Ragged(sequences, 0, device)
        count = batch.count
        lengths = torch.from_numpy(batch.ends - batch.starts).to(device)
        most = round_up(int(lengths.max()) + budget + 1)
        shape = (b.layers, 2, count, b.kv_heads, most, b.head_size)
        cache = torch.zeros(shape, dtype=self.dtype, device=device)
        starts = torch.from_numpy(batch.starts).to(device)

        def keep(at, k, v):
            for start, rows, length in batch.groups:
                low = int((batch.starts < start).sum())
                owners = torch.from_numpy(batch.order[low : low + rows]).to(device)
                for side, x in enumerate((k, v)):
                    block = x[start : start + rows * length].view(rows, length, b.kv_heads, -1)
                    cache[at, side, owners, :, :length] = block.transpose(1, 2)

        hidden = self.forward(merged, F.embedding(batch.ids, self.tokens), batch, keep)
        last = hidden[starts + lengths - 1]
        grouped = b.heads // b.kv_heads
        rows_index = torch.arange(count, device=device)
        close = torch.tensor(close, device=device)
        tokens = torch.zeros(count, budget, dtype=torch.int64, device=device)
        done = torch.zeros(count, dtype=torch.bool, device=device)
        closed, size = torch.zeros_like(done), torch.zeros_like(lengths)
        for step in range(budget):
            logits = F.linear(last, self.tokens).float()
            if temperature > 0:
                noise = torch.empty_like(logits).exponential_()
                chosen = (logits / temperature - noise.log()).argmax(1)
            else:
                chosen = logits.argmax(1)
            ended = (chosen == end_of_text) & ~done
            done = done | ended
            tokens[:, step] = torch.where(done, 0, chosen)
            size += ~done
            if step + 1 >= len(close):
                found = (tokens[:, step + 1 - len(close) : step + 1] == close).all(1) & ~done
                closed, done = closed | found, done | found
            if step + 1 == budget or (step % 4 == 3 and bool(done.all())):
                break
            positions = (lengths + step).clamp(max=most - 1)
            seen_mask = torch.arange(most, device=device) > positions[:, None]
            bias = torch.zeros(count, 1, 1, most, dtype=self.dtype, device=device)
            bias.masked_fill_(seen_mask[:, None, None], float("-inf"))

            def attend(at, q, k, v):
                cache[at, 0, rows_index, :, positions] = k
                cache[at, 1, rows_index, :, positions] = v
                q = q.reshape(count, b.kv_heads, grouped, b.head_size)
                one = F.scaled_dot_product_attention(q, cache[at, 0], cache[at, 1], attn_mask=bias)
                return one.reshape(count, b.hidden)

            rows = F.embedding(chosen, self.tokens)
            turn = self.turn(positions)
            for at in range(b.layers):
                rows = self.layer(merged, at, rows, turn, attend)
            last = F.rms_norm(rows, (b.hidden,), self.final_norm, b.epsilon)
        tokens, size, closed = tokens.cpu().numpy(), size.cpu().numpy(), closed.cpu().numpy()
        return [
            (tokens[at, : size[at]].astype(numpy.int64), bool(closed[at])) for at in range(count)
        ]
