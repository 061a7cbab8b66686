"""Whether what people do has moved since a moment: a build's newer events against its older ones, aspect by aspect.

An aspect's distance is the population stability index, the sum over its bins of (p - q) ln(p / q), with the convention
that from .1 on it has moved and from .25 on it has shifted (Siddiqi, "Credit Risk Scorecards", 2006, ch. 11). A user's
events of one side go together, so what chance gives is found by dealing such sides out anew, each as large as a newer
one is: an aspect that does not pass it has not moved, whatever its index. Items that came out since are told apart, as
a share of the newer events.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from core.predict.intervals import bounds, resampled_sums
from data import reads
from data.warehouse import Warehouse

MOVED, SHIFTED = 0.1, 0.25
LEAST_EVENTS = 100  # newer ones; fewer say nothing
USERS = (300, 4_000)  # that are looked at, drawn by a hash of their numbers: the more, the fewer events each has,
EVENTS = 20_000  # so that about as many events are, and a page need not wait
CATEGORIES = 20  # the most frequent; the others are one bin
VALUE_BINS = 5
DEALS = 200
CHANCE = 0.95  # of the deals stay below it

Verdict = Literal["steady", "moved", "shifted"]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Aspect:
    """One distribution, before and since. psi: its distance; chance: what it reaches by chance alone; bins: the shares
    of each side by name, the farthest apart first."""

    name: str
    psi: float
    chance: float
    bins: tuple[tuple[str, float, float], ...]

    @property
    def verdict(self) -> Verdict:
        """By the bands, where it is more than chance."""
        if self.psi <= self.chance or self.psi < MOVED:
            return "steady"
        return "shifted" if self.psi >= SHIFTED else "moved"

    def as_json(self) -> dict[str, Any]:
        """{name, psi, chance, verdict, bins[{bin, before, since}]}."""
        bins = [{"bin": name, "before": before, "since": since} for name, before, since in self.bins]
        return {"name": self.name, "psi": self.psi, "chance": self.chance, "verdict": self.verdict, "bins": bins}


@dataclass(frozen=True)
class Drift:
    """What moved since a moment. n_before, n_since: events looked at; launched: the share of the newer events that are
    of items without an older one, {estimate, low, high, n}; aspects: those that the data has, none where the newer
    events are fewer than LEAST_EVENTS."""

    since: datetime
    n_before: int
    n_since: int
    launched: dict[str, float] | None
    aspects: tuple[Aspect, ...]

    @property
    def verdict(self) -> Verdict | None:
        """The worst of the aspects; None where nothing can be said."""
        order: tuple[Verdict, ...] = ("steady", "moved", "shifted")
        return max((aspect.verdict for aspect in self.aspects), key=order.index, default=None)


def drift_since(warehouse: Warehouse, since: datetime, *, seed: int = 0) -> Drift:
    """A build's events after `since` against those until then."""
    per_user = warehouse.facts.n_events / max(warehouse.facts.n_users, 1)
    most_users = int(np.clip(EVENTS / max(per_user, 1.0), *USERS))
    events = reads.sampled_events(warehouse, since, most_users=most_users)
    newer = events["newer"].to_numpy()
    counts = int((~newer).sum()), int(newer.sum())
    if min(counts) < LEAST_EVENTS:
        return Drift(since, *counts, None, ())
    users, items = events["user_id"].to_numpy(), events["item_id"].to_numpy()
    units, unit = np.unique(users * 2 + newer, return_inverse=True)
    later = units % 2 == 1
    found = []
    for name, counted in _aspects(events, newer):
        if len(counted.bins) > 1:
            table = np.zeros((len(units), len(counted.bins)))
            np.add.at(table, (unit[counted.event], counted.place), counted.weight)
            if table[later].any() and table[~later].any():  # values, say, that newer events do not carry
                found.append(_aspect(name, counted.bins, table, later, seed=seed))
    fresh = ~np.isin(items[newer], items[~newer])
    _, owner = np.unique(users[newer], return_inverse=True)
    by_user = np.stack([np.bincount(owner, fresh), np.bincount(owner).astype(np.float64)], axis=1)
    drawn = resampled_sums(by_user, seed=seed)
    low, high = bounds(drawn[:, 0] / np.maximum(drawn[:, 1], 1))
    share = float(by_user[:, 0].sum() / by_user[:, 1].sum())
    launched = {"estimate": share, "low": float(low), "high": float(high), "n": len(by_user)}
    return Drift(since, *counts, launched, tuple(found))


def psi(before: Floats, since: Floats) -> Floats:
    """(...,) the index of counts (..., B) on each side; half an event is added to every bin, so that none is empty."""
    p, q = before + 0.5, since + 0.5
    p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    index: Floats = ((q - p) * np.log(q / p)).sum(-1)
    return index


def _aspect(name: str, bins: Sequence[str], table: Floats, newer: npt.NDArray[np.bool_], *, seed: int) -> Aspect:
    """table (units, B): counts of each user's events on each side; newer (units,): which side.

    What chance gives is the index between all of it and as many newer sides dealt anew, each of as many events as it
    has: from a side drawn among those that have them. Few events of few users wander far by themselves.
    """
    total = table.sum(0)
    since = table[newer].sum(0)
    rng = np.random.default_rng(seed)
    sizes = np.sort(np.rint(table[newer].sum(1)).astype(np.int64))
    order = np.argsort(table.sum(1), kind="stable")  # the sides by how many events they have
    first = np.searchsorted(table[order].sum(1) + 0.5, sizes)  # the smallest that has as many
    first = np.minimum(first, len(order) - 1)
    reached = np.cumsum(table / np.maximum(table.sum(1, keepdims=True), 1e-12), axis=1)[
        :, :-1
    ]  # the last takes the rest
    dealt = np.empty((DEALS, table.shape[1]))
    for deal in range(DEALS):
        drawn = np.repeat(order[rng.integers(first, len(order))], sizes)
        bins_drawn = (rng.random((len(drawn), 1)) >= reached[drawn]).sum(1)
        dealt[deal] = np.bincount(bins_drawn, minlength=table.shape[1])
    chance = float(np.quantile(psi(np.maximum(total - dealt, 0.0), dealt), CHANCE))
    before = total - since
    shares = list(zip(bins, (before / before.sum()).tolist(), (since / since.sum()).tolist(), strict=True))
    shares.sort(key=lambda one: -abs(one[2] - one[1]))
    return Aspect(name, float(psi(before, since)), chance, tuple(shares))


@dataclass(frozen=True)
class _Counted:
    """What an aspect counts: event (K,) rows of events, each in the bin `place` (K,) of `bins`, with its weight."""

    bins: list[str]
    event: Ints
    place: Ints
    weight: Floats


def _aspects(events: pa.Table, newer: npt.NDArray[np.bool_]) -> list[tuple[str, _Counted]]:
    """categories, an event's weight shared among those of its item; kinds; values, in bins of the older ones."""
    every = np.arange(events.num_rows)
    names, kind = _coded(events["kind"].combine_chunks())
    out = [("categories", _categories(events)), ("kinds", _Counted(names, every, kind, np.ones(len(every))))]
    valued = np.flatnonzero(pc.is_valid(events["value"]).to_numpy())
    value = events["value"].drop_null().to_numpy()
    older = value[~newer[valued]]
    if len(older):
        distinct = np.unique(older)
        inner = np.linspace(0, 1, VALUE_BINS + 1)[1:-1]
        edges = (distinct[1:] + distinct[:-1]) / 2 if len(distinct) <= 2 * VALUE_BINS else np.quantile(older, inner)
        bins, place = np.unique(np.searchsorted(np.unique(edges), value, side="right"), return_inverse=True)
        out.append(("values", _Counted(bins.astype(str).tolist(), valued, place, np.ones(len(valued)))))
    return out


def _categories(events: pa.Table) -> _Counted:
    listed = events["categories"].combine_chunks()
    event = pc.list_parent_indices(listed).to_numpy()
    names, place = _coded(listed.flatten())
    often = np.bincount(place, minlength=len(names))
    frequent = {names[at] for at in np.argsort(-often, kind="stable")[:CATEGORIES]}
    bins, to = np.unique([name if name in frequent else "other" for name in names] or [""], return_inverse=True)
    shared = np.bincount(event, minlength=events.num_rows)
    return _Counted(bins.tolist(), event, to[place], 1 / shared[event])


def _coded(column: pa.Array) -> tuple[list[str], Ints]:
    """The values of a column of text in their order, so that chance does not hang on which comes first; and of each
    row which it is."""
    coded = column.dictionary_encode()
    names, place = np.unique(np.array(coded.dictionary.to_pylist(), dtype=object), return_inverse=True)
    return names.tolist(), place[coded.indices.to_numpy()]
