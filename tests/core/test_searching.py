"""A search as a job: from a build to the best settings, stopped and taken up, without a look at the test part."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from core import searching
from core.learn.config import load_config
from core.learn.text import TextEncoder
from core.ops.builds import record_build
from core.ops.claims import claim
from core.ops.jobs import submit
from core.ops.ledger import Ledger
from core.ops.processes import Process
from core.ops.registry import count_test_reads
from core.ops.searches import latest_search, new_search_id, order, read_search, search_folder
from core.ops.worker import JobContext, Stopped
from data import synthetic
from data.errors import InvalidConfig, JobFailed, UnknownSearch
from data.ingest import ingest
from data.presets import preset_text
from data.publish import MANIFEST, verify_manifest
from data.spec import load_spec

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SETTINGS = {"epochs": 3, "batch_tokens": 1024, "network.dim": 16, "network.max_length": 30, "text.dim": 16}
SPACE = {"lr": "1e-3..3e-2", "network.dropout": "0..0.5", "text.dim": [8, 16]}
TRIALS = 4


@dataclass(frozen=True)
class Store:
    ledger: Ledger
    home: Path
    build_id: str
    model: Path

    def ask(self, search_id: str, *, trials: int = TRIALS, space: Any = SPACE, **settings: Any) -> JobContext:
        """A search's job, claimed."""
        config = load_config(overrides=[*{**SETTINGS, "text.model": str(self.model), **settings}.items()])
        asked = order(
            search_id, build_id=self.build_id, config=config.model_dump(), space=space, trials=trials, minutes=None
        )
        submit(self.ledger, kind="search", payload=asked, dataset="synthetic", now=NOW)
        job = claim(self.ledger, supervisor=Process.current(), lease_s=600, now=NOW)
        assert job is not None
        return JobContext(self.ledger, self.home, job)

    def run(self, context: JobContext) -> dict[str, Any]:
        return searching.search_run(context, cache=self.home / "cache", offline=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_language_model: Path) -> Iterator[Store]:
    """A generated world of 80 users."""
    home, files = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("files")
    synthetic.generate(files, seed=0, world=synthetic.World(n_users=80, n_items=50, n_events=1600))
    (files / "spec.toml").write_text(preset_text("synthetic"), encoding="utf-8")
    made = ingest(load_spec(files / "spec.toml"), base=files, home=home, now=NOW)
    with Ledger.open(home) as ledger:
        facts = {"n_events": made.accepted}
        record_build(ledger, build_id=made.build_id, dataset=made.dataset, path=made.path, facts=facts, now=NOW)
        yield Store(ledger, home, made.build_id, tiny_language_model)


def test_a_search_from_a_build_to_the_best_settings(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = TextEncoder.encode
    monkeypatch.setattr(TextEncoder, "encode", lambda self, *a: encoded.append(1) or encode(self, *a))
    context = store.ask(new_search_id())
    result = store.run(context)
    assert len(encoded) == 1, "each text once a search, not once a trial"
    told = read_search(store.home, result["search_id"])
    assert told == latest_search(store.home, "synthetic")
    assert told["measured_on"] == "validation"
    assert "no test target was read" in told["note"]
    assert count_test_reads(store.ledger, "synthetic", protocol="last") == 0
    assert len(told["trials"]) == result["trials"] == TRIALS
    assert result["best"]["ndcg@10"] == max(row["ndcg@10"] for row in told["trials"])
    assert result["seconds"] > 0

    folder = search_folder(store.home, result["search_id"])
    assert set(verify_manifest(folder)["files"]) == {"best.toml", "search.json", "study.sqlite", "trials.parquet"}
    table = pd.read_parquet(folder / "trials.parquet")
    assert table["lr"].tolist() == [row["settings"]["lr"] for row in told["trials"]]
    assert table["ndcg@10"].tolist() == [row["ndcg@10"] for row in told["trials"]]

    best = load_config(folder / "best.toml")  # as `lodestar train --config` reads it
    settings = result["best"]["settings"]
    assert (best.lr, best.network.dropout, best.text.dim) == tuple(settings[key] for key in SPACE)
    assert (best.text.tune, best.network.dim, best.epochs) == ("lora", 16, 3), "what was not searched is the base's"


def test_trials_learn_from_what_the_rules_leave(store: Store) -> None:
    """A rule that takes everybody leaves a search nothing; one that takes some changes what its trials reach."""
    with pytest.raises(InvalidConfig, match="no event to learn from"):
        store.run(store.ask(new_search_id(), trials=1, **{"preprocess.min_user_events": 10_000}))
    told = [
        store.run(store.ask(new_search_id(), trials=1, **rules))["best"]["ndcg@10"]
        for rules in ({}, {"preprocess.min_item_events": 25})
    ]
    assert told[0] != told[1]


def test_a_paused_search_goes_on_and_more_trials_can_be_asked_of_it(store: Store) -> None:
    search_id = new_search_id()
    context = store.ask(search_id)
    seen: list[str] = []
    emit = context.emit

    def counted(type: str, **fields: Any) -> None:
        emit(type, **fields)
        seen.append(type)
        context._told_to_stop = seen.count("epoch") == 4  # in the second trial's first epoch

    context.emit = counted  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        store.run(context)
    folder = search_folder(store.home, search_id)
    assert not (folder / MANIFEST).exists()
    assert len(read_search(store.home, search_id)["trials"]) == 1
    context.emit, context._told_to_stop = emit, False  # type: ignore[method-assign]
    result = store.run(context)
    rows = read_search(store.home, search_id)["trials"]
    assert [row["trial"] for row in rows] == list(range(1, TRIALS + 1))
    assert result["trials"] == TRIALS
    verify_manifest(folder)

    more = store.run(store.ask(search_id, trials=TRIALS + 1))
    again = read_search(store.home, search_id)["trials"]
    assert again[:TRIALS] == rows
    assert more["trials"] == TRIALS + 1
    verify_manifest(folder)


def test_progress_and_every_epoch_are_told_on_the_way(store: Store) -> None:
    context = store.ask(new_search_id(), trials=2)
    events: list[dict[str, Any]] = []
    context.emit = lambda type, **fields: events.append({"type": type, **fields})  # type: ignore[method-assign]
    store.run(context)
    epochs = [e for e in events if e["type"] == "epoch"]
    assert [(e["trial"], e["epoch"]) for e in epochs] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    progress = [e["progress"] for e in events if "progress" in e]
    assert progress == sorted(progress)
    assert (progress[0], progress[-1]) == (0, 1)
    assert json.dumps(events)


def test_a_search_of_which_no_trial_trains_fails_with_the_cause(store: Store) -> None:
    with pytest.raises(JobFailed, match="none of the 1 trials could be trained: the loss became"):
        store.run(store.ask(new_search_id(), trials=1, space={"lr": "1e28..1e30"}))


def test_a_search_that_cannot_compile_says_so_before_its_trials(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InvalidConfig, match="compiler"):
        store.run(store.ask(new_search_id(), trials=1, compile=True))


def test_names_that_no_search_has(store: Store) -> None:
    for name in ("s-none", "../runs"):
        with pytest.raises(UnknownSearch, match="lodestar search"):
            read_search(store.home, name)
    assert latest_search(store.home, "other") is None
    with pytest.raises(InvalidConfig):
        store.run(JobContext(store.ledger, store.home, _malformed(store)))


def _malformed(store: Store) -> Any:
    asked = order("s-x", build_id=store.build_id, config={}, space={"nothing": "1..2"}, trials=1, minutes=None)
    submit(store.ledger, kind="search", payload=asked, dataset="synthetic", now=NOW)
    job = claim(store.ledger, supervisor=Process.current(), lease_s=600, now=NOW)
    assert job is not None
    return job
