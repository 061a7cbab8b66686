"""The tables of a build, made of a spec's sources: check every row, number users and items, sort, count, look at it.

Of an older build (`Onto`) its events are taken on, with the numbers that its users and items have; only sources that it
has not read are read, and those that have changed since take the place of what it had of them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.catalogue import Listing, items_table, list_items, list_users, unread_prices, users_table
from data.checking import by_file, check_events, clock_changes
from data.cleaning import REASONS, reasons_of, tally
from data.errors import InvalidSpec, UnreadableFile
from data.onto import Onto, attach, join_events, join_files, number_onto, refuse_older_corrections, with_older
from data.phrases import as_json, phrase, quoted
from data.quality import checks, report
from data.quarantine import SOUND, Refusals, event_refusals, listing_refusals
from data.reading.places import digests_of, lists_of, sources_of
from data.reading.rows import FEEDBACK
from data.reading.staging import Source, Staged
from data.spec import DatasetSpec, ItemsSection, UsersSection
from data.statements import count_of, row_of, run_statements, sql
from data.summaries import summarise
from data.warehouse import SCHEMA_VERSION, Connection

Progress = Callable[[float, str], None]
Judge = Callable[[Refusals], None]
_FILES = pa.schema(
    [
        ("source", pa.string()),
        ("sha256", pa.string()),
        ("place", pa.int64()),
        ("staged", pa.int64()),
        ("read", pa.int64()),
        ("unzoned", pa.int64()),
        ("clock_changes", pa.int64()),
        ("read_as", pa.string()),
        ("build_id", pa.string()),
    ]
)
_CONTEXT, _NO_CONTEXT = "map(CAST($context_names AS VARCHAR[]), rest)", "CAST(MAP {} AS MAP(VARCHAR, VARCHAR))"
_SWAP_MARGIN = 0.2  # by how much the crosswise match must be the better one
_FEW_KNOWN = 0.25


@dataclass(frozen=True)
class Materials:
    """What a build is made of. base: the folder that the spec's paths are relative to; sources: those of events that
    are read, default all; digests: the sha256 of files by the names of their sources, where they are known already;
    feedback: as `ingest` says."""

    spec: DatasetSpec
    base: Path
    sources: Sequence[Source] | None = None
    digests: Mapping[str, str] | None = None
    feedback: pa.Table | None = None
    onto: Onto | None = None


def make(
    connection: Connection, made: Path, of: Materials, *, now: datetime, tell: Progress, judge: Judge
) -> tuple[pa.Table, dict[str, Any]]:
    """Fill the build file at `made`, beside which there is room; the refused rows of all files, and the quality report.

    judge: hears what was refused before anything is built of the rest, and may raise. Raises besides what `ingest`
    does of the files."""
    with ThreadPoolExecutor(1) as beside:
        sources = list(sources_of(of.spec.events, of.base) if of.sources is None else of.sources)
        digests = beside.submit(digests_of, sources if of.digests is None else ())
        return _make(connection, made, of, sources, now=now, tell=tell, judge=judge, digests=digests)


def _make(
    connection: Connection,
    made: Path,
    of: Materials,
    sources: list[Source],
    *,
    now: datetime,
    tell: Progress,
    judge: Judge,
    digests: Future[dict[str, str]],
) -> tuple[pa.Table, dict[str, Any]]:
    spec, scratch = of.spec, made.parent / "scratch"
    scratch.mkdir()
    lists = lists_of(spec, of.base)  # before they are read: what changes meanwhile is something new to the next build
    tell(0.02, "reading events")
    if of.onto is not None:
        attach(connection, of.onto)
    staged = check_events(
        connection,
        spec,
        sources,
        now,
        scratch=scratch,
        feedback=of.feedback,
        goes_on=of.onto is not None,
        ts_unit=of.onto.ts_unit if of.onto else None,
    )
    if of.onto is not None and spec.events.id is not None:
        refuse_older_corrections(connection, of.onto, staged)
    tell(0.45, "reading items and users")
    items = list_items(connection, spec, _listed(spec.items, of.base, sources), events=staged, scratch=scratch)
    users = list_users(connection, spec, _listed(spec.users, of.base, sources), events=staged, scratch=scratch)
    events_refused = event_refusals(connection, staged, spec)
    changes = clock_changes(connection, spec, staged)
    connection.execute("DROP TABLE raw_events")  # what follows needs the room
    accepted = count_of(connection, "SELECT count(*) FROM accepted")
    if staged.read != accepted + events_refused.num_rows:
        raise AssertionError(f"rows went missing: {staged.read}, {accepted}, {events_refused.num_rows}")
    sections = {"events": (events_refused, staged.read, spec.events.most_refused)}
    for name, listing, section in (("items", items, spec.items), ("users", users, spec.users)):
        sections[name] = (listing_refusals(name, listing), listing.read, section.most_refused if section else None)
    refusals = Refusals(sections, accepted, goes_on=of.onto is not None)
    judge(refusals)
    connection.register("known_items", pa.table({"key": items.keys}))
    connection.register("known_users", pa.table({"key": users.keys}))
    _refuse_swapped(connection, spec)
    tell(0.55, "numbering users and items")
    connection.execute("ATTACH $path AS build", {"path": str(made)})
    for name, listing, table in (("users", users, users_table), ("items", items, items_table)):
        rows = table(spec, listing, _unlisted(connection, of, name))
        if of.onto is None:
            _create(connection, name, rows)
        else:
            section = spec.users if name == "users" else spec.items
            own = section is not None and not section.named
            number_onto(connection, of.onto, name, rows, told_in=listing.sources if own else None)
    tell(0.65, "writing events")
    _write_events(connection, of)
    _write_places(connection, of, staged, of.digests or digests.result(), changes=changes, build_id=made.stem)
    if not count_of(connection, "SELECT count(*) FROM build.events"):
        raise UnreadableFile(phrase("onward.nothing_left"), remedy=phrase("do.export_events"))
    tell(0.8, "counting for the pages")
    summarise(connection, spec)
    tell(0.9, "looking at the whole")
    refused = refusals.rows if of.onto is None else with_older(connection, of.onto, spec, refusals.rows)
    _create(connection, "facts", _facts(connection, spec, refused, build_id=made.stem, now=now))
    known = _counted(connection, of, refused, listings=(items, users))
    found = checks(connection, spec=spec, counted=known)
    files = connection.sql("FROM build.files ORDER BY place, source").to_arrow_table()
    connection.execute("CHECKPOINT build; DETACH build")
    cleaned = tally(connection, spec).as_json()
    return refused, report(found, files, cleaned=cleaned, ts_unit=staged.ts_unit, lists=lists)


def _refuse_swapped(connection: Connection, spec: DatasetSpec) -> None:
    """Raise InvalidSpec when the events' users are known as items and their items as users. Plain numbers are known as
    both: where one list alone is there, few of the keys that it should know may be in it, too."""
    row = row_of(connection, sql("swapped"))
    if None in row.values():  # a file without a usable row
        return
    straight, crosswise = (
        sum(row[name] for name in names)
        for names in (("users_in_users", "items_in_items"), ("users_in_items", "items_in_users"))
    )
    both = all(section is not None and section.named for section in (spec.users, spec.items))
    if crosswise > straight + _SWAP_MARGIN and (both or straight < _FEW_KNOWN):
        user, item = quoted(spec.events.user), quoted(spec.events.item)
        raise InvalidSpec(phrase("spec.swapped", user=user), remedy=phrase("do.swap", user=item, item=user))


def _unlisted(connection: Connection, of: Materials, name: str) -> list[str]:
    """Keys of users or items that only events name, in order of appearance; not those that the older build has."""
    others = f"ANTI JOIN old.{name} USING (key)" if of.onto else ""
    code = f"{name.removesuffix('s')}_code"
    statement = (
        "WITH fresh AS MATERIALIZED"  # noqa: S608 - own names
        f" (SELECT code, key FROM accepted_{name} ANTI JOIN known_{name} USING (key) {others}),"
        f" begun AS (SELECT {code} AS code, min(row_no) AS first FROM accepted"
        f" WHERE {code} IN (SELECT code FROM fresh) GROUP BY {code})"
        " SELECT key FROM fresh JOIN begun USING (code) ORDER BY first"
    )
    keys: list[str] = connection.sql(statement).to_arrow_table()["key"].to_pylist()
    return keys


def _write_events(connection: Connection, of: Materials) -> None:
    kinds = connection.sql("SELECT any_value(key) AS key FROM kind_keys GROUP BY code ORDER BY code").to_arrow_table()
    params = {
        "kinds": kinds["key"].to_pylist(),
        "context_names": list(of.spec.events.context),
        "places": of.onto.places if of.onto else 0,
    }
    run_statements(
        connection, sql("events").format(context=_CONTEXT if of.spec.events.context else _NO_CONTEXT), params
    )
    run_statements(connection, sql("ids"), params)
    if of.onto is not None:
        join_events(connection, of.spec)


def _write_places(
    connection: Connection,
    of: Materials,
    staged: Staged,
    digests: Mapping[str, str],
    *,
    changes: Mapping[int, int],
    build_id: str,
) -> None:
    """files: the sources of events, which places their rows have, and of how many the time is in doubt; lines: the line
    of each place where lines stop following one another. changes: as `clock_changes` tells."""
    begun = of.onto.places if of.onto else 0
    unzoned = by_file(
        connection, "SELECT file, count(*) AS n FROM checked WHERE unzoned AND reason IS NULL GROUP BY file"
    )
    files = [
        {
            "source": file.name,
            "sha256": None if file.fed else digests.get(file.name),
            "place": begun + file.start,
            "staged": file.count,
            "read": file.count + len(file.rejects),
            "unzoned": unzoned.get(number, 0),
            "clock_changes": changes.get(number, 0),
            "read_as": "" if file.decoded is None else json.dumps(as_json(file.decoded)),
            "build_id": build_id,
        }
        for number, file in enumerate(staged.files, start=1)
    ]
    _create(connection, "files", pa.Table.from_pylist(files, schema=_FILES))
    stretches = [file.stretches() for file in staged.files]
    places = [begun + file.start + places for file, (places, _) in zip(staged.files, stretches, strict=True)]
    lines = {
        "place": np.concatenate([*places, np.zeros(0, np.int64)]),
        "line": np.concatenate([*(lines for _, lines in stretches), np.zeros(0, np.int64)]),
    }
    _create(connection, "lines", pa.table(lines))
    if of.onto is not None:
        join_files(connection, of.onto)


def _counted(
    connection: Connection, of: Materials, refused: pa.Table, *, listings: tuple[Listing, ...]
) -> dict[str, tuple[int, int]]:
    """Checks that need what the build does not keep: (n, of)."""
    spec = of.spec
    of_events = refused.filter(pc.is_in(refused["table"], pa.array(["events", FEEDBACK])))
    faulty = pc.sum(pc.invert(pc.is_in(of_events["reason"], SOUND))).as_py() or 0
    files = row_of(
        connection,
        "SELECT CAST(sum(read) AS BIGINT) AS read, CAST(sum(unzoned) AS BIGINT) AS unzoned,"
        " CAST(sum(clock_changes) AS BIGINT) AS clock_changes FROM build.files",
    )
    events = count_of(connection, "SELECT count(*) FROM build.events")
    counted = {
        "refused-rows": (faulty, files["read"]),
        "refused-listings": (sum(len(it.refused) for it in listings), sum(it.read for it in listings)),
        "times-without-zone": (files["unzoned"], events),
    }
    if (prices := unread_prices(spec, listings[0])) is not None and prices[1]:
        counted["unread-prices"] = prices
    if reasons_of(spec):
        counted["cleaned-rows"] = (pc.sum(pc.is_in(of_events["reason"], pa.array(REASONS))).as_py() or 0, files["read"])
    if spec.events.id is not None:
        again = pc.sum(pc.equal(of_events["reason"], "superseded")).as_py() or 0
        counted["superseded-rows"] = (again, files["read"])
    if spec.events.tz != "UTC":
        counted["clock-changes"] = (files["clock_changes"], events)
    for name, counts, number, section in (
        ("items", "item_counts", "item_id", spec.items),
        ("users", "people", "user_id", spec.users),
    ):
        if section is not None and section.named:
            statement = (
                f"SELECT coalesce(sum(events), 0) FROM build.{counts} JOIN build.{name} USING ({number})"  # noqa: S608
                f" ANTI JOIN known_{name} USING (key)"
            )
            counted[f"unlisted-{name}"] = (count_of(connection, statement), events)
    return counted


def _create(connection: Connection, name: str, rows: pa.Table) -> None:
    connection.register("incoming", rows)
    connection.execute(f"CREATE TABLE build.{name} AS SELECT * FROM incoming")  # noqa: S608 - own names
    connection.unregister("incoming")


def _facts(connection: Connection, spec: DatasetSpec, refused: pa.Table, *, build_id: str, now: datetime) -> pa.Table:
    row = row_of(
        connection,
        "SELECT (SELECT count(*) FROM build.users) AS n_users, (SELECT count(*) FROM build.items) AS n_items,"
        " (SELECT CAST(sum(read) AS BIGINT) FROM build.files) AS read, count(*) AS accepted, count(*) AS n_events,"
        " (SELECT max(place + staged) FROM build.files) AS places, min(ts) AS first_ts, max(ts) AS last_ts"
        " FROM build.events",
    )
    row["quarantined"] = pc.sum(pc.is_in(refused["table"], pa.array(["events", FEEDBACK]))).as_py() or 0
    if row["read"] != row["accepted"] + row["quarantined"]:
        raise AssertionError(f"rows went missing: {row}")
    told = {
        "build_id": build_id,
        "dataset": spec.name,
        "task": spec.task,
        "created": now,
        "schema_version": SCHEMA_VERSION,
        "licence": spec.licence,
        "source": spec.source,
        "spec": spec.to_toml(),
        **row,
    }
    return pa.Table.from_pylist([told])


def _listed(section: ItemsSection | UsersSection | None, base: Path, events: list[Source]) -> list[Source]:
    return sources_of(section, base) if section and section.named else events
