"""A guided walk on the Guide page: the next step with accept and skip, the path ahead, and how the judges'
lift reads.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts, loaders, parts, state
from dashboard.scene import Scene
from dashboard.words import Words, escape
from data.errors import ScorerUnavailable

STEPS = 10


def walk(s: Scene, run_id: str, user: str, target: str) -> None:
    """The next item to show, and what has been accepted or skipped so far."""
    t, place = s.t, f"walk-{run_id}-{user}-{target}"
    accepted, skipped = state.recall(place, ((), ()))
    parts.section(t("guide.next"))
    try:
        step = loaders.next_step(s.home, run_id, user, target, accepted, skipped)
    except ScorerUnavailable as error:
        parts.problem(t, error)
        return
    names = loaders.item_choices(s.build.path)
    with st.container(border=True, gap="xsmall"):
        st.markdown(f"**{escape(step['title'])}**")
        st.caption(
            t("guide.step_says", n=len(accepted) + 1, acceptance=step["acceptance"], mass=step["mass"], target=target)
        )
        with st.container(horizontal=True, gap="small"):
            st.button(
                t("guide.accept"),
                key="guide-accept",
                type="primary",
                icon=":material/check:",
                on_click=state.keep,
                args=(place, ((*accepted, step["key"]), skipped)),
            )
            st.button(
                t("guide.skip"),
                key="guide-skip",
                icon=":material/skip_next:",
                on_click=state.keep,
                args=(place, (accepted, (*skipped, step["key"]))),
            )
            if accepted or skipped:
                st.button(
                    t("guide.again"), key="guide-again", type="tertiary", on_click=state.keep, args=(place, ((), ()))
                )
    if accepted:
        parts.note(t.md("guide.accepted", items=t.titles([names.get(key, key) for key in accepted])))
    if skipped:
        parts.note(t.md("guide.skipped", items=t.titles([names.get(key, key) for key in skipped])))


def preview(s: Scene, run_id: str, user: str, target: str) -> None:
    """The planned path, were every step accepted: how the probability of the target grows."""
    t = s.t
    parts.section(t("guide.ahead"))
    try:
        plan = loaders.path_ahead(s.home, run_id, user, target, STEPS)
    except ScorerUnavailable:
        parts.note(t("guide.needs_scorer"))
        return
    steps = pd.DataFrame(plan["steps"])
    steps.insert(0, "step", range(1, len(steps) + 1))
    title = t(
        "guide.path_finding", target=target, first=steps["mass"].iloc[0], last=steps["mass"].iloc[-1], n=len(steps)
    )
    parts.figure(charts.path(steps, title=title, look=s.look, target=target), key="path")
    parts.table(
        steps,
        t=t,
        name=f"{s.dataset}-user-{user}-path",
        columns={
            "step": st.column_config.NumberColumn(t("column.step"), width="small"),
            "title": st.column_config.TextColumn(t("column.title")),
            "acceptance": st.column_config.NumberColumn(t("column.acceptance"), format="percent"),
            "mass": st.column_config.NumberColumn(t("column.mass"), format="percent"),
        },
    )


def lift_finding(t: Words, lift: Mapping[str, Mapping[str, Any]]) -> str:
    """The lift figure's title: what guiding gives beside pushing, and whether the two can be told apart."""
    guide, push = lift["guide"], lift["push"]
    key = "guide.lift_apart" if guide["low"] > push["high"] or guide["high"] < push["low"] else "guide.lift_close"
    return t(key, guide=guide["estimate"], push=push["estimate"])
