"""Snapshots: what one role may see of a build, as a database file of its own for free SQL.

Every table of an open file can be read, so what a role may not see is not in its file: sensitive attributes stay out of
`users`, and stand in three small tables of counts that name no user (`suppression` hides what is too small).
Free SQL knows who is in each of the slices counted there, so that exact counts of two that differ by one person, or of
two builds that do, would give that person's group away. So they are rounded to fives, up or down at random: the same
for a slice of the same people, so that nothing is drawn twice, and anew for all of its groups where one person more or
less is in it (a cell key after Fraser and Wooton 2005, of the slice instead of the cell). Events are not counted:
whoever has more of them than a group has is not in it. Written into a fresh file by plain CREATE TABLE AS, which leaves
no old bytes behind, and kept under a name that says build and privilege: made once, good for as long as the build is.
"""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from data.errors import StoreError, UnknownBuild
from data.free_sql.files import Privilege, secret_of, snapshot_path
from data.free_sql.suppression import Mask, hidden_cells
from data.ingest import explained
from data.phrases import phrase
from data.publish import full_disk_reported, move_whole, temporary_folder
from data.statements import sql
from data.warehouse import Connection, DatabaseError, Warehouse, build_connection

MOST_GROUPS = 200  # of an attribute; one with more tells people apart rather than groups, and is left out
_KINDS, _MONTHS = "kind", "month"
_BASE = 5  # of which shown counts are multiples
_SCHEMA = pa.schema(
    [
        ("attribute", pa.string()),
        ("group_name", pa.string()),
        ("place", pa.string()),
        ("users_rounded", pa.int64()),
        ("suppressed", pa.bool_()),
    ]
)


def make_snapshot(
    warehouse: Warehouse, folder: Path, *, privilege: Privilege, threads: int = 2, memory_limit: str = "2GB"
) -> Path:
    """The snapshot of an open build for a privilege, from `folder` where it is there already.

    events: event_id, user_id, item_id, ts, kind, value (not context and source). items: item_id, key, title, text,
    categories, attributes, price, available. users: user_id, key (by privilege) and the attributes that are not
    sensitive. sensitive_totals, sensitive_by_kind, sensitive_by_month: one row a sensitive attribute, group_name (and
    kind, or month): users_rounded (to a multiple of 5), suppressed (then it is null); without groups that are
    suppressed throughout, and attributes of one group or of more than MOST_GROUPS. Raises DiskFull,
    StoreError (memory) and UnknownBuild (it was removed meanwhile).
    """
    target = snapshot_path(folder, warehouse.facts.build_id, privilege=privilege)
    if target.exists():
        return target
    with full_disk_reported(folder), temporary_folder(folder, target.stem) as place:
        made = place / target.name
        try:
            with build_connection(place / "work.duckdb", threads=threads, memory_limit=memory_limit) as connection:
                connection.execute("ATTACH $path AS build (READ_ONLY)", {"path": str(warehouse.path)})
                connection.execute("ATTACH $path AS snapshot", {"path": str(made)})
                _copy_rows(connection, warehouse, privilege)
                _write_counts(connection, warehouse, privilege, secret_of(folder))
                connection.execute("CHECKPOINT snapshot; DETACH snapshot")
        except DatabaseError as error:
            if not warehouse.path.exists():
                raise UnknownBuild(
                    phrase("build.removed", build=warehouse.facts.build_id), remedy=phrase("do.list_builds")
                ) from error
            raise explained(error, memory_limit) from error
        if made.with_suffix(".duckdb.wal").exists():
            raise StoreError(phrase("statement.snapshot_cut", name=target.stem), remedy=phrase("do.open_anew"))
        move_whole(made, target)
    return target


def _copy_rows(connection: Connection, warehouse: Warehouse, privilege: Privilege) -> None:
    spec = warehouse.facts.spec
    open_attributes = [name for name in spec.user_attributes if name not in spec.sensitive]
    columns = {
        "events": ["event_id", "user_id", "item_id", "ts", "kind", "value"],
        "items": ["item_id", "key", "title", "text", "categories", "attributes", "price", "available"],
        "users": ["user_id", *(["key"] if privilege.user_keys else []), *open_attributes],
    }
    for table, names in columns.items():
        connection.execute(
            f"CREATE TABLE snapshot.{table} AS"  # noqa: S608 - own names
            f" SELECT COLUMNS(lambda name: list_contains(CAST($names AS VARCHAR[]), name)) FROM build.{table}",
            {"names": names},
        )


def _write_counts(connection: Connection, warehouse: Warehouse, privilege: Privilege, secret: str) -> None:
    spec = warehouse.facts.spec
    rows: dict[str, list[dict[str, object]]] = {"all": [], _KINDS: [], _MONTHS: []}
    if spec.sensitive:
        connection.execute(sql("snapshot_activity"))
    for attribute in spec.sensitive:
        asked = {"attribute": attribute, "secret": secret}
        cells = connection.sql(sql("snapshot_cells"), params=asked).to_arrow_table()
        for slice_, found in _counts(attribute, cells, k=privilege.smallest, secret=secret).items():
            rows[slice_] += found
    for name, slice_, place in (
        ("sensitive_totals", "all", None),
        ("sensitive_by_kind", _KINDS, "kind"),
        ("sensitive_by_month", _MONTHS, "month"),
    ):
        table = pa.Table.from_pylist(rows[slice_], schema=_SCHEMA)
        table = table.drop_columns("place") if place is None else _renamed(table, place)
        connection.register("incoming", table)
        connection.execute(f"CREATE TABLE snapshot.{name} AS SELECT * FROM incoming")  # noqa: S608 - own names
        connection.unregister("incoming")


def _renamed(table: pa.Table, place: str) -> pa.Table:
    return table.rename_columns([place if name == "place" else name for name in table.column_names])


def _counts(attribute: str, cells: pa.Table, *, k: int, secret: str) -> dict[str, list[dict[str, object]]]:
    """Rows of the three tables for one attribute, by slice, those of groups that are hidden throughout left out.

    cells: slice, place, group_name, users, cell_key.
    """
    groups = sorted(set(cells["group_name"].to_pylist()))
    slices = (_KINDS, _MONTHS)
    if not 1 < len(groups) <= MOST_GROUPS:  # of one group alone, the count would tell everybody's
        return {}
    row_of = {name: number for number, name in enumerate(groups)}
    found: dict[str, dict[tuple[str, str], int]] = {"all": {}, _KINDS: {}, _MONTHS: {}}
    for cell in cells.to_pylist():
        found[cell["slice"]][cell["group_name"], cell["place"]] = cell["users"]
    totals = np.array([found["all"][name, ""] for name in groups], dtype=np.int64)
    places = {slice_: sorted({place for _, place in found[slice_]}) for slice_ in slices}
    keys = dict[tuple[str, str], int]()  # of a slice: the same for the same people
    for cell in cells.to_pylist():
        at = cell["slice"], cell["place"]
        keys[at] = keys.get(at, 0) ^ cell["cell_key"]
    users = {slice_: np.zeros((len(groups), len(places[slice_])), dtype=np.int64) for slice_ in slices}
    for slice_ in slices:
        for (name, place), n in found[slice_].items():
            users[slice_][row_of[name], places[slice_].index(place)] = n
    gone, masks = hidden_cells(totals, [users[slice_] for slice_ in slices], k=k)
    hidden: dict[str, Mask] = {"all": gone[:, None], **dict(zip(slices, masks, strict=True))}
    places["all"] = [""]
    return {
        slice_: [
            {
                "attribute": attribute,
                "group_name": name,
                "place": place,
                "users_rounded": None
                if hidden[slice_][row, column]
                else _rounded(
                    found[slice_].get((name, place), 0), f"{keys[slice_, place]} {attribute} {name}", secret=secret
                ),
                "suppressed": bool(hidden[slice_][row, column]),
            }
            for row, name in enumerate(groups)
            if not gone[row]
            for column, place in enumerate(places[slice_])
        ]
        for slice_ in ("all", *slices)
    }


def _rounded(n: int, by: str, *, secret: str) -> int:
    """A multiple of five, the one above as often as `n` is near to it: right in the mean; the same `by` the same."""
    drawn = hashlib.blake2b(by.encode(), key=bytes.fromhex(secret), digest_size=8).digest()
    return n - n % _BASE + (_BASE if int.from_bytes(drawn, "big") % _BASE < n % _BASE else 0)
