"""Builds: the immutable warehouse files of each data set, and which of them is current."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from core.ops.ledger import Ledger, one_row
from core.ops.schema import builds as builds_table
from core.ops.schema import datasets as datasets_table
from data.errors import Conflict, UnknownBuild, UnknownDataset
from data.phrases import listed, phrase, quoted


@dataclass(frozen=True)
class BuildRow:
    """One immutable warehouse file. `facts` is what the ingest said of it; `current` as of this reading; `feedback_to`
    the number of the last feedback that it holds."""

    build_id: str
    dataset: str
    path: Path
    facts: dict[str, Any]
    created: datetime
    current: bool
    feedback_to: int


def record_build(  # noqa: PLR0913 - the columns of a row, and what goes with it
    ledger: Ledger,
    *,
    build_id: str,
    dataset: str,
    path: Path,
    facts: dict[str, Any],
    now: datetime,
    feedback_to: int = 0,
    instead_of: str | None = None,
    note: Callable[[Connection], object] | None = None,
) -> None:
    """Makes a published file the dataset's current build. A build recorded before becomes current again.

    feedback_to: the number of the last feedback that it holds; instead_of: the build that it was made from, where it
    may take no other's place; note: what else is written in the same transaction. Raises Conflict where another build
    has become current meanwhile.
    """
    row = {
        "dataset": dataset,
        "path": _stored_path(ledger, path),
        "facts": facts,
        "created": now,
        "pruned": None,
        "feedback_to": feedback_to,
    }
    with ledger.write() as connection:
        if instead_of is not None:
            _still_current(connection, dataset, instead_of)
        known = sa.select(builds_table.c.build_id).where(builds_table.c.build_id == build_id)
        if connection.execute(known).first() is None:
            connection.execute(sa.insert(builds_table).values(build_id=build_id, **row))
        pointer = {"current_build": build_id, "ingested": now}
        moved = connection.execute(sa.update(datasets_table).where(datasets_table.c.name == dataset).values(**pointer))
        if moved.rowcount == 0:
            connection.execute(sa.insert(datasets_table).values(name=dataset, **pointer))
        if note is not None:
            note(connection)


def recorded(ledger: Ledger, build_id: str) -> dict[str, Any] | None:
    """The facts that a build was recorded with, one whose file is gone too; None where it never was."""
    with ledger.read() as connection:
        found = one_row(connection, sa.select(builds_table.c.facts).where(builds_table.c.build_id == build_id))
    return None if found is None else dict(found["facts"])


def _still_current(connection: Connection, dataset: str, build_id: str) -> None:
    stands = connection.scalar(sa.select(datasets_table.c.current_build).where(datasets_table.c.name == dataset))
    if stands != build_id:
        raise Conflict(
            phrase("build.moved", dataset=dataset, before=build_id, now=str(stands)), remedy=phrase("do.go_on")
        )


def current_build(ledger: Ledger, dataset: str | None = None) -> BuildRow:
    """The build that every command and page uses; without a name, of the dataset that was ingested last.

    Raises UnknownDataset when nothing was ingested under that name, or at all.
    """
    query = _builds_query().where(builds_table.c.build_id == datasets_table.c.current_build)
    if dataset is not None:
        query = query.where(datasets_table.c.name == dataset)
    with ledger.read() as connection:
        row = one_row(connection, query.order_by(datasets_table.c.ingested.desc()).limit(1))
    if row is not None:
        return _build(ledger, row)
    if dataset is None:
        raise UnknownDataset(phrase("find.nothing_ingested"), remedy=phrase("do.first_dataset"))
    known = listed(datasets(ledger) or [phrase("find.none_yet")])
    raise UnknownDataset(
        phrase("find.no_dataset", name=quoted(dataset), known=known), remedy=phrase("do.bring_dataset", name=dataset)
    )


def build_of(ledger: Ledger, build_id: str) -> BuildRow:
    """One build by id. Raises UnknownBuild."""
    with ledger.read() as connection:
        row = one_row(connection, _builds_query().where(builds_table.c.build_id == build_id))
    if row is None:
        raise UnknownBuild(phrase("find.no_build", name=quoted(build_id)), remedy=phrase("do.list_builds"))
    return _build(ledger, row)


def builds(ledger: Ledger, dataset: str | None = None) -> list[BuildRow]:
    """Every build that still has its file, newest first."""
    query = _builds_query()
    if dataset is not None:
        query = query.where(builds_table.c.dataset == dataset)
    with ledger.read() as connection:
        rows = connection.execute(query.order_by(builds_table.c.created.desc())).mappings().all()
    return [_build(ledger, dict(row)) for row in rows]


def datasets(ledger: Ledger) -> list[str]:
    """Names of the ingested datasets, the last ingested first."""
    query = sa.select(datasets_table.c.name).order_by(datasets_table.c.ingested.desc())
    with ledger.read() as connection:
        return list(connection.scalars(query))


def _builds_query() -> sa.Select[Any]:
    joined = builds_table.join(datasets_table, builds_table.c.dataset == datasets_table.c.name)
    return (
        sa.select(builds_table, datasets_table.c.current_build)
        .select_from(joined)
        .where(builds_table.c.pruned.is_(None))
    )


def _build(ledger: Ledger, row: dict[str, Any]) -> BuildRow:
    path = Path(row["path"])
    return BuildRow(
        build_id=row["build_id"],
        dataset=row["dataset"],
        path=path if path.is_absolute() or ledger.home is None else ledger.home / path,
        facts=row["facts"],
        created=row["created"],
        current=row["current_build"] == row["build_id"],
        feedback_to=row["feedback_to"],
    )


def _stored_path(ledger: Ledger, path: Path) -> str:
    """Relative to the home where it lies inside, so that a home folder can be moved."""
    if ledger.home is not None and path.resolve().is_relative_to(ledger.home.resolve()):
        return str(path.resolve().relative_to(ledger.home.resolve()))
    return str(path.resolve())
