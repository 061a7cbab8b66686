"""Explore: who does what? Whom to look at, how far they come, who of them returns, what leads to what, and who they
are by habit; a click on a habit looks at those alone.
"""

from dataclasses import replace

import pandas as pd
import streamlit as st

from dashboard import charts, cohorts, exploring, findings, loaders, parts, state
from dashboard.exploring import Question
from dashboard.scene import Scene, scene
from dashboard.whom import back, form, show
from data.explore import Cohort

HARDLY = 0.005  # of those before: no loss to speak of


def main() -> None:
    s = scene()
    t = s.t
    cohorts.follow_link(s)
    asked = exploring.of_text(state.chosen("whom"), loaders.choices(s.build.path))
    named = cohorts.in_view(s, asked)
    state.link(dataset=state.chosen("dataset"), cohort=named.saved_id if named else None, whom=exploring.as_text(asked))
    parts.heading(
        t.md("explore.title", dataset=s.dataset),
        t.md("pulse.context", n=s.facts.n_events, first=s.span[0], last=s.span[1], tz=s.tz),
    )
    form(s, asked)
    if not asked.of_everyone:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            back(s, asked)
            if named is None:
                cohorts.naming(s, asked)
    cohorts.panel(s)
    cohort = asked.cohort(s.tz)
    size = loaders.cohort_size(s.build.path, cohort)
    share = findings.share(size["users"], size["of_users"])
    if asked.of_everyone:
        st.markdown(t("explore.all", users=size["users"]))
    else:
        st.markdown(t("explore.whom", who=exploring.who(asked, t), **size, share=share))
    cohorts.said(s, named)
    if not size["users"]:
        parts.note(t("explore.nobody"))
        return
    left, right = parts.pair()
    with left:
        how_far(s, asked, cohort)
        habits(s, asked)
    with right:
        who_returns(s, cohort)
        what_follows(s, cohort)


def how_far(s: Scene, asked: Question, cohort: Cohort) -> None:
    """The funnel over the steps that were chosen, else over the build's kinds, the most frequent first."""
    t = s.t
    kinds = asked.steps or loaders.choices(s.build.path).kinds[: exploring.MOST_STEPS]
    if not kinds:
        return
    rows = loaders.funnel(s.build.path, kinds, cohort)
    bounds = [findings.wilson(users, n) for users, n in zip(rows["users"], rows["n"], strict=True)]
    rows = rows.assign(
        share=rows["users"] / rows["n"].clip(lower=1), low=[low for low, _ in bounds], high=[high for _, high in bounds]
    )
    lost = findings.largest_loss(rows)
    last = {"kind": t.name("kind", kinds[-1]), "share": float(rows["share"].iloc[-1])}
    if len(rows) == 1:  # one bar shows no more than its sentence
        parts.finding(t.md("explore.one_step", **last))
        looked_at(s, rows, cohort)
        return
    if lost is None or lost[2] < HARDLY:
        title = t("explore.one_step", **last)
    else:
        title = t("explore.lost", of=t.name("kind", lost[0]), to=t.name("kind", lost[1]), share=lost[2])
    parts.figure(charts.funnel(rows, title=title, look=s.look), key="funnel")
    looked_at(s, rows, cohort)
    parts.downloads(rows, t=t, name=f"{s.dataset}-funnel")


def who_returns(s: Scene, cohort: Cohort) -> None:
    """Retention by weeks, of a long log by months."""
    t = s.t
    grain = "week" if (s.facts.last_ts - s.facts.first_ts).days <= findings.DAYS_BY_WEEKLY_COHORT else "month"
    rows = loaders.retention(s.build.path, cohort, s.tz, grain)
    found = findings.returned(rows)
    if found is None or not found[1]:
        parts.finding(t("explore.too_short"))
        return
    low, high = findings.wilson(*found)
    title = t(f"explore.returned_{grain}", share=found[0] / found[1], low=low, high=high, n=found[1])
    parts.figure(charts.retention(rows, title=title, look=s.look, tz=s.tz, grain=grain), key="retention")
    looked_at(s, rows, cohort)
    parts.downloads(rows, t=t, name=f"{s.dataset}-retention")


def what_follows(s: Scene, cohort: Cohort) -> None:
    """Moves between categories; nothing where items have none."""
    t = s.t
    rows = loaders.transitions(s.build.path, cohort)
    if not rows[["category", "following"]].notna().to_numpy().any():
        return
    known, stayed = int(rows["known"].sum()), int(rows["stayed"].sum())
    title = t("explore.stayed", share=stayed / known) if known else t("explore.no_moves_known")
    parts.figure(charts.transitions(rows, title=title, look=s.look), key="moves")
    looked_at(s, rows, cohort)
    parts.downloads(rows, t=t, name=f"{s.dataset}-moves")


def looked_at(s: Scene, rows: pd.DataFrame, cohort: Cohort) -> None:
    """Whether everyone of the cohort was looked at, or a draw of them."""
    n, users = int(rows["n"].iloc[0]), loaders.cohort_size(s.build.path, cohort)["users"]
    parts.note(s.t("explore.looked_at_all" if n == users else "explore.looked_at_draw", n=n, users=users))


def habits(s: Scene, asked: Question) -> None:
    """Segments by how lately and how often, of which a click picks one; all of them stay in view."""
    t = s.t
    cells = loaders.segments(s.build.path, replace(asked, segments=()).cohort(s.tz))
    rows = cells.groupby("segment", as_index=False)[["users", "events"]].sum()
    rows = (
        rows.set_index("segment").reindex([it for it in exploring.SEGMENTS if it in set(rows["segment"])]).reset_index()
    )
    heavy = rows.loc[(rows["events"] / rows["users"]).idxmax()]
    title = t(
        "explore.heaviest",
        segment=t(f"segment.{heavy['segment']}"),
        users=float(heavy["users"] / rows["users"].sum()),
        events=float(heavy["events"] / rows["events"].sum()),
    )

    def pick() -> None:
        chosen = [data[0] if isinstance(data, (list, tuple)) else data for data in state.pointed("segments")]
        some = tuple(it for it in exploring.SEGMENTS if it in chosen)
        if some:
            show(replace(asked, segments=some))

    parts.figure(charts.segments(rows, title=title, look=s.look, picked=asked.segments), key="segments", on_select=pick)
    parts.note(t("explore.segments_say"))
    parts.downloads(cells, t=t, name=f"{s.dataset}-segments")


main()
