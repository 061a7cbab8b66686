"""The blend: one calibrated score from several components.

p(i | history) is proportional to exp(sum over components of w_c s_c(i)), a conditional logit over the candidate items
(`core.predict.choices` tells which of them are looked at).
Each s_c is standardised by one mean and one deviation a component, fitted on validation and then frozen (never per
user: an empty history has none). The weights maximise the validation targets' likelihood, so that the softmax is
calibrated, and so do the units in which the closed forms are squashed. Closed forms that hardly weigh anything stand
aside: they are measured with the run, but no answer waits for them. Items without a training event have weights of
their own and an offset, since their scores are borrowed (`core.predict.cold` fits them).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from core.learn.closed import CONTENT, squash
from core.predict.choices import Choices

UNIT_QUERIES = 1000  # validation queries that the choice of units looks at
NEGLIGIBLE = 0.02  # of the greatest weight: what weighs less costs time in every answer and moves nothing
UNITS = (0.03, 0.1, 0.3, 1.0)  # of a closed form's root mean square


@dataclass(frozen=True)
class Blend:
    """names (C,) and, in the same order, mean, deviation, weight and cold_weight (C,)."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    weight: tuple[float, ...]
    cold_weight: tuple[float, ...]
    cold_offset: float = 0.0

    def logits(self, scores: Mapping[str, Tensor], *, trained: Tensor) -> Tensor:
        """(H, I) float64 from each component's (H, I) scores. trained (I,) bool: false for items with the cold
        weights."""
        return weighed(scores, *self.scales(trained))

    def scales(self, trained: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Each component's factor for every item, and what stands beside their sum, (I,) float64: weights, means and
        deviations in one. trained (I,) bool."""
        cold = (~trained).double()
        constant = cold * self.cold_offset
        scales = {}
        columns = (self.names, self.mean, self.deviation, self.weight, self.cold_weight)
        for name, mean, deviation, weight, cold_weight in zip(*columns, strict=True):
            scales[name] = (weight * (1 - cold) + cold_weight * cold) / deviation
            constant = constant - scales[name] * mean
        return scales, constant

    def to_json(self) -> str:
        """The blend as its run keeps it."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote. Raises ValueError and TypeError for anything else."""
        told = json.loads(text)
        offset = float(told.pop("cold_offset"))
        return cls(**{name: tuple(values) for name, values in told.items()}, cold_offset=offset)

    def standardised(self, scores: Mapping[str, Tensor]) -> list[Tensor]:
        """Each component's (scores - mean) / deviation, float64, in the order of `names`."""
        moments = zip(self.names, self.mean, self.deviation, strict=True)
        return [(scores[name].double() - mean) / deviation for name, mean, deviation in moments]


def weighed(scores: Mapping[str, Tensor], scales: Mapping[str, Tensor], constant: Tensor) -> Tensor:
    """The sum over components of scores (H, M) times scales (M,) or (H, M), and constant; in the precision of the
    constant."""
    first, *others = scales
    total = torch.addcmul(constant, scores[first].to(constant.dtype), scales[first])
    for name in others:
        total.addcmul_(scores[name].to(constant.dtype), scales[name])
    return total


def fit_blend(scores: Mapping[str, Tensor], choices: Choices) -> tuple[Blend, float]:
    """The blend of `scores` (each (Q, M)) on the choices of validation queries, and its mean negative log-likelihood a
    target. Where they tell nothing, the first component answers alone, as it is, and the loss is NaN."""
    names, weight = tuple(scores), choices.weight.double()
    if not choices.tell:
        alone = (1.0,) + (0.0,) * (len(names) - 1)
        return Blend(names, (0.0,) * len(names), (1.0,) * len(names), alone, alone), float("nan")
    means, deviations = zip(*(_moments(scores[name], weight) for name in names), strict=True)
    even = Blend(names, means, deviations, (1.0,) * len(names), (1.0,) * len(names))
    stack = torch.stack(even.standardised(scores))

    def loss(weights: Tensor) -> Tensor:
        logits = choices.raised(torch.einsum("c,cqm->qm", weights, stack))
        return -logits.log_softmax(1)[choices.owner, choices.place].mean()

    none = torch.zeros(len(names), dtype=torch.float64)
    weights, reached = maximise_likelihood(loss, start=torch.ones_like(none), toward=none)
    fitted = tuple(float(weight) for weight in weights)
    return replace(even, weight=fitted, cold_weight=fitted), reached


def negligible(blend: Blend) -> tuple[str, ...]:
    """The closed forms that a blend can do without."""
    greatest = max(abs(weight) for weight in blend.weight)
    weights = zip(blend.names, blend.weight, strict=True)
    kept = ("neural", CONTENT)  # which may weigh much where items are new
    return tuple(name for name, weight in weights if name not in kept and abs(weight) < NEGLIGIBLE * greatest)


def fit_units(
    fixed: Mapping[str, Tensor], plain: Mapping[str, Tensor], choices: Choices, *, seed: int
) -> dict[str, float]:
    """For each component of `plain` (Q, M), the unit in which its squash gives the blend the greatest likelihood: one
    after another, the `fixed` components (Q, M) as they are."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(choices))[:UNIT_QUERIES])
    picked = torch.from_numpy(rows)
    few, given = choices.take(rows), {name: scores[picked] for name, scores in fixed.items()}
    some = {name: scores[picked] for name, scores in plain.items()}
    weight = few.weight
    spread = {name: max(float(_mean(scores.square(), weight)) ** 0.5, 1e-12) for name, scores in some.items()}
    units = {name: UNITS[1] * spread[name] for name in some}
    for name in some:
        losses = {}
        for share in UNITS:
            units[name] = share * spread[name]
            squashed = {other: squash(scores / units[other]) for other, scores in some.items()}
            losses[units[name]] = fit_blend({**given, **squashed}, few)[1]
        units[name] = min(losses, key=lambda unit: losses[unit])
    return units


def maximise_likelihood(loss: Callable[[Tensor], Tensor], *, start: Tensor, toward: Tensor) -> tuple[Tensor, float]:
    """The parameters (P,) float64 that minimise `loss`, pulled faintly `toward` (P,), and the loss there."""
    parameters = start.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(parameters) + 1e-4 * (parameters - toward).square().sum()
        torch.autograd.backward(value)
        return value.detach()

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    found = parameters.detach()
    return found, float(loss(found))


def _moments(scores: Tensor, weight: Tensor) -> tuple[float, float]:
    """Mean and deviation of scores, each standing for `weight` candidates; both (Q, M)."""
    kept = (weight > 0) & scores.isfinite()
    known, each = scores[kept].double(), weight[kept]
    if len(known) < 2:
        return 0.0, 1.0
    mean = _mean(known, each)
    variance = each @ (known - mean).square() / (each.sum() - 1)
    return float(mean), max(float(variance.sqrt()), 1e-9)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1e-12)
