"""The job that makes a build of what was brought, as the page Bring shows it: how far it is, what stopped it, and the
build that it made. A pure reader: another web process shows the same.
"""

import streamlit as st

from core.ops import intake, jobs
from core.ops.builds import build_of
from core.ops.jobrow import WAITING, JobRow
from dashboard import fitness, loaders, parts, queueing, state
from dashboard.parts import Card
from dashboard.scene import Place, at_build
from data.errors import UnknownBuild

LOG_LINES = 14


def job_of(here: Place, *, upload: str | None = None, named: str | None = None) -> JobRow | None:
    """The newest job of an upload, or of a spec in the folder of specs."""
    for job in jobs.jobs(here.ledger, 500):
        ours = job.payload.get("upload") == upload if upload else job.payload.get("named") == named
        if job.kind == intake.KIND and ours:
            return job
    return None


def active(job: JobRow | None) -> bool:
    """Whether it is at work, waits for it, or is paused."""
    return job is not None and not job.done


def watched(here: Place, job: JobRow) -> None:
    """The job, looked at again and again while it is at work; the whole page once more when it ends."""

    def look() -> None:
        now = jobs.status(here.ledger, job.job_id)
        if now.done != job.done:
            st.rerun()
        show(here, now)

    st.fragment(look, run_every=1.0 if job.state in (*WAITING, "running") else None)()


def show(here: Place, job: JobRow) -> None:
    """Its state, how far it is, what can be asked of it, its log."""
    t = here.t
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"{t('studio.job')} `{job.job_id}` · **{t.name('state', job.state)}**", width="stretch")
        with st.container(horizontal=True, gap="small", width="content"):
            if job.state != "failed":
                queueing.acts(here, job)
    queueing.confirmed(here, job)
    if job.state == "running":
        left = t("studio.left", seconds=job.eta_s) if job.eta_s is not None else ""
        words = f"{t.name('ingest_stage', job.stage or 'reading events')} {left}".strip()
        st.progress(min(max(job.progress, 0.0), 1.0), text=words)
    if job.state == "queued":
        parts.note(t("bring.queued"))
    if job.error:
        st.error(parts.job_fault(t, job.error), icon=":material/error:")
    file = jobs.log_path(here.home, job.job_id)
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:] if file.is_file() else []
    with st.expander(t("studio.log"), expanded=False):
        st.code("\n".join(lines) or t("studio.log_empty"), language=None, height=200)


def stopped_by(here: Place, job: JobRow) -> None:
    """The rows that stopped it."""
    file = intake.refused_of(here.home, job.job_id)
    if not file.is_file():
        return
    parts.section(here.t("bring.stopped_by"))
    fitness.refused(here.t, loaders.refused_at(file, file.stat().st_mtime_ns), name=f"{job.job_id}-refused")


def result(here: Place, job: JobRow) -> None:
    """The build that a job made, or found to hold everything already: its report, and what changed."""
    t = here.t
    if (job.result or {}).get("unchanged"):
        parts.note(t("bring.unchanged"))
    try:
        s = at_build(here, build_of(here.ledger, (job.result or {})["build_id"]))
    except UnknownBuild as error:
        parts.problem(t, error)
        return
    facts = s.facts
    if state.recall("bring-shown", None) != job.job_id:  # what was just brought is what the other pages show next
        state.keep("bring-shown", job.job_id)
        state.choose("dataset", s.dataset)
    st.page_link("views/datasets.py", label=t("bring.see"), icon=":material/database:")
    parts.cards(
        [
            Card(t("datasets.accepted"), t.count(facts.accepted), t("pulse.of_read", n=facts.read)),
            Card(t("pulse.rejected"), t.count(facts.quarantined), t("datasets.share", share=facts.refused_share)),
            Card(t("pulse.users"), t.count(facts.n_users), t("datasets.items", n=facts.n_items)),
            Card(t("datasets.until"), t("value.date", day=s.span[1]), t("datasets.since", day=s.span[0])),
        ],
        name="made",
    )
    fitness.looked_at(s)
    if facts.quarantined:
        fitness.set_aside(s)
    fitness.since(s)
