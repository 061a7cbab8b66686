"""Pulse: what people did. Activity in time, the days that stand out, who comes and goes, how attention is spread, the
hours of the week, and what the build is made of.
"""

import streamlit as st

from dashboard import charts, drifting, findings, growing, kpi_cards, loaders, parts, sessioning, state, unusual
from dashboard.parts import Card
from dashboard.scene import Scene, scene
from data.explore import EVERYONE


def main() -> None:
    s = scene()
    t, facts = s.t, s.facts
    state.link(dataset=state.chosen("dataset"))
    first, last = s.span
    parts.heading(
        t.md("pulse.title", dataset=s.dataset),
        t.md("pulse.context", n=facts.n_events, first=first, last=last, tz=s.tz),
    )
    grain = findings.grain(facts.first_ts, facts.last_ts)
    activity = loaders.activity(s.build.path, s.tz, grain)
    tail = loaders.long_tail(s.build.path)
    hours = loaders.hour_weekday(s.build.path, s.tz)
    top, events = findings.peak(activity)
    busiest = findings.busiest_hour(hours)
    head = findings.head_share(tail)
    active = loaders.cohort_size(s.build.path, EVERYONE)["users"]  # of the listed, those with an event
    parts.cards(
        [
            Card(
                t("pulse.events"),
                t.count(facts.n_events),
                t("pulse.per_user", n=facts.n_events / max(active, 1)),
            ),
            Card(
                t("pulse.users"),
                t.count(facts.n_users),
                t(f"task.{facts.task}") if active == facts.n_users else t("pulse.active", n=active),
            ),
            Card(t("pulse.items"), t.count(facts.n_items), t("pulse.head", share=head)),
            Card(t("pulse.rejected"), t.count(facts.quarantined), t("pulse.of_read", n=facts.read)),
        ]
    )
    parts.figure(
        charts.activity(activity, title=t(f"pulse.peak_{grain}", top=top, n=events), look=s.look, tz=s.tz, grain=grain),
        key="activity",
    )
    unusual.section(s)
    growing.section(s)
    left, right = parts.pair()
    with left:
        parts.figure(charts.long_tail(tail, title=t("pulse.tail", share=head), look=s.look), key="tail")
    with right:
        said = t("pulse.no_hours")
        if busiest is not None:
            weekday, hour, times = busiest
            said = t("pulse.hours", day=t(f"weekday.{weekday}"), hour=hour, times=times)
        parts.figure(charts.hour_weekday(hours, title=said, look=s.look, tz=s.tz), key="hours")
    kpi_cards.section(s)
    sessioning.section(s)
    drifting.section(s)
    details(s)


def details(s: Scene) -> None:
    """The items people chose most, and the build's own facts."""
    t, facts = s.t, s.facts
    left, right = parts.pair()
    with left:
        parts.section(t("pulse.top_items"))
        parts.table(
            loaders.top_items(s.build.path, 200),
            t=t,
            name=f"{s.dataset}-top-items",
            columns={
                "title": st.column_config.TextColumn(t("column.title")),
                "events": st.column_config.NumberColumn(t("column.events"), format="localized", width="small"),
            },
        )
    with right:
        parts.section(t("pulse.build"))
        rows = {
            "made": t("value.moment", at=facts.created),
            "source": facts.source,
            "licence": facts.licence,
            "task": t(f"task.{facts.task}"),
            "read": t("value.read", read=facts.read, accepted=facts.accepted, quarantined=facts.quarantined),
        }
        named = {t(f"fact.{name}"): value for name, value in rows.items()}
        parts.facts({t("column.build"): facts.build_id, **named})
        rejected = loaders.quarantine(s.home, facts.build_id)
        if not rejected.empty:
            parts.table(
                rejected,
                t=t,
                name=f"{s.dataset}-rejected",
                columns={
                    "source": st.column_config.TextColumn(t("column.file")),
                    "reason": st.column_config.TextColumn(t("column.reason")),
                    "column": st.column_config.TextColumn(t("column.column")),
                    "n": st.column_config.NumberColumn(t("column.rows"), format="localized", width="small"),
                },
            )


main()
