"""An ingest that is only tried: the first rows of a spec's files go the whole way and nothing is published.

It is the ingest's own way (`data.making.make`) over copies that end after so many records, so what it says of a row is
what the ingest will say, by the same file and line. Files that are shorter are tried whole. What the spec's cleaning
rules remove depends on all rows, though: `preview` goes the first part of the way, over all of them.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data import reads
from data.checking import check_events
from data.cleaning import Tally, reasons_of, tally
from data.errors import InputError, InvalidSpec, TooManyRefused, UnreadableFile
from data.ingest import explained
from data.making import Materials, Progress, make
from data.phrases import phrase
from data.publish import full_disk_reported, temporary_folder
from data.quarantine import SCHEMA, Refusals, counted, event_refusals
from data.reading.decoding import decode_head, is_parquet
from data.reading.faults import no_parquet
from data.reading.jsonlines import is_json_lines
from data.reading.places import sources_of
from data.reading.staging import Source
from data.reading.textfile import MAX_LINES_IN_QUOTES, exact_rows, first_bytes, header_of
from data.spec import DatasetSpec, EventsSection, ItemsSection, UsersSection
from data.warehouse import DatabaseError, Warehouse, build_connection

ROWS, LISTED_ROWS = 20_000, 50_000  # of events, and of each list of items or users
_MOST_BYTES = 64 << 20  # of one file's copy
_USERS, _EVENTS = 5, 8  # that are shown
_UNJUDGED = ("unlisted-items", "unlisted-users")  # by what is left of a list
Section = TypeVar("Section", EventsSection, ItemsSection, UsersSection)


@dataclass(frozen=True)
class History:
    """What one user's history would be: how many events, and the newest of them (title, kind, value, ts)."""

    user: str
    n: int
    events: tuple[tuple[str, str, float | None, datetime], ...]


@dataclass(frozen=True)
class Rehearsal:
    """What an ingest would do; counts are of event rows, `accepted + quarantined == read`. refused: SCHEMA, of all
    files; whole: nothing was left out; stopped: why nothing would be published, if so."""

    read: int
    accepted: int
    refused: pa.Table
    whole: bool
    stopped: InputError | None = None
    quality: dict[str, Any] = field(default_factory=lambda: {"checks": [], "sources": []})
    n_users: int = 0
    n_items: int = 0
    histories: tuple[History, ...] = ()

    @property
    def quarantined(self) -> int:
        """Event rows that were refused."""
        return self.read - self.accepted

    @property
    def reasons(self) -> dict[str, int]:
        """Refused event rows by reason, the most frequent first."""
        return counted(self.refused.filter(pc.equal(self.refused["table"], "events")))


@dataclass(frozen=True)
class Preview:
    """What an ingest would set aside, of all event rows: `accepted + refused.num_rows == read`. refused: SCHEMA; tally:
    what the cleaning rules would take, and leave."""

    read: int
    accepted: int
    refused: pa.Table
    tally: Tally


def examples(refused: pa.Table, reason: str, *, rows: int = 3) -> list[dict[str, Any]]:
    """The first of the refused rows (SCHEMA) that go for a reason: source, line, raw."""
    found = refused.filter(pc.equal(refused["reason"], reason)).slice(0, rows)
    told: list[dict[str, Any]] = found.select(["source", "line", "raw"]).to_pylist()
    return told


def preview(
    spec: DatasetSpec,
    *,
    base: Path,
    home: Path,
    now: datetime,
    feedback: pa.Table | None = None,
    progress: Progress | None = None,
    threads: int = 2,
    memory_limit: str = "2GB",
) -> Preview:
    """What the cleaning rules of a spec, whose paths are relative to `base`, would remove from all of its events and of
    `feedback`; nothing is built. Raises what `ingest` does of the event files, and InvalidSpec without a rule."""
    if not reasons_of(spec):
        raise InvalidSpec(phrase("spec.no_rule"), remedy=phrase("do.write_rules"))
    tell = progress or _silent
    with full_disk_reported(home), temporary_folder(home / "warehouse", "preview") as folder:
        (folder / "scratch").mkdir()
        tell(0.02, "reading events")
        sources = sources_of(spec.events, base)
        try:
            with build_connection(folder / "work.duckdb", threads=threads, memory_limit=memory_limit) as connection:
                staged = check_events(connection, spec, sources, now, scratch=folder / "scratch", feedback=feedback)
                tell(0.9, "counting what is removed")
                refused = event_refusals(connection, staged, spec)
                return Preview(
                    read=staged.read,
                    accepted=staged.read - refused.num_rows,
                    refused=refused,
                    tally=tally(connection, spec),
                )
        except DatabaseError as error:
            raise explained(error, memory_limit) from error


def rehearse(
    spec: DatasetSpec,
    *,
    base: Path,
    home: Path,
    now: datetime,
    rows: int = ROWS,
    threads: int = 1,
    memory_limit: str = "1GB",
) -> Rehearsal:
    """Try a spec, whose paths are relative to `base`, on its first rows. Raises what `ingest` does, but where too many
    rows are refused or none is left: that is part of the answer."""
    heard: list[Refusals] = []
    stopped: list[InputError] = []

    def judge(found: Refusals) -> None:
        heard.append(found)
        try:
            found.judge()
        except TooManyRefused as error:
            stopped.append(error)

    with full_disk_reported(home), temporary_folder(home / "warehouse", "tried") as folder:
        made, copies = folder / "tried.duckdb", folder / "copies"
        copies.mkdir()
        cut, whole, listed = _cut(spec, base, copies, rows=rows)
        try:
            with build_connection(folder / "work.duckdb", threads=threads, memory_limit=memory_limit) as connection:
                refused, quality = make(connection, made, Materials(cut, copies), now=now, tell=_silent, judge=judge)
        except DatabaseError as error:
            raise explained(error, memory_limit) from error
        except UnreadableFile as error:
            if not heard:
                raise
            return _nothing(heard[0], error, whole=whole)
        checks = [one for one in quality["checks"] if listed or one["check"] not in _UNJUDGED]
        with Warehouse.open(made) as warehouse:
            return Rehearsal(
                read=warehouse.facts.read,
                accepted=warehouse.facts.accepted,
                refused=refused,
                whole=whole,
                stopped=stopped[0] if stopped else None,
                quality={**quality, "checks": checks, "sources": []},
                n_users=warehouse.facts.n_users,
                n_items=warehouse.facts.n_items,
                histories=_histories(warehouse),
            )


def _nothing(found: Refusals, error: InputError, *, whole: bool) -> Rehearsal:
    return Rehearsal(
        read=found.sections["events"][1],
        accepted=found.accepted,
        refused=found.rows.cast(SCHEMA),
        whole=whole,
        stopped=error,
    )


def _histories(warehouse: Warehouse) -> tuple[History, ...]:
    """Of users with many events, with few, and in between."""
    counts = reads.user_choices(warehouse).to_pydict()
    order = sorted(range(len(counts["key"])), key=lambda at: -counts["events"][at])
    places = dict.fromkeys(round(part * (len(order) - 1) / (_USERS - 1)) for part in range(_USERS))
    found = []
    for at in (order[place] for place in places):
        events = reads.user_events(warehouse, at, limit=_EVENTS).to_pylist()
        told = tuple((one["title"], one["kind"], one["value"], one["ts"]) for one in events)
        found.append(History(counts["key"][at], counts["events"][at], told))
    return tuple(found)


def _cut(spec: DatasetSpec, base: Path, copies: Path, *, rows: int) -> tuple[DatasetSpec, bool, bool]:
    """The spec over copies of its files that end after so many records; whether they are whole, and whether the lists
    of items and users are."""
    events, whole = _cut_section(spec.events, "events", base, copies, rows=rows)
    items, items_whole = (
        (spec.items, True) if spec.items is None else _cut_section(spec.items, "items", base, copies, rows=LISTED_ROWS)
    )
    users, users_whole = (
        (spec.users, True) if spec.users is None else _cut_section(spec.users, "users", base, copies, rows=LISTED_ROWS)
    )
    cut = spec.model_copy(update={"events": events, "items": items, "users": users})
    listed = items_whole and users_whole
    return cut, whole and listed, listed


def _cut_section(section: Section, name: str, base: Path, copies: Path, *, rows: int) -> tuple[Section, bool]:
    if not section.named:
        return section, True
    sources = sources_of(section, base)
    if section.database is not None:
        address = section.database
        if urlsplit(address).scheme == "sqlite":
            address = f"sqlite:///{sources[0].path.resolve()}"
        asked = (section.query or "").strip().rstrip(";")
        query = f"SELECT * FROM ({asked}\n) AS asked LIMIT {rows}"  # noqa: S608 - the caller's own, which only reads
        return section.model_copy(update={"database": address, "query": query}), False
    each = max(rows // len(sources), 1)
    files, whole = [], True
    for source in sources:
        inside = Path(*(part for part in Path(source.name).parts if part not in ("/", "..")))  # which stays below
        while (copies / inside).exists():  # of another section, which may need more of its rows, or of another folder
            inside = Path(name, inside)
        (copies / inside).parent.mkdir(parents=True, exist_ok=True)
        whole &= _copy(source, copies / inside, rows=each)
        files.append(inside.as_posix())
    text = {"encoding": "utf-8"} if not any(is_parquet(copies / file) for file in files) else {}
    return section.model_copy(update={"files": tuple(files), **text}), whole


def _copy(source: Source, into: Path, *, rows: int) -> bool:
    """Copy the first records of a file as UTF-8, or as Parquet; whether these are all."""
    if is_parquet(source.path):
        return _copy_parquet(source, into, rows=rows)
    lines = rows + 1 + 2 * MAX_LINES_IN_QUOTES  # room to see where the last record ends
    whole = decode_head(source.path, into=into, lines=lines, most_bytes=_MOST_BYTES, encoding=source.encoding)
    head = first_bytes(into, name=source.name)
    if is_json_lines(source.name, head):
        return _end_after(into, rows) and whole
    header, delimiter = header_of(source.name, head, (), delimiter=source.delimiter)
    with into.open("rb") as stream:
        begun = exact_rows(stream, columns=len(header), delimiter=delimiter, rejects=[])
        beyond = next((line for line, _ in islice(begun, rows, None)), None)
    return whole if beyond is None else _end_after(into, beyond - 1) and False


def _end_after(path: Path, lines: int) -> bool:
    """Cut a file after so many lines; whether there was nothing behind them."""
    with path.open("r+b") as stream:
        for _ in range(lines):
            if not stream.readline(_MOST_BYTES):
                return True
        end = stream.tell()
        if not stream.read(1):
            return True
        stream.truncate(end)
    return False


def _copy_parquet(source: Source, into: Path, *, rows: int) -> bool:
    try:
        with pq.ParquetFile(source.path) as file:
            first: Sequence[pa.RecordBatch] = list(islice(file.iter_batches(batch_size=rows), 1))
            pq.write_table(pa.Table.from_batches(first, schema=file.schema_arrow), into)
            return bool(file.metadata.num_rows <= rows)
    except (pa.ArrowException, OSError) as error:
        with suppress(OSError):
            into.unlink()
        if "No space left" in str(error):
            raise
        raise no_parquet(source.name) from error


def _silent(_: float, __: str) -> None:
    """No progress is told."""
