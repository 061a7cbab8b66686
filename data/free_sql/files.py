"""Where snapshots lie: a name says build, role and privilege, and nothing else has to be asked.

Apart from `snapshot`, which makes them: what only deletes them, or a build with them, needs no database for that.
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from data.errors import InvalidConfig
from data.publish import TEMPORARY

FOLDER = "snapshots"  # of a store
VERSION = 2  # of what a snapshot holds; another one makes other names
SECRET_FILE = "rounding.secret"  # of a folder of snapshots


@dataclass(frozen=True)
class Privilege:
    """What a role may see of a build. `user_keys`: the callers' keys of users; `smallest`: users of a shown group."""

    role: str
    user_keys: bool = True
    smallest: int = 10

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z-]{0,31}", self.role):
            raise InvalidConfig(f"{self.role!r} is no name of a role", remedy="use small letters and hyphens")
        if self.smallest < 2:
            raise InvalidConfig(f"groups of {self.smallest} are single users", remedy="give 2 or more")


def snapshot_path(folder: Path, build_id: str, *, privilege: Privilege) -> Path:
    """Where the snapshot of a build lies, made or not: the name depends on nothing else."""
    told = json.dumps({"version": VERSION, **asdict(privilege)}, sort_keys=True)
    digest = hashlib.sha256(told.encode()).hexdigest()[:8]
    return folder / f"{build_id}-{privilege.role}-{digest}.duckdb"


def stale_snapshots(folder: Path, *, kept_builds: Collection[str]) -> list[Path]:
    """The snapshots of all other builds."""
    found = sorted(folder.glob("b-*.duckdb")) if folder.is_dir() else []
    return [path for path in found if not any(path.name.startswith(f"{build_id}-") for build_id in kept_builds)]


def remove_snapshots(folder: Path, *, kept_builds: Collection[str]) -> list[Path]:
    """Delete the snapshots of all other builds, and name them: after an erasure or a prune nothing of those stays."""
    gone = stale_snapshots(folder, kept_builds=kept_builds)
    for path in gone:
        path.unlink(missing_ok=True)
    return gone


def secret_of(folder: Path) -> str:
    """What a store's rounding is drawn by, made where there is none. It is in no snapshot: it would undo that."""
    path = folder / SECRET_FILE
    if not path.exists():
        own = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
        with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as out:
            out.write(secrets.token_hex(32))
            out.flush()
            os.fsync(out.fileno())
        with suppress(FileExistsError):  # another process was first: its secret is everybody's
            path.hardlink_to(own)
        own.unlink()
    return path.read_text(encoding="ascii")
