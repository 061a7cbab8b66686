"""Acts from a file: every row accepted, there before, or in quarantine with its line; and out again as a file."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from core.ops.ledger import Ledger
from core.ops.roles import grant
from dashboard.cli import app
from data.acts import acts, moment
from data.errors import InputError, MissingColumn, NotAllowed, UnreadableFile

RUNNER = CliRunner()
HEADER = "user,item,kind,at,value\n"


def run(*words: object) -> dict[str, object]:
    done = RUNNER.invoke(app, [*map(str, words), "--json"], catch_exceptions=False)
    return dict(json.loads(done.stdout))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "events.csv").write_text("user,item,ts\nann,x,1700000000\nann,y,1700000100\nbob,x,1700000200\n")
    (tmp_path / "shop.toml").write_text(
        '[dataset]\nname = "shop"\n[events]\nfiles = "events.csv"\nuser = "user"\nitem = "item"\nts = "ts"\n'
    )
    run("ingest", tmp_path / "shop.toml", "--home", tmp_path / "home")
    return tmp_path / "home"


def test_what_was_done_joins_the_next_build_once_and_comes_out_as_files(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "acts.csv"
    file.write_text(
        HEADER
        + "bob,y,click,2025-01-01T08:00:00Z,\n"
        + "bob,x,rating,1735718401,4\n"
        + "cleo,x,shown,2025-01-01 08:00:02,\n"
        + "bob,nothing,click,2025-01-01,\n"
        + "bob,x,click,tomorrow,\n"
        + "bob,x\n"
        + "bob,x,rating,2025-01-01,many\n"
    )
    told = run("feedback", file, "--home", home)
    assert (told["read"], told["accepted"], told["repeated"], told["refused"]) == (7, 3, 0, 4)
    assert told["reasons"] == {"unknown-item": 1, "unreadable-at": 1, "ragged-row": 1, "unreadable-value": 1}
    refused = pq.read_table(str(told["quarantine"])).to_pylist()
    assert [(row["line"], row["reason"]) for row in refused] == [
        (5, "unknown-item"),
        (6, "unreadable-at"),
        (7, "ragged-row"),
        (8, "unreadable-value"),
    ]
    assert refused[1]["raw"] == "bob,x,click,tomorrow,"
    again = run("feedback", file, "--home", home)
    assert (again["accepted"], again["repeated"]) == (0, 3)
    built = run("ingest", tmp_path / "shop.toml", "--home", home)
    assert (built["read"], built["accepted"], built["feedback"]) == (5, 5, 2), "what was shown is no behaviour"
    assert run("ingest", tmp_path / "shop.toml", "--home", home)["accepted"] == 5, "a build folds what there is, once"
    assert run("interactions", tmp_path / "all.csv", "--home", home)["rows"] == 5
    with (tmp_path / "all.csv").open(encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    assert [(row["user"], row["kind"], row["source"]) for row in rows[-2:]] == [
        ("bob", "click", "feedback"),
        ("bob", "rate", "feedback"),
    ]
    run("interactions", tmp_path / "ratings.parquet", "--as", "ratings", "--home", home)
    (rated,) = pq.read_table(tmp_path / "ratings.parquet").to_pylist()
    assert (rated["user"], rated["item"], rated["value"]) == ("bob", "x", 4.0)


def test_all_feedback_comes_out_with_what_it_was_shown_at(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "acts.csv"
    file.write_text(
        "user,item,kind,at,slate,rank,propensity\nann,x,shown,2025-01-01,s-1,2,.25\nann,x,click,2025-01-01,,,\n"
    )
    assert run("feedback", file, "--home", home)["accepted"] == 2
    assert run("interactions", tmp_path / "acts.parquet", "--as", "feedback", "--home", home)["rows"] == 2
    shown, click = pq.read_table(tmp_path / "acts.parquet").to_pylist()
    assert (shown["slate"], shown["rank"], shown["propensity"], shown["kind"]) == ("s-1", 2, 0.25, "shown")
    assert (click["slate"], click["kind"]) == (None, "click")
    went, came = run("trail", "--home", home)["entries"][:2]
    assert (came["act"], came["detail"]["file"], came["detail"]["accepted"]) == ("feedback", "acts.csv", 2)
    assert (went["act"], went["detail"]["as"], went["detail"]["rows"]) == ("hand out", "feedback", 2)


def test_json_lines_say_the_same(tmp_path: Path) -> None:
    file = tmp_path / "acts.jsonl"
    rows = [
        {"user": "ann", "item": 7, "kind": "click", "at": "2025-01-01T08:00:00+08:00", "other": {}},
        {"user": "ann", "item": "x", "kind": "click", "at": "2025-01-01", "rank": 1.5},
        {"user": None, "item": "x", "kind": "click", "at": "2025-01-01"},
        {"user": ["ann"], "item": "x", "kind": "click", "at": "2025-01-01"},
        {"item": "x"},
    ]
    file.write_text("\n".join(json.dumps(row) for row in rows) + '\n\n["ann"]\n{"user": \n')
    found = list(acts(file))
    assert [line for line, _, _ in found] == [1, 2, 3, 4, 5, 7, 8]
    first = found[0][2]
    assert isinstance(first, dict)
    assert (first["item"], first["at"]) == ("7", moment("2025-01-01 00:00:00"))
    reasons = ["unreadable-rank", "missing-user", "unreadable-user", "missing-user", "unreadable-row", "unreadable-row"]
    assert [fields for _, _, fields in found[1:]] == reasons


def test_a_moment_is_read_as_it_is_written() -> None:
    assert moment("20250601") == moment("2025-06-01") == moment("1748736000") == moment(1748736000.0)


@pytest.mark.parametrize(
    "told",
    ["", "noon", "nan", "inf", "1e30", "-1e30", "2025-13-01", "2025", "1748736000000", "0001-01-01T00:00:00+14:00"],
)
def test_what_is_no_moment(told: str) -> None:
    assert moment(told) is None


def test_files_that_hold_no_acts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item,kind\nann,x,click\n")
    with pytest.raises(MissingColumn, match="at"):
        list(acts(tmp_path / "a.csv"))
    (tmp_path / "b.csv").write_text("user,item,kind,at,value,value\nann,x,rating,2025-01-01,1,2\n")
    with pytest.raises(UnreadableFile, match="two columns named 'value'"):
        list(acts(tmp_path / "b.csv"))
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    with pytest.raises(UnreadableFile, match="jsonl"):
        list(acts(tmp_path / "c.parquet"))
    with pytest.raises(UnreadableFile):
        list(acts(tmp_path / "none.csv"))
    with pytest.raises(UnreadableFile):
        list(acts(tmp_path / "none.jsonl"))


def test_the_trail_and_roles_are_told(home: Path) -> None:
    told = run("roles", "--home", home)
    me = told["actor"]
    assert told["role"] == "admin" and told["roles"] == []
    run("roles", "grant", me, "admin", "--home", home)
    run("roles", "grant", "zoe", "reader", "--home", home)
    entries = run("trail", "--home", home)["entries"]
    assert isinstance(entries, list)
    assert [(entry["actor"], entry["act"], entry["subject"]) for entry in entries] == [
        (me, "grant", "zoe"),
        (me, "grant", me),
        (me, "ingest", "shop"),
    ]


def test_who_gives_the_first_role_stays_an_admin_and_brackets_are_no_markup(home: Path) -> None:
    done = RUNNER.invoke(app, ["roles", "grant", " ", "admin", "--home", str(home)])
    assert isinstance(done.exception, InputError)
    granted = RUNNER.invoke(app, ["roles", "grant", "zoe [red] [/x]", "admin", "--home", str(home)])
    assert granted.exit_code == 0 and "zoe [red] [/x] is admin" in granted.stdout
    assert run("roles", "--home", home)["role"] == "admin"
    listed = RUNNER.invoke(app, ["trail", "--home", str(home)])
    assert listed.exit_code == 0 and "zoe [red] [/x]" in listed.stdout
    assert run("trail", "--limit", "0", "--home", home)["head"] == run("trail", "--home", home)["head"]


def test_who_may_only_read_changes_nothing(home: Path, tmp_path: Path) -> None:
    with Ledger.open(home) as ledger:
        grant(ledger, "zoe", "admin", by="zoe", now=datetime.now(UTC))
    (tmp_path / "acts.csv").write_text(HEADER + "bob,y,click,2025-01-01,\n")
    for words in (
        ("ingest", tmp_path / "shop.toml"),
        ("feedback", tmp_path / "acts.csv"),
        ("train",),
        ("search", "--trials", "1", "--detach"),
        ("prune",),
        ("export", "champion", "--out", tmp_path / "slates.csv"),
        ("report", "champion", "--out", tmp_path / "report.html"),
        ("recommend", "champion", "--user", "bob"),
        ("roles", "grant", "zoe", "reader"),
        ("interactions", tmp_path / "all.csv"),
        ("trail",),
    ):
        done = RUNNER.invoke(app, [*map(str, words), "--home", str(home)])
        assert isinstance(done.exception, NotAllowed), words
    assert not (tmp_path / "all.csv").exists()
    assert run("roles", "--home", home)["role"] == "reader"
    assert len(list((home / "warehouse").glob("*.duckdb"))) == 1
