"""Every domain's preset from its generated sample to a list: ingest, a short training, its figures, a slate."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import pipeline
from core.learn.config import load_config
from core.ops.builds import record_build
from core.ops.claims import claim
from core.ops.jobs import submit
from core.ops.ledger import Ledger
from core.ops.processes import Process
from core.ops.worker import JobContext
from core.serve import answers
from data import samples
from data.domains import domain_names
from data.ingest import ingest
from data.spec import parse_spec
from data.warehouse import BuildFacts

NOW = datetime(2026, 3, 1, tzinfo=UTC)
QUICK = {"epochs": 1, "network.dim": 16, "network.blocks": 1, "network.max_length": 30, "text.dim": 8}
SMALL = {"n_users": 50, "n_items": 40, "n_events": 700}

FEWER = {"ads": {"n_events": 70}}  # clicks: an ad is shown a dozen times for each


@dataclass(frozen=True)
class Trained:
    ledger: Ledger
    home: Path
    facts: BuildFacts
    evaluation: dict[str, Any]


@pytest.fixture
def trained(tmp_path: Path, tiny_language_model: Path) -> Iterator[Callable[..., Trained]]:
    """Trains on the sample of a domain, small or as it is fetched."""
    with Ledger.open(tmp_path) as ledger:

        def train(name: str, *, world: dict[str, int], **settings: Any) -> Trained:
            files = tmp_path / "files"
            files.mkdir()
            samples.generate(files, name, seed=0, **world)
            made = ingest(parse_spec(samples.sample_spec(name)), base=files, home=tmp_path, now=NOW)
            record_build(ledger, build_id=made.build_id, dataset=made.dataset, path=made.path, facts={}, now=NOW)
            overrides = {"text.model": str(tiny_language_model), "text.tune": "frozen", **settings}
            config = load_config(overrides=list(overrides.items()))
            payload = {"build_id": made.build_id, "config": config.model_dump(), "onward": None}
            submit(ledger, kind="train", payload=payload, dataset=made.dataset, now=NOW)
            job = claim(ledger, supervisor=Process.current(), lease_s=600, now=NOW)
            assert job is not None
            told = pipeline.train_run(JobContext(ledger, tmp_path, job), cache=tmp_path / "cache", offline=True)
            return Trained(ledger, tmp_path, made.facts, told)

        yield train


@pytest.mark.parametrize("name", domain_names())
def test_a_sample_is_learned_from_and_gives_a_list(name: str, trained: Callable[..., Trained]) -> None:
    made = trained(name, world={**SMALL, **FEWER.get(name, {})}, **QUICK)
    assert made.evaluation["dataset"] == f"sample-{name}"
    assert made.evaluation["metrics"]["ndcg@10"]["n"] > 25
    with answers.open_run(made.ledger, made.home, str(made.evaluation["run_id"])) as run:
        items = answers.recommend(run, user="u00001", k=5)["items"]
        ahead = answers.predict(run, user="u00001", k=5)
    assert [item["rank"] for item in items] == [1, 2, 3, 4, 5]
    assert all(item["title"] and 0 < item["probability"] <= 1 for item in items)
    assert sum(ahead["kinds"].values()) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", domain_names())
def test_a_model_beats_popularity_on_what_is_planted(name: str, trained: Callable[..., Trained]) -> None:
    gain = trained(name, world={}, epochs=6).evaluation["against"]["popularity"]["ndcg@10"]
    assert np.isfinite(gain["low"]) and gain["low"] > 0
