"""The figures of a domain, each a mean over units that belong to users: events, visits, baskets, or an item of a user.

A measure is one statement that gives its units as rows (user_id, part, whole); a figure is sum(part) / sum(whole).
Users are what is sampled: the interval is that of a ratio of sums over independent users (linearised, Cochran,
"Sampling Techniques", 1977, 6.3), and does not narrow when one user does more.

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

Where no kinds are named, a measure is of all events. Of a large log some users are looked at, drawn by a hash of their
numbers and the same ones each time, so that a figure takes as long whatever the log: MOST_USERS, or fewer where those
would have more than MOST_EVENTS on average, but no fewer than FEWEST_USERS. The interval is of the users that were
drawn.
"""

import re
from typing import Any

import pyarrow as pa

from data.spec import Kpi
from data.warehouse import BuildFacts, Warehouse

MOST_USERS, MOST_EVENTS, FEWEST_USERS = 10_000, 250_000, 1_000
UNITS = {
    **dict.fromkeys(("conversion", "rate", "completion", "repeats", "returning"), "share"),
    **dict.fromkeys(("engagement", "basket_size"), "number"),
    **dict.fromkeys(("basket_value", "mean_value"), "value"),
    "item_age": "hours",
}
_OF = "(len(CAST($of AS VARCHAR[])) = 0 OR list_contains(CAST($of AS VARCHAR[]), kind))"
_TO = "list_contains(CAST($to AS VARCHAR[]), kind)"
_NAMED = re.compile(r"\$(of|to|min_value)\b")  # what a figure says for itself
_UNITS_OF = {
    "engagement": (  # rows with what the events are worth, and rows with a visit for its first event
        "SELECT user_id, count(*) * coalesce(list_extract(CAST($weights AS DOUBLE[]),"
        " list_position(CAST($weighed AS VARCHAR[]), kind)), 1.0) AS part, 0.0 AS whole"
        " FROM events WHERE {of} GROUP BY user_id, kind UNION ALL SELECT user_id, 0.0, 1.0 FROM"
        " (SELECT user_id, us - lag(us) OVER (PARTITION BY user_id ORDER BY us) <= 1800000000 IS NOT TRUE AS begins"
        " FROM (SELECT user_id, epoch_us(ts) AS us FROM events WHERE {of})) WHERE begins"
    ),
    "conversion": (
        "SELECT user_id, CAST(coalesce(max(ts) FILTER ({to}) {later} min(ts) FILTER ({of}), false) AS DOUBLE) AS part,"
        " 1.0 AS whole FROM events WHERE {of} OR {to} GROUP BY user_id, item_id HAVING bool_or({of})"
    ),
    "rate": (
        "SELECT user_id, CAST({to} AS DOUBLE) AS part, CAST({of} AS DOUBLE) AS whole FROM events WHERE {of} OR {to}"
    ),
    "completion": (
        "SELECT user_id, CAST(value >= $min_value AS DOUBLE) AS part, 1.0 AS whole"
        " FROM events WHERE {of} AND value IS NOT NULL"
    ),
    "basket_value": (
        "SELECT user_id, sum(value) AS part, 1.0 AS whole"
        " FROM events WHERE {of} AND value IS NOT NULL GROUP BY user_id, ts"
    ),
    "basket_size": (
        "SELECT user_id, CAST(count(DISTINCT item_id) AS DOUBLE) AS part, 1.0 AS whole"
        " FROM events WHERE {of} GROUP BY user_id, ts"
    ),
    "repeats": (
        "WITH first AS (SELECT user_id, item_id, min(ts) AS first FROM events WHERE {of} GROUP BY ALL)"
        " SELECT user_id, CAST(ts > first AS DOUBLE) AS part, 1.0 AS whole"
        " FROM events JOIN first USING (user_id, item_id) WHERE {of}"
    ),
    "returning": (
        "SELECT user_id, CAST(CAST(max(ts) AS DATE) > CAST(min(ts) AS DATE) AS DOUBLE) AS part, 1.0 AS whole"
        " FROM events WHERE {of} GROUP BY user_id"
    ),
    "item_age": (
        "WITH born AS (SELECT item_id, first_ts AS first FROM item_counts)"
        " SELECT user_id, (epoch_us(ts) - epoch_us(first)) / 3.6e9 AS part, 1.0 AS whole"
        " FROM events JOIN born USING (item_id) WHERE {of}"
    ),
    "mean_value": "SELECT user_id, value AS part, 1.0 AS whole FROM events WHERE {of} AND value IS NOT NULL",
}
_DRAWN = (  # what the measures call events
    "drawn AS MATERIALIZED (SELECT user_id FROM people ORDER BY hash(user_id), user_id LIMIT $most),"
    " events AS MATERIALIZED (SELECT event_id, user_id, item_id, ts, kind, value FROM main.events"
    " WHERE user_id IN (SELECT user_id FROM drawn))"
)
_ESTIMATE = (
    "SELECT {place} AS place, r AS estimate, CASE WHEN n > 1"
    " THEN 1.959964 * sqrt(n / (n - 1) * (SELECT sum((a - r * b) ** 2) FROM users_{place})) / units END AS half,"
    " CASE WHEN r IS NULL THEN 0 ELSE n END AS n, CAST(coalesce(units, 0) AS BIGINT) AS units"
    " FROM (SELECT sum(a) / nullif(sum(b), 0) AS r, sum(b) AS units, count(*) AS n FROM users_{place})"
)
_USERS = (
    "users_{place} AS MATERIALIZED (SELECT user_id, sum(part) AS a, sum(whole) AS b FROM ({units}) GROUP BY user_id)"
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
    nothing to measure; no interval below two users. One statement asks for all, so that the events of those drawn are
    read once.
    """
    spec = warehouse.facts.spec
    if not spec.kpis:
        return _SCHEMA.empty_table()
    steps, estimates = [_DRAWN], []
    params: dict[str, Any] = {"most": most_users(warehouse.facts)}
    for place, kpi in enumerate(spec.kpis.values()):
        later = ">" if set(kpi.of) & set(kpi.to) else ">="  # what is of both kinds leads not to itself
        units = _UNITS_OF[kpi.measure].format(of=_OF, to=_TO, later=later)
        named = _NAMED.sub(rf"$\1_{place}", units)
        steps.append(_USERS.format(place=place, units=named))
        estimates.append(_ESTIMATE.format(place=place))
        told = {"of": list(kpi.of), "to": list(kpi.to), "min_value": kpi.min_value}
        params |= {f"{name}_{place}": told[name] for name in _NAMED.findall(units)}
        if kpi.measure == "engagement":
            params |= {"weighed": list(spec.weights), "weights": list(spec.weights.values())}
    statement = f"WITH {', '.join(steps)} {' UNION ALL '.join(estimates)} ORDER BY place"
    rows = zip(spec.kpis.items(), warehouse.run(statement, **params).to_pylist(), strict=True)
    return pa.Table.from_pylist([_row(name, kpi, found) for (name, kpi), found in rows], schema=_SCHEMA)


def most_users(facts: BuildFacts) -> int:
    """How many users are looked at, at most."""
    return min(MOST_USERS, max(FEWEST_USERS, MOST_EVENTS * facts.n_users // max(facts.n_events, 1)))


def _row(name: str, kpi: Kpi, found: dict[str, Any]) -> dict[str, Any]:
    """One figure with its interval, which ends where the figure itself does: a share's at 0 and 1, counts and hours at
    0; values may be negative."""
    estimate, half = found["estimate"], found["half"]
    least = float("-inf") if UNITS[kpi.measure] == "value" else 0.0
    most = 1.0 if UNITS[kpi.measure] == "share" and kpi.measure != "rate" else float("inf")
    inside = estimate is not None and half is not None
    return {
        "name": name,
        "measure": kpi.measure,
        "unit": UNITS[kpi.measure],
        "estimate": estimate,
        "low": max(estimate - half, least) if inside else None,
        "high": min(estimate + half, most) if inside else None,
        "n": found["n"],
        "units": found["units"],
    }
