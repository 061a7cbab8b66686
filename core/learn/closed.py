"""Closed-form components: EASE, next-item ridge, matrix factors, and personal frequency; seconds to fit, hard to beat.

EASE is Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW 2019), asked with a history whose older
events count less. The next-item ridge regresses what comes next on two such decayed histories at once, a short and a
long memory side by side, X and Y over every training position: W = B + (X'X + Lambda)^-1 X'(Y - X B). What it shrinks
toward, B, is what coming back to an item is worth on average: one number a memory on the diagonal, by least squares;
0 where nobody comes back. Frequency is the decayed history itself, for tasks in which people do. Factors are those of
iALS (`core.learn.factors`), asked as a linear form: H (unseen H'H + lambda (n + unseen I) 1)^-1 H' for a history of
mean weight n, which solves for its factor up to the Gram matrix of the history's own items; d columns, however large
the catalogue. Content is likeness to what the history holds (`core.learn.content`). Decays and lambda (of EASE and the
ridge in units of the mean diagonal of X'X, so that they carry over between data sets) are chosen by validation NDCG@10.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from core.learn.content import Content
from core.learn.factors import gigaflops, item_factors, unseen_weight
from core.learn.memory import DENSE, FACTORS, Estimate
from core.learn.ranking import ndcg, ranks
from core.learn.sequences import FloatArray, Histories, IntArray, Queries, Split, Task, target_starts

DECAYS = (0.6, 0.8, 0.9, 0.95, 1.0)
MEMORIES = ((0.6, 0.95), (0.3, 0.9))  # the ridge's short and long memory
EASE_LAMBDAS = (1.0, 3.0, 10.0)
RIDGE_LAMBDAS = (3.0, 10.0)
CONTENT = "content"
PRODUCT_COLUMNS = 500  # of a Gram matrix made at once
VANISHED = 2.0**-30  # a decayed event below this weight is less than the rounding of its history's sum
FACTOR_UNSEEN = (5.0, 15.0, 1.5)  # weight of all that a user has not seen beside all that they have, in this order
FACTOR_LAMBDA = 0.01
FACTOR_GIGAFLOPS = 3000.0  # a budget of minutes on two cores: past it no further weight is tried
NEGLIGIBLE = 0.03  # a decayed event below this weight leaves the ridge's regression
MAX_QUERIES = 4000  # validation queries that a choice of decay and lambda looks at
MAX_CELLS = 400_000_000  # and their scores, fewer queries of a large catalogue
BLOCK_CELLS = 16_000_000  # their scores held at once


@dataclass(frozen=True)
class ClosedForm:
    """score(history) = squash of (sum over decays d of x_d W_d) / unit, x_d the items' counts decayed by d.

    weights (len(decays) * I, I) float32, the W_d one under the other, or None for W = 1; with `across` (F, I) float32
    they are (len(decays) * I, F), and W_d is their product. What the sum estimates is more like a probability than its
    logarithm, which a conditional logit asks for: a squashed sum ranks as the sum does, is linear well below the unit
    and logarithmic above. The unit is chosen with the blend (`core.predict.blend`). strength: what the form was fitted
    with beside its decays, NaN where that is not known (a lambda, the weight of the unseen, the number of a vector).
    """

    name: str
    task: Task
    decays: tuple[float, ...]
    weights: Tensor | None
    unit: float = 1.0
    across: Tensor | None = None
    strength: float = math.nan

    def scores(self, histories: Histories, *, n_items: int) -> Tensor:
        """(H, I) float32."""
        return squash(self.plain(histories, n_items=n_items))

    def plain(self, histories: Histories, *, n_items: int) -> Tensor:
        """(H, I) float32: the sum in units, before it is squashed."""
        if self.weights is None:
            (decay,) = self.decays
            return torch.from_numpy(decayed(histories, self.task, decay, n_items=n_items).toarray()).div_(self.unit)
        age, owner = ages(histories, self.task), histories.owner
        weight = np.stack([np.power(decay, age) for decay in self.decays], axis=1)  # (N, D)
        event, memory = np.nonzero(weight >= VANISHED)
        row = histories.item[event] + memory * n_items
        shape = (len(histories), len(self.weights))
        x = sp.csr_matrix((weight[event, memory].astype(np.float32), (owner[event], row)), shape=shape)
        summed = F.embedding_bag(
            torch.from_numpy(x.indices.astype(np.int64)),
            self.weights,
            torch.from_numpy(x.indptr[:-1].astype(np.int64)),
            mode="sum",
            per_sample_weights=torch.from_numpy(x.data),
        )
        return (summed if self.across is None else summed @ self.across).div_(self.unit)


def squash(plain: Tensor) -> Tensor:
    """sign(s) log(1 + |s|), elementwise."""
    return plain.abs().log1p_().copysign_(plain)


def ages(histories: Histories, task: Task) -> IntArray:
    """(N,) how much came after each event in its history: events, or, in baskets, later baskets."""
    if task != "repurchase":
        return histories.age
    starts = target_starts(histories, task)
    basket = np.cumsum(starts)
    last = np.concatenate([[0], basket])[histories.offsets[1:]]
    return np.repeat(last, histories.lengths) - basket


def decayed(histories: Histories, task: Task, decay: float, *, n_items: int) -> sp.csr_matrix:
    """(H, I) float32: each history's items, an event counting decay^age."""
    weight = np.power(decay, ages(histories, task)).astype(np.float32)
    return sp.csr_matrix((weight, (histories.owner, histories.item)), shape=(len(histories), n_items))


def by_row(weights: Tensor) -> Tensor:
    """The same numbers, each row's together: solvers leave columns together, from which rows sum many times slower."""
    return weights.contiguous()


def binary(histories: Histories, *, n_items: int) -> sp.csr_matrix:
    """(H, I) float32 of ones where a history holds an item."""
    seen = decayed(histories, "next-any", 1.0, n_items=n_items)
    seen.data[:] = 1.0
    return seen


def products(x: sp.csr_matrix, y: sp.csr_matrix) -> npt.NDArray[Any]:
    """x'y (I, J) as a plain array, some columns at a time: as a sparse one, most of it filled, it takes twice as much
    memory again."""
    out = np.empty((x.shape[1], y.shape[1]), dtype=np.result_type(x.dtype, y.dtype))
    left, right = x.T.tocsr(), y.tocsc()
    for begin in range(0, y.shape[1], PRODUCT_COLUMNS):
        some = slice(begin, begin + PRODUCT_COLUMNS)
        out[:, some] = (left @ right[:, some].tocsr()).toarray()
    return out


def _tried(like: ClosedForm | None, strengths: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Which strengths and decays are tried: all, or those of a form that was chosen before."""
    if like is None:
        return strengths, DECAYS
    return strengths if math.isnan(like.strength) else (like.strength,), like.decays


def fit_ease(split: Split, *, n_items: int, like: ClosedForm | None = None) -> Iterator[ClosedForm]:
    """EASE for each lambda and decay; B = I - P diag(1 / diag P), P = (X'X + lambda I)^-1, X binary."""
    seen = binary(split.train, n_items=n_items).astype(np.float64)
    gram = products(seen, seen)
    lambdas, decays = _tried(like, EASE_LAMBDAS)
    for scale in lambdas:
        regularised = gram.copy()
        regularised[np.diag_indices(n_items)] += scale * _mean_diagonal(gram)
        inverse = torch.linalg.inv(torch.from_numpy(regularised)).numpy()
        weights = inverse / -np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        served = by_row(torch.from_numpy(weights.astype(np.float32)))
        for decay in decays:
            yield ClosedForm("ease", split.task, (decay,), served, strength=scale)


def fit_ridge(split: Split, *, n_items: int, like: ClosedForm | None = None) -> Iterator[ClosedForm]:
    """The next-item ridge for each pair of memories and each lambda."""
    lambdas, _ = _tried(like, RIDGE_LAMBDAS)
    for memories in MEMORIES if like is None else (like.decays,):
        yield from _ridges(split, memories, lambdas, n_items=n_items)


def _ridges(
    split: Split, memories: tuple[float, ...], lambdas: tuple[float, ...], *, n_items: int
) -> Iterator[ClosedForm]:
    parts = [regression(split.train, split.task, decay, n_items=n_items) for decay in memories]
    x, y = sp.hstack([part[0] for part in parts]).tocsr(), parts[0][1]
    gram, cross = products(x, x), products(x, y)
    blocks = [gram[i : i + n_items, i : i + n_items] for i in range(0, len(gram), n_items)]
    scales = np.concatenate([np.full(n_items, _mean_diagonal(block)) for block in blocks])
    prior = np.zeros_like(cross)
    if split.task != "next-new":
        for memory, worth in enumerate(_coming_back(gram, cross)):
            own = np.arange(n_items)
            prior[memory * n_items + own, own] = worth
            cross -= worth * gram[:, memory * n_items : (memory + 1) * n_items]
    for scale in lambdas:
        regularised = gram.copy()
        regularised[np.diag_indices(len(gram))] += (scale * scales).astype(gram.dtype)
        factor = torch.linalg.cholesky(torch.from_numpy(regularised))
        beyond = torch.cholesky_solve(torch.from_numpy(cross), factor)
        served = by_row(beyond.add_(torch.from_numpy(prior)))
        yield ClosedForm("ridge", split.task, memories, served, strength=scale)


def fit_factors(split: Split, *, n_items: int, seed: int, like: ClosedForm | None = None) -> Iterator[ClosedForm]:
    """Matrix factors for each weight of the unseen, as far as the budget reaches, and each decay."""
    seen = binary(split.train, n_items=n_items)
    cost = gigaflops(split.train, n_items=n_items, factors=FACTORS)
    weights_of_unseen, decays = _tried(like, FACTOR_UNSEEN)
    histories = {d: float(decayed(split.train, split.task, d, n_items=n_items).sum()) for d in decays}
    for beside in weights_of_unseen[: max(1, int(FACTOR_GIGAFLOPS // max(cost, 1e-9)))]:
        unseen = unseen_weight(seen, beside)
        items = item_factors(seen, factors=FACTORS, unseen=unseen, penalty=FACTOR_LAMBDA, seed=seed)
        own = unseen * (items.T @ items)
        for decay in decays:
            history = histories[decay] / max(len(split.train), 1)
            ridge = FACTOR_LAMBDA * (history + unseen * n_items) * torch.eye(FACTORS)
            weights = torch.linalg.solve(own + ridge, items, left=False)
            served, across = by_row(weights), by_row(items.T)
            yield ClosedForm("factors", split.task, (decay,), served, across=across, strength=beside)


def fit_content(
    split: Split, *, n_items: int, content: Content, like: ClosedForm | None = None
) -> Iterator[ClosedForm]:
    """Likeness by each of the content's vectors and by each decay; n_items is not needed and is taken for the shared
    signature."""
    every = list(content.vectors())
    numbers, decays = _tried(like, tuple(float(number) for number in range(len(every))))
    for number in numbers:
        vectors = every[min(int(number), len(every) - 1)]
        across = by_row(vectors.T)
        for decay in decays:
            yield ClosedForm(CONTENT, split.task, (decay,), vectors, across=across, strength=number)


def fit_frequency(split: Split, *, n_items: int, like: ClosedForm | None = None) -> Iterator[ClosedForm]:
    """Personal frequency for each decay; n_items is not needed and is taken for the shared signature."""
    for decay in _tried(like, ())[1]:
        yield ClosedForm("frequency", split.task, (decay,), None)


def regression(train: Histories, task: Task, decay: float, *, n_items: int) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """X and Y (R, I) float32: decayed history before, and items of, every target but each history's first."""
    starts = np.ones(len(train.item), dtype=bool) if task != "repurchase" else target_starts(train, task)
    group = np.cumsum(starts) - 1
    owner = train.owner[np.flatnonzero(starts)]
    one = np.ones(len(group), dtype=np.float32)
    content = sp.csr_matrix((one, (group, train.item)), shape=(len(owner), n_items))
    content.data[:] = 1.0
    reach = max(1, int(np.ceil(np.log(NEGLIGIBLE) / np.log(decay))))
    before = sp.csr_matrix((len(owner), len(owner)), dtype=np.float32)
    rows = np.arange(len(owner))
    parts: list[tuple[IntArray, IntArray, FloatArray]] = []
    for lag in range(min(reach, int(np.bincount(owner).max(initial=1)))):
        row = rows[lag + 1 :]
        row = row[owner[row] == owner[row - lag - 1]]
        parts.append((row, row - lag - 1, np.full(len(row), decay**lag, dtype=np.float32)))
    if parts:
        row, column, value = (np.concatenate(column) for column in zip(*parts, strict=True))
        before = sp.csr_matrix((value, (row, column)), shape=before.shape)
    asked = np.concatenate([[False], owner[1:] == owner[:-1]]) if len(owner) else np.zeros(0, dtype=bool)
    if task == "next-new":
        asked &= target_starts(train, task)
    return (before @ content)[asked].tocsr(), content[asked].tocsr()


Fitter = Callable[..., Iterator[ClosedForm]]
FITTERS: dict[str, Fitter] = {  # those without chance in them
    "ease": fit_ease,
    "ridge": fit_ridge,
    "frequency": fit_frequency,
}


def fit_closed_forms(
    split: Split,
    *,
    n_items: int,
    content: Content,
    budget_gb: float,
    seed: int,
    log: Callable[[str], None],
    like: Mapping[str, ClosedForm] | None = None,
) -> dict[str, ClosedForm]:
    """The best of each form by validation NDCG@10. A dense form over `budget_gb` stands aside, and so do factors over
    their budget of operations; `log` says so. The seed is of the factors' start. like: forms that were chosen before,
    which are fitted anew as they were, and no others."""
    fitters: dict[str, Fitter] = {**FITTERS, "factors": partial(fit_factors, seed=seed)}
    if content.dim:
        fitters[CONTENT] = partial(fit_content, content=content)
    if split.task == "next-new":
        del fitters["frequency"]  # nobody comes back
    valid = split.valid.sample(min(MAX_QUERIES, max(1, MAX_CELLS // n_items)), seed=seed)
    chosen: dict[str, ClosedForm] = {}
    for name, fitter in fitters.items():
        if like is not None and name not in like:
            continue
        too_much = _too_much(name, split, n_items=n_items, budget_gb=budget_gb)
        if too_much is not None:
            log(f"{name} stands aside: {too_much}")
            continue
        begun, best = time.perf_counter(), -1.0
        for form in fitter(split, n_items=n_items, like=None if like is None else like[name]):
            reached = _reached(form, valid, n_items=n_items)
            if reached > best:
                chosen[name], best = form, reached
        log(f"{name}: decays {chosen[name].decays}, validation NDCG@10 {best:.4f}, {time.perf_counter() - begun:.1f} s")
    return chosen


def _too_much(name: str, split: Split, *, n_items: int, budget_gb: float) -> str | None:
    """Why a form is not tried, or None."""
    if name in DENSE:
        cost = Estimate(n_items, DENSE[name]).gigabytes
        return f"{cost:.1f} GB for {n_items} items is over {budget_gb:.1f} GB" if cost > budget_gb else None
    if name == "factors":
        cost = gigaflops(split.train, n_items=n_items, factors=FACTORS)
        over = f"{cost:.0f} GF for {len(split.train.item)} events is over {FACTOR_GIGAFLOPS:.0f} GF"
        return over if cost > FACTOR_GIGAFLOPS else None
    return None


def _reached(form: ClosedForm, valid: Queries, *, n_items: int) -> float:
    """Validation NDCG@10, of scores made for a block of queries at a time."""
    if not len(valid):
        return 0.0
    blocks = valid.blocks(max(1, BLOCK_CELLS // n_items))
    parts = [ndcg(ranks(form.scores(q.context, n_items=n_items), q, task=form.task), q, k=10) for q in blocks]
    return float(np.mean(np.concatenate(parts)))


def _coming_back(gram: npt.NDArray[Any], cross: npt.NDArray[Any]) -> FloatArray:
    """(M,) least squares of Y on sum over memories m of b_m X_m, the same b for all items: X'X (M I, M I) and X'Y
    (M I, I) hold all that it takes in the traces of their blocks."""
    n_items = cross.shape[1]
    begins = range(0, len(gram), n_items)
    between = [[np.trace(gram[a : a + n_items, b : b + n_items]) for b in begins] for a in begins]
    onto = [np.trace(cross[a : a + n_items]) for a in begins]
    worth = np.linalg.lstsq(np.asarray(between, np.float64), np.asarray(onto, np.float64), rcond=None)[0]
    return np.asarray(worth, np.float32)


def _mean_diagonal(gram: npt.NDArray[Any]) -> float:
    return max(float(np.diag(gram).mean()), 1e-6)
