"""Who a process is: its pid alone says little, since pids are used again.

A process is named by host, pid and the moment it started, read from the kernel's monotonic clock where there
is one, so that a jump of the wall clock can't make a living process look dead.
"""

import os
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process, now or formerly. `started` is in seconds, on a clock that only this host shares."""

    host: str
    pid: int
    started: float

    @classmethod
    def current(cls) -> "Process":
        """This process."""
        started = started_at(os.getpid())
        assert started is not None, "a running process has a start"
        return cls(host=socket.gethostname(), pid=os.getpid(), started=started)

    @property
    def local(self) -> bool:
        """Whether this host can look at it."""
        return self.host == socket.gethostname()

    def alive(self) -> bool:
        """Whether it runs still (a zombie does not). Only meaningful where it is `local`."""
        return started_at(self.pid) == self.started


def started_at(pid: int) -> float | None:
    """When the process with this pid started, in seconds; None when there is none, or only its zombie."""
    if (_PROC / "self" / "stat").exists():
        try:
            stat = (_PROC / str(pid) / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        state, *fields = stat.rpartition(")")[2].split()  # the name before may hold spaces and brackets
        return None if state in "ZX" else int(fields[18]) / os.sysconf("SC_CLK_TCK")
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None


def signal_group(pid: int, signum: signal.Signals) -> None:
    """Signals the process group that `pid` leads; a group that is gone already is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signum)
