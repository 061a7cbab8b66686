"""A newer build from an older one and what came back since: the files that the older one was made of are not needed.

The result is what an ingest of those files with all feedback would have been, but for its id and its moment.
"""

import secrets
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.ingest import IngestResult, explained, publish_build
from data.publish import full_disk_reported, temporary_folder
from data.quality import checks, quality_of, report
from data.quarantine import SCHEMA, SOUND, counted
from data.reading.rows import FEEDBACK
from data.statements import run_statements, sql
from data.summaries import summarise
from data.warehouse import BuildFacts, Connection, DatabaseError, Warehouse, build_connection, verify_build

_IDENTIFIED = "CREATE TEMP VIEW identified AS SELECT event_id FROM old.ids"
_IDS = "CREATE TABLE build.ids AS FROM old.ids ORDER BY event_id"
_NO_IDS = "CREATE TABLE build.ids (event_id BIGINT, key VARCHAR)"
_NONE_IDENTIFIED = "CREATE TEMP TABLE identified (event_id BIGINT)"


def extend(
    path: Path, feedback: pa.Table, *, home: Path, now: datetime, threads: int = 2, memory_limit: str = "2GB"
) -> IngestResult:
    """Publish a build of everything in the build at `path` and of `feedback` (feedback_id, user, item, ts, kind,
    value), which it must not hold yet. The ledger is not touched. Raises UnknownBuild, SchemaMismatch,
    DamagedArtefact, DiskFull, StoreError (too little memory)."""
    started = time.perf_counter()
    verify_build(path)
    build_id = f"b-{secrets.token_hex(4)}"
    with full_disk_reported(home), temporary_folder(home / "warehouse", build_id) as folder:
        made = folder / f"{build_id}.duckdb"
        try:
            with build_connection(folder / "work.duckdb", threads=threads, memory_limit=memory_limit) as connection:
                refused, quality = _make(connection, path, made, feedback, now=now)
        except DatabaseError as error:
            raise explained(error, memory_limit) from error
        before = home / "quarantine" / f"{path.stem}.parquet"
        kept = pq.read_table(before).cast(SCHEMA) if before.is_file() else SCHEMA.empty_table()
        everything = pa.concat_tables([kept, refused])
        target, quarantine = publish_build(made, home, everything, quality=quality)
    with Warehouse.open(target) as warehouse:
        facts = warehouse.facts
    of_events = pc.is_in(everything["table"], pa.array(["events", FEEDBACK]))
    return IngestResult(
        build_id=build_id,
        dataset=facts.dataset,
        read=facts.read,
        accepted=facts.accepted,
        quarantined=facts.quarantined,
        reasons=counted(everything.filter(of_events)),
        catalogue_reasons=counted(everything.filter(pc.invert(of_events))),
        seconds=time.perf_counter() - started,
        path=target,
        quarantine=quarantine,
        facts=facts,
        quality=quality,
    )


def _make(
    connection: Connection, path: Path, made: Path, feedback: pa.Table, *, now: datetime
) -> tuple[pa.Table, dict[str, Any]]:
    """Fill the build file at `made`; what was refused of the feedback, and the quality report of the whole."""
    with Warehouse.open(path) as warehouse:
        facts = warehouse.facts
    connection.execute("ATTACH $path AS old (READ_ONLY)", {"path": str(path)})
    connection.execute("ATTACH $path AS build", {"path": str(made)})
    connection.register("fed", feedback)
    names = list(facts.spec.events.context)
    distinct = facts.spec.events.drop_duplicates
    params = {"distinct": distinct, "context_names": names, "no_context": [None] * len(names), "build_id": made.stem}
    has_ids = facts.spec.events.id is not None
    connection.execute(_IDENTIFIED if has_ids else _NONE_IDENTIFIED)
    run_statements(connection, sql("extend"), params)
    connection.execute(_IDS if has_ids else _NO_IDS)
    summarise(connection, facts.spec)
    for name in facts.spec.user_attributes:
        column = '"' + name.replace('"', '""') + '"'
        connection.execute(f"UPDATE build.users SET {column} = 'unknown' WHERE {column} IS NULL")  # noqa: S608
    refused = connection.sql(
        'SELECT feedback_id AS line, reason, concat_ws(chr(9), "user", item, ts, kind, value) AS raw FROM weighed'
        " WHERE reason IS NOT NULL ORDER BY feedback_id"
    ).to_arrow_table()
    columns: dict[str, Any] = {
        "table": ["events"] * refused.num_rows,
        "source": [FEEDBACK] * refused.num_rows,
        "column": [None] * refused.num_rows,
        **{name: refused[name].to_pylist() for name in ("line", "reason", "raw")},
    }
    connection.execute(
        "CREATE TABLE build.facts AS SELECT * REPLACE ($build_id AS build_id, $now AS created,"
        " read + $read AS read, accepted + $read - $refused AS accepted, quarantined + $refused AS quarantined,"
        " places + $read AS places, n_events + $read - $refused AS n_events,"
        " (SELECT count(*) FROM build.users) AS n_users,"
        " (SELECT min(ts) FROM build.events) AS first_ts, (SELECT max(ts) FROM build.events) AS last_ts)"
        " FROM old.facts",
        {"build_id": made.stem, "now": now, "read": feedback.num_rows, "refused": refused.num_rows},
    )
    before = quality_of(path)
    known = _counted(connection, facts, before, fed=feedback.num_rows, refused=refused)
    found = checks(connection, spec=facts.spec, counted=known)
    files = connection.sql("FROM build.files ORDER BY place, source").to_arrow_table()
    kept = {name: before.get(name) for name in ("ts_unit", "lists")}
    quality = report(found, files, cleaned=before.get("cleaned", ()), **kept)
    connection.execute("CHECKPOINT build; DETACH build; DETACH old")
    refusals = pa.table(
        {name: pa.array(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names}, schema=SCHEMA
    )
    return refusals, quality


def _counted(
    connection: Connection, facts: BuildFacts, before: Mapping[str, Any], *, fed: int, refused: pa.Table
) -> dict[str, tuple[int, int]]:
    """(n, of) of the checks that the older build's files had to be at hand for. Whether a user or an item of an act has
    stood in a list is known where all of before have; else that check is left out.

    facts, before: the older build's, and its quality report; fed: acts; refused: of them, with `reason`."""
    known = {one["check"]: (int(one["n"]), int(one["of"])) for one in before["checks"]}
    faulty = refused.num_rows - (pc.sum(pc.is_in(refused["reason"], SOUND)).as_py() or 0)
    read, events = facts.read + fed, facts.n_events + fed - refused.num_rows
    of = {
        "refused-rows": read,
        "cleaned-rows": read,
        "superseded-rows": read,
        "times-without-zone": events,
        "clock-changes": events,
    }
    counted = {
        name: (known[name][0], of.get(name, known[name][1]))
        for name in (*of, "refused-listings", "unread-prices")
        if name in known
    }
    if "refused-rows" in counted:
        counted["refused-rows"] = (counted["refused-rows"][0] + faulty, read)
    newcomers = connection.sql(
        "SELECT coalesce(sum(events), 0) AS n FROM build.people ANTI JOIN old.users USING (user_id)"
    ).to_arrow_table()
    for name, more in (("unlisted-items", 0), ("unlisted-users", int(newcomers["n"][0].as_py()))):
        if name in known and not known[name][0]:
            counted[name] = (more, events)
    return counted
