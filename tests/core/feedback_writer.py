"""A process that sends feedback, run by the tests: `python feedback_writer.py ADDRESS HOME WRITER FIRST LAST BATCH`.

Sends rows FIRST..LAST-1 of its own, at most BATCH at once, and prints the number of the first row that is not yet
acknowledged after each answer.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from core.ops.feedback import Feedback, append
from core.ops.ledger import Ledger

AT = datetime(2026, 1, 1, tzinfo=UTC)


def main(address: str, home: Path, writer: str, first: int, last: int, batch: int) -> None:
    with Ledger.open(address, home=home) as ledger:
        while first < last:
            some = range(first, min(first + batch, last))
            rows = [Feedback(f"user-{n % 97}", f"item-{n % 13}", "click", AT, key=f"{writer}-{n}") for n in some]
            told = append(ledger, "films", rows, now=datetime.now(UTC))
            assert told.accepted + told.repeated == len(rows) and not told.refused
            first = some.stop
            print(first, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
