"""The drawing pieces that pages share: headings, figures, cards, tables with their downloads, and what is
said when something is missing or wrong. Whatever comes from data is escaped here or by `t.md` before
Markdown sees it.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import state
from dashboard.charts import take_title
from dashboard.tables import safe
from dashboard.words import LANGUAGES, Words, escape
from data.errors import LodestarError, ScorerUnavailable

ROWS = 10
NAME_CHARACTERS = 60  # of what somebody typed, in a sentence
_PLOTLY = {"displayModeBar": False, "scrollZoom": False, "doubleClick": False, "showAxisDragHandles": False}


@dataclass(frozen=True)
class Card:
    """One figure worth a card: what it is, how much, and what qualifies it (an interval, n, a comparison)."""

    label: str
    value: str
    note: str = ""
    help: str | None = None


def heading(title: str, context: str) -> None:
    """A page's question (Markdown, escaped by the caller) and its one muted line of context."""
    st.title(title, anchor=False)
    st.caption(context)


def section(text: str) -> None:
    """A part of a page (Markdown, escaped by the caller)."""
    st.markdown(f"### {text}", anchors=False)


def finding(text: str) -> None:
    """What a figure shows, above it or in its place (Markdown, escaped by the caller)."""
    st.markdown(f"##### {text}", anchors=False)


def figure(chart: go.Figure, *, key: str, on_select: Callable[[], None] | None = None) -> None:
    """A figure, made for this call, under its finding: the title is set as text, so that it wraps and is never cut.
    on_select: called when one of its points is clicked; `state.pointed` tells which."""
    title = take_title(chart)
    with st.container(gap="xsmall"):
        if title:
            finding(escape(title))
        st.plotly_chart(
            chart,
            theme=None,
            config=_PLOTLY,
            key=key,
            alt=title or None,
            on_select=on_select or "ignore",
            selection_mode="points",
        )


def cards(shown: Sequence[Card], *, name: str = "first") -> None:
    """At most four cards of one height, two by two where there is little room; what is long wraps and is never cut. A
    page's second row of cards has another `name`."""
    for place, (cell, card) in enumerate(zip(_cells(len(shown)), shown, strict=True)):
        with cell, st.container(gap=None):
            st.caption(escape(card.label), help=card.help)
            with st.container(key=f"card-{name}-{place}"):
                st.markdown(escape(card.value))
            if card.note:
                st.caption(escape(card.note))


def _cells(count: int) -> list[DeltaGenerator]:
    if count < 4:
        grid = st.grid(count, min_column_width=120, gap="small", border=True)
        return [grid.cell() for _ in range(count)]
    halves = st.grid(2, min_column_width=330, gap="small")
    inner = [halves.cell().grid(2, min_column_width=120, gap="small", border=True, height="stretch") for _ in range(2)]
    return [grid.cell() for grid in inner for _ in range(2)]


def reserved(*, height: int, known: bool) -> Callable[[], DeltaGenerator]:
    """Room on the page for what is drawn later; call it to draw there. Until then a skeleton of `height` pixels stands
    in it, unless what comes is `known` and takes no time.
    """
    if known:
        room = st.container(gap="small")
        return lambda: room
    waiting = st.skeleton(height=height)
    return lambda: waiting.container(gap="small")


def pair(*, level: bool = False) -> tuple[DeltaGenerator, DeltaGenerator]:
    """Two cells side by side where each keeps the width of a readable figure, else one above the other; `level` sets
    figures of one height on one line, however long their titles are.
    """
    grid = st.grid(2, min_column_width=440, gap=("medium", "medium"), vertical_alignment="bottom" if level else "top")
    return grid.cell(), grid.cell()


def table(
    data: pd.DataFrame,
    *,
    t: Words,
    name: str,
    columns: dict[str, Any] | None = None,
    shown: pd.DataFrame | None = None,
    height: int = 388,
) -> None:
    """A table with its downloads. `columns` says which are shown, in order, and how; `shown` may stand in for the
    data on the page (words for codes); the files always hold the data whole and raw.
    """
    seen = data if shown is None else shown
    st.dataframe(
        seen,
        column_order=list(columns) if columns else list(seen.columns),
        column_config=columns,
        hide_index=True,
        height=height if len(seen) > ROWS else "auto",
        key=f"table.{name}",
        placeholder="–",
    )
    downloads(data, t=t, name=name)


def downloads(data: pd.DataFrame, *, t: Words, name: str) -> None:
    """CSV and Parquet of a table; the files are made when asked for."""
    offer(t, n=len(data), name=name, csv=lambda: _csv(data), parquet=lambda: _parquet(data))


def offer(t: Words, *, n: int, name: str, csv: Callable[[], bytes], parquet: Callable[[], bytes]) -> None:
    """The two files of a table of `n` rows, made when asked for."""
    file = re.sub(r"[^\w.-]+", "-", name)
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center", gap="small"):
        st.caption(t("download.rows", n=n), width="content")
        for form, label, mime, make in (
            ("csv", "CSV", "text/csv", csv),
            ("parquet", "Parquet", "application/vnd.apache.parquet", parquet),
        ):
            st.download_button(
                label,
                data=make,
                file_name=f"{file}.{form}",
                mime=mime,
                key=f"download.{name}.{form}",
                on_click="ignore",
                type="tertiary",
                icon=":material/download:",
            )


def empty(t: Words, key: str, *, command: str, **values: Any) -> None:
    """Nothing to show: a sentence, and the command that changes that."""
    with st.container(border=True):
        st.markdown(t.md(key, **values))
        st.code(command, language=None)


def problem(t: Words, error: LodestarError) -> None:
    """A stated error with its remedy, in place of what could not be shown."""
    if isinstance(error, ScorerUnavailable):  # no fault of anyone's: the console runs by itself as well
        st.info(t("problem.no_scorer"), icon=":material/power_off:")
        return
    st.error(fault(t, *error.told(t.language)), icon=":material/error:")


def fault(t: Words, message: str, remedy: str) -> str:
    """What went wrong and what helps, for Markdown."""
    return f"{commands(message)}  \n{t.sentences(t('problem.remedy'), commands(remedy))}"


def job_fault(t: Words, error: Mapping[str, Any]) -> str:
    """Why a job failed, from its row in the ledger, for Markdown."""
    told = error.get("told", {}).get(t.language, error)
    return fault(t, told.get("message", ""), told.get("remedy", ""))


def commands(text: str) -> str:
    """An error's text for Markdown: what stands between backticks is a command, the rest is escaped."""
    return "".join(f"`{part}`" if place % 2 else escape(part) for place, part in enumerate(text.split("`")))


def note(text: str) -> None:
    """A quiet remark (Markdown, escaped by the caller)."""
    st.caption(text)


def whereabouts(t: Words, *, dataset: str | None, build: str, champion: str | None) -> None:
    """The header's line: which dataset, which build, which run serves."""
    said = [f"**{escape(dataset)}**"] if dataset else []
    said.append(t("header.build", build=f"`{build}`"))
    said.append(t("header.champion", run=f"`{champion}`") if champion else t("header.no_champion"))
    st.caption(" · ".join(said), width="stretch", help=t("header.help"))


def language_switch(t: Words) -> None:
    """English or Chinese; everything the reader chose stays."""
    st.segmented_control(
        t("header.language"),
        format_func=LANGUAGES.__getitem__,
        label_visibility="collapsed",
        required=True,
        **state.tied("lang", list(LANGUAGES), default=t.language),
    )


def _csv(data: pd.DataFrame) -> bytes:
    """For a spreadsheet, which must not take a title for a formula."""
    texts = {
        name: column.map(safe)
        for name, column in data.items()
        if pd.api.types.is_object_dtype(column) or pd.api.types.is_string_dtype(column)
    }
    return data.assign(**texts).rename(columns=safe).to_csv(index=False).encode("utf-8-sig")


def _parquet(data: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    data.to_parquet(buffer, index=False)
    return buffer.getvalue()


def facts(named: dict[str, str]) -> None:
    """Names and values in two columns, each value on as many lines as it needs."""
    st.table({escape(name): escape(value) for name, value in named.items()}, border="horizontal")


def kinds_named(t: Words, events: pd.DataFrame) -> pd.DataFrame:
    """Events with their kinds in words."""
    return events.assign(kind=events["kind"].map(lambda kind: t.name("kind", str(kind))))


def event_columns(t: Words, events: pd.DataFrame) -> dict[str, Any]:
    """How a user's events are shown: what they were of, and their kind or value where these tell anything."""
    columns = {
        "ts": st.column_config.DatetimeColumn(t("column.when"), format="YYYY-MM-DD HH:mm", width=132),
        "title": st.column_config.TextColumn(t("column.title"), width="medium"),
        "kind": st.column_config.TextColumn(t("column.kind"), width=88),
        "value": st.column_config.NumberColumn(t("column.value"), width=72),
    }
    mute = {"kind"} if events["kind"].nunique() <= 1 else set()
    mute |= {"value"} if events["value"].isna().all() else set()
    return {name: how for name, how in columns.items() if name not in mute}


def item_event_columns(t: Words) -> dict[str, Any]:
    """How an item's events are shown."""
    return {
        "ts": st.column_config.DatetimeColumn(t("column.when"), format="YYYY-MM-DD HH:mm"),
        "key": st.column_config.TextColumn(t("column.user")),
        "kind": st.column_config.TextColumn(t("column.kind")),
        "value": st.column_config.NumberColumn(t("column.value")),
    }


def groups_shown(t: Words, groups: pd.DataFrame) -> pd.DataFrame:
    """Group metrics as people read them: names for codes, and an estimate with its interval, or why there is none."""
    withheld = groups["suppressed"].astype(bool)
    read = [
        t("chart.suppressed") if hidden else interval(t, row) if row["n"] else t("chart.no_data")
        for hidden, row in zip(withheld, groups.to_dict("records"), strict=True)
    ]
    return pd.DataFrame(
        {
            t("column.metric"): [t.name("metric", name) for name in groups["metric"]],
            t("column.attribute"): [t.name("attribute", name) for name in groups["attribute"]],
            t("column.group"): [t.name("group", name) for name in groups["group"]],
            "n": groups["n"].astype("Int64"),
            t("column.estimate"): read,
        }
    )


def measure(t: Words, name: str, m: Mapping[str, Any], *, signed: bool = False, help: str | None = None) -> Card:
    """A card of an estimate with its interval and n; `name` is a metric's or already a label."""
    value = t("value.signed" if signed else "value.plain", value=m["estimate"])
    return Card(t.name("metric", name), value, t("value.interval_n", low=m["low"], high=m["high"], n=m["n"]), help)


def interval(t: Words, m: Mapping[str, Any] | None) -> str:
    """An estimate with its interval on one line; a dash where it was not measured."""
    return "–" if m is None else t("value.interval", value=m["estimate"], low=m["low"], high=m["high"])


def measures(t: Words, rows: Mapping[str, Sequence[Mapping[str, Any]]], *, heads: Sequence[str]) -> None:
    """A small table of estimates with their intervals: a row's name, then one M for each head after the first."""
    cells = [[name, *(interval(t, m) for m in row)] for name, row in rows.items()]
    st.table(pd.DataFrame([[escape(cell) for cell in row] for row in cells], columns=list(heads)), border="horizontal")
