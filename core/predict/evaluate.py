"""Evaluation: every component and the served blend on the same test queries, ranked over every item.

HR, NDCG and MRR at 5, 10 and 20 are means over users with percentile intervals from a bootstrap over users; coverage,
novelty and the Gini index describe the slates as a whole. What the language model adds is measured by taking it away:
frozen instead of tuned text, the tuned weights zeroed, the texts shuffled among items.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from core.learn.ranking import Ranks, hit_rate, mask_seen, ndcg, ranks, reciprocal_rank
from core.learn.sequences import Histories, IntArray, Queries, Task
from core.predict.intervals import bootstrap_mean, paired_gap

CUTS = (5, 10, 20)
RESAMPLES = 2000
Figures = dict[str, Any]


@dataclass(frozen=True)
class Scored:
    """One component's answer to Q queries: rank (T,) of each target, top (Q, 20) item ids, best first."""

    rank: Ranks
    top: IntArray


def score_queries(scores: Tensor, queries: Queries, *, task: Task, masked: bool | None = None) -> Scored:
    """Ranks and slates from (Q, I) scores; see `core.learn.ranking` for masking and ties."""
    shown = mask_seen(scores, queries, task=task, masked=masked)
    top = shown.topk(min(max(CUTS), scores.shape[1]), dim=1).indices.numpy()
    return Scored(ranks(shown, queries, task=task, masked=False), top)


def popularity_scores(train: Histories, queries: Queries, *, n_items: int) -> Tensor:
    """(Q, I): how often each item occurs in the training part, the same for everyone."""
    counts = np.bincount(train.item, minlength=n_items).astype(np.float32)
    return torch.from_numpy(counts).repeat(len(queries), 1)


def per_user(scored: Scored, queries: Queries) -> dict[str, Ranks]:
    """hr@k, ndcg@k and mrr@k, each (Q,)."""
    out: dict[str, Ranks] = {}
    for k in CUTS:
        out[f"hr@{k}"] = hit_rate(scored.rank, queries, k=k)
        out[f"ndcg@{k}"] = ndcg(scored.rank, queries, k=k)
        out[f"mrr@{k}"] = reciprocal_rank(scored.rank, queries, k=k)
    return out


def figures(scored: Scored, queries: Queries, *, train: Histories, n_items: int, seed: int) -> Figures:
    """name -> {"estimate", "low", "high", "n"} for the ranking metrics; coverage@10, novelty@10 (mean self-information
    in bits of the shown items), gini@10 without intervals (low = high = NaN left out)."""
    out: Figures = {
        name: bootstrap_mean(values, seed=seed, resamples=RESAMPLES)
        for name, values in per_user(scored, queries).items()
    }
    if len(queries):
        shown = scored.top[:, :10]
        exposure = np.bincount(shown.ravel(), minlength=n_items)
        share = (np.bincount(train.item, minlength=n_items) + 1) / (len(train.item) + n_items)
        out["coverage@10"] = {"estimate": float((exposure > 0).mean()), "n": n_items}
        out["novelty@10"] = {"estimate": float(-np.log2(share[shown]).mean()), "n": int(shown.size)}
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
    """HR@10 and NDCG@10 of users with a short, middling or long history, and of targets in the popular head (the
    items that make up half of all training events) or the tail. Single-target queries only enter the last two."""
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
    return {
        name: {metric: bootstrap_mean(v[part], seed=seed, resamples=RESAMPLES) for metric, v in values.items()}
        for name, part in parts.items()
    }


def compare(better: Scored, worse: Scored, queries: Queries, *, seed: int) -> Figures:
    """Paired gain of one scoring over another, per user, with intervals; and how much of the top ten they share."""
    shared = [len(np.intersect1d(a, b)) / 10 for a, b in zip(better.top[:, :10], worse.top[:, :10], strict=True)]
    return {
        "ndcg@10": paired_gap(
            ndcg(better.rank, queries, k=10), ndcg(worse.rank, queries, k=10), seed=seed, resamples=RESAMPLES
        ),
        "hr@10": paired_gap(
            hit_rate(better.rank, queries, k=10), hit_rate(worse.rank, queries, k=10), seed=seed, resamples=RESAMPLES
        ),
        "top10_shared": bootstrap_mean(np.asarray(shared), seed=seed, resamples=RESAMPLES),
    }


def user_table(scored: Mapping[str, Scored], queries: Queries, *, served: str) -> pd.DataFrame:
    """One row a tested user: user_id, rank (of the best target), hr@10 and ndcg@10 of the served score, and the same
    two of every other component as `<component>:hr@10`."""
    best = np.full(len(queries), np.inf)
    np.minimum.at(best, queries.owner, scored[served].rank)
    columns: dict[str, Any] = {"user_id": queries.user, "rank": best}
    for name, one in scored.items():
        prefix = "" if name == served else f"{name}:"
        columns[f"{prefix}hr@10"] = hit_rate(one.rank, queries, k=10)
        columns[f"{prefix}ndcg@10"] = ndcg(one.rank, queries, k=10)
    return pd.DataFrame(columns)
