"""Explore: what an address asks, what the page says of it, and that a stranger's link can do no harm."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from core.ops import saved
from core.ops.builds import record_build
from core.ops.ledger import Ledger
from dashboard import charts, exploring, findings
from dashboard.charts import Look
from dashboard.exploring import Choices, Question
from dashboard.words import Words, escape
from data.explore import EVERYONE, Cohort
from data.ingest import ingest
from data.spec import parse_spec
from tests.dashboard.opening import Opened, said

EN = Words("en")
NOW = datetime(2025, 1, 1, tzinfo=UTC)
SPEC = (
    '[dataset]\nname = "log"\n[events]\nfiles = "events.csv"\nuser = "user"\nitem = "item"\nts = "ts"\nkind = "kind"\n'
)
OFFERED = Choices(("rate", "view"), ("Drama", "Crime"), {"gender": ("F", "M")})
ASKED = Question(
    kinds=("rate",),
    categories=("Drama",),
    least=3,
    since=date(2023, 3, 1),
    until=date(2023, 3, 31),
    joined_since=date(2023, 1, 1),
    groups=(("gender", ("F",)),),
    segments=("loyal", "lost"),
    steps=("view", "rate"),
)


@pytest.fixture
def opened(browse: Opened, store: Any) -> Opened:
    return partial(browse, store.home, "explore")


def test_a_question_is_the_same_after_its_address() -> None:
    assert exploring.of_text(exploring.as_text(ASKED), OFFERED) == ASKED
    assert exploring.as_text(Question()) is None
    assert exploring.of_text(None, OFFERED) == Question()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        '{"kinds": "rate"}',
        '{"kinds": [["rate"]], "categories": {"Drama": 1}, "least": -4, "since": "soon", "groups": [["gender"]]}',
        '{"groups": [["faith", ["a"]], ["gender", "F"], "gender"], "segments": ["kings"], "steps": [null]}',
        '{"until": "9999-12-31", "joined_since": 7}',
        "[" * 100_000,
    ],
)
def test_what_cannot_be_asked_is_left_out(text: str) -> None:
    assert exploring.of_text(text, OFFERED) == Question()


def test_days_are_the_readers_and_the_last_one_is_within() -> None:
    cohort = ASKED.cohort("Asia/Shanghai")
    assert (cohort.since, cohort.before) == (
        datetime(2023, 2, 28, 16, tzinfo=UTC),
        datetime(2023, 3, 31, 16, tzinfo=UTC),
    )
    assert cohort.joined_since == datetime(2022, 12, 31, 16, tzinfo=UTC)
    assert Question().cohort("UTC") == EVERYONE == Cohort()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_whom_is_told_in_words_and_nothing_of_it_is_markup(language: str) -> None:
    twice = '{"groups": [["gender", ["F"]], ["gender", ["M", "F"]]]}'
    assert exploring.every_part_of(twice).groups == (("gender", ("F", "M")),), "one attribute is asked for once"
    hostile = Question(kinds=("![x](http://203.0.113.9/b.png)",), categories=("**bold**",), groups=(("a_b", ("<i>",)),))
    told = exploring.who(hostile, Words(language))
    assert "![" not in told and "**" not in told and "<i>" not in told
    assert exploring.who(ASKED, Words(language)).count(Words(language)("explore.and")) == 5


def test_findings_by_hand() -> None:
    funnel = pd.DataFrame({"kind": ["view", "cart", "buy"], "users": [100, 80, 20]})
    assert findings.largest_loss(funnel) == ("cart", "buy", 0.75)
    assert findings.largest_loss(funnel[:1]) is None
    assert findings.largest_loss(funnel.assign(users=0)) is None
    assert findings.wilson(0, 0) == (0.0, 1.0)
    low, high = findings.wilson(45, 100)
    assert (round(low, 4), round(high, 4)) == (0.3561, 0.5476)  # Brown, Cai and DasGupta, 2001
    came = pd.DataFrame({"age": [0, 1, 0, 1, 0], "users": [9, 3, 5, 1, 4], "size": [9, 9, 5, 5, 4]})
    assert findings.returned(came) == (4, 14)
    assert findings.returned(came[came["age"] == 0]) is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_figures_of_little_or_nothing_can_be_drawn(scheme: Any, language: str) -> None:
    look = Look(scheme, Words(language))
    steps = pd.DataFrame(
        {"step": [1], "kind": ["<b>k</b>"], "users": [0], "share": [0.0], "low": [0.0], "high": [1.0], "n": [0]}
    )
    cells = pd.DataFrame({"started": [date(2023, 1, 2)], "age": [0], "users": [3], "size": [3], "n": [3]})
    moves = pd.DataFrame({"category": [None, "<b>"], "following": ["<b>", None], "moves": [3, 1]})
    habits = pd.DataFrame({"segment": ["new"], "users": [3], "events": [3]})
    drawn = [
        charts.funnel(steps, title="t", look=look),
        charts.funnel(steps[:0], title="t", look=look),
        charts.retention(cells, title="t", look=look, tz="UTC", grain="week"),
        charts.retention(cells[:0], title="t", look=look, tz="UTC", grain="month"),
        charts.transitions(moves, title="t", look=look),
        charts.transitions(moves[:0], title="t", look=look),
        charts.segments(habits, title="t", look=look),
        charts.segments(habits[:0], title="t", look=look),
    ]
    assert not any("<b>" in figure.to_json() for figure in drawn)


def test_the_page_tells_whom_it_looks_at_and_goes_back_to_everyone(opened: Opened) -> None:
    test = opened(whom=json.dumps({"kinds": ["rate"], "least": 10_000}))
    assert not test.exception and not test.error
    said = " ".join(block.value for block in test.markdown)
    assert "at least 10,000 events" in said
    assert EN("explore.nobody") in [block.value for block in test.caption]
    next(button for button in test.button if button.label == EN("explore.reset")).click().run()
    assert not test.exception
    assert "whom" not in test.query_params
    assert any("users with an event" in block.value for block in test.markdown)


def test_the_form_asks_and_the_address_holds_it(opened: Opened) -> None:
    test = opened()
    assert not test.exception and not test.error
    next(box for box in test.multiselect if box.label == EN("explore.kinds")).set_value(["rate"])
    next(box for box in test.number_input if box.label == EN("explore.least")).set_value(5)
    next(button for button in test.button if button.label == EN("explore.show")).click().run()
    assert not test.exception and not test.error
    held = test.query_params["whom"]
    assert json.loads(held if isinstance(held, str) else held[0]) == {"kinds": ["rate"], "least": 5}
    assert "at least 5 events" in " ".join(block.value for block in test.markdown)


# ---- cohorts with a name


@pytest.fixture
def fresh(browse: Opened, new_store: Callable[..., Any]) -> tuple[Opened, Any]:
    """The page on a store of its own, to which something is saved."""
    store = new_store()
    return partial(browse, store.home, "explore"), store


def texts(test: AppTest) -> str:
    return "\n".join(str(e.value) for kind in (test.markdown, test.caption, test.error) for e in kind)


def save_as(test: AppTest, name: str) -> AppTest:
    test.text_input(key="cohort-name-text").input(name)
    return test.button(key="cohort-save").click().run()


def test_a_cohort_is_saved_listed_opened_by_its_link_and_deleted(fresh: tuple[Opened, Any]) -> None:
    opened, _ = fresh
    asked = {"kinds": ["rate"], "least": 8, "steps": ["rate"]}
    test = save_as(opened(whom=json.dumps(asked)), "Busy [people](x)")
    assert not test.exception and not test.error
    link = test.query_params["cohort"]
    cohort_id = link if isinstance(link, str) else link[0]
    assert cohort_id.startswith("co-")
    assert escape("Busy [people](x)") in texts(test)
    elsewhere = opened(cohort=cohort_id, whom=json.dumps({"least": 2, "steps": ["rate"]}))
    assert "at least 8 events" in texts(elsewhere)
    assert elsewhere.query_params["cohort"] in (cohort_id, [cohort_id])
    assert exploring.every_part_of(_one(elsewhere.query_params["whom"])).steps == ("rate",)  # the reader's own stay
    elsewhere.button(key="explore-reset").click().run()
    assert "cohort" not in elsewhere.query_params
    assert "users with an event" in texts(elsewhere)
    elsewhere.button(key=f"cohort-{cohort_id}").click().run()
    assert "at least 8 events" in texts(elsewhere)
    elsewhere.button(key=f"cohort-delete-{cohort_id}").click().run()
    assert not elsewhere.exception
    assert EN.md("sql.deleted", name="Busy [people](x)") in texts(elsewhere)
    gone = opened(cohort=cohort_id)
    assert "No saved cohort" in gone.error[0].value
    assert "cohort" not in gone.query_params


def test_who_asks_for_something_else_leaves_the_cohort(fresh: tuple[Opened, Any]) -> None:
    opened, _ = fresh
    test = save_as(opened(whom=json.dumps({"least": 8})), "busy")
    assert "cohort" in test.query_params
    next(box for box in test.number_input if box.label == EN("explore.least")).set_value(9)
    next(button for button in test.button if button.label == EN("explore.show")).click().run()
    assert "cohort" not in test.query_params
    assert "at least 9 events" in texts(test)
    assert "no name for a cohort" in save_as(test, " ").error[0].value


def test_of_a_cohort_that_this_build_has_not_all_of_that_is_said(fresh: tuple[Opened, Any]) -> None:
    opened, store = fresh
    text = json.dumps({"categories": ["Drama", "Opera"], "least": 2})
    with Ledger.open(store.home) as ledger:
        told = {"dataset": "tiny", "actor": "somebody-else", "now": datetime.now(UTC), "on": saved.COHORTS}
        one = saved.save(ledger, name="opera", text=text, **told)
    test = opened(cohort=one.saved_id)
    assert not test.exception
    assert [box.value for box in test.warning] == [EN("cohort.partly")]
    assert "Drama" in texts(test)


def test_everyone_is_no_cohort_to_save(fresh: tuple[Opened, Any]) -> None:
    opened, _ = fresh
    assert "cohort-save" not in [button.key for button in opened().button]
    assert "cohort-save" not in [button.key for button in opened(whom=json.dumps({"steps": ["rate"]})).button]


def _one(value: str | list[str]) -> str:
    return value if isinstance(value, str) else value[0]


@pytest.mark.parametrize(("kinds", "drawn"), [(("view",), False), (("view", "buy"), True)])
def test_a_funnel_is_drawn_of_two_kinds_and_more(
    browse: Opened, tmp_path: Path, kinds: tuple[str, ...], drawn: bool
) -> None:
    rows = [f"u{n % 9},i{n % 5},{1704103200 + 3600 * n},{kinds[n % 7 % len(kinds)]}" for n in range(300)]
    (tmp_path / "events.csv").write_text("\n".join(["user,item,ts,kind", *rows]) + "\n")
    made = ingest(parse_spec(SPEC), base=tmp_path, home=tmp_path / "home", now=NOW)
    with Ledger.open(tmp_path / "home") as ledger:
        facts = made.facts.as_dict()
        record_build(ledger, build_id=made.build_id, dataset="log", path=made.path, facts=facts, now=NOW)
    test = browse(tmp_path / "home", "explore", scored=False)
    assert not test.exception
    assert ("funnel" in [one.key for one in test.get("plotly_chart")]) is drawn
    assert ("##### 100% came to “viewed”" in said(test)) is not drawn
