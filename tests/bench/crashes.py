"""What was injected into every operation that writes, and what was lost: `python -m tests.bench.crashes`.

Power cuts and kills at every step of a write, full disks with ever more room, kills and SIGTERMs at random moments of
publishing and of training, of jobs under rival supervisors and a jumping clock, and of sixteen writers of feedback,
whose rate stands beside the disk's flushes. A loss ends it with a traceback.
Takes about ten minutes on two idle processors.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from rich.console import Console

from core.ops.ledger import Ledger
from dashboard.terminal import table
from tests import crashes
from tests.core.test_feedback_crash import send
from tests.core.test_supervisor import jobs_under_kills
from tests.tiny_bert import write_tiny_bert

NOTHING = "nothing"


def main() -> None:
    """Inject, look, and print one line an operation and kind of accident."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the random kills and jobs")
    asked = parser.parse_args()
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for n, (name, scene) in enumerate(crashes.SCENES.items()):
            seen = crashes.replay(scene, folder / f"replay-{n}")
            rows.append((name, "power cut or kill at each step", seen.points, f"{seen.done} acts", NOTHING))
        rows += full_disks(folder)
        rows += random_kills(folder, share=asked.share)
        rows.append(of_feedback(folder / "feedback", share=asked.share))
    console = Console()
    console.print(table(("operation", "accident", "times", "of", "lost"), rows, title="crashes"))


def full_disks(folder: Path) -> list[tuple[object, ...]]:
    """One row an operation; none where no disk may be mounted."""
    rows: list[tuple[object, ...]] = []
    for n, (name, scene) in enumerate(crashes.NEEDING_SPACE.items()):
        with crashes.small_disk(folder / f"small-{n}") as disk:
            if disk is not None:
                seen = crashes.fill(scene, disk, folder / f"files-{n}")
                rows.append((name, "full disk", seen.refused, f"{seen.done} acts", NOTHING))
    return rows


def random_kills(folder: Path, *, share: float) -> list[tuple[object, ...]]:
    """Of a publishing process, of a training, and of jobs."""
    kills, terms = max(round(20 * share), 3), max(round(5 * share), 1)
    store = crashes.killed("store", folder / "store", max(round(50 * share), 3), 1)
    done = ", ".join(f"{store[kind]} {kind}s" for kind in ("build", "run", "champion"))
    (folder / "model").mkdir()
    write_tiny_bert(folder / "model")
    training = crashes.killed("training", folder / "training", folder / "model", kills, terms, 1)
    runs = f"{training['runs']} runs, {training['files compared']} files each the same bits"
    slowest = training["slowest end after SIGTERM_s"]
    saved = "no SIGTERM" if slowest is None else f"slowest end after SIGTERM {slowest} s"
    (folder / "jobs").mkdir()
    n_jobs = max(round(200 * share), 20)
    with Ledger.open(folder / "jobs") as ledger:
        killed = jobs_under_kills(folder / "jobs", ledger, n_jobs=n_jobs, rivals=6, kills=kills)
    return [
        ("ingest, publish, promote", "kill -9", store["kills"], done, NOTHING),
        ("training", "kill -9", training["kills"], runs, NOTHING),
        ("training", "SIGTERM", training["sigterms"], saved, NOTHING),
        ("jobs", "kill -9 of a supervisor", killed["supervisor"], f"{n_jobs} jobs, 6 rivals", NOTHING),
        ("jobs", "kill -9 of a worker", killed["worker"], f"{n_jobs} jobs", NOTHING),
    ]


def of_feedback(folder: Path, *, share: float) -> tuple[object, ...]:
    """Of writers of feedback, ten rows a transaction at most."""
    folder.mkdir()
    rows = max(round(10_000 * share), 320)
    address = f"sqlite:///{folder / 'ledger.sqlite'}"
    done = send(address, folder, writers=16, rows=rows, kills=max(round(10 * share), 2))
    told = (
        f"{done['rows']:.0f} rows, {done['rows_per_s']:.0f} a second where the disk flushes {flushes(folder):.0f} times"
    )
    return ("feedback", "kill -9", done["kills"], told, NOTHING)


def flushes(folder: Path, *, times: int = 200) -> float:
    """How often a second a page of 4 kB can be written and flushed in a folder, one after the other."""
    begun = time.perf_counter()
    with (folder / "flushed").open("wb") as file:
        for _ in range(times):
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    return times / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
