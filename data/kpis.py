"""The figures of a domain, each a mean over units that belong to users: events, visits, baskets, or an item of a user.

A measure is one statement that gives its units as rows (user_id, ts, part, whole); a figure is sum(part) / sum(whole),
overall and period by period. Users are what is sampled: the interval is that of a ratio of sums over independent users
(linearised, Cochran, "Sampling Techniques", 1977, 6.3), and does not narrow when one user does more.

    engagement    weight of a visit's events (spec's `weights`; an event without one counts one); a visit ends after
                  half an hour without an event
    conversion    share of (user, item) that had an event of kinds `of`, and later one of kinds `to`
    rate          events of kinds `to` for each event of kinds `of`
    completion    share of events with a value whose value is at least `min_value`
    basket_value  sum of values in a basket: what a user did at one moment
    basket_size   different items in a basket
    repeats       share of events whose item the user had had at an earlier moment, by the same kinds
    returning     share of users who came on a second day (UTC), of those who came at all
    item_age      hours since an item's first event of any kind
    mean_value    mean of the values

Where no kinds are named, a measure is of all events. Where there are more than MOST_USERS users, so many are looked at,
drawn by a hash of their numbers and the same ones each time: the interval is of the users that were drawn.
"""

from typing import Any

import pyarrow as pa

from data.periods import Grain
from data.spec import Kpi
from data.warehouse import Warehouse

MOST_USERS = 10_000
UNITS = {
    **dict.fromkeys(("conversion", "rate", "completion", "repeats", "returning"), "share"),
    **dict.fromkeys(("engagement", "basket_size"), "number"),
    **dict.fromkeys(("basket_value", "mean_value"), "value"),
    "item_age": "hours",
}
_OF = "(len(CAST($of AS VARCHAR[])) = 0 OR kind IN (SELECT unnest(CAST($of AS VARCHAR[]))))"
_TO = "kind IN (SELECT unnest(CAST($to AS VARCHAR[])))"
_UNITS_OF = {
    "engagement": (
        "WITH gaps AS (SELECT user_id, ts, kind, epoch_us(ts) AS us,"  # a row an event; the first of a visit counts it
        " us - lag(us) OVER (PARTITION BY user_id ORDER BY ts) <= 1800000000 IS NOT TRUE AS begins"
        " FROM events WHERE {of})"
        " SELECT user_id, max(ts) FILTER (begins) OVER (PARTITION BY user_id ORDER BY ts) AS ts,"
        " coalesce(list_extract(CAST($weights AS DOUBLE[]), list_position(CAST($weighed AS VARCHAR[]), kind)), 1.0)"
        " AS part, CAST(begins AS DOUBLE) AS whole FROM gaps"
    ),
    "conversion": (
        "WITH first AS (SELECT user_id, item_id, min(ts) AS ts FROM events WHERE {of} GROUP BY ALL),"
        " last AS (SELECT user_id, item_id, max(ts) AS after FROM events WHERE {to} GROUP BY ALL)"
        " SELECT user_id, ts, CAST(coalesce(after >= ts, false) AS DOUBLE) AS part, 1.0 AS whole"
        " FROM first LEFT JOIN last USING (user_id, item_id)"
    ),
    "rate": (
        "SELECT user_id, ts, CAST({to} AS DOUBLE) AS part, CAST({of} AS DOUBLE) AS whole FROM events WHERE {of} OR {to}"
    ),
    "completion": (
        "SELECT user_id, ts, CAST(value >= $min_value AS DOUBLE) AS part, 1.0 AS whole"
        " FROM events WHERE {of} AND value IS NOT NULL"
    ),
    "basket_value": (
        "SELECT user_id, ts, sum(value) AS part, 1.0 AS whole"
        " FROM events WHERE {of} AND value IS NOT NULL GROUP BY user_id, ts"
    ),
    "basket_size": (
        "SELECT user_id, ts, CAST(count(DISTINCT item_id) AS DOUBLE) AS part, 1.0 AS whole"
        " FROM events WHERE {of} GROUP BY user_id, ts"
    ),
    "repeats": (
        "WITH first AS (SELECT user_id, item_id, min(ts) AS first FROM events WHERE {of} GROUP BY ALL)"
        " SELECT user_id, ts, CAST(ts > first AS DOUBLE) AS part, 1.0 AS whole"
        " FROM events JOIN first USING (user_id, item_id) WHERE {of}"
    ),
    "returning": (
        "SELECT user_id, min(ts) AS ts, 1.0 AS whole,"
        " CAST(CAST(max(ts) AS DATE) > CAST(min(ts) AS DATE) AS DOUBLE) AS part"
        " FROM events WHERE {of} GROUP BY user_id"
    ),
    "item_age": (
        "WITH born AS (SELECT item_id, first_ts AS first FROM item_counts)"
        " SELECT user_id, ts, epoch(ts - first) / 3600 AS part, 1.0 AS whole"
        " FROM events JOIN born USING (item_id) WHERE {of}"
    ),
    "mean_value": "SELECT user_id, ts, value AS part, 1.0 AS whole FROM events WHERE {of} AND value IS NOT NULL",
}
_DRAWN = (  # what the measures call events
    "drawn AS MATERIALIZED (SELECT user_id FROM people ORDER BY hash(user_id), user_id LIMIT $most),"
    " events AS MATERIALIZED (SELECT event_id, user_id, item_id, ts, kind, value FROM main.events"
    " WHERE user_id IN (SELECT user_id FROM drawn))"
)
_ESTIMATE = (
    "WITH {drawn}, units AS ({units}),"
    " users AS (SELECT user_id, sum(part) AS a, sum(whole) AS b FROM units GROUP BY user_id),"
    " ratio AS (SELECT sum(a) / nullif(sum(b), 0) AS r, sum(b) AS units, count(*) AS n FROM users)"
    " SELECT r AS estimate, CASE WHEN n > 1"
    " THEN 1.959964 * sqrt(n / (n - 1) * (SELECT sum((a - r * b) ** 2) FROM users)) / units END AS half,"
    " CASE WHEN r IS NULL THEN 0 ELSE n END AS n,"
    " CAST(coalesce(units, 0) AS BIGINT) AS units FROM ratio"
)
_LINE = (
    "WITH {drawn}, units AS ({units}) SELECT CAST(date_trunc($grain, timezone($tz, ts)) AS DATE) AS period,"
    " sum(part) / nullif(sum(whole), 0) AS estimate, count(DISTINCT user_id) AS n"
    " FROM units GROUP BY ALL ORDER BY period"
)
_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("measure", pa.string()),
        ("unit", pa.string()),
        ("estimate", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
        ("units", pa.int64()),
    ]
)


def kpis(warehouse: Warehouse) -> pa.Table:
    """The figures that the build's spec names, in its order: name, measure, unit (share, number, value, hours),
    estimate with low and high of its 95% interval, n users, and units of what the mean is over. Nulls where there is
    nothing to measure; no interval below two users."""
    rows = [kpi_row(warehouse, name) for name in warehouse.facts.spec.kpis]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def kpi_row(warehouse: Warehouse, name: str) -> dict[str, Any]:
    """The row of one figure, as `kpis` has it. KeyError for a name that the spec does not have."""
    kpi = warehouse.facts.spec.kpis[name]
    (found,) = warehouse.run(_ESTIMATE.format(drawn=_DRAWN, units=_units(kpi)), **_params(warehouse, kpi)).to_pylist()
    estimate, half = found["estimate"], found.pop("half")
    most = 1.0 if UNITS[kpi.measure] == "share" and kpi.measure != "rate" else float("inf")
    inside = estimate is not None and half is not None
    return {
        **found,
        "name": name,
        "measure": kpi.measure,
        "unit": UNITS[kpi.measure],
        "low": max(estimate - half, 0.0 if estimate >= 0 else float("-inf")) if inside else None,
        "high": min(estimate + half, most) if inside else None,
    }


def kpi_line(warehouse: Warehouse, name: str, *, tz: str, grain: Grain = "week") -> pa.Table:
    """One of the spec's figures in time, a row for each period that has a unit: period date (local), estimate, n users.
    A unit lies where it begins. KeyError for a name that the spec does not have."""
    kpi = warehouse.facts.spec.kpis[name]
    return warehouse.run(_LINE.format(drawn=_DRAWN, units=_units(kpi)), tz=tz, grain=grain, **_params(warehouse, kpi))


def _units(kpi: Kpi) -> str:
    """The statement of a measure's units; what is put in is this module's own."""
    return _UNITS_OF[kpi.measure].format(of=_OF, to=_TO)


def _params(warehouse: Warehouse, kpi: Kpi) -> dict[str, Any]:
    """Of all parameters those that the measure's statement names."""
    weights = warehouse.facts.spec.weights
    every: dict[str, Any] = {
        "of": list(kpi.of),
        "to": list(kpi.to),
        "min_value": kpi.min_value,
        "weighed": list(weights),
        "weights": list(weights.values()),
    }
    named = _units(kpi)
    return {"most": MOST_USERS} | {name: value for name, value in every.items() if f"${name}" in named}
