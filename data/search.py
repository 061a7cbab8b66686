"""Finding a user or an item by what somebody remembers of its key or title: a part of it, with slips of the keys, in
other letters.

`Finder` is made once a build and kept: names folded to what people tell apart (no case, no diacritics, full-width
letters as plain ones), and the words of these, each once, with the entries that have them. What is typed is compared
with names as they stand first, and only where that finds too little with words that are spelled alike; of these only
such are looked at whose letters, whatever their order, leave room for it. So one question of half a million names takes
a tenth of a second. A Chinese or Japanese character is a word by itself: these texts set no spaces.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from rapidfuzz import fuzz, process

from data import reads
from data.warehouse import Warehouse

MOST = 20  # matches
MOST_CHARACTERS = 100  # of what is typed, and
MOST_WORDS = 8  # of its words; the rest is left out
FEW = 5  # matches as it stands, and nothing spelled alike is told beside them
ALIKE = 0.7  # of what is asked, letters counted: from here on a name is found
_WORD_ALIKE = 65.0  # the same of a word, in percent
_LETTERS_A_SLIP = 5  # one in so many letters begun may be wrong; a slip is a letter too many and one too few, at most
_SHORTEST_FUZZY = 3  # letters: shorter words have nothing left when one is wrong
_KINDS_OF_LETTERS = 16
_NEAREST = 3
_NEAR = 0.4
_COMPARED = 50_000  # words at most, letter by letter
_LOOKED_AT = 2_000  # for the nearest

How = Literal["exact", "prefix", "words", "part", "alike"]
_ORDER: tuple[How, ...] = ("exact", "prefix", "words", "part", "alike")
_OF_ONE = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # kana and Han
_WORDS = re.compile(rf"[{_OF_ONE}]|[^\W_{_OF_ONE}]+")
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"})
_Floats = npt.NDArray[np.float32]
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Match:
    """One entry that was found. score: 1, or of what is spelled alike how much so, in [ALIKE, 1)."""

    key: str
    title: str
    events: int
    how: How
    score: float


@dataclass(frozen=True)
class Found:
    """The best matches, how many there are as it stands (`alike` ones not counted), and where there is none at all the
    entries that come nearest."""

    matches: tuple[Match, ...]
    n: int
    nearest: tuple[Match, ...] = ()


def fold(text: str) -> str:
    """A text in small letters without diacritics: `Amélie` and `AMELIE` are one."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKD", text).casefold()
    bare = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return unicodedata.normalize("NFC", bare.translate(_LETTERS))


def words(folded: str) -> list[str]:
    """The words of a folded text; Chinese and Japanese characters one by one. Marks between words are no part of any;
    of a text that has nothing else they are the word."""
    return _WORDS.findall(folded) or folded.split()


def users(warehouse: Warehouse) -> "Finder":
    """Finds a build's users; among equals the shorter key is first, so that 12 stands before 120."""
    named = reads.user_choices(warehouse)
    longest_last = named.append_column("length", pc.utf8_length(named["key"]))
    return Finder(longest_last.sort_by([("length", "ascending"), ("key", "ascending")]))


def items(warehouse: Warehouse) -> "Finder":
    """Finds a build's items; among equals the more popular is first."""
    return Finder(reads.item_choices(warehouse))


class Finder:
    """Everything that can be found, in the order in which equally good matches are told."""

    def __init__(self, named: pa.Table) -> None:
        """named: one row an entry, key, events and, of items, title."""
        self._keys = named["key"].combine_chunks()
        self._titles = named["title"].combine_chunks() if "title" in named.column_names else None
        self._events = named["events"].combine_chunks()
        names = [self._keys] if self._titles is None else [self._keys, self._titles]
        parts = [[words(fold(name or "")) for name in column.to_pylist()] for column in names]
        self._joined = [pa.array(["".join(some) for some in column], pa.string()) for column in parts]
        self._vocabulary, self._starts, self._entries = _inverted(parts)
        self._lengths = np.fromiter(map(len, self._vocabulary), np.int32, len(self._vocabulary))
        self._letters = _letters(self._vocabulary)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, text: str, *, most: int = MOST) -> Found:
        """The best matches of a text, whatever it holds: keys and titles that are it, begin with it, have a word that
        begins with each of its words, hold it; where these are few, those whose words are spelled alike."""
        text = text[:MOST_CHARACTERS].encode("utf-8", "replace").decode()  # half a surrogate pair is no letter
        asked = words(fold(text))[:MOST_WORDS]
        if not asked or not len(self):
            return Found((), 0)
        place = self._directly(text.strip(), asked)
        direct = np.flatnonzero(place < len(_ORDER))
        score = np.ones(len(self), np.float32)
        if direct.size < FEW and place.min() > _ORDER.index("exact"):
            alike = self._alike(asked)
            more = (place == len(_ORDER)) & (alike >= ALIKE)
            place[more], score[more] = _ORDER.index("alike"), alike[more]
            if place.min() == len(_ORDER):
                return Found((), 0, self._nearest(alike) or self._nearest_word(max(asked, key=len)))
        found = np.flatnonzero(place < len(_ORDER))
        best = found[np.lexsort((found, -score[found], place[found]))][:most]
        return Found(tuple(self._match(i, _ORDER[max(place[i], 0)], float(score[i])) for i in best), int(direct.size))

    def _directly(self, text: str, asked: Sequence[str]) -> npt.NDArray[np.int8]:
        """Each entry's place in `_ORDER`, its length where nothing of it is so, and -1 for the very key."""
        place = np.full(len(self), len(_ORDER), np.int8)
        joined = "".join(asked)

        def put(how: How, mask: Any) -> None:
            at = np.asarray(mask, bool)
            place[at] = np.minimum(place[at], _ORDER.index(how))

        for names in self._joined:
            put("part", pc.match_substring(names, joined))
            put("prefix", pc.starts_with(names, joined))
            put("exact", pc.equal(names, joined))
        every = np.ones(len(self), bool)
        for word in asked:
            first, after = self._beginning(word)
            has = np.zeros(len(self), bool)
            has[self._entries[self._starts[first] : self._starts[after]]] = True
            every &= has
        put("words", every)
        place[np.asarray(pc.equal(self._keys, text), bool)] = -1
        return place

    def _beginning(self, word: str) -> tuple[int, int]:
        """Where the words that begin with one stand in the vocabulary: the first, and the first after them."""
        first = bisect_left(self._vocabulary, word)
        return first, bisect_left(self._vocabulary, word + chr(0x10FFFF), lo=first)

    def _alike(self, asked: Sequence[str]) -> _Floats:
        """How much of what is asked each entry has, letters weighed: a word by the one of the entry's that is most like
        it (by the share of letters that need no change, as `rapidfuzz.fuzz.ratio` has it)."""
        total = np.zeros(len(self), np.float32)
        weights = [len(word) if len(word) > 1 else 2 if re.match(f"[{_OF_ONE}]", word) else 1 for word in asked]
        for word, weight in zip(asked, weights, strict=True):
            first, after = self._beginning(word)
            beginning = np.arange(first, after)
            slipped = self._with_slips(word)
            at = np.concatenate([np.fromiter(slipped, np.int64, len(slipped)), beginning])
            likeness = np.concatenate(
                [
                    np.fromiter(slipped.values(), np.float32, len(slipped)),
                    (0.9 + 0.1 * len(word) / self._lengths[beginning]).astype(np.float32),
                ]
            )
            rising = np.argsort(likeness, kind="stable")  # of an entry's words the last one stays, the best
            total += weight * self._spread(at[rising], likeness[rising])
        return total / np.float32(sum(weights))

    def _with_slips(self, word: str) -> dict[int, float]:
        """Words of the vocabulary that are one with a slip or two, and how much they are like it."""
        if len(word) < _SHORTEST_FUZZY:
            return {}
        slips = -(-len(word) // _LETTERS_A_SLIP)
        apart = self._apart(word)
        some = np.flatnonzero(apart <= 2 * slips)
        if some.size > _COMPARED:
            some = some[np.argsort(apart[some], kind="stable")[:_COMPARED]]
        return self._likeness(word, some, least=_WORD_ALIKE, most=None)

    def _likeness(self, word: str, some: _Ints, *, least: float, most: int | None) -> dict[int, float]:
        choices = [self._vocabulary[at] for at in some]
        told = process.extract(word, choices, scorer=fuzz.ratio, processor=None, score_cutoff=least, limit=most)
        return {int(some[at]): likeness / 100 for _, likeness, at in told}

    def _apart(self, word: str) -> npt.NDArray[np.int16]:
        """By how many letters each word of the vocabulary differs from one at least: those it has too many or too few
        of, letters of a kind taken for one. No spelling of it comes nearer (Ukkonen, TCS 92, 1992, on q-grams of one).
        """
        mine = _letters([word])
        apart = np.zeros(len(self._vocabulary), np.int16)
        for own, theirs in zip(mine[:, 0], self._letters, strict=True):
            apart += np.abs(theirs - own)
        return apart

    def _spread(self, at: _Ints, values: _Floats) -> _Floats:
        """Values of words of the vocabulary, to the entries that have them; the last of several counts."""
        counts = self._starts[at + 1] - self._starts[at]
        before = np.cumsum(counts) - counts
        places = np.repeat(self._starts[at] - before, counts) + np.arange(int(counts.sum()))
        spread = np.zeros(len(self), np.float32)
        spread[self._entries[places]] = np.repeat(values, counts)
        return spread

    def _nearest(self, alike: _Floats) -> tuple[Match, ...]:
        """The few entries that have most of what was asked, though not enough of it."""
        first = np.argsort(-alike, kind="stable")[:_NEAREST]
        return tuple(self._match(at, "alike", float(alike[at])) for at in first if alike[at] >= _NEAR)

    def _nearest_word(self, word: str) -> tuple[Match, ...]:
        """One entry each of the few words that are most like one, with more slips than are forgiven."""
        some = np.argsort(self._apart(word), kind="stable")[:_LOOKED_AT]
        near = self._likeness(word, some, least=100 * _NEAR, most=_NEAREST)
        entries = {int(self._entries[self._starts[at]]): likeness for at, likeness in near.items()}
        return tuple(self._match(entry, "alike", likeness) for entry, likeness in entries.items())

    def _match(self, at: int, how: How, score: float) -> Match:
        key = str(self._keys[int(at)].as_py())
        title = key if self._titles is None else str(self._titles[int(at)].as_py() or key)
        return Match(key, title, int(self._events[int(at)].as_py() or 0), how, round(score, 3))


def _inverted(columns: Sequence[Sequence[list[str]]]) -> tuple[list[str], _Ints, npt.NDArray[np.int32]]:
    """The words in order, and of each where the entries that have it begin in the third: (n + 1,)."""
    number: dict[str, int] = {}
    codes, entries = list[int](), list[int]()
    for column in columns:
        for entry, some in enumerate(column):
            for word in some:
                codes.append(number.setdefault(word, len(number)))
                entries.append(entry)
    vocabulary = sorted(number)
    rank = np.empty(len(vocabulary), np.int64)
    rank[[number[word] for word in vocabulary]] = np.arange(len(vocabulary))
    coded = rank[np.asarray(codes, np.int64)]
    order = np.argsort(coded, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(coded, minlength=len(vocabulary)))]).astype(np.int64)
    return vocabulary, starts, np.asarray(entries, np.int32)[order]


def _letters(vocabulary: Sequence[str]) -> npt.NDArray[np.int8]:
    """How often each word has letters of each of a few kinds, 100 times at most: (_KINDS_OF_LETTERS, n)."""
    lengths = np.fromiter(map(len, vocabulary), np.int64, len(vocabulary))
    codes = np.frombuffer("".join(vocabulary).encode("utf-32-le", "surrogatepass"), np.uint32) % _KINDS_OF_LETTERS
    word = np.repeat(np.arange(len(vocabulary)), lengths)
    counted = np.bincount(codes * len(vocabulary) + word, minlength=_KINDS_OF_LETTERS * len(vocabulary))
    return np.minimum(counted, 100).astype(np.int8).reshape(_KINDS_OF_LETTERS, len(vocabulary))
