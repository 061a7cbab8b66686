"""Worlds too small to be measured: they train, answer, and never turn the absence of a question into a figure."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from core.learn.config import load_config
from core.learn.sequences import Histories, Task
from core.learn.splits import leave_last_out
from core.predict.fit import fit
from core.predict.measure import evaluate_split
from core.predict.recommend import slate
from core.predict.served import Catalogue, ServedModel
from core.trust.fairness import audit

RECIPE = load_config(overrides=[("text.tune", "none"), ("epochs", 1), ("network.dim", 16)])


class Watch:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def epoch(self, **fields: Any) -> None:
        """Not of interest."""

    def stopping(self) -> bool:
        return False

    def log(self, message: str) -> None:
        self.said.append(message)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        yield


def world(items: list[list[int]]) -> Histories:
    """Each user's items, an hour apart."""
    flat = np.array([item for own in items for item in own], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(own) for own in items])])
    ts = np.concatenate([3600 * np.arange(len(own)) for own in items]).astype(np.int64)
    return Histories(offsets, flat, ts, np.zeros(len(flat), np.int64), np.full(len(flat), np.nan, np.float32))


def fitted(histories: Histories, *, n_items: int, task: Task) -> tuple[ServedModel, dict[str, Any], list[str]]:
    keys = tuple(f"i{item}" for item in range(n_items))
    everything = torch.ones(n_items, dtype=torch.bool)
    split, watch = leave_last_out(histories, task), Watch()
    made = fit(
        split,
        Catalogue(keys, keys, ((),) * n_items, everything, everything.clone()),
        list(keys),
        RECIPE,
        kinds=("view",),
        language_model=None,
        follow=watch,
    )
    evaluation, users = evaluate_split(made.served, split, frozen=None, language=None, seed=0)
    people = pd.DataFrame({"user_id": np.arange(len(histories)), "sex": ["a", "b"] * (len(histories) // 2)})
    verdict = audit(users, people, attributes=["sex"], seed=0, activity=pd.Series(split.train.lengths, name="events"))
    assert verdict.group_metrics["estimate"].isna().all() or len(split.test)
    return made.served, evaluation, watch.said


@pytest.mark.parametrize(
    ("items", "n_items", "task"),
    [
        ([[0]] * 20, 1, "next-new"),
        ([[0, 1]] * 10 + [[1, 0]] * 10, 2, "next-new"),
        ([[user % 3] for user in range(20)], 5, "next-new"),
        ([[user % 3] for user in range(20)], 5, "repurchase"),
    ],
    ids=["one item", "two items that all have had", "one event each", "one basket each"],
)
def test_without_a_question_the_network_answers_alone_and_nothing_is_measured(
    items: list[list[int]], n_items: int, task: Task
) -> None:
    served, evaluation, said = fitted(world(items), n_items=n_items, task=task)
    assert served.blend.names == ("neural",)
    for name in ("hr@10", "ndcg@10"):
        assert evaluation["metrics"][name]["n"] == 0
        assert np.isnan(evaluation["metrics"][name]["estimate"])
    told = slate(served, world([[]]), k=n_items)
    assert len(told) == n_items
    assert sum(one["probability"] for one in told) == pytest.approx(1.0)
    cold = [one["source"] == "cold" for one in told]
    assert cold == sorted(cold), "what has no event stands below what has some"
    assert not any(cold) or any("below the others" in line for line in said)


@pytest.mark.parametrize("task", ["next-any", "repurchase"])
def test_the_only_item_that_anybody_ever_had_comes_first(task: Task) -> None:
    served, evaluation, _ = fitted(world([[0] * 6] * 20), n_items=12, task=task)
    assert evaluation["metrics"]["hr@10"]["estimate"] == 1.0
    first, second = slate(served, world([[0, 0]]), k=2)
    assert first["key"] == "i0"
    assert first["probability"] > 0.99 > second["probability"]
