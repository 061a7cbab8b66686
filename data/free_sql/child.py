"""The far side of the sandbox: a process that runs one statement over one snapshot and ends.

`sandbox` starts it with an empty environment: limits as JSON in its one argument, the statement on stdin, the snapshot
as an open file. It answers on stdout with one line of JSON, then, where there is a result, an Arrow stream.
Parsing is done here as well: a parser can be exhausted, too. The limits of the operating system hold where the
database does not ask: in constant folding, in a single call of a function, in an allocation beside its buffers.
"""

import io
import json
import resource
import signal
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import duckdb
import pyarrow as pa
from duckdb.sqltypes import DuckDBPyType

from data.errors import InvalidConfig
from data.phrases import Phrase, as_json, phrase
from data.warehouse import Connection, DatabaseError, sandbox_connection

Fault = Literal["refused", "failed", "timeout", "memory", "large"]
GRACE_S = 2.0  # beyond a statement's own seconds: to start, and to hand over the result
_BATCH_ROWS = 2_048
_OPEN_FILES = 24
_TIMED_OUT = "exceeded maximum execution time"
# What Arrow would hand over as bytes of the database's own, or what no file and no grid could hold.
_AS_TEXT = frozenset({"bignum", "bit", "geometry", "interval", "time with time zone", "uhugeint", "union", "variant"})
_DATES = ("date", "time")  # of any kind; inside of others, where a moment past the year 9999 cannot be got out again
_NESTED = frozenset({"array", "list", "map", "struct"})
_WITHHELD = ("read-only mode", "configuration has been locked")
_ONLY_READS = phrase("statement.only_reads")


@dataclass(frozen=True)
class Limits:
    """What one statement may use. `rows` cuts a result off, `columns` and `result_bytes` refuse it; `address_mb` is of
    the whole process, of which `memory_mb` is the database's. It is over, one way or another, `seconds` + 2 after its
    start.
    """

    seconds: float = 5.0
    rows: int = 10_000
    columns: int = 500
    result_bytes: int = 16 * 2**20
    memory_mb: int = 512
    address_mb: int = 2_048
    threads: int = 2

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise InvalidConfig(f"sandbox limit {name} is {value}", remedy="give a number above 0")


class Stopped(Exception):
    """Why there is no result: clauses of ours, or what the database says. It does not leave this process: `sandbox`
    makes an error of the tree of it."""

    def __init__(self, fault: Fault, *said: Phrase, message: str = "") -> None:
        super().__init__(message)
        self.fault = fault
        self.said = said


def main() -> None:
    """Answer the statement on stdin."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    limits = Limits(**asked["limits"])
    confine(limits)
    try:
        head, body = _answer(asked["database"], sys.stdin.buffer.read().decode(), limits, explain=asked["explain"])
    except Stopped as stopped:
        head, body = {"fault": stopped.fault, "said": as_json(stopped.said), "message": str(stopped)}, b""
    except MemoryError:
        head, body = {"fault": "memory", "said": [], "message": "memory"}, b""
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + body)
    sys.stdout.buffer.flush()


def confine(limits: Limits) -> None:
    """Limits of this process that no statement can lift; the timer ends it even when no code of Python's runs again."""
    allowed = limits.seconds + GRACE_S
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, allowed)
    bounds = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_CPU: int(allowed * limits.threads) + 1,
        resource.RLIMIT_AS: limits.address_mb * 2**20,
    }
    for what, most in bounds.items():
        resource.setrlimit(what, (most, most))


def _answer(database: str, text: str, limits: Limits, *, explain: bool) -> tuple[dict[str, Any], bytes]:
    try:
        with sandbox_connection(
            database, threads=limits.threads, memory_mb=limits.memory_mb, seconds=limits.seconds
        ) as connection:
            statement = readable(connection, text)
            if explain and statement.type != duckdb.StatementType.EXPLAIN:
                statement = connection.extract_statements(f"EXPLAIN {statement.query}")[0]
            table, cut = _limited(connection, statement, limits)
            sink = io.BytesIO()
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
            return {"rows": table.num_rows, "cut": cut}, sink.getvalue()
    except (DatabaseError, pa.ArrowException, OSError, RuntimeError) as error:
        raise _worded(error) from error


def readable(connection: Connection, text: str) -> duckdb.Statement:
    """The one statement of a text, when the database's own parser says that it only reads. Raises Stopped.

    What a reading statement hides (a data-modifying WITH) the read-only database refuses.
    """
    statements = connection.extract_statements(text)
    try:
        kinds = [statement.type for statement in statements]
    except ValueError:  # a type that DuckDB's own binding has no name for
        raise Stopped("refused", _ONLY_READS) from None
    if len(statements) != 1:
        raise Stopped("refused", phrase("statement.several", n=len(statements)), _ONLY_READS)
    statement = statements[0]
    if statement.named_parameters:
        raise Stopped("refused", phrase("statement.placeholder"))
    if kinds[0] == duckdb.StatementType.EXPLAIN:
        _check_explained(connection, text)
    elif kinds[0] == duckdb.StatementType.MULTI:
        raise Stopped("refused", phrase("statement.several_in_one"))
    elif kinds[0] != duckdb.StatementType.SELECT:
        raise Stopped("refused", phrase("statement.of_type", type=kinds[0].name), _ONLY_READS)
    return statement


def _check_explained(connection: Connection, text: str) -> None:
    """What stands behind EXPLAIN, or EXPLAIN ANALYZE, has to be readable by itself."""
    source = text.encode()
    words = [start for start, kind in duckdb.tokenize(text) if kind != duckdb.token_type.comment]
    for start in words[1:3]:
        try:
            inner = connection.extract_statements(source[start:].decode())
        except DatabaseError:
            continue
        if len(inner) == 1 and inner[0].type == duckdb.StatementType.SELECT:
            return
        break
    raise Stopped("refused", phrase("statement.explain"), _ONLY_READS)


def _limited(connection: Connection, statement: duckdb.Statement, limits: Limits) -> tuple[pa.Table, bool]:
    """At most `limits.rows` rows, and whether there were more. Raises Stopped (more bytes than allowed)."""
    relation = _plain_types(connection.sql(statement))
    reader = relation.to_arrow_reader(_BATCH_ROWS)
    if len(reader.schema) > limits.columns:
        raise Stopped("large", phrase("statement.columns", n=len(reader.schema), most=limits.columns))
    batches: list[pa.RecordBatch] = []
    n_rows, n_bytes, cut = 0, 0, False
    for batch in _nonempty(reader):
        if n_rows == limits.rows:
            cut = True
            break
        kept = batch.slice(0, limits.rows - n_rows)
        cut = kept.num_rows < batch.num_rows
        batches.append(kept)
        n_rows, n_bytes = n_rows + kept.num_rows, n_bytes + kept.nbytes
        if n_bytes > limits.result_bytes:
            raise Stopped("large", phrase("statement.too_large", mb=limits.result_bytes / 2**20))
        if cut:
            break
    return pa.Table.from_batches(batches, reader.schema), cut


def _plain_types(relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """The same rows with columns of odd types as the database writes them (`3 days`, `0101`)."""
    written = [_is_odd(kind, inside=False) for kind in relation.types]
    if not any(written):
        return relation
    columns = (
        f"{f'CAST(#{place} AS VARCHAR)' if odd else f'#{place}'} AS {_quoted(name)}"
        for place, (name, odd) in enumerate(zip(relation.columns, written, strict=True), 1)
    )
    return relation.project(", ".join(columns))


def _is_odd(kind: DuckDBPyType, *, inside: bool) -> bool:
    if kind.id in _AS_TEXT or (inside and kind.id.startswith(_DATES)):
        return True
    parts = kind.children if kind.id in _NESTED else []
    return any(isinstance(part, DuckDBPyType) and _is_odd(part, inside=True) for _, part in parts)


def _quoted(name: str) -> str:
    """A column's name as SQL writes it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def _nonempty(reader: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
    return (batch for batch in reader if batch.num_rows)


def _worded(error: Exception) -> Stopped:
    """What an error of the database means; its text without the echo of the statement and without a trace."""
    text = " ".join(str(error).partition("\n\nLINE ")[0].partition("Traceback")[0].split())
    if isinstance(error, duckdb.InterruptException) or _TIMED_OUT in text:
        return Stopped("timeout", message=text)
    if isinstance(error, duckdb.OutOfMemoryException) or "bad_alloc" in text or "Out of Memory" in text:
        return Stopped("memory", message=text)
    withheld = isinstance(error, duckdb.PermissionException) or any(words in text for words in _WITHHELD)
    return Stopped("refused" if withheld else "failed", message=text)


if __name__ == "__main__":
    main()
