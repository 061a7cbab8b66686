"""Choices of large catalogues: what is looked at stands for all candidates, and is what a full look would find."""

import numpy as np
import pytest
import torch
from torch import Tensor

from core.learn.sequences import Histories, Queries
from core.predict import choices as module
from core.predict.blend import fit_blend
from core.predict.choices import Choices, affordable, at_choices, candidates, choose

N_QUERIES, N_ITEMS = 400, 3_000


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> tuple[Queries, dict[str, Tensor], Tensor]:
    """Questions with a history of five items and a target or two drawn from a conditional logit of two components."""
    monkeypatch.setattr(module, "EVERY", 100)
    monkeypatch.setattr(module, "OTHERS", 600)
    monkeypatch.setattr(module, "HEADS", 20)
    monkeypatch.setattr(module, "BLOCK_CELLS", 50 * N_ITEMS)
    rng = torch.Generator().manual_seed(0)
    scores = {name: torch.randn(N_QUERIES, N_ITEMS, generator=rng) for name in ("neural", "ridge")}
    available = torch.rand(N_ITEMS, generator=rng) < 0.8
    item = torch.randint(N_ITEMS, (N_QUERIES, 5), generator=rng)
    logits = (1.5 * scores["neural"] + 0.7 * scores["ridge"]).masked_fill(~available, -torch.inf)
    logits.scatter_(1, item, -torch.inf)
    target = torch.multinomial(logits.double().softmax(1), 2, generator=rng)
    counts = 1 + np.arange(N_QUERIES) % 2
    flat = np.concatenate([row[:n] for row, n in zip(target.numpy(), counts, strict=True)])
    n = N_QUERIES * 5
    context = Histories(
        np.arange(0, n + 1, 5), item.flatten().numpy(), np.arange(n), np.zeros(n, np.int64), np.zeros(n, np.float32)
    )
    queries = Queries(np.arange(N_QUERIES), context, np.concatenate([[0], np.cumsum(counts)]), flat)
    return queries, scores, available


def looked_at(world: tuple[Queries, dict[str, Tensor], Tensor]) -> tuple[Choices, dict[str, Tensor]]:
    queries, scores, available = world
    scorers = {name: lambda rows, one=one: one[torch.from_numpy(rows)] for name, one in scores.items()}
    return choose(queries, scorers, task="next-new", available=available, seed=0)


def test_every_choice_is_a_candidate_and_no_head_is_missing_or_counted_twice(
    world: tuple[Queries, dict[str, Tensor], Tensor],
) -> None:
    queries, scores, available = world
    some, told = looked_at(world)
    allowed = candidates(queries, task="next-new", available=available)
    real = some.log_weight > -torch.inf
    assert some.item.shape[1] == 2 + 2 * 20 + 600
    assert allowed.gather(1, some.item)[real].all()
    for name, one in scores.items():
        torch.testing.assert_close(told[name], one.gather(1, some.item))
        best = one.masked_fill(~allowed, -torch.inf).topk(20, dim=1).indices
        certain = (some.log_weight == 0)[:, :42]
        for row in range(0, N_QUERIES, 37):
            own = some.item[row, :42][certain[row]].tolist()
            assert len(set(own)) == len(own) and set(best[row].tolist()) <= set(own)
            assert not set(own) & set(some.item[row, 42:][real[row, 42:]].tolist())
    torch.testing.assert_close(some.weight.sum(1), allowed.sum(1).float(), rtol=1e-4, atol=0)
    assert torch.equal(some.item[some.owner, some.place], torch.from_numpy(queries.target))
    again = at_choices({"neural": lambda rows: scores["neural"][torch.from_numpy(rows)]}, some)
    torch.testing.assert_close(again["neural"], told["neural"])


def test_a_blend_of_what_is_looked_at_is_that_of_everything(world: tuple[Queries, dict[str, Tensor], Tensor]) -> None:
    queries, scores, available = world
    some, told = looked_at(world)
    part, of_part = fit_blend(told, some)
    whole, of_all = fit_blend(scores, Choices.of_all(queries, task="next-new", available=available))
    for name in ("weight", "deviation"):
        assert getattr(part, name) == pytest.approx(getattr(whole, name), rel=0.05), name
    assert part.mean == pytest.approx(whole.mean, abs=0.02)
    assert of_part == pytest.approx(of_all, abs=0.02)


def test_a_part_of_the_choices_is_that_of_its_questions(world: tuple[Queries, dict[str, Tensor], Tensor]) -> None:
    queries, _, _ = world
    some, _ = looked_at(world)
    rows = np.arange(3, N_QUERIES, 7)
    few = some.take(rows)
    assert torch.equal(few.item[few.owner, few.place], torch.from_numpy(queries.take(rows).target))
    assert torch.equal(few.item, some.item[torch.from_numpy(rows)])


def test_a_large_catalogue_is_asked_fewer_questions_and_never_none(
    world: tuple[Queries, dict[str, Tensor], Tensor],
) -> None:
    queries, _, _ = world
    assert len(affordable(queries, n_items=N_ITEMS, n_scorers=2, cells=64_000, seed=0)) == 100
    assert len(affordable(queries, n_items=10**9, n_scorers=2, cells=64_000, seed=0)) == 1
    assert affordable(queries, n_items=50, n_scorers=2, cells=10**6, seed=0) is queries


def test_no_question_at_all_is_answered_with_no_choice(world: tuple[Queries, dict[str, Tensor], Tensor]) -> None:
    queries, scores, available = world
    none = queries.take(np.zeros(0, np.int64))
    some, told = looked_at((none, scores, available))
    assert len(some) == len(some.owner) == len(told["neural"]) == 0
    assert fit_blend(told, some)[0].weight == (1.0, 0.0)  # the network answers alone


def test_the_best_of_others_are_looked_at_but_not_told(world: tuple[Queries, dict[str, Tensor], Tensor]) -> None:
    queries, scores, available = world
    scorers = {name: lambda rows, one=one: one[torch.from_numpy(rows)] for name, one in scores.items()}
    ridge = {"ridge": scorers.pop("ridge")}
    some, told = choose(queries, scorers, task="next-new", available=available, seed=0, besides=ridge)
    allowed = candidates(queries, task="next-new", available=available)
    best = scores["ridge"].masked_fill(~allowed, -torch.inf).topk(20, dim=1).indices
    assert list(told) == ["neural"]
    for row in range(0, N_QUERIES, 37):
        certain = some.item[row][some.log_weight[row] == 0]
        assert set(best[row].tolist()) <= set(certain.tolist())
