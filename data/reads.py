"""Reads of a build: one function each, one statement each, columns in the docstring.

Each takes an open `Warehouse` and gives an Arrow table; times are UTC unless a `tz` (an IANA name such as
`Europe/Berlin`; InvalidConfig when there is none) is named. Users and items are dense ids inside;
`user_by_key` and `item_by_key` turn the caller's keys into them. An event is *liked* when the spec's positive
rule holds.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rapidfuzz import fuzz, process

from data.errors import DamagedArtefact, UnknownBuild, UnknownEvent, UnknownItem, UnknownUser
from data.phrases import Phrase, listed, phrase, quoted
from data.warehouse import Warehouse

_LIKED = (
    "coalesce((CAST($min_value AS DOUBLE) IS NULL OR value >= CAST($min_value AS DOUBLE))"
    " AND (len(CAST($kinds AS VARCHAR[])) = 0 OR list_contains(CAST($kinds AS VARCHAR[]), kind)), false)"
)

# ---- what a model learns from


def histories(warehouse: Warehouse) -> pa.Table:
    """One row a user, by user_id: user_id i64 and lists item_id i64, ts, kind, value f64 (null inside).

    Lists are in time order, ties in file order; users without events have empty lists.
    """
    flat = warehouse.run(
        "SELECT user_id, item_id, ts, kind, value FROM events ORDER BY user_id, ts, event_id"
    ).combine_chunks()
    per_user = np.bincount(flat["user_id"].to_numpy(), minlength=warehouse.facts.n_users)
    offsets = pa.array(np.concatenate([[0], np.cumsum(per_user)]), pa.int64())
    parts = {
        name: pa.LargeListArray.from_arrays(offsets, flat[name].combine_chunks())
        for name in ("item_id", "ts", "kind", "value")
    }
    return pa.table({"user_id": pa.array(np.arange(len(per_user)), pa.int64()), **parts})


def history(warehouse: Warehouse, user_id: int) -> pa.Table:
    """`histories` of one user alone, who may have none: one row."""
    return warehouse.run(
        "SELECT $user_id AS user_id, coalesce(list(item_id ORDER BY ts, event_id), []) AS item_id,"
        " coalesce(list(ts ORDER BY ts, event_id), []) AS ts, coalesce(list(kind ORDER BY ts, event_id), []) AS kind,"
        " coalesce(list(value ORDER BY ts, event_id), []) AS value FROM events WHERE user_id = $user_id",
        user_id=user_id,
    )


def catalogue(warehouse: Warehouse) -> pa.Table:
    """One row an item, by item_id: the columns of `items` (key, title, text, categories, attributes, ...)."""
    return warehouse.run("SELECT * FROM items ORDER BY item_id")


def click_stream(warehouse: Warehouse) -> pa.Table:
    """One row an event, in time, ties in file order: user, item (keys), ts (UTC), kind, value, source."""
    return warehouse.run(
        "SELECT u.key AS user, i.key AS item, ts, kind, value, source FROM events"
        " JOIN users AS u USING (user_id) JOIN items AS i USING (item_id)"
        " ASOF JOIN (FROM files WHERE staged > 0) AS files ON event_id >= place ORDER BY ts, event_id"
    )


def ratings(warehouse: Warehouse) -> pa.Table:
    """The rating matrix row by row: user, item (keys), value, ts (UTC), the last value that the user gave the item."""
    return warehouse.run(
        "WITH last AS (SELECT user_id, item_id, arg_max(value, (ts, event_id)) AS value, max(ts) AS ts FROM events"
        " WHERE value IS NOT NULL GROUP BY user_id, item_id)"
        " SELECT u.key AS user, i.key AS item, value, ts FROM last"
        " JOIN users AS u USING (user_id) JOIN items AS i USING (item_id) ORDER BY user_id, item_id"
    )


def sampled_events(warehouse: Warehouse, since: datetime, *, most_users: int) -> pa.Table:
    """One row an event of at most about `most_users` users, the same ones each time: user_id, item_id, categories,
    kind, value, newer (after `since`)."""
    return warehouse.run(
        "WITH drawn AS MATERIALIZED (SELECT user_id FROM users"
        " WHERE hash(user_id) % (SELECT greatest(count(*), 1) FROM users) < $most),"
        " acts AS MATERIALIZED (SELECT event_id, user_id, item_id, kind, value, ts FROM events"
        " WHERE user_id IN (SELECT user_id FROM drawn))"
        " SELECT user_id, item_id, categories, kind, value, ts > $since AS newer FROM acts JOIN items USING (item_id)"
        " ORDER BY event_id",
        since=since,
        most=most_users,
    )


def user_table(warehouse: Warehouse) -> pa.Table:
    """One row a user, by user_id: user_id, key and each declared attribute (`unknown` where missing)."""
    return warehouse.run("SELECT * FROM users ORDER BY user_id")


def user_by_key(warehouse: Warehouse, key: str) -> int:
    """The user_id of a key. Raises UnknownUser, which names the nearest keys."""
    found = warehouse.run("SELECT user_id FROM users WHERE key = $key", key=str(key))["user_id"].to_pylist()
    if not found:
        near = _nearest(warehouse.run("SELECT key FROM users ORDER BY user_id"), str(key))
        raise UnknownUser(phrase("find.no_user", key=quoted(key)), remedy=phrase("do.there_are", names=near))
    return int(found[0])


def item_by_key(warehouse: Warehouse, key: str) -> int:
    """The item_id of a key. Raises UnknownItem, which names the nearest keys."""
    found = warehouse.run("SELECT item_id FROM items WHERE key = $key", key=str(key))["item_id"].to_pylist()
    if not found:
        near = _nearest(warehouse.run("SELECT key FROM items ORDER BY item_id"), str(key))
        raise UnknownItem(phrase("find.no_item", key=quoted(key)), remedy=phrase("do.there_are", names=near))
    return int(found[0])


# ---- the whole build


def categories(warehouse: Warehouse) -> pa.Table:
    """One row a category, most events first: category, n_items, n_events (an item counts in each)."""
    return warehouse.run(
        "WITH listed AS (SELECT item_id, unnest(categories) AS category FROM items)"
        " SELECT category, count(*) AS n_items, CAST(sum(events) AS BIGINT) AS n_events"
        " FROM listed JOIN item_counts USING (item_id) GROUP BY category ORDER BY n_events DESC, category"
    )


def long_tail(warehouse: Warehouse) -> pa.Table:
    """One row an item, most events first: rank from 1, item_id, title, events, share, cumulative (to 1)."""
    return warehouse.run(
        "SELECT row_number() OVER falling AS rank, item_id, title, events,"
        " events / sum(events) OVER () AS share, sum(events) OVER falling / sum(events) OVER () AS cumulative"
        " FROM item_counts JOIN items USING (item_id)"
        " WINDOW falling AS (ORDER BY events DESC, item_id ROWS UNBOUNDED PRECEDING) ORDER BY rank"
    )


def session_facts(warehouse: Warehouse) -> pa.Table:
    """Of a build whose spec has sessions, one row: sessions, users, alone (sessions of one event), and the quartiles of
    their lengths in seconds and their events, low_s, median_s, high_s, low_events, median_events, high_events; nulls
    without any."""
    return warehouse.run("FROM session_facts")


def kind_counts(warehouse: Warehouse) -> pa.Table:
    """One row a kind of behaviour, most frequent first: kind, events, users, valued (events with a value),
    mean_value (null: none)."""
    return warehouse.run(
        "SELECT kind, CAST(sum(events) AS BIGINT) AS events, count(*) AS users,"
        " CAST(sum(valued) AS BIGINT) AS valued, sum(total_value) / nullif(sum(valued), 0) AS mean_value"
        " FROM user_kinds GROUP BY kind"
        " ORDER BY events DESC, kind"
    )


def top_items(warehouse: Warehouse, *, limit: int = 20) -> pa.Table:
    """The items with most events: item_id, key, title, categories, events."""
    return warehouse.run(
        "SELECT item_id, key, title, categories, events FROM item_counts JOIN items USING (item_id) WHERE events > 0"
        " ORDER BY events DESC, item_id LIMIT $limit",
        limit=limit,
    )


def user_choices(warehouse: Warehouse) -> pa.Table:
    """Every user for a picker, by user_id: key, events."""
    return warehouse.run(
        "WITH counted AS (SELECT user_id, CAST(sum(events) AS BIGINT) AS events FROM user_kinds GROUP BY user_id)"
        " SELECT key, coalesce(events, 0) AS events FROM users LEFT JOIN counted USING (user_id) ORDER BY user_id"
    )


def item_choices(warehouse: Warehouse) -> pa.Table:
    """Every item for a picker, most events first: key, title, events."""
    return warehouse.run(
        "SELECT key, title, events FROM items JOIN item_counts USING (item_id) ORDER BY events DESC, item_id"
    )


def first_user(warehouse: Warehouse) -> str:
    """The key of the first user: whom a page shows before anyone was chosen."""
    return str(warehouse.run("SELECT key FROM users ORDER BY user_id LIMIT 1")["key"][0].as_py())


def top_users(warehouse: Warehouse, *, limit: int = 20) -> pa.Table:
    """The users with most events: key, events."""
    return warehouse.run(
        "WITH first AS (SELECT user_id, events FROM people ORDER BY events DESC, user_id LIMIT $limit)"
        " SELECT key, events FROM first JOIN users USING (user_id) ORDER BY events DESC, user_id",
        limit=limit,
    )


def titles(warehouse: Warehouse, keys: Sequence[str]) -> pa.Table:
    """The items of these keys, in no order: key, title; without what is not there."""
    return warehouse.run(
        "SELECT key, title FROM items WHERE list_contains(CAST($keys AS VARCHAR[]), key)", keys=list(keys)
    )


# ---- one user, one item


def user_events(warehouse: Warehouse, user_id: int, *, limit: int = 200) -> pa.Table:
    """One user's events, newest first: event_id, item_id, key, title, categories, kind, value, ts."""
    return warehouse.run(
        "SELECT event_id, item_id, key, title, categories, kind, value, ts FROM events JOIN items USING (item_id)"
        " WHERE user_id = $user_id ORDER BY ts DESC, event_id DESC LIMIT $limit",
        user_id=user_id,
        limit=limit,
    )


def user_facts(warehouse: Warehouse, user_id: int, *, tz: str = "UTC") -> pa.Table:
    """One row: events, items, likes, first_ts, last_ts, active_days (in `tz`), mean_value; nulls for none."""
    return warehouse.run(
        f"SELECT count(*) AS events, count(DISTINCT item_id) AS items, count(*) FILTER ({_LIKED}) AS likes,"  # noqa: S608
        " min(ts) AS first_ts, max(ts) AS last_ts, count(DISTINCT CAST(timezone($tz, ts) AS DATE)) AS active_days,"
        " avg(value) AS mean_value FROM events WHERE user_id = $user_id",
        user_id=user_id,
        tz=tz,
        **_positive_rule(warehouse),
    )


def item_facts(warehouse: Warehouse, item_id: int) -> pa.Table:
    """One row: events, users, likes, first_ts, last_ts, mean_value, rank (1: most events), n_items."""
    return warehouse.run(
        "WITH ranked AS (SELECT item_id, rank() OVER (ORDER BY events DESC) AS rank FROM item_counts)"  # noqa: S608
        f" SELECT count(*) AS events, count(DISTINCT user_id) AS users, count(*) FILTER ({_LIKED}) AS likes,"
        " min(ts) AS first_ts, max(ts) AS last_ts, avg(value) AS mean_value,"
        " (SELECT rank FROM ranked WHERE item_id = $item_id) AS rank, (SELECT count(*) FROM items) AS n_items"
        " FROM events WHERE item_id = $item_id",
        item_id=item_id,
        **_positive_rule(warehouse),
    )


def item_events(warehouse: Warehouse, item_id: int, *, limit: int = 200) -> pa.Table:
    """One item's events, newest first: event_id, user_id, key (the user's), kind, value, ts."""
    return warehouse.run(
        "SELECT event_id, user_id, key, kind, value, ts FROM events JOIN users USING (user_id)"
        " WHERE item_id = $item_id ORDER BY ts DESC, event_id DESC LIMIT $limit",
        item_id=item_id,
        limit=limit,
    )


# ---- where the events of a build come from, and its quarantine


def files(warehouse: Warehouse) -> pa.Table:
    """One row a source of events, as read: source, sha256 (null: no file), place (of its first row), staged (rows that
    have a place), read (all its rows), unzoned and clock_changes (of how many the time tells no zone, or has two hours
    or none), read_as (`phrases.kept_text`), build_id (which build read it)."""
    return warehouse.run("SELECT * FROM files ORDER BY place, source")


def lineage(warehouse: Warehouse, event_id: int) -> pa.Table:
    """Where an event comes from: user, item (keys), ts, kind, value, source, line (from 1; of Parquet and databases the
    row, of feedback its number), sha256, read_as, build_id (which build read it). Raises UnknownEvent."""
    found = warehouse.run(
        "SELECT users.key AS user, items.key AS item, ts, kind, value, files.source,"
        " line + event_id - lines.place AS line, sha256, read_as, files.build_id FROM events"
        " JOIN users USING (user_id) JOIN items USING (item_id)"
        " JOIN files ON event_id >= files.place AND event_id < files.place + staged"
        " ASOF JOIN lines ON event_id >= lines.place WHERE event_id = $event_id",
        event_id=event_id,
    )
    if not found.num_rows:
        raise UnknownEvent(phrase("find.no_event", id=event_id), remedy=phrase("do.see_event_ids"))
    return found


def event_of_line(warehouse: Warehouse, source: str, line: int) -> int | None:
    """The event_id of the row that begins at a line of a source; None where no event came of it."""
    found = warehouse.run(
        "WITH own AS (SELECT lines.place, line, lead(lines.place, 1, files.place + staged) OVER (ORDER BY lines.place)"
        " AS beyond FROM lines JOIN files ON lines.place >= files.place AND lines.place < files.place + staged"
        " WHERE source = $source), placed AS (SELECT place + $line - line AS event_id FROM own"
        " WHERE $line >= line AND place + $line - line < beyond)"
        " SELECT event_id FROM events SEMI JOIN placed USING (event_id)",
        source=source,
        line=line,
    )
    return int(found["event_id"][0].as_py()) if found.num_rows else None


def refusals_of_line(path: Path, source: str, line: int) -> pa.Table:
    """What home/quarantine/<build_id>.parquet says of a line: table, column, reason, raw. Raises like the following."""
    rows = _quarantine(path)
    own = pc.and_(pc.equal(rows["source"], source), pc.equal(rows["line"], line))
    return rows.filter(own).select(["table", "column", "reason", "raw"])


def quarantine_rows(path: Path, *, limit: int = 1_000) -> pa.Table:
    """The first refused rows of home/quarantine/<build_id>.parquet: table, source, line, column, reason, raw.

    Raises UnknownBuild and DamagedArtefact.
    """
    return _quarantine(path).slice(0, limit)


def quarantine_summary(path: Path) -> pa.Table:
    """Refused rows counted, most first: table, source, reason, column, n, first_line. Raises like the above."""
    rows = _quarantine(path)
    by = ["table", "source", "reason", "column"]
    counted = rows.group_by(by).aggregate([("line", "count"), ("line", "min")])
    named = counted.rename_columns({"line_count": "n", "line_min": "first_line"})
    return named.sort_by([("n", "descending"), ("table", "ascending"), ("first_line", "ascending")])


def _quarantine(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except FileNotFoundError as error:
        raise UnknownBuild(phrase("build.no_quarantine", build=path.stem), remedy=phrase("do.list_builds")) from error
    except (pa.ArrowException, OSError) as error:
        raise DamagedArtefact(
            phrase("build.quarantine_damaged", build=path.stem), remedy=phrase("do.rebuild")
        ) from error


def _positive_rule(warehouse: Warehouse) -> dict[str, Any]:
    rule = warehouse.facts.spec.positive
    return {"min_value": rule.min_value, "kinds": list(rule.kinds)}


def _nearest(keys: pa.Table, key: str) -> Phrase:
    known = keys["key"].to_pylist()
    alike = process.extract(key, known, scorer=fuzz.ratio, processor=None, limit=3, score_cutoff=50)
    near = [name for name, _, _ in alike] or known[:3]
    names = listed(quoted(name) for name in near)
    return phrase("find.and_others", names=names) if len(known) > len(near) else names
