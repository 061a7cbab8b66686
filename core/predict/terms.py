"""The served score taken apart, so that many edits of one history cost small matrix products instead of dense scores.

Every closed form is a fixed function (`core.learn.closed.squash`) of a sum that is linear in the decayed history:

    logits = neural_scale * neural + constant + sum over forms of scale * squash(plain),
    plain  = sum over the form's decays d and the events e of d^age(e) * row_d(item of e), in the form's unit.

The scales and the constant are one number an item, since cold items have weights of their own. `plain` of an edited
history follows from the rows of the events that change and the sums of those that do not. The result is
`ServedModel.logits` up to float32 rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from core.learn.closed import ages, squash
from core.learn.sequences import Histories, Task
from core.predict.served import ServedModel


@dataclass(frozen=True)
class Form:
    """One closed form in the blend. scale (I,) float64; decays (D,); weights: one (I, I) float32 a decay, or (I, F)
    where `across` (F, I) follows, or None for the identity; unit: what `plain` is counted in."""

    task: Task
    scale: Tensor
    decays: tuple[float, ...]
    weights: tuple[Tensor | None, ...]
    unit: float
    across: Tensor | None = None

    @property
    def n_items(self) -> int:
        """I, the size of the catalogue."""
        return len(self.scale)

    def rows(self, items: Tensor) -> Tensor:
        """(D, n, I) float32: what an event of each item (n,) int64 adds to `plain` at age 0, by decay."""
        out = torch.zeros(len(self.decays), len(items), self.n_items)
        for row, weight in zip(out, self.weights, strict=True):
            if weight is None:
                row[torch.arange(len(items)), items] = 1.0
            elif self.across is None:
                torch.index_select(weight, 0, items, out=row)
            else:
                torch.mm(weight.index_select(0, items), self.across, out=row)
        return out.div_(self.unit)

    def sums(self, histories: Histories) -> Tensor:
        """(D, H, I) float32: what each whole history adds to `plain`, by decay."""
        age = torch.from_numpy(ages(histories, self.task)).double()
        owner, item = torch.from_numpy(histories.owner), torch.from_numpy(histories.item)
        out = torch.zeros(len(self.decays), len(histories), self.n_items)
        for row, decay, weight in zip(out, self.decays, self.weights, strict=True):
            decayed = torch.zeros_like(row).index_put_((owner, item), (decay**age).float(), accumulate=True)
            summed = decayed if weight is None else decayed @ weight
            row[:] = summed if self.across is None else summed @ self.across
        return out.div_(self.unit)


class Scales(NamedTuple):
    """Some items' scales and constants, each (J,) float64; one scale a closed form."""

    neural: Tensor
    constant: Tensor
    forms: tuple[Tensor, ...]


@dataclass(frozen=True)
class Terms:
    """The blend of one served model; neural_scale and constant (I,) float64."""

    neural_scale: Tensor
    constant: Tensor
    forms: tuple[Form, ...]

    def logits(self, neural: Tensor, plain: Sequence[Tensor]) -> Tensor:
        """(H, I) float64 from the network's scores (H, I) and each form's `plain` (H, I), float32."""
        total = torch.addcmul(self.constant, neural.double(), self.neural_scale)
        for form, part in zip(self.forms, plain, strict=True):
            total.addcmul_(squash(part).double(), form.scale)
        return total

    def at(self, columns: Tensor) -> Scales:
        """The scales and constants of the items `columns` (J,) int64."""
        return Scales(
            self.neural_scale[columns], self.constant[columns], tuple(form.scale[columns] for form in self.forms)
        )


def terms_of(served: ServedModel) -> Terms:
    """The blend of a served model, taken apart."""
    scales, constant = served.blend.scales(served.catalogue.trained)
    neural_scale = scales.pop("neural")
    forms = []
    for name, scale in scales.items():
        form = served.closed[name]
        n = len(form.decays)
        stacked = [None] * n if form.weights is None else list(torch.split(form.weights, served.n_items))
        forms.append(Form(form.task, scale, form.decays, tuple(stacked), form.unit, form.across))
    return Terms(neural_scale, constant, tuple(forms))
