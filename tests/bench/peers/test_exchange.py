"""The exchange between runners and bench: the runners' epoch-choosing NDCG is Lodestar's, and courses stop in time."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from core.learn.ranking import ndcg, ranks
from core.learn.sequences import Histories, Queries


@pytest.fixture(scope="module")
def exchange() -> ModuleType:
    path = Path(__file__).parent / "runners" / "exchange.py"
    spec = importlib.util.spec_from_file_location("exchange", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["exchange"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("basket", [1, 3])
def test_the_runners_ndcg_is_the_metric_codes_own(exchange: ModuleType, basket: int) -> None:
    rng = np.random.default_rng(0)
    n, n_items = 40, 60
    scores = rng.integers(0, 25, (n, n_items)).astype(np.float32)  # with ties
    target = np.concatenate([rng.choice(n_items, basket, replace=False) for _ in range(n)])
    offsets = np.arange(0, n * basket + 1, basket)
    nothing = np.zeros(0, np.int64)
    context = (np.zeros(n + 1, np.int64), nothing, nothing, nothing, nothing.astype(np.float32))
    queries = Queries(np.arange(n), Histories(*context), offsets, target)
    part = exchange.Part(np.arange(n), exchange.Events(*context), offsets, target)
    expected = ndcg(ranks(torch.from_numpy(scores), queries, task="next-new"), queries, k=10).mean()
    assert exchange.ndcg(exchange.lists_of_scores(scores), part) == pytest.approx(expected)


def test_lists_leave_out_what_must_not_be_shown_and_are_cut_at_their_depth(exchange: ModuleType) -> None:
    scores = np.full((1, 300), -np.inf, np.float32)
    scores[0, [5, 7]] = 1.0, 2.0
    found = exchange.lists_of_scores(scores)
    assert found.item[0, :3].tolist() == [7, 5, -1] and found.score[0, 2] == -np.inf
    row = np.repeat([1, 3], [150, 2])
    rows = exchange.lists_of_rows(row, np.arange(152), np.arange(152, 0, -1).astype(np.float32), n=4)
    assert (rows.item[[0, 2]] == -1).all()
    assert rows.item[1].tolist() == list(range(exchange.DEPTH)) and rows.item[3, :3].tolist() == [150, 151, -1]


@pytest.mark.parametrize(
    ("scores", "why", "best"),
    [([0.1, 0.3, 0.2, 0.2], "patience", 1), ([0.1, 0.2, 0.3, 0.4, 0.5], "epochs", 4), ([0.1, 0.2], "budget", 1)],
)
def test_a_course_stops_for_one_stated_reason(exchange: ModuleType, scores: list[float], why: str, best: int) -> None:
    course = exchange.Course(epochs=5, patience=2, budget_s=20.0 if why == "budget" else 1e9)
    for score in scores:
        assert course.stopped is None
        course.note(10.0, score)
    assert course.stopped == why and course.best == best
    assert course.curve[-1]["seconds"] == 10.0 * len(scores)
