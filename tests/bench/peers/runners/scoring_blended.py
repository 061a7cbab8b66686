"""Everyone's slates by the whole served score (network, EASE and ridge, blended), into a file.

One size in one process, so that its memory is its own: users, items, seen items of a user, threads and the file for the
answer come as arguments. The weights are random, of the default shape: only the work counts.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import torch
from scoring_turn import K

from core.learn.batches import Vocabulary
from core.learn.closed import ClosedForm
from core.learn.config import NetworkConfig
from core.learn.model import Recommender
from core.learn.sequences import Histories
from core.predict.blend import Blend
from core.predict.recommend import write_everyone
from core.predict.served import Catalogue, ServedModel

MEMORIES = (0.6, 0.95)  # of the ridge
TEXT = 128  # dimensions of the whitened text, as in the default recipe


def main() -> None:
    """Time one export, and tell what memory it took beside the model and the histories."""
    n_users, n_items, n_seen, threads = (int(word) for word in sys.argv[1:5])
    out = Path(sys.argv[5])
    torch.set_num_threads(threads)
    served, histories = model(n_items), people(n_users, n_items, n_seen)
    write_everyone(served, histories.take(np.arange(64)), out.with_suffix(".parquet"), k=K)  # not counted
    memory = [psutil.Process().memory_info().rss]
    ended = threading.Event()
    watcher = threading.Thread(target=watch, args=(memory, ended))
    watcher.start()
    begun = time.perf_counter()
    write_everyone(served, histories, out.with_suffix(".parquet"), k=K)
    seconds = time.perf_counter() - begun
    ended.set()
    watcher.join()
    told = {"users": n_users, "seconds": seconds, "users_per_s": n_users / seconds}
    out.write_text(json.dumps(told | {"extra_mb": (max(memory) - memory[0]) / 1e6, "peak_mb": max(memory) / 1e6}))


def watch(memory: list[int], ended: threading.Event) -> None:
    """Note the process's resident bytes every few milliseconds (its own peak counter would tell of the loading)."""
    while not ended.wait(0.005):
        memory.append(psutil.Process().memory_info().rss)


def model(n_items: int) -> ServedModel:
    """A network of the default shape, EASE and the ridge, on random weights."""
    rng = torch.Generator().manual_seed(0)
    network = Recommender(NetworkConfig(), text=torch.randn(n_items, TEXT, generator=rng), n_kinds=1)
    network.eval().requires_grad_(False)
    ease, ridge = (torch.randn(rows * n_items, n_items, generator=rng) for rows in (1, len(MEMORIES)))
    closed = {
        "ease": ClosedForm("ease", "next-new", (0.9,), ease),
        "ridge": ClosedForm("ridge", "next-new", MEMORIES, ridge),
    }
    every, keys = torch.ones(n_items, dtype=torch.bool), tuple(map(str, range(n_items)))
    return ServedModel(
        run_id="r-bench",
        build_id="b-bench",
        task="next-new",
        network=network,
        vocabulary=Vocabulary(("rate",), (2.5, 3.5), typical_value=4.0, typical_gap=60),
        closed=closed,
        blend=Blend(("neural", *closed), *[(1.0, 1.0, 1.0)] * 4),
        catalogue=Catalogue(keys, keys, ((),) * n_items, every, every.clone()),
    )


def people(n_users: int, n_items: int, n_seen: int) -> Histories:
    """Histories of unequal length, `n_seen` items on average."""
    rng = np.random.default_rng(0)
    counts = np.clip(rng.geometric(1 / n_seen, n_users), 1, n_items // 2)
    items = np.concatenate(list(_drawn(rng, counts, n_items)))
    ts = np.cumsum(rng.geometric(1e-4, len(items)))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Histories(offsets, items, ts, np.zeros(len(items), np.int64), rng.integers(1, 6, len(items)).astype("f4"))


def _drawn(rng: np.random.Generator, counts: np.ndarray, n_items: int) -> Iterator[np.ndarray]:
    for count in counts:
        yield rng.choice(n_items, count, replace=False)


if __name__ == "__main__":
    main()
