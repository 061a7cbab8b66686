"""Reads of a build: one function each, one statement each, columns in the docstring.

Each takes an open `Warehouse` and gives an Arrow table; times are UTC unless a `tz` is named. Users and items
are dense ids inside; `user_by_key` and `item_by_key` turn the caller's keys into them.
"""

import difflib

import pyarrow as pa

from data.errors import UnknownItem, UnknownUser
from data.warehouse import Warehouse


def histories(warehouse: Warehouse) -> pa.Table:
    """One row a user, by user_id: user_id i64 and lists item_id i64, ts, kind, value f64 (null inside).

    Lists are in time order, ties in file order; users without events have empty lists.
    """
    return warehouse.run("SELECT user_id, item_id, ts, kind, value FROM histories ORDER BY user_id")


def catalogue(warehouse: Warehouse) -> pa.Table:
    """One row an item, by item_id: the columns of `items` (key, title, text, categories, attributes, ...)."""
    return warehouse.run("SELECT * FROM items ORDER BY item_id")


def user_table(warehouse: Warehouse) -> pa.Table:
    """One row a user, by user_id: user_id, key and each declared attribute (`unknown` where missing)."""
    return warehouse.run("SELECT * FROM users ORDER BY user_id")


def user_by_key(warehouse: Warehouse, key: str) -> int:
    """The user_id of a key. Raises UnknownUser, which names the nearest keys."""
    found = warehouse.run("SELECT user_id FROM users WHERE key = $key", key=str(key))["user_id"].to_pylist()
    if not found:
        near = _nearest(warehouse.run("SELECT key FROM users ORDER BY user_id"), str(key))
        raise UnknownUser(f"no user has the key {key!r}", remedy=f"there are {near}")
    return int(found[0])


def item_by_key(warehouse: Warehouse, key: str) -> int:
    """The item_id of a key. Raises UnknownItem, which names the nearest keys."""
    found = warehouse.run("SELECT item_id FROM items WHERE key = $key", key=str(key))["item_id"].to_pylist()
    if not found:
        near = _nearest(warehouse.run("SELECT key FROM items ORDER BY item_id"), str(key))
        raise UnknownItem(f"no item has the key {key!r}", remedy=f"there are {near}")
    return int(found[0])


def _nearest(keys: pa.Table, key: str) -> str:
    known = keys["key"].to_pylist()
    near = difflib.get_close_matches(key, known[:50_000], n=3, cutoff=0.5) or known[:3]
    return ", ".join(repr(name) for name in near) + (" and others" if len(known) > len(near) else "")
