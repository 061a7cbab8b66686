"""Rows of the caller's files, staged as text with their exact line numbers and nothing lost.

Two readers, one contract. A *plain* text file (no quotes, no blank line, one kind of line end) is a record
a line, so DuckDB's reader is both fast and exact on it. Any other text file goes through `exact_rows`, which
never lets one stray quote swallow what follows. Parquet is read by DuckDB. Every record is either staged or
rejected.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.errors import UnreadableFile
from data.textfile import Reject, Shape, check_columns, exact_rows, first_bytes, header_of, shape_of, shown
from data.warehouse import Connection, DatabaseError

FEEDBACK = "feedback"  # what stands for the file where an event came from the ledger
_BATCH_ROWS = 50_000
_GLOB = re.compile(r"[*?\[]")  # DuckDB would take such a path for a pattern
_REJECT_REASONS = {
    "MISSING COLUMNS": "ragged-row",
    "TOO MANY COLUMNS": "ragged-row",
    "INVALID ENCODING": "bad-encoding",
    "LINE SIZE OVER MAXIMUM": "line-too-long",
}


@dataclass
class StagedFile:
    """Where one file's rows lie in the staging table: `count` of them from rowid `start`, in file order."""

    path: Path
    start: int
    header_lines: int
    count: int = 0
    rejects: list[Reject] = field(default_factory=list)
    lines: npt.NDArray[np.int64] | None = None  # of each staged row; None: a record a line

    def line_of(self, ordinals: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The line of the n-th staged row of this file (of a Parquet file: its row), counted from 1."""
        if self.lines is not None:
            return self.lines[ordinals]
        records = np.array(sorted(reject.line for reject in self.rejects), dtype=np.int64) - 1 - self.header_lines
        before = np.searchsorted(records - np.arange(len(records)), ordinals, side="right")
        return ordinals + before + 1 + self.header_lines


@dataclass(frozen=True)
class Staged:
    """A staging table: text columns f0, f1, ..., `rest` (list of text), `file`; rowids follow file order."""

    table: str
    files: tuple[StagedFile, ...]

    @property
    def read(self) -> int:
        """Records in the files, headers and blank lines aside: staged and rejected together."""
        return sum(file.count + len(file.rejects) for file in self.files)

    def locate(self, rowids: npt.NDArray[np.int64]) -> tuple[list[str], npt.NDArray[np.int64]]:
        """File name and line of each rowid."""
        starts = np.array([file.start for file in self.files], dtype=np.int64)
        which = np.searchsorted(starts, rowids, side="right") - 1
        lines = np.zeros(len(rowids), dtype=np.int64)
        for number, file in enumerate(self.files):
            mine = which == number
            lines[mine] = file.line_of(rowids[mine] - file.start)
        return [self.files[number].path.name for number in which], lines


def stage(
    connection: Connection,
    table: str,
    files: Sequence[Path],
    *,
    columns: Sequence[str | None],
    rest: Sequence[str] = (),
    list_separator: str = "|",
) -> Staged:
    """Make `table` from the named columns of every file; a None column is NULL throughout.

    Lists in Parquet files become text joined by `list_separator`. Raises MissingColumn and UnreadableFile.
    """
    try:
        return _stage(connection, table, files, columns, rest, list_separator, exact=False)
    except _Disagreement:
        return _stage(connection, table, files, columns, rest, list_separator, exact=True)


def stage_feedback(
    connection: Connection, staged: Staged, feedback: pa.Table, *, us_per_unit: float | None, n_context: int
) -> Staged:
    """The same staging table with feedback behind the files' rows, as the text that such a file would hold.

    feedback: (feedback_id, user, item, ts, kind, value); us_per_unit: the files' unit of time, None for ISO 8601;
    n_context: how many columns of context they have. A row's line is its feedback_id.
    """
    connection.register("incoming", feedback)
    connection.execute(
        f"INSERT INTO {staged.table} SELECT user, item,"  # noqa: S608 - our own name
        " CASE WHEN $us IS NULL THEN strftime(ts, '%Y-%m-%d %H:%M:%S.%f+00')"
        " ELSE CAST(CAST(epoch_us(ts) AS DOUBLE) / $us AS VARCHAR) END,"
        " kind, CAST(value AS VARCHAR), CAST($rest AS VARCHAR[]), $file FROM incoming",
        {"us": us_per_unit, "file": FEEDBACK, "rest": [None] * n_context},
    )
    connection.unregister("incoming")
    lines = feedback["feedback_id"].to_numpy()
    start = sum(file.count for file in staged.files)
    last = StagedFile(Path(FEEDBACK), start, header_lines=0, count=feedback.num_rows, lines=lines)
    return Staged(staged.table, (*staged.files, last))


class _Disagreement(Exception):
    """DuckDB's count of records is not the file's count of lines: read it the exact way."""


def _stage(
    connection: Connection,
    table: str,
    files: Sequence[Path],
    columns: Sequence[str | None],
    rest: Sequence[str],
    list_separator: str,
    *,
    exact: bool,
) -> Staged:
    layout = ", ".join(f"f{number} VARCHAR" for number in range(len(columns)))
    connection.execute(f"CREATE OR REPLACE TABLE {table} ({layout}, rest VARCHAR[], file VARCHAR)")
    done: list[StagedFile] = []
    start = 0
    for path in files:
        target = _Target(connection, table, list(columns), list(rest), list_separator)
        staged = _stage_file(target, path, start, exact=exact)
        done.append(staged)
        start += staged.count
    return Staged(table, tuple(done))


@dataclass(frozen=True)
class _Target:
    connection: Connection
    table: str
    columns: list[str | None]
    rest: list[str]
    list_separator: str

    @property
    def wanted(self) -> list[str]:
        return [name for name in self.columns if name is not None] + self.rest

    def picks(self, header: Sequence[str]) -> tuple[list[int | None], list[int]]:
        """Positions of the wanted columns in a header."""
        at = {name: number for number, name in enumerate(header)}
        return [None if name is None else at[name] for name in self.columns], [at[name] for name in self.rest]

    def places(self, header: Sequence[str]) -> list[int]:
        """The same, all together."""
        main, rest = self.picks(header)
        return [number for number in main if number is not None] + rest

    def insert(self, source: str, path: Path, header: Sequence[str], texts: Sequence[str], **more: str) -> int:
        """Insert the wanted columns of a FROM clause, the n-th of which reads `texts[n]`; rows inserted."""
        params = {"path": str(path), "file": path.name, **more}
        main, rest = self.picks(header)
        chosen = ["NULL" if number is None else texts[number] for number in main]
        listed = ", ".join(texts[number] for number in rest)
        # Only generated names (c0, c1, ...) stand in this statement; the caller's are matched above.
        select = f"SELECT {', '.join(chosen)}, [{listed}], $file FROM {source}"  # noqa: S608
        rows = self.connection.execute(f"INSERT INTO {self.table} {select}", params).fetchall()
        return int(rows[0][0])


def _stage_file(target: _Target, path: Path, start: int, *, exact: bool) -> StagedFile:
    head = first_bytes(path)
    if head.startswith(b"PAR1") or path.suffix.lower() in (".parquet", ".pq"):
        return _stage_parquet(target, path, start)
    header, delimiter = header_of(path, head, target.wanted)
    shape = shape_of(path)
    if shape.plain and not exact and not _GLOB.search(str(path)):
        return _stage_plain(target, path, start, header, delimiter, shape)
    return _stage_exact(target, path, start, header, delimiter)


def _stage_plain(
    target: _Target, path: Path, start: int, header: Sequence[str], delimiter: str, shape: Shape
) -> StagedFile:
    names = [f"c{number}" for number in range(len(header))]
    types = ", ".join(f"'{name}': 'VARCHAR'" for name in names)
    source = (
        f"read_csv($path, header = true, auto_detect = false, columns = {{{types}}}, delim = $delimiter,"
        f" new_line = '{shape.newline}', quote = '', escape = '', store_rejects = true)"
    )
    file = StagedFile(path, start, header_lines=1)
    try:
        file.count = target.insert(source, path, header, names, delimiter=delimiter)
        found = target.connection.sql(
            "SELECT line, arg_min(error_type, column_idx) AS kind, any_value(csv_line) AS raw"
            " FROM reject_errors GROUP BY line ORDER BY line"
        ).to_arrow_table()
        target.connection.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")
    except DatabaseError as error:
        if "No space left" in str(error):
            raise
        raise _Disagreement from error
    file.rejects = [
        Reject(row["line"], _REJECT_REASONS.get(row["kind"], "unreadable-row"), shown(row["raw"] or ""))
        for row in found.to_pylist()
    ]
    if file.count + len(file.rejects) != shape.records:
        raise _Disagreement
    return file


def _stage_exact(target: _Target, path: Path, start: int, header: Sequence[str], delimiter: str) -> StagedFile:
    file = StagedFile(path, start, header_lines=1)
    main, rest = target.picks(header)
    lines: list[int] = []
    with path.open("rb") as stream:
        records = exact_rows(stream, columns=len(header), delimiter=delimiter, rejects=file.rejects)
        while batch := list(itertools.islice(records, _BATCH_ROWS)):
            cells = {
                f"f{number}": pa.array([None if at is None else row[at] for _, row in batch], pa.string())
                for number, at in enumerate(main)
            }
            cells["rest"] = pa.array([[row[at] for at in rest] for _, row in batch], pa.list_(pa.string()))
            cells["file"] = pa.array([path.name] * len(batch), pa.string())
            _append(target, pa.table(cells))
            lines.extend(line for line, _ in batch)
    file.count, file.lines = len(lines), np.array(lines, dtype=np.int64)
    return file


def _append(target: _Target, rows: pa.Table) -> None:
    target.connection.register("batch", rows)
    target.connection.execute(f"INSERT INTO {target.table} SELECT * FROM batch")  # noqa: S608 - our own name
    target.connection.unregister("batch")


# ---- Parquet


def _stage_parquet(target: _Target, path: Path, start: int) -> StagedFile:
    file = StagedFile(path, start, header_lines=0)
    if _GLOB.search(str(path)):
        raise UnreadableFile(f"the path of {path.name} holds one of * ? [", remedy="rename the file or folder")
    try:
        schema = (
            target.connection.sql("SELECT * FROM read_parquet($path) LIMIT 0", params={"path": str(path)})
            .to_arrow_table()
            .schema
        )
        check_columns(path, schema.names, target.wanted)
        names = [f"c{number}" for number in range(len(schema.names))]
        texts = [_text_of(name, field.type) for name, field in zip(names, schema, strict=True)]
        source = f"read_parquet($path) AS t({', '.join(names)})"
        uses_lists = any("$separator" in texts[number] for number in target.places(schema.names))
        more = {"separator": target.list_separator} if uses_lists else {}
        file.count = target.insert(source, path, schema.names, texts, **more)
    except DatabaseError as error:
        if "No space left" in str(error):
            raise
        raise UnreadableFile(
            f"{path.name} is not a readable Parquet file", remedy="export it again as Parquet, CSV or TSV"
        ) from error
    return file


def _text_of(name: str, kind: pa.DataType) -> str:
    """SQL that turns a Parquet column into the text a CSV would hold."""
    if pa.types.is_floating(kind):  # a column of whole numbers with gaps comes as 7.0
        return f"regexp_replace(CAST({name} AS VARCHAR), '\\.0$', '')"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"array_to_string({name}, $separator)"
    return f"CAST({name} AS VARCHAR)"
