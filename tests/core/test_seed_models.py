"""The formulas over sparse features, each computed by hand on small matrices."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from core.learn.seed_models import (
    LinearBehaviour,
    SoftmaxSimilarity,
    TotalInterest,
    behaviour,
    fit_linear_behaviour,
    fit_softmax_similarity,
    interest,
    item_features,
    logistic,
    probabilities,
)
from core.learn.sequences import Histories, Split, one_history
from core.learn.splits import leave_last_out

ITEMS = sp.csr_matrix(np.asarray([[1, 0, 1], [0, 1, 1], [1, 1, 1], [0, 0, 1]], np.float32))


def one(items: list[int]) -> Histories:
    return one_history(items, list(range(len(items))), [0] * len(items), [1.0] * len(items))


@pytest.fixture
def similarity() -> SoftmaxSimilarity:
    w = torch.tensor([[1.0, 0.0, 0.2], [0.5, 2.0, 0.0], [0.0, 0.0, 0.3]])
    return SoftmaxSimilarity("next-any", 0.5, ITEMS, w, torch.tensor([0.1, -0.2, 0.0, 0.4]))


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def test_features_are_categories_attributes_and_a_constant() -> None:
    told = item_features([["b"], ["a", "b"], [], ["c"]], [{"year": "1"}, {}, {"year": "1"}, {"year": "2"}])
    # alphabetical: b, year=1 (what one item alone has is left out), then the constant
    assert told.toarray().tolist() == [[1, 1, 1], [1, 0, 1], [0, 1, 1], [0, 0, 1]]
    assert item_features([[], []]).toarray().tolist() == [[1], [1]]


def test_softmax_similarity_is_its_formula(similarity: SoftmaxSimilarity) -> None:
    # decay .5: item 1 counts one, item 0 before it a half
    x_u = (0.5 * ITEMS.toarray()[0] + 1.0 * ITEMS.toarray()[1]) / 1.5
    expected = softmax(ITEMS.toarray() @ (similarity.w.numpy() @ x_u) + similarity.b.numpy())
    told = similarity.scores(one([0, 1]), n_items=4)[0]
    np.testing.assert_allclose(told.exp(), expected, atol=1e-6)
    np.testing.assert_allclose(similarity.similarity(x_u[None].astype(np.float32))[0], expected, atol=1e-6)


def test_total_interest_sums_similarity_over_the_history(similarity: SoftmaxSimilarity) -> None:
    model = TotalInterest(similarity, 0.5)
    x = ITEMS.toarray()
    r = softmax((similarity.w.numpy() @ x.T).T @ x.T + similarity.b.numpy())  # r_ij, items as users
    p = np.asarray([0.25, 1.0 + 0.5, 0, 0]) / 1.75  # 0 is two events old, 1 the last two
    expected = p @ r
    np.testing.assert_allclose(model.total(one([0, 1, 1]), n_items=4)[0], expected, atol=1e-6)
    np.testing.assert_allclose(interest(one([0, 1, 1]), "next-any", 0.5, n_items=4).toarray()[0], p, atol=1e-6)
    told = model.scores(one([0, 1, 1]), n_items=4)[0]
    np.testing.assert_allclose(told, expected / expected.sum(), atol=1e-6)
    empty = model.scores(one([]), n_items=4)[0]
    np.testing.assert_allclose(empty, softmax(similarity.b.numpy()), atol=1e-6)


def test_probabilities_are_a_users_own_and_their_weight_cancels() -> None:
    total = torch.tensor([[1.0, 3.0], [2.0, 2.0]])
    told = probabilities(total, torch.tensor([5.0, 0.1]))
    torch.testing.assert_close(told, torch.tensor([[0.25, 0.75], [0.5, 0.5]]))


def test_behaviour_features_and_y_by_hand() -> None:
    popular = np.log1p(np.asarray([3.0, 1.0, 0.0, 7.0], np.float32))
    theta = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    model = LinearBehaviour("next-any", ITEMS, popular, theta, -1.0)
    x = [feature[0] for feature in behaviour(model, one([0, 1, 1]), n_items=4)]
    long = np.asarray([0.95**2, 0.95 + 1]) / (0.95**2 + 0.95 + 1)  # shares of category 0 and of category 1
    np.testing.assert_allclose(x[1], [long[0], long[1], 0.5, 0.0], atol=1e-6)
    np.testing.assert_allclose(x[3], np.log1p([1, 2, 0, 0]), atol=1e-6)
    assert x[4].tolist() == [0, 1, 0, 0]
    expected = popular + 2 * x[1] + 3 * x[2] + 4 * x[3] + 5 * x[4] - 1
    np.testing.assert_allclose(model.scores(one([0, 1, 1]), n_items=4)[0], expected, atol=1e-5)


def test_logistic_finds_where_the_penalised_likelihood_is_flat() -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=200), np.ones(200)])
    y = (rng.random(200) < 1 / (1 + np.exp(-(2 * x[:, 0] - 1)))).astype(float)
    theta = logistic(x, y)
    slope = x.T @ (y - 1 / (1 + np.exp(-x @ theta))) - theta
    assert np.abs(slope).max() < 1e-8
    assert theta[0] > 1


@pytest.fixture
def tastes(two_tastes: Callable[[int], Histories]) -> tuple[Split, sp.csr_matrix]:
    """Four hundred users who stay in one of two categories of ten items."""
    features = item_features([["low"] if i < 10 else ["high"] for i in range(20)])
    return leave_last_out(two_tastes(400), "next-new"), features


def test_what_is_learned_prefers_the_users_category(tastes: tuple[Split, sp.csr_matrix]) -> None:
    split, features = tastes
    fits = {
        "softmax": list(fit_softmax_similarity(split, items=features, seed=0))[-1],
        "linear": next(iter(fit_linear_behaviour(split, items=features, seed=0))),
    }
    for name, (_, model) in fits.items():
        told = model.scores(one([0, 1, 2]), n_items=20)[0]
        assert told[3:10].min() > told[10:].max(), name
    _, again = list(fit_softmax_similarity(split, items=features, seed=0))[-1]
    assert torch.equal(again.scores(split.train, n_items=20), fits["softmax"][1].scores(split.train, n_items=20))
