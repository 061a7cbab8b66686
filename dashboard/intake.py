"""From a spec or a known set's name to the current build of a data set, and from that build to the next by what came
back since: what `ingest`, `demo` and `update` do.
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
from data.sources import fetch, fetched_names
from data.spec import load_spec


def ingest_dataset(
    mine: Settings, ledger: Ledger, spec: str, *, append: bool = False, progress: Report | None = None
) -> dict[str, Any]:
    """Ingest a spec's path or a known set's name and make the build current; the `ingest` JSON. append: only what the
    current build has not."""
    path = Path(spec)
    if spec in fetched_names() and not path.exists():
        path = fetch(spec, cache=mine.cache, offline=mine.offline, progress=progress).spec_path
    roles.require(ledger, actor(), roles.Act.INGEST)
    order = Order(load_spec(path), path.parent, actor(), append=append)
    return bring(ledger, mine.home, order, threads=mine.threads, progress=progress)


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
