"""Cleaning by rule: which sound events a build does without, and what each rule took.

A row that a rule removes is no fault. It goes to the quarantine as refused rows do, with its file, its line and the
rule's own reason, so that nothing is lost; but it does not count towards `most_refused`, and is told apart wherever
rows are counted.

Rules run in one order, that of REASONS, whatever the spec's: first what is not wanted at all; then what was recorded
more than once, so that nobody looks like a program for it; then who is one; then those who would outweigh all others;
and last the k-core, since no cap is broken by taking more away, while a cap would break a core that came before it.
Each rule sees what those before it left. All of it is set-based SQL on keys as numbers; nothing is drawn at random.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from typing import Any, Final

from data.spec import CleanSection, DatasetSpec
from data.statements import sql
from data.warehouse import Connection

REASONS: Final = (
    "clean-kind",
    "clean-value",
    "clean-repeat",
    "clean-burst",
    "clean-bot",
    "clean-user-cap",
    "clean-item-cap",
    "clean-k-core",
)
_MINUTE_US, _DAY_US = 60_000_000, 86_400_000_000
Step = tuple[str, str, dict[str, Any]]  # a reason, a file in data/sql, its parameters


@dataclass(frozen=True)
class Removed:
    """What one rule took: events, and the users and items of whom nothing was left by it."""

    reason: str
    events: int
    users: int
    items: int


@dataclass(frozen=True)
class Tally:
    """What each rule that is on took, in the order in which they ran, and what is left of sound rows."""

    removed: tuple[Removed, ...] = ()
    events: int = 0
    users: int = 0
    items: int = 0

    def as_json(self) -> list[dict[str, Any]]:
        """reason, events, users, items; one a rule."""
        return [asdict(one) for one in self.removed]


def clean(connection: Connection, spec: DatasetSpec) -> None:
    """Give the rows of `checked` that a rule of the spec removes its reason. Without a rule nothing is asked."""
    for _, file, params in _steps(spec):
        _run(connection, sql(file), params)
    _core(connection, spec.clean)


def tally(connection: Connection, spec: DatasetSpec) -> Tally:
    """What `clean` did; empty without a rule."""
    on = reasons_of(spec)
    if not on:
        return Tally()
    rows = connection.sql(sql("clean_tally")).to_arrow_table().to_pylist()
    found = {row.pop("reason"): row for row in rows}
    none = {"events": 0, "users": 0, "items": 0}
    removed = tuple(Removed(reason, **found.get(reason, none)) for reason in on)
    return Tally(removed, **found.get(None, none))


def reasons_of(spec: DatasetSpec) -> list[str]:
    """The reasons of the rules that are on, in their order."""
    thin = [REASONS[-1]] if _thin(spec.clean) else []
    return [reason for reason, _, _ in _steps(spec)] + thin


def _steps(spec: DatasetSpec) -> Iterator[Step]:
    """The rules that take one statement each, of those that are on."""
    rules = spec.clean
    baskets = spec.task == "repurchase"
    if rules.drop_kinds:
        yield "clean-kind", "clean_kinds", {"kinds": list(rules.drop_kinds)}
    if rules.least_value is not None:
        yield "clean-value", "clean_values", {"least": rules.least_value}
    if rules.repeats_within is not None:
        yield "clean-repeat", "clean_repeats", {"within_us": round(rules.repeats_within * 1e6)}
    for reason, most, span_us in (
        ("clean-burst", rules.most_events_per_minute, _MINUTE_US),
        ("clean-bot", rules.most_events_per_day, _DAY_US),
    ):
        if most is not None:
            told = {"reason": reason, "most": most, "span_us": span_us, "baskets": baskets}
            yield reason, "clean_rates", told
    if rules.most_events_per_user is not None:
        yield "clean-user-cap", "clean_user_cap", {"most": rules.most_events_per_user}
    if rules.most_events_per_item is not None:
        yield "clean-item-cap", "clean_item_cap", {"most": rules.most_events_per_item, "seed": rules.seed}


def _thin(rules: CleanSection) -> list[tuple[str, int]]:
    """The files of the k-core's halves that are on, and how many events each asks for."""
    halves = (("clean_few_users", rules.least_events_per_user), ("clean_few_items", rules.least_events_per_item))
    return [(file, least) for file, least in halves if least is not None]


def _core(connection: Connection, rules: CleanSection) -> None:
    """Users with too few events go, then items with too few of what is left, and so on: until neither has any, which
    comes to the same whoever begins, or for so many rounds."""
    thin = _thin(rules)
    rounds = None if rules.core_rounds is None else rules.core_rounds * len(thin)
    for at, (file, least) in enumerate(islice(cycle(thin), rounds)):
        removed = _run(connection, sql(file), {"least": least})
        if len(thin) == 1 or (at and not removed):  # the other half has looked at just these rows
            return


def _run(connection: Connection, statement: str, params: dict[str, Any]) -> int:
    """Run an update; how many rows it changed."""
    return int(connection.execute(statement, params).fetchall()[0][0])
