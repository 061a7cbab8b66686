"""Guide: how to lead one user to a category by steps that they accept, and whether such guiding works
better than pushing.
"""

import streamlit as st

from dashboard import guiding, loaders, parts, picking, state
from dashboard.scene import scene


def main() -> None:
    s = scene()
    t, run = s.t, s.run()
    categories = list(loaders.categories(s.build.path)["category"])
    if not categories:
        st.title(t("guide.title_none"), anchor=False)
        parts.empty(t, "guide.no_categories", command="lodestar ingest SPEC")
        return
    user = state.chosen("user") or loaders.first(s.build.path, "user")
    target = state.chosen("target") or guiding.first_target(s, run.run_id, categories)
    state.link(dataset=state.chosen("dataset"), user=user, target=target, run=state.chosen("run"))
    n = loaders.user_facts(s.build.path, loaders.user_id(s.build.path, user), s.tz)["events"]
    parts.heading(t.md("guide.title", user=user, target=target), t.md("guide.context", run=run.run_id, n=n))
    with st.container(horizontal=True, gap="small"):
        with st.container(width=picking.WIDTH_PX):
            picking.choice(s, "user")
        st.selectbox(
            t("guide.target"),
            label_visibility="collapsed",
            width=280,
            **state.tied("target", categories, default=target),
        )
    left, right = parts.pair()
    with left:
        guiding.walk(s, run.run_id, user, target)
    with right:
        parts.section(t("guide.ahead"))
        planned = guiding.plan(s, run.run_id, user, target)
        if planned:
            guiding.path_figure(s, planned, target)
    if planned:
        guiding.path_table(s, planned, user)
    guiding.judged(s, run.run_id, target)


main()
