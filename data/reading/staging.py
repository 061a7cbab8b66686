"""The staging table: every row of the caller's files as text, in file order, with nothing lost.

One contract for all readers (`rows` for delimited text and Parquet, `jsonlines`, `databases`): a record is either
staged, and its rowid tells its file and line, or rejected with its line and reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.phrases import Phrase
from data.reading.textfile import Marks, Reject
from data.warehouse import Connection


@dataclass(frozen=True)
class Source:
    """Where rows come from: a file (`path`, with the encoding and delimiter that the caller says), or a query to the
    database at `address`; `name` is what people know it by, `partitions` what the folders below the spec's own say of
    every row (day=2024-01-01)."""

    name: str
    path: Path = Path()
    encoding: str | None = None
    partitions: tuple[tuple[str, str], ...] = ()
    address: str | None = None
    query: str | None = None
    delimiter: str | None = None


@dataclass
class StagedFile:
    """Where one source's rows lie in the staging table: `count` of them from rowid `start`, in its order. text: the
    UTF-8 lines that it was read from, None where it is no text; marks: places there where lines begin, and their
    numbers, where they are known already; decoded: what was done to come there."""

    name: str
    start: int
    header_lines: int = 0
    count: int = 0
    rejects: list[Reject] = field(default_factory=list)
    lines: npt.NDArray[np.int64] | None = None  # of each staged row; None: a record a line
    text: Path | None = None
    marks: Marks = ()
    decoded: Phrase | None = None
    fed: bool = False  # from the ledger's feedback, behind the files
    members: tuple[str, ...] | None = None  # of JSON lines: what their objects have

    def line_of(self, ordinals: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The line of the n-th staged row of this file (of what is no text: its row), counted from 1."""
        if self.lines is not None:
            return self.lines[ordinals]
        records = np.array(sorted(reject.line for reject in self.rejects), dtype=np.int64) - 1 - self.header_lines
        before = np.searchsorted(records - np.arange(len(records)), ordinals, side="right")
        return ordinals + before + 1 + self.header_lines

    def stretches(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The ordinals of staged rows whose lines do not follow the row before, and their lines."""
        if self.lines is not None:
            begins = np.flatnonzero(np.diff(self.lines, prepend=-1) != 1)
            return begins, self.lines[begins]
        records = np.array(sorted(reject.line for reject in self.rejects), dtype=np.int64) - 1 - self.header_lines
        begins = np.unique(np.concatenate([[0], records - np.arange(len(records))]))
        begins = begins[begins < self.count]
        return begins, self.line_of(begins)


@dataclass(frozen=True)
class Staged:
    """A staging table: text columns f0, f1, ..., `rest` (list of text; null where no more is wanted), `file` (of
    `files` the number, from 1); rowids follow file order. ts_unit: how times are read, once a time told it."""

    table: str
    files: tuple[StagedFile, ...]
    ts_unit: str | None = None

    @property
    def read(self) -> int:
        """Records in the files, headers and blank lines aside: staged and rejected together."""
        return sum(file.count + len(file.rejects) for file in self.files)

    @property
    def places(self) -> int:
        """Staged rows, those of feedback too: one more than the highest rowid."""
        return sum(file.count for file in self.files)

    @property
    def of_files(self) -> int:
        """Staged rows of the caller's own sources: the first ones."""
        return sum(file.count for file in self.files if not file.fed)

    def locate(self, rowids: npt.NDArray[np.int64]) -> tuple[list[str], npt.NDArray[np.int64]]:
        """File name and line of each rowid."""
        starts = np.array([file.start for file in self.files], dtype=np.int64)
        which = np.searchsorted(starts, rowids, side="right") - 1
        lines = np.zeros(len(rowids), dtype=np.int64)
        for number, file in enumerate(self.files):
            mine = which == number
            lines[mine] = file.line_of(rowids[mine] - file.start)
        return [self.files[number].name for number in which], lines

    def twins_in(self, other: "Staged") -> npt.NDArray[np.int64] | None:
        """The rowid that each row here has in another reading of the same sources, -1 where it was rejected there;
        None where the rows of both are the same."""
        pairs = list(zip(self.files, other.files, strict=False))
        if all(_records(mine) == _records(theirs) for mine, theirs in pairs):
            return None
        return np.concatenate([_twins(mine, theirs) for mine, theirs in pairs])


def _records(file: StagedFile) -> tuple[int, list[int]]:
    return file.count, sorted(reject.line for reject in file.rejects)


def _twins(file: StagedFile, other: StagedFile) -> npt.NDArray[np.int64]:
    mine, theirs = (one.line_of(np.arange(one.count)) for one in (file, other))
    at = np.minimum(np.searchsorted(theirs, mine), max(len(theirs) - 1, 0))
    same = theirs[at] == mine if len(theirs) else np.zeros(len(mine), dtype=bool)
    return np.where(same, other.start + at, -1)


@dataclass(frozen=True)
class Target:
    """A staging table being filled: the named columns (None: NULL throughout) become f0, f1, ..., `rest` the list.
    scratch: a folder for what has to be written on the way; needed: how many of the first columns a source has to have,
    where an object a line need not have every member; number: of the source that is read, from 1."""

    connection: Connection
    table: str
    columns: list[str | None]
    rest: list[str]
    list_separator: str
    scratch: Path
    needed: int = 0
    number: int = 1

    @property
    def wanted(self) -> list[str]:
        """Every named column."""
        return [name for name in self.columns if name is not None] + self.rest

    def picks(self, header: Sequence[str]) -> tuple[list[int | None], list[int]]:
        """Positions of the wanted columns in a header."""
        at = {name: number for number, name in enumerate(header)}
        return [None if name is None else at[name] for name in self.columns], [at[name] for name in self.rest]

    def places(self, header: Sequence[str]) -> list[int]:
        """The same, all together."""
        main, rest = self.picks(header)
        return [number for number in main if number is not None] + rest

    def insert(self, source: str, header: Sequence[str], texts: Sequence[str], **more: object) -> int:
        """Insert the wanted columns of a FROM clause, the n-th of which reads `texts[n]`; rows inserted."""
        main, rest = self.picks(header)
        chosen = ["NULL" if number is None else texts[number] for number in main]
        listed = f"[{', '.join(texts[number] for number in rest)}]" if rest else "NULL"
        # Only generated names (c0, c1, ...) stand in this statement; the caller's are matched above.
        select = f"SELECT {', '.join(chosen)}, {listed}, $file FROM {source}"  # noqa: S608
        rows = self.connection.execute(f"INSERT INTO {self.table} {select}", {"file": self.number, **more}).fetchall()
        return int(rows[0][0])

    def append(self, rows: pa.Table) -> None:
        """Insert rows that have the table's columns, but for `file`, and for `rest` where no more is wanted."""
        self.connection.register("batch", rows)
        statement = f"INSERT INTO {self.table} BY NAME SELECT *, $file AS file FROM batch"  # noqa: S608 - our own name
        self.connection.execute(statement, {"file": self.number})
        self.connection.unregister("batch")


def text_of(name: str, kind: pa.DataType) -> str:
    """SQL that turns a typed column into the text that a CSV would hold; lists need the parameter $separator."""
    if pa.types.is_floating(kind):  # a column of whole numbers with gaps comes as 7.0
        return f"regexp_replace(CAST({name} AS VARCHAR), '\\.0$', '')"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"array_to_string({name}, $separator)"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):  # keys of some exports: UTF-8, not marked as such
        return f"decode({name})"
    return f"CAST({name} AS VARCHAR)"
