"""A served model on its test questions: its figures, those of its parts, and of its language model taken away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from core.learn.model import Recommender
from core.learn.scoring import neural_scores
from core.learn.sequences import Histories, IntArray, Queries, Split
from core.predict.carried import not_learned, renumbered
from core.predict.effects import BESIDE, KNOWN, LANGUAGE_EFFECTS, RIVAL, SIDES
from core.predict.evaluate import (
    Figures,
    Scored,
    compare,
    figures,
    in_blocks,
    popularity_scores,
    score_queries,
    slices,
    user_table,
)
from core.predict.onward import Language
from core.predict.served import ServedModel

SERVED = "served"
UNMASKED = "unmasked"
PAIRED = ("hr@10", "ndcg@10")  # kept by user of a rival, and of the run on the same questions


@dataclass(frozen=True)
class Rival:
    """Another run's model over the same catalogue, and how many of each user's first events it learned from (U,): it
    is asked only about what came after them."""

    run_id: str
    served: ServedModel
    learned: IntArray


def evaluate_split(
    served: ServedModel,
    split: Split,
    *,
    frozen: Recommender | None,
    language: Language | None,
    seed: int,
    rival: Rival | None = None,
    kinds: Sequence[str] = (),
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Figures of the served score and of each component on the test queries, and the table of tested users.

    frozen: the first stage's network, when the run tuned its language model after it; rival: another run to measure on
    the same questions, but for those whose answers it learned from, whose kinds are numbered as `kinds`.
    """
    queries, n_items = split.test, served.n_items
    texts = _other_texts(served, language, seed=seed)
    everything = in_blocks(
        queries, lambda some: _answers(served, some, train=split.train, frozen=frozen, texts=texts), n_items=n_items
    )
    kept = {name: one for name, one in everything.items() if name != UNMASKED}
    scored = {name: one for name, one in kept.items() if name not in SIDES}

    def told(one: Scored) -> Figures:
        return figures(one, queries, train=split.train, n_items=n_items, seed=seed)

    evaluation: dict[str, Any] = {
        "metrics": told(scored[SERVED]),
        "components": {name: told(one) for name, one in scored.items() if name != SERVED},
        "against": {
            name: compare(scored[SERVED], one, queries, seed=seed) for name, one in scored.items() if name != SERVED
        },
        "other_masking": told(everything[UNMASKED]),
        "slices": slices(scored[SERVED], queries, train=split.train, n_items=n_items, seed=seed),
        "language_model": {
            name: compare(everything[KNOWN], everything[other], queries, seed=seed)
            for name, other in LANGUAGE_EFFECTS.items()
            if other in everything
        },
    }
    table = user_table(kept, queries, served=SERVED)
    fresh = np.zeros(0, np.int64) if rival is None else not_learned(queries, rival.learned)
    if rival is not None and len(fresh):
        some = queries.take(fresh)
        pair = _side_by_side(served, rival.served, some, kinds=kinds)
        evaluation[RIVAL] = {
            "run_id": rival.run_id,
            "n_queries": len(some),
            "metrics": figures(pair[RIVAL], some, train=split.train, n_items=n_items, seed=seed),
            "gain": compare(pair[BESIDE], pair[RIVAL], some, seed=seed),
        }
        beside = user_table(pair, some, served=RIVAL)
        theirs = {metric: f"{RIVAL}:{metric}" for metric in PAIRED}
        columns = ["user_id", *(f"{BESIDE}:{metric}" for metric in PAIRED), *PAIRED]
        table = table.merge(beside[columns].rename(columns=theirs), on="user_id", how="left")
    return evaluation, table


def _side_by_side(
    served: ServedModel, other: ServedModel, questions: Queries, *, kinds: Sequence[str]
) -> dict[str, Scored]:
    """Both models' answers to the same questions, whose kinds are numbered as `kinds`."""

    def answer(model: ServedModel, name: str, asked: Queries) -> Scored:
        return in_blocks(
            asked,
            lambda some: {name: score_queries(model.logits(some.context), some, task=model.task)},
            n_items=model.n_items,
        )[name]

    return {
        BESIDE: answer(served, BESIDE, questions),
        RIVAL: answer(other, RIVAL, renumbered(questions, kinds, other)),
    }


def _answers(
    served: ServedModel, some: Queries, *, train: Histories, frozen: Recommender | None, texts: Mapping[str, Tensor]
) -> dict[str, Scored]:
    """One block of queries: the served score, each component, the other masking, and the networks whose trained items
    the language model's effects are read from (`core.predict.effects`)."""
    task, trained, network = served.task, served.catalogue.trained, served.network

    def known(scores: Tensor) -> Tensor:
        return scores.masked_fill(~trained, -torch.inf)

    scores = dict(served.components(some.context))
    blended = served.blend.logits(scores, trained=trained)
    scores[KNOWN] = known(scores["neural"])
    if frozen is not None:
        scores["frozen"] = known(neural_scores(frozen, some.context, served.vocabulary))
    scores["popularity"] = popularity_scores(train, some, n_items=served.n_items)
    kept = network.text.clone()
    for name, text in texts.items():
        network.text.copy_(text)
        scores[name] = known(neural_scores(network, some.context, served.vocabulary))
    network.text.copy_(kept)
    out = {name: score_queries(one, some, task=task) for name, one in scores.items()}
    out[SERVED] = score_queries(blended, some, task=task)
    out[UNMASKED] = score_queries(blended, some, task=task, masked=task != "next-new")
    return out


def _other_texts(served: ServedModel, language: Language | None, *, seed: int) -> dict[str, Tensor]:
    """The texts shuffled among items, and those of the language model without its tuning."""
    if language is None:
        return {}
    text = served.network.text
    order = torch.randperm(len(text), generator=torch.Generator().manual_seed(seed))
    undone = {} if language.tuned is None else {"zeroed": language.whitening(language.frozen)}
    return {"shuffled": text[order].clone(), **undone}
