"""A small shop whose every figure can be worked out by hand, built through the real ingest."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data.ingest import IngestResult, ingest
from data.spec import DatasetSpec, parse_spec
from data.warehouse import Warehouse

NOW = datetime(2024, 6, 1, tzinfo=UTC)

SHOP_SPEC = """
sensitive = ["region"]
[dataset]
name = "shop"
licence = "made up"
[events]
files = "events.csv"
user = "customer"
item = "sku"
ts = "time"
kind = "what"
value = "stars"
[items]
files = "items.csv"
key = "sku"
title = "name"
categories = "tags"
text_template = "{title} ({year}). {categories}"
price = "price"
attributes = ["year"]
[users]
files = "users.csv"
key = "customer"
attributes = ["region"]
[positive]
min_value = 4.0
[derive.age_group]
from = "age"
edges = [18, 40]
labels = ["young", "middle", "old"]
"""

EVENTS = """customer,sku,time,what,stars
ann,tea,2024-01-01T10:00:00Z,buy,5
bob,tea,2024-01-01T23:30:00Z,view,
ann,cup,2024-01-01T10:00:00Z,view,2
ann,pot,2023-12-31T09:00:00Z,buy,4
bob,jam,2024-01-03T08:00:00Z,buy,3
"""
ITEMS = """sku,name,tags,year,price
cup,Blue cup,kitchen|blue,2020,3.5
tea,Green tea,drink,,x
pot,Tea pot,kitchen,2019,20
ink,Ink,,,
"""
USERS = """customer,region,age
bob,,17
ann,north,40
eve,south,seven
"""

Ingest = Callable[..., IngestResult]


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def event_spec() -> DatasetSpec:
    """Events alone: user, item, ts, value in events.csv."""
    return parse_spec(
        '[dataset]\nname = "log"\n[events]\nfiles = "events.csv"\n'
        'user = "user"\nitem = "item"\nts = "ts"\nvalue = "value"\n'
    )


@pytest.fixture
def bring(tmp_path: Path, event_spec: DatasetSpec) -> Ingest:
    """Write events.csv from text or bytes, and ingest it (or what another spec names)."""

    def run(
        content: str | bytes | None = None, *, spec: DatasetSpec | None = None, name: str = "events.csv"
    ) -> IngestResult:
        if content is not None:
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return ingest(spec or event_spec, base=tmp_path, home=tmp_path / "home", now=NOW, threads=1)

    return run


@pytest.fixture(scope="session")
def shop_result(tmp_path_factory: pytest.TempPathFactory) -> IngestResult:
    base = tmp_path_factory.mktemp("shop")
    for name, text in (("events.csv", EVENTS), ("items.csv", ITEMS), ("users.csv", USERS)):
        (base / name).write_text(text, encoding="utf-8")
    return ingest(parse_spec(SHOP_SPEC), base=base, home=base / "home", now=NOW, threads=1)


@pytest.fixture(scope="session")
def shop(shop_result: IngestResult) -> Iterator[Warehouse]:
    with Warehouse.open(shop_result.path) as warehouse:
        yield warehouse
