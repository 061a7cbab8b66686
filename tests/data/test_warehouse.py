import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data.errors import DamagedArtefact, InvalidConfig, SchemaMismatch, UnknownBuild
from data.ingest import IngestResult
from data.periods import activity
from data.warehouse import SCHEMA_VERSION, Warehouse, build_connection, remove_build, verify_build


def copied(result: IngestResult, folder: Path, name: str = "b-copy") -> Path:
    return Path(shutil.copy(result.path, folder / f"{name}.duckdb"))


def test_facts_tell_what_was_built(shop: Warehouse, shop_result: IngestResult) -> None:
    facts = shop.facts
    assert (facts.build_id, facts.dataset, facts.task) == (shop_result.build_id, "shop", "next-new")
    assert (facts.read, facts.accepted, facts.quarantined) == (5, 5, 0)
    assert (facts.n_events, facts.n_users, facts.n_items) == (5, 3, 5)
    assert facts.first_ts == datetime(2023, 12, 31, 9, tzinfo=UTC)
    assert facts.last_ts == datetime(2024, 1, 3, 8, tzinfo=UTC)
    assert facts.schema_version == SCHEMA_VERSION
    assert facts.spec.sensitive == ("region",)
    assert facts.as_dict()["created"] == "2024-06-01T00:00:00+00:00"


def test_parameters_are_values_and_never_text_of_the_statement(shop: Warehouse) -> None:
    rows = shop.run("SELECT key FROM items WHERE key = $key", key="tea' OR '1'='1")
    assert rows.num_rows == 0


def test_a_build_cannot_be_written_and_reads_no_file(shop: Warehouse, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="read-only"):
        shop.run("DELETE FROM events")
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with pytest.raises(Exception, match="disabled by configuration"):
        shop.run("SELECT * FROM read_csv($path)", path=str(tmp_path / "secret.csv"))


def test_threads_share_one_warehouse(shop: Warehouse) -> None:
    wrong: list[object] = []

    def ask(key: str, item_id: int) -> None:
        for _ in range(50):
            got = shop.run("SELECT item_id FROM items WHERE key = $key", key=key)["item_id"].to_pylist()
            if got != [item_id]:
                wrong.append((key, got))

    asking = [threading.Thread(target=ask, args=pair) for pair in (("cup", 0), ("tea", 1), ("pot", 2), ("ink", 3))]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert wrong == []


def test_no_build(tmp_path: Path) -> None:
    with pytest.raises(UnknownBuild, match="lodestar builds"):
        Warehouse.open(tmp_path / "b-00000000.duckdb")


def test_a_build_of_another_schema_names_the_command_that_rebuilds(shop_result: IngestResult, tmp_path: Path) -> None:
    path = copied(shop_result, tmp_path)
    with build_connection(path) as connection:
        connection.execute("UPDATE facts SET schema_version = $version", {"version": SCHEMA_VERSION + 1})
    with pytest.raises(SchemaMismatch, match="lodestar ingest"):
        Warehouse.open(path)


def test_a_database_of_someone_else(tmp_path: Path) -> None:
    with build_connection(tmp_path / "other.duckdb") as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS x")
    with pytest.raises(SchemaMismatch):
        Warehouse.open(tmp_path / "other.duckdb")


@pytest.mark.parametrize("content", [b"", b"not a database" * 1000])
def test_garbage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b-bad.duckdb").write_bytes(content)
    with pytest.raises(DamagedArtefact, match="lodestar ingest"):
        Warehouse.open(tmp_path / "b-bad.duckdb")


def test_truncation_and_a_flipped_byte_are_seen(shop_result: IngestResult, tmp_path: Path) -> None:
    for name, harm in (("b-cut", lambda data: data[:-4096]), ("b-flip", lambda data: data[:-9] + b"!" + data[-8:])):
        path = copied(shop_result, tmp_path, name)
        told = shop_result.path.with_suffix(".json").read_text().replace(shop_result.build_id, name)
        path.with_suffix(".json").write_text(told)
        verify_build(path)
        path.write_bytes(harm(path.read_bytes()))
        with pytest.raises(DamagedArtefact):
            verify_build(path)


def test_a_log_left_behind_is_damage(shop_result: IngestResult, tmp_path: Path) -> None:
    path = copied(shop_result, tmp_path)
    path.with_suffix(".duckdb.wal").write_bytes(b"")
    with pytest.raises(DamagedArtefact):
        verify_build(path)


def test_an_unknown_time_zone_is_a_stated_error(shop: Warehouse) -> None:
    with pytest.raises(InvalidConfig, match="Mars/Base"):
        activity(shop, tz="Mars/Base")


def test_remove_build_takes_all_of_it(tmp_path: Path) -> None:
    of_it = {"warehouse": ("b-1.duckdb", "b-1.json"), "quarantine": ("b-1.parquet",), "snapshots": ("b-1-a-0.duckdb",)}
    for folder, name in ((folder, name) for folder, names in of_it.items() for name in names):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text("x")
    (tmp_path / "warehouse" / "b-2.duckdb").write_text("x")
    remove_build(tmp_path, "b-1")
    remove_build(tmp_path, "b-1")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["b-2.duckdb"]
