"""Claims: how one supervisor and one worker at a time come to hold a job, and how a hold ends.

`claim` counts `attempt` up and names an owner; (owner, attempt) is the fencing token. Whoever holds an older
one can't change the row any more, whatever it still believes. On this host a worker is judged by its process,
never by its lease, so a jump of the clock starts nothing twice; the lease speaks for other hosts only.

A host's GPU is held by the job that runs there and uses it; there is no other record of that to get out of step.
"""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from core.ops.jobrow import WAITING, JobRow, held, interrupt, job_row, nobody, read_job
from core.ops.ledger import Ledger, one_row
from core.ops.processes import Process
from core.ops.schema import jobs as table


@dataclass(frozen=True)
class Orders:
    """What was asked of a running job."""

    cancel: bool
    pause: bool


def claim(
    ledger: Ledger, *, supervisor: Process, lease_s: float, now: datetime, has_gpu: bool = False
) -> JobRow | None:
    """Takes the next job, in the order of the queue, for this supervisor; None when nothing waits that it could run.

    Where its host `has_gpu`, one job at a time uses it: while one does, those that would too are passed over, and the
    others are not kept waiting behind them. On a host without one every job is a job for the processors. The row is
    `running` from here on, under a new attempt; its worker's pid is still unknown.
    """
    waiting: sa.ColumnElement[bool] = table.c.state.in_(WAITING)
    if has_gpu:
        other = table.alias()
        holds = (other.c.state == "running") & (other.c.host == supervisor.host) & other.c.gpu
        waiting &= ~(table.c.gpu & sa.exists().where(holds))
    query = sa.select(table).where(waiting).order_by(table.c.rank, table.c.submitted).limit(1)
    with ledger.read() as connection:
        if connection.execute(query).first() is None:
            return None
    with ledger.write() as connection:
        while (found := one_row(connection, query)) is not None:
            job = job_row(found)
            changes = {
                "state": "running",
                "attempt": job.attempt + 1,
                "owner": f"{supervisor.host}:{supervisor.pid}:{uuid.uuid4().hex[:8]}",
                "host": supervisor.host,
                "supervisor_pid": supervisor.pid,
                "supervisor_created": supervisor.started,
                "lease_until": now + timedelta(seconds=lease_s),
                "pid": None,
                "pid_created": None,
                "started": job.started or now,
                "ended": None,
            }
            unmoved = (table.c.job_id == job.job_id) & (table.c.attempt == job.attempt) & table.c.state.in_(WAITING)
            if connection.execute(sa.update(table).where(unmoved).values(**changes)).rowcount == 1:
                return read_job(connection, job.job_id)
    return None


def report_worker(ledger: Ledger, job: JobRow, *, worker: Process, parent_pid: int) -> JobRow | None:
    """Enters the worker's process into the row it was started for; None when that claim is over.

    A worker whose supervisor died before it came this far belongs to nobody: it is only let in when its pid
    was entered for it already, or when its parent is the supervisor that holds the job.
    """
    with ledger.write() as connection:
        job = read_job(connection, job.job_id)
        expected = job.worker == worker or (job.pid is None and job.supervisor_pid == parent_pid)
        if job.state != "running" or job.host != worker.host or not expected:
            return None
        connection.execute(held(job).values(pid=worker.pid, pid_created=worker.started))
        return read_job(connection, job.job_id)


def beat(ledger: Ledger, job: JobRow, *, lease_s: float, now: datetime) -> Orders | None:
    """Renews a claim's lease; what was asked of the job, or None when the claim is over (stop at once)."""
    with ledger.write() as connection:
        renewed = connection.execute(held(job).values(lease_until=now + timedelta(seconds=lease_s)))
        if renewed.rowcount == 0:
            return None
        row = read_job(connection, job.job_id)
    return Orders(cancel=row.cancel_requested, pause=row.pause_requested)


def note_progress(
    ledger: Ledger, job: JobRow, *, progress: float | None, stage: str | None, eta_s: float | None
) -> bool:
    """Shows how far a claim has come (progress in [0, 1]); False when the claim is over."""
    changes: dict[str, Any] = {"eta_s": eta_s}
    if progress is not None:
        changes["progress"] = min(max(progress, 0.0), 1.0)
    if stage is not None:
        changes["stage"] = stage
    with ledger.write() as connection:
        return connection.execute(held(job).values(**changes)).rowcount == 1


def finish(
    ledger: Ledger,
    job: JobRow,
    *,
    state: str,
    now: datetime,
    result: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
) -> bool:
    """Ends a claim: `succeeded`, `failed`, `cancelled`, `paused`, or `interrupted` (saved, to be continued).

    False, and nothing recorded, when the claim is over: someone else holds the job.
    """
    changes = {"state": state, "result": result, "error": error, **nobody(state, now)}
    if state == "succeeded":
        changes["progress"] = 1.0
    with ledger.write() as connection:
        return connection.execute(held(job).values(**changes)).rowcount == 1


def worker_gone(
    ledger: Ledger, job: JobRow, *, now: datetime, died: bool, crash: dict[str, Any] | None = None
) -> JobRow:
    """Settles a claim whose worker is gone (see `interrupt`); one that has ended already stays as it is."""
    with ledger.write() as connection:
        current = read_job(connection, job.job_id)
        if current.state == "running" and (current.owner, current.attempt) == (job.owner, job.attempt):
            interrupt(connection, current, now=now, died=died, crash=crash)
        return read_job(connection, job.job_id)


def take_over(ledger: Ledger, *, supervisor: Process, now: datetime, known: Collection[str] = ()) -> list[JobRow]:
    """Settles what dead supervisors left; returns the jobs whose workers live, which are now this one's.

    A job whose worker is gone becomes `interrupted`; so does one of another host whose lease ran out. known: the jobs
    that this supervisor watches; of one that is its own by the ledger and not known to it, the disk was full, say, when
    its worker was to be started.
    """
    others = sa.select(table).where(
        table.c.state == "running",
        sa.or_(
            table.c.supervisor_pid != supervisor.pid,
            table.c.supervisor_created != supervisor.started,
            table.c.job_id.not_in(known),
        ),
    )
    with ledger.read() as connection:
        if connection.execute(others).first() is None:
            return []
    adopted = []
    with ledger.write() as connection:
        for job in map(job_row, connection.execute(others).mappings().all()):
            watcher, worker = job.supervisor, job.worker
            if watcher is None:
                continue
            if not watcher.local:
                if job.lease_until is not None and job.lease_until < now:
                    interrupt(connection, job, now=now, died=True)
            elif watcher.alive() and watcher != supervisor:
                continue
            elif worker is not None and worker.alive():
                mine = {"supervisor_pid": supervisor.pid, "supervisor_created": supervisor.started}
                connection.execute(held(job).values(**mine))
                adopted.append(read_job(connection, job.job_id))
            else:
                interrupt(connection, job, now=now, died=True)
    return adopted
