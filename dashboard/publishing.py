"""Gathers what a report says from the store, and writes the file. The page and the command `report` both come here."""

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from json import loads
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core.ops.builds import build_of
from core.ops.ledger import Ledger
from core.ops.runs import MANIFEST, RunRow, finished_run, run_folder
from dashboard.reports import canonical, digest, report_html, report_payload, users_digest
from data.errors import RunUnfinished
from data.publish import sha256_of, write_whole
from data.warehouse import Warehouse


@dataclass(frozen=True)
class Report:
    """A finished report: its text, and the sha256 of the data in it."""

    html: str
    sha256: str


def report_of(
    ledger: Ledger, home: Path, run_id: str, *, language: str, tz: str, now: datetime, dataset: str | None = None
) -> Report:
    """The report of a finished run (`champion` may stand for its id).

    Raises UnknownRun, RunUnfinished (also for a run that was not evaluated), UnknownBuild, DamagedArtefact.
    """
    run = finished_run(ledger, home, run_id, dataset)
    folder = run_folder(home, run.run_id)
    with Warehouse.open(build_of(ledger, run.build_id).path) as warehouse:
        facts = warehouse.facts.as_dict()
    payload = report_payload(
        _artefact(folder, "evaluation.json", run) or {},
        _artefact(folder, "audit.json", run) or {},
        facts,
        lift=_artefact(folder, "judges/lift.json", run, optional=True),
        provenance={
            "run_id": run.run_id,
            "manifest_sha256": sha256_of(folder / MANIFEST),
            "users_sha256": users_digest(pq.read_table(folder / "users.parquet").to_pandas()),
            "made": now.astimezone(UTC).isoformat(timespec="seconds"),
            "version": version("lodestar"),
            "tz": tz,
        },
        language=language,
    )
    return Report(report_html(payload), digest(canonical(payload)))


def write_report(report: Report, out: Path) -> Path:
    """Puts a report where the caller wants it, whole or not at all. Raises DiskFull."""
    write_whole(out, report.html.encode("utf-8"))
    return out


def _artefact(folder: Path, name: str, run: RunRow, *, optional: bool = False) -> dict[str, Any] | None:
    file = folder / name
    if file.is_file():
        return dict(loads(file.read_text(encoding="utf-8")))
    if optional:
        return None
    raise RunUnfinished(
        f"run {run.run_id} has no {name}", remedy=f"measure it with `lodestar evaluate {run.run_id}`, or train anew"
    )
