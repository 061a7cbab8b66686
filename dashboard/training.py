"""A training job as the Studio page sees it: ordered, watched, stopped. It asks the ledger and reads
`events.jsonl`; it never trains.
"""

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st

from core.learn.config import PRESETS, load_config
from core.ops import jobs
from core.ops.events import epochs_told, read_events
from core.ops.jobrow import JobRow
from core.ops.supervisor import ensure_supervisor
from dashboard import charts, parts
from dashboard.desk import submit_training, supervisor_argv
from dashboard.scene import Scene

KIND = "train"
LOG_LINES = 14
_METRIC = "ndcg@10"


def presets() -> Mapping[str, Mapping[str, Any]]:
    """The named recipes of the training configuration."""
    return PRESETS


def command(dataset: str, preset: str, own: Mapping[str, Any]) -> str:
    """The command line that does the same."""
    settings = " ".join(f"--set {name}={shlex.quote(str(value))}" for name, value in own.items())
    return f"lodestar train --dataset {shlex.quote(dataset)} --preset {preset} {settings}".rstrip()


def start(s: Scene, preset: str, own: Mapping[str, Any]) -> str:
    """Queues the training and sees to a supervisor; returns the job's id. Raises InvalidConfig, JobFailed."""
    config = load_config(overrides=[*PRESETS[preset].items(), *own.items()])
    job_id = submit_training(s.ledger, s.build, config.model_dump())
    ensure_supervisor(s.home, supervisor_argv(s.home))
    st.toast(s.t("studio.queued", job=job_id))
    return job_id


def latest(s: Scene) -> JobRow | None:
    """The training job in view: the one at work, else the newest."""
    ours = [job for job in jobs.jobs(s.ledger, 50) if job.kind == KIND and job.dataset in (None, s.dataset)]
    return next((job for job in ours if job.state == "running"), ours[0] if ours else None)


def watch(s: Scene, job: JobRow) -> None:
    """The job in view, looked at again and again while it is at work, and the whole page once more when it ends.

    One that has ended is drawn as a fragment too: what a page draws in another place than before stands at both until
    the browser has all of it.
    """
    active = not job.done

    def look() -> None:
        now = jobs.status(s.ledger, job.job_id)
        if active and now.done:
            st.rerun()
        show(s, now)

    st.fragment(look, run_every=2.0 if active else None)()


def show(s: Scene, job: JobRow) -> None:
    """A job's state, progress, curves and log, with what can be done about it."""
    t = s.t
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(
            f"{t('studio.job')} `{job.job_id}` · {t.name('state', job.state)}"
            + (f" · {t('studio.run')} `{job.run_id}`" if job.run_id else ""),
            width="stretch",
        )
        if not job.done:
            st.button(
                t("studio.cancel"),
                key=f"cancel-{job.job_id}",
                icon=":material/stop_circle:",
                disabled=job.cancel_requested,
                on_click=cancel,
                args=(s, job.job_id),
            )
    # Places that are kept even when nothing is in them: what follows must not move up when the job ends.
    progress, trouble, curves = st.empty(), st.empty(), st.container()
    if job.state == "running":
        said = t.name("stage", job.stage or "text")
        left = t("studio.left", seconds=job.eta_s) if job.eta_s is not None else ""
        progress.progress(min(max(job.progress, 0.0), 1.0), text=f"{said} {left}".strip())
    if job.error:
        trouble.error(f"{job.error.get('message', '')}; {job.error.get('remedy', '')}", icon=":material/error:")
    epochs = epochs_told(read_events(jobs.events_path(s.home, job.job_id, job.run_id)))
    with curves:
        if epochs:
            parts.figure(charts.curves(epochs, title=finding(s, epochs), look=s.look), key=f"curves-{job.job_id}")
        elif not job.done:
            parts.note(t("studio.no_epoch"))
    log(s, job)


def finding(s: Scene, epochs: list[dict[str, Any]]) -> str:
    """What the curves say so far."""
    best = max((e for e in epochs if e.get(_METRIC) is not None), key=lambda e: e[_METRIC], default=None)
    if best is None:
        return s.t("studio.loss_only", n=len(epochs))
    return s.t(
        "studio.best", value=best[_METRIC], stage=s.t.name("stage", best["stage"]), epoch=best["epoch"], n=len(epochs)
    )


def log(s: Scene, job: JobRow) -> None:
    """The last lines that the worker printed."""
    file = jobs.log_path(s.home, job.job_id)
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:] if file.is_file() else []
    with st.expander(s.t("studio.log"), expanded=job.state == "failed"):
        st.code("\n".join(lines) or s.t("studio.log_empty"), language=None, height=260)


def cancel(s: Scene, job_id: str) -> None:
    """Asks for the end of a job; its worker saves and stops within ten seconds."""
    jobs.request_cancel(s.ledger, job_id, now=datetime.now(UTC))
    st.toast(s.t("studio.cancelling", job=job_id))


def queue(s: Scene) -> None:
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
