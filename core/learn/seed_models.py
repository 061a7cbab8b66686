"""Models over sparse features, each a formula of its own: linear behaviour, softmax similarity, total interest and the
probability that it makes.

Features are the items' categories and attributes. x_i (F,) is 1 at each that item i has and 1 at a last place that all
items have; x_u (F,) is the mean of x_i over the user's events, an event counting decay^age: how often the history has
each. No attribute of a user enters: declared ones may be sensitive.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from core.learn.baselines import Candidates
from core.learn.closed import decayed
from core.learn.sequences import FloatArray, Histories, Queries, Split, Task
from core.learn.splits import training_questions

USER_DECAYS = (0.6, 0.8, 0.95)
INTEREST_DECAYS = (0.6, 0.8, 0.95, 1.0)
MOST_FEATURES = 255
EXAMPLES = 20_000  # training targets that a model learns from
EPOCHS = 6
BATCH = 256
LR = 0.03  # of W
BIAS_LR = 0.003  # of b, which starts near where it belongs
L2 = 1e-4  # of W, a step's share
NEGATIVES = 20  # of the linear model, for each target
RECENT, LONG = 0.6, 0.95  # the linear model's short and long memory
NEWTON_STEPS = 12
_TINY = 1e-12


def item_features(
    categories: Sequence[Sequence[str]], attributes: Sequence[Mapping[str, str]] | None = None
) -> sp.csr_matrix:
    """(I, F) float32: x_i of every item, at most `MOST_FEATURES` names and the constant. Names are the categories and
    `attribute=value`, alphabetical; those of one item alone tell nothing about another and are left out, and of too
    many the commonest stay."""
    named = [set(some) for some in categories]
    for names, own in zip(named, attributes or (), strict=bool(attributes)):
        names |= {f"{attribute}={value}" for attribute, value in own.items()}
    held = Counter(name for names in named for name in names)
    shared = sorted((name for name in held if held[name] > 1), key=lambda name: (-held[name], name))
    place = {name: column for column, name in enumerate(sorted(shared[:MOST_FEATURES]))}
    pairs = [(item, place[name]) for item, names in enumerate(named) for name in sorted(names) if name in place]
    row, column = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T
    told = sp.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=(len(named), len(place)))
    return sp.csr_matrix(sp.hstack([told, np.ones((len(named), 1), np.float32)]), dtype=np.float32)


def interest(histories: Histories, task: Task, decay: float, *, n_items: int) -> sp.csr_matrix:
    """(H, I) float32 p_i: the share of item i in a history, an event counting decay^age; rows of none are zero."""
    x = decayed(histories, task, decay, n_items=n_items)
    total = np.asarray(x.sum(axis=1)).ravel()
    return sp.csr_matrix(sp.diags_array((1 / np.maximum(total, _TINY)).astype(np.float32)) @ x)


@dataclass(frozen=True)
class SoftmaxSimilarity:
    """r_ui = softmax over i of (W x_u . x_i + b_i), with W x_u in the items' feature space.

    A bias that is the same for all items cancels in a softmax, so b is one for each item. items (I, F) sparse x_i,
    w (F, F), b (I,).
    """

    task: Task
    decay: float
    items: sp.csr_matrix
    w: Tensor
    b: Tensor

    def similarity(self, x: npt.NDArray[np.float32]) -> Tensor:
        """(H, I) float32 r of feature vectors x (H, F), each row summing to 1."""
        return self._logits(x).softmax(1)

    def scores(self, histories: Histories, *, n_items: int) -> Tensor:
        """(H, I) float32: log r_ui, which ranks as r_ui and does not underflow."""
        x = (interest(histories, self.task, self.decay, n_items=n_items) @ self.items).toarray()
        return self._logits(x).log_softmax(1)

    def _logits(self, x: npt.NDArray[np.float32]) -> Tensor:
        projected = (torch.from_numpy(x) @ self.w.T).numpy()
        return torch.from_numpy(np.asarray((self.items @ projected.T).T, dtype=np.float32)) + self.b


def fit_softmax_similarity(split: Split, *, items: sp.csr_matrix, seed: int) -> Candidates:
    """One candidate for each decay and epoch: full softmax cross entropy over the catalogue, Adam; b starts at the log
    of popularity, which is the likeliest b where W is nothing."""
    n_items, n_features = items.shape
    asked = training_questions(split.train, split.task, most=EXAMPLES, seed=seed)
    pairs = np.random.default_rng([seed, 3]).permutation(len(asked.target))[:EXAMPLES]  # baskets have many targets
    owner, target = asked.owner[pairs], torch.from_numpy(asked.target[pairs])
    # sparse @ dense has no gradient for the batch at hand; the features are few, so that the items' are held densely
    dense = torch.from_numpy(items.toarray())
    counts = np.bincount(split.train.item, minlength=n_items) + 1.0
    for decay in USER_DECAYS:
        x = interest(asked.context, split.task, decay, n_items=n_items) @ items
        w = torch.zeros(n_features, n_features, requires_grad=True)
        b = torch.from_numpy(np.log(counts / counts.sum()).astype(np.float32)).requires_grad_()
        groups: list[dict[str, Any]] = [{"params": [w]}, {"params": [b], "lr": BIAS_LR}]
        optimiser = torch.optim.Adam(groups, lr=LR)
        order = np.random.default_rng([seed, 1])
        for epoch in range(1, EPOCHS + 1):
            for rows in np.array_split(order.permutation(len(target)), max(1, len(target) // BATCH)):
                if not len(rows):
                    continue
                logits = torch.from_numpy(x[owner[rows]].toarray()) @ w.T @ dense.T + b
                loss = F.cross_entropy(logits, target[torch.from_numpy(rows)]) + L2 * w.square().sum()
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
            held = SoftmaxSimilarity(split.task, decay, items, w.detach().clone(), b.detach().clone())
            yield {"decay": decay, "epoch": epoch}, held


def softmax_gigaflops(items: sp.csr_matrix) -> float:
    """What the candidates of `fit_softmax_similarity` cost at most: forward and backward over the whole catalogue."""
    n_items, n_features = (int(size) for size in items.shape)
    return 6 * EXAMPLES * n_features * (n_items + n_features) * EPOCHS * len(USER_DECAYS) / 1e9


@dataclass(frozen=True)
class TotalInterest:
    """r_uj = sum over i of r_ij p_i, and p_j = r_uj p_u / sum over j of r_uj p_u.

    r_ij is the softmax similarity of item j to a user whose history is item i alone, p_i the share of item i in the
    user's history (decayed), p_u the weight of the user (their share of all events, say). The sum in p_j is over one
    user's items, so p_u cancels: p_j is that user's distribution over items, whoever they are.
    """

    similarity: SoftmaxSimilarity
    decay: float

    def total(self, histories: Histories, *, n_items: int) -> Tensor:
        """(H, I) float32 r_uj. Items of like features have like r_i, so that r is made once for each set of them. An
        empty history has the interest of a user without features: r_uj = softmax of b."""
        p = interest(histories, self.similarity.task, self.decay, n_items=n_items)
        kinds, kind = np.unique(self.similarity.items.toarray(), axis=0, return_inverse=True)
        membership = sp.csr_matrix((np.ones(n_items, np.float32), (np.arange(n_items), kind.ravel())))
        r = self.similarity.similarity(kinds.astype(np.float32))
        out = torch.from_numpy((p @ membership).toarray()) @ r
        nothing = self.similarity.similarity(np.zeros((1, kinds.shape[1]), np.float32))
        return torch.where(torch.from_numpy(histories.lengths == 0)[:, None], nothing, out)

    def scores(self, histories: Histories, *, n_items: int) -> Tensor:
        """(H, I) float32: p_j of every item."""
        return probabilities(self.total(histories, n_items=n_items), torch.ones(len(histories)))


def probabilities(total: Tensor, weight: Tensor) -> Tensor:
    """(H, I) p_j = r_uj p_u / sum over j of r_uj p_u. total (H, I) r_uj >= 0, weight (H,) p_u > 0."""
    weighted = total * weight[:, None]
    return weighted / weighted.sum(1, keepdim=True)


def fit_total_interest(split: Split, *, similarity: SoftmaxSimilarity) -> Candidates:
    """One candidate for each decay of p_i; nothing is learned but the similarity, which comes fitted."""
    for decay in INTEREST_DECAYS:
        yield {"decay": decay}, TotalInterest(similarity, decay)


@dataclass(frozen=True)
class LinearBehaviour:
    """y = phi(x; theta) = sigmoid(theta . x + c): the probability that the user acts on the item, linear in what
    their behaviour says of it.

    x (5,) of a user and an item: log(1 + the item's training events); the mean of x_u over the item's categories, for
    a long and for a short memory; log(1 + times the user had the item); and whether it was in the last event or
    basket. popular (I,) the first; items (I, F) x_i; theta (5,). c does not change an order and is kept for y.
    """

    task: Task
    items: sp.csr_matrix
    popular: FloatArray
    theta: Tensor
    c: float

    def scores(self, histories: Histories, *, n_items: int) -> Tensor:
        """(H, I) float32: theta . x + c, which ranks as y does."""
        out = torch.full((len(histories), n_items), self.c)
        for weight, feature in zip(self.theta.tolist(), behaviour(self, histories, n_items=n_items), strict=True):
            out += weight * torch.from_numpy(feature)
        return out


def behaviour(model: LinearBehaviour, histories: Histories, *, n_items: int) -> list[FloatArray]:
    """The five features of `LinearBehaviour`, each (H, I) float32 or (1, I)."""
    categories = model.items[:, :-1]  # without the constant
    width = np.maximum(np.asarray(categories.sum(axis=1)).ravel(), 1.0)
    share = [
        np.asarray((categories @ (interest(histories, model.task, decay, n_items=n_items) @ categories).T).toarray()).T
        / width
        for decay in (LONG, RECENT)
    ]
    had = decayed(histories, model.task, 1.0, n_items=n_items).toarray()
    last = decayed(histories, model.task, 0.0, n_items=n_items).toarray() > 0
    features = [model.popular[None, :], *share, np.log1p(had), last]
    return [np.ascontiguousarray(feature, dtype=np.float32) for feature in features]


def fit_linear_behaviour(split: Split, *, items: sp.csr_matrix, seed: int) -> Candidates:
    """One candidate: logistic regression by Newton's method, of training targets against `NEGATIVES` items each that
    are drawn evenly from the catalogue (under `next-new`, from what the user had not had)."""
    n_items = items.shape[0]
    popular = np.log1p(np.bincount(split.train.item, minlength=n_items)).astype(np.float32)
    model = LinearBehaviour(split.task, items, popular, torch.zeros(5), 0.0)
    asked = training_questions(split.train, split.task, most=EXAMPLES // 4, seed=seed)
    rng = np.random.default_rng([seed, 2])
    xs, ys = [np.zeros((0, 6))], [np.zeros(0)]
    for begin in range(0, len(asked), BATCH):
        x, y = _examples(model, asked.take(np.arange(begin, min(begin + BATCH, len(asked)))), rng, n_items=n_items)
        xs.append(x)
        ys.append(y)
    theta = logistic(np.concatenate(xs), np.concatenate(ys))
    yield (
        {},
        LinearBehaviour(split.task, items, popular, torch.from_numpy(theta[:5].astype(np.float32)), float(theta[5])),
    )


def logistic(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(F,) theta that maximises the likelihood of y (N,) in {0, 1} under sigmoid(theta . x), x (N, F), with a
    penalty of |theta|^2 / 2, by Newton's method."""
    theta = np.zeros(x.shape[1])
    for _ in range(NEWTON_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ theta, -30, 30)))
        slope = x.T @ (y - p) - theta
        curvature = (x * (p * (1 - p))[:, None]).T @ x + np.eye(x.shape[1])
        theta = theta + np.linalg.solve(curvature, slope)
    return theta


def _examples(
    model: LinearBehaviour, asked: Queries, rng: np.random.Generator, *, n_items: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """x (N, 6), a last 1 for c, and y (N,): the targets of some questions, and items that were not."""
    grids = behaviour(model, asked.context, n_items=n_items)
    wanted = np.zeros((len(asked), n_items), dtype=bool)
    wanted[asked.owner, asked.target] = True
    barred = wanted | (grids[3] > 0) if model.task == "next-new" else wanted
    row = np.concatenate([asked.owner, np.repeat(asked.owner, NEGATIVES)])
    item = np.concatenate([asked.target, rng.integers(0, n_items, NEGATIVES * len(asked.target))])
    y = np.arange(len(row)) < len(asked.target)
    kept = y | ~barred[row, item]
    row, item, y = row[kept], item[kept], y[kept]
    x = np.stack([grid[np.minimum(row, len(grid) - 1), item] for grid in grids], axis=1).astype(np.float64)
    return np.column_stack([x, np.ones(len(row))]), y.astype(np.float64)
