"""A language model that reads a user's history as text: `BERTRecommender`, with `preprocess`, `train`, `recommend`.

The titles of the last events are joined and read as one text; a user and an item meet in the inner product of two
projections of what the model read, s_ui = (P t_u) . (Q t_i) + b_i, t_u and t_i mean-pooled vectors, whitened, and b_i
an item's own share. The language model is frozen and P, Q and b are trained by full softmax cross entropy over the
catalogue: a text is read once, which is all that a processor can afford.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.learn.config import TextConfig
from core.learn.ranking import ndcg, ranks
from core.learn.sequences import Histories, IntArray, Queries, Split, Task
from core.learn.splits import training_questions
from core.learn.text import TextEncoder
from core.learn.whitening import Whitening, fit_whitening

NOTHING = "nothing yet"  # what an empty history reads as


@dataclass(frozen=True)
class BERTSettings:
    """events: how many titles a history reads as; examples: histories read for training; dim of the projections;
    weight decay and dropout of the vectors; the best of `epochs` on validation is kept."""

    events: int = 5
    examples: int = 1500
    dim: int = 64
    text_dim: int = 64
    epochs: int = 40
    patience: int = 10
    batch: int = 128
    lr: float = 3e-3
    bias_lr: float = 3e-4
    weight_decay: float = 1e-2
    dropout: float = 0.7


class BERTRecommender:
    """Trained, it answers any history.

    read turns texts into vectors (N, D); titles are read in histories, texts of items for themselves, both in item
    order.
    """

    def __init__(
        self,
        read: Callable[[Sequence[str]], Tensor],
        titles: Sequence[str],
        texts: Sequence[str],
        *,
        seed: int = 0,
        settings: BERTSettings | None = None,
    ) -> None:
        self.settings = settings or BERTSettings()
        self.titles, self.texts, self.seed = list(titles), list(texts), seed
        self._read = read
        self._task: Task = "next-any"
        self._whiten: tuple[Whitening, Whitening] | None = None
        self._head: tuple[Tensor, Tensor, Tensor] | None = None  # P^T (T, d), Q t_i (I, d), b (I,)

    def preprocess(self, histories: Histories) -> list[str]:
        """Each history as text: the titles of its last `events` events, newest first."""
        recent = histories.latest(self.settings.events)
        rows = [recent.items_of(row)[::-1] for row in range(len(recent))]
        return ["; ".join(self.titles[item] for item in row) or NOTHING for row in rows]

    def train(self, split: Split) -> float:
        """Fit P, Q and b on the training part; returns the validation NDCG@10 of the epoch that is kept."""
        self._task = split.task
        own, rng = self.settings, torch.Generator().manual_seed(self.seed)
        asked = training_questions(split.train, split.task, most=own.examples, seed=self.seed)
        read = self._read(self.preprocess(asked.context)) if len(asked) else self._read([NOTHING])
        described = self._read(self.texts)
        self._whiten = (fit_whitening(read, own.text_dim), fit_whitening(described, own.text_dim))
        users, items = self._whiten[0](read), self._whiten[1](described)
        counts = torch.from_numpy(np.bincount(split.train.item, minlength=len(items)) + 1.0).float()
        b = (counts / counts.sum()).log().requires_grad_()
        owner, target = torch.from_numpy(asked.owner), torch.from_numpy(asked.target)
        p = (torch.randn(users.shape[1], own.dim, generator=rng) / users.shape[1] ** 0.5).requires_grad_()
        q = torch.zeros(items.shape[1], own.dim, requires_grad=True)  # training starts at popularity
        optimiser = torch.optim.AdamW(
            [{"params": [p, q], "weight_decay": own.weight_decay}, {"params": [b], "lr": own.bias_lr}],
            lr=own.lr,
            weight_decay=0.0,
        )
        best, since = -1.0, 0
        for _ in range(own.epochs):
            for rows in torch.split(torch.randperm(len(target), generator=rng), own.batch):
                if not len(rows):  # a training part that asks nothing
                    continue
                u = _dropped(users[owner[rows]], own.dropout, rng) @ p
                logits = u @ (_dropped(items, own.dropout, rng) @ q).T + b
                loss = F.cross_entropy(logits, target[rows])
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
            kept, self._head = self._head, (p.detach().clone(), (items @ q).detach(), b.detach().clone())
            reached, since = self._validate(split.valid, split), since + 1
            if reached > best:
                best, since = reached, 0
            else:
                self._head = kept
            if since == own.patience:
                break
        return best

    def scores(self, histories: Histories, *, n_items: int) -> Tensor:
        """(H, I) float32 inner products."""
        assert self._head is not None and self._whiten is not None, "train comes first"
        p, items, b = self._head
        if not len(histories):
            return torch.zeros(0, n_items)
        return self._whiten[0](self._read(self.preprocess(histories))) @ p @ items.T + b

    def recommend(self, histories: Histories, *, k: int = 10) -> IntArray:
        """(H, k) item ids, best first; under `next-new` without the history's own, -1 where nothing is left."""
        scores = self.scores(histories, n_items=len(self.texts))
        if self._task == "next-new":
            scores[torch.from_numpy(histories.owner), torch.from_numpy(histories.item)] = -torch.inf
        best = scores.topk(min(k, scores.shape[1]), dim=1)
        top: IntArray = best.indices.masked_fill(best.values.isinf(), -1).numpy()
        return top

    def _validate(self, valid: Queries, split: Split) -> float:
        if not len(valid):
            return 0.0
        scores = self.scores(valid.context, n_items=len(self.texts))
        return float(np.mean(ndcg(ranks(scores, valid, task=split.task), valid, k=10)))


class Reader:
    """Texts to vectors (N, D) by the frozen language model in `folder` (`core.learn.weights`), each text read once.
    Raises WeightsMissing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> Tensor:
        new = sorted({text for text in texts if text not in self.known})
        if new:
            found = TextEncoder(self.folder, TextConfig(), texts=new).encode()
            self.known |= dict(zip(new, found, strict=True))
        return torch.stack([self.known[text] for text in texts])


def _dropped(x: Tensor, rate: float, rng: torch.Generator) -> Tensor:
    """Inverted dropout that draws from `rng`."""
    return x * (torch.rand(x.shape, generator=rng) >= rate) / (1 - rate)
