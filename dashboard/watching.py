"""The training job in view: its state, its curves beside those of a finished run, its log, and how far off the estimate
was. A pure reader of the ledger and of `events.jsonl`: another web process shows the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from core.ops import jobs
from core.ops.events import epochs_told, read_events
from core.ops.jobrow import WAITING, JobRow
from core.ops.runs import RunRow, run_folder
from core.preflight import judged
from dashboard import charts, parts, queueing, run_loaders, state, training
from dashboard.scene import Scene
from dashboard.words import escape

LOG_LINES = 14
_METRIC = "ndcg@10"


def latest(s: Scene) -> JobRow | None:
    """The training job in view: the one at work, else the next in line, else the newest."""
    ours = [job for job in jobs.jobs(s.ledger, 50) if job.kind == training.KIND and job.dataset in (None, s.dataset)]
    waits = sorted((job for job in ours if job.state in WAITING), key=lambda job: job.rank)
    return next((job for job in ours if job.state == "running"), next(iter((*waits, *ours)), None))


def active(job: JobRow | None) -> bool:
    """Whether it is at work or waits for it."""
    return job is not None and job.state in (*WAITING, "running")


def live(s: Scene, job: JobRow) -> None:
    """The job in view and the queue, looked at again and again while anything is at work or waits for it; the whole
    page once more when the job in view ends or another takes its place.

    One that has ended is drawn as a fragment too: what a page draws in another place than before stands at both until
    the browser has all of it.
    """
    seen = (job.job_id, active(job))

    def look() -> None:
        now = latest(s) or job
        if (now.job_id, active(now)) != seen or state.recall("studio-stale", False):
            state.keep("studio-stale", False)
            st.rerun()
        show(s, now)
        queueing.section(s, in_view=now)

    busy = active(job) or bool(jobs.queue(s.ledger))
    st.fragment(look, run_every=2.0 if busy else None)()


def show(s: Scene, job: JobRow) -> None:
    """A job's state, progress, curves and log, with what can be done about it."""
    t = s.t
    heads = {"running": "studio.now", "paused": "studio.paused"} | dict.fromkeys(WAITING, "studio.next")
    parts.section(t(heads.get(job.state, "studio.last")))
    who = f"{t('studio.job')} `{job.job_id}` · **{t.name('state', job.state)}**"
    run = f" · {t('studio.run')} `{job.run_id}`" if job.run_id else ""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"{who}{run} · {escape(training.told(t, job.payload.get('config')))}", width="stretch")
        with st.container(horizontal=True, vertical_alignment="center", gap="small", width="content"):
            queueing.acts(s, job)
            if job.done:
                training.again(s, job.payload.get("config"), key=f"again-{job.job_id}")
    # Places that are kept even when nothing is in them: what follows must not move up when the job ends.
    answer, progress, trouble = st.empty(), st.empty(), st.empty()
    with answer:
        queueing.confirmed(s, job)
    if job.state == "running":
        said = t.name("stage", job.stage or "text")
        left = t("studio.left", seconds=job.eta_s) if job.eta_s is not None else ""
        progress.progress(min(max(job.progress, 0.0), 1.0), text=f"{said} {left}".strip())
    if job.error:
        trouble.error(parts.job_fault(t, job.error), icon=":material/error:")
    estimate(s, job)
    with st.container():
        learned(s, job)
    log(s, job)


def learned(s: Scene, job: JobRow) -> None:
    """The curves so far, beside those of the finished run that is chosen."""
    epochs = epochs_told(read_events(jobs.events_path(s.home, job.job_id, job.run_id)))
    if not epochs:
        if not job.done:
            parts.note(s.t("studio.no_epoch" if job.state == "running" else "studio.not_begun"))
        return
    other = beside(s, job)
    its = [] if other is None else epochs_told(read_events(run_folder(s.home, other.run_id) / "events.jsonl"))
    figure = charts.curves(
        epochs,
        title=finding(s, epochs, its, other),
        look=s.look,
        beside=its,
        named=other.run_id if other is not None else "",
    )
    parts.figure(figure, key=f"curves-{job.job_id}")


def beside(s: Scene, job: JobRow) -> RunRow | None:
    """The run to compare with, of those on this data set with the same test: the champion, until another is chosen."""
    t, protocol = s.t, job.payload.get("config", {}).get("protocol", "last")
    others = {
        run.run_id: run
        for run in s.finished_runs()
        if run.run_id != job.run_id
        and run.protocol == protocol
        and (run_folder(s.home, run.run_id) / "events.jsonl").is_file()
    }
    if not others:
        return None
    names = list(others)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        chosen = st.selectbox(
            t("studio.beside"),
            names,
            index=names.index(s.champion) if s.champion in others else None,
            format_func=lambda run_id: t("models.serving", run=run_id) if run_id == s.champion else run_id,
            placeholder=t("studio.beside_none"),
            key="studio-beside",
            width=320,
        )
        if chosen is not None:
            training.again(s, others[chosen].config, key="again-beside", label="studio.again_its")
    return others.get(chosen) if chosen is not None else None


def finding(
    s: Scene, epochs: Sequence[Mapping[str, Any]], its: Sequence[Mapping[str, Any]], other: RunRow | None
) -> str:
    """What the curves say so far: the best of validation, beside what the other run had after as many epochs."""
    best = max((e for e in epochs if e.get(_METRIC) is not None), key=lambda e: e[_METRIC], default=None)
    if best is None:
        return s.t("studio.loss_only", n=len(epochs))
    stage = s.t.name("stage", best["stage"])
    theirs = [e[_METRIC] for e in its[: len(epochs)] if e.get(_METRIC) is not None]
    if other is None or not theirs:
        return s.t("studio.best", value=best[_METRIC], stage=stage, epoch=best["epoch"], n=len(epochs))
    return s.t("studio.best_beside", value=best[_METRIC], n=len(epochs), theirs=max(theirs), run=other.run_id)


def estimate(s: Scene, job: JobRow) -> None:
    """What was expected of the job before it began, and, once its run is finished, what it took."""
    t, expected = s.t, job.payload.get("estimate")
    if not expected:
        return
    told = expected["seconds"]
    span = {"estimate": t.rough(told["estimate"]), "low": t.rough(told["low"]), "high": t.rough(told["high"])}
    run = run_loaders.run_json(s.home, job.run_id, "evaluation.json") if job.run_id and job.done else None
    found = judged(expected, run) if run else None
    if found is None:
        st.caption(t("studio.expected", **span) if not job.done else "")
        return
    key = "studio.took" if found["within"] else "studio.took_beyond"
    took = t(key, seconds=found["seconds"], **span)
    more = t("studio.more" if found["over"] >= 0 else "studio.less", share=abs(found["over"]))
    parts.note(t.sentences(took, more, t("studio.peak", gb=found["peak_gb"], told=found["memory_gb"])))


def log(s: Scene, job: JobRow) -> None:
    """The last lines that the worker printed."""
    file = jobs.log_path(s.home, job.job_id)
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:] if file.is_file() else []
    with st.expander(s.t("studio.log"), expanded=job.state == "failed"):
        st.code("\n".join(lines) or s.t("studio.log_empty"), language=None, height=260)
