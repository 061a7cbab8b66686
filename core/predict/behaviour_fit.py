"""Fitting the behaviour heads of a served model, and the linear model beside them that they are compared with.

The network is frozen; heads learn from training events (return times: from sessions that ended before the first cut in
time) and stop where validation stops gaining. Training states come from a network that learned from those very events
and look a little too sure of what came; held-out ones do not. So each head is calibrated on validation, whose states
are of the kind that is served, by one slope and a shift of its outputs (Platt scaling; isotonic regression wants more
than the one validation event a user that there may be: Niculescu-Mizil and Caruana, "Predicting Good Probabilities
with Supervised Learning", ICML 2005).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.learn import behaviour as asked
from core.learn.behaviour import TRAIN, VALID, Bools, Moments, Returns
from core.learn.heads import (
    N_SHAPES,
    STRIDE,
    Bins,
    Head,
    Loss,
    Sample,
    fit_bins,
    fit_head,
    in_stretches,
    kind_loss,
    like_loss,
)
from core.learn.sequences import Histories, IntArray, Split
from core.predict.behaviour import Behaviour
from core.predict.blend import maximise_likelihood
from core.predict.served import ServedModel
from data.spec import PositiveRule

HIDDEN = 64
MOST_LEARNED = 60_000  # training questions of one sort that a head learns from
MOST_READ = 300_000  # events that the network reads for them
MOST_JUDGED = 2_000  # held-out questions of one sort: each is read alone, and pairs of them are compared
FEWEST = 50  # training answers of the rarer sort, below which there is nothing to learn


@dataclass(frozen=True)
class Log:
    """All that happened, and which side of the split it lies on: what heads are fitted on and judged by.

    part (N,) as `core.learn.behaviour.parts_of` gives it; cuts: where returns are cut in time."""

    histories: Histories
    split: Split
    liked: Bools
    part: IntArray
    cuts: tuple[int, int, int]

    def rows(self, part: int) -> IntArray:
        """The events of a part."""
        return np.flatnonzero(self.part == part)

    def returns(self, part: int) -> Returns:
        """The session ends of a part in time."""
        begin = (np.iinfo(np.int64).min // 2, *self.cuts[:2])[part]
        return asked.returns_between(self.histories, begin, self.cuts[part])


def log_of(histories: Histories, split: Split, rule: PositiveRule, kinds: tuple[str, ...]) -> Log:
    """A build's whole histories beside the split that was made of them."""
    liked = asked.liked_events(histories, min_value=rule.min_value, kinds=_numbers(rule, kinds))
    return Log(histories, split, liked, asked.parts_of(histories, split), asked.return_cuts(histories, split))


def fit_behaviour(
    served: ServedModel, log: Log, rule: PositiveRule, *, seed: int, say: Callable[[str], None]
) -> tuple[Behaviour, Behaviour]:
    """What is served, and beside it the linear model of plain features alone, phi(x; theta), that it is compared with.

    Fitted on the training part, stopped and calibrated on validation. Each head is the best there of three: with the
    network's states, with a hidden layer on plain features, and the linear one. `say` is told which, and what is left
    out and why.
    """
    kinds = served.vocabulary.kinds
    training = log.part == TRAIN
    made = Behaviour(
        kinds=kinds,
        min_value=rule.min_value,
        liked_kinds=_numbers(rule, kinds),
        norms=asked.fit_norms(log.histories, log.liked, training, n_kinds=max(len(kinds), 1)),
        tallies=asked.tally(log.histories, log.liked, training, n_items=served.n_items),
    )
    n_user = asked.n_user_features(len(kinds))
    rarer = min(log.liked[training].sum(), (~log.liked[training]).sum())
    best: dict[str, Any] = {}
    linear: dict[str, Any] = {}

    def fit_one(name: str, train: Sample, valid: Sample, loss: Loss, *, shift: tuple[float, ...], plain: int) -> None:
        best[name], linear[name], words = _better(train, valid, loss, shift=shift, plain=plain, seed=seed)
        say(f"{name} head on {len(train)} questions: {words}")

    if rarer < FEWEST:
        say(f"no like head: {rarer} training events of the rarer sort under the positive rule")
    if len(kinds) < 2:
        say("no head for the next kind: there is one kind alone")
    if rarer >= FEWEST or len(kinds) > 1:
        (_, train), (_, valid) = (event_samples(made, served, log, part, seed=seed) for part in (TRAIN, VALID))
        if rarer >= FEWEST:
            plain = n_user + asked.N_ITEM_FEATURES
            fit_one("like", train["like"], valid["like"], like_loss, shift=(1.0,), plain=plain)
        if len(kinds) > 1:
            fit_one("kind", train["kind"], valid["kind"], kind_loss, shift=(1.0,) * len(kinds), plain=n_user)
    seen = log.returns(TRAIN)
    if seen.came.sum() < FEWEST:
        say(f"no return times: {seen.came.sum()} returns before the first cut in time")
    else:
        bins = fit_bins(seen.days, seen.came, first=asked.SESSION_GAP_S / asked.DAY_S)
        (_, learned), (_, later) = (return_sample(made, served, log, part, bins, seed=seed) for part in (TRAIN, VALID))
        best["bins"] = linear["bins"] = bins
        fit_one("back", learned, later, bins.loss, shift=(1.0, *(0.0,) * (N_SHAPES - 1)), plain=n_user)
    return replace(made, **best), replace(made, **linear)


def event_samples(
    made: Behaviour, served: ServedModel, log: Log, part: int, *, seed: int
) -> tuple[IntArray, dict[str, Sample]]:
    """Events of a part and the questions about them, with answers: `like` (1 where liked) and `kind`."""
    histories, every = log.histories, log.rows(part)
    rows, stride = _drawn(served, asked.moments_before(histories, every, served.task), part, seed)
    tallies = asked.tallies_before(histories, log.liked, every).at(rows) if part == TRAIN else None
    rows = every[rows]
    items = histories.item[rows]
    user = made.user_inputs(served, histories, asked.moments_before(histories, rows, served.task), stride=stride)
    liked = torch.from_numpy(log.liked[rows]).float()
    return rows, {
        "like": Sample(made.like_inputs(served, user, items, tallies or made.tallies.at(items)), (liked,)),
        "kind": Sample(torch.cat(user, dim=1), (torch.from_numpy(histories.kind[rows]),)),
    }


def return_sample(
    made: Behaviour, served: ServedModel, log: Log, part: int, bins: Bins, *, seed: int
) -> tuple[Returns, Sample]:
    """Session ends of a part in time and the questions about them, with answers: exposure (Q, B) and the bin of the
    return, -1 where none was seen."""
    every = log.returns(part)
    rows, stride = _drawn(served, every.moments, part, seed)
    returns = every.take(rows)
    inputs = torch.cat(made.user_inputs(served, log.histories, returns.moments, stride=stride), dim=1)
    place = bins.place(returns.days)
    event = np.where(returns.came & (place < len(bins.log_rate)), place, -1)
    return returns, Sample(inputs, (bins.exposure(returns.days), torch.from_numpy(event)))


def _drawn(served: ServedModel, moments: Moments, part: int, seed: int) -> tuple[IntArray, int]:
    """Rows of the moments to ask at, and the stride at which their histories are read."""
    if part == TRAIN:
        length = served.network.config.max_length
        return in_stretches(moments, length=length, most=MOST_LEARNED, most_read=MOST_READ, seed=seed), STRIDE
    if len(moments) <= MOST_JUDGED:
        return np.arange(len(moments)), 1
    return np.sort(np.random.default_rng(seed).choice(len(moments), MOST_JUDGED, replace=False)), 1


def _better(
    train: Sample, valid: Sample, loss: Loss, *, shift: tuple[float, ...], plain: int, seed: int
) -> tuple[Head, Head, str]:
    """The head to serve, the linear one on the first `plain` inputs, and words on the choice."""
    shapes = {"state": (train.inputs.shape[1], HIDDEN), "plain": (plain, HIDDEN), "linear": (plain, 0)}
    found = {
        name: _fitted(train, valid, loss, n_inputs, shift=shift, hidden=hidden, seed=seed)
        for name, (n_inputs, hidden) in shapes.items()
    }
    best = min(found, key=lambda name: found[name][1])
    words = ", ".join(f"{name} {reached:.4f}" for name, (_, reached) in found.items())
    return found[best][0], found["linear"][0], f"{best} serves, by validation loss of {words}"


def _fitted(
    train: Sample, valid: Sample, loss: Loss, n_inputs: int, *, shift: tuple[float, ...], hidden: int, seed: int
) -> tuple[Head, float]:
    """A head, calibrated, and its validation loss. shift (O,): 1 for an output that calibration may move, else 0."""
    torch.manual_seed(seed)
    head = Head(n_inputs, len(shift), hidden=hidden)
    reached = fit_head(head, train, valid, loss, seed=seed)
    if len(valid):
        with torch.no_grad():
            outputs = head(valid.inputs)
        slope, moved, reached = calibration(outputs, valid, loss, shift=shift)
        head.calibrate(slope, moved)
    return head, reached


def calibration(outputs: Tensor, valid: Sample, loss: Loss, *, shift: tuple[float, ...]) -> tuple[float, Tensor, float]:
    """The slope and the shift (O,) of outputs (Q, O) under which validation is likeliest, and its mean loss then."""
    free = torch.tensor(shift)

    def moved(parameters: Tensor) -> Tensor:
        there = parameters.float()
        return loss(outputs * there[0] + there[1:] * free, *valid.answers).mean().double()

    start = torch.zeros(1 + len(shift), dtype=torch.float64)
    start[0] = 1.0
    found, reached = maximise_likelihood(moved, start=start, toward=start)
    return float(found[0]), found[1:].float() * free, reached


def _numbers(rule: PositiveRule, kinds: tuple[str, ...]) -> tuple[int, ...] | None:
    return tuple(number for number, kind in enumerate(kinds) if kind in rule.kinds) if rule.kinds else None
