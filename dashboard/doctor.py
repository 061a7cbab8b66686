"""`lodestar doctor`: what this machine and this home are fit for, one check a line, each fault with its remedy.

It changes nothing and loads no model here: versions come from package metadata, the device is asked for in a
process of its own.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from core.learn.weights import weights_folder
from core.ops.jobs import waiting
from core.ops.ledger import LEDGER_FILE, Ledger, schema_version
from core.ops.prune import prune
from core.ops.supervisor import supervisor_pid
from dashboard.launch import port_is_free, running_app, scorer_pid
from dashboard.settings import Settings
from data.errors import LodestarError

_PROJECT = "lodestar"
_PACKAGES = ("torch", "transformers", "duckdb", "streamlit")
_INSTALL = "install again: `make setup`, or `pip install -U lodestar`"
_DISK_NEEDED_GB = 2.0
_DEVICE_WITHIN_S = 120.0
_ASK_DEVICE = (
    "import json, torch; gpu = torch.cuda.is_available(); print(json.dumps({"
    "'device': torch.cuda.get_device_name(0) if gpu else 'cpu',"
    "'gb': torch.cuda.get_device_properties(0).total_memory / 1e9 if gpu else None,"
    "'threads': torch.get_num_threads()}))"
)


@dataclass(frozen=True)
class Check:
    """One finding. `detail` is what was found; `remedy` what to do about it, None where all is well."""

    name: str
    ok: bool
    detail: str
    remedy: str | None = None

    def as_json(self) -> dict[str, Any]:
        """One entry of `lodestar doctor --json`."""
        return {"name": self.name, "ok": self.ok, "detail": self.detail, "remedy": self.remedy}


def doctor(
    settings: Settings, *, now: datetime, port: int | None = None, model: str = "minilm", ask_device: bool = True
) -> list[Check]:
    """Every check, in the order in which a fault would stop somebody. Never raises for what it examines.

    `model` is the language model whose weights are looked for; `ask_device` starts torch in a process (seconds).
    """
    checks = [_python(), *map(_package, _PACKAGES), _threads(settings.threads)]
    if ask_device:
        checks.append(_device())
    checks += [_weights(settings, model), _disk(settings.home), _writable(settings.home)]
    checks += [_port(settings.home, settings.port if port is None else port), *_of_home(settings, now=now)]
    return checks


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    wanted = SpecifierSet(metadata(_PROJECT)["Requires-Python"])
    fit = found in wanted
    return Check("python", fit, found, None if fit else f"use Python {wanted}")


def _package(name: str) -> Check:
    needed = map(Requirement, requires(_PROJECT) or ())
    wanted = next((each.specifier for each in needed if each.name == name), SpecifierSet())
    try:
        found = version(name)
    except PackageNotFoundError:
        return Check(name, False, "not installed", _INSTALL)
    fit = wanted.contains(found, prereleases=True)
    return Check(name, fit, found, None if fit else f"{name} {wanted} is needed; {_INSTALL}")


def _threads(threads: int) -> Check:
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fit = threads <= there
    remedy = None if fit else f"set LODESTAR_THREADS to {there} or fewer"
    return Check("threads", fit, f"{threads} of {there} cores", remedy)


def _device() -> Check:
    argv = [sys.executable, "-P", "-c", _ASK_DEVICE]
    try:
        asked = subprocess.run(argv, capture_output=True, text=True, timeout=_DEVICE_WITHIN_S, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = (error.stderr or b"" if isinstance(error.stderr, bytes) else error.stderr or "").strip()
        last = str(said).splitlines()[-1] if said else "no answer"
        return Check("device", False, f"torch does not start: {last}", _INSTALL)
    found = json.loads(asked.stdout.splitlines()[-1])
    if found["gb"] is None:
        return Check("device", True, "cpu (no CUDA device; everything works, more slowly)")
    return Check("device", True, f"{found['device']}, {found['gb']:.0f} GB")


def _weights(settings: Settings, model: str) -> Check:
    try:
        folder = weights_folder(model, cache=settings.cache, offline=True)
    except LodestarError:
        if settings.offline:
            remedy = f"unset LODESTAR_OFFLINE once, or put the files of {model!r} where the cache is"
            return Check("weights", False, f"{model!r} is not in {settings.cache}, and LODESTAR_OFFLINE is set", remedy)
        return Check("weights", True, f"{model!r} is not here yet; the first training fetches it")
    return Check("weights", True, f"{model!r} in {folder}")


def _disk(home: Path) -> Check:
    free_gb = shutil.disk_usage(_existing(home)).free / 1e9
    fit = free_gb >= _DISK_NEEDED_GB
    remedy = None if fit else f"free some (`lodestar prune`): a run needs up to {_DISK_NEEDED_GB:.0f} GB"
    return Check("disk", fit, f"{free_gb:.1f} GB free at {home}", remedy)


def _writable(home: Path) -> Check:
    try:
        with tempfile.TemporaryFile(dir=_existing(home)):
            pass
    except OSError as error:
        remedy = "make it writable for you, or point LODESTAR_HOME at another folder"
        return Check("home", False, f"{home} can't be written: {error.strerror}", remedy)
    return Check("home", True, f"{home}" if home.exists() else f"{home} (made when first used)")


def _port(home: Path, port: int) -> Check:
    console = running_app(home)
    if console is not None:
        return Check("port", True, f"the console runs at {console}")
    if port_is_free(port):
        return Check("port", True, f"{port} is free")
    return Check("port", False, f"{port} is taken by another program", "use `lodestar app --port N`, or LODESTAR_PORT")


def _of_home(settings: Settings, *, now: datetime) -> Iterator[Check]:
    """The ledger, and what only a readable ledger can tell."""
    home = settings.home
    if settings.ledger is None and not (home / LEDGER_FILE).exists():
        yield Check("ledger", True, "none yet; the first command makes it")
        return
    try:
        with Ledger.open(settings.ledger_at, home=home) as ledger:
            yield Check("ledger", True, f"schema {schema_version(ledger)} in {ledger.engine.dialect.name}")
            yield _supervisor(ledger, home)
            yield _scorer(home)
            yield _leftovers(ledger, home, now=now)
    except LodestarError as error:
        yield Check("ledger", False, error.message, error.remedy)


def _supervisor(ledger: Ledger, home: Path) -> Check:
    pid = supervisor_pid(home)
    if pid is not None:
        return Check("supervisor", True, f"runs (pid {pid})")
    if waiting(ledger):
        return Check("supervisor", False, "none runs, and jobs wait", "start one with `lodestar jobs resume JOB`")
    return Check("supervisor", True, "none runs; the next job starts one")


def _scorer(home: Path) -> Check:
    pid = scorer_pid(home)
    if pid is not None:
        return Check("scorer", True, f"runs (pid {pid})")
    if running_app(home) is not None:
        log = home / "scorer.log"
        return Check("scorer", False, "the console runs without its scorer", f"it is being started again; read {log}")
    return Check("scorer", True, "not running; `lodestar app` starts it")


def _leftovers(ledger: Ledger, home: Path, *, now: datetime) -> Check:
    found = prune(ledger, home, now=now, dry_run=True)
    if not found:
        return Check("leftovers", True, "none")
    megabytes = sum(thing.bytes for thing in found) / 1e6
    return Check("leftovers", True, f"{len(found)} things, {megabytes:.1f} MB, `lodestar prune` removes them")


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())
