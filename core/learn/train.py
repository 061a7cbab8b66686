"""The training loop: sequence epochs on frozen text, then epochs that each also move the language model.

Weights are averaged over steps (an exponential moving average), and it is the average that validation judges, early
stopping keeps, and the run serves. Everything that the next epoch depends on is in `Trainer.snapshot()`, so that a
resumed run continues with the same numbers.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from core.learn.batches import Vocabulary, epoch
from core.learn.config import TrainConfig, epoch_tokens
from core.learn.gradients import Gradients
from core.learn.model import Recommender
from core.learn.ranking import hit_rate, ndcg
from core.learn.scoring import neural_ranks
from core.learn.sequences import Split
from core.learn.text import TextEncoder
from core.learn.whitening import Whitening
from data.errors import LodestarError

MAX_VALIDATION = 4000  # queries that early stopping looks at
MAX_VALIDATION_CELLS = 1_000_000_000  # and their scores, fewer queries of a large catalogue
TEXT_STAGE_LR = 0.25  # of the first stage's rate: the sequence model only follows the moving text
BETAS = (0.9, 0.98)
MOMENTUM = 0.9
LOOK_EVERY = 50  # steps until the loss is looked at: a GPU that is asked for it at each would be waited for
FALL: Mapping[str, Callable[[float], float]] = {  # the rate's share once so much of the stage, in [0, 1), is done
    "cosine": lambda done: 0.55 + 0.45 * math.cos(math.pi * done),
    "linear": lambda done: 1 - 0.9 * done,
    "constant": lambda done: 1.0,
}
ID_TABLES = ("id_vector", "id_bias")  # one row an item: where the loss is sampled, a step touches few of them


class Diverged(LodestarError):
    """The loss is no longer a number."""


class Stopped(Exception):
    """Raised between epochs when the job is asked to stop; the last checkpoint holds all that was learned."""


class Monitor(Protocol):
    """What training reports to, and asks whether to go on."""

    def epoch(self, **fields: Any) -> None:
        """One finished epoch: stage, number, loss, validation metrics, rate, seconds, and the pieces of a batch."""

    def stopping(self) -> bool:
        """True when the job should end at the next chance."""


@dataclass
class Stage:
    """Where one stage stands. best_state: the averaged weights that validated best, with their metrics."""

    name: str
    epoch: int = 0
    steps: int = 0
    best_epoch: int = -1
    best_ndcg: float = -1.0
    best_hr: float = 0.0
    best_state: dict[str, Tensor] = field(default_factory=dict)
    best_text: dict[str, Tensor] = field(default_factory=dict)


class Trainer:
    """Trains one Recommender through one stage; a stage's state is what a checkpoint holds.

    `encoder` and `whitening` are given in the stages that move the language model, else None.
    """

    def __init__(
        self,
        model: Recommender,
        split: Split,
        vocabulary: Vocabulary,
        config: TrainConfig,
        *,
        stage: str,
        encoder: TextEncoder | None = None,
        whitening: Whitening | None = None,
    ) -> None:
        self.model, self.split, self.vocabulary, self.config = model, split, vocabulary, config
        self.encoder, self.whitening = encoder, whitening
        self.stage = Stage(stage)
        self.epochs = config.text.steps if encoder is not None else config.epochs
        self.epoch_tokens = epoch_tokens(config, len(split.lessons.train.item), tuning=encoder is not None)
        self.rng = np.random.default_rng([config.seed, len(stage)])
        self.lr = config.lr * (TEXT_STAGE_LR if encoder is not None else 1.0)
        counts = torch.from_numpy(np.bincount(split.train.item, minlength=model.n_items))
        self.gradients = Gradients(model, counts, config, whitening=whitening)
        self.dense = dict(model.named_parameters())
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        if self.gradients.sampler is not None:
            ids = [self.dense.pop(name) for name in ID_TABLES]
            self.optimizers["ids"] = torch.optim.SparseAdam(ids, lr=self.lr, betas=BETAS)
        self.optimizers["optimizer"] = _optimizer(self.dense.values(), config, lr=self.lr)
        seen = (counts > 0).to(model.device)
        with torch.no_grad():
            model.id_vector[~seen] = 0.0
            model.id_bias[~seen] = 0.0
        self.moving = self._moving()
        self.average = {name: value.detach().clone() for name, value in self.moving.items()}
        self.raw: Tensor | None = None
        if encoder is not None:
            self.optimizers["text_optimizer"] = torch.optim.AdamW(
                encoder.trainable(), lr=config.text.lr, weight_decay=0.0
            )
            self.raw = encoder.encode()
        most = min(MAX_VALIDATION, max(1, MAX_VALIDATION_CELLS // model.n_items))
        self.valid = split.valid.sample(most, seed=config.seed)

    def run(self, monitor: Monitor, save: Callable[["Trainer"], None]) -> Stage:
        """Train to the end of the stage; `save` is called after each epoch. Raises Stopped and Diverged."""
        while self.stage.epoch < self.epochs and not self._exhausted():
            if monitor.stopping():
                raise Stopped
            begun = time.perf_counter()
            loss = self._epoch(monitor)
            reached, hits = self._validate()
            best = reached > self.stage.best_ndcg
            if best:
                self.stage.best_ndcg, self.stage.best_hr = reached, hits
                self.stage.best_epoch = self.stage.epoch
                self.stage.best_state = {name: value.clone() for name, value in self.average.items()}
                if self.encoder is not None:
                    self.stage.best_text = {k: v.clone() for k, v in self.encoder.state().items()}
            self.stage.epoch += 1
            monitor.epoch(
                stage=self.stage.name,
                epoch=self.stage.epoch,
                epochs=self.epochs,
                loss=loss,
                best=best,
                lr=self.optimizers["optimizer"].param_groups[0]["lr"],
                pieces=self.gradients.n_pieces,
                seconds=time.perf_counter() - begun,
                **{"ndcg@10": reached, "hr@10": hits},
            )
            save(self)
        return self.stage

    def put(self, state: Mapping[str, Tensor]) -> None:
        """Give the model the weights of `average` or of a stage's `best_state`."""
        self.model.load_state_dict({**self.model.state_dict(), **state})

    def _moving(self) -> dict[str, Tensor]:
        """What this stage changes, by name, the live tensors: frozen texts are left out, which weigh more than all
        else."""
        state = self.model.state_dict()
        return {name: value for name, value in state.items() if name != "text" or self.encoder is not None}

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values from which `restore` continues bit for bit; the tensors are the live ones, to be
        written before the next step."""
        tensors: dict[str, Tensor] = {"rng": torch.get_rng_state()}
        if self.model.device.type == "cuda":
            tensors["rng_cuda"] = torch.cuda.get_rng_state(self.model.device)
        groups: dict[str, Mapping[str, Tensor]] = {
            "model": self.moving,
            "average": self.average,
            "best": self.stage.best_state,
            "best_text": self.stage.best_text,
            "encoder": self.encoder.state() if self.encoder is not None else {},
        }
        for group, content in groups.items():
            tensors.update({f"{group}/{name}": value.detach() for name, value in content.items()})
        for group, optimizer in self.optimizers.items():
            for index, state in optimizer.state_dict()["state"].items():
                tensors.update({f"{group}/{index}/{name}": torch.as_tensor(v) for name, v in state.items()})
        plain = {k: v for k, v in vars(self.stage).items() if not isinstance(v, dict)}
        return tensors, {"stage": plain, "numpy": self.rng.bit_generator.state}

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Take up where a snapshot was made."""
        groups: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            group, _, rest = name.partition("/")
            groups.setdefault(group, {})[rest] = value
        self.put(groups["model"])
        self.average = {name: value.to(self.model.device) for name, value in groups["average"].items()}
        self.stage = Stage(**values["stage"], best_state=groups.get("best", {}), best_text=groups.get("best_text", {}))
        if self.encoder is not None:
            self.encoder.load(groups["encoder"])
            self.raw = self.encoder.encode()
        for group, optimizer in self.optimizers.items():
            state: dict[int, dict[str, Any]] = {}
            for name, value in groups.get(group, {}).items():
                index, _, key = name.partition("/")
                counted = key == "step" and isinstance(optimizer, torch.optim.SparseAdam)  # it counts in plain numbers
                state.setdefault(int(index), {})[key] = int(value) if counted else value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        self.rng.bit_generator.state = values["numpy"]
        torch.set_rng_state(tensors["rng"])
        if self.model.device.type == "cuda" and "rng_cuda" in tensors:  # what began on a CPU has none
            torch.cuda.set_rng_state(tensors["rng_cuda"], self.model.device)

    def _exhausted(self) -> bool:
        return self.stage.best_epoch >= 0 and self.stage.epoch - self.stage.best_epoch > self.config.patience

    def _epoch(self, monitor: Monitor) -> float:
        self.model.train()
        config, total, count = self.config, torch.zeros((), device=self.model.device), 0
        text_gradient = None if self.raw is None else torch.zeros_like(self.raw)
        batches = epoch(
            self.split.lessons,
            self.vocabulary,
            length=config.network.max_length,
            batch_tokens=config.batch_tokens,
            epoch_tokens=self.epoch_tokens,
            n_items=self.model.n_items,
            rng=self.rng,
        )
        for batch in batches:
            if monitor.stopping():
                raise Stopped
            self._set_rate()
            loss, of_text = self.gradients.of(batch, self.raw, optimizers=self._sequence_optimizers())
            torch.nn.utils.clip_grad_norm_(self.dense.values(), config.clip)
            for optimizer in self._sequence_optimizers():
                optimizer.step()
            self.stage.steps += 1
            self._follow()
            total, count = total + loss, count + 1
            if count % LOOK_EVERY == 0:
                self._check_number(total)
            if text_gradient is not None and of_text is not None:
                text_gradient += of_text
        self._check_number(total)
        if text_gradient is not None:
            self._move_text(text_gradient / max(count, 1))
        return float(total) / max(count, 1)

    def _check_number(self, value: Tensor | float, *, of: str = "loss") -> None:
        if not math.isfinite(value):
            raise Diverged(
                f"the {of} became {float(value)} in epoch {self.stage.epoch + 1}",
                remedy=f"train with a smaller rate, for example --set lr={self.config.lr / 4:g}",
            )

    def _move_text(self, gradient: Tensor) -> None:
        """One step of the language model down the epoch's mean gradient (I, D), then the catalogue read anew."""
        if self.encoder is None:
            return
        optimizer = self.optimizers["text_optimizer"]
        optimizer.zero_grad(set_to_none=True)
        self.encoder.backward(gradient)
        torch.nn.utils.clip_grad_norm_(self.encoder.trainable(), self.config.clip)
        optimizer.step()
        self.raw = self.encoder.encode()
        self._put_text()

    def _put_text(self) -> None:
        if self.raw is not None and self.whitening is not None:
            text = self.whitening(self.raw)
            self.model.text.copy_(text)
            self.average["text"] = text.clone()

    def _set_rate(self) -> None:
        """Linear warm-up over the first 50 steps, then the schedule down to a tenth at the stage's last epoch."""
        done = self.stage.epoch / max(self.epochs, 1)
        warm = min(1.0, (self.stage.steps + 1) / 50)
        for optimizer in self._sequence_optimizers():
            for group in optimizer.param_groups:
                group["lr"] = self.lr * warm * FALL[self.config.schedule](done)

    def _sequence_optimizers(self) -> list[torch.optim.Optimizer]:
        return [optimizer for name, optimizer in self.optimizers.items() if name != "text_optimizer"]

    @torch.no_grad()
    def _follow(self) -> None:
        pace = 1 - min(self.config.ema, (1 + self.stage.steps) / (10 + self.stage.steps))
        moving, touched = {name: value for name, value in self.moving.items() if name != "text"}, self.gradients.touched
        if touched is not None:  # of the ids, the others stand where they stood
            for name in ID_TABLES:
                self.average[name][touched] = self.average[name][touched].lerp(moving.pop(name)[touched], pace)
        torch._foreach_lerp_([self.average[name] for name in moving], list(moving.values()), pace)

    def _validate(self) -> tuple[float, float]:
        live = {name: value.clone() for name, value in self.moving.items()}
        self.put(self.average)
        rank = neural_ranks(self.model, self.valid, self.vocabulary, task=self.split.task)
        self.put(live)
        if not len(self.valid):
            return 0.0, 0.0
        self._check_number(float(rank.min()), of="best rank")  # a last step spoils the weights after its loss was taken
        return float(ndcg(rank, self.valid, k=10).mean()), float(hit_rate(rank, self.valid, k=10).mean())


def _optimizer(parameters: Iterable[torch.nn.Parameter], config: TrainConfig, *, lr: float) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=lr, momentum=MOMENTUM, weight_decay=config.weight_decay)
    return torch.optim.AdamW(parameters, lr=lr, betas=BETAS, weight_decay=config.weight_decay, fused=True)
