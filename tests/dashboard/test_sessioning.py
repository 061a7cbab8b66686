"""Pulse's sessions: there where a build has them, in both languages, and nowhere else."""

from functools import partial
from pathlib import Path

import pytest

from dashboard.words import Words
from data.warehouse import Warehouse
from tests.dashboard.conftest import SPEC, Store, make_store
from tests.dashboard.opening import Opened, said

FIGURES = ["activity", "growth", "stickiness", "tail", "hours"]  # of Pulse without sessions


@pytest.fixture
def pulse(browse: Opened) -> Opened:
    return partial(browse, page="pulse")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_pulse_tells_of_the_sessions_that_a_build_has(pulse: Opened, tmp_path: Path, language: str) -> None:
    t = Words(language)
    own = make_store(tmp_path / "home", tmp_path / "files", spec=SPEC + "[sessions]\ngap_minutes = 3000\n")
    with Warehouse.open(tmp_path / "home" / "warehouse" / f"{own.build_id}.duckdb") as warehouse:
        n = warehouse.run("SELECT count(*) AS n FROM sessions")["n"][0].as_py()
        events = warehouse.facts.n_events
        days = "SELECT CAST(first_ts AS DATE) AS day, count(*) AS n FROM sessions GROUP BY day ORDER BY n DESC, day"
        most = warehouse.run(days).to_pylist()[0]
    assert 0 < n < events
    test = pulse(own.home, lang=language)
    assert not test.exception and not test.error
    text = said(test).replace("\\", "")
    assert f"### {t('sessions.section')}" in text and t("sessions.gap", gap=3000) in text
    assert t.count(n) in text and t("sessions.peak_day", top=most["day"], n=most["n"]) in text
    assert [chart.key for chart in test.get("plotly_chart")] == [*FIGURES, "sessions"]


def test_a_build_without_sessions_opens_as_before(pulse: Opened, store: Store) -> None:
    test = pulse(store.home)
    assert not test.exception and Words("en")("sessions.section") not in said(test)
    assert [chart.key for chart in test.get("plotly_chart")] == FIGURES
