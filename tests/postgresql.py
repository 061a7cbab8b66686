"""A PostgreSQL server of the tests' own: a fresh cluster in a temporary folder, spoken to over its socket alone."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path("/usr/lib/postgresql")  # where Debian puts its versions
OWNER = "postgres"  # the server refuses to run as root


def programs() -> Path | None:
    """The folder with initdb and pg_ctl, the newest version's; None where PostgreSQL is not installed."""
    found = [path.parent for path in ROOT.glob("*/bin/initdb")]
    if on_path := shutil.which("initdb"):
        found.append(Path(on_path).resolve().parent)
    return max(found, key=str, default=None)


@contextmanager
def server() -> Iterator[str]:
    """The address of a server that lives as long as this block; `{address}&dbname=` is left to `database`."""
    binaries = programs()
    assert binaries is not None, "asked for where there is one"
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder:  # a socket's path has to be short
        place = Path(folder)
        if os.geteuid() == 0:
            shutil.chown(place, OWNER)
        cluster, owner = place / "cluster", OWNER if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        _run(
            binaries / "initdb",
            "-D",
            cluster,
            "-A",
            "trust",
            "-U",
            OWNER,
            "-E",
            "UTF8",
            "--lc-messages=C",
            "--no-sync",
            as_=owner,
        )
        settings = f"-c listen_addresses='' -c unix_socket_directories={place} -c max_connections=300"
        _run(binaries / "pg_ctl", "-D", cluster, "-o", settings, "-w", "-l", place / "log", "start", as_=owner)
        try:
            yield f"postgresql://{OWNER}@/{{name}}?host={place}"
        finally:
            _run(binaries / "pg_ctl", "-D", cluster, "-m", "immediate", "-w", "stop", as_=owner)


def _run(*argv: object, as_: str) -> None:
    user = as_ if os.geteuid() == 0 else None
    done = subprocess.run([str(part) for part in argv], user=user, capture_output=True, text=True, cwd="/", timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
