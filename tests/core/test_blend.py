"""The blend on worlds whose truth is known: choices drawn from a conditional logit, whose weights are found again."""

import numpy as np
import pytest
import torch
from torch import Tensor

from core.learn.closed import squash
from core.learn.sequences import Histories, Queries
from core.predict.blend import UNITS, Blend, fit_blend, fit_units, negligible
from core.predict.choices import Choices

N_QUERIES, N_ITEMS = 1000, 30
EVERYTHING = torch.ones(N_ITEMS, dtype=torch.bool)


def drawn(logits: Tensor) -> Queries:
    """One query a row, after an empty history, its target drawn from the softmax of `logits` (Q, I)."""
    target = torch.multinomial(logits.double().softmax(1), 1, generator=torch.Generator().manual_seed(1)).squeeze(1)
    n, nothing = len(logits), np.zeros(0, np.int64)
    context = Histories(np.zeros(n + 1, np.int64), nothing, nothing, nothing, np.zeros(0, np.float32))
    return Queries(np.arange(n), context, np.arange(n + 1), target.numpy())


def every(valid: Queries) -> Choices:
    return Choices.of_all(valid, task="next-any", available=EVERYTHING)


@pytest.fixture
def scores() -> dict[str, Tensor]:
    """Two components of unequal mean and spread."""
    rng = torch.Generator().manual_seed(0)
    return {
        "neural": torch.randn(N_QUERIES, N_ITEMS, generator=rng) * 3 + 5,
        "ridge": torch.randn(N_QUERIES, N_ITEMS, generator=rng).exp() / 100,
    }


def test_the_weights_of_the_choice_are_found_again(scores: dict[str, Tensor]) -> None:
    valid = drawn(0.5 * scores["neural"] + 40 * scores["ridge"])
    blend, loss = fit_blend(scores, every(valid))
    per_unit = [weight / deviation for weight, deviation in zip(blend.weight, blend.deviation, strict=True)]
    assert per_unit == pytest.approx([0.5, 40], rel=0.15)
    logits = blend.logits(scores, trained=EVERYTHING)
    told = -logits.log_softmax(1)[torch.arange(N_QUERIES), torch.from_numpy(valid.target)].mean()
    assert loss == pytest.approx(float(told))


def test_a_question_that_has_no_candidate_leaves_the_weights_as_they_are(scores: dict[str, Tensor]) -> None:
    valid = drawn(0.5 * scores["neural"])
    alone, _ = fit_blend(scores, every(valid))
    everything = np.arange(N_ITEMS)  # what one more user has had
    offsets = np.append(valid.context.offsets, N_ITEMS)
    had = Histories(offsets, everything, everything, np.zeros(N_ITEMS, np.int64), np.zeros(N_ITEMS, np.float32))
    more = Queries(np.arange(N_QUERIES + 1), had, np.arange(N_QUERIES + 2), np.append(valid.target, 0))
    wider = {name: torch.cat([part, part[:1]]) for name, part in scores.items()}
    blend, loss = fit_blend(wider, Choices.of_all(more, task="next-new", available=EVERYTHING))
    assert np.isfinite(loss)
    assert blend.weight == pytest.approx(alone.weight)


def test_what_hardly_weighs_anything_can_be_left_aside_but_never_the_network(scores: dict[str, Tensor]) -> None:
    blend, _ = fit_blend(scores, every(drawn(40 * scores["ridge"])))
    assert negligible(blend) == ()
    names = ("neural", "ease", "ridge", "factors")
    light = Blend(names, (0.0,) * 4, (1.0,) * 4, (0.001, -0.019, 1.0, -0.021), (1.0,) * 4)
    assert negligible(light) == ("ease",)


@pytest.mark.parametrize("truth", ["probability", "logit"])
def test_the_unit_follows_what_a_component_means(scores: dict[str, Tensor], truth: str) -> None:
    """Probabilities are squashed to logarithms; what adds to the logit as it is stays as linear as it can."""
    plain = scores["ridge"]
    valid = drawn(0.2 * scores["neural"] + (plain.log() if truth == "probability" else 60 * plain))
    units = fit_units({"neural": scores["neural"]}, {"ridge": plain}, every(valid), seed=0)
    spread = float(plain.square().mean().sqrt())
    assert units["ridge"] / spread == pytest.approx(UNITS[0] if truth == "probability" else UNITS[-1])


def test_squashing_ranks_as_the_sum_does() -> None:
    plain = torch.tensor([-3.0, -0.01, 0.0, 0.01, 3.0])
    torch.testing.assert_close(squash(plain), torch.tensor([-1.386294, -0.00995, 0.0, 0.00995, 1.386294]))
    assert (squash(plain).diff() > 0).all()
