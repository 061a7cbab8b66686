"""Snapshots: what one role may see of a build, as a database file of its own for free SQL.

Every table of an open file can be read, so what a role may not see is not in its file: sensitive attributes stay out of
`users`, and stand in three small tables of counts that name no user (`suppression` hides what is too small).
Free SQL knows who is in each of those counts, so events are rounded there: exact sums over known people would give
away who of them is in the group. Written into a fresh file by plain CREATE TABLE AS, which leaves no old bytes behind,
and kept under a name that says build and privilege: made once, good for as long as the build is.
"""

import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from data.errors import InvalidConfig, StoreError
from data.free_sql.suppression import Mask, hidden_cells
from data.ingest import explained, sql
from data.publish import full_disk_reported, move_whole, temporary_folder
from data.warehouse import Connection, DatabaseError, Warehouse, build_connection

VERSION = 1  # of what a snapshot holds; another one makes other names
MOST_GROUPS = 200  # of an attribute; one with more tells people apart rather than groups, and is left out
_KINDS, _MONTHS = "kind", "month"
_SCHEMA = pa.schema(
    [
        ("attribute", pa.string()),
        ("group_name", pa.string()),
        ("place", pa.string()),
        ("users", pa.int64()),
        ("events_rounded", pa.int64()),
        ("suppressed", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Privilege:
    """What a role may see of a build. `user_keys`: the callers' keys of users; `smallest`: users of a shown group."""

    role: str
    user_keys: bool = True
    smallest: int = 10

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z-]{0,31}", self.role):
            raise InvalidConfig(f"{self.role!r} is no name of a role", remedy="use small letters and hyphens")
        if self.smallest < 2:
            raise InvalidConfig(f"groups of {self.smallest} are single users", remedy="give 2 or more")


def snapshot_path(folder: Path, build_id: str, *, privilege: Privilege) -> Path:
    """Where the snapshot of a build lies, made or not: the name depends on nothing else."""
    told = json.dumps({"version": VERSION, **asdict(privilege)}, sort_keys=True)
    digest = hashlib.sha256(told.encode()).hexdigest()[:8]
    return folder / f"{build_id}-{privilege.role}-{digest}.duckdb"


def make_snapshot(
    warehouse: Warehouse, folder: Path, *, privilege: Privilege, threads: int = 2, memory_limit: str = "2GB"
) -> Path:
    """The snapshot of an open build for a privilege, from `folder` where it is there already.

    events: event_id, user_id, item_id, ts, kind, value (not context and source). items: item_id, key, title, text,
    categories, attributes, price, available. users: user_id, key (by privilege) and the attributes that are not
    sensitive. sensitive_totals, sensitive_by_kind, sensitive_by_month: one row a sensitive attribute, group_name (and
    kind, or month): users, events_rounded (two digits, tens at the finest), suppressed (then both are null); without
    groups that are suppressed throughout, and attributes of one group or of more than MOST_GROUPS. Raises DiskFull and
    StoreError (memory).
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
                _write_counts(connection, warehouse, privilege)
                connection.execute("CHECKPOINT snapshot; DETACH snapshot")
        except DatabaseError as error:
            raise explained(error, memory_limit) from error
        if made.with_suffix(".duckdb.wal").exists():
            raise StoreError(f"the snapshot {target.stem} was not written whole", remedy="open the console anew")
        move_whole(made, target)
    return target


def remove_snapshots(folder: Path, *, kept_builds: Collection[str]) -> list[Path]:
    """Delete the snapshots of all other builds, and name them: after an erasure or a prune nothing of those stays."""
    gone = []
    for path in sorted(folder.glob("b-*.duckdb")) if folder.is_dir() else ():
        if not any(path.name.startswith(f"{build_id}-") for build_id in kept_builds):
            path.unlink(missing_ok=True)
            gone.append(path)
    return gone


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


def _write_counts(connection: Connection, warehouse: Warehouse, privilege: Privilege) -> None:
    spec = warehouse.facts.spec
    rows: dict[str, list[dict[str, object]]] = {"all": [], _KINDS: [], _MONTHS: []}
    if spec.sensitive:
        connection.execute(sql("snapshot_activity"))
    for attribute in spec.sensitive:
        cells = connection.sql(sql("snapshot_cells"), params={"attribute": attribute}).to_arrow_table()
        for slice_, found in _counts(attribute, cells, k=privilege.smallest).items():
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


def _counts(attribute: str, cells: pa.Table, *, k: int) -> dict[str, list[dict[str, object]]]:
    """Rows of the three tables for one attribute, by slice, those of groups that are hidden throughout left out.

    cells: slice, place, group_name, users, events.
    """
    groups = sorted(set(cells["group_name"].to_pylist()))
    slices = (_KINDS, _MONTHS)
    if not 1 < len(groups) <= MOST_GROUPS:  # of one group alone, the count would tell everybody's
        return {}
    row_of = {name: number for number, name in enumerate(groups)}
    found: dict[str, dict[tuple[str, str], tuple[int, int]]] = {"all": {}, _KINDS: {}, _MONTHS: {}}
    for cell in cells.to_pylist():
        found[cell["slice"]][cell["group_name"], cell["place"]] = (cell["users"], cell["events"])
    totals = np.array([found["all"][name, ""][0] for name in groups], dtype=np.int64)
    places = {slice_: sorted({place for _, place in found[slice_]}) for slice_ in slices}
    users, events = {}, {}
    for slice_ in slices:
        shape = (len(groups), len(places[slice_]), 2)
        counts = np.zeros(shape, dtype=np.int64)
        for (name, place), pair in found[slice_].items():
            counts[row_of[name], places[slice_].index(place)] = pair
        users[slice_], events[slice_] = counts[:, :, 0], counts[:, :, 1]
    gone, masks = hidden_cells(totals, [users[slice_] for slice_ in slices], k=k)
    hidden: dict[str, Mask] = {"all": gone[:, None], **dict(zip(slices, masks, strict=True))}
    users["all"], events["all"] = totals[:, None], events[_KINDS].sum(axis=1, keepdims=True)
    places["all"] = [""]
    return {
        slice_: [
            {
                "attribute": attribute,
                "group_name": name,
                "place": place,
                "users": None if hidden[slice_][row, column] else int(users[slice_][row, column]),
                "events_rounded": None if hidden[slice_][row, column] else _rounded(int(events[slice_][row, column])),
                "suppressed": bool(hidden[slice_][row, column]),
            }
            for row, name in enumerate(groups)
            if not gone[row]
            for column, place in enumerate(places[slice_])
        ]
        for slice_ in ("all", *slices)
    }


def _rounded(count: int) -> int:
    """To two digits, and to tens at the finest: 1,234 is 1,200, and 37 is 40."""
    unit: int = 10 ** max(len(str(count)) - 2, 1)
    return round(count / unit) * unit
