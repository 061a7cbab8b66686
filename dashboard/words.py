"""The words of the console and of the report: two catalogues, and numbers and dates as each language writes
them. What the guess of a spec says, errors, and reasons of refused rows are not among them: specs and
commands say them too, so their tables are `data/words`.

Pages never hold a sentence; they hold its name. `{value:kind}` in a catalogue says how a value is written: `n` a count
(`sn` signed), `q` a number as it was given, `x` three significant digits, `sx` the same with its sign, `m` three
decimals (`sm` signed), `p` a percentage, `d` a date, `dt` a date with its time, `s` a duration in seconds, `g` a size
in gigabytes, and `one|many` picks a word by number. Values are escaped by `md`, which pages use wherever the text is
read as Markdown: an item's title comes from a file of the caller's, and an image in it would be a beacon.

A domain (retail, news) may have words of its own under `[in.retail]`, which stand for those of the same key: there are
customers and products where others have users and items. Each language has marks for titles, 《》 say, and a domain
whose items are no works has others.
"""

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any, Final

from data.phrases import table

LANGUAGES: Final = {"en": "English", "zh": "中文"}
CATALOGUES: Final = Path(__file__).parent / "catalogues"
MISSING: Final = "–"
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$&^=\"'/@:])")
_SHORTCODE = re.compile(r":(?=[\w/+-]+:)")
_AUTOLINK = re.compile(r"(?i)(?<=:)(?=//)|(?<=\bwww)(?=\.)|(?<=@)(?=[\w-]+\.\w)")  # also found behind escapes


class Words:
    """One language's catalogue; called with a key it gives the text, its values written as the language
    writes them.
    """

    def __init__(self, language: str, domain: str | None = None) -> None:
        self.language = language if language in LANGUAGES else "en"
        self.domain = domain
        self._texts = domain_texts(self.language, domain) if domain else catalogue(self.language)
        self._write = _Writer(self.language)

    def __call__(self, key: str, /, **values: Any) -> str:
        """The text of `key`, plain; KeyError for a key that no catalogue has (a programmer's error)."""
        return self._write.vformat(self._texts[key], (), values)

    def md(self, key: str, /, **values: Any) -> str:
        """The text of `key` for a place that reads Markdown: every text value is escaped first."""
        return self(key, **{name: escape(v) if isinstance(v, str) else v for name, v in values.items()})

    def of(self, domain: str | None) -> "Words":
        """The same language as a domain speaks it; a domain without words of its own changes nothing."""
        return self if domain == self.domain else Words(self.language, domain)

    def marked(self, text: str) -> str:
        """A sentence made elsewhere, whose titles stand in the language's usual marks: in those of the domain."""
        return _marked(text, catalogue(self.language)["mark.title"], self._texts["mark.title"])

    def has(self, key: str) -> bool:
        """Whether the catalogue holds this key, for names that data may extend (kinds, metrics, stages)."""
        return key in self._texts

    def name(self, family: str, value: str) -> str:
        """A data value's own word (`metric.ndcg@10`), or the value itself where the catalogue has none."""
        return self._texts.get(f"{family}.{value}", value.replace("_", " "))

    def listing(self, parts: list[str]) -> str:
        """Names in a row as the language joins them: "A, B and C"; "A、B 和 C"."""
        if len(parts) < 2:
            return "".join(parts)
        comma, last = ("、", "和") if self.language == "zh" else (", ", " and ")
        return comma.join(parts[:-1]) + last + parts[-1]

    def sentences(self, *parts: str) -> str:
        """One after the other; Chinese sets no space between."""
        return ("" if self.language == "zh" else " ").join(parts)

    def titles(self, names: list[str], *, own: str | None = None) -> str:
        """Titles in a row, each in its marks where the language has any; that of the item in question, `own`, is told
        as an earlier one."""
        return self.listing([self("mark.earlier" if name == own else "mark.title", title=name) for name in names])

    def count(self, value: float | None) -> str:
        return number(value, decimals=0)

    def figure(self, value: float | None) -> str:
        return number(value)

    def percent(self, value: float | None) -> str:
        return percent(value)

    def rough(self, seconds: float) -> str:
        return duration(roughly(seconds), self.language)

    def day(self, value: date | None) -> str:
        return day(value, self.language)


def escape(text: str) -> str:
    """Text that Markdown shows as it is: no image, link, directive, formula or emoji can come of it."""
    safe = _PUNCTUATION.sub(r"\\\1", _AUTOLINK.sub("\u2060", _SHORTCODE.sub(":\u2060", text)))
    return safe.replace("\n", " ")


def number(value: float | None, *, decimals: int | None = None) -> str:
    """Three significant digits, thousands separated; a dash where there is no number."""
    if value is None or not math.isfinite(value):
        return MISSING
    if decimals is None:
        digits = 2 - math.floor(math.log10(abs(value))) if value else 0
        decimals = 0 if abs(value) >= 100 and float(value).is_integer() else min(max(digits, 0), 6)
    return f"{value:,.{decimals}f}".replace("-", "−")


def metric(value: float | None, *, signed: bool = False) -> str:
    """Three decimals, so that an estimate and its interval line up; a dash where there is no number."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:+.3f}".replace("-", "−") if signed else f"{value:.3f}".replace("-", "−")


def percent(value: float | None) -> str:
    """A share as a percentage of at most three significant digits."""
    if value is None or not math.isfinite(value):
        return MISSING
    shown = abs(value) * 100
    decimals = 0 if shown >= 99.95 or shown == 0 else 1 if shown >= 1 else 2
    return f"{value * 100:,.{decimals}f}%".replace("-", "−")


def day(value: date | None, language: str) -> str:
    """A date as the reader's language writes it."""
    if value is None:
        return MISSING
    if language == "zh":
        return f"{value.year}年{value.month}月{value.day}日"
    return f"{value.day} {_MONTHS[value.month - 1]} {value.year}"


def duration(seconds: float | None, language: str) -> str:
    """A length of time in the two largest units that matter."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    chinese = language == "zh"
    h, m, s = ("小时", "分", "秒") if chinese else (" h", " min", " s")
    alone = "分钟" if chinese else m
    gap = "" if chinese else " "
    if hours:
        return f"{hours}{h}{gap}{minutes}{alone}" if minutes else f"{hours}{h}"
    if minutes:
        return f"{minutes}{m}{gap}{rest}{s}" if rest else f"{minutes}{alone}"
    return f"{rest}{s}"


def roughly(seconds: float) -> float:
    """An estimate of a time without false precision: to ten seconds, a minute, ten minutes, by its length."""
    step = 10 if seconds < 300 else 60 if seconds < 3600 else 600
    return max(step, step * round(seconds / step))


def size(gigabytes: float | None) -> str:
    """A size in the unit that suits it, two significant digits."""
    if gigabytes is None or not math.isfinite(gigabytes):
        return MISSING
    if gigabytes >= 0.995:
        return f"{gigabytes:,.1f} GB" if gigabytes < 100 else f"{gigabytes:,.0f} GB"
    if gigabytes < 0.000995:
        return f"{gigabytes * 1e6:.2g} kB" if gigabytes >= 1e-6 else f"{round(gigabytes * 1e9)} B"
    return f"{gigabytes * 1000:.2g} MB" if gigabytes < 0.0995 else f"{round(gigabytes * 100) * 10} MB"


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """Every text of a language by its dotted key."""
    reasons = {key: text for key, text in table(language).items() if key.startswith("reason.")}  # errors say them too
    with (CATALOGUES / f"{language}.toml").open("rb") as file:
        return reasons | dict(_flatten(tomllib.load(file), ""))


@cache
def domain_texts(language: str, domain: str) -> Mapping[str, str]:
    """The texts of a language with a domain's own in their place, titles in the domain's marks."""
    texts, prefix = catalogue(language), f"in.{domain}."
    own = {key.removeprefix(prefix): text for key, text in texts.items() if key.startswith(prefix)}
    mark = own.get("mark.title", texts["mark.title"])
    return {key: _marked(text, texts["mark.title"], mark) for key, text in texts.items()} | own


def _marked(text: str, usual: str, mark: str) -> str:
    if usual == mark:
        return text
    pairs = zip(usual.split("{title}"), mark.split("{title}"), strict=True)
    return text.translate({ord(old): new for old, new in pairs if old})


def _flatten(tree: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    texts: list[tuple[str, str]] = []
    for name, value in tree.items():
        texts += _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return texts


class _Writer(Formatter):
    def __init__(self, language: str) -> None:
        self._kinds: dict[str, Callable[[Any], str]] = {
            "": str,
            "n": lambda v: number(v, decimals=0),
            "q": lambda v: MISSING if v is None else f"{v:,g}".replace("-", "−"),
            "x": number,
            "sn": lambda v: ("+" if v is not None and v > 0 else "") + number(v, decimals=0),
            "sx": lambda v: ("+" if v is not None and v > 0 else "") + number(v),
            "m": metric,
            "sm": lambda v: metric(v, signed=True),
            "p": percent,
            "d": lambda v: day(v, language),
            "dt": lambda v: MISSING if v is None else f"{day(v, language)} {_clock(v)}",
            "s": lambda v: duration(v, language),
            "g": size,
        }

    def format_field(self, value: Any, format_spec: str) -> str:
        if "|" in format_spec:
            one, many = format_spec.split("|")
            return one if value == 1 else many
        return self._kinds[format_spec](value)


def _clock(value: date) -> str:
    return f"{value:%H:%M}" if isinstance(value, datetime) else ""
