"""Ranks and ranking metrics, per query; the one place where masking and ties are decided.

Ranking is over every item. Under `next-new` the items of the context are masked. A tie counts half: a target's rank is
1 + (items above it) + half the items level with it. A target without a finite score is a miss. With several targets (a
basket) the definitions are those of Jarvelin and Kekalainen (2002) with binary gains: DCG over the ideal DCG.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.learn.sequences import Queries, Task

Ranks = npt.NDArray[np.float64]


def ranks(scores: Tensor, queries: Queries, *, task: Task, masked: bool | None = None) -> Ranks:
    """(T,) rank of every target among all items (its siblings in a basket included).

    scores (Q, I). `masked` overrides the task's own masking of the context's items.
    """
    scores = mask_seen(scores, queries, task=task, masked=masked)
    owner, target = torch.from_numpy(queries.owner), torch.from_numpy(queries.target)
    out = np.empty(len(target))
    for begin in range(0, len(target), 2048):
        some, items = owner[begin : begin + 2048], target[begin : begin + 2048]
        rows = scores[some]
        own = rows.gather(1, items[:, None])
        above, level = (rows > own).sum(1), (rows == own).sum(1) - 1
        rank = 1 + above.double() + level.double() / 2
        out[begin : begin + 2048] = torch.where(own.squeeze(1).isfinite(), rank, torch.inf).numpy()
    return out


def mask_seen(scores: Tensor, queries: Queries, *, task: Task, masked: bool | None = None) -> Tensor:
    """Scores with -inf at the context's items, where the task (or `masked`) asks for it; a copy then."""
    if not (task == "next-new" if masked is None else masked):
        return scores
    scores = scores.clone()
    context = queries.context
    scores[torch.from_numpy(context.owner), torch.from_numpy(context.item)] = -torch.inf
    return scores


def ndcg(rank: Ranks, queries: Queries, *, k: int) -> Ranks:
    """(Q,) sum over targets in the top k of 1 / log2(1 + rank), over the best that so many targets can reach."""
    gain = np.where(rank <= k, 1 / np.log2(1 + rank), 0.0)
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(2 + np.arange(k)))])
    counts = np.diff(queries.target_offsets)
    return np.asarray(_per_query(gain, queries) / ideal[np.minimum(counts, k)])


def hit_rate(rank: Ranks, queries: Queries, *, k: int) -> Ranks:
    """(Q,) 1 where any target is in the top k."""
    return np.minimum(_per_query((rank <= k).astype(float), queries), 1.0)


def reciprocal_rank(rank: Ranks, queries: Queries, *, k: int) -> Ranks:
    """(Q,) 1 / rank of the best target within the top k, else 0."""
    best = np.zeros(len(queries))
    np.maximum.at(best, queries.owner, np.where(rank <= k, 1 / rank, 0.0))
    return best


def _per_query(value: Ranks, queries: Queries) -> Ranks:
    return np.bincount(queries.owner, weights=value, minlength=len(queries)).astype(np.float64)
