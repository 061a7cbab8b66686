"""From a spec or a known set's name to the current build of a data set, and from that build to the next by what came
back since: what `ingest`, `demo` and `update` do; and what a spec's cleaning rules would remove, before any of it.
"""

from pathlib import Path
from typing import Any

from core.ops import feedback, roles
from core.ops.builds import BuildRow, current_build
from core.ops.intake import Order, bring, record
from core.ops.ledger import Ledger, utc_now
from dashboard.desk import actor
from dashboard.settings import Settings
from dashboard.terminal import Report
from data.extend import extend
from data.quarantine import counted
from data.rehearsal import examples, preview
from data.sources import fetch, fetched_names
from data.spec import load_spec


def ingest_dataset(
    mine: Settings, ledger: Ledger, spec: str, *, append: bool = False, progress: Report | None = None
) -> dict[str, Any]:
    """Ingest a spec's path or a known set's name and make the build current; the `ingest` JSON. append: only what the
    current build has not."""
    path = _spec_path(mine, spec, progress)
    roles.require(ledger, actor(), roles.Act.INGEST)
    order = Order(load_spec(path), path.parent, actor(), append=append)
    return bring(ledger, mine.home, order, threads=mine.threads, progress=progress)


def preview_cleaning(mine: Settings, ledger: Ledger, spec: str, *, progress: Report | None = None) -> dict[str, Any]:
    """What the cleaning rules of a spec's path or a known set's name would remove, with the feedback that there is; the
    JSON of `ingest --preview`. Nothing is kept."""
    path = _spec_path(mine, spec, progress)
    roles.require(ledger, actor(), roles.Act.INGEST)
    described = load_spec(path)
    acts = feedback.events(ledger, described.name, upto=feedback.watermark(ledger, described.name))
    found = preview(
        described,
        base=path.parent,
        home=mine.home,
        now=utc_now(),
        feedback=acts,
        progress=progress,
        threads=mine.threads,
    )
    return {
        "dataset": described.name,
        "read": found.read,
        "accepted": found.accepted,
        "quarantined": found.refused.num_rows,
        "reasons": counted(found.refused),
        "cleaned": [{**one, "examples": examples(found.refused, one["reason"])} for one in found.tally.as_json()],
        "left": {name: getattr(found.tally, name) for name in ("events", "users", "items")},
    }


def _spec_path(mine: Settings, spec: str, progress: Report | None) -> Path:
    path = Path(spec)
    if spec in fetched_names() and not path.exists():
        path = fetch(spec, cache=mine.cache, offline=mine.offline, progress=progress).spec_path
    return path


def fold_feedback(mine: Settings, ledger: Ledger, build: BuildRow) -> BuildRow:
    """The build that holds what came back since the data set's current one, made current; that one where nothing
    did. Raises Conflict where another build became current meanwhile."""
    roles.require(ledger, actor(), roles.Act.INGEST)
    upto = feedback.watermark(ledger, build.dataset)
    acts = feedback.events(ledger, build.dataset, after=build.feedback_to, upto=upto)
    if not acts.num_rows:
        return build
    made = extend(build.path, acts, home=mine.home, now=utc_now(), threads=mine.threads)
    record(ledger, made, feedback=acts.num_rows, feedback_to=upto, by=actor(), instead_of=build.build_id)
    return current_build(ledger, build.dataset)
