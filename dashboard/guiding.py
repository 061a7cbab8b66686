"""A guided walk on the Guide page: the next step with accept and skip, the path ahead, and how the judges'
lift reads.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts, loaders, parts, run_loaders, state
from dashboard.scene import Scene
from dashboard.words import Words, escape
from data.errors import InputError, ScorerUnavailable

STEPS = 10


def first_target(s: Scene, run_id: str, categories: Sequence[str]) -> str:
    """The target a newcomer sees: one that the judges judged, where they did, else the largest category."""
    told = run_loaders.run_json(s.home, run_id, "judges/lift.json") or {}
    return next(iter(told.get("targets") or {}), categories[0])


def walk(s: Scene, run_id: str, user: str, target: str) -> None:
    """The next item to show, and what has been accepted or skipped so far."""
    t, place = s.t, f"walk-{run_id}-{user}-{target}"
    accepted, skipped = state.recall(place, ((), ()))
    parts.section(t("guide.next"))
    try:
        step = run_loaders.next_step(s.home, run_id, user, target, accepted, skipped)
    except (ScorerUnavailable, InputError) as error:
        parts.problem(t, error)
        again(s, place, shown=bool(accepted or skipped))
        return
    with st.container(border=True, gap="xsmall"):
        st.markdown(f"**{escape(step['title'])}**")
        st.caption(
            t.md(
                "guide.step_says", n=len(accepted) + 1, acceptance=step["acceptance"], mass=step["mass"], target=target
            )
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
            again(s, place, shown=bool(accepted or skipped))
    if accepted:
        parts.note(t.md("guide.accepted", items=t.titles(list(loaders.titles(s.build.path, accepted).values()))))
    if skipped:
        parts.note(t.md("guide.skipped", items=t.titles(list(loaders.titles(s.build.path, skipped).values()))))


def again(s: Scene, place: str, *, shown: bool) -> None:
    """The way back to the first step, once a step was taken."""
    if shown:
        st.button(s.t("guide.again"), key="guide-again", type="tertiary", on_click=state.keep, args=(place, ((), ())))


def plan(s: Scene, run_id: str, user: str, target: str) -> dict[str, Any] | None:
    """The planned path, were every step accepted; None (and a note) where it cannot be made."""
    try:
        return run_loaders.path_ahead(s.home, run_id, user, target, STEPS)
    except ScorerUnavailable:
        parts.note(s.t("guide.needs_scorer"))
    except InputError as error:
        parts.note(escape(error.message))
    return None


def path_figure(s: Scene, planned: dict[str, Any], target: str) -> None:
    """How the probability of the target grows along the planned path."""
    t, steps = s.t, pd.DataFrame(planned["steps"])[["title", "acceptance", "mass"]]
    now = pd.DataFrame([{"title": t("guide.now"), "acceptance": math.nan, "mass": planned["mass"]}])
    drawn = pd.concat([now, steps], ignore_index=True).rename_axis("step").reset_index()
    title = t("guide.path_finding", target=target, first=planned["mass"], last=steps["mass"].iloc[-1], n=len(steps))
    parts.figure(charts.path(drawn, title=title, look=s.look, target=target), key="path")


def path_table(s: Scene, planned: dict[str, Any], user: str) -> None:
    """The steps of the planned path."""
    t, steps = s.t, pd.DataFrame(planned["steps"])[["key", "title", "acceptance", "mass", "logp"]]
    steps.insert(0, "step", range(1, len(steps) + 1))
    parts.table(
        steps,
        t=t,
        name=f"{s.dataset}-user-{user}-path",
        shown=steps.assign(acceptance=steps["acceptance"] * 100, mass=steps["mass"] * 100),
        columns={
            "step": st.column_config.NumberColumn(t("column.step"), width=48),
            "title": st.column_config.TextColumn(t("column.title")),
            "acceptance": st.column_config.NumberColumn(t("column.acceptance"), format="%.1f%%", width=88),
            "mass": st.column_config.NumberColumn(t("column.mass"), format="%.1f%%", width=88),
        },
    )


def judged(s: Scene, run_id: str, target: str) -> None:
    """What independent judges found, for this target where they judged it, else for the first that they did."""
    t = s.t
    told = run_loaders.run_json(s.home, run_id, "judges/lift.json")
    parts.section(t("guide.judged"))
    if told is None or not told["targets"]:
        parts.empty(t, "guide.no_judges", command="lodestar demo")
        return
    about = target if target in told["targets"] else next(iter(told["targets"]))
    if about != target:
        parts.note(t.md("guide.not_judged", target=target, others=t.listing(list(told["targets"]))))
    found = told["targets"][about]
    axis = t("guide.lift_axis", target=about)
    for cell, (kind, title) in zip(
        parts.pair(level=True),
        (("shown", lift_finding(t, found["lift"], about)), ("accepted", accepted_finding(t, found["per_accepted"]))),
        strict=True,
    ):
        with cell:
            curve = pd.DataFrame(found["curves"][kind])
            drawn = charts.lift_curves(curve, title=title, look=s.look, axis=axis, steps=t(f"chart.steps_{kind}"))
            parts.figure(drawn, key=f"lift-{kind}")
            parts.downloads(curve, t=t, name=f"{s.dataset}-lift-{about}-{kind}")
    parts.measures(
        t,
        {
            t.name("policy", policy): [found[field][policy] for field in ("lift", "acceptance", "success")]
            for policy in charts.POLICIES
            if policy in found["lift"]
        },
        heads=[t("column.policy"), t("column.lift"), t("column.accepted"), t("column.success")],
    )
    parts.note(t("guide.method", users=told["users"], steps=told["steps"]))
    others = {name: found["by_curve"][name]["guide"] for name in found["by_curve"] if name != told["main_curve"]}
    said = [t("guide.curve", curve=t.name("curve", name), lift=parts.interval(t, m)) for name, m in others.items()]
    parts.note(t("guide.curves", said=t.listing(said)))


def accepted_finding(t: Words, gains: Mapping[str, Mapping[str, Any]]) -> str:
    """The title of lift by accepted steps: what one accepted step is worth, guided and pushed."""
    return t("guide.per_accepted", guide=gains["guide"]["estimate"], push=gains["push"]["estimate"])


def lift_finding(t: Words, lift: Mapping[str, Mapping[str, Any]], target: str) -> str:
    """The lift figure's title: what guiding gives beside pushing, and whether the two can be told apart."""
    guide, push = lift["guide"], lift["push"]
    key = "guide.lift_apart" if guide["low"] > push["high"] or guide["high"] < push["low"] else "guide.lift_close"
    return t(key, target=target, guide=guide["estimate"], push=push["estimate"])
