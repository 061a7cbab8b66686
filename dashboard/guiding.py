"""A guided walk on the Guide page: the next step with accept and skip, the path ahead, and how the judges'
lift reads.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts, loaders, parts, state
from dashboard.scene import Scene
from dashboard.words import Words, escape
from data.errors import ScorerUnavailable

STEPS = 10


def first_target(s: Scene, run_id: str, categories: Sequence[str]) -> str:
    """The target a newcomer sees: one that the judges judged, where they did, else the largest category."""
    told = loaders.run_json(s.home, run_id, "judges/lift.json") or {}
    return next(iter(told.get("targets") or {}), categories[0])


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
    steps = pd.DataFrame(plan["steps"])[["key", "title", "acceptance", "mass", "logp"]]
    steps.insert(0, "step", range(1, len(steps) + 1))
    now = pd.DataFrame([{"step": 0, "title": t("guide.now"), "acceptance": None, "mass": plan["mass"]}])
    title = t("guide.path_finding", target=target, first=plan["mass"], last=steps["mass"].iloc[-1], n=len(steps))
    drawn = pd.concat([now, steps[["step", "title", "acceptance", "mass"]]], ignore_index=True)
    parts.figure(charts.path(drawn, title=title, look=s.look, target=target), key="path")
    parts.table(
        steps,
        t=t,
        name=f"{s.dataset}-user-{user}-path",
        shown=steps.assign(acceptance=steps["acceptance"] * 100, mass=steps["mass"] * 100),
        columns={
            "step": st.column_config.NumberColumn(t("column.step"), width=48),
            "title": st.column_config.TextColumn(t("column.title")),
            "acceptance": st.column_config.NumberColumn(t("column.acceptance"), format="%.1f%%", width="small"),
            "mass": st.column_config.NumberColumn(t("column.mass"), format="%.1f%%", width="small"),
        },
    )


def judged(s: Scene, run_id: str, target: str) -> None:
    """What independent judges found, for this target where they judged it, else for the first that they did."""
    t = s.t
    told = loaders.run_json(s.home, run_id, "judges/lift.json")
    parts.section(t("guide.judged"))
    if told is None or not told["targets"]:
        parts.empty(t, "guide.no_judges", command="lodestar demo")
        return
    about = target if target in told["targets"] else next(iter(told["targets"]))
    if about != target:
        parts.note(t.md("guide.not_judged", target=target, others=t.listing(list(told["targets"]))))
    found = told["targets"][about]
    curve = pd.DataFrame(found["curves"]["shown"])
    left, right = parts.pair()
    with left:
        title = lift_finding(t, found["lift"], about)
        axis = t("guide.lift_axis", target=about)
        parts.figure(charts.lift_curves(curve, title=title, look=s.look, axis=axis), key="lift")
        parts.downloads(curve, t=t, name=f"{s.dataset}-lift-{about}")
    with right:
        parts.measures(
            t,
            {
                t.name("policy", policy): [found[field][policy] for field in ("lift", "acceptance", "success")]
                for policy in found["lift"]
            },
            heads=[t("column.policy"), t("column.lift"), t("column.accepted"), t("column.success")],
        )
        parts.note(t("guide.method", users=told["users"], steps=told["steps"]))
        others = {name: found["by_curve"][name]["guide"] for name in found["by_curve"] if name != told["main_curve"]}
        said = [t("guide.curve", curve=t.name("curve", name), lift=parts.interval(t, m)) for name, m in others.items()]
        parts.note(t("guide.curves", said=t.listing(said)))


def lift_finding(t: Words, lift: Mapping[str, Mapping[str, Any]], target: str) -> str:
    """The lift figure's title: what guiding gives beside pushing, and whether the two can be told apart."""
    guide, push = lift["guide"], lift["push"]
    key = "guide.lift_apart" if guide["low"] > push["high"] or guide["high"] < push["low"] else "guide.lift_close"
    return t(key, target=target, guide=guide["estimate"], push=push["estimate"])
