"""Rows of a database, streamed as Arrow through ADBC: PostgreSQL and SQLite.

A password is never part of a spec, which a build keeps: PostgreSQL's own places for it are used (~/.pgpass, a service
file, PGPASSWORD). The connection may only read where the database can hold it to that.
"""

import re
from contextlib import closing
from typing import Any
from urllib.parse import unquote, urlsplit

import adbc_driver_postgresql.dbapi as postgresql
import adbc_driver_sqlite.dbapi as sqlite
import pyarrow as pa
from adbc_driver_manager import Error as DriverError

from data.errors import InvalidSpec, UnreadableFile
from data.phrases import file_called, phrase, quoted
from data.reading.badtext import apart
from data.reading.staging import Source, StagedFile, Target, text_of
from data.reading.textfile import check_columns
from data.warehouse import DatabaseError

_PARAMETERS = re.compile(r"[?&](password|sslpassword)=", re.IGNORECASE)
_TYPE_NAME = b"POSTGRESQL:type"
_MISREAD = frozenset({"money", "_money", "oid", "_oid"})  # as whole numbers: cents, and those above 2^31 below zero


_TEXT = (  # a real as the shortest text that is the same number, without a fraction where there is none
    "CASE WHEN typeof({it}) <> 'real' THEN CAST({it} AS TEXT)"
    " WHEN {it} = CAST({it} AS INTEGER) AND abs({it}) < 9e15 THEN CAST(CAST({it} AS INTEGER) AS TEXT)"
    " ELSE printf('%!.17g', {it}) END AS {it}"
)


def is_sqlite(address: str) -> bool:
    """Whether a database's address, which may have capitals, names a file of SQLite's."""
    return urlsplit(address).scheme == "sqlite"


def check_address(address: str) -> None:
    """Raise InvalidSpec for what is no database that can be read, or tells a password."""
    try:
        parts = urlsplit(address)
        told = parts.password is not None or _PARAMETERS.search(unquote(address)) is not None
        told = told or "@" in address.removeprefix(f"{parts.scheme}://{parts.netloc}")
    except ValueError as error:
        raise InvalidSpec(phrase("spec.no_address", why=str(error)), remedy=phrase("do.write_database")) from error
    if parts.scheme not in ("sqlite", "postgresql", "postgres"):
        raise InvalidSpec(
            phrase("spec.other_database", scheme=f"{parts.scheme or 'no'}://"), remedy=phrase("do.write_database")
        )
    if told:
        raise InvalidSpec(phrase("spec.tells_password"), remedy=phrase("do.leave_out_password"))


def stage_query(target: Target, source: Source, start: int) -> StagedFile:
    """Stage what a query gives, in its order; a row's line is its number. Raises InvalidSpec, MissingColumn,
    UnreadableFile (no such database or table, a query that fails or writes)."""
    assert source.address is not None and source.query is not None, "a source with a query has an address"
    check_address(source.address)
    file = StagedFile(source.name, start)
    try:
        with closing(_connected(source)) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(_as_text(cursor, source.query) if is_sqlite(source.address) else source.query)
            reader = cursor.fetch_record_batch()
            check_columns(source.name, reader.schema.names, target.wanted)
            _refuse_foreign(source.name, reader.schema, target)
            places = target.places(reader.schema.names)
            for batch in reader:
                kept, rejects = apart(batch, places, first=file.count + len(file.rejects) + 1)
                file.rejects += rejects
                file.count += insert_batch(target, kept)
    except (DriverError, OSError, pa.ArrowException, DatabaseError) as error:
        if "No space left" in str(error):
            raise
        raise UnreadableFile(
            phrase("file.query_failed", name=file_called(source.name), error=str(error).strip().splitlines()[0]),
            remedy=phrase("do.try_query"),
        ) from error
    return file


def _as_text(cursor: Any, query: str) -> str:
    """The query with every column as text: SQLite's hold values of any kind, and would be read as the first rows'."""
    inner = query.strip().rstrip(";").rstrip()
    if not inner.lower().startswith(("select", "with", "values")) or ";" in inner:
        raise InvalidSpec(phrase("spec.no_select"), remedy=phrase("do.one_select"))
    cursor.execute(f"SELECT * FROM ({inner}\n) LIMIT 0")  # noqa: S608 - the caller's own query, on a read-only file
    names = cursor.fetch_record_batch().schema.names
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    columns = [_TEXT.format(it=it) for it in quoted]
    return f"SELECT {', '.join(columns)} FROM ({inner}\n)"  # noqa: S608


def _refuse_foreign(name: str, schema: pa.Schema, target: Target) -> None:
    for number in target.places(schema.names):
        field = schema.field(number)
        opaque = isinstance(field.type, pa.OpaqueType) and not pa.types.is_string(field.type.storage_type)
        told = (field.metadata or {}).get(_TYPE_NAME, b"").decode()
        if opaque or pa.types.is_fixed_size_binary(field.type) or told in _MISREAD:
            raise UnreadableFile(
                phrase("file.column_no_text", name=file_called(name), column=quoted(field.name)),
                remedy=phrase("do.write_in_query", column=field.name),
            )


def insert_batch(target: Target, batch: pa.RecordBatch) -> int:
    """Stage the rows of a batch, whatever their types; how many."""
    if not batch.num_rows:
        return 0
    columns = [f"c{number}" for number in range(batch.num_columns)]
    texts = [text_of(column, field.type) for column, field in zip(columns, batch.schema, strict=True)]
    lists = any("$separator" in texts[number] for number in target.places(batch.schema.names))
    target.connection.register("incoming", pa.Table.from_batches([batch]).rename_columns(columns))
    separator = {"separator": target.list_separator} if lists else {}
    count = target.insert("incoming", batch.schema.names, texts, **separator)
    target.connection.unregister("incoming")
    return count


def _connected(source: Source) -> Any:
    assert source.address is not None, "checked by the caller"
    if not is_sqlite(source.address):
        connection = postgresql.connect(source.address)
        with closing(connection.cursor()) as cursor:
            cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
            cursor.execute("SET client_encoding TO 'UTF8'")  # whatever the database's own is
        connection.commit()
        return connection
    path = source.path
    if not path.is_file():  # SQLite would make an empty one
        raise UnreadableFile(phrase("file.no_database", path=file_called(str(path))), remedy=phrase("do.check_path"))
    return sqlite.connect(f"{path.absolute().as_uri()}?mode=ro")
