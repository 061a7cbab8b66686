"""A spec as a form: each field by its name, its faults where they arise, and back to a spec.

The form's values are flat (`events.user`), since a page has one widget for each; `spec_of` puts them together, and says
of each field what is wrong with it. It draws nothing and reads nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from pydantic import ValidationError

from dashboard.words import Words, escape
from data.guessing.profile import Column, column_of
from data.phrases import Said
from data.spec import DatasetSpec
from data.spec_fault import fault_said

SECTIONS: Final = ("events", "items", "users")
COLUMN: Final = {  # fields that name one column
    "events": ("user", "item", "ts", "kind", "value", "id"),
    "items": ("key", "title", "categories", "price", "image", "available"),
    "users": ("key",),
}
COLUMNS: Final = {"events": ("context",), "items": ("attributes",), "users": ("attributes",)}  # that name several
RULES: Final[dict[str, int | float | None]] = {  # of [clean], in the order in which they run, with the least of each
    "clean.least_value": None,
    "clean.repeats_within": 0.001,
    "clean.most_events_per_minute": 1,
    "clean.most_events_per_day": 1,
    "clean.most_events_per_user": 1,
    "clean.most_events_per_item": 1,
    "clean.least_events_per_user": 2,
    "clean.least_events_per_item": 2,
    "clean.core_rounds": 1,
}
NEEDED: Final = ("events.user", "events.item", "events.ts")
TASKS: Final = ("next-new", "next-any", "repurchase")
DELIMITERS: Final = (",", "\t", ";", "|", ":")
UNITS: Final = ("iso", "s", "ms", "us")
ENCODINGS: Final = ("utf-8", "utf-16", "gb18030", "big5", "shift_jis", "euc-kr", "cp1250", "cp1251", "cp1252", "cp1254")
_EXAMPLES = 3
_EXAMPLE_CHARACTERS = 24
Values = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """What is wrong with one field: `kind` as pydantic calls it, and what."""

    field: str
    kind: str
    message: Said


def values_of(spec: DatasetSpec) -> Values:
    """The fields of a spec that are not at their defaults, flat; a section's own `derive` and `weights` stay whole."""
    values: Values = {}
    for name, part in spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True).items():
        if name in ("derive", "weights") or not isinstance(part, dict):
            values[name] = part
        else:
            values |= {f"{name}.{field}": value for field, value in part.items()}
    return values


def spec_of(values: Mapping[str, Any]) -> tuple[DatasetSpec | None, list[Fault]]:
    """The spec that a form's values come to; None, and the faults, where they come to none. What is empty is left
    out, and so is a section of which nothing is told."""
    tree: dict[str, Any] = {}
    for field, value in values.items():
        if value is None or value in ("", [], (), {}):
            continue
        section, _, name = field.rpartition(".")
        plain = list(value) if isinstance(value, tuple) else value
        if section:
            tree.setdefault(section, {})[name] = plain
        else:
            tree[field] = plain
    tree.setdefault("events", {})
    try:
        return DatasetSpec.model_validate(tree), []
    except ValidationError as error:
        return None, [_fault(one) for one in error.errors()]


def derivable(derive: Mapping[str, Any], columns: Collection[str]) -> dict[str, Any]:
    """What can still be derived of users whose columns are these."""
    return {name: told for name, told in derive.items() if told.get("from") in columns}


def faults_of(faults: Sequence[Fault], field: str) -> list[Fault]:
    """Those of one field."""
    return [one for one in faults if one.field == field]


def said(t: Words, fault: Fault) -> str:
    """A fault in words, for Markdown."""
    key = f"mapping_fault.{fault.field.replace('.', '_')}"
    if fault.kind == "missing":
        return t("mapping_fault.missing")
    message = fault.message if isinstance(fault.message, str) else fault.message.said(t.language)
    return t(key) if t.has(key) else escape(message)


def shown(t: Words, column: Column | None) -> str:
    """What a column holds, for Markdown: how many values, how different, and some of them."""
    if column is None:
        return ""
    if not column.n:
        return t("mapping.nothing_in")
    examples = t.listing([_short(value) for value in column.values[:_EXAMPLES]])
    return t.md("mapping.holds", n=column.n, distinct=column.distinct, filled=column.filled, examples=examples)


def columns_of(sample: pa.Table) -> dict[str, Column]:
    """The columns of a sample by name; of two with one name the first, which no spec can tell from the other."""
    found: dict[str, Column] = {}
    for name, cells in zip(sample.column_names, sample.columns, strict=True):
        if name and name not in found:
            found[name] = column_of(name, cells)
    return found


def option(column: Column | None, name: str) -> str:
    """How a column is called in a list to choose from: with its first values."""
    values = [] if column is None else [_short(value) for value in column.values[:2]]
    return f"{name}  ·  {', '.join(values)}" if values else name


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _EXAMPLE_CHARACTERS else f"{plain[: _EXAMPLE_CHARACTERS - 1]}…"


def _fault(error: Any) -> Fault:
    where = ".".join(str(part) for part in error["loc"] if isinstance(part, str))
    message = fault_said(error)
    if where in SECTIONS:  # of a section as a whole
        where += ".files"
    elif where == "dataset":
        where += ".name"
    elif where == "clean":
        where += ".core_rounds"
    elif not where:
        where = "sensitive" if "sensitive" in str(message) else "users.attributes"
    return Fault(where, error["type"], message)
