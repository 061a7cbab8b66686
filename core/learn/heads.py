"""Heads: small networks on a frozen user state, an item's vector and a few features, and how they are fitted.

A head is a linear map plus one hidden layer over standardised inputs. It is fitted after the sequence network and
leaves it as it is, on questions from the training part, and stops where validation stops gaining. Those states were
made by a network that learned from the very events asked about, so they look a little too sure of what came; the head
is calibrated on validation for that, where states are of the kind that is served (`core.predict.behaviour`).

Return times have a hazard that is constant within log-spaced bins of days (Friedman, "Piecewise Exponential Models for
Survival Data with Covariates", Annals of Statistics 1982; as a network, PC-Hazard of Kvamme and Borgan,
"Continuous and Discrete-Time Survival Prediction with Neural Networks", Lifetime Data Analysis 2021). A bin in which
someone is lost from sight counts for exactly the days they were seen in it.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.learn.batches import Vocabulary, to_events
from core.learn.behaviour import Bools, Floats, Moments
from core.learn.model import Recommender
from core.learn.sequences import Histories, IntArray

DROPOUT = 0.5
BATCHES = range(64, 1025)  # questions in a batch: few enough that an epoch has STEPS steps, within these
STEPS = 32
MAX_EPOCHS = 60
PATIENCE = 3
LR = 3e-3
WEIGHT_DECAY = 1e-2
READ_TOKENS = 50_000  # padded events that the network reads at once
STRIDE = 100  # moments of one history that share a reading of it in training
N_SHAPES = 8  # a return's hazard moves by so many smooth shapes in log days, the first a constant


class Head(nn.Module):
    """(Q, F) inputs to (Q, O) outputs: standardise, then a linear map plus, where hidden > 0, one hidden layer; the
    result is scaled and shifted as calibration says. Only the first `n_inputs` of the inputs are read: plain features
    stand before what the network says."""

    mean: Tensor
    scale: Tensor
    slope: Tensor
    shift: Tensor

    def __init__(self, n_inputs: int, n_outputs: int, *, hidden: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_inputs))
        self.register_buffer("scale", torch.ones(n_inputs))
        self.register_buffer("slope", torch.ones(1))
        self.register_buffer("shift", torch.zeros(n_outputs))
        self.shape = (n_inputs, n_outputs, hidden)
        self.linear = nn.Linear(n_inputs, n_outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.hidden = None
        if hidden:
            last = nn.Linear(hidden, n_outputs, bias=False)
            nn.init.zeros_(last.weight)
            self.hidden = nn.Sequential(nn.Linear(n_inputs, hidden), nn.GELU(), nn.Dropout(DROPOUT), last)

    def take_moments(self, inputs: Tensor) -> None:
        """Take mean and deviation from (Q, F) inputs; a constant one is left out."""
        inputs = inputs[:, : self.shape[0]]
        self.mean.copy_(inputs.mean(0))
        deviation = inputs.std(0, correction=0)
        self.scale.copy_(torch.where(deviation > 1e-6, 1 / deviation.clamp(min=1e-6), 0.0))

    def standardised(self, inputs: Tensor) -> Tensor:
        """(Q, n_inputs), within five deviations of the mean."""
        return ((inputs[:, : self.shape[0]] - self.mean) * self.scale).clamp(-5, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        """(Q, F) -> (Q, O)."""
        return self.outputs(self.standardised(inputs))

    def outputs(self, x: Tensor) -> Tensor:
        """(Q, O) from standardised inputs."""
        out: Tensor = self.linear(x)
        if self.hidden is not None:
            out = out + self.hidden(x)
        return out * self.slope + self.shift

    def calibrate(self, slope: float, shift: Tensor) -> None:
        """Outputs become `slope` times what they were, plus `shift` (O,)."""
        self.slope.mul_(slope)
        self.shift.mul_(slope).add_(shift)


@dataclass(frozen=True)
class Sample:
    """Q questions with answers: inputs (Q, F) float32 and whatever the loss needs of each, (Q, ...) each."""

    inputs: Tensor
    answers: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: Tensor) -> "Sample":
        """The questions `rows`."""
        return Sample(self.inputs[rows], tuple(answer[rows] for answer in self.answers))


Loss = Callable[..., Tensor]  # (outputs (Q, O), *answers) -> (Q,) negative log-likelihoods


def like_loss(logit: Tensor, liked: Tensor) -> Tensor:
    """(Q,) from logits (Q, 1) and liked (Q,) float."""
    return F.binary_cross_entropy_with_logits(logit.squeeze(1), liked, reduction="none")


def kind_loss(logits: Tensor, kind: Tensor) -> Tensor:
    """(Q,) from logits (Q, K) and kind (Q,) int64."""
    return F.cross_entropy(logits, kind, reduction="none")


@dataclass(frozen=True)
class Bins:
    """Log-spaced bins of days: edges (B + 1,) ascending, the first the hour after which a return is one; log_rate (B,)
    the training part's own log hazard a day in each."""

    edges: tuple[float, ...]
    log_rate: tuple[float, ...]

    @property
    def shapes(self) -> Tensor:
        """(N_SHAPES, B): the first Legendre polynomials of log days, taken at the bins' middles, over [-1, 1]."""
        log_edges = np.log(self.edges)
        middle = (log_edges[1:] + log_edges[:-1]) / 2
        x = 2 * (middle - middle[0]) / max(middle[-1] - middle[0], 1e-9) - 1
        return torch.from_numpy(np.polynomial.legendre.legvander(x, N_SHAPES - 1).T.astype(np.float32))

    def log_hazard(self, outputs: Tensor) -> Tensor:
        """(Q, B) from (Q, N_SHAPES) outputs, which move the training part's own hazard."""
        return torch.tensor(self.log_rate) + outputs @ self.shapes.to(outputs.dtype)

    def exposure(self, days: Floats) -> Tensor:
        """(Q, B) days that each time of (Q,) days spends in each bin."""
        edge = torch.tensor(self.edges, dtype=torch.float64)
        spent = torch.minimum(torch.from_numpy(days)[:, None], edge[1:]) - edge[:-1]
        return spent.clamp(min=0).float()

    def place(self, days: Floats) -> IntArray:
        """(Q,) the bin of each time: edges[b] < days <= edges[b + 1]; B beyond the last edge."""
        return np.maximum(np.searchsorted(np.asarray(self.edges), days, side="left") - 1, 0).astype(np.int64)

    def loss(self, outputs: Tensor, exposure: Tensor, event: Tensor) -> Tensor:
        """(Q,) `return_loss` of (Q, N_SHAPES) outputs."""
        return return_loss(self.log_hazard(outputs), exposure, event)


def return_loss(log_hazard: Tensor, exposure: Tensor, event: Tensor) -> Tensor:
    """(Q,) negative log-likelihood of a piecewise exponential time, in nats with days as the unit: sum_b hazard_b
    exposure_b - log hazard at the event's bin. log_hazard and exposure (Q, B); event (Q,) int64, -1 where censored."""
    total = (log_hazard.exp() * exposure).sum(1)
    at = log_hazard.gather(1, event.clamp(min=0)[:, None]).squeeze(1)
    return total - torch.where(event >= 0, at, 0.0)


def fit_bins(days: Floats, came: Bools, *, first: float, most: int = 24) -> Bins:
    """Edges from `first` days to the longest return, log-spaced, ten returns a bin or more. days and came (Q,)."""
    last = float(days[came].max())
    count = int(np.clip(came.sum() // 10, 1, most))
    edges = np.geomspace(first, max(last, first * 1.01), count + 1)
    bare = Bins(tuple(edges.tolist()), (0.0,) * count)
    seen = bare.exposure(days).sum(0).numpy()
    events = np.bincount(np.minimum(bare.place(days[came]), count - 1), minlength=count)
    whole = came.sum() / max(seen.sum(), 1e-9)  # half an event at the overall rate keeps an empty bin finite
    rate = (events + 0.5) / (seen + 0.5 / whole)
    return Bins(bare.edges, tuple(np.log(rate).tolist()))


def fit_head(head: Head, train: Sample, valid: Sample, loss: Loss, *, seed: int) -> float:
    """Fit in place by Adam, keep what validated best; the mean validation loss there (NaN without validation)."""
    head.take_moments(train.inputs)
    train, valid = (Sample(head.standardised(some.inputs), some.answers) for some in (train, valid))
    batch = min(max(len(train) // STEPS, BATCHES[0]), BATCHES[-1])
    shuffle = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=LR, weight_decay=WEIGHT_DECAY, fused=True)
    best, kept, waited = _mean_loss(head, valid, loss), copy.deepcopy(head.state_dict()), 0
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout
        for _ in range(MAX_EPOCHS):
            head.train()
            for rows in torch.split(torch.randperm(len(train), generator=shuffle), batch):
                some = train.take(rows)
                optimizer.zero_grad()
                torch.autograd.backward(loss(head.outputs(some.inputs), *some.answers).mean())
                optimizer.step()
            reached = _mean_loss(head, valid, loss)
            waited += 1
            if not reached >= best:
                best, kept, waited = reached, copy.deepcopy(head.state_dict()), 0
            if waited > PATIENCE:
                break
    head.load_state_dict(kept)
    head.eval().requires_grad_(False)
    return best


@torch.no_grad()
def _mean_loss(head: Head, sample: Sample, loss: Loss) -> float:
    head.eval()
    return float(loss(head.outputs(sample.inputs), *sample.answers).mean())


def in_stretches(moments: Moments, *, length: int, most: int, most_read: int, seed: int) -> IntArray:
    """Ascending rows of at most `most` moments, drawn so that their states cost little: whole stretches of STRIDE
    moments of a history until about `most_read` events are read, then moments of those. length: the network's."""
    rng = np.random.default_rng(seed)
    stretch = -(-moments.place // STRIDE)
    found, which = np.unique(np.stack([moments.owner, stretch], axis=1), axis=0, return_inverse=True)
    order = rng.permutation(len(found))
    read = np.cumsum(np.minimum(found[order, 1] * STRIDE, length))
    chosen = np.zeros(len(found), dtype=bool)
    chosen[order[: 1 + np.searchsorted(read, most_read, side="right")]] = True
    rows: IntArray = np.flatnonzero(chosen[which.reshape(-1)])
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


@torch.no_grad()
def states_at(
    network: Recommender, histories: Histories, moments: Moments, vocabulary: Vocabulary, *, stride: int = 1
) -> Tensor:
    """(Q, d) float32 states of the user at each moment, in evaluation mode.

    With stride 1 each is the served one, which reads the last `max_length` events. A longer stride reads one window for
    all moments within it: a history's early states are the same, later ones see `max_length - stride` events or more,
    and half of `max_length` at least.
    """
    network.eval()
    length = network.config.max_length
    stride = max(1, min(stride, length // 2))
    place = np.minimum(-(-moments.place // stride) * stride, histories.lengths[moments.owner])
    windows, which = np.unique(np.stack([moments.owner, place], axis=1), axis=0, return_inverse=True)
    which = which.reshape(-1)
    inside = moments.place - np.maximum(windows[which, 1] - length, 0)
    vectors, _ = network.items()
    out = torch.empty(len(moments), network.config.dim)
    size = np.minimum(windows[:, 1], length)
    order = np.argsort(size, kind="stable")
    asked = np.argsort(which, kind="stable")
    asked_from = np.searchsorted(which[asked], np.arange(len(windows) + 1))
    begin = 0
    while begin < len(order):
        end = begin + 1
        while end < len(order) and (size[order[end]] + 1) * (end + 1 - begin) <= READ_TOKENS:
            end += 1
        rows = order[begin:end]
        some = histories.take(windows[rows, 0]).until(windows[rows, 1])
        events = to_events(some, vocabulary, length=length, n_items=network.n_items)
        states = network.states(events.to(network.device), vectors).cpu()
        mine = [asked[asked_from[window] : asked_from[window + 1]] for window in rows]
        row = np.repeat(np.arange(len(rows)), [len(one) for one in mine])
        where = np.concatenate(mine)
        out[torch.from_numpy(where)] = states[torch.from_numpy(row), torch.from_numpy(inside[where])]
        begin = end
    return out
