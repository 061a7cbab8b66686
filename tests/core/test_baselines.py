"""Baselines against their formulas, computed plainly on histories small enough to be done by hand."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from core.learn.baselines import (
    IALS,
    Linear,
    RecentPopularity,
    cosines,
    fit_ials,
    fit_item_knn,
    fit_markov,
    fit_popularity,
    fit_recent_popularity,
    nearest,
)
from core.learn.sequences import Histories, Split, Task, one_history
from core.learn.splits import leave_last_out, training_questions

N_ITEMS = 5


def histories(items: list[list[int]], times: list[list[int]]) -> Histories:
    flat, ts = [i for row in items for i in row], [t for row in times for t in row]
    return Histories(
        np.cumsum([0, *(len(row) for row in items)]).astype(np.int64),
        np.asarray(flat, np.int64),
        np.asarray(ts, np.int64),
        np.zeros(len(flat), np.int64),
        np.full(len(flat), np.nan, np.float32),
    )


def split_of(train: Histories, task: Task) -> Split:
    """A training part alone."""
    nothing = leave_last_out(histories([[0]], [[0]]), task)
    return Split(task, train, nothing.valid, nothing.test)


@pytest.fixture
def train() -> Histories:
    return histories([[0, 1, 2], [1, 2], [3, 1, 1]], [[0, 10, 20], [10, 30], [40, 50, 60]])


def one(items: list[int], times: list[int]) -> Histories:
    return one_history(items, times, [0] * len(items), [1.0] * len(items))


def test_popularity_counts_and_recent_popularity_forgets_and_does_not_look_ahead(train: Histories) -> None:
    (_, popular), *_ = fit_popularity(split_of(train, "next-any"), n_items=N_ITEMS)
    assert popular.scores(train, n_items=N_ITEMS)[1].tolist() == [1, 4, 2, 1, 0]
    *_, (settings, _) = fit_recent_popularity(split_of(train, "next-any"), n_items=N_ITEMS)
    assert settings["half_life_days"] == pytest.approx(60 / 86_400, abs=1e-3)  # the whole span
    order = np.argsort(train.ts, kind="stable")
    model = RecentPopularity(train.ts[order], train.item[order], half_life_s=10.0)
    told = model.scores(one([4], [20]), n_items=N_ITEMS)[0]
    # at 20: item 0 is 20 s old, item 1 was twice seen 10 s ago, item 2 just now; what came at 30 and later is unknown
    assert told.tolist() == pytest.approx([0.25, 1.0, 1.0, 0, 0])
    late = model.scores(one([4], [1000]), n_items=N_ITEMS)[0]
    early_and_late = histories([[4], [4], []], [[1000], [20], []])
    again = model.scores(early_and_late, n_items=N_ITEMS)
    torch.testing.assert_close(again[:2], torch.stack([late, told]))  # in any order of asking
    assert again[2].argmax() == 1  # nobody's moment: after all of training, when item 1 came last


def test_markov_is_smoothed_counts_of_what_came_next(train: Histories) -> None:
    (settings, model), *_ = fit_markov(split_of(train, "next-any"), n_items=N_ITEMS)
    m = settings["prior"]
    popular = np.asarray([1, 4, 2, 1, 0]) / 8
    # after item 1: item 2 twice, item 1 once
    expected = (np.asarray([0, 1, 2, 0, 0]) + m * popular) / (3 + m)
    told = model.scores(one([0, 1], [0, 1]), n_items=N_ITEMS)[0]
    np.testing.assert_allclose(told, expected, atol=1e-6)
    assert float(told.sum()) == pytest.approx(1.0)
    never = model.scores(one([4], [0]), n_items=N_ITEMS)[0]
    np.testing.assert_allclose(never, popular, atol=1e-6)


def test_shrunk_cosines_by_hand_and_only_the_nearest_stay() -> None:
    seen = sp.csr_matrix(np.asarray([[1, 1, 0], [1, 1, 1], [0, 1, 0]], np.float32))  # n = 2, 3, 1
    told = cosines(seen, shrink=2.0, k=3, itself=False).toarray()
    root = np.sqrt([2, 3, 1])
    common = np.asarray([[0, 2, 1], [2, 0, 1], [1, 1, 0]])
    np.testing.assert_allclose(told, common / (np.outer(root, root) + 2.0), atol=1e-6)
    with_itself = cosines(seen, shrink=0.0, k=3, itself=True).toarray()
    np.testing.assert_allclose(np.diag(with_itself), 1.0, atol=1e-6)
    weights = sp.csr_matrix(np.asarray([[0.1, 0.3, 0.2], [0.5, 0.0, 0.5]]))
    assert nearest(weights, 1).toarray().tolist() == [[0, 0.3, 0], [0.5, 0, 0]]


def test_cosines_do_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    from core.learn import baselines

    rng = np.random.default_rng(0)
    seen = sp.csr_matrix((rng.random((30, 17)) < 0.3).astype(np.float32))
    whole = cosines(seen, shrink=1.0, k=4, itself=False)
    monkeypatch.setattr(baselines, "_CELLS", 40)
    assert np.array_equal(cosines(seen, shrink=1.0, k=4, itself=False).toarray(), whole.toarray())


def test_an_item_counts_as_its_own_neighbour_where_people_come_back(train: Histories) -> None:
    for task in ("next-new", "repurchase"):
        _, model = next(iter(fit_item_knn(split_of(train, task), n_items=N_ITEMS)))
        assert isinstance(model, Linear)
        assert (model.scores(one([3], [0]), n_items=N_ITEMS)[0, 3] > 0) == (task == "repurchase")


def test_ials_finds_two_circles_and_is_the_same_by_seed() -> None:
    rng = np.random.default_rng(2)
    rows = [rng.permutation(4)[:3] + 4 * (user % 2) for user in range(60)]
    train = histories([row.tolist() for row in rows], [[0, 1, 2]] * 60)
    split = split_of(train, "next-new")
    _, model = next(iter(fit_ials(split, n_items=8, seed=0)))
    assert isinstance(model, IALS)
    told = model.scores(one([0, 1, 2], [0, 1, 2]), n_items=8)[0]
    assert told[3] > told[4:].max()
    _, again = next(iter(fit_ials(split, n_items=8, seed=0)))
    assert torch.equal(again.scores(train, n_items=8), model.scores(train, n_items=8))


def test_nobody_and_empty_histories_are_answered(train: Histories) -> None:
    nobody, empty = histories([], []), histories([[]], [[]])
    for fit in (fit_popularity, fit_recent_popularity, fit_markov, fit_item_knn):
        _, model = next(iter(fit(split_of(train, "next-any"), n_items=N_ITEMS)))
        assert model.scores(nobody, n_items=N_ITEMS).shape == (0, N_ITEMS)
        assert model.scores(empty, n_items=N_ITEMS).isfinite().all()
    _, ials = next(iter(fit_ials(split_of(train, "next-any"), n_items=N_ITEMS, seed=0)))
    assert ials.scores(nobody, n_items=N_ITEMS).shape == (0, N_ITEMS)
    assert ials.scores(empty, n_items=N_ITEMS).tolist() == [[0.0] * N_ITEMS]


def test_training_questions_have_a_past_and_are_targets(train: Histories) -> None:
    every = training_questions(train, "next-any", most=100, seed=0)
    assert every.target.tolist() == [1, 2, 2, 1, 1]
    assert every.context.lengths.tolist() == [1, 2, 1, 1, 2]
    assert training_questions(train, "next-new", most=100, seed=0).target.tolist() == [1, 2, 2, 1]
    some = training_questions(train, "next-any", most=2, seed=0)
    assert len(some) == 2
