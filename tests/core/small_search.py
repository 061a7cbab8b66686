"""A search small enough to be run, killed and run again within a test; as a program it tells each epoch on a line."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.learn.config import NetworkConfig, TextConfig, TrainConfig
from core.learn.search import Ground, Search
from core.learn.sequences import Histories
from core.learn.space import space_of
from core.learn.splits import leave_last_out

N_ITEMS = 20
SPACE = {"lr": "1e-4..3e-2", "network.dropout": "0..0.5", "network.dim": [8, 16]}
BASE = TrainConfig(
    epochs=5,
    patience=5,
    batch_tokens=256,
    ema=0.9,
    lr=0.01,
    network=NetworkConfig(dim=16, max_length=20),
    text=TextConfig(tune="none"),
)


def ground() -> Ground:
    """Fifty users who walk the catalogue in one order, each from a start of their own."""
    rng = np.random.default_rng(0)
    item = np.concatenate([(rng.integers(N_ITEMS) + np.arange(9)) % N_ITEMS for _ in range(50)]).astype(np.int64)
    n = len(item)
    offsets, ts = np.arange(0, n + 1, 9), np.tile(np.arange(9) * 60, 50)
    histories = Histories(offsets, item, ts, np.zeros(n, np.int64), np.full(n, np.nan, np.float32))
    split = leave_last_out(histories, "next-new")
    return Ground(split, ("view",), lambda _: torch.zeros(N_ITEMS, 0), "cpu")


class Followed:
    """Collects what a search tells; asks it to stop after so many epochs."""

    def __init__(self, most: int = 10_000, *, aloud: bool = False) -> None:
        self.epochs: list[dict[str, Any]] = []
        self.trials: list[dict[str, Any]] = []
        self.most, self.aloud = most, aloud

    def epoch(self, **fields: Any) -> None:
        self.epochs.append(fields)
        if self.aloud:
            print(fields["trial"], fields["epoch"], flush=True)

    def trial(self, row: Mapping[str, Any]) -> None:
        self.trials.append(dict(row))

    def stopping(self) -> bool:
        return len(self.epochs) >= self.most


def opened(folder: Path, base: TrainConfig = BASE, space: Mapping[str, Any] = SPACE) -> Search:
    """The small search in a folder."""
    return Search(folder, space_of(space, base), base)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with opened(Path(sys.argv[1])) as search:
        search.run(ground(), Followed(aloud=True), trials=int(sys.argv[2]))
