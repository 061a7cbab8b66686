"""Figures of the models' lists: every metric by Lodestar's one metric code, claims with their tests, seconds to a mark.

Per-user metrics are averaged over seeds first. A gap has its interval from a bootstrap over users, and a p-value from a
paired permutation over users, corrected by Holm over all peers of a metric.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch

from core.learn.ranking import ndcg
from core.learn.sequences import Queries
from core.predict.evaluate import Scored, by_user, per_query, score_queries
from core.predict.intervals import bootstrap_mean, paired_gap
from core.predict.significance import holm, paired_permutation
from tests.bench.peers.models import MODELS, is_ours
from tests.bench.peers.split import read_part

TESTED = ("hr@10", "ndcg@10")
AGREE = 1e-6


@dataclass(frozen=True)
class Result:
    """One model's run with one seed: what it told, and its answers to the test queries."""

    seed: int
    told: dict[str, Any]
    users: dict[str, np.ndarray]  # hr@k, ndcg@k, mrr@k, each (U,)


def read_result(folder: Path, split: Path, *, seed: int) -> Result:
    """A finished run's figures. Exits where the runner's own validation NDCG is not what the metric code finds."""
    told = json.loads((folder / "result.json").read_text())
    facts = json.loads((split / "split.json").read_text())
    with np.load(folder / "lists.npz") as lists:
        valid, test = (
            scored(lists[f"{name}_item"], lists[f"{name}_score"], read_part(split, name), facts)
            for name in ("valid", "test")
        )
    reached = float(ndcg(valid.rank, read_part(split, "valid"), k=10).mean())
    asked = read_part(split, "test")
    users = {name: by_user(values, asked) for name, values in per_query(test, asked).items()}
    claims = [("validation ndcg@10", told["curve"][told["best_epoch"] - 1]["ndcg@10"], reached)]
    claims += [(f"test {name}", value, float(users[name].mean())) for name, value in told.get("metrics", {}).items()]
    for name, claimed, found in claims:
        if abs(claimed - found) > AGREE:
            raise SystemExit(f"{folder.name}: the runner counts {name} as {claimed:.6f}, the bench as {found:.6f}")
    return Result(seed, told, users)


def scored(item: np.ndarray, score: np.ndarray, queries: Queries, facts: Mapping[str, Any]) -> Scored:
    """Ranks and slates from lists (Q, K); what is in no list has no score and counts as a miss."""
    dense = torch.full((len(item), facts["n_items"]), -torch.inf)
    row, column = np.nonzero(item >= 0)
    dense[torch.from_numpy(row), torch.from_numpy(item[row, column])] = torch.from_numpy(score[row, column])
    return score_queries(dense, queries, task=facts["task"])


def figures_of(results: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    """Everything the table and the plot show."""
    users = {name: averaged(runs) for name, runs in results.items()}
    return {
        "models": {name: model_figures(runs, users[name]) for name, runs in results.items()},
        "gains": {name: gains(name, users) for name in results if is_ours(name)},
        "seconds_to": {name: seconds_to(name, results) for name in results if not is_ours(name) and sequence(name)},
        "best_peer": best_peer(results),
    }


def averaged(runs: Sequence[Result]) -> dict[str, np.ndarray]:
    """Each metric's mean over seeds, (U,)."""
    return {metric: np.mean([run.users[metric] for run in runs], axis=0) for metric in runs[0].users}


def model_figures(runs: Sequence[Result], users: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """One model's accuracy with intervals, and what it costs; a list has one entry a seed."""
    told = [run.told for run in runs]
    epochs = [t.get("seconds_per_epoch", t["curve"][-1]["seconds"] / len(t["curve"])) for t in told]
    return {
        "metrics": {metric: bootstrap_mean(values, seed=0) for metric, values in users.items()},
        "seeds": [run.seed for run in runs],
        "valid_ndcg@10": [at_best(t)["ndcg@10"] for t in told],
        "seconds_to_best": [at_best(t)["seconds"] for t in told],
        "best_epoch": [t["best_epoch"] for t in told],
        "stopped": [t["stopped"] for t in told],
        "seconds_per_epoch": mean(epochs),
        "examples_per_s": mean(t["examples_per_epoch"] / s for t, s in zip(told, epochs, strict=True)),
        "peak_gb": max(t["peak_gb"] for t in told),
        "recommend_users_per_s": median(t["recommend"]["users"] / min(t["recommend"]["seconds"]) for t in told),
        "recommend_call": told[0]["recommend"]["call"],
        "calibration_s": [t["calibration_s"] for t in told],
        "versions": told[0]["versions"],
        "settings": told[0]["settings"],
        "curves": [t["curve"] for t in told],
    }


def gains(ours: str, users: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, Any]]:
    """metric -> peer -> {estimate, low, high, n, p, p_holm}, of ours less the peer's."""
    peers = [name for name in users if not is_ours(name)]
    out: dict[str, dict[str, Any]] = {}
    for metric in TESTED:
        mine = users[ours][metric]
        p = {name: paired_permutation(mine, users[name][metric], seed=0) for name in peers}
        adjusted = holm(p)
        out[metric] = {
            name: {**paired_gap(mine, users[name][metric], seed=0), "p": p[name], "p_holm": adjusted[name]}
            for name in peers
        }
    return out


def seconds_to(peer: str, results: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    """Each of ours -> seeds, each with the peer's best validation NDCG and both's seconds to it; None where not
    reached. `ratio` is the median over seeds of peer / ours, None unless every seed got there; `ratio_in_matmuls` the
    same with seconds in units of each run's own calibration, which differs from it where the machine was not quiet."""
    out: dict[str, Any] = {}
    for name in (name for name in results if is_ours(name)):
        mine = {run.seed: run.told for run in results[name]}
        seeds = []
        for run in (run for run in results[peer] if run.seed in mine):
            mark = at_best(run.told)
            curve = mine[run.seed]["curve"]
            own_s = next((point["seconds"] for point in curve if point["ndcg@10"] >= mark["ndcg@10"]), None)
            ratio = mark["seconds"] / own_s if own_s else None
            mood = mean(mine[run.seed]["calibration_s"]) / mean(run.told["calibration_s"])
            seeds.append(
                {
                    "seed": run.seed,
                    "ndcg@10": mark["ndcg@10"],
                    "peer_s": mark["seconds"],
                    "peer_stopped": run.told["stopped"],
                    "ours_s": own_s,
                    "ratio": ratio,
                    "ratio_in_matmuls": ratio and ratio * mood,
                }
            )
        out[name] = {"seeds": seeds}
        for kind in ("ratio", "ratio_in_matmuls"):
            ratios = [seed[kind] for seed in seeds]
            out[name][kind] = median(ratios) if ratios and None not in ratios else None
    return out


def best_peer(results: Mapping[str, Sequence[Result]]) -> str | None:
    """The peer that validated best, which the test has no say in."""
    reached = {
        name: mean(at_best(run.told)["ndcg@10"] for run in runs) for name, runs in results.items() if not is_ours(name)
    }
    return max(reached, key=lambda name: reached[name]) if reached else None


def at_best(told: Mapping[str, Any]) -> dict[str, float]:
    """The curve's point that the lists are of."""
    return dict(told["curve"][told["best_epoch"] - 1])


def sequence(name: str) -> bool:
    """Whether a model is trained in epochs."""
    return MODELS[name].sequence
