"""A spec as TOML in which a comment above each line says why it stands there.

What the caller's files hold may be anything, so values are written by a TOML writer and comments are kept to what a
comment may hold: no control character of a column's name ends one early.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tomli_w

from data.phrases import Phrase, clauses

_WIDTH = 116
_SECTIONS = ("", "dataset", "events", "items", "users", "positive")
Value = str | float | bool | tuple[str, ...] | tuple[float, ...]


@dataclass(frozen=True)
class Decision:
    """One field of a spec, as `events.user`. value None: it is left out, and the reason says why; alternatives: what
    else was weighed, each with what spoke for it."""

    field: str
    value: Value | None
    reason: Phrase
    alternatives: tuple[Phrase, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, in English."""
        return {
            "field": self.field,
            "value": self.value,
            "reason": str(self.reason),
            "alternatives": list(map(str, self.alternatives)),
        }


def annotated(decisions: Sequence[Decision], *, heading: Sequence[str]) -> str:
    """The spec's text: the heading's paragraphs, then each section's decisions in order."""
    sections: dict[str, list[Decision]] = {name: [] for name in _SECTIONS}
    for one in decisions:
        sections.setdefault(one.field.rpartition(".")[0], []).append(one)
    lines = [line for paragraph in heading for line in commented(paragraph)]
    for name, inside in sections.items():
        if not inside:
            continue
        lines.append("")
        if name and any(one.value is not None for one in inside):
            lines.append(f"[{name}]")
        for one in inside:
            lines += _lines_of(one)
    return "\n".join(lines) + "\n"


def commented(text: str) -> list[str]:
    """Text as lines of comment."""
    safe = "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)
    return [f"# {line}" for line in textwrap.wrap(safe, _WIDTH, break_long_words=True, break_on_hyphens=False)]


def _lines_of(one: Decision) -> list[str]:
    key = one.field.rpartition(".")[2]
    reason = str(one.reason)
    weighed = f" Also weighed: {clauses(one.alternatives)}." if one.alternatives else ""
    if one.value is None:
        return commented(f"No {key}: {reason}.{weighed}")
    return [*commented(f"{reason[:1].upper()}{reason[1:]}.{weighed}"), f"{key} = {_written(one.value)}"]


def _written(value: Value) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_written(one) for one in value) + "]"
    return tomli_w.dumps({"v": value}).removeprefix("v = ").strip()
