"""What Pulse says of who comes and goes: of whole weeks alone, and plainly where there are too few."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.ops.builds import record_build
from core.ops.ledger import Ledger
from dashboard.words import Words, escape
from data.ingest import ingest
from data.spec import parse_spec
from tests.dashboard.opening import Opened, said

NOW = datetime(2025, 6, 1, tzinfo=UTC)
MONDAY = datetime(2025, 1, 6, 12, tzinfo=UTC)
SPEC = '[dataset]\nname = "log"\n[events]\nfiles = "events.csv"\nuser = "user"\nitem = "item"\nts = "ts"\n'


def opened(  # what a test says of its log
    browse: Opened,
    folder: Path,
    visits: list[tuple[str, int]],
    *,
    zone: str = "UTC",
    more: str = "",
    page: str = "pulse",
    **address: str,
) -> AppTest:
    """Pulse of people's visits, by the day since a Monday."""
    rows = [f"{user},i{day % 3},{(MONDAY + timedelta(days=day)).isoformat()}" for user, day in visits]
    (folder / "events.csv").write_text("\n".join(["user,item,ts", *rows]) + "\n")
    made = ingest(parse_spec(SPEC + more), base=folder, home=folder / "home", now=NOW)
    with Ledger.open(folder / "home") as ledger:
        facts = made.facts.as_dict()
        record_build(ledger, build_id=made.build_id, dataset="log", path=made.path, facts=facts, now=NOW)
    return browse(folder / "home", page, scored=False, tz=zone, **address)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_latest_whole_week_is_told(browse: Opened, tmp_path: Path, language: str) -> None:
    visits = [*((f"a{n}", day) for n in range(4) for day in (0, 6)), *((f"b{n}", 2) for n in range(3))]
    visits += [*((f"a{n}", 8) for n in range(3)), ("c0", 9), ("c1", 10)]
    visits += [("a0", day) for day in range(14, 21)] + [("b0", 15), ("d0", 20)]
    visits += [("e0", 22)]  # a week that has begun
    test = opened(browse, tmp_path, visits, lang=language)
    t = Words(language)
    assert not test.exception
    period = (MONDAY + timedelta(days=14)).date()
    assert escape(t("growth.title_week", period=period, gained=2, lost=4, before=5)) in said(test)
    assert escape(t("growth.often_week", period=period, share=(7 + 2) / 7 / 3, users=3)) in said(test)
    assert t("growth.method_week", n=3) in said(test)


def test_too_short_a_log_says_so(browse: Opened, tmp_path: Path) -> None:
    test = opened(browse, tmp_path, [("a", 0), ("b", 3), ("a", 8)])
    assert not test.exception
    assert Words("en")("growth.few_week", n=1, least=2) in said(test)


def test_a_log_whose_whole_weeks_are_all_quiet_is_no_error(browse: Opened, tmp_path: Path) -> None:
    test = opened(browse, tmp_path, [("a", 2), ("b", 2), ("a", 44)])
    assert not test.exception
    assert [chart.key for chart in test.get("plotly_chart")] == ["activity", "growth", "tail", "hours"]


def test_days_are_those_of_the_clocks_that_are_shown(browse: Opened, tmp_path: Path) -> None:
    visits = [("a", 0), ("b", 1), ("a", 2)]  # at noon in UTC, which is the next day at the end of the world
    test = opened(browse, tmp_path, visits, zone="Pacific/Kiritimati")
    first, last = (date(2025, 1, 7 + day) for day in (0, 2))
    assert Words("en").md("pulse.context", n=3, first=first, last=last, tz="Pacific/Kiritimati") in said(test)


def test_users_without_an_event_are_not_among_those_that_events_are_shared_by(browse: Opened, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("user,plan\n" + "".join(f"{user},x\n" for user in "abcdefgh"))
    more = '[users]\nfiles = "users.csv"\nkey = "user"\n'
    test = opened(browse, tmp_path, [("a", day) for day in range(6)] + [("b", 3)], more=more)
    t = Words("en")
    assert escape(t("pulse.per_user", n=3.5)) in said(test)
    assert escape(t("pulse.active", n=2)) in said(test)
