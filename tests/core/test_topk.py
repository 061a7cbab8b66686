"""The k best: the same as from the whole matrix, ties by id, nothing seen, and no memory that grows with users."""

import numpy as np
import pytest
import torch
from torch import Tensor

from core.predict import topk
from core.predict.topk import Seen, best_of, best_products, strike, users_at_once


def plain(scores: Tensor, k: int) -> tuple[list[list[int]], list[list[float]]]:
    """A stable sort of each whole row: equals stay in the order of their ids."""
    order = scores.sort(dim=1, descending=True, stable=True)
    found = [
        [(-1 if value == -torch.inf else item, value) for item, value in zip(items, values, strict=True)]
        for items, values in zip(order.indices[:, :k].tolist(), order.values[:, :k].tolist(), strict=True)
    ]
    return [[i for i, _ in row] for row in found], [[v for _, v in row] for row in found]


def drawn(n: int, n_items: int, *, seed: int, levels: int | None = None) -> Tensor:
    """Random scores; with `levels`, few distinct ones, so that nearly everything ties."""
    rng = torch.Generator().manual_seed(seed)
    scores = torch.randn(n, n_items, generator=rng, dtype=torch.float64)
    return scores if levels is None else (scores * levels).round() / levels


@pytest.mark.parametrize("n_items", [1, 2, 11, 40, 357, 1000])
@pytest.mark.parametrize("k", [1, 3, 10, 50])
@pytest.mark.parametrize("levels", [None, 1, 4])
def test_it_is_a_stable_sort_of_the_whole_row(n_items: int, k: int, levels: int | None) -> None:
    scores = drawn(37, n_items, seed=n_items + k, levels=levels)
    scores[torch.rand(scores.shape, generator=torch.Generator().manual_seed(1)) < 0.3] = -torch.inf
    scores[3] = -torch.inf
    scores[4, 1:] = -torch.inf
    found = best_of(scores, k)
    assert (found.item.tolist(), found.score.tolist()) == plain(scores, k)


def test_products_are_those_of_the_whole_matrix_without_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topk, "CELLS", 4_000)  # blocks of ten users, the last of seven
    rng = np.random.default_rng(0)
    # whole numbers: every product is exact however it is summed, and many tie
    users = torch.from_numpy(rng.integers(-3, 4, (37, 8)).astype(np.float32))
    items = torch.from_numpy(rng.integers(-3, 4, (400, 8)).astype(np.float32))
    bias = torch.from_numpy(rng.integers(-9, 9, 400).astype(np.float32))
    own = [np.sort(rng.choice(400, rng.integers(0, 395), replace=False)) for _ in range(36)] + [np.arange(398)]
    seen = Seen(np.cumsum([0, *map(len, own)]), np.concatenate(own))
    whole = users @ items.T + bias
    for user, its in enumerate(own):
        whole[user, its] = -torch.inf
    found = best_products(users, items, 10, bias=bias, seen=seen)
    assert (found.item.tolist(), found.score.tolist()) == plain(whole, 10)
    assert found.item[-1].tolist()[2:] == [-1] * 8
    free = best_products(users, items, 10)
    assert (free.item.tolist(), free.score.tolist()) == plain(users @ items.T, 10)


def test_seen_items_of_a_block_are_struck_from_its_own_rows() -> None:
    seen = Seen(np.array([3, 4, 4, 6]), np.array([0, 0, 0, 2, 0, 1]))  # rows of a longer list, from its fourth entry
    scores = strike(torch.zeros(3, 3), seen)
    assert (scores == -torch.inf).tolist() == [[False, False, True], [False] * 3, [True, True, False]]


def test_nobody_and_nothing() -> None:
    assert best_products(torch.zeros(0, 4), torch.zeros(7, 4), 3).item.shape == (0, 3)
    assert best_of(torch.zeros(2, 0), 3).item.shape == (2, 0)


def test_a_block_holds_no_more_scores_than_it_may() -> None:
    assert users_at_once(1_682, cells=10**6) == 256
    assert users_at_once(250_000, cells=500_000) == 2
    assert users_at_once(10**8, cells=10**6) == 1
