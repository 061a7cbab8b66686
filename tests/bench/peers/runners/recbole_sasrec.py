"""RecBole's SASRec under its own Trainer, whose `_train_epoch` and `_valid_epoch` are its documented places to extend.

It is given the training part alone, as an atomic file with each event's place as its time, and makes a training
example of every prefix itself. It has no masking of seen items for sequential models, so that is done on its scores;
histories are asked through `full_sort_predict`.
"""

import copy
import logging
import os
import time
import warnings
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import recbole
import torch
from exchange import (
    Course,
    Events,
    Lists,
    Order,
    Part,
    empty_lists,
    flat_times,
    give_back,
    lists_of_scores,
    ndcg,
    take_order,
    timed,
)
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.model.sequential_recommender.sasrec import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed

QUERIES = 256  # histories asked at once
NAME = "split"


class Enough(Exception):
    """Raised out of the trainer's loop when the course is run."""


class Asked:
    """A model that answers histories of the bench's ids."""

    def __init__(self, model: SASRec, dataset: Any, *, n_items: int) -> None:
        self.model, self.dataset = model, dataset
        tokens = dataset.field2id_token["item_id"][1:]  # the first is padding
        self.ours = np.asarray(tokens, dtype=np.int64)
        self.theirs = np.zeros(n_items, np.int64)  # 0 where training never saw the item
        self.theirs[self.ours] = np.arange(1, len(tokens) + 1)

    @torch.no_grad()
    def scores(self, some: Events, *, masked: bool) -> torch.Tensor:
        """(H, 1 + known items) scores in the model's own numbering, -inf at padding and, masked, at what was seen."""
        length, item = self.model.max_seq_length, self.theirs[some.item]
        grid = torch.zeros(len(some), length, dtype=torch.int64)
        sizes = torch.ones(len(some), dtype=torch.int64)
        for row in range(len(some)):
            history = item[some.offsets[row] : some.offsets[row + 1]]
            history = history[history > 0][-length:]
            grid[row, : len(history)] = torch.from_numpy(history)
            sizes[row] = max(len(history), 1)
        self.model.eval()
        asked = Interaction({self.model.ITEM_SEQ: grid, self.model.ITEM_SEQ_LEN: sizes})
        scores = self.model.full_sort_predict(asked)
        if masked:
            scores[torch.from_numpy(some.owner), torch.from_numpy(item)] = -torch.inf
        scores[:, 0] = -torch.inf
        return scores

    def lists(self, part: Part, *, masked: bool) -> Lists:
        """The best of every query."""
        out = empty_lists(len(part))
        for begin, some in blocks(part.context):
            found = lists_of_scores(self.scores(some, masked=masked).numpy())
            rows = slice(begin, begin + len(some))
            out.item[rows] = np.where(found.item > 0, self.ours[found.item - 1], -1)
            out.score[rows] = found.score
        return out

    def top10(self, part: Part, *, masked: bool) -> None:
        """What a user of RecBole would do for ten items each."""
        for _, some in blocks(part.context):
            self.scores(some, masked=masked).topk(10, dim=1)


class CourseTrainer(Trainer):
    """The trainer, timed, with the bench's validation for its own."""

    def prepare(self, asked: Asked, order: Order) -> None:
        """What the course needs."""
        self.asked, self.order = asked, order
        settings = order.settings
        self.course = Course(settings["epochs"], settings["patience"], settings["budget_s"])
        self.best_state: dict[str, torch.Tensor] = {}
        self.best_lists = empty_lists(len(order.split.valid))
        self.seconds = 0.0

    def _train_epoch(self, *arguments: Any, **named: Any) -> Any:
        begun = time.perf_counter()
        loss = super()._train_epoch(*arguments, **named)
        self.seconds = time.perf_counter() - begun
        return loss

    def _valid_epoch(self, *_: Any, **__: Any) -> Any:
        split = self.order.split
        lists = self.asked.lists(split.valid, masked=split.masked)
        reached = ndcg(lists, split.valid)
        if self.course.note(self.seconds, reached):
            self.best_lists, self.best_state = lists, copy.deepcopy(self.model.state_dict())
        if self.course.stopped is not None:
            raise Enough
        return reached, {"ndcg@10": reached}


def main() -> None:
    """Train until validation no longer gains; hand back the best epoch's lists."""
    order = take_order(__doc__)
    settings, split = order.settings, order.split
    torch.set_num_threads(settings["threads"])
    with TemporaryDirectory() as temporary:
        os.chdir(temporary)  # it logs where it stands
        write_atomic(split.train, Path(temporary) / NAME)
        config = Config(model="SASRec", dataset=NAME, config_dict=wanted(order, temporary))
        init_seed(config["seed"], config["reproducibility"])
        logging.disable(logging.INFO)
        dataset = create_dataset(config)
        train, _, _ = data_preparation(config, dataset)
        init_seed(config["seed"], config["reproducibility"])
        model = SASRec(config, train.dataset)
        trainer = CourseTrainer(config, model)
        asked = Asked(model, dataset, n_items=split.n_items)
        trainer.prepare(asked, order)
        with suppress(Enough):
            trainer.fit(train, valid_data=train, saved=False, verbose=False)
    model.load_state_dict(trainer.best_state)
    lengths = split.train.lengths
    give_back(
        order,
        versions=(recbole, torch, np, pd),
        course=trainer.course,
        valid=trainer.best_lists,
        test=asked.lists(split.test, masked=split.masked),
        examples=int((lengths[lengths > 1] - 1).sum()),
        recommend_s=timed(lambda: asked.top10(split.test, masked=split.masked)),
        recommend_call="full_sort_predict, mask, torch.topk(10)",
    )


def wanted(order: Order, folder: str) -> dict[str, Any]:
    """The configuration; what it leaves out is RecBole's default."""
    settings = order.settings
    return {
        "data_path": folder,
        "checkpoint_dir": f"{folder}/saved",
        "use_gpu": False,
        "seed": settings["seed"],
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "TIME_FIELD": "timestamp",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"RS": [1.0, 0.0, 0.0]}, "order": "TO", "group_by": "user", "mode": "full"},
        "MAX_ITEM_LIST_LENGTH": settings["length"],
        "hidden_size": settings["dim"],
        "n_layers": settings["blocks"],
        "n_heads": settings["heads"],
        "hidden_dropout_prob": settings["dropout"],
        "attn_dropout_prob": settings["dropout"],
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "train_batch_size": settings["batch"],
        "learning_rate": settings["lr"],
        "epochs": settings["epochs"],
        "stopping_step": settings["epochs"],  # the course decides
        "show_progress": False,
    }


def write_atomic(events: Events, folder: Path) -> None:
    """The training part as RecBole's `.inter` file."""
    folder.mkdir()
    table = pd.DataFrame({"user": events.owner, "item": events.item, "time": flat_times(events)})
    table.columns = ["user_id:token", "item_id:token", "timestamp:float"]
    table.to_csv(folder / f"{NAME}.inter", sep="\t", index=False)


def blocks(context: Events) -> list[tuple[int, Events]]:
    """The histories by QUERIES at once, with where each block begins."""
    out = []
    for begin in range(0, len(context), QUERIES):
        edges = context.offsets[begin : begin + QUERIES + 1]
        inside = slice(edges[0], edges[-1])
        arrays = (context.item, context.ts, context.kind, context.value)
        out.append((begin, Events(edges - edges[0], *(array[inside] for array in arrays))))
    return out


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
