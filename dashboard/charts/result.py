"""The figure of a statement's result: two of its columns as a line, as bars or as points, whatever they hold."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import Look, canvas, label, plain

_BAR_PX = 22
_MOST_LANES = 40  # that each have a name of their own
_LEAST_PX = 300
_READ = 120  # characters of a text or a name, however long it is


def result(data: pd.DataFrame, *, kind: str, x: str, y: str, title: str, look: Look) -> go.Figure:
    """From (x, y), y finite numbers, rows in the order in which they came: `line`, `bar` or `scatter`; x and y name the
    columns. Of texts, bars and points lie, so that each has room for its name: a bar for each row, equal names apart;
    points of equal names on one lane."""
    x, y = x[:_READ], y[:_READ]
    c, moments = look.c, pd.api.types.is_datetime64_any_dtype(data["x"])
    texts = not moments and not pd.api.types.is_numeric_dtype(data["x"])
    lying = kind != "line" and texts
    lanes, names = pd.factorize(data["x"]) if texts and kind == "scatter" else (np.arange(len(data)), data["x"])
    height = max(_LEAST_PX, min(len(names), _MOST_LANES) * _BAR_PX + 90) if lying else 320
    figure = canvas(look, title=title, height=height)
    named = [label(str(value)[:_READ], limit=30) for value in names] if texts else []
    hover = f"{plain(x)}: %{{customdata}}<br>{plain(y)}: %{{{'x' if lying else 'y'}:,}}<extra></extra>"
    told = [plain(f"{value:%Y-%m-%d %H:%M}" if moments else str(value)[:_READ]) for value in data["x"]]
    points = {"color": c.accent, "size": 7, "opacity": 0.65, "line": {"width": 0}}
    if lying:
        shared = {"x": data["y"], "y": lanes, "customdata": told, "hovertemplate": hover}
        if kind == "bar":
            figure.add_bar(orientation="h", marker_color=c.accent, **shared)
        else:
            figure.add_scatter(mode="markers", marker=points, **shared)
        some = range(0, len(names), -(-len(names) // _MOST_LANES))
        figure.update_yaxes(
            tickvals=[*some], ticktext=[named[lane] for lane in some], autorange="reversed", showgrid=kind == "scatter"
        )
        figure.update_xaxes(title_text=plain(y), showgrid=True, ticks="", nticks=6)
        return figure
    across = lanes if texts else data["x"]
    if kind == "bar":
        figure.add_bar(x=across, y=data["y"], marker_color=c.accent, customdata=told, hovertemplate=hover)
    else:
        figure.add_scatter(
            x=across,
            y=data["y"],
            mode="lines" if kind == "line" and len(data) > 1 else "markers",
            line={"color": c.accent, "width": 2},
            marker=points,
            customdata=told,
            hovertemplate=hover,
        )
    figure.update_xaxes(title_text=plain(f"{x} (UTC)" if moments else x), nticks=7)
    if texts:
        some = range(0, len(named), max(1, len(named) // 8))
        figure.update_xaxes(tickvals=[*some], ticktext=[named[place] for place in some])
    figure.update_yaxes(title_text=plain(y), rangemode="normal" if kind == "scatter" else "tozero", nticks=6)
    return figure
