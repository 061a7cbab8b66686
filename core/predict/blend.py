"""The blend: one calibrated score from several components.

p(i | history) is proportional to exp(sum over components of w_c s_c(i)), a conditional logit over the candidate items.
Each s_c is standardised by one mean and one deviation a component, fitted on validation and then frozen (never per
user: an empty history has none). The weights maximise the validation targets' likelihood, so that the softmax is
calibrated. A component that cannot score an item adds 0 after standardising.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.learn.ranking import mask_seen
from core.learn.sequences import Queries, Task

MAX_QUERIES = 4000


@dataclass(frozen=True)
class Blend:
    """names (C,) and, in the same order, mean, deviation and weight (C,)."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    weight: tuple[float, ...]

    def logits(self, scores: Mapping[str, Tensor]) -> Tensor:
        """(H, I) float64 from each component's (H, I) scores; NaN marks an item that a component cannot score."""
        total: Tensor | None = None
        for name, mean, deviation, weight in zip(self.names, self.mean, self.deviation, self.weight, strict=True):
            part = weight * standardise(scores[name], mean, deviation)
            total = part if total is None else total + part
        assert total is not None, "a blend has components"
        return total


def standardise(scores: Tensor, mean: float, deviation: float) -> Tensor:
    """(scores - mean) / deviation in float64, 0 where NaN."""
    return ((scores.double() - mean) / deviation).nan_to_num(nan=0.0)


def fit_blend(
    scores: Mapping[str, Tensor], valid: Queries, *, task: Task, available: Tensor, seed: int
) -> tuple[Blend, float]:
    """The blend of `scores` (each (Q, I)) on validation queries, and its mean negative log-likelihood a target.

    available (I,) bool. With no validation query the components weigh the same, each at unit deviation.
    """
    names = tuple(scores)
    rows = _rows(len(valid), seed)
    some = valid.take(rows)
    allowed = candidates(some, task=task, available=available)
    picked = {name: scores[name][torch.from_numpy(rows)] for name in names}
    means, deviations = zip(*(_moments(picked[name], allowed) for name in names), strict=True)
    owner, target = torch.from_numpy(some.owner), torch.from_numpy(some.target)
    scored = allowed[owner, target]
    owner, target = owner[scored], target[scored]
    if not len(target):
        return Blend(names, means, deviations, tuple(1.0 for _ in names)), float("nan")
    stack = torch.stack([standardise(picked[n], m, s) for n, m, s in zip(names, means, deviations, strict=True)])
    weights = torch.ones(len(names), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        logits = torch.einsum("c,cqi->qi", weights, stack).masked_fill(~allowed, -torch.inf)
        return -logits.log_softmax(1)[owner, target].mean() + 1e-4 * weights.square().sum()

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        torch.autograd.backward(value)
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    fitted = tuple(float(w) for w in weights.detach())
    return Blend(names, means, deviations, fitted), float(loss().detach())


def candidates(queries: Queries, *, task: Task, available: Tensor) -> Tensor:
    """(Q, I) bool: the items that may be recommended: available, and new to the context under `next-new`."""
    free = available.float().expand(len(queries), -1)
    return mask_seen(free, queries, task=task).gt(0)


def _moments(scores: Tensor, allowed: Tensor) -> tuple[float, float]:
    kept = scores[allowed & scores.isfinite()].double()
    if len(kept) < 2:
        return 0.0, 1.0
    return float(kept.mean()), max(float(kept.std()), 1e-9)


def _rows(n: int, seed: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    if n <= MAX_QUERIES:
        return np.arange(n, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(n, MAX_QUERIES, replace=False)).astype(np.int64)
