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

import math
import re
from typing import Any

import numpy as np
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
_USERS = (
    "SELECT {place} AS place, CAST(sum(part) AS DOUBLE) AS a, CAST(sum(whole) AS DOUBLE) AS b"
    " FROM ({units}) GROUP BY user_id"
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
    asked: list[str] = []
    params: dict[str, Any] = {"most": most_users(warehouse.facts)}
    for place, kpi in enumerate(spec.kpis.values()):
        later = ">" if set(kpi.of) & set(kpi.to) else ">="  # what is of both kinds leads not to itself
        units = _UNITS_OF[kpi.measure].format(of=_OF, to=_TO, later=later)
        named = _NAMED.sub(rf"$\1_{place}", units)
        asked.append(_USERS.format(place=place, units=named))
        told = {"of": list(kpi.of), "to": list(kpi.to), "min_value": kpi.min_value}
        params |= {f"{name}_{place}": told[name] for name in _NAMED.findall(units)}
        if kpi.measure == "engagement":
            params |= {"weighed": list(spec.weights), "weights": list(spec.weights.values())}
    users = warehouse.run(f"WITH {_DRAWN} {' UNION ALL '.join(asked)}", **params)
    places, a, b = (users[name].to_numpy() for name in ("place", "a", "b"))
    rows = (_row(name, kpi, a[places == at], b[places == at]) for at, (name, kpi) in enumerate(spec.kpis.items()))
    return pa.Table.from_pylist([*rows], schema=_SCHEMA)


def most_users(facts: BuildFacts) -> int:
    """How many users are looked at, at most."""
    return min(MOST_USERS, max(FEWEST_USERS, MOST_EVENTS * facts.n_users // max(facts.n_events, 1)))


def _row(name: str, kpi: Kpi, a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """One figure of each user's sums (users,) of part and whole, with its interval, which ends where the figure itself
    does: a share's at 0 and 1, counts and hours at 0; values may be negative."""
    n, units = len(a), float(b.sum())
    estimate = low = high = None
    if units:
        estimate = float(a.sum()) / units
    if estimate is not None and n > 1:
        half = 1.959964 * math.sqrt(n / (n - 1) * float(((a - estimate * b) ** 2).sum())) / units
        low = max(estimate - half, -math.inf if UNITS[kpi.measure] == "value" else 0.0)
        high = min(estimate + half, 1.0 if UNITS[kpi.measure] == "share" and kpi.measure != "rate" else math.inf)
    return {
        "name": name,
        "measure": kpi.measure,
        "unit": UNITS[kpi.measure],
        "estimate": estimate,
        "low": low,
        "high": high,
        "n": 0 if estimate is None else n,
        "units": int(units),
    }
