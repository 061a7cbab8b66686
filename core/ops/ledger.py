"""The ledger: the only mutable state of a deployment, and the only pointer to what is current.

It owns the two kinds of transaction. Every module of this package writes through `Ledger.write`, so that one commit
moves the world from one whole state to the next.

SQLite (WAL, synchronous=FULL) by default, PostgreSQL by URL; only the hooks on their connections hold SQL of their own.
Writers take turns on both (BEGIN IMMEDIATE there, one advisory lock here): a transaction that reads and then writes
can never find its read outdated, and numbers that count rows up are committed in their order.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from core.ops.schema import MIGRATIONS, SCHEMA_VERSION, Migration, metadata, versions
from data.errors import SchemaMismatch, StoreError
from data.finite import finite
from data.phrases import phrase
from data.publish import full_disk_reported, make_folder

LEDGER_FILE = "ledger.sqlite"
_BUSY_TIMEOUT_S = 60.0
_TAKEN = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_WRITERS_LOCK = 0x10DE57A2  # the advisory lock that PostgreSQL's writers take turns on, a number of Lodestar's own

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The one clock of the edges (worker, supervisor, command line); inside, `now` is an argument."""
    return datetime.now(UTC)


@dataclass
class Ledger:
    """One open ledger. Safe to share between threads; each transaction takes a connection of its own."""

    engine: Engine = field(repr=False)
    home: Path | None

    @classmethod
    def open(cls, target: str | Path, *, home: Path | None = None) -> "Ledger":
        """The ledger of a home folder (created when absent) or of a database URL, at this code's schema.

        `home` is only needed with a URL. Raises SchemaMismatch when a newer Lodestar wrote it, and StoreError
        when it can't be opened at all.
        """
        if isinstance(target, str) and "://" in target:
            ledger = cls(engine=_engine_of(target), home=home)
        else:
            folder = Path(target)
            try:
                make_folder(folder)
            except OSError as error:
                raise _unusable(folder, error.strerror) from error
            url = sa.URL.create("sqlite", database=str(folder.resolve() / LEDGER_FILE))
            ledger = cls(
                engine=sa.create_engine(url, pool_size=4, max_overflow=60, json_serializer=as_json), home=folder
            )
        {"sqlite": _tune_sqlite, "postgresql": _tune_postgresql}[ledger.engine.dialect.name](ledger.engine)
        try:
            migrate(ledger)
        except DatabaseError as error:
            ledger.close()
            raise _unusable(ledger.home, error.orig) from error
        except BaseException:
            ledger.close()
            raise
        return ledger

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view of the ledger. Raises StoreError where it can't be used."""
        with _stated(self.home), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: all of it, durable, or none. Waits for other writers. Raises DiskFull, and StoreError
        where the ledger can't be used."""
        with (
            _stated(self.home),
            self.engine.connect().execution_options(ledger_writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    def close(self) -> None:
        """Lets go of every connection. The ledger may still be used afterwards; it then opens new ones."""
        self.engine.dispose()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def migrate(ledger: Ledger, *, migrations: Sequence[Migration] = MIGRATIONS, target: int = SCHEMA_VERSION) -> None:
    """Brings the schema to `target`. A step and its record share one transaction: both stand, or neither."""
    with ledger.read() as connection:
        found = _schema_version(connection)
    if found < target:
        with ledger.write() as connection:
            found = _schema_version(connection)  # again: another process may have been first
            if found == 0:
                metadata.create_all(connection)
                found = SCHEMA_VERSION
                _record(connection, found)
    for step in sorted(migrations, key=lambda step: step.version):
        if found < step.version <= target:
            with ledger.write() as connection:
                if _schema_version(connection) < step.version:
                    step.apply(connection)
                    _record(connection, step.version)
    if found > target:
        raise SchemaMismatch(
            phrase("store.newer_ledger", found=found, known=target), remedy=phrase("do.upgrade_or_other")
        )


def schema_version(ledger: Ledger) -> int:
    """The schema that the ledger has now; 0 for an empty database."""
    with ledger.read() as connection:
        return _schema_version(connection)


def _schema_version(connection: Connection) -> int:
    if not sa.inspect(connection).has_table(versions.name):
        return 0
    return int(connection.scalar(sa.select(sa.func.coalesce(sa.func.max(versions.c.version), 0))) or 0)


@contextmanager
def _stated(home: Path | None) -> Iterator[None]:
    """Errors of a database that is not to be had, as those that every edge catches."""
    try:
        with full_disk_reported(home or Path(LEDGER_FILE)):
            yield
    except OperationalError as error:
        raise _unusable(home, error.orig) from error


def _unusable(home: Path | None, cause: object) -> StoreError:
    kind = getattr(cause, "sqlite_errorname", None)  # SQLite has one sentence for many faults
    told = f"{cause} ({kind})" if kind else str(cause)
    return StoreError(
        phrase("store.no_ledger", home=phrase("store.deployment") if home is None else str(home), cause=told),
        remedy=phrase("do.restore_ledger"),
    )


def _record(connection: Connection, version: int) -> None:
    connection.execute(sa.insert(versions).values(version=version))


def as_json(value: Any) -> str:
    """How a column of JSON is written: with null for what is no number, since PostgreSQL refuses NaN as JSON itself
    does."""
    return json.dumps(finite(value), ensure_ascii=False, allow_nan=False)


def _engine_of(url: str) -> Engine:
    """Raises StoreError for what is no address of a database that Lodestar can keep its ledger in."""
    try:
        parsed = sa.make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() in ("sqlite", "postgresql"):
            return sa.create_engine(parsed, pool_size=4, max_overflow=60, pool_pre_ping=True, json_serializer=as_json)
    except (ArgumentError, ModuleNotFoundError) as error:
        raise StoreError(phrase("store.no_address", error=str(error)), remedy=phrase("do.write_address")) from error
    raise StoreError(phrase("store.other_backend", name=parsed.get_backend_name()), remedy=phrase("do.name_address"))


def _tune_postgresql(engine: Engine) -> None:
    """A commit is on disk when it returns; writers take turns; a reading is one moment's."""

    def on_connect(raw: Any, _entry: ConnectionPoolEntry) -> None:
        with raw.cursor() as cursor:
            cursor.execute("SET synchronous_commit TO on; SET timezone TO 'UTC'; SET application_name TO 'lodestar'")
        raw.commit()

    def on_begin(connection: Connection) -> None:
        if connection.get_execution_options().get("ledger_writes", False):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})")
        else:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

    sa.event.listen(engine, "connect", on_connect)
    sa.event.listen(engine, "begin", on_begin)


def _tune_sqlite(engine: Engine) -> None:
    """WAL, a disk flush at every commit, and explicit transactions (the driver's own would split DDL)."""

    def on_connect(raw: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        raw.isolation_level = None
        raw.execute(f"PRAGMA busy_timeout = {int(_BUSY_TIMEOUT_S * 1000)}")
        _enter_wal(raw)
        raw.execute("PRAGMA synchronous = FULL")

    def on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("ledger_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    sa.event.listen(engine, "connect", on_connect)
    sa.event.listen(engine, "begin", on_begin)


def _enter_wal(raw: sqlite3.Connection) -> None:
    """Switching a fresh file to WAL ignores the busy timeout, so two first processes must take turns here."""
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            raw.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:  # of another kind: no space for its files, say
            if error.sqlite_errorcode & 0xFF not in _TAKEN or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def one_row(connection: Connection, query: sa.Select[Any]) -> dict[str, Any] | None:
    """The first row by column name, or None."""
    row = connection.execute(query).mappings().first()
    return None if row is None else dict(row)
