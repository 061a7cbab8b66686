"""A small real store for the console's tests: a build made by the real ingest, and a finished run whose files have the
contract's shapes and hold numbers that follow from its per-user table."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import dashboard
from core.learn.sequences import histories_from
from core.learn.splits import leave_last_out
from core.ops import registry, runs
from core.ops.builds import current_build, record_build
from core.ops.ledger import Ledger
from core.predict.intervals import bootstrap_mean
from core.trust.fairness import audit
from dashboard import run_loaders, settings
from dashboard.publishing import report_of, write_report
from data import reads
from data.errors import InputError, UnknownItem
from data.ingest import ingest
from data.publish import staged, write_manifest
from data.spec import load_spec
from data.warehouse import Warehouse
from tests.dashboard.opening import Opened

APP = Path(dashboard.__file__).parent / "app.py"
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


def write_files(folder: Path, *, name: str = "tiny", spec: str = SPEC) -> None:
    """The caller's files: ratings by 48 users of 30 films, one of whose titles is a beacon."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    (folder / "spec.toml").write_text(spec.replace('"tiny"', f'"{name}"'), encoding="utf-8")
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
            out.writerow([f"u{u}", "" if u >= 46 else "F" if u % 3 == 0 else "X" if u % 3 == 1 and u < 30 else "M"])
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


def write_run(folder: Path, *, build: Path, build_id: str, seed: int = 0, protocol: str = "last") -> dict[str, Any]:
    """The files of a finished run, by the contract's names; returns its evaluation."""
    rng = np.random.default_rng(seed)
    users = pd.DataFrame({"user_id": np.arange(USERS)})
    users["rank"] = rng.integers(1, ITEMS, USERS).astype(float)
    users["hr@10"] = (users["rank"] <= 10).astype(float)
    users["ndcg@10"] = np.where(users["rank"] <= 10, 1 / np.log2(users["rank"] + 1), 0.0)
    users["mrr@10"] = np.where(users["rank"] <= 10, 1 / users["rank"], 0.0)
    for component in (*COMPONENTS, "known"):
        rank = users["rank"] + rng.integers(0, 8, USERS)
        users[f"{component}:hr@10"] = (rank <= 10).astype(float)
        users[f"{component}:ndcg@10"] = np.where(rank <= 10, 1 / np.log2(rank + 1), 0.0)
        users[f"{component}:mrr@10"] = np.where(rank <= 10, 1 / rank, 0.0)
    users.to_parquet(folder / "users.parquet", index=False)

    def measure(values: pd.Series) -> dict[str, Any]:
        return dict(bootstrap_mean(values, seed=seed))

    names = ("hr@10", "ndcg@10", "mrr@10")
    metrics = {m: measure(users[m]) for m in names}
    evaluation = {
        "run_id": folder.name,
        "dataset": "tiny",
        "protocol": protocol,
        "metrics": metrics,
        "components": {c: {m: measure(users[f"{c}:{m}"]) for m in names} for c in COMPONENTS},
        "against": {c: {m: measure(users[m] - users[f"{c}:{m}"]) for m in metrics} for c in COMPONENTS},
        "slices": {},
        "seconds": 1.5,
        "report": None,
        "build_id": build_id,
        "seed": seed,
        "licence": "CC0, made for tests",
        "language_model": {"lora_vs_frozen": {"ndcg@10": measure(users["known:ndcg@10"] - users["frozen:ndcg@10"])}},
        "n_users": USERS,
        "n_items": ITEMS,
        "device": "cpu",
        "stages_s": {"frozen": 1.0},
    }
    with Warehouse.open(build) as warehouse:
        people = reads.user_table(warehouse).to_pandas()
        split = leave_last_out(histories_from(reads.histories(warehouse), ("rate",)), "next-new")
    activity = pd.Series(split.train.lengths)
    verdict = audit(users, people, attributes=["gender"], seed=seed, activity=activity)
    verdict.group_metrics.to_parquet(folder / "group_metrics.parquet", index=False)
    (folder / "audit.json").write_text(json.dumps(verdict.as_json()), encoding="utf-8")
    (folder / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
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
    with staged(folder, "judges") as judges:
        (judges / "lift.json").write_text(json.dumps(lift_found()), encoding="utf-8")
    reasons = [
        {
            "user_id": u,
            "item_id": (u + r) % ITEMS,
            "game": "history",
            "player": p,
            "phi": 0.1 * (p + 1),
            "base": -4.0,
            "value": -3.4,
        }
        for u in range(20)
        for r in range(3)
        for p in range(3)
    ]
    with staged(folder, "attributions") as made:
        pd.DataFrame(reasons).to_parquet(made / "attributions.parquet", index=False)
    return evaluation


def lift_found() -> dict[str, Any]:
    """`judges/lift.json` of two targets."""
    gains = {"guide": 0.086, "push": 0.052, "random": 0.001, "passive": 0.006}

    def m(value: float) -> dict[str, Any]:
        return {"estimate": value, "low": value - 0.017, "high": value + 0.017, "n": 24}

    lift = {policy: m(gain) for policy, gain in gains.items()}
    steps = [{"policy": p, "step": n, **m(gain * n / 10)} for p, gain in gains.items() for n in range(1, 11)]
    found = {
        "lift": lift,
        "start": m(0.2),
        "acceptance": {policy: m(0.7) for policy in gains},
        "success": {policy: m(0.8) for policy in gains},
        "perplexity": {policy: m(5.0) for policy in gains},
        "per_accepted": lift,
        "curves": {"shown": steps, "accepted": steps},
        "by_curve": {curve: lift for curve in ("judge", "popularity", "affinity", "constant")},
    }
    return {
        "targets": {"Drama": found, "Crime": found, "Sci-Fi/Horror": found},
        "main_curve": "judge",
        "users": 24,
        "steps": 10,
        "seed": 0,
    }


def make_store(
    home: Path, base: Path, *, name: str = "tiny", spec: str = SPEC, promote: bool = True, rival: bool = False
) -> Store:
    """A store with one build and one finished run, the champion unless told otherwise; a `rival` is a second run."""
    write_files(base, name=name, spec=spec)
    made = ingest(load_spec(base / "spec.toml"), base=base, home=home, now=NOW)
    with Ledger.open(home) as ledger:
        record_build(ledger, build_id=made.build_id, dataset=name, path=made.path, facts=made.facts.as_dict(), now=NOW)
        run_id = runs.new_run(
            ledger, home, dataset=name, build_id=made.build_id, job_id=None, config={"seed": 0}, now=NOW
        )
        evaluation = write_run(runs.run_folder(home, run_id), build=made.path, build_id=made.build_id)
        runs.finish_run(ledger, run_id, summary={"metrics": evaluation["metrics"]}, now=NOW)
        if promote:
            registry.promote(
                ledger, dataset=name, run_id=run_id, actor="tests", reason="the first", expected_version=0, now=NOW
            )
        if rival:
            other = runs.new_run(
                ledger, home, dataset=name, build_id=made.build_id, job_id=None, config={"seed": 1}, now=NOW
            )
            write_run(runs.run_folder(home, other), build=made.path, build_id=made.build_id, seed=1)
            runs.finish_run(ledger, other, summary={}, now=NOW + timedelta(hours=1))
    with (base / "items.csv").open(encoding="utf-8") as file:
        titles = {row["item"]: row["title"] for row in csv.DictReader(file)}
    return Store(home, made.build_id, run_id, titles)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The session's small store; tests that write make their own."""
    base = tmp_path_factory.mktemp("store")
    return make_store(base / "home", base / "files")


@pytest.fixture
def browse(monkeypatch: pytest.MonkeyPatch, scorer: type) -> Iterator[Opened]:
    """Opens a page of the console on a store, as a browser with this address would, with nothing cached. scored:
    whether a scorer answers, a stand-in; tz: the display zone, default the settings'."""

    def open_page(home: Path, page: str, *, scored: bool = True, tz: str | None = None, **address: str) -> AppTest:
        monkeypatch.setenv("LODESTAR_HOME", str(home))
        monkeypatch.setenv("LODESTAR_LANGUAGE", "en")
        if tz is not None:
            monkeypatch.setenv("LODESTAR_TZ", tz)
        if scored:
            monkeypatch.setattr(run_loaders, "ScorerClient", scorer)
        settings.settings.cache_clear()
        st.cache_data.clear()
        st.cache_resource.clear()
        test = AppTest.from_file(str(APP), default_timeout=120)
        test.query_params.update(address)
        test.run()
        return test.switch_page(f"views/{page}.py").run()

    yield open_page
    settings.settings.cache_clear()


class FakeScorer:
    """Answers in the scorer's shapes without a model: a slate that depends on the history, phi that sum to value -
    base.
    """

    asked: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, home: Path) -> None:
        with Ledger.open(home) as ledger:
            self.build = current_build(ledger).path

    def recommend(
        self,
        run: str,
        *,
        user: str | None = None,
        history: Sequence[str] | None = None,
        k: int = 10,
        explain: bool = False,
        again: bool = False,
    ) -> dict[str, Any]:
        self.asked.append({"run": run, "user": user, "history": history})
        with Warehouse.open(self.build) as warehouse:
            items = reads.catalogue(warehouse).to_pylist()
            titles = {item["key"]: item["title"] for item in items}
            if history is None:
                own = reads.user_events(warehouse, reads.user_by_key(warehouse, str(user)), limit=500).to_pylist()
                history = [event["key"] for event in reversed(own)]
        free = [item for item in items if item["key"] not in set(history)]
        turn = len(history) % max(len(free), 1)
        slate = (free[turn:] + free[:turn])[:k]
        return {
            "user": user,
            "run_id": run,
            "items": [
                {
                    "key": item["key"],
                    "title": item["title"],
                    "categories": item["categories"],
                    "rank": rank,
                    "score": 1.0 / rank,
                    "probability": 0.12 / rank,
                    "source": "model",
                    "explanation": self._why(list(history)[-12:], titles, item, rank) if explain else None,
                }
                for rank, item in enumerate(slate, 1)
            ],
        }

    def predict(self, run: str, *, user: str, k: int, again: bool = False) -> dict[str, Any]:
        slate = self.recommend(run, user=user, k=k)["items"]
        like = [{"key": i["key"], "title": i["title"], "p": 0.8 - 0.05 * i["rank"]} for i in slate]
        days = {"median": 3.5, "low": 0.25, "high": None, "seen_days": 90.0, "share_by_then": 0.9}
        kinds = {"rate": 0.3, "view": 0.7}
        return {"user": user, "run_id": run, "kinds": kinds, "like": like, "return_days": days, "notes": {}}

    def explain(self, run: str, *, item: str, user: str) -> dict[str, Any]:
        with Warehouse.open(self.build) as warehouse:
            titles = {one["key"]: one["title"] for one in reads.catalogue(warehouse).to_pylist()}
            own = reads.user_events(warehouse, reads.user_by_key(warehouse, user), limit=500).to_pylist()
        if item not in titles:
            raise UnknownItem(f"no item {item!r}", remedy="choose another")
        if item in {event["key"] for event in own}:
            raise InputError(f"{titles[item]} is no candidate: it was seen", remedy="choose another")
        named = {"key": item, "title": titles[item]}
        why = self._why([event["key"] for event in own[:12]][::-1], titles, named, 25)
        return {"user": user, "run_id": run, "item": named, "rank": 25, "probability": 0.001, **why}

    def _why(self, last: list[str], titles: dict[str, str], item: dict[str, Any], rank: int) -> dict[str, Any]:
        phi = [0.5 / (i + 1) * (1 if i % 3 else -0.4) for i in range(len(last))]
        players = [
            {"key": key, "title": titles[key], "ts": NOW.isoformat(), "phi": p}
            for key, p in zip(last, phi, strict=True)
        ]
        removed = [i for i, p in enumerate(phi) if p > 0][:2]
        return {
            "games": [{"game": "history", "base": -4.0, "value": -4.0 + sum(phi), "players": players}],
            "faithfulness": {"deletion": 1.2, "recency": 0.9, "leave_one_out": 1.1, "random": 0.6},
            "counterfactual": [
                {
                    "remove": [last[i] for i in removed],
                    "players": removed,
                    "verified": True,
                    "rank_before": rank,
                    "rank_after": rank + 16,
                }
            ],
            "words": {"en": f"{item['title']} is recommended.", "zh": f"推荐《{item['title']}》。"},
        }

    def guide(self, run: str, *, user: str, target: Mapping[str, str], steps: int) -> dict[str, Any]:
        free = self.recommend(run, user=user, k=steps)["items"]
        path = [self._step(item, place) for place, item in enumerate(free, 1)]
        return {"user": user, "run_id": run, "target": dict(target), "mass": 0.08, "steps": path}

    def next_step(
        self, run: str, *, user: str, target: Mapping[str, str], accepted: Sequence[str], skipped: Sequence[str]
    ) -> dict[str, Any]:
        gone = {*accepted, *skipped}
        free = [item for item in self.recommend(run, user=user, k=20)["items"] if item["key"] not in gone]
        return {"user": user, "run_id": run, **self._step(free[0], len(accepted) + 1)}

    @staticmethod
    def _step(item: dict[str, Any], place: int) -> dict[str, Any]:
        told = {"key": item["key"], "title": item["title"], "acceptance": 0.8 - 0.02 * place}
        return {**told, "mass": 0.08 + 0.02 * place, "logp": -2.0}


@pytest.fixture
def new_store(tmp_path: Path) -> Callable[..., Store]:
    """Makes a store of the test's own, for tests that write."""

    def make(*, promote: bool = True, rival: bool = False, preset: str | None = None) -> Store:
        spec = SPEC
        if preset is not None:  # whose kinds, positive rule and figures stand in for the films'
            spec = f'preset = "{preset}"\n' + SPEC.partition("[positive]")[0].replace('kind_value = "rate"\n', "")
        return make_store(tmp_path / "home", tmp_path / "files", spec=spec, promote=promote, rival=rival)

    return make


@pytest.fixture
def scorer() -> type[FakeScorer]:
    """The stand-in for the scorer's client."""
    FakeScorer.asked.clear()
    return FakeScorer


@pytest.fixture(scope="session", name="write_run")
def writes_run() -> Callable[..., dict[str, Any]]:
    """Writes the files of a finished run into its folder."""
    return write_run


@pytest.fixture(scope="session", name="write_files")
def writes_files() -> Callable[..., None]:
    """Writes the caller's files of the small store."""
    return write_files


@pytest.fixture(scope="session")
def tiny_language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of a few thousand weights with a vocabulary of letters: a real checkpoint that needs no network."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz0123456789().-"]
    words += [f"##{letter}" for letter in words[5:]]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture
def report_file(store: Store, tmp_path: Path) -> Path:
    """A report of the small store's run, as a file."""
    with Ledger.open(store.home) as ledger:
        report = report_of(ledger, store.home, store.run_id, language="en", tz="UTC", now=NOW)
    return write_report(report, tmp_path / "report.html")
