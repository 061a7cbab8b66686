"""A disk that loses everything that was not synced: what a machine finds after a power cut, at each step of a write.

While a `Disk` is watched, the calls that order writes (fsync, rename, replace, mkdir, unlink, rmdir) are its steps.
An fsync of a file makes its content last; an fsync of a folder makes its listing last, that is which names it has and
what they name. Nothing else lasts. After every step the folder can be had as each of three accidents would leave it:

    killed   the process is gone, the machine lives: all that was written
    names    a power cut, and the file system had written its folders by itself: a file that was not synced is empty
    cut      a power cut: only what was synced; a file that was not is empty, a name that was not is not there

SQLite syncs from C, out of sight here: a ledger is taken as it is committed, in the folder that holds it.
"""

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

WORLDS = ("killed", "names", "cut")
_STEPS = ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir")


class Disk:
    """The folder `root`, whose present content counts as synced. Close it: it holds what it has seen open."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.steps = 0
        self._contents: dict[int, bytes] = {}
        self._listings: dict[int, dict[str, int]] = {}
        self._held: dict[int, int] = {}  # inode -> an open handle, so that its number is not given to another file
        for folder, _, files in os.walk(root):
            self.synced(Path(folder))
            for name in files:
                if not _of_sqlite(name):
                    self.synced(Path(folder) / name)

    def close(self) -> None:
        """Lets go of every file."""
        for handle in self._held.values():
            os.close(handle)
        self._held.clear()

    @contextmanager
    def watched(self, at_each_step: Callable[[str], None]) -> Iterator[None]:
        """Calls `at_each_step` with a name for it after each step of the body; what that does itself is no step."""
        with pytest.MonkeyPatch.context() as patched:
            busy = False

            def wrapped(name: str) -> Callable[..., Any]:
                true = getattr(os, name)

                def call(*given: Any, **named: Any) -> Any:
                    nonlocal busy
                    done = true(*given, **named)
                    if busy:
                        return done
                    if name == "fsync":
                        self._flushed(given[0])
                    busy = True
                    try:
                        self.steps += 1
                        at_each_step(f"step {self.steps}, after {name} {given[0]}")
                    finally:
                        busy = False
                    return done

                return call

            for name in _STEPS:
                patched.setattr(os, name, wrapped(name))
            yield

    def synced(self, path: Path) -> None:
        """What an fsync of a file or of a folder makes last."""
        told = path.stat()
        if told.st_ino not in self._held:
            self._held[told.st_ino] = os.open(path, os.O_RDONLY)
        if stat.S_ISDIR(told.st_mode):
            # SQLite's files are not held, since closing one ends SQLite's locks: their numbers may go to others.
            entries = [entry for entry in os.scandir(path) if not _of_sqlite(entry.name)]
            self._listings[told.st_ino] = {entry.name: entry.inode() for entry in entries}
            for entry in entries:  # what has a name that lasts must not lose its number to another
                if entry.inode() not in self._held:
                    self._held[entry.inode()] = os.open(entry.path, os.O_RDONLY)
                if entry.is_dir():
                    self._listings.setdefault(entry.inode(), {})
        else:
            self._contents[told.st_ino] = path.read_bytes()

    def materialise(self, into: Path, world: str) -> None:
        """Makes `into` what `root` is in one of the `WORLDS`."""
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir()
        if world == "cut":
            self._put_synced(self.root.stat().st_ino, into)
        else:
            self._put_names(self.root, into, contents=world == "killed")
        for ledger in self.root.rglob("*.sqlite"):
            copy = into / ledger.relative_to(self.root)
            if copy.parent.is_dir():
                with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(copy)) as target:
                    try:
                        source.backup(target)
                    except sqlite3.Error as error:
                        error.add_note(error.sqlite_errorname)
                        raise

    def _flushed(self, handle: int) -> None:
        with suppress(FileNotFoundError):
            self.synced(Path(f"/proc/self/fd/{handle}").readlink())

    def _put_synced(self, folder: int, into: Path) -> None:
        for name, inode in self._listings[folder].items():
            if inode in self._listings:
                (into / name).mkdir()
                self._put_synced(inode, into / name)
            else:
                (into / name).write_bytes(self._contents.get(inode, b""))

    def _put_names(self, folder: Path, into: Path, *, contents: bool) -> None:
        for entry in os.scandir(folder):
            if entry.is_dir():
                (into / entry.name).mkdir()
                self._put_names(Path(entry.path), into / entry.name, contents=contents)
            elif not _of_sqlite(entry.name):
                kept = Path(entry.path).read_bytes() if contents else self._contents.get(entry.inode(), b"")
                (into / entry.name).write_bytes(kept)


def _of_sqlite(name: str) -> bool:
    return name.removesuffix("-wal").removesuffix("-shm").removesuffix("-journal").endswith(".sqlite")
