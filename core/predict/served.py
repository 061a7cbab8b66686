"""A finished run, loaded to answer: the blended score of every item after any history.

Everything that ranks, explains, guides or audits asks this one object, so that what is explained is what is served.
The language model itself is not loaded: the run holds its vectors of the catalogue.
"""

import difflib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.learn.batches import Vocabulary
from core.learn.closed import ClosedForm
from core.learn.config import NetworkConfig
from core.learn.model import Recommender
from core.learn.scoring import user_states
from core.learn.sequences import Histories, Queries, Task, histories_from, one_history
from core.predict.blend import Blend
from core.predict.choices import candidates
from data import reads
from data.errors import DamagedArtefact, SchemaMismatch, UnknownCategory, UnknownItem
from data.phrases import listed, phrase, quoted
from data.publish import verify_manifest
from data.warehouse import Warehouse

FORMAT = 4


@dataclass(frozen=True)
class Catalogue:
    """Items in id order: the caller's keys, titles, categories; available (I,) bool; trained (I,) bool, false for an
    item that no training event has."""

    keys: tuple[str, ...]
    titles: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    available: Tensor
    trained: Tensor

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, key: str) -> int:
        """The item_id of a key. Raises UnknownItem."""
        try:
            return self.keys.index(str(key))
        except ValueError as error:
            near = difflib.get_close_matches(str(key), self.keys, n=3, cutoff=0.5) or list(self.keys[:3])
            raise UnknownItem(
                phrase("find.no_item", key=quoted(str(key))),
                remedy=phrase("do.there_are", names=listed(map(quoted, near))),
            ) from error

    def members(self, category: str) -> Tensor:
        """(I,) bool: the available items of a category. Raises UnknownCategory, which names the nearest ones."""
        inside = torch.tensor([category in names for names in self.categories], dtype=torch.bool) & self.available
        if not inside.any():
            known = sorted({name for names in self.categories for name in names})
            near = difflib.get_close_matches(category, known, n=3, cutoff=0.5) or known[:3]
            there = phrase("do.there_are", names=listed(map(quoted, near))) if near else phrase("do.no_categories")
            raise UnknownCategory(phrase("find.no_category", name=quoted(category)), remedy=there)
        return inside


@dataclass(frozen=True)
class ServedModel:
    """One run's network, closed forms and blend over one catalogue. Scores are float64 logits of the blend.

    The network stays as it is once it has been asked: `items` are held, since for a large catalogue working them out
    anew takes far longer than an answer.
    """

    run_id: str
    build_id: str
    task: Task
    network: Recommender
    vocabulary: Vocabulary
    closed: Mapping[str, ClosedForm]
    blend: Blend
    catalogue: Catalogue

    @property
    def n_items(self) -> int:
        """I, the size of the catalogue."""
        return len(self.catalogue)

    @cached_property
    def items(self) -> tuple[Tensor, Tensor]:
        """The network's item vectors (I, d) and biases (I,)."""
        with torch.no_grad():
            return self.network.items()

    @torch.no_grad()
    def components(self, histories: Histories) -> dict[str, Tensor]:
        """Each component's (H, I) float32 scores, also of those that the blend left aside; those of untrained items are
        borrowed (`core.predict.cold`)."""
        aside = {name: form for name, form in self.closed.items() if name not in self.blend.names}
        return self._blended(histories) | {k: form.scores(histories, n_items=self.n_items) for k, form in aside.items()}

    def closed_scores(self, histories: Histories) -> dict[str, Tensor]:
        """The (H, I) float32 scores of each closed form in the blend."""
        forms = {name: form for name, form in self.closed.items() if name in self.blend.names}
        return {name: form.scores(histories, n_items=self.n_items) for name, form in forms.items()}

    @torch.no_grad()
    def _blended(self, histories: Histories) -> dict[str, Tensor]:
        vectors, bias = self.items
        states = user_states(self.network, histories, self.vocabulary, vectors=vectors)
        return {"neural": torch.addmm(bias, states, vectors.T), **self.closed_scores(histories)}

    def logits(self, histories: Histories) -> Tensor:
        """(H, I) float64: the served score of every item, candidates or not."""
        return self.blend.logits(self._blended(histories), trained=self.catalogue.trained)

    def candidates(self, histories: Histories) -> Tensor:
        """(H, I) bool: available items less, under `next-new`, the history's own."""
        return candidates(_questions(histories), task=self.task, available=self.catalogue.available)

    def log_probability(self, histories: Histories, *, allowed: Tensor | None = None) -> Tensor:
        """(H, I) float64 log-softmax over the candidates, -inf at the others. `allowed` (H, I) or (1, I) bool fixes
        the candidates, as explanations do."""
        allowed = self.candidates(histories) if allowed is None else allowed
        return self.logits(histories).masked_fill(~allowed, -torch.inf).log_softmax(1)

    def history_of(self, warehouse: Warehouse, user_id: int) -> Histories:
        """One user's whole history in the build that the run was trained on."""
        return histories_from(reads.history(warehouse, user_id), self.vocabulary.kinds)

    def history_from_keys(self, keys: Sequence[str]) -> Histories:
        """A history that was never seen, oldest first: typical kind, value and spacing, since none is told.

        Raises UnknownItem.
        """
        items = [self.catalogue.find(key) for key in keys]
        step = self.vocabulary.typical_gap
        times = [index * step for index in range(len(items))]
        n = len(items)
        return one_history(items, times, [self.vocabulary.typical_kind] * n, [self.vocabulary.typical_value] * n)

    def save(self, folder: Path) -> None:
        """model.safetensors, closed.safetensors, blend.json and served.json into a run's folder."""
        state = {name: value.contiguous() for name, value in self.network.state_dict().items()}
        save_file(state, folder / "model.safetensors")
        weights = {f"{name}/weights": form.weights for name, form in self.closed.items()}
        across = {f"{name}/across": form.across for name, form in self.closed.items()}
        held = {name: part.contiguous() for name, part in (weights | across).items() if part is not None}
        save_file(held, folder / "closed.safetensors")
        (folder / "blend.json").write_text(self.blend.to_json())
        told: dict[str, Any] = {
            "format": FORMAT,
            "run_id": self.run_id,
            "build_id": self.build_id,
            "task": self.task,
            "network": self.network.config.model_dump(),
            "vocabulary": asdict(self.vocabulary),
            "closed": {
                name: {"decays": form.decays, "unit": form.unit, "strength": form.strength}
                for name, form in self.closed.items()
            },
            "trained": np.packbits(self.catalogue.trained.numpy()).tolist(),
        }
        (folder / "served.json").write_text(json.dumps(told))

    @classmethod
    def load(cls, folder: Path, warehouse: Warehouse, *, verify: bool = True) -> Self:
        """From a finished run's folder and its build. Raises DamagedArtefact and SchemaMismatch; `verify` compares
        every file with the manifest first."""
        if verify:
            verify_manifest(folder)
        with _readable(folder):
            told = json.loads((folder / "served.json").read_text())
            known = told["format"] == FORMAT and told["build_id"] == warehouse.facts.build_id
        if not known:
            raise SchemaMismatch(
                phrase("run.other_format", run=folder.name, build=str(told["build_id"]), form=str(told["format"])),
                remedy=phrase("do.train_again"),
            )
        with _readable(folder):
            state = load_file(folder / "model.safetensors")
            held = load_file(folder / "closed.safetensors")
            blend = Blend.from_json((folder / "blend.json").read_text())
            catalogue = catalogue_of(warehouse, trained=None)
            trained = np.unpackbits(np.asarray(told["trained"], dtype=np.uint8))[: len(catalogue)].astype(bool)
            words = told["vocabulary"]
            inner = {"kinds": tuple(words["kinds"]), "value_edges": tuple(words["value_edges"])}
            vocabulary = Vocabulary(**{**words, **inner})
            shape = NetworkConfig(**told["network"])
            network = Recommender(shape, text=state["text"], n_kinds=max(len(vocabulary.kinds), 1))
            network.load_state_dict(state)
            network.eval().requires_grad_(False)
            closed = {
                name: ClosedForm(
                    name,
                    told["task"],
                    tuple(form["decays"]),
                    held.get(f"{name}/weights"),
                    form["unit"],
                    held.get(f"{name}/across"),
                    form.get("strength", math.nan),
                )
                for name, form in told["closed"].items()
            }
            if not {*blend.names} <= {"neural", *closed}:
                raise ValueError(f"its blend asks for {', '.join(blend.names)}, and it has neural, {', '.join(closed)}")
            numbers = (*(value for value in state.values()), torch.tensor(blend.weight + blend.cold_weight))
            if not all(bool(value.isfinite().all()) for value in numbers):
                raise ValueError("some of its weights are no numbers")
        return cls(
            run_id=told["run_id"],
            build_id=told["build_id"],
            task=told["task"],
            network=network,
            vocabulary=vocabulary,
            closed=closed,
            blend=blend,
            catalogue=catalogue_of(warehouse, trained=torch.from_numpy(trained)),
        )


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Turns what goes wrong with a run's files into DamagedArtefact."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise DamagedArtefact(
            phrase("run.cannot_load", run=folder.name, error=str(error)), remedy=phrase("do.train_again")
        ) from error


def catalogue_of(warehouse: Warehouse, *, trained: Tensor | None) -> Catalogue:
    """The build's items. trained (I,) bool, all true when not given."""
    table = reads.catalogue(warehouse)
    available = torch.from_numpy(np.asarray(table["available"].to_pylist(), dtype=bool))
    return Catalogue(
        keys=tuple(str(key) for key in table["key"].to_pylist()),
        titles=tuple(str(title) for title in table["title"].to_pylist()),
        categories=tuple(tuple(names or ()) for names in table["categories"].to_pylist()),
        available=available,
        trained=torch.ones(len(available), dtype=torch.bool) if trained is None else trained,
    )


def _questions(histories: Histories) -> Queries:
    """Histories as queries without targets."""
    n = len(histories)
    return Queries(np.arange(n), histories, np.zeros(n + 1, dtype=np.int64), np.zeros(0, dtype=np.int64))
