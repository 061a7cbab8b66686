"""The figure of a training run while it trains: loss and validation NDCG, epoch by epoch, stage by stage."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.charts.frame import Look, canvas, plain

METRIC = "ndcg@10"


def curves(
    epochs: Sequence[dict[str, Any]],
    *,
    title: str,
    look: Look,
    beside: Sequence[dict[str, Any]] = (),
    named: str = "",
) -> go.Figure:
    """From a run's `epoch` events (stage, epoch, loss, ndcg@10, best): loss at the left, NDCG@10 at the
    right.

    Stages follow one another on the x axis; the best epoch by validation is ringed. `beside` are those of another run,
    called `named`: one dotted line under the others.
    """
    t, c = look.t, look.c
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.16, figure=canvas(look, title=title, height=280))
    key: list[str] = []
    stages = list(dict.fromkeys(str(e["stage"]) for e in epochs))
    count = 0
    if beside:
        for column, field in ((1, "loss"), (2, METRIC)):
            figure.add_scatter(
                x=list(range(1, len(beside) + 1)),
                y=[e.get(field) for e in beside],
                mode="lines",
                line={"color": c.muted, "width": 1.5, "dash": "dot"},
                hovertemplate=f"{plain(named)} · {plain(t('chart.epoch'))} %{{x}}<br>%{{y:.4f}}<extra></extra>",
                row=1,
                col=column,
            )
    for position, stage in enumerate(stages):
        rows = [e for e in epochs if e["stage"] == stage]
        xs = list(range(count + 1, count + len(rows) + 1))
        count += len(rows)
        colour = c.series[(2, 0, 3)[position % 3]]
        key.append(f"<span style='color:{colour}'>●</span> {plain(t.name('stage', stage))}")
        for column, field in ((1, "loss"), (2, METRIC)):
            figure.add_scatter(
                x=xs,
                y=[e.get(field) for e in rows],
                mode="lines+markers" if len(rows) < 40 else "lines",
                line={"color": colour, "width": 2},
                marker={"size": 5},
                hovertemplate=f"{plain(t.name('stage', stage))} · {plain(t('chart.epoch'))}"
                " %{x}<br>%{y:.4f}<extra></extra>",
                row=1,
                col=column,
            )
    if beside:
        key.append(f"<span style='color:{c.muted}'>┄</span> {plain(named)}")
    best = [(i, e[METRIC]) for i, e in enumerate(epochs, 1) if e.get("best") and e.get(METRIC) is not None]
    if best:
        x, y = max(best, key=lambda pair: pair[1])
        figure.add_scatter(
            x=[x],
            y=[y],
            mode="markers",
            marker={"size": 13, "color": "rgba(0,0,0,0)", "line": {"color": c.text, "width": 1.5}},
            hovertemplate=plain(t("chart.best")) + " %{y:.4f}<extra></extra>",
            row=1,
            col=2,
        )
    figure.add_annotation(
        x=0,
        xref="paper",
        y=1,
        yref="paper",
        yshift=22,
        text="   ".join(key),
        showarrow=False,
        xanchor="left",
        font={"size": 12, "color": c.muted},
    )
    figure.update_layout(margin={"t": 68})
    for column, name in ((1, "chart.loss_axis"), (2, "chart.ndcg_axis")):
        figure.update_xaxes(title_text=plain(t("chart.epoch")), row=1, col=column, nticks=6, rangemode="tozero")
        figure.update_yaxes(title_text=plain(t(name)), row=1, col=column, nticks=5)
    return figure
