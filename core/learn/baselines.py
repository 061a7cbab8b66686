"""The baselines that a recommender has to beat: recent popularity, a first-order Markov chain, item neighbours, iALS.

Each is fitted on the training part, gives one candidate for every setting it tries (who asks chooses on validation),
and answers any history with a score for every item, as the closed forms do. Where older events count less, decays are
those of `core.learn.closed`, so that no baseline loses for want of what EASE is given.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from core.learn.closed import DECAYS, NEGLIGIBLE, binary, decayed, regression
from core.learn.factors import gigaflops, item_factors, solve, unseen_weight
from core.learn.sequences import FloatArray, Histories, IntArray, Split, Task

HALF_LIVES = (1 / 256, 1 / 64, 1 / 16, 1 / 4, 1.0)  # in spans of the training part
PRIORS = (1.0, 10.0, 100.0)  # popularity's weight in a Markov row, in events
NEIGHBOURS = (20, 100, 500)
SHRINKS = (0.0, 10.0, 100.0)  # users in common
IALS_FACTORS = (32, 64)
IALS_UNSEEN = (1.5, 5.0, 15.0)
IALS_LAMBDAS = (0.003, 0.01)
_CELLS = 4_000_000  # numbers of one block held at once

Settings = dict[str, Any]


class Ranker(Protocol):
    """What can answer histories: scores (H, I) float32 of every item, higher is likelier, from histories alone."""

    def scores(self, histories: Histories, *, n_items: int) -> Tensor:
        """(H, I) float32."""


Candidates = Iterator[tuple[Settings, Ranker]]


@dataclass(frozen=True)
class Popularity:
    """How often each item occurs in the training part, the same for everyone. counts (I,) float32."""

    counts: Tensor

    def scores(self, histories: Histories, *, n_items: int) -> Tensor:
        """(H, I) float32."""
        return self.counts.expand(len(histories), n_items)


def fit_popularity(split: Split, *, n_items: int) -> Candidates:
    """One candidate."""
    yield {}, Popularity(torch.from_numpy(np.bincount(split.train.item, minlength=n_items).astype(np.float32)))


@dataclass(frozen=True)
class RecentPopularity:
    """How often each item occurred before the question was asked, an event counting 2^(-age / half life).

    A history asks at the moment of its last event (what comes later is not known then), an empty one after all of
    training. ts (N,) seconds ascending and item (N,) are the training events.
    """

    ts: IntArray
    item: IntArray
    half_life_s: float

    def scores(self, histories: Histories, *, n_items: int) -> Tensor:
        """(H, I) float32."""
        asked = np.full(len(histories), self.ts[-1] if len(self.ts) else 0, dtype=np.int64)
        some = histories.lengths > 0
        asked[some] = histories.ts[histories.offsets[1:][some] - 1]
        until = np.searchsorted(self.ts, asked, side="right")
        out = np.empty((len(histories), n_items), dtype=np.float32)
        heat, begin, now = np.zeros(n_items), 0, 0
        for row in np.argsort(asked, kind="stable"):
            new = slice(begin, until[row])
            heat *= self._left(asked[row] - now)
            weight = self._left(asked[row] - self.ts[new])
            heat += np.bincount(self.item[new], weights=weight, minlength=n_items)
            out[row] = heat
            begin, now = until[row], asked[row]
        return torch.from_numpy(out)

    def _left(self, age_s: Any) -> Any:
        return np.exp2(-np.asarray(age_s, dtype=np.float64) / self.half_life_s)


def fit_recent_popularity(split: Split, *, n_items: int) -> Candidates:
    """One candidate for each half life; n_items is not needed and is taken for the shared signature."""
    order = np.argsort(split.train.ts, kind="stable")
    ts, item = split.train.ts[order], split.train.item[order]
    span_s = float(ts[-1] - ts[0]) if len(ts) else 0.0
    for share in HALF_LIVES:
        half_life_s = max(share * span_s, 1.0)
        yield {"half_life_days": round(half_life_s / 86_400, 3)}, RecentPopularity(ts, item, half_life_s)


@dataclass(frozen=True)
class Linear:
    """score(history) = x W + (x v) p: x the items' counts decayed by age, W (I, I) sparse, v and p (I,) a term of rank
    one. decay 0 looks at the last event, or basket, alone."""

    task: Task
    decay: float
    weights: sp.csr_matrix
    left: FloatArray
    right: FloatArray

    def scores(self, histories: Histories, *, n_items: int) -> Tensor:
        """(H, I) float32."""
        x = decayed(histories, self.task, self.decay, n_items=n_items)
        dense = (x @ self.weights).toarray() + np.outer(x @ self.left, self.right)
        return torch.from_numpy(dense.astype(np.float32))


def fit_markov(split: Split, *, n_items: int) -> Candidates:
    """A first-order Markov chain for each prior m: P(j | i) = (n_ij + m p_j) / (n_i + m), n_ij how often j came next
    after i in training (in the next basket, under `repurchase`), n_i their sum, p_j the popularity of j; averaged over
    the last basket."""
    before, after = regression(split.train, split.task, NEGLIGIBLE, n_items=n_items)
    counts = (before.T @ after).tocsr().astype(np.float32)
    total = np.asarray(counts.sum(axis=1)).ravel()
    popular = np.bincount(split.train.item, minlength=n_items) / max(len(split.train.item), 1)
    for prior in PRIORS:
        weights = sp.diags_array((1 / (total + prior)).astype(np.float32)) @ counts
        left = (prior / (total + prior)).astype(np.float32)
        yield {"prior": prior}, Linear(split.task, 0.0, sp.csr_matrix(weights), left, popular.astype(np.float32))


def fit_item_knn(split: Split, *, n_items: int) -> Candidates:
    """Item neighbours for each shrinkage, number of neighbours and decay (Sarwar et al., "Item-based Collaborative
    Filtering Recommendation Algorithms", WWW 2001): score_j = sum over the history of x_i s_ij, s the shrunk cosine,
    kept for each item's k nearest."""
    seen = binary(split.train, n_items=n_items)
    nothing = np.zeros(n_items, dtype=np.float32)
    for shrink in SHRINKS:
        widest = cosines(seen, shrink=shrink, k=max(NEIGHBOURS), itself=split.task != "next-new")
        for k in NEIGHBOURS:
            weights = nearest(widest, k)
            for decay in DECAYS:
                settings = {"k": k, "shrink": shrink, "decay": decay}
                yield settings, Linear(split.task, decay, weights, nothing, nothing)


def cosines(seen: sp.csr_matrix, *, shrink: float, k: int, itself: bool) -> sp.csr_matrix:
    """(I, I) float32, each row's k largest of s_ij = n_ij / (sqrt(n_i n_j) + shrink), n_ij users who had both.

    seen (U, I) of ones. An item is its own neighbour only where people come back to it (`itself`). Rows are made a
    block at a time, so that memory grows with k and not with the catalogue squared.
    """
    by_item = seen.T.tocsr()
    n = np.asarray(seen.sum(axis=0)).ravel().astype(np.float64)
    root = np.sqrt(n)
    step = max(1, _CELLS // max(seen.shape[1], 1))
    parts = []
    for begin in range(0, seen.shape[1], step):
        common = (by_item[begin : begin + step] @ seen).tocoo()
        row, column = common.row, common.col
        kept = (row + begin != column) | itself
        row, column, value = row[kept], column[kept], common.data[kept]
        value = value / (root[row + begin] * root[column] + shrink)
        part = sp.csr_matrix((value.astype(np.float32), (row, column)), shape=common.shape)
        parts.append(nearest(part, k))
    return sp.csr_matrix(sp.vstack(parts)) if parts else sp.csr_matrix(seen.shape[1:] * 2, dtype=np.float32)


def nearest(weights: sp.csr_matrix, k: int) -> sp.csr_matrix:
    """Each row's k largest entries; among equal ones the first columns."""
    found = weights.tocoo()
    order = np.lexsort((found.col, -found.data, found.row))
    row = found.row[order]
    place = np.arange(len(row)) - np.searchsorted(row, row, side="left")
    kept = order[place < k]
    return sp.csr_matrix((found.data[kept], (found.row[kept], found.col[kept])), shape=weights.shape)


@dataclass(frozen=True)
class IALS:
    """Implicit alternating least squares, asked by folding a history in: its factor is solved for as in training, its
    events decayed by age. items (I, d) float32."""

    task: Task
    decay: float
    items: Tensor
    unseen: float
    penalty: float

    def scores(self, histories: Histories, *, n_items: int) -> Tensor:
        """(H, I) float32."""
        x = decayed(histories, self.task, self.decay, n_items=n_items)
        return solve(x, self.items, unseen=self.unseen, penalty=self.penalty) @ self.items.T


def fit_ials(split: Split, *, n_items: int, seed: int) -> Candidates:
    """iALS (`core.learn.factors`) for each setting of a stated budget, each asked with every decay."""
    seen = binary(split.train, n_items=n_items)
    for factors in IALS_FACTORS:
        for unseen in (unseen_weight(seen, beside) for beside in IALS_UNSEEN):
            for penalty in IALS_LAMBDAS:
                items = item_factors(seen, factors=factors, unseen=unseen, penalty=penalty, seed=seed)
                for decay in DECAYS:
                    settings = {"factors": factors, "unseen": unseen, "lambda": penalty, "decay": decay}
                    yield settings, IALS(split.task, decay, items, unseen, penalty)


def ials_gigaflops(train: Histories, *, n_items: int) -> float:
    """What the budget of `fit_ials` costs."""
    rounds = len(IALS_UNSEEN) * len(IALS_LAMBDAS)
    return rounds * sum(gigaflops(train, n_items=n_items, factors=d) for d in IALS_FACTORS)
