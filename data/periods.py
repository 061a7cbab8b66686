"""Who was there, period by period: days, weeks and months of a zone, and the hours of its weeks.

Each takes an open `Warehouse` and gives an Arrow table; `tz` is an IANA name (InvalidConfig when there is none). Zones
whose clocks differ from UTC by whole hours are answered by what a build has counted (`sql/summaries.sql`), the others
by its events.
"""

from datetime import datetime
from typing import Literal

import pyarrow as pa

from data.warehouse import Warehouse

Grain = Literal["day", "week", "month"]

_STEP = "to_days(CAST($days AS INTEGER)) + to_months(CAST($months AS INTEGER))"
_PERIODS = (
    "edges AS (SELECT date_trunc($grain, timezone($tz, $first)) AS low,"  # noqa: S608
    " date_trunc($grain, timezone($tz, $last)) AS high),"
    f" periods AS (SELECT unnest(generate_series(low, high, {_STEP})) AS period FROM edges)"
)
_COUNTED = (  # what `counted` (period, events, users) leaves out was quiet
    f"{_PERIODS} SELECT CAST(period AS DATE) AS period, coalesce(events, 0) AS events, coalesce(users, 0) AS users"  # noqa: S608
    " FROM periods LEFT JOIN counted USING (period) ORDER BY period"
)
_HOURS = (
    "hours AS (SELECT hour, timezone($tz, to_timestamp(hour * 3600)) AS local FROM (SELECT DISTINCT hour FROM returns))"
)
_BEGUN = (
    f"{_HOURS}, dated AS (SELECT hour, date_trunc($grain, local) AS period FROM hours),"  # noqa: S608
    # hours are quantised to where weeks and months may begin, so that the beginning itself is asked; a zone that has it
    # twice tells the later one
    " begun AS (SELECT hour, period, least(min(hour) OVER (PARTITION BY period),"
    " epoch_us(timezone($tz, period)) // 3600000000) AS start FROM dated)"
)
_OF_RETURNS = (
    f"WITH {_BEGUN}, counted AS (SELECT period, CAST(sum(events) AS BIGINT) AS events,"  # noqa: S608
    " CAST(sum(events) FILTER (previous IS NULL OR previous < start) AS BIGINT) AS users"
    f" FROM returns JOIN begun USING (hour) GROUP BY period), {_COUNTED}"
)
_OF_EVENTS = (
    "WITH counted AS (SELECT date_trunc($grain, timezone($tz, ts)) AS period, count(*) AS events,"  # noqa: S608
    " count(DISTINCT user_id) AS users FROM events WHERE $item_id IS NULL OR item_id = $item_id GROUP BY ALL),"
    f" {_COUNTED}"
)
_OF_SESSION_RETURNS = _OF_RETURNS.replace("FROM returns", "FROM session_returns")
_OF_SESSIONS = (
    "WITH counted AS (SELECT date_trunc($grain, timezone($tz, first_ts)) AS period, count(*) AS events,"  # noqa: S608
    f" count(DISTINCT user_id) AS users FROM sessions GROUP BY ALL), {_COUNTED}"
)
_GROWTH_OF_RETURNS = (
    f"WITH {_BEGUN}, starts AS (SELECT DISTINCT period, start FROM begun),"  # noqa: S608
    f" spans AS (SELECT one.period, one.start, before.start AS before FROM starts AS one"
    f" LEFT JOIN starts AS before ON before.period = one.period - ({_STEP})),"
    " there AS (SELECT period,"
    " CAST(sum(events) FILTER (previous IS NULL OR previous < spans.start) AS BIGINT) AS users,"
    " CAST(sum(events) FILTER (previous < spans.start AND previous >= before) AS BIGINT) AS retained"
    " FROM returns JOIN begun USING (hour) JOIN spans USING (period) GROUP BY period)"
)
_GROWTH_OF_EVENTS = (
    "WITH each AS (SELECT DISTINCT user_id, date_trunc($grain, timezone($tz, ts)) AS period FROM events),"  # noqa: S608
    " followed AS (SELECT period, lag(period) OVER (PARTITION BY user_id ORDER BY period) AS before FROM each),"
    " there AS (SELECT period, count(*) AS users,"
    f" count(*) FILTER (before = period - ({_STEP})) AS retained FROM followed GROUP BY period)"
)
_GROWTH = (
    ", begin AS (SELECT date_trunc($grain, timezone($tz, first_ts)) AS period, count(*) AS new FROM people"  # noqa: S608
    " GROUP BY ALL),"
    f" {_PERIODS}, counted AS (SELECT period, coalesce(users, 0) AS users, coalesce(new, 0) AS new,"
    " coalesce(retained, 0) AS retained FROM periods LEFT JOIN there USING (period) LEFT JOIN begin USING (period))"
    " SELECT CAST(period AS DATE) AS period, users, new, retained, users - new - retained AS back,"
    " coalesce(lag(users) OVER (ORDER BY period) - retained, 0) AS lost FROM counted ORDER BY period"
)
_LOCAL = "SELECT timezone($tz, ts) AS local, 1 AS events FROM events"
_STEPS: dict[Grain, dict[str, int]] = {
    "day": {"days": 1, "months": 0},
    "week": {"days": 7, "months": 0},
    "month": {"days": 0, "months": 1},
}


def activity(warehouse: Warehouse, *, tz: str, grain: Grain = "day") -> pa.Table:
    """One row a period from first event to last, quiet ones too: period date (local), events, users."""
    span = _span(warehouse)
    if _whole_hours(warehouse, tz):
        return warehouse.run(_OF_RETURNS, tz=tz, grain=grain, **span, **_STEPS[grain])
    return warehouse.run(_OF_EVENTS, tz=tz, grain=grain, item_id=None, **span, **_STEPS[grain])


def growth(warehouse: Warehouse, *, tz: str, grain: Literal["week", "month"] = "week") -> pa.Table:
    """One row a period from first event to last, quiet ones too: period date (local), users (who was there), of these
    new (their first event is in it), retained (there in the period before) and back (there earlier, not in the period
    before), and lost (in the period before, not in this one)."""
    statement = _GROWTH_OF_RETURNS if _whole_hours(warehouse, tz) else _GROWTH_OF_EVENTS
    return warehouse.run(statement + _GROWTH, tz=tz, grain=grain, **_span(warehouse), **_STEPS[grain])


def item_activity(warehouse: Warehouse, item_id: int, *, tz: str, grain: Grain = "week") -> pa.Table:
    """`activity` of one item, over the whole build's span: period date (local), events, users."""
    return warehouse.run(_OF_EVENTS, tz=tz, grain=grain, item_id=item_id, **_span(warehouse), **_STEPS[grain])


def session_activity(warehouse: Warehouse, *, tz: str, grain: Grain = "day") -> pa.Table:
    """Of a build whose spec has sessions, one row a period, quiet ones too: period date (local), sessions that began in
    it, users."""
    statement = _OF_SESSION_RETURNS if _whole_hours(warehouse, tz) else _OF_SESSIONS
    found = warehouse.run(statement, tz=tz, grain=grain, **_span(warehouse), **_STEPS[grain])
    return found.rename_columns({"events": "sessions"})


def hour_weekday(warehouse: Warehouse, *, tz: str) -> pa.Table:
    """All 168 cells: weekday 1 (Monday) to 7, hour 0 to 23 (both local), events."""
    whole = _whole_hours(warehouse, tz)
    timed = "SELECT local, events FROM returns JOIN hours USING (hour)" if whole else _LOCAL
    return warehouse.run(
        f"WITH {_HOURS}, timed AS ({timed}),"  # noqa: S608 - own statements
        " counted AS (SELECT isodow(local) AS weekday, hour(local) AS hour, CAST(sum(events) AS BIGINT) AS events"
        " FROM timed GROUP BY ALL)"
        " SELECT weekday, hour, coalesce(events, 0) AS events FROM range(1, 8) AS w(weekday)"
        " CROSS JOIN range(0, 24) AS h(hour) LEFT JOIN counted USING (weekday, hour) ORDER BY weekday, hour",
        tz=tz,
    )


def _span(warehouse: Warehouse) -> dict[str, datetime]:
    return {"first": warehouse.facts.first_ts, "last": warehouse.facts.last_ts}


def _whole_hours(warehouse: Warehouse, tz: str) -> bool:
    """Whether the zone's clocks differ from UTC by whole hours all the time, so that hours need not be taken apart."""
    told = warehouse.run(
        f"WITH {_HOURS} SELECT coalesce(bool_and(epoch_us(local) % 3600000000 = 0), true) AS whole FROM hours",  # noqa: S608
        tz=tz,
    )
    return bool(told["whole"][0].as_py())
