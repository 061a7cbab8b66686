"""From a CSV of events to a committed build, beside what DuckDB alone takes to read and sort it into a table:
`python -m tests.bench.ingesting --events 25000000`.

The log is made in memory and written once: skewed users and items, kinds, ratings, times of a year in file order, and a
few rows that have to be refused; ours also reads a catalogue of its items and users. Bare is `read_csv` with told
types, sorted by time into a table, on as many threads and as much memory; ours is `data.ingest` with every check on.
Each runs in a process of its own, whose peak of resident memory is its own, in turn for some rounds: the ratio is of
the two medians, and the range of each is told, so that a noisy machine is seen.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from rich.console import Console

from dashboard.terminal import table
from data.ingest import ingest
from data.spec import parse_spec
from data.warehouse import build_connection
from tests.bench.__main__ import matmul_seconds

SPEC = """
[dataset]
name = "made"
[events]
files = "events.csv"
user = "user"
item = "item"
ts = "ts"
kind = "kind"
value = "value"
[items]
files = "items.csv"
key = "item"
title = "title"
categories = "categories"
[users]
files = "users.csv"
key = "user"
attributes = ["plan", "region"]
"""
BARE = (
    "CREATE TABLE events AS SELECT * FROM read_csv($path, header = true, auto_detect = false, columns = {'user':"
    " 'VARCHAR', 'item': 'VARCHAR', 'ts': 'BIGINT', 'kind': 'VARCHAR', 'value': 'DOUBLE'}, ignore_errors = true)"
    " ORDER BY ts"
)
CHUNK = 1_000_000
CATEGORIES = ("news", "music", "film", "sport", "food", "travel", "games", "books", "home", "garden", "tools", "toys")
KINDS = np.array(["view", "click", "cart", "purchase"])


def main() -> None:
    """Write the log, time the two in turn, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[25_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", default="2GB", help="DuckDB's limit, for both")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the log and the builds lie for the time")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", choices=["bare", "ours"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(one(asked.one, asked.folder, memory=asked.memory, threads=asked.threads)))
        return
    told = []
    for n_events in asked.events:
        with TemporaryDirectory(dir=asked.folder) as folder:
            n_bad = write_log(Path(folder) / "events.csv", n_events)
            write_catalogue(Path(folder), n_events)
            rounds = [
                {name: _apart(name, Path(folder), asked) for name in ("bare", "ours")} for _ in range(asked.rounds)
            ]
        middle = {name: statistics.median(calls[name]["seconds"] for calls in rounds) for name in ("bare", "ours")}
        told.append({"events": n_events, "bad": n_bad, "ratio": middle["ours"] / middle["bare"], "rounds": rounds})
    names = ("events", "matmul s", "bare s", "ours s", "ours / bare", "bare GB", "ours GB")
    rows = [
        (
            f"{it['events']:,}",
            _spread([calls[name]["matmul_s"] for calls in it["rounds"] for name in calls], 2),
            *(_spread([calls[name]["seconds"] for calls in it["rounds"]], 1) for name in ("bare", "ours")),
            f"{it['ratio']:.2f}",
            *(f"{max(calls[name]['peak_gb'] for calls in it['rounds']):.2f}" for name in ("bare", "ours")),
        )
        for it in told
    ]
    title = f"ingest, {asked.threads} threads, {asked.memory}, {asked.rounds} rounds: median (least to most)"
    Console().print(table(names, rows, title=title))
    if asked.out is not None:
        asked.out.write_text(json.dumps(told, indent=1))


def write_log(path: Path, n_events: int, *, seed: int = 0) -> int:
    """user, item, ts (seconds), kind, value; how many of the rows have to be refused."""
    rng = np.random.default_rng(seed)
    n_users, n_items = of_catalogue(n_events)
    n_bad = 0
    schema = pa.schema([(name, pa.string()) for name in ("user", "item", "ts", "kind", "value")])
    options = pa_csv.WriteOptions(quoting_style="none")
    with path.open("wb") as stream, pa_csv.CSVWriter(stream, schema, write_options=options) as writer:
        for begin in range(0, n_events, CHUNK):
            count = min(CHUNK, n_events - begin)
            user = (n_users * rng.random(count) ** 1.5).astype(np.int64)
            item = (n_items * rng.random(count) ** 3).astype(np.int64)
            ts = 1_672_531_200 + np.sort(rng.integers(begin * 31, (begin + count) * 31, count)) * 31_000_000 // (
                n_events * 31
            )
            columns = [
                pa.array(user.astype("U")).cast(pa.string()),
                pa.array(np.char.add("item-", item.astype("U"))),
                pa.array(ts.astype("U")),
                pa.array(KINDS[rng.choice(4, count, p=[0.7, 0.2, 0.07, 0.03])]),
                pa.array(rng.integers(1, 6, count).astype("U")),
            ]
            bad = rng.random(count) < 1e-4
            n_bad += int(bad.sum())
            columns[2] = pc.if_else(pa.array(bad), pa.scalar("soon"), columns[2])
            writer.write_table(pa.table(columns, schema=schema))
    return n_bad


def of_catalogue(n_events: int) -> tuple[int, int]:
    """Users and items of a log of so many events."""
    return max(n_events // 50, 1), max(n_events // 500, 1)


def write_catalogue(folder: Path, n_events: int, *, seed: int = 1) -> None:
    """items.csv (item, title, categories) and users.csv (user, plan, region) of everyone and everything in the log."""
    rng = np.random.default_rng(seed)
    n_users, n_items = of_catalogue(n_events)
    first, second = rng.integers(len(CATEGORIES), size=(2, n_items))
    items = [
        f"item-{number},The {CATEGORIES[a]} of {number},{CATEGORIES[a]}|{CATEGORIES[b]}\n"
        for number, (a, b) in enumerate(zip(first, second, strict=True))
    ]
    (folder / "items.csv").write_text("item,title,categories\n" + "".join(items))
    plans, regions = ("free", "basic", "pro"), ("north", "south", "east", "west")
    users = [f"{number},{plans[number % 3]},{regions[number % 4]}\n" for number in range(n_users)]
    (folder / "users.csv").write_text("user,plan,region\n" + "".join(users))


def one(which: str, folder: Path, *, memory: str, threads: int) -> dict[str, float]:
    """Seconds, peak of resident memory, and a calibration beside them."""
    matmul_s, begun = matmul_seconds(), time.perf_counter()
    if which == "bare":
        made = folder / "bare.duckdb"
        with build_connection(made, threads=threads, memory_limit=memory) as connection:
            connection.execute(BARE, {"path": str(folder / "events.csv")})
            connection.execute("CHECKPOINT")
        made.unlink()
    else:
        now = datetime(2025, 1, 1, tzinfo=UTC)
        result = ingest(
            parse_spec(SPEC), base=folder, home=folder / "home", now=now, threads=threads, memory_limit=memory
        )
        assert result.read == result.accepted + result.quarantined
        print({"refused": result.reasons, "bytes": result.path.stat().st_size}, file=sys.stderr)
    seconds = time.perf_counter() - begun
    shutil.rmtree(folder / "home", ignore_errors=True)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"seconds": seconds, "peak_gb": peak_gb, "matmul_s": matmul_s}


def _apart(which: str, folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    argv = [sys.executable, "-m", "tests.bench.ingesting", "--one", which, "--folder", str(folder)]
    argv += ["--memory", asked.memory, "--threads", str(asked.threads)]
    told: dict[str, Any] = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout)
    return told


def _spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    main()
