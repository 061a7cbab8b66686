"""`make bench`: the default recipe over three seeds, against each of its components and against no text at all.

Every run is made by the command line, as a user would. Figures are per-user metrics averaged over seeds first, then
compared in pairs over users (percentile bootstrap). Seconds stand beside a calibration matmul of the same minute,
since machines differ: 2,048 x 2,048 in float32.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console

from core.predict.effects import KNOWN, component_names
from core.predict.intervals import bootstrap_mean, paired_gap
from dashboard.terminal import interval, table

METRICS = ("hr@10", "ndcg@10")


def main() -> None:
    """Train, compare, print, and write everything as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="movielens-100k")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--home", type=Path, help="keep the runs here (default: a temporary folder)")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = (asked.home or Path(temporary)).resolve()
        lodestar("ingest", asked.dataset, home=home)
        recipe = [train(home, asked.dataset, seed) for seed in asked.seeds]
        without = [train(home, asked.dataset, seed, "text.tune=none") for seed in asked.seeds]
    figures = compare([run["users"] for run in recipe], [run["users"] for run in without])
    figures |= {
        "dataset": asked.dataset,
        "seeds": asked.seeds,
        "runs": [{k: v for k, v in run.items() if k != "users"} for run in recipe + without],
    }
    show(figures)
    if asked.out is not None:
        asked.out.write_text(json.dumps(figures, indent=1))


def train(home: Path, dataset: str, seed: int, *settings: str) -> dict[str, Any]:
    """One run by the command line: its seconds by stage, the calibration, its table of tested users."""
    options = [option for setting in (f"seed={seed}", *settings) for option in ("--set", setting)]
    calibration_s = matmul_seconds()
    made = lodestar("train", "--dataset", dataset, *options, home=home)
    told = lodestar("evaluate", made["run_id"], home=home)
    return {
        "seed": seed,
        "settings": settings,
        "seconds": made["seconds"],
        "stages_s": told["stages_s"],
        "calibration_s": calibration_s,
        "language_model": told["language_model"],
        "metrics": {name: told["metrics"][name] for name in METRICS},
        "children_peak_gb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20,
        "users": pd.read_parquet(home / "runs" / made["run_id"] / "users.parquet").set_index("user_id"),
    }


def compare(recipe: Sequence[pd.DataFrame], without: Sequence[pd.DataFrame]) -> dict[str, Any]:
    """Seed-averaged figures of the served score and its components, and paired gains over each and over no text."""
    mean, plain = averaged(recipe), averaged(without)
    names = sorted(component_names(mean.columns))
    figures: dict[str, Any] = {"served": {}, "components": {}, "gain_over": {}}
    for metric in METRICS:
        served = mean[metric].to_numpy()
        figures["served"][metric] = bootstrap_mean(served, seed=0)
        for name in names:
            other = mean[f"{name}:{metric}"].to_numpy()
            figures["components"].setdefault(name, {})[metric] = bootstrap_mean(other, seed=0)
            figures["gain_over"].setdefault(name, {})[metric] = paired_gap(served, other, seed=0)
        pairs = {
            "no text (served)": (served, plain[metric].to_numpy()),
            "no text (network alone)": (mean[f"neural:{metric}"].to_numpy(), plain[f"neural:{metric}"].to_numpy()),
            "frozen text (network alone)": (mean[f"{KNOWN}:{metric}"].to_numpy(), mean[f"frozen:{metric}"].to_numpy()),
        }
        for name, (ours, other) in pairs.items():
            figures["gain_over"].setdefault(name, {})[metric] = paired_gap(ours, other, seed=0)
    return figures


def averaged(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One row a user: each metric's mean over seeds."""
    return pd.concat(tables).groupby(level=0).mean()


def show(figures: dict[str, Any]) -> None:
    """The figures as tables."""
    console = Console()
    rows = [
        (name, *(interval(one[metric]) for metric in METRICS))
        for name, one in {"served": figures["served"], **figures["components"]}.items()
    ]
    title = f"{figures['dataset']}, seeds {figures['seeds']}, mean over seeds, 95% over users"
    console.print(table(("", "HR@10", "NDCG@10"), rows, title=title))
    gains = [(name, *(interval(one[metric]) for metric in METRICS)) for name, one in figures["gain_over"].items()]
    console.print(table(("gain over", "HR@10", "NDCG@10"), gains, title="paired gains"))
    runs = [
        (run["seed"], " ".join(run["settings"]) or "default", run["seconds"], run["calibration_s"])
        for run in figures["runs"]
    ]
    console.print(table(("seed", "recipe", "seconds", "calibration s"), runs, title="seconds"))


def matmul_seconds() -> float:
    """Median seconds of a 2,048 x 2,048 float32 product, of nine."""
    a = torch.randn(2048, 2048)
    seen = []
    for _ in range(9):
        begun = time.perf_counter()
        torch.mm(a, a)
        seen.append(time.perf_counter() - begun)
    return float(np.median(seen))


def lodestar(*arguments: str, home: Path) -> dict[str, Any]:
    """One command's JSON; its words and a failure's reason go to stderr."""
    command = [sys.executable, "-P", "-m", "dashboard.cli", *arguments, "--json", "--home", str(home)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"lodestar {' '.join(arguments)} failed: {done.stdout}")
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    main()
