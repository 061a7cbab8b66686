"""The leaderboard on the Models page: what `lodestar bench` found beside a run, or how to have it found."""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import parts, run_loaders
from dashboard.scene import Scene
from dashboard.words import Words

METRICS = ("hr@10", "ndcg@10")
_METRIC = "ndcg@10"  # what gains and p-values on the page are of
_SMALL = 0.001
_HEIGHT = 528  # px: all that `lodestar bench` fits, without scrolling


def leaderboard(s: Scene, run_id: str) -> None:
    """Every model beside the served blend, best first, and which stood aside."""
    t = s.t
    parts.section(t("models.board"))
    told = run_loaders.run_json(s.home, run_id, "leaderboard/leaderboard.json")
    if told is None:
        parts.empty(t, "models.no_board", command=f"lodestar bench {run_id}")
        return
    measured = [row for row in told["rows"] if not row["too_much"]]
    parts.table(
        pd.DataFrame([_flat(row) for row in measured]),
        t=t,
        height=_HEIGHT,
        name=f"{s.dataset}-{run_id}-leaderboard",
        shown=pd.DataFrame([_shown(t, row) for row in measured]),
        columns={
            "model": st.column_config.TextColumn(t("column.model")),
            **{metric: st.column_config.TextColumn(t.name("metric", metric)) for metric in METRICS},
            "gain": st.column_config.TextColumn(t("column.gain")),
            "p": st.column_config.TextColumn("p", width=72),
            "seconds": st.column_config.NumberColumn(t("column.seconds"), format="%.1f", width=88),
        },
    )
    parts.note(t("models.board_method", n=told["n"], seeds=len(told["seeds"])))
    aside = [_name(t, row) for row in told["rows"] if row["too_much"]]
    if aside:
        parts.note(t("models.board_aside", names=t.listing(aside)))


def _shown(t: Words, row: dict[str, Any]) -> dict[str, Any]:
    """One row as people read it."""
    gain, p = row["gain"].get(_METRIC), row["p"].get(_METRIC)
    return {
        "model": _name(t, row),
        **{metric: parts.interval(t, row[metric]) for metric in METRICS},
        "gain": "–" if gain is None else t("value.signed_range", **gain),
        "p": "–" if p is None else t("models.p_small") if p < _SMALL else f"{p:.3f}",
        "seconds": row["seconds"],
    }


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """One row as a table keeps it."""
    measures = {metric: row[metric] for metric in METRICS} | {
        f"gain_{metric}": row["gain"].get(metric) or {} for metric in METRICS
    }
    flat = {f"{name}_{part}": m.get(part) for name, m in measures.items() for part in ("estimate", "low", "high", "n")}
    p = {f"p_holm_{metric}": row["p"].get(metric) for metric in METRICS}
    return {"model": row["model"], **flat, **p, "seconds": row["seconds"]}


def _name(t: Words, row: dict[str, Any]) -> str:
    return t.name("component", "champion" if row["model"] == "served" else row["model"])
