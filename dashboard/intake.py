"""From a spec or a known set's name to the current build of a data set, and from that build to the next by what came
back since: what `ingest`, `demo` and `update` do.
"""

from functools import partial
from pathlib import Path
from typing import Any

from core.ops import feedback, roles, trail
from core.ops.builds import BuildRow, current_build, record_build
from core.ops.ledger import Ledger, utc_now
from dashboard.desk import actor
from dashboard.settings import Settings
from dashboard.terminal import Report
from data.extend import extend
from data.ingest import IngestResult, ingest
from data.sources import fetch, fetched_names
from data.spec import load_spec


def ingest_dataset(mine: Settings, ledger: Ledger, spec: str, *, progress: Report | None = None) -> dict[str, Any]:
    """Ingest a spec's path or a known set's name and make the build current; the `ingest` JSON."""
    path = Path(spec)
    if spec in fetched_names() and not path.exists():
        path = fetch(spec, cache=mine.cache, offline=mine.offline, progress=progress).spec_path
    roles.require(ledger, actor(), roles.Act.INGEST)
    described, now = load_spec(path), utc_now()
    upto = feedback.watermark(ledger, described.name)
    acts = feedback.events(ledger, described.name, upto=upto)
    made = ingest(
        described,
        base=path.parent,
        home=mine.home,
        now=now,
        threads=mine.threads,
        progress=progress,
        feedback=acts,
    )
    return _recorded(ledger, made, feedback=acts.num_rows, feedback_to=upto)


def fold_feedback(mine: Settings, ledger: Ledger, build: BuildRow) -> BuildRow:
    """The build that holds what came back since the data set's current one, made current; that one where nothing
    did. Raises Conflict where another build became current meanwhile."""
    roles.require(ledger, actor(), roles.Act.INGEST)
    upto = feedback.watermark(ledger, build.dataset)
    acts = feedback.events(ledger, build.dataset, after=build.feedback_to, upto=upto)
    if not acts.num_rows:
        return build
    made = extend(build.path, acts, home=mine.home, now=utc_now(), threads=mine.threads)
    _recorded(ledger, made, feedback=acts.num_rows, feedback_to=upto, instead_of=build.build_id)
    return current_build(ledger, build.dataset)


def _recorded(
    ledger: Ledger, made: IngestResult, *, feedback: int, feedback_to: int, instead_of: str | None = None
) -> dict[str, Any]:
    """Make a published build current; the `ingest` JSON."""
    fields = ("dataset", "build_id", "read", "accepted", "quarantined", "reasons", "seconds")
    told = {name: getattr(made, name) for name in fields} | {"feedback": feedback}
    record_build(
        ledger,
        build_id=made.build_id,
        dataset=made.dataset,
        path=made.path,
        facts=told,
        now=made.facts.created,
        feedback_to=feedback_to,
        instead_of=instead_of,
        note=partial(
            trail.note,
            actor=actor(),
            act="ingest",
            subject=made.dataset,
            now=made.facts.created,
            detail={"build_id": made.build_id, "read": made.read, "accepted": made.accepted, "feedback": feedback},
        ),
    )
    return told | {"quality": made.quality, "tz": made.facts.spec.events.tz}
