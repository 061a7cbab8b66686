"""Figures say what their tables say: sums, orders, intervals and n; and no title of an item becomes markup."""

import math
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pyarrow as pa
import pytest

from dashboard import charts
from dashboard.charts.axes import count_axis, share_axis, steps
from dashboard.charts.evidence import gap_rows
from dashboard.charts.frame import Look, columns, label
from dashboard.words import Words

LOOKS = [Look("light", Words("en")), Look("dark", Words("zh"))]
LOOK = LOOKS[0]
M = {"estimate": 0.12, "low": 0.11, "high": 0.13, "n": 943}


def texts(figure: go.Figure) -> list[str]:
    return [note.text for note in figure.layout.annotations]


def activity_table() -> pa.Table:
    days = pd.date_range("1997-09-20", periods=5).date
    return pa.table({"period": list(days), "events": [3, 9, 0, 4, 1], "users": [1, 2, 0, 1, 1]})


@pytest.mark.parametrize("look", LOOKS)
def test_activity_marks_the_busiest_day_and_names_the_zone(look: Look) -> None:
    figure = charts.activity(activity_table(), title="t", look=look, tz="Asia/Shanghai")
    assert list(figure.data[0].y) == [3, 9, 0, 4, 1]
    assert figure.data[1].y == (9,)
    assert "Asia/Shanghai" in figure.layout.xaxis.title.text
    assert figure.layout.yaxis.title.text


def test_activity_of_nothing_is_no_error() -> None:
    empty = activity_table().slice(0, 0)
    assert len(charts.activity(empty, title="t", look=LOOK, tz="UTC").data) == 1


@pytest.mark.parametrize("look", LOOKS)
def test_who_is_lost_stands_below_the_axis_and_the_rest_adds_up_above(look: Look) -> None:
    days = list(pd.date_range("2025-01-06", periods=3, freq="7D").date)
    moves = {"users": [5, 6, 2], "new": [5, 2, 0], "retained": [0, 3, 1], "back": [0, 1, 1], "lost": [0, 2, 5]}
    figure = charts.growth(pa.table({"period": days, **moves}), title="t", look=look, tz="UTC", grain="week")
    bars = {bar.name: list(bar.y) for bar in figure.data}
    assert np.sum([counts for counts in bars.values() if min(counts) >= 0], axis=0).tolist() == moves["users"]
    assert bars[look.t("growth.lost")][1:] == [-2, -5]
    assert all(not text.startswith(("-", "−")) for text in figure.layout.yaxis.ticktext), "people are no debt"
    nobody = pa.table({"period": days, **moves}).slice(0, 0)
    assert len(charts.growth(nobody, title="t", look=look, tz="UTC", grain="month").data) == 4


@pytest.mark.parametrize(
    ("most", "about", "told"),
    [
        (0, 4, [0]),
        (1, 4, [0, 0.5, 1]),
        (70_367, 4, [0, 20_000, 40_000, 60_000]),
        (1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.215, 5, [0, 0.05, 0.1, 0.15, 0.2]),
    ],
)
def test_ticks_are_round_and_start_at_zero(most: float, about: int, told: list[float]) -> None:
    assert steps(most, about=about) == pytest.approx(told)


def test_ticks_of_counts_are_whole_and_those_of_shares_differ() -> None:
    for most in (1, 2, 3, 7, 15, 1e12):
        shown = count_axis(int(most), title="events", look=LOOK)["yaxis"]
        assert [float(text.replace(",", "")) for text in shown["ticktext"]] == list(shown["tickvals"])
    for share in (0.0004, 0.003, 0.04, 0.5, 1.0):
        texts_ = share_axis(share, title="share")["yaxis"]["ticktext"]
        assert len(set(texts_)) == len(texts_) > 1


def test_a_figure_leaves_room_for_its_own_labels() -> None:
    few, many = (count_axis(most, title="events", look=LOOK)["margin"] for most in (5, 5_000_000))
    assert many["l"] - few["l"] > 40
    assert not many["autoexpand"], "else a browser draws the figure, measures it, and draws it again"


def test_stickiness_tells_whose_share_it_is() -> None:
    table = pd.DataFrame({"period": [date(2025, 1, 6)], "users": [12], "daily": [2.0], "share": [2 / 12]})
    (line,) = charts.stickiness(table, title="t", look=LOOK, tz="UTC", grain="week").data
    assert list(line.y) == [2 / 12] and list(line.customdata[0]) == ["6 Jan 2025", "2.00", "12"]


def test_the_long_tail_starts_at_nothing_and_ends_at_all() -> None:
    table = pd.DataFrame({"rank": [1, 2, 3, 4], "cumulative": [0.7, 0.85, 0.95, 1.0]})
    curve = charts.long_tail(table, title="t", look=LOOK).data[1]
    assert (curve.x[0], curve.y[0]) == (0, 0)
    assert (curve.x[-1], curve.y[-1]) == (1, 1)
    assert list(curve.y) == sorted(curve.y)


def test_a_long_tail_of_many_items_is_drawn_by_few_points_and_stays_itself() -> None:
    events = np.sort(1e6 / np.arange(1, 100_001) ** 1.1)[::-1]
    table = pd.DataFrame({"rank": np.arange(1, 100_001), "cumulative": np.cumsum(events) / events.sum()})
    curve = charts.long_tail(table, title="t", look=LOOK).data[1]
    assert len(curve.x) <= 500 and (curve.x[0], curve.y[0], curve.x[-1]) == (0, 0, 1)
    drawn = np.interp(table["rank"] / 100_000, curve.x, curve.y)
    assert np.abs(drawn - table["cumulative"]).max() < 0.003


def test_the_week_starts_on_monday_and_empty_hours_are_zero() -> None:
    table = pd.DataFrame({"weekday": [1, 7], "hour": [0, 23], "events": [5, 2]})
    heat = charts.hour_weekday(table, title="t", look=LOOK, tz="UTC").data[0]
    grid = np.asarray(heat.z)
    assert grid.shape == (7, 24)
    assert (grid[0, 0], grid[6, 23], grid.sum()) == (5, 2, 7)
    assert heat.y[0] == "Mon"


def test_the_waterfall_climbs_from_nothing_to_the_sum_of_phi() -> None:
    phi = [0.62, -0.31, 0.18, 0.05]
    table = pd.DataFrame({"title": list("abcd"), "phi": phi})
    figure = charts.waterfall(table, title="t", look=LOOK)
    bar = figure.data[0]
    ends = [base + width for base, width in zip(bar.base, bar.x, strict=True)]
    assert bar.base[0] == 0
    assert ends[-1] == pytest.approx(sum(phi))
    assert list(bar.base[1:]) == pytest.approx(ends[:-1])
    assert [abs(v) for v in bar.x] == sorted(abs(v) for v in phi)  # the largest stands on top
    low, high = figure.layout.xaxis.range
    assert low < min(0, *ends) and high > max(0, *ends)
    assert "−0.31" in texts(figure)


def test_a_negative_effect_has_the_counter_colour() -> None:
    bar = charts.waterfall(pd.DataFrame({"title": ["a", "b"], "phi": [0.5, -0.4]}), title="t", look=LOOK).data[0]
    assert list(bar.marker.color) == [LOOK.c.counter, LOOK.c.accent]


def test_titles_cannot_become_markup_in_any_figure() -> None:
    evil = "<a href='http://203.0.113.9'>x</a><b>"
    players = pd.DataFrame({"title": [evil], "phi": [0.1]})
    events = pd.DataFrame(
        {
            "ts": pd.to_datetime(["2025-01-01"], utc=True),
            "event_id": [0],
            "title": [evil],
            "kind": ["rate"],
            "value": [4.0],
        }
    )
    for figure in (
        charts.waterfall(players, title=evil, look=LOOK),
        charts.timeline(events, title=evil, look=LOOK, tz="UTC", unit="value"),
    ):
        assert "<a" not in figure.to_json().replace("\\u003c", "<")
        assert charts.take_title(figure) == evil


def test_the_timeline_runs_in_order_and_marks_days() -> None:
    ts = pd.to_datetime(["2025-01-01 10:00", "2025-01-01 10:00", "2025-01-05 09:00"], utc=True)
    events = pd.DataFrame(
        {"ts": ts, "event_id": [1, 0, 2], "title": ["b", "a", "c"], "kind": "rate", "value": [1.0, 2.0, 3.0]}
    )
    figure = charts.timeline(events, title="t", look=LOOK, tz="UTC", unit="rating")
    assert list(figure.data[0].y) == [2.0, 1.0, 3.0]  # ties keep the file's order
    assert figure.layout.xaxis.ticktext == ("1 Jan 2025", "5 Jan 2025")


def test_kinds_have_lanes_where_there_are_several() -> None:
    ts = pd.to_datetime(["2025-01-01", "2025-01-02"], utc=True)
    events = pd.DataFrame(
        {"ts": ts, "event_id": [0, 1], "title": ["a", "b"], "kind": ["view", "purchase"], "value": [None, 9.0]}
    )
    figure = charts.timeline(events, title="t", look=LOOK, tz="UTC", unit="value")
    assert list(figure.data[0].y) == ["viewed", "bought"]


def epochs() -> list[dict[str, object]]:
    frozen = [{"stage": "frozen", "epoch": e, "loss": 5 / e, "ndcg@10": 0.02 * e, "best": e == 3} for e in (1, 2, 3)]
    return [*frozen, {"stage": "lora", "epoch": 1, "loss": 1.5, "ndcg@10": 0.09, "best": True}]


def test_stages_follow_one_another_and_the_best_epoch_is_ringed() -> None:
    figure = charts.curves(epochs(), title="t", look=LOOK)
    assert [list(trace.x) for trace in figure.data[:4:2]] == [[1, 2, 3], [4]]
    ring = figure.data[-1]
    assert (ring.x, ring.y) == ((4,), (0.09,))


def test_another_runs_curve_is_one_dotted_line_under_the_others_and_named() -> None:
    figure = charts.curves(epochs()[:2], title="t", look=LOOK, beside=epochs(), named="r-1")
    assert [list(trace.x) for trace in figure.data[:2]] == [[1, 2, 3, 4]] * 2, (
        "drawn first, and past the end of the other"
    )
    assert [trace.line.dash for trace in figure.data[:4]] == ["dot", "dot", None, None]
    assert any("r-1" in text for text in texts(figure))


def test_models_stand_best_first_with_intervals_and_n() -> None:
    metrics = {
        "champion": {"ndcg@10": M},
        "ease": {"ndcg@10": {**M, "estimate": 0.07}},
        "neural": {"ndcg@10": {**M, "estimate": 0.1}},
    }
    figure = charts.model_dots(metrics, metric="ndcg@10", title="t", look=LOOK)
    assert figure.layout.yaxis.ticktext == ("served blend", "neural model", "EASE")
    assert "0.120 [0.110, 0.130]" in texts(figure)
    assert "n = 943 users" in figure.to_json()


def test_a_withheld_group_has_no_mark_and_no_n() -> None:
    table = pd.DataFrame(
        [("F", 273, 0.11, 0.09, 0.13, False), ("unknown", 4, 0.9, 0.8, 1.0, True)],
        columns=["group", "n", "estimate", "low", "high", "suppressed"],
    )
    figure = charts.group_dots(table, metric="ndcg@10", overall=0.12, title="t", look=LOOK)
    drawn = figure.to_json()
    assert "0.9" not in [f"{x}" for trace in figure.data for x in trace.x]
    assert "too few to show" in drawn
    assert figure.layout.yaxis.ticktext[1] == "not stated"


def test_a_gap_that_leaves_zero_stands_out_and_its_reach_is_drawn() -> None:
    table = pd.DataFrame(
        [
            ("gender", "F", "M", -0.02, -0.04, 0.01, 0.05, 90, 0.3),
            ("age", "a", "b", 0.03, 0.01, 0.05, 0.04, 90, 0.01),
        ],
        columns=["attribute", "a", "b", "gap", "low", "high", "detectable", "n", "p_holm"],
    )
    rows = gap_rows(table, look=LOOK)
    assert [row.colour for row in rows] == [LOOK.c.accent, LOOK.c.counter]
    figure = charts.gap_dots(table, metric="ndcg@10", title="t", look=LOOK)
    assert [-0.05, 0.05] in [list(trace.x) for trace in figure.data]


def test_lift_curves_carry_bands_and_names() -> None:
    table = pd.DataFrame(
        [(p, s, 0.01 * s, 0.0, 0.02 * s, 90) for p in ("guide", "push") for s in (1, 2)],
        columns=["policy", "step", "estimate", "low", "high", "n"],
    )
    figure = charts.lift_curves(table, title="t", look=LOOK, axis="lift", steps="steps shown")
    assert {"guide", "push"} <= set(texts(figure))
    assert sum(trace.fill == "toself" for trace in figure.data) == 2
    assert {trace.mode for trace in figure.data if trace.fill == "toself"} == {"lines"}, "a band has no points"


def test_the_path_is_in_percent() -> None:
    table = pd.DataFrame({"step": [1, 2], "title": ["a", "b"], "mass": [0.1, 0.2], "acceptance": [0.8, 0.7]})
    assert charts.path(table, title="t", look=LOOK, target="Sci-Fi").layout.yaxis.tickformat == ".0%"


def test_a_taken_title_leaves_room_for_what_stands_above_the_plot() -> None:
    figure = charts.model_dots({"champion": {"ndcg@10": M}}, metric="ndcg@10", title="A finding", look=LOOK)
    assert charts.take_title(figure) == "A finding"
    assert figure.layout.title.text == ""
    assert figure.layout.margin.t >= 20


@pytest.mark.parametrize(
    "text",
    ["Short", "A very long title that goes on and on without an end in sight (1999)", "一个非常非常长的标题" * 4],
)
def test_labels_fit_their_columns(text: str) -> None:
    assert columns(label(text, limit=34)) <= 34


def test_estimates_without_intervals_are_still_drawn() -> None:
    figure = charts.model_dots(
        {"champion": {"gini@10": {"estimate": 0.8, "n": 9}}}, metric="gini@10", title="t", look=LOOK
    )
    assert math.isclose(figure.data[0].x[0], 0.8)


def trial(number: int, ndcg: float | None, *, state: str = "complete", **settings: Any) -> dict[str, Any]:
    return {"trial": number, "state": state, "ndcg@10": ndcg, "settings": settings}


def test_a_trial_runs_through_its_settings_to_what_it_reached() -> None:
    space = {"lr": "1e-4..1e-2", "network.dropout": "0..0.4", "network.dim": [32, 64, 128]}
    rows = [
        trial(1, 0.10, **{"lr": 1e-4, "network.dropout": 0.4, "network.dim": 32}),
        trial(2, 0.20, **{"lr": 1e-3, "network.dropout": 0.1, "network.dim": 128}),
        trial(3, 0.15, state="pruned", **{"lr": 1e-2, "network.dropout": 0.0, "network.dim": 64}),
        trial(4, None, state="failed", **{"lr": 1e-2, "network.dropout": 0.0, "network.dim": 64}),
    ]
    figure = charts.parallel(rows, space, best=2, title="t", look=LOOK)
    found = {line.hovertemplate.split(" ")[1]: line for line in figure.data}
    assert set(found) == {"1", "2", "3"}, "a trial without a figure has no line"
    assert found["1"].y == pytest.approx((0, 1, 0, 0))
    assert found["2"].y == pytest.approx((0.5, 0.25, 1, 1)), "rates stand by their logarithm"
    assert found["3"].y == pytest.approx((1, 0, 0.5, 0.5))
    assert found["2"] is figure.data[-1], "the best is drawn over the others"
    assert (found["2"].line.color, found["2"].line.width) == (LOOK.c.counter, 3.5)
    assert (found["1"].line.dash, found["3"].line.dash) == ("solid", "dot")
    assert found["1"].line.color == LOOK.c.sequential[2]
    written = texts(figure)
    assert {"0.0001", "0.01", "0.4", "128", "0.100", "0.200", "best: trial 2"} <= set(written)
    assert "learning<br>rate" in written


def test_one_trial_alone_is_drawn() -> None:
    figure = charts.parallel([trial(1, 0.1, lr=0.01)], {"lr": "1e-4..1e-2"}, best=1, title="t", look=LOOK)
    assert figure.data[0].y == pytest.approx((1, 0.5))


def test_runs_stand_around_the_champion_and_what_is_tolerated_is_shaded() -> None:
    table = pd.DataFrame(
        [("r-up", 0.02, 0.01, 0.03, 90), ("r-level", 0.0, -0.01, 0.01, 90), ("r-down", -0.05, -0.08, -0.02, 90)],
        columns=["run", "estimate", "low", "high", "n"],
    )
    figure = charts.forest(table, margin=0.004, title="t", look=LOOK, axis="NDCG@10 less that of r-0")
    marks = {trace.y[0]: trace.marker.color for trace in figure.data if trace.mode == "markers"}
    assert marks == {0: LOOK.c.accent, 1: LOOK.c.reference, 2: LOOK.c.counter}
    (band,) = [shape for shape in figure.layout.shapes if shape.type == "rect"]
    assert (band.x0, band.x1) == (-0.004, 0)
    low, high = figure.layout.xaxis.range
    assert low < -0.08 and high > 0.03
    assert "+0.020 [+0.010, +0.030]" in texts(figure)
    assert "n = 90 users" in figure.to_json()


def test_the_line_of_a_tradeoff_joins_the_runs_that_none_beats() -> None:
    nan = math.nan
    table = pd.DataFrame(
        [
            ("r-quick", "other", 1.0, nan, nan, 0.10, 0.09, 0.11, 90),
            ("r-beaten", "view", 3.0, nan, nan, 0.11, 0.10, 0.12, 90),
            ("r-best", "champion", 2.0, nan, nan, 0.13, 0.12, 0.14, 90),
        ],
        columns=["run", "role", "x", "x_low", "x_high", "y", "low", "high", "n"],
    )
    figure = charts.tradeoff(table, title="t", look=LOOK, axis="ms", metric="ndcg@10", hover="{x} ms a user")
    line, *points = figure.data
    assert (list(line.x), list(line.y)) == ([1.0, 2.0], [0.10, 0.13])
    assert [point.text[0] for point in points] == ["r-quick", "r-best", "r-beaten"]
    assert points[1].error_y.array == pytest.approx((0.01,)) and not points[1].error_x.visible
    assert points[2].marker.color == LOOK.c.background, "the run in view is a ring"
    assert "n = 90 users" in points[0].hovertemplate
