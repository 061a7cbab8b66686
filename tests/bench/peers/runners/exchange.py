"""What a runner and the bench hand each other: the split as plain arrays, and the lists that a model made of it.

A runner lives in its peer's own environment, so this file needs numpy alone and nothing of Lodestar. It reads one
split, trains on the training part, and gives back, for the epoch that validated best, each query's best items with
their scores. Every figure that is reported is made of these lists by Lodestar's one metric code; the NDCG here only
chooses the epoch, and the bench checks that both agree.
"""

import argparse
import json
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DEPTH = 100  # items of each list; a target behind them counts as a miss, so cuts up to 20 are exact
PARTS = ("valid", "test")
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Events:
    """H histories, oldest event first: offsets (H + 1,), item, ts (seconds), kind and value (N,)."""

    offsets: Ints
    item: Ints
    ts: Ints
    kind: Ints
    value: Floats

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Ints:
        """(H,) events of each history."""
        return np.diff(self.offsets)

    @property
    def owner(self) -> Ints:
        """(N,) the history of each event."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def place(self) -> Ints:
        """(N,) how many events of its history come before each."""
        return np.arange(len(self.item)) - np.repeat(self.offsets[:-1], self.lengths)


@dataclass(frozen=True)
class Part:
    """Q queries: user (Q,), what each is asked with, and its targets in CSR form."""

    user: Ints
    context: Events
    target_offsets: Ints
    target: Ints

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True)
class Split:
    """One data set's split. `train` has a row for every user; `masked` hides a context's items from its answer."""

    n_items: int
    task: str
    masked: bool
    train: Events
    valid: Part
    test: Part


@dataclass(frozen=True)
class Lists:
    """item (Q, DEPTH) int64, best first, -1 for none; score (Q, DEPTH) float32, -inf there."""

    item: Ints
    score: Floats


@dataclass(frozen=True)
class Order:
    """What the bench asks of a runner: where the split lies, the settings, where to write."""

    split: Split
    settings: dict[str, Any]
    out: Path


@dataclass
class Course:
    """A training's course: seconds (evaluation excluded) and validation NDCG@10 of each epoch, and when to stop."""

    epochs: int
    patience: int
    budget_s: float
    curve: list[dict[str, float]] = field(default_factory=list)
    best: int = -1
    stopped: str | None = None

    def note(self, seconds: float, ndcg: float) -> bool:
        """One more epoch; true where it is the best so far. Sets `stopped` where there should be no further."""
        done_s = (self.curve[-1]["seconds"] if self.curve else 0.0) + seconds
        self.curve.append({"epoch": len(self.curve) + 1, "seconds": done_s, "ndcg@10": ndcg})
        better = self.best < 0 or ndcg > self.curve[self.best]["ndcg@10"]
        if better:
            self.best = len(self.curve) - 1
        if len(self.curve) - 1 - self.best >= self.patience:
            self.stopped = "patience"
        elif len(self.curve) >= self.epochs:
            self.stopped = "epochs"
        elif done_s >= self.budget_s:
            self.stopped = "budget"
        return better


def take_order(doc: str | None) -> Order:
    """From the command line: --split FOLDER --settings JSON --out FOLDER."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    return Order(read_split(asked.split), asked.settings, asked.out)


def read_split(folder: Path) -> Split:
    """What `tests.bench.peers.split` wrote."""
    told = json.loads((folder / "split.json").read_text())
    with np.load(folder / "split.npz") as stored:
        arrays = dict(stored)

    def events(prefix: str) -> Events:
        return Events(*(arrays[f"{prefix}_{name}"] for name in ("offsets", "item", "ts", "kind", "value")))

    parts = [
        Part(arrays[f"{name}_user"], events(name), arrays[f"{name}_target_offsets"], arrays[f"{name}_target"])
        for name in PARTS
    ]
    return Split(told["n_items"], told["task"], told["masked"], events("train"), *parts)


def flat_times(events: Events, *, step: int = 1) -> Ints:
    """(N,) the place of each event in its history as its time: sorting by it, stable or not, keeps the file's order
    where real times tie."""
    return events.place * step


def empty_lists(n: int) -> Lists:
    """Lists of nothing."""
    return Lists(np.full((n, DEPTH), -1, np.int64), np.full((n, DEPTH), -np.inf, np.float32))


def lists_of_scores(scores: Floats) -> Lists:
    """The best of (Q, I) scores, -inf at what must not be shown."""
    n, width = scores.shape
    depth = min(DEPTH, width)
    best = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
    value = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-value, axis=1, kind="stable")
    out = empty_lists(n)
    out.item[:, :depth] = np.take_along_axis(best, order, axis=1)
    out.score[:, :depth] = np.take_along_axis(value, order, axis=1)
    out.item[~np.isfinite(out.score)] = -1
    return out


def lists_of_rows(row: Ints, item: Ints, score: Floats, *, n: int) -> Lists:
    """From one line an item, those of a row together and best first."""
    out = empty_lists(n)
    begin = np.flatnonzero(np.concatenate([[True], row[1:] != row[:-1]])) if len(row) else np.zeros(0, np.int64)
    place = np.arange(len(row)) - np.repeat(begin, np.diff(np.append(begin, len(row))))
    keep = place < DEPTH
    out.item[row[keep], place[keep]] = item[keep]
    out.score[row[keep], place[keep]] = score[keep]
    return out


def ndcg(lists: Lists, part: Part, *, k: int = 10) -> float:
    """Mean NDCG@k with binary gains; a tie in scores counts half. It chooses epochs; figures are made elsewhere."""
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(2 + np.arange(k)))])
    counts = np.diff(part.target_offsets)
    query = np.repeat(np.arange(len(part)), counts)
    hit = lists.item[query] == part.target[:, None]
    own = np.where(hit, lists.score[query], -np.inf).max(axis=1)
    above = (lists.score[query] > own[:, None]).sum(axis=1)
    level = (lists.score[query] == own[:, None]).sum(axis=1) - 1
    rank = np.where(hit.any(axis=1), 1 + above + level / 2, np.inf)
    gain = np.where(rank <= k, 1 / np.log2(1 + rank), 0.0)
    return float(np.mean(np.bincount(query, gain, len(part)) / ideal[np.minimum(counts, k)]))


def timed(call: Callable[[], object], *, rounds: int = 3) -> list[float]:
    """Seconds of each of some rounds of a call."""
    seen = []
    for _ in range(rounds):
        begun = time.perf_counter()
        call()
        seen.append(time.perf_counter() - begun)
    return seen


def peak_gb() -> float:
    """The largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def give_back(
    order: Order,
    *,
    versions: Sequence[Any],
    course: Course,
    valid: Lists,
    test: Lists,
    examples: int,
    recommend_s: Sequence[float],
    recommend_call: str,
    **more: Any,
) -> None:
    """Write the lists of the best epoch and the course. `versions` are the modules that did the work; `examples` the
    targets that one epoch learns from; `recommend_s` the seconds of a top-10 call for every test query."""
    names = {"valid_item": valid.item, "valid_score": valid.score, "test_item": test.item, "test_score": test.score}
    np.savez_compressed(order.out / "lists.npz", **names)
    told = {
        "settings": order.settings,
        "versions": {
            "python": platform.python_version(),
            **{module.__name__: str(module.__version__) for module in versions},
        },
        "curve": course.curve,
        "best_epoch": course.best + 1,
        "stopped": course.stopped,
        "examples_per_epoch": examples,
        "recommend": {"users": len(test.item), "seconds": list(recommend_s), "call": recommend_call},
        "peak_gb": peak_gb(),
        **more,
    }
    (order.out / "result.json").write_text(json.dumps(told, indent=1))
    print(f"best epoch {told['best_epoch']} of {len(course.curve)}, {told['stopped']}", file=sys.stderr)
