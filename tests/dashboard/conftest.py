"""A small real store for the console's tests: a build made by the real ingest, and a finished run whose files have the
contract's shapes and hold numbers that follow from its per-user table."""

import csv
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.ops import registry, runs
from core.ops.ledger import Ledger, record_build
from data.ingest import ingest
from data.publish import staged, write_manifest
from data.spec import load_spec

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BEACON = "![x](http://203.0.113.9/beacon.png)"
COMPONENTS = ("neural", "frozen", "ease", "ridge", "popularity")
GENRES = ("Drama", "Comedy", "Sci-Fi", "Crime")
USERS, ITEMS = 48, 30

SPEC = """
sensitive = ["gender"]
[dataset]
name = "tiny"
task = "next-new"
licence = "CC0, made for tests"
source = "tests"
[events]
files = "events.csv"
user = "user"
item = "item"
ts = "ts"
kind_value = "rate"
value = "value"
[items]
files = "items.csv"
key = "item"
title = "title"
categories = "genres"
[users]
files = "users.csv"
key = "user"
attributes = ["gender"]
[positive]
min_value = 4
"""


@dataclass(frozen=True)
class Store:
    home: Path
    build_id: str
    run_id: str
    titles: dict[str, str]


def write_files(folder: Path, *, name: str = "tiny") -> None:
    """The caller's files: ratings by 48 users of 30 films, one of whose titles is a beacon."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    (folder / "spec.toml").write_text(SPEC.replace('"tiny"', f'"{name}"'), encoding="utf-8")
    with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["item", "title", "genres"])
        for i in range(ITEMS):
            title = f"Film {i} {BEACON}" if i == 3 else f"Film {i} ({1960 + i})"
            out.writerow([f"i{i}", title, "|".join(GENRES[j] for j in {i % 4, (i // 4) % 4})])
    with (folder / "users.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["user", "gender"])
        for u in range(USERS):
            out.writerow([f"u{u}", "F" if u % 3 == 0 else "M"])
    with (folder / "events.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["user", "item", "ts", "value"])
        start = datetime(2025, 1, 6, 20, 0, tzinfo=UTC)
        for u in range(USERS):
            seen = rng.permutation(ITEMS)[: 6 + u % 9]
            for order, i in enumerate(seen):
                at = start + timedelta(days=int(u % 20 + order * 2), minutes=int(order))
                out.writerow([f"u{u}", f"i{i}", at.isoformat(), int(rng.integers(1, 6))])
        out.writerow(["u0", "i1", "not a time", 3])


def measure(values: np.ndarray) -> dict[str, float | int]:
    """Mean with a normal 95% interval; the real runs bootstrap."""
    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
    return {"estimate": mean, "low": mean - 1.96 * error, "high": mean + 1.96 * error, "n": len(values)}


def write_run(folder: Path, *, build_id: str, seed: int = 0) -> dict:
    """The files of a finished run, by the contract's names; returns its evaluation."""
    rng = np.random.default_rng(seed)
    users = pd.DataFrame({"user_id": np.arange(USERS)})
    users["rank"] = rng.integers(1, ITEMS, USERS).astype(float)
    users["hr@10"] = (users["rank"] <= 10).astype(float)
    users["ndcg@10"] = np.where(users["rank"] <= 10, 1 / np.log2(users["rank"] + 1), 0.0)
    for component in COMPONENTS:
        rank = users["rank"] + rng.integers(0, 8, USERS)
        users[f"{component}:hr@10"] = (rank <= 10).astype(float)
        users[f"{component}:ndcg@10"] = np.where(rank <= 10, 1 / np.log2(rank + 1), 0.0)
    users.to_parquet(folder / "users.parquet", index=False)
    metrics = {m: measure(users[m].to_numpy()) for m in ("hr@10", "ndcg@10")}
    evaluation = {
        "run_id": folder.name,
        "dataset": "tiny",
        "protocol": "last",
        "metrics": metrics,
        "components": {c: {m: measure(users[f"{c}:{m}"].to_numpy()) for m in ("hr@10", "ndcg@10")} for c in COMPONENTS},
        "slices": {},
        "seconds": 1.5,
        "report": None,
        "build_id": build_id,
        "seed": seed,
        "licence": "CC0, made for tests",
        "language_model": {
            "lora_vs_frozen": {"ndcg@10": measure((users["ndcg@10"] - users["frozen:ndcg@10"]).to_numpy())}
        },
        "n_users": USERS,
        "n_items": ITEMS,
        "device": "cpu",
        "stages_s": {"frozen": 1.0},
    }
    groups = []
    for metric in ("ndcg@10", "hr@10"):
        withheld = {"n": 2, "estimate": None, "low": None, "high": None, "suppressed": True}
        for group, part in users.groupby(np.where(users["user_id"] % 3 == 0, "F", "M")):
            groups.append(
                {
                    "metric": metric,
                    "attribute": "gender",
                    "group": group,
                    **measure(part[metric].to_numpy()),
                    "suppressed": False,
                }
            )
        groups.append({"metric": metric, "attribute": "gender", "group": "unknown", **withheld})
    gaps = [
        {
            "metric": m,
            "attribute": "gender",
            "a": "F",
            "b": "M",
            "gap": -0.02,
            "low": -0.1,
            "high": 0.06,
            "detectable": 0.11,
        }
        for m in ("ndcg@10", "hr@10")
    ]
    pd.DataFrame(groups).to_parquet(folder / "group_metrics.parquet", index=False)
    (folder / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    (folder / "audit.json").write_text(json.dumps({"groups": groups, "gaps": gaps}), encoding="utf-8")
    (folder / "config.toml").write_text(f"seed = {seed}\n", encoding="utf-8")
    slate = [
        {
            "user_id": u,
            "item_id": (u + r) % ITEMS,
            "rank": r + 1,
            "score": 1.0 - r / 10,
            "probability": 0.3 / (r + 1),
            "source": "model",
        }
        for u in range(USERS)
        for r in range(10)
    ]
    pd.DataFrame(slate).astype({"rank": "int32", "score": "float32", "probability": "float32"}).to_parquet(
        folder / "scores.parquet", index=False
    )
    often = {"t": NOW.isoformat(), "type": "epoch", "seconds": 1.0, "progress": 0.5, "eta_s": 3.0}
    lines = [
        {**often, "stage": stage, "epoch": e, "loss": 5 / e, "ndcg@10": 0.02 * e, "best": e == 4}
        for stage in ("frozen", "lora")
        for e in range(1, 5)
    ]
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    write_manifest(folder)
    m = {"estimate": 0.086, "low": 0.069, "high": 0.104, "n": 24}
    lift = {"guide": m, "push": {**m, "estimate": 0.05}, "random": {**m, "estimate": 0.001}}
    with staged(folder, "judges") as judges:
        (judges / "lift.json").write_text(json.dumps(lift), encoding="utf-8")
    return evaluation


def make_store(home: Path, base: Path, *, name: str = "tiny", promote: bool = True) -> Store:
    """A store with one build and one finished run, which is the champion unless told otherwise."""
    write_files(base, name=name)
    spec = load_spec(base / "spec.toml")
    made = ingest(spec, base=base, home=home, now=NOW)
    with Ledger.open(home) as ledger:
        record_build(ledger, build_id=made.build_id, dataset=name, path=made.path, facts=made.facts.as_dict(), now=NOW)
        run_id = runs.new_run(
            ledger, home, dataset=name, build_id=made.build_id, job_id=None, config={"seed": 0}, now=NOW
        )
        evaluation = write_run(runs.run_folder(home, run_id), build_id=made.build_id)
        runs.finish_run(ledger, run_id, summary={"metrics": evaluation["metrics"]}, now=NOW)
        if promote:
            registry.promote(
                ledger, dataset=name, run_id=run_id, actor="tests", reason="the first", expected_version=0, now=NOW
            )
    with (base / "items.csv").open(encoding="utf-8") as file:
        titles = {row["item"]: row["title"] for row in csv.DictReader(file)}
    return Store(home, made.build_id, run_id, titles)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The session's small store; tests that write make their own."""
    base = tmp_path_factory.mktemp("store")
    return make_store(base / "home", base / "files")
