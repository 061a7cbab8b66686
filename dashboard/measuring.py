"""What a finished run already measured, read back for the command line: figures, audit, lift, slates."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.ops.ledger import Ledger, build_of
from core.ops.runs import finished_run, run_folder
from data import reads
from data.errors import DamagedArtefact, InputError
from data.publish import sha256_of, temporary_folder
from data.warehouse import Warehouse


def stored(ledger: Ledger, home: Path, run: str, name: str, *, dataset: str | None = None) -> dict[str, Any]:
    """A finished run's JSON artefact. Raises UnknownRun, RunUnfinished, DamagedArtefact."""
    row = finished_run(ledger, home, run, dataset)
    folder = run_folder(home, row.run_id)
    told = json.loads((folder / "manifest.json").read_text())["files"].get(name)
    if told is None or not (folder / name).is_file() or sha256_of(folder / name) != told["sha256"]:
        raise DamagedArtefact(
            f"{name} of run {row.run_id!r} is not what its manifest says", remedy="train again with `lodestar train`"
        )
    return dict(json.loads((folder / name).read_text()))


def evaluation_of(
    ledger: Ledger, home: Path, run: str, *, unmasked: bool = False, dataset: str | None = None
) -> dict[str, Any]:
    """The `evaluate` JSON. The figures are those computed when the run was made, by its own protocol, so a test set is
    read once a run; `unmasked` puts those with the other masking of seen items in their place."""
    told = stored(ledger, home, run, "evaluation.json", dataset=dataset)
    if unmasked:
        told = {**told, "metrics": told["other_masking"], "components": {}, "masked": not told["masked"]}
    return {**told, "report": None}


def export_slates(ledger: Ledger, home: Path, run: str, out: Path, *, k: int, dataset: str | None = None) -> int:
    """Everyone's top k in the caller's keys: user, item, title, rank, score, probability, source; rows written.

    Raises InputError for an ending other than .csv or .parquet, or more than the run has ranked.
    """
    if out.suffix not in (".csv", ".parquet"):
        raise InputError(f"{out} is neither .csv nor .parquet", remedy="end the name after --out with one of the two")
    row = finished_run(ledger, home, run, dataset)
    scores = pq.read_table(run_folder(home, row.run_id) / "scores.parquet")
    most = pc.max(scores["rank"]).as_py() or 0
    if not 1 <= k <= max(most, 1):
        raise InputError(f"k is {k}", remedy=f"ask for 1 to {most}, as many as the run ranked")
    scores = scores.filter(pc.less_equal(scores["rank"], k))
    with Warehouse.open(build_of(ledger, row.build_id).path) as warehouse:
        items, users = reads.catalogue(warehouse), reads.user_table(warehouse)
    named = pa.table(
        {
            "user": users["key"].take(scores["user_id"]),
            "item": items["key"].take(scores["item_id"]),
            "title": items["title"].take(scores["item_id"]),
            **{name: scores[name] for name in ("rank", "score", "probability", "source")},
        }
    )
    _write(named, out)
    return named.num_rows


def _write(table: pa.Table, out: Path) -> None:
    """Whole or not at all; in a CSV, text that a spreadsheet would run as a formula is quoted with an apostrophe."""
    try:
        with temporary_folder(out.parent, out.name) as folder:
            made = folder / out.name
            if out.suffix == ".parquet":
                pq.write_table(table, made)
            else:
                with made.open("w", newline="", encoding="utf-8") as file:
                    writer = csv.writer(file)
                    writer.writerow(table.column_names)
                    for batch in table.to_batches():
                        writer.writerows([_safe(cell) for cell in row.values()] for row in batch.to_pylist())
            made.replace(out)
    except FileNotFoundError as error:
        raise InputError(f"there is no folder {out.parent}", remedy="name an existing one after --out") from error


def _safe(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
