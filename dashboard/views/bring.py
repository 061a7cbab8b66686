"""Bring: how is this file to be read? Upload files or name a spec, see how they were understood, mend that, try it, and
have a job make a build of them.
"""

from core.ops import intake
from core.ops.jobrow import JobRow
from dashboard import bringing, committing, parts, state, trying
from dashboard.scene import Place, place
from dashboard.trying import Tried
from data import uploads
from data.errors import LodestarError
from data.spec import parse_spec


def main() -> None:
    here = place()
    upload, named = state.chosen("upload"), state.chosen("spec")
    state.link(upload=upload, spec=None if upload else named, before=state.chosen("before"))
    if upload:
        of_upload(here, upload)
    elif named:
        of_spec(here, named)
    else:
        bringing.choose(here)


def of_upload(here: Place, upload_id: str) -> None:
    """An upload: its job where one is under way or done, else its form."""
    job = committing.job_of(here, upload=upload_id)
    if job is not None and (committing.active(job) or job.state == "succeeded"):
        under_way(here, job)
        return
    try:
        one = uploads.upload(here.home, upload_id)
    except LodestarError as error:
        parts.heading(here.t("bring.title"), "")
        bringing.back(here)
        parts.problem(here.t, error)
        return
    names = here.t.listing(list(one.files))
    parts.heading(here.t.md("bring.title_upload", files=names), here.t.md("bring.brought", at=one.at, by=one.by))
    bringing.back(here)
    bringing.said(here)
    if job is not None:
        committing.watched(here, job)
        committing.stopped_by(here, job)
    it = trying.mapped(here, one)
    if it is not None:
        trying.written(here, it)
        tried(here, it, upload=one)


def of_spec(here: Place, name: str) -> None:
    """A spec in the folder of specs, which is run as it is."""
    t = here.t
    parts.heading(t.md("bring.title_spec", name=name), t.md("bring.as_it_is", folder=str(here.settings.specs_at)))
    bringing.back(here)
    job = committing.job_of(here, named=name)
    if job is not None and committing.active(job):
        committing.watched(here, job)
        return
    try:
        text = intake.named_spec(here.settings.specs_at, name)
        dataset = parse_spec(text, origin=name).name
    except LodestarError as error:
        parts.problem(t, error)
        return
    it = Tried(text, here.settings.specs_at, name, dataset, named=True)
    trying.written(here, it)
    tried(here, it, upload=None)
    if job is not None:
        parts.section(t("bring.last_time"))
        committing.watched(here, job)
        committing.stopped_by(here, job)
        if job.state == "succeeded":
            committing.result(here, job)


def tried(here: Place, it: Tried, *, upload: uploads.Upload | None) -> None:
    """The try, and once it went well the order."""
    found = trying.trial(here, it, upload)
    if found is not None:
        trying.outcome(here, it, found)
        trying.commit(here, it, found, upload)


def under_way(here: Place, job: JobRow) -> None:
    """A job that makes a build, or the build that it made."""
    t = here.t
    done = job.state == "succeeded"
    key = "bring.title_done" if done else "bring.title_active"
    parts.heading(
        t.md(key, dataset=job.dataset, build=intake.build_id_of(job.job_id)),
        t.md("bring.ordered_by", by=job.payload["by"], at=job.submitted),
    )
    bringing.back(here)
    if done:
        committing.result(here, job)
        parts.section(t("bring.how_it_was_made"))
    committing.watched(here, job)


main()
