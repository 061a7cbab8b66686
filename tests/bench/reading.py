"""What the pages ask of a build, timed warm at several sizes: `python -m tests.bench.reading --events 1000000 5000000`.

The builds are made of the log of `ingesting`, with a catalogue of titled items in categories and users in groups. Each
read runs alone, some times over, with other users and items each time where it is about one; p50 and p95 in ms, and the
exponent with which the p50 grows between the smallest size and the largest. One cold pass before is not counted.
"""

import argparse
import functools
import json
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console

from core.trust.drift import drift_since
from core.trust.unusual import unusual_days
from dashboard.terminal import table
from data import explore, periods, reads
from data.explore import EVERYONE, Cohort
from data.ingest import IngestResult, ingest
from data.kpis import kpis
from data.spec import parse_spec
from data.warehouse import Warehouse
from tests.bench.__main__ import matmul_seconds
from tests.bench.ingesting import SPEC, write_catalogue, write_log

ZONE = "Europe/Berlin"
SPRING = (datetime(2023, 3, 1, tzinfo=UTC), datetime(2023, 6, 1, tzinfo=UTC))
BUYERS = Cohort(kinds=("purchase",), categories=("music", "film"), since=SPRING[0], before=SPRING[1])
FUNNEL = ("view", "click", "cart", "purchase")
ASKED = f"""{SPEC}
[sessions]
gap_minutes = 30
[weights]
view = 1.0
purchase = 8.0
[kpis]
engagement = {{ measure = "engagement" }}
conversion = {{ measure = "conversion", of = ["view"], to = ["purchase"] }}
rate = {{ measure = "rate", of = ["view"], to = ["click"] }}
completion = {{ measure = "completion", min_value = 3.0 }}
basket_value = {{ measure = "basket_value", of = ["purchase"] }}
basket_size = {{ measure = "basket_size", of = ["purchase"] }}
repeats = {{ measure = "repeats", of = ["purchase"] }}
returning = {{ measure = "returning" }}
item_age = {{ measure = "item_age" }}
mean_value = {{ measure = "mean_value" }}
"""
Read = Callable[[Warehouse, np.random.Generator], object]


def _someone(read: Callable[[Warehouse, int], object]) -> Read:
    return lambda warehouse, rng: read(warehouse, int(rng.integers(warehouse.facts.n_users)))


def _something(read: Callable[[Warehouse, int], object]) -> Read:
    return lambda warehouse, rng: read(warehouse, int(warehouse.facts.n_items * rng.random() ** 3))


def _of_all(read: Callable[[Warehouse], object]) -> Read:
    return lambda warehouse, _: read(warehouse)


def _drift(warehouse: Warehouse, _: np.random.Generator) -> object:
    facts = warehouse.facts
    return drift_since(warehouse, facts.first_ts + 0.9 * (facts.last_ts - facts.first_ts))


def _unusual(warehouse: Warehouse, _: np.random.Generator) -> object:
    days = periods.activity(warehouse, tz=ZONE)
    return unusual_days(*(days[name].to_pylist() for name in ("period", "events", "users")))


READS: dict[str, Read] = {
    "Pulse: activity by day": _of_all(functools.partial(periods.activity, tz=ZONE)),
    "Pulse: activity by week": _of_all(functools.partial(periods.activity, tz=ZONE, grain="week")),
    "Pulse: activity by month": _of_all(functools.partial(periods.activity, tz=ZONE, grain="month")),
    "Pulse: who comes and goes by week": _of_all(functools.partial(periods.growth, tz=ZONE)),
    "Pulse: who comes and goes by month": _of_all(functools.partial(periods.growth, tz=ZONE, grain="month")),
    "Pulse: hours of the week": _of_all(functools.partial(periods.hour_weekday, tz=ZONE)),
    "Pulse: long tail": _of_all(reads.long_tail),
    "Pulse: items people chose": _of_all(functools.partial(reads.top_items, limit=200)),
    "Pulse: kinds": _of_all(reads.kind_counts),
    "Pulse: categories": _of_all(reads.categories),
    "Pulse: days that stand out": _unusual,
    "Pulse: drift": _drift,
    "Pulse: sessions": _of_all(reads.session_facts),
    "Pulse: sessions by day": _of_all(functools.partial(periods.session_activity, tz=ZONE)),
    "Pulse: ten figures of a domain": _of_all(kpis),
    **{
        f"Explore: {name}, {whom}": _of_all(functools.partial(read, cohort=cohort, **more))
        for whom, cohort in (("everyone", EVERYONE), ("a cohort", BUYERS))
        for name, read, more in (
            ("size", explore.size, {}),
            ("segments", explore.segments, {}),
            ("funnel", functools.partial(explore.funnel, kinds=FUNNEL), {}),
            ("retention", explore.retention, {"tz": ZONE}),
            ("transitions", explore.transitions, {}),
        )
    },
    "Profile: a user's events": _someone(reads.user_events),
    "Profile: a user's facts": _someone(reads.user_facts),
    "Profile: a user's history": _someone(reads.history),
    "Profile: an item's events": _something(reads.item_events),
    "Profile: an item's facts": _something(reads.item_facts),
    "Profile: an item by week": _something(functools.partial(periods.item_activity, tz=ZONE)),
}


def main() -> None:
    """Make the builds, time the reads, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000, 5_000_000, 25_000_000])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where the logs and the builds lie for the time")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    told: dict[int, dict[str, dict[str, float]]] = {}
    for n_events in sorted(asked.events):
        with TemporaryDirectory(dir=asked.folder) as folder:
            told[n_events] = measured(Path(folder), n_events, times=asked.times)
    sizes = list(told)
    rows = [
        (
            name,
            *(f"{told[size][name]['p50_ms']:.0f} / {told[size][name]['p95_ms']:.0f}" for size in sizes),
            f"{exponent(told, name):.2f}" if len(sizes) > 1 else "",
        )
        for name in READS
    ]
    heads = ("read, ms p50 / p95", *(f"{size:,}" for size in sizes), "exponent")
    Console().print(table(heads, rows, title=f"{asked.times} times each, matmul {matmul_seconds():.2f} s"))
    if asked.out is not None:
        asked.out.write_text(json.dumps({str(size): found for size, found in told.items()}, indent=1))


def made_of(folder: Path, n_events: int) -> IngestResult:
    """A build under `home` of `folder` with all that Pulse can show of a log: sessions and figures, too."""
    write_log(folder / "events.csv", n_events)
    write_catalogue(folder, n_events)
    return ingest(parse_spec(ASKED), base=folder, home=folder / "home", now=datetime(2025, 1, 1, tzinfo=UTC))


def measured(folder: Path, n_events: int, *, times: int) -> dict[str, dict[str, float]]:
    """p50_ms and p95_ms of each read, over a fresh build of so many events."""
    made = made_of(folder, n_events)
    rng = np.random.default_rng(0)
    found = {}
    with Warehouse.open(made.path) as warehouse:
        for name, read in READS.items():
            read(warehouse, rng)
            taken = []
            for _ in range(times):
                begun = time.perf_counter()
                read(warehouse, rng)
                taken.append(1000 * (time.perf_counter() - begun))
            found[name] = {"p50_ms": float(np.median(taken)), "p95_ms": float(np.quantile(taken, 0.95))}
    return found


def exponent(told: dict[int, dict[str, dict[str, float]]], name: str) -> float:
    """How a read's p50 grows with the events, between the smallest size and the largest: 1 is in step with them."""
    least, most = min(told), max(told)
    return math.log(told[most][name]["p50_ms"] / told[least][name]["p50_ms"]) / math.log(most / least)


if __name__ == "__main__":
    main()
