"""Whether one model beats another by more than chance: paired permutation over users, and Holm's correction.

Under the null hypothesis a user's two scores could have been swapped, so the sign of each user's difference is a fair
coin (Smucker, Allan and Carterette, "A Comparison of Statistical Significance Tests for Information Retrieval
Evaluation", CIKM 2007). A user with several queries is one coin: the queries of a user are not independent. Few users
that differ are enumerated exactly; many are drawn, with the observed assignment counted among the draws (Phipson and
Smyth, 2010), so that p is never 0. No data gives NaN.
"""

import math
from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt

EXACT = 14  # users that differ; up to here all 2^n signs are tried
ROUNDS = 10_000
_CELLS = 4_000_000  # signs held at once
_SAME = 1e-12  # relative; sums that differ by rounding alone are level

Floats = npt.NDArray[np.float64]
Name = TypeVar("Name", bound=Hashable)


def paired_permutation(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    seed: int,
    user: npt.ArrayLike | None = None,
    rounds: int = ROUNDS,
) -> float:
    """Two-sided p-value of mean(a - b) = 0. a and b (Q,) in the same order of queries, NaN in either left out;
    user (Q,) the user of each query, one query a user where not given."""
    gap: Floats = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    known = ~np.isnan(gap)
    if not known.any():
        return math.nan
    if user is not None:
        _, cluster = np.unique(np.asarray(user)[known], return_inverse=True)
        gap = np.bincount(cluster, weights=gap[known]).astype(np.float64)
    else:
        gap = gap[known]
    gap = gap[gap != 0]  # a sign does not move a zero
    if not len(gap):
        return 1.0
    least = abs(gap.sum()) - _SAME * np.abs(gap).sum()
    if len(gap) <= EXACT:
        return float((np.abs(_all_signs(len(gap)) @ gap) >= least).mean())
    rng = np.random.default_rng(seed)
    extreme, step = 0, max(1, _CELLS // len(gap))
    for begin in range(0, rounds, step):
        heads = rng.integers(0, 2, size=(min(step, rounds - begin), len(gap)), dtype=np.int8)
        extreme += int((np.abs(2.0 * (heads @ gap) - gap.sum()) >= least).sum())
    return (1 + extreme) / (1 + rounds)


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """p-values adjusted for their number (Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979): those
    at most alpha reject with a family-wise error of at most alpha. NaN stays NaN and is not counted."""
    adjusted, reached = dict.fromkeys(p_values, math.nan), 0.0
    tested = sorted((name for name in p_values if not math.isnan(p_values[name])), key=lambda name: p_values[name])
    for place, name in enumerate(tested):
        reached = max(reached, min(1.0, (len(tested) - place) * p_values[name]))
        adjusted[name] = reached
    return adjusted


def _all_signs(n: int) -> Floats:
    """(2^n, n) every assignment of +1 and -1."""
    bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    return (1 - 2 * bits).astype(np.float64)
