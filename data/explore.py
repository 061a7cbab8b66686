"""Questions about people: who they are (a cohort), and how they go on (funnel, retention, transitions, segments).

A cohort's size and its segments are counted over everyone. What has to look at each user's events in order looks at no
more than `most` users of the cohort, and at so many that they have some MOST_ACTS events together, drawn by a hash of
their numbers and the same ones each time, so that it answers at once whatever the log's size; every row says how many
it looked at. Where the cohort has fewer, it is all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import pyarrow as pa

from data.errors import InvalidConfig
from data.phrases import listed, phrase, quoted
from data.warehouse import Warehouse

MOST_USERS = 20_000
MOST_ACTS = 500_000  # about so many events of theirs are looked at: fewer users where each has many
MOST_CATEGORIES = 8  # told apart; the rest are one
MOST_GROUPS = 200  # of an attribute; one with more tells people apart rather than groups
MOST_AGES = 26  # periods after the first that retention looks at
_STEPS_AT_MOST = 8
Segment = Literal["champions", "loyal", "promising", "new", "wavering", "at_risk", "fading", "lost"]


@dataclass(frozen=True)
class Cohort:
    """Users with events who meet all that is said; nothing said: everyone with an event.

    least: at so many events of these kinds, with items of these categories, since and before these moments (UTC).
    joined: the first event lies in this span. attributes: declared ones that are not sensitive, each with the groups
    that are meant. segments: of recency and frequency, see `segments`.
    """

    kinds: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    least: int = 1
    since: datetime | None = None
    before: datetime | None = None
    joined_since: datetime | None = None
    joined_before: datetime | None = None
    attributes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    segments: tuple[Segment, ...] = ()

    @property
    def by_events(self) -> bool:
        """Whether single events have to be looked at, and not only how many of each kind a user has."""
        return bool(self.categories) or self.since is not None or self.before is not None


EVERYONE = Cohort()

_SEGMENTED = (
    "segmented AS (SELECT *, CASE WHEN recency >= 4 THEN CASE WHEN frequency >= 4 THEN 'champions'"
    " WHEN frequency >= 2 THEN 'promising' ELSE 'new' END"
    " WHEN recency = 3 THEN CASE WHEN frequency >= 4 THEN 'loyal' ELSE 'wavering' END"
    " WHEN frequency >= 4 THEN 'at_risk' WHEN frequency >= 2 THEN 'fading' ELSE 'lost' END AS segment FROM people)"
)
_OF_EVENTS = {  # what is said of single events, each as a filter that a scan can use
    "kinds": "kind IN (SELECT unnest(CAST($kinds AS VARCHAR[])))",
    "since": "ts >= CAST($since AS TIMESTAMPTZ)",
    "before": "ts < CAST($before AS TIMESTAMPTZ)",
    "categories": "item_id IN (SELECT item_id FROM items"
    " WHERE list_has_any(categories, CAST($categories AS VARCHAR[])))",
}
_DRAWN = (
    "drawn AS MATERIALIZED (SELECT user_id FROM members ORDER BY hash(user_id), user_id LIMIT (SELECT CAST("  # noqa: S608
    f"least($most, greatest({MOST_ACTS} * count(*) / greatest(sum(events), 1), 1)) AS BIGINT) FROM members)),"
    " acts AS MATERIALIZED (SELECT user_id, {columns} FROM events WHERE user_id IN (SELECT user_id FROM drawn))"
)


def size(warehouse: Warehouse, cohort: Cohort = EVERYONE) -> dict[str, int]:
    """How many users a cohort has, and events: {users, of_users, events, of_events}, of everyone with an event. Raises
    InvalidConfig for attributes that are not there, or are sensitive."""
    members, params = _members(warehouse, cohort)
    (row,) = warehouse.run(
        f"WITH {members} SELECT (SELECT count(*) FROM members) AS users, (SELECT count(*) FROM people) AS of_users,"  # noqa: S608
        " (SELECT CAST(coalesce(sum(events), 0) AS BIGINT) FROM members) AS events,"
        " (SELECT CAST(coalesce(sum(events), 0) AS BIGINT) FROM people) AS of_events",
        **params,
    ).to_pylist()
    return dict(row)


def groups(warehouse: Warehouse) -> dict[str, tuple[str, ...]]:
    """The groups of each attribute of users that is not sensitive and has at most MOST_GROUPS, in order of name."""
    spec = warehouse.facts.spec
    found = {}
    for name in spec.user_attributes:
        if name not in spec.sensitive:
            column = '"' + name.replace('"', '""') + '"'
            statement = f"SELECT DISTINCT {column} AS name FROM users ORDER BY name LIMIT $most"  # noqa: S608 - quoted
            names = warehouse.run(statement, most=MOST_GROUPS + 1)["name"].to_pylist()
            if len(names) <= MOST_GROUPS:
                found[name] = tuple(names)
    return found


def segments(warehouse: Warehouse, cohort: Cohort = EVERYONE) -> pa.Table:
    """One row a cell that has users: recency and frequency (quintiles among everyone, 5: latest, most), segment, users,
    events, value (the sum of their values, null without), days (since the last event, in the middle). Raises like
    `size`."""
    members, params = _members(warehouse, cohort)
    return warehouse.run(
        f"WITH {members} SELECT recency, frequency, segment, count(*) AS users, CAST(sum(events) AS BIGINT) AS events,"  # noqa: S608
        " sum(total_value) AS value, median(epoch_us($last) - epoch_us(last_ts)) / 86400e6 AS days FROM members"
        " GROUP BY ALL ORDER BY recency DESC, frequency DESC",
        last=warehouse.facts.last_ts,
        **params,
    )


def funnel(
    warehouse: Warehouse,
    kinds: Sequence[str],
    cohort: Cohort = EVERYONE,
    *,
    within: timedelta | None = None,
    most: int = MOST_USERS,
) -> pa.Table:
    """One row a step, in order: step from 1, kind, users who came so far, n (looked at), hours from the step before (in
    the middle, null for the first).

    A step counts when the user has an event of its kind after the first one that made the step before, or at the same
    moment; `within` so long after the first step. Raises InvalidConfig without a step or with more than 8.
    """
    if not 1 <= len(kinds) <= _STEPS_AT_MOST:
        raise InvalidConfig(phrase("cohort.funnel", n=len(kinds)), remedy=phrase("do.give_steps", most=_STEPS_AT_MOST))
    members, params = _members(warehouse, cohort)
    steps = [
        "step1 AS (SELECT user_id, min(ts) AS begun, min(ts) AS ts, arg_min(event_id, (ts, event_id)) AS event_id,"
        " CAST(NULL AS DOUBLE) AS hours FROM acts WHERE kind = $kind1 GROUP BY user_id)"
    ]
    steps += [
        f"step{number} AS (SELECT user_id, any_value(p.begun) AS begun, min(acts.ts) AS ts,"  # noqa: S608
        " arg_min(acts.event_id, (acts.ts, acts.event_id)) AS event_id,"
        " (epoch_us(min(acts.ts)) - epoch_us(any_value(p.ts))) / 3600e6 AS hours"
        f" FROM acts JOIN step{number - 1} AS p USING (user_id) WHERE kind = $kind{number}"
        " AND (acts.ts > p.ts OR acts.ts = p.ts AND acts.event_id <> p.event_id)"
        " AND ($seconds IS NULL OR epoch_us(acts.ts) - epoch_us(p.begun) <= 1e6 * CAST($seconds AS DOUBLE))"
        " GROUP BY user_id)"
        for number in range(2, len(kinds) + 1)
    ]
    told = " UNION ALL ".join(
        f"SELECT {number} AS step, $kind{number} AS kind, count(*) AS users, (SELECT count(*) FROM drawn) AS n,"  # noqa: S608
        f" median(hours) AS hours FROM step{number}"
        for number in range(1, len(kinds) + 1)
    )
    named = {f"kind{number}": kind for number, kind in enumerate(kinds, start=1)}
    more = {"seconds": None if within is None else within.total_seconds()} if len(kinds) > 1 else {}
    return warehouse.run(
        f"WITH {members}, {_drawn('event_id', 'ts', 'kind')}, {', '.join(steps)} {told} ORDER BY step",
        most=most,
        **named,
        **more,
        **params,
    )


def retention(
    warehouse: Warehouse,
    cohort: Cohort = EVERYONE,
    *,
    tz: str,
    grain: Literal["week", "month"] = "week",
    most: int = MOST_USERS,
) -> pa.Table:
    """One row a period in which users came first and an age in periods: started date (local), age from 0 to MOST_AGES,
    users who had an event then, size (who came first then), n (looked at). Ages that the log does not reach to their
    end are left out; those that it reaches and nobody came are zero."""
    members, params = _members(warehouse, cohort)
    return warehouse.run(
        f"WITH {members}, {_drawn('ts')},"  # noqa: S608
        " edges AS (SELECT date_trunc($grain, timezone($tz, $first)) AS low, timezone($tz, $last) AS high),"
        " spans AS (SELECT CAST(day AS DATE) AS period, timezone($tz, day) AS ts"
        " FROM (SELECT unnest(generate_series(low, high, CAST($step AS INTERVAL))) AS day FROM edges)),"
        " periods AS (SELECT DISTINCT user_id, period FROM acts ASOF JOIN spans ON acts.ts >= spans.ts),"
        " begun AS (SELECT user_id, min(period) AS started FROM periods GROUP BY user_id),"
        " sizes AS (SELECT started, count(*) AS size FROM begun GROUP BY started),"
        " came AS (SELECT started, date_diff($grain, started, period) AS age, count(*) AS users"
        " FROM periods JOIN begun USING (user_id) GROUP BY ALL),"
        " last AS (SELECT CAST(date_trunc($grain, timezone($tz, $last) + INTERVAL 1 DAY)"
        " - CAST($step AS INTERVAL) AS DATE) AS last),"
        " cells AS (SELECT started, size, unnest(range(0, least(date_diff($grain, started, last), $ages) + 1)) AS age"
        " FROM sizes, last)"
        " SELECT started, age, coalesce(users, 0) AS users, size, (SELECT count(*) FROM drawn) AS n"
        " FROM cells LEFT JOIN came USING (started, age) ORDER BY started, age",
        tz=tz,
        grain=grain,
        step=f"1 {grain}",
        first=warehouse.facts.first_ts,
        last=warehouse.facts.last_ts,
        ages=MOST_AGES,
        most=most,
        **params,
    )


def transitions(
    warehouse: Warehouse, cohort: Cohort = EVERYONE, *, categories: int = MOST_CATEGORIES, most: int = MOST_USERS
) -> pa.Table:
    """One row a pair of categories, most moves first: category and following (null: any other than the `categories`
    most frequent, or none), moves, known (of these, between items that both have a category) and stayed (within one), n
    (users looked at). A move is from an event to the user's next one where that has another item; an item counts by its
    first category."""
    members, params = _members(warehouse, cohort)
    return warehouse.run(
        f"WITH {members}, {_drawn('item_id', 'rowid AS place')},"  # noqa: S608
        " named AS (SELECT item_id, categories[1] AS category,"
        " CAST(dense_rank() OVER (ORDER BY categories[1]) AS INTEGER) AS code FROM items),"
        " codes AS (SELECT DISTINCT code, category FROM named),"
        " moved AS (SELECT item_id, lag(item_id) OVER (PARTITION BY user_id ORDER BY place) AS came_from FROM acts),"
        " pairs AS (SELECT a.code AS came_from, b.code AS code, count(*) AS moves,"
        " a.category IS NOT NULL AND b.category IS NOT NULL AS known FROM moved"
        " JOIN named AS a ON a.item_id = came_from JOIN named AS b ON b.item_id = moved.item_id"
        " WHERE came_from <> moved.item_id GROUP BY ALL),"
        " frequent AS (SELECT code, category FROM pairs JOIN codes USING (code) WHERE category IS NOT NULL"
        " GROUP BY ALL ORDER BY sum(moves) DESC, category LIMIT $apart)"
        " SELECT a.category AS category, b.category AS following, CAST(sum(moves) AS BIGINT) AS moves,"
        " CAST(coalesce(sum(moves) FILTER (known), 0) AS BIGINT) AS known,"
        " CAST(coalesce(sum(moves) FILTER (known AND came_from = pairs.code), 0) AS BIGINT) AS stayed,"
        " (SELECT count(*) FROM drawn) AS n FROM pairs LEFT JOIN frequent AS a ON a.code = came_from"
        " LEFT JOIN frequent AS b ON b.code = pairs.code GROUP BY ALL ORDER BY moves DESC, category, following",
        apart=categories,
        most=most,
        **params,
    )


def _drawn(*columns: str) -> str:
    """CTEs that end in `acts`, the events of the users that are looked at, with what is needed of each."""
    return _DRAWN.format(columns=", ".join(columns))


def _members(warehouse: Warehouse, cohort: Cohort) -> tuple[str, dict[str, Any]]:
    """CTEs that end in `members` (the rows of `people`, with their segment), and their parameters."""
    told, params = ["true"], dict[str, Any]()
    if cohort.by_events or cohort.kinds:
        table, counted = ("events", "count(*)") if cohort.by_events else ("user_kinds", "sum(events)")
        said = {name: getattr(cohort, name) for name in _OF_EVENTS}
        said = {name: value for name, value in said.items() if value is not None and value != ()}
        alike = " AND ".join(_OF_EVENTS[name] for name in said)
        users = f"SELECT user_id FROM {table} WHERE {alike} GROUP BY user_id HAVING {counted} >= $least"  # noqa: S608
        told.append(f"user_id IN ({users})")
        params = {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}
        params["least"] = cohort.least
    elif cohort.least > 1:
        told.append("events >= $least")
        params["least"] = cohort.least
    if cohort.joined_since is not None:
        told.append("first_ts >= $joined_since")
        params["joined_since"] = cohort.joined_since
    if cohort.joined_before is not None:
        told.append("first_ts < $joined_before")
        params["joined_before"] = cohort.joined_before
    for number, (name, groups) in enumerate(_open_attributes(warehouse, cohort).items()):
        column = '"' + name.replace('"', '""') + '"'
        meant = f"list_contains(CAST($groups{number} AS VARCHAR[]), {column})"
        told.append(f"user_id IN (SELECT user_id FROM users WHERE {meant})")  # noqa: S608 - a declared column, quoted
        params[f"groups{number}"] = list(groups)
    if cohort.segments:
        told.append("list_contains(CAST($segments AS VARCHAR[]), segment)")
        params["segments"] = list(cohort.segments)
    return f"{_SEGMENTED}, members AS MATERIALIZED (SELECT * FROM segmented WHERE {' AND '.join(told)})", params  # noqa: S608


def _open_attributes(warehouse: Warehouse, cohort: Cohort) -> Mapping[str, tuple[str, ...]]:
    spec = warehouse.facts.spec
    for name, _ in cohort.attributes:
        if name not in spec.user_attributes:
            raise InvalidConfig(
                phrase("cohort.no_attribute", name=quoted(name)),
                remedy=phrase("do.one_of", names=listed(map(quoted, spec.user_attributes), most=20))
                if spec.user_attributes
                else phrase("do.no_attribute"),
            )
        if name in spec.sensitive:
            raise InvalidConfig(phrase("cohort.sensitive", name=quoted(name)), remedy=phrase("do.see_audit"))
    return dict(cohort.attributes)
