"""How well behaviour is foretold on held-out questions, beside the linear model of plain features and the base rate.

P(like) and P(next kind) are judged on the events of the run's own test part; return times on sessions that ended after
the second cut in time, censored where the log ends. Intervals are over users; gaps are paired on the same draws.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.learn.behaviour import TEST, Returns
from core.learn.heads import Bins, Sample, return_loss
from core.learn.sequences import IntArray
from core.predict.behaviour import Behaviour, expected_days, survival_at, survival_curve
from core.predict.behaviour_fit import Log, event_samples, return_sample
from core.predict.reliability import (
    Bools,
    Floats,
    calibration_error,
    chance_error,
    known_order,
    log_loss,
    mean_measures,
    pair_measures,
    reliability,
    roc_pairs,
    survival_shares,
)
from core.predict.served import ServedModel

HEADS, LINEAR, BASE = "heads", "linear", "base_rate"
INTERVAL = slice(1, 9)  # the tenths of a survival curve that its 80% interval holds
Figures = dict[str, Any]


def behaviour_figures(
    behaviour: Behaviour, linear: Behaviour, served: ServedModel, log: Log, *, seed: int
) -> dict[str, Figures | None]:
    """{like, kind, return}, None for what is not predicted; see `like_figures`, `kind_figures`, `return_figures`."""
    told: dict[str, Figures | None] = {"like": None, "kind": None, "return": None}
    models = {HEADS: behaviour, LINEAR: linear}
    if behaviour.like is not None or behaviour.kind is not None:
        rows, samples = event_samples(behaviour, served, log, TEST, seed=seed)
        user = log.histories.owner[rows]
        if behaviour.like is not None and len(rows):
            guessed = {name: like_probability(model, samples["like"]) for name, model in models.items()}
            told["like"] = like_figures(guessed, log.liked[rows], user, seed=seed)
        if behaviour.kind is not None and len(rows):
            guessed = {name: kind_probability(model, samples["kind"]) for name, model in models.items()}
            told["kind"] = kind_figures(guessed, log.histories.kind[rows], user, kinds=behaviour.kinds, seed=seed)
    if behaviour.back is not None and behaviour.bins is not None:
        returns, sample = return_sample(behaviour, served, log, TEST, behaviour.bins, seed=seed)
        told["return"] = return_figures(
            {name: return_hazard(model, sample) for name, model in models.items()},
            behaviour.bins,
            returns,
            sample,
            seed=seed,
        )
    return told


@torch.no_grad()
def like_probability(model: Behaviour, sample: Sample) -> Floats:
    """(Q,) P(like) by one model."""
    assert model.like is not None
    return np.asarray(model.like(sample.inputs).squeeze(1).double().sigmoid().numpy())


@torch.no_grad()
def kind_probability(model: Behaviour, sample: Sample) -> Floats:
    """(Q, K) P(next kind) by one model."""
    assert model.kind is not None
    return np.asarray(model.kind(sample.inputs).double().softmax(1).numpy())


@torch.no_grad()
def return_hazard(model: Behaviour, sample: Sample) -> Tensor:
    """(Q, B) log hazards a day by one model."""
    assert model.back is not None and model.bins is not None
    return model.bins.log_hazard(model.back(sample.inputs))


def like_figures(guessed: Mapping[str, Floats], liked: Bools, user: IntArray, *, seed: int) -> Figures:
    """auc, log_loss and ece of the first model of `guessed` ((Q,) each), those of the others by name, how far it is
    ahead of each (a log loss below theirs is a negative gap), the log loss of the base rate, and its reliability
    diagram. n counts events, the n of an interval users."""
    base = np.full(len(liked), np.clip(liked.mean(), 1e-6, 1 - 1e-6))
    areas, area_gaps = pair_measures(guessed, roc_pairs(liked), user, seed=seed)
    losses, loss_gaps = mean_measures(
        {name: log_loss(p, liked) for name, p in {**guessed, BASE: base}.items()}, user, seed=seed
    )
    each = {
        name: {"auc": areas[name], "log_loss": losses[name], "ece": _ece(p, liked, seed=seed)}
        for name, p in guessed.items()
    }
    first, *others = guessed
    return {
        **each[first],
        "n": len(liked),
        "positive": float(liked.mean()),
        "base_rate_log_loss": losses[BASE]["estimate"],
        **{name: each[name] for name in others},
        "against": {name: {"auc": area_gaps[name], "log_loss": loss_gaps[name]} for name in others},
        "reliability": reliability(guessed[first], liked),
    }


def kind_figures(
    guessed: Mapping[str, Floats], kind: IntArray, user: IntArray, *, kinds: tuple[str, ...], seed: int
) -> Figures:
    """log_loss over the kinds, and of each kind against the rest auc and ece, for the first model of `guessed`
    ((Q, K) each), the others by name; ece is the mean over kinds (Kull et al., "Beyond Temperature Scaling", NeurIPS
    2019)."""
    row = np.arange(len(kind))
    share = np.bincount(kind, minlength=len(kinds)) / max(len(kind), 1)
    losses = {name: -np.log(p[row, kind]) for name, p in guessed.items()}
    measured, gaps = mean_measures({**losses, BASE: -np.log(share[kind])}, user, seed=seed)
    each: dict[str, Figures] = {name: {"log_loss": measured[name], "of": {}} for name in guessed}
    area_gaps: dict[str, Any] = {}
    for number, name in enumerate(kinds):
        this = kind == number
        columns = {model: p[:, number] for model, p in guessed.items()}
        areas, area_gaps[name] = pair_measures(columns, roc_pairs(this), user, seed=seed)
        for model, p in columns.items():
            each[model]["of"][name] = {"auc": areas[model], "ece": _ece(p, this, seed=seed)}
    for one in each.values():
        errors = [figure["ece"]["estimate"] for figure in one["of"].values()]
        one["ece"] = {"estimate": float(np.mean(errors)), "n": len(kind)}
    first, *others = guessed
    return {
        **each[first],
        "n": len(kind),
        "share": dict(zip(kinds, share.tolist(), strict=True)),
        "base_rate_log_loss": measured[BASE]["estimate"],
        **{name: each[name] for name in others},
        "against": {name: {"log_loss": gaps[name], "auc": {k: area_gaps[k][name] for k in kinds}} for name in others},
    }


def return_figures(
    guessed: Mapping[str, Tensor], bins: Bins, returns: Returns, sample: Sample, *, seed: int
) -> Figures:
    """concordance (of the expected days up to the longest return seen in training), log_likelihood in nats a session,
    survival (shares by tenths of the curve, .1 each where calibrated), ece (the mean distance of those from .1) and
    interval80 (the share inside the 80% interval) for the first model of `guessed` (log hazards (Q, B) each), the
    others by name. n counts sessions, `came` those that were seen to be followed by another."""
    days, came, user = returns.days, returns.came, returns.moments.owner
    curves = {name: survival_curve(bins, log_hazard) for name, log_hazard in guessed.items()}
    sooner = {name: -expected_days(bins, curve) for name, curve in curves.items()}
    orders, order_gaps = pair_measures(sooner, known_order(days, came), user, seed=seed)
    base = torch.tensor(bins.log_rate).expand(len(returns), -1)
    likelihoods = {
        name: -return_loss(log_hazard, *sample.answers).double().numpy()
        for name, log_hazard in {**guessed, BASE: base}.items()
    }
    measured, gaps = mean_measures(likelihoods, user, seed=seed)
    each: dict[str, Figures] = {}
    for name, curve in curves.items():
        shares = survival_shares(survival_at(bins, curve, days), came)
        each[name] = {
            "concordance": orders[name],
            "log_likelihood": measured[name],
            "ece": {"estimate": float(np.abs(shares - 1 / len(shares)).mean()), "n": len(days)},
            "interval80": float(shares[INTERVAL].sum()),
            "survival": shares.tolist(),
        }
    first, *others = guessed
    return {
        **each[first],
        "n": len(days),
        "came": int(came.sum()),
        "base_rate_log_likelihood": measured[BASE]["estimate"],
        **{name: each[name] for name in others},
        "against": {name: {"concordance": order_gaps[name], "log_likelihood": gaps[name]} for name in others},
    }


def _ece(p: Floats, positive: Bools, *, seed: int) -> Figures:
    """The estimate, and by_chance what it would be if p were true."""
    return {"estimate": calibration_error(p, positive), "n": len(p), "by_chance": chance_error(p, seed=seed)}
