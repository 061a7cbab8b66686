"""A search for better settings: an Optuna study whose trials are the first training stage, judged on validation alone.

A trial trains the sequence model on frozen text, with the Trainer, checkpoints and early stopping of any run; its value
is its best epoch's validation NDCG@10, and epochs that are worse than the median of earlier trials at the same epoch
end it (Golovin et al., "Google Vizier", 2017, median stopping). Settings are proposed by a tree-structured Parzen
estimator (Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011); the base's own come first. Each text
is encoded once a search: of the settings only those of the language model itself (`text.model`, `text.max_tokens`)
ask for it again.

The study lives in SQLite. A worker that is killed leaves a transaction that the next opening rolls back and no lock;
Optuna's journal file leaves, where an append was cut, a line that its reader then refuses for good, and a lock file to
be waited for. What a killed or paused worker was at is asked again with its settings, goes on from its checkpoint, and
counts once: every proposal is seeded by how many trials there were before it, so that an interrupted search proposes
and finds what an uninterrupted one does.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from torch import Tensor

from core.learn.batches import fit_vocabulary
from core.learn.checkpoints import keep, take_up
from core.learn.config import TrainConfig
from core.learn.model import Recommender
from core.learn.sequences import Split
from core.learn.space import Choice, Range, Space, settings_of, with_settings
from core.learn.train import Diverged, Stage, Stopped, Trainer
from data.errors import InvalidConfig, JobFailed

STUDY = "study.sqlite"
STAGE = "frozen"
METRIC = "ndcg@10"
SAMPLER = "TPE, the base's settings first"
PRUNER = "median of earlier trials at the same epoch"
RANDOM_TRIALS = 6  # proposed at random before the estimator has something to go by
JUDGED_AFTER = 4  # trials that ended by themselves, before any is cut short
WARM_EPOCHS = 3  # of a trial, before it may be cut short
MOST_DEATHS = 2  # workers that may die of the same trial before it counts as failed
CHECKPOINTS = "checkpoints"


class Follower(Protocol):
    """What a search reports to, and asks whether to go on."""

    def epoch(self, **fields: Any) -> None:
        """One finished epoch of a trial: trial, epoch, epochs, loss, ndcg@10, hr@10, seconds."""

    def trial(self, row: Mapping[str, Any]) -> None:
        """One trial has ended: its row, as `Search.rows` gives it."""

    def stopping(self) -> bool:
        """True when the search should end at the next chance, to be taken up later."""


@dataclass(frozen=True)
class Ground:
    """What every trial trains on: the split (its test is not read), the names of the events' kinds, and what gives the
    items' whitened text vectors (I, T) under a configuration."""

    split: Split
    kinds: tuple[str, ...]
    text: Callable[[TrainConfig], Tensor]
    device: str


class Search:
    """A study in its folder, opened or taken up; closed when the `with` ends.

    Raises nothing of its own for a trial that cannot be trained: that trial has failed, and says why.
    """

    def __init__(self, folder: Path, space: Space, base: TrainConfig) -> None:
        self.folder, self.space, self.base = folder, space, base
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        self._storage = optuna.storages.RDBStorage(f"sqlite:///{folder / STUDY}")
        pruner = MedianPruner(n_startup_trials=JUDGED_AFTER, n_warmup_steps=WARM_EPOCHS)
        self.study: Study = optuna.create_study(
            study_name="search", storage=self._storage, direction="maximize", pruner=pruner, load_if_exists=True
        )
        own = settings_of(base, list(space))
        if not self.study.trials and all(dimension.holds(own[key]) for key, dimension in space.items()):
            self.study.enqueue_trial(own, user_attrs={"settings": own})
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._ask_again(trial)

    def __enter__(self) -> "Search":
        return self

    def __exit__(self, *_: object) -> None:
        self._storage.engine.dispose()

    @property
    def seconds(self) -> float:
        """What the trials have taken so far, those that were interrupted included."""
        return float(self.study.user_attrs.get("seconds", 0.0))

    def run(self, ground: Ground, follow: Follower, *, trials: int, seconds: float | None = None) -> None:
        """Train until `trials` have ended, or until all have taken `seconds`, when the one at work is cut short.

        Raises Stopped, with everything kept, when told to stop.
        """
        while len(self._ended()) < trials and (seconds is None or self.seconds < seconds):
            if follow.stopping():
                raise Stopped
            count = len(self._ended())
            seed = int(np.random.SeedSequence([self.base.seed, count]).generate_state(1)[0])
            self.study.sampler = TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS)
            asked = self.study.ask({key: _distribution(dimension) for key, dimension in self.space.items()})
            self._try(asked, ground, _Watch(self, asked, count + 1, follow, until=seconds))
            follow.trial(self.rows()[-1])

    def rows(self) -> list[dict[str, Any]]:
        """One row a trial that has ended, in order: trial (from 1), state (complete, pruned or failed), ndcg@10 and
        hr@10 of its best epoch, best_epoch, epochs, seconds, error, settings{name: value}. NaN and None where a trial
        did not get that far."""
        return [_row(number, trial) for number, trial in enumerate(self._ended(), 1)]

    def best(self) -> dict[str, Any] | None:
        """The row of highest validation NDCG@10, the earlier of equals; None where no trial got through an epoch."""
        judged = [row for row in self.rows() if row[METRIC] is not None]
        return max(judged, key=lambda row: float(row[METRIC]), default=None)

    def _ended(self) -> list[FrozenTrial]:
        """Trials that count. One that failed without saying why was interrupted, and has been asked again."""
        finished = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        everything = self.study.get_trials(deepcopy=False, states=finished)
        return [trial for trial in everything if trial.state is not TrialState.FAIL or "error" in trial.user_attrs]

    def _ask_again(self, trial: FrozenTrial) -> None:
        """Queue a trial whose worker is gone once more. One that had no settings yet is left: the same come again."""
        attrs = trial.user_attrs
        settings = attrs.get("settings") or (trial.params if len(trial.params) == len(self.space) else None)
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if settings and all(one.user_attrs.get("again_of") != trial.number for one in waiting):
            again = {
                "settings": settings,
                "again_of": trial.number,
                "first": _first(trial),
                "deaths": attrs.get("deaths", 0) + (0 if attrs.get("paused") else 1),
                "epochs": attrs.get("epochs", []),
            }
            self.study.enqueue_trial(settings, user_attrs=again)
        self.study.tell(trial.number, state=TrialState.FAIL)

    def _try(self, asked: Trial, ground: Ground, watch: "_Watch") -> None:
        """Train one trial and tell the study. Raises Stopped when told to stop: the trial is then asked again."""
        try:
            stage = self._train(asked, ground, watch)
        except (Diverged, InvalidConfig, JobFailed, torch.OutOfMemoryError) as error:
            asked.set_user_attr("error", str(error))
            self.study.tell(asked, state=TrialState.FAIL)
        except Stopped:
            if not watch.cut_short:
                asked.set_user_attr("paused", True)
                raise
            self.study.tell(asked, state=TrialState.PRUNED)
        else:
            self.study.tell(asked, stage.best_ndcg)
        finally:
            watch.spend()
        shutil.rmtree(self._checkpoints(asked), ignore_errors=True)

    def _train(self, asked: Trial, ground: Ground, watch: "_Watch") -> Stage:
        if (deaths := asked.user_attrs.get("deaths", 0)) >= MOST_DEATHS:
            raise JobFailed(f"{deaths} workers died of it", remedy="out of memory, perhaps: search smaller networks")
        config = with_settings(self.base, asked.params)
        torch.manual_seed(config.seed)
        network = Recommender(config.network, text=ground.text(config), n_kinds=max(len(ground.kinds), 1))
        vocabulary = fit_vocabulary(ground.split.train, ground.kinds, buckets=config.network.value_buckets)
        trainer = Trainer(network.to(ground.device), ground.split, vocabulary, config, stage=STAGE)
        checkpoints = self._checkpoints(asked)
        if take_up(checkpoints, trainer):
            watch.recall(trainer.stage.epoch)
        return trainer.run(watch, lambda it: keep(checkpoints, it))

    def _checkpoints(self, asked: Trial) -> Path:
        return self.folder / CHECKPOINTS / str(_first(asked))


class _Watch:
    """One trial's epochs: told to the study, which may have it cut short, and to whoever follows the search."""

    def __init__(self, search: Search, asked: Trial, place: int, follow: Follower, *, until: float | None) -> None:
        self.search, self.asked, self.place, self.follow, self.until = search, asked, place, follow, until
        self.cut_short = False
        self.told: list[dict[str, Any]] = []
        self._begun, self._before = time.perf_counter(), search.seconds

    def recall(self, epochs: int) -> None:
        """Tells again what was told of the epochs that a checkpoint holds."""
        kept: list[dict[str, Any]] = list(self.asked.user_attrs.get("epochs", ()))[:epochs]
        for fields in kept:
            self._tell(fields)
        self.cut_short = bool(kept) and self.asked.should_prune()

    def epoch(self, **fields: Any) -> None:
        told = {name: fields[name] for name in ("epoch", METRIC, "hr@10", "seconds")}
        self._tell(told)
        self.asked.set_user_attr("epochs", self.told)
        self.spend()
        self.cut_short = self.asked.should_prune() or (self.until is not None and self.search.seconds >= self.until)
        self.follow.epoch(trial=self.place, **fields)

    def stopping(self) -> bool:
        return self.cut_short or self.follow.stopping()

    def spend(self) -> None:
        """Keeps the time so far, so that a killed worker's counts up to its last epoch."""
        self.search.study.set_user_attr("seconds", self._before + time.perf_counter() - self._begun)

    def _tell(self, fields: dict[str, Any]) -> None:
        self.told.append(fields)
        self.asked.report(fields[METRIC], fields["epoch"])


def _distribution(dimension: Range | Choice) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.values)
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _first(trial: FrozenTrial | Trial) -> int:
    """The number under which a trial was asked for the first time."""
    return int(trial.user_attrs.get("first", trial.number))


def _row(number: int, trial: FrozenTrial) -> dict[str, Any]:
    epochs: list[dict[str, Any]] = trial.user_attrs.get("epochs", [])
    best = max(epochs, key=lambda one: float(one[METRIC]), default=None)
    state = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}.get(trial.state, "failed")
    return {
        "trial": number,
        "state": state,
        METRIC: best and best[METRIC],
        "hr@10": best and best["hr@10"],
        "best_epoch": best and best["epoch"],
        "epochs": len(epochs),
        "seconds": round(sum(one["seconds"] for one in epochs), 2),
        "error": trial.user_attrs.get("error"),
        "settings": dict(trial.params),
    }
