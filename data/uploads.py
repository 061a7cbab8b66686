"""Uploads: files that came through the console, kept in folders of their own until a build was made of them.

What comes through a browser is a stranger's bytes under a stranger's name. So a file gets a name of ours, made of
letters that no pattern, folder or header could read otherwise; it is written as it comes, up to a limit that holds for
what it unpacks to as well; and it must be text: readers of binary formats are not fed by uploads. An upload is
published whole (`data.publish`): one that broke off leaves nothing.

    uploads/<upload_id>/clicks.csv, ..., manifest.json (sha256 of each; who brought them and when), draft.toml
"""

import json
import re
import secrets
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from data.errors import DamagedArtefact, InputError, InvalidSpec, UnknownUpload, UnreadableFile
from data.phrases import file_called, listed, phrase, quoted
from data.publish import MANIFEST, full_disk_reported, staged, write_whole
from data.reading.decoding import compression_of, is_binary, is_parquet, unpacked_bytes
from data.reading.faults import empty_file
from data.reading.textfile import refuse_foreign
from data.spec import DatasetSpec

FOLDER = "uploads"
DRAFT = "draft.toml"
TEXTS = (".csv", ".tsv", ".tab", ".txt", ".jsonl", ".ndjson")
PACKED = (".gz", ".zst", ".bz2")
MOST_FILES = 12
_UPLOAD_ID = re.compile(r"u-[0-9a-f]{8}")
_MOST_NAME_BYTES = 120
_CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 1 << 12


@dataclass(frozen=True)
class Limits:
    """Bytes that one upload may have, as it comes and unpacked, and for how long it is kept."""

    most_bytes: int
    most_unpacked: int
    kept_for: timedelta


@dataclass(frozen=True)
class Upload:
    """One upload: its files by name, in the order in which they came, with (bytes, sha256) each."""

    upload_id: str
    folder: Path
    files: dict[str, tuple[int, str]]
    by: str
    at: datetime

    @property
    def bytes(self) -> int:
        return sum(size for size, _ in self.files.values())

    @property
    def draft(self) -> str | None:
        """The spec that was tried last, as TOML; None before that."""
        try:
            return (self.folder / DRAFT).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None


def receive(home: Path, incoming: Sequence[tuple[str, IO[bytes]]], *, limits: Limits, by: str, now: datetime) -> Upload:
    """Keep files that come as (the caller's name, stream). Raises InputError (too many, too large, no kind of file that
    is taken), UnreadableFile (none of rows, damaged, not what its name says), DiskFull; nothing of them stays then."""
    if not 0 < len(incoming) <= MOST_FILES:
        raise InputError(phrase("file.too_many", n=len(incoming)), remedy=phrase("do.bring_few", most=MOST_FILES))
    names = _names([name for name, _ in incoming])
    upload_id = f"u-{secrets.token_hex(4)}"
    extra = {"by": by, "at": now.isoformat(), "order": names}
    with full_disk_reported(home), staged(home / FOLDER, upload_id, extra=extra) as folder:
        left = limits.most_bytes
        for name, (_, stream) in zip(names, incoming, strict=True):
            left -= _written(folder / name, stream, most=left, limits=limits)
        unpacked = limits.most_unpacked
        for name in names:
            unpacked -= _looked_at(folder / name, most=unpacked)
    return upload(home, upload_id)


def upload(home: Path, upload_id: str) -> Upload:
    """One upload; that its files are still those that came is looked at where they are read. Raises UnknownUpload,
    DamagedArtefact."""
    folder = upload_folder(home, upload_id)
    try:
        told = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise _unknown(upload_id) from error
    except (OSError, ValueError) as error:
        raise _damaged(upload_id) from error
    try:
        files = {
            name: (int(told["files"][name]["bytes"]), str(told["files"][name]["sha256"])) for name in told["order"]
        }
        return Upload(upload_id, folder, files, str(told["by"]), datetime.fromisoformat(told["at"]))
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(upload_id) from error


def uploads(home: Path) -> list[Upload]:
    """Those there are, newest first; what is damaged is passed over."""
    found = []
    for path in (home / FOLDER).glob("u-*"):
        try:
            found.append(upload(home, path.name))
        except (UnknownUpload, DamagedArtefact):
            continue
    return sorted(found, key=lambda one: one.at, reverse=True)


def upload_folder(home: Path, upload_id: str) -> Path:
    """Where an upload's files lie. Raises UnknownUpload for a name that no upload could have (a path, say)."""
    if not _UPLOAD_ID.fullmatch(upload_id):
        raise _unknown(upload_id)
    return home / FOLDER / upload_id


def keep_draft(one: Upload, text: str) -> None:
    """Keep the spec that is being tried beside the files. Raises DiskFull, UnknownUpload (it was dropped)."""
    if not one.folder.is_dir():
        raise _unknown(one.upload_id)
    write_whole(one.folder / DRAFT, text.encode())


def drop(home: Path, upload_id: str) -> None:
    """Remove an upload; one that is gone already is no error."""
    folder = upload_folder(home, upload_id)
    if folder.exists():  # by its manifest first: without one it is nobody's upload
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def outdated(home: Path, *, kept_for: timedelta, now: datetime) -> Iterator[str]:
    """Ids of uploads that are older than that, by the time of their folder: what is damaged has no other."""
    for path in sorted((home / FOLDER).glob("u-*")):
        try:
            touched = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
        except FileNotFoundError:
            continue
        if touched < now - kept_for and _UPLOAD_ID.fullmatch(path.name):
            yield path.name


def refuse_others(spec: DatasetSpec, one: Upload) -> None:
    """Raise InvalidSpec for a spec that reads anything but the upload's own files: whoever writes one in a browser may
    name no other file and no database of this machine."""
    for name, section in (("events", spec.events), ("items", spec.items), ("users", spec.users)):
        if section is None:
            continue
        if section.database is not None:
            raise InvalidSpec(phrase("spec.upload_database", section=name), remedy=phrase("do.spec_in_folder"))
        if other := next((file for file in section.files if file not in one.files), None):
            raise InvalidSpec(
                phrase("spec.not_of_upload", section=name, file=quoted(other), upload=one.upload_id),
                remedy=phrase("do.name_some", names=listed(map(file_called, one.files), most=20)),
            )


def safe_name(text: str) -> str:
    """A file's name as it is kept: the last part of a path, of letters, digits and . - _ alone, with its endings."""
    last = re.split(r"[/\\]", text)[-1]
    plain = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", last)).lstrip("._-")
    stem, endings = _parted(plain)
    while len(stem.encode()) > _MOST_NAME_BYTES:
        stem = stem[:-1]
    return f"{stem.strip('._-') or 'file'}{endings}"


def _names(told: Sequence[str]) -> list[str]:
    """Names of ours for the caller's, each of them once, whatever the file system makes of case."""
    names: list[str] = []
    for text in told:
        stem, endings = _parted(safe_name(text))
        if not endings:
            raise InputError(
                phrase(
                    "file.other_kind",
                    file=quoted(text),
                    kinds=listed(TEXTS, most=len(TEXTS)),
                    packed=listed(PACKED, most=len(PACKED)),
                ),
                remedy=phrase("do.text_or_spec"),
            )
        taken, number, name = {one.casefold() for one in names}, 1, f"{stem}{endings}"
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}{endings}"
        names.append(name)
    return names


def _parted(name: str) -> tuple[str, str]:
    """A name without its endings, and those: .csv, .csv.gz; none where they are not of text that is read."""
    low = name.lower()
    packed = next((ending for ending in PACKED if low.endswith(ending)), "")
    inner = low.removesuffix(packed)
    text = next((ending for ending in TEXTS if inner.endswith(ending)), "")
    return (name[: len(inner) - len(text)], text + packed) if text else (name, "")


def _written(path: Path, stream: IO[bytes], *, most: int, limits: Limits) -> int:
    """Bytes written of a stream. Raises InputError beyond `most`."""
    size = 0
    with path.open("wb") as out:
        while chunk := stream.read(_CHUNK_BYTES):
            size += len(chunk)
            if size > most:
                raise InputError(phrase("file.too_large", mb=limits.most_bytes / 1e6), remedy=phrase("do.pack"))
            out.write(chunk)
    return size


def _looked_at(path: Path, *, most: int) -> int:
    """Bytes of a file once unpacked. Raises UnreadableFile for what is no text of rows, or unpacks to more."""
    if path.stat().st_size == 0:
        raise empty_file(path.name)
    if is_parquet(path):
        raise UnreadableFile(
            phrase("file.upload_parquet", file=file_called(path.name)), remedy=phrase("do.text_or_spec")
        )
    with closing(path.open("rb")) as stream:
        head = stream.read(_HEAD_BYTES)
    compression = compression_of(path)
    if compression is None:
        refuse_foreign(head, name=path.name)
    size, begins = unpacked_bytes(path, compression, most=most)
    refuse_foreign(begins, name=path.name)
    if is_binary(begins):
        raise UnreadableFile(phrase("file.no_text", file=file_called(path.name)), remedy=phrase("do.bring_text"))
    return size


def _damaged(upload_id: str) -> DamagedArtefact:
    return DamagedArtefact(phrase("file.upload_damaged", upload=upload_id), remedy=phrase("do.drop_upload"))


def _unknown(upload_id: str) -> UnknownUpload:
    return UnknownUpload(phrase("file.no_upload", upload=quoted(upload_id)), remedy=phrase("do.upload_again"))
