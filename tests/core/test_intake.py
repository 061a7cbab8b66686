"""From an upload to a build by a job: exactly once however often it dies, by whom it is allowed to, and told."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from core.ops import feedback, intake, jobs, roles
from core.ops.builds import builds, current_build
from core.ops.claims import claim, worker_gone
from core.ops.events import read_events
from core.ops.feedback import Feedback
from core.ops.jobrow import JobRow
from core.ops.ledger import Ledger, utc_now
from core.ops.processes import Process
from core.ops.prune import prune
from core.ops.trail import trail
from data import uploads
from data.errors import Conflict, DamagedArtefact, InvalidSpec, NotAllowed, UnknownDataset, UnknownUpload
from data.ingest import IngestResult, noted
from data.publish import sha256_of
from data.spec import parse_spec
from data.uploads import Limits, Upload
from data.warehouse import Warehouse, verify_build

LIMITS = Limits(most_bytes=10_000_000, most_unpacked=10_000_000, kept_for=timedelta(days=7))
WORKER = Path(__file__).with_name("ingest_worker.py")
SPEC = '[dataset]\nname = "log"\n[events]\nfiles = "log.csv"\nuser = "user"\nitem = "item"\nts = "ts"\n'
STEPS = (
    "reading events",
    "reading items and users",
    "numbering users and items",
    "writing events",
    "counting for the pages",
    "looking at the whole",
    "publishing",
    "published",
    "done",
    "recorded",
    "dropped",
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path) as opened:
        yield opened


def log(n: int, *, bad: int = 0) -> bytes:
    lines = [f"u{i % 7},i{i % 11},{'never' if bad and i % bad == 0 else 1704103200 + i}" for i in range(n)]
    return ("user,item,ts\n" + "\n".join(lines) + "\n").encode()


def bring(ledger: Ledger, home: Path, data: bytes = log(60)) -> Upload:
    return intake.receive(ledger, home, [("log.csv", io.BytesIO(data))], limits=LIMITS, by="ann", now=utc_now())


def order(ledger: Ledger, home: Path, one: Upload, text: str = SPEC) -> str:
    return intake.submit_upload(ledger, home, one.upload_id, text, by="ann", now=utc_now())


def attempt(ledger: Ledger, home: Path, job_id: str, point: str = "") -> JobRow:
    """The job after one attempt of a worker, which dies at a point."""
    claimed = claim(ledger, supervisor=Process.current(), lease_s=600, now=utc_now())
    assert claimed is not None and claimed.job_id == job_id
    command = [sys.executable, str(WORKER), str(home), job_id, *([point] if point else [])]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if point:
        assert done.returncode == -signal.SIGKILL, done.stderr
    return worker_gone(ledger, claimed, now=utc_now(), died=bool(point))


@pytest.mark.parametrize("point", STEPS)
def test_a_job_that_is_killed_at_any_step_leaves_one_build(tmp_path: Path, ledger: Ledger, point: str) -> None:
    one = bring(ledger, tmp_path)
    digest = one.files["log.csv"][1]
    job_id = order(ledger, tmp_path, one)
    assert attempt(ledger, tmp_path, job_id, point).state == "interrupted"
    told = [Feedback("u1", "i1", "click", datetime(2025, 1, 1, tzinfo=UTC))]
    feedback.append(ledger, "log", told, now=utc_now())  # between two attempts: of the next build, or of this one
    job = attempt(ledger, tmp_path, job_id)
    assert (job.state, job.attempt) == ("succeeded", 2), job.error
    (row,) = builds(ledger)
    assert row.current and row.build_id == intake.build_id_of(job_id)
    verify_build(row.path)
    assert [path.name for path in (tmp_path / "warehouse").glob("*.duckdb")] == [row.path.name]
    assert job.result is not None and job.result["build_id"] == row.build_id
    (entry,) = [entry for entry in trail(ledger) if entry.act == "ingest"]
    assert entry.actor == "ann" and entry.detail["build_id"] == row.build_id
    assert entry.detail["files"] == [{"name": "log.csv", "sha256": digest}] and entry.detail["job"] == job_id
    assert uploads.uploads(tmp_path) == []
    with Warehouse.open(row.path) as warehouse:
        assert warehouse.facts.read == 60 + noted(row.path)["feedback"]
    assert row.feedback_to == noted(row.path)["feedback_to"] == row.facts["feedback"], (
        "no act is lost between two builds"
    )


def test_a_build_that_was_recorded_does_not_take_a_newer_ones_place(tmp_path: Path, ledger: Ledger) -> None:
    first = order(ledger, tmp_path, bring(ledger, tmp_path))
    attempt(ledger, tmp_path, first, "dropped")
    jobs.move(ledger, second := order(ledger, tmp_path, bring(ledger, tmp_path, log(90))), to="first")
    assert attempt(ledger, tmp_path, second).state == "succeeded"
    assert attempt(ledger, tmp_path, first).state == "succeeded"
    assert current_build(ledger).build_id == intake.build_id_of(second) and len(builds(ledger)) == 2


def test_what_a_killed_attempt_left_is_removed(tmp_path: Path, ledger: Ledger) -> None:
    job_id = order(ledger, tmp_path, bring(ledger, tmp_path))
    attempt(ledger, tmp_path, job_id, "published")
    path = tmp_path / "warehouse" / f"{intake.build_id_of(job_id)}.duckdb"
    path.write_bytes(path.read_bytes()[:-4096])  # and the disk was no good either
    assert attempt(ledger, tmp_path, job_id).state == "succeeded"
    verify_build(path)


def test_the_threshold_stops_it_with_the_refused_rows_kept(tmp_path: Path, ledger: Ledger) -> None:
    one = bring(ledger, tmp_path, log(1200, bad=2))
    job_id = order(ledger, tmp_path, one)
    job = attempt(ledger, tmp_path, job_id)
    assert job.state == "failed" and job.error is not None and job.error["type"] == "TooManyRefused"
    kept = pq.read_table(intake.refused_of(tmp_path, job_id))
    assert kept.num_rows == 600 and kept["reason"].unique().to_pylist() == ["unreadable-time"]
    assert builds(ledger) == [] and uploads.uploads(tmp_path) == [one]
    again = order(ledger, tmp_path, one, SPEC + "most_refused = 0.6\n")
    assert attempt(ledger, tmp_path, again).state == "succeeded"
    prune(ledger, tmp_path, now=utc_now() + timedelta(days=8))
    assert not intake.refused_of(tmp_path, job_id).exists()


def test_its_steps_are_told_and_reach_the_row(tmp_path: Path, ledger: Ledger) -> None:
    job_id = order(ledger, tmp_path, bring(ledger, tmp_path))
    attempt(ledger, tmp_path, job_id)
    events = [one for one in read_events(jobs.events_path(tmp_path, job_id, None)) if one["type"] == "stage"]
    assert [one["stage"] for one in events] == [
        step for step in STEPS if step not in ("published", "recorded", "dropped")
    ]
    assert [one["progress"] for one in events] == sorted(one["progress"] for one in events)


def test_a_cancelled_job_leaves_nothing_and_keeps_the_upload(tmp_path: Path, ledger: Ledger) -> None:
    one = bring(ledger, tmp_path)
    job_id = order(ledger, tmp_path, one)
    with pytest.raises(Conflict):
        intake.drop(ledger, tmp_path, one.upload_id, by="ann")
    assert jobs.request_cancel(ledger, job_id, now=utc_now()).state == "cancelled"
    assert uploads.uploads(tmp_path) == [one]
    intake.drop(ledger, tmp_path, one.upload_id, by="ann")
    with pytest.raises(UnknownUpload):
        order(ledger, tmp_path, one)


def test_a_job_that_is_cancelled_in_the_middle_leaves_nothing(tmp_path: Path, ledger: Ledger) -> None:
    one = bring(ledger, tmp_path)
    job_id = order(ledger, tmp_path, one)
    claimed = claim(ledger, supervisor=Process.current(), lease_s=600, now=utc_now())
    assert claimed is not None
    command = [sys.executable, str(WORKER), str(tmp_path), job_id, "counting for the pages", "stay"]
    worker = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    try:
        until = time.monotonic() + 60
        while jobs.status(ledger, job_id).stage != "writing events" and time.monotonic() < until:
            time.sleep(0.05)
        jobs.request_cancel(ledger, job_id, now=utc_now())
        worker.wait(30)
    finally:
        worker.kill()
        worker.wait()
    assert jobs.status(ledger, job_id).state == "cancelled"
    assert builds(ledger) == [] and uploads.uploads(tmp_path) == [one]
    assert list((tmp_path / "warehouse").iterdir()) == [] == list((tmp_path / "quarantine").glob("*.parquet"))


def test_one_upload_is_one_job_and_two_operators_make_two_builds(tmp_path: Path, ledger: Ledger) -> None:
    one, other = bring(ledger, tmp_path), bring(ledger, tmp_path, log(90))
    first = order(ledger, tmp_path, one)
    with pytest.raises(Conflict, match="already"):
        order(ledger, tmp_path, one)
    second = order(ledger, tmp_path, other)
    for job_id in (first, second):
        assert attempt(ledger, tmp_path, job_id).state == "succeeded"
    assert {row.build_id for row in builds(ledger)} == {intake.build_id_of(first), intake.build_id_of(second)}
    assert current_build(ledger).build_id == intake.build_id_of(second)


def test_a_file_that_was_changed_since_it_was_tried_is_refused(tmp_path: Path, ledger: Ledger) -> None:
    one = bring(ledger, tmp_path)
    job_id = order(ledger, tmp_path, one)
    (one.folder / "log.csv").write_bytes(log(61))
    job = attempt(ledger, tmp_path, job_id)
    assert job.state == "failed" and job.error is not None and job.error["type"] == DamagedArtefact.__name__
    assert builds(ledger) == []


def test_roles_are_asked_at_each_step_and_once_more_at_the_end(tmp_path: Path, ledger: Ledger) -> None:
    one = bring(ledger, tmp_path)
    job_id = order(ledger, tmp_path, one)
    roles.grant(ledger, "root", "admin", by="root", now=utc_now())
    roles.grant(ledger, "eve", "analyst", by="root", now=utc_now())
    file = [("log.csv", io.BytesIO(log(5)))]
    for act in (
        lambda: intake.receive(ledger, tmp_path, file, limits=LIMITS, by="eve", now=utc_now()),
        lambda: intake.submit_upload(ledger, tmp_path, one.upload_id, SPEC, by="eve", now=utc_now()),
        lambda: intake.submit_named(ledger, tmp_path, "x.toml", seen="", by="eve", now=utc_now()),
        lambda: intake.drop(ledger, tmp_path, one.upload_id, by="eve"),
    ):
        with pytest.raises(NotAllowed):
            act()
    job = attempt(ledger, tmp_path, job_id)  # ann was an operator when she ordered it, and is not any more
    assert job.state == "failed" and job.error is not None and job.error["type"] == "NotAllowed"
    assert builds(ledger) == [] and len(uploads.uploads(tmp_path)) == 1


def test_a_spec_of_the_folder_of_specs_is_run_as_it_was_seen(tmp_path: Path, ledger: Ledger) -> None:
    specs = tmp_path / "specs"
    assert intake.named_specs(specs) == []
    specs.mkdir()
    (specs / "log.csv").write_bytes(log(40))
    (specs / "shop.toml").write_text(SPEC)
    assert intake.named_specs(specs) == ["shop.toml"]
    seen = intake.digest_of(intake.named_spec(specs, "shop.toml"))
    for name in ("../shop.toml", "log.csv", "other.toml", ""):
        with pytest.raises(InvalidSpec):
            intake.named_spec(specs, name)
    job_id = intake.submit_named(ledger, specs, "shop.toml", seen=seen, by="ann", now=utc_now())
    assert attempt(ledger, tmp_path, job_id).state == "succeeded"
    (entry,) = [entry for entry in trail(ledger) if entry.act == "ingest"]
    assert entry.detail["files"] == [{"name": "log.csv", "sha256": sha256_of(specs / "log.csv")}]
    (specs / "shop.toml").write_text(SPEC.replace("log.csv", "/etc/passwd"))
    with pytest.raises(Conflict, match="changed"):
        intake.submit_named(ledger, specs, "shop.toml", seen=seen, by="ann", now=utc_now())


def test_old_uploads_go_and_those_that_a_job_waits_for_stay(tmp_path: Path, ledger: Ledger) -> None:
    used, unused = bring(ledger, tmp_path), bring(ledger, tmp_path)
    order(ledger, tmp_path, used)
    later = utc_now() + timedelta(days=8)
    found = prune(ledger, tmp_path, now=later, dry_run=True)
    assert [(one.kind, one.name) for one in found] == [("upload", unused.upload_id)]
    assert uploads.uploads(tmp_path) == [unused, used]
    prune(ledger, tmp_path, now=later)
    assert uploads.uploads(tmp_path) == [used]
    unused = bring(ledger, tmp_path)
    file = [("log.csv", io.BytesIO(log(5)))]
    fresh = intake.receive(ledger, tmp_path, file, limits=LIMITS, by="ann", now=later)
    assert {one.upload_id for one in uploads.uploads(tmp_path)} == {used.upload_id, fresh.upload_id}


DAYS = SPEC.replace("log.csv", "day*.csv")


def append(ledger: Ledger, home: Path, base: Path) -> dict[str, Any]:
    return intake.bring(ledger, home, intake.Order(parse_spec(DAYS), base, "ann", append=True))


def test_each_day_goes_on_from_the_current_build_with_what_came_back_since(tmp_path: Path, ledger: Ledger) -> None:
    base, home = tmp_path / "in", tmp_path / "home"
    base.mkdir()
    (base / "day0.csv").write_bytes(log(20))
    with pytest.raises(UnknownDataset):
        append(ledger, home, base)
    first = intake.bring(ledger, home, intake.Order(parse_spec(DAYS), base, "ann"))
    assert append(ledger, home, base)["unchanged"]
    feedback.append(ledger, "log", [Feedback("u1", "i1", "click", datetime(2025, 1, 1, tzinfo=UTC))], now=utc_now())
    second = append(ledger, home, base)
    assert (second["read"], second["feedback"]) == (21, 1)
    (base / "day1.csv").write_bytes(log(31, bad=10))
    third = append(ledger, home, base)
    assert (third["read"], third["quarantined"], third["feedback"]) == (52, 4, 0)
    assert append(ledger, home, base)["unchanged"]
    assert current_build(ledger, "log").build_id == third["build_id"]
    assert current_build(ledger, "log").feedback_to == 1
    onto = [entry.detail.get("onto") for entry in trail(ledger) if entry.act == "ingest"]
    assert sorted(onto, key=str) == sorted([None, first["build_id"], second["build_id"]], key=str)


def test_a_day_takes_no_other_builds_place(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    base, home = tmp_path / "in", tmp_path / "home"
    base.mkdir()
    (base / "day0.csv").write_bytes(log(20))
    whole = intake.Order(parse_spec(DAYS), base, "ann")
    intake.bring(ledger, home, whole)
    (base / "day1.csv").write_bytes(log(10))
    real = intake.ingest
    overtaken: list[str] = []

    def overtaking(*args: Any, **more: Any) -> IngestResult:
        if not overtaken:
            overtaken.append("")
            overtaken[0] = intake.bring(ledger, home, whole)["build_id"]
        return real(*args, **more)

    monkeypatch.setattr(intake, "ingest", overtaking)
    with pytest.raises(Conflict):
        append(ledger, home, base)
    assert current_build(ledger, "log").build_id == overtaken[0]
