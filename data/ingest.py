"""From a spec and its files to an immutable build: check every row, number users and items, publish whole.

Every row of the event files is either an event of the build or a row of the quarantine with its file, line,
column and reason; `accepted + quarantined == read`, always. A crash or a full disk publishes nothing. Feedback that the
ledger holds comes after the files' rows, as if it were one file more, and goes through the same checks.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.catalogue import Listing, items_table, list_items, list_users, users_table
from data.cleaning import REASONS, clean, tally, without_gone
from data.errors import InputError, InvalidSpec, StoreError, UnreadableFile
from data.publish import full_disk_reported, make_folder, move_whole, sha256_of, temporary_folder, write_whole
from data.quality import checks, quality_of, report
from data.quarantine import SOUND, Refusals, counted, event_refusals, listing_refusals, write_quarantine
from data.reading.places import sources_of
from data.reading.rows import FEEDBACK, stage, stage_feedback
from data.reading.staging import Source, Staged
from data.spec import CleanSection, DatasetSpec, ItemsSection, UsersSection
from data.warehouse import (
    SCHEMA_VERSION,
    BuildFacts,
    Connection,
    DatabaseError,
    Warehouse,
    build_connection,
    manifest_path,
    read_manifest,
    remove_build,
    verify_build,
)

Progress = Callable[[float, str], None]
Judge = Callable[[Refusals], None]
_MICROSECONDS = {"s": 1e6, "ms": 1e3, "us": 1.0}
_SAMPLE_ROWS = 100_000
_SWAP_MARGIN = 0.2  # by how much the crosswise match must be the better one


@dataclass(frozen=True)
class Birth:
    """What a build is given at its birth: its id (a fresh one by default), what its manifest keeps beside its files
    (JSON), and where the refused rows are kept when so many are that nothing is published."""

    build_id: str = field(default_factory=lambda: f"b-{secrets.token_hex(4)}")
    noted: Mapping[str, Any] = field(default_factory=dict)
    refused_to: Path | None = None


@dataclass(frozen=True)
class IngestResult:
    """What an ingest did. Counts are of event rows, and `reasons` sums to `quarantined`; those in `cleaned` are of
    sound rows that a rule of the spec removed.

    `catalogue_reasons` counts the refused rows of the item and user files, which are in the quarantine too.
    """

    build_id: str
    dataset: str
    read: int
    accepted: int
    quarantined: int
    reasons: dict[str, int]
    catalogue_reasons: dict[str, int]
    seconds: float
    path: Path
    quarantine: Path
    facts: BuildFacts
    quality: dict[str, Any]

    @property
    def cleaned(self) -> dict[str, int]:
        """Rows that rules removed, by reason, in the rules' order."""
        return {reason: self.reasons[reason] for reason in REASONS if reason in self.reasons}


def ingest(  # noqa: PLR0913 - each is a caller's to set
    spec: DatasetSpec,
    *,
    base: Path,
    home: Path,
    now: datetime,
    threads: int = 2,
    memory_limit: str = "2GB",
    progress: Progress | None = None,
    feedback: pa.Table | None = None,
    birth: Birth | None = None,
) -> IngestResult:
    """Make a build of `spec`, whose file paths are relative to `base`, in `home`. The ledger is not touched.

    feedback: further events (feedback_id, user, item, ts, kind, value), whose source in the build is `feedback`.
    Publishes home/warehouse/<build_id>.duckdb and home/quarantine/<build_id>.parquet. Raises MissingColumn,
    UnreadableFile (also when no row can be used), TooManyRefused, InvalidSpec (a column holds something else),
    DiskFull, StoreError (too little memory).
    """
    started = time.perf_counter()
    tell, birth = progress or _silent, birth or Birth()
    with full_disk_reported(home), temporary_folder(home / "warehouse", birth.build_id) as folder:
        made = folder / f"{birth.build_id}.duckdb"

        def judge(found: Refusals) -> None:
            try:
                found.judge()
            except InputError as error:
                raise _kept(error, found.rows, folder, birth.refused_to) from error

        try:
            with build_connection(folder / "work.duckdb", threads=threads, memory_limit=memory_limit) as connection:
                refused, quality = make(
                    connection, made, spec, base=base, now=now, tell=tell, feedback=feedback, judge=judge
                )
        except DatabaseError as error:
            raise explained(error, memory_limit) from error
        tell(0.95, "publishing")
        target, quarantine = publish_build(made, home, refused, quality=quality, noted=birth.noted)
    tell(1.0, "done")
    return _result(target, quarantine, refused, quality=quality, seconds=time.perf_counter() - started)


def published(home: Path, build_id: str) -> IngestResult | None:
    """What was told of a build when it was published, of one that lies whole in the store; None where none does. Its
    seconds are not known any more: 0. Raises DamagedArtefact, SchemaMismatch."""
    target, quarantine = home / "warehouse" / f"{build_id}.duckdb", home / "quarantine" / f"{build_id}.parquet"
    if not (target.is_file() and quarantine.is_file()):
        return None
    verify_build(target)
    refused = pq.read_table(quarantine)
    return _result(target, quarantine, refused, quality=quality_of(target), seconds=0.0)


def noted(build: Path) -> dict[str, Any]:
    """What a build's manifest keeps beside its files. Raises DamagedArtefact."""
    found = read_manifest(build).get("noted", {})
    return dict(found) if isinstance(found, Mapping) else {}


def _kept(error: InputError, refused: pa.Table, folder: Path, place: Path | None) -> InputError:
    """The error, with the refused rows kept where there is a place for them."""
    if place is None:
        return error
    rows = folder / "refused.parquet"
    write_quarantine(rows, refused)
    make_folder(place.parent)
    move_whole(rows, place)
    return type(error)(error.message, remedy=f"{error.remedy}; every refused row is in {place}")


def _result(
    target: Path, quarantine: Path, refused: pa.Table, *, quality: dict[str, Any], seconds: float
) -> IngestResult:
    with Warehouse.open(target) as warehouse:
        facts = warehouse.facts
    of_events = pc.is_in(refused["table"], pa.array(["events", FEEDBACK]))
    return IngestResult(
        build_id=facts.build_id,
        dataset=facts.dataset,
        read=facts.read,
        accepted=facts.accepted,
        quarantined=facts.quarantined,
        reasons=counted(refused.filter(of_events)),
        catalogue_reasons=counted(refused.filter(pc.invert(of_events))),
        seconds=seconds,
        path=target,
        quarantine=quarantine,
        facts=facts,
        quality=quality,
    )


def make(
    connection: Connection,
    made: Path,
    spec: DatasetSpec,
    *,
    base: Path,
    now: datetime,
    tell: Progress,
    feedback: pa.Table | None,
    judge: Judge,
) -> tuple[pa.Table, dict[str, Any]]:
    """Fill the build file at `made`, beside which there is room; the refused rows of all files, and the quality report.

    judge: hears what was refused before anything is built of the rest, and may raise. Raises besides what `ingest`
    does of the files."""
    scratch = made.parent / "scratch"
    scratch.mkdir()
    tell(0.02, "reading events")
    sources = sources_of(spec.events, base)
    staged = check_events(connection, spec, sources, now, feedback, scratch=scratch)
    tell(0.45, "reading items and users")
    items = list_items(connection, spec, _listed(spec.items, base, sources), scratch=scratch)
    users = list_users(connection, spec, _listed(spec.users, base, sources), scratch=scratch)
    items, users = without_gone(connection, spec, sql, items=items, users=users)
    events_refused = event_refusals(connection, staged, spec)
    accepted = _count(connection, "SELECT count(*) FROM accepted")
    sections = {"events": (events_refused, staged.read, spec.events.most_refused)}
    for name, listing, section in (("items", items, spec.items), ("users", users, spec.users)):
        sections[name] = (listing_refusals(name, listing), listing.read, section.most_refused if section else None)
    refusals = Refusals(sections, accepted)
    judge(refusals)
    connection.register("known_items", pa.table({"key": items.keys}))
    connection.register("known_users", pa.table({"key": users.keys}))
    _refuse_swapped(connection, spec)
    tell(0.55, "numbering users and items")
    connection.execute("ATTACH $path AS build", {"path": str(made)})
    _create(connection, "users", users_table(spec, users, _unlisted(connection, "users")))
    _create(connection, "items", items_table(spec, items, _unlisted(connection, "items")))
    tell(0.65, "writing events")
    _write_events(connection, spec, staged, tell)
    counts = {"read": staged.read, "accepted": accepted, "quarantined": events_refused.num_rows}
    if counts["read"] != accepted + events_refused.num_rows:
        raise AssertionError(f"rows went missing: {counts}")
    build_id = made.stem
    counts["places"] = staged.places
    _create(connection, "facts", _facts(connection, spec, build_id=build_id, now=now, counts=counts))
    tell(0.9, "looking at the whole")
    known = _counted(connection, spec, staged, events_refused, listings=(items, users))
    found = checks(connection, sql("quality"), spec=spec, counted=known)
    connection.execute("CHECKPOINT build; DETACH build")
    return refusals.rows, report(found, staged, cleaned=tally(connection, spec, sql).as_json())


def _counted(
    connection: Connection, spec: DatasetSpec, staged: Staged, refused: pa.Table, *, listings: tuple[Listing, ...]
) -> dict[str, tuple[int, int]]:
    """Checks that need what the build does not keep: (n, of)."""
    accepted = _count(connection, "SELECT count(*) FROM accepted")
    counted = {
        "refused-rows": (pc.sum(pc.invert(pc.is_in(refused["reason"], SOUND))).as_py() or 0, staged.read),
        "refused-listings": (sum(len(it.refused) for it in listings), sum(it.read for it in listings)),
        "times-without-zone": (
            _count(connection, "SELECT count(*) FROM checked WHERE unzoned AND reason IS NULL"),
            accepted,
        ),
    }
    if spec.clean != CleanSection():
        counted["cleaned-rows"] = (pc.sum(pc.is_in(refused["reason"], pa.array(REASONS))).as_py() or 0, staged.read)
    if spec.events.tz != "UTC":
        params = {"tz": spec.events.tz, "format": spec.events.ts_format, "of_files": staged.of_files}
        counted["clock-changes"] = (_count(connection, sql("clock_changes"), **params), accepted)
    for name, section in (("items", spec.items), ("users", spec.users)):
        if section is not None and section.named:
            unlisted = f"SELECT coalesce(sum(events), 0) FROM accepted_{name} ANTI JOIN known_{name} USING (key)"  # noqa: S608
            counted[f"unlisted-{name}"] = (_count(connection, unlisted), accepted)
    return counted


def publish_build(
    made: Path, home: Path, refused: pa.Table, *, quality: dict[str, Any], noted: Mapping[str, Any] | None = None
) -> tuple[Path, Path]:
    """Publish the build file at `made` with the rows that were refused, its quality report, and what else its manifest
    is to keep; where build and quarantine lie. The build's own rename comes last: before it there is no build, and
    after an error nothing of it stays."""
    build_id = made.stem
    target, quarantine = home / "warehouse" / made.name, home / "quarantine" / f"{build_id}.parquet"
    refused_rows = made.with_suffix(".parquet")
    write_quarantine(refused_rows, refused)
    try:
        move_whole(refused_rows, quarantine)
        told = {"sha256": sha256_of(made), "bytes": made.stat().st_size}
        manifest = {"files": {target.name: told}, "build_id": build_id, "quality": quality, "noted": dict(noted or {})}
        write_whole(manifest_path(target), json.dumps(manifest, indent=1).encode())
        move_whole(made, target)
    except BaseException:
        remove_build(home, build_id)
        raise
    return target, quarantine


def check_events(
    connection: Connection,
    spec: DatasetSpec,
    sources: Sequence[Source],
    now: datetime,
    feedback: pa.Table | None,
    *,
    scratch: Path,
) -> Staged:
    """Leaves `checked` (every staged row, with a reason or none), `accepted` (those with none), `accepted_users` and
    `accepted_items` (the keys that these name)."""
    section = spec.events
    staged = stage(
        connection,
        "raw_events",
        sources,
        columns=[section.user, section.item, section.ts, section.kind, section.value],
        rest=section.context,
        scratch=scratch,
    )
    if staged.read == 0:
        raise UnreadableFile(
            f"{', '.join(source.name for source in sources)}: a header and no rows",
            remedy="export the events again",
        )
    unit = section.ts_unit or ("iso" if section.ts_format else _guessed_unit(connection, section.ts))
    if feedback is not None and feedback.num_rows:
        scale, n_context = _MICROSECONDS.get(unit), len(section.context)
        staged = stage_feedback(connection, staged, feedback, us_per_unit=scale, n_context=n_context)
    params = {
        "has_kind": section.kind is not None,
        "kind_value": section.kind_value,
        "kind_words": [word.strip().lower() for word in spec.kinds],
        "kind_names": [kind.strip() for kind in spec.kinds.values()],
        "us_per_unit": _MICROSECONDS.get(unit),
        "latest": now + timedelta(days=1),
        "tz": section.tz,
        "of_files": staged.of_files,
        "format": section.ts_format,
    }
    run_statements(connection, sql("check_events"), params)
    if section.drop_duplicates:
        connection.execute(sql("mark_duplicates"))
    clean(connection, spec, sql)
    connection.execute(sql("accept_events"))
    return staged


def _guessed_unit(connection: Connection, column: str) -> str:
    """s, ms, us or iso, by the size of the numbers in the time column. Raises InvalidSpec."""
    row = _row(
        connection,
        "WITH sample AS (SELECT f2, try_cast(f2 AS DOUBLE) AS number, try_cast(f2 AS TIMESTAMPTZ) AS date"
        " FROM raw_events WHERE rowid < $rows)"
        " SELECT count(f2) AS n, count(*) FILTER (isfinite(number)) AS numbers, count(date) AS dates,"
        " median(abs(number)) FILTER (isfinite(number)) AS middle, any_value(f2) AS example FROM sample",
        rows=_SAMPLE_ROWS,
    )
    if row["n"] and max(row["numbers"], row["dates"]) == 0:
        raise InvalidSpec(
            f"events.ts: column {column!r} holds no times (for instance {row['example']!r})",
            remedy="name the column of times, as ISO 8601 or seconds since 1970",
        )
    if row["numbers"] <= row["dates"]:
        return "iso"
    for unit, least, beyond in (("s", 1e8, 1e11), ("ms", 1e11, 1e14), ("us", 1e14, 1e17)):
        if least <= row["middle"] < beyond:
            return unit
    raise InvalidSpec(
        f"events.ts: the numbers in column {column!r} are no times (for instance {row['example']!r})",
        remedy='name the column of times; if these are times, say their unit: ts_unit = "s", "ms" or "us"',
    )


def _refuse_swapped(connection: Connection, spec: DatasetSpec) -> None:
    """Raise InvalidSpec when the events' users are known as items and their items as users."""
    row = _row(connection, sql("swapped"))
    straight = row["users_in_users"] + row["items_in_items"]
    if row["users_in_items"] + row["items_in_users"] > straight + _SWAP_MARGIN:
        raise InvalidSpec(
            f"events.user and events.item look swapped: the values of {spec.events.user!r} are keys of items",
            remedy=f"try user = {spec.events.item!r} and item = {spec.events.user!r}",
        )


def _unlisted(connection: Connection, name: str) -> list[str]:
    """Keys of users or items that only events name, in order of appearance."""
    statement = f"SELECT key FROM accepted_{name} ANTI JOIN known_{name} USING (key) ORDER BY first"  # noqa: S608
    keys: list[str] = connection.sql(statement).to_arrow_table()["key"].to_pylist()
    return keys


def _write_events(connection: Connection, spec: DatasetSpec, staged: Staged, tell: Progress) -> None:
    kinds = connection.sql("SELECT any_value(key) AS key FROM kind_keys GROUP BY code ORDER BY code").to_arrow_table()
    names = {
        "kinds": kinds["key"].to_pylist(),
        "sources": [file.name for file in staged.files],
        "context_names": list(spec.events.context),
    }
    connection.execute(sql("events"), names)
    tell(0.8, "counting for the pages")
    summarise(connection, spec)


def summarise(connection: Connection, spec: DatasetSpec) -> None:
    """Count beforehand, in the attached `build`, what pages ask of all its events, and of their sessions where the spec
    has any."""
    run_statements(connection, sql("summaries"), {"n_users": _count(connection, "SELECT count(*) FROM build.users")})
    if spec.sessions is not None:
        run_statements(connection, sql("sessions"), {"gap_us": round(spec.sessions.gap_minutes * 60e6)})


def _create(connection: Connection, name: str, rows: pa.Table) -> None:
    connection.register("incoming", rows)
    connection.execute(f"CREATE TABLE build.{name} AS SELECT * FROM incoming")  # noqa: S608 - own names
    connection.unregister("incoming")


def _facts(
    connection: Connection, spec: DatasetSpec, *, build_id: str, now: datetime, counts: dict[str, int]
) -> pa.Table:
    row = _row(
        connection,
        "SELECT (SELECT count(*) FROM build.users) AS n_users, (SELECT count(*) FROM build.items) AS n_items,"
        " count(*) AS n_events, min(ts) AS first_ts, max(ts) AS last_ts"
        " FROM build.events",
    )
    if row["n_events"] != counts["accepted"]:
        raise AssertionError(f"events went missing: {counts}, {row['n_events']}")
    told = {
        "build_id": build_id,
        "dataset": spec.name,
        "task": spec.task,
        "created": now,
        "schema_version": SCHEMA_VERSION,
        "licence": spec.licence,
        "source": spec.source,
        "spec": spec.to_toml(),
        **counts,
        **row,
    }
    return pa.Table.from_pylist([told])


def _listed(section: ItemsSection | UsersSection | None, base: Path, events: list[Source]) -> list[Source]:
    return sources_of(section, base) if section and section.named else events


def explained(error: Exception, memory_limit: str) -> Exception:
    """What a database error means to the caller; full disks are told apart by the enclosing block."""
    text = str(error)
    if "Out of Memory" in text and "No space left" not in text:
        return StoreError(
            f"{memory_limit} of memory is too little for this dataset",
            remedy="close other programs, or allow more",
        )
    return error


def _row(connection: Connection, sql: str, **params: Any) -> dict[str, Any]:
    row: dict[str, Any] = connection.sql(sql, params=params or None).to_arrow_table().to_pylist()[0]
    return row


def _count(connection: Connection, sql: str, **params: Any) -> int:
    return int(next(iter(_row(connection, sql, **params).values())))


def run_statements(connection: Connection, statements: str, params: Mapping[str, Any]) -> None:
    """Run several statements, each with those of the `params` that it names."""
    for statement in connection.extract_statements(statements):
        connection.execute(statement, {name: params[name] for name in statement.named_parameters})


def sql(name: str) -> str:
    """The statements of a file in data/sql."""
    return (resources.files("data") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def _silent(_: float, __: str) -> None:
    """No progress is told."""
