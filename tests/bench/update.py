"""Training onward from a champion against training anew: `python -m tests.bench.update`.

A world whose tastes drift and in which items come out all the time (`data.synthetic`), cut at two moments: the champion
learns from what came before the first, the update goes on from it with what came until the second, and the full retrain
learns from all that anew. Each is asked for every event of the next period, as long as the one between the moments,
with all that its user did before it (NDCG@10). Differences are paired over users, who count once each; seconds are
those of fitting, and those of the processors beside them, which other work on the machine does not change.
"""

import argparse
import json
import pickle
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console

from core.learn.config import TrainConfig, load_config
from core.learn.ranking import ndcg, ranks
from core.learn.sequences import Histories, Queries
from core.learn.splits import leave_last_out
from core.learn.weights import weights_folder
from core.predict.carried import last_moments
from core.predict.evaluate import by_user
from core.predict.fit import Fitted, fit, fit_onward
from core.predict.intervals import bootstrap_mean, paired_gap
from core.predict.onward import onward
from core.predict.served import ServedModel
from dashboard.settings import Settings
from dashboard.terminal import interval, table
from data import synthetic
from data.ingest import ingest
from data.presets import preset_text
from data.spec import load_spec
from tests.bench.__main__ import matmul_seconds
from tests.bench.cold import Quiet, World, world_of

CUTS = (0.6, 0.7, 0.8)  # shares of the events before the champion's end, before the update's, and before the last asked

DRIFT = {"drifting_share": 0.6, "launched_share": 0.6}


def main() -> None:
    """Make the world, fit thrice, compare, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--events", type=int, default=600_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--keep", type=Path, help="a file for the champion and the full retrain: the update alone is anew"
    )
    asked = parser.parse_args()
    config = load_config(overrides=[*(tuple(one.split("=", 1)) for one in asked.set), ("seed", asked.seed)])
    sizes = synthetic.World(n_users=asked.users, n_items=asked.items, n_events=asked.events, **DRIFT)
    with TemporaryDirectory() as folder:
        world = made(Path(folder), sizes, seed=asked.seed)
    told = compare(world, config, keep=asked.keep)
    show(told)
    if asked.out is not None:
        asked.out.write_text(json.dumps(told | {"config": config.model_dump(), "world": vars(sizes)}, indent=1))


def made(folder: Path, sizes: synthetic.World, *, seed: int) -> World:
    """The world, through the same ingest as anyone's data."""
    synthetic.generate(folder, seed=seed, world=sizes)
    (folder / "spec.toml").write_text(preset_text("synthetic"), encoding="utf-8")
    result = ingest(load_spec(folder / "spec.toml"), base=folder, home=folder, now=datetime(2026, 1, 1, tzinfo=UTC))
    return world_of(result.path)


def compare(world: World, config: TrainConfig, *, keep: Path | None = None) -> dict[str, Any]:
    """Figures of the stale champion, the update and the full retrain, and the gaps between them. keep: where the two
    that an update is compared with are read from, or written to, for one world and recipe."""
    histories = world.histories
    before, until, end = np.quantile(histories.ts, CUTS)
    past, present = histories.events(histories.ts <= before), histories.events(histories.ts <= until)
    asked = of_period(histories, until, end)
    source = weights_folder(config.text.model, cache=Settings().cache)
    texts, kinds = world.texts, world.kinds

    def anew(seen: Histories) -> Fitted:
        split = leave_last_out(seen, world.task)
        return fit(split, world.catalogue, texts, config, kinds=kinds, language_model=source, follow=Quiet())

    if keep is not None and keep.is_file():
        champion, full, full_took = pickle.loads(keep.read_bytes())
    else:
        champion, _ = timed("champion", lambda: anew(past))
        full, full_took = timed("full retrain", lambda: anew(present))
        if keep is not None:
            keep.write_bytes(pickle.dumps((champion, full, full_took)))

    def from_champion() -> Fitted:
        start = onward(champion.served, world.catalogue.keys, kinds=kinds, language=champion.language)
        split, learned = leave_last_out(present, world.task), last_moments(leave_last_out(past, world.task).train)
        return fit_onward(split, world.catalogue, config, start, learned, follow=Quiet())

    update, update_took = timed("update", from_champion)
    users = {
        name: figures(fitted.served, asked)
        for name, fitted in {"stale champion": champion, "update": update, "full retrain": full}.items()
    }
    return {
        "n_new_events": len(present.item) - len(past.item),
        "n_events": len(present.item),
        "figures": {name: bootstrap_mean(one, seed=0) for name, one in users.items()},
        "update - full retrain": paired_gap(users["update"], users["full retrain"], seed=0),
        "update - stale champion": paired_gap(users["update"], users["stale champion"], seed=0),
        "seconds": {
            kind: {"full retrain": full_took[kind], "update": took, "share": took / full_took[kind]}
            for kind, took in update_took.items()
        },
    }


def of_period(histories: Histories, begin: float, end: float) -> Queries:
    """Every event after `begin` and not after `end`, asked with what came before it in its history."""
    rows = np.flatnonzero((histories.ts > begin) & (histories.ts <= end))
    return Queries(histories.owner[rows], histories.before(rows), np.arange(len(rows) + 1), histories.item[rows])


def figures(served: ServedModel, asked: Queries) -> Any:
    """(U,) NDCG@10 of each asked user, scored in blocks."""
    parts = [ndcg(ranks(served.logits(q.context), q, task=served.task), q, k=10) for q in asked.blocks(4000)]
    return by_user(np.concatenate(parts), asked)


def timed(name: str, work: Callable[[], Fitted]) -> tuple[Fitted, dict[str, float]]:
    """What work makes, and its seconds on the wall and of the processors, with a calibration beside them on stderr."""
    matmul_s, begun, spent = matmul_seconds(), time.perf_counter(), time.process_time()
    done = work()
    took = {"wall": time.perf_counter() - begun, "processors": time.process_time() - spent}
    print(
        f"{name}: {took['wall']:.0f} s, {took['processors']:.0f} s of the processors, matmul {matmul_s:.2f} s",
        file=sys.stderr,
    )
    return done, took


def show(told: dict[str, Any]) -> None:
    """Figures and gaps as one table."""
    rows = [(name, interval(one)) for name, one in told["figures"].items()]
    rows += [(name, interval(told[name])) for name in told if name.startswith("update - ")]
    rows += [("within, of the full retrain", interval(relative(told)))]
    rows += [
        (f"{kind} s: full, update, share", ", ".join(f"{one:.3g}" for one in seconds.values()))
        for kind, seconds in told["seconds"].items()
    ]
    title = f"NDCG@10 on the next period; {told['n_new_events']:,} of {told['n_events']:,} events are new"
    Console().print(table(("", "95% over users"), rows, title=title))


def relative(told: dict[str, Any]) -> dict[str, float]:
    """The gap to the full retrain as a share of its figure."""
    base = told["figures"]["full retrain"]["estimate"]
    return {part: told["update - full retrain"][part] / base for part in ("estimate", "low", "high")}


if __name__ == "__main__":
    main()
