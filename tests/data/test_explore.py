"""Each question against the same asked in plain Python of every event, over people who come back at all distances."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from data import explore
from data.errors import InvalidConfig
from data.explore import EVERYONE, Cohort
from data.ingest import ingest
from data.spec import parse_spec
from data.warehouse import Warehouse

KINDS = ("view", "cart", "buy")
SPEC = """
sensitive = ["faith"]
[dataset]
name = "bazaar"
[events]
files = "events.csv"
user = "user"
item = "item"
ts = "ts"
kind = "kind"
value = "value"
[items]
files = "items.csv"
key = "item"
title = "item"
categories = "categories"
[users]
files = "users.csv"
key = "user"
attributes = ["plan", "faith"]
"""


@pytest.fixture(scope="module")
def bazaar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    folder = tmp_path_factory.mktemp("bazaar")
    rng = np.random.default_rng(11)
    lines, clock = ["user,item,ts,kind,value"], {user: 1_670_000_000 + 400_000 * (user % 20) for user in range(60)}
    for _ in range(3_000):
        user = int(60 * rng.random() ** 1.5)
        clock[user] += int(rng.choice([0, 30, 3_000, 80_000, 600_000]))
        kind = rng.choice(KINDS, p=[0.7, 0.2, 0.1])
        lines.append(f"u{user},i{int(25 * rng.random() ** 2)},{clock[user]},{kind},{rng.integers(1, 9)}")
    (folder / "events.csv").write_text("\n".join(lines) + "\n")
    items = [f"i{n},{'|'.join(['tea', 'pots', 'rugs', 'lamps'][n % 4 :][:2]) if n % 7 else ''}" for n in range(25)]
    (folder / "items.csv").write_text("item,categories\n" + "\n".join(items) + "\n")
    users = [f"u{n},{('free', 'paid')[n % 2]},{('a', 'b', 'c')[n % 3]}" for n in range(65)]
    (folder / "users.csv").write_text("user,plan,faith\n" + "\n".join(users) + "\n")
    made = ingest(parse_spec(SPEC), base=folder, home=folder, now=datetime(2030, 1, 1, tzinfo=UTC))
    with Warehouse.open(made.path) as warehouse:
        yield warehouse


Events = dict[int, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def events(bazaar: Warehouse) -> Events:
    """Everyone's events in order, each with its item's categories and its user's plan."""
    rows = bazaar.run(
        "SELECT user_id, item_id, ts, kind, value, event_id, categories, plan FROM events JOIN items USING (item_id)"
        " JOIN users USING (user_id) ORDER BY user_id, ts, event_id"
    ).to_pylist()
    by_user: Events = defaultdict(list)
    for row in rows:
        by_user[row["user_id"]].append(row)
    return by_user


MAY = datetime(2023, 5, 1, tzinfo=UTC)
COHORTS: dict[str, tuple[Cohort, Callable[[list[dict[str, Any]]], bool]]] = {
    "everyone": (EVERYONE, lambda mine: True),
    "bought twice": (Cohort(kinds=("buy",), least=2), lambda mine: sum(it["kind"] == "buy" for it in mine) >= 2),
    "tea or rugs before May": (
        Cohort(categories=("tea", "rugs"), before=MAY, least=3),
        lambda mine: sum(bool({"tea", "rugs"} & set(it["categories"])) and it["ts"] < MAY for it in mine) >= 3,
    ),
    "carts since May": (
        Cohort(kinds=("cart", "buy"), since=MAY),
        lambda mine: any(it["kind"] in ("cart", "buy") and it["ts"] >= MAY for it in mine),
    ),
    "joined late, paid": (
        Cohort(joined_since=datetime(2023, 1, 1, tzinfo=UTC), joined_before=MAY, attributes=(("plan", ("paid",)),)),
        lambda mine: datetime(2023, 1, 1, tzinfo=UTC) <= mine[0]["ts"] < MAY and mine[0]["plan"] == "paid",
    ),
    "nobody": (Cohort(kinds=("sing",)), lambda mine: False),
}
NAMED = pytest.mark.parametrize("name", list(COHORTS))


def those(name: str, events: Events) -> Events:
    return {user: mine for user, mine in events.items() if COHORTS[name][1](mine)}


@NAMED
def test_a_cohort_is_who_meets_all_that_is_said(bazaar: Warehouse, events: Events, name: str) -> None:
    mine = those(name, events)
    assert explore.size(bazaar, COHORTS[name][0]) == {
        "users": len(mine),
        "of_users": len(events),
        "events": sum(map(len, mine.values())),
        "of_events": 3_000,
    }


@NAMED
@pytest.mark.parametrize("within", [None, timedelta(days=9)])
def test_a_funnel_counts_who_made_each_step_after_the_one_before(
    bazaar: Warehouse, events: Events, name: str, within: timedelta | None
) -> None:
    mine = those(name, events)
    reached = {
        user: (its[0], its[0]) for user, all_ in mine.items() if (its := [it for it in all_ if it["kind"] == "view"])
    }
    expected = [(1, "view", len(reached), len(mine), None)]
    for step, kind in enumerate(("cart", "buy", "view"), start=2):
        waits, further = [], {}
        for user, (begun, last) in reached.items():
            later = [
                it
                for it in mine[user]
                if it["kind"] == kind
                and it["ts"] >= last["ts"]
                and it["event_id"] != last["event_id"]
                and (within is None or it["ts"] - begun["ts"] <= within)
            ]
            if later:
                further[user] = (begun, later[0])
                waits.append((later[0]["ts"] - last["ts"]).total_seconds() / 3600)
        reached = further
        expected.append((step, kind, len(reached), len(mine), statistics.median(waits) if waits else None))
    rows = explore.funnel(bazaar, ("view", "cart", "buy", "view"), COHORTS[name][0], within=within).to_pylist()
    assert [(*list(row.values())[:4], row["hours"]) for row in rows] == [
        (*some, None if hours is None else pytest.approx(hours)) for *some, hours in expected
    ]


@NAMED
@pytest.mark.parametrize(("tz", "grain"), [("UTC", "week"), ("Asia/Kathmandu", "week"), ("America/New_York", "month")])
def test_retention_counts_who_came_back_in_each_period(
    bazaar: Warehouse, events: Events, name: str, tz: str, grain: Any
) -> None:
    def period(ts: date) -> date:
        day = ts.astimezone(ZoneInfo(tz)).date() if isinstance(ts, datetime) else ts
        return day - timedelta(days=day.weekday()) if grain == "week" else day.replace(day=1)

    def age(begun: date, then: date) -> int:
        return (then - begun).days // 7 if grain == "week" else 12 * (then.year - begun.year) + then.month - begun.month

    mine = those(name, events)
    came = {user: {period(it["ts"]) for it in all_} for user, all_ in mine.items()}
    sizes = Counter(min(periods) for periods in came.values())
    counts = Counter((min(periods), age(min(periods), then)) for periods in came.values() for then in periods)
    last = period(period(bazaar.facts.last_ts + timedelta(days=1)) - timedelta(days=1))  # that is over
    expected = [
        {"started": begun, "age": at, "users": counts[begun, at], "size": sizes[begun], "n": len(mine)}
        for begun in sorted(sizes)
        for at in range(min(age(begun, last), explore.MOST_AGES) + 1)
    ]
    assert explore.retention(bazaar, COHORTS[name][0], tz=tz, grain=grain).to_pylist() == expected


@NAMED
def test_moves_are_between_first_categories_of_different_items(bazaar: Warehouse, events: Events, name: str) -> None:
    moves: Counter[tuple[str | None, str | None]] = Counter()
    mine = those(name, events)
    for all_ in mine.values():
        for before, after in pairwise(all_):
            if before["item_id"] != after["item_id"]:
                moves[next(iter(before["categories"]), None), next(iter(after["categories"]), None)] += 1
    rows = explore.transitions(bazaar, COHORTS[name][0]).to_pylist()
    assert {(row["category"], row["following"]): row["moves"] for row in rows} == moves
    known = {pair: n for pair, n in moves.items() if None not in pair}
    assert sum(row["known"] for row in rows) == sum(known.values())
    assert sum(row["stayed"] for row in rows) == sum(n for (a, b), n in known.items() if a == b)
    assert {row["n"] for row in rows} <= {len(mine)}


def test_rare_categories_are_one(bazaar: Warehouse) -> None:
    every, few = explore.transitions(bazaar).to_pylist(), explore.transitions(bazaar, categories=2).to_pylist()
    assert sum(row["moves"] for row in few) == sum(row["moves"] for row in every)
    assert len({row["category"] for row in few}) == 3 and None in {row["category"] for row in few}
    for name in ("stayed", "known"):
        assert sum(row[name] for row in few) == sum(row[name] for row in every), "whether they are told apart or not"


def test_segments_hold_everyone_once_by_how_lately_and_how_often(bazaar: Warehouse, events: Events) -> None:
    def quintiles(values: dict[int, Any]) -> dict[int, int]:
        ordered = sorted(values.values())
        return {user: min(5 * ordered.index(value) // (len(ordered) - 1) + 1, 5) for user, value in values.items()}

    recency = quintiles({user: all_[-1]["ts"] for user, all_ in events.items()})
    frequency = quintiles({user: len(all_) for user, all_ in events.items()})
    cells = Counter((recency[user], frequency[user]) for user in events)
    rows = explore.segments(bazaar).to_pylist()
    assert {(row["recency"], row["frequency"]): row["users"] for row in rows} == cells
    assert sum(row["events"] for row in rows) == 3_000
    assert sum(row["value"] for row in rows) == sum(it["value"] for all_ in events.values() for it in all_)
    by_name: Counter[str] = Counter()
    for row in rows:
        by_name[row["segment"]] += row["users"]
    for segment, users in by_name.items():
        assert explore.size(bazaar, Cohort(segments=(segment,)))["users"] == users
    assert {row["segment"] for row in rows if row["recency"] == 5 and row["frequency"] == 5} <= {"champions"}


def test_many_are_looked_at_by_a_draw_that_stays_the_same(bazaar: Warehouse, events: Events) -> None:
    first = explore.funnel(bazaar, KINDS, most=20).to_pylist()
    assert first == explore.funnel(bazaar, KINDS, most=20).to_pylist()
    assert [row["n"] for row in first] == [20, 20, 20]
    assert {row["n"] for row in explore.retention(bazaar, tz="UTC", most=20).to_pylist()} == {20}
    assert (
        sum(
            size
            for _, size in {
                (row["started"], row["size"]) for row in explore.retention(bazaar, tz="UTC", most=20).to_pylist()
            }
        )
        == 20
    )


def test_nobody_is_picked_out_by_what_is_sensitive_or_not_there(bazaar: Warehouse) -> None:
    with pytest.raises(InvalidConfig, match="sensitive"):
        explore.size(bazaar, Cohort(attributes=(("faith", ("a",)),)))
    with pytest.raises(InvalidConfig, match="no attribute 'moon'"):
        explore.transitions(bazaar, Cohort(attributes=(("moon", ("a",)),)))
    with pytest.raises(InvalidConfig, match="0 steps"):
        explore.funnel(bazaar, ())
    with pytest.raises(InvalidConfig, match="9 steps"):
        explore.funnel(bazaar, ["view"] * 9)


def test_what_is_asked_is_a_value_and_never_a_statement(bazaar: Warehouse) -> None:
    words = ("x') OR ('1'='1", '"; DROP TABLE events; --', "$kinds", "")
    hostile = Cohort(kinds=words, categories=words, attributes=(("plan", words),))
    assert explore.size(bazaar, hostile)["users"] == 0
    assert [row["users"] for row in explore.funnel(bazaar, words[:2]).to_pylist()] == [0, 0]


@pytest.mark.parametrize("users", [1, 20])
def test_nobody_is_lost_who_was_there_at_the_very_last(tmp_path: Path, users: int) -> None:
    (tmp_path / "e.csv").write_text("user,item,ts\n" + "".join(f"u{n},i,2024-05-01\n" for n in range(users)))
    spec = parse_spec('[dataset]\nname = "day"\n[events]\nfiles = "e.csv"\nuser = "user"\nitem = "item"\nts = "ts"\n')
    made = ingest(spec, base=tmp_path, home=tmp_path / "home", now=datetime(2025, 1, 1, tzinfo=UTC))
    with Warehouse.open(made.path) as warehouse:
        assert [(row["segment"], row["users"]) for row in explore.segments(warehouse).to_pylist()] == [
            ("wavering", users)
        ]


def test_the_period_after_is_counted_where_it_is_over(tmp_path: Path) -> None:
    """Everyone comes back a week later to the hour; the log ends half an hour into a week."""
    monday = datetime(2024, 5, 6, tzinfo=UTC)
    rows = [
        f"u{begun}-{n},i,{(monday + timedelta(days=7 * week, minutes=n)).isoformat()}"
        for begun in range(3)
        for n in range(30)
        for week in range(begun, 4)
    ]
    (tmp_path / "e.csv").write_text("user,item,ts\n" + "\n".join(rows) + "\n")
    spec = parse_spec('[dataset]\nname = "w"\n[events]\nfiles = "e.csv"\nuser = "user"\nitem = "item"\nts = "ts"\n')
    made = ingest(spec, base=tmp_path, home=tmp_path / "home", now=datetime(2025, 1, 1, tzinfo=UTC))
    with Warehouse.open(made.path) as warehouse:
        rows_ = explore.retention(warehouse, tz="UTC").to_pylist()
    assert [(row["age"], row["users"], row["size"]) for row in rows_] == [
        *((0, 30, 30), (1, 30, 30), (2, 30, 30)),
        *((0, 30, 30), (1, 30, 30)),
        (0, 30, 30),
    ]
