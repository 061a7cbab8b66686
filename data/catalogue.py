"""The items and users tables: from catalogue files where there are some, completed by what only events name.

Small beside the event log, so rows are shaped here in Python: text for the language model from the spec's
template, categories, declared attributes, bins. Rows without a key, or whose key came before, are refused and
told to the quarantine; a catalogue never changes which events are accepted.
"""

import itertools
import math
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data.reading.rows import stage
from data.reading.staging import Source, Staged
from data.spec import DatasetSpec, ItemsSection, template_fields
from data.warehouse import Connection

UNKNOWN = "unknown"
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_SEPARATOR = re.compile(r"^([)\]]*)(.*?)(\s*[(\[]*)$", re.DOTALL)  # closes the last, between, opens the next
_NO = frozenset({"0", "false", "f", "no", "n"})
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


@dataclass
class Listing:
    """Rows of a catalogue by key, in file order, and the place of each row refused.

    `rows` maps a key to the other wanted columns by name (missing ones are "").
    `refused` holds (file, line, column, reason, raw), `read` counts all rows of catalogue files.
    """

    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    refused: list[tuple[str, int, str | None, str, str]] = field(default_factory=list)
    read: int = 0


def list_items(connection: Connection, spec: DatasetSpec, sources: Sequence[Source], *, scratch: Path) -> Listing:
    """The caller's items. `sources` are the catalogue's, or the events' when the spec names none of items; scratch
    as in `stage`.

    Raises MissingColumn and UnreadableFile.
    """
    section = spec.items
    if section is None:
        return Listing()
    key = section.key or spec.events.item
    optional = (section.title, section.categories, section.price, section.image, section.available)
    wanted = [name for name in optional if name] + [*section.attributes, *_template_columns(section)]
    return _listing(
        connection,
        "raw_items",
        sources,
        key=key,
        wanted=wanted,
        once_per_key=section.named,
        scratch=scratch,
        list_separator=section.categories_separator,
    )


def list_users(connection: Connection, spec: DatasetSpec, sources: Sequence[Source], *, scratch: Path) -> Listing:
    """The caller's users and their declared attributes; `sources` as in `list_items`. Same errors."""
    section = spec.users
    if section is None:
        return Listing()
    key = section.key or spec.events.user
    wanted = [*section.attributes, *(binning.source for binning in spec.derive.values())]
    return _listing(
        connection, "raw_users", sources, key=key, wanted=wanted, once_per_key=section.named, scratch=scratch
    )


def items_table(spec: DatasetSpec, listing: Listing, unlisted: Iterable[str]) -> pa.Table:
    """The items table: listed ones in file order from id 0, then what only events name (title = key)."""
    section = spec.items or ItemsSection()
    rows = [_item(section, key, values) for key, values in listing.rows.items()]
    rows += [_item(section, key, {}) for key in unlisted]
    for number, row in enumerate(rows):
        row["item_id"] = number
    return pa.Table.from_pylist(rows, schema=_ITEMS_SCHEMA)


def users_table(spec: DatasetSpec, listing: Listing, unlisted: Iterable[str]) -> pa.Table:
    """The users table: user_id, key and one text column a declared attribute, `unknown` where missing."""
    keys = [*listing.rows, *unlisted]
    columns: dict[str, pa.Array] = {
        "user_id": pa.array(range(len(keys)), pa.int64()),
        "key": pa.array(keys, pa.string()),
    }
    rows = [listing.rows.get(key, {}) for key in keys]
    for name in spec.users.attributes if spec.users else ():
        columns[name] = pa.array([row.get(name) or UNKNOWN for row in rows], pa.string())
    for name, binning in spec.derive.items():
        columns[name] = pa.array([binning.label_of(row.get(binning.source)) for row in rows], pa.string())
    return pa.table(columns)


def render(template: str, values: Mapping[str, str]) -> str:
    """A text template filled in: `{title} ({year}). {categories}`. What is missing takes its brackets along.

    The text between two placeholders stands only where both sides of it have something to say.
    """
    text, before = "", ""
    for number, (literal, name, _, _) in enumerate(string.Formatter().parse(template)):
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


def _listing(
    connection: Connection,
    table: str,
    sources: Sequence[Source],
    *,
    key: str,
    wanted: Sequence[str],
    once_per_key: bool,
    scratch: Path,
    list_separator: str = "|",
) -> Listing:
    names = list(dict.fromkeys(wanted))
    staged = stage(
        connection, table, sources, columns=[key], rest=names, list_separator=list_separator, scratch=scratch
    )
    listing = Listing(read=staged.read if once_per_key else 0)
    faults: list[tuple[int, str, str]] = []
    # Trimmed as events' keys are, so that the same text is the same key.
    cells = "".join(f", rest[{number}] AS c{number}" for number in range(1, len(names) + 1))
    rows = connection.sql(f"SELECT f0, trim(f0) AS key{cells} FROM {table} ORDER BY rowid")  # noqa: S608 - own name
    raw_keys, keys, *columns = (column.to_pylist() for column in rows.to_arrow_table().columns)
    told = _rows(columns, len(keys))
    lines = _rows([[_one_line(cell or "") for cell in column] for column in columns], len(keys))
    for number, (raw_key, trimmed, row, shaped) in enumerate(zip(raw_keys, keys, told, lines, strict=True)):
        text = trimmed or ""
        if not text:
            reason = "missing-key"
        elif not text.isprintable() and _UNPRINTABLE.search(text):
            reason = "unprintable-key"
        elif text in listing.rows:
            reason = "duplicate-key"
        else:
            listing.rows[text] = dict(zip(names, shaped, strict=True))
            continue
        if once_per_key:
            faults.append((number, reason, "\t".join([raw_key or "", *(cell or "" for cell in row)])))
    _refuse(listing, staged, key, faults)
    connection.execute(f"DROP TABLE {table}")
    if not once_per_key:
        listing.refused.clear()  # these rows are event rows, and were judged as such
    return listing


def _rows(columns: Sequence[list[Any]], count: int) -> Iterable[tuple[Any, ...]]:
    return zip(*columns, strict=True) if columns else itertools.repeat((), count)


def _refuse(listing: Listing, staged: Staged, key: str, faults: Sequence[tuple[int, str, str]]) -> None:
    for file in staged.files:
        listing.refused += [(file.name, reject.line, None, reject.reason, reject.raw) for reject in file.rejects]
    names, lines = staged.locate(np.array([number for number, _, _ in faults], dtype=np.int64))
    for name, line, (_, reason, raw) in zip(names, lines.tolist(), faults, strict=True):
        listing.refused.append((name, line, key, reason, raw))


def _template_columns(section: ItemsSection) -> list[str]:
    """Template fields that are columns of the file, rather than parts named elsewhere in the section."""
    return [name for name in template_fields(section.text_template) if name not in ("title", "categories", "key")]


def _item(section: ItemsSection, key: str, values: Mapping[str, str]) -> dict[str, object]:
    title = (values.get(section.title, "") if section.title else "") or key
    listed = values.get(section.categories, "") if section.categories else ""
    parts = (part.strip() for part in listed.split(section.categories_separator))
    categories = list(dict.fromkeys(part for part in parts if part))
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


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _one_line(text: str) -> str:
    if text.isprintable() and "  " not in text and text.strip(" ") == text:  # as nearly all are
        return text
    return " ".join(_UNPRINTABLE.sub(" ", text).split())
