"""The command `sql`: rows to a terminal, a file or JSON, refusals as in the console, and all of it in the trail."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.ops import trail
from core.ops.ledger import Ledger
from core.ops.roles import grant
from dashboard.cli import app
from data.errors import InputError, NotAllowed, QueryRefused

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("sql")
    (base / "events.csv").write_text("who,what,at\nann,=x,1700000000\nann,y,1700000100\nbob,=x,1700000200\n")
    (base / "shop.toml").write_text(
        '[dataset]\nname = "shop"\n[events]\nfiles = "events.csv"\nuser = "who"\nitem = "what"\nts = "at"\n'
    )
    RUNNER.invoke(app, ["ingest", str(base / "shop.toml"), "--home", str(base / "home")], catch_exceptions=False)
    return base / "home"


def said(home: Path, *words: str) -> str:
    return RUNNER.invoke(app, ["sql", *words, "--home", str(home)], catch_exceptions=False).stdout


def test_rows_come_as_a_table_as_json_and_as_a_file(home: Path, tmp_path: Path) -> None:
    table = said(home, "SELECT key, count(*) AS n FROM events JOIN items USING (item_id) GROUP BY key ORDER BY key")
    assert "=x" in table and "2 rows from b-" in table
    told = json.loads(said(home, "SELECT 1 AS n, 'nan'::DOUBLE AS x, [1] AS l UNION ALL SELECT 2, 1.5, NULL", "--json"))
    assert (told["columns"], told["n"], told["cut"], told["dataset"]) == (["n", "x", "l"], 2, False, "shop")
    assert told["rows"] == [{"n": 1, "x": None, "l": "[1]"}, {"n": 2, "x": 1.5, "l": None}]
    assert "2 rows from" in said(home, "SELECT key FROM items ORDER BY key", "--csv", str(tmp_path / "keys.csv"))
    with (tmp_path / "keys.csv").open(encoding="utf-8-sig", newline="") as opened:
        assert list(csv.reader(opened)) == [["key"], ["'=x"], ["y"]]
    assert "the first 10,000 rows of more" in said(home, "FROM range(20000)")
    assert "events" in said(home, "FROM events", "--explain")
    assert "\x1b" not in said(home, "SELECT chr(27) || '[31m' AS x")


def test_what_is_refused_is_a_stated_error_and_noted(home: Path, tmp_path: Path) -> None:
    with pytest.raises(QueryRefused, match="type DELETE"):
        said(home, "DELETE FROM events")
    with pytest.raises(InputError, match="no folder"):
        said(home, "SELECT 1", "--csv", str(tmp_path / "nowhere" / "x.csv"))
    for place in (tmp_path, tmp_path / ("x" * 300), Path("/proc/x.csv"), Path()):
        with pytest.raises(InputError, match="cannot write"):
            said(home, "SELECT 1", "--csv", str(place))
    shown = RUNNER.invoke(app, ["trail", "--json", "--home", str(home)], catch_exceptions=False).stdout
    (entry,) = [one for one in json.loads(shown)["entries"] if one["text"] == "DELETE FROM events"]
    assert (entry["act"], entry["detail"]["outcome"]) == ("query", "refused")
    people = RUNNER.invoke(app, ["trail", "--home", str(home)], catch_exceptions=False).stdout
    assert "DELETE FROM events" in " ".join(people.split())


def test_a_reader_asks_nothing(home: Path) -> None:
    with Ledger.open(home) as ledger:
        grant(ledger, "somebody-else", "admin", by="somebody-else", now=datetime(2026, 3, 1, tzinfo=UTC))
    with pytest.raises(NotAllowed, match="may not explore"):
        said(home, "SELECT 1")
    with Ledger.open(home) as ledger:
        assert trail.trail(ledger, limit=1)[0].detail["outcome"] == "forbidden"
