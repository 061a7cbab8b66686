"""The SQL page through the frame: run, explain, save, link, delete, look back; and what it should not be fed."""

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from streamlit.testing.v1 import AppTest

from core.ops import roles, saved, statements, trail
from core.ops.builds import record_build
from core.ops.ledger import Ledger
from dashboard import asking, desk, loaders, parts, querying
from dashboard.words import Words, escape
from data.free_sql.child import Limits
from data.free_sql.sandbox import MOST_BYTES
from data.ingest import ingest
from data.phrases import phrase
from data.spec import load_spec
from tests.dashboard.opening import Opened, said

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EN, ZH = Words("en"), Words("zh")
KINDS = "SELECT kind, count(*) AS n FROM events GROUP BY ALL"
BEACON = "**b** <img src=x> ![x](http://203.0.113.9/b.png) [a](javascript:1) `c` $x$ :smile:"


@pytest.fixture
def own(store: Any, tmp_path: Path) -> Path:
    """A store of the test's own: a copy of the small one's home."""
    return Path(shutil.copytree(store.home, tmp_path / "home"))


@pytest.fixture
def opened(browse: Opened, own: Path) -> Opened:
    def open_page(**address: str) -> AppTest:
        test = browse(own, "sql", scored=False, **address)
        assert not test.exception
        return test

    return open_page


def ask(test: AppTest, text: str, *, button: str = "sql-run") -> AppTest:
    test.text_area(key=asking.TEXT).set_value(text)
    test.button(key=button).click().run()
    assert not test.exception, text[:80]
    return test


def written(test: AppTest) -> str:
    return str(test.text_area(key=asking.TEXT).value)


def test_a_statement_gives_its_rows_its_files_and_a_figure(opened: Opened, own: Path) -> None:
    test = ask(
        opened(), "SELECT title, count(*) AS n FROM events JOIN items USING (item_id) GROUP BY ALL ORDER BY n DESC"
    )
    (table,) = [one.value for one in test.dataframe]
    assert list(table.columns) == ["title", "n"] and len(table) == 30
    assert test.main.get("plotly_chart")
    assert [test.selectbox[place].value for place in (0, 1)] == ["title", "n"]
    assert test.segmented_control[-1].value == "bar"
    assert len(test.get("download_button")) == 2
    assert "30 rows" in said(test)
    with Ledger.open(own) as ledger:
        (entry,) = [one for one in trail.trail(ledger) if one.act == "query"]
    assert (entry.detail["outcome"], entry.detail["rows"], entry.actor) == ("done", 30, desk.actor())
    test.selectbox[1].set_value("n").run()
    assert not test.exception
    test.segmented_control[-1].set_value("scatter").run()
    assert not test.exception
    with Ledger.open(own) as ledger:
        assert len([one for one in trail.trail(ledger) if one.act == "query"]) == 1, "a figure asks nothing anew"


def test_a_plan_is_shown_and_nothing_is_run(opened: Opened) -> None:
    test = ask(opened(), "SELECT count(*) FROM events, range(1000000000000)", button="sql-explain")
    assert EN("sql.plan") in said(test)
    assert any("events" in block.value and "─" in block.value for block in test.code)
    assert not test.dataframe


def test_a_long_result_says_that_it_is_cut(opened: Opened) -> None:
    test = ask(opened(), "FROM range(20000)")
    assert "The first 10,000 rows of more" in said(test)
    assert "2,000 of 10,000" not in said(test), "one column makes no figure"
    test = ask(test, "SELECT range AS x, range * 2 AS y FROM range(20000)")
    assert EN("sql.drawn", n=2_000, m=10_000) in said(test)


FAULTS = {  # what is said of it, and what to do
    "DROP TABLE events": (phrase("statement.of_type", type="DROP"), "ask_rows"),
    "SELECT 1; SELECT 2": (phrase("statement.several", n=2), "ask_rows"),
    "": (phrase("statement.none"), "write_statement"),
    "SELECT '" + "x" * 40_000 + "'": (phrase("statement.too_long", n=40_009, most=MOST_BYTES), "shorten_statement"),
    "SELECT gender FROM users": (phrase("statement.failed", message="Binder Error"), "mend_statement"),
    f"SELECT '{BEACON}' FROM \"{BEACON}\"": (phrase("statement.failed", message=""), "mend_statement"),
    "SELECT len(repeat('x', 2000000000))": (phrase("statement.memory", mb=512), "ask_less"),
    "SELECT repeat('x', 20000) || i FROM range(100000) AS r(i)": (phrase("statement.too_large", mb=16), "select_less"),
    "SELECT 170141183460469231731687303715884105727": (phrase("statement.value", error=""), "cast_column"),
}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_gives_nothing_says_why_in_words(opened: Opened, language: str) -> None:
    test = opened(lang=language)
    for text, (fault, remedy) in FAULTS.items():
        ask(test, text)
        (told,) = [one.value for one in test.error]
        assert told.startswith(parts.commands(fault.sentence(language)))
        assert parts.commands(phrase(f"do.{remedy}").said(language)) in told
        assert "Traceback" not in told
        assert harmless(said(test))


def harmless(text: str) -> bool:
    """Whether Markdown makes no image and no link of it."""
    page = MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(text)
    return "<img" not in page and "<a" not in page


def test_what_takes_too_long_is_ended_and_said_so(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    run = statements.sandbox.run
    short = Limits(seconds=0.5)
    monkeypatch.setattr(statements.sandbox, "run", lambda path, text, **_: run(path, text, limits=short))
    test = ask(opened(), "SELECT sum(sin(i)) FROM range(1000000000000) AS r(i)")
    assert parts.commands(phrase("statement.too_slow", seconds=0.5).sentence("en")) in test.error[0].value


def test_where_as_many_run_as_may_the_next_is_told(opened: Opened, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = opened()
    held = [statements._free(own / "snapshots") for _ in range(statements.AT_ONCE)]
    assert None not in held and statements._free(own / "snapshots") is None
    run = statements.run
    monkeypatch.setattr(statements, "run", lambda *args, **options: run(*args, **options, wait_s=0.1))
    test = ask(test, KINDS)
    assert str(phrase("do.in_a_moment")) in test.error[0].value
    for handle in held:
        os.close(int(handle or 0))
    test = ask(test, KINDS)
    assert not test.error and test.dataframe


def test_titles_and_names_of_columns_stay_text(opened: Opened) -> None:
    name = BEACON.replace('"', "")
    test = ask(opened(), f'SELECT title AS "{name}", item_id * 1.5 AS "{name} 2", title AS "{name}" FROM items')
    assert list(test.dataframe[0].value.columns) == [name, f"{name} 2", f"{name}_2"]
    assert harmless(said(test))
    assert all(harmless(box.label) for box in (*test.button, *test.selectbox))


def test_an_example_a_table_and_what_was_asked_go_into_the_editor(opened: Opened) -> None:
    test = opened()
    assert written(test) == querying.FIRST
    test.button(key="sql-rows-items").click().run()
    assert written(test) == "FROM items\nLIMIT 100"
    test.button(key="sql-example-categories").click().run()
    assert "unnest(categories)" in written(test)
    assert not test.dataframe, "nothing runs until it is asked for"
    test = ask(ask(test, KINDS), f"SELECT '{BEACON}' AS b")
    again = [button for button in test.button if str(button.key).startswith("sql-again-")]
    assert [button.label for button in again] == [escape(f"SELECT '{BEACON}' AS b"[:89] + "…"), escape(KINDS)]
    again[1].click().run()
    assert written(test) == KINDS
    assert EN("download.rows", n=1) in said(test)


def test_what_is_saved_opens_by_its_link_and_goes_by_its_maker(opened: Opened, own: Path) -> None:
    test = ask(opened(), KINDS)
    test.text_input(key="sql-name-text").set_value("By *kind*")
    test.button(key="sql-save").click().run()
    assert not test.exception and not test.error
    assert EN.md("sql.saved_as", name="By *kind*") in said(test)
    with Ledger.open(own) as ledger:
        (one,) = saved.saved(ledger, "tiny")
    assert (one.text, one.name) == (KINDS, "By *kind*")
    assert test.query_params["saved"] in (one.saved_id, [one.saved_id])
    other = opened(saved=one.saved_id, lang="zh")
    assert written(other) == KINDS
    ask(other, "SELECT 1 AS x")
    assert "saved" not in other.query_params, "the address says what is in view"
    other.button(key=f"sql-saved-{one.saved_id}").click().run()
    assert written(other) == KINDS and other.query_params["saved"] in (one.saved_id, [one.saved_id])
    other.button(key=f"sql-delete-{one.saved_id}").click().run()
    assert not other.exception
    assert ZH.md("sql.deleted", name="By *kind*") in said(other)
    assert "saved" not in other.query_params
    gone = opened(saved=one.saved_id)
    assert "No saved statement" in gone.error[0].value


def test_a_link_opens_the_data_set_that_its_statement_is_about(
    opened: Opened, own: Path, tmp_path: Path, write_files: Callable[..., None]
) -> None:
    write_files(tmp_path / "other", name="other")
    made = ingest(load_spec(tmp_path / "other" / "spec.toml"), base=tmp_path / "other", home=own, now=NOW)
    with Ledger.open(own) as ledger:
        record_build(ledger, build_id=made.build_id, dataset="other", path=made.path, facts={}, now=NOW)
        one = saved.save(ledger, dataset="other", name="x", text="SELECT 'other'", actor="ann", now=NOW)
    test = opened(saved=one.saved_id, dataset="tiny")
    assert written(test) == "SELECT 'other'"
    assert test.selectbox(key="pick.dataset").value == "other"
    test.selectbox(key="pick.dataset").set_value("tiny").run()
    assert not test.exception and "tiny" in test.title[0].value
    assert "saved" not in test.query_params


def test_names_are_refused_where_they_were_asked_for(opened: Opened, own: Path) -> None:
    with Ledger.open(own) as ledger:
        saved.save(ledger, dataset="tiny", name="taken", text="SELECT 1", actor="ann", now=NOW)
    test = ask(opened(), KINDS)
    for name, told in (("taken", "ann has saved a statement as"), (" ", "is no name for a statement")):
        test.text_input(key="sql-name-text").set_value(name)
        test.button(key="sql-save").click().run()
        assert not test.exception
        assert told in test.error[0].value.replace("\\", "")


def test_only_its_maker_and_admins_may_delete(opened: Opened, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(own) as ledger:
        roles.grant(ledger, "ann", "admin", by="ann", now=NOW)
        for who in ("zoe", "bob"):
            roles.grant(ledger, who, "analyst", by="ann", now=NOW)
        one = saved.save(ledger, dataset="tiny", name="x", text="SELECT 1", actor="zoe", now=NOW)
    for who, may in (("zoe", True), ("bob", False), ("ann", True)):
        monkeypatch.setattr(desk, "actor", lambda who=who: who)
        test = opened()
        assert (f"sql-delete-{one.saved_id}" in [button.key for button in test.button]) == may, who


def test_a_role_that_was_taken_away_meanwhile_runs_nothing(
    opened: Opened, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened()
    with Ledger.open(own) as ledger:
        roles.grant(ledger, "ann", "admin", by="ann", now=NOW)
    test.text_area(key=asking.TEXT).set_value(KINDS)
    test.button(key="sql-run").click().run()
    assert not test.exception and not test.dataframe
    assert "may not explore" in test.error[0].value


def test_a_result_that_had_to_go_says_so(opened: Opened) -> None:
    test = ask(opened(), KINDS)
    loaders.results()._held.clear()
    test.run()
    assert EN("sql.gone") in said(test)


def test_the_text_stays_when_the_page_is_left_and_the_result_belongs_to_its_build(opened: Opened) -> None:
    test = ask(opened(), KINDS)
    test.switch_page("views/pulse.py").run()
    test.switch_page("views/sql.py").run()
    assert written(test) == KINDS and test.dataframe
