"""How texts write times: since 1970, ISO 8601, or some other order of day, month and year, and by which format."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data.phrases import Phrase, phrase

Floats = npt.NDArray[np.float64]

NEARLY_ALL = 0.98
MOST_LOOKED_AT = 5_000  # distinct values whose form is judged
_CLOCK = r"(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:\.\d+)?)?"
_ZONE = r"(?:Z|[+-]\d{2}(?::?\d{2})?| [A-Z][A-Za-z_]+(?:/[A-Za-z_]+)*)?"
_DATES = {  # form -> its pattern; those after the first need a `ts_format`
    "iso": rf"^(?P<y>\d{{4}})[-/ ](?P<m>\d{{1,2}})[-/ ](?P<d>\d{{1,2}})(?:[T ]{_CLOCK}{_ZONE})?$",
    "compact": r"^(?P<y>(?:19|20)\d{2})(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])"
    r"(?:T?(?P<H>[01]\d|2[0-3])(?P<M>[0-5]\d)(?P<S>[0-5]\d)Z?)?$",
    "local": r"^(?P<a>\d{1,2})[./-](?P<b>\d{1,2})[./-](?P<y>\d{4}|\d{2})"
    rf"(?:,?[T ]{_CLOCK}(?: ?[AaPp]\.?[Mm]\.?)?)?$",
    "words": rf"^(?P<d>\d{{1,2}})[- .]+[^\W\d_]{{3,9}}\.?[- ,]+(?P<y>\d{{4}})(?:,?[T ]{_CLOCK})?$",
    "other": rf"^(?P<y>\d{{4}})[.年](?P<m>\d{{1,2}})[.月](?P<d>\d{{1,2}})日?(?:[T ]?{_CLOCK})?$",
}
_DOTTED_HALF = re.compile(r"[AaPp]\.[Mm]\.?$|[AaPp][Mm]\.$")  # which no format reads
_EARLIEST_S, _LATEST_S = 3.15e8, 2.4e9  # 1980 to 2046
_EPOCHS: tuple[tuple[Literal["s", "ms", "us"], float], ...] = (("s", 1.0), ("ms", 1e3), ("us", 1e6))


@dataclass(frozen=True)
class TimeForm:
    """How a column writes times. `unit` and `format` are the spec's `ts_unit` and `ts_format`; both None: a form that
    `ingest` does not read.

    `rough` (distinct values,) f64 rises with the time; NaN for what is none. It tells order and distance, no dates.
    """

    unit: Literal["s", "ms", "us", "iso"] | None
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
            return _dated(form, texts.to_pylist(), pc.extract_regex(texts, pattern))
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


def _dated(form: str, texts: Sequence[str], parts: pa.Array) -> TimeForm:
    at = {name: _whole(parts, name) for name in ("y", "m", "d", "a", "b", "H", "M", "S")}
    doubt: Phrase | None = None
    if form == "local":
        order, words, doubt = _order_of(at["a"], at["b"])
        at["d"], at["m"] = (at["a"], at["b"]) if order == "dmy" else (at["b"], at["a"])
    else:
        order, words = "dby" if form == "words" else "ymd", phrase(f"time.{form}")
    known = np.isfinite(at["y"])
    days = at["y"] * 372 + np.nan_to_num(at["m"]) * 31 + np.nan_to_num(at["d"])
    seconds = np.nan_to_num(at["H"]) * 3600 + np.nan_to_num(at["M"]) * 60 + np.nan_to_num(at["S"])
    clock = bool(np.isfinite(at["H"]).any() and seconds.any())
    rough = np.where(known, days * 86_400 + seconds, np.nan)
    written = None if form == "iso" else _strptime(next(text for text, y in zip(texts, known, strict=True) if y), order)
    if form != "iso":
        every = [np.isfinite(at[name][known]) for name in ("H", "S")]
        if not all(there.all() or not there.any() for there in every):
            doubt = phrase("time.uneven")
    if any(_DOTTED_HALF.search(text) for text in texts[:MOST_LOOKED_AT]):
        doubt, written = phrase("time.dotted_half"), None
    return TimeForm("iso" if form == "iso" else None, words, rough, clock, doubt, written)


def _order_of(first: Floats, second: Floats) -> tuple[str, Phrase, Phrase | None]:
    """Which of day and month comes first in 03/04/2024, how that is called, and what is in doubt of it."""
    if np.nanmax(first) > 12 and np.nanmax(second) <= 12:
        return "dmy", phrase("time.day_first", day=float(np.nanmax(first))), None
    if np.nanmax(second) > 12 and np.nanmax(first) <= 12:
        return "mdy", phrase("time.month_first", day=float(np.nanmax(second))), None
    return "dmy", phrase("time.day_or_month"), phrase("time.day_or_month_doubt")


def _strptime(text: str, order: str) -> str:
    """The format of a date: its digits in the order given (b: the month as a word), then those of a clock."""
    clock = re.search(r"\d{1,2}:\d{2}", text)
    date, rest = (text[: clock.start()], text[clock.start() :]) if clock else (text, "")
    digits = re.fullmatch(r"(\d{4})(\d{2})(\d{2})(?:(T?)(\d{2})(\d{2})(\d{2})(Z?))?", date)
    if digits:
        return "%Y%m%d" + (f"{digits[4]}%H%M%S{digits[8]}" if digits[5] else "")
    letters = iter(order)

    def one(found: re.Match[str]) -> str:
        letter = next(letters, "d")
        if letter == "y":
            return "%Y" if len(found[0]) == 4 else "%y"
        return ("%b" if len(found[0]) == 3 else "%B") if letter == "b" else f"%{letter}"

    day = re.sub(r"\d+|(?<=[ .-])[^\W\d_]{3,9}", one, date)
    half = re.search(r"[AaPp][Mm]$", rest)
    hours = re.sub(r"^\d{1,2}:\d{2}", "%I:%M" if half else "%H:%M", rest)
    hours = re.sub(r"(?<=%M):\d{2}(\.\d+)?", lambda found: ":%S" + (".%f" if found[1] else ""), hours)
    return day + re.sub(r"[AaPp][Mm]$", "%p", hours)


def _whole(parts: pa.Array, name: str) -> Floats:
    kind = parts.type
    if kind.get_field_index(name) < 0:
        return np.full(len(parts), np.nan)
    texts = pc.struct_field(parts, name)
    filled = pc.if_else(pc.equal(texts, ""), None, texts)
    return np.asarray(pc.cast(filled, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
