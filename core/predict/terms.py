"""The served score as a sum of terms: what one event adds to the blend's closed forms, at any age.

Every closed form is linear in the decayed history, so the blended logits are

    neural_scale * neural + constant + sum over decays d and events e of d^age(e) * row_d(item of e)

with rows that hold weight and deviation already. Thousands of edited histories then cost a small matrix product instead
of a dense score each. The result is `ServedModel.logits` up to float32 rounding of the stored weights' products.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from core.learn.closed import ages
from core.learn.sequences import Histories, Task
from core.predict.served import ServedModel


@dataclass(frozen=True)
class Terms:
    """decays (D,): one for each memory of each closed form; constant (I,) float64; scales and weights (D,), the latter
    (I, I) float32 each or None for the identity; trained (I,) bool: where closed forms speak at all."""

    task: Task
    neural_scale: float
    constant: Tensor
    decays: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[Tensor | None, ...]
    trained: Tensor

    def rows(self, items: Tensor) -> Tensor:
        """(D, n, I) float64: what an event of each item (n,) int64 adds at age 0, by memory."""
        n_items = len(self.constant)
        out = torch.zeros(len(self.decays), len(items), n_items, dtype=torch.float64)
        for row, scale, weight in zip(out, self.scales, self.weights, strict=True):
            if weight is None:
                row[torch.arange(len(items)), items] = scale
            else:
                row[:] = weight[items].double() * scale
        out[:, :, ~self.trained] = 0.0
        return out

    def memories(self, histories: Histories) -> Tensor:
        """(D, H, I) float64: what each whole history adds, by memory; sum over D and add `constant` for the closed
        part of the logits."""
        age = torch.from_numpy(ages(histories, self.task)).double()
        owner, item = torch.from_numpy(histories.owner), torch.from_numpy(histories.item)
        out = torch.zeros(len(self.decays), len(histories), len(self.constant), dtype=torch.float64)
        for row, decay, scale, weight in zip(out, self.decays, self.scales, self.weights, strict=True):
            decayed = torch.zeros_like(row).index_put_((owner, item), decay**age, accumulate=True)
            row[:] = (decayed if weight is None else (decayed.float() @ weight).double()) * scale
        out[:, :, ~self.trained] = 0.0
        return out


def terms_of(served: ServedModel) -> Terms:
    """The blend of a served model, taken apart."""
    trained = served.catalogue.trained
    constant = torch.zeros(served.n_items, dtype=torch.float64)
    neural_scale = 0.0
    decays: list[float] = []
    scales: list[float] = []
    weights: list[Tensor | None] = []
    blend = served.blend
    for name, mean, deviation, weight in zip(blend.names, blend.mean, blend.deviation, blend.weight, strict=True):
        scale = weight / deviation
        if name == "neural":
            neural_scale = scale
            constant -= scale * mean
            continue
        constant -= scale * mean * trained.double()
        form = served.closed[name]
        for index, decay in enumerate(form.decays):
            decays.append(decay)
            scales.append(scale)
            stacked = form.weights
            weights.append(None if stacked is None else stacked[index * served.n_items : (index + 1) * served.n_items])
    return Terms(served.task, neural_scale, constant, tuple(decays), tuple(scales), tuple(weights), trained)
