"""What each part of the network's recipe earns: `python -m tests.bench.ablation --home HOME`, newest build of each set.

The first training stage (texts frozen) is trained as the recipe says, and once more without each part, or with another
choice in its place: a setting is changed, or a table of the network is held at zero. Figures are NDCG@10 on the
validation part, since it is there that a recipe is chosen; no test target is read. A user's figures are averaged over
seeds first; a gain is the whole recipe less the changed one, over the users, with its interval by bootstrap. The best
epoch is chosen on the same questions for all, so that each figure alone is a little too high.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from core.learn.batches import fit_vocabulary
from core.learn.config import load_config
from core.learn.model import Recommender
from core.learn.ranking import ndcg
from core.learn.scoring import neural_ranks
from core.learn.text import TextEncoder
from core.learn.train import Trainer
from core.learn.weights import weights_folder
from core.learn.whitening import fit_whitening
from core.material import Material, material_of
from core.predict.evaluate import by_user
from core.predict.intervals import bootstrap_mean, paired_gap
from dashboard.settings import Settings
from dashboard.terminal import interval, table
from data.warehouse import Warehouse
from tests.bench.cold import Quiet, newest


@dataclass(frozen=True)
class Change:
    """A recipe that differs from the whole one in `settings`, and in what of the network is held at zero."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    silent: Sequence[str] = ()


WHOLE = "the recipe"
CHANGES: Mapping[str, Change] = {
    WHOLE: Change(),
    "no time gaps": Change(silent=("gap.weight",)),
    "no kinds, no values": Change(silent=("kind.weight", "value.weight")),
    "no positions": Change(silent=("position.weight",)),
    "no text": Change({"text.tune": "none"}),
    "no ids": Change(silent=("id_vector",)),
    "ids never dropped": Change({"id_dropout": 0.0}),
    "last weights, not their average": Change({"ema": 0.0}),
    "no dropout": Change({"network.dropout": 0.0}),
    "dropout .5": Change({"network.dropout": 0.5}),
    "sampled loss, 2,048 negatives": Change({"full_softmax_items": 1}),
    "sampled loss, 256 negatives": Change({"full_softmax_items": 1, "negatives": 256}),
    "one block": Change({"network.blocks": 1}),
    "four blocks": Change({"network.blocks": 4}),
    "width 128": Change({"network.dim": 128}),
    "constant rate": Change({"schedule": "constant"}),
    "last 50 events": Change({"network.max_length": 50}),
    "three times the epochs": Change({"epochs": 90}),
    "a third of the epochs": Change({"epochs": 10}),
    "dropout .1": Change({"network.dropout": 0.1}),
}


def main() -> None:
    """Train every change with every seed on every data set, print the tables, write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--datasets", nargs="+", default=["movielens-100k", "complete-journey", "synthetic"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--changes", nargs="+", choices=list(CHANGES)[1:], default=list(CHANGES)[1:], metavar="CHANGE")
    parser.add_argument("--out", type=Path, help="a JSON file, written anew after every data set")
    asked = parser.parse_args()
    figures = {}
    for dataset in asked.datasets:
        with Warehouse.open(newest(asked.home, dataset)) as warehouse:
            material = material_of(warehouse, load_config())
        raw = _frozen(material.texts)
        names = [WHOLE, *asked.changes]
        users = {name: np.mean([_users(name, material, raw, seed) for seed in asked.seeds], axis=0) for name in names}
        figures[dataset] = {
            name: {
                "ndcg@10": bootstrap_mean(one, seed=0),
                "whole_less_this": None if name == WHOLE else paired_gap(users[WHOLE], one, seed=0),
            }
            for name, one in users.items()
        }
        rows = [
            (name, interval(told["ndcg@10"]), "" if name == WHOLE else interval(told["whole_less_this"]))
            for name, told in figures[dataset].items()
        ]
        title = f"{dataset}, validation, seeds {asked.seeds}, network alone, 95% over users"
        Console().print(table(("", "NDCG@10", "the recipe gains"), rows, title=title))
        if asked.out is not None:
            asked.out.write_text(json.dumps({"seeds": asked.seeds, "figures": figures}, indent=1))


def _users(name: str, material: Material, raw: Tensor, seed: int) -> np.ndarray:
    """(U,) validation NDCG@10 of the users who are asked, of the network's best epoch."""
    change, split = CHANGES[name], material.learned
    config = load_config(overrides=[("text.tune", "frozen"), ("seed", seed), *change.settings.items()])
    torch.manual_seed(config.seed)
    vocabulary = fit_vocabulary(split.train, material.kinds, buckets=config.network.value_buckets)
    text = torch.zeros(len(raw), 0) if config.text.tune == "none" else fit_whitening(raw, config.text.dim)(raw)
    network = Recommender(config.network, text=text, n_kinds=max(len(material.kinds), 1))
    for parameter in (network.get_parameter(silent) for silent in change.silent):
        parameter.data.zero_()
        parameter.requires_grad_(False)
    begun = time.perf_counter()
    trainer = Trainer(network, split, vocabulary, config, stage="frozen")
    stage = trainer.run(Quiet(), lambda _: None)
    trainer.put(stage.best_state)
    valid = trainer.valid
    reached = by_user(ndcg(neural_ranks(network, valid, vocabulary, task=split.task), valid, k=10), valid)
    took = f"{time.perf_counter() - begun:.0f} s, best epoch {stage.best_epoch + 1} of {stage.epoch}"
    print(f"{name}, seed {seed}: {reached.mean():.4f}, {took}", file=sys.stderr)
    return reached


def _frozen(texts: list[str]) -> Tensor:
    config = load_config().text
    return TextEncoder(weights_folder(config.model, cache=Settings().cache), config, texts=texts).encode()


if __name__ == "__main__":
    main()
