"""Cross entropy of what came next, against every item where that is affordable, against a sample where it is not.

The full softmax makes its logits in chunks, so that they never exceed a memory budget. Above `full_softmax_items` items
a batch shares one sample of negatives, drawn with replacement by popularity: the rest of the softmax's sum is estimated
from them by importance weights (logQ correction; Bengio and Senecal, "Adaptive Importance Sampling to Accelerate
Training of a Neural Probabilistic Language Model", 2008). The item that did come next is in the sum for certain, so it
is not corrected, and the negatives are weighed as drawn from the others (Khrylchenko et al., "Correcting the LogQ
Correction", RecSys 2025). Then only items that a batch touches are computed at all.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from core.learn.batches import TrainingBatch

FLATTENING = 0.75  # of popularity, in what is drawn: word2vec's


def full_softmax(states: Tensor, vectors: Tensor, bias: Tensor, target: Tensor, *, memory_mb: int) -> Tensor:
    """Mean over states (T, d) of the cross entropy of target (T,) among items with vectors (I, d) and bias (I,)."""
    rows = max(1, memory_mb * 2**20 // (4 * len(vectors)))
    if len(target) <= rows:
        return F.cross_entropy(states @ vectors.T + bias, target)
    parts = [
        checkpoint(_chunk, states[i : i + rows], vectors, bias, target[i : i + rows], use_reentrant=False)
        for i in range(0, len(target), rows)
    ]
    return torch.stack(parts).sum() / len(target)


def _chunk(states: Tensor, vectors: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(states @ vectors.T + bias, target, reduction="sum")


def sampled_softmax(
    states: Tensor, vectors: Tensor, bias: Tensor, target: Tensor, negative: Tensor, *, log_q: Tensor
) -> Tensor:
    """The estimate of `full_softmax` from negatives (N,), drawn from exp(log_q) (R,) with replacement.

    target (T,) and negative (N,) are rows of vectors (R, d) and bias (R,). A negative that is a state's own target does
    not count for it.
    """
    own = (states * vectors[target]).sum(1) + bias[target]
    others = torch.addmm(bias[negative] - log_q[negative], states, vectors[negative].T)  # (T, N)
    row, column = _hits(target, negative)
    others.index_put_((row, column), others.new_tensor(-torch.inf))
    drawn = len(negative) - torch.bincount(row, minlength=len(target))
    elsewhere = torch.log1p(-log_q[target].exp()) - drawn.clamp(min=1).log()  # drawn so often, and never the target
    rest = torch.logsumexp(others, dim=1) + elsewhere
    return (torch.logaddexp(own, rest) - own).mean()


def _hits(target: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """Where negative (N,) is target (T,): the pairs' places in target and in negative."""
    order = negative.argsort()
    drawn = negative[order]
    first, last = torch.searchsorted(drawn, target), torch.searchsorted(drawn, target, right=True)
    times = last - first
    row = torch.repeat_interleave(torch.arange(len(target), device=target.device), times)
    within = torch.arange(len(row), device=target.device) - torch.repeat_interleave(times.cumsum(0) - times, times)
    return row, order[first[row] + within]


class Sample(NamedTuple):
    """The items that one batch touches: rows (R,) int64 ascending; batch, target (T,) and negative (N,) in places among
    them; log_q (R,)."""

    rows: Tensor
    batch: TrainingBatch
    negative: Tensor
    log_q: Tensor


@dataclass(frozen=True)
class Sampler:
    """Draws items that training has seen. q (I,) float64 sums to 1, total (I,) is its sum so far; the draws come from
    torch's own generator, on the CPU."""

    q: Tensor
    total: Tensor
    negatives: int

    @classmethod
    def of(cls, counts: Tensor, *, negatives: int) -> "Sampler":
        """By counts (I,) of training events, flattened."""
        weight = counts.double().pow(FLATTENING)
        q = weight / weight.sum()
        return cls(q, q.cumsum(0), negatives)

    def sample(self, batch: TrainingBatch) -> Sample:
        """A batch, on the CPU, with its negatives, told in places among the items that it touches."""
        drawn = torch.searchsorted(self.total, torch.rand(self.negatives, dtype=torch.float64) * self.total[-1])
        drawn = drawn.clamp(max=len(self.q) - 1)
        item, target = batch.events.item, batch.target
        inside, asked = item < len(self.q), target >= 0
        rows = torch.unique(torch.cat([item[inside], target[asked], drawn]))
        place = torch.full_like(item, len(rows))
        place[inside] = torch.searchsorted(rows, item[inside])
        wanted = torch.full_like(target, -1)
        wanted[asked] = torch.searchsorted(rows, target[asked])
        compact = TrainingBatch(batch.events._replace(item=place), wanted)
        log_q = self.q[rows].clamp(min=1e-30).log().float()
        return Sample(rows, compact, torch.searchsorted(rows, drawn), log_q)
