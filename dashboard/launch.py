"""`lodestar app`: the web, the supervisor and the scorer, started together, watched, and stopped together.

Each has a session of its own, so that it outlives the others and a terminal's Ctrl-C reaches only this process,
which then stops them in order. Behind the web a `Spare` waits to take its place. What runs is noted in the home's
`app.json`: processes that a killed launcher left behind are ended by the next one, and two consoles of one home never
run side by side.
"""

import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.ops.processes import (
    Attention,
    attentive,
    end_group,
    has_ended,
    last_line,
    signal_group,
    started_at,
)
from core.ops.supervisor import GRACE_S, supervisor_pid
from dashboard.settings import Settings
from dashboard.spare import SPARE, Spare, start_logged
from data.errors import Conflict, JobFailed, PortInUse, StoreError
from data.publish import make_folder, write_whole

APP_FILE = "app.json"
LOCK_FILE = "app.lock"
SECRET_FILE = "cookie.secret"
NAMES = ("web", "supervisor", "scorer")
_LOOPBACK = "127.0.0.1"
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.5, 30.0
_STEADY_AFTER_S = 20.0
_WEB_UP_WITHIN_S = 60.0
_STOP_WITHIN_S = 5.0

# What each of the three, and the web's `spare`, is started with.
ArgvOf = Callable[[str], Sequence[str]]


@dataclass
class _Child:
    """One of the three. `process` is None while it waits for its next start, or runs under someone else."""

    name: str
    argv: Sequence[str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None
    started_s: float = 0.0
    start_at_s: float = 0.0
    backoff_s: float = _FIRST_BACKOFF_S
    deaths: int = 0


def launch(
    settings: Settings,
    *,
    port: int,
    open_browser: bool = False,
    argv_of: ArgvOf | None = None,
    say: Callable[[str], None] = lambda line: print(line, flush=True),  # noqa: T201 - the command's own output
) -> int:
    """Runs the console until SIGINT or SIGTERM, then stops everything it runs on; returns 0.

    Raises PortInUse or Conflict (this home's console runs already) before anything is started, and JobFailed when
    the web does not come up.
    """
    make_folder(settings.home)
    with _alone(settings.home):
        return _launched(settings, port=port, open_browser=open_browser, argv_of=argv_of, say=say)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Holds the home's lock for as long as its console runs. Raises Conflict where another's does."""
    with (home / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            at = running_app(home)
            raise Conflict(
                f"the console of {home} already runs{'' if at is None else f' at {at}'}",
                remedy="open it there, or stop it first with Ctrl-C where it was started",
            ) from error
        yield


def _launched(
    settings: Settings, *, port: int, open_browser: bool, argv_of: ArgvOf | None, say: Callable[[str], None]
) -> int:
    _end_left_behind(settings.home)
    require_free_port(port)
    argv_of = argv_of or (lambda name: argv_for(name, settings, port=port))
    children = {
        name: _Child(name, argv_of(name), settings.home / ("supervisor.log" if name == "supervisor" else f"{name}.log"))
        for name in NAMES
    }
    environment = child_environment(settings, port=port)
    spare = Spare(argv_of("spare"), children["web"].log, environment)
    with attentive() as attention, closing(spare), _stopped_at_the_end(settings.home, children, attention, say=say):
        told, trouble, web_due_s = False, "", time.monotonic() + _WEB_UP_WITHIN_S
        while not attention.told_to_stop:
            try:
                for child in children.values():
                    _tend(child, settings.home, environment, spare, say=say)
                if told:
                    spare.tend()
                _note(settings.home, children, spare, port=port)
                trouble = ""
            except (StoreError, OSError) as error:  # a full disk, say
                if not told:
                    raise
                if str(error) != trouble:
                    say(f"{error}; tried again until it works")
                trouble = str(error)
            if not told and _listens(port):
                told = True
                say(f"Lodestar is at {address(port)} (Ctrl-C stops it)")
                if open_browser:
                    webbrowser.open(address(port))
            if not told and (children["web"].deaths >= 3 or time.monotonic() > web_due_s):
                log = children["web"].log
                raise JobFailed(f"the web did not come up: {last_line(log)}", remedy=f"read {log}")
            attention.sleep(0.2 if told else 0.05)
    return 0


def address(port: int) -> str:
    """Where a browser on this machine finds the console."""
    return f"http://localhost:{port}"


def running_app(home: Path) -> str | None:
    """The address of this home's console, or None when none runs."""
    noted = _noted(home)
    return address(noted["port"]) if noted and _alive(noted["launcher"]) else None


def scorer_pid(home: Path) -> int | None:
    """The pid of the scorer that this home's console runs, or None."""
    scorer = (_noted(home) or {}).get("scorer")
    return scorer[0] if scorer is not None and _alive(scorer) else None


def require_free_port(port: int) -> None:
    """Raises PortInUse, naming a port that is free, unless this machine's loopback can be listened on there."""
    if port_is_free(port):
        return
    free = next((other for other in range(port + 1, min(port + 50, 65_536)) if port_is_free(other)), None)
    other = f"choose another: `lodestar app --port {free}`" if free else "choose another with `--port`"
    raise PortInUse(f"port {port} is taken (or not ours to take)", remedy=other)


def port_is_free(port: int) -> bool:
    """Whether a server could listen on loopback at this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a closed one's wait is no obstacle
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True


def argv_for(name: str, settings: Settings, *, port: int) -> list[str]:
    """What one of `web`, its `spare`, `supervisor` and `scorer` is started with. `-P`: the caller's folder shadows no
    module."""
    python = [sys.executable, "-P", "-m"]
    if name in ("web", "spare"):
        flags = {
            "server.port": port,
            "server.address": settings.address,
            "server.headless": "true",
            "server.fileWatcherType": "none",
            "server.enableStaticServing": "true",
            "server.maxUploadSize": settings.upload_mb,
            "client.showErrorDetails": "none",
            "client.disableDataExport": "true",  # a grid's own file has cells cut, and formulas that run
            "browser.gatherUsageStats": "false",
        }
        waits = [SPARE] if name == "spare" else []
        return [*python, "dashboard.web", *waits, *(f"--{key}={value}" for key, value in flags.items())]
    command = {"supervisor": "supervise", "scorer": "serve-scorer"}[name]
    return [*python, "dashboard.cli", command, "--home", str(settings.home)]


def child_environment(settings: Settings, *, port: int) -> dict[str, str]:
    """This process's environment with these settings written into it, so that the three agree with the command.

    The cookie secret goes this way too: an argument would be readable by everyone on the machine.
    """
    told = {**settings.model_dump(exclude_none=True), "port": port}
    mine = {f"LODESTAR_{name.upper()}": str(value) for name, value in told.items()}
    secret = {"STREAMLIT_SERVER_COOKIE_SECRET": _cookie_secret(settings.home)}
    return {**os.environ, **mine, **secret}  # noqa: TID251 - handed on, not read


def _cookie_secret(home: Path) -> str:
    """Kept in the home, readable by its owner alone, so that a restart of the web ends nobody's session."""
    path = home / SECRET_FILE
    if not path.exists():
        beside = path.with_suffix(f".{os.getpid()}")
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    return path.read_text()


def _tend(
    child: _Child, home: Path, environment: Mapping[str, str], spare: Spare, *, say: Callable[[str], None]
) -> None:
    """Starts a child that is due, and plans the next start of one that has ended: later each time, up to 30 s; but at
    once where a spare waits."""
    now_s = time.monotonic()
    if child.process is not None:
        if not has_ended(child.process):
            return
        exit_status = end_group(child.process)
        child.process = None
        if now_s - child.started_s > _STEADY_AFTER_S:
            child.backoff_s = _FIRST_BACKOFF_S
        if not (child.name == "supervisor" and supervisor_pid(home) is not None):
            child.deaths += 1
            said = last_line(child.log)
            say(f"the {child.name} ended with status {exit_status} and is started again: {said or 'it said nothing'}")
        if not (child.name == "web" and spare.waits):
            child.start_at_s = now_s + child.backoff_s
            child.backoff_s = min(child.backoff_s * 2, _LONGEST_BACKOFF_S)
    if child.process is None and now_s >= child.start_at_s:
        if child.name == "supervisor" and supervisor_pid(home) is not None:
            child.start_at_s = now_s + 1.0  # another command's supervisor serves this home: look again later
            return
        waiting = spare.take() if child.name == "web" else None
        child.process = waiting or start_logged(child.argv, child.log, environment)
        child.started_s = now_s


@contextmanager
def _stopped_at_the_end(
    home: Path, children: Mapping[str, _Child], attention: Attention, *, say: Callable[[str], None]
) -> Iterator[None]:
    """Whatever happens inside: afterwards none of the three runs, and jobs at work have saved."""
    try:
        yield
    finally:
        _stop(home, children, attention, say=say)
        (home / APP_FILE).unlink(missing_ok=True)


def _stop(home: Path, children: Mapping[str, _Child], attention: Attention, *, say: Callable[[str], None]) -> None:
    with suppress(OSError):  # the terminal may be gone
        say("stopping; a job at work saves first")
    now_s = time.monotonic()
    own = {child.process.pid: child for child in children.values() if child.process is not None}
    waiting = {pid: now_s + _STOP_WITHIN_S for pid in own}
    supervisor = supervisor_pid(home)  # perhaps one that another command started
    if supervisor is None and children["supervisor"].process is not None:
        supervisor = children["supervisor"].process.pid
    if supervisor is not None:
        waiting[supervisor] = now_s + GRACE_S + _STOP_WITHIN_S  # its workers have their own time to save
    for pid in waiting:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    while waiting:
        for pid, kill_at_s in list(waiting.items()):
            process = own[pid].process if pid in own else None
            if has_ended(process) if process is not None else started_at(pid) is None:
                if process is not None:
                    end_group(process)
                del waiting[pid]
            elif time.monotonic() > kill_at_s:
                signal_group(pid, signal.SIGKILL)
        attention.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((_LOOPBACK, port)) == 0


def _note(home: Path, children: Mapping[str, _Child], spare: Spare, *, port: int) -> None:
    """Writes app.json when it differs from what stands there."""
    pids = {"launcher": os.getpid()} | {
        name: child.process.pid for name, child in children.items() if child.process is not None
    }
    if spare.pid is not None:
        pids["spare"] = spare.pid
    noted = {name: [pid, started_at(pid)] for name, pid in pids.items()}
    body = json.dumps({"port": port, "host": socket.gethostname(), **noted}).encode()
    path = home / APP_FILE
    if not path.exists() or path.read_bytes() != body:
        write_whole(path, body)


def _noted(home: Path) -> dict[str, Any] | None:
    """What app.json says, if it speaks of this host."""
    try:
        noted = json.loads((home / APP_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return noted if isinstance(noted, dict) and noted.get("host") == socket.gethostname() else None


def _alive(who: tuple[int, float | None] | None) -> bool:
    return who is not None and who[1] is not None and started_at(who[0]) == who[1]


def _end_left_behind(home: Path) -> None:
    """Ends the web, its spare (which may serve by now) and the scorer of a launcher that was killed; a supervisor is
    taken over as it is."""
    noted = _noted(home) or {}
    for name in ("web", "spare", "scorer"):
        if _alive(noted.get(name)):
            pid = noted[name][0]
            signal_group(pid, signal.SIGKILL)
            while started_at(pid) is not None:
                time.sleep(0.02)
