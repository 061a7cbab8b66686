"""RecTools' SASRecModel by its public face: `fit_partial` an epoch at a time, `recommend` between and after.

It reads order alone, so each event's place stands for its time and ties keep the file's order. An epoch's seconds are
those between its trainer's own epoch hooks. With `"layers": "ligr"` it is what RecTools calls eSASRec: LiGR layers
under a sampled softmax.
"""

import copy
import logging
import time
import warnings

import numpy as np
import pandas as pd
import pytorch_lightning
import rectools
import torch
from exchange import (
    DEPTH,
    Course,
    Events,
    Lists,
    Order,
    Part,
    empty_lists,
    flat_times,
    give_back,
    lists_of_rows,
    ndcg,
    take_order,
    timed,
)
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.transformers.ligr import LiGRLayers

DAY_S = 86_400


class EpochTimer(Callback):
    """Seconds of the last training epoch."""

    def __init__(self) -> None:
        self.begun, self.seconds = 0.0, 0.0

    def on_train_epoch_start(self, *_: object) -> None:
        """Start the clock."""
        self.begun = time.perf_counter()

    def on_train_epoch_end(self, *_: object) -> None:
        """Stop it."""
        self.seconds = time.perf_counter() - self.begun


def main() -> None:
    """Train until validation no longer gains; hand back the best epoch's lists."""
    order = take_order(__doc__)
    settings, split = order.settings, order.split
    torch.set_num_threads(settings["threads"])
    pytorch_lightning.seed_everything(settings["seed"])
    model = make_model(order)
    train = as_dataset(split.train)
    asked = {"valid": as_dataset(split.valid.context), "test": as_dataset(split.test.context)}
    course = Course(settings["epochs"], settings["patience"], settings["budget_s"])
    best_state, best_lists = {}, empty_lists(len(split.valid))
    while course.stopped is None:
        model.fit_partial(train, min_epochs=1, max_epochs=1)
        timer = next(one for one in model.fit_trainer.callbacks if isinstance(one, EpochTimer))
        lists = recommend(model, asked["valid"], split.valid, masked=split.masked)
        if course.note(timer.seconds, ndcg(lists, split.valid)):
            best_lists, best_state = lists, copy.deepcopy(model.torch_model.state_dict())
    model.torch_model.load_state_dict(best_state)
    test = recommend(model, asked["test"], split.test, masked=split.masked)
    top10 = {"users": np.arange(len(split.test)), "dataset": asked["test"], "k": 10, "filter_viewed": split.masked}
    lengths = split.train.lengths
    give_back(
        order,
        versions=(rectools, torch, pytorch_lightning, np, pd),
        course=course,
        valid=best_lists,
        test=test,
        examples=int(np.minimum(lengths[lengths > 1] - 1, settings["length"]).sum()),
        recommend_s=timed(lambda: model.recommend(**top10, on_unsupported_targets="ignore")),
        recommend_call="SASRecModel.recommend(k=10)",
    )


def make_model(order: Order) -> SASRecModel:
    """The model of the settings; what they leave out is RecTools' default."""
    settings = order.settings
    own = {}
    if settings.get("layers") == "ligr":
        own = {"transformer_layers_type": LiGRLayers, "n_negatives": settings["negatives"]}
    return SASRecModel(
        n_factors=settings["dim"],
        n_blocks=settings["blocks"],
        n_heads=settings["heads"],
        session_max_len=settings["length"],
        batch_size=settings["batch"],
        dropout_rate=settings["dropout"],
        loss=settings["loss"],
        lr=settings["lr"],
        epochs=1,
        get_trainer_func=make_trainer,
        recommend_torch_device="cpu",
        **own,
    )


def make_trainer() -> Trainer:
    """A silent trainer on the CPU that keeps the time."""
    return Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        min_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[EpochTimer()],
    )


def as_dataset(events: Events) -> Dataset:
    """Histories as RecTools' interactions, each that of a user of its own: one user may ask several times."""
    times = pd.to_datetime(flat_times(events, step=DAY_S), unit="s")
    columns = {
        Columns.User: events.owner,
        Columns.Item: events.item,
        Columns.Weight: 1.0,
        Columns.Datetime: times,
    }
    return Dataset.construct(pd.DataFrame(columns))


def recommend(model: SASRecModel, dataset: Dataset, part: Part, *, masked: bool) -> Lists:
    """The public call, for lists of full depth; a user it refuses gets an empty one."""
    told = model.recommend(
        users=np.arange(len(part)), dataset=dataset, k=DEPTH, filter_viewed=masked, on_unsupported_targets="ignore"
    )
    row = told[Columns.User].to_numpy()
    order = np.lexsort((told[Columns.Rank].to_numpy(), row))
    item, score = told[Columns.Item].to_numpy()[order], told[Columns.Score].to_numpy()[order].astype(np.float32)
    return lists_of_rows(row[order], item, score, n=len(part))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    main()
