"""The ledger keeps its schema, moments and pointers, with other processes at it and across crashes."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from core.ops.builds import build_of, builds, current_build, datasets, record_build
from core.ops.ledger import Ledger, migrate, schema_version
from core.ops.schema import SCHEMA_VERSION, Migration, metadata, versions
from core.ops.schema import builds as builds_table
from data.errors import Conflict, SchemaMismatch, StoreError, UnknownBuild, UnknownDataset

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def ledger(ledger_address: str, tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(ledger_address, home=tmp_path) as ledger:
        yield ledger


def record(ledger: Ledger, build_id: str, dataset: str = "films", *, now: datetime = NOON) -> None:
    assert ledger.home is not None
    path = ledger.home / "warehouse" / f"{build_id}.duckdb"
    record_build(ledger, build_id=build_id, dataset=dataset, path=path, facts={"n_events": 3}, now=now)


def test_a_build_takes_no_newer_ones_place(ledger: Ledger, tmp_path: Path) -> None:
    told: dict[str, Any] = {"dataset": "films", "path": tmp_path / "b", "facts": {}, "now": NOON}
    record_build(ledger, build_id="b-old", **told)
    record_build(ledger, build_id="b-new", **told)
    with pytest.raises(Conflict, match="is b-new now"):
        record_build(ledger, build_id="b-old-and-more", instead_of="b-old", **told)
    assert current_build(ledger).build_id == "b-new"
    record_build(ledger, build_id="b-new-and-more", instead_of="b-new", **told)
    assert current_build(ledger).build_id == "b-new-and-more"


def test_a_commit_is_flushed_and_readers_do_not_wait(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        with ledger.read() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        with ledger.write(), ledger.read() as reader:
            assert reader.scalar(sa.text("SELECT count(*) FROM jobs")) == 0


def test_the_last_recorded_build_is_current_and_older_ones_stay(ledger: Ledger) -> None:
    record(ledger, "b-1")
    record(ledger, "b-2", now=NOON + timedelta(hours=1))
    record(ledger, "b-3", "retail", now=NOON + timedelta(hours=2))
    assert current_build(ledger, "films").build_id == "b-2"
    assert current_build(ledger).build_id == "b-3", "without a name: the dataset ingested last"
    assert [(row.build_id, row.current) for row in builds(ledger, "films")] == [
        ("b-2", True),
        ("b-1", False),
    ]
    assert datasets(ledger) == ["retail", "films"]
    record(ledger, "b-1", now=NOON + timedelta(hours=3))
    assert current_build(ledger).build_id == "b-1"


def test_a_home_can_be_moved(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "old") as ledger:
        record(ledger, "b-1")
    (tmp_path / "old").rename(tmp_path / "new")
    with Ledger.open(tmp_path / "new") as ledger:
        assert current_build(ledger).path == tmp_path / "new" / "warehouse" / "b-1.duckdb"


def test_unknown_names_say_what_is_known(ledger: Ledger) -> None:
    with pytest.raises(UnknownDataset, match="lodestar demo"):
        current_build(ledger)
    record(ledger, "b-1")
    with pytest.raises(UnknownDataset, match="known: films"):
        current_build(ledger, "retail")
    with pytest.raises(UnknownBuild, match="lodestar builds"):
        build_of(ledger, "b-9")


def test_moments_come_back_as_utc_and_naive_ones_are_refused(ledger: Ledger) -> None:
    record(ledger, "b-1", now=NOON.astimezone(timezone(timedelta(hours=8))))
    created = current_build(ledger).created
    assert created == NOON and created.utcoffset() == timedelta(0)
    with pytest.raises(sa.exc.StatementError, match="aware"):
        record(ledger, "b-2", now=NOON.replace(tzinfo=None))
    assert current_build(ledger).build_id == "b-1"


def add_note(connection: Connection) -> None:
    connection.execute(sa.text("ALTER TABLE runs ADD COLUMN note VARCHAR"))


def add_label_and_break(connection: Connection) -> None:
    connection.execute(sa.text("ALTER TABLE runs ADD COLUMN label VARCHAR"))
    raise RuntimeError("the disk was pulled")


def columns_of_runs(ledger: Ledger) -> set[str]:
    return {column["name"] for column in sa.inspect(ledger.engine).get_columns("runs")}


def test_a_migration_and_its_record_are_one_transaction(ledger: Ledger) -> None:
    steps = [Migration(SCHEMA_VERSION + 1, add_note), Migration(SCHEMA_VERSION + 2, add_label_and_break)]
    record(ledger, "b-1")
    with pytest.raises(RuntimeError, match="pulled"):
        migrate(ledger, migrations=steps, target=SCHEMA_VERSION + 2)
    assert schema_version(ledger) == SCHEMA_VERSION + 1
    assert {"note", "label"} & columns_of_runs(ledger) == {"note"}
    migrate(ledger, migrations=steps[:1], target=SCHEMA_VERSION + 1)  # again: nothing to do
    assert current_build(ledger).build_id == "b-1"


def test_a_ledger_of_a_newer_lodestar_is_refused(ledger: Ledger, ledger_address: str) -> None:
    migrate(ledger, migrations=[Migration(SCHEMA_VERSION + 1, add_note)], target=SCHEMA_VERSION + 1)
    with pytest.raises(SchemaMismatch, match="upgrade Lodestar"):
        Ledger.open(ledger_address)


def as_of_schema_1(ledger: Ledger) -> None:
    """Takes out what the second schema brought, and those after it."""
    with ledger.write() as connection:
        for table in ("feedback", "trail", "roles", "splits", "statements", "saved_statements", "saved_cohorts"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
        for table, column in (("builds", "feedback_to"), ("jobs", "gpu"), ("promotions", "evidence")):
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
        connection.execute(sa.update(versions).values(version=1))


def test_a_ledger_of_the_first_schema_is_brought_here_with_all_it_holds(ledger: Ledger, ledger_address: str) -> None:
    fresh = {table: shapes(ledger, table) for table in metadata.tables}
    record(ledger, "b-1")
    as_of_schema_1(ledger)
    with Ledger.open(ledger_address, home=ledger.home) as again:
        assert schema_version(again) == SCHEMA_VERSION
        assert {table: shapes(again, table) for table in metadata.tables} == fresh
        assert current_build(again).build_id == "b-1"
        with again.read() as connection:
            assert connection.scalar(sa.select(builds_table.c.feedback_to)) == 0


def shapes(ledger: Ledger, table: str) -> dict[str, tuple[str, bool]]:
    """Each column's type and whether it may be null."""
    columns = sa.inspect(ledger.engine).get_columns(table)
    return {column["name"]: (str(column["type"]), column["nullable"]) for column in columns}


def test_writers_take_turns(ledger: Ledger) -> None:
    """A count that is read and then written is never lost, on either database."""
    record(ledger, "b-1")
    watermark = builds_table.c.feedback_to

    def count_up() -> None:
        for _ in range(10):
            with ledger.write() as connection:
                now = connection.scalar(sa.select(watermark))
                connection.execute(sa.update(builds_table).values(feedback_to=now + 1))

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ledger.read() as connection:
        assert connection.scalar(sa.select(watermark)) == 40


def test_a_reading_is_one_moment_and_can_not_write(empty_database: str, tmp_path: Path) -> None:
    with Ledger.open(empty_database, home=tmp_path) as ledger:
        record(ledger, "b-1")
        with ledger.read() as reader:
            before = reader.scalar(sa.select(sa.func.count()).select_from(builds_table))
            record(ledger, "b-2")
            assert reader.scalar(sa.select(sa.func.count()).select_from(builds_table)) == before
            assert reader.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
        with pytest.raises(sa.exc.DatabaseError, match="read-only"), ledger.read() as reader:
            reader.execute(sa.delete(builds_table))


@pytest.mark.parametrize("address", ["mysql://somewhere/lodestar", "postgresql://", "no address ://"])
def test_an_address_that_holds_no_ledger_is_a_stated_error(address: str) -> None:
    with pytest.raises(StoreError):
        Ledger.open(address)


def test_a_home_that_can_not_hold_a_ledger_is_a_stated_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"can't be used.*LODESTAR_HOME"):
        Ledger.open(tmp_path / "file")
    (tmp_path / "ledger.sqlite").write_bytes(b"no database, whatever its name says" * 100)
    with pytest.raises(StoreError, match=r"not a database \(SQLITE_NOTADB\)"):
        Ledger.open(tmp_path)


WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from core.ops.builds import record_build
from core.ops.ledger import Ledger

home, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with Ledger.open(home) as ledger:
    for n in range(first, last):
        build = {"build_id": f"b-{n}", "dataset": "films", "path": home / f"b-{n}.duckdb", "facts": {}}
        record_build(ledger, **build, now=datetime.now(UTC))
        print(build["build_id"], flush=True)
"""


def writer(home: Path, *, first: int, last: int) -> "subprocess.Popen[str]":
    """Records builds first..last-1, and prints each id once it was acknowledged."""
    argv = [sys.executable, "-c", WRITER, str(home), str(first), str(last)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_processes_that_open_an_empty_home_together_agree(tmp_path: Path) -> None:
    writers = [writer(tmp_path, first=n, last=n + 5) for n in range(0, 20, 5)]
    for process in writers:
        process.communicate()
    assert [process.returncode for process in writers] == [0] * 4
    with Ledger.open(tmp_path) as ledger:
        assert len(builds(ledger)) == 20
        assert schema_version(ledger) == SCHEMA_VERSION


def test_what_was_acknowledged_before_a_kill_is_there_after_it(tmp_path: Path) -> None:
    process = writer(tmp_path, first=0, last=100_000)
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().strip() for _ in range(20)]
    process.kill()
    rest, _ = process.communicate()
    acknowledged += rest.split("\n")[:-1]
    with Ledger.open(tmp_path) as ledger:
        stored = {row.build_id for row in builds(ledger)}
        assert set(acknowledged) <= stored
        assert len(stored) <= len(acknowledged) + 1, "at most the one that was under way"
        assert current_build(ledger).build_id in stored
        with ledger.read() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
