"""The older build that a new one goes on from, attached as `old`: what of it is taken on under which names, and what
stands against it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data.errors import Conflict
from data.phrases import file_called, phrase
from data.quarantine import SCHEMA
from data.reading.staging import Staged
from data.spec import DatasetSpec
from data.statements import count_of, sql
from data.warehouse import Connection

_GONE = (  # the places of sources that are read anew
    "CREATE TEMP TABLE gone AS SELECT source, place, place + staged AS beyond FROM old.files"
    " WHERE sha256 IS NOT NULL AND list_contains(CAST($replaced AS VARCHAR[]), source)"  # feedback is no file
)
_RENAMED = (  # all at once: one may take the name of another
    "UPDATE build.files SET source = renamed.now FROM renamed"
    " WHERE source = renamed.was AND sha256 IS NOT NULL AND place < $places"
)
_NAMES = pa.schema([("was", pa.string()), ("now", pa.string())])


@dataclass(frozen=True)
class Onto:
    """An older build: its file, its refused rows (the quarantine's SCHEMA), the number of its places, the names of
    those of its sources that are read anew, and how it read times, where that is kept.

    renamed: what names of its sources are now; order: the places of all present ones among one another; alike: whether
    the spec, the lists of items and users and all names are those that it was made with."""

    path: Path
    refused: pa.Table
    places: int
    replaced: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    order: Mapping[str, int] = field(default_factory=dict)
    alike: bool = False
    ts_unit: str | None = None


def attach(connection: Connection, onto: Onto) -> None:
    """The build as `old`, and in `gone` the places of what is read anew."""
    connection.execute("ATTACH $path AS old (READ_ONLY)", {"path": str(onto.path)})
    connection.execute(_GONE, {"replaced": list(onto.replaced)})


def refuse_older_corrections(connection: Connection, onto: Onto, staged: Staged) -> None:
    """Of events with ids, raise Conflict where files that are read anew have ids of events of others: which of them is
    the later row is not told by what is read when; and where a file has ids of events of files that stand after it."""
    again = connection.sql(
        "SELECT source, raw_events.file, count(*) AS n FROM outdated JOIN raw_events ON raw_events.rowid = by_row"
        " GROUP BY ALL ORDER BY ALL"
    ).to_arrow_table()
    for one in again.to_pylist():
        new, old = staged.files[one["file"] - 1].name, onto.renamed.get(one["source"], one["source"])
        if onto.order.get(old, -1) > onto.order[new] and not onto.replaced:
            raise Conflict(
                phrase("onward.ids_later", file=file_called(new), other=file_called(old), n=one["n"]),
                remedy=phrase("do.ingest_anew"),
            )
    if onto.replaced and (n := count_of(connection, "SELECT count(*) FROM outdated")):
        raise Conflict(
            phrase("onward.ids_elsewhere", file=file_called(onto.replaced[0]), n=n), remedy=phrase("do.ingest_anew")
        )


def number_onto(
    connection: Connection, onto: Onto, name: str, rows: pa.Table, *, told_in: Sequence[str] | None
) -> None:
    """Write users or items: those of the older build keep their numbers, the new ones come after them. told_in: the
    source that tells of each of the first `rows`, where it is the log that does; None where a list of its own told of
    them all anew. Raises Conflict where what an older row would tell is not known any more."""
    number = f"{name.removesuffix('s')}_id"
    retold = rows["key"] if told_in is None else _first_told(connection, onto, name, rows["key"], told_in)
    connection.register("incoming", rows)
    connection.register("retold", pa.table({"key": retold}))
    connection.execute(sql("number").format(table=name, number=number))
    connection.unregister("incoming")
    connection.unregister("retold")


def _first_told(
    connection: Connection, onto: Onto, name: str, keys: pa.ChunkedArray, told_in: Sequence[str]
) -> pa.ChunkedArray:
    """Those of the keys whose first row, in the order of files, was read now."""
    if not told_in and not onto.replaced:
        return keys.slice(0, 0)
    old = connection.sql("SELECT DISTINCT source FROM old.files WHERE sha256 IS NOT NULL").to_arrow_table()["source"]
    ranks = [onto.order.get(onto.renamed.get(source, source), -1) for source in old.to_pylist()]
    connection.register("ranks", pa.table({"source": old, "rank": pa.array(ranks, pa.int64())}))
    told = pa.array([onto.order[source] for source in told_in], pa.int64())
    connection.register("told_first", pa.table({"key": keys.slice(0, len(told_in)), "rank": told}))
    connection.execute(sql("first_told").format(table=name, number=f"{name.removesuffix('s')}_id"))
    if n := count_of(connection, "SELECT count(*) FROM by_key WHERE unsure"):
        what = phrase("onward.first_gone", n=n, what=phrase(f"onward.{name}"))
        raise Conflict(what, remedy=phrase("do.ingest_anew"))
    found = connection.sql("SELECT key FROM by_key WHERE retold").to_arrow_table()["key"]
    connection.execute("DROP TABLE by_key")
    connection.unregister("ranks")
    connection.unregister("told_first")
    return found


def join_events(connection: Connection, spec: DatasetSpec) -> None:
    """Its events, and their ids, beside those that were read."""
    connection.execute(sql("join_events"))
    if spec.events.id is not None:
        connection.execute(sql("join_ids"))


def join_files(connection: Connection, onto: Onto) -> None:
    """Its sources, under the names that they have now, and their lines."""
    connection.execute(sql("join_files"))
    connection.register("renamed", pa.table({"was": list(onto.renamed), "now": list(onto.renamed.values())}, _NAMES))
    connection.execute(_RENAMED, {"places": onto.places})
    connection.unregister("renamed")
    connection.execute(sql("left_of_files"))


def with_older(connection: Connection, onto: Onto, spec: DatasetSpec, fresh: pa.Table) -> pa.Table:
    """What was refused now, after what the older build has of sources that are not read anew, and those of its events
    whose place a new one takes."""
    again = [name for name, part in (("items", spec.items), ("users", spec.users)) if part and part.named]
    kept = onto.refused
    stale = pc.and_(pc.equal(kept["table"], "events"), pc.is_in(kept["source"], pa.array(onto.replaced, pa.string())))
    stale = pc.or_(stale, pc.is_in(kept["table"], pa.array(again, pa.string())))
    outdated = connection.sql(
        "SELECT 'events' AS \"table\", source, line, $column AS \"column\", 'superseded' AS reason, raw FROM outdated"
        " ORDER BY event_id",
        params={"column": spec.events.id},
    ).to_arrow_table()
    before = pa.concat_tables([kept.filter(pc.invert(stale)), outdated.cast(SCHEMA)])
    return pa.concat_tables([_renamed(before, onto.renamed), fresh])


def _renamed(refused: pa.Table, renamed: Mapping[str, str]) -> pa.Table:
    """Refused rows of events under the names that their files have now."""
    if not renamed:
        return refused
    pairs = zip(refused["table"].to_pylist(), refused["source"].to_pylist(), strict=True)
    sources = [renamed.get(source, source) if table == "events" else source for table, source in pairs]
    place = refused.column_names.index("source")
    return refused.set_column(place, SCHEMA.field("source"), pa.array(sources, pa.string()))
