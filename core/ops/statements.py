"""Free SQL as people ask it: who may, over whose snapshot, how many at once, and what stays known of it.

Each statement leaves one entry in the trail, whatever came of it. An entry can never be changed, and a statement may
name a person: so its text stands beside the trail, bound to its entry by an HMAC under a salt of its own, and when the
person is erased the text goes, and the salt with it. Snapshots are made once a build and role, and none outlives its
build. How many run at once is counted by locks on files of the store: these hold for every session of the console and
for the command line alike, and a process that is killed gives its place back.
"""

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from core.ops import roles, trail
from core.ops.builds import BuildRow, build_of
from core.ops.ledger import Ledger
from core.ops.schema import saved_cohorts as cohort_table
from core.ops.schema import saved_statements as saved_table
from core.ops.schema import statements as table
from data.errors import (
    DamagedArtefact,
    LodestarError,
    NotAllowed,
    QueryBusy,
    QueryRefused,
    QueryTimeout,
    StoreError,
    UnknownBuild,
)
from data.free_sql import sandbox
from data.free_sql.child import Limits
from data.free_sql.files import FOLDER, Privilege, snapshot_path
from data.free_sql.sandbox import LIMITS, MOST_BYTES, Answer
from data.free_sql.snapshot import make_snapshot
from data.phrases import file_called, phrase
from data.publish import full_disk_reported, make_folder
from data.warehouse import Warehouse

ACT = "query"  # in the trail
AT_ONCE = 2
WAIT_S = 10.0  # for a place among them
_LOOK_EVERY_S = 0.05
_OUTCOMES: dict[type[LodestarError], str] = {
    QueryRefused: "refused",
    QueryTimeout: "ended",
    QueryBusy: "busy",
    NotAllowed: "forbidden",
}


@dataclass(frozen=True)
class Statement:
    """One statement that was asked. `outcome` is done, refused (by the sandbox), failed, ended (by the clock), busy or
    forbidden (by the role); `rows` is None where there is no result, `cut` says whether there were more."""

    statement_id: str
    dataset: str
    build_id: str
    actor: str
    text: str
    explained: bool
    outcome: str
    rows: int | None
    cut: bool
    seconds: float
    at: datetime


@dataclass(frozen=True)
class Ran:
    """What a statement gave, under the id that it is known by."""

    statement_id: str
    answer: Answer


def run(
    ledger: Ledger,
    home: Path,
    build: BuildRow,
    text: str,
    *,
    actor: str,
    now: datetime,
    limits: Limits = LIMITS,
    wait_s: float = WAIT_S,
) -> Ran:
    """The result of one reading statement over what the actor may see of a build, noted in the trail.

    Raises NotAllowed, QueryRefused, QueryFailed, QueryTimeout, QueryBusy (no place within `wait_s`), UnknownBuild,
    DiskFull and StoreError, each of them noted as well.
    """
    with _noted(ledger, build, text, actor=actor, now=now, explained=False) as told:
        with _place(home, told, wait_s=wait_s):
            answer = sandbox.run(snapshot_of(ledger, home, build, actor=actor), text, limits=limits)
        told |= {"rows": answer.table.num_rows, "cut": answer.cut, "seconds": answer.seconds}
    return Ran(told["statement_id"], answer)


def explain(
    ledger: Ledger, home: Path, build: BuildRow, text: str, *, actor: str, now: datetime, wait_s: float = WAIT_S
) -> str:
    """The plan of a statement, which is not run; noted like one that is. Raises like `run`."""
    with _noted(ledger, build, text, actor=actor, now=now, explained=True) as told, _place(home, told, wait_s=wait_s):
        return sandbox.explain(snapshot_of(ledger, home, build, actor=actor), text)


def snapshot_of(ledger: Ledger, home: Path, build: BuildRow, *, actor: str) -> Path:
    """What the actor may see of a build, as a file, made where it is not there yet. Raises NotAllowed, UnknownBuild,
    DiskFull and StoreError."""
    roles.require(ledger, actor, roles.Act.EXPLORE)
    folder, privilege = home / FOLDER, Privilege(str(roles.role_of(ledger, actor)))
    path = snapshot_path(folder, build.build_id, privilege=privilege)
    if path.exists():
        return path
    with _locked(folder / ".making"), Warehouse.open(build.path) as warehouse:
        make_snapshot(warehouse, folder, privilege=privilege)
    try:
        build_of(ledger, build.build_id)
    except UnknownBuild:  # pruned meanwhile, by somebody who could not see this snapshot yet
        path.unlink(missing_ok=True)
        raise
    return path


def history(ledger: Ledger, *, dataset: str, actor: str, limit: int = 50) -> list[Statement]:
    """What an actor asked of a data set, newest first, without what was forgotten."""
    mine = sa.select(table).where(table.c.dataset == dataset, table.c.actor == actor, table.c.text.is_not(None))
    with ledger.read() as connection:
        rows = connection.execute(mine.order_by(table.c.at.desc(), table.c.statement_id).limit(limit)).mappings()
        return [Statement(**{name: row[name] for name in Statement.__dataclass_fields__}) for row in rows]


def texts(ledger: Ledger, entries: Sequence[trail.Entry]) -> dict[int, str]:
    """The statements that entries of the trail tell of, by the entry's number, without what was forgotten. Raises
    DamagedArtefact where a text is not the one that its entry was made for."""
    ids = {entry.detail["statement"]: entry for entry in entries if entry.act == ACT}
    found = sa.select(table.c.statement_id, table.c.text, table.c.salt).where(table.c.text.is_not(None))
    with ledger.read() as connection:
        rows = connection.execute(found.where(table.c.statement_id.in_(list(ids)))).all()
    for row in rows:
        if _bound(row.text, row.salt) != ids[row.statement_id].detail["text_hmac"]:
            raise DamagedArtefact(
                phrase("statement.changed", entry=ids[row.statement_id].entry), remedy=phrase("do.compare_backup")
            )
    return {ids[row.statement_id].entry: row.text for row in rows}


def forget(connection: Connection, *, dataset: str, names: Collection[str]) -> list[str]:
    """Takes out of what was asked, and of what was saved, every statement of a data set in which one of these names
    stands as a word of its own (a key, or an id that a `LIMIT` may happen to be: rather one too many), and every cohort
    that is called so. For an erasure, in its transaction. The saved ones' names are returned."""
    named = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names) or r"(?!)")
    asked = sa.select(table.c.statement_id, table.c.text).where(table.c.dataset == dataset, table.c.text.is_not(None))
    gone = [row.statement_id for row in connection.execute(asked).all() if named.search(row.text)]
    connection.execute(sa.update(table).where(table.c.statement_id.in_(gone)).values(text=None, salt=None))
    kept = sa.select(saved_table).where(saved_table.c.dataset == dataset).order_by(saved_table.c.name)
    naming = [row for row in connection.execute(kept).all() if named.search(row.text) or named.search(row.name)]
    connection.execute(sa.delete(saved_table).where(saved_table.c.saved_id.in_([row.saved_id for row in naming])))
    called = sa.select(cohort_table).where(cohort_table.c.dataset == dataset).order_by(cohort_table.c.name)
    cohorts = [row for row in connection.execute(called).all() if named.search(row.name)]
    connection.execute(sa.delete(cohort_table).where(cohort_table.c.saved_id.in_([row.saved_id for row in cohorts])))
    return [row.name for row in (*naming, *cohorts)]


@contextmanager
def _noted(
    ledger: Ledger, build: BuildRow, text: str, *, actor: str, now: datetime, explained: bool
) -> Iterator[dict[str, Any]]:
    """Notes what came of a statement, an error like a result; yields what is told, for the caller to add to."""
    began = time.monotonic()
    told: dict[str, Any] = {"statement_id": f"q-{secrets.token_hex(6)}", "outcome": "failed", "rows": None}
    told |= {"cut": False, "began": began, "seconds": None}
    try:
        yield told
        told["outcome"] = "done"
    except LodestarError as error:
        told["outcome"] = _OUTCOMES.get(type(error), "failed")
        raise
    finally:
        row = {name: told[name] for name in ("statement_id", "outcome", "rows", "cut")}
        taken = time.monotonic() - told["began"] if told["seconds"] is None else told["seconds"]
        row |= {"dataset": build.dataset, "build_id": build.build_id, "actor": actor, "explained": explained}
        _note(ledger, row | {"seconds": round(taken, 3), "at": now}, _storable(text))


def _note(ledger: Ledger, row: dict[str, Any], text: str) -> None:
    salt = secrets.token_hex(32)
    detail = {name: row[name] for name in ("build_id", "outcome", "rows", "cut", "seconds", "explained")}
    detail |= {"statement": row["statement_id"], "text_hmac": _bound(text, salt)}
    with ledger.write() as connection:
        connection.execute(sa.insert(table).values(**row, text=text, salt=salt))
        trail.note(connection, actor=row["actor"], act=ACT, subject=row["dataset"], now=row["at"], detail=detail)


def _bound(text: str, salt: str) -> str:
    return hmac.new(bytes.fromhex(salt), text.encode(), hashlib.sha256).hexdigest()


def _storable(text: str) -> str:
    """A statement as every database can keep it: half a character and NUL replaced, cut where none is run."""
    whole = text.replace("\x00", "\ufffd").encode("utf-8", "replace")
    return whole[:MOST_BYTES].decode("utf-8", "ignore")


@contextmanager
def _place(home: Path, told: dict[str, Any], *, wait_s: float) -> Iterator[None]:
    """One of the AT_ONCE places; a statement's seconds begin when it has one. Raises QueryBusy."""
    until = time.monotonic() + wait_s
    while (handle := _free(home / FOLDER)) is None:
        if time.monotonic() >= until:
            raise QueryBusy(phrase("statement.none_free", n=AT_ONCE, wait=wait_s), remedy=phrase("do.in_a_moment"))
        time.sleep(_LOOK_EVERY_S)
    told["began"] = time.monotonic()
    try:
        yield
    finally:
        os.close(handle)


def _free(folder: Path) -> int | None:
    """The lock of a place that nobody has, taken; None where there is none."""
    for number in range(AT_ONCE):
        handle = _opened(folder / f".place-{number}")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
        else:
            return handle
    return None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One at a time, whichever process."""
    handle = _opened(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _opened(path: Path) -> int:
    """A file to lock, made where there is none. Raises DiskFull and StoreError."""
    with full_disk_reported(path.parent):
        try:
            make_folder(path.parent)
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError as error:
            raise StoreError(
                phrase("store.cannot_write", folder=file_called(str(path.parent)), error=str(error.strerror)),
                remedy=phrase("do.other_folder"),
            ) from error
