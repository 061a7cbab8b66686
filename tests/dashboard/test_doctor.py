"""The doctor finds faults before they hurt, names the remedy of each, and changes nothing."""

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.ops.jobs import submit
from core.ops.ledger import Ledger
from core.ops.schema import SCHEMA_VERSION, versions
from dashboard.doctor import Check, doctor
from dashboard.settings import Settings

NOW = datetime.now(UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Settings(home=tmp_path / "home", cache=tmp_path / "cache", port=port, threads=1)


def examine(settings: Settings, **changes: object) -> dict[str, Check]:
    settings = settings.model_copy(update=changes)
    checks = doctor(settings, now=NOW, ask_device=False)
    for check in checks:
        assert check.detail and (check.ok or check.remedy), check
    return {check.name: check for check in checks}


def faults(settings: Settings, **changes: object) -> dict[str, str]:
    return {name: str(check.remedy) for name, check in examine(settings, **changes).items() if not check.ok}


def test_a_fresh_machine_is_fit_and_stays_as_it_was(settings: Settings) -> None:
    checks = examine(settings)
    assert faults(settings) == {}
    assert {"python", "torch", "transformers", "duckdb", "streamlit", "threads", "weights"} <= set(checks)
    assert {"disk", "home", "port", "ledger"} <= set(checks)
    assert not settings.home.exists() and not settings.cache.exists()


def test_the_device_is_asked_for_in_another_process(settings: Settings) -> None:
    checks = {check.name: check for check in doctor(settings, now=NOW)}
    assert checks["device"].ok and checks["device"].detail


def test_a_taken_port(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", settings.port)):
        assert "--port" in faults(settings)["port"]


def test_more_threads_than_cores(settings: Settings) -> None:
    assert "LODESTAR_THREADS" in faults(settings, threads=10_000)["threads"]


def test_no_weights_and_no_network(settings: Settings) -> None:
    assert "LODESTAR_OFFLINE" in faults(settings, offline=True)["weights"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_that_may_not_be_written(settings: Settings) -> None:
    settings.home.mkdir(mode=0o500)
    assert "LODESTAR_HOME" in faults(settings)["home"]


def test_a_home_below_a_file(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "LODESTAR_HOME" in faults(settings, home=tmp_path / "file")["home"]


def test_jobs_that_wait_without_a_supervisor(settings: Settings) -> None:
    with Ledger.open(settings.home) as ledger:
        assert faults(settings) == {}
        submit(ledger, kind="train", payload={}, dataset=None, now=NOW)
    assert "lodestar jobs resume" in faults(settings)["supervisor"]


def test_a_ledger_of_another_lodestar(settings: Settings) -> None:
    with Ledger.open(settings.home) as ledger, ledger.write() as connection:
        connection.execute(sa.insert(versions).values(version=SCHEMA_VERSION + 1))
    assert "upgrade Lodestar" in faults(settings)["ledger"]


def test_a_ledger_that_is_no_database(settings: Settings) -> None:
    settings.home.mkdir()
    (settings.home / "ledger.sqlite").write_bytes(b"not a database, whatever its name says" * 100)
    assert "restore" in faults(settings)["ledger"]


def test_leftovers_are_counted_but_left(settings: Settings) -> None:
    with Ledger.open(settings.home):
        lost = settings.home / "warehouse" / "b-lost.duckdb"
        lost.parent.mkdir()
        lost.write_bytes(b"x" * 2_000_000)
        old = (NOW - timedelta(days=1)).timestamp()
        os.utime(lost, (old, old))
    assert "2.0 MB, `lodestar prune`" in examine(settings)["leftovers"].detail
    assert lost.exists()
