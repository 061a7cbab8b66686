"""Runs: a ledger row and a folder. A run counts as finished when both say so: manifest in place, row closed.

The folder's content belongs to training and evaluation; this module owns its name, its birth and its end.
"""

import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from core.ops.ledger import Ledger, one_row
from core.ops.registry import champion
from core.ops.schema import builds as builds_table
from core.ops.schema import datasets as datasets_table
from core.ops.schema import jobs as jobs_table
from core.ops.schema import runs as runs_table
from data.errors import RunUnfinished, UnknownBuild, UnknownDataset, UnknownRun
from data.phrases import phrase, quoted
from data.publish import MANIFEST, make_folder

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class RunRow:
    """One run. `state` is `finished`, or its job's (`lost` without a job); `summary` is what it reported."""

    run_id: str
    dataset: str
    build_id: str
    job_id: str | None
    config: dict[str, Any]
    summary: dict[str, Any] | None
    created: datetime
    finished: datetime | None
    state: str

    @property
    def protocol(self) -> str:
        """The split that the run learns from and is measured by."""
        return str(self.config.get("protocol", "last"))


def new_run(
    ledger: Ledger,
    home: Path,
    *,
    dataset: str,
    build_id: str,
    job_id: str | None,
    config: dict[str, Any],
    now: datetime,
) -> str:
    """Opens a run on a build and points its job (if it has one) at it. Returns the id; its folder exists.

    The row comes before the folder, so a folder without a row is always an orphan. Raises UnknownBuild.
    """
    run_id = f"r-{uuid.uuid4().hex[:8]}"
    with ledger.write() as connection:
        build = one_row(connection, sa.select(builds_table).where(builds_table.c.build_id == build_id))
        if build is None or build["pruned"] is not None:
            raise UnknownBuild(phrase("find.no_build", name=quoted(build_id)), remedy=phrase("do.list_builds"))
        row = {
            "run_id": run_id,
            "dataset": dataset,
            "build_id": build_id,
            "job_id": job_id,
            "config": config,
            "created": now,
        }
        connection.execute(sa.insert(runs_table).values(**row))
        if job_id is not None:
            of_job = jobs_table.c.job_id == job_id
            connection.execute(sa.update(jobs_table).where(of_job).values(run_id=run_id))
    make_folder(run_folder(home, run_id))
    return run_id


def run_folder(home: Path, run_id: str) -> Path:
    """Where a run's files lie. Raises UnknownRun for a name that no run could have (a path, say)."""
    if not _RUN_ID.fullmatch(run_id):
        raise UnknownRun(phrase("find.no_run", name=quoted(run_id)), remedy=phrase("do.list_jobs"))
    return home / "runs" / run_id


def finish_run(ledger: Ledger, run_id: str, *, summary: dict[str, Any], now: datetime) -> None:
    """Closes a run whose manifest was just written; again: replaces the summary. Raises UnknownRun."""
    closed = {"summary": summary, "finished": now, "pruned": None}
    with ledger.write() as connection:
        done = connection.execute(sa.update(runs_table).where(runs_table.c.run_id == run_id).values(**closed))
        if done.rowcount == 0:
            raise UnknownRun(phrase("find.no_run", name=quoted(run_id)), remedy=phrase("do.list_jobs"))


def run_of(ledger: Ledger, run_id: str) -> RunRow:
    """One run in any state. Raises UnknownRun."""
    with ledger.read() as connection:
        row = one_row(connection, _runs_query().where(runs_table.c.run_id == run_id))
    if row is None:
        raise UnknownRun(phrase("find.no_run", name=quoted(run_id)), remedy=phrase("do.list_or_train"))
    return _run(row)


def finished_run(ledger: Ledger, home: Path, run_id: str, dataset: str | None = None) -> RunRow:
    """The run to read from: an id, or `champion` (of `dataset`, by default the one ingested last).

    Raises UnknownRun (no such run, no champion), RunUnfinished (no manifest), UnknownDataset.
    """
    if run_id == "champion":
        dataset = dataset or _last_dataset(ledger)
        found = champion(ledger, dataset)
        if found is None:
            raise UnknownRun(phrase("find.no_champion", dataset=dataset), remedy=phrase("do.make_champion"))
        run_id = found
    row = run_of(ledger, run_id)
    if row.finished is None or not (run_folder(home, run_id) / MANIFEST).is_file():
        gone = row.finished is not None
        remedy = phrase("do.train_again") if gone or row.job_id is None else phrase("do.resume", job=row.job_id)
        state = phrase("run.files_gone") if gone else phrase("run.is", state=phrase(f"state.{row.state}"))
        raise RunUnfinished(phrase("run.no_manifest", name=quoted(run_id), state=state), remedy=remedy)
    return row


def runs(ledger: Ledger, dataset: str | None = None) -> list[RunRow]:
    """Every run that still has its folder, newest first."""
    query = _runs_query().where(runs_table.c.pruned.is_(None))
    if dataset is not None:
        query = query.where(runs_table.c.dataset == dataset)
    with ledger.read() as connection:
        rows = connection.execute(query.order_by(runs_table.c.created.desc())).mappings().all()
    return [_run(dict(row)) for row in rows]


def _runs_query() -> sa.Select[Any]:
    joined = runs_table.outerjoin(jobs_table, runs_table.c.job_id == jobs_table.c.job_id)
    return sa.select(runs_table, jobs_table.c.state).select_from(joined)


def _run(row: dict[str, Any]) -> RunRow:
    state = "finished" if row["finished"] is not None else row["state"] or "lost"
    return RunRow(**{key: row[key] for key in RunRow.__dataclass_fields__ if key != "state"}, state=state)


def _last_dataset(ledger: Ledger) -> str:
    query = sa.select(datasets_table.c.name).order_by(datasets_table.c.ingested.desc()).limit(1)
    with ledger.read() as connection:
        name = connection.scalar(query)
    if name is None:
        raise UnknownDataset(phrase("find.nothing_ingested"), remedy=phrase("do.first_dataset"))
    return str(name)
