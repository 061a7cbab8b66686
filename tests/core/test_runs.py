"""A run is readable once its manifest and its row both say so, and every other state names the way on."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.ops.builds import record_build
from core.ops.claims import claim
from core.ops.jobs import status, submit
from core.ops.ledger import Ledger
from core.ops.processes import Process
from core.ops.registry import promote
from core.ops.runs import finish_run, finished_run, new_run, run_folder, run_of, runs
from data.errors import RunUnfinished, UnknownBuild, UnknownDataset, UnknownRun

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def ledger(ledger_address: str, tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(ledger_address, home=tmp_path) as ledger:
        record_build(ledger, build_id="b-1", dataset="films", path=tmp_path / "b-1.duckdb", facts={}, now=NOON)
        yield ledger


def begin(ledger: Ledger, home: Path, *, job_id: str | None = None, now: datetime = NOON) -> str:
    config = {"epochs": 3}
    return new_run(ledger, home, dataset="films", build_id="b-1", job_id=job_id, config=config, now=now)


def finish(ledger: Ledger, home: Path, run_id: str) -> str:
    (run_folder(home, run_id) / "manifest.json").write_text("{}")
    finish_run(ledger, run_id, summary={"ndcg@10": 0.11}, now=NOON)
    return run_id


def test_a_run_belongs_to_its_job_from_its_birth(ledger: Ledger, tmp_path: Path) -> None:
    job_id = submit(ledger, kind="train", payload={}, dataset="films", now=NOON)
    run_id = begin(ledger, tmp_path, job_id=job_id)
    assert status(ledger, job_id).run_id == run_id
    assert run_folder(tmp_path, run_id).is_dir()
    row = run_of(ledger, run_id)
    assert (row.job_id, row.state, row.config, row.summary) == (job_id, "queued", {"epochs": 3}, None)


def test_a_run_opened_first_is_handed_to_its_job(ledger: Ledger, tmp_path: Path) -> None:
    run_id = begin(ledger, tmp_path)
    job_id = submit(ledger, kind="train", payload={}, dataset="films", now=NOON, run_id=run_id)
    assert status(ledger, job_id).run_id == run_id
    assert run_of(ledger, run_id).job_id == job_id


def test_a_finished_run_can_be_read(ledger: Ledger, tmp_path: Path) -> None:
    run_id = finish(ledger, tmp_path, begin(ledger, tmp_path))
    row = finished_run(ledger, tmp_path, run_id)
    assert (row.state, row.summary, row.build_id) == ("finished", {"ndcg@10": 0.11}, "b-1")


def test_an_unfinished_run_names_the_job_to_resume(ledger: Ledger, tmp_path: Path) -> None:
    job_id = submit(ledger, kind="train", payload={}, dataset="films", now=NOON)
    run_id = begin(ledger, tmp_path, job_id=job_id)
    claim(ledger, supervisor=Process.current(), lease_s=30, now=NOON)
    with pytest.raises(RunUnfinished, match=f"it is running; resume it with `lodestar jobs resume {job_id}`"):
        finished_run(ledger, tmp_path, run_id)
    (run_folder(tmp_path, run_id) / "manifest.json").write_text("{}")
    with pytest.raises(RunUnfinished):
        finished_run(ledger, tmp_path, run_id)  # the row has not been closed: its job is still at it


def test_a_finished_run_that_lost_its_files_says_so(ledger: Ledger, tmp_path: Path) -> None:
    run_id = finish(ledger, tmp_path, begin(ledger, tmp_path))
    (run_folder(tmp_path, run_id) / "manifest.json").unlink()
    with pytest.raises(RunUnfinished, match="its files are gone; train again"):
        finished_run(ledger, tmp_path, run_id)


def test_champion_stands_for_a_run(ledger: Ledger, tmp_path: Path) -> None:
    run_id = finish(ledger, tmp_path, begin(ledger, tmp_path))
    with pytest.raises(UnknownRun, match="films has no champion"):
        finished_run(ledger, tmp_path, "champion")
    promote(ledger, dataset="films", run_id=run_id, actor="ann", reason="best", expected_version=0, now=NOON)
    assert finished_run(ledger, tmp_path, "champion").run_id == run_id
    assert finished_run(ledger, tmp_path, "champion", "films").run_id == run_id
    with pytest.raises(UnknownRun, match="retail has no champion"):
        finished_run(ledger, tmp_path, "champion", "retail")


def test_champion_of_an_empty_home(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger, pytest.raises(UnknownDataset, match="lodestar demo"):
        finished_run(ledger, tmp_path, "champion")


def test_runs_are_listed_newest_first(ledger: Ledger, tmp_path: Path) -> None:
    older = begin(ledger, tmp_path)
    newer = begin(ledger, tmp_path, now=NOON + timedelta(hours=1))
    assert [row.run_id for row in runs(ledger)] == [newer, older]
    assert runs(ledger, "retail") == []


def test_a_run_needs_a_build_that_exists(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(UnknownBuild, match="b-9"):
        new_run(ledger, tmp_path, dataset="films", build_id="b-9", job_id=None, config={}, now=NOON)
    assert runs(ledger) == [] and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["r-none", "../ledger.sqlite", "", ".tmp-x"])
def test_no_such_run(ledger: Ledger, tmp_path: Path, name: str) -> None:
    with pytest.raises(UnknownRun):
        finished_run(ledger, tmp_path, name)
    if name != "r-none":
        with pytest.raises(UnknownRun):
            run_folder(tmp_path, name)
