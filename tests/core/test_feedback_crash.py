"""Many writers of feedback at once, some of them killed: each row that was acknowledged is there exactly once."""

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.ops.ledger import Ledger
from core.ops.schema import feedback as table

WRITER = str(Path(__file__).with_name("feedback_writer.py"))
BATCH = 10  # rows in one transaction, at most


@dataclass
class Sender:
    """One caller that sends its rows until all are acknowledged, whoever dies meanwhile."""

    address: str
    home: Path
    name: str
    rows: int
    acknowledged: int = 0
    process: "subprocess.Popen[str] | None" = None
    faults: list[str] = field(default_factory=list)

    def run(self) -> None:
        while self.acknowledged < self.rows:
            first = max(0, self.acknowledged - 3)  # who did not hear the answer sends again what may stand already
            argv = [
                sys.executable,
                WRITER,
                self.address,
                str(self.home),
                self.name,
                *map(str, (first, self.rows, BATCH)),
            ]
            with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as self.process:
                assert self.process.stdout is not None and self.process.stderr is not None
                for line in self.process.stdout:
                    if line.endswith("\n"):
                        self.acknowledged = max(self.acknowledged, int(line))
                complaint = self.process.stderr.read()
            if self.process.returncode > 0:
                self.faults.append(complaint)
                return


def send(address: str, home: Path, *, writers: int, rows: int, kills: int) -> dict[str, float]:
    """So many rows by so many processes with random kill -9 among them; raises AssertionError where one is lost, or
    there twice. Returns what was done and its rate."""
    Ledger.open(address, home=home).close()
    chance, share = random.Random(3), rows // writers
    senders = [Sender(address, home, f"w{n}", share) for n in range(writers)]
    threads = [threading.Thread(target=sender.run) for sender in senders]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    killed = 0
    while any(thread.is_alive() for thread in threads):
        time.sleep(chance.uniform(0.05, 0.3))
        at_work = [s for s in senders if s.process and s.process.poll() is None and 0 < s.acknowledged < s.rows]
        if killed < kills and at_work:
            victim = chance.choice(at_work)
            assert victim.process is not None
            victim.process.kill()
            killed += 1
    seconds = time.perf_counter() - begun
    assert not [fault for sender in senders for fault in sender.faults]
    with Ledger.open(address, home=home) as ledger, ledger.read() as connection:
        stood = Counter(connection.scalars(sa.select(table.c.key)))
        numbers = list(connection.scalars(sa.select(table.c.feedback_id).order_by(table.c.feedback_id)))
    assert stood == Counter(f"w{n}-{row}" for n in range(writers) for row in range(share))
    assert len(set(numbers)) == len(numbers) == writers * share
    return {"rows": len(numbers), "kills": killed, "seconds": seconds, "rows_per_s": len(numbers) / seconds}


def test_no_acknowledged_row_is_lost_or_doubled(ledger_address: str, tmp_path: Path) -> None:
    assert send(ledger_address, tmp_path, writers=5, rows=1_000, kills=3)["kills"] == 3


@pytest.mark.slow
def test_sixteen_writers_lose_and_double_nothing(ledger_address: str, tmp_path: Path) -> None:
    assert send(ledger_address, tmp_path, writers=16, rows=10_000, kills=10)["kills"] == 10
