"""What Pulse says of days that stand out: planted ones in their own words, and plainly where none is."""

import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from streamlit.testing.v1 import AppTest

from core.ops import roles
from core.ops.builds import record_build
from core.ops.ledger import Ledger
from core.trust.unusual import LEAST_DAYS, Unusual
from dashboard import unusual
from dashboard.words import Words
from data.ingest import ingest
from data.spec import parse_spec
from tests.dashboard.opening import Opened, said

NOW = datetime(2025, 1, 1, tzinfo=UTC)
EN, ZH = Words("en"), Words("zh")
SPEC = '[dataset]\nname = "log"\n[events]\nfiles = "events.csv"\nuser = "user"\nitem = "item"\nts = "ts"\n'


def write_log(folder: Path, counts: list[int]) -> None:
    """So many events a day from the first of January 2024, a minute apart from ten past midnight on."""
    begun = datetime(2024, 1, 1, 0, 10, tzinfo=UTC)
    rows = [
        f"u{n % 9},i{n % 5},{(begun + timedelta(days=day, minutes=n)).isoformat()}"
        for day, count in enumerate(counts)
        for n in range(count)
    ]
    (folder / "events.csv").write_text("\n".join(["user,item,ts", *rows]) + "\n")


@pytest.fixture
def shown(browse: Opened, tmp_path: Path) -> Opened:
    """Pulse of a log with so many events a day."""

    def open_page(counts: list[int] | None, *, tz: str = "UTC", **address: str) -> AppTest:
        if counts is not None:
            write_log(tmp_path, counts)
            made = ingest(parse_spec(SPEC), base=tmp_path, home=tmp_path / "home", now=NOW)
            with Ledger.open(tmp_path / "home") as ledger:
                facts = made.facts.as_dict()
                record_build(ledger, build_id=made.build_id, dataset="log", path=made.path, facts=facts, now=NOW)
        return browse(tmp_path / "home", "pulse", scored=False, tz=tz, **address)

    return open_page


def planted() -> list[int]:
    counts = [100 + day * 37 % 11 for day in range(90)]
    counts[71], counts[50], counts[80] = 240, 0, 30
    counts[20:25] = [0] * 5
    return counts


def test_planted_days_are_told_with_their_evidence_and_lead_to_who_did_it(shown: Opened, tmp_path: Path) -> None:
    test = shown(planted())
    told = said(test)
    assert not test.exception
    assert "On **20 Feb 2024** there was **no event at all**, where 10" in told
    assert re.search(r"On \*\*12 Mar 2024\*\* there were \*\*240 events\*\*, 2\.[23]\d? times the 10\d usual", told)
    assert "(n\u00a0=\u00a012 Tuesdays, robust z\u00a0=\u00a0" in told and "9 people made them." in told
    assert EN("unusual.method", n=88, tz="UTC") in told
    asked = [parse_qs(one.proto.query_string) for one in test.get("page_link")]
    assert {"since": "2024-03-12", "until": "2024-03-12"} in [json.loads(one["whom"][0]) for one in asked]
    assert test.expander[0].label == EN("unusual.all", n=len(test.dataframe[0].value))
    rows = test.dataframe[0].value
    assert {date(2024, 1, 21), date(2024, 2, 20), date(2024, 3, 12), date(2024, 3, 21)} <= set(rows["first"])
    chinese = said(shown(None, lang="zh"))
    assert "**2024年2月20日完全没有行为**" in chinese and "n\u00a0=\u00a012 个周二" in chinese


def test_days_are_those_of_the_display_zone(shown: Opened) -> None:
    """Ten past midnight in UTC is the evening before in New York."""
    counts = [80] * 60
    counts[40] = 10  # all before two in the night
    assert "On **9 Feb 2024** there were only **10 events**" not in said(shown(counts))
    assert "On **10 Feb 2024** there were only **10 events**" in said(shown(None))
    assert "On **9 Feb 2024** there were only **10 events**" in said(shown(None, tz="America/New_York"))


def test_where_no_day_stands_out_that_is_said(shown: Opened) -> None:
    assert EN("unusual.nothing", n=58) in said(shown([50] * 60))


def test_few_days_do_not_tell_what_is_usual(shown: Opened) -> None:
    assert EN("unusual.few", n=3, least=LEAST_DAYS) in said(shown([5, 500, 5]))
    assert EN("unusual.few", n=1, least=LEAST_DAYS) in said(shown([5]))
    assert ZH("unusual.few", n=1, least=LEAST_DAYS) in said(shown(None, lang="zh"))


def test_who_may_not_explore_is_not_sent_there(shown: Opened, tmp_path: Path) -> None:
    assert shown(planted()).get("page_link")
    with Ledger.open(tmp_path / "home") as ledger:
        roles.grant(ledger, "somebody-else", "admin", by="somebody-else", now=NOW)
    test = shown(None)
    assert "240 events" in said(test)
    assert not test.get("page_link")


@pytest.mark.parametrize("t", [EN, ZH])
def test_every_kind_of_day_has_its_sentence(t: Words) -> None:
    day = date(2024, 3, 12)
    told = [
        unusual.sentence(t, Unusual(day, day, "more", 3204, 210, 1530.2, 12, 6.21, 1e-4)),
        unusual.sentence(t, Unusual(day, day, "less", 1, 1, 1530.2, 12, -6.2, 1e-4)),
        unusual.sentence(t, Unusual(day, day, "none", 0, 0, 1530.2, 12, -16.2, 1e-4)),
        unusual.sentence(t, Unusual(day, day, "more", 12, 1, 0.2, 12, 6.2, 1e-4)),
        unusual.sentence(t, Unusual(day, date(2024, 3, 20), "none", 0, 0, 55.5, 12, float("nan"), 0.0123)),
    ]
    assert len(set(told)) == 5
    if t is EN:
        assert told[0] == (
            "On **12 Mar 2024** there were **3,204 events**, 2.09 times the 1,530 usual for a Tuesday then"
            " (n\u00a0=\u00a012 Tuesdays, robust z\u00a0=\u00a06.21); 210 people made them."
        )
        assert "**1 event**, 0.07% of the 1,530 usual" in told[1] and "1 person made" in told[1]
        assert "for 9 days" in told[4] and "(p = 0.012)" in told[4]
