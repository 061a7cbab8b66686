"""From a split and the items' texts to a model that can be served: text, network, closed forms, blend, cold items.

One order of steps, whoever asks: a training job, which keeps checkpoints and tells its progress, or a bench, which does
neither.
"""

import copy
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from core.learn.batches import Vocabulary, fit_vocabulary
from core.learn.checkpoints import keep, take_up
from core.learn.closed import ClosedForm, fit_closed_forms, squash
from core.learn.config import GPU_IS_FASTER, TrainConfig
from core.learn.content import Content
from core.learn.gradients import check_compiler
from core.learn.memory import check_budget
from core.learn.model import Recommender
from core.learn.scoring import user_states
from core.learn.sequences import IntArray, Split
from core.learn.text import TextEncoder
from core.learn.train import MAX_VALIDATION, Monitor, Stage, Trainer
from core.learn.whitening import fit_whitening
from core.predict.blend import NEGLIGIBLE, Blend, fit_blend, fit_units, negligible
from core.predict.choices import affordable, answers, choose, products
from core.predict.cold import place_cold_items
from core.predict.onward import Language, Onward
from core.predict.served import Catalogue, ServedModel
from data.errors import InvalidConfig

MAX_QUERIES = 4000  # validation questions that the blend is fitted on
MAX_CELLS = 8_000_000  # and one component's scores of their choices
UPDATE = "update"  # the stage that trains a served model onward
UPDATE_EPOCHS = 5
UPDATE_BATCH = 0.25  # of the recipe's batch: what training onward lacks is steps, and small ones cost little more
KNOWN_WEIGHT = 0.3  # of a history with nothing new, where each new event weighs 1
READINGS_A_STEP = 5  # forward with a graph, backward (two), the catalogue read anew; and some room


class Follower(Monitor, Protocol):
    """What fitting reports to, and asks whether to go on."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Entered for the time of a stage: text, frozen, lora or full, closed-form, blend."""

    def log(self, message: str) -> None:
        """One line for people."""


@dataclass(frozen=True)
class Fitted:
    """A served model and how it came about. first_network: the network before its language model was tuned, None where
    that was not done; stages: where each training stage ended."""

    served: ServedModel
    language: Language | None
    first_network: Recommender | None
    stages: Mapping[str, Stage]
    device: str


def fit(
    split: Split,
    catalogue: Catalogue,
    texts: list[str],
    config: TrainConfig,
    *,
    kinds: tuple[str, ...],
    language_model: Path | None,
    follow: Follower,
    checkpoints: Path | None = None,
) -> Fitted:
    """Fit everything on `split`: the networks and closed forms on its training part, the choices on its validation.

    catalogue and texts are in item order, `trained` of the catalogue is found here; kinds number the events' kinds;
    language_model is its folder, needed unless `text.tune` is none. With `checkpoints` an interrupted stage continues
    where its last one stands. The served model's ids are empty. Raises Stopped, Diverged, WeightsMissing, OverBudget,
    InvalidConfig.
    """
    split, device = _begun(split, len(texts), config, language_dim=0)
    vocabulary = fit_vocabulary(split.train, kinds, buckets=config.network.value_buckets)
    encoder, language = None, None
    if config.text.tune != "none":
        assert language_model is not None, "a recipe that reads texts has a language model"
        with follow.stage("text"):
            encoder = TextEncoder(language_model, config.text, texts=texts, device=device)
            check_budget(len(texts), len(split.train.item), config, language_dim=encoder.dim)
            frozen = encoder.encode().cpu()
            language = Language(frozen, fit_whitening(frozen, config.text.dim))
    text = language.whitening(language.frozen) if language else torch.zeros(len(texts), 0)
    network = Recommender(config.network, text=text, n_kinds=max(len(kinds), 1)).to(device)
    train = _Stages(network, split, vocabulary, config, follow, checkpoints)
    train.run("frozen")
    first_network: Recommender | None = None
    if encoder is not None and language is not None and _affordable(encoder, config, device, follow):
        first_network = copy.deepcopy(network).cpu()
        encoder.adapt(seed=config.seed)
        tuned = train.run(config.text.tune, encoder=encoder, whitening=language.whitening.to(device))
        language = replace(language, tuned=network.text.cpu().clone(), tuned_state=tuned.best_text)
    return Fitted(train.completed(catalogue, language), language, first_network, train.ended, device)


def fit_onward(
    split: Split,
    catalogue: Catalogue,
    config: TrainConfig,
    start: Onward,
    until: IntArray,
    *,
    follow: Follower,
    checkpoints: Path | None = None,
) -> Fitted:
    """The same from a served model that was brought to this catalogue: its network is trained on for a few epochs, its
    language model stays as it is, and its closed forms are fitted anew as they were chosen. Histories are drawn by how
    much is new in them: until (U,), in seconds, is when each user was learned from before. Raises as `fit`."""
    language_dim = 0 if start.language is None else start.language.frozen.shape[1]
    split, device = _begun(split, len(catalogue), config, language_dim=language_dim)
    shorter = {
        "epochs": min(UPDATE_EPOCHS, config.epochs),
        "batch_tokens": math.ceil(UPDATE_BATCH * config.batch_tokens),
    }
    config = config.model_copy(update=shorter)
    network = start.network.to(device)
    train = _Stages(network, by_what_is_new(split, until), start.vocabulary, config, follow, checkpoints)
    train.run(UPDATE)
    return Fitted(
        train.completed(catalogue, start.language, like=start.closed), start.language, None, train.ended, device
    )


def by_what_is_new(split: Split, until: IntArray) -> Split:
    """The split, its histories drawn by how many of their events are later than `until` (U,), old ones seldom."""
    train, users = split.train, split.sampling.users
    new = np.bincount(train.owner[train.ts > until[train.owner]], minlength=len(train))
    weights = new.astype(np.float64) + KNOWN_WEIGHT
    return replace(split, sampling=replace(split.sampling, users=weights if users is None else weights * users))


def _begun(split: Split, n_items: int, config: TrainConfig, *, language_dim: int) -> tuple[Split, str]:
    """The split with its validation cut to what training looks at, and the device; all random draws begin here."""
    torch.manual_seed(config.seed)
    device = pick_device(config.device)
    check_compiler(config, device=device)
    check_budget(n_items, len(split.train.item), config, language_dim=language_dim)
    return replace(split, valid=split.valid.sample(MAX_VALIDATION, seed=config.seed)), device


@dataclass
class _Stages:
    """The stages of one fit, each going on where its checkpoint stands. ended: where each one that was run ended."""

    network: Recommender
    split: Split
    vocabulary: Vocabulary
    config: TrainConfig
    follow: Follower
    checkpoints: Path | None
    ended: dict[str, Stage] = field(default_factory=dict)

    def run(self, name: str, **tuning: Any) -> Stage:
        """Train the network through a stage and give it the stage's best weights."""
        trainer = Trainer(self.network, self.split, self.vocabulary, self.config, stage=name, **tuning)
        if self.checkpoints is not None and take_up(self.checkpoints, trainer):
            self.follow.log(f"resumed {name} after epoch {trainer.stage.epoch}")
        with self.follow.stage(name):
            stage = trainer.run(
                self.follow, lambda it: None if self.checkpoints is None else keep(self.checkpoints, it)
            )
        trainer.put(stage.best_state)
        self.ended[name] = stage
        return stage

    def completed(
        self, catalogue: Catalogue, language: Language | None, *, like: Mapping[str, ClosedForm] | None = None
    ) -> ServedModel:
        """The served model around the trained network: closed forms (as `like`, where given), blend, cold items."""
        split, config, follow = self.split, self.config, self.follow
        with follow.stage("closed-form"):
            trained = torch.from_numpy(np.bincount(split.train.item, minlength=len(catalogue)) > 0)
            content = Content.of(catalogue.categories, (language.frozen, language.whitening) if language else None)
            closed = fit_closed_forms(
                split,
                n_items=len(catalogue),
                content=content,
                budget_gb=config.closed_form_gb,
                seed=config.seed,
                log=follow.log,
                like=like,
            )
        with follow.stage("blend"):
            known = catalogue.available & trained
            blend, closed = _weighed(
                self.network, closed, split, self.vocabulary, known=known, seed=config.seed, log=follow.log
            )
            served = ServedModel(
                run_id="",
                build_id="",
                task=split.task,
                network=self.network.cpu(),
                vocabulary=self.vocabulary,
                closed=closed,
                blend=blend,
                catalogue=replace(catalogue, trained=trained),
            )
            return place_cold_items(served, split.valid, seed=config.seed, log=follow.log)


@torch.no_grad()
def _weighed(
    network: Recommender,
    closed: Mapping[str, ClosedForm],
    split: Split,
    vocabulary: Vocabulary,
    *,
    known: Tensor,
    seed: int,
    log: Callable[[str], None],
) -> tuple[Blend, dict[str, ClosedForm]]:
    """The blend of the network and the closed forms on validation, and the forms in the units that were chosen for
    them. known (I,) bool: available and trained."""
    valid = affordable(split.valid, n_items=len(known), n_scorers=1 + len(closed), cells=MAX_CELLS, seed=seed)
    valid = valid.sample(MAX_QUERIES, seed=seed)
    vectors, bias = (part.cpu() for part in network.items())
    scorers = {"neural": products(user_states(network, valid.context, vocabulary), (vectors, bias))}
    scorers |= {name: answers(form.plain, valid.context, n_items=len(known)) for name, form in closed.items()}
    choices, plain = choose(valid, scorers, task=split.task, available=known, seed=seed)
    scores = {"neural": plain.pop("neural")}
    units = fit_units(scores, plain, choices, seed=seed)
    scores |= {name: squash(part / units[name]) for name, part in plain.items()}
    blend, loss = fit_blend(scores, choices)
    if aside := negligible(blend):
        log(f"{', '.join(aside)} left aside: under {NEGLIGIBLE:.0%} of the greatest weight")
        blend, loss = fit_blend({name: part for name, part in scores.items() if name not in aside}, choices)
    weights = dict(zip(blend.names, blend.weight, strict=True))
    log(f"blend of {len(valid)} questions: {weights}, units {units}, validation loss {loss:.4f}")
    return blend, {name: replace(form, unit=units[name]) for name, form in closed.items()}


def _affordable(encoder: TextEncoder, config: TrainConfig, device: str, follow: Follower) -> bool:
    """Whether the recipe tunes its language model and the device can pay for it; if not, the run's log says so."""
    text = config.text
    if text.tune not in ("lora", "full"):
        return False
    cost = encoder.gigaflops() * text.steps * READINGS_A_STEP
    most = text.tune_gigaflops * (1 if device == "cpu" else GPU_IS_FASTER)
    if cost > most:
        follow.log(
            f"text.tune={text.tune} stands aside: {cost:.0f} GF for {encoder.n_texts} texts is over"
            f" {most:.0f} GF (text.tune_gigaflops); the language model stays frozen"
        )
        return False
    return True


def pick_device(wanted: str) -> str:
    """cuda when asked for or, under auto, when there is one; else cpu. Raises InvalidConfig where there is none."""
    if wanted == "cpu" or torch.cuda.is_available():
        return "cpu" if wanted == "cpu" else "cuda"
    if wanted == "cuda":
        raise InvalidConfig("device = 'cuda', and torch sees no GPU", remedy="train with --set device=auto")
    return "cpu"
