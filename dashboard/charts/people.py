"""Figures of how people go on: how far they come, who returns, who they are by habit, what leads to what."""

from collections.abc import Collection

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import Look, Table, canvas, frame, label, plain, width_px

_ROW_PX = 46
_MOST_ROWS = 26  # periods in which people came first, the latest of them
_REST = "#"


def funnel(table: Table, *, title: str, look: Look) -> go.Figure:
    """From (step, kind, users, share, low, high, n), shares of all that were looked at: a bar a step, with the interval
    of its share, and what it is of the step before in its label."""
    data = frame(table)
    t, c = look.t, look.c
    figure = canvas(look, title=title, height=110 + _ROW_PX * max(len(data), 1))
    names = [label(t.name("kind", kind), limit=24) for kind in data["kind"]]
    before = data["users"].shift(fill_value=0).to_numpy()
    shares = [t.percent(share) for share in data["share"]]
    onward = [t("chart.of_before", of=users / max(past, 1)) for users, past in zip(data["users"], before, strict=True)]
    quiet = f"<br><span style='color:{c.muted};font-size:11px'>"
    told = [
        f"{plain(share)}{quiet}{plain(of)}</span>" if step else plain(share)
        for step, (share, of) in enumerate(zip(shares, onward, strict=True))
    ]
    figure.add_bar(
        x=data["share"],
        y=data["step"],
        orientation="h",
        width=0.6,
        marker_color=c.accent,
        error_x={
            "type": "data",
            "array": data["high"] - data["share"],
            "arrayminus": data["share"] - data["low"],
            "color": c.text,
            "thickness": 1,
            "width": 4,
        },
        customdata=np.stack([names, [t.count(n) for n in data["users"]], [t.count(n) for n in data["n"]]], axis=-1)
        if len(data)
        else None,
        hovertemplate="%{customdata[0]}<br>"
        + plain(t("chart.hover_of_users", users="%{customdata[1]}", n="%{customdata[2]}"))
        + "<extra></extra>",
    )
    for step, text in zip(data["step"], told, strict=True):  # beside them all: on bars are intervals, which may be wide
        figure.add_annotation(
            x=1.0,
            xref="paper",
            xshift=8,
            xanchor="left",
            align="left",
            y=step,
            text=text,
            showarrow=False,
            font={"size": 12, "color": c.text},
        )
    figure.update_xaxes(title_text=plain(t("chart.users_share_axis")), tickformat=".0%", range=[0, 1.03])
    figure.update_xaxes(tickvals=[0, 0.25, 0.5, 0.75, 1.0])
    figure.update_yaxes(tickvals=data["step"], ticktext=names, autorange="reversed", showgrid=False)
    beside = max(map(width_px, [*shares, *onward[1:]]), default=0)
    figure.update_layout(margin={"l": 12 + max(map(width_px, names), default=0), "r": 16 + beside})
    return figure


def retention(table: Table, *, title: str, look: Look, tz: str, grain: str) -> go.Figure:
    """From (started, age, users, size, n): a row for those who came first in one period, a column for each period
    after; the darker, the more of them came then. The first period itself, in which all came, is left out."""
    data = frame(table)
    t, c = look.t, look.c
    started = sorted(data["started"].unique())[-_MOST_ROWS:]
    data = data[data["started"].isin(started) & (data["age"] > 0)]
    sizes = frame(table).drop_duplicates("started").set_index("started")["size"]
    ages = list(range(1, int(data["age"].max()) + 1)) if len(data) else []
    figure = canvas(look, title=title, height=110 + 18 * max(len(started), 4))
    rows = {period: number for number, period in enumerate(started)}
    grid = np.full((len(started), max(len(ages), 1)), np.nan)
    for period, age, users in zip(data["started"], data["age"], data["users"], strict=True):
        grid[rows[period], age - 1] = users / sizes[period]
    names = [t("chart.started", day=t.day(period), n=int(sizes[period])) for period in started]
    figure.add_heatmap(
        z=grid,
        x=ages,
        y=list(range(len(started))),
        xgap=2,
        ygap=2,
        zmin=0,
        zmax=max(float(np.nanmax(grid)) if np.isfinite(grid).any() else 0.0, 0.01),
        hoverongaps=False,
        colorscale=[[i / 6, tone] for i, tone in enumerate(c.sequential)],
        customdata=[[name] * max(len(ages), 1) for name in names],
        hovertemplate="%{customdata}<br>"
        + plain(t(f"chart.hover_{grain}_after", age="%{x}", share="%{z:.1%}"))
        + "<extra></extra>",
        colorbar={
            "thickness": 8,
            "len": 0.9,
            "outlinewidth": 0,
            "nticks": 4,
            "tickformat": ".0%",
            "tickfont": {"size": 11, "color": c.muted},
        },
    )
    few = names if len(names) <= 10 else [name if not number % 2 else "" for number, name in enumerate(names)]
    marks = {"dtick": 1, "tick0": 1} if len(ages) <= 10 else {"nticks": 10}
    figure.update_xaxes(title_text=plain(t(f"chart.{grain}s_after", tz=tz)), **marks, ticks="", showgrid=False)
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[plain(name) for name in few],
        autorange="reversed",
        ticks="",
        showgrid=False,
    )
    figure.update_layout(margin={"l": 12 + max(map(width_px, names), default=0)})
    return figure


def transitions(table: Table, *, title: str, look: Look) -> go.Figure:
    """From (category, following, moves): what comes after what. Left is where a move came from, right where it went;
    null is told as the others."""
    data = frame(table)
    t, c = look.t, look.c
    figure = canvas(look, title=title, height=420)
    order = _by_moves(data)
    colours = {
        name: c.series[number % len(c.series)] if name != _REST else c.reference for number, name in enumerate(order)
    }
    sides = {side: {name: number + (len(order) if side else 0) for number, name in enumerate(order)} for side in (0, 1)}
    whole = max(float(data["moves"].sum()), 1.0)
    froms, tos = ([_REST if pd.isna(name) else name for name in data[side]] for side in ("category", "following"))
    figure.add_sankey(
        arrangement="fixed",
        node={
            "label": [_named(name, look) for name in (*order, *order)],
            "color": [colours[name] for name in (*order, *order)],
            "pad": 12,
            "thickness": 14,
            "line": {"width": 0},
            "hovertemplate": "%{label}<br>" + plain(t("chart.hover_moves", moves="%{value:,}")) + "<extra></extra>",
        },
        link={
            "source": [sides[0][name] for name in froms],
            "target": [sides[1][name] for name in tos],
            "value": data["moves"],
            "color": [_faint(colours[name]) for name in froms],
            "customdata": [t.percent(moves / whole) for moves in data["moves"]],
            "hovertemplate": "%{source.label} → %{target.label}<br>%{value:,} · %{customdata}<extra></extra>",
        },
        textfont={"color": c.text, "size": 12},
    )
    figure.update_layout(margin={"l": 8, "r": 8, "b": 12})
    return figure


def segments(table: Table, *, title: str, look: Look, picked: Collection[str] = ()) -> go.Figure:
    """From (segment, users, events), in their own order: each segment's share of users and of events; where some are
    `picked`, the others are pale."""
    data = frame(table)
    t, c = look.t, look.c
    figure = canvas(look, title=title, height=130 + 40 * max(len(data), 2))
    names = [t(f"segment.{name}") for name in data["segment"]]
    for column, colour, word in (("users", c.accent, "chart.users"), ("events", c.counter, "chart.events")):
        shares = data[column] / max(float(data[column].sum()), 1.0)
        figure.add_bar(
            x=shares,
            y=names,
            orientation="h",
            name=plain(t(word)),
            marker={
                "color": colour,
                "opacity": [1.0 if not picked or it in picked else 0.35 for it in data["segment"]],
            },
            customdata=np.stack([data["segment"], [t.count(n) for n in data[column]]], axis=-1) if len(data) else None,
            hovertemplate="%{y}<br>%{customdata[1]} · %{x:.1%}<extra></extra>",
        )
    figure.update_layout(
        barmode="group",
        bargap=0.3,
        showlegend=True,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        margin={"l": 12 + max(map(width_px, names), default=0), "t": 70},
    )
    figure.update_xaxes(title_text=plain(t("chart.share_axis")), tickformat=".0%", rangemode="tozero", nticks=6)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure


def _by_moves(data: pd.DataFrame) -> list[str]:
    """Categories by their moves, most first; the others last."""
    both = pd.concat(
        [data[["category", "moves"]], data[["following", "moves"]].rename(columns={"following": "category"})]
    )
    named = both.dropna(subset=["category"]).groupby("category")["moves"].sum().sort_values(ascending=False)
    return [*named.index, *([_REST] if data[["category", "following"]].isna().to_numpy().any() else [])]


def _named(name: str, look: Look) -> str:
    return plain(look.t("chart.others")) if name == _REST else label(name, limit=22)


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.3)"
