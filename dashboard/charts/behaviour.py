"""Figures of what people did: activity in time, the long tail, the hours of the week, one person's events."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.axes import count_axis, date_axis, margins, share_axis
from dashboard.charts.frame import Look, Table, canvas, frame, label, plain, upright

_CURVE_POINTS = 200
_COLOURBAR_PX = 70


def activity(table: Table, *, title: str, look: Look, tz: str, grain: str = "day") -> go.Figure:
    """Events over time from (period, events, users); the busiest period is marked."""
    return _over_time(table, "events", title=title, look=look, tz=tz, grain=grain)


def sessions(table: Table, *, title: str, look: Look, tz: str, grain: str = "day") -> go.Figure:
    """Sessions over time, by when they began, from (period, sessions, users); the busiest period is marked."""
    return _over_time(table, "sessions", title=title, look=look, tz=tz, grain=grain)


def _over_time(table: Table, what: str, *, title: str, look: Look, tz: str, grain: str) -> go.Figure:
    """A line of the column `what` by period; each point tells its users, too."""
    data = frame(table)
    t, c = look.t, look.c
    said = plain(t(f"chart.hover_{what}_users", **{what: "%{y:,}"}, users="%{customdata[1]}"))
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "x": data["period"],
            "y": data[what],
            "mode": "lines",
            "line": {"color": c.accent, "width": 2},
            "fill": "tozeroy",
            "fillcolor": c.band,
            "customdata": np.stack([[t.day(p) for p in data["period"]], [t.count(u) for u in data["users"]]], axis=-1),
            "hovertemplate": f"%{{customdata[0]}}<br>{said}<extra></extra>",
        }
    ]
    notes: list[dict[str, Any]] = []
    most = 1
    if len(data):
        top = data.loc[data[what].idxmax()]
        most = int(top[what])
        text = f"{t.day(top['period'])} · {t.count(most)}"
        traces.append(_point(look, x=top["period"], y=most))
        notes.append(_note(look, x=top["period"], y=most, text=text))
    return canvas(
        look,
        title=title,
        height=260,
        data=traces,
        annotations=notes,
        **date_axis(data["period"], look=look, tz=tz),
        **count_axis(most, title=t(f"chart.{what}_per_{grain}"), look=look),
    )


def long_tail(table: Table, *, title: str, look: Look) -> go.Figure:
    """How concentrated attention is, from (rank, cumulative): share of events that the top share of items
    takes.
    """
    data = frame(table).sort_values("rank")
    t, c = look.t, look.c
    items = data["rank"].to_numpy(dtype=float) / max(len(data), 1)
    taken = data["cumulative"].to_numpy(dtype=float)
    x, y = np.concatenate([[0.0], items]), np.concatenate([[0.0], taken])
    seen = _steps_of(x, y)
    said = plain(t("chart.hover_long_tail", items="%{x:.1%}", events="%{y:.1%}"))
    lines = {"type": "scatter", "mode": "lines"}
    even = lines | {"x": [0, 1], "y": [0, 1], "line": {"color": c.reference, "width": 1.5, "dash": "dot"}}
    curve = lines | {"x": x[seen], "y": y[seen], "line": {"color": c.accent, "width": 2}}
    traces = [even | {"hoverinfo": "skip"}, curve | {"hovertemplate": f"{said}<extra></extra>"}]
    muted = {"font": {"size": 12, "color": c.muted}, "showarrow": False, "xanchor": "right"}
    notes = [muted | {"x": 1, "y": 0.3, "text": plain(t("chart.even"))}]
    if len(data):
        share = float(np.interp(0.2, x, y))
        traces.append(_point(look, x=0.2, y=share))
        notes.append(_note(look, x=0.2, y=share, text=t("chart.top_fifth", share=share), anchor="left"))
    layout = share_axis(1.0, title=t("chart.events_share_axis"))
    layout["yaxis"] |= {"range": [0, 1.04]}
    across = {"title": {"text": plain(t("chart.items_axis"))}, "tickformat": ".0%", "range": [0, 1.02], "nticks": 6}
    return canvas(look, title=title, height=320, data=traces, annotations=notes, xaxis=across, **layout)


def _steps_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Places of a rising curve's points, ends included, so close together (_CURVE_POINTS each way) that a line through
    them is the curve to the eye: a browser need not be sent each of a hundred thousand items."""
    across = np.searchsorted(x, np.linspace(x[0], x[-1], _CURVE_POINTS))
    upwards = np.searchsorted(y, np.linspace(y[0], y[-1], _CURVE_POINTS))
    return np.unique(np.clip(np.concatenate([[0], across, upwards, [len(x) - 1]]), 0, len(x) - 1))


def hour_weekday(table: Table, *, title: str, look: Look, tz: str) -> go.Figure:
    """Events by hour and ISO weekday, from (weekday, hour, events); hours without events are zero, not
    missing.
    """
    data = frame(table)
    t, c = look.t, look.c
    grid = np.zeros((7, 24))
    grid[data["weekday"].to_numpy(dtype=int) - 1, data["hour"].to_numpy(dtype=int)] = data["events"].to_numpy(
        dtype=float
    )
    names = [t(f"weekday.{day}") for day in range(1, 8)]
    small = {"size": 11, "color": c.muted}
    cells = {
        "type": "heatmap",
        "z": grid,
        "x": list(range(24)),
        "y": names,
        "xgap": 2,
        "ygap": 2,
        "colorscale": [[i / 6, tone] for i, tone in enumerate(c.sequential)],
        "zmin": 0,
        "zmax": max(float(grid.max()), 1.0),
        "hovertemplate": f"%{{y}} %{{x}}:00<br>{plain(t('chart.hover_events', events='%{z:,}'))}<extra></extra>",
        "colorbar": {
            "thickness": 8,
            "len": 0.9,
            "outlinewidth": 0,
            "nticks": 4,
            "tickfont": small,
            "title": {"text": plain(t("chart.events")), "font": small | {"size": 12}, "side": "top"},
        },
    }
    across = {"title": {"text": plain(t("chart.hour_axis", tz=tz))}, "tickvals": [0, 4, 8, 12, 16, 20], "ticks": ""}
    return canvas(
        look,
        title=title,
        height=320,
        data=[cells],
        xaxis=across,
        yaxis={"autorange": "reversed", "ticks": ""},
        **margins(names, right_px=_COLOURBAR_PX),
    )


def timeline(table: Table, *, title: str, look: Look, tz: str, unit: str) -> go.Figure:
    """One person's events in order, oldest left, from (ts, title, kind, value, event_id): the value, or a
    lane for each kind.

    Events come in bursts (a rater's whole evening has one minute), so the axis runs by order and marks
    where a day begins.
    """
    data = frame(table).sort_values(["ts", "event_id"]).reset_index(drop=True)
    t, c = look.t, look.c
    figure = canvas(look, title=title, height=260)
    local = pd.to_datetime(data["ts"], utc=True).dt.tz_convert(tz)
    valued = bool(data["value"].notna().any()) and data["kind"].nunique() == 1
    lanes = [t.name("kind", kind) for kind in data["kind"]]
    heights = data["value"] if valued else pd.Series(lanes)
    figure.add_scatter(
        x=data.index + 1,
        y=heights,
        mode="markers",
        marker={"color": c.accent, "size": 8, "opacity": 0.65, "line": {"width": 0}},
        customdata=np.stack(
            [
                [label(title_, limit=60) for title_ in data["title"]],
                [f"{t.day(when)} {when:%H:%M}" for when in local],
                [plain(lane) for lane in lanes],
                [t.figure(v) for v in data["value"]],
            ],
            axis=-1,
        )
        if len(data)
        else None,
        hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[2]} %{customdata[3]} · %{customdata[1]}<extra></extra>",
    )
    starts = local.dt.date.ne(local.dt.date.shift())
    ticks = [int(i) for i in data.index[starts]]
    shown = _spaced(ticks, total=len(data))
    figure.update_xaxes(
        title_text=plain(t("chart.order_axis", tz=tz)),
        tickvals=[i + 1 for i in shown],
        ticktext=[t.day(local[i]) for i in shown],
        range=[0, len(data) + 1],
        tickangle=0,
    )
    if valued:
        figure.update_yaxes(title_text=plain(unit), nticks=6)
    else:
        own = list(dict.fromkeys(lanes))
        figure.update_yaxes(tickvals=own, ticktext=[label(lane, limit=24) for lane in own])
    days = [upright(i + 0.5, {"color": c.hairline, "width": 1}) | {"layer": "below"} for i in ticks[1:]]
    figure.update_layout(shapes=days)
    return figure


def _spaced(ticks: list[int], *, total: int, at_most: int = 4) -> list[int]:
    """Ticks far enough apart that their dates cannot touch."""
    kept: list[int] = []
    for tick in ticks:
        if tick > total * 0.88 and kept:
            continue
        if not kept or tick - kept[-1] >= total / at_most:
            kept.append(tick)
    return kept


def _point(look: Look, *, x: object, y: float) -> dict[str, Any]:
    """The mark of one place of a line."""
    marker = {"color": look.c.accent, "size": 8}
    return {"type": "scatter", "x": [x], "y": [y], "mode": "markers", "marker": marker, "hoverinfo": "skip"}


def _note(look: Look, *, x: object, y: float, text: str, anchor: str = "auto") -> dict[str, Any]:
    """What is written at such a mark: above it, or beside it where it has an anchor."""
    beside = anchor != "auto"
    return {
        "x": x,
        "y": y,
        "text": plain(text),
        "showarrow": False,
        "xanchor": anchor,
        "yanchor": "top" if beside else "bottom",
        "xshift": 8 if beside else 0,
        "yshift": -4 if beside else 6,
        "font": {"size": 12, "color": look.c.text},
    }
