"""The SQL console's sandbox: one statement of a stranger's over one snapshot, in a process that is then gone.

No single wall is enough. The database is read-only, locked and sees no file; but a function call can run past its
interrupt and an allocation past its memory limit, so that the process has limits of its own and is killed by the
clock; and since every table of an open file can be read, the file (`snapshot`) holds only what the role may see.
The snapshot reaches the process as a file without a name, because DuckDB would tell its path to whoever asks. Answers
are read with a cap, so that this process's memory stays flat whatever comes.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from data.errors import QueryError, QueryFailed, QueryRefused, QueryTimeout, StoreError, UnknownBuild
from data.free_sql.child import GRACE_S, Limits
from data.phrases import Said, clauses, from_json, phrase
from data.publish import TEMPORARY

LIMITS = Limits()
MOST_BYTES = 32_768  # of a statement; a pipe takes as many without anybody reading, so that writing never waits
_ROOT = Path(__file__).parents[2]
_CHUNK = 65_536
_HUGEINT = pa.decimal128(38, 0)
_FRAME_BYTES = 262_144  # beside the columns' own bytes: the stream's schema and padding
_MOST_WORDS = 600  # characters of a database's message
_TREE = (
    "SELECT t.table_name, t.estimated_size AS n_rows, c.column_name, c.data_type"
    " FROM duckdb_tables() AS t JOIN duckdb_columns() AS c USING (database_name, schema_name, table_name)"
    " WHERE NOT t.internal ORDER BY t.table_name, c.column_index"
)
_REMEDIES: dict[str, tuple[type[QueryError], str]] = {
    "refused": (QueryRefused, "ask_rows"),
    "failed": (QueryFailed, "mend_statement"),
    "memory": (QueryFailed, "ask_less"),
    "value": (QueryFailed, "cast_column"),
    "large": (QueryFailed, "select_less"),
    "timeout": (QueryTimeout, "filter_first"),
}


@dataclass(frozen=True)
class Answer:
    """A statement's result: a table of at most `Limits.rows` rows, `cut` when there were more, and how long it took."""

    table: pa.Table
    cut: bool
    seconds: float


@dataclass(frozen=True)
class Branch:
    """A table of a snapshot: its rows, and its columns' types by name, in order."""

    table: str
    n_rows: int
    columns: dict[str, str]


def run(snapshot: Path, statement: str, *, limits: Limits = LIMITS) -> Answer:
    """The result of one reading statement over a snapshot, at latest `limits.seconds` + 2 s after the call.

    Raises QueryRefused (it does more than read, or asks for what is withheld), QueryFailed (a mistake, or too much),
    QueryTimeout, UnknownBuild (no such snapshot), StoreError.
    """
    return _run(snapshot, statement, limits, explain=False)


def explain(snapshot: Path, statement: str, *, limits: Limits = LIMITS) -> str:
    """The plan of a statement as text; it is not run. Raises like `run`."""
    answer = _run(snapshot, statement, limits, explain=True)
    return "\n".join(str(row["explain_value"]) for row in answer.table.to_pylist())


def schema_tree(snapshot: Path, *, limits: Limits = LIMITS) -> list[Branch]:
    """The tables of a snapshot by name. Raises like `run`."""
    branches: dict[str, Branch] = {}
    for row in run(snapshot, _TREE, limits=limits).table.to_pylist():
        branch = branches.setdefault(row["table_name"], Branch(row["table_name"], row["n_rows"], {}))
        branch.columns[row["column_name"]] = row["data_type"]
    return list(branches.values())


def _run(snapshot: Path, statement: str, limits: Limits, *, explain: bool) -> Answer:
    text = _encoded(statement)
    started = time.monotonic()
    with _nameless(snapshot) as handle:
        asked = {"limits": asdict(limits), "database": f"/dev/fd/{handle}", "explain": explain}
        raw, status = _ask(json.dumps(asked), text, handle, limits)
    line, newline, body = raw.partition(b"\n")
    if status is None or not newline:
        raise _unanswered(status, limits)
    head: dict[str, Any] = json.loads(bytes(line))
    if "fault" in head:
        said = clauses(from_json(head["said"])) if head["said"] else head["message"]
        raise _refusal(head["fault"], said, limits)
    try:
        table = pa.ipc.open_stream(pa.py_buffer(body)).read_all()
        table.validate(full=True)
    except pa.ArrowException as error:
        raise _refusal("value", phrase("statement.value", error=str(error)), limits) from error
    return Answer(table=_plain(table), cut=head["cut"], seconds=time.monotonic() - started)


def _plain(table: pa.Table) -> pa.Table:
    """Whole numbers as int64 where they fit (a sum comes as a decimal of 38 digits), and each name once."""
    columns, names = [], dict[str, None]()
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.type == _HUGEINT:
            with suppress(pa.ArrowInvalid):
                column = column.cast(pa.int64())
        columns.append(column)
        numbered = (f"{name}_{number}" for number in range(2, len(table.columns) + 2))
        names[next(free for free in chain([name], numbered) if free not in names)] = None
    return pa.table(columns, names=list(names))


def _ask(asked: str, text: bytes, handle: int, limits: Limits) -> tuple[bytearray, int | None]:
    """What the process wrote, and how it ended: None when it was killed by the clock. Raises QueryFailed (too much)."""
    deadline = time.monotonic() + limits.seconds + GRACE_S
    child = subprocess.Popen(
        [sys.executable, "-P", "-S", "-B", "-m", "data.free_sql.child", asked],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, sys.path)])},  # what `site` would find anew
        cwd="/",
        pass_fds=(handle,),
        start_new_session=True,
    )
    try:
        assert child.stdin is not None, "a pipe was asked for"
        assert child.stdout is not None, "a pipe was asked for"
        with suppress(BrokenPipeError), child.stdin:
            child.stdin.write(text)
        raw = _read(child.stdout.fileno(), deadline, most=limits.result_bytes + _FRAME_BYTES)
        if raw is None:
            return bytearray(), None
        if len(raw) > limits.result_bytes + _FRAME_BYTES:
            raise _refusal("large", phrase("statement.too_large", mb=limits.result_bytes / 2**20), limits)
        try:
            return raw, child.wait(max(deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            return raw, None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def _read(pipe: int, deadline: float, *, most: int) -> bytearray | None:
    """What comes until the pipe is closed, or a little more than `most` bytes of it; None when time runs out."""
    raw = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while len(raw) <= most:
            if not selector.select(max(deadline - time.monotonic(), 0.0)):
                return None
            chunk = os.read(pipe, _CHUNK)
            if not chunk:
                break
            raw += chunk
    return raw


@contextmanager
def _nameless(snapshot: Path) -> Iterator[int]:
    """A snapshot's file, open, under a name that is gone already. Raises UnknownBuild and StoreError."""
    link = snapshot.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        link.hardlink_to(snapshot)
        handle = os.open(link, os.O_RDONLY)
    except FileNotFoundError as error:
        raise UnknownBuild(
            phrase("statement.no_snapshot", name=snapshot.stem), remedy=phrase("do.open_anew")
        ) from error
    except OSError as error:
        raise StoreError(
            phrase("statement.no_link", name=snapshot.stem, error=str(error.strerror)), remedy=phrase("do.hard_links")
        ) from error
    finally:
        link.unlink(missing_ok=True)
    try:
        yield handle
    finally:
        os.close(handle)


def _encoded(statement: str) -> bytes:
    try:
        text = statement.encode()
    except UnicodeEncodeError as error:
        raise _refusal("refused", phrase("statement.no_text"), LIMITS) from error
    if len(text) > MOST_BYTES:
        raise QueryRefused(
            phrase("statement.too_long", n=len(text), most=MOST_BYTES), remedy=phrase("do.shorten_statement")
        )
    if b"\x00" in text:
        raise QueryRefused(phrase("statement.nul"), remedy=phrase("do.delete_it"))
    if not text.strip():
        raise QueryRefused(phrase("statement.none"), remedy=phrase("do.write_statement"))
    return text


def _unanswered(status: int | None, limits: Limits) -> QueryError:
    """What it means that a process ended without an answer."""
    if status is None or -status in (signal.SIGALRM, signal.SIGXCPU):
        return _refusal("timeout", "", limits)
    return _refusal("memory", phrase("statement.broke_down"), limits)


def _refusal(fault: str, message: Said, limits: Limits) -> QueryError:
    """The error of a fault; a message of the database's own is cut, and for want of time or memory replaced."""
    kind, remedy = _REMEDIES[fault]
    if fault == "timeout":
        message = phrase("statement.too_slow", seconds=limits.seconds)
    elif isinstance(message, str):
        own = message[:_MOST_WORDS].rstrip(".")
        needs_more, failed = phrase("statement.memory", mb=limits.memory_mb), phrase("statement.failed", message=own)
        message = needs_more if fault == "memory" else failed
    return kind(message, remedy=phrase(f"do.{remedy}"))
