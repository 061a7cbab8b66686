"""How time and memory grow with events and with the catalogue: `python -m tests.bench.growth`.

Each point is a world of topics (an item belongs to one, popularity within it is Pareto, a user has three), made in
memory and fitted as `lodestar train` fits it, in a process of its own, whose peak of resident memory is its own. The
first points grow in events at one catalogue, the others in items at one number of events. `exponent` is the slope of
log seconds over log events. Text is off unless `--set text.tune=frozen` asks for it: reading a million texts is the
language model's time, not the recommender's. What a point may take is `core.learn.config`'s: `memory_gb`,
`closed_form_gb`, `logit_memory_mb`, `full_softmax_items`; beside its peak stands what `core.learn.memory` expects.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from rich.console import Console

from core.learn.config import load_config
from core.learn.memory import needs
from core.learn.sequences import Histories
from core.learn.splits import leave_last_out
from core.learn.weights import weights_folder
from core.predict.fit import fit
from core.predict.recommend import slates_of_everyone
from core.predict.served import Catalogue
from dashboard.settings import Settings
from dashboard.terminal import table
from tests.bench.__main__ import matmul_seconds

TOPICS = 200
LENGTH = 50  # events a user
SCORED = 2000  # users whose slates are made


class Watch:
    """What fitting reports to: seconds of each stage, and lines for people on stderr."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.epochs_s: list[float] = []

    def epoch(self, **fields: Any) -> None:
        """Kept, and told."""
        self.epochs_s.append(fields["seconds"])
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in fields.items()}, file=sys.stderr)

    def stopping(self) -> bool:
        """Never."""
        return False

    def log(self, message: str) -> None:
        """To stderr."""
        print(message, file=sys.stderr)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Timed."""
        begun = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - begun


def main() -> None:
    """Run every point, print them, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--events-items", type=int, default=2_000, help="the catalogue while events grow")
    parser.add_argument("--items", type=int, nargs="*", default=[5_000, 35_000])
    parser.add_argument("--items-events", type=int, default=500_000, help="the events while the catalogue grows")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--point", type=int, nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    settings = ["text.tune=none", *asked.set]
    if asked.point:
        print(json.dumps(point(*asked.point, settings)))
        return
    wanted = [(n, asked.events_items) for n in asked.events] + [(asked.items_events, i) for i in asked.items]
    calibration = [matmul_seconds()]
    points = [elsewhere(events, items, settings) for events, items in wanted]
    calibration.append(matmul_seconds())
    grown = points[: len(asked.events)]
    told = {"settings": settings, "calibration_s": calibration, "exponent": exponent(grown), "points": points}
    show(told)
    if asked.out is not None:
        asked.out.write_text(json.dumps(told, indent=1))


def elsewhere(events: int, items: int, settings: list[str]) -> dict[str, Any]:
    """One point in a process of its own, so that its memory is its own."""
    options = [option for setting in settings for option in ("--set", setting)]
    command = [sys.executable, "-m", "tests.bench.growth", "--point", str(events), str(items), *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{events} events over {items} items ended with {done.returncode}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def point(events: int, items: int, settings: list[str]) -> dict[str, Any]:
    """Fit one world and make slates of some of its users."""
    config = load_config(overrides=[tuple(setting.split("=", 1)) for setting in settings])
    source = None
    if config.text.tune != "none":
        source = weights_folder(config.text.model, cache=Settings().cache)
    histories = world(max(events // LENGTH, 1), items, seed=config.seed)
    everything = torch.ones(items, dtype=torch.bool)
    keys = tuple(map(str, range(items)))
    watch, begun = Watch(), time.perf_counter()
    with TemporaryDirectory() as folder:
        fitted = fit(
            leave_last_out(histories, "next-any"),
            Catalogue(keys, keys, ((),) * items, everything, everything.clone()),
            [f"item {item} of its kind" for item in range(items)],
            config,
            kinds=("view",),
            language_model=source,
            follow=watch,
            checkpoints=Path(folder),
        )
    fit_s, fit_gb = time.perf_counter() - begun, peak_gb()
    language_dim = 0 if fitted.language is None else fitted.language.frozen.shape[1]
    expected = needs(items, events, config, language_dim=language_dim)
    users = histories.take(np.arange(min(SCORED, len(histories))))
    begun = time.perf_counter()
    rows = sum(len(part) for part in slates_of_everyone(fitted.served, users, k=10))
    return {
        "events": events,
        "items": items,
        "users": len(histories),
        "fit_s": fit_s,
        "epoch_s": float(np.median(watch.epochs_s)),
        "epochs": len(watch.epochs_s),
        "stages_s": watch.seconds,
        "components": list(fitted.served.blend.names),
        "validation ndcg@10": max(stage.best_ndcg for stage in fitted.stages.values()),
        "fit_gb": fit_gb,
        "expected_gb": expected.total,
        "users_per_s": rows / 10 / (time.perf_counter() - begun),
        "score_gb": peak_gb(),
    }


def world(users: int, items: int, *, seed: int) -> Histories:
    """`users` histories of LENGTH events over `items`."""
    rng = np.random.default_rng(seed)
    order, topic = rng.permutation(items), np.arange(items) % TOPICS
    members = [order[topic == t] for t in range(TOPICS)]
    weight = [np.cumsum(rng.pareto(1.2, len(own)) + 0.1) for own in members]
    chosen = rng.integers(0, TOPICS, (users, 3))[
        np.repeat(np.arange(users), LENGTH), rng.integers(0, 3, users * LENGTH)
    ]
    item = np.empty(users * LENGTH, dtype=np.int64)
    for t in range(TOPICS):
        rows = np.flatnonzero(chosen == t)
        item[rows] = members[t][np.searchsorted(weight[t], rng.random(len(rows)) * weight[t][-1])]
    ts = np.tile(np.arange(LENGTH, dtype=np.int64) * 3600, users)
    nothing = np.full(len(item), np.nan, dtype=np.float32)
    return Histories(np.arange(users + 1) * LENGTH, item, ts, np.zeros(len(item), dtype=np.int64), nothing)


def exponent(points: list[dict[str, Any]]) -> float | None:
    """Slope of log seconds over log events; None below two points."""
    if len(points) < 2:
        return None
    events, seconds = np.log([p["events"] for p in points]), np.log([p["fit_s"] for p in points])
    return float(np.polyfit(events, seconds, 1)[0])


def peak_gb() -> float:
    """This process's peak of resident memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def show(told: dict[str, Any]) -> None:
    """The points as a table."""
    rows = [
        (
            f"{p['events']:,}",
            f"{p['items']:,}",
            ", ".join(p["components"]),
            f"{p['fit_s']:.0f}",
            f"{p['epoch_s']:.1f}",
            f"{p['fit_gb']:.1f}",
            f"{p['expected_gb']:.1f}",
            f"{p['users_per_s']:.0f}",
            f"{p['score_gb']:.1f}",
        )
        for p in told["points"]
    ]
    heads = ("events", "items", "components", "fit s", "epoch s", "peak GB", "expected", "slates/s", "peak GB after")
    title = f"{' '.join(told['settings'])}; matmul s {told['calibration_s']}; exponent {told['exponent']}"
    Console().print(table(heads, rows, title=title))


if __name__ == "__main__":
    main()
