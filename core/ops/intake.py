"""From files to the current build of a data set: what `lodestar ingest` and the console's job do alike, exactly once.

A job's build has the job's own name, and its manifest says what the ledger is to be told of it. So a job that died
between the two finds, when it is started again, the build that it published, and records that one; a build that is
recorded is not recorded again, lest it took the place of a newer one. Until then nothing points at it.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from core.ops import feedback, jobs, roles, trail
from core.ops.builds import BuildRow, current_build, record_build, recorded
from core.ops.jobrow import FINAL
from core.ops.ledger import Ledger, utc_now
from core.ops.schema import jobs as jobs_table
from core.ops.worker import JobContext
from data import uploads
from data.errors import Conflict, DamagedArtefact, InvalidSpec, SchemaMismatch
from data.ingest import Birth, IngestResult, ingest, noted, published
from data.making import Progress
from data.phrases import file_called, phrase, quoted
from data.reading.places import fingerprints
from data.spec import DatasetSpec, parse_spec
from data.uploads import Limits, Upload
from data.warehouse import interrupt_building, remove_build

KIND = "ingest"
PUBLISHING = 0.95  # the progress from which on an ingest is no longer left in the middle
_NAMED_FILES = 50  # in an entry of the trail; of more, one hash of all
Told = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What is to be made a build, and for whom. files: the name and sha256 that each file must have; empty: whatever
    they are. upload: whose files these are; job: that does it. append: only what the current build has not."""

    spec: DatasetSpec
    base: Path
    by: str
    files: tuple[tuple[str, str], ...] = ()
    upload: str | None = None
    job: str | None = None
    append: bool = False


# ---- uploads


def receive(
    ledger: Ledger, home: Path, incoming: Sequence[tuple[str, IO[bytes]]], *, limits: Limits, by: str, now: datetime
) -> Upload:
    """Keep files that come through the console; what is too old goes. Raises NotAllowed and what `uploads.receive`
    does."""
    roles.require(ledger, by, roles.Act.INGEST)
    remove_outdated(ledger, home, kept_for=limits.kept_for, now=now)
    return uploads.receive(home, incoming, limits=limits, by=by, now=now)


def drop(ledger: Ledger, home: Path, upload_id: str, *, by: str) -> None:
    """Remove an upload. Raises NotAllowed, UnknownUpload, and Conflict while a job waits for it or reads it."""
    roles.require(ledger, by, roles.Act.INGEST)
    with ledger.write() as connection:  # while this is open nobody orders a job on it
        _refuse_second(connection, upload_id)
        uploads.drop(home, upload_id)


def remove_outdated(ledger: Ledger, home: Path, *, kept_for: timedelta, now: datetime) -> list[str]:
    """Remove uploads that are older than that, and say which; those that a job waits for or reads stay."""
    old = list(uploads.outdated(home, kept_for=kept_for, now=now))
    if not old:
        return []
    with ledger.write() as connection:
        gone = [upload_id for upload_id in old if upload_id not in _in_use(connection)]
        for upload_id in gone:
            uploads.drop(home, upload_id)
    return gone


# ---- orders


def submit_upload(ledger: Ledger, home: Path, upload_id: str, text: str, *, by: str, now: datetime) -> str:
    """Queue the job that makes a build of an upload as a spec's TOML says; its id. Raises NotAllowed, UnknownUpload,
    InvalidSpec (also for one that reads anything else), and Conflict where a job of it is under way."""
    roles.require(ledger, by, roles.Act.INGEST)
    one = uploads.upload(home, upload_id)
    spec = parse_spec(text)
    uploads.refuse_others(spec, one)
    payload = {
        "spec": text,
        "upload": upload_id,
        "files": [[name, digest] for name, (_, digest) in one.files.items() if name in _read_by(spec)],
        "by": by,
    }
    check = partial(_refuse_second, upload_id=upload_id)
    return jobs.submit(ledger, kind=KIND, payload=payload, dataset=spec.name, now=now, check=check)


def submit_named(
    ledger: Ledger, specs: Path, name: str, *, seen: str, by: str, now: datetime, append: bool = False
) -> str:
    """Queue the job that makes a build of a spec in the folder of specs, whose text was seen before with this sha256;
    its id. append: only of files that the current build has not. Raises NotAllowed, InvalidSpec, and Conflict where it
    has changed since."""
    roles.require(ledger, by, roles.Act.INGEST)
    text = named_spec(specs, name)
    if digest_of(text) != seen:
        raise Conflict(phrase("file.changed", file=file_called(name)), remedy=phrase("do.try_again"))
    payload = {"spec": text, "base": str(specs.resolve()), "named": name, "by": by, "append": append}
    return jobs.submit(ledger, kind=KIND, payload=payload, dataset=parse_spec(text, origin=name).name, now=now)


def named_specs(specs: Path) -> list[str]:
    """The names of the specs in the folder of specs, in order."""
    return sorted(path.name for path in specs.glob("*.toml") if path.is_file()) if specs.is_dir() else []


def named_spec(specs: Path, name: str) -> str:
    """The text of a spec in the folder of specs. Raises InvalidSpec for a name that none of them has."""
    if name not in named_specs(specs):
        raise InvalidSpec(
            phrase("spec.not_in", name=quoted(name), folder=file_called(str(specs))), remedy=phrase("do.choose_spec")
        )
    try:
        return (specs / name).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InvalidSpec(
            phrase("spec.unreadable", path=file_called(name)), remedy=phrase("do.mend_permissions")
        ) from error


def digest_of(text: str) -> str:
    """sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def order_of(home: Path, job_id: str, payload: Mapping[str, Any]) -> Order:
    """What a job of this kind was ordered to do."""
    upload_id = payload.get("upload")
    return Order(
        spec=parse_spec(payload["spec"]),
        base=uploads.upload_folder(home, upload_id) if upload_id else Path(payload["base"]),
        by=payload["by"],
        files=tuple((name, digest) for name, digest in payload.get("files", ())),
        upload=upload_id,
        job=job_id,
        append=payload.get("append", False),
    )


def build_id_of(job_id: str) -> str:
    """The name of the build that a job of this kind makes."""
    return f"b-{job_id.removeprefix('j-')}"


def refused_of(home: Path, name: str) -> Path:
    """Where the refused rows of an ingest are kept that published nothing; name: the job's, or the data set's."""
    return home / "quarantine" / "refused" / f"{name}.parquet"


# ---- the work


def ingest_job(context: JobContext, *, threads: int, say: Told) -> dict[str, Any]:
    """The body of a job of this kind: the build, and its facts as the result. Told to stop before it publishes, it
    leaves nothing; later it comes to its end. say: hears each step, for the job's log."""
    order = order_of(context.home, context.job_id, context.payload)
    begun_s = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(context.interruptible(interrupt_building))

        def progress(share: float, stage: str) -> None:
            spent_s = time.monotonic() - begun_s
            if share >= PUBLISHING:
                context.beat()  # whoever is not in charge any more learns it here at the latest
                context.raise_if_stopped()
                stack.close()
            say(f"{spent_s:7.1f} s  {stage}")
            left_s = spent_s * (1 - share) / share if share > 0.1 else None
            context.emit("stage", stage=stage, progress=share, eta_s=left_s)

        told = bring(
            context.ledger,
            context.home,
            order,
            build_id=build_id_of(context.job_id),
            threads=threads,
            progress=progress,
        )
    told.pop("quality", None)
    say(f"build {told['build_id']} of {told['dataset']}: {told['accepted']:,} of {told['read']:,} rows accepted")
    if order.upload is not None:
        uploads.drop(context.home, order.upload)
    return told


def bring(
    ledger: Ledger,
    home: Path,
    order: Order,
    *,
    build_id: str | None = None,
    threads: int = 2,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make a build as ordered, with the feedback that there is, and make it current; the `ingest` JSON.

    build_id: of a job's build, which is found again where an earlier attempt published or recorded it. Where an order
    to append finds nothing new, the current build stays, and the JSON says `unchanged`. Raises NotAllowed,
    DamagedArtefact (a file is not the one that was seen), UnknownDataset (nothing to append to), Conflict (another
    build became current meanwhile), and what `data.ingest.ingest` does.
    """
    roles.require(ledger, order.by, roles.Act.INGEST)
    made, before = None, current_build(ledger, order.spec.name) if order.append else None
    if build_id is not None:
        if (facts := recorded(ledger, build_id)) is not None:
            return facts
        made = _published(home, build_id)
    if made is None:
        made = _made(ledger, home, order, build_id=build_id, before=before, threads=threads, progress=progress)
        if before is not None and made.build_id == before.build_id:
            return dict(before.facts) | _told_of(made) | {"unchanged": True}
    elif progress is not None:
        progress(PUBLISHING, "publishing")
    kept = noted(made.path)
    detail = {"files": _named(kept["files"])} | {
        name: value for name, value in (("upload", order.upload), ("job", order.job)) if value is not None
    }
    if before is not None:
        detail["onto"] = before.build_id
    return record(
        ledger,
        made,
        feedback=kept["feedback"],
        feedback_to=kept["feedback_to"],
        by=order.by,
        detail=detail,
        instead_of=None if before is None else before.build_id,
    )


def record(
    ledger: Ledger,
    made: IngestResult,
    *,
    feedback: int,
    feedback_to: int,
    by: str,
    detail: Mapping[str, Any] | None = None,
    instead_of: str | None = None,
) -> dict[str, Any]:
    """Make a published build current, under the role that `by` has at that moment, and note it in the trail; the
    `ingest` JSON. Raises NotAllowed, Conflict."""
    fields = ("dataset", "build_id", "read", "accepted", "quarantined", "reasons", "cleaned", "seconds")
    told = {name: getattr(made, name) for name in fields} | {"feedback": feedback}
    counts = {name: told[name] for name in ("build_id", "read", "accepted", "feedback")}

    def note(connection: Connection) -> None:
        roles.check(connection, by, roles.Act.INGEST)
        now, entry = made.facts.created, counts | dict(detail or {})
        trail.note(connection, actor=by, act="ingest", subject=made.dataset, now=now, detail=entry)

    record_build(
        ledger,
        build_id=made.build_id,
        dataset=made.dataset,
        path=made.path,
        facts=told,
        now=made.facts.created,
        feedback_to=feedback_to,
        instead_of=instead_of,
        note=note,
    )
    return told | _told_of(made)


def _told_of(made: IngestResult) -> dict[str, Any]:
    return {"quality": made.quality, "tz": made.facts.spec.events.tz}


def _published(home: Path, build_id: str) -> IngestResult | None:
    """What an earlier attempt has published; what it left half done is removed."""
    try:
        if (made := published(home, build_id)) is not None:
            return made
    except (DamagedArtefact, SchemaMismatch):
        pass
    remove_build(home, build_id)
    return None


def _made(
    ledger: Ledger,
    home: Path,
    order: Order,
    *,
    build_id: str | None,
    before: BuildRow | None,
    threads: int,
    progress: Progress | None,
) -> IngestResult:
    dataset = order.spec.name
    files = fingerprints(order.spec, order.base)
    found = {(one["name"], one["sha256"]) for one in files}
    if other := next((name for name, digest in order.files if (name, digest) not in found), None):
        raise DamagedArtefact(phrase("file.not_as_tried", file=file_called(other)), remedy=phrase("do.drop_upload"))
    upto = feedback.watermark(ledger, dataset)
    acts = feedback.events(ledger, dataset, after=0 if before is None else before.feedback_to, upto=upto)
    birth = Birth(
        noted={"feedback_to": upto, "feedback": acts.num_rows, "files": files},
        refused_to=refused_of(home, order.job or dataset),
        **({} if build_id is None else {"build_id": build_id}),
    )
    return ingest(
        order.spec,
        base=order.base,
        home=home,
        now=utc_now(),
        threads=threads,
        progress=progress,
        feedback=acts,
        birth=birth,
        onto=None if before is None else before.path,
    )


def _named(files: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Name and sha256 of each file; of very many, of the first, and one hash for all of them."""
    told = [{"name": one["name"], "sha256": one["sha256"]} for one in files]
    if len(told) <= _NAMED_FILES:
        return told
    every = digest_of("\n".join(f"{one['sha256']}  {one['name']}" for one in told))
    return [*told[:_NAMED_FILES], {"name": f"all {len(told)} files", "sha256": every}]


def _read_by(spec: DatasetSpec) -> set[str]:
    sections = (spec.events, spec.items, spec.users)
    return {name for section in sections if section is not None for name in section.files}


def in_use(ledger: Ledger) -> set[str]:
    """Ids of the uploads that a job waits for or reads."""
    with ledger.read() as connection:
        return set(_in_use(connection))


def _in_use(connection: Connection) -> dict[str, str]:
    """upload_id -> the job that waits for it or reads it."""
    query = sa.select(jobs_table.c.job_id, jobs_table.c.payload)
    unfinished = query.where(jobs_table.c.kind == KIND, jobs_table.c.state.not_in(FINAL))
    return {row.payload["upload"]: row.job_id for row in connection.execute(unfinished) if row.payload.get("upload")}


def _refuse_second(connection: Connection, upload_id: str) -> None:
    if job := _in_use(connection).get(upload_id):
        raise Conflict(
            phrase("job.makes_already", job=job, upload=upload_id), remedy=phrase("do.wait_or_cancel", job=job)
        )
