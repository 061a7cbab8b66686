"""Runs of the two data sets that `two_datasets` has, for tests of who serves."""

from datetime import UTC, datetime

from core.ops.ledger import Ledger
from core.ops.runs import finish_run, new_run

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def make_run(ledger: Ledger, dataset: str = "films", *, finished: bool = True) -> str:
    """A run without any file."""
    assert ledger.home is not None
    run_id = new_run(ledger, ledger.home, dataset=dataset, build_id=f"b-{dataset}", job_id=None, config={}, now=NOON)
    if finished:
        finish_run(ledger, run_id, summary={}, now=NOON)
    return run_id
