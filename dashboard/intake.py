"""From a spec or a known set's name to the current build of a data set: what `ingest` and `demo` both do."""

from pathlib import Path
from typing import Any

from core.ops import feedback
from core.ops.ledger import Ledger, record_build, utc_now
from dashboard.settings import Settings
from dashboard.terminal import Report
from data.ingest import ingest
from data.presets import preset_names
from data.sources import fetch
from data.spec import load_spec


def ingest_dataset(mine: Settings, ledger: Ledger, spec: str, *, progress: Report | None = None) -> dict[str, Any]:
    """Ingest a spec's path or a known set's name and make the build current; the `ingest` JSON."""
    path = Path(spec)
    if spec in preset_names() and not path.exists():
        path = fetch(spec, cache=mine.cache, offline=mine.offline, progress=progress).spec_path
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
    fields = ("dataset", "build_id", "read", "accepted", "quarantined", "reasons", "seconds")
    told = {name: getattr(made, name) for name in fields} | {"feedback": acts.num_rows}
    record_build(
        ledger,
        build_id=made.build_id,
        dataset=made.dataset,
        path=made.path,
        facts=told,
        now=now,
        feedback_to=upto,
    )
    return told
