"""A look at a file: its first rows and some from later on, as text, whatever the file's format.

Seconds on a file of any size: at most SAMPLE_ROWS rows from its beginning, LATER_ROWS from each of a few places
behind them, and never more than some megabytes. What cannot be split into the header's columns is passed over;
`ingest` is who accounts for every row.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.errors import UnreadableFile
from data.phrases import file_called, phrase
from data.reading.decoding import compression_of, decode, decode_head, is_parquet
from data.reading.faults import no_parquet
from data.reading.jsonlines import is_json_lines, members
from data.reading.textfile import MAX_LINE_BYTES, Reject, exact_rows, first_bytes, header_of

SAMPLE_ROWS = 20_000
LATER_ROWS = 1_000
ROWS_KEY = b"rows"  # of a sample's schema metadata: about how many rows the whole file has
_LATER_PLACES = (0.35, 0.55, 0.75, 0.95)
_MOST_BYTES = 32_000_000
_MOST_CELLS = 4_000_000
T = TypeVar("T")


def sample_of(
    path: Path, *, encoding: str | None = None, delimiter: str | None = None, most_bytes: int | None = None
) -> pa.Table:
    """A sample of delimited text, JSON lines or Parquet: one text column for each of its own, also where names repeat.

    The schema's metadata tells under ROWS_KEY about how many rows there are in all. What is compressed or not UTF-8 is
    written out first, as a whole, or up to `most_bytes`, and then the rows behind are not counted. encoding, delimiter:
    where the caller says them. Raises UnreadableFile.
    """
    if is_parquet(path):
        return _of_parquet(path)
    with TemporaryDirectory() as scratch:
        text = _decoded(path, Path(scratch), encoding, most_bytes)
        head = first_bytes(text, name=path.name)
        if is_json_lines(path.name, head):
            return _of_json_lines(path, text)
        return _of_text(path, text, head, delimiter)


def _decoded(path: Path, scratch: Path, encoding: str | None, most_bytes: int | None) -> Path:
    if most_bytes is None or compression_of(path) is None:  # a plain file is no larger than it is
        return decode(path, into=scratch, encoding=encoding).text
    head = scratch / "head.txt"
    decode_head(path, into=head, lines=SAMPLE_ROWS + 1, most_bytes=most_bytes, encoding=encoding)
    return head


def rows_of(sample: pa.Table) -> int:
    """About how many rows the sampled file has."""
    return int((sample.schema.metadata or {}).get(ROWS_KEY, sample.num_rows))


def _of_text(path: Path, text: Path, head: bytes, said: str | None) -> pa.Table:
    header, delimiter = header_of(path.name, head, (), delimiter=said)
    rejects: list[Reject] = []
    most = min(SAMPLE_ROWS, _MOST_CELLS // len(header))

    def cells(lines: Iterator[bytes]) -> Iterator[list[str]]:
        return (row for _, row in exact_rows(lines, columns=len(header), delimiter=delimiter, rejects=rejects))

    rows, total = _sampled(text, cells, most)
    if rejects and not rows:
        raise UnreadableFile(
            phrase(
                "file.no_line_fits",
                file=file_called(path.name),
                n=len(header),
                reason=phrase(f"reason.{rejects[0].reason}"),
                line=rejects[0].line,
            ),
            remedy=phrase("do.export_table"),
        )
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    return _told([pa.array(column, pa.string()) for column in columns], header, total)


def _of_json_lines(path: Path, text: Path) -> pa.Table:
    pointers = members(text)
    if not pointers:
        raise UnreadableFile(phrase("file.no_object", file=file_called(path.name)), remedy=phrase("do.object_a_line"))
    most = min(SAMPLE_ROWS, _MOST_CELLS // len(pointers))
    rows, total = _sampled(text, _objects, most)
    steps = [pointer.split("/")[1:] for pointer in pointers.values()]
    columns = [pa.array([_member(row, path) for row in rows], pa.string()) for path in steps]
    return _told(columns, list(pointers), total)


def _objects(lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """The objects of lines; others are passed over, and so is the rest of a line that the reading began amid."""
    for line in lines:
        try:
            value = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def _member(value: Any, steps: Sequence[str]) -> str | None:
    for step in steps:
        value = value.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(value, dict) else None
    if isinstance(value, list):
        return "|".join(map(str, value))
    if value is None or isinstance(value, dict):
        return None
    return json.dumps(value).removesuffix(".0") if isinstance(value, bool | float) else str(value)


def _sampled(text: Path, split: Callable[[Iterator[bytes]], Iterator[T]], most: int) -> tuple[list[T], int]:
    """Rows from the beginning and from later places, and about how many there are in all."""
    size = text.stat().st_size
    with text.open("rb") as stream:
        rows = list(islice(split(_lines(stream)), most))
        read, total = stream.tell(), len(rows)
        if 0 < read < size:
            total = round(len(rows) * size / read)
        for place in _LATER_PLACES:
            if len(rows) >= most and size * place > read:
                stream.seek(int(size * place))  # amid a line, which then stands where the header would
                rows += islice(split(_lines(stream)), min(LATER_ROWS, most))
    return rows, total


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines up to a bound, by `readline`, so that the stream's place stays known."""
    until = stream.tell() + _MOST_BYTES
    while stream.tell() < until and (line := stream.readline(MAX_LINE_BYTES)):
        yield line


def _of_parquet(path: Path) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            names, total = file.schema_arrow.names, file.metadata.num_rows
            most = max(1, min(SAMPLE_ROWS, _MOST_CELLS // max(1, len(names))))
            parts = list(islice(file.iter_batches(batch_size=most), 1))
            if file.num_row_groups > 1:
                last = file.iter_batches(batch_size=LATER_ROWS, row_groups=[file.num_row_groups - 1])
                parts += islice(last, 1 if total > most + LATER_ROWS else 0)
    except (pa.ArrowException, OSError) as error:
        raise no_parquet(path.name) from error
    schema = file.schema_arrow
    arrays = [pa.chunked_array([_as_text(part.column(at)) for part in parts], pa.string()) for at in range(len(names))]
    return _told(arrays, schema.names, total)


def _as_text(cells: pa.Array) -> pa.Array:
    """A Parquet column as the text that a CSV would hold; null where there is none."""
    kind = cells.type
    if pa.types.is_dictionary(kind):
        return _as_text(cells.cast(kind.value_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.array([None if row is None else "|".join(map(str, row)) for row in cells.to_pylist()], pa.string())
    try:
        text = pc.cast(cells, pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.nulls(len(cells), pa.string())
    return pc.replace_substring_regex(text, r"\.0$", "") if pa.types.is_floating(kind) else text


def _told(arrays: list[pa.Array], names: list[str], total: int) -> pa.Table:
    schema = pa.schema([(name, pa.string()) for name in names], metadata={ROWS_KEY: str(total).encode()})
    return pa.Table.from_arrays(arrays, schema=schema)
