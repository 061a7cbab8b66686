"""What the SQL page knows without drawing: examples, axes, points, results at hand; and odd columns made legible."""

import io
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dashboard import charts, querying
from dashboard.charts import Look
from dashboard.querying import Results, axes, examples, points
from dashboard.tables import csv_of, cut, legible, parquet_of
from dashboard.words import Words
from data.free_sql import sandbox
from data.free_sql.files import Privilege
from data.free_sql.sandbox import Answer
from data.free_sql.snapshot import make_snapshot
from data.warehouse import Warehouse

LOOK = Look("light", Words("en"))
DAYS = [datetime(2026, 1, day, tzinfo=UTC) for day in (3, 1, 2)]

# Every type that a statement may give a column of.
ODD = {
    "list": "[1, NULL]",
    "struct": "{'a': 1, 'b': 'x'}",
    "map": "MAP{'year': 1995}",
    "blob": "'\\xAA\\x00z'::BLOB",
    "huge": "12345678901234567890123456789012345678::HUGEINT",
    "decimal": "12345678901234567890.123456789::DECIMAL(38,9)",
    "money": "1.50::DECIMAL(10,2)",
    "inf": "'inf'::DOUBLE",
    "nan": "'nan'::FLOAT",
    "interval": "INTERVAL 3 DAY",
    "moment": "TIMESTAMP '2020-01-01 00:00:00.5'",
    "nanoseconds": "TIMESTAMP_NS '2020-01-01 00:00:00.123456789'",
    "ever": "'infinity'::TIMESTAMP",
    "never": "'-infinity'::DATE",
    "far": "'290000-01-01'::TIMESTAMP",
    "far zoned": "'290000-12-31 12:34:56.5+00'::TIMESTAMPTZ",
    "far day": "'290000-02-28'::DATE",
    "ancient": "'2000-01-01 (BC)'::TIMESTAMP",
    "zoned": "TIMESTAMPTZ '2020-01-01 00:00:00+00'",
    "clock": "TIME '12:30:01.5'",
    "enum": "'a'::ENUM ('a', 'b')",
    "wide": "9007199254740993",
    "unsigned": "18446744073709551615::UBIGINT",
    "none": "NULL",
    "truth": "true",
    "**bold** <img src=x>": "'=1+1'",
    "=cmd": "'@SUM(A1)'",
    "long": "repeat('語', 20000)",
}


@pytest.fixture(scope="module")
def snapshot(store: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with Warehouse.open(store.home / "warehouse" / f"{store.build_id}.duckdb") as warehouse:
        return make_snapshot(warehouse, tmp_path_factory.mktemp("snapshots"), privilege=Privilege("analyst"))


def test_every_example_runs_on_the_build_that_it_is_about(snapshot: Path) -> None:
    tree = sandbox.schema_tree(snapshot)
    found = examples(tree, {"rate": 400, "it's": 20})
    assert [one.name for one in found] == [
        "kinds",
        "months",
        "items",
        "categories",
        "activity",
        "both",
        *(["groups"] if any(branch.table == "sensitive_totals" and branch.n_rows for branch in tree) else []),
    ]
    assert found[0].text == querying.FIRST
    for one in found:
        answer = sandbox.run(snapshot, one.text)
        assert answer.table.num_rows, one.name
        assert Words("en").has(f"sql_example.{one.name}")
    assert "kind = 'it''s'" in found[5].text


def test_examples_ask_only_what_a_build_has() -> None:
    tree = [
        sandbox.Branch("users", 3, {"user_id": "BIGINT", "key": "VARCHAR", 'ci"ty': "VARCHAR"}),
        sandbox.Branch("sensitive_totals", 2, {"attribute": "VARCHAR"}),
    ]
    found = {one.name: one.text for one in examples(tree, {})}
    assert not {"months", "both"} & set(found)
    assert {"attribute", "groups"} <= set(found)
    assert '"ci""ty"' in found["attribute"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"day": DAYS, "n": [1, 2, 3]}, ("line", "day", "n")),
        ({"n": [1, 2, 3], "category": ["a", "b", "c"]}, ("bar", "category", "n")),
        ({"mean": [0.5, 0.1, 0.3], "n": [1, 2, 3]}, ("scatter", "mean", "n")),
        ({"events": [1, 2, 5], "users": [9, 3, 4]}, ("line", "events", "users")),
        ({"month": [DAYS[0]] * 2 + [DAYS[1]], "n": [1, 2, 3]}, ("scatter", "month", "n")),
        ({"attribute": ["a", "a", "b"], "group": ["x", "y", "z"], "n": [1, 2, 3]}, ("bar", "group", "n")),
        ({"group": ["a", "b", "b"], "n": [1, 2, 3]}, ("scatter", "group", "n")),
        ({"user_id": [1, 2, 3], "name": ["a", "b", "c"]}, None),  # an id is no measure
        ({"n": [1, 2, 3]}, None),
        ({"x": ["a", "a"], "n": [1, 2]}, None),
        ({"x": ["a"], "n": [1]}, None),
        ({"x": ["a", "b"], "n": [math.inf, math.nan]}, None),
        ({"x": ["a", "b"], "n": [None, None]}, None),
        ({"x": [None, None], "y": ["a", "b"]}, None),
        ({"x": [], "n": []}, None),
        ({}, None),
    ],
)
def test_a_figure_is_offered_where_it_makes_sense(
    columns: dict[str, list[object]], expected: tuple[str, str, str] | None
) -> None:
    found = axes(pa.table(columns))
    assert (found and (found.kind, found.first_x, found.first_y)) == expected


def test_many_single_rows_make_no_figure() -> None:
    n = querying.MOST_POINTS["scatter"] + 1
    raw = pa.table({"ts": [DAYS[0], DAYS[1]] * n, "kind": ["rate", "view"] * n, "value": [1.0, 2.0] * n})
    assert axes(raw) is None


def test_points_are_finite_few_and_a_line_goes_in_time() -> None:
    data, every = points(pa.table({"day": DAYS, "y": [1.0, 2.0, 3.0]}), "day", "y", "line")
    assert (len(every), data["y"].tolist()) == (3, [2.0, 3.0, 1.0])
    table = pa.table({"x": ["a", None, "c", "d"], "y": [1.0, 2.0, math.inf, None]})
    data, every = points(table, "x", "y", "bar")
    assert (len(every), data["x"].tolist()) == (1, ["a"])
    many = pa.table({"x": [f"c{place}" for place in range(500)], "y": list(range(500))})
    data, every = points(many, "x", "y", "bar")
    assert (len(every), len(data)) == (500, querying.MOST_POINTS["bar"])
    assert every["y"].max() == 499, "what is said of a figure is said of all rows"
    same, _ = points(many, "y", "y", "scatter")
    assert same["x"].tolist() == same["y"].tolist()


def test_odd_columns_are_shown_handed_out_and_drawn_without_a_crash(snapshot: Path) -> None:
    named = ", ".join(f'{value} AS "{name}"' for name, value in ODD.items())
    none = ", ".join("NULL" for _ in ODD)
    table = sandbox.run(snapshot, f"SELECT {named}, 1 AS list UNION ALL SELECT {none}, 2").table
    assert table.column_names == [*ODD, "list_2"]
    plain = legible(table)
    row = plain.to_pylist()[0]
    assert row["list"] == "[1, null]" and row["map"] == '{"year": 1995}' and row["blob"] == "\\xAA\\x00z"
    assert row["huge"] == "12345678901234567890123456789012345678" and row["wide"] == "9007199254740993"
    assert row["decimal"] == "12345678901234567890.123456789" and row["money"] == 1.5
    assert (row["ever"], row["never"], row["interval"]) == ("infinity", "-infinity", "3 days")
    assert (row["far"], row["ancient"]) == ("290000-01-01 00:00:00", "-1999-01-01 00:00:00")
    assert row["far zoned"] == "290000-12-31 12:34:56.500000Z" and row["far day"] == "290000-02-28"
    assert row["moment"].isoformat() == "2020-01-01T00:00:00.500000" and row["clock"] == "12:30:01.500000"
    assert len(cut(plain, characters=500).to_pylist()[0]["long"]) == 501
    text = csv_of(table).decode("utf-8-sig")
    assert "'=1+1" in text and "'@SUM(A1)" in text and text.splitlines()[0].count("'=cmd") == 1
    read = pd.read_csv(io.BytesIO(csv_of(table)))
    assert len(read) == 2 and len(read.columns) == len(ODD) + 1
    assert pq.read_table(io.BytesIO(parquet_of(table))).column_names == table.column_names
    for x in table.column_names:
        for kind in querying.KINDS:
            data, _ = points(table, x, "list_2", kind)
            if not data.empty:
                charts.result(data, kind=kind, x=x, y="list_2", title=x, look=LOOK).to_json()


@pytest.mark.parametrize("n", [3, 1000])
def test_points_of_equal_names_share_a_lane_and_many_lanes_stay_on_a_screen(n: int) -> None:
    data = pd.DataFrame({"x": [f"name {number % n}" for number in range(2 * n)], "y": np.arange(2.0 * n)})
    figure = charts.result(data, kind="scatter", x="group", y="users", title="t", look=LOOK)
    assert list(figure.data[0].y) == [*range(n), *range(n)] and list(figure.data[0].x) == list(data["y"])
    marked = figure.layout.yaxis
    assert len(marked.tickvals) <= 40 and figure.layout.height < 1000
    assert [f"name {lane}" for lane in marked.tickvals] == list(marked.ticktext)


def test_a_csv_keeps_numbers_and_quotes_formulas() -> None:
    table = pa.table({"-a": ["=HYPERLINK(1)", "+1", "-x", "@y", "\tz", "plain"], "n": [-1, 2, 3, 4, 5, 6]})
    lines = csv_of(table).decode("utf-8-sig").splitlines()
    assert lines[0] == "'-a,n"
    assert [line.split(",")[0] for line in lines[1:]] == ["'=HYPERLINK(1)", "'+1", "'-x", "'@y", "'\tz", "plain"]
    assert lines[1].endswith(",-1")


def test_decimals_that_a_float_holds_are_numbers_in_grids_and_files() -> None:
    small = pa.array([Decimal("-1.500"), Decimal("2.25")], pa.decimal128(18, 3))
    large = pa.array([Decimal("-1234567890123456.5"), Decimal("1.0")], pa.decimal128(38, 1))
    table = pa.table({"small": small, "large": large, "text": pa.array(["-1", "=x"])})
    assert legible(table).schema.types == [pa.float64(), pa.string(), pa.string()]
    assert csv_of(table).decode("utf-8-sig").splitlines() == [
        "small,large,text",
        "-1.5,-1234567890123456.5,'-1",
        "2.25,1.0,'=x",
    ]


def test_legible_keeps_what_a_grid_can_hold() -> None:
    table = pa.table({"n": [1, 2], "day": [date(2026, 1, 1), None], "d": [Decimal("1.25"), None]})
    assert legible(table).schema.types == [pa.int64(), pa.date32(), pa.float64()]
    assert legible(pa.table({})).num_columns == 0


def test_results_make_room_for_newer_ones() -> None:
    def answer(n: int) -> Answer:
        return Answer(pa.table({"x": pa.array([0] * n, pa.int64())}), cut=False, seconds=0.1)

    results = Results(most_bytes=10_000)
    for place in range(1_000):
        results.put(f"q-{place}", answer(100))
    assert results.get("q-0") is None and results.get("q-999") is not None
    assert sum(results.get(f"q-{place}") is not None for place in range(1_000)) == 12
    results.put("q-large", answer(100_000))
    assert results.get("q-large") is not None, "the newest is always at hand"
    assert results.get("q-999") is None


def test_a_statement_fits_on_a_line() -> None:
    assert querying.first_line("SELECT\n  1") == "SELECT 1"
    assert len(querying.first_line("x" * 40_000)) == 90
