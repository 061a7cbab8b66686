"""The served score taken apart, so that many edits of one history cost small matrix products instead of dense scores.

Every closed form is a fixed function (`core.learn.closed.root`) of a sum that is linear in the decayed history:

    logits = neural_scale * neural + constant + sum over forms of scale * root(plain),
    plain  = sum over the form's decays d and the events e of d^age(e) * row_d(item of e).

`plain` of an edited history follows from the rows of the events that change and the sums of those that do not. The
result is `ServedModel.logits` up to float32 rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.learn.closed import ages, root
from core.learn.sequences import Histories, Task
from core.predict.served import ServedModel


@dataclass(frozen=True)
class Form:
    """One closed form in the blend. decays (D,); weights: one (I, I) float32 a decay, or None for the identity.
    trained (I,) bool: the items of which it knows anything."""

    task: Task
    scale: float
    decays: tuple[float, ...]
    weights: tuple[Tensor | None, ...]
    trained: Tensor

    def rows(self, items: Tensor) -> Tensor:
        """(D, n, I) float32: what an event of each item (n,) int64 adds to `plain` at age 0, by decay."""
        n_items = len(self.trained)
        out = torch.zeros(len(self.decays), len(items), n_items)
        for row, weight in zip(out, self.weights, strict=True):
            if weight is None:
                row[torch.arange(len(items)), items] = 1.0
            else:
                torch.index_select(weight, 0, items, out=row)
        return out.mul_(self.trained)

    def sums(self, histories: Histories) -> Tensor:
        """(D, H, I) float32: what each whole history adds to `plain`, by decay."""
        age = torch.from_numpy(ages(histories, self.task)).double()
        owner, item = torch.from_numpy(histories.owner), torch.from_numpy(histories.item)
        out = torch.zeros(len(self.decays), len(histories), len(self.trained))
        for row, decay, weight in zip(out, self.decays, self.weights, strict=True):
            decayed = torch.zeros_like(row).index_put_((owner, item), (decay**age).float(), accumulate=True)
            row[:] = decayed if weight is None else decayed @ weight
        return out.mul_(self.trained)


@dataclass(frozen=True)
class Terms:
    """The blend of one served model; constant (I,) float64."""

    neural_scale: float
    constant: Tensor
    forms: tuple[Form, ...]

    def logits(self, neural: Tensor, plain: Sequence[Tensor], *, constant: Tensor) -> Tensor:
        """(H, J) float64 from the network's scores (H, J) and each form's `plain` (H, J), float32, over any J columns
        of which `constant` (J,) is given."""
        total = torch.add(constant, neural.double(), alpha=self.neural_scale)
        for form, part in zip(self.forms, plain, strict=True):
            total.add_(root(part).double(), alpha=form.scale)
        return total


def terms_of(served: ServedModel) -> Terms:
    """The blend of a served model, taken apart."""
    trained, n_items = served.catalogue.trained, served.n_items
    constant = torch.zeros(n_items, dtype=torch.float64)
    neural_scale = 0.0
    forms = []
    blend = served.blend
    for name, mean, deviation, weight in zip(blend.names, blend.mean, blend.deviation, blend.weight, strict=True):
        scale = weight / deviation
        if name == "neural":
            neural_scale = scale
            constant -= scale * mean
            continue
        constant -= scale * mean * trained.double()
        form = served.closed[name]
        stacked = [None] * len(form.decays) if form.weights is None else list(torch.split(form.weights, n_items))
        forms.append(Form(form.task, scale, form.decays, tuple(stacked), trained))
    return Terms(neural_scale, constant, tuple(forms))
