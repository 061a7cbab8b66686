"""Which part of each history may be learned from, and which questions validate and test what was learned.

Every protocol asks rolling questions: a target is asked for with all that its user did before it, in file order where
times tie, whatever part of that was learned from. What a target is, the task says (`sequences.target_starts`).

- `last`: each user's last target is the test, the one before it the validation, and what comes before both is learned
  from.
- `last-five`: each user's last five targets are five test questions, the sixth from the end is the validation, and what
  comes before it is learned from.
- `time`: what happened before one moment, at 80% of all events, is learned from; targets between it and a second, at
  90%, validate; later ones test, the first `MOST_TARGETS` of a user in each part. Users who came after the first moment
  are asked about too, at first with an empty history.

Under the first two, a user with fewer targets than one before the validation is learned from alone.
"""

import numpy as np
import numpy.typing as npt

from core.learn.config import Protocol
from core.learn.sequences import Histories, IntArray, Queries, Split, Task, target_starts
from data.errors import InputError

CUTS = (0.8, 0.9)  # of all events in time order
MAX_TEST_CELLS = 20_000_000_000  # scores that the test may ask for: minutes for each component on two cores
MOST_TARGETS = 10  # of one user on one side of a cut: users weigh the same, so more of them would only cost time


def split_histories(histories: Histories, task: Task, protocol: Protocol) -> Split:
    """The split of a protocol. Raises InputError where the events cannot be cut in time."""
    if protocol == "time":
        return cut_in_time(histories, task)
    return leave_last_out(histories, task, tested=5 if protocol == "last-five" else 1)


def leave_last_out(histories: Histories, task: Task, *, tested: int = 1) -> Split:
    """Each user's last `tested` targets are the test, the one before them the validation."""
    starts = target_starts(histories, task)
    rows = np.flatnonzero(starts)
    user = histories.owner[rows]
    counts = np.bincount(user, minlength=len(histories))
    from_end = np.cumsum(counts)[user] - np.arange(len(rows))  # 1 for a user's last target
    usable = counts >= tested + 2
    valid = rows[usable[user] & (from_end == tested + 1)]
    ends = histories.lengths
    ends[usable] = valid - histories.offsets[:-1][usable]
    return Split(
        task=task,
        train=histories.until(ends),
        valid=_questions(histories, valid, starts, task),
        test=_questions(histories, rows[usable[user] & (from_end <= tested)], starts, task),
    )


def cut_in_time(histories: Histories, task: Task) -> Split:
    """Two moments for all users; what happens at a moment is after it, so that no moment lies on both sides."""
    ordered = np.sort(histories.ts)
    if not len(ordered) or not ordered[0] < ordered[int(CUTS[0] * len(ordered))] < ordered[int(CUTS[1] * len(ordered))]:
        raise InputError(
            "these events cannot be cut in time: too few moments lie apart",
            remedy="choose the protocol last or last-five",
        )
    first, second = (int(ordered[int(cut * len(ordered))]) for cut in CUTS)
    starts = target_starts(histories, task)
    between = (histories.ts >= first) & (histories.ts < second)
    return Split(
        task=task,
        train=histories.events(histories.ts < first),
        valid=_questions(histories, _first_of_each(histories, starts & between), starts, task),
        test=_questions(histories, _first_of_each(histories, starts & (histories.ts >= second)), starts, task),
        cuts=(first, second),
    )


def judged(test: Queries, *, n_items: int) -> Queries:
    """The test questions whose scores are affordable: all, or all of some users, drawn once and alike whatever a run's
    seed is, so that runs and baselines are compared on the same people."""
    most = MAX_TEST_CELLS // max(n_items, 1)
    if len(test) <= most:
        return test
    users, asked = np.unique(test.user, return_counts=True)
    drawn = np.random.default_rng(0).permutation(len(users))
    kept = users[drawn[: max(1, int((np.cumsum(asked[drawn]) <= most).sum()))]]
    return test.take(np.flatnonzero(np.isin(test.user, kept)))


def training_questions(train: Histories, task: Task, *, most: int, seed: int) -> Queries:
    """What the training part itself asks: its targets with something before them, all or `most` drawn by `seed`."""
    starts = target_starts(train, task)
    first = np.repeat(train.offsets[:-1], train.lengths)
    rows = np.flatnonzero(starts & (np.arange(len(starts)) > first))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    return _questions(train, rows, starts, task)


def _first_of_each(histories: Histories, chosen: npt.NDArray[np.bool_]) -> IntArray:
    """Rows of the first MOST_TARGETS chosen events of each history."""
    rows = np.flatnonzero(chosen)
    user = histories.owner[rows]
    counts = np.bincount(user, minlength=len(histories))
    place = np.arange(len(rows)) - (np.cumsum(counts) - counts)[user]
    return rows[place < MOST_TARGETS]


def _questions(histories: Histories, rows: IntArray, starts: npt.NDArray[np.bool_], task: Task) -> Queries:
    """One question for each target that begins at `rows`: its item, or the set of its basket's items."""
    sizes = np.ones(len(rows), dtype=np.int64)
    if task == "repurchase":
        edges = np.append(np.flatnonzero(starts), len(starts))
        sizes = edges[np.searchsorted(edges, rows, side="right")] - rows
    query = np.repeat(np.arange(len(rows)), sizes)
    member = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes) + np.repeat(rows, sizes)
    pairs = np.unique(np.stack([query, histories.item[member]], axis=1), axis=0)  # a basket is a set
    counts = np.bincount(pairs[:, 0], minlength=len(rows))
    return Queries(
        user=histories.owner[rows],
        context=histories.before(rows),
        target_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        target=pairs[:, 1].astype(np.int64),
    )
