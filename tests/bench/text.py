"""What the language model is worth: `python -m tests.bench.text --home HOME` on the newest build of each data set.

The same recipe is trained on the same draw (`tests.bench.cold`: a tenth of the items is taken out) with three readers
of texts: tuned as the recipe tunes it; frozen; and untrained, the same architecture with random weights, which still
tells texts apart by their words. Users are asked for their ordinary test targets (warm, by the served score and by the
network alone) and for what they liked among the items taken out. The seed of a draw is its number; a user's figures are
averaged over draws first, then compared in pairs over users: an interval by bootstrap, and a p-value by permutation,
corrected by Holm over all comparisons of a data set.

What has been trained is kept in `--out` and taken up by the next run of the same recipe, so that readers and draws may
be spread over runs (`--readers`, `--draws`) and machines, and compared by a last one that names them all.
"""

import argparse
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from transformers import AutoConfig, AutoModel

from core.learn.config import TrainConfig, load_config
from core.learn.ranking import ndcg, ranks
from core.learn.splits import leave_last_out
from core.learn.weights import weights_folder
from core.predict.fit import fit
from core.predict.intervals import bootstrap_mean, paired_gap
from core.predict.significance import holm, paired_permutation
from dashboard.settings import Settings
from dashboard.terminal import interval, table
from tests.bench.__main__ import matmul_seconds
from tests.bench.cold import AMONG_COLD, IN_FIFTY, Quiet, World, newest, questions, take_out, world_of

READERS = TUNED, FROZEN, UNTRAINED = "tuned", "frozen", "untrained"
METRICS = WARM, ALONE, *_ = "warm", "warm, network alone", AMONG_COLD, IN_FIFTY


def main() -> None:
    """Train every reader on every draw of every data set, print the paired tables, write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--datasets", nargs="+", default=["movielens-100k", "complete-journey", "synthetic"])
    parser.add_argument("--draws", type=int, nargs="+", default=[20, 21])
    parser.add_argument("--readers", choices=READERS, nargs="+", default=READERS)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, default=Path("build/bench/text"), help="runs by users, and figures.json")
    asked = parser.parse_args()
    settings: list[tuple[str, Any]] = [tuple(setting.split("=", 1)) for setting in asked.set]
    asked.out.mkdir(parents=True, exist_ok=True)
    figures = {}
    for dataset in asked.datasets:
        world = world_of(newest(asked.home, dataset))
        runs = []
        for draw in asked.draws:
            config = load_config(overrides=[*settings, ("seed", draw)])
            stem = f"{dataset}-{draw}-{digest(config)}"
            files = {reader: asked.out / f"{stem}-{reader}.parquet" for reader in asked.readers}
            missing = [reader for reader, file in files.items() if not file.is_file()]
            for reader, users in draw_runs(world, draw, config, readers=missing):
                users.to_parquet(files[reader])
            runs += [(reader, pd.read_parquet(file)) for reader, file in files.items()]
        figures[dataset] = compare(runs) | {"draws": asked.draws}
        show(dataset, figures[dataset])
        (asked.out / "figures.json").write_text(json.dumps(figures, indent=1))


def digest(config: TrainConfig) -> str:
    """What a kept run is found by: its recipe, but for where it was computed and where the language model lay."""
    recipe = config.model_dump_json(exclude={"device": True, "text": {"model"}})
    return hashlib.sha256(f"{Path(config.text.model).name} {recipe}".encode()).hexdigest()[:8]


def draw_runs(
    world: World, draw: int, config: TrainConfig, *, readers: Sequence[str]
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each reader with its metrics, one row a user: warm ones of all who are tested, NaN for cold ones where a user
    liked none of the items taken out."""
    left, cold = take_out(world, draw)
    split = leave_last_out(left, world.task)
    asked, test = questions(world, left, cold), split.test
    frozen = config.model_copy(update={"text": config.text.model_copy(update={"tune": "frozen"})})
    source = weights_folder(config.text.model, cache=Settings().cache)
    for reader in readers:
        own = config if reader == TUNED else frozen
        matmul_s, begun = matmul_seconds(), time.perf_counter()
        with TemporaryDirectory() as scratch:
            folder = with_random_weights(source, Path(scratch) / "model", seed=draw) if reader == UNTRAINED else source
            fitted = fit(
                split, world.catalogue, world.texts, own, kinds=world.kinds, language_model=folder, follow=Quiet()
            )
        took = f"{time.perf_counter() - begun:.0f} s, matmul {matmul_s:.2f} s, stages {', '.join(fitted.stages)}"
        print(f"draw {draw}, {reader}: {took}", file=sys.stderr)
        scores = {WARM: fitted.served.logits(test.context)}
        scores[ALONE] = fitted.served.components(test.context)["neural"]
        warm = {
            name: pd.Series(ndcg(ranks(one, test, task=split.task), test, k=10), index=test.user)
            for name, one in scores.items()
        }
        on_cold = fitted.served.logits(asked.context)
        figures = {name: figure for name, figure in asked.figures(on_cold).items() if name in METRICS}
        yield reader, pd.DataFrame(warm | {name: pd.Series(one, index=asked.user) for name, one in figures.items()})


def with_random_weights(source: Path, folder: Path, *, seed: int) -> Path:
    """The language model of `source`, its weights as they are before any training, saved in `folder`."""
    shutil.copytree(source, folder)
    torch.manual_seed(seed)
    AutoModel.from_config(AutoConfig.from_pretrained(source)).save_pretrained(folder)
    return folder


def compare(runs: Iterable[tuple[str, pd.DataFrame]]) -> dict[str, Any]:
    """Each reader's figures, and every pair's gain with its interval and p: a user's mean over draws is one number."""
    tables: dict[str, list[pd.DataFrame]] = {}
    for reader, one in runs:
        tables.setdefault(reader, []).append(one)
    users = {reader: pd.concat(some).groupby(level=0).mean() for reader, some in tables.items()}
    pairs = [(a, b, metric) for a, b in combinations(users, 2) for metric in METRICS]
    p = {(a, b, metric): paired_permutation(users[a][metric], users[b][metric], seed=0) for a, b, metric in pairs}
    adjusted = holm(p)
    gains: dict[str, Any] = {}
    for a, b, metric in pairs:
        gap = paired_gap(users[a][metric], users[b][metric], seed=0)
        gains.setdefault(f"{a} - {b}", {})[metric] = gap | {"p_holm": adjusted[a, b, metric]}
    figures = {reader: {m: bootstrap_mean(one[m], seed=0) for m in METRICS} for reader, one in users.items()}
    return {"figures": figures, "gains": gains}


def show(dataset: str, told: dict[str, Any]) -> None:
    """The figures and the gains as two tables."""
    title = f"{dataset}, draws {told['draws']}: NDCG@10 where nothing else is said; 95% over users"
    rows = [(reader, *(interval(one[metric]) for metric in METRICS)) for reader, one in told["figures"].items()]
    Console().print(table(("", *METRICS), rows, title=title))
    rows = [
        (pair, *(f"{interval(one[metric])} p {one[metric]['p_holm']:.4f}" for metric in METRICS))
        for pair, one in told["gains"].items()
    ]
    Console().print(table(("", *METRICS), rows, title="in pairs, p after Holm"))


if __name__ == "__main__":
    main()
