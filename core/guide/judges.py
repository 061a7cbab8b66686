"""Judges of guidance: small recurrent models, each trained on one half of the users, asked about the other half.

A judge shares nothing with the served model but the training events of its half: another architecture (a GRU over item
ids; Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016), no text, no closed form,
no blend. A user is always judged by the one that never saw them, so a planner cannot win by what its own model
memorised of that user.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.learn.batches import Vocabulary, epoch, to_events
from core.learn.sequences import Histories, IntArray, Lessons, Task
from core.learn.threads import side_by_side
from data.errors import DamagedArtefact

_LENGTH = 200
_HELD_OUT = 0.1  # of a half's users: they decide which of its epochs is kept
_SCORE_BATCH = 256


@dataclass(frozen=True)
class JudgeConfig:
    """How the judges are trained; the defaults take seconds on two cores at MovieLens' size."""

    dim: int = 32
    epochs: int = 6
    batch_tokens: int = 2048
    lr: float = 2e-2
    dropout: float = 0.1
    epoch_tokens: int = 100_000


class Judge(nn.Module):
    """A GRU over item ids with a full softmax over the catalogue."""

    def __init__(self, n_items: int, config: JudgeConfig) -> None:
        super().__init__()
        self.n_items, self.dropout = n_items, config.dropout
        self.item = nn.Embedding(n_items + 1, config.dim, padding_idx=n_items)
        self.cell = nn.GRU(config.dim, config.dim, batch_first=True)
        self.out = nn.Linear(config.dim, n_items)
        self.start = nn.Parameter(torch.zeros(config.dim))
        nn.init.normal_(self.item.weight, std=0.1)
        nn.init.zeros_(self.out.bias)
        self._noise = torch.Generator()  # its own, so that two judges may learn at once

    def states(self, item: Tensor) -> Tensor:
        """(B, 1 + L, d) the state before and after each item (B, L) int64, `n_items` at padding."""
        start = self.start.expand(len(item), 1, -1).contiguous()
        if not item.shape[1]:
            return start
        x = self._dropped(self.item(item))
        after, _ = self.cell(x, start.transpose(0, 1).contiguous())
        return torch.cat([start, after], dim=1)

    def logits(self, state: Tensor) -> Tensor:
        """(..., I) from states (..., d)."""
        scores: Tensor = self.out(self._dropped(state))
        return scores

    def reseed(self, seed: int) -> None:
        """Start the judge's own random numbers anew."""
        self._noise.manual_seed(seed)

    def _dropped(self, x: Tensor) -> Tensor:
        if not self.training or not self.dropout:
            return x
        kept = torch.rand(x.shape, generator=self._noise) >= self.dropout
        return x * kept / (1 - self.dropout)

    @torch.no_grad()
    def read(self, histories: Histories) -> Tensor:
        """(H, d) the state after each history's latest events."""
        self.eval()
        out = torch.empty(len(histories), self.start.shape[0])
        order = np.argsort(histories.lengths, kind="stable")
        for begin in range(0, len(order), _SCORE_BATCH):
            rows = order[begin : begin + _SCORE_BATCH]
            events = to_events(histories.take(rows), _NO_WORDS, length=_LENGTH, n_items=self.n_items)
            states = self.states(events.item)
            out[torch.from_numpy(rows)] = states[torch.arange(len(rows)), events.lengths]
        return out

    @torch.no_grad()
    def step(self, state: Tensor, item: Tensor) -> Tensor:
        """(B, d) the state after one item (B,) more."""
        after, _ = self.cell(self.item(item)[:, None], state[None].contiguous())
        return torch.as_tensor(after[:, 0])


_NO_WORDS = Vocabulary(kinds=(), value_edges=())  # judges see items alone


@dataclass(frozen=True)
class Judges:
    """The two judges. judges[h] was trained on the users of half h and judges the others."""

    seed: int
    judges: tuple[Judge, Judge]

    def judge_of(self, users: IntArray) -> IntArray:
        """(U,) which judge never saw each user."""
        return 1 - half_of(users, seed=self.seed)

    def save(self, folder: Path, config: JudgeConfig) -> None:
        """judge-0.safetensors, judge-1.safetensors and judges.json."""
        for half, judge in enumerate(self.judges):
            state = {name: value.contiguous() for name, value in judge.state_dict().items()}
            save_file(state, folder / f"judge-{half}.safetensors")
        told = {"kind": "gru", "seed": self.seed, "n_items": self.judges[0].n_items, "config": asdict(config)}
        (folder / "judges.json").write_text(json.dumps(told, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """From a folder that `save` filled. Raises DamagedArtefact."""
        try:
            told = json.loads((folder / "judges.json").read_text())
            pair = []
            for half in range(2):
                judge = Judge(told["n_items"], JudgeConfig(**told["config"]))
                judge.load_state_dict(load_file(folder / f"judge-{half}.safetensors"))
                pair.append(judge.eval().requires_grad_(False))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise DamagedArtefact(
                f"the judges in {folder} cannot be loaded: {error}", remedy="remove that folder and run `lodestar demo`"
            ) from error
        return cls(told["seed"], (pair[0], pair[1]))


def half_of(users: IntArray, *, seed: int) -> IntArray:
    """(U,) 0 or 1 by a hash of user id and seed (Steele et al.'s splitmix64), the same on every machine."""
    x = users.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return ((x ^ (x >> np.uint64(31))) & np.uint64(1)).astype(np.int64)


def train_judges(
    train: Histories,
    *,
    task: Task,
    n_items: int,
    seed: int,
    config: JudgeConfig | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Judges:
    """Both judges, from the training part alone; row h of `train` is user h. Deterministic by `seed`."""
    config = config or JudgeConfig()
    halves = half_of(np.arange(len(train)), seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pair = (Judge(n_items, config), Judge(n_items, config))
    shares = [0.0, 0.0]

    def learn(half: int) -> Judge:
        def tell(share: float) -> None:
            shares[half] = share
            if progress is not None:
                progress(sum(shares) / 2, "training the judges")

        own = train.take(np.flatnonzero(halves == half))
        return _train_one(pair[half], own, task=task, seed=2 * seed + half, config=config, tell=tell)

    first, second = side_by_side(learn, range(2))
    return Judges(seed, (first, second))


def _train_one(
    judge: Judge, own: Histories, *, task: Task, seed: int, config: JudgeConfig, tell: Callable[[float], None]
) -> Judge:
    """One judge of one half: full cross entropy; the epoch is kept that foretells held-out users best."""
    rng = np.random.default_rng([seed, 7])
    judge.reseed(seed)
    order = rng.permutation(len(own))
    n_held = max(1, int(len(own) * _HELD_OUT)) if len(own) > 1 else 0
    held, learned = own.take(order[:n_held]), own.take(order[n_held:])
    optimizer = torch.optim.AdamW(judge.parameters(), lr=config.lr, weight_decay=1e-4)
    best, best_state = math.inf, judge.state_dict()
    for number in range(config.epochs):
        judge.train()
        for group in optimizer.param_groups:
            group["lr"] = config.lr * (0.02 + 0.98 * (1 + math.cos(math.pi * number / config.epochs)) / 2)
        for loss in _losses(judge, learned, task, config, rng):
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
            optimizer.step()
        judge.eval()
        with torch.no_grad():
            found = [float(loss) for loss in _losses(judge, held, task, config, np.random.default_rng(seed))]
        reached = float(np.mean(found)) if found else -float(number)
        if reached < best:
            best, best_state = reached, {name: value.clone() for name, value in judge.state_dict().items()}
        tell((number + 1) / config.epochs)
    judge.load_state_dict(best_state)
    return judge.eval().requires_grad_(False)


def _losses(
    judge: Judge, histories: Histories, task: Task, config: JudgeConfig, rng: np.random.Generator
) -> Iterator[Tensor]:
    for batch in epoch(
        Lessons(task, histories),
        _NO_WORDS,
        length=_LENGTH,
        batch_tokens=config.batch_tokens,
        epoch_tokens=config.epoch_tokens,
        n_items=judge.n_items,
        rng=rng,
    ):
        asked = batch.target >= 0
        if asked.any():
            yield F.cross_entropy(judge.logits(judge.states(batch.events.item)[asked]), batch.target[asked])
