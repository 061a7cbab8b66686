"""Intervals of per-user figures: bootstrap over users, signed, with n; the one place where they are made.

An interval is the 95% percentile interval of the mean over resampled users (Efron and Tibshirani, "An Introduction to
the Bootstrap", 1993). Above `LARGE` users it is the normal one, which is the same to the digits shown. No data gives
NaN with n = 0, one user an estimate without bounds: absence of data is never a number.
"""

import math
from collections.abc import Iterator
from typing import TypedDict

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
LARGE = 20_000
RESAMPLES = 2000
POWER_FACTOR = 2.8016  # z(.975) + z(.80): a gap this many standard errors wide is found with 80% power
_CELLS = 4_000_000  # resampled indices held at once

Floats = npt.NDArray[np.float64]


class Measure(TypedDict):
    """`M` of the JSON contract: an estimate with its 95% interval and the number of users behind it."""

    estimate: float
    low: float
    high: float
    n: int


def bootstrap_mean(values: npt.ArrayLike, *, seed: int, resamples: int = RESAMPLES) -> Measure:
    """The mean of `values` (one a user; NaN left out) with its interval over users."""
    seen = np.asarray(values, dtype=np.float64)
    seen = seen[~np.isnan(seen)]
    n = len(seen)
    if n == 0:
        return Measure(estimate=math.nan, low=math.nan, high=math.nan, n=0)
    estimate = float(seen.mean())
    if n == 1:
        return Measure(estimate=estimate, low=math.nan, high=math.nan, n=1)
    if n > LARGE:
        half = 1.959964 * float(seen.std(ddof=1)) / math.sqrt(n)
        return Measure(estimate=estimate, low=estimate - half, high=estimate + half, n=n)
    rng = np.random.default_rng(seed)
    means = np.concatenate([seen[rng.integers(n, size=(rows, n))].mean(axis=1) for rows in _portions(resamples, n)])
    low, high = bounds(means)
    return Measure(estimate=estimate, low=float(low), high=float(high), n=n)


def paired_gap(a: npt.ArrayLike, b: npt.ArrayLike, *, seed: int, resamples: int = RESAMPLES) -> Measure:
    """The mean of a - b over users who have both, with its interval; a and b are in the same order of users."""
    return bootstrap_mean(np.asarray(a, np.float64) - np.asarray(b, np.float64), seed=seed, resamples=resamples)


def unpaired_gap(a: npt.ArrayLike, b: npt.ArrayLike, *, seed: int, resamples: int = RESAMPLES) -> Measure:
    """The mean of `a` less that of `b`, which are of different users (one value each), with its interval: both drawn
    anew, apart. n is the users of both; without two on either side there are no bounds."""
    x, y = (np.asarray(values, dtype=np.float64) for values in (a, b))
    n = len(x) + len(y)
    if not len(x) or not len(y):
        return Measure(estimate=math.nan, low=math.nan, high=math.nan, n=n)
    estimate = float(x.mean() - y.mean())
    if min(len(x), len(y)) < 2:
        return Measure(estimate=estimate, low=math.nan, high=math.nan, n=n)
    if max(len(x), len(y)) > LARGE:
        half = 1.959964 * math.sqrt(float(x.var(ddof=1)) / len(x) + float(y.var(ddof=1)) / len(y))
        return Measure(estimate=estimate, low=estimate - half, high=estimate + half, n=n)
    rng = np.random.default_rng(seed)
    drawn = [
        np.concatenate(
            [v[rng.integers(len(v), size=(rows, len(v)))].mean(axis=1) for rows in _portions(resamples, len(v))]
        )
        for v in (x, y)
    ]
    low, high = bounds(drawn[0] - drawn[1])
    return Measure(estimate=estimate, low=float(low), high=float(high), n=n)


def resampled_sums(columns: Floats, *, seed: int, resamples: int = RESAMPLES) -> Floats:
    """(resamples, C) sums of each column over users drawn anew with replacement; the same draw for all columns.

    columns (n, C), one row a user, no NaN.
    """
    n = len(columns)
    rng = np.random.default_rng(seed)
    parts = [np.zeros((0, columns.shape[1]))]
    for rows in _portions(resamples, max(n, 1)):
        drawn = rng.multinomial(n, np.full(n, 1 / n), size=rows) if n else np.zeros((rows, 0))
        parts.append(drawn.astype(np.float64) @ columns)
    return np.concatenate(parts)


def bounds(resampled: Floats) -> Floats:
    """The 95% percentile bounds (2, ...) over axis 0, NaN left out; NaN where nothing is left."""
    tail = (1 - LEVEL) / 2
    out = np.full((2, *resampled.shape[1:]), math.nan)
    some = ~np.isnan(resampled).all(axis=0)
    out[:, some] = np.nanquantile(resampled[:, some], [tail, 1 - tail], axis=0)
    return out


def _portions(resamples: int, n: int) -> Iterator[int]:
    """Numbers of resamples that together make `resamples`, each within memory for n users."""
    size = max(1, _CELLS // n)
    for begin in range(0, resamples, size):
        yield min(size, resamples - begin)
