"""Data: is this build fit to train on? Its quality report, how its files were read, the rows that were set aside, and
what changed since an earlier build.
"""

import streamlit as st

from core.ops.builds import builds
from dashboard import loaders, parts, qualities, state
from dashboard.parts import Card
from dashboard.scene import Scene, scene


def main() -> None:
    s = scene()
    t, facts = s.t, s.facts
    state.link(dataset=state.chosen("dataset"), before=state.chosen("before"))
    quality = loaders.quality(s.build.path)
    counts = qualities.counted(quality)
    parts.heading(
        t.md("datasets.title", dataset=s.dataset), t.md("datasets.context", at=facts.created, source=facts.source)
    )
    st.markdown(t.md(f"datasets.{qualities.verdict(quality)}", n=counts["warning"], notes=counts["note"]))
    parts.cards(
        [
            Card(t("datasets.accepted"), t.count(facts.accepted), t("pulse.of_read", n=facts.read)),
            Card(t("pulse.rejected"), t.count(facts.quarantined), t("datasets.share", share=facts.refused_share)),
            Card(t("pulse.users"), t.count(facts.n_users), t("datasets.items", n=facts.n_items)),
            Card(t("datasets.until"), t("value.date", day=facts.last_ts), t("datasets.since", day=facts.first_ts)),
        ]
    )
    parts.section(t("datasets.looked_at"))
    found = qualities.table(quality, t, tz=facts.spec.events.tz)
    st.markdown(qualities.listed(found, t))
    parts.downloads(found, t=t, name=f"{s.dataset}-quality")
    set_aside(s)
    if quality["sources"]:
        parts.section(t("datasets.sources"))
        parts.table(
            qualities.sources(quality),
            t=t,
            name=f"{s.dataset}-sources",
            columns={
                "name": st.column_config.TextColumn(t("column.file")),
                "rows": st.column_config.NumberColumn(t("column.rows"), format="localized", width="small"),
                "read_as": st.column_config.TextColumn(t("column.read_as"), width="medium"),
            },
        )
    since(s)


def set_aside(s: Scene) -> None:
    """The rows that were refused, with their text, to be mended where they came from."""
    t = s.t
    rows = loaders.refused(s.home, s.build.build_id)
    parts.section(t("datasets.set_aside"))
    if rows.empty:
        parts.note(t.md("datasets.none_set_aside"))
        return
    parts.table(
        rows,
        t=t,
        name=f"{s.dataset}-refused",
        shown=rows.assign(reason=[t.name("reason", reason) for reason in rows["reason"]]),
        columns={
            "source": st.column_config.TextColumn(t("column.file"), width="small"),
            "line": st.column_config.NumberColumn(t("column.line"), width=70),
            "column": st.column_config.TextColumn(t("column.column"), width=90),
            "reason": st.column_config.TextColumn(t("column.reason"), width=150),
            "raw": st.column_config.TextColumn(t("column.text"), width="large"),
        },
    )


def since(s: Scene) -> None:
    """What changed between an earlier build and this one."""
    t = s.t
    earlier = {row.build_id: row for row in builds(s.ledger, s.dataset) if row.build_id != s.build.build_id}
    parts.section(t("datasets.changed"))
    if not earlier:
        parts.empty(t, "datasets.first_build", command="lodestar ingest SPEC", dataset=s.dataset)
        return
    named = state.tied("before", list(earlier), default=next(iter(earlier)))
    chosen = st.selectbox(t("datasets.before"), width=240, **named)
    before = loaders.build_facts(earlier[chosen].path)
    parts.table(
        qualities.differences(before, s.facts, t),
        t=t,
        name=f"{s.dataset}-changed",
        columns={
            "fact": st.column_config.TextColumn(t("column.fact")),
            "before": st.column_config.TextColumn(t("column.then")),
            "now": st.column_config.TextColumn(t("column.now")),
            "change": st.column_config.TextColumn(t("column.change")),
        },
    )


main()
