"""Which file is the log of events, and which of its columns is what.

Evidence comes from values first: users and items repeat, a catalogue's key holds the values of one of them, users
act in bursts while items are met all along, a time is a time. Names add to it and decide where values leave it open.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np

from data.annotated import Decision, listed
from data.errors import CannotGuess
from data.lexicon import SENSITIVE, is_called, kind_of_name, kind_strength, stem_of, strength, words_of
from data.profile import Column, File, Ints, described, determines, likely_key, pairs, quoted, shared

_LEAST = -0.75  # the score below which two columns are no users and items
_MOST_CANDIDATES = 10
_NO_KEYS = ("kind", "rating", "amount", "quantity", "price", "category", "description", "title", "label", "seconds")
_REPEATS, _BASKETS = 0.1, 0.3
_MOST_CONTEXT = 8


@dataclass(frozen=True)
class Match:
    """A catalogue's key that holds a log's values: `share` of those are among it, `back` the other way round."""

    file: File
    key: Column
    share: float
    back: float

    @property
    def words(self) -> str:
        return (
            f"{self.share:.0%} of its values are among the unique {quoted(self.key.name)} of {self.file.title},"
            f" {self.back:.0%} the other way round"
        )


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
    warnings: list[str] = field(default_factory=list)

    def decide(self, name: str, value: object, reason: str, *alternatives: str) -> None:
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
        raise CannotGuess(f"no column of times in any file: {_shown(files)}", remedy=_remedy("ts"))
    logs = sorted((log for file, times in timed for log in _logs(file, times, files)), key=lambda log: -log.score)
    if not logs:
        raise CannotGuess(
            f"no two columns beside the times that repeat as users and items do: {_shown([file for file, _ in timed])}",
            remedy=_remedy("user and item"),
        )
    return logs[0], [log for log in logs[1:] if log.score > _LEAST + 1]


def _remedy(what: str) -> str:
    return f"bring a log of events, one row each time a user met an item; or write a spec that names {what}"


def _shown(files: Sequence[File]) -> str:
    told = []
    for file in files[:5]:
        columns = listed((f"{quoted(one.name)[1:-1]}: {described(one)}" for one in file.columns), most=8)
        told.append(f"{file.title} ({columns})")
    return "; ".join(told)


def _times(file: File, files: Sequence[File]) -> list[tuple[float, Column]]:
    """Columns that could be the events' time, the likeliest first."""
    found = []
    for column in file.columns:
        if column.time is None or column.filled < 0.5:
            continue
        numbers = column.numeric and column.time.unit != "iso"
        score = 0.7 if numbers else 1.0
        score -= 0.6 if column.time.unit is None else 0.0
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
    candidates = [one for one in file.columns if one is not ts and _could_be_key(one)]
    fit = {role: {id(one): _fitness(one, role) for one in candidates} for role in ("user", "item")}
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
    catalogue = any(_is_listed(file, other) for other in others)
    if best is not None and best.score - (2.0 if catalogue else 0.0) - time_score > _LEAST:
        yield best


def _could_be_key(column: Column) -> bool:
    return likely_key(column) and column.filled >= 0.5 and (column.distinct >= 2 or column.rows < 2)


def _fitness(column: Column, role: str) -> float:
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


# ---- What each column of the log is


def decide_keys(log: Log, told: Told) -> None:
    """events.files, user, item, ts, ts_unit."""
    file, sampled = log.file, _sampled(log.file)
    why = (
        f"users and items that repeat, and {log.ts.time.words if log.ts.time else 'times'}, in about {file.rows:,} rows"
    )
    told.decide("events.files", of_files(file), f"{why}{sampled}")
    for role, column, match in (("user", log.user, log.users), ("item", log.item, log.items)):
        reasons = [f"{column.distinct:,} different values in {column.n:,} rows"]
        reasons += [match.words] if match else []
        if (named := strength(column.name, role)) > 0.3:
            reasons.append(f"the name {'says' if named > 0.9 else 'hints at'} {role}")
        if abs(log.bursts) > 0.2 and not match:
            reasons.append(_of_bursts(log.bursts))
        weighed = [
            f"{quoted(one.name)} ({described(one)})"
            for one in file.columns
            if one not in (log.user, log.item, log.ts) and _could_be_key(one) and _fitness(one, role) > -0.5
        ]
        told.decide(f"events.{role}", column, "; ".join(reasons), *weighed[:3])
        if column.filled < 0.999:
            told.warnings.append(
                f"{quoted(column.name)} is empty in {1 - column.filled:.1%} of rows: these will be refused"
            )
    _warn_of_swap(log, told)
    _decide_time(log, told)


def _of_bursts(bursts: float) -> str:
    return "the events of one user crowd in time more than those of one item" + ("" if bursts > 0 else " do not")


def _sampled(file: File) -> str:
    return "" if file.sampled >= file.rows else f" ({file.sampled:,} of them looked at)"


def _warn_of_swap(log: Log, told: Told) -> None:
    known = max(strength(log.user.name, "user"), strength(log.item.name, "item")) > 0.6 or log.users or log.items
    if not known and log.bursts < 0.2:
        told.warnings.append(
            f"nothing but their order tells users ({quoted(log.user.name)}) from items ({quoted(log.item.name)}):"
            " swap them if they are the other way round"
        )


def _decide_time(log: Log, told: Told) -> None:
    form = log.ts.time
    if form is None:
        raise AssertionError("a log has a column of times")
    others = [
        f"{quoted(one.name)} ({one.time.words})"
        for one in log.file.columns
        if one.time is not None and one is not log.ts
    ]
    first = next(value for value in log.ts.values if value)
    told.decide("events.ts", log.ts, f"{form.words}, such as {quoted(first)}", *others[:3])
    if form.unit is None:
        told.decide("events.ts_unit", None, f"{form.words} are not read as they stand")
    else:
        told.decide("events.ts_unit", form.unit, f"by the values' {'form' if form.unit == 'iso' else 'size'}")
    if form.caution:
        told.warnings.append(f"{quoted(log.ts.name)}: {form.caution}")
    if not form.with_clock and form.unit is not None:
        told.warnings.append(f"{quoted(log.ts.name)} has days without hours: events of one day keep the file's order")


@dataclass(frozen=True)
class Traits:
    """What else the log's columns are: the kind of an event, its value, and what goes along as context."""

    kind: Column | None
    value: Column | None
    scale: str  # rating, seconds, amount, quantity, price, label, or nothing
    left: tuple[Column, ...]


def decide_traits(log: Log, told: Told) -> Traits:
    """events.kind or kind_value, and events.value. What is left may be context, or a catalogue's."""
    rest = [one for one in log.file.columns if one not in (log.user, log.item, log.ts)]
    kind, weighed = _kind_of(rest)
    rest = [one for one in rest if one is not kind]
    value, scale, others = _value_of(rest, log.item)
    if kind is not None:
        told.decide("events.kind", kind, f"few words, {_kinds_shown(kind)}", *weighed)
    else:
        _decide_kind_value(log, scale, told, weighed)
    if value is not None:
        low, high = value.span
        told.decide("events.value", value, f"{_SCALES[scale]}: numbers from {low:g} to {high:g}", *others)
        unread = int(value.counts[~np.isfinite(value.numbers)].sum())
        if unread:
            told.warnings.append(f"{quoted(value.name)} is no number in {unread:,} of the rows looked at: refused")
    else:
        told.decide("events.value", None, "no column looks like a rating, an amount or seconds", *others)
    told.warnings += [
        f"{quoted(one.name)} has numbers such as {quoted(one.values[0])}, with a decimal comma: write them with a point"
        " and name it as value, if it is one"
        for one in rest
        if one.decimal_commas
    ]
    return Traits(kind, value, scale, tuple(one for one in rest if one is not value))


_SCALES = {
    "rating": "a rating",
    "seconds": "a time spent",
    "amount": "an amount",
    "quantity": "a quantity",
    "price": "a price",
    "label": "a yes or no",
}
_KIND_OF_SCALE = {"rating": "rate", "seconds": "play", "amount": "purchase", "quantity": "purchase"}


def _kind_of(rest: Sequence[Column]) -> tuple[Column | None, list[str]]:
    found = []
    for column in rest:
        if not 1 <= column.distinct <= 40 or column.filled < 0.98 or column.time is not None:
            continue
        verbs = [kind_strength(value) is not None for value in column.values]
        known = sum(verbs) / len(verbs) if not column.numeric else 0.0
        named = strength(column.name, "kind") if column.distinct <= 12 else 0.0
        score = 1.5 * known + named - (0.5 if column.distinct < 2 else 0.0)
        if known >= 0.3 or (named > 0.9 and column.distinct >= 2 and not (column.numeric and column.distinct < 3)):
            found.append((score, column))
    found.sort(key=lambda pair: -pair[0])
    return (found[0][1] if found else None), [f"{quoted(one.name)} ({_kinds_shown(one)})" for _, one in found[1:3]]


def _kinds_shown(column: Column) -> str:
    order = np.argsort(-column.counts)
    return listed(f"{quoted(column.values[at])} {column.counts[at] / column.n:.0%}" for at in order.tolist())


def _decide_kind_value(log: Log, scale: str, told: Told, weighed: Sequence[str]) -> None:
    named = {kind for name in log.file.names if (kind := kind_of_name(stem_of(name)))}
    if len(named) > 1:
        told.warnings.append(
            f"the files' names tell of different kinds ({', '.join(sorted(named))}), which one spec cannot: add a"
            " column of kinds to each"
        )
    kind = _KIND_OF_SCALE.get(scale) or (named.pop() if len(named) == 1 else "view")
    why = (
        f"the value is {_SCALES[scale]}"
        if scale in _KIND_OF_SCALE
        else "by the file's name"
        if named
        else "no column of kinds"
    )
    told.decide("events.kind_value", kind, f"all events are of one kind; {why}", *weighed)


def _value_of(rest: Sequence[Column], item: Column) -> tuple[Column | None, str, list[str]]:
    """The column of values, its scale, and what else was weighed."""
    base = {"rating": 1.0, "seconds": 0.9, "amount": 0.85, "quantity": 0.6, "price": 0.5, "label": 0.55}
    found: list[tuple[float, Column, str]] = []
    for column in rest:
        if not column.numeric or column.distinct < 2 or column.time is not None or (column.unique and column.whole):
            continue
        if is_called(column.name, "session", *SENSITIVE) > 0.6 or determines(item, column):
            continue
        named = max((strength(column.name, scale) * base[scale], scale) for scale in base)
        looks = _like_ratings(column)
        only_value = words_of(column.name)[-1:] in (["value"], ["wert"], ["valeur"], ["valor"])
        scale = "rating" if looks and (only_value or named[0] <= 0.3) else named[1] if named[0] > 0.3 else ""
        score = named[0] + (0.45 if looks and scale == "rating" else 0.0)
        if scale == "label" and column.span != (0.0, 1.0):
            continue
        if scale and score >= 0.3:
            found.append((score, column, scale))
    found.sort(key=lambda one: -one[0])
    others = [f"{quoted(one.name)} ({_SCALES[scale]})" for _, one, scale in found[1:4]]
    return (found[0][1], found[0][2], others) if found else (None, "", [])


def _like_ratings(column: Column) -> bool:
    """Few steps of one size on a scale as people rate on, with the steps between seen."""
    low, high = column.span
    halves = np.unique(column.numbers[np.isfinite(column.numbers)]) * 2
    steps = np.diff(halves)
    regular = len(steps) >= 2 and bool((halves == np.floor(halves)).all()) and float(steps.max()) <= 2
    return regular and 0 <= low <= 1 and 3 <= high <= 10 and column.n > 3 * column.distinct


def decide_context(log: Log, left: Sequence[Column], told: Told) -> None:
    """events.context: sessions and baskets first, then what else goes along; nothing that tells who someone is."""
    taken, reasons, out = [], [], []
    for column in sorted(left, key=lambda one: -strength(one.name, "session")):
        if strength(column.name, "session") > 0.6:
            taken.append(column.name)
            reasons.append(f"{quoted(column.name)} groups events: {column.n / max(1, column.distinct):.1f} a value")
        elif is_called(column.name, "identity", *SENSITIVE) > 0.6:
            out.append(f"{quoted(column.name)} (tells of the person)")
        elif column.distinct < 2 or column.filled < 0.5:
            out.append(f"{quoted(column.name)} (says {'the same' if column.distinct else 'nothing'} throughout)")
        elif column.length > 60 or len(taken) == _MOST_CONTEXT:
            out.append(f"{quoted(column.name)} ({described(column)})")
        else:
            taken.append(column.name)
    if not taken:
        told.decide("events.context", None, "no further column says something about an event", *out[:5])
        return
    reason = "; ".join(reasons) or "columns of the log that nothing else uses"
    told.decide("events.context", tuple(taken), f"{reason}; kept with each event", *out[:5])


# ---- What people do


def decide_habits(log: Log, traits: Traits, told: Told) -> None:
    """dataset.task from how often people come back to an item and take several at once; events.drop_duplicates."""
    kind = traits.kind.codes if traits.kind is not None else np.zeros(log.user.rows, dtype=np.int64)
    known = (log.user.codes >= 0) & (log.item.codes >= 0) & (log.ts.codes >= 0)
    rows = np.flatnonzero(known)
    met = np.unique(_together([log.user.codes, log.item.codes, kind, log.ts.codes], rows), return_index=True)[1]
    once = rows[met]
    taken = _together([log.user.codes, log.item.codes, kind], once)
    repeat = 1 - len(np.unique(taken)) / len(once) if len(once) else math.nan
    in_all = _repeats_in_all(log, taken, _together([log.user.codes, kind], once))
    baskets = _in_baskets(log, rows)
    task = "next-new" if not max(repeat, in_all) >= _REPEATS else "repurchase" if baskets >= _BASKETS else "next-any"
    day = "" if log.ts.time and log.ts.time.with_clock else ", where a time is a day"
    alike = " in the same kind" if traits.kind else ""
    foreseen = f" (about {in_all:.0%} in the whole log)" if in_all > repeat else ""
    figures = (
        f"{repeat:.1%} of {len(once):,} events are of an item that this user had before{alike}{foreseen},"
        f" {baskets:.0%} stand at one time with other items{day}"
    )
    limits = f"next-new below {_REPEATS:.0%}, else repurchase from {_BASKETS:.0%} in baskets on, else next-any"
    others = [one for one in ("next-new", "next-any", "repurchase") if one != task]
    told.decide("dataset.task", task, f"{figures} ({limits})", *others)
    if 0.5 * _REPEATS <= max(repeat, in_all) < 2 * _REPEATS:
        told.warnings.append(
            f"{max(repeat, in_all):.1%} repeats are close to the {_REPEATS:.0%} that end next-new: task is yours to say"
        )
    _decide_duplicates(log, traits, rows, told)


def _repeats_in_all(log: Log, taken: Ints, users: Ints) -> float:
    """What share of the whole log's events would be repeats, which a sample sees few of; 0 where it is all there is.

    Two events of a user are of one item with probability c, and a user has L events: 1 - (1 - exp(-cL)) / (cL). L goes
    by how many users of the sample's later rows were among its first.
    """
    file, seen = log.file, np.flatnonzero(log.user.codes >= 0)
    if file.sampled >= file.rows or not len(seen):
        return 0.0
    first, later = np.split(log.user.codes[seen], [round(0.9 * len(seen))])
    coming_back = float(np.isin(later, first).mean())
    of_user = len(users) / len(np.unique(users)) * (1 + (file.rows / file.sampled - 1) * coming_back)
    met, again = (float((n * (n - 1)).sum()) for n in (np.bincount(users), np.bincount(taken)))
    repeats = again / met * of_user if met else 0.0
    return 1 - (1 - math.exp(-repeats)) / repeats if repeats > 1e-9 else 0.0


def _decide_duplicates(log: Log, traits: Traits, rows: Ints, told: Told) -> None:
    five = [log.user.codes, log.item.codes, log.ts.codes]
    five += [one.codes for one in (traits.kind, traits.value) if one is not None]
    n = len(rows)
    again = n - len(np.unique(_together(five, rows)))
    whole = n - len(np.unique(_together([one.codes for one in log.file.columns[:60]], rows)))
    clock = log.ts.time is not None and log.ts.time.with_clock
    if whole and clock:
        why = f"{whole:,} of {n:,} rows looked at equal an earlier one in every column, to the second"
        told.decide("events.drop_duplicates", True, why, "false, if people may do the same twice in a second")
    elif again:
        why = f"{again:,} of {n:,} rows equal an earlier one in user, item, time, kind and value"
        why += " but differ elsewhere" if not whole else ", but a time is a day"
        told.decide("events.drop_duplicates", None, why, "true, which refuses them")


def _together(codes: Sequence[Ints], rows: Ints) -> Ints:
    """(rows,) one number that is the same where all codes are."""
    together = np.zeros(len(rows), dtype=np.int64)
    for one in codes:
        inside = one[rows] + 1
        _, together = np.unique(together * (int(inside.max(initial=0)) + 1) + inside, return_inverse=True)
    return together.astype(np.int64)


def _in_baskets(log: Log, rows: Ints) -> float:
    """Share of events that stand at one time of one user with another item."""
    if not len(rows):
        return math.nan
    moments = _together([log.user.codes, log.ts.codes], rows)
    _, lines = np.unique(_together([log.user.codes, log.ts.codes, log.item.codes], rows), return_index=True)
    return float((np.bincount(moments[lines])[moments] > 1).mean())


def decide_positive(traits: Traits, told: Told) -> None:
    """positive: the upper part of a rating scale; the kinds that say someone wanted it."""
    if traits.value is not None and traits.scale in ("rating", "label"):
        low, high = traits.value.span
        least = low + 0.7 * (high - low)
        least = math.ceil(least) if high > 1 else 1.0
        why = f"the upper part of a scale from {low:g} to {high:g}; say what counts as liked here"
        told.decide("positive.min_value", float(least), why)
        return
    if traits.kind is not None:
        strong = tuple(value for value in traits.kind.values if kind_strength(value))
        if 0 < len(strong) < traits.kind.distinct:
            told.decide("positive.kinds", strong, "these say more than having seen it", "all kinds, without this line")


def rest_of(traits: Traits, log: Log) -> tuple[list[Column], list[Column], list[Column]]:
    """Columns left of a log that say something of the item, of the user, of the event itself."""
    of_item, of_user, of_event = list[Column](), list[Column](), list[Column]()
    for column in traits.left:
        by_item, by_user = determines(log.item, column), determines(log.user, column)
        if by_item and by_user:
            by_user = pairs(log.user, column) < pairs(log.item, column)
            by_item = not by_user
        if strength(column.name, "session") > 0.6 or not (by_item or by_user):
            of_event.append(column)
        else:
            (of_item if by_item else of_user).append(column)
    return of_item, of_user, of_event
