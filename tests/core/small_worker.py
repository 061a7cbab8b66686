"""A worker and a supervisor with tiny bodies, run by the tests as processes of their own.

    python small_worker.py work HOME JOB
    python small_worker.py supervise HOME IDLE_EXIT_S SLOTS GRACE_S [gpu]

HOME/ledger-at, where there is one, holds the ledger's address; HOME/clock-off by how many seconds the clock is wrong.
Every body writes what it does into `HOME/marks/`, one file an act, so that a test can see from outside whether anything
was done twice.
"""

import fcntl
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from core.ops.ledger import Ledger, utc_now
from core.ops.supervisor import Supervisor
from core.ops.worker import JobContext, Stopped, work
from data.errors import LodestarError, UnknownItem


def mark(context: JobContext, what: str) -> None:
    folder = context.home / "marks"
    folder.mkdir(exist_ok=True)
    (folder / f"{context.job_id}.{context.attempt}.{what}").write_text(str(os.getpid()))


def quick(context: JobContext) -> dict[str, Any]:
    mark(context, "began")
    context.emit("stage", stage="frozen", progress=0.5, eta_s=1.0)
    mark(context, "ended")
    return {"answer": context.payload.get("n")}


def counting(context: JobContext) -> dict[str, Any]:
    """Counts to `to`, or until HOME/enough exists, 50 ms a step; goes on where the attempt before came to."""
    mark(context, "began")
    with (context.home / f"{context.job_id}.alone").open("w") as alone:
        try:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            mark(context, "overlapped")
            raise
        return _count(context, context.home / f"{context.job_id}.count")


def _count(context: JobContext, kept: Path) -> dict[str, Any]:
    began_at = n = int(kept.read_text() or 0) if kept.exists() else 0
    while n < context.payload["to"] and not (context.home / "enough").exists():
        if context.should_stop():
            mark(context, "saved")
            raise Stopped
        time.sleep(0.05)
        n += 1
        kept.write_text(str(n))
        context.emit("epoch", stage="frozen", epoch=n, progress=n / context.payload["to"])
    mark(context, "ended")
    return {"n": n, "began_at": began_at}


def deaf(context: JobContext) -> dict[str, Any]:
    """Never looks at `should_stop`, and has a child process of its own."""
    mark(context, "began")
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (context.home / f"{context.job_id}.child").write_text(str(child.pid))
    while True:
        time.sleep(0.1)


def absorbed(context: JobContext) -> dict[str, Any]:
    """Never looks at `should_stop`, but may be left in the middle."""
    context.emit("stage", stage="evaluate", progress=0.5)
    with context.interruptible():
        while True:
            time.sleep(0.1)


def stated(_context: JobContext) -> dict[str, Any]:
    raise UnknownItem("no item 'x'", remedy="name another")


def crashing(context: JobContext) -> dict[str, Any]:
    mark(context, "began")
    raise ZeroDivisionError("by zero")


def vanishing(context: JobContext) -> dict[str, Any]:
    mark(context, "began")
    os.kill(os.getpid(), 9)
    return {}


def exiting(_context: JobContext) -> dict[str, Any]:
    print("the last words", flush=True)
    os._exit(3)


BODIES = {
    "quick": quick,
    "counting": counting,
    "deaf": deaf,
    "absorbed": absorbed,
    "stated": stated,
    "crashing": crashing,
    "vanishing": vanishing,
    "exiting": exiting,
}


def main(command: str, home: Path, *rest: str) -> int:
    elsewhere, clock_off = home / "ledger-at", home / "clock-off"

    def clock() -> datetime:
        return utc_now() + timedelta(seconds=float(clock_off.read_text()) if clock_off.exists() else 0.0)

    with Ledger.open(elsewhere.read_text() if elsewhere.exists() else home, home=home) as ledger:
        if command == "work":
            try:
                return work(ledger, home, rest[0], BODIES, clock=clock)
            except LodestarError as error:
                print(error, file=sys.stderr)
                return 1
        idle_exit_s, slots, grace_s = map(float, rest[:3])
        Supervisor(
            ledger,
            home,
            worker_argv=lambda job_id: [sys.executable, __file__, "work", str(home), job_id],
            clock=clock,
            slots=int(slots),
            has_gpu="gpu" in rest,
            grace_s=grace_s,
            poll_s=0.05,
            idle_exit_s=idle_exit_s or None,
        ).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]))
