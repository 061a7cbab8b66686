"""Each read against the shop of conftest, whose five events can be counted by hand."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from data import periods, reads
from data.errors import DamagedArtefact, UnknownBuild, UnknownItem, UnknownUser
from data.ingest import IngestResult, ingest
from data.spec import parse_spec
from data.warehouse import Warehouse

BOB, ANN, EVE = 0, 1, 2
CUP, TEA, POT, INK, JAM = range(5)


def test_keys_become_ids(shop: Warehouse) -> None:
    assert reads.user_by_key(shop, "ann") == ANN
    assert reads.item_by_key(shop, "jam") == JAM
    with pytest.raises(UnknownUser, match=r"'anna'.*'ann'"):
        reads.user_by_key(shop, "anna")
    with pytest.raises(UnknownItem, match=r"'cap'.*'cup'"):
        reads.item_by_key(shop, "cap")


def test_tables_are_ordered_by_id(shop: Warehouse) -> None:
    assert reads.histories(shop)["user_id"].to_pylist() == [0, 1, 2]
    assert reads.histories(shop)["item_id"].to_pylist() == [[TEA, JAM], [POT, TEA, CUP], []]
    assert reads.catalogue(shop)["item_id"].to_pylist() == [0, 1, 2, 3, 4]
    assert reads.user_table(shop).column_names == ["user_id", "key", "region", "age_group"]


def test_categories_count_items_and_events(shop: Warehouse) -> None:
    assert reads.categories(shop).to_pylist() == [
        {"category": "drink", "n_items": 1, "n_events": 2},
        {"category": "kitchen", "n_items": 2, "n_events": 2},
        {"category": "blue", "n_items": 1, "n_events": 1},
    ]


def test_activity_is_local_and_shows_quiet_days(shop: Warehouse) -> None:
    def days(tz: str) -> list[tuple[object, ...]]:
        return [tuple(row.values()) for row in periods.activity(shop, tz=tz).to_pylist()]

    assert days("UTC") == [
        (date(2023, 12, 31), 1, 1),
        (date(2024, 1, 1), 3, 2),
        (date(2024, 1, 2), 0, 0),
        (date(2024, 1, 3), 1, 1),
    ]
    # Half past eleven at night in London is the next morning in Shanghai.
    assert days("Asia/Shanghai")[1:3] == [(date(2024, 1, 1), 2, 1), (date(2024, 1, 2), 1, 1)]
    assert periods.activity(shop, tz="UTC", grain="month")["events"].to_pylist() == [1, 4]
    assert periods.activity(shop, tz="UTC", grain="week").to_pylist() == [
        {"period": date(2023, 12, 25), "events": 1, "users": 1},
        {"period": date(2024, 1, 1), "events": 4, "users": 2},
    ]
    assert periods.item_activity(shop, TEA, tz="UTC").to_pylist()[1] == {
        "period": date(2024, 1, 1),
        "events": 2,
        "users": 2,
    }


def test_the_long_tail_reaches_one_and_holds_items_nobody_met(shop: Warehouse) -> None:
    tail = reads.long_tail(shop)
    assert tail["rank"].to_pylist() == [1, 2, 3, 4, 5]
    assert tail["item_id"].to_pylist() == [TEA, CUP, POT, JAM, INK]
    assert tail["events"].to_pylist() == [2, 1, 1, 1, 0]
    assert tail["cumulative"].to_pylist() == pytest.approx([0.4, 0.6, 0.8, 1.0, 1.0])


def test_hour_by_weekday_has_every_cell(shop: Warehouse) -> None:
    cells = periods.hour_weekday(shop, tz="UTC").to_pylist()
    assert len(cells) == 168
    assert {(cell["weekday"], cell["hour"]): cell["events"] for cell in cells if cell["events"]} == {
        (1, 10): 2,
        (1, 23): 1,
        (3, 8): 1,
        (7, 9): 1,
    }


def test_counts_by_kind_and_top_items(shop: Warehouse) -> None:
    assert reads.kind_counts(shop).to_pylist() == [
        {"kind": "buy", "events": 3, "users": 2, "valued": 3, "mean_value": 4.0},
        {"kind": "view", "events": 2, "users": 2, "valued": 1, "mean_value": 2.0},
    ]
    top = reads.top_items(shop, limit=2).to_pylist()
    assert [(row["key"], row["events"]) for row in top] == [("tea", 2), ("cup", 1)]


def test_choices_for_pickers(shop: Warehouse) -> None:
    assert reads.user_choices(shop).to_pylist() == [
        {"key": "bob", "events": 2},
        {"key": "ann", "events": 3},
        {"key": "eve", "events": 0},
    ]
    assert reads.item_choices(shop)["key"].to_pylist() == ["tea", "cup", "pot", "jam", "ink"]
    assert reads.first_user(shop) == "bob"
    assert reads.top_users(shop, limit=2).to_pylist() == [{"key": "ann", "events": 3}, {"key": "bob", "events": 2}]
    assert sorted(reads.titles(shop, ["pot", "no such", "ink"])["title"].to_pylist()) == ["Ink", "Tea pot"]


def test_one_user_newest_first_and_nobody_elses_events(shop: Warehouse) -> None:
    events = reads.user_events(shop, ANN)
    assert events["key"].to_pylist() == ["cup", "tea", "pot"]
    assert events["value"].to_pylist() == [2.0, 5.0, 4.0]
    assert reads.user_events(shop, ANN, limit=1).num_rows == 1
    assert reads.user_facts(shop, ANN).to_pylist() == [
        {
            "events": 3,
            "items": 3,
            "likes": 2,
            "first_ts": datetime(2023, 12, 31, 9, tzinfo=UTC),
            "last_ts": datetime(2024, 1, 1, 10, tzinfo=UTC),
            "active_days": 2,
            "mean_value": pytest.approx(11 / 3),
        }
    ]


def test_a_user_without_events_has_no_figures_rather_than_zeroes(shop: Warehouse) -> None:
    facts = reads.user_facts(shop, EVE).to_pylist()[0]
    assert (facts["events"], facts["likes"], facts["first_ts"], facts["mean_value"]) == (0, 0, None, None)
    assert reads.user_events(shop, EVE).num_rows == 0


def test_one_item(shop: Warehouse) -> None:
    facts = reads.item_facts(shop, TEA).to_pylist()[0]
    assert (facts["events"], facts["users"], facts["likes"], facts["rank"], facts["n_items"]) == (2, 2, 1, 1, 5)
    assert facts["mean_value"] == 5.0  # the view without stars is no zero
    assert reads.item_facts(shop, INK).to_pylist()[0]["rank"] == 5
    assert reads.item_events(shop, TEA)["key"].to_pylist() == ["bob", "ann"]


def test_quarantine_is_counted_and_shown(bring: Callable[..., IngestResult], tmp_path: Path) -> None:
    result = bring("user,item,ts,value\na,x,1704103200,1\n,x,1704103200,1\na,x,soon,1\na,x,later,1\n")
    assert reads.quarantine_summary(result.quarantine).to_pylist() == [
        {
            "table": "events",
            "source": "events.csv",
            "reason": "unreadable-time",
            "column": "ts",
            "n": 2,
            "first_line": 4,
        },
        {
            "table": "events",
            "source": "events.csv",
            "reason": "missing-user",
            "column": "user",
            "n": 1,
            "first_line": 3,
        },
    ]
    assert reads.quarantine_rows(result.quarantine, limit=1)["raw"].to_pylist() == [",x,1704103200,1"]
    with pytest.raises(UnknownBuild):
        reads.quarantine_summary(tmp_path / "b-none.parquet")
    (tmp_path / "b-bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DamagedArtefact):
        reads.quarantine_summary(tmp_path / "b-bad.parquet")


ZONES = (
    "UTC",
    "Europe/Berlin",
    "Asia/Shanghai",
    "Asia/Kolkata",
    "America/St_Johns",
    "Pacific/Auckland",
    "Asia/Kathmandu",
    "Atlantic/Azores",  # an hour after midnight twice
    "America/Havana",  # midnight twice, and never
    "Africa/Cairo",  # a day that begins at one
    "Pacific/Kiritimati",
    "Etc/GMT+12",
)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """Two years of people who come back at all distances, across the changes of clocks."""
    folder = tmp_path_factory.mktemp("busy")
    rng = np.random.default_rng(5)
    gaps = rng.choice([60, 1_800, 3_600, 40_000, 86_400, 700_000, 2_600_000, 2_700_000, 4_800_000], 4_000)
    lines = ["user,item,ts,kind,value"]
    clock = dict.fromkeys(range(40), 1_640_000_000)
    for gap in gaps:
        user = int(rng.integers(40))
        clock[user] += int(gap) - int(rng.integers(60))
        value = f"{rng.integers(1, 6)}" if rng.random() < 0.7 else ""
        lines.append(f"u{user},i{int(30 * rng.random() ** 2)},{clock[user]},{rng.choice(['view', 'buy'])},{value}")
    (folder / "events.csv").write_text("\n".join(lines) + "\n")
    spec = parse_spec(
        '[dataset]\nname = "busy"\n[events]\nfiles = "events.csv"\nuser = "user"\nitem = "item"\nts = "ts"\n'
        'kind = "kind"\nvalue = "value"\n'
    )
    made = ingest(spec, base=folder, home=folder, now=datetime(2030, 1, 1, tzinfo=UTC))
    with Warehouse.open(made.path) as warehouse:
        yield warehouse


@pytest.mark.parametrize("tz", ZONES)
@pytest.mark.parametrize("grain", ["day", "week", "month"])
def test_what_was_counted_beforehand_is_what_the_events_say(busy: Warehouse, tz: str, grain: periods.Grain) -> None:
    counted = busy.run(
        "SELECT CAST(date_trunc($grain, timezone($tz, ts)) AS DATE) AS period, count(*) AS events,"
        " count(DISTINCT user_id) AS users FROM events GROUP BY ALL ORDER BY period",
        tz=tz,
        grain=grain,
    ).to_pylist()
    assert [row for row in periods.activity(busy, tz=tz, grain=grain).to_pylist() if row["events"]] == counted


@pytest.mark.parametrize("tz", ZONES)
@pytest.mark.parametrize("grain", ["week", "month"])
def test_growth_tells_who_is_new_stays_comes_back_and_is_lost(
    busy: Warehouse, tz: str, grain: Literal["week", "month"]
) -> None:
    there: dict[date, set[int]] = defaultdict(set)
    for row in busy.run(
        "SELECT DISTINCT user_id, CAST(date_trunc($grain, timezone($tz, ts)) AS DATE) AS period FROM events",
        tz=tz,
        grain=grain,
    ).to_pylist():
        there[row["period"]].add(row["user_id"])
    seen, before = set[int](), set[int]()
    expected = []
    for period in periods.activity(busy, tz=tz, grain=grain)["period"].to_pylist():
        users = there[period]
        parts = (len(users - seen), len(users & before), len((users & seen) - before), len(before - users))
        expected.append((period, len(users), *parts))
        seen, before = seen | users, users
    found = [tuple(row.values()) for row in periods.growth(busy, tz=tz, grain=grain).to_pylist()]
    assert found == expected
    assert all(sum(row[part] for row in found) > 20 for part in (2, 3, 4, 5)), "each happens"


@pytest.mark.parametrize("tz", ZONES)
def test_the_hours_of_the_week_are_those_of_the_zone(busy: Warehouse, tz: str) -> None:
    counted = busy.run(
        "SELECT isodow(timezone($tz, ts)) AS weekday, hour(timezone($tz, ts)) AS hour, count(*) AS events FROM events"
        " GROUP BY ALL ORDER BY ALL",
        tz=tz,
    ).to_pylist()
    assert [row for row in periods.hour_weekday(busy, tz=tz).to_pylist() if row["events"]] == counted


def test_counts_of_kinds_items_and_users_are_those_of_the_events(busy: Warehouse) -> None:
    kinds = busy.run(
        "SELECT kind, count(*) AS events, count(DISTINCT user_id) AS users, count(value) AS valued,"
        " avg(value) AS mean_value FROM events"
        " GROUP BY kind ORDER BY events DESC"
    ).to_pylist()
    assert [{**row, "mean_value": pytest.approx(row["mean_value"])} for row in kinds] == reads.kind_counts(
        busy
    ).to_pylist()
    items = busy.run("SELECT item_id, count(*) AS events FROM events GROUP BY 1 ORDER BY events DESC, item_id LIMIT 20")
    assert reads.top_items(busy).select(items.column_names).to_pylist() == items.to_pylist()
    users = busy.run("SELECT count(*) AS events FROM events GROUP BY user_id ORDER BY user_id")
    assert reads.user_choices(busy)["events"].to_pylist() == users["events"].to_pylist()


def test_one_history_is_its_row_of_all(busy: Warehouse, shop: Warehouse) -> None:
    for warehouse in (busy, shop):
        everyone = reads.histories(warehouse).to_pylist()
        assert warehouse.run("FROM histories ORDER BY user_id").to_pylist() == everyone
        assert [reads.history(warehouse, number).to_pylist()[0] for number in range(len(everyone))] == everyone
