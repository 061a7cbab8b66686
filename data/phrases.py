"""What a guess and errors of input say, by key, so that each reader has it in their own language.

Code that decides holds no sentence: it holds a phrase's key and values. The sentences stand in `words/`, a table for
each language: specs, errors and the command line take the English one, the console that of its reader. A placeholder is
written as Python writes it (`{n:,}`, `{share:.0%}`); one that stands for several is joined by the mark that its format
names (`{parts:list}`). What comes from the caller's files is only ever a value, so that no braces in it are read.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from string import Formatter
from typing import Any, Final

LANGUAGES: Final = ("en", "zh")
_LONGEST = 40  # characters of a name or value


@dataclass(frozen=True)
class Phrase:
    """A phrase's key and what stands in its places: text, a number, a phrase, or several. A `str` of it is English."""

    key: str
    values: Mapping[str, "Value"]

    def said(self, language: str) -> str:
        """In a language, English where there is no such table. The text holds what the caller's files hold: whoever
        shows it escapes it."""
        return _writer(language if language in LANGUAGES else "en").said(self)

    def sentence(self, language: str) -> str:
        """As `said`, with a capital letter where the sentence begins with a word of the table's own."""
        said = self.said(language)
        return said[:1].upper() + said[1:] if _own_words_begin(self, language) else said

    def __str__(self) -> str:
        return self.said("en")


Said = str | Phrase
Value = Said | float | tuple[Said, ...]


def as_json(value: Value) -> Any:
    """A phrase, text, number or several of them for another process: `from_json` makes the same of it."""
    if isinstance(value, Phrase):
        return {"key": value.key, "values": {name: as_json(one) for name, one in value.values.items()}}
    return list(map(as_json, value)) if isinstance(value, tuple) else value


def from_json(told: Any) -> Any:
    """What `as_json` was given. Raises KeyError for what it did not make."""
    if isinstance(told, dict):
        return Phrase(told["key"], {name: from_json(one) for name, one in told["values"].items()})
    return tuple(map(from_json, told)) if isinstance(told, list) else told


def kept_text(text: str) -> Said:
    """A phrase that was kept as JSON in a column of texts, or the text that stands there."""
    told: Said = from_json(json.loads(text)) if text.startswith("{") else text
    return told


def phrase(key: str, /, **values: Value) -> Phrase:
    """The phrase of a key in `words/`."""
    return Phrase(key, values)


def quoted(text: str) -> Phrase:
    """A name or value as reasons show it: short, on one line, in quotes."""
    return phrase("name.quoted", text=on_a_line(text))


def file_called(name: str) -> Phrase:
    """A file as reasons call it."""
    return phrase("name.file", name=name)


def on_a_line(text: str) -> str:
    """A name or value, short and without what would end a line."""
    short = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in short)


def listed(parts: Iterable[Said], *, most: int = 6) -> Phrase:
    """A few of many."""
    every = tuple(parts)
    shown = phrase("several.listed", parts=every[:most])
    return phrase("several.and_more", shown=shown, n=len(every) - most) if len(every) > most else shown


def clauses(parts: Iterable[Said]) -> Phrase:
    """One clause after the other."""
    return phrase("several.clauses", parts=tuple(parts))


def _own_words_begin(one: Value, language: str) -> bool:
    if isinstance(one, tuple):
        return bool(one) and _own_words_begin(one[0], language)
    if not isinstance(one, Phrase):
        return False
    sentence = table(language if language in LANGUAGES else "en")[one.key]
    literal, place, *_ = next(iter(Formatter().parse(sentence)))
    if not literal and place is not None:
        return _own_words_begin(one.values[place], language)
    return not re.search(r"\w[_.]\w", literal.partition(" ")[0])  # a setting's name stays as it is written


@cache
def table(language: str) -> Mapping[str, str]:
    """Every sentence of a language by its dotted key."""
    text = resources.files("data").joinpath("words", f"{language}.toml").read_text(encoding="utf-8")
    return {f"{family}.{name}": one for family, inside in tomllib.loads(text).items() for name, one in inside.items()}


@cache
def _writer(language: str) -> "_Writer":
    return _Writer(table(language))


class _Writer(Formatter):
    def __init__(self, sentences: Mapping[str, str]) -> None:
        self._sentences = sentences

    def said(self, one: Said) -> str:
        return one if isinstance(one, str) else self.vformat(self._sentences[one.key], (), one.values)

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, tuple):
            return self._sentences[f"between.{format_spec}"].join(map(self.said, value))
        return self.said(value) if isinstance(value, str | Phrase) else format(value, format_spec)
