"""Simulated walks: four policies, several acceptance curves, and a judge who watches the target's probability.

`guide` is the planner; `push` shows the likeliest item inside the target; `random` draws from the model's top C;
`passive` shows the likeliest item of all. A shown item is accepted or not by a stated curve: only what is accepted
enters the history, and what is refused is not shown again. Some curves ignore every model's p, since a planner that is
paid in p would look good under p alone. The uniform draws behind acceptance are the same for all walks of a user.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.guide.judges import Judge, Judges
from core.guide.plan import CEILING, acceptance_of, choose, shortlist
from core.guide.walks import Lens, Walks
from core.learn.sequences import Histories, IntArray
from core.learn.threads import side_by_side
from core.predict.served import ServedModel

TARGETED: Final = ("guide", "push")
FREE: Final = ("random", "passive")
POLICIES: Final = (*TARGETED, *FREE)
CONSTANT: Final = 0.6
CURVES: Final[Mapping[str, str]] = {
    "judge": f"{CEILING} * sqrt(p(item) / p(likeliest item)), p being the judge's",
    "popularity": f"{CEILING} * share of items that are less popular; ignores p",
    "affinity": f"{CEILING} * largest share of the user's events that a category of the item has; ignores p",
    "constant": f"{CONSTANT} for every item; ignores p",
}
_WALKS_AT_ONCE = 500

Floats = npt.NDArray[np.float64]
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Trial:
    """One policy under one curve toward one target. mass (U, 1 + T): the judge's probability of the target at the start
    and after each shown step, among the candidates of the start; accepted (U, T) bool; log_p (U, T) the judge's for
    what was shown, NaN where nothing."""

    mass: Floats
    accepted: npt.NDArray[np.bool_]
    log_p: Floats


@dataclass(frozen=True)
class _Crowd:
    """Users who share a judge. draws (U, T) uniform; affinity (U, I); popularity (I,); seed of the random policy."""

    histories: Histories
    judge: Judge
    draws: Tensor
    affinity: Tensor
    popularity: Tensor
    seed: int


def run_trials(
    served: ServedModel,
    histories: Histories,
    judges: Judges,
    *,
    users: IntArray,
    targets: Sequence[str],
    steps: int,
    curves: Sequence[str] = tuple(CURVES),
    progress: Progress | None = None,
) -> dict[tuple[str, str, str], Trial]:
    """Walk every user under every curve, policy and target: {(curve, target, policy): Trial}. Row u of `histories` is
    user u; the users of a trial are ordered by their judge, then as given, the same in every trial. Chance is drawn
    from the judges' seed."""
    lens = Lens.on(served)
    members = torch.stack([served.catalogue.members(target) for target in targets])
    size = max(1, _WALKS_AT_ONCE // (len(curves) * (len(TARGETED) * len(targets) + len(FREE))))
    crowds = _crowds(served, histories, judges, users, size=size, steps=steps)
    parts: dict[tuple[str, str, str], list[Trial]] = {}
    walked = side_by_side(lambda crowd: _walk(lens, crowd, members, targets, curves), crowds)
    for number, trials in enumerate(walked, start=1):
        if progress is not None:
            progress(number / len(crowds), "judging guidance")
        for name, trial in trials.items():
            parts.setdefault(name, []).append(trial)
    return {
        name: Trial(
            np.concatenate([trial.mass for trial in found]),
            np.concatenate([trial.accepted for trial in found]),
            np.concatenate([trial.log_p for trial in found]),
        )
        for name, found in parts.items()
    }


@dataclass(frozen=True)
class _Grid:
    """The walks of a crowd, W = cells x U. Of each: user, curve, policy (W,) int64 and inside (W, I) bool, its target's
    items (none for a policy without target). cells: (curve, policy, target or None) in order."""

    cells: list[tuple[int, int, int | None]]
    user: Tensor
    curve: Tensor
    policy: Tensor
    inside: Tensor


def _grid(n_users: int, members: Tensor, curves: Sequence[str]) -> _Grid:
    cells: list[tuple[int, int, int | None]] = []
    for curve in (list(CURVES).index(name) for name in curves):
        cells += [(curve, POLICIES.index(name), target) for name in TARGETED for target in range(len(members))]
        cells += [(curve, POLICIES.index(name), None) for name in FREE]
    nothing = torch.zeros(1, members.shape[1], dtype=torch.bool)
    place = torch.tensor([len(members) if target is None else target for _, _, target in cells])
    return _Grid(
        cells=cells,
        user=torch.arange(n_users).repeat(len(cells)),
        curve=torch.tensor([curve for curve, _, _ in cells]).repeat_interleave(n_users),
        policy=torch.tensor([policy for _, policy, _ in cells]).repeat_interleave(n_users),
        inside=torch.cat([members, nothing])[place.repeat_interleave(n_users)],
    )


def _walk(
    lens: Lens, crowd: _Crowd, members: Tensor, targets: Sequence[str], curves: Sequence[str]
) -> dict[tuple[str, str, str], Trial]:
    grid = _grid(len(crowd.histories), members, curves)
    n_walks, steps = len(grid.user), crowd.draws.shape[1]
    walks = Walks(lens, crowd.histories.take(grid.user.numpy()), room=steps)
    state = crowd.judge.read(crowd.histories)[grid.user]
    offered = torch.zeros_like(walks.allowed)
    rng = torch.Generator().manual_seed(crowd.seed)
    mass = torch.empty(n_walks, steps + 1, len(members))
    accepted = torch.zeros(n_walks, steps, dtype=torch.bool)
    log_p = torch.full((n_walks, steps), torch.nan)
    rows = torch.arange(n_walks)
    for step in range(steps + 1):
        scores = crowd.judge.logits(state)
        mass[:, step] = scores.masked_fill(~walks.counted, -torch.inf).softmax(1) @ members.float().T
        if step == steps:
            break
        judged = scores.masked_fill(~walks.allowed, -torch.inf).log_softmax(1)
        item, shown = _choose(walks, offered, grid, rng)
        takes = shown & (crowd.draws[grid.user, step] < _chance(judged, item, crowd, grid))
        accepted[:, step] = takes
        log_p[shown, step] = judged[rows[shown], item[shown]]
        offered[rows[shown], item[shown]] = True
        walks.accept(item, takes)
        state = torch.where(takes[:, None], crowd.judge.step(state, item), state)
    return _trials(grid, mass, accepted, log_p, targets)


def _trials(
    grid: _Grid, mass: Tensor, accepted: Tensor, log_p: Tensor, targets: Sequence[str]
) -> dict[tuple[str, str, str], Trial]:
    names, out = list(CURVES), {}
    n_users = len(grid.user) // len(grid.cells)
    for number, (curve, policy, target) in enumerate(grid.cells):
        part = slice(number * n_users, (number + 1) * n_users)
        for column in range(len(targets)) if target is None else [target]:
            out[names[curve], targets[column], POLICIES[policy]] = Trial(
                mass[part, :, column].double().numpy(), accepted[part].numpy(), log_p[part].double().numpy()
            )
    return out


def _choose(walks: Walks, offered: Tensor, grid: _Grid, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The item that each walk shows (W,), and whether it has any to show (W,) bool."""
    log_p = walks.log_p()
    items, values, acceptable = shortlist(log_p, offered)
    there = values.isfinite()
    item = items[:, 0].clone()  # passive
    shown = there[:, 0].clone()
    for name in POLICIES[:-1]:
        rows = torch.nonzero(grid.policy == POLICIES.index(name)).squeeze(1)
        if name == "push":
            pushed = log_p[rows].masked_fill(offered[rows] | ~grid.inside[rows], -torch.inf).max(1)
            item[rows], shown[rows] = pushed.indices, pushed.values.isfinite()
            continue
        if name == "guide":
            masses = walks.masses_after(items[rows], grid.inside[rows], rows=rows)
            place = choose(values[rows].masked_fill(~acceptable[rows], -torch.inf), masses)
        else:
            place = torch.rand(items[rows].shape, generator=rng).masked_fill(~there[rows], -1.0).argmax(1)
        item[rows] = items[rows, place]
    return item, shown


def _chance(judged: Tensor, item: Tensor, crowd: _Crowd, grid: _Grid) -> Tensor:
    """(W,) probability that the shown item is accepted, by each walk's own curve, in the order of `CURVES`."""
    by_judge = acceptance_of(judged).gather(1, item[:, None]).squeeze(1)
    every = torch.stack(
        [
            by_judge,
            CEILING * crowd.popularity[item],
            CEILING * crowd.affinity[grid.user, item],
            torch.full_like(by_judge, CONSTANT),
        ]
    )
    return every.gather(0, grid.curve[None]).squeeze(0)


def _crowds(
    served: ServedModel,
    histories: Histories,
    judges: Judges,
    users: IntArray,
    *,
    size: int,
    steps: int,
) -> list[_Crowd]:
    """The users in portions of at most `size` who share a judge."""
    popularity = _popularity(histories, served.n_items)
    categories = _categories(served)
    seed, judge_of = judges.seed, judges.judge_of(users)
    crowds: list[_Crowd] = []
    for number, judge in enumerate(judges.judges):
        own = users[judge_of == number]
        for begin in range(0, len(own), size):
            some = histories.take(own[begin : begin + size])
            drawn = np.random.default_rng([seed, number, begin]).random((len(some), steps), dtype=np.float32)
            affinity = _affinity(some, categories)
            crowds.append(_Crowd(some, judge, torch.from_numpy(drawn), affinity, popularity, seed + 7919 * len(crowds)))
    return crowds


def _popularity(histories: Histories, n_items: int) -> Tensor:
    """(I,) share of items with fewer events."""
    counts = np.bincount(histories.item, minlength=n_items)
    return torch.from_numpy((np.searchsorted(np.sort(counts), counts) / max(n_items, 1)).astype(np.float32))


def _categories(served: ServedModel) -> Tensor:
    """(I, K) bool: which of the build's K categories each item has."""
    known = sorted({name for names in served.catalogue.categories for name in names})
    place = {name: number for number, name in enumerate(known)}
    out = torch.zeros(served.n_items, len(known), dtype=torch.bool)
    for item, names in enumerate(served.catalogue.categories):
        out[item, [place[name] for name in names]] = True
    return out


def _affinity(histories: Histories, categories: Tensor) -> Tensor:
    """(U, I): the largest share of a user's events that one of an item's categories has; 0 for an empty history."""
    owner, item = torch.from_numpy(histories.owner), torch.from_numpy(histories.item)
    share = torch.zeros(len(histories), categories.shape[1]).index_add_(0, owner, categories[item].float())
    share /= torch.from_numpy(histories.lengths)[:, None].clamp(min=1)
    out = torch.zeros(len(histories), len(categories))
    for number in range(categories.shape[1]):
        out[:, categories[:, number]] = torch.maximum(out[:, categories[:, number]], share[:, number, None])
    return out
