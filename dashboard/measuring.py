"""What a finished run already measured, read back for the command line: figures, audit, lift, slates."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.ops.builds import build_of
from core.ops.ledger import Ledger
from core.ops.runs import finished_run, run_folder
from dashboard.tables import check_name, write_rows
from data import reads
from data.errors import DamagedArtefact, InputError
from data.publish import sha256_of
from data.warehouse import Warehouse

EXPORTED = pa.schema(
    [
        ("user", pa.string()),
        ("item", pa.string()),
        ("title", pa.string()),
        ("rank", pa.int32()),
        ("score", pa.float32()),
        ("probability", pa.float32()),
        ("source", pa.string()),
    ]
)


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

    The run's slates pass through in parts, so that memory does not grow with them. Raises InputError for an ending
    other than .csv or .parquet, or more than the run has ranked.
    """
    check_name(out)
    row = finished_run(ledger, home, run, dataset)
    with pq.ParquetFile(run_folder(home, row.run_id) / "scores.parquet") as scores:
        most = _most_ranks(scores)
        if not 1 <= k <= max(most, 1):
            raise InputError(f"k is {k}", remedy=f"ask for 1 to {most}, as many as the run ranked")
        with Warehouse.open(build_of(ledger, row.build_id).path) as warehouse:
            items, users = reads.catalogue(warehouse), reads.user_table(warehouse)
        return write_rows(_named(scores, k, items=items, users=users), EXPORTED, out)


def _named(scores: pq.ParquetFile, k: int, *, items: pa.Table, users: pa.Table) -> Iterator[pa.RecordBatch]:
    """The first k ranks, in the columns of EXPORTED."""
    user, key, title = (column.combine_chunks() for column in (users["key"], items["key"], items["title"]))
    for batch in scores.iter_batches():
        some = batch.filter(pc.less_equal(batch["rank"], k))
        named = [user.take(some["user_id"]), key.take(some["item_id"]), title.take(some["item_id"])]
        yield pa.record_batch([*named, *(some[name] for name in EXPORTED.names[3:])], schema=EXPORTED)


def _most_ranks(scores: pq.ParquetFile) -> int:
    """The greatest rank of the run's slates, by the file's own statistics; 0 where there is none."""
    groups = [scores.metadata.row_group(number) for number in range(scores.metadata.num_row_groups)]
    column = scores.schema_arrow.get_field_index("rank")
    return max((group.column(column).statistics.max for group in groups if group.num_rows), default=0)
