"""The peers' bench on a terminal and as one self-contained page: accuracy, and its course over seconds."""

from html import escape
from statistics import mean
from typing import Any

import plotly.graph_objects as go
from plotly.io import to_html
from plotly.subplots import make_subplots
from rich.console import Console

from dashboard.terminal import interval, table
from dashboard.theme import FONT, template, tokens

QUIET = {"displayModeBar": False}
RATIOS = ("ratio", "ratio_in_matmuls")
STYLE = f"<style>body {{ font-family: {FONT}; margin: 2rem auto; max-width: 72rem }}</style>"
WIDTH = 170  # columns, also where there is no terminal
TITLE = {"hr@10": "HR@10", "ndcg@10": "NDCG@10"}


def show(figures: dict[str, Any]) -> None:
    """The figures as tables."""
    console = Console(width=max(WIDTH, Console().width))
    models, split = figures["models"], figures["split"]
    seeds = next(iter(models.values()))["seeds"]
    asked = f"{split['protocol']}: {split['n_test']:,} questions of {split['n_tested_users']:,} users"
    title = f"{split['dataset']}, {asked}, seeds {seeds}, {figures['threads']} threads"
    if figures["smoke"]:
        title += " (SMOKE: two epochs, figures mean nothing)"
    rows = [
        (
            name,
            interval(one["metrics"]["hr@10"]),
            interval(one["metrics"]["ndcg@10"]),
            mean(one["valid_ndcg@10"]),
            mean(one["seconds_to_best"]),
            one["seconds_per_epoch"],
            one["examples_per_s"],
            one["peak_gb"],
            one["recommend_users_per_s"],
            mean(value for pair in one["calibration_s"] for value in pair),
            "/".join(sorted(set(one["stopped"]))),
        )
        for name, one in models.items()
    ]
    heads = ("", "HR@10", "NDCG@10", "valid", "s to best", "s/epoch", "examples/s", "GB", "users/s", "matmul s", "end")
    console.print(table(heads, rows, title=title))
    gains = [
        (name, peer, *(f"{interval(by[m][peer])} p {by[m][peer]['p_holm']:.4f}" for m in TITLE))
        for name, by in figures["gains"].items()
        for peer in by["ndcg@10"]
    ]
    console.print(table(("", "over", *TITLE.values()), gains, title="paired gains, p after Holm"))
    races = [
        (name, peer, *(f"{one[kind]:.2f}" if one[kind] else "not reached" for kind in RATIOS), reached(one))
        for peer, by in figures["seconds_to"].items()
        for name, one in by.items()
    ]
    console.print(
        table(("", "to the best of", "times faster", "in matmuls", "seeds that got there"), races, title="seconds to")
    )
    console.print(f"best peer by validation: {figures['best_peer']}")


def reached(one: dict[str, Any]) -> str:
    """How many seeds got to the peer's mark."""
    return f"{sum(seed['ratio'] is not None for seed in one['seeds'])} of {len(one['seeds'])}"


def page(figures: dict[str, Any]) -> str:
    """One HTML file that needs nothing else."""
    split = figures["split"]
    world = f"{split['n_tested_users']:,} users, {split['n_items']:,} items"
    title = f"Peers on {split['dataset']}, {split['protocol']}: {world}"
    parts = [draw_accuracy(figures), draw_courses(figures)]
    drawn = [
        to_html(part, full_html=False, include_plotlyjs=not index, config=QUIET) for index, part in enumerate(parts)
    ]
    note = "SMOKE: two epochs, the figures mean nothing. " if figures["smoke"] else ""
    note += (
        f"Bars are 95% intervals over users of seed averages; {figures['threads']} threads; split {split['sha256']}."
    )
    body = f"<h1>{escape(title)}</h1><p>{escape(note)}</p>{''.join(drawn)}"
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>{STYLE}{body}</html>'


def colours(figures: dict[str, Any]) -> dict[str, str]:
    """Lodestar's in the first three of the series, each peer in another; what is left over in the reference grey."""
    look = tokens("light")
    names = list(figures["models"])
    return {name: look.series[i] if i < len(look.series) else look.reference for i, name in enumerate(names)}


def draw_accuracy(figures: dict[str, Any]) -> go.Figure:
    """HR@10 and NDCG@10 of each model with intervals."""
    models, colour = figures["models"], colours(figures)
    n = figures["split"]["n_tested_users"]
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.05)
    names = sorted(models, key=lambda name: models[name]["metrics"]["ndcg@10"]["estimate"])
    for column, metric in enumerate(TITLE, start=1):
        found = [models[name]["metrics"][metric] for name in names]
        figure.add_scatter(
            row=1,
            col=column,
            x=[m["estimate"] for m in found],
            y=names,
            mode="markers",
            marker={"color": [colour[name] for name in names], "size": 9},
            error_x={
                "array": [m["high"] - m["estimate"] for m in found],
                "arrayminus": [m["estimate"] - m["low"] for m in found],
                "thickness": 1.5,
            },
            showlegend=False,
        )
        figure.update_xaxes(title=f"{TITLE[metric]}, test, n = {n:,} users", rangemode="tozero", row=1, col=column)
    return figure.update_layout(template=template("light"), height=140 + 34 * len(names), title="Accuracy on one split")


def draw_courses(figures: dict[str, Any]) -> go.Figure:
    """Validation NDCG@10 against seconds of training, one line a seed; the end of a line is where it stopped."""
    colour = colours(figures)
    figure = go.Figure()
    for name, one in figures["models"].items():
        for index, curve in enumerate(one["curves"]):
            if len(curve) > 1:
                figure.add_scatter(
                    x=[point["seconds"] for point in curve],
                    y=[point["ndcg@10"] for point in curve],
                    mode="lines+markers",
                    marker={"size": 4},
                    line={"color": colour[name], "width": 1.6},
                    name=name,
                    legendgroup=name,
                    showlegend=index == 0,
                )
    figure.update_xaxes(title="seconds of training, evaluation excluded (log)", type="log")
    figure.update_yaxes(title="validation NDCG@10", rangemode="tozero")
    title = "How fast they learn: one line a seed; lodestar's counts its validation and ends with the served blend"
    return figure.update_layout(template=template("light"), height=560, title=title, showlegend=True)
