"""Items without a training event, placed by their texts, and weighed so that they neither sink nor flood.

What a trained model holds for an item is linear in it: a vector and a bias in the network, a column in each closed
form. A ridge regression of these on the items' whitened texts tells what an item of such a text would hold, had it been
there; that is what an untrained item gets. How far such borrowed scores can be trusted is learned from trained items
that play cold: each is predicted by a regression that left out its tenth of the catalogue, and a conditional logit of
the validation targets over catalogues in which one tenth at a time plays cold gives the components' weights and an
offset for cold items, while those of the others stay as they were fitted. The likeliest offset answers what comes next
as things were, when nobody was shown what is new; what a new item is worth shows only where it is seen. So the offset
is moved to where the other items lose `WARM_LOSS` of their NDCG@10, up or down: that much may be spent on new ones.

The texts may have been tuned with the items that play cold in the training part; what this leaves of optimism is seen
on items that were never there (`python -m tests.bench.cold`).
"""

import bisect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from core.learn.closed import CONTENT, ClosedForm, binary
from core.learn.model import Recommender
from core.learn.scoring import user_states
from core.learn.sequences import Histories, Queries
from core.predict.blend import Blend, maximise_likelihood
from core.predict.choices import Choices, Scorer, affordable, answers, at_choices, choose, products
from core.predict.served import ServedModel

FOLDS = 10
STRENGTHS = (0.1, 0.3, 1.0, 3.0)  # of the ridge, in units of the texts' variance
CONSTANT = 3.0  # the regression's constant feature: shrunk less than the texts, whose variance is 1
WARM_LOSS = 0.015
UNPROVEN = -30.0  # the offset where nothing tells how cold items compare with the others
OFFSETS = tuple(1.0 - 0.05 * step for step in range(141))  # what may be added to the likeliest offset
_ROWS = 512  # targets compared at once
MOST_CELLS = 4_000_000  # validation scores of one component that the weights are fitted on
USUAL = 1.0  # the strength whose borrowed scores tell which items of a large catalogue are looked at


@dataclass(frozen=True)
class TextRegression:
    """Ridge regressions on text, one for each fold left out and one on all trained items.

    features (I, F) float32; fold (I,) int64 as `folds` gives it; solver (FOLDS + 1, F, F) float32, the inverse
    Gram matrices of all trained items but a fold's, the last of all of them.
    """

    features: Tensor
    fold: Tensor
    solver: Tensor

    @classmethod
    def on(cls, text: Tensor, fold: Tensor, *, strength: float) -> Self:
        """text (I, T) whitened; fold (I,) as `folds` gives it."""
        features = torch.cat([text.new_full((len(text), 1), CONSTANT), text], dim=1)
        parts = (features[fold == k].double() for k in range(FOLDS))
        grams = torch.stack([part.T @ part for part in parts])
        left = torch.cat([grams.sum(0) - grams, grams.sum(0, keepdim=True)])
        penalty = strength * max(int((fold < FOLDS).sum()), 1) * torch.eye(features.shape[1], dtype=torch.float64)
        return cls(features, fold, torch.linalg.inv(left + penalty).float())

    def predict(self, columns: Tensor) -> Tensor:
        """(R, I) float32: for every item what its text tells of its column of `columns` (R, I), its own fold unseen."""
        where = [self.fold == k for k in range(FOLDS + 1)]
        moments = [columns[:, rows] @ self.features[rows] for rows in where[:FOLDS]]
        total = torch.stack(moments).sum(0)
        out = torch.empty_like(columns)
        for k, rows in enumerate(where):
            learned = total if k == FOLDS else total - moments[k]
            out[:, rows] = (learned @ self.solver[k]) @ self.features[rows].T
        return out


def folds(trained: Tensor, *, seed: int) -> Tensor:
    """(I,) int64: a trained item's tenth of the catalogue in [0, FOLDS), FOLDS for an untrained item."""
    rows = trained.nonzero().squeeze(1)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    fold = torch.full((len(trained),), FOLDS, dtype=torch.int64)
    fold[rows[order]] = torch.arange(len(rows)) % FOLDS
    return fold


@torch.no_grad()
def place_cold_items(served: ServedModel, valid: Queries, *, seed: int, log: Callable[[str], None]) -> ServedModel:
    """`served`, whose blend was fitted on the trained items, with the untrained ones in place: their vectors and biases
    (in the same network), their columns in the closed forms, and the blend's cold weights and offset.

    Forms without weights (personal frequency) stay: nobody has had a new item before.
    """
    trained, n_items = served.catalogue.trained, served.n_items
    if trained.all():
        return served
    network = served.network
    closed = {name: form for name, form in served.closed.items() if name in served.blend.names}
    fold = folds(trained, seed=seed)
    n_scorers = 2 * (1 + len(closed))
    some = affordable(valid, n_items=n_items, n_scorers=n_scorers, cells=MOST_CELLS, seed=seed)
    states = user_states(network, some.context, served.vocabulary)

    def scorers(items: tuple[Tensor, Tensor], forms: Mapping[str, ClosedForm]) -> dict[str, Scorer]:
        own = {name: answers(form.scores, some.context, n_items=n_items) for name, form in forms.items()}
        return {"neural": products(states, items), **own}

    def borrowed(regression: TextRegression) -> dict[str, Scorer]:
        return scorers(_held(regression, network), {k: _borrowed(regression, form) for k, form in closed.items()})

    @cache  # asked for where the catalogue is large
    def usual() -> dict[str, Scorer]:
        return borrowed(TextRegression.on(network.text, fold, strength=USUAL))

    def asked_for(name: str) -> Scorer:
        return lambda rows: usual()[name](rows)

    choices, scores = choose(
        some,
        scorers(network.items(), closed),
        task=served.task,
        available=served.catalogue.available & trained,
        seed=seed,
        besides={f"borrowed {name}": asked_for(name) for name in ("neural", *closed)},
    )
    had = at_choices({"had": answers(_had, some.context, n_items=n_items)}, choices)["had"] > 0
    roles = Roles(served.blend, scores, choices, fold=fold, had=had)
    best: _Fit | None = None
    for strength in STRENGTHS:
        regression = TextRegression.on(network.text, fold, strength=strength)
        told = at_choices(borrowed(regression), choices)
        blend, loss = roles.fit(told)
        if best is None or loss < best.loss:
            best = _Fit(loss, strength, regression, blend, told)
    assert best is not None
    blend = roles.spent(best.blend, best.borrowed)
    if not choices.tell:
        log("cold items stand below the others: no validation question tells how the two compare")
        blend = replace(blend, cold_offset=UNPROVEN)
    log(
        f"cold items: ridge {best.strength:g}, weights {[round(w, 2) for w in blend.cold_weight]}, offset"
        f" {blend.cold_offset:.2f} (likeliest {best.blend.cold_offset:.2f}), validation loss {best.loss:.4f}"
    )
    _put(network, _held(best.regression, network), rows=~trained)
    placed = {name: _borrowed(best.regression, form, rows=~trained) for name, form in served.closed.items()}
    return replace(served, closed=placed, blend=blend)


def _had(histories: Histories, *, n_items: int) -> Tensor:
    """(H, I) float32: 1 where a history holds an item."""
    return torch.from_numpy(binary(histories, n_items=n_items).toarray())


class _Fit(NamedTuple):
    """One strength of the ridge, and what it came to."""

    loss: float
    strength: float
    regression: TextRegression
    blend: Blend
    borrowed: Mapping[str, Tensor]


def _borrowed(regression: TextRegression, form: ClosedForm, *, rows: Tensor | None = None) -> ClosedForm:
    """A form with the columns that the texts tell of, at all items or where `rows` (I,) bool."""
    columns = form.weights if form.across is None else form.across
    if columns is None or form.name == CONTENT:
        return form
    told = regression.predict(columns)
    told = told if rows is None else torch.where(rows, told, columns)
    return replace(form, weights=told) if form.across is None else replace(form, across=told)


@torch.no_grad()
def _held(regression: TextRegression, network: Recommender) -> tuple[Tensor, Tensor]:
    """(I, d) vectors and (I,) biases that the items' texts tell of."""
    vectors, bias = network.items()
    told = regression.predict(torch.cat([vectors.T, bias[None]]))
    return told[:-1].T, told[-1]


@torch.no_grad()
def _put(network: Recommender, items: tuple[Tensor, Tensor], *, rows: Tensor) -> None:
    """Give the items `rows` (I,) bool these vectors and biases: the id takes what the text's own path does not."""
    vectors, bias = items
    network.id_vector[rows] = 0.0
    network.id_bias[rows] = 0.0
    by_text, bias_by_text = network.items()
    network.id_vector[rows] = (vectors - by_text)[rows]
    network.id_bias[rows] = (bias - bias_by_text)[rows]


class Roles:
    """Validation queries over catalogues in which one fold's items at a time play cold, but for those that the query's
    history holds: nobody has had a new item before.

    Only sums over folds of each query's exp-logits change with the weights, so K catalogues cost as much as one.
    """

    def __init__(
        self, blend: Blend, scores: Mapping[str, Tensor], choices: Choices, *, fold: Tensor, had: Tensor
    ) -> None:
        """scores (Q, M) of each component at the choices, which are trained items; fold (I,) int64 as `folds` gives
        it; had (Q, M) bool: choices that the query's history holds."""
        self.blend, self.choices, self.owner, self.place = blend, choices, choices.owner, choices.place
        self.fold = fold[choices.item].masked_fill(had, FOLDS)  # (Q, M); those of FOLDS never play
        warm = blend.standardised(scores)
        self.warm = self._mixed(torch.stack(warm), torch.tensor([*blend.weight, 0.0], dtype=torch.float64))
        self.own = self.warm[self.owner, self.place][:, None]  # (T, 1)
        self.plays = F.one_hot(self.fold[self.owner, self.place], FOLDS + 1)[:, :FOLDS] > 0  # (T, K)
        self.top = self.warm.amax(1, keepdim=True)
        mass = (self.warm - self.top).exp()
        self.others = mass.sum(1, keepdim=True) - self._by_fold(mass)  # (Q, K)

    def fit(self, borrowed: Mapping[str, Tensor]) -> tuple[Blend, float]:
        """The blend with the cold weights and offset of greatest likelihood for borrowed scores (Q, M), and its mean
        negative log-likelihood; the warm weights and infinity where there is no target to fit to."""
        if not len(self.owner):
            return self.blend, math.inf
        stack = torch.stack(self.blend.standardised(borrowed))
        start = torch.tensor([*self.blend.weight, 0.0], dtype=torch.float64)
        found, loss = maximise_likelihood(lambda p: self._loss(self._mixed(stack, p)), start=start, toward=start)
        *weights, offset = found.tolist()
        return replace(self.blend, cold_weight=tuple(weights), cold_offset=offset), loss

    def spent(self, blend: Blend, borrowed: Mapping[str, Tensor]) -> Blend:
        """The blend at the greatest offset, of those around its own, at which warm targets lose at most WARM_LOSS of
        their NDCG@10 against catalogues whose cold items are never shown."""
        if not len(self.owner):
            return blend
        parameters = torch.tensor([*blend.cold_weight, blend.cold_offset], dtype=torch.float64)
        cold = self._mixed(torch.stack(blend.standardised(borrowed)), parameters)
        others = self._above(self.warm, 0.0, playing=False)
        warm = ~self.plays
        least = (1 - WARM_LOSS) * _gain(others)[warm].mean()

        def bearable(offset: float) -> bool:
            return bool(_gain(others + self._above(cold, offset))[warm].mean() >= least)

        place = bisect.bisect_left(OFFSETS, True, key=bearable)
        return replace(blend, cold_offset=blend.cold_offset + OFFSETS[min(place, len(OFFSETS) - 1)])

    def _loss(self, cold: Tensor) -> Tensor:
        """Mean negative log-likelihood over targets and catalogues, from every choice's logit were it cold (Q, M)."""
        played = self._by_fold((cold - self.top).exp())
        total = (self.others + played).log() + self.top  # (Q, K)
        own = torch.where(self.plays, cold[self.owner, self.place][:, None], self.own)
        return (total[self.owner] - own).mean()

    def _above(self, logits: Tensor, offset: float, *, playing: bool = True) -> Tensor:
        """(T, K): how many items of each fold, or of all the others, stand above each target, their logits (Q, M)
        raised by `offset`."""
        weight, log_weight = self.choices.weight.double(), self.choices.log_weight
        parts = []
        for rows, own in zip(torch.split(self.owner, _ROWS), torch.split(self.own, _ROWS), strict=True):
            counted = torch.where(logits[rows] + offset - log_weight[rows] > own, weight[rows], 0.0)
            inside = self._by_fold(counted, rows)
            parts.append(inside if playing else counted.sum(1, keepdim=True) - inside)
        return torch.cat(parts)

    def _mixed(self, stack: Tensor, parameters: Tensor) -> Tensor:
        """(Q, M) logits of scores (C, Q, M), each choice's raised by what it stands for."""
        return self.choices.raised(torch.einsum("c,cqm->qm", parameters[:-1], stack) + parameters[-1])

    def _by_fold(self, values: Tensor, rows: Tensor | None = None) -> Tensor:
        """(Q, K) sums of values (Q, M), of the queries `rows` or of all."""
        fold = self.fold if rows is None else self.fold[rows]
        return values.new_zeros(len(values), FOLDS + 1).scatter_add(1, fold, values)[:, :FOLDS]


def _gain(above: Tensor) -> Tensor:
    """NDCG@10 of one target below so many items."""
    return torch.where(above < 10, 1 / torch.log2(above + 2), 0.0)
