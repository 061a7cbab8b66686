"""`lodestar jobs`: list them, or move, resume, cancel, pause one, or read its log."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from core.ops import jobs as queue
from core.ops import roles
from core.ops.events import read_events
from core.ops.ledger import utc_now
from core.ops.supervisor import ensure_supervisor
from dashboard import terminal
from dashboard.desk import AsJson, Home, actor, desk, supervisor_argv

jobs_app = typer.Typer(
    help="Jobs: list them, or move, resume, cancel, pause one, or read its log.", invoke_without_command=True
)


@jobs_app.callback()
def jobs(
    context: typer.Context,
    as_json: AsJson = False,
    home: Home = None,
    limit: Annotated[int, typer.Option("--limit")] = 50,
) -> None:
    """Jobs, newest first."""
    if context.invoked_subcommand is not None:
        return
    with desk(home) as d:
        places = {row.job_id: place for place, row in enumerate(queue.queue(d.ledger), 1)}
        rows = [row.as_json() | {"place": places.get(row.job_id)} for row in queue.jobs(d.ledger, limit)]
    lines = [
        (r["job_id"], r["kind"], _state(r), f"{r['progress']:.0%}", r["run_id"] or "", r["submitted"]) for r in rows
    ]
    terminal.show(
        {"jobs": rows},
        as_json=as_json,
        human=lambda console: console.print(
            terminal.table(("job", "kind", "state", "done", "run", "submitted (UTC)"), lines)
        ),
    )


@jobs_app.command("first")
def jobs_first(job: str, as_json: AsJson = False, home: Home = None) -> None:
    """Move a job that waits to the head of the queue."""
    _move(job, home, as_json=as_json, to="first")


@jobs_app.command("last")
def jobs_last(job: str, as_json: AsJson = False, home: Home = None) -> None:
    """Move a job that waits to the end of the queue."""
    _move(job, home, as_json=as_json, to="last")


@jobs_app.command("before")
def jobs_before(job: str, other: str, as_json: AsJson = False, home: Home = None) -> None:
    """Move a job that waits just before another one that does."""
    _move(job, home, as_json=as_json, before=other)


@jobs_app.command("resume")
def jobs_resume(job: str, as_json: AsJson = False, home: Home = None) -> None:
    """Take over a job whose worker is dead; does nothing when it lives."""
    _ask(queue.resume, job, home, as_json=as_json)


@jobs_app.command("cancel")
def jobs_cancel(job: str, as_json: AsJson = False, home: Home = None) -> None:
    """Ask a job to save and end."""
    _ask(queue.request_cancel, job, home, as_json=as_json)


@jobs_app.command("pause")
def jobs_pause(job: str, as_json: AsJson = False, home: Home = None) -> None:
    """Ask a job to save and wait; `resume` goes on with it."""
    _ask(queue.request_pause, job, home, as_json=as_json)


@jobs_app.command("logs")
def jobs_logs(job: str, as_json: AsJson = False, home: Home = None) -> None:
    """What a job's worker printed, and its events."""
    with desk(home) as d:
        row = queue.status(d.ledger, job)
        log = queue.log_path(d.home, job)
        text = log.read_text(errors="replace") if log.is_file() else ""
        events = read_events(queue.events_path(d.home, job, row.run_id))
    terminal.show(
        {"job_id": job, "log": text, "events": events},
        as_json=as_json,
        human=lambda console: console.print(text, markup=False),
    )


def _state(row: Mapping[str, Any]) -> str:
    return row["state"] if row["place"] is None else f"{row['state']}, {row['place']}. in line"


def _move(job: str, home: Path | None, *, as_json: bool, **where: Any) -> None:
    """Give a job another place in the queue, and print the queue."""
    with desk(home) as d:
        roles.require(d.ledger, actor(), roles.Act.TRAIN)
        queue.move(d.ledger, job, **where)
        rows = [row.as_json() | {"place": place} for place, row in enumerate(queue.queue(d.ledger), 1)]
    lines = [(r["place"], r["job_id"], r["kind"], r["state"], r["submitted"]) for r in rows]
    terminal.show(
        {"jobs": rows},
        as_json=as_json,
        human=lambda console: console.print(terminal.table(("", "job", "kind", "state", "submitted (UTC)"), lines)),
    )


def _ask(act: Callable[..., Any], job: str, home: Path | None, *, as_json: bool) -> None:
    """Ask something of a job, see to a supervisor, which acts on it while the job is unfinished, and print where the
    job stands."""
    with desk(home) as d:
        roles.require(d.ledger, actor(), roles.Act.TRAIN)
        act(d.ledger, job, now=utc_now())
        row = queue.status(d.ledger, job)
        if not row.done:
            ensure_supervisor(d.home, supervisor_argv(d.home))
            row = queue.status(d.ledger, job)
    terminal.show(
        {"jobs": [row.as_json()]}, as_json=as_json, human=lambda console: console.print(f"{job} is {row.state}")
    )
