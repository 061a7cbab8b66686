"""How well a run's behaviour heads foretell, beside a linear model and LightGBM: `python -m tests.bench.behaviour`.

The newest finished run of a data set in `--home` (or `--run`) gives the frozen network; heads, the linear model and
LightGBM (`pip install -e .[bench]`) learn from the same questions, stop on the same validation, are calibrated there
alike, and answer the same held-out questions. LightGBM reads the plain features that the linear model reads, with the
number of leaves chosen on validation; for return times it is a Poisson regression of each bin's events on its exposure.

`synthetic` has a planted truth: the probability with which each rating was drawn is one more model there, the best that
any can do, and P(like) is set against it directly. `--seeds` fits the heads on the one network anew.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from scipy.stats import norm
from torch import Tensor

from core.learn.behaviour import N_ITEM_FEATURES, TEST, TRAIN, VALID, n_user_features
from core.learn.heads import Bins, Sample, kind_loss, like_loss, return_loss
from core.learn.sequences import Histories, IntArray, histories_from
from core.learn.splits import split_histories
from core.ops.ledger import Ledger
from core.ops.runs import finished_run, runs
from core.predict.behaviour import Behaviour
from core.predict.behaviour_figures import (
    HEADS,
    LINEAR,
    kind_figures,
    kind_probability,
    like_figures,
    like_probability,
    return_figures,
    return_hazard,
)
from core.predict.behaviour_fit import Log, calibration, event_samples, fit_behaviour, log_of, return_sample
from core.predict.reliability import Floats, auc
from core.predict.served import ServedModel
from core.serve.answers import OpenRun, open_run
from dashboard.settings import Settings
from dashboard.terminal import interval, table
from data import reads, synthetic

BOOSTED, PLANTED = "lightgbm", "planted truth"
LEAVES = (4, 8, 16, 32)
ROUNDS, PATIENCE = 2000, 50
PARAMETERS = {
    "learning_rate": 0.05,
    "min_data_in_leaf": 50,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "verbosity": -1,
    "num_threads": 1,
    "deterministic": True,
}


def main() -> None:
    """Fit, ask, print, and write the figures as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--dataset", default="movielens-100k")
    parser.add_argument("--run", help="default: the newest finished run of the data set")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with Ledger.open(asked.home) as ledger:
        done = [row.run_id for row in runs(ledger, asked.dataset) if row.finished is not None]
        if not done and asked.run is None:
            sys.exit(f"{asked.home} has no finished run of {asked.dataset}: `lodestar train --dataset {asked.dataset}`")
        row = finished_run(ledger, asked.home, asked.run or done[0])
        with open_run(ledger, asked.home, row.run_id) as run:
            figures = {seed: figures_of(run, row.protocol, seed=seed) for seed in asked.seeds}
    title = f"{asked.dataset}, {row.run_id}, protocol {row.protocol}"
    for seed, one in figures.items():
        show(one, title=f"{title}, seed {seed}")
    if asked.out is not None:
        told = {"dataset": asked.dataset, "run_id": row.run_id, "protocol": row.protocol, "figures": figures}
        asked.out.write_text(json.dumps(told, indent=1))


def figures_of(run: OpenRun, protocol: Any, *, seed: int) -> dict[str, Any]:
    """{like, kind, return} as `core.predict.behaviour_figures` tells them, with LightGBM and, where there is one, the
    planted truth among the others; and seconds."""
    served, facts = run.served, run.warehouse.facts
    histories = histories_from(reads.histories(run.warehouse), served.vocabulary.kinds)
    rule = facts.spec.positive
    log = log_of(histories, split_histories(histories, facts.spec.task, protocol), rule, served.vocabulary.kinds)
    begun = time.perf_counter()
    heads, linear = fit_behaviour(served, log, rule, seed=seed, say=lambda line: print(line, file=sys.stderr))
    seconds = {"heads and linear": time.perf_counter() - begun}
    models = {HEADS: heads, LINEAR: linear}
    told: dict[str, Any] = {"seconds": seconds}
    n_user = n_user_features(len(heads.kinds))
    if heads.like is not None or heads.kind is not None:
        parts = {part: event_samples(heads, served, log, part, seed=seed) for part in (TRAIN, VALID, TEST)}
        rows, user = parts[TEST][0], histories.owner[parts[TEST][0]]
    if heads.like is not None:
        likes = {part: sample["like"] for part, (_, sample) in parts.items()}
        guessed = {name: like_probability(model, likes[TEST]) for name, model in models.items()}
        begun = time.perf_counter()
        raw = boosted_events(likes, n_user + N_ITEM_FEATURES, objective="binary", outputs=1, seed=seed)
        guessed[BOOSTED] = raw.squeeze(1).double().sigmoid().numpy()
        seconds["lightgbm, like"] = time.perf_counter() - begun
        truth = planted(run, histories, rows) if facts.dataset == "synthetic" else None
        if truth is not None:
            guessed[PLANTED] = truth
        told["like"] = like_figures(guessed, log.liked[rows], user, seed=seed)
        if truth is not None:
            told["like"]["off_planted"] = off_planted(guessed, truth)
    if heads.kind is not None:
        kinds = {part: sample["kind"] for part, (_, sample) in parts.items()}
        guessed = {name: kind_probability(model, kinds[TEST]) for name, model in models.items()}
        begun = time.perf_counter()
        raw = boosted_events(kinds, n_user, objective="multiclass", outputs=len(heads.kinds), seed=seed)
        guessed[BOOSTED] = raw.double().softmax(1).numpy()
        seconds["lightgbm, kind"] = time.perf_counter() - begun
        told["kind"] = kind_figures(guessed, histories.kind[rows], user, kinds=heads.kinds, seed=seed)
    if heads.back is not None and heads.bins is not None:
        told["return"] = return_told(models, heads.bins, served, log, n_user=n_user, seconds=seconds, seed=seed)
    return told


def return_told(
    models: Mapping[str, Behaviour],
    bins: Bins,
    served: ServedModel,
    log: Log,
    *,
    n_user: int,
    seconds: dict[str, float],
    seed: int,
) -> dict[str, Any]:
    """The figures of return times, LightGBM among them; its seconds go into `seconds`."""
    parts = {part: return_sample(models[HEADS], served, log, part, bins, seed=seed) for part in (TRAIN, VALID, TEST)}
    hazards = {name: return_hazard(model, parts[TEST][1]) for name, model in models.items()}
    begun = time.perf_counter()
    hazards[BOOSTED] = boosted_hazard({part: sample for part, (_, sample) in parts.items()}, n_user, bins, seed=seed)
    seconds["lightgbm, return"] = time.perf_counter() - begun
    return return_figures(hazards, bins, parts[TEST][0], parts[TEST][1], seed=seed)


def boosted_events(samples: Mapping[int, Sample], n_inputs: int, *, objective: str, outputs: int, seed: int) -> Tensor:
    """(Q, outputs) calibrated logits of the test questions."""
    from lightgbm import Dataset

    loss = like_loss if objective == "binary" else kind_loss
    x = {part: sample.inputs[:, :n_inputs].numpy() for part, sample in samples.items()}
    y = {part: sample.answers[0].numpy() for part, sample in samples.items()}
    data = Dataset(x[TRAIN], y[TRAIN], free_raw_data=False)
    several = {"num_class": outputs} if objective == "multiclass" else {}
    metric = "binary_logloss" if objective == "binary" else "multi_logloss"
    booster = best_of_leaves(
        data, Dataset(x[VALID], y[VALID], reference=data), metric, seed, objective=objective, **several
    )

    def logits(part: int) -> Tensor:
        told = np.asarray(booster.predict(x[part], raw_score=True), dtype=np.float32)
        return torch.from_numpy(told.reshape(len(x[part]), outputs))

    slope, moved, _ = calibration(logits(VALID), samples[VALID], loss, shift=(1.0,) * outputs)
    return logits(TEST) * slope + moved


def boosted_hazard(samples: Mapping[int, Sample], n_inputs: int, bins: Bins, *, seed: int) -> Tensor:
    """(Q, B) calibrated log hazards of the test questions: one row a session and bin in which it was seen."""
    from lightgbm import Dataset

    base, middle = np.asarray(bins.log_rate), np.arange(len(bins.log_rate), dtype=np.float32)
    spread: dict[int, Any] = {}
    for part in (TRAIN, VALID):
        exposure, event = (answer.numpy() for answer in samples[part].answers)
        row, column = np.nonzero(exposure > 0)
        x = np.column_stack([samples[part].inputs[:, :n_inputs].numpy()[row], middle[column]])
        spread[part] = (x, (event[row] == column).astype(float), np.log(exposure[row, column]) + base[column])
    x, y, offset = spread[TRAIN]
    data = Dataset(x, y, init_score=offset, free_raw_data=False)
    x, y, offset = spread[VALID]
    valid = Dataset(x, y, init_score=offset, reference=data)
    booster = best_of_leaves(data, valid, "poisson", seed, objective="poisson", poisson_max_delta_step=0.7)

    def moves(part: int) -> Tensor:
        plain = samples[part].inputs[:, :n_inputs].numpy()
        x = np.column_stack([np.repeat(plain, len(middle), axis=0), np.tile(middle, len(plain))])
        told = np.asarray(booster.predict(x, raw_score=True), dtype=np.float32)
        return torch.from_numpy(told.reshape(len(plain), -1))

    def loss(outputs: Tensor, exposure: Tensor, event: Tensor) -> Tensor:
        return return_loss(torch.tensor(bins.log_rate) + outputs, exposure, event)

    slope, moved, _ = calibration(moves(VALID), samples[VALID], loss, shift=(1.0,))
    return torch.tensor(bins.log_rate) + moves(TEST) * slope + moved


def best_of_leaves(data: Any, valid: Any, metric: str, seed: int, **parameters: Any) -> Any:
    """The booster of the number of leaves that validates best, stopped where validation stops gaining."""
    from lightgbm import early_stopping, train

    found = []
    for leaves in LEAVES:
        settings = {**PARAMETERS, **parameters, "metric": metric, "num_leaves": leaves, "seed": seed}
        stop = early_stopping(PATIENCE, verbose=False)
        booster = train(settings, data, ROUNDS, valid_sets=[valid], valid_names=["valid"], callbacks=[stop])
        found.append((booster.best_score["valid"][metric], leaves, booster))
    reached, leaves, booster = min(found, key=lambda one: one[:2])
    print(f"lightgbm {metric}: {leaves} leaves, {booster.best_iteration} rounds, {reached:.4f}", file=sys.stderr)
    return booster


def planted(run: OpenRun, histories: Histories, rows: IntArray) -> Floats | None:
    """(Q,) the probability with which each event's rating was drawn as 4 or more; None where the truth is not of this
    build, seen by its giving a worse order than a coin."""
    folder = Settings().cache / "datasets" / "synthetic"
    if not (folder / "truth.npz").is_file():
        return None
    with np.load(folder / "truth.npz") as truth:
        start, end, affinity = truth["taste_start"], truth["taste_end"], truth["affinity"]
    days = json.loads((folder / "truth.json").read_text())["world"]["days"]
    user = _numbers(reads.user_table(run.warehouse)["key"].to_pylist(), folder / "users.tsv", "user")
    item = _numbers(list(run.served.catalogue.keys), folder / "items.tsv", "item")
    who, what = user[histories.owner[rows]], item[histories.item[rows]]
    progress = ((histories.ts[rows] - synthetic.START.timestamp()) / (days * 86_400))[:, None]
    taste = (((1 - progress) * start[who] + progress * end[who]) * affinity[what]).sum(1)
    opinion = synthetic.RATING_AT_ZERO + synthetic.RATING_SLOPE * taste
    least = run.warehouse.facts.spec.positive.min_value
    p = np.asarray(norm.cdf((opinion - (least - 0.5)) / synthetic.RATING_NOISE))
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return p if auc(p, histories.value[rows] >= least) > 0.6 else None


def off_planted(guessed: Mapping[str, Floats], truth: Floats) -> dict[str, Any]:
    """By model: the mean distance of its probabilities from the planted ones, their mean difference, and over tenths of
    its own probabilities the mean distance between mean guess and mean truth."""
    told = {}
    for name, p in guessed.items():
        tenths = np.array_split(np.argsort(p, kind="stable"), 10)
        told[name] = {
            "distance": float(np.abs(p - truth).mean()),
            "bias": float((p - truth).mean()),
            "calibration": float(np.mean([abs(p[rows].mean() - truth[rows].mean()) for rows in tenths])),
        }
    return told


def show(figures: Mapping[str, Any], *, title: str) -> None:
    """The figures as tables: each model's, and how far the heads are ahead of it in pairs."""
    console = Console(width=150)
    metrics = {"like": ("auc", "log_loss"), "kind": ("log_loss",), "return": ("concordance", "log_likelihood")}
    for question, names in metrics.items():
        told = figures.get(question)
        if told is None:
            continue
        others = list(told["against"])
        rows = [
            (
                name,
                *(interval(one[metric]) for metric in names),
                f"{one['ece']['estimate']:.3f}",
                *("" if name == HEADS else interval(told["against"][name][metric]) for metric in names),
            )
            for name, one in [(HEADS, told), *((other, told[other]) for other in others)]
        ]
        head = ("", *names, "ece", *(f"heads' gap, {metric}" for metric in names))
        console.print(table(head, rows, title=f"{title}: {question}, n {told['n']}"))
        if question == "return":
            console.print(f"came back: {told['came']} of {told['n']}; base rate {told['base_rate_log_likelihood']:.3f}")
            inside = ", ".join(f"{name} {told[name]['interval80']:.2f}" for name in others)
            console.print(f"inside the 80% interval: heads {told['interval80']:.2f}, {inside}")
        else:
            console.print(f"base rate log loss {told['base_rate_log_loss']:.3f}")
        if question == "like":
            console.print(f"ece by chance {told['ece']['by_chance']}")
            for name, one in told.get("off_planted", {}).items():
                console.print(f"off the planted truth, {name}: {one}")
    console.print("seconds", {name: round(value, 1) for name, value in figures["seconds"].items()})


def _numbers(keys: list[Any], path: Path, column: str) -> IntArray:
    """The row number in a file of each key of the build."""
    told = {str(key): row for row, key in enumerate(pd.read_csv(path, sep="\t", dtype=str)[column])}
    return np.asarray([told[str(key)] for key in keys], dtype=np.int64)


if __name__ == "__main__":
    main()
