"""Figures of who comes and goes: people new, staying, back and lost by period, and how often they are there in one."""

from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard.charts.axes import count_axis, date_axis, share_axis
from dashboard.charts.frame import Look, Table, canvas, frame, plain

PARTS = ("retained", "back", "new", "lost")  # from the axis outwards; the last one stands below it


def growth(table: Table, *, title: str, look: Look, tz: str, grain: str) -> go.Figure:
    """From (period, users, new, retained, back, lost): people of each period above the axis, and below it those of the
    period before who were not there."""
    data = frame(table)
    t, c = look.t, look.c
    days = [t.day(period) for period in data["period"]]
    colours = dict(zip(PARTS, (c.accent, c.series[5], c.series[2], c.counter), strict=True))

    def bars(part: str) -> dict[str, Any]:
        counts = data[part].to_numpy()
        return {
            "type": "bar",
            "x": data["period"],
            "y": -counts if part == "lost" else counts,
            "name": plain(t(f"growth.{part}")),
            "marker": {"color": colours[part], "line": {"width": 0}},
            "customdata": np.stack([days, [t.count(n) for n in counts]], axis=-1) if len(data) else None,
            "hovertemplate": f"%{{customdata[0]}}<br>{plain(t(f'growth.{part}'))}: %{{customdata[1]}}<extra></extra>",
        }

    most, lost = (int(data[name].max()) if len(data) else 0 for name in ("users", "lost"))
    layout = count_axis(max(most, lost, 1), title=t(f"growth.axis_{grain}"), look=look, below=lost)
    layout["margin"]["t"] = 76
    return canvas(
        look,
        title=title,
        height=320,
        data=[bars(part) for part in PARTS],
        barmode="relative",
        bargap=0.15,
        showlegend=True,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        **date_axis(data["period"], look=look, tz=tz),
        **layout,
    )


def stickiness(table: Table, *, title: str, look: Look, tz: str, grain: str) -> go.Figure:
    """From (period, users, daily, share): the share of each period's people who are there on an average day of it."""
    data = frame(table)
    t, c = look.t, look.c
    told = [[t.day(row.period), t.figure(row.daily), t.count(row.users)] for row in data.itertuples()]
    said = plain(t("growth.hover", daily="%{customdata[1]}", users="%{customdata[2]}"))
    line = {
        "type": "scatter",
        "x": data["period"],
        "y": data["share"],
        "mode": "lines+markers",
        "line": {"color": c.accent, "width": 2},
        "marker": {"size": 5},
        "customdata": told or None,
        "hovertemplate": f"%{{customdata[0]}} · %{{y:.1%}}<br>{said}<extra></extra>",
    }
    most = float(data["share"].max()) if len(data) else 1.0
    return canvas(
        look,
        title=title,
        height=320,
        data=[line],
        **date_axis(data["period"], look=look, tz=tz),
        **share_axis(most, title=t(f"growth.share_{grain}")),
    )
