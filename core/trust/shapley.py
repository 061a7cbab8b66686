"""Exact Shapley values of the history game, for one user and every item of a slate at once.

Players are the last n events of a history. A coalition keeps those of its players and drops the others: survivors keep
their order, positions and time gaps are recomputed, and the older events stay as a fixed background. The worth of a
coalition for an item is v = log of its served probability, a softmax of the blended score over the candidates of the
unedited history, which stay the same for all coalitions. Values are Shapley's ("A Value for n-Person Games", 1953) by
enumeration of all 2^n coalitions, so that base + sum of phi = v(all) to rounding.

A history longer than the network's window is treated as it is when served: the network reads the latest events that
fit, so with fewer survivors its window reaches further back. Every coalition's worth is therefore what the served model
gives the really edited history. One enumeration serves all items; the background is read once (once for each number of
survivors where the window moves). All of it is float32 but the values' own arithmetic: the games' sums hold to
rounding, and v to about 1e-6 of what is served, as the network's own order of summing does.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.learn.batches import gap_bucket, to_events
from core.learn.model import Events
from core.learn.prefix import Prefix, grow, read
from core.learn.sequences import Histories, IntArray, target_starts
from core.predict.served import ServedModel
from core.predict.terms import Form, Scales, terms_of
from data.errors import InputError
from data.phrases import phrase, quoted

MOST_PLAYERS = 12
_CHUNK_CELLS = 400_000  # scores held at once: a chunk stays in the processor's cache

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HistoryGame:
    """A played game. items (K,); players (n,): places of the players in the history, oldest first.

    value (2^n, K) float64: v of each coalition, bit j of the row number telling whether player j is present.
    stays (2^n, K) bool: the item is still among the first k. allowed (1, I) bool: the frozen candidates.
    phi (n, K) float64.
    """

    items: IntArray
    players: IntArray
    value: Floats
    stays: npt.NDArray[np.bool_]
    allowed: Tensor
    phi: Floats

    @property
    def base(self) -> Floats:
        """(K,) v of the empty coalition: the background alone."""
        worth: Floats = self.value[0]
        return worth

    @property
    def whole(self) -> Floats:
        """(K,) v of the unedited history."""
        worth: Floats = self.value[-1]
        return worth


def play(
    served: ServedModel,
    history: Histories,
    items: Sequence[int] | IntArray,
    *,
    n_players: int = MOST_PLAYERS,
    k: int = 10,
) -> HistoryGame:
    """Enumerate the history game of one history (H = 1) for `items`, in a slate of k.

    Fewer events than `n_players` make a smaller game; an empty history has one coalition. Raises InputError for an
    item that is no candidate, and for more players than can be enumerated.
    """
    if not 0 <= n_players <= MOST_PLAYERS:
        raise InputError(f"{n_players} players", remedy=f"explain with 0 to {MOST_PLAYERS} events")
    asked = np.asarray(items, dtype=np.int64)
    allowed = served.candidates(history)
    refused = [served.catalogue.titles[i] for i in asked.tolist() if not allowed[0, i]]
    if refused:
        raise InputError(phrase("path.not_recommended", item=quoted(refused[0])), remedy=phrase("do.explain_of_slate"))
    length = int(history.lengths[0])
    n = min(n_players, length, served.network.config.max_length)
    background = history.until(np.asarray([length - n]))
    players = history.latest(n) if n else history.events(np.zeros(length, dtype=bool))
    value, stays = _worths(served, background, players, asked, allowed, k)
    return HistoryGame(
        items=asked,
        players=np.arange(length - n, length, dtype=np.int64),
        value=value,
        stays=stays,
        allowed=allowed,
        phi=shapley_values(value),
    )


def shapley_values(value: Floats) -> Floats:
    """(n, K) Shapley values from the worth (2^n, K) of every coalition, bit j of the row number = player j present."""
    n = len(value).bit_length() - 1
    sizes = _sizes(n)
    phi = np.zeros((n, value.shape[1]))
    weight = np.asarray([1 / (n * math.comb(n - 1, size)) for size in range(n)])
    for player in range(n):
        without, present = np.moveaxis(value.reshape(-1, 2, 1 << player, value.shape[1]), 1, 0)
        share = weight[sizes.reshape(-1, 2, 1 << player)[:, 0]]
        # not numpy's matrix product: it wakes threads of its own, which then keep a processor busy for .1 s
        phi[player] = np.einsum("ij,ijk->k", share, present - without)
    return phi


def _worths(
    served: ServedModel, background: Histories, players: Histories, items: IntArray, allowed: Tensor, k: int
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """v, and whether the item is among the first k, each (2^n, K), of every coalition."""
    columns = torch.nonzero(allowed[0]).squeeze(1)
    place = torch.searchsorted(columns, torch.from_numpy(items))
    with torch.no_grad():
        vectors, bias = served.items
    terms = terms_of(served)
    ages = _coalition_ages(served, background, players)
    chunks = _logits(
        terms.at(columns),
        _states(served, background, players, vectors),
        [_closed_part(form, background, players, ages, columns) for form in terms.forms],
        vectors=vectors[columns],
        bias=bias[columns],
    )
    value = np.empty((1 << len(players.item), len(items)))
    stays = np.empty(value.shape, dtype=bool)
    kth = max(len(columns) - k, 0)  # its place in ascending order
    for part, logits in chunks:
        log_p = logits.log_softmax(1)
        own, ranked = log_p[:, place].numpy(), log_p.numpy()
        ranked.partition(kth, axis=1)
        value[part], stays[part] = own, own >= ranked[:, [kth]]
    return value, stays


def _logits(
    scales: Scales, states: Tensor, closed: Sequence[tuple[Tensor, Tensor]], *, vectors: Tensor, bias: Tensor
) -> Iterator[tuple[slice, Tensor]]:
    """The blend of all coalitions, some at a time: (their rows, their logits (R, J) float32, until the next are made).

    scales, vectors (J, d) and bias (J,) are the candidates'; states (2^n, d); closed: `_closed_part` of each form.
    Its buffers are used again and again, since asking the system for fresh memory costs as much as the arithmetic.
    """
    neural = scales.neural.float() * vectors.T
    constant = (scales.neural * bias.double() + scales.constant).float()
    form_scales = [scale.float() for scale in scales.forms]
    step = min(len(states), max(1, _CHUNK_CELLS // max(len(constant), 1)))
    buffers = [torch.empty(step, len(constant)) for _ in range(3)]
    for begin in range(0, len(states), step):
        part = slice(begin, min(begin + step, len(states)))
        logits, plain, squashed = (buffer[: part.stop - begin] for buffer in buffers)
        torch.addmm(constant, states[part], neural, out=logits)
        for scale, (coefficients, rows) in zip(form_scales, closed, strict=True):
            torch.mm(coefficients[part], rows, out=plain)
            torch.abs(plain, out=squashed).log1p_().copysign_(plain)  # `core.learn.closed.squash`
            logits.addcmul_(squashed, scale)
        yield part, logits


def _closed_part(
    form: Form, background: Histories, players: Histories, ages: "_Ages", columns: Tensor
) -> tuple[Tensor, Tensor]:
    """Coefficients (2^n, R) and rows (R, columns), float32, whose product is the form's `plain` for every coalition."""
    event_rows = form.rows(torch.from_numpy(players.item))[:, :, columns]  # (D, n, columns)
    background_rows = form.sums(background)[:, 0, columns]  # (D, columns)
    parts = [np.power(decay, ages.own) * ages.present for decay in form.decays]
    parts += [np.power(decay, ages.shift)[:, None] for decay in form.decays]
    coefficients = torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32))
    return coefficients, torch.cat([event_rows.reshape(-1, len(columns)), background_rows])


class _Ages(NamedTuple):
    """Among a coalition's survivors, how much comes after each player, own (2^n, n), and after the background, shift
    (2^n,): events or, in baskets, baskets (see `core.learn.closed.ages`). present (2^n, n) bool: who survives."""

    own: Floats
    shift: Floats
    present: npt.NDArray[np.bool_]


def _coalition_ages(served: ServedModel, background: Histories, players: Histories) -> _Ages:
    n = len(players.item)
    present = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1 > 0
    group = np.arange(n)
    last_of_background = -1
    if served.task == "repurchase" and n:
        group = np.cumsum(target_starts(players, served.task)) - 1
        if len(background.item) and background.ts[-1] == players.ts[0]:
            last_of_background = 0
    member = group[:, None] == np.arange(n)  # (n, baskets)
    there = (present[:, :, None] & member).any(1).astype(np.float64)  # (2^n, baskets)
    after = there.sum(1, keepdims=True) - np.cumsum(there, axis=1)  # baskets later than each
    everything = there.sum(1) if last_of_background < 0 else after[:, 0]
    return _Ages(after[:, group], everything, present)


def _states(served: ServedModel, background: Histories, players: Histories, vectors: Tensor) -> Tensor:
    """(2^n, d) float32: the network's user state after each coalition's history."""
    n, older = len(players.item), len(background.item)
    window = served.network.config.max_length
    sizes = _sizes(n)
    out = torch.empty(1 << n, served.network.config.dim)
    held = np.minimum(older, window - np.arange(n + 1))  # how many older events the window holds, by survivors
    reaches = np.unique(held)
    seen = background.take(np.zeros(len(reaches), dtype=np.int64))
    seen = seen.events(seen.age < np.repeat(reaches, older))
    prefixes = read(served.network, to_events(seen, served.vocabulary, length=window, n_items=served.n_items), vectors)
    for row, reach in enumerate(reaches.tolist()):
        where = np.flatnonzero(held[sizes] == reach)
        out[torch.from_numpy(where)] = _grown(served, _one(prefixes, row), seen.take([row]), players, where, vectors)
    return out


def _one(prefixes: Prefix, row: int) -> Prefix:
    """One prefix of several, without the others' padding."""
    width = int(prefixes.lengths[row]) + 1
    keys, values = (
        [cache[row : row + 1, :, :width] for cache in caches] for caches in (prefixes.keys, prefixes.values)
    )
    return Prefix(keys, values, prefixes.lengths[row : row + 1], prefixes.state[row : row + 1])


def _grown(
    served: ServedModel, prefix: Prefix, seen: Histories, players: Histories, coalitions: IntArray, vectors: Tensor
) -> Tensor:
    """States after `coalitions` (bit sets) on one prefix. A coalition is the path of its survivors in a tree whose
    tokens are all beginnings of coalitions, so that each beginning is computed once."""
    n = len(players.item)
    tokens = _beginnings(coalitions, n)
    states = prefix.state.expand(len(coalitions), -1).clone()
    if not len(tokens):
        return states
    number = np.full(1 << n, -1, dtype=np.int64)
    number[tokens] = np.arange(len(tokens))
    inside = (tokens[:, None] >> np.arange(n)) & 1 > 0
    upto = tokens[:, None] & ((2 << np.arange(n)) - 1)  # the beginning that ends with each player
    most = int(inside.sum(1).max())
    survivors_first = np.argsort(~inside, axis=1, kind="stable")[:, :most]
    chain = np.take_along_axis(np.where(inside, number[upto], -1), survivors_first, axis=1)
    x = _inputs(served, prefix, seen, players, inside, vectors)
    grown = grow(served.network, prefix, x[None], torch.from_numpy(chain))[0]
    filled = coalitions > 0
    states[torch.from_numpy(filled)] = grown[torch.from_numpy(number[coalitions[filled]])]
    return states


def _beginnings(coalitions: IntArray, n: int) -> IntArray:
    """All distinct non-empty beginnings (lowest-numbered players first) of the coalitions, as bit sets."""
    every = [coalitions & ((2 << player) - 1) for player in range(n)]
    tokens = np.unique(np.concatenate(every)) if every else np.zeros(0, dtype=np.int64)
    return tokens[tokens > 0]


def _inputs(
    served: ServedModel,
    prefix: Prefix,
    seen: Histories,
    players: Histories,
    inside: npt.NDArray[np.bool_],
    vectors: Tensor,
) -> Tensor:
    """(T, d) inputs of the tokens whose survivors are `inside` (T, n): the last survivor, its place, and the time since
    the one before it."""
    n = len(players.item)
    last = n - 1 - np.argmax(inside[:, ::-1], axis=1)
    earlier = inside & (np.arange(n) < last[:, None])
    first = ~earlier.any(axis=1)
    before = n - 1 - np.argmax(earlier[:, ::-1], axis=1)
    ts_before = np.where(first, seen.ts[-1] if len(seen.item) else 0, players.ts[before])
    gap = gap_bucket(players.ts[last] - ts_before)
    if not len(seen.item):
        gap = np.where(first, 0, gap)
    events = Events(
        item=torch.from_numpy(players.item[last])[:, None],
        gap=torch.from_numpy(gap)[:, None],
        kind=torch.from_numpy(players.kind[last])[:, None],
        value=torch.from_numpy(served.vocabulary.buckets(players.value[last]))[:, None],
        lengths=torch.ones(len(last), dtype=torch.int64),
    )
    place = int(prefix.lengths[0]) + torch.from_numpy(inside.sum(1))[:, None] - 1
    with torch.no_grad():
        return served.network.embed(events, vectors, first_position=place)[:, 0]


def _sizes(n: int) -> IntArray:
    """(2^n,) how many players each coalition has."""
    sizes: IntArray = np.bitwise_count(np.arange(1 << n)).astype(np.int64)
    return sizes
