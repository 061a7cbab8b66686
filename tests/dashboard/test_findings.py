"""Findings by hand: what titles and sentences claim is what the tables hold."""

import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd

from dashboard import findings


def test_the_grain_keeps_a_line_readable() -> None:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    assert findings.grain(start, datetime(2020, 8, 1, tzinfo=UTC)) == "day"
    assert findings.grain(start, datetime(2022, 8, 1, tzinfo=UTC)) == "week"
    assert findings.grain(start, datetime(2026, 8, 1, tzinfo=UTC)) == "month"


def test_only_periods_that_the_log_covers_are_whole() -> None:
    weeks = pd.DataFrame({"period": [date(2025, 1, 6) + timedelta(weeks=n) for n in range(4)]})
    kept = findings.whole(weeks, first=date(2025, 1, 7), last=date(2025, 1, 26), grain="week")
    assert kept["period"].tolist() == [date(2025, 1, 13), date(2025, 1, 20)]
    assert len(findings.whole(weeks, first=date(2025, 1, 6), last=date(2025, 2, 1), grain="week")) == 3
    months = pd.DataFrame({"period": [date(2025, 1, 1), date(2025, 2, 1)]})
    assert findings.whole(months, first=date(2025, 1, 1), last=date(2025, 2, 27), grain="month")["period"].tolist() == [
        date(2025, 1, 1)
    ]
    assert len(findings.whole(months, first=date(2025, 1, 1), last=date(2025, 2, 28), grain="month")) == 2


def test_stickiness_is_the_mean_day_among_the_whole_periods_people() -> None:
    days = pd.DataFrame({"period": [date(2025, 1, 6), date(2025, 1, 8), date(2025, 1, 20)], "users": [10, 4, 3]})
    weeks = pd.DataFrame({"period": [date(2025, 1, 6), date(2025, 1, 13), date(2025, 1, 20)], "users": [12, 0, 3]})
    found = findings.stickiness(days, weeks, grain="week")
    assert found["period"].tolist() == [date(2025, 1, 6), date(2025, 1, 20)], "nobody is no share"
    assert found["daily"].tolist() == [14 / 7, 3 / 7]
    assert found["share"].tolist() == [2 / 12, 1 / 7]
    months = pd.DataFrame({"period": [date(2025, 1, 1)], "users": [17]})
    assert findings.stickiness(days, months, grain="month")["daily"].tolist() == [17 / 31]


def test_the_peak_is_the_busiest_period() -> None:
    table = pd.DataFrame({"period": [date(2025, 1, 1), date(2025, 1, 2)], "events": [3, 8]})
    assert findings.peak(table) == (date(2025, 1, 2), 8)
    assert findings.peak(table.head(0)) == (None, 0)


def test_the_busiest_hour_tells_how_much_busier_it_is() -> None:
    hours = pd.DataFrame([{"weekday": d, "hour": h, "events": 2} for d in range(1, 8) for h in range(24)])
    assert findings.busiest_hour(hours) == (1, 0, 1.0), "all alike, and the title says so"
    hours.loc[(hours["weekday"] == 5) & (hours["hour"] == 20), "events"] = 170
    assert findings.busiest_hour(hours) == (5, 20, 170 * 168 / (2 * 167 + 170))
    assert findings.busiest_hour(hours.assign(events=0)) is None


def test_the_top_fifth_by_hand() -> None:
    table = pd.DataFrame({"rank": [1, 2, 3, 4, 5], "cumulative": [0.6, 0.8, 0.9, 0.95, 1.0]})
    assert findings.head_share(table) == 0.6
    assert math.isnan(findings.head_share(table.head(0)))


def test_verdicts_need_an_interval_that_leaves_zero() -> None:
    def gain(low: float, high: float, n: int = 100) -> dict[str, dict[str, float]]:
        return {"ndcg@10": {"estimate": (low + high) / 2, "low": low, "high": high, "n": n}}

    against = {
        "ease": gain(0.01, 0.05),
        "ridge": gain(-0.01, 0.02),
        "neural": gain(-0.03, -0.01),
        "one": gain(1, 1, n=1),
    }
    assert findings.verdicts(against, metric="ndcg@10") == {"better": ["ease"], "level": ["ridge"], "worse": ["neural"]}


def test_a_gap_counts_only_after_correction_widest_first() -> None:
    def gap(value: float, p: float | None) -> dict[str, object]:
        return {"metric": "ndcg@10", "gap": value, "p_holm": p}

    gaps = [gap(0.02, 0.01), gap(-0.05, 0.04), gap(0.1, 0.06), gap(0.2, None)]
    assert [g["gap"] for g in findings.visible_gaps(gaps, metric="ndcg@10")] == [-0.05, 0.02]


def test_moves_name_the_rank_before() -> None:
    assert findings.moved(["a", "b", "c"], ["c", "x", "a"]) == [("c", 1, 3), ("x", 2, None), ("a", 3, 1)]


def test_reasons_are_the_events_that_raised_it_most_once_each() -> None:
    players = [
        {"title": "A", "phi": 0.1},
        {"title": "B", "phi": 0.5},
        {"title": "B", "phi": 0.4},
        {"title": "C", "phi": -1},
    ]
    assert findings.largest_players(players) == ["B", "A"]


def test_absence_is_no_number() -> None:
    assert findings.share(0, 0) is None
    assert findings.share(3, 4) == 0.75
    assert findings.overall_mean(pd.DataFrame({"valued": [0], "mean_value": [float("nan")]})) is None
    assert findings.overall_mean(pd.DataFrame({"events": [100, 3], "valued": [1, 3], "mean_value": [2.0, 4.0]})) == 3.5


def test_groups_keep_an_order_of_their_own_or_go_by_value() -> None:
    ages = ["18-24", "55+", "unknown", "under 18", "25-34"]
    assert findings.in_order(ages) == ["under 18", "18-24", "25-34", "55+", "unknown"]
    assert findings.in_order(["high", "low", "middle"]) == ["low", "middle", "high"]
    assert findings.in_order(["artist", "writer"]) is None
    table = pd.DataFrame({"group": ["artist", "writer", "doctor"], "estimate": [0.1, 0.3, None]})
    assert list(findings.groups_in_order(table)["group"]) == ["writer", "artist", "doctor"]
    gaps = pd.DataFrame({"a": ["25-34", "under 18"], "b": ["55+", "55+"], "gap": [0.3, 0.1]})
    assert list(findings.gaps_in_order(gaps)["a"]) == ["under 18", "25-34"]


def test_guiding_is_counted_over_every_target() -> None:
    def judged(guide: tuple[float, float], push: tuple[float, float]) -> dict[str, Any]:
        pairs = {"guide": guide, "push": push}
        return {"lift": {name: {"low": low, "high": high} for name, (low, high) in pairs.items()}}

    targets = {
        "a": judged((0.3, 0.4), (0.1, 0.2)),
        "b": judged((0.0, 0.3), (0.1, 0.2)),
        "c": judged((0.0, 0.1), (0.2, 0.3)),
    }
    assert findings.guide_against_push(targets) == {"ahead": ["a"], "behind": ["c"]}


def test_the_frontier_by_hand() -> None:
    assert findings.frontier([1, 2, 2, 3], [0.1, 0.2, 0.1, 0.2]) == [True, True, False, False]
    assert findings.frontier([1, 1], [0.1, 0.1]) == [True, True], "two alike do not beat each other"


def test_the_widest_gap_is_a_size_with_its_interval_turned() -> None:
    gaps = [
        {"metric": "ndcg@10", "attribute": "gender", "gap": 0.01, "low": -0.01, "high": 0.03, "n": 9},
        {"metric": "ndcg@10", "attribute": "age", "gap": -0.05, "low": -0.08, "high": 0.02, "n": 7},
        {"metric": "ndcg@10", "attribute": "activity", "gap": 0.5, "low": 0.4, "high": 0.6, "n": 9},
        {"metric": "hr@10", "attribute": "gender", "gap": 0.9, "low": 0.8, "high": 1.0, "n": 9},
    ]
    widest = {"attribute": "age", "estimate": 0.05, "low": -0.02, "high": 0.08, "n": 7}
    assert findings.widest_gap(gaps, metric="ndcg@10") == widest
    assert findings.widest_gap(gaps[2:3], metric="ndcg@10") is None
