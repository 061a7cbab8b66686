"""The figure of a statement's result: two of its columns as a line, as bars or as points, whatever they hold."""

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import Look, canvas, label, plain

_BAR_PX = 22
_LEAST_PX = 300
_READ = 120  # characters of a text or a name, however long it is


def result(data: pd.DataFrame, *, kind: str, x: str, y: str, title: str, look: Look) -> go.Figure:
    """From (x, y), y finite numbers, rows in the order in which they came: `line`, `bar` or `scatter`; x and y name the
    columns. Bars of texts lie, so that each has room for its name; equal names stand apart."""
    x, y = x[:_READ], y[:_READ]
    c, moments = look.c, pd.api.types.is_datetime64_any_dtype(data["x"])
    texts = not moments and not pd.api.types.is_numeric_dtype(data["x"])
    lying = kind == "bar" and texts
    height = max(_LEAST_PX, len(data) * _BAR_PX + 90) if lying else 320
    figure = canvas(look, title=title, height=height)
    named = [label(str(value)[:_READ], limit=30) for value in data["x"]] if texts else data["x"]
    hover = f"{plain(x)}: %{{customdata}}<br>{plain(y)}: %{{{'x' if lying else 'y'}:,}}<extra></extra>"
    told = [plain(f"{value:%Y-%m-%d %H:%M}" if moments else str(value)[:_READ]) for value in data["x"]]
    places = list(range(len(data)))
    if lying:
        figure.add_bar(
            x=data["y"], y=places, orientation="h", marker_color=c.accent, customdata=told, hovertemplate=hover
        )
        figure.update_yaxes(tickvals=places, ticktext=named, autorange="reversed", showgrid=False)
        figure.update_xaxes(title_text=plain(y), showgrid=True, ticks="", nticks=6)
        return figure
    across = places if texts else data["x"]
    if kind == "bar":
        figure.add_bar(x=across, y=data["y"], marker_color=c.accent, customdata=told, hovertemplate=hover)
    else:
        figure.add_scatter(
            x=across,
            y=data["y"],
            mode="lines" if kind == "line" and len(data) > 1 else "markers",
            line={"color": c.accent, "width": 2},
            marker={"color": c.accent, "size": 7, "opacity": 0.65, "line": {"width": 0}},
            customdata=told,
            hovertemplate=hover,
        )
    figure.update_xaxes(title_text=plain(f"{x} (UTC)" if moments else x), nticks=7)
    if texts:
        some = places[:: max(1, len(places) // 8)]
        figure.update_xaxes(tickvals=some, ticktext=[named[place] for place in some])
    figure.update_yaxes(title_text=plain(y), rangemode="normal" if kind == "scatter" else "tozero", nticks=6)
    return figure
