"""What a worker says, hears and records; what its readers make of a line that was cut off."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlalchemy as sa

from core.ops import worker
from core.ops.builds import record_build
from core.ops.claims import claim, report_worker, take_over
from core.ops.events import append_event, read_events
from core.ops.jobrow import JobRow
from core.ops.jobs import events_path, request_cancel, status, submit
from core.ops.ledger import Ledger, utc_now
from core.ops.processes import Process, started_at
from core.ops.runs import new_run
from core.ops.schema import jobs as jobs_table
from core.ops.worker import FAILED, NOT_MINE, STOPPED, SUCCEEDED, JobContext, Stopped, work
from data.errors import DiskFull, StoreError, UnknownItem
from data.warehouse import build_connection, interrupt_building

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SMALL_WORKER = str(Path(__file__).with_name("small_worker.py"))


@pytest.fixture
def ledger(ledger_address: str, tmp_path: Path) -> Iterator[Ledger]:
    (tmp_path / "ledger-at").write_text(ledger_address)
    with Ledger.open(ledger_address, home=tmp_path) as ledger:
        yield ledger


def parent() -> Process:
    started = started_at(os.getppid())
    assert started is not None
    return Process(host=Process.current().host, pid=os.getppid(), started=started)


def claimed(ledger: Ledger, *, supervisor: Process | None = None) -> JobRow:
    """A job of kind `it`, claimed by this process's parent: so that `work` here is its worker."""
    submit(ledger, kind="it", payload={"n": 1}, dataset="films", now=NOON)
    job = claim(ledger, supervisor=supervisor or parent(), lease_s=30, now=NOON)
    assert job is not None
    return job


def run(ledger: Ledger, home: Path, job: JobRow, body: Callable[[JobContext], dict[str, Any]]) -> int:
    return work(ledger, home, job.job_id, {"it": body})


def test_a_body_sees_its_job_and_its_result_is_kept(ledger: Ledger, tmp_path: Path) -> None:
    job = claimed(ledger)

    def body(context: JobContext) -> dict[str, Any]:
        here = status(ledger, context.job_id)
        assert (here.pid, here.state) == (os.getpid(), "running")
        return {"n": context.payload["n"], "attempt": context.attempt, "dataset": context.dataset}

    assert run(ledger, tmp_path, job, body) == SUCCEEDED
    assert status(ledger, job.job_id).result == {"n": 1, "attempt": 1, "dataset": "films"}


def test_events_go_to_the_run_and_progress_to_the_row(ledger: Ledger, tmp_path: Path) -> None:
    record_build(ledger, build_id="b-1", dataset="films", path=tmp_path / "b", facts={}, now=NOON)
    job = claimed(ledger)

    def body(context: JobContext) -> dict[str, Any]:
        assert context.run_id is None
        run_id = new_run(ledger, tmp_path, dataset="films", build_id="b-1", job_id=context.job_id, config={}, now=NOON)
        context.emit("stage", stage="frozen", progress=0.25, eta_s=30.0)
        row = status(ledger, context.job_id)
        assert (row.stage, row.progress, row.eta_s, row.run_id) == ("frozen", 0.25, 30.0, run_id)
        for n in range(50):
            context.emit("epoch", stage="frozen", epoch=n, progress=0.25 + n / 100)
        context.emit("stage", stage="lora", progress=0.75, eta_s=None)
        assert status(ledger, context.job_id).stage == "lora", "a new stage is shown at once"
        return {"run_id": run_id}

    assert run(ledger, tmp_path, job, body) == SUCCEEDED
    run_id = status(ledger, job.job_id).run_id
    events = read_events(events_path(tmp_path, job.job_id, run_id))
    assert [event["epoch"] for event in events if event["type"] == "epoch"] == list(range(50))
    assert {"t", "type", "attempt"} <= set(events[0])
    assert datetime.fromisoformat(events[0]["t"]).utcoffset() == timedelta(0)


def test_sigterm_is_heard_and_the_job_goes_back_to_the_queue(ledger: Ledger, tmp_path: Path) -> None:
    job = claimed(ledger)

    def body(context: JobContext) -> dict[str, Any]:
        context.raise_if_stopped()
        os.kill(os.getpid(), signal.SIGTERM)
        assert context.should_stop()
        raise Stopped

    assert run(ledger, tmp_path, job, body) == STOPPED
    assert (status(ledger, job.job_id).state, status(ledger, job.job_id).deaths) == ("interrupted", 0)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_moment_without_the_ledger_fails_no_job(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, gone, ended = claimed(ledger), iter([True, True, False]), worker.finish

    def sometimes(*told: Any, **how: Any) -> bool:
        if next(gone, False):
            raise StoreError("the database starts anew", remedy="wait")
        return ended(*told, **how)

    def away(*_told: Any, **_how: Any) -> bool:
        raise StoreError("the database starts anew", remedy="wait")

    def body(context: JobContext) -> dict[str, Any]:
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(worker, "note_progress", away)
            context.emit("epoch", stage="frozen", progress=0.5)
        assert status(ledger, context.job_id).progress == 0.0
        context.emit("epoch", progress=0.6)
        assert status(ledger, context.job_id).progress == 0.6, "the next event tells it"
        return {}

    monkeypatch.setattr(worker, "finish", sometimes)
    monkeypatch.setattr(worker, "_BEAT_S", 0.01)
    assert run(ledger, tmp_path, job, body) == SUCCEEDED
    assert status(ledger, job.job_id).state == "succeeded"


def test_a_cancel_in_the_middle_of_a_query_is_one(ledger: Ledger, tmp_path: Path) -> None:
    job = claimed(ledger)

    def body(context: JobContext) -> dict[str, Any]:
        with build_connection(None) as connection, context.interruptible(interrupt_building):
            request_cancel(ledger, context.job_id, now=NOON)
            connection.execute("SELECT sum(sin(i)) FROM range(1000000000000) AS r(i)").fetchall()
        raise AssertionError("it would take hours")

    assert run(ledger, tmp_path, job, body) == STOPPED
    assert status(ledger, job.job_id).state == "cancelled"


def test_a_fault_in_what_may_be_interrupted_is_one(ledger: Ledger, tmp_path: Path) -> None:
    job = claimed(ledger)

    def body(context: JobContext) -> dict[str, Any]:
        with context.interruptible(), duckdb.connect() as connection:
            connection.execute("SELECT nothing")
        raise AssertionError("there is no such column")

    with pytest.raises(duckdb.BinderException):
        run(ledger, tmp_path, job, body)
    assert status(ledger, job.job_id).state == "failed"


def test_a_cancel_is_heard_without_any_signal(ledger: Ledger, tmp_path: Path) -> None:
    job = claimed(ledger)

    def body(context: JobContext) -> dict[str, Any]:
        request_cancel(ledger, context.job_id, now=NOON)
        deadline = time.monotonic() + 10
        while not context.should_stop():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        raise Stopped

    assert run(ledger, tmp_path, job, body) == STOPPED
    assert status(ledger, job.job_id).state == "cancelled"


def test_errors_are_recorded_with_their_remedy_and_raised(ledger: Ledger, tmp_path: Path) -> None:
    def stated(_context: JobContext) -> dict[str, Any]:
        raise UnknownItem("no item 'x'", remedy="name another")

    def full(_context: JobContext) -> dict[str, Any]:
        raise OSError(28, "No space left on device")

    def crash(_context: JobContext) -> dict[str, Any]:
        return {"never": 1 // 0}

    for body, raised, recorded in (
        (stated, UnknownItem, "UnknownItem"),
        (full, DiskFull, "DiskFull"),
        (crash, ZeroDivisionError, "JobFailed"),
    ):
        job = claimed(ledger)
        with pytest.raises(raised):
            run(ledger, tmp_path, job, body)
        row = status(ledger, job.job_id)
        assert row.state == "failed" and row.error is not None
        assert row.error["type"] == recorded and row.error["remedy"]
    assert FAILED == 1, "what an uncaught error exits with"


def test_who_was_not_sent_by_the_supervisor_does_not_start(ledger: Ledger, tmp_path: Path) -> None:
    job = claimed(ledger, supervisor=Process.current())  # its workers would be this process's children

    def body(_context: JobContext) -> dict[str, Any]:
        pytest.fail("it must not run")

    assert run(ledger, tmp_path, job, body) == NOT_MINE
    assert status(ledger, job.job_id).state == "running"


def hand_to_another_host(ledger: Ledger, job_id: str) -> JobRow:
    """The lease of a job lapses, as seen from another host, whose supervisor claims it."""
    elsewhere = {"host": "away", "supervisor_pid": 7, "supervisor_created": 7.0, "lease_until": NOON}
    with ledger.write() as connection:
        connection.execute(sa.update(jobs_table).where(jobs_table.c.job_id == job_id).values(**elsewhere))
    take_over(ledger, supervisor=Process.current(), now=utc_now())
    again = claim(ledger, supervisor=Process.current(), lease_s=30, now=utc_now())
    assert again is not None and again.job_id == job_id and again.attempt == 2
    return again


def test_a_fenced_out_worker_can_not_record_its_result(ledger: Ledger, tmp_path: Path) -> None:
    job = claimed(ledger)

    def body(context: JobContext) -> dict[str, Any]:
        hand_to_another_host(ledger, context.job_id)
        return {"by": "the late one"}

    assert run(ledger, tmp_path, job, body) == NOT_MINE
    row = status(ledger, job.job_id)
    assert (row.state, row.attempt, row.result) == ("running", 2, None)


def test_a_fenced_out_worker_can_not_go_on_writing_events(ledger: Ledger, tmp_path: Path) -> None:
    job = claimed(ledger)

    def body(context: JobContext) -> dict[str, Any]:
        hand_to_another_host(ledger, context.job_id)
        context.emit("stage", stage="frozen", progress=0.1)
        context.emit("stage", stage="lora", progress=0.2)
        pytest.fail("the second event must raise")

    assert run(ledger, tmp_path, job, body) == NOT_MINE
    assert len(read_events(events_path(tmp_path, job.job_id, None))) == 1


def test_a_fenced_out_worker_process_ends_by_itself(ledger: Ledger, tmp_path: Path) -> None:
    job_id = submit(ledger, kind="deaf", payload={}, dataset=None, now=NOON)
    job = claim(ledger, supervisor=Process.current(), lease_s=30, now=utc_now())
    assert job is not None
    argv = [sys.executable, SMALL_WORKER, "work", str(tmp_path), job_id]
    with subprocess.Popen(argv, start_new_session=True) as worker:
        child_file = tmp_path / f"{job_id}.child"
        deadline = time.monotonic() + 20
        while not (child_file.exists() and child_file.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        hand_to_another_host(ledger, job_id)
        assert worker.wait(timeout=10) == -signal.SIGKILL
        while started_at(int(child_file.read_text())) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_worker_entered_by_its_supervisor_may_start_under_the_next_one(ledger: Ledger, tmp_path: Path) -> None:
    job = claimed(ledger)
    report_worker(ledger, job, worker=Process.current(), parent_pid=parent().pid)
    with ledger.write() as connection:  # meanwhile another supervisor took the job over
        connection.execute(sa.update(jobs_table).values(supervisor_pid=1, supervisor_created=1.0))
    assert run(ledger, tmp_path, job, lambda _context: {"n": 1}) == SUCCEEDED


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "r-1" / "events.jsonl"
    assert read_events(path) == []
    append_event(path, {"type": "epoch", "epoch": 1})
    with path.open("a") as file:
        file.write('{"type": "epoch", "epo')  # the writer died here
    assert read_events(path) == [{"type": "epoch", "epoch": 1}]
    append_event(path, {"type": "epoch", "epoch": 2})
    assert [event["epoch"] for event in read_events(path)] == [1, 2]
    assert [event["epoch"] for event in read_events(path, after=1)] == [2]
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()[::2]] == [1, 2]
