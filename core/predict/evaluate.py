"""Evaluation: every component and the served blend on the same test queries, ranked over every item.

HR, NDCG and MRR at 5, 10 and 20 are means over users with percentile intervals from a bootstrap over users; a user who
was asked several times is one user, with the mean over their queries. Coverage, novelty and the Gini index describe the
slates as a whole. What the language model adds is measured by taking it away: frozen instead of tuned text, the tuned
weights zeroed, the texts shuffled among items. Queries are scored in blocks, so that memory does not grow with them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from core.learn.ranking import Ranks, hit_rate, mask_seen, ndcg, ranks, reciprocal_rank
from core.learn.scoring import BLOCK_CELLS
from core.learn.sequences import Histories, IntArray, Queries, Task
from core.predict.intervals import Measure, bootstrap_mean, paired_gap

CUTS = (5, 10, 20)
RESAMPLES = 2000
Figures = dict[str, Any]


@dataclass(frozen=True)
class Scored:
    """One component's answer to Q queries: rank (T,) of each target, top (Q, 20) item ids, best first, -1 where no more
    can be shown."""

    rank: Ranks
    top: IntArray


def score_queries(scores: Tensor, queries: Queries, *, task: Task, masked: bool | None = None) -> Scored:
    """Ranks and slates from (Q, I) scores; see `core.learn.ranking` for masking and ties."""
    shown = mask_seen(scores, queries, task=task, masked=masked)
    best = shown.topk(min(max(CUTS), scores.shape[1]), dim=1)
    top = best.indices.masked_fill(best.values == -torch.inf, -1).numpy()
    return Scored(ranks(shown, queries, task=task, masked=False), top)


def in_blocks(
    queries: Queries, answer: Callable[[Queries], Mapping[str, Scored]], *, n_items: int
) -> dict[str, Scored]:
    """What `answer` gives for all queries, asked a block of them at a time."""
    parts = [answer(some) for some in queries.blocks(max(1, BLOCK_CELLS // n_items))]
    return {
        name: Scored(np.concatenate([part[name].rank for part in parts]), np.concatenate([p[name].top for p in parts]))
        for name in parts[0]
    }


def popularity_scores(train: Histories, queries: Queries, *, n_items: int) -> Tensor:
    """(Q, I): how often each item occurs in the training part, the same for everyone."""
    counts = np.bincount(train.item, minlength=n_items).astype(np.float32)
    return torch.from_numpy(counts).repeat(len(queries), 1)


def per_query(scored: Scored, queries: Queries) -> dict[str, Ranks]:
    """hr@k, ndcg@k and mrr@k, each (Q,)."""
    out: dict[str, Ranks] = {}
    for k in CUTS:
        out[f"hr@{k}"] = hit_rate(scored.rank, queries, k=k)
        out[f"ndcg@{k}"] = ndcg(scored.rank, queries, k=k)
        out[f"mrr@{k}"] = reciprocal_rank(scored.rank, queries, k=k)
    return out


def by_user(values: Ranks, queries: Queries, *, among: npt.NDArray[np.bool_] | None = None) -> Ranks:
    """(U,) mean of values (Q,) over each asked user's queries, users ascending; NaN for a user who has none `among`
    (Q,) those to look at."""
    chosen = np.ones(len(queries)) if among is None else among.astype(np.float64)
    users, place = np.unique(queries.user, return_inverse=True)
    total = np.bincount(place, weights=np.where(chosen > 0, values, 0.0), minlength=len(users))
    count = np.bincount(place, weights=chosen, minlength=len(users))
    mean: Ranks = np.divide(total, count, out=np.full(len(users), np.nan), where=count > 0)
    return mean


def figures(scored: Scored, queries: Queries, *, train: Histories, n_items: int, seed: int) -> Figures:
    """name -> {"estimate", "low", "high", "n"} for the ranking metrics; coverage@10, novelty@10 (mean self-information
    in bits of the shown items), gini@10 without intervals (low = high = NaN left out)."""
    out: Figures = {
        name: bootstrap_mean(by_user(values, queries), seed=seed, resamples=RESAMPLES)
        for name, values in per_query(scored, queries).items()
    }
    if len(queries):
        shown = scored.top[:, :10]
        shown = shown[shown >= 0]
        exposure = np.bincount(shown, minlength=n_items)
        share = (np.bincount(train.item, minlength=n_items) + 1) / (len(train.item) + n_items)
        out["coverage@10"] = {"estimate": float((exposure > 0).mean()), "n": n_items}
        out["novelty@10"] = {
            "estimate": float(-np.log2(share[shown]).mean()) if shown.size else math.nan,
            "n": int(shown.size),
        }
        out["gini@10"] = {"estimate": gini(exposure), "n": n_items}
    return out


def gini(exposure: IntArray) -> float:
    """Gini index of how often items are shown: 0 when all alike, towards 1 when few take all."""
    ordered = np.sort(exposure).astype(np.float64)
    if ordered.sum() == 0:
        return float("nan")
    n = len(ordered)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * ordered.sum()))


def slices(scored: Scored, queries: Queries, *, train: Histories, n_items: int, seed: int) -> dict[str, Figures]:
    """HR@10 and NDCG@10 after a short, middling or long history, of targets in the popular head (the items that make up
    half of all training events) or the tail, and of users without a training event where there are some. A user's
    figure is the mean over their queries of the slice. Baskets do not enter the popular and the long-tail one."""
    values = {"hr@10": hit_rate(scored.rank, queries, k=10), "ndcg@10": ndcg(scored.rank, queries, k=10)}
    length = queries.context.lengths
    short, long = np.quantile(length, [1 / 3, 2 / 3]) if len(length) else (0, 0)
    counts = np.bincount(train.item, minlength=n_items)
    order = np.argsort(-counts, kind="stable")
    head = np.zeros(n_items, dtype=bool)
    head[order[: int(np.searchsorted(np.cumsum(counts[order]), counts.sum() / 2)) + 1]] = True
    parts = {
        "short history": length <= short,
        "middling history": (length > short) & (length <= long),
        "long history": length > long,
    }
    if len(queries) == len(queries.target):
        parts["popular target"] = head[queries.target]
        parts["long-tail target"] = ~head[queries.target]
    unknown = train.lengths[queries.user] == 0
    if unknown.any():
        parts["no training history"] = unknown
    return {
        name: {
            metric: bootstrap_mean(by_user(v, queries, among=part), seed=seed, resamples=RESAMPLES)
            for metric, v in values.items()
        }
        for name, part in parts.items()
    }


def compare(better: Scored, worse: Scored, queries: Queries, *, seed: int) -> Figures:
    """Paired gain of one scoring over another, per user, with intervals; and how much of the top ten they share."""
    pairs = [(a[a >= 0], b[b >= 0]) for a, b in zip(better.top[:, :10], worse.top[:, :10], strict=True)]
    shared = [len(np.intersect1d(a, b)) / max(len(a), len(b), 1) for a, b in pairs]

    def gain(metric: Callable[..., Ranks]) -> Measure:
        a, b = (by_user(metric(one.rank, queries, k=10), queries) for one in (better, worse))
        return paired_gap(a, b, seed=seed, resamples=RESAMPLES)

    return {
        "ndcg@10": gain(ndcg),
        "hr@10": gain(hit_rate),
        "top10_shared": bootstrap_mean(by_user(np.asarray(shared), queries), seed=seed, resamples=RESAMPLES),
    }


def user_table(scored: Mapping[str, Scored], queries: Queries, *, served: str) -> pd.DataFrame:
    """One row a tested user: user_id, queries (how many), rank (of the best target), every metric of the served score,
    and hr@10 and ndcg@10 of every other component as `<component>:hr@10`; means over the user's queries."""
    users, place = np.unique(queries.user, return_inverse=True)
    best = np.full(len(users), np.inf)
    np.minimum.at(best, place[queries.owner], scored[served].rank)
    columns: dict[str, Any] = {"user_id": users, "queries": np.bincount(place, minlength=len(users)), "rank": best}
    for name, one in scored.items():
        for metric, values in per_query(one, queries).items():
            if name == served:
                columns[metric] = by_user(values, queries)
            elif metric in ("hr@10", "ndcg@10"):
                columns[f"{name}:{metric}"] = by_user(values, queries)
    return pd.DataFrame(columns)
