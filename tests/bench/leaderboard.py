"""The leaderboard of a data set's champion as one table: `python -m tests.bench.leaderboard --home HOME`.

The figures are those of `lodestar bench`, which makes them and keeps them in the run's folder.
"""

import argparse
import json
from pathlib import Path

from rich.console import Console

from dashboard.benching import board
from tests.bench.__main__ import lodestar


def main() -> None:
    """Measure, print, and write the figures as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--dataset", default="movielens-100k")
    parser.add_argument("--run", default="champion")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    seeds = ",".join(str(seed) for seed in asked.seeds)
    told = lodestar("bench", asked.run, "--dataset", asked.dataset, "--seeds", seeds, home=asked.home)
    Console(width=160).print(board(told))
    if asked.out is not None:
        asked.out.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
