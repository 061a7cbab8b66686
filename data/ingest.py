"""From a spec and its files to an immutable build: check every row, number users and items, publish whole.

Every row of the event files is either an event of the build or a row of the quarantine with its file, line,
column and reason; `accepted + quarantined == read`, always. A crash or a full disk publishes nothing. Feedback that the
ledger holds comes after the files' rows, as if it were one file more, and goes through the same checks.
"""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.cleaning import REASONS
from data.errors import InputError, StoreError
from data.making import Materials, Progress, make
from data.onward import onward
from data.phrases import file_called, phrase
from data.publish import full_disk_reported, make_folder, move_whole, sha256_of, temporary_folder, write_whole
from data.quality import quality_of
from data.quarantine import Refusals, counted, write_quarantine
from data.reading.rows import FEEDBACK
from data.spec import DatasetSpec
from data.warehouse import (
    BuildFacts,
    DatabaseError,
    Warehouse,
    build_connection,
    manifest_path,
    read_manifest,
    remove_build,
    verify_build,
)


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
    onto: Path | None = None,
) -> IngestResult:
    """Make a build of `spec`, whose file paths are relative to `base`, in `home`. The ledger is not touched.

    feedback: further events (feedback_id, user, item, ts, kind, value), whose source in the build is `feedback`. onto:
    an older build of the data set that the new one goes on from: of the events, sources that it has are not read again,
    and those that have changed since take the place of what it has of them; `feedback` is then what it has not.
    Where nothing is new, that build is the result.
    Publishes home/warehouse/<build_id>.duckdb and home/quarantine/<build_id>.parquet. Raises MissingColumn,
    UnreadableFile (also when no row can be used), TooManyRefused, InvalidSpec (a column holds something else),
    DiskFull, StoreError (too little memory).
    """
    started = time.perf_counter()
    tell, birth = progress or _silent, birth or Birth()
    if onto is None:
        of = Materials(spec, base, feedback=feedback)
    else:
        refused_before = home / "quarantine" / f"{onto.stem}.parquet"
        of = onward(onto, spec, base, feedback, quarantine=refused_before)
        told = of.sources or (feedback is not None and feedback.num_rows)
        if not told and of.onto is not None and of.onto.alike:
            return _result(onto, refused_before, pq.read_table(refused_before), quality=quality_of(onto), seconds=0.0)
    with full_disk_reported(home), temporary_folder(home / "warehouse", birth.build_id) as folder:
        made = folder / f"{birth.build_id}.duckdb"

        def judge(found: Refusals) -> None:
            try:
                found.judge()
            except InputError as error:
                raise _kept(error, found.rows, folder, birth.refused_to) from error

        try:
            with build_connection(folder / "work.duckdb", threads=threads, memory_limit=memory_limit) as connection:
                refused, quality = make(connection, made, of, now=now, tell=tell, judge=judge)
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
    return error.advising(phrase("do.see_refused", file=file_called(str(place))))


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


def explained(error: Exception, memory_limit: str) -> Exception:
    """What a database error means to the caller; full disks are told apart by the enclosing block."""
    text = str(error)
    if "Out of Memory" in text and "No space left" not in text:
        return StoreError(phrase("store.too_little_memory", limit=memory_limit), remedy=phrase("do.allow_memory"))
    return error


def _silent(_: float, __: str) -> None:
    """No progress is told."""
