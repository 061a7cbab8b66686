"""Statements of several people over one small build: what each may see, how many run at once, and what is noted."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from core.ops import roles, saved, statements, trail
from core.ops.builds import BuildRow, current_build, record_build
from core.ops.ledger import Ledger
from core.ops.prune import prune
from core.ops.schema import statements as table
from data.errors import (
    Conflict,
    DamagedArtefact,
    InputError,
    LodestarError,
    NotAllowed,
    QueryBusy,
    QueryFailed,
    QueryRefused,
    QueryTimeout,
    UnknownBuild,
    UnknownCohort,
    UnknownStatement,
)
from data.free_sql.child import Limits
from data.ingest import ingest
from data.spec import parse_spec

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPEC = """
sensitive = ["faith"]
[dataset]
name = "shop"
[events]
files = "events.csv"
user = "who"
item = "what"
ts = "at"
[users]
files = "users.csv"
key = "who"
attributes = ["faith"]
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "home") as ledger:
        roles.grant(ledger, "root", "admin", by="root", now=NOW)
        roles.grant(ledger, "ann", "analyst", by="root", now=NOW)
        roles.grant(ledger, "bob", "analyst", by="root", now=NOW)
        yield ledger


@pytest.fixture
def build(ledger: Ledger, tmp_path: Path) -> BuildRow:
    return made_build(ledger, tmp_path)


def made_build(ledger: Ledger, base: Path, *, users: int = 3) -> BuildRow:
    events = [f"u{n},i{n % 2},2024-01-0{1 + n}T10:00:00Z" for n in range(users)]
    (base / "events.csv").write_text("who,what,at\n" + "\n".join(events) + "\n")
    (base / "users.csv").write_text("who,faith\n" + "\n".join(f"u{n},jain" for n in range(users)) + "\n")
    made = ingest(parse_spec(SPEC), base=base, home=base / "home", now=NOW, threads=1)
    record_build(ledger, build_id=made.build_id, dataset="shop", path=made.path, facts={}, now=NOW)
    return current_build(ledger, "shop")


def ask(ledger: Ledger, build: BuildRow, text: str, *, actor: str = "ann", **options: Any) -> list[dict[str, Any]]:
    ran = statements.run(ledger, home_of(ledger), build, text, actor=actor, **{"now": NOW, **options})
    return list(ran.answer.table.to_pylist())


def home_of(ledger: Ledger) -> Path:
    assert ledger.home is not None
    return ledger.home


def snapshots(ledger: Ledger) -> list[str]:
    return sorted(path.name for path in (home_of(ledger) / "snapshots").glob("*.duckdb"))


# ---- who sees what, and for how long


def test_a_snapshot_is_made_once_a_build_and_role(ledger: Ledger, build: BuildRow) -> None:
    assert ask(ledger, build, "SELECT count(*) AS n FROM events") == [{"n": 3}]
    (first,) = snapshots(ledger)
    stamp = (home_of(ledger) / "snapshots" / first).stat().st_mtime_ns
    ask(ledger, build, "SELECT 1", actor="bob")
    assert snapshots(ledger) == [first]
    assert (home_of(ledger) / "snapshots" / first).stat().st_mtime_ns == stamp
    ask(ledger, build, "SELECT 1", actor="root")
    assert len(snapshots(ledger)) == 2
    with pytest.raises(QueryFailed, match="faith"):
        ask(ledger, build, "SELECT faith FROM users", actor="root")


def test_many_who_begin_together_make_one_snapshot(ledger: Ledger, build: BuildRow) -> None:
    with ThreadPoolExecutor(6) as pool:
        made = set(pool.map(lambda _: statements.snapshot_of(ledger, home_of(ledger), build, actor="ann"), range(6)))
    assert [path.name for path in made] == snapshots(ledger)
    assert [path.name for path in (home_of(ledger) / "snapshots").iterdir() if path.name.startswith(".tmp")] == []


def test_who_may_not_explore_sees_nothing_and_is_noted(ledger: Ledger, build: BuildRow) -> None:
    with pytest.raises(NotAllowed, match="roles grant eve analyst"):
        ask(ledger, build, "FROM users", actor="eve")
    with pytest.raises(NotAllowed):
        statements.explain(ledger, home_of(ledger), build, "FROM users", actor="eve", now=NOW)
    assert snapshots(ledger) == []
    assert [entry.detail["outcome"] for entry in queries(ledger)] == ["forbidden", "forbidden"]


def test_no_snapshot_survives_an_erasure_or_a_prune(ledger: Ledger, build: BuildRow, tmp_path: Path) -> None:
    """What an erasure leaves is a build without the person; with the old one goes what was shown of it."""
    assert {"key": "u2"} in ask(ledger, build, "SELECT key FROM users")
    without = made_build(ledger, tmp_path, users=2)
    assert {"key": "u2"} not in ask(ledger, without, "SELECT key FROM users")
    assert len(snapshots(ledger)) == 2
    gone = {one.kind for one in prune(ledger, home_of(ledger), now=NOW)}
    assert gone == {"build", "snapshot"}
    assert [name.startswith(without.build_id) for name in snapshots(ledger)] == [True]
    with pytest.raises(UnknownBuild):
        ask(ledger, build, "SELECT key FROM users")
    assert len(snapshots(ledger)) == 1


def test_a_snapshot_of_a_build_that_is_pruned_while_it_is_made_goes_at_once(
    ledger: Ledger, build: BuildRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_build(ledger, tmp_path, users=2)
    make = statements.make_snapshot

    def made_after_a_prune(*args: Any, **options: Any) -> Path:
        prune(ledger, home_of(ledger), now=NOW)
        return make(*args, **options)

    def published_after_a_prune(*args: Any, **options: Any) -> Path:
        made = make(*args, **options)
        aside = made.rename(tmp_path / "unpublished")
        prune(ledger, home_of(ledger), now=NOW)
        return aside.rename(made)

    monkeypatch.setattr(statements, "make_snapshot", published_after_a_prune)
    with pytest.raises(UnknownBuild):
        ask(ledger, build, "SELECT key FROM users")
    assert snapshots(ledger) == []
    third = made_build(ledger, tmp_path, users=3)
    made_build(ledger, tmp_path, users=2)
    monkeypatch.setattr(statements, "make_snapshot", made_after_a_prune)
    with pytest.raises(UnknownBuild, match="was removed"):
        ask(ledger, third, "SELECT key FROM users")
    assert snapshots(ledger) == []


# ---- what is noted


def queries(ledger: Ledger) -> list[trail.Entry]:
    """Entries about statements, oldest first."""
    return [entry for entry in reversed(trail.trail(ledger)) if entry.act == statements.ACT]


def test_every_statement_leaves_one_entry_with_what_came_of_it(ledger: Ledger, build: BuildRow) -> None:
    ask(ledger, build, "FROM range(20)", limits=Limits(rows=5))
    statements.explain(ledger, home_of(ledger), build, "FROM events", actor="ann", now=NOW)
    for text, error in {
        "DROP TABLE events": QueryRefused,
        "SELECT nothing FROM events": QueryFailed,
        "": QueryRefused,
        "SELECT '\udcff'": QueryRefused,
        "SELECT 1 -- \x00": QueryRefused,
        "SELECT '" + "語" * 40_000 + "'": QueryRefused,
    }.items():
        with pytest.raises(error):
            ask(ledger, build, text)
    with pytest.raises(QueryTimeout):
        ask(ledger, build, "SELECT sum(sin(i)) FROM range(1000000000000) AS r(i)", limits=Limits(seconds=0.5))
    entries, told = queries(ledger), statements.texts(ledger, trail.trail(ledger))
    assert [entry.detail["outcome"] for entry in entries] == ["done"] * 2 + [
        "refused",
        "failed",
        "refused",
        "refused",
        "refused",
        "refused",
        "ended",
    ]
    assert {(entry.actor, entry.subject, entry.detail["build_id"]) for entry in entries} == {
        ("ann", "shop", build.build_id)
    }
    assert (entries[0].detail["rows"], entries[0].detail["cut"], entries[1].detail["explained"]) == (5, True, True)
    assert all(0 <= entry.detail["seconds"] < 20 for entry in entries)
    assert [told[entry.entry] for entry in entries[:4]] == [
        "FROM range(20)",
        "FROM events",
        "DROP TABLE events",
        "SELECT nothing FROM events",
    ]
    assert told[entries[5].entry] == "SELECT '?'"
    assert len(told[entries[7].entry].encode()) <= statements.MOST_BYTES
    assert trail.broken_at(ledger) is None


def test_the_history_is_ones_own_and_newest_first(ledger: Ledger, build: BuildRow) -> None:
    for minute, text in enumerate(("SELECT 1", "SELECT 2", "SELEC 3")):
        try:
            ask(ledger, build, text, now=NOW + timedelta(minutes=minute))
        except QueryFailed:
            assert text == "SELEC 3"
    ask(ledger, build, "SELECT 'bob'", actor="bob")
    mine = statements.history(ledger, dataset="shop", actor="ann")
    assert [(one.text, one.outcome, one.rows) for one in mine] == [
        ("SELEC 3", "failed", None),
        ("SELECT 2", "done", 1),
        ("SELECT 1", "done", 1),
    ]
    assert statements.history(ledger, dataset="other", actor="ann") == []
    assert len(statements.history(ledger, dataset="shop", actor="ann", limit=1)) == 1


def test_a_text_that_was_changed_is_found_and_one_that_was_forgotten_is_gone(ledger: Ledger, build: BuildRow) -> None:
    ask(ledger, build, "SELECT * FROM users WHERE key = 'u1'")
    ask(ledger, build, "SELECT * FROM users WHERE key = 'u10'")
    for name, text in {"one": "FROM users WHERE key = 'u1'", "ten": "SELECT 'u10'"}.items():
        saved.save(ledger, dataset="shop", name=name, text=text, actor="ann", now=NOW)
    with ledger.write() as connection:
        assert statements.forget(connection, dataset="shop", names=["u1"]) == ["one"]
        assert statements.forget(connection, dataset="shop", names=[]) == []
    assert [one.text for one in statements.history(ledger, dataset="shop", actor="ann")] == [
        "SELECT * FROM users WHERE key = 'u10'"
    ]
    assert [one.name for one in saved.saved(ledger, "shop")] == ["ten"]
    assert list(statements.texts(ledger, trail.trail(ledger)).values()) == ["SELECT * FROM users WHERE key = 'u10'"]
    assert trail.broken_at(ledger) is None, "the chain holds without the text"
    with ledger.write() as connection:
        connection.execute(sa.update(table).where(table.c.text.is_not(None)).values(text="SELECT 'innocent'"))
    with pytest.raises(DamagedArtefact, match="was changed after"):
        statements.texts(ledger, trail.trail(ledger))


# ---- how many at once


def test_no_more_run_at_once_than_may_and_who_waits_too_long_is_told(
    ledger: Ledger, build: BuildRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(ledger, build, "SELECT 1")
    running, most, lock, may_end = 0, 0, threading.Lock(), threading.Event()
    run = statements.sandbox.run

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        may_end.wait(20)
        with lock:
            running -= 1
        return run(*args, **options)

    monkeypatch.setattr(statements.sandbox, "run", counted)

    def tried(number: int) -> str:
        try:
            return str(ask(ledger, build, f"SELECT {number} AS n", wait_s=30.0)[0]["n"])
        except LodestarError as error:
            return type(error).__name__

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(tried, number) for number in range(7)]
        until(lambda: running == statements.AT_ONCE)
        with pytest.raises(QueryBusy, match="2 statements were running, and none ended"):
            ask(ledger, build, "SELECT 'late'", actor="bob", wait_s=0.2)
        may_end.set()
        assert sorted(one.result() for one in asked) == [str(number) for number in range(7)]
    assert most == statements.AT_ONCE
    assert [one.detail["outcome"] for one in queries(ledger) if one.actor == "bob"] == ["busy"]
    assert ask(ledger, build, "SELECT 8 AS n", wait_s=0.0) == [{"n": 8}], "every place is free again"


def until(true: Any, *, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# ---- statements with a name


def test_saved_statements_are_everybodys_and_go_by_their_maker_or_an_admin(ledger: Ledger) -> None:
    first = saved.save(ledger, dataset="shop", name="  By  kind ", text="SELECT 1", actor="ann", now=NOW)
    assert (first.name, saved.saved_as(ledger, first.saved_id)) == ("By kind", first)
    with pytest.raises(Conflict, match="ann has saved a statement as 'By kind'"):
        saved.save(ledger, dataset="shop", name="By kind", text="SELECT 2", actor="bob", now=NOW)
    again = saved.save(ledger, dataset="shop", name="By kind", text="SELECT 3", actor="ann", now=NOW)
    assert again.saved_id == first.saved_id and saved.saved_as(ledger, first.saved_id).text == "SELECT 3"
    elsewhere = saved.save(ledger, dataset="other", name="By kind", text="SELECT 4", actor="bob", now=NOW)
    assert [one.text for one in saved.saved(ledger, "shop")] == ["SELECT 3"]
    with pytest.raises(NotAllowed, match="ann has saved 'By kind', not bob"):
        saved.delete(ledger, first.saved_id, actor="bob", now=NOW)
    with pytest.raises(NotAllowed):
        saved.save(ledger, dataset="shop", name="mine", text="SELECT 1", actor="eve", now=NOW)
    saved.delete(ledger, first.saved_id, actor="ann", now=NOW)
    saved.delete(ledger, elsewhere.saved_id, actor="root", now=NOW)
    with pytest.raises(UnknownStatement):
        saved.delete(ledger, first.saved_id, actor="ann", now=NOW)
    acts = [(entry.actor, entry.act) for entry in trail.trail(ledger) if "statement" in entry.act]
    assert acts[:2] == [("root", "delete statement"), ("ann", "delete statement")] and len(acts) == 5


@pytest.mark.parametrize("name", ["", "   ", "a\x00b", "x" * 81, "\u202e"])
def test_what_is_no_name_is_refused(ledger: Ledger, name: str) -> None:
    with pytest.raises(InputError, match="no name for a statement"):
        saved.save(ledger, dataset="shop", name=name, text="SELECT 1", actor="ann", now=NOW)


@pytest.mark.parametrize("text", ["", " \n", "SELECT '\x00'", "SELECT '\udcff'", "x" * 40_000])
def test_what_is_no_statement_is_not_saved(ledger: Ledger, text: str) -> None:
    with pytest.raises(InputError, match="no statement to save"):
        saved.save(ledger, dataset="shop", name="x", text=text, actor="ann", now=NOW)


def test_cohorts_lie_on_a_shelf_of_their_own_with_the_same_rights(ledger: Ledger) -> None:
    on = saved.COHORTS
    statement = saved.save(ledger, dataset="shop", name="loyal", text="SELECT 1", actor="ann", now=NOW)
    cohort = saved.save(ledger, dataset="shop", name="loyal", text='{"least":3}', actor="bob", now=NOW, on=on)
    assert saved.saved(ledger, "shop", on=on) == [cohort] and saved.saved(ledger, "shop") == [statement]
    assert saved.saved_as(ledger, cohort.saved_id, on=on) == cohort
    with pytest.raises(UnknownStatement, match="no saved statement"):
        saved.saved_as(ledger, cohort.saved_id)
    with pytest.raises(UnknownCohort, match="no saved cohort"):
        saved.delete(ledger, statement.saved_id, actor="ann", now=NOW, on=on)
    with pytest.raises(Conflict, match="bob has saved a cohort as 'loyal'"):
        saved.save(ledger, dataset="shop", name="loyal", text='{"least":4}', actor="ann", now=NOW, on=on)
    with pytest.raises(NotAllowed, match="may not explore"):
        saved.save(ledger, dataset="shop", name="mine", text='{"least":4}', actor="eve", now=NOW, on=on)
    with pytest.raises(NotAllowed, match="bob has saved 'loyal', not ann"):
        saved.delete(ledger, cohort.saved_id, actor="ann", now=NOW, on=on)
    saved.delete(ledger, cohort.saved_id, actor="root", now=NOW, on=on)
    assert saved.saved(ledger, "shop", on=on) == [] and saved.saved(ledger, "shop") == [statement]
    acts = [(entry.actor, entry.act, entry.subject) for entry in trail.trail(ledger) if "cohort" in entry.act]
    assert acts == [("root", "delete cohort", "shop"), ("bob", "save cohort", "shop")]


def test_a_cohort_that_is_called_after_somebody_goes_with_them(ledger: Ledger) -> None:
    for name in ("friends of u1", "friends of u12"):
        saved.save(ledger, dataset="shop", name=name, text='{"least":1}', actor="ann", now=NOW, on=saved.COHORTS)
    with ledger.write() as connection:
        assert statements.forget(connection, dataset="shop", names=["u1"]) == ["friends of u1"]
    assert [one.name for one in saved.saved(ledger, "shop", on=saved.COHORTS)] == ["friends of u12"]
