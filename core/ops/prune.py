"""What may be deleted, and its deletion: leftovers of crashes, runs and searches that came to nothing, builds nobody
reads, and what free SQL was shown of builds that are gone.

Nothing that the ledger points at goes: no current build, no champion, no finished run, no build that a run or a
waiting job reads. A row is marked before its files go, so a crash in between leaves files that no row claims, which
the next time are leftovers like others.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from core.ops import intake
from core.ops.builds import builds
from core.ops.jobrow import FINAL
from core.ops.ledger import Ledger
from core.ops.schema import builds as builds_table
from core.ops.schema import datasets as datasets_table
from core.ops.schema import jobs as jobs_table
from core.ops.schema import promotions as promotions_table
from core.ops.schema import runs as runs_table
from core.ops.searches import FOLDER, KIND
from data import uploads
from data.free_sql.files import FOLDER as SNAPSHOTS
from data.free_sql.files import remove_snapshots, stale_snapshots
from data.publish import TEMPORARY, remove_orphans

# The folders in which artefacts are published under temporary names first.
_PUBLISHED = ("warehouse", "quarantine", "runs", "exports", "uploads", SNAPSHOTS)
# A build's own file, its manifest and its quarantine.
_BUILD_PARTS = ("warehouse/{name}.duckdb", "warehouse/{name}.json", "quarantine/{name}.parquet")
# A file that no row claims may be on its way to one; after this long it is not.
_UNCLAIMED_FOR = timedelta(hours=1)


@dataclass(frozen=True)
class Pruned:
    """One thing that was deleted (or would be): `kind` is leftover, run, search, build, snapshot or upload; `why` is
    for people."""

    kind: str
    name: str
    bytes: int
    why: str


def remove_leftovers(home: Path) -> list[Path]:
    """Deletes what crashed writers left under temporary names; what is still being written stays."""
    return [path for folder in _PUBLISHED for path in remove_orphans(home / folder)]


def prune(
    ledger: Ledger,
    home: Path,
    *,
    now: datetime,
    keep_failed: timedelta = timedelta(0),
    keep_uploads: timedelta = timedelta(days=7),
    dry_run: bool = False,
) -> list[Pruned]:
    """Deletes what nothing needs and says what it was; with `dry_run` only says it.

    Runs and searches of failed and cancelled jobs stay for `keep_failed` after their end, for who wants to resume
    them; files that were uploaded stay for `keep_uploads`, and while a job waits for them.
    """
    pruned = [
        Pruned("leftover", f"{folder}/{path.name}", _size(path), "a writer crashed")
        for folder in _PUBLISHED
        for path in sorted((home / folder).glob(f"{TEMPORARY}*"))
        if not _in_use(path)
    ]
    with ledger.write() as connection:
        failed = _failed_runs(connection, before=now - keep_failed)
        unread = _unread_builds(connection, without_runs=set(failed))
        searches = _searches(connection, before=now - keep_failed)
        sought = [Pruned("search", p.name, _size(p), why) for p, why in _dead_searches(home, searches, now=now)]
        if not dry_run:
            _mark(connection, runs_table, runs_table.c.run_id.in_(failed), now)
            _mark(connection, builds_table, builds_table.c.build_id.in_(unread), now)
            for search in sought:  # small, and no row could be marked: while this is open nobody resumes one
                shutil.rmtree(home / FOLDER / search.name, ignore_errors=True)
    folders = {home / "runs" / run_id: f"its job is {state}" for run_id, state in failed.items()}
    folders |= {path: "no run has this name" for path in _unclaimed_runs(ledger, home, now=now)}
    files = dict.fromkeys((home / path for path in unread.values()), "nothing reads it")
    files |= {path: "no build has this name" for path in _unclaimed_builds(ledger, home, now=now, gone=files)}
    pruned += [Pruned("run", path.name, _size(path), why) for path, why in folders.items() if path.exists()]
    pruned += sought
    pruned += [
        Pruned("build", path.stem, sum(map(_size, parts)), why)
        for path, why in files.items()
        if (parts := _parts(home, path))
    ]
    kept = {build.build_id for build in builds(ledger)} - set(unread)
    snapshots = stale_snapshots(home / SNAPSHOTS, kept_builds=kept)
    pruned += [Pruned("snapshot", path.stem, _size(path), "its build is gone") for path in snapshots]
    pruned += _uploads(ledger, home, keep=keep_uploads, now=now)
    refused = [
        path
        for path in sorted(intake.refused_of(home, "").parent.glob("*.parquet"))
        if _old(path, now=now - keep_uploads)
    ]
    pruned += [
        Pruned("leftover", f"refused/{path.name}", _size(path), "its ingest published nothing") for path in refused
    ]
    if not dry_run:
        for path in refused:
            path.unlink(missing_ok=True)
        remove_leftovers(home)
        intake.remove_outdated(ledger, home, kept_for=keep_uploads, now=now)
        with ledger.write() as connection:  # while this is open nobody resumes the job of one
            claimed = _claimed_runs(connection)
            for path in folders:
                if path.name not in claimed:
                    shutil.rmtree(path, ignore_errors=True)
        for path in files:
            for part in _parts(home, path):
                part.unlink(missing_ok=True)
        remove_snapshots(home / SNAPSHOTS, kept_builds=kept)
    return pruned


def _uploads(ledger: Ledger, home: Path, *, keep: timedelta, now: datetime) -> Iterator[Pruned]:
    used = intake.in_use(ledger)
    for upload_id in uploads.outdated(home, kept_for=keep, now=now):
        if upload_id not in used:
            yield Pruned("upload", upload_id, _size(home / uploads.FOLDER / upload_id), "nobody made a build of it")


def _failed_runs(connection: Connection, *, before: datetime) -> dict[str, str]:
    """run_id -> state of its job: unfinished, its job failed or was cancelled by then."""
    joined = runs_table.join(jobs_table, runs_table.c.job_id == jobs_table.c.job_id)
    query = (
        sa.select(runs_table.c.run_id, jobs_table.c.state)
        .select_from(joined)
        .where(runs_table.c.finished.is_(None), runs_table.c.pruned.is_(None))
        .where(jobs_table.c.state.in_(("failed", "cancelled")), jobs_table.c.ended <= before)
    )
    return {row.run_id: row.state for row in connection.execute(query)}


def _searches(connection: Connection, *, before: datetime) -> dict[str, str | None]:
    """search_id -> the state of its job, where all its jobs failed or were cancelled by then; else None."""
    query = sa.select(jobs_table.c.payload, jobs_table.c.state, jobs_table.c.ended)
    found: dict[str, str | None] = {}
    for row in connection.execute(query.where(jobs_table.c.kind == KIND).order_by(jobs_table.c.submitted)):
        dead = row.state in ("failed", "cancelled") and row.ended is not None and row.ended <= before
        search_id = str(row.payload["search_id"])
        found[search_id] = row.state if dead and found.get(search_id, "") is not None else None
    return found


def _dead_searches(home: Path, searches: Mapping[str, str | None], *, now: datetime) -> Iterator[tuple[Path, str]]:
    for path in sorted(filter(Path.is_dir, (home / FOLDER).glob("*"))):
        if path.name not in searches:
            if _old(path, now=now):
                yield path, "no job has this search"
        elif (state := searches[path.name]) is not None:
            yield path, f"its job is {state}"


def _unread_builds(connection: Connection, *, without_runs: set[str]) -> dict[str, str]:
    """build_id -> path below the home, of builds that no dataset, champion, run or waiting job needs."""
    read = set(connection.scalars(sa.select(datasets_table.c.current_build)))
    champions = set(connection.scalars(sa.select(promotions_table.c.run_id)))
    runs = sa.select(runs_table.c.run_id, runs_table.c.build_id).where(runs_table.c.pruned.is_(None))
    read |= {row.build_id for row in connection.execute(runs) if row.run_id not in without_runs - champions}
    waiting = sa.select(jobs_table.c.payload).where(jobs_table.c.state.not_in(FINAL))
    for payload in connection.scalars(waiting):
        read |= set(_strings(payload))
    kept = sa.select(builds_table).where(builds_table.c.pruned.is_(None))
    return {
        row.build_id: row.path
        for row in connection.execute(kept)
        if row.build_id not in read and not Path(row.path).is_absolute()  # elsewhere: not Lodestar's to delete
    }


def _mark(connection: Connection, table: sa.Table, which: sa.ColumnElement[bool], now: datetime) -> None:
    connection.execute(sa.update(table).where(which).values(pruned=now))


def _unclaimed_runs(ledger: Ledger, home: Path, *, now: datetime) -> Iterator[Path]:
    with ledger.read() as connection:
        claimed = _claimed_runs(connection)
    for path in sorted((home / "runs").glob("*")):
        if path.name not in claimed and not path.name.startswith(TEMPORARY) and _old(path, now=now):
            yield path


def _claimed_runs(connection: Connection) -> set[str]:
    return set(connection.scalars(sa.select(runs_table.c.run_id).where(runs_table.c.pruned.is_(None))))


def _unclaimed_builds(ledger: Ledger, home: Path, *, now: datetime, gone: dict[Path, str]) -> Iterator[Path]:
    """Build files that no row claims, those included of which a crash left the quarantine or the manifest alone."""
    claimed = {build.path.resolve() for build in builds(ledger)}
    names = {path.stem for kind in _BUILD_PARTS for path in home.glob(kind.format(name="*"))}
    for name in sorted(name for name in names if not name.startswith(TEMPORARY)):
        path = home / _BUILD_PARTS[0].format(name=name)
        if path not in gone and path.resolve() not in claimed and all(_old(p, now=now) for p in _parts(home, path)):
            yield path


def _parts(home: Path, build: Path) -> list[Path]:
    parts = (build, *(home / kind.format(name=build.stem) for kind in _BUILD_PARTS[1:]))
    return [part for part in parts if part.exists()]


def _old(path: Path, *, now: datetime) -> bool:
    return path.stat().st_mtime < (now - _UNCLAIMED_FOR).timestamp()


def _in_use(path: Path) -> bool:
    """Whether a living writer holds the lock on it, or did until a moment ago."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.lstat().st_size for file in files if not file.is_dir())


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)
