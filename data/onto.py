"""The older build that a new one goes on from, attached as `old`: what of it is taken on under which names, and what
stands against it.
"""

from collections.abc import Mapping
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
_RENAMED = "UPDATE build.files SET source = $new WHERE source = $old AND sha256 IS NOT NULL AND place < $places"


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


def join_events(connection: Connection, spec: DatasetSpec) -> None:
    """Its events, and their ids, beside those that were read."""
    connection.execute(sql("join_events"))
    if spec.events.id is not None:
        connection.execute(sql("join_ids"))


def join_files(connection: Connection, onto: Onto) -> None:
    """Its sources, under the names that they have now, and their lines."""
    connection.execute(sql("join_files"))
    for old, new in onto.renamed.items():
        connection.execute(_RENAMED, {"old": old, "new": new, "places": onto.places})
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
