"""Borrowed places of untrained items: out-of-fold, linear, of greatest likelihood, and at a bounded cost."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from core.learn.sequences import Histories, Queries
from core.predict import choices as choices_module
from core.predict.choices import Choices
from core.predict.cold import FOLDS, OFFSETS, WARM_LOSS, Roles, TextRegression, folds, place_cold_items
from core.predict.served import ServedModel

MakeHistory = Callable[..., Histories]


def test_every_trained_item_is_in_one_of_even_folds_and_no_other_is() -> None:
    trained = torch.arange(57) % 7 > 0
    fold = folds(trained, seed=3)
    assert (fold[~trained] == FOLDS).all()
    sizes = torch.bincount(fold[trained], minlength=FOLDS)
    assert len(sizes) == FOLDS
    assert sizes.max() - sizes.min() <= 1


def test_a_prediction_is_the_ridge_on_the_other_folds_by_hand() -> None:
    rng = torch.Generator().manual_seed(0)
    text, columns = torch.randn(40, 3, generator=rng), torch.randn(5, 40, generator=rng)
    trained = torch.arange(40) >= 4
    fold = folds(trained, seed=0)
    told = TextRegression.on(text, fold, strength=0.3).predict(columns)
    x = torch.cat([torch.full((40, 1), 3.0), text], dim=1).double()
    for item in (0, 17):
        learned = trained & (fold != fold[item])
        gram = x[learned].T @ x[learned] + 0.3 * 36 * torch.eye(4, dtype=torch.float64)
        by_hand = columns[:, learned].double() @ x[learned] @ torch.linalg.inv(gram) @ x[item]
        torch.testing.assert_close(told[:, item].double(), by_hand, atol=1e-4, rtol=1e-4)


def test_an_items_own_column_tells_nothing_of_its_prediction() -> None:
    rng = torch.Generator().manual_seed(1)
    text, columns = torch.randn(30, 2, generator=rng), torch.randn(4, 30, generator=rng)
    regression = TextRegression.on(text, folds(torch.ones(30, dtype=torch.bool), seed=0), strength=1.0)
    changed = columns.clone()
    changed[:, 11] = 100.0
    before, after = regression.predict(columns), regression.predict(changed)
    same = regression.fold == regression.fold[11]
    torch.testing.assert_close(before[:, same], after[:, same], atol=1e-3, rtol=1e-3)
    assert not torch.allclose(before[:, ~same], after[:, ~same])


def test_without_texts_an_untrained_item_is_an_average_one() -> None:
    columns = torch.randn(3, 20, generator=torch.Generator().manual_seed(2))
    trained = torch.arange(20) < 18
    told = TextRegression.on(torch.zeros(20, 0), folds(trained, seed=0), strength=1e-6).predict(columns)
    torch.testing.assert_close(told[:, 18], columns[:, trained].mean(1), atol=1e-4, rtol=1e-4)


@pytest.fixture
def asked(make_history: MakeHistory) -> Queries:
    """Forty random histories of trained items, each with one target that is not in it."""
    histories = [make_history(12, seed=seed, n_items=37) for seed in range(40)]
    histories = [replace(h, item=h.item + 2) for h in histories]
    rng = np.random.default_rng(0)
    target = np.asarray([rng.choice(np.setdiff1d(np.arange(2, 39), h.item)) for h in histories], dtype=np.int64)
    context = Histories(
        offsets=np.arange(0, 12 * 41, 12),
        **{name: np.concatenate([getattr(h, name) for h in histories]) for name in ("item", "ts", "kind", "value")},
    )
    return Queries(np.arange(40), context, np.arange(41), target)


@pytest.fixture
def placed(make_served: Callable[..., ServedModel], asked: Queries) -> tuple[ServedModel, ServedModel]:
    """A served model before and after its untrained items were placed; the network's items are moved in place."""
    served = make_served()
    before = replace(served, network=make_served().network)
    return before, place_cold_items(served, asked, seed=0, log=lambda _: None)


def test_placing_changes_untrained_items_alone(placed: tuple[ServedModel, ServedModel], asked: Queries) -> None:
    before, after = placed
    trained = before.catalogue.trained
    torch.testing.assert_close(after.logits(asked.context)[:, trained], before.logits(asked.context)[:, trained])
    for name, scores in after.components(asked.context).items():
        assert scores.isfinite().all(), name
        assert not torch.allclose(scores[:, ~trained], before.components(asked.context)[name][:, ~trained]), name


def test_a_large_catalogue_is_placed_from_a_part_of_it(
    make_served: Callable[..., ServedModel],
    asked: Queries,
    placed: tuple[ServedModel, ServedModel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choices_module, "EVERY", 10)
    monkeypatch.setattr(choices_module, "HEADS", 4)
    monkeypatch.setattr(choices_module, "OTHERS", 400)  # drawn with replacement: nearly all of the others
    served = make_served()
    part = place_cold_items(served, asked, seed=0, log=lambda _: None)
    _, whole = placed
    assert part.blend.cold_weight == pytest.approx(whole.blend.cold_weight, abs=0.1)
    assert part.blend.cold_offset == pytest.approx(whole.blend.cold_offset, abs=0.2)
    trained = part.catalogue.trained
    found, expected = (one.logits(asked.context)[:, trained] for one in (part, whole))
    torch.testing.assert_close(found, expected)


def holds(queries: Queries, *, n_items: int) -> Tensor:
    """(Q, I) bool: what each question's history holds."""
    out = torch.zeros(len(queries), n_items, dtype=torch.bool)
    out[torch.from_numpy(queries.context.owner), torch.from_numpy(queries.context.item)] = True
    return out


@pytest.mark.parametrize("task", ["next-new", "repurchase"])
def test_the_likelihood_of_roles_is_that_of_each_catalogue_by_hand(
    make_served: Callable[..., ServedModel], asked: Queries, task: str
) -> None:
    served = make_served(task)
    available = served.catalogue.available & served.catalogue.trained
    fold = folds(served.catalogue.trained, seed=0)
    if task == "repurchase":  # every second one comes back to what it had
        back = asked.context.item[asked.context.offsets[1:] - 1]
        asked = replace(asked, target=np.where(np.arange(len(asked)) % 2, back, asked.target))
    scores = served.components(asked.context)
    borrowed = {name: one.flip(0) for name, one in scores.items()}
    choices = Choices.of_all(asked, task=served.task, available=available)
    seen = holds(asked, n_items=served.n_items)
    roles = Roles(served.blend, scores, choices, fold=fold, had=seen)
    blend, loss = roles.fit(borrowed)
    everyone = torch.ones_like(available)
    warm = served.blend.logits(scores, trained=everyone)
    cold = blend.logits(borrowed, trained=~everyone)
    barred = ~available | seen if task == "next-new" else (~available).expand_as(seen)
    target, each = torch.from_numpy(asked.target), []
    kept = available[target]
    for k in range(FOLDS):
        logits = torch.where((fold == k) & ~seen, cold, warm).masked_fill(barred, -torch.inf)
        each.append(-logits.log_softmax(1)[torch.arange(len(asked)), target][kept])
    assert loss == pytest.approx(float(torch.stack(each).mean()), abs=1e-9)
    assert roles.fit(scores)[1] <= float(roles._loss(roles.warm)) + 1e-9
    others = roles._above(roles.warm, 0.0, playing=False)
    rows = kept.nonzero().squeeze(1)
    for k in range(FOLDS):
        stays = ~((fold == k) & ~seen) & ~barred
        expected = ((warm > warm.gather(1, target[:, None])) & stays).sum(1)[rows]
        assert others[:, k].tolist() == expected.tolist()


def test_a_question_that_has_no_candidate_changes_no_weight(
    make_served: Callable[..., ServedModel], asked: Queries
) -> None:
    served = make_served()
    available = served.catalogue.available & served.catalogue.trained
    scores, fold = served.components(asked.context), folds(served.catalogue.trained, seed=0)
    choices = Choices.of_all(asked, task=served.task, available=available)
    kept, had = choices.owner != 0, holds(asked, n_items=served.n_items)
    choices = replace(choices, owner=choices.owner[kept], place=choices.place[kept])  # the first asks for nothing
    closed = choices.log_weight.clone()
    closed[0] = -torch.inf
    before, loss = Roles(served.blend, scores, choices, fold=fold, had=had).fit(scores)
    shut = replace(choices, log_weight=closed)
    after, same = Roles(served.blend, scores, shut, fold=fold, had=had).fit(scores)
    assert same == pytest.approx(loss)
    assert after.cold_weight == pytest.approx(before.cold_weight)


def test_the_offset_spends_what_known_items_may_lose_and_no_more(
    make_served: Callable[..., ServedModel], asked: Queries
) -> None:
    served = make_served()
    available = served.catalogue.available & served.catalogue.trained
    scores = served.components(asked.context)
    fold = folds(served.catalogue.trained, seed=0)
    choices = Choices.of_all(asked, task=served.task, available=available)
    roles = Roles(served.blend, scores, choices, fold=fold, had=holds(asked, n_items=served.n_items))
    found = roles.spent(replace(served.blend, cold_offset=3.0), scores)
    assert found.cold_offset < 3.0
    assert roles.spent(found, scores) == found, "a step more would cost more"
    again = roles.spent(replace(served.blend, cold_offset=found.cold_offset - 0.5), scores)
    assert again.cold_offset == pytest.approx(found.cold_offset)
    silent = replace(served.blend, cold_offset=-50.0)
    assert roles.spent(silent, scores).cold_offset == pytest.approx(-50.0 + max(OFFSETS))
    assert 0 < WARM_LOSS < 0.03
