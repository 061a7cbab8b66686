"""Audit: does every group get equally good recommendations? Groups with intervals and n, gaps with what
could have been seen.
"""

import pandas as pd
import streamlit as st

from dashboard import charts, findings, parts, run_loaders, state
from dashboard.scene import Scene, scene


def main() -> None:
    s = scene()
    t, run = s.t, s.run()
    state.link(
        dataset=state.chosen("dataset"),
        run=state.chosen("run"),
        attribute=state.chosen("attribute"),
        metric=state.chosen("metric"),
    )
    audit = run_loaders.run_json(s.home, run.run_id, "audit.json")
    evaluation = run_loaders.run_json(s.home, run.run_id, "evaluation.json") or {}
    if audit is None or not audit["groups"]:
        parts.heading(t.md("audit.title", dataset=s.dataset), t.md("audit.context_bare", run=run.run_id))
        parts.empty(t, "audit.no_groups", command="lodestar ingest SPEC")
        return
    groups, gaps = pd.DataFrame(audit["groups"]), pd.DataFrame(audit["gaps"])
    metrics = [m for m in dict.fromkeys(groups["metric"]) if m in evaluation.get("metrics", {})]
    attributes = list(dict.fromkeys(groups["attribute"]))
    metric = state.chosen("metric") if state.chosen("metric") in metrics else metrics[0]
    attribute = state.chosen("attribute") if state.chosen("attribute") in attributes else attributes[0]
    overall = evaluation["metrics"][metric]
    parts.heading(
        t.md("audit.title", dataset=s.dataset), t.md("audit.context", run=run.run_id, n=overall["n"], m=len(attributes))
    )
    st.markdown(answer(s, audit["gaps"], metric))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.segmented_control(
            t("audit.attribute"),
            format_func=lambda name: t.name("attribute", name),
            required=True,
            **state.tied("attribute", attributes, default=attribute),
        )
        st.segmented_control(
            t("audit.metric"),
            format_func=lambda name: t.name("metric", name),
            required=True,
            **state.tied("metric", metrics, default=metric),
        )
    of_groups = groups[(groups["metric"] == metric) & (groups["attribute"] == attribute)]
    of_gaps = gaps[(gaps["metric"] == metric) & (gaps["attribute"] == attribute)] if len(gaps) else gaps
    of_groups = findings.groups_in_order(of_groups)
    of_gaps = findings.gaps_in_order(of_gaps) if len(of_gaps) else of_gaps
    left, right = parts.pair()
    with left:
        said = t("audit.groups_of", attribute=t.name("attribute", attribute), metric=t.name("metric", metric))
        parts.figure(
            charts.group_dots(of_groups, metric=metric, overall=overall["estimate"], title=said, look=s.look),
            key="groups",
        )
    with right:
        if len(of_gaps):
            parts.figure(
                charts.gap_dots(of_gaps, metric=metric, title=gap_finding(s, of_gaps, metric), look=s.look), key="gaps"
            )
        else:
            parts.note(t("audit.no_gap"))
    if of_groups["suppressed"].any():
        parts.note(t("audit.suppressed", n=int(of_groups["suppressed"].sum())))
    parts.note(t("audit.reading"))
    parts.section(t("audit.all_groups"))
    parts.table(groups, t=t, name=f"{s.dataset}-{run.run_id}-groups", shown=parts.groups_shown(t, groups))


def answer(s: Scene, gaps: list[dict], metric: str) -> str:
    """The page's answer in one sentence."""
    t, seen = s.t, findings.visible_gaps(gaps, metric=metric)
    if not seen:
        return t.md("audit.none_visible", metric=t.name("metric", metric))
    first = seen[0]
    return t.md(
        "audit.visible",
        n=len(seen),
        attribute=t.name("attribute", first["attribute"]),
        a=t.name("group", first["a"]),
        b=t.name("group", first["b"]),
        gap=first["gap"],
        metric=t.name("metric", metric),
    )


def gap_finding(s: Scene, gaps: pd.DataFrame, metric: str) -> str:
    """The gap figure's title: seen or not seen at this size."""
    seen = findings.visible_gaps(gaps.to_dict("records"), metric=metric)
    return s.t("audit.gaps_seen", n=len(seen), m=len(gaps)) if seen else s.t("audit.gaps_unseen")


main()
