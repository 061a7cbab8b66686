"""Who a process is: its pid alone says little, since pids are used again.

A process is named by host, pid and the moment it started, read from the kernel's monotonic clock where there
is one, so that a jump of the wall clock can't make a living process look dead.
"""

import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil

_PROC = Path("/proc")
_KILOBYTE = 1024
NICENESS = 5  # a third of the processor's time beside one other that wants all of it


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


def peak_gb() -> float:
    """The most of memory that this process has held at once so far, in 1e9 bytes."""
    told = _PROC / "self" / "status"
    if told.exists():  # the kernel's other number also knows the program that this one was started from
        high = next(line for line in told.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(high.split()[1]) * _KILOBYTE / 1e9
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else _KILOBYTE) / 1e9


def yield_to_others(by: int = NICENESS) -> None:
    """Lets every process that answers a person go before this one and those it starts: an idle machine is all theirs,
    a busy one is not. Where the kernel weighs whole sessions (autogroup), this one's session too.
    """
    with suppress(OSError):
        os.nice(by)
    with suppress(OSError):  # no such file, or a container's that may not be written
        (_PROC / "self" / "autogroup").write_text(str(by))


def signal_group(pid: int, signum: signal.Signals) -> None:
    """Signals the process group that `pid` leads; a group that is gone already is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signum)


def has_ended(child: "subprocess.Popen[bytes]") -> bool:
    """Whether a child has ended, without reaping it: until `wait` its pid, and so its group, stay its own."""
    if child.returncode is not None:
        return True
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def end_group(child: "subprocess.Popen[bytes]") -> int:
    """Kills what an ended child left in its group, reaps it, and returns its exit status."""
    if child.returncode is None:
        signal_group(child.pid, signal.SIGKILL)
    return child.wait()


def end_orphans(leader: Process) -> None:
    """Kills what a dead process of this host left in the group that it led. While a pid is a group's name no other
    process gets it, so that who has it now is asked first."""
    if leader.local and started_at(leader.pid) is None:
        signal_group(leader.pid, signal.SIGKILL)


def start_detached(argv: Sequence[str], *, log: Path) -> "subprocess.Popen[bytes]":
    """Starts a process that outlives this one: a session of its own, its output appended to `log`.

    Should it end first, a thread reaps it.
    """
    with log.open("ab") as out:
        child = subprocess.Popen(list(argv), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    threading.Thread(target=child.wait, name=f"reap-{child.pid}", daemon=True).start()
    return child


class Attention:
    """A main thread that sleeps until something happens: it is told to stop, or a child ends."""

    def __init__(self, wakeup: int) -> None:
        self.told_to_stop = False
        self._wakeup = wakeup

    def sleep(self, seconds: float) -> None:
        """Returns after `seconds`, or as soon as a signal came in."""
        ready, _, _ = select.select([self._wakeup], [], [], seconds)
        if ready:
            with suppress(BlockingIOError):
                os.read(self._wakeup, 4096)


@contextmanager
def attentive() -> Iterator[Attention]:
    """Takes SIGTERM, SIGINT, SIGHUP and SIGCHLD for the main thread; afterwards the handlers of before are back.

    A SIGHUP that is ignored (nohup) stays so.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    attention = Attention(reader)

    def stop(_signum: int, _frame: FrameType | None) -> None:
        attention.told_to_stop = True

    def wake(_signum: int, _frame: FrameType | None) -> None:
        """The wakeup fd does it; but without a handler Python would not write there."""

    handlers = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGCHLD: wake}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        handlers[signal.SIGHUP] = stop
    before = {signum: signal.signal(signum, handler) for signum, handler in handlers.items()}
    fd_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield attention
    finally:
        signal.set_wakeup_fd(fd_before)
        for signum, handler in before.items():
            signal.signal(signum, handler)
        os.close(reader)
        os.close(writer)


def last_line(log: Path) -> str:
    """The last line of a log that says something; "" for none."""
    if not log.is_file():
        return ""
    lines = log.read_bytes()[-4096:].decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
