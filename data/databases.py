"""Rows of a database, streamed as Arrow through ADBC: PostgreSQL and SQLite.

A password is never part of a spec, which a build keeps: PostgreSQL's own places for it are used (~/.pgpass, a service
file, PGPASSWORD). The connection may only read where the database can hold it to that.
"""

import re
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import adbc_driver_postgresql.dbapi as postgresql
import adbc_driver_sqlite.dbapi as sqlite
import numpy as np
import pyarrow as pa
from adbc_driver_manager import Error as DriverError

from data.errors import InvalidSpec, UnreadableFile
from data.staging import Source, StagedFile, Target, text_of
from data.textfile import check_columns

_PARAMETERS = re.compile(r"[?&](password|sslpassword)=", re.IGNORECASE)


def check_address(address: str) -> None:
    """Raise InvalidSpec for what is no database that can be read, or tells a password."""
    try:
        parts = urlsplit(address)
        told = parts.password is not None or _PARAMETERS.search(address) is not None
    except ValueError as error:
        raise InvalidSpec(f"database: {error}", remedy="write sqlite:///path or postgresql://host/name") from error
    if parts.scheme not in ("sqlite", "postgresql", "postgres"):
        raise InvalidSpec(
            f"database: {parts.scheme or 'no'}:// cannot be read",
            remedy="write sqlite:///path or postgresql://host/name",
        )
    if told:
        raise InvalidSpec(
            "database: the address tells a password, and every build keeps its spec",
            remedy="leave it out; PostgreSQL finds it in ~/.pgpass, a service file, or PGPASSWORD",
        )


def stage_query(target: Target, source: Source, start: int) -> StagedFile:
    """Stage what a query gives, in its order; a row's line is its number. Raises InvalidSpec, MissingColumn,
    UnreadableFile (no such database or table, a query that fails or writes)."""
    assert source.address is not None and source.query is not None, "a source with a query has an address"
    check_address(source.address)
    file = StagedFile(source.name, start)
    try:
        with closing(_connected(source)) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(source.query)
            reader = cursor.fetch_record_batch()
            check_columns(source.name, reader.schema.names, target.wanted)
            file.count = sum(_insert(target, source.name, batch) for batch in reader)
    except DriverError as error:
        raise UnreadableFile(
            f"{source.name}: {str(error).strip().splitlines()[0]}", remedy="try the query in the database's own client"
        ) from error
    file.lines = np.arange(1, file.count + 1, dtype=np.int64)
    return file


def _insert(target: Target, name: str, batch: pa.RecordBatch) -> int:
    if not batch.num_rows:
        return 0
    columns = [f"c{number}" for number in range(batch.num_columns)]
    texts = [text_of(column, field.type) for column, field in zip(columns, batch.schema, strict=True)]
    lists = any("$separator" in texts[number] for number in target.places(batch.schema.names))
    target.connection.register("incoming", pa.Table.from_batches([batch]).rename_columns(columns))
    count = target.insert(
        "incoming", name, batch.schema.names, texts, **({"separator": target.list_separator} if lists else {})
    )
    target.connection.unregister("incoming")
    return count


def _connected(source: Source) -> Any:
    assert source.address is not None, "checked by the caller"
    if not source.address.startswith("sqlite"):
        connection = postgresql.connect(source.address)
        with closing(connection.cursor()) as cursor:
            cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        connection.commit()
        return connection
    path = source.path
    if not path.is_file():  # SQLite would make an empty one
        raise UnreadableFile(f"there is no database at {path}", remedy="check the spec's path")
    return sqlite.connect(f"{path.absolute().as_uri()}?mode=ro")
