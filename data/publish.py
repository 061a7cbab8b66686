"""Publishing whole: an artefact is either there with a manifest that proves it, or not there at all.

Everything Lodestar writes for good goes through here: a temporary folder on the same file system, every
file flushed to disk, `manifest.json` (sha256 and size of each file) last, one rename, and the parent flushed.
A crash leaves a `.tmp-*` folder that `remove_orphans` clears; a full disk leaves what stood before. A folder is only
as lasting as its own name in the folder above: `make_folder` makes what nothing published may be lost with.
"""

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from data.errors import DamagedArtefact, DiskFull, StoreError
from data.phrases import Phrase, file_called, phrase

MANIFEST = "manifest.json"
TEMPORARY = ".tmp-"
_LIVE_FILES = frozenset({"events.jsonl", "log.txt"})  # grow after the manifest is written
_LIVE_FOLDERS = frozenset({"checkpoints", "logs"})  # logs: curves for other tools, which write beside them
_FULL = ("No space left on device", "Disk quota exceeded", "database or disk is full")  # the last one is SQLite's
# The system call that swaps two names in one step, which Python does not offer.
_AT_FDCWD, _EXCHANGE = (-2, 2) if sys.platform == "darwin" else (-100, 2)
_SWAP = "renameatx_np" if sys.platform == "darwin" else "renameat2"


@contextmanager
def full_disk_reported(where: Path) -> Iterator[None]:
    """Turn ENOSPC (from the system, or named in a database error) into `DiskFull`; other errors pass."""
    try:
        yield
    except Exception as error:
        out_of_space = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if out_of_space or any(words in str(error) for words in _FULL):
            raise DiskFull(
                phrase("store.disk_full", folder=file_called(str(where))), remedy=phrase("do.free_space")
            ) from error
        raise


@contextmanager
def temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """A fresh `.tmp-<name>-<uuid>` in `parent`, locked while used and removed at the end.

    Raises DiskFull and StoreError (a folder that cannot be written).
    """
    with full_disk_reported(parent):
        try:
            make_folder(parent)
            folder, lock = _locked_folder(parent, name)
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise StoreError(
                phrase("store.cannot_write", folder=file_called(str(parent)), error=str(error.strerror)),
                remedy=phrase("do.other_folder"),
            ) from error
        try:
            yield folder
        finally:
            os.close(lock)
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def staged(parent: Path, name: str, *, extra: Mapping[str, Any] | None = None, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder; on a clean exit publish it as `parent/name` with its manifest.

    `extra` stands beside `files` in the manifest and is read at the end, so a caller may fill it meanwhile.
    On an error nothing is published. An existing `parent/name` is an error unless `replace`, which swaps the two in one
    step: a reader, or a crash, finds the old or the new one. Raises DiskFull.
    """
    target = parent / name
    with temporary_folder(parent, name) as folder:
        if target.exists() and not replace:
            raise FileExistsError(f"{target} is published already; artefacts are never rewritten")
        yield folder
        write_manifest(folder, extra=extra or {})
        if target.exists():
            _swap(folder, target)  # what stood there goes with the temporary folder
        else:
            folder.rename(target)
        flush(parent)


def write_manifest(folder: Path, *, extra: Mapping[str, Any] | None = None) -> None:
    """Flush every file of `folder` to disk, then write `manifest.json` whole and last. Raises DiskFull.

    Left out: what lives on after the manifest (checkpoints, event stream, logs) and sub-folders that carry a
    manifest of their own.
    """
    files, below = {}, set[Path]()
    for path in _files_of(folder):
        flush(path)
        inside = path.relative_to(folder)
        files[inside.as_posix()] = {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        below.update(folder / above for above in inside.parents)
    for one in below:
        flush(one)
    body = json.dumps({"files": files, **(extra or {})}, indent=1, ensure_ascii=False, sort_keys=True)
    write_whole(folder / MANIFEST, body.encode())
    flush(folder.parent)


def verify_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of `folder`, once every file it names has its size and sha256. Raises DamagedArtefact."""
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        named = manifest["files"]
    except FileNotFoundError as error:
        raise _damaged(folder, phrase("store.no_manifest")) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, phrase("store.manifest_unread")) from error
    for name, told in named.items():
        file = folder / name
        if not file.is_file():
            raise _damaged(folder, phrase("store.file_missing", file=file_called(name)))
        if file.stat().st_size != told["bytes"] or sha256_of(file) != told["sha256"]:
            raise _damaged(folder, phrase("store.file_other", file=file_called(name)))
    return manifest


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old bytes or all of the new ones. Raises DiskFull."""
    beside = path.with_name(f"{TEMPORARY}{path.name}-{uuid.uuid4().hex}")
    with full_disk_reported(path.parent):
        try:
            with _locked_file(beside) as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
                beside.replace(path)  # still locked: to `remove_orphans` it is nobody's once it is not
            flush(path.parent)
        finally:
            beside.unlink(missing_ok=True)


def move_whole(source: Path, target: Path) -> None:
    """Publish one finished file under a new name on the same file system, flushed. Raises DiskFull."""
    with full_disk_reported(target.parent):
        make_folder(target.parent)
        flush(source)
        source.rename(target)
        flush(target.parent)


def make_folder(path: Path) -> None:
    """Create a folder, and those above it that are missing, to stay: each new name is flushed. One that is there
    already is no error. Raises OSError."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for one in reversed(missing):
        flush(one.parent)


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def flush(path: Path) -> None:
    """fsync a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_orphans(parent: Path) -> list[Path]:
    """Delete the `.tmp-*` leftovers of crashed writers in `parent` and name them; those in use stay."""
    if not parent.is_dir():
        return []
    return [path for path in sorted(parent.glob(f"{TEMPORARY}*")) if _removed(path)]


def _removed(path: Path) -> bool:
    try:
        lock = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)  # only now: a writer that was about to lock it has to find it gone
    return True


def _locked_folder(parent: Path, name: str) -> tuple[Path, int]:
    """A fresh temporary folder and the handle that holds its lock."""
    while True:
        folder = parent / f"{TEMPORARY}{name}-{uuid.uuid4().hex}"
        folder.mkdir()
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # `remove_orphans` came between
            continue
        if _lock(lock, folder):
            return folder, lock
        os.close(lock)


def _locked_file(path: Path) -> BinaryIO:
    """A fresh file under a temporary name, open for writing, its lock held until it is closed."""
    while True:
        stream = path.open("wb")
        if _lock(stream.fileno(), path):
            return stream
        stream.close()


def _lock(handle: int, path: Path) -> bool:
    """Tells `remove_orphans` that somebody writes here; False where it was faster and the name is gone."""
    fcntl.flock(handle, fcntl.LOCK_EX)
    return path.exists()


def _swap(one: Path, other: Path) -> None:
    """Exchange two names in one step; where the file system cannot, in three, with a moment without `other`."""
    call = getattr(ctypes.CDLL(None, use_errno=True), _SWAP, None)
    if call is not None and call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0:
        return
    failed = errno.ENOSYS if call is None else ctypes.get_errno()
    if failed not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        raise OSError(failed, os.strerror(failed), str(other))
    aside = one.with_name(f"{TEMPORARY}retired-{uuid.uuid4().hex}")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)


def _files_of(folder: Path) -> list[Path]:
    """Files a manifest answers for, sorted by path."""
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(TEMPORARY):
            continue
        if path.is_dir():
            if path.name not in _LIVE_FOLDERS and not (path / MANIFEST).exists():
                found.extend(_files_of(path))
        elif path.name not in _LIVE_FILES and path.name != MANIFEST:
            found.append(path)
    return found


def _damaged(folder: Path, what: Phrase) -> DamagedArtefact:
    return DamagedArtefact(
        phrase("store.damaged", folder=file_called(folder.name), what=what),
        remedy=phrase("do.remove_folder", folder=file_called(str(folder))),
    )
