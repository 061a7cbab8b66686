"""The figure of a search: parallel coordinates, one line a trial through its settings to what they came to.

Drawn as lines of the theme rather than as plotly's own kind, whose canvas shows no hover, cannot mark a line, and stays
in the colours of the scheme that it was drawn in.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from dashboard.charts.frame import Look, canvas, plain, upright

METRIC = "ndcg@10"
LOG_FROM = 10.0  # as `core.learn.space` has it: an axis that spans so much is logarithmic
_TONES = (2, 3, 4, 5, 6)  # of the sequential scale, lower figures paler


class _Axis:
    """One setting's axis: where a value stands in [0, 1], and the values that are written beside it."""

    def __init__(self, written: Any) -> None:
        self.values = [_name(value) for value in written] if isinstance(written, list) else None
        self.low, self.high, self.log = 0.0, 1.0, False
        self.written = "{:.2g}"
        if self.values is None:
            self.low, self.high = (float(end) for end in str(written).split(".."))
            self.log = self.low > 0 and self.high >= LOG_FROM * self.low

    def at(self, value: Any) -> float:
        if self.values is not None:
            return self.values.index(_name(value)) / max(len(self.values) - 1, 1)
        low, high, here = (math.log(v) if self.log else float(v) for v in (self.low, self.high, value))
        return (here - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        if self.values is not None:
            return [(self.at(value), value) for value in self.values]
        middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        return [(self.at(value), self.written.format(value)) for value in (self.low, middle, self.high)]


def parallel(
    trials: Sequence[Mapping[str, Any]], space: Mapping[str, Any], *, best: int, title: str, look: Look
) -> go.Figure:
    """From a search's rows (trial, state, ndcg@10, settings) and its space as written: an axis a setting, the last one
    validation NDCG@10, which also gives the lines their tone. The trial `best` is marked; what was cut short is dotted.

    Trials without a figure are left out; at least one has one.
    """
    t, c = look.t, look.c
    shown = sorted((row for row in trials if row[METRIC] is not None), key=lambda row: float(row[METRIC]))
    reached = [float(row[METRIC]) for row in shown]
    low, high = min(reached), max(reached)
    axes = {key: _Axis(written) for key, written in space.items()} | {METRIC: _Axis(f"{low!r}..{high!r}")}
    axes[METRIC].log, axes[METRIC].written = False, "{:.3f}"
    figure = canvas(look, title=title, height=400)
    for row in [*(row for row in shown if row["trial"] != best), *(row for row in shown if row["trial"] == best)]:
        share = axes[METRIC].at(row[METRIC]) if high > low else 1.0
        tone = c.sequential[_TONES[min(int(share * len(_TONES)), len(_TONES) - 1)]]
        marked = row["trial"] == best
        figure.add_scatter(
            x=list(range(len(axes))),
            y=[axes[key].at(row["settings"][key]) for key in space] + [axes[METRIC].at(row[METRIC])],
            mode="lines+markers" if marked else "lines",
            line={
                "color": c.counter if marked else tone,
                "width": 3.5 if marked else 1.5,
                "dash": "dot" if row["state"] == "pruned" else "solid",
            },
            marker={"size": 7},
            hovertemplate=_hover(row, look) + "<extra></extra>",
        )
    _write_axes(figure, axes, look)
    figure.add_annotation(
        x=len(axes) - 1,
        y=axes[METRIC].at(max(reached)),
        text=plain(t("search.best_label", trial=best)),
        showarrow=False,
        xanchor="right",
        xshift=-8,
        yshift=12,
        font={"size": 12, "color": c.counter},
        bgcolor=c.background,
    )
    return figure


def _hover(row: Mapping[str, Any], look: Look) -> str:
    t = look.t
    settings = [f"{plain(key)} = {_short(value)}" for key, value in row["settings"].items()]
    head = t("search.hover", trial=row["trial"], value=row[METRIC], state=t.name("trial", row["state"]))
    return "<br>".join([plain(head), *settings])


def _name(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else plain(str(value))


def _write_axes(figure: go.Figure, axes: Mapping[str, _Axis], look: Look) -> None:
    """A line, a name and its values for each axis; names break where a narrow screen needs them to."""
    c = look.c
    figure.update_layout(
        shapes=[upright(place, {"color": c.reference, "width": 1}) for place in range(len(axes))],
        margin={"t": 84, "b": 24, "l": 16, "r": 56},
    )
    for place, (key, axis) in enumerate(axes.items()):
        name = look.t.name("setting", key)
        figure.add_annotation(
            x=place,
            y=1,
            yref="y domain",
            yshift=12,
            text="<br>".join(plain(name).split(" ")),
            showarrow=False,
            yanchor="bottom",
            font={"size": 12, "color": c.text},
        )
        for where, text in axis.ticks():
            figure.add_annotation(
                x=place,
                y=where,
                text=plain(text),
                showarrow=False,
                xanchor="left",
                xshift=4,
                font={"size": 11, "color": c.muted},
                bgcolor=c.background,
                opacity=0.9,
            )
    figure.update_xaxes(visible=False, range=[-0.15, len(axes) - 1 + 0.25])
    figure.update_yaxes(visible=False, range=[-0.04, 1.04])
