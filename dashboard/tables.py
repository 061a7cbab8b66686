"""Tables handed out as files, CSV or Parquet by the name's ending."""

import csv
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import InputError
from data.publish import temporary_folder


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


def _into_parquet(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> int:
    rows = 0
    with pq.ParquetWriter(path, schema) as file:
        for batch in batches:
            file.write_batch(batch)
            rows += batch.num_rows
    return rows


def _into_csv(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> int:
    rows = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(schema.names)
        for batch in batches:
            writer.writerows([_safe(cell) for cell in row.values()] for row in batch.to_pylist())
            rows += batch.num_rows
    return rows


def _safe(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
