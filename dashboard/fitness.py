"""Whether a build is fit to train on, as two pages show it: what was looked at, the rows that were set aside, how the
files were read, and what changed since an earlier build.
"""

import pandas as pd
import streamlit as st

from core.ops.builds import builds
from dashboard import loaders, parts, qualities, state
from dashboard.scene import Scene
from dashboard.words import Words


def looked_at(s: Scene) -> None:
    """The quality report's checks, the gravest first."""
    t = s.t
    parts.section(t("datasets.looked_at"))
    found = qualities.table(loaders.quality(s.build.path), t, tz=s.facts.spec.events.tz)
    st.markdown(qualities.listed(found, t))
    parts.downloads(found, t=t, name=f"{s.dataset}-quality")


def set_aside(s: Scene) -> None:
    """The rows that were refused, with their text, to be mended where they came from; what cleaning rules removed."""
    parts.section(s.t("datasets.set_aside"))
    removed(s.t, qualities.cleaned(loaders.quality(s.build.path), s.t), name=f"{s.dataset}-cleaned")
    rows = loaders.refused(s.home, s.build.build_id)
    if rows.empty:
        parts.note(s.t.md("datasets.none_set_aside"))
        return
    refused(s.t, rows, name=f"{s.dataset}-refused")


def removed(t: Words, rows: pd.DataFrame, *, name: str) -> None:
    """What each cleaning rule removed (`qualities.cleaned`, perhaps with an `example` each); without rules nothing."""
    if rows.empty:
        return
    st.markdown(f"##### {t('cleaned.title')}", anchors=False)
    numbers = {"events": t("column.events"), "users": t("pulse.users"), "items": t("pulse.items")}
    columns = {
        "rule": st.column_config.TextColumn(t("cleaned.rule")),
        **{key: st.column_config.NumberColumn(label, format="localized") for key, label in numbers.items()},
    }
    if "example" in rows.columns:
        columns["example"] = st.column_config.TextColumn(t("cleaned.example"), width="large")
    parts.table(rows, t=t, name=name, columns=columns)
    parts.note(t("cleaned.says"))


def refused(t: Words, rows: pd.DataFrame, *, name: str) -> None:
    """Refused rows: file, line, column, reason, text."""
    parts.table(
        rows,
        t=t,
        name=name,
        shown=rows.assign(reason=[t.name("reason", reason) for reason in rows["reason"]]),
        columns={
            "source": st.column_config.TextColumn(t("column.file"), width="small"),
            "line": st.column_config.NumberColumn(t("column.line"), width=70),
            "column": st.column_config.TextColumn(t("column.column"), width=90),
            "reason": st.column_config.TextColumn(t("column.reason"), width=150),
            "raw": st.column_config.TextColumn(t("column.text"), width="large"),
        },
    )


def sources(s: Scene) -> None:
    """How each file was read."""
    t, quality = s.t, loaders.quality(s.build.path)
    if not quality["sources"]:
        return
    parts.section(t("datasets.sources"))
    parts.table(
        qualities.sources(quality, t),
        t=t,
        name=f"{s.dataset}-sources",
        columns={
            "name": st.column_config.TextColumn(t("column.file")),
            "rows": st.column_config.NumberColumn(t("column.rows"), format="localized", width="small"),
            "read_as": st.column_config.TextColumn(t("column.read_as"), width="medium"),
            "build_id": st.column_config.TextColumn(t("column.read_by"), width="small"),
        },
    )
    parts.note(t.md("datasets.traced"))


def since(s: Scene) -> None:
    """What changed between an earlier build and this one: facts, what came and went, what is said otherwise."""
    t = s.t
    earlier = {row.build_id: row for row in builds(s.ledger, s.dataset) if row.build_id != s.build.build_id}
    parts.section(t("datasets.changed"))
    if not earlier:
        parts.empty(t, "datasets.first_build", command="lodestar ingest SPEC", dataset=s.dataset)
        return
    named = state.tied("before", list(earlier), default=next(iter(earlier)))
    before = earlier[st.selectbox(t("datasets.before"), width=240, **named)]
    parts.table(
        qualities.differences(loaders.build_facts(before.path), s.facts, t),
        t=t,
        name=f"{s.dataset}-changed",
        columns={
            "fact": st.column_config.TextColumn(t("column.fact")),
            "before": st.column_config.TextColumn(t("column.then")),
            "now": st.column_config.TextColumn(t("column.now")),
            "change": st.column_config.TextColumn(t("column.change")),
        },
    )
    found = loaders.differences(before.path, s.build.path)
    st.markdown(f"##### {t('came.title')}", anchors=False)
    parts.table(
        qualities.came_and_went(found, t),
        t=t,
        name=f"{s.dataset}-came-and-went",
        columns={
            "what": st.column_config.TextColumn(t("column.fact")),
            **{
                name: st.column_config.NumberColumn(t(f"came.{name}"), format="localized")
                for name in ("before", "now", "added", "gone")
            },
        },
    )
    st.markdown(qualities.said_otherwise(found, t))
    if found.items.num_rows:
        with st.expander(t("came.show_items", n=found.items.num_rows)):
            items = found.items.to_pandas()
            parts.table(
                items,
                t=t,
                name=f"{s.dataset}-items-changed",
                shown=items.assign(change=[t(f"came.{change}") for change in items["change"]]),
                columns={
                    "change": st.column_config.TextColumn(t("column.change"), width="small"),
                    "key": st.column_config.TextColumn(t("came.key"), width="small"),
                    "title": st.column_config.TextColumn(t("column.title"), width="large"),
                    "events": st.column_config.NumberColumn(t("column.events"), format="localized", width="small"),
                },
            )
