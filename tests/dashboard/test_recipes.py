"""A run's twin under another protocol: found, waited for, or trained, and never served by itself."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from core.ops import registry, runs
from core.ops.builds import build_of
from core.ops.jobrow import JobRow
from core.ops.jobs import jobs, status
from core.ops.ledger import Ledger
from dashboard import recipes
from dashboard.cli import app
from data.errors import InvalidConfig, JobFailed

NOW = datetime(2026, 4, 1, tzinfo=UTC)


@pytest.fixture
def store(new_store: Callable[..., Any]) -> Any:
    return new_store()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch, write_run: Callable[..., Any]) -> Iterator[list[str]]:
    """Stands in for the supervisor: the job that is waited for is done at once; the ids of those."""
    waited: list[str] = []

    def wait_for(ledger: Ledger, home: Path, job_id: str, **_: Any) -> JobRow:
        waited.append(job_id)
        job = status(ledger, job_id)
        build = build_of(ledger, job.payload["build_id"])
        config = job.payload["config"]
        run_id = runs.new_run(
            ledger, home, dataset=build.dataset, build_id=build.build_id, job_id=job_id, config=config, now=NOW
        )
        folder = runs.run_folder(home, run_id)
        write_run(folder, build=build.path, build_id=build.build_id, protocol=config["protocol"])
        runs.finish_run(ledger, run_id, summary={}, now=NOW)
        row = vars(status(ledger, job_id))
        return JobRow(**{**row, "state": "succeeded", "run_id": run_id, "result": {}})

    monkeypatch.setattr(recipes, "wait_for", wait_for)
    yield waited


def evaluate(store: Any, *options: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["evaluate", store.run_id, *options, "--json", "--home", str(store.home)])
    assert done.exit_code == 0, done.exception
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_its_own_protocol_is_what_is_stored(store: Any, waits: list[str]) -> None:
    for options in ((), ("--protocol", "last")):
        told = evaluate(store, *options)
        assert told["run_id"] == told["asked_run"] == store.run_id
        assert told["protocol"] == "last"
    assert waits == []


def test_another_protocol_trains_the_recipe_once_and_serves_nobody(store: Any, waits: list[str]) -> None:
    told = evaluate(store, "--protocol", "time")
    assert told["asked_run"] == store.run_id != told["run_id"]
    assert told["protocol"] == "time"
    assert evaluate(store, "--protocol", "time")["run_id"] == told["run_id"]
    assert evaluate(store, "--protocol", "last-five")["run_id"] not in (told["run_id"], store.run_id)
    assert len(waits) == 2
    with Ledger.open(store.home) as ledger:
        assert [job.payload["config"]["protocol"] for job in jobs(ledger)] == ["last-five", "time"]
        assert {job.payload["config"]["seed"] for job in jobs(ledger)} == {0}
        assert registry.champion(ledger, "tiny") == store.run_id


def test_a_job_that_makes_the_twin_is_waited_for(store: Any, waits: list[str]) -> None:
    with Ledger.open(store.home) as ledger:
        run = runs.run_of(ledger, store.run_id)
        build = build_of(ledger, run.build_id)
        config = recipes.recipe({**run.config, "protocol": "time"})
        assert config is not None
        job_id = recipes.submit_training(ledger, store.home, build, config)
        twin = recipes.twin(ledger, store.home, run, "time", supervisor_argv=[])
        assert waits == [job_id]
        assert twin.protocol == "time"
        assert len(jobs(ledger)) == 1


def test_a_training_that_fails_is_told(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait_for(ledger: Ledger, home: Path, job_id: str, **_: Any) -> JobRow:
        error = {"message": "these events cannot be cut in time", "remedy": "choose another"}
        return JobRow(**{**vars(status(ledger, job_id)), "state": "failed", "error": error})

    monkeypatch.setattr(recipes, "wait_for", wait_for)
    with Ledger.open(store.home) as ledger:
        run = runs.run_of(ledger, store.run_id)
        with pytest.raises(JobFailed, match="cannot be cut in time; choose another"):
            recipes.twin(ledger, store.home, run, "time", supervisor_argv=[])


def test_a_recipe_of_another_version_is_not_guessed_at(store: Any) -> None:
    with Ledger.open(store.home) as ledger:
        run = runs.run_of(ledger, store.run_id)
        old = runs.RunRow(**{**vars(run), "config": {"no_such_setting": 1}})
        with pytest.raises(InvalidConfig, match="another version"):
            recipes.twin(ledger, store.home, old, "time", supervisor_argv=[])


def test_a_twin_may_be_promoted_and_is_labelled(store: Any, waits: list[str]) -> None:
    run_id = evaluate(store, "--protocol", "time")["run_id"]
    overridden = ["--override", "--reason", "the champion was never measured in time"]
    done = CliRunner().invoke(app, ["promote", run_id, *overridden, "--home", str(store.home)])
    assert "its figures are those of the protocol time" in " ".join(done.stdout.split())


def test_a_protocol_that_is_none_is_usage(store: Any) -> None:
    done = CliRunner().invoke(app, ["evaluate", store.run_id, "--protocol", "random", "--home", str(store.home)])
    assert done.exit_code == 2
