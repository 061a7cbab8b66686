"""A job's row, and the steps from `running` to elsewhere that more than one module takes.

    queued -> running -> succeeded | failed | cancelled
                 |-> paused       (asked for; `resume` queues it again)
                 |-> interrupted  (its worker died or was told to stop; claimed again unasked)

What is asked of a job from outside lives in `jobs`, what its supervisor and worker do to it in `claims`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from core.ops.ledger import one_row
from core.ops.processes import Process, end_orphans
from core.ops.schema import jobs as table
from data.errors import UnknownJob
from data.phrases import phrase, quoted

FINAL = ("succeeded", "failed", "cancelled")
WAITING = ("queued", "interrupted")  # there to be claimed


@dataclass(frozen=True)
class JobRow:
    """One job as it stood when read. `deaths` counts the workers that died since it was last resumed; jobs are
    claimed by `rank`, and `gpu` ones use a GPU where there is one."""

    job_id: str
    kind: str
    dataset: str | None
    payload: dict[str, Any]
    state: str
    run_id: str | None
    progress: float
    stage: str | None
    eta_s: float | None
    attempt: int
    deaths: int
    retries: int
    owner: str | None
    host: str | None
    lease_until: datetime | None
    pid: int | None
    pid_created: float | None
    supervisor_pid: int | None
    supervisor_created: float | None
    cancel_requested: bool
    pause_requested: bool
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    submitted: datetime
    started: datetime | None
    ended: datetime | None
    rank: float
    gpu: bool

    @property
    def done(self) -> bool:
        """Whether it has ended for good: succeeded, failed or cancelled."""
        return self.state in FINAL

    @property
    def worker(self) -> Process | None:
        """The process that works on it, once that has reported."""
        if self.host is None or self.pid is None or self.pid_created is None:
            return None
        return Process(host=self.host, pid=self.pid, started=self.pid_created)

    @property
    def supervisor(self) -> Process | None:
        """The process that watches its worker."""
        if self.host is None or self.supervisor_pid is None or self.supervisor_created is None:
            return None
        return Process(host=self.host, pid=self.supervisor_pid, started=self.supervisor_created)

    def as_json(self) -> dict[str, Any]:
        """One entry of `lodestar jobs --json`."""
        names = "job_id kind dataset state progress stage eta_s run_id gpu pid supervisor_pid attempt"
        moments = {"submitted": self.submitted, "started": self.started, "ended": self.ended}
        return (
            {name: getattr(self, name) for name in names.split()}
            | {name: None if at is None else at.isoformat() for name, at in moments.items()}
            | {"result": self.result, "error": self.error}
        )


def abandoned(job: JobRow) -> bool:
    """Whether neither the worker nor the supervisor of a running job lives; never said of another host's."""
    if job.supervisor is None or not job.supervisor.local or job.supervisor.alive():
        return False
    return job.worker is None or not job.worker.alive()


def interrupt(
    connection: Connection, job: JobRow, *, now: datetime, died: bool, crash: dict[str, Any] | None = None
) -> None:
    """Ends a claim whose worker is gone.

    What was asked of the job decides first; then a `crash` (an error that would only happen again) fails it,
    and so does a death too many; else it is `interrupted`. `died` says whether this counts as a death.
    """
    if job.worker is not None:
        end_orphans(job.worker)
    deaths = job.deaths + died
    changes: dict[str, Any] = {"deaths": deaths, "state": "interrupted"}
    if job.cancel_requested:
        changes["state"] = "cancelled"
    elif job.pause_requested:
        changes["state"] = "paused"
    elif crash is not None:
        changes |= {"state": "failed", "error": crash}
    elif deaths > job.retries:
        changes["state"] = "failed"
        changes["error"] = {
            "type": "JobFailed",
            "message": f"the worker of job {job.job_id} died {deaths} times (out of memory, perhaps)",
            "remedy": f"read `lodestar jobs logs {job.job_id}`, then `lodestar jobs resume {job.job_id}`",
        }
    connection.execute(held(job).values(**nobody(changes["state"], now), **changes))


def nobody(state: str, now: datetime) -> dict[str, Any]:
    """The columns of a row that no process works on: nothing is asked of it, `ended` only if final."""
    gone = dict.fromkeys(("pid", "pid_created", "supervisor_pid", "supervisor_created", "lease_until", "eta_s"))
    asked = {"cancel_requested": False, "pause_requested": False}
    return {**gone, **asked, "ended": now if state in FINAL else None}


def held(job: JobRow) -> sa.Update:
    """An update that only reaches the row while this very claim is in force."""
    return sa.update(table).where(
        table.c.job_id == job.job_id,
        table.c.state == "running",
        table.c.owner == job.owner,
        table.c.attempt == job.attempt,
    )


def read_job(connection: Connection, job_id: str) -> JobRow:
    """One job, inside the caller's transaction. Raises UnknownJob."""
    row = one_row(connection, sa.select(table).where(table.c.job_id == job_id))
    if row is None:
        raise UnknownJob(phrase("find.no_job", name=quoted(job_id)), remedy=phrase("do.list_jobs"))
    return job_row(row)


def job_row(row: Mapping[Any, Any]) -> JobRow:
    """A row of the jobs table by column name, as a JobRow."""
    return JobRow(**{field.name: row[field.name] for field in fields(JobRow)})
