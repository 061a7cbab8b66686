"""The Recommender's network: text-aware item vectors and a causal transformer over a user's events.

An item's vector is its whitened text through an adapter, plus a residual of its own id that starts at zero; the same
holds for its bias. In training the id's share is dropped for random items, so that text alone learns to place an item
(without that, an item never seen in training does not surface). The user's state after each event is scored against
every item by one inner product. Pre-norm blocks after Kang and McAuley, "Self-Attentive Sequential Recommendation"
(ICDM 2018), trained with the full softmax as in Klenitskiy and Vasilev, "Turning Dross Into Gold Loss" (RecSys 2023).
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.learn.config import NetworkConfig

N_GAPS = 34  # log2 buckets of seconds, 0 (none) and 1 s to 2^32 s


class Events(NamedTuple):
    """A right-padded batch. item (B, L) int64 with `n_items` at padding, gap (B, L) int64 bucket of the time since
    the event before, kind (B, L) int64, value (B, L) int64 bucket (0 = none), lengths (B,) int64."""

    item: Tensor
    gap: Tensor
    kind: Tensor
    value: Tensor
    lengths: Tensor

    def to(self, device: torch.device) -> "Events":
        """The same batch on another device."""
        return Events(*(field.to(device) for field in self))


_COINS = 2**16  # that 16 random bits tell apart


def dropped(x: Tensor, rate: float, *, training: bool) -> Tensor:
    """Inverted dropout of x. On a CPU its coins are read off 16 random bits each, four to a draw, which takes a quarter
    of the time of torch's own, tossed one by one; the rate is met to 2^-17."""
    if not training or rate == 0.0:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, rate)
    drawn = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    least = min(round(rate * _COINS), _COINS - 1)
    keep = drawn.view(torch.int16)[: x.numel()].view(x.shape) >= least - _COINS // 2
    return x * keep.to(x.dtype).mul_(_COINS / (_COINS - least))


class Dropout(nn.Module):
    """`dropped` as a layer."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return dropped(x, self.rate, training=self.training)


class Block(nn.Module):
    """Pre-norm attention and feed-forward over (B, L, d), causal."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.before_attention, self.before_mix = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.qkv = nn.Linear(config.dim, 3 * config.dim)
        self.out = nn.Linear(config.dim, config.dim)
        self.mix = nn.Sequential(
            nn.Linear(config.dim, config.inner * config.dim),
            nn.GELU(),
            Dropout(config.dropout),
            nn.Linear(config.inner * config.dim, config.dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, d) -> (B, L, d); position t sees positions <= t."""
        q, k, v = self.project(x)
        return self.finish(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of (B, L, d), each (B, heads, L, d / heads)."""
        batch, length, dim = x.shape
        qkv = self.qkv(self.before_attention(x)).view(batch, length, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return q, k, v

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Residuals around attention's output (B, heads, L, d / heads) and the feed-forward: (B, L, d)."""
        mixed = mixed.transpose(1, 2).reshape(x.shape)
        x = x + dropped(self.out(mixed), self.dropout, training=self.training)
        return x + dropped(self.mix(self.before_mix(x)), self.dropout, training=self.training)

    def last(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, d) -> (B, d): what `forward` gives at position lengths[b] of row b, and nothing else of it."""
        row = torch.arange(len(x), device=x.device)
        q, k, v = self.project(x)
        own = (torch.arange(x.shape[1], device=x.device) <= lengths[:, None])[:, None, None]  # (B, 1, 1, L)
        mixed = F.scaled_dot_product_attention(q[row, :, lengths][:, :, None], k, v, attn_mask=own)
        return self.finish(x[row, lengths][:, None], mixed)[:, 0]


def encoded(x: Tensor, blocks: Iterable[nn.Module], last_norm: nn.Module) -> Tensor:
    """(B, L, d) -> (B, L, d): through all blocks."""
    for block in blocks:
        x = block(x)
    states: Tensor = last_norm(x)
    return states


class Recommender(nn.Module):
    """Item encoder + sequence encoder. `text` (I, T) float32 are the items' whitened text vectors, T may be 0."""

    text: Tensor

    def __init__(self, config: NetworkConfig, *, text: Tensor, n_kinds: int) -> None:
        super().__init__()
        self.config, self.n_items = config, len(text)
        self.register_buffer("text", text.clone())
        d = config.dim
        self.adapter = nn.Linear(text.shape[1], d, bias=False) if text.shape[1] else None
        self.text_bias = nn.Linear(text.shape[1], 1) if text.shape[1] else None
        self.id_vector = nn.Parameter(torch.zeros(self.n_items, d))
        self.id_bias = nn.Parameter(torch.zeros(self.n_items))
        self.start = nn.Parameter(torch.zeros(d))
        self.gap, self.kind = nn.Embedding(N_GAPS, d), nn.Embedding(n_kinds, d)
        self.value = nn.Embedding(config.value_buckets + 1, d)
        self.position = nn.Embedding(config.max_length + 1, d)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.last_norm = nn.LayerNorm(d)
        self._initialise()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.id_vector.device

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        if self.adapter is not None:  # whitened text has unit variance: item vectors start near unit norm
            nn.init.normal_(self.adapter.weight, std=1 / math.sqrt(self.adapter.in_features * self.config.dim))
        nn.init.normal_(self.id_vector, std=0.002 if self.adapter is not None else 0.02)

    def items(
        self, *, text: Tensor | None = None, keep_id: Tensor | None = None, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Item vectors (I, d) and biases (I,). `text` (I, T) stands in for the stored text; `keep_id` (I,) of 0 and 1
        drops ids. With `rows` (R,) int64 those items alone, `text` (R, T) being theirs, and sparse gradients of their
        ids."""
        vector: Tensor = self.id_vector
        bias: Tensor = self.id_bias
        if rows is not None:
            vector = F.embedding(rows, self.id_vector, sparse=True)
            bias = torch.gather(self.id_bias, 0, rows, sparse_grad=True)
            keep_id = None if keep_id is None else keep_id[rows]
        if keep_id is not None:
            vector, bias = vector * keep_id[:, None], bias * keep_id
        if self.adapter is not None and self.text_bias is not None:
            if text is None:
                text = self.text if rows is None else self.text[rows]
            vector = vector + self.adapter(text)
            bias = bias + self.text_bias(text).squeeze(-1)
        return vector, bias

    def embed(self, events: Events, vectors: Tensor, *, first_position: int | Tensor = 0) -> Tensor:
        """(B, L, d) inputs of L events at positions `first_position + 1` on; the start symbol is not among them.
        `first_position` may be (B, 1) int64, one for each row."""
        where = torch.arange(1, events.item.shape[1] + 1, device=vectors.device) + first_position
        known = F.embedding(events.item.clamp(max=len(vectors) - 1), vectors)  # a row more for padding would copy all
        x = known.masked_fill((events.item >= len(vectors))[..., None], 0.0) * math.sqrt(self.config.dim)
        x = x + self.position(where)
        embedded: Tensor = x + self.gap(events.gap) + self.kind(events.kind) + self.value(events.value)
        return embedded

    def states(self, events: Events, vectors: Tensor) -> Tensor:
        """(B, 1 + L, d): the user's state at the start and after each event; states at padding mean nothing."""
        return self.encode(self.inputs(events, vectors))

    def encode(self, x: Tensor) -> Tensor:
        """(B, 1 + L, d) -> (B, 1 + L, d): from inputs to states."""
        return encoded(x, self.blocks, self.last_norm)

    def inputs(self, events: Events, vectors: Tensor) -> Tensor:
        """(B, 1 + L, d): what stands for the start and for each event."""
        start = (self.start + self.position.weight[0]).expand(len(events.item), 1, -1)
        x = torch.cat([start, self.embed(events, vectors)], dim=1)
        return dropped(x, self.config.dropout, training=self.training)

    def last_states(self, events: Events, vectors: Tensor) -> Tensor:
        """(B, d): the user's state at the end of each history; an empty one answers from its start symbol. The last
        block works out that position alone."""
        x = self.inputs(events, vectors)
        *before, last = self.blocks
        for block in before:
            x = block(x)
        assert isinstance(last, Block)
        state: Tensor = self.last_norm(last.last(x, events.lengths))
        return state

    def forward(self, events: Events, vectors: Tensor, bias: Tensor) -> Tensor:
        """(B, I) logits of what follows each history."""
        return self.last_states(events, vectors) @ vectors.T + bias
