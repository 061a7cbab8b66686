"""The leaderboard: every other model beside a run's served blend, on the run's own split, by the same figures.

A contender is fitted on the training part, its setting chosen by validation NDCG@10 over all the candidates it gives,
and then asked the test questions once, with the test history; a random one once a seed, its users' figures averaged.
Seconds are those of fitting every candidate and choosing among them. What would cost too much stands aside, and the
board says why. Gains are paired over users, p-values are of paired permutations and Holm-corrected over the board.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from core.learn.baselines import (
    NEIGHBOURS,
    Candidates,
    Ranker,
    Settings,
    fit_ials,
    fit_item_knn,
    fit_markov,
    fit_popularity,
    fit_recent_popularity,
    ials_gigaflops,
)
from core.learn.bert import BERTRecommender, BERTSettings, Reader
from core.learn.closed import FITTERS, MAX_QUERIES
from core.learn.config import Protocol
from core.learn.memory import Estimate
from core.learn.ranking import Ranks
from core.learn.seed_models import (
    SoftmaxSimilarity,
    fit_linear_behaviour,
    fit_softmax_similarity,
    fit_total_interest,
    item_features,
    softmax_gigaflops,
)
from core.learn.sequences import Queries, Split, histories_from
from core.learn.splits import judged, split_histories
from core.predict.effects import component_names
from core.predict.evaluate import RESAMPLES, Scored, by_user, in_blocks, per_query, score_queries
from core.predict.intervals import Measure, bootstrap_mean, paired_gap
from core.predict.significance import holm, paired_permutation
from data import reads
from data.warehouse import Warehouse

METRICS = ("hr@10", "ndcg@10")
MOST_GIGAFLOPS = 20_000.0  # some twenty minutes of one core
MOST_TEXTS = 20_000  # that the language model reads for the board
Log = Callable[[str], None]


@dataclass(frozen=True)
class World:
    """What contenders learn from: the split (its validation small enough to be asked often), the items in id order with
    their titles, texts and features (I, F), the folder of a language model (None: its contender stands aside), and the
    budget of dense forms."""

    split: Split
    titles: Sequence[str]
    texts: Sequence[str]
    features: sp.csr_matrix
    language_model: Path | None
    budget_gb: float

    @property
    def n_items(self) -> int:
        """I, the size of the catalogue."""
        return len(self.titles)


def world_of(
    warehouse: Warehouse, protocol: Protocol, *, language_model: Path | None, budget_gb: float, seed: int
) -> World:
    """A build's world under a protocol. Raises InputError where its events cannot be cut in time."""
    kinds = tuple(reads.kind_counts(warehouse)["kind"].to_pylist())
    histories = histories_from(reads.histories(warehouse), kinds)
    split = split_histories(histories, warehouse.facts.spec.task, protocol)
    items = reads.catalogue(warehouse)
    named = [[str(name) for name in names or ()] for names in items["categories"].to_pylist()]
    attributes = [{str(k): str(v) for k, v in own or ()} for own in items["attributes"].to_pylist()]
    return World(
        split=replace(
            split,
            valid=split.valid.sample(MAX_QUERIES, seed=seed),
            test=judged(split.test, n_items=len(items)),
        ),
        titles=[str(title) for title in items["title"].to_pylist()],
        texts=[str(text) for text in items["text"].to_pylist()],
        features=item_features(named, attributes),
        language_model=language_model,
        budget_gb=budget_gb,
    )


@dataclass(frozen=True)
class Contender:
    """fit(seed) gives the candidates; random: whether the seed matters; too_much: why it stands aside, or None."""

    fit: Callable[[int], Candidates]
    random: bool = False
    too_much: str | None = None


@dataclass(frozen=True)
class Standing:
    """What a contender reached. users: metric -> (U,) figures of the tested users, ascending, averaged over seeds;
    settings: the chosen ones, a seed each; valid_ndcg likewise; seconds: the first seed's (others may remember)."""

    users: Mapping[str, Ranks] = field(default_factory=dict)
    settings: Sequence[Settings] = ()
    valid_ndcg: Sequence[float] = ()
    seconds: float = math.nan
    too_much: str | None = None


def contenders(world: World) -> dict[str, Contender]:
    """Every model that can be asked to stand beside the blend, cheapest first."""
    split, n = world.split, world.n_items
    features = world.features

    def dense(name: str) -> Contender:
        cost = Estimate(n, 2 if name == "ridge" else 1).gigabytes if name != "frequency" else 0.0

        def fit(seed: int) -> Candidates:
            return (({"decays": form.decays}, form) for form in FITTERS[name](split, n_items=n))

        return Contender(fit, too_much=_over(cost, world.budget_gb, "GB"))

    found = {
        "popularity": Contender(lambda seed: fit_popularity(split, n_items=n)),
        "recent_popularity": Contender(lambda seed: fit_recent_popularity(split, n_items=n)),
        "markov": Contender(lambda seed: fit_markov(split, n_items=n)),
    }
    if split.task != "next-new":
        found["frequency"] = dense("frequency")
    knn_gb = 36 * max(NEIGHBOURS) * n / 1e9  # entries with their indices, and their order while they are cut
    softmax = softmax_gigaflops(features)
    ials = ials_gigaflops(split.train, n_items=n)
    reader = None if world.language_model is None else Reader(world.language_model)
    found |= {
        "item_knn": Contender(
            lambda seed: fit_item_knn(split, n_items=n), too_much=_over(knn_gb, world.budget_gb, "GB")
        ),
        "ease": dense("ease"),
        "ridge": dense("ridge"),
        "ials": Contender(
            lambda seed: fit_ials(split, n_items=n, seed=seed), random=True, too_much=_over(ials, MOST_GIGAFLOPS, "GF")
        ),
        "linear": Contender(lambda seed: fit_linear_behaviour(split, items=features, seed=seed), random=True),
        "softmax_similarity": Contender(
            lambda seed: fit_softmax_similarity(split, items=features, seed=seed),
            random=True,
            too_much=_over(softmax, MOST_GIGAFLOPS, "GF"),
        ),
        "total_interest": Contender(
            lambda seed: _interest(split, features, seed),
            random=True,
            too_much=_over(softmax, MOST_GIGAFLOPS, "GF"),
        ),
        "bert": Contender(lambda seed: _bert(world, reader, seed), random=True, too_much=_unread(world)),
    }
    return found


def standing(contender: Contender, world: World, *, seeds: Sequence[int], log: Log) -> Standing:
    """Fit, choose on validation, and ask the test questions, once a seed where the contender is random."""
    if contender.too_much is not None:
        log(f"stands aside: {contender.too_much}")
        return Standing(too_much=contender.too_much)
    split, n_items = world.split, world.n_items
    tested: list[dict[str, Ranks]] = []
    chosen_settings, reached_ndcg, seconds = [], [], []
    for seed in seeds if contender.random else seeds[:1]:
        begun = time.perf_counter()
        settings, model, reached = choose(contender.fit(seed), split, n_items=n_items)
        seconds.append(time.perf_counter() - begun)
        scored = answer(model, split.test, split, n_items=n_items)
        per = per_query(scored, split.test)
        tested.append({metric: by_user(per[metric], split.test) for metric in METRICS})
        chosen_settings.append(settings)
        reached_ndcg.append(reached)
        log(f"{settings or ''} validation NDCG@10 {reached:.4f}, {seconds[-1]:.1f} s")
    users = {metric: np.mean([one[metric] for one in tested], axis=0) for metric in METRICS}
    return Standing(users, chosen_settings, reached_ndcg, seconds[0])


def choose(candidates: Candidates, split: Split, *, n_items: int) -> tuple[Settings, Ranker, float]:
    """The candidate with the best validation NDCG@10 (the first of equals; without validation the first of all)."""
    valid = split.valid
    best: tuple[Settings, Ranker, float] | None = None
    for settings, model in candidates:
        found = answer(model, valid, split, n_items=n_items)
        reached = float(by_user(per_query(found, valid)["ndcg@10"], valid).mean()) if len(valid) else 0.0
        if best is None or reached > best[2]:
            best = (settings, model, reached)
    assert best is not None, "a contender gives at least one candidate"
    return best


def answer(model: Ranker, queries: Queries, split: Split, *, n_items: int) -> Scored:
    """A model's ranks and slates for queries, a block at a time."""

    def one(some: Queries) -> dict[str, Scored]:
        return {"it": score_queries(model.scores(some.context, n_items=n_items), some, task=split.task)}

    return in_blocks(queries, one, n_items=n_items)["it"]


def leaderboard(
    served: pd.DataFrame, standings: Mapping[str, Standing], *, run_seconds: Mapping[str, float], seed: int
) -> list[dict[str, Any]]:
    """Rows of the board, best NDCG@10 first and those that stood aside last: model, hr@10 and ndcg@10 (M), gain (metric
    -> M of the served blend over the model, paired over users), p (metric -> Holm-corrected), seconds, settings,
    valid_ndcg@10, too_much.

    served: the run's table of tested users (user_id, hr@10, ndcg@10, and `<component>:<metric>` for its own parts,
    which stand on the board too where no contender has their name); run_seconds: what those of them took that the run
    knows of.
    """
    own = {"served": {metric: served[metric].to_numpy() for metric in METRICS}}
    for name in component_names(served.columns):
        if name not in standings:
            own[name] = {metric: served[f"{name}:{metric}"].to_numpy() for metric in METRICS}
    parts = {name: Standing(users, seconds=run_seconds.get(name, math.nan)) for name, users in own.items()}
    everyone = {**parts, **standings}
    rows = [_row(name, one, own["served"], seed=seed) for name, one in everyone.items()]
    for metric in METRICS:
        raw = {row["model"]: row["p"][metric] for row in rows if metric in row["p"]}
        for name, p in holm(raw).items():
            next(row for row in rows if row["model"] == name)["p"][metric] = p
    return sorted(rows, key=lambda row: (row["too_much"] is not None, -_estimate(row)))


def _row(name: str, one: Standing, served: Mapping[str, Ranks], *, seed: int) -> dict[str, Any]:
    figures: dict[str, Any] = {
        metric: bootstrap_mean(one.users[metric], seed=seed, resamples=RESAMPLES) for metric in one.users
    }
    gain: dict[str, Measure] = {}
    p: dict[str, float] = {}
    for metric in one.users if name != "served" else ():
        gain[metric] = paired_gap(served[metric], one.users[metric], seed=seed, resamples=RESAMPLES)
        p[metric] = paired_permutation(served[metric], one.users[metric], seed=seed)
    return {
        "model": name,
        **figures,
        "gain": gain,
        "p": p,
        "seconds": None if math.isnan(one.seconds) else round(one.seconds, 2),
        "settings": [dict(some) for some in one.settings],
        "valid_ndcg@10": list(one.valid_ndcg),
        "too_much": one.too_much,
    }


def _estimate(row: Mapping[str, Any]) -> float:
    estimate = row.get("ndcg@10", {}).get("estimate", math.nan)
    return -math.inf if math.isnan(estimate) else float(estimate)


def _interest(split: Split, features: sp.csr_matrix, seed: int) -> Candidates:
    """Total interest over the similarity that validation chooses."""
    fits = fit_softmax_similarity(split, items=features, seed=seed)
    _, similarity, _ = choose(fits, split, n_items=features.shape[0])
    assert isinstance(similarity, SoftmaxSimilarity)
    yield from fit_total_interest(split, similarity=similarity)


def _bert(world: World, reader: Reader | None, seed: int) -> Candidates:
    assert reader is not None, "without a language model it stands aside"
    model = BERTRecommender(reader, world.titles, world.texts, seed=seed)
    model.train(world.split)
    yield {"events": model.settings.events, "examples": model.settings.examples}, model


def _unread(world: World) -> str | None:
    if world.language_model is None:
        return "there is no language model at hand"
    asked = len(world.split.valid) + len(world.split.test) + BERTSettings().examples + world.n_items
    return _over(asked, MOST_TEXTS, "texts")


def _over(cost: float, budget: float, unit: str) -> str | None:
    return f"{cost:,.0f} {unit} is over {budget:,.0f} {unit}" if cost > budget else None
