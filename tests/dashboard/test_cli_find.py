"""The command `find`: the key that other commands want, from what somebody remembers of it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.ops.ledger import Ledger
from core.ops.roles import grant
from dashboard.cli import app
from data.errors import InputError, NotAllowed

RUNNER = CliRunner()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "events.csv").write_text(
        "who,what,at\nann,x,1700000000\nanna,y,1700000100\nann,z,1700000200\n", encoding="utf-8"
    )
    (tmp_path / "items.csv").write_text("key,name\nx,Amélie\ny,肖申克的救赎\nz,Plain \x1b[31m\n", encoding="utf-8")
    (tmp_path / "shop.toml").write_text(
        '[dataset]\nname = "shop"\n[events]\nfiles = "events.csv"\nuser = "who"\nitem = "what"\nts = "at"\n'
        '[items]\nfiles = "items.csv"\nkey = "key"\ntitle = "name"\n'
    )
    RUNNER.invoke(
        app, ["ingest", str(tmp_path / "shop.toml"), "--home", str(tmp_path / "home")], catch_exceptions=False
    )
    return tmp_path / "home"


def said(home: Path, *words: str) -> str:
    return RUNNER.invoke(app, ["find", *words, "--home", str(home)], catch_exceptions=False).stdout


def test_users_and_items_are_found_as_a_table_and_as_json(home: Path) -> None:
    told = json.loads(said(home, "ANN", "--json"))
    assert told["users"]["matches"] == [
        {"key": "ann", "title": "ann", "events": 2, "how": "exact", "score": 1.0},
        {"key": "anna", "title": "anna", "events": 1, "how": "prefix", "score": 1.0},
    ]
    assert (told["users"]["n"], told["items"]["matches"]) == (2, [])
    shown = said(home, "amelei", "--only", "items")
    assert "Amélie" in shown and "alike" in shown
    assert "y" in said(home, "肖生克的救赎", "--only", "items").split()
    assert "the best 1 of 2 users; --k shows more" in said(home, "an", "--only", "users", "--k", "1")
    assert "no user is called so; the nearest: ann" in said(home, "amna b", "--only", "users")
    assert "\x1b" not in said(home, "plain")


def test_what_cannot_be_asked_is_stated(home: Path) -> None:
    with pytest.raises(InputError, match="nothing to look for"):
        said(home, "  ")
    assert RUNNER.invoke(app, ["find", "x", "--only", "runs", "--home", str(home)]).exit_code == 2


def test_a_reader_finds_nobody(home: Path) -> None:
    with Ledger.open(home) as ledger:
        grant(ledger, "somebody-else", "admin", by="somebody-else", now=datetime(2025, 1, 1, tzinfo=UTC))
    with pytest.raises(NotAllowed, match="may not explore"):
        said(home, "ann")
