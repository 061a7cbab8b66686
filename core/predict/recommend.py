"""Slates: the top items of one history, or of everyone, in the shape that commands and pages hand on."""

from typing import Any

import numpy as np
import pyarrow as pa
import torch

from core.learn.sequences import Histories
from core.predict.served import ServedModel
from data.errors import InputError

SCORES_PER_USER = 50
USERS_AT_ONCE = 512
MAX_SLATE = 1000


def slate(served: ServedModel, history: Histories, *, k: int) -> list[dict[str, Any]]:
    """The k best candidates for one history: key, title, categories, rank from 1, score (the blend's logit),
    probability (softmax over the candidates), source. Fewer when fewer are left; raises InputError for k < 1."""
    if not 1 <= k <= MAX_SLATE:
        raise InputError(f"k is {k}", remedy=f"ask for 1 to {MAX_SLATE} items")
    ids, logits, probabilities = _top(served, history, k)
    catalogue, source = served.catalogue, source_of(served, history)
    return [
        {
            "key": catalogue.keys[item],
            "title": catalogue.titles[item],
            "categories": list(catalogue.categories[item]),
            "rank": rank + 1,
            "score": float(logits[0, rank]),
            "probability": float(probabilities[0, rank]),
            "source": source if catalogue.trained[item] else "cold",
        }
        for rank, item in enumerate(ids[0].tolist())
        if probabilities[0, rank] > 0
    ]


def source_of(served: ServedModel, history: Histories) -> str:
    """`model`, or `fallback` for an empty history, which the start symbol answers alone."""
    return "model" if len(history.item) else "fallback"


def top_of_everyone(served: ServedModel, histories: Histories, *, k: int = SCORES_PER_USER) -> pa.Table:
    """The `scores` table: one row a user and rank with user_id, item_id, rank i32, score f32, probability f32, source.

    Users are scored in blocks, so memory does not grow with their number.
    """
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("user_id", "item_id", "rank", "score", "probability")}
    sources: list[np.ndarray] = []
    for begin in range(0, len(histories), USERS_AT_ONCE):
        users = np.arange(begin, min(begin + USERS_AT_ONCE, len(histories)))
        some = histories.take(users)
        ids, logits, probabilities = _top(served, some, k)
        row, column = np.nonzero(probabilities.numpy() > 0)
        item = ids.numpy()[row, column]
        columns["user_id"].append(users[row].astype(np.int64))
        columns["item_id"].append(item.astype(np.int64))
        columns["rank"].append((column + 1).astype(np.int32))
        columns["score"].append(logits.numpy()[row, column].astype(np.float32))
        columns["probability"].append(probabilities.numpy()[row, column].astype(np.float32))
        empty = some.lengths[row] == 0
        sources.append(np.where(~served.catalogue.trained.numpy()[item], "cold", np.where(empty, "fallback", "model")))
    table = {name: np.concatenate(parts) if parts else np.zeros(0) for name, parts in columns.items()}
    source = np.concatenate(sources) if sources else np.zeros(0, dtype=str)
    return pa.table({**table, "source": pa.array(source.tolist(), pa.string())})


def _top(served: ServedModel, histories: Histories, k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Item ids, logits and probabilities (H, min(k, I)) of the best candidates; probability 0 at what is none."""
    allowed = served.candidates(histories)
    logits = served.logits(histories).masked_fill(~allowed, -torch.inf)
    best = logits.topk(min(k, served.n_items), dim=1)
    probability = (best.values - logits.logsumexp(1, keepdim=True)).exp().nan_to_num(nan=0.0)
    return best.indices, best.values, probability
