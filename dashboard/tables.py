"""Tables handed out as files, CSV or Parquet by the name's ending, and rows of any types made legible: each cell a
number, a truth value, a date, a moment or a text, which a grid, a terminal and a spreadsheet all can hold.
"""

import csv
import io
import json
from collections.abc import Collection, Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.errors import InputError
from data.publish import temporary_folder

_EXACT_DIGITS = 15  # decimal digits that a float keeps
_CALENDAR_DAYS = (-719_162, 2_932_896)  # 1 January of year 1 and 31 December 9999, in days since 1970
_CYCLE_DAYS = 146_097  # of 400 years
_UNITS_A_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def check_name(out: Path) -> None:
    """Raises InputError for an ending other than .csv or .parquet."""
    if out.suffix not in (".csv", ".parquet"):
        raise InputError(f"{out} is neither .csv nor .parquet", remedy="end the file's name with one of the two")


def write_rows(batches: Iterable[pa.RecordBatch], schema: pa.Schema, out: Path) -> int:
    """Rows written, whole or not at all; in a CSV, text that a spreadsheet would run as a formula is quoted with an
    apostrophe. Raises InputError for a folder that is not there, DiskFull."""
    try:
        with temporary_folder(out.parent, out.name) as folder:
            made = folder / out.name
            rows = (_into_parquet if out.suffix == ".parquet" else _into_csv)(batches, schema, made)
            made.replace(out)
            return rows
    except FileNotFoundError as error:
        raise InputError(f"there is no folder {out.parent}", remedy="name an existing one") from error


def csv_of(table: pa.Table) -> bytes:
    """A table as a CSV for a spreadsheet, legible; text and names that it would run as a formula are quoted with an
    apostrophe."""
    out = io.StringIO(newline="")
    plain = legible(table)
    texts = {name for name, column in zip(table.column_names, table.columns, strict=True) if not _counts(column.type)}
    _write(csv.writer(out), plain.to_batches(), plain.column_names, of_text=texts)
    return out.getvalue().encode("utf-8-sig", "replace")


def parquet_of(table: pa.Table) -> bytes:
    """A table as it is."""
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def legible(table: pa.Table) -> pa.Table:
    """The same rows; what is no number, truth value, date or moment (of the years 1 to 9999) is a text. Whole numbers
    beyond 2^53 are texts too, and decimals of which one has more than 15 digits: a float would change them."""
    columns = [_legible(column) for column in table.columns]
    return pa.table(columns, names=table.column_names) if columns else table


def cut(table: pa.Table, *, characters: int) -> pa.Table:
    """The same rows with texts of at most so many characters; what is cut ends in an ellipsis."""
    columns = [
        pc.if_else(
            pc.greater(pc.utf8_length(column), characters),
            pc.binary_join_element_wise(pc.utf8_slice_codeunits(column, 0, characters), "…", ""),
            column,
        )
        if pa.types.is_string(column.type)
        else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names) if columns else table


def safe(cell: Any) -> Any:
    """What a spreadsheet shows as it is: text that it would take for a formula gets an apostrophe in front."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _legible(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _legible(column.cast(kind.value_type))
    if pa.types.is_string(kind) or pa.types.is_boolean(kind) or pa.types.is_floating(kind):
        return column
    if pa.types.is_integer(kind):
        return column if _within(column, -(2**53), 2**53) else column.cast(pa.string())
    if pa.types.is_decimal(kind):
        most = 10 ** (_EXACT_DIGITS - kind.scale) if kind.scale <= _EXACT_DIGITS else 0
        exact = kind.precision <= _EXACT_DIGITS or (most and _within(column, -most, most))
        return column.cast(pa.float64() if exact else pa.string())
    if pa.types.is_timestamp(kind):
        return column if _in_calendar(column.cast(pa.timestamp(kind.unit)), kind.unit) else _as_text(column)
    if pa.types.is_date(kind):
        days = column.cast(pa.date32()).cast(pa.int32())
        return column if _within(days, *_CALENDAR_DAYS) else _as_text(column.cast(pa.date32()))
    if pa.types.is_time(kind) or pa.types.is_large_string(kind):
        return column.cast(pa.string())
    cells = column.to_pylist()
    if pa.types.is_map(kind):
        cells = [None if cell is None else {str(key): value for key, value in cell} for cell in cells]
    return pa.chunked_array([pa.array([_told(cell) for cell in cells], pa.string())])


def _in_calendar(column: pa.ChunkedArray, unit: str) -> bool:
    day = _UNITS_A_DAY[unit]
    return _within(column.cast(pa.int64()), _CALENDAR_DAYS[0] * day, (_CALENDAR_DAYS[1] + 1) * day - 1)


def _within(column: pa.ChunkedArray, low: int, high: int) -> bool:
    ends = pc.min_max(column).as_py()
    return ends["min"] is None or (ends["min"] >= low and ends["max"] <= high)


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Moments and days that no calendar holds, as ISO 8601 writes them (astronomical years), the ends of time by name.
    Arrow itself writes wrong years beyond 32767."""
    kind, days = column.type, pa.types.is_date32(column.type)
    wide = column.cast(pa.int32() if days else pa.int64())
    a_day, end = 1 if days else _UNITS_A_DAY[kind.unit], 2 ** (wide.type.bit_width - 1) - 1
    written = {None: None, end: "infinity", -end: "-infinity"}
    zone = "" if days or kind.tz is None else "Z"
    texts = [written[cell] if cell in written else _written(cell, a_day) + zone for cell in wide.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])


def _written(cell: int, a_day: int) -> str:
    """A number of days since 1970, or of parts of days. The calendar comes again every 400 years."""
    days, part = divmod(cell, a_day)
    cycles, days = divmod(days, _CYCLE_DAYS)
    day = date(1970, 1, 1) + timedelta(days)
    told = f"{day.year + 400 * cycles:05}-{day:%m-%d}".removeprefix("0")
    if a_day == 1:
        return told
    seconds, fraction = divmod(part, a_day // 86_400)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    digits = len(str(a_day // 86_400)) - 1
    return f"{told} {clock}" + (f".{fraction:0{digits}}" if fraction else "")


def _told(cell: Any) -> str | None:
    if cell is None:
        return None
    if isinstance(cell, bytes):
        return "".join(chr(byte) if 32 <= byte < 127 and byte != 92 else f"\\x{byte:02X}" for byte in cell)
    return json.dumps(cell, ensure_ascii=False, default=lambda inner: _told(inner) if _is_bytes(inner) else str(inner))


def _counts(kind: pa.DataType) -> bool:
    """Whether a column's cells are numbers: one that is written as a text runs as no formula."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_bytes(cell: Any) -> bool:
    return isinstance(cell, bytes)


def _into_parquet(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> int:
    rows = 0
    with pq.ParquetWriter(path, schema) as file:
        for batch in batches:
            file.write_batch(batch)
            rows += batch.num_rows
    return rows


def _into_csv(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> int:
    with path.open("w", newline="", encoding="utf-8") as file:
        return _write(csv.writer(file), batches, schema.names)


def _write(
    writer: Any, batches: Iterable[pa.RecordBatch], names: list[str], *, of_text: Collection[str] | None = None
) -> int:
    """of_text: columns whose cells may be a stranger's text; None for all."""
    rows, guarded = 0, [of_text is None or name in of_text for name in names]
    writer.writerow([safe(name) for name in names])
    for batch in batches:
        columns = [
            [safe(cell) for cell in column.to_pylist()] if guard else column.to_pylist()
            for column, guard in zip(batch.columns, guarded, strict=True)
        ]
        writer.writerows(zip(*columns, strict=True))
        rows += batch.num_rows
    return rows
