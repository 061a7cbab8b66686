"""Two builds of one data set beside each other: what came, what went, what is said otherwise.

Each build is read through its own `Warehouse`, and what was read is compared here: no database ever holds two files.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data import reads
from data.warehouse import Warehouse

MOST_EVENTS = 20_000_000  # of either build: beyond, the events are counted only
SHOWN_ITEMS = 1_000
_ITEM_FIELDS = ("title", "text", "categories", "price", "available", "attributes")
_ITEMS = (
    "SELECT key, title, text, array_to_string(categories, ' | ') AS categories, CAST(price AS VARCHAR) AS price,"
    " CAST(available AS VARCHAR) AS available, CAST(attributes AS VARCHAR) AS attributes,"
    " (SELECT count(*) FROM events WHERE events.item_id = items.item_id) AS events FROM items ORDER BY item_id"
)
_EVENT_HASHES = (
    "SELECT hash(users.key, items.key, ts, kind, value) AS event, count(*) AS n FROM events"
    " JOIN users USING (user_id) JOIN items USING (item_id) GROUP BY ALL ORDER BY event"
)


@dataclass(frozen=True)
class Differences:
    """counts: what (users, items, events), before, now, added, gone (null where it was not compared); kinds: kind,
    before, now (events); fields: table (users, items), field, changed, of (those in both builds); items: change (added,
    gone), key, title, events, at most SHOWN_ITEMS, the most active first."""

    counts: pa.Table
    kinds: pa.Table
    fields: pa.Table
    items: pa.Table


def differences(before: Warehouse, now: Warehouse) -> Differences:
    """What changed from one build to another. An event is the same where user, item, time, kind and value are."""
    then_users, now_users = reads.user_table(before), reads.user_table(now)
    then_items, now_items = before.run(_ITEMS), now.run(_ITEMS)
    attributes = [name for name in now_users.column_names if name in then_users.column_names]
    changed = [
        *_changed("users", then_users, now_users, [name for name in attributes if name not in ("user_id", "key")]),
        *_changed("items", then_items, now_items, _ITEM_FIELDS),
    ]
    counts = [
        _counted("users", then_users["key"], now_users["key"]),
        _counted("items", then_items["key"], now_items["key"]),
        _events_counted(before, now),
    ]
    return Differences(
        counts=pa.Table.from_pylist(counts, schema=_COUNTS),
        kinds=_kinds(reads.kind_counts(before), reads.kind_counts(now)),
        fields=pa.Table.from_pylist(changed, schema=_FIELDS),
        items=pa.concat_tables(
            [_only_in(now_items, then_items["key"], "added"), _only_in(then_items, now_items["key"], "gone")]
        ),
    )


_COUNTS = pa.schema(
    [
        ("what", pa.string()),
        ("before", pa.int64()),
        ("now", pa.int64()),
        ("added", pa.int64()),
        ("gone", pa.int64()),
    ]
)
_FIELDS = pa.schema([("table", pa.string()), ("field", pa.string()), ("changed", pa.int64()), ("of", pa.int64())])


def _counted(what: str, before: pa.ChunkedArray, now: pa.ChunkedArray) -> dict[str, str | int | None]:
    both = int(pc.sum(pc.is_in(now, value_set=before)).as_py() or 0)
    return {
        "what": what,
        "before": len(before),
        "now": len(now),
        "added": len(now) - both,
        "gone": len(before) - both,
    }


def _events_counted(before: Warehouse, now: Warehouse) -> dict[str, str | int | None]:
    then_n, now_n = before.facts.n_events, now.facts.n_events
    told: dict[str, str | int | None] = {"what": "events", "before": then_n, "now": now_n, "added": None, "gone": None}
    if max(then_n, now_n) > MOST_EVENTS:
        return told
    then_hashes, then_counts = _event_hashes(before)
    now_hashes, now_counts = _event_hashes(now)
    _, then_at, now_at = np.intersect1d(then_hashes, now_hashes, assume_unique=True, return_indices=True)
    both = int(np.minimum(then_counts[then_at], now_counts[now_at]).sum())
    return told | {"added": now_n - both, "gone": then_n - both}


def _event_hashes(warehouse: Warehouse) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """A hash of each different event, and how often it is there."""
    found = warehouse.run(_EVENT_HASHES)
    return found["event"].to_numpy().astype(np.uint64), found["n"].to_numpy().astype(np.int64)


def _kinds(before: pa.Table, now: pa.Table) -> pa.Table:
    then = dict(zip(before["kind"].to_pylist(), before["events"].to_pylist(), strict=True))
    here = dict(zip(now["kind"].to_pylist(), now["events"].to_pylist(), strict=True))
    names = list(dict.fromkeys([*here, *then]))
    return pa.table(
        {
            "kind": pa.array(names, pa.string()),
            "before": pa.array([then.get(name, 0) for name in names], pa.int64()),
            "now": pa.array([here.get(name, 0) for name in names], pa.int64()),
        }
    )


def _changed(table: str, before: pa.Table, now: pa.Table, fields: Sequence[str]) -> list[dict[str, str | int]]:
    """Of what is in both builds, how much is said otherwise in each field."""
    at = pc.index_in(now["key"], value_set=before["key"].combine_chunks())
    known = pc.is_valid(at)
    here, then = now.filter(known), before.take(at.filter(known))
    found: list[dict[str, str | int]] = []
    for name in fields:
        old, new = (pc.fill_null(column[name].cast(pa.string()), "") for column in (then, here))
        changed = int(pc.sum(pc.not_equal(old, new)).as_py() or 0)
        found.append({"table": table, "field": name, "changed": changed, "of": here.num_rows})
    return found


def _only_in(items: pa.Table, others: pa.ChunkedArray, change: str) -> pa.Table:
    alone = items.filter(pc.invert(pc.is_in(items["key"], value_set=others))).select(["key", "title", "events"])
    first = alone.sort_by([("events", "descending")]).slice(0, SHOWN_ITEMS)
    return first.add_column(0, "change", pa.array([change] * first.num_rows, pa.string()))
