"""What people do with what they were shown, on its way to the ledger: over HTTP, from a file, from a page.

An act on an item that the data set's current build does not know is refused: it could never become an event.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from core.ops import feedback
from core.ops.builds import current_build
from core.ops.feedback import Feedback, Receipt
from core.ops.ledger import Ledger
from data import reads
from data.acts import acts
from data.errors import InputError
from data.quarantine import SCHEMA, write_quarantine
from data.warehouse import Warehouse

KEPT_BUILDS = 4


class Intake:
    """Takes feedback for a data set, by default the one ingested last; remembers the items of current builds, at most
    `KEPT_BUILDS` of them."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._known: dict[str, frozenset[str]] = {}

    def take(self, rows: Sequence[Feedback | str], *, dataset: str | None, now: datetime) -> Receipt:
        """Rows that are acknowledged are on disk; a text stands for a row that could not be read, and says why. Raises
        UnknownDataset."""
        name, known = self._items(dataset)
        refused = {place: row for place, row in enumerate(rows) if isinstance(row, str)}
        good = [(place, row) for place, row in enumerate(rows) if not isinstance(row, str)]
        accepted = repeated = 0
        for start in range(0, len(good), feedback.MOST_ROWS):
            places, batch = zip(*good[start : start + feedback.MOST_ROWS], strict=True)
            told = feedback.append(self.ledger, name, batch, now=now, items=known)
            accepted, repeated = accepted + told.accepted, repeated + told.repeated
            refused |= {places[place]: reason for place, reason in told.refused.items()}
        return Receipt(accepted, repeated, dict(sorted(refused.items())))

    def take_slate(self, told: dict[str, Any], *, dataset: str, now: datetime) -> dict[str, Any]:
        """A `recommend` answer for a user, noted as shown: with `slate`, and each item's `propensity`, which is 1 where
        the list is the only one that the user could have got. Raises InputError for keys that no feedback can have."""
        slate = feedback.new_slate()
        items = [{**item, "propensity": 1.0} for item in told["items"]]
        rows = feedback.shown(slate, told["user"], items, run_id=told["run_id"], at=now)
        taken = feedback.append(self.ledger, dataset, rows, now=now)
        if taken.refused:
            reason = next(iter(taken.refused.values()))
            raise InputError(f"the list cannot be noted as shown: {reason}", remedy="ask without `log`")
        return {**told, "slate": slate, "items": items}

    def take_file(self, path: Path, *, home: Path, dataset: str | None, now: datetime) -> dict[str, Any]:
        """{dataset, read, accepted, repeated, refused, reasons{name: count}, quarantine}: accepted + repeated + refused
        = read. What was refused stands in the quarantine with its line. Raises UnreadableFile, MissingColumn,
        UnknownDataset, DiskFull."""
        name, _ = self._items(dataset)
        read = accepted = repeated = 0
        refused: list[tuple[int, str, str]] = []
        records = acts(path)
        while some := list(islice(records, feedback.MOST_ROWS)):
            read += len(some)
            told = self.take([as_row(fields) for _, _, fields in some], dataset=name, now=now)
            accepted, repeated = accepted + told.accepted, repeated + told.repeated
            refused += [(some[place][0], reason, some[place][1]) for place, reason in told.refused.items()]
        quarantine = None
        if refused:
            quarantine = home / "quarantine" / f"feedback-{now:%Y%m%dT%H%M%S%f}.parquet"
            quarantine.parent.mkdir(parents=True, exist_ok=True)
            write_quarantine(quarantine, _refusals(path.name, refused))
        return {
            "dataset": name,
            "read": read,
            "accepted": accepted,
            "repeated": repeated,
            "refused": len(refused),
            "reasons": dict(Counter(reason for _, reason, _ in refused).most_common()),
            "quarantine": None if quarantine is None else str(quarantine),
        }

    def _items(self, dataset: str | None) -> tuple[str, frozenset[str]]:
        build = current_build(self.ledger, dataset)
        known = self._known.get(build.build_id)  # threads share this: what is returned is what was looked up or read
        if known is None:
            with Warehouse.open(build.path) as warehouse:
                known = frozenset(reads.catalogue(warehouse)["key"].to_pylist())
            kept = list(self._known.items())[-KEPT_BUILDS + 1 :]
            self._known = {**dict(kept), build.build_id: known}
        return build.dataset, known


def as_row(fields: dict[str, Any] | str) -> Feedback | str:
    """What `data.acts` made of an act, as `Intake.take` takes it."""
    return fields if isinstance(fields, str) else Feedback(**fields)


def _refusals(source: str, refused: Iterable[tuple[int, str, str]]) -> pa.Table:
    rows = [("feedback", source, line, None, reason, raw) for line, reason, raw in sorted(refused)]
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)
