"""One worker runs one job: it reports itself, runs the body that the job's kind names, and records the end.

A body is a function of a `JobContext`. It emits events, asks `should_stop()` between its steps, and when told
to stop saves and raises `Stopped`. After any interruption it is started again from its first line; what it
left in its run's folder is its own memory.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from core.ops.claims import beat, finish, note_progress, report_worker
from core.ops.events import append_event
from core.ops.jobrow import JobRow
from core.ops.jobs import events_path, status
from core.ops.ledger import Clock, Ledger, utc_now
from core.ops.processes import Process
from data.errors import JobFailed, LodestarError, StoreError
from data.phrases import phrase, quoted
from data.publish import full_disk_reported

# How a worker's process ends. The ledger says more; these are for whoever started it.
SUCCEEDED, FAILED, STOPPED, NOT_MINE = 0, 1, 75, 76

LEASE_S = 30.0
_BEAT_S = 1.0
_PROGRESS_S = 0.5


class Stopped(BaseException):
    """Raised by a body that was told to stop, once everything worth keeping is on disk. No Exception: it also comes out
    of the middle of libraries, none of which may take it for a fault of theirs."""


class JobContext:
    """What a body sees of its job, and the only way in which it speaks to the ledger."""

    def __init__(
        self, ledger: Ledger, home: Path, job: JobRow, *, clock: Clock = utc_now, beat_s: float = _BEAT_S
    ) -> None:
        self.ledger = ledger
        self.home = home
        self.job_id = job.job_id
        self.attempt = job.attempt
        self.payload = job.payload
        self.dataset = job.dataset
        self.clock = clock
        self._job = job
        self._run_id = job.run_id
        self._beat_s = beat_s
        self._told_to_stop = False
        self._hears = self._interruptible = False
        self._interrupt: Callable[[], None] = lambda: None
        self._over = False
        self._emitting = threading.Lock()
        self._noted_s = float("-inf")
        self._noted_stage: str | None = job.stage

    @property
    def run_id(self) -> str | None:
        """The run that this job makes; known from the first attempt's `new_run` on."""
        if self._run_id is None:
            self._run_id = status(self.ledger, self.job_id).run_id
        return self._run_id

    def should_stop(self) -> bool:
        """Whether to save and raise `Stopped`: cancelled, paused, shutting down, or no longer in charge."""
        return self._told_to_stop or self._over

    def raise_if_stopped(self) -> None:
        """Raises `Stopped` when told to stop; for places where nothing needs saving."""
        if self.should_stop():
            raise Stopped

    @contextmanager
    def interruptible(self, interrupt: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Inside, to be told to stop raises `Stopped` wherever the main thread is, at its next line of Python; for work
        that leaves nothing worth saving and may be left in the middle. interrupt: ends at once what no line of Python
        runs meanwhile, a query say; a library that makes another error of it is seen through.
        """
        self._interruptible, self._interrupt = self._hears, interrupt
        try:
            self.raise_if_stopped()
            yield
        except Exception as error:
            if isinstance(error, Stopped) or not self._told_to_stop:
                raise
            raise Stopped from error
        finally:
            self._interruptible = False

    def emit(self, type: str, **fields: Any) -> None:
        """Appends one event to events.jsonl; its `progress`, `stage` and `eta_s` also reach the job's row.

        The row follows at most twice a second, but at every new stage.
        """
        now = self.clock()
        with self._emitting:
            if self._over:
                raise Stopped
            event = {"t": now.isoformat(), "type": type, "attempt": self.attempt, **fields}
            append_event(events_path(self.home, self.job_id, self.run_id), event)
            stage = fields.get("stage")
            fresh_stage = stage is not None and stage != self._noted_stage
            due = time.monotonic() - self._noted_s >= _PROGRESS_S
            if fresh_stage or ("progress" in fields and due):
                progress, eta_s = fields.get("progress"), fields.get("eta_s")
                with suppress(StoreError):  # a full disk, a database that starts anew: the next event tells it
                    self._over |= not note_progress(self.ledger, self._job, progress=progress, stage=stage, eta_s=eta_s)
                    self._noted_s, self._noted_stage = time.monotonic(), stage or self._noted_stage

    def beat(self) -> None:
        """Renews the lease and hears what was asked; the worker does so every second by itself."""
        orders = beat(self.ledger, self._job, lease_s=LEASE_S, now=self.clock())
        if orders is None:
            self._over = True
        elif orders.cancel or orders.pause:
            self._told_to_stop = True
            if self._interruptible:
                os.kill(os.getpid(), signal.SIGTERM)  # the handler below raises in the main thread

    @contextmanager
    def _attended(self) -> Iterator[None]:
        """Beats in the background and hears SIGTERM, for as long as the body runs."""
        ended = threading.Event()

        def beat_on() -> None:
            while not ended.wait(self._beat_s):
                with suppress(StoreError):  # a full disk, say: the next beat tries again
                    self.beat()
                if self._over:
                    _leave_group()

        def on_sigterm(_signum: int, _frame: FrameType | None) -> None:
            self._told_to_stop = True
            if self._interruptible:
                self._interruptible = False  # once is enough
                self._interrupt()
                raise Stopped

        in_main_thread = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGTERM, on_sigterm) if in_main_thread else None
        self._hears = in_main_thread
        beating = threading.Thread(target=beat_on, name="beat", daemon=True)
        beating.start()
        try:
            yield
        finally:
            ended.set()
            beating.join()
            if in_main_thread:
                self._hears = False
                signal.signal(signal.SIGTERM, before)


Body = Callable[[JobContext], dict[str, Any]]


def work(ledger: Ledger, home: Path, job_id: str, bodies: Mapping[str, Body], *, clock: Clock = utc_now) -> int:
    """Runs a job that a supervisor claimed and started this process for; returns the process's exit status.

    A LodestarError of the body is recorded with its remedy; anything else is recorded and raised, so that its
    traceback is in the job's log. A claim that is over by then records nothing. Raises UnknownJob.
    """
    job = report_worker(ledger, status(ledger, job_id), worker=Process.current(), parent_pid=os.getppid())
    if job is None:
        return NOT_MINE
    context = JobContext(ledger, home, job, clock=clock)
    try:
        with context._attended(), full_disk_reported(home):
            result = _body(bodies, job)(context)
        return SUCCEEDED if _ended(ledger, job, state="succeeded", now=clock(), result=result) else NOT_MINE
    except Stopped:
        asked = status(ledger, job_id)
        state = "cancelled" if asked.cancel_requested else "paused" if asked.pause_requested else "interrupted"
        return STOPPED if _ended(ledger, job, state=state, now=clock()) else NOT_MINE
    except LodestarError as error:
        _ended(ledger, job, state="failed", now=clock(), error=error.as_row())
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        crash = JobFailed(what, remedy=phrase("do.read_traceback", job=job_id))
        _ended(ledger, job, state="failed", now=clock(), error=crash.as_row())
        raise


def _ended(ledger: Ledger, job: JobRow, **end: Any) -> bool:
    """`finish`, tried again for as long as a lease lasts where the ledger is not to be had."""
    until_s = time.monotonic() + LEASE_S
    while True:
        try:
            return finish(ledger, job, **end)
        except StoreError:
            if time.monotonic() > until_s:
                raise
            time.sleep(_BEAT_S)


def _body(bodies: Mapping[str, Body], job: JobRow) -> Body:
    if job.kind not in bodies:
        raise JobFailed(phrase("job.no_kind", kind=quoted(job.kind)), remedy=phrase("do.upgrade_supervisor"))
    return bodies[job.kind]


def _leave_group() -> None:
    """Ends this process and its children on the spot: another worker may be writing in the same run already.

    Only where this process leads its group, as a supervisor starts it; elsewhere `should_stop` has to do.
    """
    if os.getpgrp() == os.getpid() and os.getsid(0) == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
