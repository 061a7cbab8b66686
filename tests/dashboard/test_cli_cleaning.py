"""`lodestar ingest --preview`: what cleaning rules would remove, which is what the ingest then removes."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dashboard.cli import app
from data.errors import InvalidSpec

RUNNER = CliRunner()
SPEC = (
    '[dataset]\nname = "log"\n[events]\nfiles = "log.csv"\nuser = "user"\nitem = "item"\nts = "ts"\n'
    "[clean]\nrepeats_within = 5\nmost_events_per_minute = 30\nleast_events_per_user = 3\n"
)
FEED = "user,item,kind,at,value\nann,i1,click,2024-06-01T10:00:00Z,\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Ann and Bob who live, each with a click that came twice; a program; someone who came once; a row that is none."""
    rows = [
        f"{who},i{n},{1704103200 + 3600 * n + again}" for who in ("ann", "bob") for n in range(5) for again in (0, 2)
    ]
    rows = [row for at, row in enumerate(rows) if at % 2 == 0 or at in (1, 11)]
    rows += [f"bot,i{n % 9},{1704103200 + n}" for n in range(40)] + ["once,[i9],1704103200", "ann,i1,never"]
    (tmp_path / "log.csv").write_text("user,item,ts\n" + "\n".join(rows) + "\n")
    (tmp_path / "log.toml").write_text(SPEC)
    return tmp_path


def given(*words: object) -> str:
    done = RUNNER.invoke(app, [*map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def told(log: Path, *words: object) -> dict[str, Any]:
    return dict(json.loads(given("ingest", log / "log.toml", *words, "--home", log / "home", "--json")))


def test_the_preview_is_what_the_ingest_then_does(log: Path) -> None:
    found = told(log, "--preview")
    assert (found["read"], found["accepted"], found["quarantined"]) == (54, 10, 44)
    counts = [(one["reason"], one["events"], one["users"], one["items"]) for one in found["cleaned"]]
    assert counts == [("clean-repeat", 2, 0, 0), ("clean-burst", 40, 1, 4), ("clean-k-core", 1, 1, 1)]
    assert found["left"] == {"events": 10, "users": 2, "items": 5}
    assert found["cleaned"][2]["examples"] == [{"source": "log.csv", "line": 54, "raw": "once,[i9],1704103200"}]
    assert not list((log / "home").rglob("*.duckdb"))
    made = told(log)
    assert {name: made[name] for name in ("read", "accepted", "quarantined", "reasons")} == {
        name: found[name] for name in ("read", "accepted", "quarantined", "reasons")
    }
    assert made["cleaned"] == {one["reason"]: one["events"] for one in found["cleaned"]}
    assert made["quality"]["cleaned"] == [
        {name: value for name, value in one.items() if name != "examples"} for one in found["cleaned"]
    ]


def test_feedback_that_waits_is_previewed_too(log: Path) -> None:
    told(log)
    (log / "acts.csv").write_text(FEED)
    given("feedback", log / "acts.csv", "--dataset", "log", "--home", log / "home")
    found = told(log, "--preview")
    assert (found["read"], found["left"]["events"]) == (55, 11)
    made = told(log)
    assert (made["read"], made["accepted"]) == (55, 11)


def test_people_read_it_as_a_table_with_the_first_rows(log: Path) -> None:
    said = given("ingest", log / "log.toml", "--preview", "--home", log / "home")
    assert "read 54 rows, 1 of which were refused" in said
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert "repeated at once 2 0 0 51" in lines
    assert "user too fast in a minute 40 1 4 11" in lines
    assert "user or item with too few 1 1 1 10" in lines
    assert "left: 10 events of 2 users and 5 items; nothing was kept" in lines
    assert "user or item with too few: log.csv:54 once,[i9],1704103200" in lines


def test_it_is_of_a_spec_with_rules_and_of_nothing_else(log: Path) -> None:
    for words in (("--guess",), ("--preset", "news"), ("--append",)):
        assert RUNNER.invoke(app, ["ingest", str(log / "log.csv"), *words, "--preview"]).exit_code == 2
    (log / "log.toml").write_text(SPEC.partition("[clean]")[0])
    done = RUNNER.invoke(app, ["ingest", str(log / "log.toml"), "--preview", "--home", str(log / "home")])
    assert isinstance(done.exception, InvalidSpec) and "[clean]" in done.exception.remedy
