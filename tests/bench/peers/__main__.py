"""Peers' bench: RecTools, RecBole and implicit beside Lodestar on one split, on one machine, in one run.

    python -m tests.bench.peers --dataset movielens-100k --seeds 0 1 2 --out build/bench/peers

Each peer lives in an environment of its own, made on the first run. Every model trains on the training part, chooses
its best epoch on validation, and is asked with the test history; all figures come from Lodestar's metric code.
Models run one after the other, seed by seed, with equal threads, each in a process of its own between two calibration
matmuls. What has finished is kept and taken up by the next run, unless --fresh or its settings differ.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import rmtree
from typing import Any, get_args

import torch

from core.learn.config import Protocol
from dashboard.settings import settings as own_settings
from tests.bench.__main__ import lodestar, matmul_seconds
from tests.bench.peers.drawing import page, show
from tests.bench.peers.environments import environment
from tests.bench.peers.figures import Result, figures_of, read_result
from tests.bench.peers.models import LODESTAR, MODELS
from tests.bench.peers.split import write_split

RUNNERS = Path(__file__).parent / "runners"
ROOT = Path(__file__).parents[3]


def main() -> None:
    """Run whoever is asked for, compare, print, write figures.json and figures.html."""
    asked = arguments()
    torch.set_num_threads(asked.threads)
    out: Path = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    world = f"{asked.dataset}-{asked.protocol}"
    home, split = out / "home", out / f"split-{world}"
    if not (split / "manifest.json").is_file():
        lodestar("ingest", asked.dataset, home=home)
        write_split(home, asked.dataset, asked.protocol, split)
    facts = json.loads((split / "split.json").read_text())
    results: dict[str, list[Result]] = {}
    for seed in asked.seeds:
        for name in asked.models:
            folder = out / "runs" / f"{world}-{name}-{seed}"
            wanted = {**facts, "model": name, "settings": settings_of(name, seed, asked, home)}
            if asked.fresh or not finished(folder, wanted):
                run(name, folder, split, wanted, envs=asked.envs)
            results.setdefault(name, []).append(read_result(folder, split, seed=seed))
    figures = {"split": facts, "smoke": asked.smoke, "threads": asked.threads, **figures_of(results)}
    (out / "figures.json").write_text(json.dumps(figures, indent=1))
    (out / "figures.html").write_text(page(figures), encoding="utf-8")
    show(figures)
    print(f"{out / 'figures.json'}\n{out / 'figures.html'}", file=sys.stderr)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="movielens-100k")
    parser.add_argument("--protocol", choices=get_args(Protocol), default="last")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--out", type=Path, default=Path("build/bench/peers"), help="runs, figures.json, figures.html")
    parser.add_argument("--envs", type=Path, default=own_settings().cache / "peers", help="where environments live")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=100, help="the most epochs of any sequence model but the recipe")
    parser.add_argument(
        "--patience", type=int, default=20, help="epochs without a gain: large steps start on a plateau"
    )
    parser.add_argument("--budget-minutes", type=float, default=60, help="training minutes after which a run ends")
    parser.add_argument("--fresh", action="store_true", help="run again what has finished")
    parser.add_argument("--smoke", action="store_true", help="two epochs each, short histories for RecBole: minutes")
    return parser.parse_args()


def settings_of(name: str, seed: int, asked: argparse.Namespace, home: Path) -> dict[str, Any]:
    """All that a runner is told; a result with other settings is not taken up again."""
    model = MODELS[name]
    recipe = {"home": str(home), "dataset": asked.dataset, "protocol": asked.protocol}
    return {
        **model.settings,
        **(model.smoke if asked.smoke else {}),
        "seed": seed,
        "threads": asked.threads,
        "epochs": 2 if asked.smoke else asked.epochs,
        "patience": asked.patience,
        "budget_s": asked.budget_minutes * 60,
        **(recipe if model.runner == "lodestar_recipe.py" else {}),
    }


def finished(folder: Path, wanted: dict[str, Any]) -> bool:
    """Whether a run stands there that was asked for with the same words."""
    path = folder / "asked.json"
    return path.is_file() and json.loads(path.read_text()) == json.loads(json.dumps(wanted))


def run(name: str, folder: Path, split: Path, wanted: dict[str, Any], *, envs: Path) -> None:
    """One model with one seed, in a process of its own; `asked.json` is written last and says that it finished."""
    model = MODELS[name]
    ours = model.environment == LODESTAR
    python = Path(sys.executable) if ours else environment(model.environment, folder=envs)
    rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"{folder.name} ...", file=sys.stderr)
    before_s = matmul_seconds()
    command = [str(python), str(RUNNERS / model.runner), "--split", str(split), "--out", str(folder)]
    command += ["--settings", json.dumps(wanted["settings"])]
    with (folder / "log.txt").open("w") as log:
        done = subprocess.run(
            command, env=surroundings(wanted["settings"], ours=ours), stdout=log, stderr=log, check=False
        )
    if done.returncode:
        sys.exit(f"{folder.name} failed; the end of {folder / 'log.txt'}:\n{(folder / 'log.txt').read_text()[-2000:]}")
    told = json.loads((folder / "result.json").read_text())
    told["calibration_s"] = [before_s, matmul_seconds()]
    (folder / "result.json").write_text(json.dumps(told, indent=1))
    (folder / "asked.json").write_text(json.dumps(wanted, indent=1))


def surroundings(settings: dict[str, Any], *, ours: bool) -> dict[str, str]:
    """Equal threads for every library; implicit brings its own threads and asks for a BLAS without."""
    threads = str(settings["threads"])
    told = {name: threads for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "LODESTAR_THREADS")}
    told["OPENBLAS_NUM_THREADS"] = "1" if "kind" in settings else threads
    told["PYTHONPATH"] = str(ROOT) if ours else ""
    return {**os.environ, **told, "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": ""}


if __name__ == "__main__":
    main()
