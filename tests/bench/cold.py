"""Items that training never saw: `python -m tests.bench.cold --home HOME` on the newest build of a data set.

A draw takes a tenth of the items that have events out of all histories; the default recipe learns from the rest. A user
is asked with the whole history that is left, and what is looked for are all their positives (the build's own rule)
among the items taken out. Ranked among those alone: NDCG@10; among all items new to the user: NDCG@10, whether any
positive is in the first fifty (HR@50), and the share of positives there. Beside it stand nearest neighbours in the
frozen language model's vectors and in the categories, for the mean of the whole history and of its last ten events, of
which the best by each figure counts. `shuffled`: the same run, its items placed by one another's texts. `warm`: NDCG@10
of the ordinary test targets, against the same scores with the items taken out left out. The curve is what becomes of
all that when the cold items' offset is moved from where validation put it.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor

from core.learn.closed import CONTENT
from core.learn.config import TrainConfig, load_config
from core.learn.ranking import ndcg, ranks
from core.learn.sequences import Histories, histories_from
from core.learn.splits import leave_last_out
from core.learn.weights import weights_folder
from core.predict.cold import place_cold_items
from core.predict.evaluate import by_user
from core.predict.fit import fit
from core.predict.intervals import bootstrap_mean, paired_gap
from core.predict.served import Catalogue, ServedModel, catalogue_of
from dashboard.settings import Settings
from dashboard.terminal import interval, table
from data import reads
from data.warehouse import Warehouse

SHARE = 10  # one item in so many is taken out
RECENT = 10
MOVES = (-4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)  # of the cold items' offset
NEAR = "nearest neighbours"
AMONG_COLD = "among the cold, NDCG@10"
CURVE = AMONG_ALL, HR_FIFTY, IN_FIFTY, WARM = (
    "among all, NDCG@10",
    "among all, HR@50",
    "among all, positives in 50",
    "warm, NDCG@10",
)


class Quiet:
    """What fitting reports to: a line for people now and then, and never an end."""

    def epoch(self, **fields: Any) -> None:
        """Nothing."""

    def stopping(self) -> bool:
        """Never."""
        return False

    def log(self, message: str) -> None:
        """To stderr."""
        print(message, file=sys.stderr)

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Nothing more."""
        return nullcontext()


@dataclass(frozen=True)
class World:
    """A build's histories and catalogue. positive (N,) bool: events that count as liked."""

    histories: Histories
    positive: Any
    catalogue: Catalogue
    texts: list[str]
    kinds: tuple[str, ...]
    task: Any


@dataclass(frozen=True)
class Asked:
    """Users with positives among the items taken out, user (U,): their contexts, wanted and seen (U, I) bool, cold (I,)
    bool."""

    user: Any
    context: Histories
    wanted: Tensor
    seen: Tensor
    cold: Tensor

    def figures(self, scores: Tensor) -> dict[str, Tensor]:
        """By name, (U,) each: ranked among the items taken out, and among all items new to the user."""
        cold = scores[:, self.cold].topk(10, dim=1).indices
        found = self.wanted.gather(1, scores.masked_fill(self.seen, -torch.inf).topk(50, dim=1).indices).double()
        return {
            AMONG_COLD: self._ndcg(self.wanted[:, self.cold].gather(1, cold).double()),
            AMONG_ALL: self._ndcg(found[:, :10]),
            HR_FIFTY: found.amax(1),
            IN_FIFTY: found.sum(1) / self.wanted.sum(1),
        }

    def _ndcg(self, found: Tensor) -> Tensor:
        discount = 1 / torch.log2(torch.arange(10).double() + 2)
        return (found * discount).sum(1) / discount.cumsum(0)[self.wanted.sum(1).clamp(max=10) - 1]


def main() -> None:
    """Train on each draw, print the figures, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--dataset", default="movielens-100k")
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    config = load_config(overrides=[tuple(setting.split("=", 1)) for setting in asked.set])
    world = world_of(newest(asked.home, asked.dataset))
    draws = [draw_figures(world, draw, config, cache=Settings().cache) for draw in asked.draws]
    # A user of several draws is one user: what they were found by in each is averaged first.
    users = {name: pd.concat([one[name] for one in draws]).groupby(level=0).mean() for name in draws[0]}
    told = {name: bootstrap_mean(values, seed=0) for name, values in users.items() if not name.startswith("moved")}
    gains = {
        name: paired_gap(users[name], users[f"{name}; {NEAR}"], seed=0) for name in told if f"{name}; {NEAR}" in told
    }
    moved = {move: {what: float(users[f"moved {move:g}, {what}"].mean()) for what in CURVE} for move in MOVES}
    title = f"{asked.dataset}, draws {asked.draws}, seed {config.seed}; n users, each the mean of their draws"
    rows = [(name, interval(measure)) for name, measure in told.items()]
    rows += [(f"{name}: gain over neighbours", interval(gain)) for name, gain in gains.items()]
    Console().print(table(("", "95% over users"), rows, title=title))
    points = [(f"{move:+g}", *(f"{value:.4f}" for value in moved[move].values())) for move in MOVES]
    Console().print(table(("offset", *CURVE), points, title="the cold items' offset moved"))
    if asked.out is not None:
        figures = {"figures": told, "gains": gains, "curve": moved}
        asked.out.write_text(json.dumps({"draws": asked.draws, "config": config.model_dump(), **figures}))


def take_out(world: World, draw: int) -> tuple[Histories, Any]:
    """The histories without a tenth of the items that have events, and which those are, (I,) bool."""
    n_items = len(world.catalogue)
    counts = np.bincount(world.histories.item, minlength=n_items)
    rng = np.random.default_rng([7, draw])
    cold = np.zeros(n_items, dtype=bool)
    cold[rng.choice(np.flatnonzero(counts), int((counts > 0).sum()) // SHARE, replace=False)] = True
    return world.histories.events(~cold[world.histories.item]), cold


def draw_figures(world: World, draw: int, config: TrainConfig, *, cache: Path) -> Mapping[str, pd.Series]:
    """Per-user figures of one draw, by name and then by user."""
    left, cold = take_out(world, draw)
    split = leave_last_out(left, world.task)
    source = weights_folder(config.text.model, cache=cache)
    fitted = fit(split, world.catalogue, world.texts, config, kinds=world.kinds, language_model=source, follow=Quiet())
    placed, language = fitted.served, fitted.language
    assert language is not None, "items that nobody has had are found by their texts"
    asked = questions(world, left, cold)
    scores = placed.logits(asked.context)
    vectors = {"text": language.frozen, "categories": one_hot(world.catalogue)}
    near = [asked.figures(one) for one in neighbours(asked.context, vectors)]
    warm = placed.logits(split.test.context)
    untrained = (~placed.catalogue.trained).double()

    def of_warm(scores: Tensor) -> Any:
        return by_user(ndcg(ranks(scores, split.test, task=split.task), split.test, k=10), split.test)

    found = asked.figures(scores)
    told = dict(found)
    told |= {f"{name}; {NEAR}": max((one[name] for one in near), key=lambda it: float(it.mean())) for name in found}
    for move in MOVES:
        of_cold = asked.figures(scores + move * untrained)
        told |= {f"moved {move:g}, {what}": of_cold[what] for what in (AMONG_ALL, HR_FIFTY, IN_FIFTY)}
    mixed = torch.randperm(len(cold), generator=torch.Generator().manual_seed(draw))
    shuffled = place_cold_items(retold(placed, mixed), split.valid, seed=config.seed, log=Quiet().log)
    false = shuffled.logits(asked.context)
    told |= {f"{name}; shuffled": figure for name, figure in asked.figures(false).items()}
    known = {f"moved {move:g}, {WARM}": of_warm(warm + move * untrained) for move in MOVES}
    known |= {WARM: of_warm(warm), "warm, cold left out": of_warm(warm.masked_fill(~placed.catalogue.trained, -1e9))}
    warm_users = np.unique(split.test.user)
    return {name: pd.Series(figure.numpy(), index=asked.user) for name, figure in told.items()} | {
        name: pd.Series(figure, index=warm_users) for name, figure in known.items()
    }


def questions(world: World, left: Histories, cold: Any) -> Asked:
    """What the users liked among the items taken out, asked with what is left of their histories."""
    histories, n_items = world.histories, len(cold)
    chosen = cold[histories.item] & world.positive
    wanted = torch.zeros(len(histories), n_items, dtype=torch.bool)
    wanted[torch.from_numpy(histories.owner[chosen]), torch.from_numpy(histories.item[chosen])] = True
    users = wanted.any(1).nonzero().squeeze(1)
    context = left.take(users.numpy())
    seen = torch.zeros(len(users), n_items, dtype=torch.bool)
    seen[torch.from_numpy(context.owner), torch.from_numpy(context.item)] = True
    return Asked(users.numpy(), context, wanted[users], seen, torch.from_numpy(cold))


def neighbours(context: Histories, vectors: Mapping[str, Tensor]) -> list[Tensor]:
    """(U, I) cosines between each item and the mean of the history, by vectors and by how much of the history."""
    out = []
    for one in vectors.values():
        unit = F.normalize(one, dim=1)
        for part in (context, context.latest(RECENT)):
            ones = np.ones(len(part.item), dtype=np.float32)
            taken = sp.csr_matrix((ones, (part.owner, part.item)), shape=(len(part), len(unit)))
            out.append(F.normalize(torch.from_numpy(taken @ unit.numpy()), dim=1) @ unit.T)
    return out


def one_hot(catalogue: Catalogue) -> Tensor:
    """(I, categories)."""
    names = sorted({name for some in catalogue.categories for name in some})
    out = torch.zeros(len(catalogue), max(len(names), 1))
    for item, some in enumerate(catalogue.categories):
        out[item, [names.index(name) for name in some]] = 1.0
    return out


@torch.no_grad()
def retold(served: ServedModel, order: Tensor) -> ServedModel:
    """The model, its network changed in place: the items' contents are exchanged, though every item keeps its vector
    and bias."""
    network = served.network
    vectors, bias = network.items()
    network.text.copy_(network.text[order])
    changed, changed_bias = network.items()
    network.id_vector += vectors - changed
    network.id_bias += bias - changed_bias
    content = served.closed.get(CONTENT)
    if content is None or content.weights is None or content.across is None:
        return served
    exchanged = replace(content, weights=content.weights[order], across=content.across[:, order])
    return replace(served, closed={**served.closed, CONTENT: exchanged})


def newest(home: Path, dataset: str) -> Path:
    """The newest build of a data set in a home."""
    builds = sorted((home / "warehouse").glob("*.duckdb"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in builds:
        with Warehouse.open(path) as warehouse:
            if warehouse.facts.dataset == dataset:
                return path
    raise SystemExit(f"{home} has no build of {dataset}: run `lodestar ingest {dataset} --home {home}`")


def world_of(path: Path) -> World:
    """A build, read."""
    with Warehouse.open(path) as warehouse:
        kinds = tuple(reads.kind_counts(warehouse)["kind"].to_pylist())
        histories = histories_from(reads.histories(warehouse), kinds)
        least = warehouse.facts.spec.positive.min_value
        return World(
            histories=histories,
            positive=np.ones(len(histories.item), dtype=bool) if least is None else histories.value >= least,
            catalogue=catalogue_of(warehouse, trained=None),
            texts=[str(text) for text in reads.catalogue(warehouse)["text"].to_pylist()],
            kinds=kinds,
            task=warehouse.facts.spec.task,
        )


if __name__ == "__main__":
    main()
