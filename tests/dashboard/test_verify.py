"""A planted lie is caught wherever it is planted: in the text, in the data, in both, or in the run itself."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from core.ops.ledger import Ledger
from core.ops.runs import run_folder
from dashboard.publishing import report_of
from dashboard.reports import report_html
from dashboard.verify import VerifyResult, verify
from data.errors import UnreadableFile

NOW = datetime(2026, 3, 2, tzinfo=UTC)
Check = Callable[[str], VerifyResult]


@pytest.fixture(scope="module")
def honest(store: Any) -> str:
    with Ledger.open(store.home) as ledger:
        return report_of(ledger, store.home, store.run_id, language="en", tz="UTC", now=NOW).html


@pytest.fixture
def check(store: Any, tmp_path: Path) -> Check:
    def run(html: str, home: Path | None = None) -> VerifyResult:
        file = tmp_path / "report.html"
        file.write_text(html, encoding="utf-8")
        return verify(file, home or store.home)

    return run


def edited(html: str, change: Callable[[dict[str, Any]], None]) -> str:
    """A forgery that is consistent with itself: the data changed, the page rendered anew, the hash made right."""
    found = re.search(r'id="lodestar"[^>]*>(.*?)</script>', html, re.DOTALL)
    assert found
    payload = json.loads(found.group(1))
    change(payload)
    return report_html(payload)


def test_an_honest_report_passes_all_three_rings(honest: str, check: Check) -> None:
    result = check(honest)
    assert result.findings == []
    assert result.ok and result.complete
    assert result.checked > 100
    assert result.as_json()["ok"] is True


def test_a_number_changed_in_the_text_is_found(honest: str, check: Check) -> None:
    shown = re.search(r'data-path="evaluation/metrics/ndcg@10/estimate" data-kind="m">([\d.]+)<', honest)
    assert shown
    result = check(honest.replace(f">{shown.group(1)}</data>", ">0.999</data>"))
    assert any("evaluation/metrics/ndcg@10/estimate" in finding and "0.999" in finding for finding in result.findings)


def test_a_sentence_changed_in_the_text_is_found(honest: str, check: Check) -> None:
    result = check(honest.replace("No gap in NDCG@10 can be told from zero", "Perfect fairness was proven"))
    assert any("text was changed" in finding for finding in result.findings)


def test_a_number_drawn_differently_is_found(honest: str, check: Check) -> None:
    result = check(re.sub(r'cx="[\d.]+"', 'cx="700.0"', honest, count=1))
    assert not result.ok


def test_data_changed_without_their_hash_are_found(honest: str, check: Check) -> None:
    result = check(honest.replace('"seed":0', '"seed":1'))
    assert any("sha256" in finding for finding in result.findings)


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("evaluation/metrics/ndcg@10/estimate", lambda p: p["evaluation"]["metrics"]["ndcg@10"].update(estimate=0.9)),
        ("evaluation/metrics/hr@10/low", lambda p: p["evaluation"]["metrics"]["hr@10"].update(low=0.36)),
        ("evaluation/components/ease", lambda p: p["evaluation"]["components"]["ease"]["hr@10"].update(estimate=0.01)),
        ("audit/groups/0/estimate", lambda p: p["audit"]["groups"][0].update(estimate=0.5)),
        ("audit/gaps/0/high", lambda p: p["audit"]["gaps"][0].update(high=0.01)),
        ("lift/targets/Drama", lambda p: p["lift"]["targets"]["Drama"]["lift"]["guide"].update(estimate=0.9)),
        ("facts/licence", lambda p: p["facts"].update(licence="CC-BY")),
        ("facts/quarantined", lambda p: p["facts"].update(quarantined=0)),
    ],
)
def test_a_consistent_forgery_is_found_in_the_store(
    honest: str, check: Check, place: str, change: Callable[[dict[str, Any]], None]
) -> None:
    result = check(edited(honest, change))
    assert any(finding.startswith(place) for finding in result.findings)


@pytest.mark.parametrize("place", ["metrics/ndcg@10", "language_model/lora_vs_frozen/ndcg@10"])
def test_intervals_are_computed_anew_not_only_looked_up(new_store: Any, tmp_path: Path, place: str) -> None:
    own = new_store()
    folder = run_folder(own.home, own.run_id)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    measure = evaluation
    for name in place.split("/"):
        measure = measure[name]
    measure["low"] += 0.05
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    with Ledger.open(own.home) as ledger:
        html = report_of(ledger, own.home, own.run_id, language="zh", tz="UTC", now=NOW).html
    (tmp_path / "r.html").write_text(html, encoding="utf-8")
    findings = verify(tmp_path / "r.html", own.home).findings
    assert any(f"evaluation/{place}/low" in finding and "computed anew" in finding for finding in findings)
    assert any("evaluation.json" in finding for finding in findings)  # and the file is not its manifest's


def test_per_user_metrics_changed_after_the_report_are_found(new_store: Any, tmp_path: Path) -> None:
    own = new_store()
    with Ledger.open(own.home) as ledger:
        html = report_of(ledger, own.home, own.run_id, language="en", tz="UTC", now=NOW).html
    (tmp_path / "r.html").write_text(html, encoding="utf-8")
    file = run_folder(own.home, own.run_id) / "users.parquet"
    users = pd.read_parquet(file)
    users.loc[0, "ndcg@10"] = 1 - users.loc[0, "ndcg@10"]
    users.to_parquet(file, index=False)
    findings = verify(tmp_path / "r.html", own.home).findings
    assert any("per-user metrics" in finding for finding in findings)
    assert any(finding.startswith("evaluation/metrics/ndcg@10/estimate") for finding in findings)


@pytest.mark.parametrize(
    "tracker",
    [
        '<img src="http://203.0.113.9/t.gif">',
        "<script>fetch('/x')</script>",
        '<script src="//203.0.113.9/x.js"></script>',
        '<link rel="stylesheet" href="http://203.0.113.9/x.css">',
        "<style>body{background:url(http://203.0.113.9/b.png)}</style>",
        "<style>@import 'http://203.0.113.9/x.css';</style>",
        '<p style="background:url(http://203.0.113.9/b.png)">x</p>',
        '<meta http-equiv="refresh" content="0;url=http://203.0.113.9">',
        '<iframe src="http://203.0.113.9"></iframe>',
        '<p onclick="x()">x</p>',
        '<svg><image href="http://203.0.113.9/x.png"/></svg>',
        '<a href="http://203.0.113.9" ping="http://203.0.113.9/p">x</a>',
    ],
)
def test_a_planted_tracker_is_found_even_without_a_store(
    honest: str, check: Check, tmp_path: Path, tracker: str
) -> None:
    result = check(honest.replace("</main>", f"{tracker}</main>"), tmp_path / "nowhere")
    reasons = ("loads", "script", "imports", "elsewhere", "runs code")
    assert any(any(reason in finding for reason in reasons) for finding in result.findings)


def test_without_the_run_at_hand_it_says_what_it_could_not_check(honest: str, check: Check, tmp_path: Path) -> None:
    result = check(honest, tmp_path / "nowhere")
    assert result.ok and not result.complete
    assert "checked the file alone" in result.notes[0]
    assert not (tmp_path / "nowhere").exists()


def test_another_store_is_not_the_run(honest: str, check: Check, new_store: Any) -> None:
    result = check(honest, new_store().home)
    assert result.ok and not result.complete


@pytest.mark.parametrize("content", [None, "", "<html><body>hello</body></html>"])
def test_what_is_no_report_is_a_stated_error(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "x.html"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UnreadableFile):
        verify(file, tmp_path)


def test_a_payload_of_another_shape_is_a_finding(honest: str, check: Check) -> None:
    result = check(re.sub(r'(id="lodestar"[^>]*>).*?(</script>)', r"\1[1]\2", honest, flags=re.DOTALL))
    assert not result.ok
