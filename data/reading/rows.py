"""Delimited text and Parquet files, staged with their exact line numbers; the other kinds are sent to their readers.

Two readers of text, one contract. A *plain* file (no blank line, no stray quote, no quoted line end, one kind of line
end) is a record a line, so DuckDB's reader is both fast and exact on it. Any other goes through `exact_rows`, which
never lets one stray quote swallow what follows. Parquet is read by DuckDB, and only from paths that the caller names:
it is no format for uploads.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import UnreadableFile
from data.phrases import file_called, phrase, quoted
from data.reading.badtext import apart
from data.reading.databases import insert_batch, stage_query
from data.reading.decoding import decode, is_parquet
from data.reading.faults import no_parquet
from data.reading.jsonlines import is_json_lines, stage_json_lines
from data.reading.staging import Source, Staged, StagedFile, Target, text_of
from data.reading.textfile import Reject, Shape, check_columns, exact_rows, first_bytes, header_of, shape_of, shown
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


def stage(
    connection: Connection,
    table: str,
    sources: Sequence[Source],
    *,
    columns: Sequence[str | None],
    rest: Sequence[str] = (),
    list_separator: str = "|",
    needed: int = 1,
    scratch: Path,
) -> Staged:
    """Make the temporary `table` from the named columns of every source; a None column is NULL throughout; JSON lines,
    which leave out what they have not to say, need not have more than the first `needed` columns.

    Lists (Parquet, JSON, databases) become text joined by `list_separator`. What is compressed or in another encoding
    is written out in the folder `scratch`, where it has to stay until refused lines have been read again. Raises
    MissingColumn, UnreadableFile and InvalidSpec (a database's address).
    """
    target = Target(connection, table, list(columns), list(rest), list_separator, scratch, needed)
    layout = ", ".join(f"f{number} VARCHAR" for number in range(len(target.columns)))
    listed = "VARCHAR[]" if rest else "BOOLEAN"  # an empty list in each of many rows takes its time, too
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} ({layout}, rest {listed}, file UINTEGER)")
    done: list[StagedFile] = []
    for number, source in enumerate(sources, start=1):
        start = sum(file.count for file in done)
        done.append(_stage_source(replace(target, number=number), source, start))
    return Staged(table, tuple(done))


def refuse_absent(staged: Staged, wanted: Sequence[str | None]) -> None:
    """Raise MissingColumn for a column that none of the sources has."""
    filled = [file for file in staged.files if file.count]
    for name in filter(None, wanted):
        if filled and all(file.members is not None and name not in file.members for file in filled):
            check_columns(filled[0].name, filled[0].members or (), [name])


def stage_feedback(
    connection: Connection, staged: Staged, feedback: pa.Table, *, us_per_unit: float | None, n_context: int
) -> Staged:
    """The same staging table with feedback behind the files' rows, as the text that such a file would hold.

    feedback: (feedback_id, user, item, ts, kind, value); us_per_unit: the files' unit of time, None for ISO 8601;
    n_context: how many columns of context they have. A row's line is its feedback_id.
    """
    connection.register("incoming", feedback)
    no_context = f"[{', '.join(['NULL'] * n_context)}]" if n_context else "NULL"
    connection.execute(
        f"INSERT INTO {staged.table} BY NAME SELECT user AS f0, item AS f1,"  # noqa: S608 - our own name
        " CASE WHEN $us IS NULL THEN strftime(ts, '%Y-%m-%d %H:%M:%S.%f+00')"
        " ELSE CAST(CAST(epoch_us(ts) AS DOUBLE) / $us AS VARCHAR) END AS f2,"
        f" kind AS f3, CAST(value AS VARCHAR) AS f4, {no_context} AS rest, $file AS file FROM incoming",
        {"us": us_per_unit, "file": len(staged.files) + 1},
    )
    connection.unregister("incoming")
    lines = feedback["feedback_id"].to_numpy()
    start = staged.of_files
    last = StagedFile(FEEDBACK, start, count=feedback.num_rows, lines=lines, fed=True)
    return Staged(staged.table, (*staged.files, last))


class _Disagreement(Exception):
    """DuckDB's count of records is not the file's count of lines: read it the exact way."""


def _stage_source(target: Target, source: Source, start: int) -> StagedFile:
    if source.query is not None:
        return stage_query(target, source, start)
    if is_parquet(source.path):
        return _stage_parquet(target, source, start)
    decoded = decode(source.path, into=target.scratch, encoding=source.encoding)
    file = StagedFile(source.name, start, text=decoded.text, decoded=decoded.said)
    if is_json_lines(source.name, b"") and decoded.text.stat().st_size == 0:  # a day on which nothing happened
        return replace(file, lines=np.zeros(0, dtype=np.int64))
    head = first_bytes(decoded.text, name=source.name)
    if is_json_lines(source.name, head):
        return stage_json_lines(target, file, decoded.text)
    file = replace(file, header_lines=1)
    header, delimiter = header_of(source.name, head, target.wanted, delimiter=source.delimiter)
    shape = shape_of(decoded.text, delimiter=delimiter, columns=len(header))
    if shape.plain and not _GLOB.search(str(decoded.text)):
        target.connection.begin()
        try:
            staged = _stage_plain(target, replace(file, marks=shape.marks), decoded.text, header, delimiter, shape)
            target.connection.commit()
            return staged
        except _Disagreement:
            target.connection.rollback()  # with the rowids: the exact reader's rows take the same places
    return _stage_exact(target, file, decoded.text, header, delimiter)


def _stage_plain(
    target: Target, file: StagedFile, path: Path, header: Sequence[str], delimiter: str, shape: Shape
) -> StagedFile:
    names = [f"c{number}" for number in range(len(header))]
    types = ", ".join(f"'{name}': 'VARCHAR'" for name in names)
    quote = '"' if shape.quoted else ""
    source = (
        f"read_csv($path, header = true, auto_detect = false, columns = {{{types}}}, delim = $delimiter,"
        f" new_line = '{shape.newline}', quote = $quote, escape = $quote, store_rejects = true)"
    )
    try:
        file.count = target.insert(source, header, names, path=str(path), delimiter=delimiter, quote=quote)
        found = target.connection.sql(
            "SELECT line, coalesce(arg_min(error_type, column_idx), any_value(error_type)) AS kind,"
            " any_value(csv_line) AS raw FROM reject_errors GROUP BY line ORDER BY line"
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
    if file.count + len(file.rejects) != shape.records or any(it.reason == "unreadable-row" for it in file.rejects):
        raise _Disagreement
    return file


def _stage_exact(target: Target, file: StagedFile, path: Path, header: Sequence[str], delimiter: str) -> StagedFile:
    main, rest = target.picks(header)
    lines: list[int] = []
    with path.open("rb") as stream:
        records = exact_rows(stream, columns=len(header), delimiter=delimiter, rejects=file.rejects)
        while batch := list(itertools.islice(records, _BATCH_ROWS)):
            cells = {
                f"f{number}": pa.array([None if at is None else row[at] for _, row in batch], pa.string())
                for number, at in enumerate(main)
            }
            if rest:
                cells["rest"] = pa.array([[row[at] for at in rest] for _, row in batch], pa.list_(pa.string()))
            target.append(pa.table(cells))
            lines.extend(line for line, _ in batch)
    file.count, file.lines = len(lines), np.array(lines, dtype=np.int64)
    return file


# ---- Parquet


def _stage_parquet(target: Target, source: Source, start: int) -> StagedFile:
    file, path = StagedFile(source.name, start), source.path
    if _GLOB.search(str(path)):
        raise UnreadableFile(
            phrase("file.pattern_in_path", file=file_called(source.name)), remedy=phrase("do.rename_path")
        )
    try:
        own = pq.read_schema(path)
        told = dict(source.partitions)
        if both := sorted(set(own.names) & set(told)):
            raise UnreadableFile(
                phrase("file.column_of_folder", file=file_called(source.name), name=quoted(both[0])),
                remedy=phrase("do.rename_folder"),
            )
        header = [*own.names, *told]
        check_columns(source.name, header, target.wanted)
        names = [f"c{number}" for number in range(len(own.names))]
        texts = [text_of(name, field.type) for name, field in zip(names, own, strict=True)]
        texts += [f"$p{number}" for number in range(len(told))]
        used = {texts[number] for number in target.places(header)}
        more = {f"p{number}": value for number, value in enumerate(told.values()) if f"$p{number}" in used}
        if any("$separator" in text for text in used):
            more["separator"] = target.list_separator
        table = f"read_parquet($path, hive_partitioning = false) AS t({', '.join(names)})"
        try:
            file.count = target.insert(table, header, texts, path=str(path), **more)
        except DatabaseError as error:
            if not any(sign in str(error).lower() for sign in ("unicode", "utf8", "utf-8")):
                raise
            _stage_texts_apart(target, file, path, told)
    except (DatabaseError, pa.ArrowException, OSError) as error:
        if "No space left" in str(error) or "Out of Memory" in str(error):
            raise
        raise no_parquet(source.name) from error
    return file


def _stage_texts_apart(target: Target, file: StagedFile, path: Path, told: Mapping[str, str]) -> None:
    """A Parquet file with texts that are none: their rows are refused. told: what its folders say of every row."""
    with pq.ParquetFile(path) as rows:
        for batch in rows.iter_batches(_BATCH_ROWS):
            for name, value in told.items():
                batch = batch.append_column(name, pa.array([value] * batch.num_rows, pa.string()))
            places = target.places(batch.schema.names)
            kept, rejects = apart(batch, places, first=file.count + len(file.rejects) + 1)
            file.rejects += rejects
            file.count += insert_batch(target, kept)
