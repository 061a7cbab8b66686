"""The report: complete, self-contained, the same for the same data, and readable in both languages."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from core.ops.ledger import Ledger
from core.ops.runs import run_folder
from dashboard import svg
from dashboard.charts.evidence import Dot
from dashboard.charts.frame import Look
from dashboard.publishing import report_of, write_report
from dashboard.reports import report_html, users_digest
from dashboard.words import Words
from data.errors import RunUnfinished, UnknownRun

NOW = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def reports(store: Any) -> dict[str, str]:
    with Ledger.open(store.home) as ledger:
        return {
            language: report_of(ledger, store.home, "champion", language=language, tz="UTC", now=NOW).html
            for language in ("en", "zh")
        }


def payload_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="lodestar"[^>]*>(.*?)</script>', html, re.DOTALL)
    assert found
    return dict(json.loads(found.group(1)))


def test_it_names_build_run_seed_licence_and_protocol(store: Any, reports: dict[str, str]) -> None:
    for html in reports.values():
        for name in (store.build_id, store.run_id, "CC0, made for tests"):
            assert name in html
        assert payload_of(html)["evaluation"]["seed"] == 0
    assert "leave-last-out" in reports["en"]
    assert "留出最后一次" in reports["zh"]


def test_it_loads_nothing_and_runs_nothing(reports: dict[str, str]) -> None:
    for html in reports.values():
        assert not re.search(r"\b(src|href|action|poster)\s*=", html)
        assert not re.search(r"https?://", html)
        assert re.findall(r"<script[^>]*>", html) == re.findall(r'<script type="application/json"[^>]*>', html)
        assert "default-src 'none'" in html
        assert len(html) < 300_000


def test_every_visible_metric_has_its_interval_and_n(reports: dict[str, str]) -> None:
    html = reports["en"]
    for metric in ("hr@10", "ndcg@10"):
        for part in ("estimate", "low", "high", "n"):
            assert f'data-path="evaluation/metrics/{metric}/{part}"' in html


def test_the_components_groups_gaps_and_lift_are_all_there(store: Any, reports: dict[str, str]) -> None:
    html, payload = reports["en"], payload_of(reports["en"])
    for component in ("neural", "frozen", "ease", "ridge", "popularity"):
        assert f"evaluation/components/{component}/ndcg@10/estimate" in html
    for place, group in enumerate(payload["audit"]["groups"]):
        assert group["suppressed"] or f"audit/groups/{place}/estimate" in html
    assert any(group["suppressed"] for group in payload["audit"]["groups"])
    assert 'data-path="lift/targets/Sci-Fi~1Horror/lift/guide/estimate" data-kind="g">+0.086<' in html
    for policy in ("guide", "push", "random"):
        assert f"lift/targets/Crime/lift/{policy}/estimate" in html


def test_a_withheld_group_shows_no_number(reports: dict[str, str]) -> None:
    for place, group in enumerate(payload_of(reports["en"])["audit"]["groups"]):
        if group["suppressed"]:
            assert f"audit/groups/{place}/" not in reports["en"]
            assert group["n"] is None and group["estimate"] is None


def test_the_same_data_give_the_same_page(reports: dict[str, str]) -> None:
    for html in reports.values():
        assert report_html(payload_of(html)) == html


def test_texts_of_the_data_cannot_become_markup(reports: dict[str, str]) -> None:
    payload = payload_of(reports["en"])
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)></script>"
    payload["facts"]["licence"] = payload["facts"]["dataset"] = evil
    html = report_html(payload)
    assert "<img" not in html
    assert html.count("<script") == 1
    assert payload_of(html)["facts"]["licence"] == evil


def test_what_is_no_number_is_a_dash(reports: dict[str, str]) -> None:
    payload = payload_of(reports["en"])
    payload["evaluation"]["metrics"]["hr@10"]["low"] = None
    assert 'data-path="evaluation/metrics/hr@10/low" data-kind="m">–</data>' in report_html(payload)


def test_a_run_that_nobody_was_asked_of_is_reported_without_figures(reports: dict[str, str]) -> None:
    payload = payload_of(reports["en"])
    for measures in (payload["evaluation"]["metrics"], *payload["evaluation"]["components"].values()):
        for measure in measures.values():
            measure.update({name: None for name in ("estimate", "low", "high") if name in measure}, n=0)
    html = report_html(payload)
    assert 'data-path="evaluation/metrics/hr@10/estimate" data-kind="m">–</data>' in html
    assert not re.search(r">[^<]*\b(nan|None)\b", re.sub(r"<(script|style).*?</\1>", "", html, flags=re.S))


def test_a_report_is_written_whole(store: Any, tmp_path: Path) -> None:
    with Ledger.open(store.home) as ledger:
        report = report_of(ledger, store.home, store.run_id, language="en", tz="UTC", now=NOW)
    out = write_report(report, tmp_path / "report.html")
    assert out.read_text(encoding="utf-8") == report.html
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_an_unknown_run_and_an_unmeasured_one_are_stated_errors(new_store: Any) -> None:
    own = new_store()
    (run_folder(own.home, own.run_id) / "evaluation.json").unlink()
    with Ledger.open(own.home) as ledger:
        with pytest.raises(UnknownRun):
            report_of(ledger, own.home, "r-nothing", language="en", tz="UTC", now=NOW)
        with pytest.raises(RunUnfinished, match=r"evaluation\.json"):
            report_of(ledger, own.home, own.run_id, language="en", tz="UTC", now=NOW)


def test_the_digest_follows_the_values_not_the_order_of_rows() -> None:
    users = pd.DataFrame({"user_id": [0, 1], "hr@10": [0.0, 1.0]})
    assert users_digest(users) == users_digest(users.iloc[::-1])
    assert users_digest(users) != users_digest(users.assign(**{"hr@10": [1.0, 1.0]}))


def test_a_drawing_keeps_its_marks_inside_and_escapes_names() -> None:
    look = Look("light", Words("en"))
    rows = [
        Dot("<b>A</b> & a name of some length", -0.4, -0.9, 0.3, 9, "#2F5DA8"),
        Dot("B", 2.0, 1.5, 2.5, 9, "#2F5DA8"),
    ]
    drawn = str(svg.dots(rows, look=look, axis="NDCG@10", reference=(0.0, "none")))
    assert "&lt;b&gt;" in drawn and "<b>" not in drawn
    for x in re.findall(r'(?:cx|x1|x2)="([\d.]+)"', drawn):
        assert 0 <= float(x) <= svg.WIDTH
