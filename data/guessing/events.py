"""What the columns of a log of events are, beside its users and items, and what people do in it.

The kind of an event and its value, what goes along as context, how often people come back to an item and take several
at once, and so the task; what of it counts as liked.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.guessing.lexicon import SENSITIVE, is_called, kind_of_name, kind_strength, stem_of, strength, words_of
from data.guessing.log import Log, Told, could_be_key, fitness, of_files
from data.guessing.profile import Column, File, Ints, about, determines, likely_key, pairs
from data.phrases import Phrase, Said, clauses, listed, phrase, quoted

_REPEATS, _BASKETS = 0.1, 0.3
_MOST_CONTEXT = 8
_ROW_NUMBERS = {"row", "line", "index", "unnamed"}  # what begins the name of a count of a file's lines
_LEAST_UNIQUE = 20  # rows that tell that values never come again


def decide_keys(log: Log, told: Told) -> None:
    """events.files, user, item, ts, ts_unit."""
    file = log.file
    times = log.ts.time.words if log.ts.time else phrase("time.some")
    why = phrase("log.files", times=times, rows=file.rows, sampled=_sampled(file))
    told.decide("events.files", of_files(file), why)
    for role, column, match in (("user", log.user, log.users), ("item", log.item, log.items)):
        reasons = [phrase("log.distinct", distinct=column.distinct, n=column.n)]
        reasons += [match.words] if match else []
        if (named := strength(column.name, role)) > 0.3:
            reasons.append(phrase("log.name_says" if named > 0.9 else "log.name_hints", role=phrase(f"role.{role}")))
        if abs(log.bursts) > 0.2 and not match:
            reasons.append(phrase("log.crowd" if log.bursts > 0 else "log.crowd_not"))
        weighed = [
            about(one)
            for one in file.columns
            if one not in (log.user, log.item, log.ts) and could_be_key(one) and fitness(one, role) > -0.5
        ]
        told.decide(f"events.{role}", column, clauses(reasons), *weighed[:3])
        if column.filled < 0.999:
            told.warnings.append(phrase("look.empty_cells", name=quoted(column.name), share=1 - column.filled))
    if strength(log.user.name, "session") > strength(log.user.name, "user"):
        told.warnings.append(phrase("look.visits", name=quoted(log.user.name)))
    _warn_of_swap(log, told)
    _decide_time(log, told)


def _sampled(file: File) -> Said:
    return "" if file.sampled >= file.rows else phrase("log.sampled", n=file.sampled)


def _warn_of_swap(log: Log, told: Told) -> None:
    known = max(strength(log.user.name, "user"), strength(log.item.name, "item")) > 0.6 or log.users or log.items
    if not known and log.bursts < 0.2:
        told.warnings.append(phrase("look.swap", user=quoted(log.user.name), item=quoted(log.item.name)))


def _decide_time(log: Log, told: Told) -> None:
    form = log.ts.time
    if form is None:
        raise AssertionError("a log has a column of times")
    others = [
        about(one, one.time.words)
        for one in log.file.columns
        if one.time is not None and one not in (log.ts, log.user, log.item)
    ]
    first = next(value for value in log.ts.values if value)
    told.decide("events.ts", log.ts, phrase("log.ts", form=form.words, example=quoted(first)), *others[:3])
    if form.unit is not None:
        why = phrase("log.unit_by_form" if form.unit == "iso" else "log.unit_by_size")
        told.decide("events.ts_unit", form.unit, why)
    elif form.format is not None:
        told.decide("events.ts_format", form.format, phrase("log.format"))
    if form.caution:
        told.warnings.append(phrase("look.times", name=quoted(log.ts.name), caution=form.caution))
    if not form.with_clock and form.readable:
        told.warnings.append(phrase("look.days", name=quoted(log.ts.name)))


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
        told.decide("events.kind", kind, phrase("kind.column", shares=_kinds_shown(kind)), *weighed)
    else:
        _decide_kind_value(log, scale, told, weighed)
    if value is not None:
        low, high = value.span
        why = phrase("value.column", scale=phrase(f"scale.{scale}"), low=low, high=high)
        told.decide("events.value", value, why, *others)
        unread = int(value.counts[~np.isfinite(value.numbers)].sum())
        if unread:
            told.warnings.append(phrase("look.no_numbers", name=quoted(value.name), n=unread))
    else:
        told.decide("events.value", None, phrase("value.none"), *others)
    told.warnings += [
        phrase("look.decimal_comma", name=quoted(one.name), example=quoted(one.values[0]))
        for one in rest
        if one.decimal_commas
    ]
    return Traits(kind, value, scale, tuple(one for one in rest if one is not value))


_KIND_OF_SCALE = {"rating": "rate", "seconds": "play", "amount": "purchase", "quantity": "purchase"}


def _kind_of(rest: Sequence[Column]) -> tuple[Column | None, list[Phrase]]:
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
    return (found[0][1] if found else None), [about(one, _kinds_shown(one)) for _, one in found[1:3]]


def _kinds_shown(column: Column) -> Phrase:
    order, shares = np.argsort(-column.counts), (column.counts / column.n).tolist()
    return listed(phrase("kind.share", value=quoted(column.values[at]), share=shares[at]) for at in order.tolist())


def _decide_kind_value(log: Log, scale: str, told: Told, weighed: Sequence[Phrase]) -> None:
    named = {kind for name in log.file.names if (kind := kind_of_name(stem_of(name)))}
    if len(named) > 1:
        told.warnings.append(phrase("look.kinds", kinds=listed(phrase(f"kind.{one}") for one in sorted(named))))
    if scale in _KIND_OF_SCALE:
        kind, why = _KIND_OF_SCALE[scale], phrase("kind.by_value", scale=phrase(f"scale.{scale}"))
    elif len(named) == 1:
        kind, why = named.pop(), phrase("kind.by_file")
    else:
        kind, why = "view", phrase("kind.no_column")
    told.decide("events.kind_value", kind, phrase("kind.one", why=why), *weighed)


def _value_of(rest: Sequence[Column], item: Column) -> tuple[Column | None, str, list[Phrase]]:
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
        if scale == "quantity" and _counts_others(column.name):
            continue
        if scale and score >= 0.3:
            found.append((score, column, scale))
    found.sort(key=lambda one: -one[0])
    others = [about(one, phrase(f"scale.{scale}")) for _, one, scale in found[1:4]]
    return (found[0][1], found[0][2], others) if found else (None, "", [])


def _counts_others(name: str) -> bool:
    """Whether a name counts something that is not bought: attempts, words, pages."""
    *of, last = words_of(name) or [""]
    return last in ("count", "counts") and bool(of) and is_called(" ".join(of), "item", "basket") < 0.6


def _like_ratings(column: Column) -> bool:
    """Few steps of one size on a scale as people rate on, with the steps between seen."""
    low, high = column.span
    halves = np.unique(column.numbers[np.isfinite(column.numbers)]) * 2
    steps = np.diff(halves)
    regular = len(steps) >= 2 and bool((halves == np.floor(halves)).all()) and float(steps.max()) <= 2
    return regular and 0 <= low <= 1 and 3 <= high <= 10 and column.n > 3 * column.distinct


def decide_id(left: Sequence[Column], told: Told) -> list[Column]:
    """events.id, which is offered and not taken: that a later row with the same id corrects the earlier one is more
    than values can tell. What else there is of the event."""
    own = [one for one in left if _differs_everywhere(one)]
    offered = [one for one in own if not _ROW_NUMBERS & set(words_of(one.name)[:1])]
    if offered:
        told.decide("events.id", None, phrase("id.offered", name=quoted(offered[0].name)), *map(about, offered[1:4]))
    return [one for one in left if one not in own]


def _differs_everywhere(column: Column) -> bool:
    """Whether a column could be the events' own number: it says nothing of an event that goes along with it."""
    key = column.unique and likely_key(column) and column.time is None and not column.free
    other = is_called(column.name, "session", "identity", *SENSITIVE) > 0.6
    return key and column.n >= _LEAST_UNIQUE and not other


def decide_context(log: Log, left: Sequence[Column], told: Told) -> None:
    """events.context: sessions and baskets first, then what else goes along; nothing that tells who someone is."""
    taken, reasons, out = [], [], []
    for column in sorted(left, key=lambda one: -strength(one.name, "session")):
        if strength(column.name, "session") > 0.6:
            taken.append(column.name)
            each = column.n / max(1, column.distinct)
            reasons.append(phrase("context.groups", name=quoted(column.name), each=each))
        elif is_called(column.name, "identity", *SENSITIVE) > 0.6:
            out.append(about(column, phrase("column.person")))
        elif column.distinct < 2 or column.filled < 0.5:
            out.append(about(column, phrase("column.mostly_same" if column.distinct else "column.nothing")))
        elif column.time is not None or column.free or len(taken) == _MOST_CONTEXT:
            out.append(about(column))
        else:
            taken.append(column.name)
    if not taken:
        told.decide("events.context", None, phrase("context.none"), *out[:5])
        return
    why = clauses(reasons) if reasons else phrase("context.rest")
    told.decide("events.context", tuple(taken), phrase("context.kept", why=why), *out[:5])


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
    by = next((one for one in traits.left if strength(one.name, "basket") > 0.6 and one.filled > 0.9), log.ts)
    baskets = _in_baskets(rows, log, by)
    task = "next-new" if not max(repeat, in_all) >= _REPEATS else "repurchase" if baskets >= _BASKETS else "next-any"
    days = by is log.ts and log.ts.time is not None and not log.ts.time.with_clock
    tasks = {one: phrase(f"task.{one}") for one in ("next-new", "next-any", "repurchase")}
    new, any_, again = tasks.values()
    why = phrase(
        "habits.task",
        repeat=repeat,
        n=len(once),
        alike=phrase("habits.alike") if traits.kind else "",
        foreseen=phrase("habits.foreseen", share=in_all) if in_all > repeat else "",
        baskets=baskets,
        together=phrase("habits.at_one_time") if by is log.ts else phrase("habits.in_one", name=quoted(by.name)),
        day=phrase("habits.day") if days else "",
        limits=phrase("habits.limits", new=new, repeats=_REPEATS, again=again, baskets=_BASKETS, any=any_),
    )
    told.decide("dataset.task", task, why, *(called for one, called in tasks.items() if one != task))
    if 0.5 * _REPEATS <= max(repeat, in_all) < 2 * _REPEATS:
        told.warnings.append(phrase("look.repeats", share=max(repeat, in_all), limit=_REPEATS, task=new))
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
        why = phrase("habits.same_rows", same=whole, n=n)
        told.decide("events.drop_duplicates", True, why, phrase("habits.same_rows_else"))
    elif again:
        why = phrase("habits.same_day" if whole else "habits.same_elsewhere", same=again, n=n)
        told.decide("events.drop_duplicates", None, why, phrase("habits.same_else"))


def _together(codes: Sequence[Ints], rows: Ints) -> Ints:
    """(rows,) one number that is the same where all codes are."""
    together = np.zeros(len(rows), dtype=np.int64)
    for one in codes:
        inside = one[rows] + 1
        _, together = np.unique(together * (int(inside.max(initial=0)) + 1) + inside, return_inverse=True)
    return together.astype(np.int64)


def _in_baskets(rows: Ints, log: Log, by: Column) -> float:
    """Share of events that stand with another item of the same user at one time, or in one basket."""
    moment = [log.user.codes, by.codes]
    if not len(rows):
        return math.nan
    _, lines = np.unique(_together([*moment, log.item.codes], rows), return_index=True)
    moments = _together(moment, rows)
    return float((np.bincount(moments[lines])[moments] > 1).mean())


def decide_positive(traits: Traits, told: Told) -> None:
    """positive: the upper part of a rating scale; the kinds that say someone wanted it."""
    if traits.value is not None and traits.scale in ("rating", "label"):
        low, high = traits.value.span
        least = low + 0.7 * (high - low)
        least = math.ceil(least) if high > 1 else 1.0
        told.decide("positive.min_value", float(least), phrase("positive.scale", low=low, high=high))
        return
    if traits.kind is not None:
        strong = tuple(value for value in traits.kind.values if kind_strength(value))
        if 0 < len(strong) < traits.kind.distinct:
            told.decide("positive.kinds", strong, phrase("positive.kinds"), phrase("positive.kinds_else"))


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
