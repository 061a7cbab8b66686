"""Feedback: what people did with what they were shown, appended to the ledger exactly once.

A row is named by its idempotency key, so that whoever did not hear the answer may send the row again. Rows are never
changed; `feedback_id` counts them up in the order in which they were committed (writers take turns), and so a build can
say by one number, its watermark, which of them it holds.
"""

import hashlib
import math
import uuid
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from core.ops.ledger import Ledger
from core.ops.schema import builds as builds_table
from core.ops.schema import datasets as datasets_table
from core.ops.schema import feedback as table

SHOWN, DISMISSAL = "shown", "dismissal"
KINDS = (SHOWN, "click", "favourite", "rating", DISMISSAL)
# What of it is behaviour, and so an event of the next build, under the name that events have. That an item was shown
# or waved away stays in the ledger: it says what was offered, not what the user did; but what was waved away is not
# offered again.
AS_EVENTS: Mapping[str, str] = {"click": "click", "favourite": "favourite", "rating": "rate"}
MOST_ROWS = 1000  # in one transaction, and so in one request
MOST_CHARACTERS = 512  # of a key
MOST_RANK = 2**31  # what the column holds
_AHEAD = timedelta(days=1)  # that a client's clock may be
_READ_ROWS = 50_000
COLUMNS = pa.schema(
    [
        ("feedback_id", pa.int64()),
        ("user", pa.string()),
        ("item", pa.string()),
        ("kind", pa.string()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("value", pa.float64()),
        ("slate", pa.string()),
        ("rank", pa.int64()),
        ("propensity", pa.float64()),
        ("run_id", pa.string()),
        ("received", pa.timestamp("us", tz="UTC")),
        ("key", pa.string()),
    ]
)
EVENT_COLUMNS = pa.schema(
    [
        ("feedback_id", pa.int64()),
        ("user", pa.string()),
        ("item", pa.string()),
        ("ts", pa.timestamp("us", tz="UTC")),
        ("kind", pa.string()),
        ("value", pa.float64()),
    ]
)
SLATE_COLUMNS = pa.schema([COLUMNS.field(name) for name in ("slate", "user", "item", "kind", "at", "run_id")])


@dataclass(frozen=True)
class Feedback:
    """One act of a user on an item, in the caller's keys. value: a rating; slate, rank (from 1) and propensity (the
    probability with which the item was shown there) as the scorer told them; key: the idempotency key, made from the
    row itself where none is given."""

    user: str
    item: str
    kind: str
    at: datetime
    value: float | None = None
    slate: str | None = None
    rank: int | None = None
    propensity: float | None = None
    run_id: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class Receipt:
    """What became of a batch: rows written, rows that stood there already, and why the others were refused, by their
    place in the batch."""

    accepted: int
    repeated: int
    refused: Mapping[int, str]

    def as_json(self) -> dict[str, Any]:
        """The answer to whoever sent the batch."""
        refused = [{"row": row, "reason": reason} for row, reason in self.refused.items()]
        return {"accepted": self.accepted, "repeated": self.repeated, "refused": refused}


def append(
    ledger: Ledger, dataset: str, batch: Sequence[Feedback], *, now: datetime, items: Container[str] | None = None
) -> Receipt:
    """Writes a batch of at most MOST_ROWS in one transaction: when this returns, its rows are on disk.

    items: the keys that there are; None takes any.

    A key that stands there already, in the ledger or earlier in the batch, is `repeated` where it names the same act,
    and refused where it names another one.
    """
    assert len(batch) <= MOST_ROWS, f"append at most {MOST_ROWS} rows at once"
    faults = {place: fault for place, row in enumerate(batch) if (fault := _fault(row, now, items)) is not None}
    rows = {place: _values(dataset, row, now) for place, row in enumerate(batch) if place not in faults}
    if not rows:
        return Receipt(0, 0, faults)
    with ledger.write() as connection:
        named = sa.select(table).where(table.c.key.in_({row["key"] for row in rows.values()}))
        known = {row["key"]: _act(dict(row)) for row in connection.execute(named).mappings()}
        fresh: list[dict[str, Any]] = []
        repeated = 0
        for place, row in rows.items():
            stood = known.get(row["key"])
            if stood is None:
                known[row["key"]] = _act(row)
                fresh.append(row)
            elif stood == _act(row):
                repeated += 1
            else:
                faults[place] = "key-of-another-act"
        if fresh:
            connection.execute(sa.insert(table), fresh)
    return Receipt(len(fresh), repeated, dict(sorted(faults.items())))


def watermark(ledger: Ledger, dataset: str) -> int:
    """The number of the data set's newest row; 0 without any."""
    query = sa.select(sa.func.max(table.c.feedback_id)).where(table.c.dataset == dataset)
    with ledger.read() as connection:
        return int(connection.scalar(query) or 0)


def unfolded(ledger: Ledger, dataset: str) -> int:
    """How many rows the data set's current build does not hold yet, of those that would be events of it."""
    current = (
        sa.select(builds_table.c.feedback_to)
        .join(datasets_table, datasets_table.c.current_build == builds_table.c.build_id)
        .where(datasets_table.c.name == dataset)
    )
    query = sa.select(sa.func.count()).where(
        table.c.dataset == dataset,
        table.c.kind.in_(AS_EVENTS),
        table.c.feedback_id > sa.func.coalesce(current.scalar_subquery(), 0),
    )
    with ledger.read() as connection:
        return int(connection.scalar(query) or 0)


def events(ledger: Ledger, dataset: str, *, upto: int, after: int = 0) -> pa.Table:
    """The rows that are behaviour, as EVENT_COLUMNS in the order in which they were committed: after < id <= upto."""
    named = sa.case(AS_EVENTS, value=table.c.kind)
    query = (
        sa.select(table.c.feedback_id, table.c.user, table.c.item, table.c.at, named, table.c.value)
        .where(table.c.dataset == dataset, table.c.kind.in_(AS_EVENTS))
        .where(table.c.feedback_id > after, table.c.feedback_id <= upto)
        .order_by(table.c.feedback_id)
    )
    with ledger.read() as connection:
        found = connection.execution_options(yield_per=_READ_ROWS).execute(query)
        return pa.Table.from_batches(list(_batches(found, EVENT_COLUMNS)), schema=EVENT_COLUMNS)


def every(ledger: Ledger, dataset: str) -> Iterator[pa.RecordBatch]:
    """All rows of a data set as COLUMNS, in the order of their commits, a part at a time."""
    query = sa.select(*(table.c[name] for name in COLUMNS.names)).where(table.c.dataset == dataset)
    with ledger.read() as connection:
        ordered = query.order_by(table.c.feedback_id)
        yield from _batches(connection.execution_options(yield_per=_READ_ROWS).execute(ordered), COLUMNS)


def of_slates(ledger: Ledger, dataset: str, *, since: datetime) -> pa.Table:
    """What was shown since a moment and what was done under a slate's name since then, as SLATE_COLUMNS."""
    query = (
        sa.select(*(table.c[name] for name in SLATE_COLUMNS.names))
        .where(table.c.dataset == dataset, table.c.slate.is_not(None), table.c.at >= since)
        .order_by(table.c.feedback_id)
    )
    with ledger.read() as connection:
        found = connection.execution_options(yield_per=_READ_ROWS).execute(query)
        return pa.Table.from_batches(list(_batches(found, SLATE_COLUMNS)), schema=SLATE_COLUMNS)


def last_acts(ledger: Ledger, dataset: str, user: str, *, kinds: Sequence[str]) -> dict[str, str]:
    """The last of these kinds that a user did to each item, by the item's key; by when it was done, and among those of
    one moment by when it came."""
    query = (
        sa.select(table.c.item, table.c.kind)
        .where(table.c.dataset == dataset, table.c.user == user, table.c.kind.in_(kinds))
        .order_by(table.c.at, table.c.feedback_id)
    )
    with ledger.read() as connection:
        return {row.item: row.kind for row in connection.execute(query)}


def dismissed(ledger: Ledger, dataset: str, user: str) -> tuple[str, ...]:
    """The keys of the items that a user waved away after all else that they did with them."""
    acts = last_acts(ledger, dataset, user, kinds=(*AS_EVENTS, DISMISSAL))
    return tuple(item for item, kind in acts.items() if kind == DISMISSAL)


def all_dismissed(ledger: Ledger, dataset: str) -> dict[str, set[str]]:
    """`dismissed` of every user who has waved anything away, by the user's key."""
    kinds = table.c.kind.in_((*AS_EVENTS, DISMISSAL))
    waved = sa.select(table.c.user).where(table.c.dataset == dataset, table.c.kind == DISMISSAL)
    query = (
        sa.select(table.c.user, table.c.item, table.c.kind)
        .where(table.c.dataset == dataset, kinds, table.c.user.in_(waved))
        .order_by(table.c.at, table.c.feedback_id)
    )
    with ledger.read() as connection:
        last = {(row.user, row.item): row.kind for row in connection.execute(query)}
    found: dict[str, set[str]] = {}
    for (user, item), kind in last.items():
        if kind == DISMISSAL:
            found.setdefault(user, set()).add(item)
    return found


def new_slate() -> str:
    """A name for one list as it was shown to one user."""
    return f"s-{uuid.uuid4().hex}"


def shown(slate: str, user: str, items: Sequence[Mapping[str, Any]], *, run_id: str, at: datetime) -> list[Feedback]:
    """The rows of a slate of {key, rank, propensity}, each named by slate and rank."""
    return [
        Feedback(
            user=user,
            item=item["key"],
            kind=SHOWN,
            at=at,
            slate=slate,
            rank=item["rank"],
            propensity=item["propensity"],
            run_id=run_id,
            key=f"{slate}.{item['rank']}",
        )
        for item in items
    ]


def _batches(found: sa.CursorResult[Any], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """A result's rows, whose columns are the schema's in order."""
    for some in found.partitions(_READ_ROWS):
        columns = zip(*some, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
        yield pa.record_batch(arrays, schema=schema)


def _fault(row: Feedback, now: datetime, items: Container[str] | None) -> str | None:
    """Why a row cannot be taken, or None."""
    texts = {"user": row.user, "item": row.item, "key": row.key, "slate": row.slate, "run": row.run_id}
    for name, text in texts.items():
        if text is not None and (not text.strip() or len(text) > MOST_CHARACTERS or not text.isprintable()):
            return f"unusable-{name}"
    if items is not None and row.item not in items:
        return "unknown-item"
    if row.kind not in KINDS:
        return "unknown-kind"
    if row.at.tzinfo is None or row.at.year < 1970 or row.at > now + _AHEAD:
        return "impossible-time"
    if row.value is not None and not math.isfinite(row.value):
        return "infinite-value"
    if (row.kind == "rating") != (row.value is not None):
        return "missing-value" if row.kind == "rating" else "value-without-rating"
    if row.rank is not None and not 1 <= row.rank < MOST_RANK:
        return "impossible-rank"
    if row.propensity is not None and not 0 < row.propensity <= 1:
        return "impossible-propensity"
    return None


def _values(dataset: str, row: Feedback, now: datetime) -> dict[str, Any]:
    values = {**vars(row), "dataset": dataset, "received": now}
    if row.key is None:
        told = [dataset, row.user, row.item, row.kind, row.at.timestamp(), row.value, row.slate, row.rank]
        values["key"] = hashlib.sha256(repr(told).encode()).hexdigest()[:32]
    return values


def _act(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a key names: the act, whenever and however often it was received."""
    return tuple(row[name] for name in ("dataset", "user", "item", "kind", "at", "value", "slate", "rank"))
