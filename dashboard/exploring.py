"""What Explore is asked: a cohort and the steps of a funnel, as one text that an address holds, and in words.

A link may be of another build, or made up: what this build does not have is left out, and the page shows what is left.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Any, get_args
from zoneinfo import ZoneInfo

from dashboard.words import Words
from data.explore import Cohort, Segment

SEGMENTS: tuple[Segment, ...] = get_args(Segment)
MOST_STEPS = 5
FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(2100, 1, 1)


@dataclass(frozen=True)
class Choices:
    """What a build offers to choose from; `groups` are those of each attribute that is not sensitive."""

    kinds: tuple[str, ...]
    categories: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Question:
    """Whom Explore looks at, and by which steps. Days are the reader's own: the last one is within."""

    kinds: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    least: int = 1
    since: date | None = None
    until: date | None = None
    joined_since: date | None = None
    joined_until: date | None = None
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    segments: tuple[Segment, ...] = ()
    steps: tuple[str, ...] = ()

    @property
    def of_everyone(self) -> bool:
        """Whether nothing is asked of whom is looked at."""
        return replace(self, steps=()) == Question()

    def cohort(self, tz: str) -> Cohort:
        """The same for the warehouse, days of the zone `tz` as moments."""

        def begins(day: date | None, *, after: int = 0) -> datetime | None:
            if day is None:
                return None
            return datetime.combine(date.fromordinal(day.toordinal() + after), time(), ZoneInfo(tz)).astimezone(UTC)

        return Cohort(
            kinds=self.kinds,
            categories=self.categories,
            least=self.least,
            since=begins(self.since),
            before=begins(self.until, after=1),
            joined_since=begins(self.joined_since),
            joined_before=begins(self.joined_until, after=1),
            attributes=self.groups,
            segments=self.segments,
        )


def as_text(question: Question) -> str | None:
    """A question as an address holds it; None for the one that asks nothing."""
    told = {name: value for name, value in vars(question).items() if value != getattr(Question(), name)}
    plain = {name: value.isoformat() if isinstance(value, date) else value for name, value in told.items()}
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")) if plain else None


def of_text(text: str | None, choices: Choices) -> Question:
    """The question in a text, without what the build does not have; what cannot be read asks nothing."""
    return _read(text, choices)


def every_part_of(text: str | None) -> Question:
    """The question in a text, also what the build in view does not have."""
    return _read(text, None)


def _read(text: str | None, choices: Choices | None) -> Question:
    try:
        told = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return Question()
    if not isinstance(told, dict):
        return Question()
    groups = told.get("groups") if isinstance(told.get("groups"), list) else []
    asked = dict[str, list[Any]]()
    for pair in groups:
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], list):
            asked.setdefault(pair[0], []).extend(pair[1])
    known = choices.groups if choices else dict.fromkeys(asked)
    return Question(
        kinds=_among(told.get("kinds"), choices and choices.kinds),
        categories=_among(told.get("categories"), choices and choices.categories),
        least=least if isinstance(least := told.get("least"), int) and 1 <= least <= 1_000_000 else 1,
        groups=tuple((name, some) for name, of in asked.items() if name in known and (some := _among(of, known[name]))),
        segments=_among(told.get("segments"), SEGMENTS),
        steps=_among(told.get("steps"), choices and choices.kinds)[:MOST_STEPS],
        **{name: _day(told.get(name)) for name in ("since", "until", "joined_since", "joined_until")},
    )


def who(question: Question, t: Words) -> str:
    """Whom a question is about, as a part of a sentence (Markdown, escaped)."""
    told = []
    if question.kinds or question.categories or question.least > 1 or question.since or question.until:
        kinds = t.listing([t.name("kind", kind) for kind in question.kinds]) or t("explore.any_kind")
        told.append(t.md("explore.did", kinds=kinds, least=question.least))
        if question.categories:
            told.append(t.md("explore.in_categories", categories=t.listing(list(question.categories))))
        told.append(_span("explore.acted", question.since, question.until, t))
    told.append(_span("explore.joined", question.joined_since, question.joined_until, t))
    for name, groups in question.groups:
        shown = t.listing([t.name("group", group) for group in groups])
        told.append(t.md("explore.group", attribute=t.name("attribute", name), groups=shown))
    if question.segments:
        told.append(t.md("explore.of_segments", segments=t.listing([t(f"segment.{it}") for it in question.segments])))
    return t("explore.and").join(part for part in told if part) or t("explore.everyone")


def _span(key: str, since: date | None, until: date | None, t: Words) -> str:
    if since is None and until is None:
        return ""
    ends = "both" if since and until else "since" if since else "until"
    return t.md(f"{key}_{ends}", since=t.day(since), until=t.day(until))


def _among(values: Any, known: Collection[Any] | None) -> tuple[Any, ...]:
    """Texts among those that are known, each once; with None all texts."""
    texts = [value for value in values if isinstance(value, str)] if isinstance(values, list) else []
    return tuple(dict.fromkeys(text for text in texts if known is None or text in known))


def _day(value: Any) -> date | None:
    try:
        day = date.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return day if FIRST_DAY <= day <= LAST_DAY else None
