"""Pruning takes what nothing needs, and nothing else."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.ops.builds import builds, record_build
from core.ops.jobs import request_cancel, resume, submit
from core.ops.ledger import Ledger
from core.ops.prune import prune
from core.ops.registry import promote
from core.ops.runs import finish_run, new_run, run_folder, run_of, runs
from data.errors import UnknownBuild
from data.publish import temporary_folder

NOW = datetime.now(UTC)
YESTERDAY = NOW - timedelta(days=1)


@pytest.fixture
def ledger(ledger_address: str, tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(ledger_address, home=tmp_path) as ledger:
        yield ledger


def put(path: Path, *, size: int = 10, at: datetime = YESTERDAY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (at.timestamp(), at.timestamp()))
    return path


def add_build(ledger: Ledger, home: Path, build_id: str) -> None:
    path = put(home / "warehouse" / f"{build_id}.duckdb", size=100)
    put(home / "warehouse" / f"{build_id}.json", size=2)
    put(home / "quarantine" / f"{build_id}.parquet", size=5)
    record_build(ledger, build_id=build_id, dataset="films", path=path, facts={}, now=YESTERDAY)


def add_run(ledger: Ledger, home: Path, build_id: str, *, state: str) -> str:
    """A run whose job is `queued` or `cancelled`, or a `finished` one."""
    job_id = submit(ledger, kind="train", payload={}, dataset="films", now=YESTERDAY)
    run_id = new_run(ledger, home, dataset="films", build_id=build_id, job_id=job_id, config={}, now=YESTERDAY)
    put(run_folder(home, run_id) / "checkpoints" / "last" / "model.safetensors", size=1000)
    if state == "finished":
        finish_run(ledger, run_id, summary={}, now=YESTERDAY)
    if state != "queued":
        request_cancel(ledger, job_id, now=YESTERDAY)  # a finished run stays whatever became of its job
    return run_id


def names(ledger: Ledger, home: Path, *, dry_run: bool = False) -> dict[str, int]:
    return {thing.name: thing.bytes for thing in prune(ledger, home, now=NOW, dry_run=dry_run)}


def test_builds_that_nothing_reads_go_and_all_others_stay(ledger: Ledger, tmp_path: Path) -> None:
    for build_id in ("b-unread", "b-champion", "b-finished", "b-waiting", "b-asked-for", "b-current"):
        add_build(ledger, tmp_path, build_id)
    champion = add_run(ledger, tmp_path, "b-champion", state="finished")
    promote(ledger, dataset="films", run_id=champion, actor="ann", reason="", expected_version=0, now=NOW)
    add_run(ledger, tmp_path, "b-finished", state="finished")
    add_run(ledger, tmp_path, "b-waiting", state="queued")
    asked = {"source": {"build_id": "b-asked-for"}}
    submit(ledger, kind="train", payload=asked, dataset="films", now=NOW)
    assert names(ledger, tmp_path, dry_run=True) == {"b-unread": 107}
    assert (tmp_path / "warehouse" / "b-unread.duckdb").exists(), "nothing was deleted yet"
    assert names(ledger, tmp_path) == {"b-unread": 107}
    assert not list(tmp_path.glob("*/b-unread.*"))
    assert len(list((tmp_path / "warehouse").glob("*.duckdb"))) == len(builds(ledger)) == 5
    with pytest.raises(UnknownBuild):
        new_run(ledger, tmp_path, dataset="films", build_id="b-unread", job_id=None, config={}, now=NOW)
    assert names(ledger, tmp_path) == {}, "once is enough"


def test_a_run_whose_job_was_resumed_after_it_was_pruned_stays(ledger: Ledger, tmp_path: Path) -> None:
    add_build(ledger, tmp_path, "b-old")
    run_id = add_run(ledger, tmp_path, "b-old", state="cancelled")
    assert run_id in names(ledger, tmp_path) and not run_folder(tmp_path, run_id).exists()
    resume(ledger, run_of(ledger, run_id).job_id or "", now=NOW)
    put(run_folder(tmp_path, run_id) / "events.jsonl")
    os.utime(run_folder(tmp_path, run_id), (YESTERDAY.timestamp(), YESTERDAY.timestamp()))
    assert names(ledger, tmp_path) == {}, "a training writes there"
    assert run_folder(tmp_path, run_id).exists()


def test_runs_of_cancelled_jobs_go_with_the_build_that_only_they_read(ledger: Ledger, tmp_path: Path) -> None:
    add_build(ledger, tmp_path, "b-old")
    add_build(ledger, tmp_path, "b-new")
    dead = add_run(ledger, tmp_path, "b-old", state="cancelled")
    alive = add_run(ledger, tmp_path, "b-new", state="queued")
    assert prune(ledger, tmp_path, now=NOW, keep_failed=timedelta(days=7)) == []
    assert names(ledger, tmp_path) == {dead: 1000, "b-old": 107}
    assert [row.run_id for row in runs(ledger)] == [alive]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [alive]


def test_searches_of_dead_jobs_go_and_those_that_may_go_on_stay(ledger: Ledger, tmp_path: Path) -> None:
    def search(name: str, *, cancelled: bool) -> None:
        job_id = submit(ledger, kind="search", payload={"search_id": name}, dataset="films", now=YESTERDAY)
        put(tmp_path / "searches" / name / "study.sqlite", size=30)
        if cancelled:
            request_cancel(ledger, job_id, now=YESTERDAY)

    search("s-dead", cancelled=True)
    search("s-waiting", cancelled=False)
    search("s-again", cancelled=True)
    search("s-again", cancelled=False)  # asked for more trials
    search("s-first", cancelled=False)
    search("s-first", cancelled=True)
    put(tmp_path / "searches" / "s-lost" / "study.sqlite", size=4)
    os.utime(tmp_path / "searches" / "s-lost", (YESTERDAY.timestamp(),) * 2)
    assert prune(ledger, tmp_path, now=NOW, keep_failed=timedelta(days=7), dry_run=True)[0].name == "s-lost"
    assert names(ledger, tmp_path, dry_run=True) == {"s-dead": 30, "s-lost": 4}
    assert (tmp_path / "searches" / "s-dead").exists()
    assert names(ledger, tmp_path) == {"s-dead": 30, "s-lost": 4}
    left = {path.name for path in (tmp_path / "searches").iterdir()}
    assert left == {"s-waiting", "s-again", "s-first"}


def test_leftovers_of_crashes_go_but_not_what_is_being_written(ledger: Ledger, tmp_path: Path) -> None:
    put(tmp_path / "runs" / ".tmp-scores-1" / "scores.parquet", size=7)
    put(tmp_path / "warehouse" / "b-lost.duckdb", size=20)
    put(tmp_path / "warehouse" / "b-half.json", size=2)  # the crash came before its build
    put(tmp_path / "quarantine" / "b-half.parquet", size=5)
    put(tmp_path / "runs" / "r-lost" / "config.toml", size=3)
    os.utime(tmp_path / "runs" / "r-lost", (YESTERDAY.timestamp(),) * 2)
    put(tmp_path / "warehouse" / "b-just-published.duckdb", at=NOW)
    with temporary_folder(tmp_path / "warehouse", "b-under-way") as under_way:
        put(under_way / "b.duckdb")
        assert names(ledger, tmp_path) == {"runs/.tmp-scores-1": 7, "b-half": 7, "b-lost": 20, "r-lost": 3}
        assert (under_way / "b.duckdb").exists()
    left = {path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".sqlite"}
    assert left - {"ledger.sqlite-wal", "ledger.sqlite-shm"} == {"b-just-published.duckdb"}


def test_no_snapshot_of_a_build_outlives_it(ledger: Ledger, tmp_path: Path) -> None:
    add_build(ledger, tmp_path, "b-old")
    add_build(ledger, tmp_path, "b-older")
    add_run(ledger, tmp_path, "b-older", state="finished")
    add_build(ledger, tmp_path, "b-new")
    for build_id in ("b-old", "b-older", "b-new", "b-erased"):
        put(tmp_path / "snapshots" / f"{build_id}-analyst-0123abcd.duckdb", size=7)
    put(tmp_path / "snapshots" / ".tmp-crashed" / "work.duckdb", size=3)
    gone = {"snapshots/.tmp-crashed": 3, "b-old": 107, "b-old-analyst-0123abcd": 7, "b-erased-analyst-0123abcd": 7}
    assert names(ledger, tmp_path, dry_run=True) == gone
    assert len(list((tmp_path / "snapshots").glob("b-*"))) == 4, "nothing was deleted yet"
    assert names(ledger, tmp_path) == gone
    left = sorted(path.name for path in (tmp_path / "snapshots").iterdir())
    assert left == ["b-new-analyst-0123abcd.duckdb", "b-older-analyst-0123abcd.duckdb"]
    assert names(ledger, tmp_path) == {}


def test_an_empty_home_has_nothing_to_prune(ledger: Ledger, tmp_path: Path) -> None:
    assert prune(ledger, tmp_path, now=NOW) == []
