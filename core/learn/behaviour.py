"""Questions about behaviour, and what is known when each is asked.

A question stands at a moment: after the first `place` events of a history. It asks whether the next event will be
liked, of which kind it will be, or when the user returns. Whatever answers it is made here and reads the events before
the moment alone: sums over a history up to it, and what earlier training events said of an item. A training question
sees its item as it stood before that event in time, never with the event's own value in it, since a mean that leaves
one event out gives that event's value away. The time that passes between the moment and the event is not looked at.

A session is a run of events no more than an hour apart, a cut-off found to suit logs of many kinds (Halfaker et al.,
"User Session Identification Based on Strong Regularities in Inter-activity Time", WWW 2015). A return is the first
event of the user's next session; its time counts from the last event of the one before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from core.learn.sequences import FloatArray, Histories, IntArray, Split, Task, target_starts

SESSION_GAP_S = 3600
DAY_S = 86_400
TRAIN, VALID, TEST = 0, 1, 2
CUTS = (0.8, 0.9)  # of all events in time order: where returns are judged, unless the split has cuts of its own
USER_WEIGHT = 5.0  # events that the common rate counts for beside a user's own
ITEM_WEIGHT = 10.0  # and beside an item's
RECENT = 10  # events
N_ITEM_FEATURES = 3
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Q moments, each after the first `place` (Q,) events of the history `owner` (Q,)."""

    owner: IntArray
    place: IntArray

    def __len__(self) -> int:
        return len(self.owner)

    def take(self, rows: IntArray | Bools) -> "Moments":
        """The moments `rows`, in that order."""
        return Moments(self.owner[rows], self.place[rows])


@dataclass(frozen=True)
class Norms:
    """What is typical in the training part: the share liked, mean and deviation of values, share of each kind (K,),
    mean log days between sessions."""

    liked: float
    value: float
    deviation: float
    kinds: tuple[float, ...]
    log_gap: float


@dataclass(frozen=True)
class Tallies:
    """What events say of an item: how many, how many liked, how many with a value and the sum of those. One entry an
    item (I,), or one a question (Q,)."""

    n: Floats
    liked: Floats
    valued: Floats
    value: Floats

    def at(self, rows: IntArray) -> "Tallies":
        """The entries `rows`."""
        return Tallies(self.n[rows], self.liked[rows], self.valued[rows], self.value[rows])


def liked_events(histories: Histories, *, min_value: float | None, kinds: Sequence[int] | None) -> Bools:
    """(N,) where the positive rule holds: a value of at least `min_value` and a kind among `kinds`, where given."""
    liked = np.ones(len(histories.item), dtype=bool)
    if min_value is not None:
        liked &= np.nan_to_num(histories.value, nan=-np.inf) >= min_value
    if kinds is not None:
        liked &= np.isin(histories.kind, np.asarray(kinds, dtype=np.int64))
    return liked


def parts_of(histories: Histories, split: Split) -> IntArray:
    """(N,) TRAIN, VALID or TEST: the side of the split that each event lies on. What follows a user's validation target
    belongs to it until their first test target."""
    owner = histories.owner
    place = np.arange(len(owner)) - histories.offsets[owner]
    part = np.where(place < split.train.lengths[owner], TRAIN, VALID)
    if split.cuts is not None:
        return np.where(histories.ts >= split.cuts[1], TEST, part).astype(np.int64)
    first = np.full(len(histories), np.iinfo(np.int64).max)
    np.minimum.at(first, split.test.user, split.test.context.lengths)
    return np.where(place >= first[owner], TEST, part).astype(np.int64)


def moments_before(histories: Histories, rows: IntArray, task: Task) -> Moments:
    """The moments at which the events `rows` are asked about: just before each, or before its basket."""
    begin = rows
    if task == "repurchase":
        starts = np.flatnonzero(target_starts(histories, task))
        begin = starts[np.searchsorted(starts, rows, side="right") - 1]
    owner = histories.owner[rows]
    return Moments(owner, begin - histories.offsets[owner])


def fit_norms(histories: Histories, liked: Bools, among: Bools, *, n_kinds: int) -> Norms:
    """From the events `among` (N,)."""
    value = histories.value[among].astype(np.float64)
    seen = value[~np.isnan(value)]
    counts = np.bincount(histories.kind[among], minlength=n_kinds) + 1.0
    _, log_gap = _session_starts(histories)
    gaps = log_gap[among & (log_gap != 0)]
    return Norms(
        liked=float((liked[among].sum() + 1) / (among.sum() + 2)),
        value=float(seen.mean()) if len(seen) else 0.0,
        deviation=max(float(seen.std()), 1e-6) if len(seen) else 1.0,
        kinds=tuple((counts / counts.sum()).tolist()),
        log_gap=float(gaps.mean()) if len(gaps) else 0.0,
    )


def tally(histories: Histories, liked: Bools, among: Bools, *, n_items: int) -> Tallies:
    """Of every item, over the events `among` (N,)."""
    item, value = histories.item[among], histories.value[among].astype(np.float64)
    valued = ~np.isnan(value)

    def total(weights: npt.NDArray[Any]) -> Floats:
        return np.bincount(item, weights=weights, minlength=n_items).astype(np.float64)

    ones = np.ones(len(item))
    return Tallies(total(ones), total(liked[among] * 1.0), total(valued * 1.0), total(np.where(valued, value, 0.0)))


def tallies_before(histories: Histories, liked: Bools, rows: IntArray) -> Tallies:
    """One entry an event of `rows` (Q,): what those among the same events with the same item said at earlier times."""
    item, ts = histories.item[rows], histories.ts[rows]
    value = histories.value[rows].astype(np.float64)
    valued = ~np.isnan(value)
    order = np.lexsort((ts, item))
    edge = np.ones(len(order), dtype=bool)
    edge[1:] = (np.diff(item[order]) != 0) | (np.diff(ts[order]) != 0)
    level = np.maximum.accumulate(np.where(edge, np.arange(len(order)), 0))  # first event of the same item and time
    new_item = np.ones(len(order), dtype=bool)
    new_item[1:] = np.diff(item[order]) != 0
    begin = np.maximum.accumulate(np.where(new_item, np.arange(len(order)), 0))

    def earlier(column: npt.NDArray[Any]) -> Floats:
        upto = np.concatenate([[0.0], np.cumsum(column[order])])
        out = np.empty(len(order))
        out[order] = upto[level] - upto[begin]
        return out

    return Tallies(
        earlier(np.ones(len(rows))),
        earlier(liked[rows] * 1.0),
        earlier(valued * 1.0),
        earlier(np.where(valued, value, 0.0)),
    )


def item_features(tallies: Tallies, norms: Norms) -> FloatArray:
    """(Q, N_ITEM_FEATURES): log-odds of being liked, standardised mean value (both drawn to the common), log events."""
    rate = (tallies.liked + ITEM_WEIGHT * norms.liked) / (tallies.n + ITEM_WEIGHT)
    value = (tallies.value + ITEM_WEIGHT * norms.value) / (tallies.valued + ITEM_WEIGHT)
    columns = [_log_odds(rate), (value - norms.value) / norms.deviation, np.log1p(tallies.n)]
    return np.stack(columns, axis=1).astype(np.float32)


def n_user_features(n_kinds: int) -> int:
    """F of `user_features`."""
    return 16 + (3 * n_kinds if n_kinds > 1 else 0)


def user_features(histories: Histories, liked: Bools, moments: Moments, norms: Norms) -> FloatArray:
    """(Q, F): how the user behaved up to each moment: activity, likes and values (all and recent), sessions, the clock,
    and, where there are several kinds, how often each came, recently and last. Zeros stand for an empty history."""
    offset = histories.offsets[moments.owner]
    row = offset + moments.place
    some = moments.place > 0
    if not len(histories.item):  # nothing is known of anyone
        empty = Histories(np.asarray([0, 1]), *(np.zeros(1, np.int64),) * 3, np.full(1, np.nan, np.float32))
        return 0 * user_features(empty, np.zeros(1, bool), Moments(0 * row, 0 * row), norms)
    starts, log_gap = _session_starts(histories)
    first = np.minimum(offset, len(starts) - 1)  # means nothing in an empty history, whose features are zeros
    last = np.maximum(row - 1, first)
    value = histories.value.astype(np.float64)
    valued = ~np.isnan(value)
    near = np.maximum(offset, row - RECENT)

    def between(column: npt.NDArray[np.generic], begin: IntArray) -> Floats:
        upto = np.concatenate([[0.0], np.cumsum(column, dtype=np.float64)])
        return np.asarray(upto[row] - upto[begin])

    n, recent = moments.place.astype(np.float64), (row - near).astype(np.float64)
    centred = np.where(valued, value - norms.value, 0.0) / norms.deviation
    sessions = between(starts, offset)
    here = np.maximum.accumulate(np.where(starts, np.arange(len(starts)), 0))[last]  # where the session began
    last_ts = histories.ts[last]
    days = (last_ts - histories.ts[first]) / DAY_S
    clock = 2 * np.pi * (last_ts % DAY_S) / DAY_S
    week = 2 * np.pi * (last_ts % (7 * DAY_S)) / (7 * DAY_S)
    columns = [
        np.log1p(n),
        _log_odds((between(liked, offset) + USER_WEIGHT * norms.liked) / (n + USER_WEIGHT)),
        _log_odds((between(liked, near) + USER_WEIGHT * norms.liked) / (recent + USER_WEIGHT)),
        between(centred, offset) / (between(valued, offset) + USER_WEIGHT),
        between(centred, near) / (between(valued, near) + USER_WEIGHT),
        np.log1p(days),
        np.log1p(last_ts - histories.ts[np.maximum(last - 1, first)]),
        np.log1p(sessions),
        np.log1p(row - here),
        (between(log_gap, offset) + norms.log_gap) / np.maximum(sessions, 1.0),
        np.where(sessions > 1, log_gap[here], norms.log_gap),
        np.log((1 + sessions) / (1 + days)),
        *(wave(angle) for angle in (clock, week) for wave in (np.sin, np.cos)),
    ]
    if len(norms.kinds) > 1:
        for kind, share in enumerate(norms.kinds):
            mine = histories.kind == kind
            columns.append(np.log((between(mine, offset) + USER_WEIGHT * share) / (n + USER_WEIGHT)))
            columns.append(np.log((between(mine, near) + USER_WEIGHT * share) / (recent + USER_WEIGHT)))
            columns.append(mine[last] * 1.0)
    return np.where(some[:, None], np.stack(columns, axis=1), 0.0).astype(np.float32)


@dataclass(frozen=True)
class Returns:
    """Q ends of sessions: moments, days until the user came back or was last known to be away, which of the two."""

    moments: Moments
    days: Floats
    came: Bools

    def __len__(self) -> int:
        return len(self.days)

    def take(self, rows: IntArray | Bools) -> "Returns":
        """The session ends `rows`, in that order."""
        return Returns(self.moments.take(rows), self.days[rows], self.came[rows])


def returns_between(histories: Histories, begin: int, end: int) -> Returns:
    """Sessions that ended in [begin, end), as they would be known at `end` (both in seconds): a user who has not come
    back by then is censored there. Every time is longer than the hour that tells one session from the next."""
    ts, owner = histories.ts, histories.owner
    starts, _ = _session_starts(histories)
    follows = np.zeros(len(ts), dtype=bool)
    follows[:-1] = owner[1:] == owner[:-1]
    ends = np.ones(len(ts), dtype=bool)
    ends[:-1] = starts[1:]
    rows = np.flatnonzero(ends & (ts >= begin) & (ts + SESSION_GAP_S < end))
    after = np.where(follows[rows], ts[np.minimum(rows + 1, len(ts) - 1)], np.iinfo(np.int64).max)
    came = after < end
    days = (np.where(came, after, end) - ts[rows]) / DAY_S
    return Returns(Moments(owner[rows], rows + 1 - histories.offsets[owner[rows]]), days, came)


def return_cuts(histories: Histories, split: Split) -> tuple[int, int, int]:
    """The moments (seconds) until which return times are learned from, validated and tested: a time cut, whatever the
    split. A split by place gives every held-out question an answer, and so hides all those who never came back."""
    ordered = np.sort(histories.ts)
    first, second = split.cuts or (int(ordered[int(cut * len(ordered))]) for cut in CUTS)
    return first, second, int(ordered[-1]) + 1


def _session_starts(histories: Histories) -> tuple[Bools, Floats]:
    """(N,) where a session begins, and the log days since the user's session before (0 where there is none)."""
    starts = np.ones(len(histories.ts), dtype=bool)
    gap = np.zeros(len(starts))
    same = np.diff(histories.owner) == 0
    gap[1:] = np.diff(histories.ts)
    starts[1:] = ~same | (gap[1:] > SESSION_GAP_S)
    returned = starts.copy()
    returned[:1] = False
    returned[1:] &= same
    return starts, np.where(returned, np.log(np.maximum(gap, 1) / DAY_S), 0.0)


def _log_odds(rate: Floats) -> Floats:
    return np.asarray(np.log(rate / (1 - rate)))
