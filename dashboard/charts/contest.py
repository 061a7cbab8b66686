"""Figures of runs against one another: paired differences from the champion, and what accuracy costs in time or in
gaps. n and intervals are never left out.
"""

from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.evidence import Dot, dots
from dashboard.charts.frame import Look, Table, canvas, frame, label, plain, width_px
from dashboard.findings import frontier, verdict

Role = Literal["champion", "view", "other"]
_NAME = (0.24, 0.07)  # how near two names may stand, as shares of the axes
_MARK = (0.12, 0.045)  # how near a name may stand to a mark
_SIDES = {
    "top right": (0.12, 0.05),
    "bottom right": (0.12, -0.05),
    "top left": (-0.12, 0.05),
    "bottom left": (-0.12, -0.05),
}


def forest(table: Table, *, margin: float, title: str, look: Look, axis: str) -> go.Figure:
    """Each run less the champion, from (run, estimate, low, high, n), in the table's order; the loss that is tolerated
    as a grey band left of zero, `margin` wide. Above, below, or not told apart: by colour."""
    t, c = look.t, look.c
    colours = {"better": c.accent, "worse": c.counter, "level": c.reference}
    rows = [
        Dot(str(row.run), row.estimate, row.low, row.high, int(row.n), colours[verdict(row._asdict())], signed=True)
        for row in frame(table).itertuples()
    ]
    figure = dots(rows, title=title, look=look, axis=axis, reference=(0.0, t("chart.tolerated")))
    figure.add_vrect(x0=-margin, x1=0, fillcolor=c.hairline, line_width=0, layer="below")
    low, high = figure.layout.xaxis.range
    figure.update_xaxes(range=[min(low, -1.6 * margin), max(high, 0.6 * margin)])
    return figure


def tradeoff(table: Table, *, title: str, look: Look, axis: str, metric: str, hover: str) -> go.Figure:
    """Accuracy against what it costs, from (run, role, x, x_low, x_high, y, low, high, n): less cost to the left, more
    accuracy on top, and a line through the runs that none beats in both. `hover` names the cost of `{x}`."""
    data = frame(table).sort_values("x", ignore_index=True)
    c = look.c
    figure = canvas(look, title=title, height=320)
    best = data[frontier(data["x"], data["y"])]
    figure.add_scatter(
        x=best["x"], y=best["y"], mode="lines", line={"color": c.reference, "width": 1.5, "dash": "dot", "shape": "hv"},
        hoverinfo="skip",
    )  # fmt: skip
    marks = [v for name in ("x", "x_low", "x_high") for v in data[name].dropna()]
    room = (max(marks) - min(marks) or abs(marks[0]) or 1.0) * 0.08
    wide = max(marks) - min(marks) + 2 * room
    tall = float(data["high"].max() - data["low"].min()) or 1.0
    places = _places(data.assign(best=data["run"].isin(set(best["run"]))), wide=wide, tall=tall)
    for row in data.itertuples():
        colour = c.accent if row.role != "other" else c.reference
        figure.add_scatter(
            x=[row.x],
            y=[row.y],
            mode="markers+text",
            text=[label(str(row.run)) if row.run in places else ""],
            textposition=places.get(str(row.run), "top right"),
            textfont={"size": 12, "color": c.text if row.role != "other" else c.muted},
            marker={
                "size": 11,
                "color": c.background if row.role == "view" else colour,
                "line": {"color": colour if row.role == "view" else c.background, "width": 2.5},
            },
            error_y=_reach(row.y, row.low, row.high, colour),
            error_x=_reach(row.x, row.x_low, row.x_high, colour),
            hovertemplate=f"<b>{label(str(row.run))}</b><br>{plain(_reading(row, look, metric))}<br>"
            f"{plain(hover.format(x=look.t.figure(row.x)))}<br>{plain(look.t('chart.n', n=int(row.n)))}<extra></extra>",
        )
    figure.update_xaxes(title_text=plain(axis), nticks=5, range=[min(marks) - room, max(marks) + room], zeroline=False)
    figure.update_yaxes(title_text=plain(look.t.name("metric_axis", metric)), nticks=5, zeroline=False)
    figure.update_traces(cliponaxis=False)
    figure.update_layout(margin={"r": 16 + max((width_px(str(run)) for run in places), default=0) // 2})
    return figure


def _places(points: pd.DataFrame, *, wide: float, tall: float) -> dict[str, str]:
    """Where each run's name stands beside its mark, so that no two names touch; the champion and the run in view first,
    then those on the line. A name that finds no room is left to the hover. wide and tall: the axes' lengths."""
    first = points.assign(turn=points["role"].eq("other").astype(int) * 2 - points["best"].astype(int))
    marks = [(x / wide, y / tall) for x, y in zip(points["x"], points["y"], strict=True)]
    placed: list[tuple[float, float]] = []
    names = {}
    for row in first.sort_values("turn", kind="stable").itertuples():
        for side, (dx, dy) in _SIDES.items():
            at = (row.x / wide + dx, row.y / tall + dy)
            if not _near(at, placed, _NAME) and not _near(at, marks, _MARK):
                placed.append(at)
                names[str(row.run)] = side
                break
    return names


def _near(at: tuple[float, float], others: Sequence[tuple[float, float]], reach: tuple[float, float]) -> bool:
    """Whether another point lies within `reach`, across and up."""
    return any(abs(at[0] - x) < reach[0] and abs(at[1] - y) < reach[1] for x, y in others)


def _reach(estimate: float, low: float, high: float, colour: str) -> dict[str, object]:
    """An error bar from `low` to `high`; none where they are no numbers."""
    if low != low or high != high:
        return {"visible": False}
    return {
        "type": "data", "symmetric": False, "array": [high - estimate], "arrayminus": [estimate - low],
        "color": colour, "thickness": 1, "width": 4,
    }  # fmt: skip


def _reading(row: Any, look: Look, metric: str) -> str:
    interval = look.t("chart.interval", estimate=row.y, low=row.low, high=row.high)
    return f"{look.t.name('metric', metric)} {interval}"
