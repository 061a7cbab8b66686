"""What the columns of an item or user file are; likewise columns of the log that say something of items or users.

A title is long, readable and nearly each item's own; categories are shared, alone or in lists; a user's attributes have
few values. What could tell who someone is stays out; what a group could be wronged by is proposed as sensitive.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from data.guessing.annotated import Decision
from data.guessing.lexicon import SENSITIVE, is_called, strength
from data.guessing.log import Log, Match, Told, of_files
from data.guessing.profile import Column, File, about, column_of, described, separated
from data.phrases import Phrase, listed, phrase, quoted

_SEPARATORS = ("|", ";", ",", "/", "、", "，", ">")
_MOST_ATTRIBUTES = 12
_FEW_VALUES = 50
_USER_ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_ ]{0,62}")  # as the spec allows them
_TEMPLATE_FIELD = re.compile(r"[\w -]+")  # likewise
_RESERVED = frozenset({"user_id", "key"})
_AGE_EDGES, _AGE_LABELS = (18, 25, 35, 45, 55), ("under 18", "18-24", "25-34", "35-44", "45-54", "55+")
_SENSITIVE_VALUES = {
    "gender": "m f male female man woman männlich weiblich homme femme hombre mujer 男 女 non-binary diverse other"
    " unknown u o x n/a",
    "religion": "christian muslim jewish hindu buddhist catholic protestant sikh atheist none other",
    "ethnicity": "white black asian hispanic latino native mixed caucasian african other",
}


def one_row_each(key: Column, columns: Sequence[Column]) -> list[Column]:
    """Columns of a log with one row for each value of `key`, its first; the key itself stands first."""
    known = np.flatnonzero(key.codes >= 0)
    _, first = np.unique(key.codes[known], return_index=True)
    rows = known[first]
    return [column_of(one.name, one.cells.take(rows)) for one in (key, *columns)]


def decide_items(log: Log, match: Match | None, of_log: Sequence[Column], told: Told) -> None:
    """The items section, from an item file or from columns of the log. Decides nothing where there is neither."""
    if match is not None:
        file, key = match.file, match.key
        told.decide("items.files", of_files(file), phrase("log.catalogue", name=quoted(log.item.name)))
        told.decide("items.key", key, match.words, *_other_keys(file, key))
        columns = [one for one in file.columns if one is not key]
    elif of_log:
        key, *columns = one_row_each(log.item, of_log)
        names = listed(quoted(one.name) for one in columns)
        told.decide("items.files", None, phrase("items.from_events", names=names))
    else:
        return
    inner = Told()
    _item_fields([one for one in columns if one.n], inner)
    fields = {one.field for one in inner.decisions if one.value is not None}
    if match is None and fields <= {"items.text_template"}:
        told.decisions.pop()
        return
    told.decisions += inner.decisions
    told.warnings += inner.warnings


def _item_fields(columns: Sequence[Column], told: Told) -> None:
    taken: list[Column] = []
    title = _title(columns, told, taken)
    categories = _categories([one for one in columns if one is not title], told, taken)
    _simple_fields(columns, told, taken)
    _template(columns, taken, categories, told)
    _item_attributes(columns, taken, told)


def _other_keys(file: File, key: Column) -> list[Phrase]:
    return [about(one, phrase("column.unique_too")) for one in file.keys if one is not key][:2]


def _title(columns: Sequence[Column], told: Told, taken: list[Column]) -> Column | None:
    found = []
    for one in columns:
        named = strength(one.name, "title")
        readable = one.letters >= 0.5 and one.links < 0.3 and one.time is None and not one.numeric
        own = one.distinct / one.n
        if not readable or not 2 <= one.length <= 150 or (own < 0.4 and named < 0.9):
            continue
        score = 1.5 * named + own + 0.3 * min(one.length, 40) / 40 + 0.4 * strength(one.name, "item")
        score -= 1.2 * strength(one.name, "category") + (1.0 if one.length > 100 else 0.0)
        score -= (1.2 if one.length > 60 else 0.5) * strength(one.name, "description")
        score -= 0.6 * is_called(one.name, "identity", "image") if named < 0.9 else 0.0
        score -= 0.5 if separated(one, _SEPARATORS[:2]) else 0.0
        found.append((score, one))
    found.sort(key=lambda pair: -pair[0])
    if not found or found[0][0] < 0.5:
        told.decide("items.title", None, phrase("items.title_none"))
        return None
    title = found[0][1]
    why = phrase("items.title", length=title.length, different=title.distinct / title.n)
    told.decide("items.title", title, why, *(about(one) for _, one in found[1:4]))
    taken.append(title)
    return title


def _categories(columns: Sequence[Column], told: Told, taken: list[Column]) -> Column | None:
    found = []
    for one in columns:
        named = strength(one.name, "category") - 0.8 * is_called(one.name, "description", "image")
        if one.time is not None or one.links > 0.3 or one.distinct < 2:
            continue
        if one.numeric and (named < 0.9 or not one.whole or one.distinct > 0.5 * one.n):
            continue
        split = None if one.numeric else separated(one, _SEPARATORS)
        few = one.distinct <= max(10, 0.2 * one.n) and one.distinct < 0.7 * one.n
        if not split and not few and not (named > 0.9 and one.distinct < 0.8 * one.n):
            continue
        score = 1.5 * named + (0.8 if split else 0.0) + (0.3 if few and one.letters > 0.5 else 0.0)
        score += 0.1 * strength(one.name, "title") - (0.3 if not split and one.distinct < 3 else 0.0)
        found.append((score, one, split))
    found.sort(key=lambda one: -one[0])
    _warn_of_flags(columns, told)
    if not found or found[0][0] < 0.3:
        told.decide("items.categories", None, phrase("items.categories_none"))
        return None
    _, best, split = found[0]
    others = [about(one) for _, one, _ in found[1:4]]
    if split is None:
        told.decide("items.categories", best, phrase("items.categories", distinct=best.distinct, n=best.n), *others)
        if "|" in "".join(best.values[:1000]):
            told.warnings.append(phrase("look.bars", name=quoted(best.name)))
    else:
        mark, mean, different = split
        why = phrase("items.categories_listed", mean=mean, different=different, mark=quoted(mark))
        told.decide("items.categories", best, why, *others)
        told.decide("items.categories_separator", mark, phrase("items.separator"))
    taken.append(best)
    return best


def _warn_of_flags(columns: Sequence[Column], told: Told) -> None:
    flags = [one.name for one in columns if _is_flag(one)]
    if len(flags) >= 4:
        told.warnings.append(phrase("look.flags", n=len(flags), names=listed(map(quoted, flags), most=4)))


def _is_flag(column: Column) -> bool:
    return column.numeric and column.span in ((0.0, 1.0), (0.0, 0.0), (1.0, 1.0)) and column.whole


def _simple_fields(columns: Sequence[Column], told: Told, taken: list[Column]) -> None:
    """items.price, image and available."""
    for name in ("price", "image", "available"):
        found = sorted((one for one in columns if one not in taken), key=lambda one: -strength(one.name, name))
        best = found[0] if found else None
        if best is None or strength(best.name, name) < 0.7:
            continue
        if name == "price" and not best.numeric:
            told.warnings.append(phrase("look.no_price", name=quoted(best.name), example=quoted(best.values[0])))
            continue
        if name == "price" and best.span[0] < 0:
            continue
        if name == "available" and best.distinct > 3:
            continue
        others = [quoted(one.name) for one in found[1:3] if strength(one.name, name) >= 0.7]
        told.decide(f"items.{name}", best, phrase("items.by_name", what=described(best)), *others)
        taken.append(best)


def _template(columns: Sequence[Column], taken: list[Column], categories: Column | None, told: Told) -> None:
    """items.text_template: title and categories, and a description where there is one."""
    found = [
        one
        for one in columns
        if one not in taken
        and one.letters > 0.5
        and one.time is None
        and one.links < 0.3
        and (strength(one.name, "description") >= 0.7 or one.length > 60)
    ]
    usable = [
        one for one in found if _TEMPLATE_FIELD.fullmatch(one.name) and one.name not in ("title", "categories", "key")
    ]
    described_by = max(usable, key=lambda one: (strength(one.name, "description"), one.length), default=None)
    parts = ["{title}", "{categories}"] if categories else ["{title}"]
    parts += [f"{{{described_by.name}}}"] if described_by else []
    told.decide(
        "items.text_template",
        ". ".join(parts),
        phrase("items.template"),
        *(phrase("items.template_with", name=quoted(one.name)) for one in found if one is not described_by),
    )
    taken += [described_by] if described_by else []


def _item_attributes(columns: Sequence[Column], taken: Sequence[Column], told: Told) -> None:
    flags = sum(_is_flag(one) for one in columns) >= 4
    kept: list[str] = []
    out: list[Phrase] = []
    for one in columns:
        if one in taken:
            continue
        shared = one.distinct >= 2 and one.distinct <= max(10, 0.5 * one.n)
        odd = one.links > 0.3 or one.length > 60 or one.time is not None or (one.numeric and not one.whole)
        if shared and not odd and not (flags and _is_flag(one)) and len(kept) < _MOST_ATTRIBUTES:
            kept.append(one.name)
        elif not _is_flag(one):
            out.append(about(one))
    if kept:
        told.decide("items.attributes", tuple(kept), phrase("items.attributes"), *out[:5])
    elif out:
        told.decide("items.attributes", None, phrase("items.attributes_none"), *out[:5])


# ---- Users


def decide_users(log: Log, match: Match | None, of_log: Sequence[Column], told: Told) -> None:
    """The users section, derived bins and what is sensitive, from a user file or from columns of the log."""
    if match is not None:
        file, key = match.file, match.key
        columns = [one for one in file.columns if one is not key]
    elif of_log:
        key, *columns = one_row_each(log.user, of_log)
    else:
        return
    inner = Told()
    kept, out, sensitive = _user_attributes(columns, inner)
    if match is not None:
        told.decide("users.files", of_files(match.file), phrase("log.catalogue", name=quoted(log.user.name)))
        told.decide("users.key", key, match.words, *_other_keys(match.file, key))
    elif kept or inner.decisions:
        names = listed(quoted(one.name) for one in columns)
        told.decide("users.files", None, phrase("users.from_events", names=names))
    if kept:
        told.decide("users.attributes", tuple(kept), phrase("users.attributes"), *out)
    else:
        told.decide("users.attributes", None, phrase("users.attributes_none"), *out)
    told.decisions += inner.decisions
    told.warnings += inner.warnings
    if sensitive:
        groups = [
            phrase("column.told", name=quoted(name), what=phrase(f"topic.{topic}")) for name, topic in sensitive.items()
        ]
        why = phrase("users.sensitive", groups=listed(groups, most=len(groups)))
        told.decisions.insert(0, Decision("sensitive", tuple(sensitive), why))


def _user_attributes(columns: Sequence[Column], told: Told) -> tuple[list[str], list[Phrase], dict[str, str]]:
    """Attributes, what stays out and why, and which of them are sensitive; decides bins of numbers on the way."""
    kept: list[str] = []
    out: list[Phrase] = []
    sensitive: dict[str, str] = {}
    for one in columns:
        topic = _topic(one)
        binned = _binned(one, topic, told, taken={*kept, *sensitive, *(column.name for column in columns)})
        if binned:
            sensitive[binned] = topic or "age"
        elif binned is not None:
            out.append(about(one))
        elif one.distinct < 2:
            out.append(about(one, phrase("column.same")))
        elif strength(one.name, "identity") > 0.6 and topic is None and one.distinct > 10:
            out.append(about(one, phrase("column.identity")))
        elif one.time is not None or one.distinct > min(_FEW_VALUES, max(2.0, 0.5 * one.n)):
            out.append(about(one))
        elif not _USER_ATTRIBUTE.fullmatch(one.name) or one.name in _RESERVED:
            told.warnings.append(phrase("look.attribute_name", name=quoted(one.name)))
        else:
            kept.append(one.name)
            if topic:
                sensitive[one.name] = topic
    return kept, out[:6], sensitive


def _topic(column: Column) -> str | None:
    """What a group of people by this column could be wronged for, as the spec's `sensitive` asks."""
    named = max(((strength(column.name, topic), topic) for topic in SENSITIVE), key=lambda pair: pair[0])
    if named[0] >= 0.7:
        return named[1]
    values = {value.casefold() for value in column.values}
    for topic, known in _SENSITIVE_VALUES.items():
        words = set(known.split())
        if (
            2 <= len(values) <= 8
            and values <= words
            and len(values - {"other", "none", "unknown", "n/a", "u", "o"}) >= 2
        ):
            return topic
    return None


def _binned(column: Column, topic: str | None, told: Told, *, taken: set[str]) -> str | None:
    """Bins for a column of ages, years of birth or incomes: the new attribute's name, empty where another has it
    already; None for a column that is none of these."""
    if not column.numeric or column.distinct <= 8:
        return None
    low, high = column.span
    labels: tuple[str, ...]
    born = strength(column.name, "birth year") > 0.6
    if topic == "age" and low >= 0 and high <= 130:
        name, edges, labels = "age_group", tuple(map(float, _AGE_EDGES)), _AGE_LABELS
        why = phrase("users.ages", low=low, high=high)
    elif born and low >= 1850 and high <= 2100:
        first, last = (int(year // 10) for year in np.nanpercentile(column.numbers, (10, 90)))
        marks = [10.0 * decade for decade in range(first, last + 1)]
        name, edges, labels = "birth_decade", tuple(marks), _labels(marks)
        why = phrase("users.births", low=low, high=high)
    elif topic == "income":
        marks = sorted({float(mark) for mark in np.nanpercentile(column.numbers, (25, 50, 75))})
        name, edges, labels = "income_group", tuple(marks), _labels(marks)
        why = phrase("users.incomes", low=low, high=high)
    else:
        return None
    if name in taken:
        return ""
    told.decide(f"derive.{name}.from", column, why)
    told.decide(f"derive.{name}.edges", edges, phrase("users.edges"))
    told.decide(f"derive.{name}.labels", labels, phrase("users.labels"))
    return name


def _labels(marks: Sequence[float]) -> tuple[str, ...]:
    inner = [f"{low:g} to below {high:g}" for low, high in pairwise(marks)]
    return (f"below {marks[0]:g}", *inner, f"{marks[-1]:g} and more")
