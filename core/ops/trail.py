"""The trail: who did what to the store, appended in the transaction that did it, each entry bound to the one before.

An entry's hash covers the hash before it, so no entry can be changed, taken out or put in between without every later
hash changing too. That the newest entries were cut off shows only to who has kept the last hash elsewhere.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from core.ops.ledger import Ledger
from core.ops.schema import trail as table
from data.finite import finite

START = "0" * 64  # what the first entry is bound to


@dataclass(frozen=True)
class Entry:
    """One act. subject: what it was done to (a data set, a run, a person's role); detail: JSON."""

    entry: int
    at: datetime
    actor: str
    act: str
    subject: str
    detail: dict[str, Any]
    before: str
    hash: str


def note(
    connection: Connection, *, actor: str, act: str, subject: str, now: datetime, detail: dict[str, Any] | None = None
) -> Entry:
    """Appends an entry inside the caller's writing transaction: it stands if and only if what it tells of does."""
    last = connection.execute(sa.select(table.c.entry, table.c.hash).order_by(table.c.entry.desc()).limit(1)).first()
    number, before = (1, START) if last is None else (last.entry + 1, last.hash)
    told: dict[str, Any] = {
        "entry": number,
        "at": now,
        "actor": actor,
        "act": act,
        "subject": subject,
        "detail": finite(detail or {}),  # as it is read back, so that the hash is of what stands there
    }
    made = Entry(**told, before=before, hash=_hash(told, before))
    connection.execute(sa.insert(table).values(**vars(made)))
    return made


def trail(ledger: Ledger, *, limit: int = 100) -> list[Entry]:
    """The newest entries first."""
    with ledger.read() as connection:
        found = connection.execute(sa.select(table).order_by(table.c.entry.desc()).limit(limit))
        return [Entry(**row) for row in found.mappings()]


def broken_at(ledger: Ledger) -> int | None:
    """The first entry that is not what was written there, or is missing; None where the whole chain holds."""
    expected, before = 1, START
    with ledger.read() as connection:
        for row in connection.execute(sa.select(table).order_by(table.c.entry)).mappings():
            told = {name: row[name] for name in ("entry", "at", "actor", "act", "subject", "detail")}
            if row["entry"] != expected or row["before"] != before or row["hash"] != _hash(told, before):
                return expected
            expected, before = expected + 1, row["hash"]
    return None


def _hash(told: dict[str, Any], before: str) -> str:
    plain = told | {"at": told["at"].astimezone(UTC).isoformat(), "before": before}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
