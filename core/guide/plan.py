"""Guidance: a path of items that a user is likely to accept and that ends where a target category is likelier.

At each step the planner takes, from the model's own top C candidates, the item that maximises

    log p(item | history) + LAMBDA * [log M(history + item) - log M(history)],

M the probability mass that the served model puts on the target (after Zhu et al., "Influential Recommender System",
ICDE 2023). M is taken over the candidates of the history at the path's start, which stay the same along it: otherwise
taking an item of the target would itself lower the target. Only what is accepted becomes part of the history; what is
skipped is not shown again. Items whose estimated acceptance is below a floor are never shown. Acceptance is estimated
as `acceptance_of` states, an assumption for want of feedback: lift is judged under others too (`core.guide.lift`).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from core.guide.walks import Lens, Walks, appended
from core.learn.sequences import Histories
from core.predict.served import ServedModel
from data.errors import InputError
from data.phrases import phrase, quoted

TOP = 50
LAMBDA = 8.0  # on MovieLens-100K lift hardly grows beyond (22, 22, 23 thousandths at 8, 16, 32), acceptance falls on
FLOOR = 0.2
CEILING = 0.9
CURVE = "0.9 * sqrt(p(item) / p(the user's likeliest item))"
_TINY = 1e-12


def acceptance_of(log_p: Tensor) -> Tensor:
    """The stated acceptance curve, for log-probabilities (..., I): `CEILING` for the likeliest item, falling with the
    root of an item's probability relative to it; 0 for what is no candidate."""
    return CEILING * ((log_p - log_p.amax(-1, keepdim=True)) / 2).exp()


def choose(log_p: Tensor, masses: Tensor, *, weight: float = LAMBDA) -> Tensor:
    """The place (W,) of the best of C candidates, from log p (W, C) and the target's mass after each (W, C); a
    candidate with log p = -inf is none. The mass before is the same for all and does not matter."""
    return (log_p + weight * masses.clamp(min=_TINY).log()).argmax(1)


def shortlist(log_p: Tensor, barred: Tensor, *, top: int = TOP, floor: float = FLOOR) -> tuple[Tensor, Tensor, Tensor]:
    """The top C that are not `barred` (W, I) bool, best first: items, log p (-inf where there is none left), and
    whether each is acceptable, all (W, C), from log p (W, I). Where none is acceptable the likeliest counts as such."""
    best = log_p.masked_fill(barred, -torch.inf).topk(min(top, log_p.shape[1]), dim=1)
    acceptable = acceptance_of(log_p).gather(1, best.indices) >= floor
    acceptable[:, 0] = True
    return best.indices, best.values, acceptable & best.values.isfinite()


def next_step(
    served: ServedModel,
    history: Histories,
    *,
    category: str,
    accepted: Sequence[int] = (),
    skipped: Sequence[int] = (),
    top: int = TOP,
    weight: float = LAMBDA,
) -> dict[str, Any]:
    """The next item to show to one user (H = 1), after item ids `accepted` in order and `skipped`.

    Fields: target, key, title, categories, acceptance, mass (of the target, once it is accepted), mass_before, logp,
    rank (of the item among the candidates). Raises UnknownCategory, and InputError where nothing is left to show.
    """
    members = served.catalogue.members(category)
    counted = served.candidates(history)
    path = appended(served, history, list(accepted))
    step = _step(Lens.on(served), path, members, counted, skipped=skipped, top=top, weight=weight)
    if step is None:
        raise InputError(phrase("path.nothing_left", category=quoted(category)), remedy=phrase("do.other_target"))
    return {"target": {"category": category}, **step[1]}


def guide_path(
    served: ServedModel,
    history: Histories,
    *,
    category: str,
    steps: int = 10,
    without: Sequence[int] = (),
    top: int = TOP,
    weight: float = LAMBDA,
) -> dict[str, Any]:
    """The planned path of one user (H = 1), were every step accepted, and `without` these items; shorter where items
    run out.

    Fields: target, mass (of the target before the first step), steps (as `next_step` gives them), reach (the chance
    that every step is accepted), acceptance_curve. Raises UnknownCategory, and InputError where no step can be made.
    """
    members = served.catalogue.members(category)
    lens, counted, path = Lens.on(served), served.candidates(history), history
    told: list[dict[str, Any]] = []
    for _ in range(steps):
        step = _step(lens, path, members, counted, skipped=without, top=top, weight=weight)
        if step is None:
            break
        told.append(step[1])
        path = appended(served, path, [step[0]])
    if not told:
        raise InputError(phrase("path.had_all", category=quoted(category)), remedy=phrase("do.other_target"))
    return {
        "target": {"category": category},
        "mass": told[0]["mass_before"],
        "steps": told,
        "reach": math.prod(step["acceptance"] for step in told),
        "acceptance_curve": CURVE,
    }


def _step(
    lens: Lens,
    history: Histories,
    members: Tensor,
    counted: Tensor,
    *,
    skipped: Sequence[int],
    top: int,
    weight: float,
) -> tuple[int, dict[str, Any]] | None:
    """The chosen item and its record; None where no candidate is left, or the target was empty from the start."""
    served = lens.served
    logits = served.logits(history)
    log_p = logits.masked_fill(~served.candidates(history), -torch.inf).log_softmax(1)
    before = float(logits.masked_fill(~counted, -torch.inf).softmax(1)[0, members].sum())
    barred = torch.zeros_like(log_p, dtype=torch.bool)
    barred[0, list(skipped)] = True
    items, values, usable = shortlist(log_p, barred, top=top)
    if before <= 0 or not usable.any():
        return None
    items, values = items[usable][None], values[usable][None]
    masses = Walks(lens, history, room=1, counted=counted).masses_after(items, members[None])
    place = int(choose(values, masses, weight=weight)[0])
    item, catalogue = int(items[0, place]), served.catalogue
    return item, {
        "key": catalogue.keys[item],
        "title": catalogue.titles[item],
        "categories": list(catalogue.categories[item]),
        "acceptance": float(acceptance_of(log_p)[0, item]),
        "mass": float(masses[0, place]),
        "mass_before": before,
        "logp": float(log_p[0, item]),
        "rank": 1 + int((log_p[0] > log_p[0, item]).sum()),
    }
