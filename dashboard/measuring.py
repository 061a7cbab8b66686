"""What a finished run already measured, read back for the command line: figures, audit, lift, slates."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.ops.builds import build_of
from core.ops.feedback import all_dismissed
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
    """Everyone's top k in the caller's keys, without what they have waved away: user, item, title, rank, score,
    probability, source; rows written.

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
        away = _away(all_dismissed(ledger, row.dataset), items=items, users=users)
        return write_rows(_named(_counted_anew(scores, away), k, items=items, users=users), EXPORTED, out)


def _away(waved: Mapping[str, Collection[str]], *, items: pa.Table, users: pa.Table) -> dict[int, set[int]]:
    """user_id -> the item_ids of what they have waved away, from keys."""
    user, item = ({key: place for place, key in enumerate(table["key"].to_pylist())} for table in (users, items))
    return {user[who]: {item[key] for key in keys if key in item} for who, keys in waved.items() if who in user}


def _counted_anew(scores: pq.ParquetFile, away: Mapping[int, Collection[int]]) -> Iterator[pa.RecordBatch]:
    """The slates without what their users have waved away, and the others' ranks closed up."""
    gone: Counter[int] = Counter()
    for batch in scores.iter_batches():
        users, items = batch["user_id"].to_numpy(), batch["item_id"].to_numpy()
        rank, kept = batch["rank"].to_numpy().copy(), np.ones(len(batch), dtype=bool)
        for row in np.flatnonzero(np.isin(users, list(away))).tolist():  # a user's rows follow each other by rank
            user = int(users[row])
            if int(items[row]) in away[user]:
                gone[user], kept[row] = gone[user] + 1, False
            rank[row] -= gone[user]
        place = batch.schema.get_field_index("rank")
        yield batch.set_column(place, "rank", pa.array(rank, batch.schema.field(place).type)).filter(pa.array(kept))


def _named(slates: Iterable[pa.RecordBatch], k: int, *, items: pa.Table, users: pa.Table) -> Iterator[pa.RecordBatch]:
    """The first k ranks, in the columns of EXPORTED."""
    user, key, title = (column.combine_chunks() for column in (users["key"], items["key"], items["title"]))
    for batch in slates:
        some = batch.filter(pc.less_equal(batch["rank"], k))
        named = [user.take(some["user_id"]), key.take(some["item_id"]), title.take(some["item_id"])]
        yield pa.record_batch([*named, *(some[name] for name in EXPORTED.names[3:])], schema=EXPORTED)


def _most_ranks(scores: pq.ParquetFile) -> int:
    """The greatest rank of the run's slates, by the file's own statistics; 0 where there is none."""
    groups = [scores.metadata.row_group(number) for number in range(scores.metadata.num_row_groups)]
    column = scores.schema_arrow.get_field_index("rank")
    return max((group.column(column).statistics.max for group in groups if group.num_rows), default=0)
