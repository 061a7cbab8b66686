"""A worker of one ingest job that kills itself at a named point, or stays there, run by the tests as a process of its
own.

    python ingest_worker.py HOME JOB [POINT [stay]]

A point is a step's name, or `published` (before the ledger hears of the build), `recorded` (before the upload goes),
`dropped` (before the job's end is recorded).
"""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from core.ops import intake, worker
from core.ops.ledger import Ledger
from data import uploads


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stay() -> None:
    while True:
        time.sleep(0.05)


def main(home: Path, job_id: str, point: str = "", then: str = "die") -> int:
    if point == "published":
        intake.record = die
    elif point == "recorded":
        uploads.drop = die
    elif point == "dropped":
        worker.finish = die

    def say(line: str) -> None:
        print(line, flush=True)
        if point and line.endswith(f"  {point}"):
            die() if then == "die" else stay()

    with Ledger.open(home) as ledger:
        return worker.work(ledger, home, job_id, {intake.KIND: partial(intake.ingest_job, threads=1, say=say)})


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
