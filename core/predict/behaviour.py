"""What a user does next: the probability of liking an item, of each kind of behaviour, and when they come back.

Three heads on the frozen network's user state answer (`core.predict.behaviour_fit` fits them), each only where the data
could teach it: P(like) where some events are liked and some are not, P(next kind) where there are several kinds, return
times where users come back. What a run cannot tell is None, never a number.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.learn import behaviour as asked
from core.learn.behaviour import Bools, Floats, Moments, Norms, Tallies
from core.learn.heads import Bins, Head, states_at
from core.learn.sequences import Histories, IntArray
from core.predict.served import ServedModel
from data.errors import DamagedArtefact, NothingPredicted
from data.phrases import phrase

FILES = ("behaviour.safetensors", "behaviour.json")
LEVELS: Mapping[str, float] = {"median": 0.5, "low": 0.9, "high": 0.1}  # of still being away: the interval holds 80%


@dataclass(frozen=True)
class Behaviour:
    """Heads over one served model; None where the data taught nothing. liked_kinds: numbers of the positive rule's
    kinds, None for any."""

    kinds: tuple[str, ...]
    min_value: float | None
    liked_kinds: tuple[int, ...] | None
    norms: Norms
    tallies: Tallies
    bins: Bins | None = None
    like: Head | None = None
    kind: Head | None = None
    back: Head | None = None

    def liked(self, histories: Histories) -> Bools:
        """(N,) where the positive rule holds."""
        return asked.liked_events(histories, min_value=self.min_value, kinds=self.liked_kinds)

    def user_inputs(
        self, served: ServedModel, histories: Histories, moments: Moments, *, stride: int = 1
    ) -> tuple[Tensor, Tensor]:
        """(Q, F) plain features and (Q, d) states at each moment."""
        plain = torch.from_numpy(asked.user_features(histories, self.liked(histories), moments, self.norms))
        return plain, states_at(served.network, histories, moments, served.vocabulary, stride=stride)

    def like_inputs(
        self, served: ServedModel, user: tuple[Tensor, Tensor], items: IntArray, tallies: Tallies
    ) -> Tensor:
        """(Q, F) of users (as `user_inputs` gives them) beside an item each (Q,) and what is known of it."""
        plain, state = user
        vector = served.network.items()[0][torch.from_numpy(items)].detach()
        product = state * vector
        known = torch.from_numpy(asked.item_features(tallies, self.norms))
        return torch.cat([plain, known, state, vector, product, product.sum(1, keepdim=True)], dim=1)

    @torch.no_grad()
    def like_probability(self, served: ServedModel, history: Histories, items: IntArray) -> Floats | None:
        """(J,) probability that each item is liked if it is the next event of one history."""
        if self.like is None:
            return None
        user = self.user_inputs(served, history, _end_of(history))
        many = (user[0].expand(len(items), -1), user[1].expand(len(items), -1))
        inputs = self.like_inputs(served, many, items, self.tallies.at(items))
        return np.asarray(self.like(inputs).squeeze(1).double().sigmoid().numpy())

    @torch.no_grad()
    def kind_probability(self, served: ServedModel, history: Histories) -> dict[str, float]:
        """Probability that the next event of one history is of each kind; {kind: 1.0} where there is one alone."""
        if len(self.kinds) == 1:
            return {self.kinds[0]: 1.0}
        if self.kind is None:
            return {}
        p = self.kind(torch.cat(self.user_inputs(served, history, _end_of(history)), dim=1)).double().softmax(1)[0]
        return dict(zip(self.kinds, p.tolist(), strict=True))

    @torch.no_grad()
    def return_days(self, served: ServedModel, history: Histories) -> dict[str, float | None] | None:
        """Median, low and high (an 80% interval) of the days between the last event of one history and the user's next
        session, None each where the curve does not get there within what was ever seen, `seen_days`; and
        `share_by_then`, the probability of a return within those."""
        if self.back is None or self.bins is None or not len(history.item):
            return None
        outputs = self.back(torch.cat(self.user_inputs(served, history, _end_of(history)), dim=1))
        curve = survival_curve(self.bins, self.bins.log_hazard(outputs))[0]
        times = {name: time_at(self.bins, curve, level) for name, level in LEVELS.items()}
        return {**times, "seen_days": self.bins.edges[-1], "share_by_then": 1 - float(curve[-1])}

    def save(self, folder: Path) -> None:
        """behaviour.safetensors and behaviour.json into a run's folder."""
        tensors = {f"tallies/{f.name}": torch.from_numpy(getattr(self.tallies, f.name)) for f in fields(Tallies)}
        shapes = {}
        for name in ("like", "kind", "back"):
            head: Head | None = getattr(self, name)
            if head is not None:
                shapes[name] = head.shape
                tensors |= {f"{name}/{key}": value.contiguous() for key, value in head.state_dict().items()}
        save_file(tensors, folder / FILES[0])
        told = {
            "kinds": self.kinds,
            "min_value": self.min_value,
            "liked_kinds": self.liked_kinds,
            "norms": asdict(self.norms),
            "bins": None if self.bins is None else asdict(self.bins),
            "heads": shapes,
        }
        (folder / FILES[1]).write_text(json.dumps(told))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """From a finished run's folder. Raises NothingPredicted for a run from before there were heads, and
        DamagedArtefact."""
        if not (folder / FILES[1]).is_file():
            raise NothingPredicted(phrase("run.no_heads", run=folder.name), remedy=phrase("do.train_again"))
        try:
            told, tensors = json.loads((folder / FILES[1]).read_text()), load_file(folder / FILES[0])
            heads = {}
            for name, (n_inputs, n_outputs, hidden) in told["heads"].items():
                head = Head(n_inputs, n_outputs, hidden=hidden)
                own = {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")}
                head.load_state_dict(own)
                heads[name] = head.eval().requires_grad_(False)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise DamagedArtefact(
                phrase("run.cannot_load_heads", run=folder.name, error=str(error)), remedy=phrase("do.train_again")
            ) from error
        norms, bins = told["norms"], told["bins"]
        return cls(
            kinds=tuple(told["kinds"]),
            min_value=told["min_value"],
            liked_kinds=None if told["liked_kinds"] is None else tuple(told["liked_kinds"]),
            norms=Norms(**{**norms, "kinds": tuple(norms["kinds"])}),
            tallies=Tallies(*(tensors[f"tallies/{f.name}"].numpy() for f in fields(Tallies))),
            bins=None if bins is None else Bins(tuple(bins["edges"]), tuple(bins["log_rate"])),
            **heads,
        )


def survival_curve(bins: Bins, log_hazard: Tensor) -> Floats:
    """(Q, B + 1) probability of still being away at each edge, from log hazards a day (Q, B)."""
    widths = torch.tensor(bins.edges, dtype=torch.float64).diff()
    total = (log_hazard.double().exp() * widths).cumsum(1)
    return np.asarray(torch.cat([torch.zeros(len(total), 1, dtype=torch.float64), total], dim=1).neg().exp().numpy())


def survival_at(bins: Bins, curve: Floats, days: Floats) -> Floats:
    """(Q,) each curve (Q, B + 1) at its own time (Q,): the hazard is constant within a bin, so its logarithm is linear
    there; at the last edge's value beyond it."""
    edges = np.asarray(bins.edges)
    at = np.clip(np.searchsorted(edges, days, side="right") - 1, 0, len(edges) - 2)
    share = np.clip((days - edges[at]) / (edges[at + 1] - edges[at]), 0, 1)
    row, logs = np.arange(len(days)), np.log(np.maximum(curve, 1e-300))
    return np.asarray(np.exp(logs[row, at] + share * (logs[row, at + 1] - logs[row, at])))


def expected_days(bins: Bins, curve: Floats) -> Floats:
    """(Q,) mean days away up to the last edge: the area under each curve (Q, B + 1), by trapezia."""
    return np.asarray((np.diff(np.asarray(bins.edges)) * (curve[:, 1:] + curve[:, :-1]) / 2).sum(axis=1))


def time_at(bins: Bins, curve: Floats, level: float) -> float | None:
    """The time at which one curve (B + 1,) has fallen to `level`; None where it never does."""
    below = np.flatnonzero(curve <= level)
    if not len(below):
        return None
    at = int(below[0])
    if at == 0:
        return bins.edges[0]
    high, low = math.log(curve[at - 1]), math.log(max(curve[at], 1e-300))
    share = (high - math.log(level)) / (high - low)
    return bins.edges[at - 1] + share * (bins.edges[at] - bins.edges[at - 1])


def _end_of(history: Histories) -> Moments:
    return Moments(np.zeros(1, dtype=np.int64), history.lengths[:1])
