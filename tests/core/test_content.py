"""Likeness of content is nearest neighbours, by the better of texts and categories, to a new item as to any other."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from core.learn import content as content_module
from core.learn.closed import CONTENT, ClosedForm, decayed, fit_closed_forms, fit_content, squash
from core.learn.content import Content
from core.learn.sequences import Histories, Queries
from core.learn.splits import leave_last_out
from core.learn.whitening import fit_whitening
from core.predict.blend import Blend, negligible
from core.predict.cold import place_cold_items
from core.predict.served import ServedModel

N_ITEMS = 20
TASTES = [("odd" if item < 10 else "even",) for item in range(N_ITEMS)]


@pytest.fixture
def raw() -> torch.Tensor:
    return torch.randn(N_ITEMS, 12, generator=torch.Generator().manual_seed(0)) * torch.arange(12, 0, -1)


def test_its_vectors_are_of_length_one_and_tell_texts_and_categories(raw: torch.Tensor) -> None:
    categories = [*TASTES[:-2], (), ("odd", "even")]
    texts, alike, named, both = Content.of(categories, (raw, fit_whitening(raw, 12))).vectors()
    for vectors in (texts, alike):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(N_ITEMS))
    centred = F.normalize(raw - raw.mean(0), dim=1)
    torch.testing.assert_close(texts @ texts.T, centred @ centred.T, atol=1e-4, rtol=1e-4)  # turned, not stretched
    assert not torch.allclose(alike @ alike.T, centred @ centred.T, atol=1e-2)
    assert named[-2].tolist() == [0.0, 0.0] and named[-1].tolist() == pytest.approx([0.5**0.5] * 2)
    torch.testing.assert_close(both @ both.T, (texts @ texts.T + named @ named.T) / 2)


def test_there_is_as_much_of_it_as_is_told(raw: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not list(Content.of([()] * N_ITEMS, None).vectors())
    assert len(list(Content.of(TASTES, None).vectors())) == 1
    assert len(list(Content.of([()] * N_ITEMS, (raw, fit_whitening(raw, 12))).vectors())) == 2
    monkeypatch.setattr(content_module, "CONTENT_DIM", 1)
    few = Content.of([*TASTES, ("odd",)], None)
    assert few.categories.tolist() == [[1.0]] * 10 + [[0.0]] * 10 + [[1.0]]  # the most frequent alone
    assert few.dim == 1


def test_the_form_is_a_decayed_sum_of_likenesses(two_tastes: Callable[[int], Histories], raw: torch.Tensor) -> None:
    split = leave_last_out(two_tastes(30), "next-new")
    form = next(
        iter(fit_content(split, n_items=N_ITEMS, content=Content.of([()] * N_ITEMS, (raw, fit_whitening(raw, 12)))))
    )
    vectors = F.normalize(raw - raw.mean(0), dim=1)
    history = split.test.context
    weights = torch.from_numpy(decayed(history, "next-new", form.decays[0], n_items=N_ITEMS).toarray())
    expected = squash(weights @ vectors @ vectors.T)
    torch.testing.assert_close(form.scores(history, n_items=N_ITEMS), expected, atol=1e-4, rtol=1e-4)


def test_what_validation_prefers_is_taken(two_tastes: Callable[[int], Histories], raw: torch.Tensor) -> None:
    """Users keep to one of two categories, of which the random texts know nothing."""
    split, said = leave_last_out(two_tastes(200), "next-new"), []
    content = Content.of(TASTES, (raw, fit_whitening(raw, 12)))
    form = fit_closed_forms(split, n_items=N_ITEMS, content=content, budget_gb=1, seed=0, log=said.append)[CONTENT]
    assert form.weights is not None
    assert form.weights.shape[1] in (2, 14), "categories, alone or beside texts, which alone have 12"
    assert any(line.startswith("content: decays") for line in said)


def test_a_new_item_keeps_its_own_content(make_served: Callable[..., ServedModel], raw: torch.Tensor) -> None:
    served = make_served()
    vectors = F.normalize(torch.randn(served.n_items, 6, generator=torch.Generator().manual_seed(1)), dim=1)
    content = ClosedForm(CONTENT, "next-new", (0.9,), vectors, 1.0, vectors.T.contiguous())
    blend = served.blend
    one = {name: (*getattr(blend, name), 1.0) for name in ("deviation", "weight", "cold_weight")}
    blend = replace(blend, names=(*blend.names, CONTENT), mean=(*blend.mean, 0.0), **one)
    served = replace(served, closed={**served.closed, CONTENT: content}, blend=blend)
    rng = np.random.default_rng(0)
    item = np.concatenate([2 + rng.permutation(37)[:9] for _ in range(30)])
    n = len(item)
    every = Histories(np.arange(31) * 9, item, np.arange(n), np.zeros(n, np.int64), np.full(n, np.nan, np.float32))
    split = leave_last_out(every, "next-new")
    queries = Queries(split.test.user, split.test.context, split.test.target_offsets, split.test.target)
    placed = place_cold_items(served, queries, seed=0, log=lambda _: None)
    assert placed.closed[CONTENT].across is content.across
    across, before = placed.closed["factors"].across, served.closed["factors"].across
    assert across is not None and before is not None
    assert not torch.allclose(across[:, :2], before[:, :2])  # which were borrowed


def test_it_is_not_left_aside_for_weighing_little_among_known_items() -> None:
    blend = Blend(("neural", "ease", CONTENT), (0.0,) * 3, (1.0,) * 3, (1.0, 1e-4, 1e-4), (1.0, 1e-4, 1e-4))
    assert negligible(blend) == ("ease",)
