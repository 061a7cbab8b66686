from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data import reads
from data.ingest import IngestResult, ingest
from data.spec import DatasetSpec, parse_spec
from data.warehouse import Warehouse, verify_build

Ingest = Callable[..., IngestResult]


def table(warehouse: Warehouse, name: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = warehouse.run(f"SELECT * FROM {name}").to_pylist()
    return rows


def test_items_follow_their_file_and_those_only_events_name_come_after(shop: Warehouse) -> None:
    items = table(shop, "items ORDER BY item_id")
    assert [(item["item_id"], item["key"]) for item in items] == [
        (0, "cup"),
        (1, "tea"),
        (2, "pot"),
        (3, "ink"),
        (4, "jam"),
    ]
    assert items[0]["categories"] == ["kitchen", "blue"]
    assert items[0]["text"] == "Blue cup (2020). kitchen, blue"
    assert items[0]["attributes"] == [("year", "2020")]
    assert items[0]["price"] == 3.5
    assert items[1]["text"] == "Green tea. drink"
    assert items[1]["price"] is None
    assert (items[3]["text"], items[3]["categories"]) == ("Ink", [])
    assert (items[4]["title"], items[4]["text"], items[4]["available"]) == ("jam", "jam", True)


def test_users_follow_their_file_with_declared_attributes_alone(shop: Warehouse) -> None:
    assert table(shop, "users ORDER BY user_id") == [
        {"user_id": 0, "key": "bob", "region": "unknown", "age_group": "young"},
        {"user_id": 1, "key": "ann", "region": "north", "age_group": "old"},
        {"user_id": 2, "key": "eve", "region": "south", "age_group": "unknown"},
    ]


def test_events_keep_file_order_and_histories_time_order_with_ties_by_file(shop: Warehouse) -> None:
    events = table(shop, "events ORDER BY event_id")
    assert [(event["event_id"], event["user_id"], event["item_id"]) for event in events] == [
        (0, 1, 1),
        (1, 0, 1),
        (2, 1, 0),
        (3, 1, 2),
        (4, 0, 4),
    ]
    assert events[0]["ts"] == datetime(2024, 1, 1, 10, tzinfo=UTC)
    assert [event["value"] for event in events] == [5.0, None, 2.0, 4.0, 3.0]
    assert table(shop, "files")[0]["source"] == "events.csv"
    bob, ann, eve = reads.histories(shop).to_pylist()
    assert ann["item_id"] == [2, 1, 0]  # the pot came first; tea and cup share their second, tea stands first
    assert ann["kind"] == ["buy", "buy", "view"]
    assert bob["value"] == [None, 3.0]
    assert eve["item_id"] == eve["ts"] == []


def test_column_types_are_the_contract(shop: Warehouse) -> None:
    def types(name: str) -> dict[str, str]:
        return {field.name: str(field.type) for field in shop.run(f"SELECT * FROM {name} LIMIT 0").schema}

    assert types("events") == {
        "event_id": "int64",
        "user_id": "int64",
        "item_id": "int64",
        "ts": "timestamp[us, tz=UTC]",
        "kind": "string",
        "value": "double",
        "context": "map<string, string>",
    }
    assert types("items")["categories"] == "list<l: string>"
    assert types("items")["attributes"] == "map<string, string>"
    assert {field.name: str(field.type) for field in reads.histories(shop).schema} == {
        "user_id": "int64",
        "item_id": "large_list<item: int64>",
        "ts": "large_list<item: timestamp[us, tz=UTC]>",
        "kind": "large_list<item: string>",
        "value": "large_list<item: double>",
    }


def test_what_is_published_is_whole_and_nothing_else_lies_about(shop_result: IngestResult) -> None:
    verify_build(shop_result.path)
    home = shop_result.path.parent.parent
    build = shop_result.build_id
    assert sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()) == [
        f"quarantine/{build}.parquet",
        f"warehouse/{build}.duckdb",
        f"warehouse/{build}.json",
    ]
    assert pq.read_table(shop_result.quarantine).num_rows == 0
    assert (shop_result.reasons, shop_result.catalogue_reasons) == ({}, {})


@pytest.mark.parametrize(
    ("times", "unit"),
    [
        (("1704103200", "1704103201.5"), None),
        (("1704103200000", "1704103201500"), None),
        (("1704103200000000", "1704103201500000"), None),
        (("2024-01-01T10:00:00Z", "2024-01-01 12:00:01.5+02"), None),
        (("2024-01-01 10:00:00", "2024-01-01 10:00:01.5"), "iso"),
        (("1704103200", "1704103201.5"), "s"),
    ],
)
def test_times_are_read_in_the_unit_they_are_in(
    bring: Ingest, event_spec: DatasetSpec, times: tuple[str, str], unit: str | None
) -> None:
    spec = event_spec.model_copy(update={"events": event_spec.events.model_copy(update={"ts_unit": unit})})
    result = bring(f"user,item,ts,value\na,x,{times[0]},1\na,y,{times[1]},1\n", spec=spec)
    assert result.facts.first_ts == datetime(2024, 1, 1, 10, tzinfo=UTC)
    assert result.facts.last_ts == datetime(2024, 1, 1, 10, 0, 1, 500_000, tzinfo=UTC)


def test_a_counter_can_stand_for_time_when_its_unit_is_said(bring: Ingest, event_spec: DatasetSpec) -> None:
    spec = event_spec.model_copy(update={"events": event_spec.events.model_copy(update={"ts_unit": "s"})})
    assert bring("user,item,ts,value\na,x,1,1\na,y,2,1\n", spec=spec).accepted == 2


def test_several_files_by_pattern_are_read_in_name_order(
    bring: Ingest, event_spec: DatasetSpec, tmp_path: Path
) -> None:
    spec = event_spec.model_copy(update={"events": event_spec.events.model_copy(update={"files": ("part-*.csv",)})})
    (tmp_path / "part-2.csv").write_text("user,item,ts,value\na,y,1704103200,1\na,,1704103200,1\n")
    (tmp_path / "part-1.csv").write_text("value,ts,item,user\n1,1704103200,x,a\n1\n")
    result = bring(spec=spec)
    with Warehouse.open(result.path) as warehouse:
        found = warehouse.run(
            "SELECT event_id, key, source FROM events JOIN items USING (item_id)"
            " ASOF JOIN files ON event_id >= place ORDER BY event_id"
        )
        assert found.to_pylist() == [
            {"event_id": 0, "key": "x", "source": "part-1.csv"},
            {"event_id": 1, "key": "y", "source": "part-2.csv"},
        ]
    refused = pq.read_table(result.quarantine).to_pylist()
    assert [(row["source"], row["line"], row["reason"], row["raw"]) for row in refused] == [
        ("part-1.csv", 3, "ragged-row", "1"),
        ("part-2.csv", 3, "missing-item", "a,,1704103200,1"),
    ]


def test_parquet_with_native_types_lists_and_gaps(bring: Ingest, tmp_path: Path) -> None:
    when = datetime(2024, 1, 1, 10, tzinfo=UTC)
    events = {
        "user": pa.array([7.0, None, 8.0]),  # a column of whole numbers with a gap comes as floats
        "item": pa.array([1, 2, 2]),
        "ts": pa.array([when, when, when], pa.timestamp("ms", "UTC")),
        "basket": pa.array([11, 12, 13]),
    }
    pq.write_table(pa.table(events), tmp_path / "events.parquet")
    items = {"id": [1, 2], "name": ["One", "Two"], "tags": [["a, b", "c"], []]}
    pq.write_table(pa.table(items), tmp_path / "items.parquet")
    spec = parse_spec(
        '[dataset]\nname = "p"\n[events]\nfiles = "events.parquet"\nuser = "user"\nitem = "item"\nts = "ts"\n'
        'kind_value = "buy"\ncontext = ["basket"]\n'
        '[items]\nfiles = "items.parquet"\nkey = "id"\ntitle = "name"\ncategories = "tags"\n'
    )
    result = bring(spec=spec)
    assert (result.read, result.accepted, result.reasons) == (3, 2, {"missing-user": 1})
    with Warehouse.open(result.path) as warehouse:
        assert [user["key"] for user in table(warehouse, "users ORDER BY user_id")] == ["7", "8"]
        assert [item["categories"] for item in table(warehouse, "items ORDER BY item_id")] == [["a, b", "c"], []]
        assert [event["context"] for event in table(warehouse, "events ORDER BY event_id")] == [
            [("basket", "11")],
            [("basket", "13")],
        ]
        assert result.facts.first_ts == when
    assert pq.read_table(result.quarantine)["line"].to_pylist() == [2]


def test_a_single_file_can_hold_item_columns_too(bring: Ingest, tmp_path: Path) -> None:
    (tmp_path / "log.tsv").write_text(
        "user\titem\tts\tname\tgroup\tcity\n"
        "a\tx\t1704103200\tThe X\tone\tRome\n"
        "a\tx\t1704103300\tanother X\ttwo\tOslo\n"
        "b\ty\t1704103400\tThe Y\tone\t\n"
    )
    spec = parse_spec(
        'sensitive = ["city"]\n[dataset]\nname = "one-file"\n'
        '[events]\nfiles = "log.tsv"\nuser = "user"\nitem = "item"\nts = "ts"\n'
        '[items]\ntitle = "name"\ncategories = "group"\n[users]\nattributes = ["city"]\n'
    )
    result = bring(spec=spec)
    assert (result.accepted, result.catalogue_reasons) == (3, {})
    with Warehouse.open(result.path) as warehouse:
        assert [item["text"] for item in table(warehouse, "items ORDER BY item_id")] == ["The X. one", "The Y. one"]
        assert [user["city"] for user in table(warehouse, "users ORDER BY user_id")] == ["Rome", "unknown"]


def test_duplicates_go_to_quarantine_only_when_asked(bring: Ingest, event_spec: DatasetSpec) -> None:
    text = "user,item,ts,value\na,x,1704103200,1\na,x,1704103200,1\na,x,1704103200,2\na,x,1704103200,1\n"
    assert bring(text).accepted == 4
    spec = event_spec.model_copy(update={"events": event_spec.events.model_copy(update={"drop_duplicates": True})})
    result = bring(text, spec=spec)
    assert (result.accepted, result.reasons) == (2, {"duplicate": 2})
    assert pq.read_table(result.quarantine)["line"].to_pylist() == [3, 5]


def test_catalogue_rows_without_a_key_of_their_own_are_refused_and_told(bring: Ingest, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("u,i,t\na,x,1704103200\n")
    (tmp_path / "items.csv").write_text("i,n\nx,First\n,Nameless\nx,Second\ny\n")
    (tmp_path / "users.csv").write_text("u,c\na,1\na,2\n")
    spec = parse_spec(
        '[dataset]\nname = "d"\n[events]\nfiles = "events.csv"\nuser = "u"\nitem = "i"\nts = "t"\n'
        '[items]\nfiles = "items.csv"\ntitle = "n"\n[users]\nfiles = "users.csv"\nattributes = ["c"]\n'
    )
    result = bring(spec=spec)
    assert (result.read, result.accepted, result.quarantined) == (1, 1, 0)
    assert result.catalogue_reasons == {"duplicate-key": 2, "missing-key": 1, "ragged-row": 1}
    refused = pq.read_table(result.quarantine).to_pylist()
    assert [(row["table"], row["line"], row["reason"]) for row in refused] == [
        ("items", 3, "missing-key"),
        ("items", 4, "duplicate-key"),
        ("items", 5, "ragged-row"),
        ("users", 3, "duplicate-key"),
    ]
    with Warehouse.open(result.path) as warehouse:
        assert [item["title"] for item in table(warehouse, "items")] == ["First"]
        assert [user["c"] for user in table(warehouse, "users")] == ["1"]


def test_progress_rises_to_one(tmp_path: Path, event_spec: DatasetSpec, now: datetime) -> None:
    (tmp_path / "events.csv").write_text("user,item,ts,value\na,x,1704103200,1\n")
    told: list[float] = []
    ingest(event_spec, base=tmp_path, home=tmp_path / "home", now=now, progress=lambda done, _: told.append(done))
    assert told == sorted(told) and told[-1] == 1.0


def test_each_ingest_is_a_build_of_its_own(bring: Ingest) -> None:
    text = "user,item,ts,value\na,x,1704103200,1\n"
    first, second = bring(text), bring(text)
    assert first.build_id != second.build_id
    assert first.path.exists() and second.path.exists()
