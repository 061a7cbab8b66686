"""What is brought, as the page Bring shows it: files that are taken, specs that can be run, uploads that wait, and what
was brought lately. The core is asked for all of it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import IO, Any

import pandas as pd
import streamlit as st

from core.ops import intake, jobs
from dashboard import parts, state
from dashboard.desk import actor
from dashboard.scene import Place
from dashboard.words import escape
from data import uploads
from data.errors import LodestarError
from data.uploads import PACKED, TEXTS

PAGE = "views/bring.py"
_SHOWN_JOBS = 8


def offer(here: Place) -> None:
    """The way to this page."""
    st.page_link(PAGE, label=here.t("bring.offer"), icon=":material/upload_file:")


# ---- what is brought


def choose(here: Place) -> None:
    """Files to upload, specs to run, uploads that wait, and what was brought lately."""
    t, found = here.t, here.settings
    parts.heading(t("bring.title"), t("bring.context", mb=found.upload_mb, texts=", ".join(TEXTS)))
    turn = state.recall("bring-turn", 0)
    incoming = st.file_uploader(
        t("bring.files"),
        type=[*TEXTS, *PACKED],
        accept_multiple_files=True,
        max_upload_size=found.upload_mb,
        key=f"bring-files-{turn}",
    )
    if st.button(t("bring.keep"), type="primary", key="bring-keep", icon=":material/search:", disabled=not incoming):
        received(here, incoming)
    parts.note(t.md("bring.only_text", folder=str(found.specs_at)))
    specs = intake.named_specs(found.specs_at)
    if specs:
        parts.section(t("bring.specs"))
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            name = st.selectbox(t("bring.spec"), specs, key="bring-spec", width=320)
            st.button(t("bring.open"), key="bring-open-spec", on_click=state.choose, args=("spec", name))
    waiting(here)
    lately(here)


def received(here: Place, incoming: Sequence[Any]) -> None:
    """Keeps what was uploaded and opens it."""
    files: list[tuple[str, IO[bytes]]] = [(one.name, one) for one in incoming]
    try:
        one = intake.receive(
            here.ledger, here.home, files, limits=here.settings.upload_limits, by=actor(), now=datetime.now(UTC)
        )
    except LodestarError as error:
        parts.problem(here.t, error)
        return
    state.keep("bring-turn", state.recall("bring-turn", 0) + 1)  # another widget: this one's files leave the memory
    state.choose("upload", one.upload_id)
    st.rerun()


def waiting(here: Place) -> None:
    """Uploads that nothing was made of yet."""
    t, used = here.t, intake.in_use(here.ledger)
    rows = [one for one in uploads.uploads(here.home) if one.upload_id not in used]
    if not rows:
        return
    parts.section(t("bring.waiting"))
    parts.note(t("bring.kept_for", n=here.settings.upload_days))
    with st.container(border=True, gap="xsmall"):
        for one in rows:
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                names = escape(", ".join(one.files))
                st.markdown(
                    f"{names} · {t('value.gb', value=one.bytes / 1e9)} · {t('value.moment', at=one.at)}",
                    width="stretch",
                )
                st.button(
                    t("bring.open"),
                    key=f"open-{one.upload_id}",
                    type="tertiary",
                    on_click=state.choose,
                    args=("upload", one.upload_id),
                )
                drop_button(here, one.upload_id)
    said(here)


def drop_button(here: Place, upload_id: str) -> None:
    """Removes an upload, and says that it can't be undone."""
    t = here.t
    with st.popover(t("bring.drop"), icon=":material/delete:", type="tertiary"):
        st.markdown(t("bring.drop_says"))
        st.button(t("bring.drop_sure"), key=f"drop-{upload_id}", on_click=_drop, args=(here, upload_id))


def lately(here: Place) -> None:
    """The newest jobs that brought data."""
    t = here.t
    rows = [job for job in jobs.jobs(here.ledger, 200) if job.kind == intake.KIND][:_SHOWN_JOBS]
    if not rows:
        return
    parts.section(t("bring.lately"))
    parts.table(
        pd.DataFrame(
            {
                "dataset": [job.dataset for job in rows],
                "build": [(job.result or {}).get("build_id") for job in rows],
                "state": [t.name("state", job.state) for job in rows],
                "progress": [job.progress for job in rows],
                "actor": [job.payload.get("by") for job in rows],
                "submitted": [job.submitted for job in rows],
            }
        ),
        t=t,
        name="brought",
        height=240,
        columns={
            "dataset": st.column_config.TextColumn(t("fact.dataset")),
            "build": st.column_config.TextColumn(t("column.build")),
            "state": st.column_config.TextColumn(t("column.state")),
            "progress": st.column_config.ProgressColumn(
                t("column.progress"), format="percent", min_value=0, max_value=1
            ),
            "actor": st.column_config.TextColumn(t("column.actor")),
            "submitted": st.column_config.DatetimeColumn(t("column.submitted"), format="YYYY-MM-DD HH:mm"),
        },
    )


def said(here: Place) -> None:
    """Why something that was asked a moment ago could not be done."""
    error = state.recall("bring-said", None)
    if error is not None:
        state.keep("bring-said", None)
        parts.problem(here.t, error)


def back(here: Place) -> None:
    """To what else there is."""
    st.button(here.t("bring.back"), key="bring-back", type="tertiary", icon=":material/arrow_back:", on_click=_leave)


def _leave() -> None:
    state.choose("upload", None)
    state.choose("spec", None)


def _drop(here: Place, upload_id: str) -> None:
    try:
        intake.drop(here.ledger, here.home, upload_id, by=actor())
        _leave()
    except LodestarError as error:
        state.keep("bring-said", error)
