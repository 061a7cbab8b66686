"""Pulse's look back: whether what people do has moved since the champion learned, aspect by aspect."""

from typing import Any

import pandas as pd
import streamlit as st

from core.ops import feedback
from core.ops.builds import build_of
from core.ops.runs import run_of
from core.predict.effects import RIVAL
from core.trust.drift import Aspect, Drift
from dashboard import loaders, parts, run_loaders
from dashboard.scene import Scene
from dashboard.words import escape
from data.errors import SchemaMismatch, UnknownBuild

_METRIC = "ndcg@10"


def section(s: Scene) -> None:
    """Nothing where nothing serves yet; a sentence where nothing can be compared; else the finding and its table."""
    t = s.t
    if s.champion is None:
        return
    parts.section(t("drift.section"))
    try:
        learned = build_of(s.ledger, run_of(s.ledger, s.champion).build_id)
        until = loaders.build_facts(learned.path).last_ts
    except (UnknownBuild, SchemaMismatch):
        parts.note(t("drift.gone", run=s.champion))
        return
    if waiting := feedback.unfolded(s.ledger, s.dataset):
        parts.note(t("drift.waiting", n=waiting))
    if learned.build_id == s.build.build_id:
        parts.note(t("drift.same", run=s.champion))
        return
    accuracy(s)
    found = loaders.drift(s.build.path, until)
    if found.verdict is None or found.launched is None:
        parts.note(t("drift.few", n=found.n_since))
        return
    st.markdown(t(f"drift.{found.verdict}", names=t.listing(_worst(s, found))))
    told(s, found)
    parts.note(t("drift.launched", **found.launched, n_events=found.n_since))


def accuracy(s: Scene) -> None:
    """How accurate the champion is on this build, as a run that was trained on it measured beside itself, and how
    accurate it was on its own."""
    t, champion = s.t, str(s.champion)
    for run in s.finished_runs():
        if run.build_id != s.build.build_id:
            continue
        stands = (run_loaders.run_json(s.home, run.run_id, "evaluation.json") or {}).get(RIVAL, {})
        if stands.get("run_id") == champion:
            own = run_loaders.run_json(s.home, champion, "evaluation.json") or {}
            now, then = (parts.interval(t, told["metrics"][_METRIC]) for told in (stands, own))
            name, gain = t.name("metric", _METRIC), t("value.signed_interval", **stands["gain"][_METRIC])
            st.markdown(t.md("drift.accuracy", run=champion, metric=name, now=now, then=then))
            parts.note(t.md("drift.newer", run=run.run_id, gain=gain))
            return
    parts.note(t.md("drift.unmeasured", run=champion))


def told(s: Scene, found: Drift) -> None:
    """Each aspect's index beside what chance gives, and the bin that moved most."""
    t = s.t
    rows = [_row(s, aspect) for aspect in found.aspects]
    parts.table(
        pd.DataFrame([aspect.as_json() | {"bins": str(aspect.as_json()["bins"])} for aspect in found.aspects]),
        t=t,
        name=f"{s.dataset}-drift",
        shown=pd.DataFrame(rows),
        columns={
            "aspect": st.column_config.TextColumn(t("column.aspect")),
            "psi": st.column_config.NumberColumn(t("column.psi"), format="%.3f"),
            "chance": st.column_config.NumberColumn(t("column.by_chance"), format="%.3f"),
            "verdict": st.column_config.TextColumn(t("column.verdict")),
            "most": st.column_config.TextColumn(t("column.moved_most")),
        },
    )


def _row(s: Scene, aspect: Aspect) -> dict[str, Any]:
    t = s.t
    name, before, since = aspect.bins[0]
    named = t.name("kind", name) if aspect.name == "kinds" else name
    return {
        "aspect": t.name("aspect", aspect.name),
        "psi": aspect.psi,
        "chance": aspect.chance,
        "verdict": t(f"drift.is_{aspect.verdict}"),
        "most": t("drift.from_to", name=named, before=before, since=since),
    }


def _worst(s: Scene, found: Drift) -> list[str]:
    return [escape(s.t.name("aspect", one.name)) for one in found.aspects if one.verdict == found.verdict]
