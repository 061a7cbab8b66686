"""What the served model would say after items not yet taken: many histories at once, each with many candidates ahead.

A walk is a history that may grow by the items its user accepts. Reading it costs once; every candidate appended to it
costs one token. An appended event has the build's typical kind, value and spacing, since nothing else is known of it.
Figures are float32: enough to choose by, and the same as `ServedModel.log_probability` to its rounding.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.learn.batches import gap_bucket, to_events
from core.learn.closed import root
from core.learn.model import Events
from core.learn.prefix import Prefix, extend, grow, read
from core.learn.sequences import Histories, one_history
from core.predict.served import ServedModel
from core.predict.terms import Form, Terms, terms_of

_CHUNK_CELLS = 500_000  # logits held at once: a chunk stays in the processor's cache


def appended(served: ServedModel, history: Histories, items: list[int]) -> Histories:
    """One history (H = 1) with `items` after it, each of typical kind and value, a typical gap apart."""
    vocabulary, n = served.vocabulary, len(items)
    last = int(history.ts[-1]) if len(history.ts) else 0
    first = 1 if len(history.ts) else 0
    ts = [last + (first + step) * vocabulary.typical_gap for step in range(n)]
    return one_history(
        [*history.item.tolist(), *items],
        [*history.ts.tolist(), *ts],
        [*history.kind.tolist(), *[vocabulary.typical_kind] * n],
        [*history.value.tolist(), *[vocabulary.typical_value] * n],
    )


@dataclass(frozen=True)
class Lens:
    """A served model made ready for walks: its score in terms, its item vectors (I, d) and biases (I,)."""

    served: ServedModel
    terms: Terms
    vectors: Tensor
    bias: Tensor

    @classmethod
    def on(cls, served: ServedModel) -> "Lens":
        """Take the score apart once, for any number of walks."""
        with torch.no_grad():
            vectors, bias = served.network.items()
        return cls(served, terms_of(served), vectors, bias)


class Walks:
    """W histories under way. allowed (W, I) bool: what may still be recommended to each.

    The network's window leaves `room` for so many events more: of a longer history it reads the latest that fit.
    """

    def __init__(self, lens: Lens, histories: Histories, *, room: int) -> None:
        served = lens.served
        self._lens = lens
        network, vocabulary = served.network, served.vocabulary
        window = max(network.config.max_length - room, 0)
        events = to_events(histories.latest(window), vocabulary, length=window, n_items=served.n_items)
        self._prefix: Prefix = read(network, events, lens.vectors, room=room)
        self._sums = [form.sums(histories) for form in lens.terms.forms]
        self._ageing = 0 if served.task == "repurchase" and vocabulary.typical_gap == 0 else 1
        self.allowed = served.candidates(histories)

    def log_p(self) -> Tensor:
        """(W, I) float32: log-probability of what comes next, -inf where it may not be recommended."""
        lens = self._lens
        neural = torch.addmm(lens.bias, self._prefix.state, lens.vectors.T)
        logits = lens.terms.logits(neural, [sums.sum(0) for sums in self._sums], constant=lens.terms.constant)
        return logits.masked_fill(~self.allowed, -torch.inf).log_softmax(1).float()

    def masses_after(self, items: Tensor, members: Tensor) -> Tensor:
        """(W, C) float32: the probability of `members` (W, I) bool after each of `items` (W, C) were appended."""
        lens, (n_walks, n_ahead) = self._lens, items.shape
        state = self._states_after(items).reshape(n_walks * n_ahead, -1)
        flat = items.reshape(-1)
        walk = torch.arange(n_walks).repeat_interleave(n_ahead)
        aged = [self._aged(sums, form).sum(0) for form, sums in zip(lens.terms.forms, self._sums, strict=True)]
        constant = lens.terms.constant.float()
        allowed, inside = self.allowed.float(), (self.allowed & members).float()
        repeats = lens.served.task != "next-new"
        out = torch.empty(len(flat))
        step = max(1, _CHUNK_CELLS // lens.served.n_items)
        for begin in range(0, len(flat), step):
            part = slice(begin, begin + step)
            of, item = walk[part], flat[part]
            logits = torch.addmm(lens.bias, state[part], lens.vectors.T).mul_(lens.terms.neural_scale).add_(constant)
            for form, sums in zip(lens.terms.forms, aged, strict=True):
                logits.add_(root(sums[of] + form.rows(item).sum(0)), alpha=form.scale)
            share = logits.sub_(logits.amax(1, keepdim=True)).exp_()
            if not repeats:  # an item that was taken is no candidate afterwards
                share.scatter_(1, item[:, None], 0.0)
            out[part] = (share * inside[of]).sum(1) / (share * allowed[of]).sum(1).clamp(min=1e-30)
        return out.reshape(n_walks, n_ahead)

    def accept(self, items: Tensor, accepted: Tensor) -> None:
        """Append items (W,) to the walks where `accepted` (W,) bool."""
        served = self._lens.served
        with torch.no_grad():
            self._prefix = extend(served.network, self._prefix, self._inputs(items[:, None])[:, 0], accepted)
        for form, sums in zip(self._lens.terms.forms, self._sums, strict=True):
            sums.copy_(torch.where(accepted[:, None], self._aged(sums, form) + form.rows(items), sums))
        if served.task == "next-new":
            rows = torch.nonzero(accepted).squeeze(1)
            self.allowed[rows, items[rows]] = False

    def _aged(self, sums: Tensor, form: Form) -> Tensor:
        """(D, W, I) what the histories so far add to a form once one more event has come."""
        return sums * torch.tensor(form.decays)[:, None, None] ** self._ageing

    def _states_after(self, items: Tensor) -> Tensor:
        alone = torch.arange(items.shape[1])[:, None]
        return grow(self._lens.served.network, self._prefix, self._inputs(items), alone)

    def _inputs(self, items: Tensor) -> Tensor:
        """(W, C, d) inputs of events that would come next."""
        vocabulary, network = self._lens.served.vocabulary, self._lens.served.network
        n_walks, n_ahead = items.shape
        lengths = self._prefix.lengths
        gap = int(gap_bucket(np.asarray([vocabulary.typical_gap]))[0])
        value = int(vocabulary.buckets(np.asarray([vocabulary.typical_value], dtype=np.float32))[0])
        flat = items.reshape(-1, 1)
        events = Events(
            item=flat,
            gap=torch.where(lengths > 0, gap, 0).repeat_interleave(n_ahead)[:, None],
            kind=torch.full_like(flat, vocabulary.typical_kind),
            value=torch.full_like(flat, value),
            lengths=torch.ones(len(flat), dtype=torch.int64),
        )
        with torch.no_grad():
            x = network.embed(events, self._lens.vectors, first_position=lengths.repeat_interleave(n_ahead)[:, None])
        return x.reshape(n_walks, n_ahead, -1)
