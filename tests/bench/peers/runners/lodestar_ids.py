"""Lodestar's network without any text, at the peers' width, depth, length, loss, batch and threads.

By default it sees what the peers see, items in their order: every event has the same kind, time and no value. With
`"times": true` it also sees the gaps between events, their kinds and values, as the default recipe does. `batch` counts
users: it becomes as many tokens as so many users have on average, so that an epoch has as many steps as a peer's.
"""

import dataclasses
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from exchange import Course, Events, Lists, Part, empty_lists, give_back, lists_of_scores, ndcg, take_order, timed

from core.learn import sequences
from core.learn.batches import fit_vocabulary
from core.learn.config import NetworkConfig, TextConfig, TrainConfig
from core.learn.model import Recommender
from core.learn.ranking import mask_seen
from core.learn.scoring import neural_scores
from core.learn.sequences import Histories, Queries, target_starts
from core.learn.train import Trainer


class Enough(Exception):
    """Raised out of the training loop when the course is run."""


class CourseTrainer(Trainer):
    """The trainer, with the seconds of each epoch's training apart from its validation's."""

    seconds = 0.0

    def _epoch(self, monitor: Any) -> float:
        begun = time.perf_counter()
        loss = super()._epoch(monitor)
        self.seconds = time.perf_counter() - begun
        return loss


def main() -> None:
    """Train until validation no longer gains; hand back the best epoch's lists."""
    order = take_order(__doc__)
    settings, split = order.settings, order.split
    torch.set_num_threads(settings["threads"])
    torch.manual_seed(settings["seed"])
    own = as_split(split, times=settings["times"])
    kinds = tuple(str(kind) for kind in range(1 + int(own.train.kind.max(initial=0))))
    config = recipe(settings, own.train)
    vocabulary = fit_vocabulary(own.train, kinds, buckets=config.network.value_buckets)
    network = Recommender(config.network, text=torch.zeros(split.n_items, 0), n_kinds=len(kinds))
    trainer = CourseTrainer(network, own, vocabulary, config, stage="frozen")
    course = Course(settings["epochs"], settings["patience"], settings["budget_s"])
    best: dict[str, Any] = {"valid": empty_lists(len(split.valid)), "state": {}}

    def answer(part: Part, queries: Queries) -> Lists:
        scores = mask_seen(neural_scores(network, queries.context, vocabulary), queries, task=own.task)
        return lists_of_scores(scores.numpy())

    def after_epoch(trainer: Trainer) -> None:
        live = {name: value.clone() for name, value in network.state_dict().items()}
        trainer.put(trainer.average)
        lists = answer(split.valid, own.valid)
        if course.note(trainer.seconds, ndcg(lists, split.valid)):
            best.update(valid=lists, state={name: value.clone() for name, value in trainer.average.items()})
        trainer.put(live)
        if course.stopped is not None:
            raise Enough

    silent = SimpleNamespace(epoch=lambda **_: None, stopping=lambda: False)
    with suppress(Enough):
        trainer.run(silent, after_epoch)
    course.stopped = course.stopped or "patience"
    trainer.put(best["state"])

    def top10() -> None:
        scores = neural_scores(network, own.test.context, vocabulary)
        mask_seen(scores, own.test, task=own.task).topk(10, dim=1)

    give_back(
        order,
        versions=(torch, np),
        course=course,
        valid=best["valid"],
        test=answer(split.test, own.test),
        examples=int(np.minimum(split.train.lengths, settings["length"]).sum()),
        recommend_s=timed(top10),
        recommend_call="neural_scores, mask_seen, topk(10)",
        config=config.model_dump(),
    )


def recipe(settings: dict[str, Any], train: Histories) -> TrainConfig:
    """Equal where the comparison says so; the learning rate and its schedule are Lodestar's own defaults."""
    width = np.minimum(train.lengths, settings["length"]) + 1
    tokens = round(settings["batch"] * float(width[train.lengths > 0].mean()))
    return TrainConfig(
        seed=settings["seed"],
        epochs=settings["epochs"],
        patience=settings["patience"],
        batch_tokens=max(tokens, settings["length"] + 1),
        epoch_tokens=max(int(width.sum()), 1),
        id_dropout=0.0,  # it teaches the text to stand in for the id, and there is no text
        device="cpu",
        network=NetworkConfig(
            dim=settings["dim"],
            blocks=settings["blocks"],
            heads=settings["heads"],
            inner=settings["inner"],
            dropout=settings["dropout"],
            max_length=settings["length"],
        ),
        text=TextConfig(tune="none"),
    )


def as_split(split: Any, *, times: bool) -> sequences.Split:
    """The exchanged split as Lodestar's own."""

    def histories(events: Events) -> Histories:
        made = Histories(events.offsets, events.item, events.ts, events.kind, events.value)
        if times:
            return made
        basket = np.cumsum(target_starts(made, split.task)) if split.task == "repurchase" else np.zeros_like(made.ts)
        return dataclasses.replace(
            made, ts=basket, kind=np.zeros_like(made.kind), value=np.full_like(made.value, np.nan)
        )

    def queries(part: Part) -> Queries:
        return Queries(part.user, histories(part.context), part.target_offsets, part.target)

    return sequences.Split(split.task, histories(split.train), queries(split.valid), queries(split.test))


if __name__ == "__main__":
    main()
