"""The supervisor: one process per home that starts workers, watches them, and settles their ends.

It outlives the web and the command line that started it, and nothing is lost when it dies itself: its workers
go on, and the next supervisor takes over the living and starts the dead ones' jobs again. One per home is
held by a file lock, which the kernel drops with the process however it dies.
"""

import fcntl
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from core.ops.claims import beat, claim, report_worker, take_over, worker_gone
from core.ops.jobrow import JobRow
from core.ops.jobs import log_path, status, waiting
from core.ops.ledger import Clock, Ledger, utc_now
from core.ops.processes import (
    Attention,
    Process,
    attentive,
    end_group,
    has_ended,
    last_line,
    signal_group,
    start_detached,
    started_at,
)
from core.ops.prune import remove_leftovers
from core.ops.worker import LEASE_S, NOT_MINE
from data.errors import JobFailed, StoreError
from data.phrases import phrase
from data.publish import make_folder

LOCK_FILE = "supervisor.lock"
LOG_FILE = "supervisor.log"
GRACE_S = 10.0
_START_TIMEOUT_S = 60.0
_LOCK_PATIENCE_S = 0.5

# What runs a job: the argument vector of a process that ends in `worker.work(ledger, home, job_id, ...)`.
WorkerArgv = Callable[[str], Sequence[str]]


@dataclass
class _Watched:
    """One running job under this supervisor. `child` is None for a worker inherited from an earlier one."""

    job: JobRow
    child: "subprocess.Popen[bytes] | None"
    kill_at_s: float | None = None
    renew_at_s: float = field(default_factory=time.monotonic)


class Supervisor:
    """Owns the workers of one home while it holds the home's lock; `run` is its whole life.

    It runs `slots` jobs at once, and of those that use a GPU one at a time where the host `has_gpu`.
    """

    def __init__(  # noqa: PLR0913 - each of them is a test's to set
        self,
        ledger: Ledger,
        home: Path,
        *,
        worker_argv: WorkerArgv,
        clock: Clock = utc_now,
        slots: int = 1,
        has_gpu: bool = False,
        poll_s: float = 0.2,
        grace_s: float = GRACE_S,
        idle_exit_s: float | None = None,
    ) -> None:
        self._ledger = ledger
        self._home = home
        self._worker_argv = worker_argv
        self._clock = clock
        self._slots = slots
        self._has_gpu = has_gpu
        self._poll_s = poll_s
        self._grace_s = grace_s
        self._idle_exit_s = idle_exit_s
        self._me = Process.current()
        self._watched: dict[str, _Watched] = {}
        self._stopping = False

    def run(self) -> bool:
        """Supervises until SIGTERM, SIGINT, or idle for `idle_exit_s`; False if another one does already.

        At the end every worker was told to save; their jobs are `interrupted` and the next supervisor's.
        """
        with attentive() as attention:
            while (lock := _take_lock(self._home, self._me.pid)) is not None:
                with lock:
                    remove_leftovers(self._home)
                    self._supervise(attention)
                # A job submitted while the lock was still held relied on this supervisor: look once more.
                if self._stopping or not waiting(self._ledger):
                    return True
        return False

    def _supervise(self, attention: Attention) -> None:
        idle_since_s = time.monotonic()
        while not attention.told_to_stop:
            with suppress(StoreError):  # a full disk, say: nothing was changed, the next round tries again
                self._round()
            if self._watched:
                idle_since_s = time.monotonic()
            elif self._idle_exit_s is not None and time.monotonic() - idle_since_s > self._idle_exit_s:
                return
            attention.sleep(self._poll_s)
        self._stop_workers(attention)

    def _round(self) -> None:
        for job in take_over(self._ledger, supervisor=self._me, now=self._clock(), known=self._watched.keys()):
            self._watched[job.job_id] = _Watched(job, child=None)
        for watched in list(self._watched.values()):
            self._settle(watched)
        for watched in self._watched.values():
            self._attend(watched)
        while len(self._watched) < self._slots:
            claimed = claim(
                self._ledger, supervisor=self._me, lease_s=LEASE_S, now=self._clock(), has_gpu=self._has_gpu
            )
            if claimed is None:
                return
            self._start(claimed)

    def _start(self, job: JobRow) -> None:
        log = log_path(self._home, job.job_id)
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as out:
                out.write(f"--- attempt {job.attempt}, {self._clock():%Y-%m-%d %H:%M:%S} UTC\n".encode())
                out.flush()
                child = subprocess.Popen(
                    list(self._worker_argv(job.job_id)),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:  # no space, no memory, no such program
            cause = JobFailed(phrase("job.not_started", error=str(error)), remedy=phrase("do.see_doctor"))
            worker_gone(self._ledger, job, now=self._clock(), died=True, crash=cause.as_row())
            return
        self._watched[job.job_id] = _Watched(job, child)
        started = started_at(child.pid)
        if started is not None:
            worker = Process(host=self._me.host, pid=child.pid, started=started)
            report_worker(self._ledger, job, worker=worker, parent_pid=self._me.pid)

    def _settle(self, watched: _Watched) -> None:
        """Records the end of a worker that is gone, unless it did so itself."""
        job, crash = watched.job, None
        if watched.child is None:
            if job.worker is not None and job.worker.alive():
                return
        elif has_ended(watched.child):
            exit_status = end_group(watched.child)
            if exit_status > 0 and exit_status != NOT_MINE and not self._stopping:
                crash = self._crash(job, exit_status)
        else:
            return
        worker_gone(self._ledger, job, now=self._clock(), died=not self._stopping, crash=crash)
        del self._watched[job.job_id]

    def _crash(self, job: JobRow, exit_status: int) -> dict[str, str]:
        said = last_line(log_path(self._home, job.job_id))
        error = JobFailed(
            phrase("job.worker_ended", status=exit_status, line=said),
            remedy=phrase("do.read_traceback", job=job.job_id),
        )
        return error.as_row()

    def _attend(self, watched: _Watched) -> None:
        """Renews the lease, and does what was asked of the job."""
        now_s = time.monotonic()
        asked = status(self._ledger, watched.job.job_id)
        if (asked.cancel_requested or asked.pause_requested) and watched.kill_at_s is None:
            self._tell_to_stop(watched)
        if watched.kill_at_s is not None and now_s >= watched.kill_at_s:
            signal_group(self._pid(watched), signal.SIGKILL)
        if now_s >= watched.renew_at_s:
            watched.renew_at_s = now_s + LEASE_S / 3
            beat(self._ledger, watched.job, lease_s=LEASE_S, now=self._clock())

    def _tell_to_stop(self, watched: _Watched) -> None:
        signal_group(self._pid(watched), signal.SIGTERM)
        watched.kill_at_s = time.monotonic() + self._grace_s

    def _pid(self, watched: _Watched) -> int:
        if watched.child is not None:
            return watched.child.pid
        assert watched.job.pid is not None, "only a worker that reported itself can be inherited"
        return watched.job.pid

    def _stop_workers(self, attention: Attention) -> None:
        self._stopping = True
        for watched in self._watched.values():
            self._tell_to_stop(watched)
        while self._watched:
            for watched in list(self._watched.values()):
                assert watched.kill_at_s is not None, "told to stop above"
                if time.monotonic() >= watched.kill_at_s:
                    signal_group(self._pid(watched), signal.SIGKILL)
                with suppress(StoreError):
                    self._settle(watched)
            attention.sleep(0.05)


def supervisor_pid(home: Path) -> int | None:
    """The pid of the supervisor that holds this home, or None when there is none."""
    path = home / LOCK_FILE
    if not path.is_file():
        return None
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = int(file.read() or 0)
            return pid if pid and started_at(pid) is not None else None
    return None


def ensure_supervisor(home: Path, argv: Sequence[str]) -> int:
    """The pid of this home's supervisor; starts `argv` as one, detached, when there is none.

    It has a session of its own and writes to supervisor.log. Raises JobFailed when it does not come up.
    """
    make_folder(home)
    log = home / LOG_FILE
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    starting: subprocess.Popen[bytes] | None = None
    while (pid := supervisor_pid(home)) is None:
        if starting is None or starting.returncode == 0:  # 0: it met another one, which has ended since
            starting = start_detached(argv, log=log)
        if starting.returncode or time.monotonic() > deadline_s:
            raise JobFailed(
                phrase("job.no_supervisor", line=last_line(log)), remedy=phrase("do.read_log", file=str(log))
            )
        time.sleep(0.05)
    return pid


def wait_for(
    ledger: Ledger,
    home: Path,
    job_id: str,
    *,
    supervisor_argv: Sequence[str],
    on_change: Callable[[JobRow], None] | None = None,
    poll_s: float = 0.2,
) -> JobRow:
    """Waits until a job is done or paused, and keeps a supervisor there meanwhile; the job as it then stands.

    `on_change` sees the row now and whenever it differs. Raises UnknownJob, JobFailed (no supervisor).
    """
    seen: JobRow | None = None
    while True:
        job = status(ledger, job_id)
        if on_change is not None and job != seen:
            on_change(job)
        seen = job
        if job.done or job.state == "paused":
            return job
        ensure_supervisor(home, supervisor_argv)
        time.sleep(poll_s)


def _take_lock(home: Path, pid: int) -> BinaryIO | None:
    """The home's lock with this pid in it, held until closed; None when another supervisor keeps it."""
    make_folder(home)
    file = (home / LOCK_FILE).open("ab+")
    deadline_s = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline_s:  # longer than anyone needs who only looks whether it is held
                file.close()
                return None
            time.sleep(0.02)
        else:
            file.truncate(0)
            file.write(str(pid).encode())
            file.flush()
            return file
