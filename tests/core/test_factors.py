"""Implicit alternating least squares against its loss, and the linear form made of it."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from core.learn import factors
from core.learn.closed import FACTOR_LAMBDA, FACTOR_UNSEEN, binary, decayed, fit_factors
from core.learn.factors import item_factors, solve, unseen_weight
from core.learn.memory import FACTORS
from core.learn.sequences import Histories
from core.learn.splits import leave_last_out


def test_a_factor_is_where_the_loss_is_least() -> None:
    rng = torch.Generator().manual_seed(0)
    other = torch.randn(6, 3, generator=rng)
    dense = np.asarray([[1, 0, 0.5, 0, 1, 0], [0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]], np.float32)
    told = solve(sp.csr_matrix(dense), other, unseen=0.3, penalty=0.1)
    h, c = other.double(), torch.from_numpy(dense).double()
    w = told.double().requires_grad_()
    scale = 0.1 * (c.sum(1) + 0.3 * 6)
    loss = (c * (1 - w @ h.T) ** 2).sum() + 0.3 * ((w @ h.T) ** 2).sum() + (scale * w.square().sum(1)).sum()
    (gradient,) = torch.autograd.grad(loss, w)
    assert float(gradient.abs().max()) < 1e-5
    assert told[1].tolist() == [0, 0, 0]


def test_factors_do_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    seen = sp.csr_matrix((rng.random((12, 9)) < 0.4).astype(np.float32))
    other = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    whole = solve(seen, other, unseen=0.1, penalty=0.01)
    monkeypatch.setattr(factors, "_CELLS", 30)
    torch.testing.assert_close(solve(seen, other, unseen=0.1, penalty=0.01), whole)


@pytest.fixture
def circles() -> Histories:
    """Sixty users, each with a permutation of one of two circles of six items."""
    rng = np.random.default_rng(2)
    item = np.concatenate([rng.permutation(6) + 6 * (user % 2) for user in range(60)])
    n = len(item)
    ts = np.tile(np.arange(6), 60)
    return Histories(np.arange(0, n + 1, 6), item, ts, np.zeros(n, np.int64), np.ones(n, np.float32))


def test_the_linear_form_is_the_fold_in_without_the_histories_own_gram(circles: Histories) -> None:
    split = leave_last_out(circles, "next-new")
    form = next(iter(fit_factors(split, n_items=13, seed=0)))
    seen = binary(split.train, n_items=13)
    unseen = unseen_weight(seen, FACTOR_UNSEEN[0])
    h = item_factors(seen, factors=FACTORS, unseen=unseen, penalty=FACTOR_LAMBDA, seed=0).double()
    x = torch.from_numpy(decayed(split.train, "next-new", form.decays[0], n_items=13).toarray()).double()
    n = float(x.sum() / len(x))
    left = unseen * (h.T @ h) + FACTOR_LAMBDA * (n + unseen * 13) * torch.eye(FACTORS)
    expected = (torch.linalg.solve(left, h.T @ x.T)).T @ h.T
    told = form.plain(split.train, n_items=13)
    torch.testing.assert_close(told.double(), expected, atol=1e-5, rtol=1e-4)
    assert told[:, 12].abs().max() == 0  # nobody had it
    first, second = told[:1, :6].mean(), told[:1, 6:12].mean()
    assert first > 3 * second.abs()


def test_a_catalogue_of_which_nobody_has_most_does_not_drown_the_rest(circles: Histories) -> None:
    assert unseen_weight(binary(circles, n_items=12), 3.0) == pytest.approx(3 * 6 / 12)
    split = leave_last_out(circles, "next-new")
    small, large = (next(iter(fit_factors(split, n_items=n, seed=0))) for n in (13, 2000))
    near, far = (form.plain(split.train, n_items=n)[:, :12] for form, n in ((small, 13), (large, 2000)))
    assert float(far.norm() / near.norm()) > 1 / 3
    assert far[0, :6].mean() > 3 * far[0, 6:].mean().abs()


def test_factors_are_the_same_by_seed(circles: Histories) -> None:
    seen = binary(circles, n_items=13)
    one = item_factors(seen, factors=4, unseen=0.1, penalty=0.01, seed=0)
    assert torch.equal(one, item_factors(seen, factors=4, unseen=0.1, penalty=0.01, seed=0))
    assert not torch.equal(one, item_factors(seen, factors=4, unseen=0.1, penalty=0.01, seed=1))
