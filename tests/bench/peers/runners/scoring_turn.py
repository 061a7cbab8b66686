"""One environment's turn of the scoring bench: factors in, seconds and top tens out; numpy alone."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

K = 10
ROUNDS = 5  # after one that is not counted


@dataclass(frozen=True)
class Work:
    """users (U, d), items (I, d) float32; seen items of each user as CSR; threads to use."""

    users: np.ndarray
    items: np.ndarray
    offsets: np.ndarray
    seen: np.ndarray
    threads: int


def take_work() -> Work:
    """From the first argument."""
    with np.load(sys.argv[1]) as stored:
        arrays = dict(stored)
    return Work(arrays["users"], arrays["items"], arrays["offsets"], arrays["seen"], int(arrays["threads"]))


def hand_back(ways: Mapping[str, Callable[[], np.ndarray | None]]) -> None:
    """Time each way (its answer (U, K) item ids, or None where it only multiplies) and write to the second argument.

    Ways take turns, so that what else the machine does falls on all of them.
    """
    tops = {name: np.asarray(top).astype(np.int64) for name, way in ways.items() if (top := way()) is not None}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begun)
    told = [{"way": name, "seconds": taken} for name, taken in seconds.items()]
    out = Path(sys.argv[2])
    np.savez(out.with_suffix(".npz"), **tops)
    out.with_suffix(".json").write_text(json.dumps(told))
