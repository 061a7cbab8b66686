"""Rows of typed sources, Parquet and databases, with a text that is none: bytes that are not UTF-8."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.reading.textfile import Reject, shown


def apart(batch: pa.RecordBatch, places: list[int], *, first: int) -> tuple[pa.RecordBatch, list[Reject]]:
    """The rows whose texts in the columns at `places` are UTF-8, and the others as rejects. first: the number of the
    batch's first row."""
    sound = np.ones(batch.num_rows, dtype=np.bool_)
    for place in places:
        sound &= _sound(batch.column(place))
    if sound.all():
        return batch, []
    rejects = [
        Reject(first + row, "bad-encoding", shown("\t".join(_told(batch.column(place), row) for place in places)))
        for row in np.flatnonzero(~sound).tolist()
    ]
    return batch.filter(pa.array(sound)), rejects


def _sound(column: pa.Array) -> npt.NDArray[np.bool_]:
    if not _holds_text(column.type):
        return np.ones(len(column), dtype=np.bool_)
    raw = column.cast(pa.large_binary())
    try:
        raw.cast(pa.large_string())
    except pa.ArrowInvalid:
        return np.array([_is_text(value) for value in raw.to_pylist()], dtype=np.bool_)
    return np.ones(len(column), dtype=np.bool_)


def _told(column: pa.Array, row: int) -> str:
    if not _holds_text(column.type):
        return str(column[row].as_py())
    value = column.slice(row, 1).cast(pa.large_binary())[0].as_py()
    return "" if value is None else bytes(value).decode("utf-8", errors="replace")


def _holds_text(kind: pa.DataType) -> bool:
    return any(
        matches(kind)
        for matches in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    )


def _is_text(value: bytes | None) -> bool:
    try:
        (value or b"").decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
