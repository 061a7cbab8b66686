"""A served model brought to a newer build's catalogue and kinds, so that training can go on from it.

What the network knows of an item goes with the item's key; an item that is new starts from its text, as one starts that
was never trained. A kind of behaviour that is new starts as the most frequent one.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.learn.batches import Vocabulary
from core.learn.closed import ClosedForm
from core.learn.config import TextConfig
from core.learn.model import Recommender
from core.learn.text import TextEncoder
from core.learn.whitening import Whitening
from core.predict.served import Catalogue, ServedModel

TEXT_FILE = "text.safetensors"
TUNED_FILE = "language_model.safetensors"


@dataclass(frozen=True)
class Language:
    """The text side of a fit, on the CPU: frozen vectors (I, D) of the catalogue and their whitening; the whitened
    vectors (I, T) after tuning, and what tuning changed in the language model."""

    frozen: Tensor
    whitening: Whitening
    tuned: Tensor | None = None
    tuned_state: Mapping[str, Tensor] | None = None

    def save(self, folder: Path) -> None:
        """The language model's side of a run: what tuning changed, the frozen vectors and their whitening."""
        if self.tuned_state is not None:
            save_file(dict(self.tuned_state), folder / TUNED_FILE)
        state = {"frozen": self.frozen, "mean": self.whitening.mean, "projection": self.whitening.projection}
        save_file({name: value.contiguous() for name, value in state.items()}, folder / TEXT_FILE)

    @classmethod
    def load(cls, folder: Path, *, tuned: Tensor) -> "Language | None":
        """From a run's folder; None for one that read no texts. tuned (I, T): the vectors that its network holds."""
        if not (folder / TEXT_FILE).is_file():
            return None
        state = load_file(folder / TEXT_FILE)
        whitening = Whitening(state["mean"], state["projection"])
        if not (folder / TUNED_FILE).is_file():
            return cls(state["frozen"], whitening)
        return cls(state["frozen"], whitening, tuned, load_file(folder / TUNED_FILE))


@dataclass(frozen=True)
class Texts:
    """A catalogue's items in order: their keys and what the language model reads of each."""

    keys: Sequence[str]
    texts: Sequence[str]


def read_onward(
    language: Language,
    before: Texts,
    now: Texts,
    config: TextConfig,
    *,
    base: Callable[[], Path],
    device: str,
    seed: int,
) -> Language:
    """The texts' side over a newer catalogue: an item whose text stayed keeps its vectors, the others are read by the
    same language model, whose folder `base` finds when there are any. Raises WeightsMissing."""
    known = {key: (item, text) for item, (key, text) in enumerate(zip(before.keys, before.texts, strict=True))}
    kept = [
        known[key][0] if known.get(key, (0, None))[1] == text else -1
        for key, text in zip(now.keys, now.texts, strict=True)
    ]
    rows = torch.tensor(kept, dtype=torch.int64)
    frozen = language.frozen[rows.clamp(min=0)]
    tuned = None if language.tuned is None else language.tuned[rows.clamp(min=0)]
    fresh = (rows < 0).nonzero().squeeze(1)
    if len(fresh):
        encoder = TextEncoder(base(), config, texts=[now.texts[place] for place in fresh.tolist()], device=device)
        frozen[fresh] = encoder.encode().cpu()
        if tuned is not None and language.tuned_state is not None:
            encoder.adapt(seed=seed)
            encoder.load(language.tuned_state)
            tuned[fresh] = language.whitening(encoder.encode().cpu())
    return replace(language, frozen=frozen, tuned=tuned)


@dataclass(frozen=True)
class Onward:
    """What training goes on from, over the new catalogue: the network with its texts, its vocabulary, the texts' side
    (None for a recipe that reads none), and the closed forms as they were chosen."""

    network: Recommender
    vocabulary: Vocabulary
    language: Language | None
    closed: Mapping[str, ClosedForm]


def kinds_onward(served: ServedModel, kinds: Sequence[str]) -> tuple[str, ...]:
    """The model's kinds in their order, then those of a newer build that it does not know."""
    known = served.vocabulary.kinds
    return (*known, *(kind for kind in kinds if kind not in known))


def onward(served: ServedModel, keys: Sequence[str], *, kinds: Sequence[str], language: Language | None) -> Onward:
    """keys: the new catalogue's, in item order; kinds: as `kinds_onward` orders them; language: over that catalogue."""
    text = torch.zeros(len(keys), 0)
    if language is not None:
        text = language.whitening(language.frozen) if language.tuned is None else language.tuned
    now, before = _shared(served, keys)
    network = Recommender(served.network.config, text=text, n_kinds=max(len(kinds), 1))
    state, learned = network.state_dict(), served.network.state_dict()
    typical = served.vocabulary.typical_kind
    for name, value in learned.items():
        if name in ("id_vector", "id_bias"):
            state[name].zero_()[now] = value[before]
        elif name == "kind.weight":
            state[name][:] = value[typical]
            state[name][: len(value)] = value
        elif name != "text":
            state[name].copy_(value)
    network.load_state_dict(state)
    return Onward(network, replace(served.vocabulary, kinds=tuple(kinds)), language, served.closed)


def as_it_stands(served: ServedModel, start: Onward, catalogue: Catalogue) -> ServedModel:
    """The model itself over the newer catalogue, with nothing learned: what it does not know it places by its text, and
    its closed forms give 0. Call it before `start`'s network is trained."""
    now, before = _shared(served, catalogue.keys)
    trained = torch.zeros(len(catalogue), dtype=torch.bool)
    trained[now] = served.catalogue.trained[before]
    places = _Places(now, before, served.n_items, len(catalogue))
    return replace(
        served,
        network=copy.deepcopy(start.network).cpu(),
        vocabulary=start.vocabulary,
        closed={name: places.of(form) for name, form in served.closed.items()},
        catalogue=replace(catalogue, trained=trained),
    )


@dataclass(frozen=True)
class _Places:
    """Where shared items lie in two catalogues: now and before (S,), of sizes `after` and `size`."""

    now: Tensor
    before: Tensor
    size: int
    after: int

    def of(self, form: ClosedForm) -> ClosedForm:
        """A closed form with its rows and columns moved; 0 for items that it does not know."""
        if form.weights is None:
            return form
        memories = range(len(form.decays))
        rows_now = torch.cat([self.now + memory * self.after for memory in memories])
        rows_before = torch.cat([self.before + memory * self.size for memory in memories])
        width = form.weights.shape[1]
        if form.across is not None:
            weights = form.weights.new_zeros(len(memories) * self.after, width)
            weights[rows_now] = form.weights[rows_before]
            across = form.across.new_zeros(len(form.across), self.after)
            across[:, self.now] = form.across[:, self.before]
            return replace(form, weights=weights, across=across)
        weights = form.weights.new_zeros(len(memories) * self.after, self.after)
        weights[rows_now[:, None], self.now] = form.weights[rows_before[:, None], self.before]
        return replace(form, weights=weights)


def _shared(served: ServedModel, keys: Sequence[str]) -> tuple[Tensor, Tensor]:
    """(S,) places in the new catalogue of the items that the model knows, and their ids in its own."""
    known = {key: item for item, key in enumerate(served.catalogue.keys)}
    now = torch.tensor([place for place, key in enumerate(keys) if key in known], dtype=torch.int64)
    return now, torch.tensor([known[keys[place]] for place in now.tolist()], dtype=torch.int64)
