"""What validation questions choose among: every candidate, or, of a large catalogue, a part that stands for all.

A conditional logit needs of each question its target's score and the sum of exp(score) over the candidates. Above
`EVERY` items that sum is estimated by strata: the targets and the `HEADS` best of every component stand for themselves,
and `OTHERS` candidates drawn evenly stand for the rest, each for equally many of them (Cochran, "Sampling Techniques",
1977, ch. 5). Then thousands of questions can be looked at, however large the catalogue.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from core.learn.ranking import mask_seen
from core.learn.sequences import Histories, IntArray, Queries, Task

EVERY = 4_000
HEADS = 128  # of each component
OTHERS = 2_048
MOST_CELLS = 1_000_000_000  # scores of one component that are made for a sample
BLOCK_CELLS = 16_000_000  # of them held at once

Scorer = Callable[[IntArray], Tensor]  # (B, I) scores of the questions of so many rows (B,)


@dataclass(frozen=True)
class Choices:
    """item (Q, M) int64, log_weight (Q, M) float32: log of how many candidates each stands for, -inf for none. owner,
    place (T,) int64: the row and column of each target that is a candidate."""

    item: Tensor
    log_weight: Tensor
    owner: Tensor
    place: Tensor

    def __len__(self) -> int:
        return len(self.item)

    @classmethod
    def of_all(cls, queries: Queries, *, task: Task, available: Tensor) -> Self:
        """Every candidate. available (I,) bool."""
        allowed = candidates(queries, task=task, available=available)
        owner, target = torch.from_numpy(queries.owner), torch.from_numpy(queries.target)
        kept = allowed[owner, target]
        log_weight = torch.zeros(allowed.shape).masked_fill_(~allowed, -torch.inf)
        item = torch.arange(len(available)).expand(len(queries), -1)
        return cls(item, log_weight, owner[kept], target[kept])

    @property
    def tell(self) -> bool:
        """Whether any target has another candidate beside it, so that a choice was made."""
        return bool(((self.log_weight > -torch.inf).sum(1)[self.owner] > 1).any())

    def raised(self, logits: Tensor) -> Tensor:
        """(Q, M) logits by what each choice stands for, -inf where there is none: masked, not only added, since the
        gradient of a question without any candidate would be NaN."""
        return (logits + self.log_weight).masked_fill(self.log_weight == -torch.inf, -torch.inf)

    @property
    def weight(self) -> Tensor:
        """(Q, M) how many candidates each stands for."""
        return self.log_weight.exp()

    def take(self, rows: IntArray) -> Self:
        """Those of the questions `rows`, ascending."""
        kept = torch.from_numpy(rows)
        new = torch.full((len(self),), -1, dtype=torch.int64)
        new[kept] = torch.arange(len(kept))
        mine = new[self.owner] >= 0
        return type(self)(self.item[kept], self.log_weight[kept], new[self.owner[mine]], self.place[mine])


def candidates(queries: Queries, *, task: Task, available: Tensor) -> Tensor:
    """(Q, I) bool: the items that may be recommended: available, and new to the context under `next-new`."""
    free = available.float().expand(len(queries), -1)
    return mask_seen(free, queries, task=task).gt(0)


def affordable(valid: Queries, *, n_items: int, n_scorers: int, cells: int, seed: int) -> Queries:
    """So many questions that `cells` hold one component's scores of their choices, all drawn alike."""
    width = n_items if n_items <= EVERY else HEADS * n_scorers + OTHERS
    return valid.sample(max(1, min(cells // width, MOST_CELLS // n_items)), seed=seed)


def products(states: Tensor, items: tuple[Tensor, Tensor]) -> Scorer:
    """Of the questions' states (Q, d) with items' vectors (I, d) and biases (I,)."""
    vectors, bias = items
    return lambda rows: torch.addmm(bias, states[torch.from_numpy(rows)], vectors.T)


def answers(scores: Callable[..., Tensor], context: Histories, *, n_items: int) -> Scorer:
    """Of what answers Q histories with scores (Q, I)."""
    return lambda rows: scores(context.take(rows), n_items=n_items)


def choose(
    queries: Queries,
    scorers: Mapping[str, Scorer],
    *,
    task: Task,
    available: Tensor,
    seed: int,
    besides: Mapping[str, Scorer] | None = None,
) -> tuple[Choices, dict[str, Tensor]]:
    """The choices of each question, and every component's scores (Q, M) of them. `besides` are others, of other names,
    whose best are looked at too where not all is."""
    n_items = len(available)
    if n_items <= EVERY:
        every = np.arange(len(queries))
        return Choices.of_all(queries, task=task, available=available), {k: s(every) for k, s in scorers.items()}
    rng = torch.Generator().manual_seed(seed)
    width = int(np.diff(queries.target_offsets).max(initial=1))
    step, parts = max(1, BLOCK_CELLS // n_items), list[_Part]()
    for begin in range(0, max(len(queries), 1), step):  # at least one block, perhaps empty
        rows = np.arange(begin, min(begin + step, len(queries)))
        scores = {name: scorer(rows) for name, scorer in {**scorers, **(besides or {})}.items()}
        parts.append(_part(queries.take(rows), scores, task=task, available=available, width=width, rng=rng))
    item = torch.cat([part.item for part in parts])
    log_weight = torch.cat([part.log_weight for part in parts])
    owner, place = (log_weight[:, :width] > -torch.inf).nonzero(as_tuple=True)
    seen = {name: torch.cat([part.scores[name] for part in parts]) for name in scorers}
    return Choices(item, log_weight, owner, place), seen


def at_choices(scorers: Mapping[str, Scorer], choices: Choices) -> dict[str, Tensor]:
    """Each component's scores (Q, M) of choices that were made before."""
    n_items = int(choices.item.max()) + 1 if choices.item.numel() else 1
    step, parts = max(1, BLOCK_CELLS // n_items), list[dict[str, Tensor]]()
    for begin in range(0, max(len(choices), 1), step):
        item = choices.item[begin : begin + step]
        rows = np.arange(begin, begin + len(item))
        parts.append({name: scorer(rows).gather(1, item) for name, scorer in scorers.items()})
    return {name: torch.cat([part[name] for part in parts]) for name in scorers}


class _Part(NamedTuple):
    """The choices of a block of questions: item, log_weight and each component's scores, (B, M)."""

    item: Tensor
    log_weight: Tensor
    scores: dict[str, Tensor]


def _part(
    some: Queries,
    scores: Mapping[str, Tensor],
    *,
    task: Task,
    available: Tensor,
    width: int,
    rng: torch.Generator,
) -> _Part:
    taken = ~candidates(some, task=task, available=available)  # (B, I): struck out, or among the choices already
    heads = [one.masked_fill(taken, -torch.inf).topk(HEADS, dim=1, sorted=False).indices for one in scores.values()]
    columns = [_targets(some, width), *heads]
    weights = []
    for column in columns:
        fresh = (column >= 0) & ~taken.gather(1, column.clamp(min=0))
        row, where = fresh.nonzero(as_tuple=True)
        taken[row, column[row, where]] = True
        weights.append(torch.zeros(column.shape).masked_fill_(~fresh, -torch.inf))
    pool = available.nonzero().squeeze(1)
    drawn = pool[torch.randint(max(len(pool), 1), (OTHERS,), generator=rng)] if len(pool) else pool
    left = ~taken[:, drawn]
    each = (~taken).sum(1).float().log() - left.sum(1).float().log()  # stands for so many
    weights.append(each[:, None].expand(left.shape).masked_fill(~left, -torch.inf))
    columns.append(drawn.expand(left.shape))
    item = torch.cat([column.clamp(min=0) for column in columns], dim=1)
    return _Part(item, torch.cat(weights, dim=1), {name: one.gather(1, item) for name, one in scores.items()})


def _targets(some: Queries, width: int) -> Tensor:
    """(B, width) each question's targets, -1 after them."""
    out = torch.full((len(some), width), -1, dtype=torch.int64)
    first = some.target_offsets[:-1][some.owner]
    out[torch.from_numpy(some.owner), torch.from_numpy(np.arange(len(some.target)) - first)] = torch.from_numpy(
        some.target
    )
    return out
