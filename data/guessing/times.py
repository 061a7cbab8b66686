"""How texts write times: since 1970, ISO 8601, or some other order of day, month and year, and by which format.

A date that is no ISO 8601 gets the format of `strptime` that its own groups spell. DuckDB, which reads it in the end,
is asked whether it does.
"""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data.phrases import Phrase, Said, clauses, phrase, quoted
from data.warehouse import build_connection

Floats = npt.NDArray[np.float64]
Unit = Literal["s", "ms", "us", "iso"]

NEARLY_ALL = 0.98
MOST_LOOKED_AT = 5_000  # distinct values whose form is judged
_ENGLISH = (
    "Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    "|Nov(?:ember)?|Dec(?:ember)?"
)
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = r"(?P<b>[A-Za-zÀ-ɏА-яё]{3,9})"
_WEEKDAY = r"(?P<a>(?i:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*))"
_YEAR, _DAY = r"(?P<Y>\d{4})", r"(?P<d>\d{1,2})"
_CLOCK = r"(?P<H>\d{1,2})[:.](?P<M>\d{2})(?:[:.](?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?(?: ?(?P<p>[AaPp]\.?[Mm]\b\.?))?"
_ZONE = r"(?:Z|[+-]\d{2}(?::?\d{2})?| [A-Z][A-Za-z_]+(?:/[A-Za-z_]+)*)?"
_OFFSET = r"(?: ?(?:(?P<z>[+-]\d{2}(?::?\d{2})?)(?: \([A-Z]+\))?|Z|UTC|GMT|(?P<Z>[A-Z]{2,5})))?"
_THEN = rf"(?:(?:,?[T ] ?|:){_CLOCK}{_OFFSET})?$"
_DATES = {  # form -> its pattern; those after the first need a `ts_format`, whose letters the names of the groups are
    "iso": rf"^{_YEAR}[-/ ](?P<m>\d{{1,2}})[-/ ]{_DAY}(?:[T ](?P<H>\d{{1,2}}):(?P<M>\d{{2}})"
    rf"(?::(?P<S>\d{{2}})(?:\.\d+)?)?{_ZONE})?$",
    "compact": r"^(?P<Y>(?:19|20)\d{2})(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])"
    r"(?:T?(?P<H>[01]\d|2[0-3])(?P<M>[0-5]\d)(?P<S>[0-5]\d)Z?)?$",
    "local": rf"^(?P<first>\d{{1,2}})[./-](?P<second>\d{{1,2}})[./-](?P<Y>\d{{4}}|\d{{2}}){_THEN}",
    "words": rf"^(?:{_WEEKDAY},? +)?{_DAY}[-/ .]+{_MONTH}\.?[-/, ]+(?P<Y>\d{{4}}|\d{{2}}){_THEN}",
    "words_month_first": rf"^(?:{_WEEKDAY},? +)?(?P<b>(?i:{_ENGLISH}))\.? +{_DAY},? +{_YEAR}{_THEN}",
    "words_year_last": rf"^{_WEEKDAY} +{_MONTH} +{_DAY} +{_CLOCK}{_OFFSET} +{_YEAR}$",
    "other": rf"^{_YEAR}[-/.年](?P<m>\d{{1,2}})[-/.月]{_DAY}日?(?:[T ]?{_CLOCK}{_OFFSET})?$",
}
_DOTTED_HALF = re.compile(r"[AaPp]\.[Mm]\.?\b|[AaPp][Mm]\.")  # which no format reads
_EARLIEST_S, _LATEST_S = 3.15e8, 2.4e9  # 1980 to 2046
_EPOCHS: tuple[tuple[Unit, float], ...] = (("s", 1.0), ("ms", 1e3), ("us", 1e6))


@dataclass(frozen=True)
class TimeForm:
    """How a column writes times. `unit` and `format` are the spec's `ts_unit` and `ts_format`; both None: a form that
    `ingest` does not read.

    `rough` (distinct values,) f64 rises with the time; NaN for what is none. It tells order and distance, no dates.
    """

    unit: Unit | None
    words: Phrase
    rough: Floats
    with_clock: bool
    caution: Phrase | None = None
    format: str | None = None

    @property
    def readable(self) -> bool:
        return self.unit is not None or self.format is not None


def time_form(texts: pa.Array, numbers: Floats | None) -> TimeForm | None:
    """How distinct texts write times; None where they hold none. numbers (distinct,): theirs, where they are such."""
    if not len(texts):
        return None
    if numbers is not None and (epoch := _epoch(numbers)) is not None:
        return epoch
    looked_at = texts.slice(0, MOST_LOOKED_AT)
    for form, pattern in _DATES.items():
        if float(pc.mean(pc.match_substring_regex(looked_at, pattern)).as_py() or 0.0) >= NEARLY_ALL:
            return _dated(form, looked_at, pc.extract_regex(texts, pattern))
    return None


def _epoch(found: Floats) -> TimeForm | None:
    for unit, per_second in _EPOCHS:
        inside = (found >= _EARLIEST_S * per_second) & (found <= _LATEST_S * per_second)
        if float(inside.mean()) >= NEARLY_ALL:
            return TimeForm(unit, phrase(f"time.{unit}"), np.where(inside, found / per_second, np.nan), True)
    nanos = (found >= _EARLIEST_S * 1e9) & (found <= _LATEST_S * 1e9)
    if float(nanos.mean()) >= NEARLY_ALL:
        rough = np.where(nanos, found / 1e9, np.nan)
        return TimeForm(None, phrase("time.ns"), rough, True, phrase("time.ns_unread"))
    return None


def _dated(form: str, looked_at: pa.Array, parts: pa.Array) -> TimeForm:
    """looked_at (some,): the first of the distinct texts; parts (distinct,): the groups of all of them."""
    at = {name: _whole(parts, name) for name in ("Y", "m", "d", "first", "second", "H", "M", "S")}
    words, doubt, letters = phrase(f"time.{form.partition('_')[0]}"), None, {}
    if form == "local":
        order, words, doubt = _order_of(at["first"], at["second"])
        letters = dict(zip(("first", "second"), order, strict=True))
        at |= {letter: at[name] for name, letter in letters.items()}
    if form.startswith("words"):
        at["m"] = _months(parts)
    known = np.isfinite(at["Y"])
    days = at["Y"] * 372 + np.nan_to_num(at["m"]) * 31 + np.nan_to_num(at["d"])
    hours = np.where(_afternoon(parts), np.nan_to_num(at["H"]) % 12 + 12, np.nan_to_num(at["H"]))
    seconds = hours * 3600 + np.nan_to_num(at["M"]) * 60 + np.nan_to_num(at["S"])
    clock = bool(np.isfinite(at["H"]).any() and seconds.any())
    rough = np.where(known, days * 86_400 + seconds, np.nan)
    if form == "iso":
        return TimeForm("iso", words, rough, clock, doubt)
    written, unread = _format_of(form, looked_at.to_pylist(), letters)
    told = clauses((unread, doubt)) if unread and doubt else unread or doubt
    return TimeForm(None, words, rough, clock, told, written)


def _order_of(first: Floats, second: Floats) -> tuple[str, Phrase, Phrase | None]:
    """Which of day and month comes first in 03/04/2024, how that is called, and what is in doubt of it."""
    if np.nanmax(first) > 12 and np.nanmax(second) <= 12:
        return "dm", phrase("time.day_first", day=float(np.nanmax(first))), None
    if np.nanmax(second) > 12 and np.nanmax(first) <= 12:
        return "md", phrase("time.month_first", day=float(np.nanmax(second))), None
    return "dm", phrase("time.day_or_month"), phrase("time.day_or_month_doubt")


def _format_of(form: str, texts: list[str], letters: dict[str, str]) -> tuple[str | None, Phrase | None]:
    """The format that most texts are written in, and what it does not read of them; no format where it reads none."""
    found = [match for match in map(re.compile(_DATES[form]).match, texts) if match]
    spelt = Counter(_spelt(match, letters) for match in found).most_common(1)[0][0]
    with build_connection(None, threads=1) as connection:
        connection.register("dates", pa.table({"text": [match[0] for match in found]}))
        refused = connection.execute("FROM dates WHERE try_strptime(text, $f) IS NULL", {"f": spelt}).fetchall()
    example: Said = quoted(refused[0][0] if refused else found[0][0])
    if "%Z" in spelt:
        return None, phrase("time.zone_letters", example=example)
    if any(_DOTTED_HALF.search(text) for (text,) in refused):
        return None, phrase("time.dotted_half")
    if len(refused) == len(found):
        return None, phrase("time.unread", example=example)
    return spelt, phrase("time.uneven", n=len(refused), of=len(found), example=example) if refused else None


def _spelt(match: re.Match[str], letters: dict[str, str]) -> str:
    """The text with each of its groups as strptime's letter for it; `letters`: of groups that are not called so."""
    format_, done = "", 0
    for name, text in sorted(match.groupdict().items(), key=lambda group: match.start(group[0])):
        if text is not None:
            format_ += match.string[done : match.start(name)] + f"%{_letter(letters.get(name, name), text, match)}"
            done = match.end(name)
    return re.sub(" +", " ", format_ + match.string[done:])  # one space reads several


def _letter(name: str, text: str, match: re.Match[str]) -> str:
    if name == "Y":
        return "Y" if len(text) == 4 else "y"
    if name in "ab":
        return name if len(text) == 3 else name.upper()
    if name == "H":
        return "I" if match.groupdict().get("p") else "H"
    return "n" if name == "f" and len(text) > 6 else name


def _whole(parts: pa.Array, name: str) -> Floats:
    """(distinct,) A group's numbers; NaN where it has none, or where the form has no such group."""
    if parts.type.get_field_index(name) < 0:
        return np.full(len(parts), np.nan)
    texts = pc.struct_field(parts, name)
    filled = pc.if_else(pc.equal(texts, ""), None, texts)
    return np.asarray(pc.cast(filled, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _months(parts: pa.Array) -> Floats:
    """(distinct,) The month that a word begins like, from 1; NaN for other words."""
    begun = pc.utf8_lower(pc.utf8_slice_codeunits(pc.struct_field(parts, "b"), 0, 3))
    place = pc.index_in(begun, value_set=pa.array(_MONTHS))
    return np.asarray(pc.cast(place, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64) + 1


def _afternoon(parts: pa.Array) -> npt.NDArray[np.bool_]:
    if parts.type.get_field_index("p") < 0:
        return np.zeros(len(parts), dtype=np.bool_)
    half = pc.utf8_lower(pc.struct_field(parts, "p"))
    return np.asarray(pc.fill_null(pc.starts_with(half, "p"), False).to_numpy(zero_copy_only=False), dtype=np.bool_)
