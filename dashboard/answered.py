"""What people did with what they were shown, on the Models page: the champion's lists, its challenger's beside them,
and the champion's by week.
"""

import streamlit as st

from core.ops import feedback, registry
from core.ops.traffic import splits
from core.trust.outcomes import Outcome, Outcomes
from dashboard import charts, findings, parts, run_loaders
from dashboard.scene import Scene

WEEKS = 12


def section(s: Scene) -> None:
    """Nothing where nothing was noted as shown and no challenger waits to be judged by it."""
    t, changes = s.t, splits(s.ledger, s.dataset)
    found = run_loaders.served_outcomes(
        s.settings.ledger_at,
        s.home,
        s.dataset,
        registry.champion_version(s.ledger, s.dataset),
        changes[0].version if changes else 0,
        feedback.watermark(s.ledger, s.dataset),
    )
    if found is None or not (len(found.arms) > 1 or found.arms[0].slates):
        return
    parts.section(t("outcome.section"))
    champion, *others = found.arms
    if not any(arm.slates for arm in found.arms):
        parts.note(t.md("outcome.none", at=found.since))
        return
    if champion.slates:
        shown = {"at": found.since, "run": champion.run_id, "slates": champion.slates}
        st.markdown(t.md("outcome.champion", **shown, **champion.share))
    for other in others:
        st.markdown(against(s, champion, other))
    if others:
        rows = {arm.run_id: [arm.share, arm.gap] for arm in found.arms}
        parts.measures(t, rows, heads=(t("column.run"), t("outcome.answered"), t("outcome.less")))
    by_week(s, found)


def against(s: Scene, champion: Outcome, other: Outcome) -> str:
    """Whether the challenger's lists are answered more often than the champion's, as far as can be told."""
    silent = next((arm for arm in (champion, other) if not arm.users), None)
    if silent is not None or other.gap is None:
        return s.t.md("outcome.nothing", run=(silent or other).run_id)
    return s.t.md(f"outcome.{findings.verdict(other.gap)}", run=other.run_id, **other.gap)


def by_week(s: Scene, found: Outcomes) -> None:
    """The champion's share week by week, once there are two of them."""
    t, weeks = s.t, found.weeks[-WEEKS:]
    if len(weeks) < 2:
        return
    dots = [
        charts.Dot(
            t("value.date", day=week), share["estimate"], share["low"], share["high"], share["n"], s.look.c.accent
        )
        for week, share in weeks
    ]
    title = t("outcome.weeks", share=weeks[-1][1]["estimate"], first=weeks[0][1]["estimate"], run=found.champion)
    figure = charts.dots(dots, title=title, look=s.look, axis=t("outcome.axis"), reference=None)
    parts.figure(figure, key="outcome-weeks")
