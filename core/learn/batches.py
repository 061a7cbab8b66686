"""Batches of histories for the sequence encoder: time gaps, value buckets, windows, and length buckets."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from core.learn.model import N_GAPS, Events
from core.learn.sequences import FloatArray, Histories, IntArray, Lessons, Task, pad, target_starts


@dataclass(frozen=True)
class Vocabulary:
    """What the numbers in a batch mean, fitted on the training part. kinds: names in order; value_edges: ascending
    inner edges of the value buckets. The typical kind (its number), value (NaN where none) and gap in seconds stand
    in for what the caller of an unseen history does not tell."""

    kinds: tuple[str, ...]
    value_edges: tuple[float, ...]
    typical_kind: int = 0
    typical_value: float = float("nan")
    typical_gap: int = 0

    def buckets(self, value: FloatArray) -> IntArray:
        """Bucket 1.. of each value, 0 where it is missing."""
        found = np.searchsorted(np.asarray(self.value_edges, dtype=np.float32), value, side="right") + 1
        return np.where(np.isnan(value), 0, found).astype(np.int64)


@dataclass(frozen=True)
class TrainingBatch:
    """events: (B, L) inputs; target (B, 1 + L) int64, the item that follows the start and each event, -1 for none."""

    events: Events
    target: torch.Tensor


def pieces(batch: TrainingBatch, count: int) -> Iterator[TrainingBatch]:
    """A batch's rows in `count` pieces of like size, those without a target left out."""
    for rows in torch.arange(len(batch.target), device=batch.target.device).tensor_split(count):
        piece = TrainingBatch(Events(*(column[rows] for column in batch.events)), batch.target[rows])
        if bool((piece.target >= 0).any()):
            yield piece


def fit_vocabulary(train: Histories, kinds: tuple[str, ...], *, buckets: int) -> Vocabulary:
    """Inner edges at the quantiles of the training values; a few distinct values keep a bucket each."""
    seen = train.value[~np.isnan(train.value)]
    same = train.owner[1:] == train.owner[:-1]
    gaps = np.diff(train.ts)[same]
    typical_kind = int(np.bincount(train.kind).argmax()) if len(train.kind) else 0
    typical_gap = int(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 0
    if not len(seen):
        return Vocabulary(kinds, (), typical_kind=typical_kind, typical_gap=typical_gap)
    distinct = np.unique(seen)
    if len(distinct) <= buckets:
        edges = (distinct[1:] + distinct[:-1]) / 2
    else:
        edges = np.unique(np.quantile(seen, np.linspace(0, 1, buckets + 1)[1:-1]))
    return Vocabulary(
        kinds,
        tuple(float(edge) for edge in edges),
        typical_kind=typical_kind,
        typical_value=float(np.median(seen)),
        typical_gap=typical_gap,
    )


def to_events(histories: Histories, vocabulary: Vocabulary, *, length: int, n_items: int) -> Events:
    """The last `length` events of each history as a batch; the first event kept has no gap."""
    grid = pad(histories, length, n_items=n_items)
    ts = grid["ts"].astype(np.int64)
    gap = np.zeros_like(ts)
    if ts.shape[1] > 1:
        gap[:, 1:] = gap_bucket(ts[:, 1:] - ts[:, :-1])
    return Events(
        item=torch.from_numpy(grid["item"].astype(np.int64)),
        gap=torch.from_numpy(gap),
        kind=torch.from_numpy(grid["kind"].astype(np.int64)),
        value=torch.from_numpy(vocabulary.buckets(grid["value"].astype(np.float32))),
        lengths=torch.from_numpy(grid["lengths"].astype(np.int64)),
    )


def gap_bucket(seconds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """1 + floor(log2(1 + seconds)), capped: 1 for a tie, 2 for a second, about 18 for a day; 0 is left for 'none'."""
    positive = np.maximum(seconds, 0)
    bucket: IntArray = np.minimum(1 + np.floor(np.log2(1 + positive)).astype(np.int64), N_GAPS - 1)
    return bucket


def training_targets(train: Histories, task: Task, rng: np.random.Generator) -> IntArray:
    """(N,) the item that each event should foretell, -1 for none: the next event's item where that begins a target,
    or, in baskets, an item drawn from the next basket (drawn anew at each call)."""
    target = np.full(len(train.item), -1, dtype=np.int64)
    starts = target_starts(train, task)
    owner = train.owner
    if task != "repurchase":
        follows = np.flatnonzero((owner[1:] == owner[:-1]) & starts[1:])
        target[follows] = train.item[follows + 1]
        return target
    begin = np.flatnonzero(starts)
    size = np.diff(np.append(begin, len(owner)))
    basket = np.cumsum(starts) - 1
    successor = np.minimum(basket + 1, len(begin) - 1)
    same = (basket + 1 < len(begin)) & (owner[begin[successor]] == owner)
    drawn = begin[successor] + (rng.random(len(owner)) * size[successor]).astype(np.int64)
    target[same] = train.item[drawn[same]]
    return target


def first_targets(train: Histories, task: Task, rng: np.random.Generator) -> IntArray:
    """(H,) what the start symbol should foretell: the first item, or one of the first basket; -1 if none."""
    first = np.full(len(train), -1, dtype=np.int64)
    filled = np.flatnonzero(train.lengths > 0)
    size = np.ones(len(filled), dtype=np.int64)
    if task == "repurchase":
        begin = np.flatnonzero(target_starts(train, task))
        sizes = np.diff(np.append(begin, len(train.item)))
        size = sizes[np.searchsorted(begin, train.offsets[filled])]
    first[filled] = train.item[train.offsets[filled] + (rng.random(len(filled)) * size).astype(np.int64)]
    return first


def epoch(
    lessons: Lessons,
    vocabulary: Vocabulary,
    *,
    length: int,
    batch_tokens: int,
    epoch_tokens: int,
    n_items: int,
    rng: np.random.Generator,
) -> Iterator[TrainingBatch]:
    """One pass: a window of at most `length` events of each user that is drawn, users of like length together, at most
    `batch_tokens` padded tokens a batch and `epoch_tokens` in all (then a random part of them)."""
    train, task, sampling = lessons.train, lessons.task, lessons.sampling
    target, first = training_targets(train, task, rng), first_targets(train, task, rng)
    if sampling.targets is not None:
        target, first = _thinned(target, sampling.targets, rng), _thinned(first, sampling.targets, rng)
    size = np.minimum(train.lengths, length)
    last = train.lengths - (rng.random(len(train)) * (train.lengths - size + 1)).astype(np.int64)
    order = _drawn(train, sampling.users, rng)
    order = order[np.cumsum(size[order]) <= max(epoch_tokens, int(size.max(initial=0)))]
    order = order[np.argsort(size[order] + rng.random(len(order)) * 8, kind="stable")]
    batches: list[IntArray] = []
    begin = 0
    for index in range(len(order)):
        widest = size[order[begin : index + 1]].max() + 1
        if widest * (index + 1 - begin) > batch_tokens and index > begin:
            batches.append(order[begin:index])
            begin = index
    if begin < len(order):
        batches.append(order[begin:])
    for pick in rng.permutation(len(batches)):
        rows = batches[pick]
        window = Histories(train.offsets, train.item, train.ts, train.kind, train.value)
        ends = last[rows]
        some = window.take(rows).until(ends)
        events = to_events(some, vocabulary, length=length, n_items=n_items)
        yield TrainingBatch(events, _targets(train, rows, ends, size[rows], target, first))


def _drawn(train: Histories, weights: npt.NDArray[np.float64] | None, rng: np.random.Generator) -> IntArray:
    """The histories of one epoch in random order: all that have events once each, or as many drawn by weight (H,)."""
    filled = np.flatnonzero(train.lengths > 0)
    if weights is None or not len(filled):
        return rng.permutation(filled)
    return rng.choice(filled, len(filled), p=weights[filled] / weights[filled].sum())


def _thinned(target: IntArray, chance: FloatArray, rng: np.random.Generator) -> IntArray:
    """Targets (N,), each kept with the probability of its item, else -1."""
    return np.where((target >= 0) & (rng.random(len(target)) < chance[target]), target, -1)


def _targets(
    train: Histories, rows: IntArray, ends: IntArray, size: IntArray, target: IntArray, first: IntArray
) -> torch.Tensor:
    """(B, 1 + L): what follows the window's start and each of its events."""
    grid = np.full((len(rows), 1 + int(size.max())), -1, dtype=np.int64)
    base = train.offsets[rows] + ends - size  # the window's first event
    column = np.arange(grid.shape[1] - 1)
    inside = column[None, :] < size[:, None]
    where = np.minimum(base[:, None] + column[None, :], len(target) - 1)
    grid[:, 1:] = np.where(inside, target[where], -1)
    grid[:, 0] = np.where(ends == size, first[rows], -1)  # a later window does not start an empty history
    return torch.from_numpy(grid)
