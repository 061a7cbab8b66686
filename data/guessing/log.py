"""Which of the files is the log of events, and which of its columns are users, items and times.

Evidence comes from values first: users and items repeat, a catalogue's key holds the values of one of them, users
act in bursts while items are met all along, a time is a time. Names add to it and decide where values leave it open.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations

import numpy as np

from data.errors import CannotGuess
from data.guessing.annotated import Decision
from data.guessing.lexicon import LAST_WORD, SENSITIVE, is_called, stem_of, strength
from data.guessing.profile import Column, File, described, determines, likely_key, shared
from data.phrases import Phrase, clauses, listed, on_a_line, phrase, quoted

_LEAST = -0.75  # the score below which two columns are no users and items
_MOST_CANDIDATES = 10
_NO_KEYS = ("kind", "rating", "amount", "quantity", "price", "category", "description", "title", "label", "seconds")


@dataclass(frozen=True)
class Match:
    """A catalogue's key that holds a log's values: `share` of those are among it, `back` the other way round."""

    file: File
    key: Column
    share: float
    back: float

    @property
    def words(self) -> Phrase:
        return phrase("log.match", share=self.share, key=quoted(self.key.name), file=self.file.title, back=self.back)


@dataclass(frozen=True)
class Log:
    """The log of events: which column is what, and the catalogues that its keys lead to."""

    file: File
    user: Column
    item: Column
    ts: Column
    users: Match | None
    items: Match | None
    score: float
    bursts: float = 0.0  # how much more users' events crowd in time than items' do, as a logarithm


@dataclass
class Told:
    """What was decided so far, and what could not be."""

    decisions: list[Decision] = field(default_factory=list)
    warnings: list[Phrase] = field(default_factory=list)

    def decide(self, name: str, value: object, reason: Phrase, *alternatives: Phrase) -> None:
        """Note a decision; a Column stands for its name."""
        plain = value.name if isinstance(value, Column) else value
        self.decisions.append(Decision(name, plain, reason, alternatives))  # type: ignore[arg-type]


def of_files(file: File) -> str | tuple[str, ...]:
    """The value of a section's `files`."""
    return file.names[0] if len(file.names) == 1 else file.names


def find_log(files: Sequence[File]) -> tuple[Log, list[Log]]:
    """The likeliest log of events, and other files that could be one. Raises CannotGuess."""
    timed = [(file, times) for file in files if (times := _times(file, files))]
    if not timed:
        raise CannotGuess(phrase("cannot.no_times", files=_shown(files)), remedy=_remedy("ts"))
    logs = sorted((log for file, times in timed for log in _logs(file, times, files)), key=lambda log: -log.score)
    if not logs:
        raise CannotGuess(phrase("cannot.no_keys", files=_shown([file for file, _ in timed])), remedy=_remedy("keys"))
    return logs[0], [log for log in logs[1:] if log.score > _LEAST + 1]


def _remedy(what: str) -> Phrase:
    return phrase("cannot.remedy", what=phrase(f"cannot.{what}"))


def _shown(files: Sequence[File]) -> Phrase:
    def shown(one: Column) -> Phrase:
        return phrase("cannot.column", name=phrase("name.bare", text=on_a_line(one.name)), what=described(one))

    return clauses(
        phrase("cannot.file", file=file.title, columns=listed(map(shown, file.columns), most=8)) for file in files[:5]
    )


def _times(file: File, files: Sequence[File]) -> list[tuple[float, Column]]:
    """Columns that could be the events' time, the likeliest first."""
    found = []
    for column in file.columns:
        if column.time is None or column.filled < 0.5:
            continue
        numbers = column.numeric and column.time.format is None
        score = 0.7 if numbers else 1.0
        score -= 0.0 if column.time.unit else 0.2 if column.time.readable else 0.6
        score += 0.8 * strength(column.name, "time") - 1.2 * strength(column.name, "other time")
        score += 0.2 if column.time.with_clock else 0.0
        score -= 0.6 * is_called(column.name, "user", "item", "session") if numbers else 0.0
        score -= 1.0 if column.distinct < 2 <= column.n else 0.0
        if numbers and any(_match(column, other) for other in files if other is not file):
            score -= 1.0
        if score > 0:
            found.append((score, column))
    return sorted(found, key=lambda pair: -pair[0])


def _match(column: Column, file: File) -> Match | None:
    """The key of another file that holds most of a column's values; a sampled file holds what it was sampled of."""
    best: Match | None = None
    for key in file.keys:
        share, back = shared(column, key)
        share = min(1.0, share / file.sampled_share)
        if share >= 0.5 and (best is None or share + back / 2 > best.share + best.back / 2):
            best = Match(file, key, share, back)
    return best


def _logs(file: File, times: Sequence[tuple[float, Column]], files: Sequence[File]) -> Iterator[Log]:
    """The best reading of one file as a log, if there is one."""
    time_score, ts = times[0]
    candidates = [one for one in file.columns if one is not ts and could_be_key(one)]
    fit = {role: {id(one): fitness(one, role) for one in candidates} for role in ("user", "item")}
    best_first = sorted(candidates, key=lambda one: -max(fit["user"][id(one)], fit["item"][id(one)]))
    kept = [one for one in candidates if one in best_first[:_MOST_CANDIDATES]]
    others = [other for other in files if other is not file]
    matches = {id(one): [found for other in others if (found := _match(one, other))] for one in kept}
    spread = {id(one): _spread(one, ts) for one in kept}
    best: Log | None = None
    for user, item in permutations(kept, 2):
        users, items, matched = _assigned(matches[id(user)], matches[id(item)])
        bursts = _log_ratio(spread[id(item)], spread[id(user)])
        score = fit["user"][id(user)] + fit["item"][id(item)] + matched + 0.6 * bursts
        score += 0.15 if kept.index(user) < kept.index(item) else 0.0
        score += time_score + 0.2 * math.log10(max(1, file.rows))
        if best is not None and score <= best.score:
            continue
        if determines(user, item) or determines(item, user):  # one is the other's name, or an attribute of it
            score -= 1.5
        if best is None or score > best.score:
            best = Log(file, user, item, ts, users, items, score, bursts)
    best = best and _finest(best, kept, matches)
    catalogue = any(_is_listed(file, other) for other in others)
    if best is not None and best.score - (2.0 if catalogue else 0.0) - time_score > _LEAST:
        yield best


def _finest(log: Log, kept: Sequence[Column], matches: Mapping[int, Sequence[Match]]) -> Log:
    """The same log by the finest of what names call items: of episodes, which tell their show, rather than of shows."""
    finer = [
        one
        for one in kept
        if one not in (log.user, log.item)
        and strength(one.name, "item") >= max(LAST_WORD, strength(log.item.name, "item"))
        and one.distinct < 0.9 * one.n
        and determines(one, log.item)
        and not determines(log.item, one)
    ]
    if log.items is not None or not finer:
        return log
    item = max(finer, key=lambda one: one.distinct)
    _, items, _ = _assigned((), matches[id(item)])
    return replace(log, item=item, items=items)


def could_be_key(column: Column) -> bool:
    """Whether a log's column could hold users or items."""
    often = column.filled >= 0.5 and (column.distinct >= 2 or column.rows < 2)
    return often and (likely_key(column) or _holds_pages(column))


def _holds_pages(column: Column) -> bool:
    """Whether a column is of addresses that are what people visit: by its name, and since they come again."""
    other = is_called(column.name, "image", "origin") > 0.3
    pages = column.links >= 0.5 and column.length <= 200 and strength(column.name, "item") > 0.6
    return pages and not other and column.distinct < 0.9 * column.n


def fitness(column: Column, role: str) -> float:
    """How well a column would do as users or items, by itself."""
    named = strength(column.name, role)
    against = is_called(column.name, "item" if role == "user" else "user", *_NO_KEYS, *SENSITIVE)
    score = 2 * named - 1.2 * max(0.0, against - named)
    score -= (0.6 if role == "user" else 1.0) * strength(column.name, "session")
    per_value = column.n / max(1, column.distinct)
    if column.n > 20:
        score -= 2.0 if column.unique else 1.0 if per_value < 1.05 else 0.0
        score -= 1.0 if column.distinct < 20 and per_value > 20 else 0.0
    score -= 1 - column.filled
    score -= 0.3 if column.time is not None else 0.0
    return score - (0.5 if column.length > 40 else 0.0)


def _assigned(of_user: Sequence[Match], of_item: Sequence[Match]) -> tuple[Match | None, Match | None, float]:
    """Which catalogue is the users' and which the items', and how much that speaks for the two columns."""
    best: tuple[Match | None, Match | None, float] = (None, None, 0.0)
    for users in (None, *of_user):
        for items in (None, *of_item):
            if users and items and users.file is items.file:
                continue
            score = sum(one.share + one.back / 2 for one in (users, items) if one)
            score -= leaning(users.file) if users else 0.0
            score += leaning(items.file) if items else 0.0
            if score > best[2]:
                best = (users, items, score)
    return best


def leaning(file: File) -> float:
    """Whether a catalogue looks like one of items (above 0) or of users, by all its names; in [-2, 2]."""
    stem = stem_of(file.names[0])
    score = strength(stem, "item") - strength(stem, "user")
    for column in file.columns:
        of_items = is_called(column.name, "item", "title", "category", "price", "description", "image")
        of_users = is_called(column.name, "user", "identity", "birth year", *SENSITIVE)
        score += 0.5 * (of_items - of_users)
    return max(-2.0, min(2.0, score))


def _is_listed(file: File, other: File) -> bool:
    """Whether another file's repeated values are keys of this one, which is a catalogue then."""
    return any(
        column.distinct < 0.9 * column.n
        and column.distinct > 5
        and (found := _match(column, file))
        and found.share > 0.8
        for column in other.columns[:40]
        if likely_key(column) and any(one.time for one in other.columns)
    )


def _spread(key: Column, ts: Column) -> float:
    """Mean spread in time of the events that share a value, as a share of all events' spread; NaN for none."""
    times, codes = ts.rough_times, key.codes
    known = np.isfinite(times) & (codes >= 0)
    times, codes = times[known], codes[known]
    if len(times) < 20 or times.std() == 0:
        return math.nan
    scaled = (times - times.mean()) / times.std()
    n = np.bincount(codes, minlength=key.distinct)
    mean = np.bincount(codes, scaled, key.distinct) / np.maximum(n, 1)
    square = np.bincount(codes, scaled**2, key.distinct) / np.maximum(n, 1)
    often = n >= 3
    if not often.any():
        return math.nan
    return float(np.sqrt(np.maximum(square - mean**2, 0))[often].mean())


def _log_ratio(item_spread: float, user_spread: float) -> float:
    if not (math.isfinite(item_spread) and math.isfinite(user_spread)):
        return 0.0
    return max(-1.0, min(1.0, math.log(max(item_spread, 1e-3) / max(user_spread, 1e-3))))
