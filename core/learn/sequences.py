"""Histories as flat arrays, and the questions that can be asked of them.

A history is a user's events in time order (ties keep file order). All users' events lie one after the other in flat
arrays with offsets (a CSR layout), so that a million histories cost no Python objects. `core.learn.splits` decides
which part of them may be learned from: everything fitted, closed forms included, sees `Split.train` alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.errors import InputError

Task = Literal["next-new", "next-any", "repurchase"]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Histories:
    """H histories over N events. offsets (H + 1,), the others (N,); `ts` in seconds, `value` NaN where none."""

    offsets: IntArray
    item: IntArray
    ts: IntArray
    kind: IntArray
    value: FloatArray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> IntArray:
        """(H,) events of each history."""
        return np.diff(self.offsets)

    @property
    def owner(self) -> IntArray:
        """(N,) the history that each event belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    @property
    def age(self) -> IntArray:
        """(N,) how many events of the same history come after this one."""
        return np.repeat(self.offsets[1:], self.lengths) - 1 - np.arange(len(self.item), dtype=np.int64)

    def items_of(self, history: int) -> IntArray:
        """Items of one history, oldest first."""
        return self.item[self.offsets[history] : self.offsets[history + 1]]

    def take(self, rows: IntArray | Sequence[int]) -> "Histories":
        """The histories `rows`, in that order."""
        rows = np.asarray(rows, dtype=np.int64)
        return self._pick(self.offsets[rows], self.offsets[rows + 1])

    def until(self, ends: IntArray) -> "Histories":
        """Each history's first `ends[h]` events. ends (H,)."""
        return self._pick(self.offsets[:-1], self.offsets[:-1] + ends)

    def before(self, rows: IntArray) -> "Histories":
        """For each event of `rows` (Q,), what came before it in its history: Q histories."""
        return self._pick(self.offsets[self.owner[rows]], rows)

    def latest(self, length: int) -> "Histories":
        """Each history's last `length` events."""
        return self._pick(np.maximum(self.offsets[:-1], self.offsets[1:] - length), self.offsets[1:])

    def events(self, keep: npt.NDArray[np.bool_]) -> "Histories":
        """The events where `keep` (N,) is true; histories stay, perhaps empty."""
        kept = np.bincount(self.owner[keep], minlength=len(self))
        offsets = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
        return Histories(offsets, self.item[keep], self.ts[keep], self.kind[keep], self.value[keep])

    def _pick(self, starts: IntArray, ends: IntArray) -> "Histories":
        lengths = ends - starts
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        where = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1], dtype=np.int64)
        return Histories(offsets, self.item[where], self.ts[where], self.kind[where], self.value[where])


@dataclass(frozen=True)
class Queries:
    """Q questions "what comes next?": the context each is asked with and the items that came.

    user (Q,), a user's questions one after another; context: Q histories; target_offsets (Q + 1,) into target (T,):
    one item or one basket a query.
    """

    user: IntArray
    context: Histories
    target_offsets: IntArray
    target: IntArray

    def __len__(self) -> int:
        return len(self.user)

    @property
    def owner(self) -> IntArray:
        """(T,) the query that each target belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.target_offsets))

    def take(self, rows: IntArray) -> "Queries":
        """The queries `rows`, in that order."""
        counts = np.diff(self.target_offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        where = np.repeat(self.target_offsets[:-1][rows] - offsets[:-1], counts) + np.arange(offsets[-1])
        return Queries(self.user[rows], self.context.take(rows), offsets, self.target[where])

    def sample(self, most: int, *, seed: int) -> "Queries":
        """All queries, or `most` of them drawn once by `seed`."""
        if len(self) <= most:
            return self
        return self.take(np.sort(np.random.default_rng(seed).choice(len(self), most, replace=False)))

    def blocks(self, size: int) -> Iterator["Queries"]:
        """The queries, `size` at a time: at least one block, perhaps empty."""
        for begin in range(0, max(len(self), 1), size):
            yield self.take(np.arange(begin, min(begin + size, len(self)), dtype=np.int64))


@dataclass(frozen=True)
class Sampling:
    """users (H,) float64: how often each history is drawn in an epoch, relative to the others; None for once each.
    targets (I,) float32: the probability with which an event that foretells this item does so; None for always."""

    users: npt.NDArray[np.float64] | None = None
    targets: FloatArray | None = None


@dataclass(frozen=True)
class Lessons:
    """What is learned from, and how often."""

    task: Task
    train: Histories
    sampling: Sampling = Sampling()


@dataclass(frozen=True)
class Split:
    """What a model may learn from, how often, and the two question sets that judge it. `train` has one row per user,
    perhaps empty. cuts: the moments (seconds) at which validation and testing begin, where the split is one in time."""

    task: Task
    train: Histories
    valid: Queries
    test: Queries
    cuts: tuple[int, int] | None = None
    sampling: Sampling = Sampling()

    @property
    def lessons(self) -> Lessons:
        """Its training part."""
        return Lessons(self.task, self.train, self.sampling)


def histories_from(table: pa.Table, kinds: Sequence[str]) -> Histories:
    """From the warehouse's `histories` (user_id dense and ascending; lists of item_id, ts, kind, value), kinds
    numbered by their place in `kinds`; an unknown kind gets 0."""
    number = {kind: index for index, kind in enumerate(kinds)}
    lists = table["item_id"].combine_chunks()
    offsets = np.concatenate([[0], np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=False))]).astype(np.int64)
    kind = table["kind"].combine_chunks().flatten().dictionary_encode()
    names = [number.get(name, 0) for name in kind.dictionary.to_pylist()]
    codes = kind.indices.to_numpy(zero_copy_only=False)
    return Histories(
        offsets=offsets,
        item=lists.flatten().to_numpy(zero_copy_only=False).astype(np.int64),
        ts=_seconds(table["ts"].combine_chunks().flatten()),
        kind=np.asarray(names, dtype=np.int64)[codes] if len(codes) else np.zeros(0, np.int64),
        value=table["value"].combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float32),
    )


def one_history(items: Sequence[int], ts: Sequence[int], kinds: Sequence[int], values: Sequence[float]) -> Histories:
    """A single history from plain sequences of equal length (possibly empty)."""
    return Histories(
        offsets=np.asarray([0, len(items)], dtype=np.int64),
        item=np.asarray(items, dtype=np.int64),
        ts=np.asarray(ts, dtype=np.int64),
        kind=np.asarray(kinds, dtype=np.int64),
        value=np.asarray(values, dtype=np.float32),
    )


def target_starts(histories: Histories, task: Task) -> npt.NDArray[np.bool_]:
    """(N,) true where a target begins: one event that is the user's first with its item (`next-new`), any one event
    (`next-any`), or one basket, that is the events that share a time stamp (`repurchase`)."""
    if task == "next-any":
        return np.ones(len(histories.item), dtype=bool)
    owner = histories.owner
    if task == "repurchase":
        same = (owner[1:] == owner[:-1]) & (histories.ts[1:] == histories.ts[:-1])
        return np.concatenate([[True], ~same]) if len(owner) else np.zeros(0, dtype=bool)
    first = np.zeros(len(owner), dtype=bool)
    _, where = np.unique(owner * (histories.item.max(initial=0) + 1) + histories.item, return_index=True)
    first[where] = True
    return first


def pad(histories: Histories, length: int, *, n_items: int) -> dict[str, npt.NDArray[np.generic]]:
    """The last `length` events of each history, right-padded: item, ts, kind, value (H, L) and lengths (H,), where L
    is the longest of them and `item` is `n_items` at padding. Raises InputError for an item outside the catalogue."""
    recent = histories.latest(length)
    if len(recent.item) and (recent.item.min() < 0 or recent.item.max() >= n_items):
        raise InputError(
            f"a history holds item ids outside the catalogue of {n_items}",
            remedy="use the build that the run was trained on",
        )
    lengths = recent.lengths
    shape = (len(recent), int(lengths.max(initial=0)))
    row, column = recent.owner, np.arange(len(recent.item)) - np.repeat(recent.offsets[:-1], lengths)
    out: dict[str, npt.NDArray[np.generic]] = {"lengths": lengths}
    for name, empty in (("item", n_items), ("ts", 0), ("kind", 0), ("value", np.nan)):
        source = getattr(recent, name)
        grid = np.full(shape, empty, dtype=source.dtype)
        grid[row, column] = source
        out[name] = grid
    return out


def _seconds(ts: pa.Array) -> IntArray:
    micros = ts.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy(zero_copy_only=False)
    return np.asarray(micros // 1_000_000, dtype=np.int64)
