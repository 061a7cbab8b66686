"""What is wrong with a field of a spec, in words: what its own validators say, and what pydantic says of types, limits
and names.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from data.errors import InvalidSpec
from data.phrases import Phrase, Said, phrase

_TYPES: Final = {
    "string": "field.text",
    "bool": "field.yes_or_no",
    "int": "field.whole_number",
    "float": "field.number",
    "finite": "field.number",
    "tuple": "field.several",
    "list": "field.several",
    "dict": "field.table",
    "model": "field.table",
}
_LIMITS: Final = {
    "greater_than": ("field.above", "gt"),
    "greater_than_equal": ("field.at_least", "ge"),
    "less_than": ("field.below", "lt"),
    "less_than_equal": ("field.at_most", "le"),
}


class SpecFault(ValueError):
    """What a validator of a spec says; pydantic hands it on."""

    def __init__(self, said: Phrase) -> None:
        super().__init__(str(said))
        self.said = said


def invalid(error: ValidationError, *, origin: Said) -> InvalidSpec:
    """The first fault as an error that names its field. origin: what the spec is called."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "spec"
    what = phrase("field.at", origin=origin, field=field, what=fault_said(first))
    return InvalidSpec(what, remedy=_remedy(str(first["type"]), field))


def fault_said(fault: Mapping[str, Any]) -> Said:
    """What is wrong, of one of pydantic's `errors()`."""
    kind, told = str(fault["type"]), fault.get("ctx", {})
    if isinstance(told.get("error"), SpecFault):
        said: Phrase = told["error"].said
        return said
    if kind == "missing":
        return phrase("field.missing")
    if kind == "extra_forbidden":
        return phrase("field.unknown")
    if kind == "literal_error":
        return phrase("field.one_of", expected=str(told["expected"]).replace(" or ", ", "))
    if kind == "string_pattern_mismatch":
        return phrase("field.name")
    if kind in _LIMITS:
        key, limit = _LIMITS[kind]
        return phrase(key, limit=told[limit])
    if (wanted := _TYPES.get(kind.partition("_")[0])) is not None:
        return phrase(wanted)
    return str(fault["msg"]).removeprefix("Value error, ")  # pydantic's own words


def _remedy(kind: str, field: str) -> Phrase:
    section, _, name = field.rpartition(".")
    if kind == "missing":
        return phrase("do.add_under", name=name, section=section) if section else phrase("do.add", name=name)
    return phrase("do.remove_field", field=field) if kind == "extra_forbidden" else phrase("do.mend_field")
