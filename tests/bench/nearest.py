"""Whether an index of nearest neighbours would pay: exact against approximate top ten of a large catalogue.

    python -m tests.bench.nearest --items 1000000

Vectors are drawn around a thousand centres, as items of like content are; on evenly scattered ones every index does
worse. Milliseconds of one query and of each in a batch, on one thread as the scorer answers, with the share of the
exact ten that is found. What an index cannot give is the rest of an answer: the blend's other components, the softmax
over all candidates, and the absence of what was seen.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console

from core.predict.topk import best_products
from dashboard.settings import settings as own_settings
from dashboard.terminal import table
from tests.bench.peers.__main__ import RUNNERS, surroundings
from tests.bench.peers.environments import environment

CENTRES = 1000
K, ROUNDS = 10, 5


def main() -> None:
    """Draw the vectors, ask exactly, ask faiss in its own environment, print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--envs", type=Path, default=own_settings().cache / "peers", help="where environments live")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    queries, items = vectors(asked.items, asked.dim, asked.batch)
    exact = best_products(torch.from_numpy(queries), torch.from_numpy(items), K).item.numpy()
    rows = [
        ("exact: one", 1000 * seconds(queries[:1], items), 1.0),
        ("exact: batch", 1000 * seconds(queries, items) / len(queries), 1.0),
    ]
    for way in told_by_faiss(queries, items, envs=asked.envs):
        found = way["top"]
        shared = [len(np.intersect1d(a, b)) / K for a, b in zip(found, exact, strict=False)]
        rows.append((way["way"], 1000 * median(way["seconds"]) / len(found), float(np.mean(shared))))
    title = f"top {K} of {asked.items:,} x {asked.dim}, batches of {asked.batch}, one thread"
    Console(width=max(100, Console().width)).print(table(("way", "ms a query", "of the exact ten"), rows, title=title))
    if asked.out is not None:
        asked.out.write_text(json.dumps({"title": title, "rows": rows}, indent=1))


def vectors(n_items: int, dim: int, n_queries: int) -> tuple[np.ndarray, np.ndarray]:
    """(Q, d) and (I, d) float32, each around one of the centres."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CENTRES, dim), dtype=np.float32)
    items = centres[rng.integers(0, CENTRES, n_items)] + 0.5 * rng.standard_normal((n_items, dim), dtype=np.float32)
    queries = centres[rng.integers(0, CENTRES, n_queries)]
    return queries + 0.5 * rng.standard_normal(queries.shape, dtype=np.float32), items


def seconds(queries: np.ndarray, items: np.ndarray) -> float:
    """Median seconds of the exact answer, of `ROUNDS`; the items lie as a server would keep them."""
    asked, columns = torch.from_numpy(queries), torch.from_numpy(items).T.contiguous().T
    taken = []
    for _ in range(ROUNDS):
        begun = perf_counter()
        best_products(asked, columns, K)
        taken.append(perf_counter() - begun)
    return median(taken)


def told_by_faiss(queries: np.ndarray, items: np.ndarray, *, envs: Path) -> list[dict[str, Any]]:
    """{"way", "seconds", "top"} of each of its ways."""
    with TemporaryDirectory() as temporary:
        given, out = Path(temporary) / "vectors.npz", Path(temporary) / "told"
        none = np.zeros(len(queries) + 1, dtype=np.int64)
        np.savez(given, users=queries, items=items, offsets=none, seen=none[:0], threads=np.asarray(1))
        command = [str(environment("faiss", folder=envs)), str(RUNNERS / "nearest_faiss.py"), str(given), str(out)]
        told = surroundings({"threads": 1}, ours=False)
        done = subprocess.run(command, env=told, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"faiss failed:\n{done.stderr[-2000:]}")
        with np.load(out.with_suffix(".npz")) as tops:
            return [way | {"top": tops[way["way"]]} for way in json.loads(out.with_suffix(".json").read_text())]


if __name__ == "__main__":
    main()
