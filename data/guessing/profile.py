"""What the values of a column look like: how many, how different, numbers, times, text. No name is looked at here.

A `Column` holds one sampled column; what it tells is worked out when asked for, on its distinct values.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data.guessing.times import MOST_LOOKED_AT, NEARLY_ALL, Floats, TimeForm, time_form
from data.phrases import Phrase, file_called, listed, phrase, quoted

Ints = npt.NDArray[np.int64]

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_DECIMAL_COMMA = r"^[+-]?\d{1,3}((\.\d{3})*|\d*),\d+$"


@dataclass(frozen=True, eq=False)
class Column:
    """One column of a sample; `cells` (rows,) are trimmed text, null where empty."""

    name: str
    cells: pa.Array

    @cached_property
    def _encoded(self) -> pa.DictionaryArray:
        return self.cells.dictionary_encode()

    @cached_property
    def codes(self) -> Ints:
        """(rows,) place of each cell among `values`; -1 where empty."""
        return np.asarray(pc.fill_null(self._encoded.indices, -1).to_numpy(zero_copy_only=False), dtype=np.int64)

    @cached_property
    def values(self) -> list[str]:
        """The distinct values in order of appearance."""
        found: list[str] = self._encoded.dictionary.to_pylist()
        return found

    @cached_property
    def value_set(self) -> frozenset[str]:
        """The distinct values."""
        return frozenset(self.values)

    @cached_property
    def counts(self) -> Ints:
        """(distinct,) cells of each value."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.values)).astype(np.int64)

    @property
    def rows(self) -> int:
        return len(self.cells)

    @property
    def distinct(self) -> int:
        return len(self.values)

    @property
    def n(self) -> int:
        """Cells that are filled."""
        return int(self.rows - self.cells.null_count)

    @property
    def filled(self) -> float:
        """Share of cells that are; 0 of none."""
        return self.n / self.rows if self.rows else 0.0

    @property
    def unique(self) -> bool:
        """Whether it could be a key: nearly all cells filled, nearly none twice."""
        return self.n >= 2 and self.filled >= NEARLY_ALL and self.distinct >= 0.995 * self.n

    @cached_property
    def numbers(self) -> Floats:
        """(distinct,) the values as numbers; NaN for what is none."""
        texts = self._encoded.dictionary
        if not len(texts):
            return np.zeros(0)
        plain = pc.if_else(pc.match_substring_regex(texts, _NUMBER), texts, None)
        return np.asarray(pc.cast(plain, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)

    @cached_property
    def numeric(self) -> bool:
        """Whether nearly all cells are numbers as `ingest` reads them."""
        return self.n > 0 and float(self.counts[np.isfinite(self.numbers)].sum()) >= NEARLY_ALL * self.n

    @cached_property
    def decimal_commas(self) -> bool:
        """Whether its numbers are written as 3,5, which `ingest` does not read."""
        return self.n > 0 and not self.numeric and self._share(_DECIMAL_COMMA) >= 0.3 and self._share("[^0-9.,+-]") == 0

    @cached_property
    def whole(self) -> bool:
        """Whether its numbers are whole ones."""
        found = self.numbers[np.isfinite(self.numbers)]
        return self.numeric and bool((found == np.floor(found)).all())

    @cached_property
    def span(self) -> tuple[float, float]:
        """The smallest and largest number; NaN without numbers."""
        found = self.numbers[np.isfinite(self.numbers)]
        return (float(found.min()), float(found.max())) if len(found) else (float("nan"), float("nan"))

    @cached_property
    def length(self) -> float:
        """Mean characters of a distinct value."""
        return float(pc.mean(pc.utf8_length(self._encoded.dictionary)).as_py() or 0.0)

    @cached_property
    def letters(self) -> float:
        """Share of distinct values with a letter."""
        return self._share(r"\pL")

    @cached_property
    def links(self) -> float:
        """Share of distinct values that are addresses of the web or of image files."""
        return self._share(r"^(https?://|www\.)|\.(jpe?g|png|webp|gif)$")

    @cached_property
    def free(self) -> bool:
        """Whether it is text as people write it: long, or of several words that hardly anyone repeats."""
        return self.length > 60 or (self.distinct > 100 and not self.numeric and self._share(r"\pL\s+\S") > 0.5)

    @cached_property
    def time(self) -> TimeForm | None:
        """How it writes times; None for what holds none."""
        return time_form(self._encoded.dictionary, self.numbers if self.numeric else None)

    @cached_property
    def rough_times(self) -> Floats:
        """(rows,) the rough time of each row; NaN where there is none."""
        if self.time is None:
            return np.full(self.rows, np.nan)
        return np.append(self.time.rough, np.nan)[self.codes]

    def _share(self, pattern: str) -> float:
        texts = self._encoded.dictionary
        return float(pc.mean(pc.match_substring_regex(texts, pattern)).as_py() or 0.0) if len(texts) else 0.0


def column_of(name: str, cells: pa.ChunkedArray) -> Column:
    """A sampled column, its cells trimmed, empty ones null."""
    text = pc.utf8_trim_whitespace(cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells)
    return Column(name, pc.if_else(pc.equal(text, ""), None, text))


def described(column: Column) -> Phrase:
    """A column in a few words, for a person who looks for another meaning of it."""
    if not column.n:
        return phrase("column.empty")
    example = quoted(column.values[0])
    if column.time is not None:
        return phrase("column.times", form=column.time.words, example=example)
    return phrase("column.numbers" if column.numeric else "column.texts", n=column.distinct, example=example)


def about(column: Column, what: Phrase | None = None) -> Phrase:
    """A column by its name with what is to say of it, by default what it holds."""
    return phrase("column.told", name=quoted(column.name), what=described(column) if what is None else what)


def pairs(left: Column, right: Column) -> int:
    """How many different pairs of values stand in one row."""
    both = (left.codes >= 0) & (right.codes >= 0)
    return len(np.unique(left.codes[both] * np.int64(right.distinct + 1) + right.codes[both]))


def determines(left: Column, right: Column) -> bool:
    """Whether a value of `left`, where it stands in several rows, nearly always comes with the same one of `right`."""
    both = (left.codes >= 0) & (right.codes >= 0)
    seen = len(np.unique(left.codes[both]))
    if int(both.sum()) < 1.2 * seen or right.distinct < 2:
        return False
    return pairs(left, right) <= 1.02 * seen


def shared(left: Column, right: Column) -> tuple[float, float]:
    """Containment both ways: the share of left's distinct values among right's, and of right's among left's."""
    common = len(left.value_set & right.value_set)
    return common / max(1, left.distinct), common / max(1, right.distinct)


def separated(column: Column, marks: Sequence[str]) -> tuple[str, float, int] | None:
    """The mark that splits values into shared parts, with the mean parts of a value and the number of different ones;
    None where no mark does. A comma in a title splits too, but into parts that hardly two values share."""
    best: tuple[str, float, int] | None = None
    texts, counts = column.values[:MOST_LOOKED_AT], column.counts[:MOST_LOOKED_AT].tolist()
    for mark in marks:
        lists = [[part for part in (p.strip() for p in text.split(mark)) if part] for text in texts]
        total = sum(len(parts) * n for parts, n in zip(lists, counts, strict=True))
        several = sum(n for parts, n in zip(lists, counts, strict=True) if len(parts) > 1)
        different = len({part for parts in lists for part in parts})
        if several < max(2, 0.05 * sum(counts)) or 3 * different > total or _sentences(lists):
            continue
        if best is None or total / sum(counts) > best[1]:
            best = (mark, total / sum(counts), different)
    return best


def _sentences(lists: Sequence[Sequence[str]]) -> bool:
    """Whether the parts read as pieces of sentences: more than four words each, or one of many letters."""
    spaces = [len(re.findall(r"\s", part)) for parts in lists for part in parts]
    longest = max((len(part) for parts in lists for part in parts), default=0)
    return longest > 80 or (bool(spaces) and sum(spaces) / len(spaces) > 4)


# ---- Files

_MOST_COLUMNS = 200


@dataclass(frozen=True, eq=False)
class File:
    """Sampled files with the same columns, read as one. rows: about how many there are, sampled or not."""

    names: tuple[str, ...]
    columns: tuple[Column, ...]
    sampled: int
    rows: int

    @property
    def title(self) -> Phrase:
        """How reasons call it."""
        more = len(self.names) - 1
        return phrase("name.files", name=self.names[0], n=more) if more else file_called(self.names[0])

    @property
    def header(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def sampled_share(self) -> float:
        """Share of its rows that the sample holds."""
        return min(1.0, self.sampled / self.rows) if self.rows else 1.0

    @cached_property
    def keys(self) -> tuple[Column, ...]:
        """Columns whose values stand once each, as a catalogue's keys do; those that come first are likelier."""
        return tuple(column for column in self.columns if column.unique and likely_key(column))[:6]


def likely_key(column: Column) -> bool:
    """Whether values could be ids of something: whole numbers or short texts, no times, no addresses of the web."""
    if column.numeric and not column.whole:
        return False
    dated = column.time is not None and not column.numeric
    return not dated and column.links < 0.5 and column.length <= 80


def file_of(name: str, sample: pa.Table, *, rows: int, wanted: Sequence[str] = ()) -> tuple[File, list[Phrase]]:
    """A sampled file, and what of it cannot be looked at: names that stand twice, and columns beyond the first 200
    (those named in `wanted` aside)."""
    names, unused = sample.column_names, list[Phrase]()
    file = file_called(name)
    doubled = sorted({one for one in names if names.count(one) > 1}) if len(set(names)) < len(names) else []
    if doubled[:1] == [""]:
        unused.append(phrase("look.nameless", file=file, n=names.count("")))
        doubled = doubled[1:]
    if doubled:
        unused.append(phrase("look.doubled", file=file, names=listed(map(quoted, doubled[:5]))))
    usable = [at for at, one in enumerate(names) if one and one not in doubled]
    if len(usable) > _MOST_COLUMNS:
        unused.append(phrase("look.wide", file=file, n=len(names), most=_MOST_COLUMNS))
        usable = usable[:_MOST_COLUMNS] + [at for at in usable[_MOST_COLUMNS:] if names[at] in wanted][:_MOST_COLUMNS]
    columns = tuple(column_of(names[at], sample.column(at)) for at in usable)
    return File((name,), columns, sample.num_rows, max(rows, sample.num_rows)), unused


def joined(files: Sequence[File]) -> File:
    """Files of the same header as one, their sampled rows in the files' order."""
    first = files[0]
    if len(files) == 1:
        return first
    columns = tuple(
        Column(one.name, pa.concat_arrays([file.columns[at].cells for file in files]))
        for at, one in enumerate(first.columns)
    )
    names = tuple(name for file in files for name in file.names)
    return File(names, columns, sum(file.sampled for file in files), sum(file.rows for file in files))
