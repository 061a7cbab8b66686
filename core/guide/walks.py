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
from core.learn.closed import squash
from core.learn.model import Events
from core.learn.prefix import Prefix, extend, grow, read
from core.learn.sequences import Histories, one_history
from core.predict.served import ServedModel
from core.predict.terms import Form, Terms, terms_of

_CHUNK_CELLS = 500_000  # logits held at once: a chunk stays in the processor's cache
_WALKS_AT_ONCE = 32


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
    """A served model made ready for walks: its score in terms, item vectors (I, d) and biases (I,), and for each closed
    form what one event of each item adds at age 0: (I, I) float32, (I, F) before the form's `across`, or None for the
    identity."""

    served: ServedModel
    terms: Terms
    vectors: Tensor
    bias: Tensor
    kernels: tuple[Tensor | None, ...]

    @classmethod
    def on(cls, served: ServedModel) -> "Lens":
        """Take the score apart once, for any number of walks."""
        terms = terms_of(served)
        with torch.no_grad():
            vectors, bias = served.items
        return cls(served, terms, vectors, bias, tuple(_kernel(form) for form in terms.forms))

    def added(self, form: int, items: Tensor) -> Tensor:
        """(n, I) float32: what one event of each of `items` (n,) adds to a form's `plain`."""
        kernel, across = self.kernels[form], self.terms.forms[form].across
        if kernel is None:
            return self.terms.forms[form].rows(items).sum(0)
        row = kernel.index_select(0, items)
        return row if across is None else row @ across


class Walks:
    """W histories under way. allowed (W, I) bool: what may be recommended to each now. counted (W, I) bool: the items
    over which the target's mass is taken, those that might be recommended at the walk's start; they stay the same, so
    that taking an item of the target does not itself lower the target.

    The network's window leaves `room` for so many events more: of a longer history it reads the latest that fit.
    """

    def __init__(self, lens: Lens, histories: Histories, *, room: int, counted: Tensor | None = None) -> None:
        served = lens.served
        self._lens = lens
        network, vocabulary = served.network, served.vocabulary
        window = max(network.config.max_length - room, 0)
        events = to_events(histories.latest(window), vocabulary, length=window, n_items=served.n_items)
        self._prefix: Prefix = read(network, events, lens.vectors, room=room)
        self._sums = [form.sums(histories) for form in lens.terms.forms]
        self._ageing = 0 if served.task == "repurchase" and vocabulary.typical_gap == 0 else 1
        self.allowed = served.candidates(histories)
        self.counted = self.allowed.clone() if counted is None else counted

    def log_p(self) -> Tensor:
        """(W, I) float32: log-probability of what comes next, -inf where it may not be recommended."""
        lens = self._lens
        neural = torch.addmm(lens.bias, self._prefix.state, lens.vectors.T)
        logits = lens.terms.logits(neural, [sums.sum(0) for sums in self._sums])
        return logits.masked_fill(~self.allowed, -torch.inf).log_softmax(1).float()

    def masses_after(self, items: Tensor, members: Tensor, *, rows: Tensor | None = None) -> Tensor:
        """(R, C) float32: the mass of `members` (R, I) bool among the counted items after each of `items` (R, C) were
        appended, in the walks `rows` (R,) int64, by default all."""
        lens, terms = self._lens, self._lens.terms
        rows = torch.arange(len(self.allowed)) if rows is None else rows
        states = self._states_after(items, rows)
        scale = terms.neural_scale.float()
        vectors, bias = lens.vectors.T * scale, lens.bias * scale + terms.constant.float()
        aged = [self._aged(sums, form)[:, rows].sum(0) for form, sums in zip(terms.forms, self._sums, strict=True)]
        counted = torch.stack([self.counted[rows], self.counted[rows] & members], dim=2).float()  # (R, I, 2)
        out = torch.empty(items.shape)
        step = max(1, _CHUNK_CELLS // (max(items.shape[1], 1) * lens.served.n_items))
        for begin in range(0, len(rows), step):
            part = slice(begin, begin + step)
            ahead = items[part]
            logits = torch.addmm(bias, states[part].flatten(0, 1), vectors).view(*ahead.shape, -1)  # (r, C, I)
            for number, form in enumerate(terms.forms):
                plain = lens.added(number, ahead.flatten()).view_as(logits).add_(aged[number][part, None])
                logits.addcmul_(squash(plain), form.scale.float())
            share = logits.sub_(logits.amax(2, keepdim=True)).exp_()
            total = share @ counted[part]
            out[part] = total[..., 1] / total[..., 0].clamp(min=1e-30)
        return out

    def accept(self, items: Tensor, accepted: Tensor) -> None:
        """Append items (W,) to the walks where `accepted` (W,) bool."""
        served = self._lens.served
        with torch.no_grad():
            self._prefix = extend(
                served.network, self._prefix, self._inputs(items[:, None], self._prefix.lengths)[:, 0], accepted
            )
        grown = torch.nonzero(accepted).squeeze(1)
        for form, sums in zip(self._lens.terms.forms, self._sums, strict=True):
            sums[:, grown] = self._aged(sums, form)[:, grown] + form.rows(items[grown])
        if served.task == "next-new":
            self.allowed[grown, items[grown]] = False

    def _aged(self, sums: Tensor, form: Form) -> Tensor:
        """(D, W, I) what the histories so far add to a form once one more event has come."""
        return sums * torch.tensor(form.decays)[:, None, None] ** self._ageing

    def _states_after(self, items: Tensor, rows: Tensor) -> Tensor:
        """(R, C, d) the network's state after each of `items` (R, C) in the walks `rows`."""
        network, prefix = self._lens.served.network, self._prefix
        alone = torch.arange(items.shape[1])[:, None]
        out = torch.empty(*items.shape, network.config.dim)
        for begin in range(0, len(rows), _WALKS_AT_ONCE):
            part = slice(begin, begin + _WALKS_AT_ONCE)
            some = rows[part]
            keys, values = [key[some] for key in prefix.keys], [value[some] for value in prefix.values]
            own = Prefix(keys, values, prefix.lengths[some], prefix.state[some])
            out[part] = grow(network, own, self._inputs(items[part], own.lengths), alone)
        return out

    def _inputs(self, items: Tensor, lengths: Tensor) -> Tensor:
        """(W, C, d) inputs of events that would come next after histories of `lengths` (W,)."""
        vocabulary, network = self._lens.served.vocabulary, self._lens.served.network
        n_walks, n_ahead = items.shape
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


def _kernel(form: Form) -> Tensor | None:
    total: Tensor | None = None
    for weight in form.weights:
        if weight is None:
            return None
        total = weight.clone() if total is None else total.add_(weight)
    return None if total is None else total.div_(form.unit)
