"""What a search job does, from a build to the best settings: the data and texts that all trials share, the study, and
what is told of it.

It reads a split's training and validation parts; the test questions are put away before the first trial, and what is
stored says so. A validation figure that is the best of many is an optimistic one: `lodestar train --config` on the best
settings measures them on the test part, once.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from core.learn.config import TextConfig, TrainConfig
from core.learn.gradients import check_compiler
from core.learn.search import METRIC, PRUNER, SAMPLER, STAGE, Ground, Search
from core.learn.space import space_of, told, with_settings
from core.learn.text import TextEncoder
from core.learn.train import MAX_VALIDATION, Stopped
from core.learn.weights import weights_folder
from core.learn.whitening import fit_whitening
from core.material import material_of
from core.ops.builds import build_of
from core.ops.searches import BEST, TOLD, TRIALS, search_folder
from core.ops.worker import JobContext
from core.ops.worker import Stopped as JobStopped
from core.predict.fit import pick_device
from data.errors import JobFailed
from data.publish import MANIFEST, make_folder, write_manifest, write_whole
from data.warehouse import Warehouse

NOTE = "figures are the validation part's, the best of many and so too high; no test target was read"


class Texts:
    """The items' texts as vectors, encoded once for each language model and length that is asked for."""

    def __init__(self, texts: list[str], *, weights: Callable[[str], Path], device: str) -> None:
        self.texts, self.weights, self.device = texts, weights, device
        self._raw: dict[tuple[str, int], Tensor] = {}

    def __call__(self, config: TrainConfig) -> Tensor:
        """(I, T) float32: whitened vectors, T = 0 where the recipe reads no text. Raises WeightsMissing."""
        if config.text.tune == "none":
            return torch.zeros(len(self.texts), 0)
        raw = self._encoded(config.text)
        return fit_whitening(raw, config.text.dim)(raw)

    def _encoded(self, config: TextConfig) -> Tensor:
        key = (config.model, config.max_tokens)
        if key not in self._raw:
            encoder = TextEncoder(self.weights(config.model), config, texts=self.texts, device=self.device)
            self._raw[key] = encoder.encode().cpu()
        return self._raw[key]


class Told:
    """What a search says while it runs: events for its job, and search.json whole after each trial.

    search.json: search_id, job_id, dataset, build_id, protocol, stage, metric, measured_on, note, sampler, pruner,
    seed, space, base, wanted, minutes, seconds, n_valid (questions that judge a trial), trials (rows as `Search.rows`
    gives them), best (one of them, or None).
    """

    def __init__(self, context: JobContext, folder: Path, search: Search, about: Mapping[str, Any]) -> None:
        self.context, self.folder, self.search, self.about = context, folder, search, dict(about)
        self.trials, self.minutes = int(about["wanted"]), about["minutes"]
        self.before = search.seconds
        self.begun = time.perf_counter()
        self.ended = len(search.rows())

    def epoch(self, **fields: Any) -> None:
        """One epoch of a trial, as an event."""
        share = fields["epoch"] / fields["epochs"]
        self.context.emit("epoch", **fields, **self._position(share))

    def trial(self, row: Mapping[str, Any]) -> None:
        """One trial's end, as an event and in the file."""
        self.ended = int(row["trial"])
        self.write()
        self.context.emit("trial", **row, **self._position(0.0))

    def stopping(self) -> bool:
        """Whether the job was told to stop."""
        return self.context.should_stop()

    def write(self) -> dict[str, Any]:
        """Writes search.json and gives what is in it."""
        now = self.about | {
            "seconds": round(self.search.seconds, 1),
            "trials": self.search.rows(),
            "best": self.search.best(),
        }
        write_whole(self.folder / TOLD, json.dumps(now).encode())
        return now

    def _position(self, share: float) -> dict[str, Any]:
        done = (self.ended + share) / self.trials
        if self.minutes is not None:
            done = max(done, self.search.seconds / (60 * self.minutes))
        done = min(done, 1.0)
        spent = self.before + time.perf_counter() - self.begun
        return {"progress": done, "eta_s": spent * (1 - done) / done if done > 0.02 else None}


def search_run(context: JobContext, *, cache: Path, offline: bool, hub: str | None = None) -> dict[str, Any]:
    """The body of a `search` job. payload: see `core.ops.searches.order`. Returns search_id, trials (how many ended),
    pruned, failed, best, seconds.

    cache, offline and hub say where language models come from: see `core.learn.weights`. Raises JobFailed where no
    trial could be trained at all, InvalidConfig, UnknownBuild, WeightsMissing.
    """
    asked = context.payload
    base = TrainConfig.model_validate(asked["config"])
    space = space_of(asked["space"], base)
    build = build_of(context.ledger, asked["build_id"])
    folder = search_folder(context.home, asked["search_id"])
    make_folder(folder)
    (folder / MANIFEST).unlink(missing_ok=True)  # a search that goes on is not whole
    context.emit("stage", stage="search", progress=0.0)
    with Warehouse.open(build.path) as warehouse, Search(folder, space, base) as search:
        ground = _ground(warehouse, base, cache=cache, offline=offline, hub=hub)
        about = {
            "search_id": asked["search_id"],
            "job_id": context.job_id,
            "dataset": build.dataset,
            "build_id": build.build_id,
            "protocol": base.protocol,
            "stage": STAGE,
            "metric": METRIC,
            "measured_on": "validation",
            "note": NOTE,
            "sampler": SAMPLER,
            "pruner": PRUNER,
            "seed": base.seed,
            "space": told(space),
            "base": base.model_dump(),
            "wanted": asked["trials"],
            "minutes": asked["minutes"],
            "n_valid": len(ground.split.valid),
        }
        follow = Told(context, folder, search, about)
        follow.write()
        try:
            seconds = None if asked["minutes"] is None else 60.0 * asked["minutes"]
            search.run(ground, follow, trials=asked["trials"], seconds=seconds)
        except Stopped as stop:
            raise JobStopped from stop
        finally:
            now = follow.write()
    rows, best = now["trials"], now["best"]
    if best is None:
        raise JobFailed(
            f"none of the {len(rows)} trials could be trained: {rows[-1]['error'] if rows else 'there was no time'}",
            remedy="narrow the space with --space, or give it more time",
        )
    _publish(folder, base, now)
    context.emit("done", progress=1.0, eta_s=0.0, best=best)
    counted = {state: sum(row["state"] == state for row in rows) for state in ("pruned", "failed")}
    return {
        "search_id": asked["search_id"],
        "trials": len(rows),
        **counted,
        "best": best | {"config": str(folder / BEST)},
        "seconds": now["seconds"],
    }


def _ground(warehouse: Warehouse, base: TrainConfig, *, cache: Path, offline: bool, hub: str | None) -> Ground:
    material = material_of(warehouse, base)
    learned = material.learned
    no_test = learned.test.take(np.zeros(0, dtype=np.int64))
    device = pick_device(base.device)
    check_compiler(base, device=device)
    return Ground(
        replace(learned, test=no_test, valid=learned.valid.sample(MAX_VALIDATION, seed=base.seed)),
        kinds=material.kinds,
        text=Texts(
            material.texts,
            weights=lambda model: weights_folder(model, cache=cache, offline=offline, endpoint=hub),
            device=device,
        ),
        device=device,
    )


def _publish(folder: Path, base: TrainConfig, now: Mapping[str, Any]) -> None:
    """trials.parquet (one row a trial, each setting a column), best.toml, and the manifest."""
    table = [
        {name: value for name, value in row.items() if name != "settings"} | row["settings"] for row in now["trials"]
    ]
    pd.DataFrame(table).to_parquet(folder / TRIALS, index=False)
    best = with_settings(base, now["best"]["settings"])
    (folder / BEST).write_text(best.to_toml(), encoding="utf-8")
    write_manifest(folder, extra={"search_id": now["search_id"], "build_id": now["build_id"]})
