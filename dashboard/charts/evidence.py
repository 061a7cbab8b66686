"""Figures of estimates: dots with intervals for models, groups and gaps, and lift by step. n is never left
out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from dashboard.charts.frame import Look, Table, canvas, frame, label, plain, width_px
from dashboard.findings import gap_seen
from dashboard.theme import component_colour, policy_colours

POLICIES = ("guide", "push", "passive", "random")  # ways to choose what to show, in the order people read them
_ROW_PX = 34
_FEWEST = 10  # users behind a point of a curve; below, its interval says nothing


@dataclass(frozen=True)
class Dot:
    """One row of a dot plot: an estimate with its interval; `estimate` None draws the note alone."""

    name: str
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    colour: str
    note: str = ""
    reach: float | None = None  # half-width around zero within which an effect could not have been seen
    signed: bool = False  # a difference, whose numbers carry their sign


def dots(rows: Sequence[Dot], *, title: str, look: Look, axis: str, reference: tuple[float, str] | None) -> go.Figure:
    """Estimates from the top down in the order given, intervals as bars, their numbers in a column at the
    right.
    """
    t, c = look.t, look.c
    figure = canvas(look, title=title, height=144 + _ROW_PX * max(len(rows), 1))
    texts = [reading(row, look) for row in rows]
    for place, row in enumerate(rows):
        if row.reach is not None:
            figure.add_scatter(
                x=[-row.reach, row.reach],
                y=[place, place],
                mode="lines",
                line={"color": c.hairline, "width": 14},
                hovertemplate=plain(t("chart.hover_reach", reach=row.reach)) + "<extra></extra>",
            )
        if row.estimate is not None and row.low is not None and row.high is not None:
            figure.add_scatter(
                x=[row.low, row.high],
                y=[place, place],
                mode="lines+markers",
                line={"color": row.colour, "width": 2},
                marker={"symbol": "line-ns", "size": 9, "line": {"color": row.colour, "width": 2}},
                opacity=0.65,
                hoverinfo="skip",
            )
        if row.estimate is not None:
            figure.add_scatter(
                x=[row.estimate],
                y=[place],
                mode="markers",
                marker={"size": 11, "color": row.colour, "line": {"color": c.background, "width": 1.5}},
                hovertemplate=f"<b>{label(row.name, limit=60)}</b><br>{plain(texts[place])}<br>"
                + plain(t("chart.n", n=row.n))
                + "<extra></extra>",
            )
        figure.add_annotation(
            x=1, xref="paper", y=place, text=plain(texts[place]), showarrow=False, xanchor="left", xshift=8,
            font={"size": 12, "color": c.text if row.estimate is not None else c.muted},
        )  # fmt: skip
    if reference is not None:
        figure.add_vline(x=reference[0], line={"color": c.reference, "width": 1.5, "dash": "dot"}, layer="below")
        figure.add_annotation(
            x=reference[0], y=1, yref="paper", text=plain(reference[1]), showarrow=False, yanchor="bottom",
            font={"size": 12, "color": c.muted},
        )  # fmt: skip
    figure.update_xaxes(title_text=plain(axis), nticks=5, zeroline=False, range=extent(rows, reference))
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[label(row.name) for row in rows],
        range=[len(rows) - 0.4, -0.6],
        tickfont={"color": c.text, "size": 12},
        zeroline=False,
    )
    figure.update_layout(margin={"t": 64, "r": 12 + max((width_px(text) for text in texts), default=0)})
    return figure


def model_rows(metrics: Mapping[str, Mapping[str, Any]], *, metric: str, look: Look) -> list[Dot]:
    """The champion and every component by one metric, best first; `metrics` maps a name to {metric: M}."""
    rows = [
        Dot(
            name=look.t.name("component", name),
            estimate=m["estimate"],
            low=m.get("low"),
            high=m.get("high"),
            n=m["n"],
            colour=component_colour(name, look.scheme),
        )
        for name, m in ((name, values[metric]) for name, values in metrics.items() if metric in values)
    ]
    return sorted(rows, key=lambda row: -(row.estimate or 0.0))


def model_dots(metrics: Mapping[str, Mapping[str, Any]], *, metric: str, title: str, look: Look) -> go.Figure:
    """`model_rows` as a figure, against what is served."""
    served = metrics.get("champion", {}).get(metric)
    return dots(
        model_rows(metrics, metric=metric, look=look),
        title=title,
        look=look,
        axis=look.t.name("metric_axis", metric),
        reference=reference_at(served["estimate"], look.t("chart.served")) if served else None,
    )


def group_rows(table: Table, *, look: Look) -> list[Dot]:
    """One attribute's groups by one metric, from (group, n, estimate, low, high, suppressed), in the
    table's order.
    """
    t = look.t
    return [
        Dot(
            name=t.name("group", str(row.group))
            if row.suppressed
            else t("chart.group_n", group=t.name("group", str(row.group)), n=int(row.n)),
            estimate=None if row.suppressed else _known(row.estimate),
            low=None if row.suppressed else _known(row.low),
            high=None if row.suppressed else _known(row.high),
            n=0 if row.suppressed else int(row.n),
            colour=look.c.accent,
            note=t("chart.suppressed") if row.suppressed else t("chart.no_data"),
        )
        for row in frame(table).itertuples()
    ]


def group_dots(table: Table, *, metric: str, overall: float, title: str, look: Look) -> go.Figure:
    """`group_rows` as a figure, against all users."""
    axis, reference = look.t.name("metric_axis", metric), reference_at(overall, look.t("chart.all_users"))
    return dots(group_rows(table, look=look), title=title, look=look, axis=axis, reference=reference)


def gap_rows(table: Table, *, look: Look) -> list[Dot]:
    """Signed gaps, from (a, b, gap, low, high, detectable, n, p_holm); those that can be told from zero stand out."""
    t, c = look.t, look.c
    return [
        Dot(
            name=t("chart.gap_row", a=t.name("group", str(row.a)), b=t.name("group", str(row.b))),
            estimate=row.gap,
            low=row.low,
            high=row.high,
            n=int(row.n),
            colour=c.counter if gap_seen(row._asdict()) else c.accent,
            reach=row.detectable,
        )
        for row in frame(table).itertuples()
    ]


def gap_dots(table: Table, *, metric: str, title: str, look: Look) -> go.Figure:
    """`gap_rows` as a figure; the grey bar is what could not have been seen."""
    axis = look.t("chart.gap_axis", metric=look.t.name("metric", metric))
    reference = (0.0, look.t("chart.no_gap"))
    return dots(gap_rows(table, look=look), title=title, look=look, axis=axis, reference=reference)


def lift_curves(table: Table, *, title: str, look: Look, axis: str, steps: str) -> go.Figure:
    """Lift by step with its interval, from (policy, step, estimate, low, high, n); each policy named at its
    line's end.
    """
    data = frame(table).dropna(subset=["estimate", "low", "high"])
    data = data[data["n"] >= _FEWEST]
    t, c = look.t, look.c
    figure = canvas(look, title=title, height=320)
    colours = policy_colours(look.scheme)
    names = {policy: t.name("policy", policy) for policy in dict.fromkeys(data["policy"])}
    ends: list[tuple[float, str]] = []
    for policy, part in data.groupby("policy", sort=False):
        part, colour = part.sort_values("step"), colours.get(str(policy), c.reference)
        figure.add_scatter(
            x=[*part["step"], *part["step"][::-1]],
            y=[*part["high"], *part["low"][::-1]],
            mode="lines",
            fill="toself",
            fillcolor=_faint(colour),
            line={"width": 0},
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=part["step"],
            y=part["estimate"],
            mode="lines+markers",
            line={"color": colour, "width": 2},
            marker={"size": 6},
            customdata=[[t.figure(r.low), t.figure(r.high), t.count(r.n)] for r in part.itertuples()],
            hovertemplate=f"<b>{plain(names[policy])}</b> %{{y:.4f}}"
            " [%{customdata[0]}, %{customdata[1]}]<br>n %{customdata[2]}<extra></extra>",
        )
        ends.append((float(part["estimate"].iloc[-1]), str(policy)))
    low, high = float(data["low"].min()), float(data["high"].max())
    for y, policy in _apart(ends, gap=(max(high, 0) - min(low, 0)) * 0.075):
        figure.add_annotation(
            x=1, xref="paper", y=y, text=plain(names[policy]), showarrow=False, xanchor="left", xshift=8,
            font={"size": 12, "color": c.text},
        )  # fmt: skip
    figure.add_hline(y=0, line={"color": c.reference, "width": 1.5, "dash": "dot"})
    last = int(data["step"].max())
    figure.update_xaxes(title_text=plain(steps), range=[float(data["step"].min()) - 0.1, last + 0.1], nticks=11)
    figure.update_yaxes(title_text=plain(axis), nticks=6)
    figure.update_layout(margin={"r": 24 + max((width_px(n) for n in names.values()), default=0)})
    return figure


def reading(row: Dot, look: Look) -> str:
    """A row's numbers as they stand in the column at the right."""
    if row.estimate is None:
        return row.note
    if row.low is None or row.high is None:
        return look.t.figure(row.estimate)
    key = "value.signed_range" if row.signed else "chart.interval"
    return look.t(key, estimate=row.estimate, low=row.low, high=row.high)


def reference_at(value: float | None, name: str) -> tuple[float, str] | None:
    """A line to compare with, or None where there is no figure to draw it at."""
    return None if value is None or math.isnan(value) else (value, name)


def extent(rows: Sequence[Dot], reference: tuple[float, str] | None) -> list[float] | None:
    """The x axis that holds every mark with a little room; None without any."""
    marks = [v for row in rows for v in (row.estimate, row.low, row.high) if v is not None]
    marks += [sign * row.reach for row in rows if row.reach is not None for sign in (-1, 1)]
    marks += [reference[0]] if reference else []
    if not marks:
        return None
    room = (max(marks) - min(marks) or abs(marks[0]) or 1.0) * 0.05
    return [min(marks) - room, max(marks) + room]


def _apart(ends: list[tuple[float, str]], *, gap: float) -> list[tuple[float, str]]:
    """Labels moved up just enough that none touches the one below."""
    placed: list[tuple[float, str]] = []
    for y, name in sorted(ends):
        placed.append((max(y, placed[-1][0] + gap) if placed else y, name))
    return placed


def _faint(colour: str) -> str:
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r}, {g}, {b}, 0.16)"


def path(table: Table, *, title: str, look: Look, target: str) -> go.Figure:
    """How the probability of a target grows along a planned path, from (step, title, mass, acceptance); step 0 is
    now.
    """
    data = frame(table)
    t, c = look.t, look.c
    figure = canvas(look, title=title, height=240)
    figure.add_scatter(
        x=data["step"],
        y=data["mass"],
        mode="lines+markers",
        line={"color": c.accent, "width": 2},
        marker={"size": 8},
        customdata=[[label(r.title, limit=60), t.percent(r.acceptance)] for r in data.itertuples()],
        hovertemplate="<b>%{customdata[0]}</b><br>%{y:.1%}<br>"
        + plain(t("chart.hover_acceptance", acceptance="%{customdata[1]}"))
        + "<extra></extra>",
    )
    figure.update_xaxes(title_text=plain(t("chart.path_axis")), range=[-0.2, len(data) - 0.8], dtick=1)
    figure.update_yaxes(
        title_text=plain(t("chart.mass_axis", target=target)), tickformat=".0%", rangemode="tozero", nticks=5
    )
    return figure


def _known(value: float | None) -> float | None:
    """None for what is no number: a group without data has no mark."""
    return None if value is None or math.isnan(value) else float(value)
