"""Closed forms against their formulas, computed plainly on small data."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from core.learn import closed
from core.learn.closed import (
    MEMORIES,
    RIDGE_LAMBDAS,
    ages,
    decayed,
    fit_closed_forms,
    fit_ease,
    fit_ridge,
    products,
    regression,
    squash,
)
from core.learn.content import Content
from core.learn.memory import Estimate
from core.learn.sequences import Histories, Task
from core.learn.splits import leave_last_out

N_ITEMS = 7
NOTHING = Content.of([()] * N_ITEMS, None)


@pytest.fixture
def shopping() -> Histories:
    """Three users; equal times make a basket."""
    item = [0, 1, 2, 1, 3, 4, 0, 2, 5, 6, 1, 1, 4, 0, 5]
    ts = [1, 1, 2, 3, 3, 4, 1, 2, 3, 4, 5, 6, 1, 2, 3]
    n = len(item)
    return Histories(
        np.asarray([0, 6, 12, 15]),
        np.asarray(item),
        np.asarray(ts),
        np.zeros(n, np.int64),
        np.ones(n, np.float32),
    )


def test_ages_count_events_or_baskets(shopping: Histories) -> None:
    assert ages(shopping, "next-new")[:6].tolist() == [5, 4, 3, 2, 1, 0]
    assert ages(shopping, "repurchase")[:6].tolist() == [3, 3, 2, 1, 1, 0]


def test_the_regression_reads_the_past_alone(shopping: Histories) -> None:
    x, y = regression(shopping, "next-any", 0.5, n_items=N_ITEMS)
    assert x.shape == y.shape == (12, N_ITEMS)  # every event but each user's first
    second = x[1].toarray().ravel()  # before user 0's third event: item 0, then item 1
    assert second.tolist() == [0.5, 1.0, 0, 0, 0, 0, 0]
    assert y[1].toarray().ravel().tolist() == [0, 0, 1, 0, 0, 0, 0]


def test_a_repeat_is_no_target_under_next_new(shopping: Histories) -> None:
    _, y = regression(shopping, "next-new", 0.5, n_items=N_ITEMS)
    assert y.shape[0] == 10  # users 0 and 1 come back to item 1 once each


@pytest.mark.parametrize("task", ["next-any", "repurchase"])
def test_ease_is_its_formula(shopping: Histories, task: Task) -> None:
    split = leave_last_out(shopping, task)
    form = next(iter(fit_ease(split, n_items=N_ITEMS)))  # lambda = 1 x mean diagonal, decay .6
    seen = np.zeros((3, N_ITEMS))
    for user in range(3):
        seen[user, split.train.items_of(user)] = 1
    gram = seen.T @ seen
    p = np.linalg.inv(gram + np.eye(N_ITEMS) * np.diag(gram).mean())
    expected = -p / np.diag(p)
    np.fill_diagonal(expected, 0)
    assert form.weights is not None
    np.testing.assert_allclose(form.weights.numpy(), expected, atol=1e-6)
    x = decayed(split.train, task, 0.6, n_items=N_ITEMS).toarray()
    told = form.scores(split.train, n_items=N_ITEMS)
    torch.testing.assert_close(told, squash(torch.from_numpy((x @ expected).astype(np.float32))), atol=1e-5, rtol=1e-5)


def test_the_ridge_shrinks_toward_what_coming_back_is_worth(shopping: Histories) -> None:
    split = leave_last_out(shopping, "repurchase")
    form = next(iter(fit_ridge(split, n_items=N_ITEMS)))
    parts = [regression(split.train, "repurchase", memory, n_items=N_ITEMS) for memory in MEMORIES[0]]
    x, y = np.concatenate([part[0].toarray() for part in parts], axis=1).astype(np.float64), parts[0][1].toarray()
    alike = np.stack([part[0].toarray().ravel() for part in parts], axis=1)
    worth = np.linalg.lstsq(alike, y.ravel(), rcond=None)[0]
    prior = np.concatenate([one * np.eye(N_ITEMS) for one in worth])
    gram = x.T @ x
    spread = np.repeat([np.diag(gram)[:N_ITEMS].mean(), np.diag(gram)[N_ITEMS:].mean()], N_ITEMS)
    beyond = np.linalg.solve(gram + RIDGE_LAMBDAS[0] * np.diag(spread), x.T @ (y - x @ prior))
    assert form.weights is not None
    np.testing.assert_allclose(form.weights.numpy(), prior + beyond, atol=1e-5)
    untouched = 3  # nobody bought it in the training part
    assert not (split.train.item == untouched).any()
    assert form.weights[[untouched, N_ITEMS + untouched], untouched].numpy() == pytest.approx(worth, abs=1e-5)


def test_products_are_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, y = (sp.csr_matrix(rng.random((9, n)) * (rng.random((9, n)) < 0.4)) for n in (7, 5))
    monkeypatch.setattr(closed, "PRODUCT_COLUMNS", 2)
    np.testing.assert_allclose(products(x, y), (x.T @ y).toarray())


def test_forms_over_budget_stand_aside_and_say_so(shopping: Histories, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    split = leave_last_out(shopping, "repurchase")
    forms = fit_closed_forms(split, n_items=N_ITEMS, content=NOTHING, budget_gb=1e-9, seed=0, log=said.append)
    assert set(forms) == {"frequency", "factors"}
    assert sum("stands aside" in line for line in said) == 2
    monkeypatch.setattr(closed, "FACTOR_GIGAFLOPS", 1e-9)
    assert "factors" not in fit_closed_forms(
        split, n_items=N_ITEMS, content=NOTHING, budget_gb=1e-9, seed=0, log=said.append
    )
    assert any("GF for" in line for line in said)
    assert Estimate(35_000, 1).gigabytes > 20
