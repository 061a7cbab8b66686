"""`lodestar bench`: the leaderboard of a run's own build and split, kept beside the run.

It is no part of every run: the contenders take minutes and depend on the build and the split alone, and each reading of
a test set makes it worth less. `leaderboard/` in the run's folder is published whole, with a manifest of its own, and
replaced when asked for again: leaderboard.json (what the command prints) and users.parquet (one row a tested user, the
contenders' figures as `<model>:<metric>`).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.table import Table

from core.learn.config import TextConfig
from core.learn.weights import weights_folder
from core.ops.builds import build_of
from core.ops.ledger import Ledger, utc_now
from core.ops.registry import log_test_read
from core.ops.runs import finished_run, run_folder
from core.predict.board import METRICS, contenders, leaderboard, standing, world_of
from dashboard import terminal
from dashboard.settings import Settings
from data.errors import DamagedArtefact, InputError, WeightsMissing
from data.finite import finite
from data.publish import staged, verify_manifest
from data.warehouse import Warehouse

FOLDER = "leaderboard"
_LANGUAGE = ("pretrain", "text")
_NETWORK = (*_LANGUAGE, "frozen", "lora", "full")


def run_bench(
    mine: Settings,
    ledger: Ledger,
    run: str,
    *,
    seeds: Sequence[int],
    models: Sequence[str] = (),
    dataset: str | None = None,
) -> dict[str, Any]:
    """Measure the contenders (all, or `models`) beside a finished run, publish and give `leaderboard.json`: run_id,
    build_id, dataset, protocol, seeds, n, rows as `core.predict.board.leaderboard` gives them.

    Raises UnknownRun, RunUnfinished, DamagedArtefact, and InputError for a model that does not exist.
    """
    torch.set_num_threads(mine.threads)
    row = finished_run(ledger, mine.home, run, dataset)
    folder, seed = run_folder(mine.home, row.run_id), int(row.config.get("seed", 0))
    verify_manifest(folder)
    served = pd.read_parquet(folder / "users.parquet")
    stages_s = json.loads((folder / "evaluation.json").read_text())["stages_s"]
    build = build_of(ledger, row.build_id)
    with Warehouse.open(build.path) as warehouse:
        world = world_of(
            warehouse,
            row.protocol,
            language_model=_language_model(mine, row.config),
            budget_gb=float(row.config.get("closed_form_gb", 2.0)),
            seed=seed,
        )
    if not np.array_equal(np.unique(world.split.test.user), served["user_id"]):
        raise DamagedArtefact(
            f"run {row.run_id!r} was tested on other users than this version would ask",
            remedy="train again with `lodestar train`",
        )
    found = contenders(world)
    if unknown := sorted(set(models) - set(found)):
        raise InputError(f"there is no model {unknown[0]!r}", remedy=f"choose from {', '.join(found)}")
    chosen = {name: one for name, one in found.items() if not models or name in models}
    log_test_read(ledger, row.run_id, row.protocol, utc_now())
    standings = {}
    with terminal.Bar("bench") as bar:
        for place, (name, one) in enumerate(chosen.items()):
            bar(place / len(chosen), name)
            standings[name] = standing(
                one, world, seeds=seeds, log=lambda line, name=name: terminal.say(f"{name}: {line}")
            )
    rows = leaderboard(served, standings, run_seconds=_seconds(stages_s), seed=seed)
    told: dict[str, Any] = {
        "run_id": row.run_id,
        "build_id": row.build_id,
        "dataset": row.dataset,
        "protocol": row.protocol,
        "seeds": list(seeds),
        "n": len(served),
        "rows": finite(rows),
    }
    table = {f"{name}:{metric}": values for name, one in standings.items() for metric, values in one.users.items()}
    with staged(folder, FOLDER, extra={"run_id": row.run_id}, replace=True) as made:
        (made / "leaderboard.json").write_text(json.dumps(told))
        pd.DataFrame({"user_id": served["user_id"], **table}).to_parquet(made / "users.parquet", index=False)
    return told


def board(told: Mapping[str, Any]) -> Table:
    """The board for a terminal."""
    lines = []
    for row in told["rows"]:
        if row["too_much"]:
            lines.append((row["model"], "stands aside", row["too_much"], "", "", "", ""))
            continue
        lines.append(
            (
                row["model"],
                *(terminal.interval(row[metric]) for metric in METRICS),
                *_gain(row),
                "" if row["seconds"] is None else f"{row['seconds']:.1f}",
            )
        )
    about = (
        f"{told['dataset']}, protocol {told['protocol']}, run {told['run_id']}, n = {told['n']} users, 95% intervals"
    )
    title = f"{about}; seeds {told['seeds']} of random models; gain: the served blend's NDCG@10, paired, p after Holm"
    heads = ("model", "HR@10", "NDCG@10", "gain", "p", "s to fit")
    return terminal.table(heads, lines, title=title)


def _gain(row: Mapping[str, Any]) -> tuple[str, str]:
    if not row["gain"]:
        return "", ""
    p = row["p"]["ndcg@10"]
    return terminal.interval(row["gain"]["ndcg@10"]), "< .001" if p < 0.001 else f"{p:.3f}"


def _seconds(stages_s: Mapping[str, float]) -> dict[str, float]:
    """What fitting the blend and its networks took, of the run's stages."""
    network = sum(stages_s.get(name, 0.0) for name in _NETWORK)
    return {
        "served": network + stages_s.get("closed-form", 0.0) + stages_s.get("blend", 0.0),
        "neural": network,
        "frozen": sum(stages_s.get(name, 0.0) for name in (*_LANGUAGE, "frozen")),
    }


def _language_model(mine: Settings, config: Mapping[str, Any]) -> Path | None:
    """The run's language model, or the default one where the run reads no text; None where it cannot be had."""
    text = config.get("text", {})
    name = TextConfig().model if text.get("tune") == "none" else text.get("model", TextConfig().model)
    try:
        return weights_folder(name, cache=mine.cache, offline=mine.offline, endpoint=mine.hub)
    except WeightsMissing as error:
        terminal.say(str(error))
        return None
