"""The items and users tables: from catalogue files where there are some, completed by what only events name.

Small beside the event log, so rows are shaped here in Python: text for the language model from the spec's
template, categories, declared attributes, bins. Rows without a key, or whose key came before, are refused and
told to the quarantine; a catalogue never changes which events are accepted.
"""

import math
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from data.reading.rows import refuse_absent, stage
from data.reading.staging import Source, Staged
from data.spec import DatasetSpec, ItemsSection, template_fields
from data.warehouse import Connection

UNKNOWN = "unknown"
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_SEPARATOR = re.compile(r"^([)\]]*)(.*?)(\s*[(\[]*)$", re.DOTALL)  # closes the last, between, opens the next
# The first row of each key, trimmed as events' keys are, so that the same text is the same key.
_FIRST_OF_EACH = (
    "CREATE TEMP TABLE firsts AS SELECT trim(f0) AS key, min({table}.rowid) AS first FROM {table}{usable}"
    " WHERE trim(f0) <> '' AND NOT regexp_matches(trim(f0), '[\\x00-\\x1f\\x7f]') GROUP BY ALL"
)
_USABLE = " SEMI JOIN usable ON usable.row_no = {table}.rowid"
_OTHERS = (
    "SELECT rowid AS row_no, CASE WHEN coalesce(trim(f0), '') = '' THEN 'missing-key'"
    " WHEN regexp_matches(trim(f0), '[\\x00-\\x1f\\x7f]') THEN 'unprintable-key' ELSE 'duplicate-key' END AS reason,"
    " concat_ws(chr(9), coalesce(f0, ''){cells}) AS raw"
    " FROM {table} WHERE rowid NOT IN (SELECT first FROM firsts) ORDER BY rowid"
)
_NO = frozenset({"0", "0.0", "false", "f", "no", "n", "off"})
_ITEMS_SCHEMA = pa.schema(
    [
        ("item_id", pa.int64()),
        ("key", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("categories", pa.list_(pa.string())),
        ("attributes", pa.map_(pa.string(), pa.string())),
        ("price", pa.float64()),
        ("image", pa.string()),
        ("available", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Listing:
    """Rows of a catalogue, the first of each key, in file order: `rows` has the text columns `key` and each wanted one,
    on one line ("" where missing). `refused` holds (file, line, column, reason, raw), `read` counts all rows of
    catalogue files; `sources` names each row's source where the rows are the events' own."""

    rows: pa.Table
    refused: list[tuple[str, int, str | None, str, str]] = field(default_factory=list)
    read: int = 0
    sources: Sequence[str] = ()

    @property
    def keys(self) -> pa.ChunkedArray:
        """The key of each row."""
        return self.rows.column(0)

    def column(self, name: str) -> pa.ChunkedArray:
        """A wanted column, by its name in the file (which may be `key`)."""
        return self.rows.column(self.rows.column_names.index(name, 1))


_NOTHING_LISTED = Listing(pa.table({"key": pa.array([], pa.string())}))


def list_items(
    connection: Connection, spec: DatasetSpec, sources: Sequence[Source], *, events: Staged, scratch: Path
) -> Listing:
    """The caller's items. `sources` are the catalogue's, or the events' when the spec names none of items: then only
    rows that are accepted as `events` tell of an item; scratch as in `stage`.

    Raises MissingColumn and UnreadableFile.
    """
    section = spec.items
    if section is None:
        return _NOTHING_LISTED
    key = section.key or spec.events.item
    optional = (section.title, section.categories, section.price, section.image, section.available)
    wanted = [name for name in optional if name] + [*section.attributes, *_template_columns(section)]
    return _listing(
        connection,
        "raw_items",
        sources,
        key=key,
        wanted=wanted,
        events=None if section.named else events,
        scratch=scratch,
        list_separator=section.categories_separator,
    )


def list_users(
    connection: Connection, spec: DatasetSpec, sources: Sequence[Source], *, events: Staged, scratch: Path
) -> Listing:
    """The caller's users and their declared attributes; `sources` and `events` as in `list_items`. Same errors."""
    section = spec.users
    if section is None:
        return _NOTHING_LISTED
    key = section.key or spec.events.user
    wanted = [*section.attributes, *(binning.source for binning in spec.derive.values())]
    own = None if section.named else events
    return _listing(connection, "raw_users", sources, key=key, wanted=wanted, events=own, scratch=scratch)


def items_table(spec: DatasetSpec, listing: Listing, unlisted: Iterable[str]) -> pa.Table:
    """The items table: listed ones in file order from id 0, then what only events name (title = key)."""
    section = spec.items or ItemsSection()
    keys, *columns = (column.to_pylist() for column in listing.rows.columns)
    names = listing.rows.column_names[1:]
    rows = [
        _item(section, key, dict(zip(names, cells, strict=True))) for key, *cells in zip(keys, *columns, strict=True)
    ]
    rows += [_item(section, key, {}) for key in unlisted]
    for number, row in enumerate(rows):
        row["item_id"] = number
    return pa.Table.from_pylist(rows, schema=_ITEMS_SCHEMA)


def users_table(spec: DatasetSpec, listing: Listing, unlisted: Sequence[str]) -> pa.Table:
    """The users table: user_id, key and one text column a declared attribute, `unknown` where missing."""
    keys = [*listing.keys.chunks, pa.array(unlisted, pa.string())]
    count = len(listing.keys) + len(unlisted)
    columns: dict[str, pa.ChunkedArray | pa.Array] = {
        "user_id": pa.array(np.arange(count), pa.int64()),
        "key": pa.chunked_array(keys, pa.string()),
    }
    for name in spec.users.attributes if spec.users else ():
        columns[name] = _completed(_each(listing.column(name), lambda text: text or UNKNOWN), UNKNOWN, len(unlisted))
    for name, binning in spec.derive.items():
        labels = _each(listing.column(binning.source), binning.label_of)
        columns[name] = _completed(labels, binning.label_of(None), len(unlisted))
    return pa.table(columns)


def _completed(column: pa.ChunkedArray, value: str, times: int) -> pa.ChunkedArray:
    return pa.chunked_array([*column.chunks, pa.array([value], pa.string()).take(pa.array([0] * times, pa.int64()))])


def _each(column: pa.ChunkedArray, shaped: Callable[[str], str]) -> pa.ChunkedArray:
    """A column of text with every value shaped, equal ones once."""
    coded = column.combine_chunks().dictionary_encode()
    values = pa.array([shaped(value) for value in coded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([values.take(coded.indices)])


def render(template: str, values: Mapping[str, str]) -> str:
    """A text template filled in: `{title} ({year}). {categories}`. What is missing takes its brackets along.

    The text between two placeholders stands only where both sides of it have something to say.
    """
    text, before = "", ""
    for number, (literal, name) in enumerate(_parts(template)):
        found = _SEPARATOR.match(literal)
        closing, middle, opening = found.groups() if found and number else ("", literal, "")
        if before:
            text += closing
        before = values.get(name, "") if name else ""
        if before:
            text += (middle if text or not number else "") + opening + before
        elif name is None:
            text += middle + opening if text else ""
    return _one_line(text)


@lru_cache
def _parts(template: str) -> tuple[tuple[str, str | None], ...]:
    return tuple((literal, name) for literal, name, _, _ in string.Formatter().parse(template))


def _listing(
    connection: Connection,
    table: str,
    sources: Sequence[Source],
    *,
    key: str,
    wanted: Sequence[str],
    events: Staged | None,
    scratch: Path,
    list_separator: str = "|",
) -> Listing:
    names = list(dict.fromkeys(wanted))
    staged = stage(
        connection, table, sources, columns=[key], rest=names, list_separator=list_separator, scratch=scratch
    )
    refuse_absent(staged, names)
    if events is not None:
        _mark_usable(connection, staged, events)
    connection.execute(_FIRST_OF_EACH.format(table=table, usable="" if events is None else _USABLE.format(table=table)))
    cells = "".join(f", coalesce(rest[{number}], '') AS c{number}" for number in range(1, len(names) + 1))
    found = connection.sql(f"SELECT key, file{cells} FROM firsts JOIN {table} ON {table}.rowid = first ORDER BY first")  # noqa: S608
    keys, files, *columns = found.to_arrow_table().columns
    rows = pa.table([keys, *(_each(column, _one_line) for column in columns)], names=["key", *names])
    if events is None:
        told = Listing(rows, _refused(connection, table, staged, key, len(names)), staged.read)
    else:  # the file is the log: its rows are event rows, and were judged as such
        told = Listing(rows, sources=[staged.files[number - 1].name for number in files.to_pylist()])
        connection.execute("DROP VIEW usable")
    connection.execute(f"DROP TABLE {table}; DROP TABLE firsts")
    return told


def _mark_usable(connection: Connection, staged: Staged, events: Staged) -> None:
    """Leaves `usable`: the rows of a second reading of the log that were accepted as events in the first. What is read
    of a row decides whether bytes in it are refused, so that the two may have different rows."""
    twins = staged.twins_in(events)
    if twins is None:
        connection.execute("CREATE TEMP VIEW usable AS SELECT row_no FROM accepted")
        return
    connection.register("twins", pa.table({"row_no": np.arange(len(twins)), "twin": twins}))
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE usable_rows AS"
        " SELECT twins.row_no FROM twins SEMI JOIN accepted ON twin = accepted.row_no"
    )
    connection.unregister("twins")
    connection.execute("CREATE TEMP VIEW usable AS FROM usable_rows")


def _refused(
    connection: Connection, table: str, staged: Staged, key: str, n_cells: int
) -> list[tuple[str, int, str | None, str, str]]:
    told: list[tuple[str, int, str | None, str, str]] = [
        (file.name, reject.line, None, reject.reason, reject.raw) for file in staged.files for reject in file.rejects
    ]
    cells = "".join(f", coalesce(rest[{number}], '')" for number in range(1, n_cells + 1))
    rows = connection.sql(_OTHERS.format(table=table, cells=cells)).to_arrow_table()
    names, lines = staged.locate(rows["row_no"].to_numpy().astype(np.int64))
    for name, line, reason, raw in zip(
        names, lines.tolist(), rows["reason"].to_pylist(), rows["raw"].to_pylist(), strict=True
    ):
        told.append((name, line, key, reason, raw))
    return told


def _template_columns(section: ItemsSection) -> list[str]:
    """Template fields that are columns of the file, rather than parts named elsewhere in the section."""
    return [name for name in template_fields(section.text_template) if name not in ("title", "categories", "key")]


def _item(section: ItemsSection, key: str, values: Mapping[str, str]) -> dict[str, object]:
    title = (values.get(section.title, "") if section.title else "") or key
    listed = values.get(section.categories, "") if section.categories else ""
    categories = list(_categories(listed, section.categories_separator))
    named = {**values, "title": title, "categories": ", ".join(categories), "key": key}
    return {
        "key": key,
        "title": title,
        "text": render(section.text_template, named) or title,
        "categories": categories,
        "attributes": [(name, values[name]) for name in section.attributes if values.get(name)],
        "price": _number(values.get(section.price, "")) if section.price else None,
        "image": (values.get(section.image) or None) if section.image else None,
        "available": values.get(section.available, "").lower() not in _NO if section.available else True,
    }


@lru_cache(maxsize=4096)
def _categories(listed: str, separator: str) -> tuple[str, ...]:
    parts = (part.strip() for part in listed.split(separator))
    return tuple(dict.fromkeys(part for part in parts if part))


def unread_prices(spec: DatasetSpec, listing: Listing) -> tuple[int, int] | None:
    """How many of the prices that are told are no numbers, and how many are told; None without such a column."""
    if spec.items is None or spec.items.price is None:
        return None
    told = [text for text in listing.column(spec.items.price).to_pylist() if text]
    return sum(_number(text) is None for text in told), len(told)


def _number(text: str) -> float | None:
    try:
        number = float(text if "_" not in text else "")  # Python's own way to write 1_000
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _one_line(text: str) -> str:
    if text.isprintable() and "  " not in text and text.strip(" ") == text:  # as nearly all are
        return text
    return " ".join(_UNPRINTABLE.sub(" ", text).split())
