"""Figures of who comes and goes: people new, staying, back and lost by period, and how often they are there in one."""

import numpy as np
import plotly.graph_objects as go

from dashboard.charts.frame import Look, Table, canvas, frame, plain
from dashboard.charts.time_axis import date_axis

PARTS = ("retained", "back", "new", "lost")  # from the axis outwards; the last one stands below it


def growth(table: Table, *, title: str, look: Look, tz: str, grain: str) -> go.Figure:
    """From (period, users, new, retained, back, lost): people of each period above the axis, and below it those of the
    period before who were not there."""
    data = frame(table)
    t, c = look.t, look.c
    figure = canvas(look, title=title, height=320)
    days = [t.day(period) for period in data["period"]]
    colours = dict(zip(PARTS, (c.accent, c.series[5], c.series[2], c.counter), strict=True))
    for part in PARTS:
        counts = data[part].to_numpy()
        figure.add_bar(
            x=data["period"],
            y=-counts if part == "lost" else counts,
            name=plain(t(f"growth.{part}")),
            marker={"color": colours[part], "line": {"width": 0}},
            customdata=np.stack([days, [t.count(n) for n in counts]], axis=-1) if len(data) else None,
            hovertemplate=f"%{{customdata[0]}}<br>{plain(t(f'growth.{part}'))}: %{{customdata[1]}}<extra></extra>",
        )
    figure.update_layout(
        barmode="relative",
        bargap=0.15,
        showlegend=True,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        margin={"t": 70},
    )
    date_axis(figure, data["period"], look=look, tz=tz)
    most = max(int(data["users"].max()), int(data["lost"].max()), 1) if len(data) else 1
    ticks = _steps(most)
    below = [-tick for tick in ticks if tick and len(data) and tick <= int(data["lost"].max())]
    figure.update_yaxes(
        title_text=plain(t(f"growth.axis_{grain}")),
        tickvals=[*below, *ticks],
        ticktext=[t.count(abs(tick)) for tick in (*below, *ticks)],
    )
    return figure


def stickiness(table: Table, *, title: str, look: Look, tz: str, grain: str) -> go.Figure:
    """From (period, users, daily, share): the share of each period's people who are there on an average day of it."""
    data = frame(table)
    t, c = look.t, look.c
    figure = canvas(look, title=title, height=320)
    told = [[t.day(row.period), t.figure(row.daily), t.count(row.users)] for row in data.itertuples()]
    figure.add_scatter(
        x=data["period"],
        y=data["share"],
        mode="lines+markers",
        line={"color": c.accent, "width": 2},
        marker={"size": 5},
        customdata=told or None,
        hovertemplate="%{customdata[0]} · %{y:.1%}<br>"
        + plain(t("growth.hover", daily="%{customdata[1]}", users="%{customdata[2]}"))
        + "<extra></extra>",
    )
    date_axis(figure, data["period"], look=look, tz=tz)
    figure.update_yaxes(title_text=plain(t(f"growth.share_{grain}")), tickformat=".0%", rangemode="tozero", nticks=6)
    return figure


def _steps(most: int, *, about: int = 4) -> list[int]:
    """Round numbers of people from 0 to `most`, some four of them."""
    size = 10 ** int(np.floor(np.log10(max(most / about, 1))))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor * about >= most)
    return list(range(0, most + 1, step))
