"""A history read once, and many continuations of it: cached keys and values, and branches that grow from them.

Explanations ask the network about thousands of edited histories that share their older events; guidance asks about
every candidate appended to one history. Both read the shared part once (`read`) and then all that differs in one call
(`grow`), as a tree: a token attends to the whole prefix, to its ancestors, and to itself. A prefix read with room to
spare takes up events for good (`extend`). A token's state is what the network would give that sequence alone, up to
float32 rounding, since the encoder is causal.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from core.learn.model import Block, Events, Recommender


class Prefix(NamedTuple):
    """B histories, read. keys, values: one (B, heads, P, d / heads) a block, P > the longest history; lengths (B,) of
    the histories, whose positions beyond are padding; state (B, d), the user's state at the end."""

    keys: list[Tensor]
    values: list[Tensor]
    lengths: Tensor
    state: Tensor


@torch.no_grad()
def read(model: Recommender, events: Events, vectors: Tensor, *, room: int = 0) -> Prefix:
    """The start symbol and a right-padded batch of histories, in evaluation mode, with `room` for so many events more.
    vectors (I, d)."""
    model.eval()
    start = (model.start + model.position.weight[0]).expand(len(events.item), 1, -1)
    x = torch.cat([start, model.embed(events, vectors)], dim=1)
    keys, values = [], []
    for block in model.blocks:
        assert isinstance(block, Block)
        q, k, v = block.project(x)
        keys.append(F.pad(k, (0, 0, 0, room)))
        values.append(F.pad(v, (0, 0, 0, room)))
        x = block.finish(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))
    last = x[torch.arange(len(x), device=x.device), events.lengths]
    return Prefix(keys, values, events.lengths, model.last_norm(last))


@torch.no_grad()
def grow(model: Recommender, prefix: Prefix, x: Tensor, chain: Tensor) -> Tensor:
    """(B, T, d) states of T tokens on each of B prefixes.

    x (B, T, d): the tokens' inputs, positions included (`Recommender.embed`). chain (T, c) int64: for each token the
    numbers of the tokens that it sees, itself among them, -1 where there are fewer than c; the same on every prefix.
    """
    width = prefix.keys[0].shape[2]
    beyond = torch.arange(width, device=x.device) > prefix.lengths[:, None]  # (B, P)
    seen, absent = chain.clamp(min=0), chain < 0
    for block, key, value in zip(model.blocks, prefix.keys, prefix.values, strict=True):
        assert isinstance(block, Block)
        q, k, v = block.project(x)  # (B, heads, T, d / heads)
        old = (q @ key.transpose(2, 3)).masked_fill_(beyond[:, None, None, :], -torch.inf)  # (B, heads, T, P)
        own = torch.einsum("bhtd,bhtcd->bhtc", q, k[:, :, seen]).masked_fill_(absent, -torch.inf)
        weight = torch.cat([old, own], dim=3).div_(math.sqrt(q.shape[3])).softmax(dim=3)
        mixed = weight[..., :width] @ value + torch.einsum("bhtc,bhtcd->bhtd", weight[..., width:], v[:, :, seen])
        x = block.finish(x, mixed)
    normed: Tensor = model.last_norm(x)
    return normed


@torch.no_grad()
def extend(model: Recommender, prefix: Prefix, x: Tensor, grows: Tensor) -> Prefix:
    """Each prefix with one event more where `grows` (B,) bool. x (B, d): the events' inputs, positions included.

    The caches are written in place; what is written where nothing grows stays padding.
    """
    rows = torch.arange(len(x), device=x.device)
    place = prefix.lengths + 1
    visible = torch.arange(prefix.keys[0].shape[2], device=x.device) <= place[:, None]  # (B, P)
    token = x[:, None]
    for block, key, value in zip(model.blocks, prefix.keys, prefix.values, strict=True):
        assert isinstance(block, Block)
        q, k, v = block.project(token)
        key[rows, :, place], value[rows, :, place] = k[:, :, 0], v[:, :, 0]
        mixed = F.scaled_dot_product_attention(q, key, value, attn_mask=visible[:, None, None, :])
        token = block.finish(token, mixed)
    state = torch.where(grows[:, None], model.last_norm(token[:, 0]), prefix.state)
    return Prefix(prefix.keys, prefix.values, prefix.lengths + grows, state)
