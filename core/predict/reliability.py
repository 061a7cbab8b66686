"""How good a probability, or a guessed time, is: discrimination and calibration, as plain functions of arrays.

Discrimination is a share of pairs ranked rightly, ties counting half: the area under the ROC curve over (positive,
negative) pairs, Harrell's concordance over pairs whose earlier time was seen to its end (Harrell, Lee and Mark,
"Multivariable Prognostic Models", Statistics in Medicine 1996). Calibration is the expected calibration error over
bins of equal numbers (Naeini, Cooper and Hauskrecht, AAAI 2015; equal-mass bins after Nguyen and O'Connor, EMNLP 2015)
and, for times, the distribution of the survival curve at them, which is uniform for a calibrated curve (D-calibration,
Haider et al., "Effective Ways to Build and Evaluate Individual Survival Distributions", JMLR 2020).

Intervals come from a bootstrap over users: a pair of events counts as often as both its users are drawn. No data gives
NaN with n = 0.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from core.predict.intervals import Measure, bounds, resampled_sums

BINS = 10
PAIR_RESAMPLES = 1000
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def auc(score: Floats, positive: Bools) -> float:
    """Share of (positive, negative) pairs in which the positive scores higher; NaN where one side is empty."""
    above, below = np.sort(score[positive]), np.sort(score[~positive])
    if not len(above) or not len(below):
        return math.nan
    wins = np.searchsorted(below, above, side="left") + np.searchsorted(below, above, side="right")
    return float(wins.sum() / 2 / (len(above) * len(below)))


def roc_pairs(positive: Bools) -> Bools:
    """(Q, Q) true where row is a positive and column a negative."""
    return np.asarray(positive[:, None] & ~positive[None, :])


def known_order(days: Floats, came: Bools) -> Bools:
    """(Q, Q) true where the row's time is known to be the shorter: it was seen to its end, the column's goes on beyond,
    or was lost from sight at that very time."""
    beyond = (days[:, None] < days[None, :]) | ((days[:, None] == days[None, :]) & ~came[None, :])
    return np.asarray(came[:, None] & beyond)


def concordance(expected: Floats, days: Floats, came: Bools) -> float:
    """Harrell's C: share of pairs of known order in which the shorter time was expected shorter; NaN for none."""
    pairs = known_order(days, came)
    return _share(wins(-expected, pairs).sum(), pairs.sum())


def wins(score: Floats, pairs: Bools) -> npt.NDArray[np.float32]:
    """(Q, Q) 1 where the row of a pair scores above the column, 1/2 where level, 0 elsewhere."""
    higher = (score[:, None] > score[None, :]) + np.float32(0.5) * (score[:, None] == score[None, :])
    return np.asarray(np.where(pairs, higher, np.float32(0)), dtype=np.float32)


def pair_measures(
    scores: Mapping[str, Floats], pairs: Bools, user: Ints, *, seed: int
) -> tuple[dict[str, Measure], dict[str, Measure]]:
    """Each score's share of `pairs` (Q, Q) ranked rightly, and how far the first is ahead of each other, on the same
    draws of users. scores (Q,) each, user (Q,). n counts users."""
    users, place = np.unique(user, return_inverse=True)
    n = len(users)
    if not n:
        nothing = _measure(math.nan, np.zeros(0), 0)
        return dict.fromkeys(scores, nothing), dict.fromkeys(list(scores)[1:], nothing)
    member = sp.csr_matrix((np.ones(len(place), np.float32), (place, np.arange(len(place)))), shape=(n, len(place)))

    def by_user(cells: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return np.asarray(member @ (member @ cells.astype(np.float32)).T, dtype=np.float32).T

    total = by_user(pairs)
    won = {name: by_user(wins(score, pairs)) for name, score in scores.items()}
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=PAIR_RESAMPLES).astype(np.float32)
    weight = np.einsum("ru,ru->r", drawn @ total, drawn)
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = {k: np.einsum("ru,ru->r", drawn @ cells, drawn) / weight for k, cells in won.items()}
    point = {name: _share(float(cells.sum(dtype=np.float64)), int(pairs.sum())) for name, cells in won.items()}
    measures = {name: _measure(point[name], resampled[name], n) for name in scores}
    first = next(iter(scores))
    gaps = {k: _measure(point[first] - point[k], resampled[first] - resampled[k], n) for k in scores if k != first}
    return measures, gaps


def mean_measures(
    values: Mapping[str, Floats], user: Ints, *, seed: int
) -> tuple[dict[str, Measure], dict[str, Measure]]:
    """Each value's mean over events, and how far the first lies above each other, on the same draws of users.
    values (Q,) each, user (Q,). n counts users."""
    users, place = np.unique(user, return_inverse=True)
    sums = [np.bincount(place, weights=one, minlength=len(users)) for one in values.values()]
    columns = np.stack([*sums, np.bincount(place, minlength=len(users)).astype(np.float64)], axis=1)
    drawn = resampled_sums(columns, seed=seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = dict(zip(values, (drawn[:, :-1] / drawn[:, -1:]).T, strict=True))
    point = {name: float(one.mean()) if len(one) else math.nan for name, one in values.items()}
    first = next(iter(values))
    measures = {name: _measure(point[name], resampled[name], len(users)) for name in values}
    gaps = {
        k: _measure(point[first] - point[k], resampled[first] - resampled[k], len(users)) for k in values if k != first
    }
    return measures, gaps


def log_loss(p: Floats, positive: Bools) -> Floats:
    """(Q,) -log of the probability given to what happened, in nats; p (Q,) of the positive."""
    return np.asarray(-np.log(np.where(positive, p, 1 - p)))


def reliability(p: Floats, positive: Bools, *, bins: int = BINS) -> list[dict[str, float]]:
    """The reliability diagram, one entry a bin of equal numbers, lowest p first: n, predicted (mean p), observed, and
    the 95% Wilson bounds low and high of what was observed. Fewer bins than asked where there are fewer events."""
    out = []
    for rows in np.array_split(np.argsort(p, kind="stable"), bins):
        if not len(rows):
            continue
        n, seen, z = len(rows), float(positive[rows].mean()), 1.959964
        middle, spread = seen + z**2 / (2 * n), z * math.sqrt(seen * (1 - seen) / n + z**2 / (4 * n**2))
        low, high = ((middle + sign * spread) / (1 + z**2 / n) for sign in (-1, 1))
        out.append({"n": n, "predicted": float(p[rows].mean()), "observed": seen, "low": low, "high": high})
    return out


def calibration_error(p: Floats, positive: Bools, *, bins: int = BINS) -> float:
    """ECE: mean over events of |mean p - share positive| in their bin, in [0, 1]; NaN without events."""
    if not len(p):
        return math.nan
    order = np.argsort(p, kind="stable")
    gaps = (p - positive)[order]
    return float(sum(abs(part.sum()) for part in np.array_split(gaps, bins)) / len(p))


def chance_error(p: Floats, *, seed: int, bins: int = BINS, draws: int = 200) -> dict[str, float]:
    """What the ECE would be if p were true: mean and the 95th percentile over drawn outcomes. ECE is never below 0, and
    few events alone give it a size."""
    if not len(p):
        return {"mean": math.nan, "high": math.nan}
    rng = np.random.default_rng(seed)
    seen = [calibration_error(p, rng.random(len(p)) < p, bins=bins) for _ in range(draws)]
    return {"mean": float(np.mean(seen)), "high": float(np.quantile(seen, 0.95))}


def survival_shares(survival: Floats, came: Bools, *, bins: int = BINS) -> Floats:
    """(bins,) shares of times by the survival curve there, from 0 to 1 in equal steps, which are 1 / bins each for a
    calibrated curve. survival (Q,) at each time; a time censored at survival s is spread evenly over [0, s]."""
    edges = np.linspace(0, 1, bins + 1)
    if not len(survival):
        return np.full(bins, math.nan)
    place = np.minimum((survival * bins).astype(np.int64), bins - 1)
    exact = (place[:, None] == np.arange(bins)) * 1.0
    inside = np.clip(survival[:, None] - edges[:-1], 0, 1 / bins)
    spread = np.where(survival[:, None] > 0, inside / np.maximum(survival[:, None], 1e-300), exact)
    return np.asarray(np.where(came[:, None], exact, spread).mean(axis=0))


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan


def _measure(point: float, resampled: Floats, n: int) -> Measure:
    low, high = bounds(np.asarray(resampled)) if n > 1 else (math.nan, math.nan)
    return Measure(estimate=point, low=float(low), high=float(high), n=n if not math.isnan(point) else 0)
