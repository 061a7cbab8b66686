"""Jobs as their users see them: submit, look, move in the queue, cancel, pause, resume, read the log.

This face knows nothing of one machine's processes beyond asking whether a job was abandoned; how a job is run
is the business of `claims`, `supervisor` and `worker`.
"""

import re
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from core.ops.jobrow import FINAL, WAITING, JobRow, abandoned, interrupt, job_row, nobody, read_job
from core.ops.ledger import Ledger
from core.ops.schema import jobs as table
from core.ops.schema import runs as runs_table
from data.errors import Conflict, JobFailed, UnknownJob
from data.phrases import phrase, quoted

DEFAULT_RETRIES = 3
_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def submit(  # noqa: PLR0913 - the columns of a row, and what has to hold when it is written
    ledger: Ledger,
    *,
    kind: str,
    payload: Mapping[str, Any],
    dataset: str | None,
    now: datetime,
    run_id: str | None = None,
    retries: int = DEFAULT_RETRIES,
    gpu: bool = False,
    check: Callable[[Connection], object] | None = None,
) -> str:
    """Queues a job behind all others and returns its id. `payload` must be JSON.

    check: looks at the ledger in the same transaction, and may raise: then nothing is queued.

    A run that was opened before (`new_run` without a job) is handed over by its `run_id`. A worker that dies
    is replaced `retries` times. Of the jobs that use a `gpu` a host with one runs one at a time.
    """
    job_id = f"j-{uuid.uuid4().hex[:8]}"
    with ledger.write() as connection:
        if check is not None:
            check(connection)
        last = connection.scalar(sa.select(sa.func.max(table.c.rank)))
        row = {
            "job_id": job_id,
            "kind": kind,
            "payload": dict(payload),
            "dataset": dataset,
            "state": "queued",
            "rank": (last or 0.0) + 1.0,
            "run_id": run_id,
            "retries": retries,
            "submitted": now,
            "gpu": gpu,
        }
        connection.execute(sa.insert(table).values(**row))
        if run_id is not None:
            of_run = runs_table.c.run_id == run_id
            connection.execute(sa.update(runs_table).where(of_run).values(job_id=job_id))
    return job_id


def status(ledger: Ledger, job_id: str) -> JobRow:
    """One job. Raises UnknownJob."""
    with ledger.read() as connection:
        return read_job(connection, job_id)


def jobs(ledger: Ledger, limit: int = 50) -> list[JobRow]:
    """The newest jobs first."""
    query = sa.select(table).order_by(table.c.submitted.desc(), table.c.rank.desc()).limit(limit)
    with ledger.read() as connection:
        return [job_row(row) for row in connection.execute(query).mappings()]


def waiting(ledger: Ledger) -> bool:
    """Whether any job is there to be claimed."""
    query = sa.select(table.c.job_id).where(table.c.state.in_(WAITING)).limit(1)
    with ledger.read() as connection:
        return connection.execute(query).first() is not None


def queue(ledger: Ledger) -> list[JobRow]:
    """The jobs that wait, in the order in which they are claimed."""
    with ledger.read() as connection:
        return _queue(connection)


def move(ledger: Ledger, job_id: str, *, to: Literal["first", "last"] | None = None, before: str | None = None) -> None:
    """Gives a job that waits another place in the queue: first, last, or just before another one that waits.

    Exactly one of `to` and `before` is told. The places themselves stay, those who wait change them: a job that runs
    and is interrupted still comes back to its own. Raises UnknownJob, and Conflict for a job that does not wait (any
    more).
    """
    assert (to is None) != (before is None), "a job is moved to one place"
    with ledger.write() as connection:
        line = _queue(connection)
        places = {job.job_id: job.rank for job in line}
        for name in filter(None, (job_id, before)):
            if name not in places:
                state = read_job(connection, name).state
                raise Conflict(
                    phrase("job.not_waiting", name=quoted(name), state=phrase(f"state.{state}")),
                    remedy=phrase("do.only_waiting"),
                )
        order = [name for name in places if name != job_id]
        if before != job_id:
            order.insert(0 if to == "first" else len(order) if before is None else order.index(before), job_id)
            for name, rank in zip(order, places.values(), strict=True):
                if rank != places[name]:
                    connection.execute(sa.update(table).where(table.c.job_id == name).values(rank=rank))


def succeeded(job: JobRow) -> dict[str, Any]:
    """The result of a job that has ended. Raises JobFailed, with its recorded cause, for any other end."""
    if job.state == "succeeded":
        return job.result or {}
    error = job.error or {}
    raise JobFailed(
        error.get("message") or phrase("job.ended", name=job.job_id, state=phrase(f"state.{job.state}")),
        remedy=error.get("remedy") or phrase("do.resume", job=job.job_id),
    )


def log_path(home: Path, job_id: str) -> Path:
    """What the job's workers printed, attempt after attempt. Raises UnknownJob for what can't be an id."""
    return _job_file(home, job_id, ".log")


def events_path(home: Path, job_id: str, run_id: str | None) -> Path:
    """Where a job's events are appended: its run's folder, or beside its log while it has no run."""
    if run_id is None:
        return _job_file(home, job_id, ".events.jsonl")
    return home / "runs" / run_id / "events.jsonl"


def request_cancel(ledger: Ledger, job_id: str, *, now: datetime) -> JobRow:
    """Ends a job: at once when nobody works on it, else by a flag for its supervisor. Raises UnknownJob."""
    return _request(ledger, job_id, flag="cancel_requested", state="cancelled", now=now)


def request_pause(ledger: Ledger, job_id: str, *, now: datetime) -> JobRow:
    """Lets a job save and stop until `resume`; a finished job stays as it is. Raises UnknownJob."""
    return _request(ledger, job_id, flag="pause_requested", state="paused", now=now)


def resume(ledger: Ledger, job_id: str, *, now: datetime) -> JobRow:
    """Makes a stopped job claimable again, with its retries restored; the caller sees to a supervisor.

    Does nothing while its worker lives (but takes back a pause), nor after it succeeded. Raises UnknownJob.
    """
    with ledger.write() as connection:
        job = read_job(connection, job_id)
        if job.state == "running" and abandoned(job):
            interrupt(connection, job, now=now, died=False)
            job = read_job(connection, job_id)
        changes: dict[str, Any] = {"deaths": 0, "pause_requested": False}
        if job.state in ("paused", "failed", "cancelled"):
            changes |= {"state": "queued", "cancel_requested": False, "ended": None, "error": None}
        if job.state != "succeeded":
            connection.execute(sa.update(table).where(table.c.job_id == job_id).values(**changes))
            kept = sa.update(runs_table).where(runs_table.c.job_id == job_id).values(pruned=None)
            connection.execute(kept)  # the run is made again in the same folder, which is no leftover any more
        return read_job(connection, job_id)


def _queue(connection: Connection) -> list[JobRow]:
    query = sa.select(table).where(table.c.state.in_(WAITING)).order_by(table.c.rank, table.c.submitted)
    return [job_row(row) for row in connection.execute(query).mappings()]


def _request(ledger: Ledger, job_id: str, *, flag: str, state: str, now: datetime) -> JobRow:
    with ledger.write() as connection:
        job = read_job(connection, job_id)
        if job.state in FINAL or job.state == state:
            return job
        changes: dict[str, Any] = {flag: True}
        if job.state != "running" or abandoned(job):
            changes = {"state": state, **nobody(state, now)}
        connection.execute(sa.update(table).where(table.c.job_id == job_id).values(**changes))
        return read_job(connection, job_id)


def _job_file(home: Path, job_id: str, suffix: str) -> Path:
    if not _JOB_ID.fullmatch(job_id):
        raise UnknownJob(phrase("find.no_job", name=quoted(job_id)), remedy=phrase("do.list_jobs"))
    return home / "jobs" / f"{job_id}{suffix}"
