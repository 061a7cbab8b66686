"""The one place that opens DuckDB: immutable builds for reading, a scratch database for making them, the sandbox.

A build is read-only everywhere and its file name is never reused, so any number of processes may hold it. One
connection is not safe among threads; one cursor per call is, and that is all `Warehouse.run` does.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa

from data.errors import DamagedArtefact, InvalidConfig, SchemaMismatch, UnknownBuild
from data.free_sql.files import FOLDER as SNAPSHOTS
from data.phrases import file_called, phrase, quoted
from data.publish import sha256_of
from data.spec import DatasetSpec, parse_spec

SCHEMA_VERSION = 4
Connection = duckdb.DuckDBPyConnection
DatabaseError = duckdb.Error

_FACTS = "SELECT * FROM facts"
_REBUILD = phrase("do.rebuild")
_building: list[Connection] = []  # open ones


@dataclass(frozen=True)
class BuildFacts:
    """What a build says of itself. Counts of rows are of the event files; times are UTC.

    `read == accepted + quarantined` and `n_events == accepted`; `n_users` and `n_items` include those without
    events. `first_ts` and `last_ts` are those of the events.
    """

    build_id: str
    dataset: str
    task: str
    created: datetime
    schema_version: int
    licence: str
    source: str
    spec: DatasetSpec
    read: int
    accepted: int
    quarantined: int
    n_events: int
    n_users: int
    n_items: int
    first_ts: datetime
    last_ts: datetime

    @property
    def refused_share(self) -> float:
        """Of the rows read, those in quarantine."""
        return self.quarantined / self.read if self.read else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The facts as plain JSON values: times in ISO 8601, the spec as TOML."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain["spec"] = self.spec.to_toml()
        return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in plain.items()}


class Warehouse:
    """One build, opened read-only with TimeZone UTC. Use as a context manager, or `close` it.

    with Warehouse.open(path) as warehouse:
        warehouse.run("SELECT title FROM items WHERE key = $key", key="50")
    """

    def __init__(self, connection: Connection, path: Path, facts: BuildFacts) -> None:
        self._connection = connection
        self.path = path
        self.facts = facts

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises UnknownBuild (no file), SchemaMismatch (another version), DamagedArtefact (unreadable)."""
        if not path.is_file():
            raise UnknownBuild(phrase("build.not_at", path=file_called(str(path))), remedy=phrase("do.list_builds"))
        connection = _connect_read_only(path)
        try:
            facts = _facts(connection, path)
            _check_size(path)
        except BaseException:
            connection.close()
            raise
        return cls(connection, path, facts)

    def run(self, sql: str, **params: Any) -> pa.Table:
        """The result of one statement with `$named` parameters, on a cursor of its own (thread-safe)."""
        cursor = self._connection.cursor()
        try:
            result: pa.Table = cursor.sql(sql, params=params or None).to_arrow_table()
            return result
        except duckdb.IOException as error:
            raise _damaged(self.path) from error
        except duckdb.NotImplementedException as error:
            if "TimeZone" not in str(error):
                raise
            raise InvalidConfig(
                phrase("field.zone", name=quoted(str(params.get("tz")))), remedy=phrase("do.mend_zone")
            ) from error
        finally:
            cursor.close()

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def build_connection(path: Path | None, *, threads: int = 2, memory_limit: str = "2GB") -> Iterator[Connection]:
    """A read-write database of one's own for making tables (None: in memory), spilling beside its file.

    Nothing opened here is ever opened again under the same name; publish by checkpoint, close and rename.
    """
    options: dict[str, Any] = {
        "threads": threads,
        "memory_limit": memory_limit,
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }
    if path is not None:
        options["temp_directory"] = str(path.parent / "spill")
    connection = duckdb.connect(str(path or ":memory:"), config=options)
    _building.append(connection)
    try:
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        yield connection
    finally:
        _building.remove(connection)
        connection.close()


def interrupt_building() -> None:
    """Ends the queries of every `build_connection` of this process, which raise. For signal handlers: an exception in
    one ends a query only once all of DuckDB's threads are through with what they do, a minute later perhaps."""
    for connection in tuple(_building):
        connection.interrupt()


@contextmanager
def sandbox_connection(path: str, *, threads: int, memory_mb: int, seconds: float) -> Iterator[Connection]:
    """The database `snapshot` at `path`, for a stranger's statement: in a process of its own (data/free_sql/child.py),
    never in this one, and one connection only.

    Nothing but the open file can be read: the local file system is switched off, too, since DuckDB allows an attached
    file's own path even without external access. No database is left that could be written, and the configuration is
    locked last.
    """
    config: dict[str, Any] = {
        "python_enable_replacements": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "allow_persistent_secrets": "false",
        "secret_directory": "",
        "temp_directory": "",
        "memory_limit": f"{memory_mb}MB",
        "threads": threads,
        "max_execution_time": str(int(seconds * 1000)),
    }
    connection = duckdb.connect(":memory:", config=config)
    try:
        connection.execute("ATTACH $path AS snapshot (READ_ONLY)", {"path": path})
        connection.execute("USE snapshot; DETACH memory")
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.execute("SET GLOBAL enable_external_access = false")
        connection.execute("SET GLOBAL disabled_filesystems = 'LocalFileSystem'")
        connection.execute("SET GLOBAL lock_configuration = true")
        yield connection
    finally:
        connection.close()


def manifest_path(build: Path) -> Path:
    """Where the size and sha256 of a build file are kept: `<build_id>.json` beside it."""
    return build.with_suffix(".json")


def read_manifest(build: Path) -> dict[str, Any]:
    """What is kept beside the build file at `build`: files{name: {sha256, bytes}}, build_id, quality. Raises
    DamagedArtefact."""
    try:
        told: dict[str, Any] = json.loads(manifest_path(build).read_bytes())
        assert {"sha256", "bytes"} <= set(told["files"][build.name])
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise DamagedArtefact(phrase("build.no_manifest", build=build.stem), remedy=_REBUILD) from error
    return told


def verify_build(path: Path) -> None:
    """Compare a build's bytes with the sha256 taken when it was published. Raises DamagedArtefact."""
    _check_size(path)
    told = read_manifest(path)["files"][path.name]["sha256"]
    if sha256_of(path) != told:
        raise _damaged(path)


def remove_build(home: Path, build_id: str) -> None:
    """Delete a build, its manifest, its quarantine and its snapshots; a build that is gone already is no error."""
    build = home / "warehouse" / f"{build_id}.duckdb"
    build.unlink(missing_ok=True)
    manifest_path(build).unlink(missing_ok=True)
    (home / "quarantine" / f"{build_id}.parquet").unlink(missing_ok=True)
    for snapshot in (home / SNAPSHOTS).glob(f"{build_id}-*.duckdb"):
        snapshot.unlink(missing_ok=True)


def _connect_read_only(path: Path) -> Connection:
    try:
        connection = duckdb.connect(
            str(path),
            read_only=True,
            config={
                "enable_external_access": "false",
                "python_enable_replacements": "false",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            },
        )
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        return connection
    except duckdb.Error as error:
        if "version number" in str(error):
            raise SchemaMismatch(phrase("build.other_duckdb", build=path.stem), remedy=_REBUILD) from error
        raise _damaged(path) from error


def _facts(connection: Connection, path: Path) -> BuildFacts:
    cursor = connection.cursor()
    try:
        rows = cursor.sql(_FACTS).to_arrow_table().to_pylist()
    except duckdb.CatalogException as error:
        raise SchemaMismatch(phrase("build.not_ours", file=file_called(path.name)), remedy=_REBUILD) from error
    except duckdb.Error as error:
        raise _damaged(path) from error
    finally:
        cursor.close()
    version = rows[0].get("schema_version") if len(rows) == 1 else None
    if version != SCHEMA_VERSION:
        raise SchemaMismatch(
            phrase("build.other_schema", build=path.stem, found=str(version), known=SCHEMA_VERSION), remedy=_REBUILD
        )
    row = {name: rows[0][name] for name in BuildFacts.__dataclass_fields__}
    for name in ("created", "first_ts", "last_ts"):
        row[name] = row[name].astimezone(UTC)
    row["spec"] = parse_spec(row["spec"], origin=phrase("spec.of_build", build=path.stem))
    return BuildFacts(**row)


def _check_size(path: Path) -> None:
    """The cheap half of `verify_build`: the size its manifest names (when there is one), and no log left."""
    manifest = manifest_path(path)
    if path.with_suffix(".duckdb.wal").exists():
        raise _damaged(path)
    if not manifest.is_file():
        return
    if path.stat().st_size != read_manifest(path)["files"][path.name]["bytes"]:
        raise _damaged(path)


def _damaged(path: Path) -> DamagedArtefact:
    return DamagedArtefact(phrase("build.damaged", build=path.stem), remedy=_REBUILD)
