"""Scoring bench: the ten best unseen items for every user, by Lodestar's ways and by the peers' own calls.

    python -m tests.bench.peers.scoring --out build/bench/scoring.json

By default 6,040 users x 3,706 items in 64 dimensions, about 165 seen items each: random factors, since only the work
counts. Each way runs in its library's environment with equal threads; environments take turns over several rounds, so
that a change of the machine's mood falls on all of them. Seconds are medians, ratios are to the bare product of the
factors, and each answer is compared with the plain one. Beside them, everyone's slates by Lodestar's whole served score
(network and closed forms, blended), for the same users and for four times as many: users a second, and the memory that
it takes beside the model and the histories.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from rich.console import Console

from dashboard.settings import settings as own_settings
from dashboard.terminal import table
from tests.bench.__main__ import matmul_seconds
from tests.bench.peers.__main__ import RUNNERS, surroundings
from tests.bench.peers.environments import environment

GROWTH = (1, 4)  # times the users, for the served score
BARE, PLAIN = "torch.mm(out=) alone", "naive: whole matrix, mask, topk"


def main() -> None:
    """Make the factors, let each environment answer in turns, print ratios."""
    asked = arguments()
    torch.set_num_threads(asked.threads)
    pythons = {"lodestar": Path(sys.executable)}
    pythons |= {name: environment(name, folder=asked.envs) for name in ("rectools", "implicit")}
    calibration_s = [matmul_seconds()]
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        np.savez(folder / "factors.npz", **factors(asked))
        told = [
            (name, way)
            for turn in range(asked.turns)
            for name, python in pythons.items()
            for way in answers(python, folder, name, threads=asked.threads, out=folder / f"{name}-{turn}")
        ]
        served = [blended(folder, asked, n_users=times * asked.users) for times in GROWTH]
    calibration_s.append(matmul_seconds())
    figures = figures_of(told) | {
        "blended": served,
        "users": asked.users,
        "items": asked.items,
        "dim": asked.dim,
        "threads": asked.threads,
        "turns": asked.turns,
        "calibration_s": calibration_s,
    }
    show(figures)
    if asked.out is not None:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(figures, indent=1))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=6040)
    parser.add_argument("--items", type=int, default=3706)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--seen", type=int, default=165, help="seen items of a user, on average")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3, help="how often each environment has its turn")
    parser.add_argument("--envs", type=Path, default=own_settings().cache / "peers", help="where environments live")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    return parser.parse_args()


def factors(asked: argparse.Namespace) -> dict[str, np.ndarray]:
    """users (U, d), items (I, d) float32; seen items as CSR: offsets (U + 1,), seen (N,), unequal among users."""
    rng = np.random.default_rng(0)
    counts = np.clip(rng.geometric(1 / asked.seen, asked.users), 1, asked.items // 2)
    seen = [np.sort(rng.choice(asked.items, count, replace=False)) for count in counts]
    return {
        "users": rng.standard_normal((asked.users, asked.dim), dtype=np.float32),
        "items": rng.standard_normal((asked.items, asked.dim), dtype=np.float32),
        "offsets": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        "seen": np.concatenate(seen).astype(np.int64),
        "threads": np.asarray(asked.threads),
    }


def answers(python: Path, folder: Path, name: str, *, threads: int, out: Path) -> list[dict[str, Any]]:
    """One environment's turn: {"way", "seconds", "top"} of each of its ways."""
    command = [str(python), str(RUNNERS / f"scoring_{name}.py"), str(folder / "factors.npz"), str(out)]
    told = surroundings({"threads": threads} | ({"kind": name} if name == "implicit" else {}), ours=name == "lodestar")
    done = subprocess.run(command, env=told, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"scoring in {name} failed:\n{done.stderr[-2000:]}")
    with np.load(out.with_suffix(".npz")) as tops:
        ways = json.loads(out.with_suffix(".json").read_text())
        return [{**way, "top": tops.get(way["way"])} for way in ways]


def blended(folder: Path, asked: argparse.Namespace, *, n_users: int) -> dict[str, Any]:
    """{"users", "seconds", "users_per_s", "extra_mb", "peak_mb"} of the served score, in a process of its own."""
    out = folder / f"blended-{n_users}.json"
    sizes = [str(size) for size in (n_users, asked.items, asked.seen, asked.threads)]
    command = [sys.executable, str(RUNNERS / "scoring_blended.py"), *sizes, str(out)]
    done = subprocess.run(
        command, env=surroundings({"threads": asked.threads}, ours=True), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"scoring by the blend failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(out.read_text()))


def figures_of(told: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """way -> its environment, median seconds, users a second, ratio to the bare product, share of the plain top ten."""
    plain = next(way["top"] for _, way in told if way["way"] == PLAIN)
    bare_s = median(second for _, way in told if way["way"] == BARE for second in way["seconds"])
    ways: dict[str, Any] = {}
    for name, way in told:
        one = ways.setdefault(way["way"], {"environment": name, "all_seconds": [], "same": None})
        one["all_seconds"] += way["seconds"]
        if way["top"] is not None:
            shared = [len(np.intersect1d(a, b)) for a, b in zip(way["top"], plain, strict=True)]
            one["same"] = float(np.mean(shared)) / plain.shape[1]
    for one in ways.values():
        one["seconds"] = median(one["all_seconds"])
        one |= {"users_per_s": len(plain) / one["seconds"], "ratio": one["seconds"] / bare_s}
    return {"ways": dict(sorted(ways.items(), key=lambda item: item[1]["seconds"]))}


def show(figures: dict[str, Any]) -> None:
    """The figures as a table."""
    rows = [
        (name, one["environment"], one["seconds"], one["ratio"], one["users_per_s"], one["same"] or "")
        for name, one in figures["ways"].items()
    ]
    title = (
        f"top 10 of {figures['items']:,} items for {figures['users']:,} users, d = {figures['dim']},"
        f" {figures['threads']} threads, {figures['turns']} turns, matmul {np.mean(figures['calibration_s']):.3f} s"
    )
    heads = ("way", "environment", "seconds", "of the bare product", "users/s", "same as naive")
    console = Console(width=max(120, Console().width))
    console.print(table(heads, rows, title=title))
    served = [(one["users"], one["seconds"], one["users_per_s"], one["extra_mb"]) for one in figures["blended"]]
    heads = ("users", "seconds", "users/s", "MB beside model and histories")
    console.print(table(heads, served, title="everyone's slates by the whole served score"))


if __name__ == "__main__":
    main()
