"""The queue as Studio shows it: who waits, in which order, and what can be done about it. What was asked of a job is
confirmed where it was asked, with the way back.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import pandas as pd
import streamlit as st

from core.ops import jobs, roles
from core.ops.intake import KIND
from core.ops.jobrow import WAITING, JobRow
from core.ops.supervisor import ensure_supervisor
from dashboard import parts, state, training
from dashboard.desk import actor, supervisor_argv
from dashboard.scene import Place, Scene
from dashboard.words import escape
from data.errors import LodestarError

ICONS: Final = {
    "first": ":material/vertical_align_top:",
    "last": ":material/vertical_align_bottom:",
    "pause": ":material/pause_circle:",
    "resume": ":material/play_circle:",
    "cancel": ":material/stop_circle:",
}


def section(s: Scene, *, in_view: JobRow) -> None:
    """The jobs that wait, in their order, those that are paused, and one that was just taken out, with the way back;
    nothing where that is the job in view alone."""
    t, line = s.t, jobs.queue(s.ledger)
    known = jobs.jobs(s.ledger, 200)
    paused = [job for job in known if job.state == "paused"][::-1]
    gone = [job for job in known if job.job_id == _spoken_of() and job.done and job.job_id != in_view.job_id]
    if not {job.job_id for job in (*line, *paused, *gone)} - {in_view.job_id}:
        return
    parts.section(t("queue.title_paused" if paused else "queue.title", n=len(line), paused=len(paused)))
    parts.note(t("queue.says"))
    with st.container(border=True, gap="xsmall"):
        for place, job in enumerate(line, 1):
            row(s, job, place=place, of=len(line))
        for job in (*paused, *gone):
            row(s, job, place=None, of=len(line))


def row(s: Scene, job: JobRow, *, place: int | None, of: int) -> None:
    """One job of the queue: its place, what it is, and its buttons."""
    t = s.t
    what = training.told(t, job.payload.get("config")) if job.kind == training.KIND else t.name("job", job.kind)
    number = f"**{place}**" if place is not None else ICONS["pause" if job.state == "paused" else "cancel"]
    said = [f"{number} `{job.job_id}`", escape(what)]
    if job.dataset not in (None, s.dataset):
        said.append(escape(job.dataset))
    if expected := job.payload.get("estimate"):
        said.append(t("value.about", value=t.rough(expected["seconds"]["estimate"])))
    if job.state != "queued":
        said.append(t.name("state", job.state))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(" · ".join(said), width="stretch")
        with st.container(horizontal=True, vertical_alignment="center", gap="small", width="content"):
            if place is not None:
                _button(s, job, "first", in_queue=True, disabled=place == 1)
                _button(s, job, "last", in_queue=True, disabled=place == of)
            acts(s, job, in_queue=True)
    confirmed(s, job)


def acts(s: Place, job: JobRow, *, in_queue: bool = False) -> None:
    """What may be asked of a job as it stands: pause or resume, and cancel; an ingest has nothing to save, and does not
    pause."""
    if job.state in (*WAITING, "running"):
        if job.kind != KIND:
            _button(s, job, "pause", in_queue=in_queue, disabled=job.pause_requested or job.cancel_requested)
    elif job.state != "succeeded":
        _button(s, job, "resume", in_queue=in_queue)
    if not job.done:
        _button(s, job, "cancel", in_queue=in_queue, disabled=job.cancel_requested)


def confirmed(s: Place, job: JobRow) -> None:
    """What was asked of this job a moment ago, and how to take it back; or why it could not be done."""
    if _spoken_of() != job.job_id:
        return
    said = state.recall("queue-said", None)
    if said["error"] is not None:
        parts.problem(s.t, said["error"])
        return
    parts.note(f":material/check: {s.t(said['key'], job=f'`{job.job_id}`')}")


def _spoken_of() -> str | None:
    """The job of which something was asked a moment ago."""
    said = state.recall("queue-said", None)
    recent = said is not None and time.monotonic() - said["s"] < training.TOLD_FOR_S
    return str(said["job_id"]) if recent else None


def _button(s: Place, job: JobRow, act: str, *, in_queue: bool, disabled: bool = False) -> None:
    st.button(
        "" if in_queue else s.t(f"queue.{act}"),
        key=f"{act}-{job.job_id}" if not in_queue else f"queue-{act}-{job.job_id}",
        icon=ICONS[act],
        type="tertiary" if in_queue else "secondary",
        help=s.t(f"queue.{act}_help"),
        disabled=disabled,
        on_click=_ask,
        args=(s, job, act),
    )


def _ask(s: Place, job: JobRow, act: str) -> None:
    """Asks it of the ledger, and keeps what is to be said about it."""
    said: dict[str, Any] = {"job_id": job.job_id, "s": time.monotonic(), "error": None}
    running = "_running" if job.state == "running" and act in ("pause", "cancel") else ""
    try:
        roles.require(s.ledger, actor(), roles.Act.TRAIN)
        _ACTS[act](s, job.job_id)
    except LodestarError as error:  # it ended meanwhile, say
        said["error"] = error
    state.keep("queue-said", said | {"key": f"queue.{act}_done{running}"})


def _resume(s: Place, job_id: str) -> None:
    jobs.resume(s.ledger, job_id, now=datetime.now(UTC))
    ensure_supervisor(s.home, supervisor_argv(s.home))


_ACTS: Final[dict[str, Callable[[Place, str], Any]]] = {
    "first": lambda s, job_id: jobs.move(s.ledger, job_id, to="first"),
    "last": lambda s, job_id: jobs.move(s.ledger, job_id, to="last"),
    "pause": lambda s, job_id: jobs.request_pause(s.ledger, job_id, now=datetime.now(UTC)),
    "resume": _resume,
    "cancel": lambda s, job_id: jobs.request_cancel(s.ledger, job_id, now=datetime.now(UTC)),
}


def table(s: Scene) -> None:
    """Every job of this dataset, newest first."""
    t = s.t
    rows = [job for job in jobs.jobs(s.ledger, 50) if job.dataset in (None, s.dataset)]
    if not rows:
        return
    parts.section(t("studio.jobs"))
    frame = pd.DataFrame(
        {
            "job_id": [job.job_id for job in rows],
            "kind": [job.kind for job in rows],
            "state": [t.name("state", job.state) for job in rows],
            "progress": [job.progress for job in rows],
            "run_id": [job.run_id for job in rows],
            "submitted": [job.submitted for job in rows],
            "ended": [job.ended for job in rows],
        }
    )
    parts.table(
        frame,
        t=t,
        name=f"{s.dataset}-jobs",
        columns={
            "job_id": st.column_config.TextColumn(t("column.job")),
            "state": st.column_config.TextColumn(t("column.state")),
            "progress": st.column_config.ProgressColumn(
                t("column.progress"), format="percent", min_value=0, max_value=1
            ),
            "run_id": st.column_config.TextColumn(t("column.run")),
            "submitted": st.column_config.DatetimeColumn(t("column.submitted"), format="YYYY-MM-DD HH:mm"),
        },
    )
