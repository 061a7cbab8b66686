"""Days on which people did far more, or far less, than is usual for the weekday at that time, and stretches without any
event; told only where chance hardly explains them.

Counts are looked at as y = sqrt(n + 3/8), in which a Poisson count varies by 1/2 whatever its size (Anscombe,
Biometrika 35, 1948). What is usual is a slow trend times the weekday's own factor, both medians, so that the days in
question hardly move it:

    trend_t  = median of y over up to 28 days before and after t, as many on each side
    factor_w = median of y_t / trend_t over the days t of weekday w
    usual_t  = trend_t * factor_w
    spread_t = max(1/2, usual_t * 1.4826 * median of |y / usual - 1|), over all days or the weekday's, the larger
    z_t      = (y_t - usual_t) / spread_t, or where that is nearer zero usual_t * log(y_t / usual_t) / spread_t,
               since what multiplies activity by chance is skewed

A spread from N days by its median of deviations is worth 37% of them (Rousseeuw and Croux, JASA 88, 1993), so z is
compared with Student's t of 0.37 (N - 7) degrees of freedom, two-sided; of the days' p-values those are kept that pass
Benjamini and Hochberg's procedure (JRSS B 57, 1995). A stretch of L empty days has p = T * start * stay^(L - 1): how
often a day is the first empty one, and how often the next is empty too, by all other days, over the T places where it
could lie. Each of the two gets half of LEVEL: of logs in which nothing is unusual at most one in twenty is told of any
day; among what is told, one in twenty is expected to be chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

LEVEL = 0.05
LEAST_DAYS = 42  # six of each weekday
_HALF_WINDOW = 28
_LEAST_HALF = 7
_TO_SIGMA = 1.4826  # of a normal variable's median of deviations
_WORTH = 0.37  # of a day, in a spread by medians
_SHORTEST_GAP = 2  # one empty day is a day like others, with very few events

How = Literal["more", "less", "none"]
_Floats = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Unusual:
    """One day, or a stretch of days without events. usual: of a day like it (the first one), in events. n: days of that
    weekday that this was told by. z: robust; NaN of a stretch. p: adjusted for all that were looked at."""

    first: date
    last: date
    how: How
    events: int
    users: int
    usual: float
    n: int
    z: float
    p: float

    @property
    def weekday(self) -> int:
        """1 (Monday) to 7."""
        return self.first.isoweekday()

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def ratio(self) -> float:
        """Events by what is usual; NaN where nothing is."""
        return self.events / self.usual if self.usual > 0 else float("nan")


@dataclass(frozen=True)
class Looked:
    """What was found, the least likely first, and how many days were looked at; none of `days` where they are too few
    to know what is usual."""

    found: tuple[Unusual, ...]
    tested: int
    days: int


def unusual_days(days: Sequence[date], events: Sequence[int], users: Sequence[int]) -> Looked:
    """Of every day from the first to the last, without one left out, in order. The first and the last are not judged: a
    log may begin at noon."""
    counts = np.asarray(events, np.float64)
    if len(counts) < LEAST_DAYS:
        return Looked((), 0, len(counts))
    if not counts.any():
        return Looked((), 0, len(counts))
    gaps = _gaps(counts)
    hidden = np.zeros(len(counts), bool)
    for first, last, _ in gaps:
        hidden[first : last + 1] = True
    weekday = (np.arange(len(counts)) + days[0].weekday()) % 7
    usual, z, n = _compared(counts, weekday, hidden)
    judged = ~hidden & np.isfinite(z)
    judged[[0, -1]] = False
    p = np.full(len(counts), np.nan)
    freedom = max(_WORTH * (int(np.count_nonzero(~hidden)) - 7), 1.0)
    p[judged] = _adjusted(2 * stdtr(freedom, -np.abs(z[judged])))
    told = [_day(days, counts, users, usual, z, n, p, int(at)) for at in np.flatnonzero(p <= LEVEL / 2)]
    for first, last, chance in gaps:
        at = _usual_in(usual, first, last)
        told.append(Unusual(days[first], days[last], "none", 0, 0, at, int(n[first]), float("nan"), min(chance, 1.0)))
    told.sort(key=lambda one: (one.p, one.first))
    return Looked(tuple(told), int(judged.sum()) + int(hidden.sum()), len(counts))


def _day(
    days: Sequence[date],
    counts: _Floats,
    users: Sequence[int],
    usual: _Floats,
    z: _Floats,
    n: npt.NDArray[np.int64],
    p: _Floats,
    at: int,
) -> Unusual:
    how: How = "none" if counts[at] == 0 else "more" if z[at] > 0 else "less"
    told = (float(usual[at]), int(n[at]), float(z[at]), float(p[at]))
    return Unusual(days[at], days[at], how, int(counts[at]), int(users[at]), *told)


def _compared(
    counts: _Floats, weekday: npt.NDArray[np.int64], hidden: _Bools
) -> tuple[_Floats, _Floats, npt.NDArray[np.int64]]:
    """What is usual for each day (events), z, and how many days of its weekday that was told by."""
    y = np.sqrt(counts + 3 / 8)
    y[hidden] = np.nan
    trend = _trend(y)
    factor, spread, n = np.ones(7), np.zeros(7), np.zeros(7, np.int64)
    for day in range(7):
        mine = (weekday == day) & np.isfinite(y)
        n[day] = mine.sum()
        if n[day]:
            factor[day] = np.median(y[mine] / trend[mine])
    usual = trend * factor[weekday]
    off = np.abs(y / usual - 1)
    for day in range(7):
        if n[day]:
            spread[day] = _TO_SIGMA * max(np.nanmedian(off), np.nanmedian(off[weekday == day]))
    by_difference, by_ratio = y - usual, usual * np.log(y / usual)
    nearer = np.where(np.abs(by_difference) <= np.abs(by_ratio), by_difference, by_ratio)
    z = nearer / np.maximum(0.5, usual * spread[weekday])
    return np.maximum(usual**2 - 3 / 8, 0.0), z, n[weekday]


def _trend(y: _Floats) -> _Floats:
    """The running median, of as many days before as after, fewer towards the ends; NaN days are left out. Where the
    whole window is NaN, what is nearest before or after it stands in."""
    size = len(y)
    trend = np.full(size, np.nan)
    for at in range(size):
        half = min(max(min(at, size - 1 - at), _LEAST_HALF), _HALF_WINDOW)
        window = y[max(at - half, 0) : at + half + 1]
        window = window[~np.isnan(window)]
        if window.size:
            trend[at] = np.median(window)
    known = np.flatnonzero(np.isfinite(trend))
    filled: _Floats = np.interp(np.arange(size), known, trend[known])
    return filled


def _adjusted(p: _Floats) -> _Floats:
    """Benjamini and Hochberg's: min over k >= rank of p_(k) m / k."""
    m = p.size
    order = np.argsort(p, kind="stable")
    rising = np.minimum.accumulate((p[order] * m / np.arange(1, m + 1))[::-1])[::-1]
    adjusted = np.empty(m)
    adjusted[order] = np.minimum(rising, 1.0)
    return adjusted


def _gaps(counts: _Floats) -> list[tuple[int, int, float]]:
    """Stretches of empty days that are longer than the log's own empty days explain: first, last, p."""
    empty = counts == 0
    edges = np.flatnonzero(np.diff(np.concatenate([[0], empty.astype(np.int8), [0]])))
    stretches = [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]
    size, starts, n_empty = len(counts), len(stretches), int(empty.sum())
    found = []
    for first, last in stretches:
        length = last - first + 1
        start = (starts - 1 + 0.5) / (size - n_empty + 1)
        stay = (n_empty - length - (starts - 1) + 0.5) / (n_empty - length + 1)
        chance = size * start * stay ** (length - 1)
        enough = size - length >= LEAST_DAYS  # others, to know the log's way by
        if enough and length >= _SHORTEST_GAP and chance <= LEVEL / 2:
            found.append((first, last, float(chance)))
    return found


def _usual_in(usual: _Floats, first: int, last: int) -> float:
    return float(np.mean(usual[first : last + 1]))
