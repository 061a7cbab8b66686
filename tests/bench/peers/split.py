"""The one split that every model of the bench learns from and is judged by, written once as plain arrays.

Lodestar ingests the data and makes it (`core.learn.splits`, ties in file order); the peers' runners read it with numpy.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from core.learn.config import Protocol
from core.learn.sequences import Histories, Queries, histories_from
from core.learn.splits import split_histories
from core.ops.builds import current_build
from core.ops.ledger import Ledger
from data import reads
from data.publish import staged
from data.warehouse import Warehouse

FIELDS = ("offsets", "item", "ts", "kind", "value")


def write_split(home: Path, dataset: str, protocol: Protocol, folder: Path) -> dict[str, Any]:
    """Write `split.npz` and `split.json` into a new `folder` from the data set's current build in the store `home`."""
    with Ledger.open(home) as ledger:
        build = current_build(ledger, dataset)
    with Warehouse.open(build.path) as warehouse:
        facts = warehouse.facts
        kinds = tuple(reads.kind_counts(warehouse)["kind"].to_pylist())
        split = split_histories(histories_from(reads.histories(warehouse), kinds), facts.spec.task, protocol)
    arrays = _of_histories("train", split.train)
    arrays |= _of_queries("valid", split.valid) | _of_queries("test", split.test)
    told = {
        "dataset": dataset,
        "protocol": protocol,
        "build_id": build.build_id,
        "task": split.task,
        "masked": split.task == "next-new",
        "n_users": facts.n_users,
        "n_items": facts.n_items,
        "n_train": len(split.train.item),
        "n_valid": len(split.valid),
        "n_test": len(split.test),
        "n_tested_users": len(set(split.test.user.tolist())),
        "sha256": fingerprint(arrays),
    }
    with staged(folder.parent, folder.name) as temporary:
        np.savez_compressed(temporary / "split.npz", **arrays)
        (temporary / "split.json").write_text(json.dumps(told, indent=1))
    return told


def read_part(folder: Path, name: str) -> Queries:
    """The queries of `valid` or `test`, for the metric code."""
    with np.load(folder / "split.npz") as stored:
        context = Histories(*(stored[f"{name}_{field}"] for field in FIELDS))
        return Queries(stored[f"{name}_user"], context, stored[f"{name}_target_offsets"], stored[f"{name}_target"])


def fingerprint(arrays: dict[str, np.ndarray]) -> str:
    """One sha256 over all arrays by name: two machines with it have the same split."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        total.update(name.encode())
        total.update(np.ascontiguousarray(arrays[name]).tobytes())
    return total.hexdigest()


def _of_histories(name: str, histories: Histories) -> dict[str, np.ndarray]:
    return {f"{name}_{field}": getattr(histories, field) for field in FIELDS}


def _of_queries(name: str, queries: Queries) -> dict[str, np.ndarray]:
    own = {f"{name}_{field}": getattr(queries, field) for field in ("user", "target_offsets", "target")}
    return own | _of_histories(name, queries.context)
