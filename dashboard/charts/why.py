"""The figure behind a recommendation: what each event of the history added to the item's log-probability."""

import math

import plotly.graph_objects as go

from dashboard.charts.frame import Look, Table, canvas, frame, label, plain, upright, width_px

_ROW_PX = 32


def waterfall(table: Table, *, title: str, look: Look) -> go.Figure:
    """From (title, phi), one row a player: bars that climb from no event at all to the whole history.

    The largest effect stands on top, where the climb ends. Numbers stand in a column of their own at the
    right, labels in one at the left, so that neither can be cut off by the bars.
    """
    data = frame(table)
    data = data.reindex(data["phi"].abs().sort_values(ascending=True, kind="stable").index)
    t, c = look.t, look.c
    rows = len(data)
    figure = canvas(look, title=title, height=92 + _ROW_PX * max(rows, 1))
    ends = data["phi"].cumsum().tolist()
    starts = [0.0, *ends[:-1]]
    names = [label(text) for text in data["title"]]
    figure.add_bar(
        orientation="h",
        y=list(range(rows)),
        base=starts,
        x=data["phi"],
        width=0.62,
        marker={"color": [c.accent if phi >= 0 else c.counter for phi in data["phi"]], "line": {"width": 0}},
        customdata=[
            [label(text, limit=70), t.figure(phi), t.figure(math.exp(phi))]
            for text, phi in zip(data["title"], data["phi"], strict=True)
        ],
        hovertemplate="<b>%{customdata[0]}</b><br>"
        + plain(t("chart.hover_phi", phi="%{customdata[1]}", times="%{customdata[2]}"))
        + "<extra></extra>",
    )
    steps = [
        {
            "type": "line",
            "x0": end,
            "x1": end,
            "y0": row + 0.31,
            "y1": row + 0.69,
            "line": {"color": c.reference, "width": 1},
        }
        for row, end in enumerate(ends[:-1])
    ]
    zero = upright(0, {"color": c.reference, "width": 1.5, "dash": "dot"})
    numbers = [
        {
            "x": 1,
            "xref": "paper",
            "y": row,
            "text": plain(_signed(phi)),
            "showarrow": False,
            "xanchor": "left",
            "xshift": 8,
            "font": {"size": 12, "color": c.text},
        }
        for row, phi in enumerate(data["phi"])
    ]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    room = (high - low or 1.0) * 0.04
    figure.update_xaxes(
        title_text=plain(t("chart.phi_axis")),
        range=[low - room, high + room],
        nticks=6,
    )
    figure.update_yaxes(
        tickvals=list(range(rows)),
        ticktext=names,
        range=[-0.6, rows - 0.4],
        showgrid=False,
        tickfont={"color": c.text},
    )
    figure.update_layout(
        shapes=[*steps, zero],
        annotations=numbers,
        margin={"r": 24 + max((width_px(_signed(p)) for p in data["phi"]), default=0)},
    )
    return figure


def _signed(phi: float) -> str:
    """Two decimals with the sign, in a typographer's minus: a column of them lines up."""
    return f"{phi:+.2f}".replace("-", "−")
