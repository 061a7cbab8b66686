"""Who serves, on the Models page: the evidence for the run in view, its promotion or override, the way back, and the
whole history. What the ledger refuses is said by the frame of every page.
"""

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st

from core.ops import registry
from core.ops.registry import PromotionRow
from core.ops.runs import RunRow
from core.ops.traffic import split_in_force
from dashboard import gating, parts, run_loaders, state
from dashboard.desk import actor
from dashboard.scene import Scene


def section(s: Scene, run: RunRow) -> None:
    """Evidence, then what can be done with it."""
    t = s.t
    parts.section(t("models.promote"))
    version = registry.champion_version(s.ledger, s.dataset)
    history = registry.promotions(s.ledger, s.dataset)
    standing = split_in_force(s.ledger, s.dataset)
    if run.run_id == s.champion:
        parts.note(t("models.is_champion_split" if standing else "models.is_champion", run=run.run_id))
    else:
        evidence = gather(s, run, version)
        st.markdown(t.md(f"gate.whole_{gating.whole(evidence)}", run=run.run_id, champion=s.champion or "–"))
        if run.protocol != s.champion_protocol:
            parts.note(t.md("models.other_protocol", run=run.run_id, protocol=t.name("protocol", run.protocol)))
        gating.table(t, evidence)
        promotion(s, run, evidence, version)
    if standing is not None:
        parts.note(t.md("promotion.split", share=standing.share, run=standing.run_id, at=standing.at))
    if history and history[0].before is not None:
        rollback(s, history, version)
    if history:
        last = history[0]
        key = "models.last_back" if last.action == "rollback" else "models.last"
        parts.note(t.md(key, run=last.run_id, actor=last.actor, at=last.at, reason=reason_of(s, last)))


def gather(s: Scene, run: RunRow, version: int) -> dict[str, Any]:
    """The evidence as it stands this hour, for the champion seen now."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return run_loaders.evidence(s.settings.ledger_at, s.home, run.run_id, version, s.build.build_id, hour)


def promotion(s: Scene, run: RunRow, evidence: dict[str, Any], version: int) -> None:
    """Make the run in view the champion, with a reason; against the evidence only by saying so."""
    t, against = s.t, not evidence["passes"]
    sure = st.checkbox(t("promotion.override"), key="promote-override") if against else False
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        reason = st.text_input(t("models.reason"), key="promote-reason", placeholder=t("models.reason_hint"))
        asked = st.button(
            t("promotion.make_override" if against else "models.make", run=run.run_id),
            type="primary",
            key="promote",
            disabled=not reason.strip() or (against and not sure),
            on_click=state.keep,  # what stood when the button was drawn is what its reader agreed to change
            args=("champion-seen", version),
        )
    if asked:
        registry.promote(
            s.ledger,
            dataset=s.dataset,
            run_id=run.run_id,
            actor=actor(),
            reason=reason,
            expected_version=state.recall("champion-seen", version),
            now=datetime.now(UTC),
            evidence=evidence,
            override=against and sure,
        )
        st.rerun()


def rollback(s: Scene, history: list[PromotionRow], version: int) -> None:
    """The way back to the champion before, which asks once more and can be undone."""
    t = s.t
    before = next(row for row in history if row.version == history[0].before)
    with st.popover(t("promotion.rollback"), icon=":material/undo:"):
        st.markdown(t.md("promotion.rollback_what", run=before.run_id, champion=history[0].run_id))
        reason = st.text_input(t("promotion.rollback_reason"), key="rollback-reason")
        asked = st.button(
            t("promotion.rollback_do", run=before.run_id),
            key="rollback",
            disabled=not reason.strip(),
            on_click=state.keep,
            args=("champion-left", version),
        )
    if asked:
        registry.rollback(
            s.ledger,
            dataset=s.dataset,
            actor=actor(),
            reason=reason,
            expected_version=state.recall("champion-left", version),
            now=datetime.now(UTC),
        )
        st.rerun()


def history_table(s: Scene) -> None:
    """Every change of champion, newest first: when, what, which run, who, why, and on what evidence."""
    t, history = s.t, registry.promotions(s.ledger, s.dataset)
    if not history:
        return
    shown = [
        {
            "at": row.at,
            "action": t.name("promotion_action", row.action),
            "run": row.run_id,
            "actor": row.actor,
            "reason": reason_of(s, row),
            "evidence": gating.summary(t, row.evidence),
        }
        for row in history
    ]
    parts.section(t("promotion.history"))
    parts.table(
        pd.DataFrame([vars(row) | {"evidence": gating.as_text(row.evidence)} for row in history]),
        t=t,
        name=f"{s.dataset}-champions",
        shown=pd.DataFrame(shown),
        columns={
            "at": st.column_config.DatetimeColumn(t("column.when"), format="YYYY-MM-DD HH:mm", width=136),
            "action": st.column_config.TextColumn(t("column.action"), width=96),
            "run": st.column_config.TextColumn(t("column.run"), width=96),
            "actor": st.column_config.TextColumn(t("column.actor"), width=72),
            "reason": st.column_config.TextColumn(t("column.reason"), width="large"),
            "evidence": st.column_config.TextColumn(t("column.evidence"), width="medium"),
        },
    )


def reason_of(s: Scene, row: PromotionRow) -> str:
    """Why, in the reader's words where Lodestar itself gave the reason."""
    return s.t("models.first_run") if row.reason == registry.FIRST else row.reason
