"""The k best items of each user, exactly, in blocks of users: no (U, I) matrix ever stands.

What a user may not get is struck out of a block's scores in place, and the best are found through group maxima: the
k + 1 best items of a row lie in the k + 1 groups of greatest maximum, so one pass over the row and two short selections
do, where a selection from the whole row costs several passes. Groups of about sqrt(I / k) items would make both
selections equally short; the first is the cheaper one, so groups are smaller.

Ties: of items with equal scores the lower id comes first, and the lowest ids get the last places. A row is looked into
for this only where two of its k + 1 best scores are equal.
"""

import math
import threading
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.learn.sequences import IntArray
from core.learn.threads import side_by_side

CELLS = 1_000_000  # scores that a block holds at most: more of them leave the processor's cache
MOST_USERS = 256  # of a block
LEAST_USERS = 8  # of a block of products: one for a single user reads every item for them alone
LEAST_GROUP = 4  # items


class Best(NamedTuple):
    """item (U, k) int64, best first, -1 where a user has fewer than k candidates; score (U, k), -inf there."""

    item: Tensor
    score: Tensor


class Seen(NamedTuple):
    """The items that each of U users may not get: offsets (U + 1,) into item (N,), int64."""

    offsets: IntArray
    item: IntArray


def users_at_once(n_items: int, *, cells: int) -> int:
    """How many users a block holds for a catalogue of `n_items`: at most `cells` scores, and at least one user."""
    return max(1, min(MOST_USERS, cells // max(n_items, 1)))


def best_products(
    users: Tensor, items: Tensor, k: int, *, bias: Tensor | None = None, seen: Seen | None = None
) -> Best:
    """The k best of users (U, d) x items (I, d), plus bias (I,), float32 or float64.

    Memory beyond the answer: one block a thread, and the items once more.
    """
    n_users, n_items = len(users), len(items)
    columns, step = items.T.contiguous(), max(LEAST_USERS, users_at_once(n_items, cells=CELLS))
    own = threading.local()  # each thread writes over its last block: fresh memory would have to be cleared first

    @torch.no_grad()
    def block(begin: int) -> Best:
        some = users[begin : begin + step]
        if not hasattr(own, "scores"):
            own.scores = users.new_empty(min(step, n_users), n_items)
        scores = own.scores[: len(some)]
        if bias is None:
            torch.mm(some, columns, out=scores)
        else:
            torch.addmm(bias, some, columns, out=scores)
        if seen is not None:
            strike(scores, Seen(seen.offsets[begin : begin + len(some) + 1], seen.item))
        return best_of(scores, k)

    found = [best_of(users.new_empty(0, n_items), k), *side_by_side(block, range(0, n_users, step))]
    return Best(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def strike(scores: Tensor, seen: Seen) -> Tensor:
    """Put -inf, in place, where a user (row of scores (B, I), contiguous) has an item; returns `scores`.

    seen: of these B users, its offsets perhaps those of a longer list.
    """
    offsets = seen.offsets
    owner = np.repeat(np.arange(len(scores)) * scores.shape[1], np.diff(offsets))
    where = owner + seen.item[offsets[0] : offsets[-1]]
    scores.view(-1).index_fill_(0, torch.from_numpy(where).to(scores.device), -torch.inf)
    return scores


def best_of(scores: Tensor, k: int) -> Best:
    """The min(k, I) best of each row of scores (B, I), where -inf marks what is no candidate."""
    n_users, n_items = scores.shape
    k = min(k, n_items)
    wide = min(k + 1, n_items)
    size = max(math.isqrt(n_items // max(wide, 1)) // 2, LEAST_GROUP)
    groups = n_items // size  # item j stands in group j % groups, so that a maximum runs along contiguous rows
    if groups <= 2 * wide:
        score, item = scores.topk(wide, dim=1)
    else:
        head = scores[:, : groups * size].view(n_users, size, groups)
        first = _greatest(head.amax(1), wide)
        inside = head.gather(2, first[:, None].expand(-1, size, -1)).flatten(1)  # (B, size * wide)
        score, place = torch.cat([inside, scores[:, groups * size :]], dim=1).topk(wide, dim=1)
        within = place.clamp(max=inside.shape[1] - 1)
        item = first.gather(1, within % wide) + within // wide * groups
        item = torch.where(place == within, item, groups * size + place - inside.shape[1])
    level = (score[:, 1:] == score[:, :-1]) & (score[:, 1:] > -torch.inf)
    score, item = score[:, :k].contiguous(), item[:, :k].contiguous()
    if level.any():
        rows = level.any(1).nonzero().squeeze(1)
        item[rows] = _by_id(scores[rows], score[rows, -1:], k)
    return Best(item.masked_fill_(score == -torch.inf, -1), score)


def _greatest(maxima: Tensor, n: int) -> Tensor:
    """(B, n) the places of the n greatest of each row of maxima (B, G), in any order."""
    if maxima.device.type == "cpu":  # numpy partitions values several times faster than torch finds places
        values = maxima.numpy()
        least = np.partition(values, -n, axis=1)[:, -n, None]
        places = np.flatnonzero(values >= least)
        if len(places) == n * len(values):  # else there are ties
            return torch.from_numpy(places.reshape(-1, n) % values.shape[1])
    return maxima.topk(n, dim=1, sorted=False).indices


def _by_id(scores: Tensor, least: Tensor, k: int) -> Tensor:
    """(R, k) the best items of scores (R, I), equals by ascending id; least (R, 1) is each row's k-th best score."""
    row, item = (scores >= least).nonzero(as_tuple=True)  # by row, then by id
    order = scores[row, item].argsort(descending=True, stable=True)
    order = order[row[order].argsort(stable=True)]
    counts = row.bincount(minlength=len(scores))
    starts = counts.cumsum(0) - counts
    return item[order[starts[:, None] + torch.arange(k, device=scores.device)]]
