"""Rows that could not be used, each with its file, line, column and reason: refused, but never lost. Sound rows that a
cleaning rule removed lie here too, behind those.

The lines of text files are read again for their exact text, so that a person can mend and bring them anew.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.catalogue import Listing
from data.cleaning import REASONS, reasons_of
from data.errors import TooManyRefused, UnreadableFile
from data.phrases import clauses, file_called, listed, phrase
from data.reading.staging import Staged, StagedFile
from data.reading.textfile import RAW_CHARACTERS, Marks, marks_of, shown
from data.spec import DatasetSpec, EventsSection
from data.warehouse import Connection

Row = tuple[str, str, int, str | None, str, str | None]
RAW_ROWS = 200_000  # refused rows whose text is kept; a file that is all wrong need not be stored twice
MOST_REFUSED, FEW_ROWS = 0.2, 1_000
SCHEMA = pa.schema(
    [
        ("table", pa.string()),
        ("source", pa.string()),
        ("line", pa.int64()),
        ("column", pa.string()),
        ("reason", pa.string()),
        ("raw", pa.string()),
    ]
)
SOUND = pa.array(["superseded", "duplicate", "duplicate-key", *REASONS])  # no fault: came again, or is not wanted
_MAPPED = (
    "SELECT row_no, CAST(reason AS VARCHAR) AS reason, rtrim(concat_ws(chr(9), coalesce(f0, ''), coalesce(f1, ''),"
    " coalesce(f2, ''), coalesce(f3, ''), coalesce(f4, '')), chr(9)) AS mapped"
    " FROM checked JOIN raw_events ON raw_events.rowid = checked.row_no"
)
_REFUSED = f"{_MAPPED} WHERE reason < CAST('clean-kind' AS fault) ORDER BY row_no"  # as text, it compares by letter
_REMOVED = (
    "SELECT row_no, CAST(reason AS VARCHAR) AS reason FROM checked"
    " WHERE reason >= CAST('clean-kind' AS fault) ORDER BY row_no"
)
_REMOVED_TEXTS = f"{_MAPPED} WHERE reason >= CAST('clean-kind' AS fault) AND row_no <= $last ORDER BY row_no"


def event_refusals(connection: Connection, staged: Staged, spec: DatasetSpec) -> pa.Table:
    """Refused event rows as SCHEMA, by file and line: what did not split, and what failed a check; behind them, by file
    and line again, what a cleaning rule removed.

    `line` counts from 1 (of a Parquet file: the row); `column` is the caller's name of the column at fault.
    """
    refused = _refused(connection, staged, spec.events)
    return pa.concat_tables([refused, _removed(connection, staged, spec.events)]) if reasons_of(spec) else refused


def _removed(connection: Connection, staged: Staged, section: EventsSection) -> pa.Table:
    """What cleaning rules removed. That may be most of a log: columns are put together whole, and only the first rows
    have their text, apart from those that are to be mended."""
    found = connection.sql(_REMOVED).to_arrow_table()
    row_nos = found["row_no"].to_numpy().astype(np.int64)
    names, lines = staged.locate(row_nos)
    texts: list[str | None] = []
    if told := min(len(row_nos), RAW_ROWS):
        first = connection.sql(_REMOVED_TEXTS, params={"last": int(row_nos[told - 1])}).to_arrow_table()
        texts = _with_source_text(staged, row_nos[:told], lines[:told].tolist(), first["mapped"].to_pylist())
    reasons = found["reason"].combine_chunks().dictionary_encode()
    at_fault = {"clean-kind": section.kind, "clean-value": section.value}
    columns = pa.array([at_fault.get(reason) for reason in reasons.dictionary.to_pylist()], pa.string())
    made = {
        "table": pa.repeat("events", len(row_nos)),
        "source": pa.array(names, pa.string()),
        "line": pa.array(lines, pa.int64()),
        "column": columns.take(reasons.indices),
        "reason": found["reason"],
        "raw": pa.array(texts + [None] * (len(row_nos) - told), pa.string()),
    }
    return pa.table(made).select(SCHEMA.names).cast(SCHEMA)


def _refused(connection: Connection, staged: Staged, section: EventsSection) -> pa.Table:
    """What did not split, and what failed a check."""
    found = connection.sql(_REFUSED).to_arrow_table()
    row_nos = found["row_no"].to_numpy().astype(np.int64)
    names, lines = staged.locate(row_nos)
    reasons = found["reason"].to_pylist()
    raws: list[str | None] = found["mapped"].to_pylist()
    if len(raws) <= RAW_ROWS:
        raws = _with_source_text(staged, row_nos, lines.tolist(), raws)
    else:
        raws = raws[:RAW_ROWS] + [None] * (len(raws) - RAW_ROWS)
    columns = {
        "user": section.user,
        "item": section.item,
        "time": section.ts,
        "kind": section.kind,
        "value": section.value,
        "superseded": section.id,
    }
    checked: list[Row] = [
        ("events", name, line, columns.get(reason.rpartition("-")[2]), reason, raw)
        for name, line, reason, raw in zip(names, lines.tolist(), reasons, raws, strict=True)
    ]
    unsplit: list[Row] = [
        ("events", file.name, reject.line, None, reject.reason, reject.raw)
        for file in staged.files
        for reject in file.rejects
    ]
    order = {file.name: number for number, file in enumerate(staged.files)}
    return _table(sorted(checked + unsplit, key=lambda row: (order[row[1]], row[2])))


def listing_refusals(table: str, listing: Listing) -> pa.Table:
    """Refused rows of an item or user file as SCHEMA; `table` is `items` or `users`."""
    return _table([(table, *row) for row in sorted(listing.refused, key=lambda row: row[:2])])


@dataclass(frozen=True)
class Refusals:
    """What of the files could not be used. sections: the refused rows (SCHEMA), the rows read, and `most_refused` of
    events, items and users."""

    sections: Mapping[str, tuple[pa.Table, int, float | None]]
    accepted: int  # event rows
    goes_on: bool = False  # from an older build, which has some

    @property
    def rows(self) -> pa.Table:
        """All refused rows, the events' first."""
        return pa.concat_tables([refused for refused, _, _ in self.sections.values()])

    def judge(self) -> None:
        """Raise UnreadableFile where of event rows none can be used, TooManyRefused where a section has too few."""
        refused, read, _ = self.sections["events"]
        if self.accepted == 0 and read and not self.goes_on:
            raise _nothing_usable(refused, read)
        for section, (refused, read, most) in self.sections.items():
            refuse_too_many(refused, read=read, section=section, most=most)


def refuse_too_many(refused: pa.Table, *, read: int, section: str, most: float | None) -> None:
    """Raise TooManyRefused where a larger share than `most` of the rows `read` was; what came twice does not count: it
    is sound, and there; nor does what a cleaning rule removed, which was asked for. None: MOST_REFUSED, of so many rows
    that nobody looks at each."""
    if most is None and read < FEW_ROWS:
        return
    most = MOST_REFUSED if most is None else most
    told = refused.filter(pc.invert(pc.is_in(refused["reason"], SOUND)))
    if told.num_rows <= most * read + 1e-9:
        return
    first = {row["reason"]: row for row in reversed(told.select(["reason", "source", "line"]).to_pylist())}
    cases = clauses(
        phrase(
            "rows.case",
            n=n,
            reason=phrase(f"reason.{reason}"),
            line=first[reason]["line"],
            file=file_called(first[reason]["source"]),
        )
        for reason, n in counted(told).items()
    )
    raise TooManyRefused(
        phrase("rows.too_many_refused", n=told.num_rows, read=read, most=100 * most, cases=cases),
        remedy=phrase("do.mend_or_allow", section=section),
    )


def _nothing_usable(refused: pa.Table, read: int) -> UnreadableFile:
    counts = listed(
        phrase("rows.counted", n=n, reason=phrase(f"reason.{reason}")) for reason, n in counted(refused).items()
    )
    if pc.any(pc.is_in(refused["reason"], pa.array(REASONS))).as_py():
        return UnreadableFile(phrase("rows.none_left", read=read, counts=counts), remedy=phrase("do.loosen"))
    first = refused.slice(0, 1).to_pylist()[0]
    return UnreadableFile(
        phrase("rows.none_usable", read=read, counts=counts, line=first["line"], file=file_called(first["source"])),
        remedy=phrase("do.check_columns"),
    )


def counted(refused: pa.Table) -> dict[str, int]:
    """Refused rows by reason, the most frequent first."""
    found = pc.value_counts(refused["reason"]).to_pylist()  # in the order in which they come first
    return {one["values"]: one["counts"] for one in sorted(found, key=lambda one: -one["counts"])}


def write_quarantine(path: Path, refused: pa.Table) -> None:
    """One Parquet file in SCHEMA; written also when nothing was refused."""
    pq.write_table(refused.cast(SCHEMA), path)


def _table(rows: Sequence[Row]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    arrays = [pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)]
    return pa.table(arrays, schema=SCHEMA)


def _with_source_text(
    staged: Staged, row_nos: npt.NDArray[np.int64], lines: Sequence[int], mapped: Sequence[str | None]
) -> list[str | None]:
    """The text of each refused row as its file holds it; for Parquet the mapped values, tab between."""
    texts = list(mapped)
    for file in staged.files:
        inside = (row_nos >= file.start) & (row_nos < file.start + file.count)
        mine: list[int] = np.flatnonzero(inside).tolist()
        if file.text is None or not mine:
            continue
        held = _lines_of(file, {lines[at] for at in mine})
        for at in mine:
            texts[at] = held.get(lines[at], texts[at])
    return texts


def _lines_of(file: StagedFile, wanted: set[int]) -> dict[int, str]:
    """The text of the records that begin at these lines, as many lines as each has."""
    assert file.text is not None, "only lines of text are read again"
    if file.lines is None:
        return {
            number: shown(line.decode("utf-8", errors="replace"))
            for number, line in _picked(file.text, wanted, file.marks or marks_of(file.text))
        }
    begins = {*file.lines.tolist(), *(reject.line for reject in file.rejects)}
    held: dict[int, str] = {}
    at: int | None = None
    with file.text.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if number in begins:
                at = number if number in wanted else None
                if len(held) == len(wanted) and at is None:
                    break
            if at is not None and len(held.get(at, "")) < RAW_CHARACTERS:
                held[at] = held.get(at, "") + line.decode("utf-8", errors="replace")
    return {number: shown(text) for number, text in held.items()}


def _picked(path: Path, wanted: set[int], marks: Marks) -> Iterator[tuple[int, bytes]]:
    """Lines by their numbers, of a large file of which only the parts that hold some are read. marks: places where
    lines begin, and their numbers."""
    ordered, at = sorted(wanted), 0
    begins = [number for _, number in marks]
    with path.open("rb") as stream:
        while at < len(ordered):
            part = bisect_right(begins, ordered[at]) - 1
            beyond = begins[part + 1] if part + 1 < len(begins) else math.inf
            until = bisect_left(ordered, beyond, lo=at)
            place, number = marks[part]
            stream.seek(place)
            text = stream.read(marks[part + 1][0] - place if part + 1 < len(marks) else -1)
            ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
            for one in ordered[at:until]:
                nth = one - number
                begin = int(ends[nth - 1]) + 1 if nth else 0
                yield one, text[begin : int(ends[nth]) if nth < len(ends) else len(text)]
            at = until
