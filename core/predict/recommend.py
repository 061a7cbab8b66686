"""Slates: the top items of one history, or of everyone, in the shape that commands and pages hand on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from core.learn.scoring import user_states
from core.learn.sequences import Histories, IntArray
from core.learn.threads import side_by_side
from core.predict.blend import weighed
from core.predict.rules import Shelf, SlateRules, arranged
from core.predict.served import ServedModel
from core.predict.topk import LEAST_USERS, Seen, best_of, strike, users_at_once
from data.errors import DamagedArtefact, InputError
from data.phrases import phrase

SCORES_PER_USER = 50
USERS_OF_A_PART = 2048
BLENDED_CELLS = 500_000  # scores of a block, of each component and of the blend
NEAR = 10  # items beyond the best whose scores are worked out in double precision too
MAX_SLATE = 1000
SOURCES = ("model", "cold", "fallback")
SCORES = pa.schema(
    [
        ("user_id", pa.int64()),
        ("item_id", pa.int64()),
        ("rank", pa.int32()),
        ("score", pa.float32()),
        ("probability", pa.float32()),
        ("source", pa.string()),
    ]
)


class Top(NamedTuple):
    """Each history's min(k, I) best candidates: item (H, k) int64, -1 where there are fewer; logit (H, k) float64;
    probability (H, k) float64, the softmax over all candidates."""

    item: torch.Tensor
    logit: torch.Tensor
    probability: torch.Tensor


def slate(served: ServedModel, history: Histories, *, k: int) -> list[dict[str, Any]]:
    """The k best candidates for one history: key, title, categories, rank from 1, score (the blend's logit),
    probability (softmax over the candidates), source. Fewer when fewer are left; raises InputError for k < 1."""
    _check(k)
    top = _best(served, served.logits(history), history, k)
    return _told(served, history, Top(*(part[0, top.item[0] >= 0] for part in top)))


def ruled_slate(
    served: ServedModel, history: Histories, *, k: int, rules: SlateRules
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """`slate` under rules, and the receipt of what they changed (`core.predict.rules`). Scores and probabilities are
    the model's own, whatever the rules. Raises InputError, UnknownItem, UnknownCategory."""
    _check(k)
    logits = served.logits(history)
    if served.task == "next-new":
        strike(logits, Seen(history.offsets, history.item))
    _check_numbers(served, logits)
    ids, receipt = arranged(rules, Shelf(served.catalogue, logits[0], served.items[0], k))
    score = logits[0, ids]
    total = logits[0].masked_fill(~served.catalogue.available, -torch.inf).logsumexp(0)
    return _told(served, history, Top(torch.tensor(ids, dtype=torch.int64), score, (score - total).exp())), receipt


def _check(k: int) -> None:
    if not 1 <= k <= MAX_SLATE:
        raise InputError(f"k is {k}", remedy=f"ask for 1 to {MAX_SLATE} items")


def _told(served: ServedModel, history: Histories, top: Top) -> list[dict[str, Any]]:
    """The items of one slate, its `top` (k,) each."""
    catalogue, source = served.catalogue, source_of(served, history)
    return [
        {
            "key": catalogue.keys[item],
            "title": catalogue.titles[item],
            "categories": list(catalogue.categories[item]),
            "rank": place + 1,
            "score": float(top.logit[place]),
            "probability": float(top.probability[place]),
            "source": source if catalogue.trained[item] else "cold",
        }
        for place, item in enumerate(top.item.tolist())
    ]


def source_of(served: ServedModel, history: Histories) -> str:
    """`model`, or `fallback` for an empty history, which the start symbol answers alone."""
    return "model" if len(history.item) else "fallback"


def top_of_everyone(served: ServedModel, histories: Histories, *, k: int = SCORES_PER_USER) -> pa.Table:
    """The `scores` table: one row a user and rank with user_id, item_id, rank, score, probability (f32), source."""
    return pa.concat_tables([SCORES.empty_table(), *slates_of_everyone(served, histories, k=k)])


def write_everyone(served: ServedModel, histories: Histories, path: Path, *, k: int = SCORES_PER_USER) -> None:
    """`top_of_everyone` into a Parquet file, never whole in memory."""
    with pq.ParquetWriter(path, SCORES) as file:
        for table in slates_of_everyone(served, histories, k=k):
            file.write_table(table)


@torch.no_grad()
def slates_of_everyone(served: ServedModel, histories: Histories, *, k: int) -> Iterator[pa.Table]:
    """The `scores` table in parts of some thousand users.

    Beside a part, memory holds one block of scores a thread, however many users there are: what a block leaves is
    written into the part's own arrays, since small pieces left between large freed ones keep these from being used
    again. A block is blended in single precision, and the best of it, with some to spare, in double: the score is that
    of `ServedModel.logits`, up to the float32 rounding that comes of reading other histories beside.
    """
    vectors, bias = served.items
    columns = vectors.T.contiguous()
    step = max(LEAST_USERS, users_at_once(served.n_items, cells=BLENDED_CELLS))
    scales, constant = served.blend.scales(served.catalogue.trained)
    single = {name: scale.float() for name, scale in scales.items()}, constant.float()
    for begin in range(0, len(histories), USERS_OF_A_PART):
        users = np.arange(begin, min(begin + USERS_OF_A_PART, len(histories)))
        part = histories.take(users)
        states = user_states(served.network, part, served.vocabulary, vectors=vectors)
        shape = (len(part), min(k, served.n_items))
        top = Top(
            torch.empty(shape, dtype=torch.int64),
            torch.empty(shape, dtype=torch.float64),
            torch.empty(shape, dtype=torch.float64),
        )

        @torch.no_grad()
        def block(first: int, part: Histories = part, states: torch.Tensor = states, top: Top = top) -> None:
            rows = slice(first, min(first + step, len(part)))
            some = part.take(np.arange(rows.start, rows.stop))
            scores = {"neural": torch.addmm(bias, states[rows], columns), **served.closed_scores(some)}
            rough = weighed(scores, *single)
            _strike(served, rough, some)
            item = best_of(rough, k + NEAR).item
            near = item.clamp(min=0)
            score = weighed(
                {name: part.gather(1, near) for name, part in scores.items()},
                {name: scale[near] for name, scale in scales.items()},
                constant[near],
            )
            score, order = score.masked_fill_(item < 0, -torch.inf).sort(dim=1, descending=True, stable=True)
            _check_numbers(served, score)
            width = top.item.shape[1]
            top.item[rows], top.logit[rows] = item.gather(1, order)[:, :width], score[:, :width]
            top.probability[rows] = (top.logit[rows] - rough.logsumexp(1, keepdim=True)).exp()

        for _ in side_by_side(block, range(0, len(part), step)):
            pass
        yield _as_table(served, users, part, top)


def _as_table(served: ServedModel, users: IntArray, part: Histories, top: Top) -> pa.Table:
    row, column = np.nonzero(top.item.numpy() >= 0)
    item = top.item.numpy()[row, column]
    kind = np.where(part.lengths[row] == 0, SOURCES.index("fallback"), SOURCES.index("model"))
    kind = np.where(served.catalogue.trained.numpy()[item], kind, SOURCES.index("cold"))
    columns = [
        users[row].astype(np.int64),
        item,
        (column + 1).astype(np.int32),
        top.logit.numpy()[row, column].astype(np.float32),
        top.probability.numpy()[row, column].astype(np.float32),
        pa.DictionaryArray.from_arrays(kind.astype(np.int8), list(SOURCES)).cast(pa.string()),
    ]
    return pa.table(columns, schema=SCORES)


def _best(served: ServedModel, logits: torch.Tensor, histories: Histories, k: int) -> Top:
    """The best candidates of logits (H, I) float64, which are overwritten."""
    _strike(served, logits, histories)
    best = best_of(logits, k)
    _check_numbers(served, best.score)
    return Top(best.item, best.score, (best.score - logits.logsumexp(1, keepdim=True)).exp())


def _strike(served: ServedModel, logits: torch.Tensor, histories: Histories) -> None:
    """Put -inf, in place, where logits (H, I) are of no candidate."""
    logits.index_fill_(1, (~served.catalogue.available).nonzero().squeeze(1), -torch.inf)
    if served.task == "next-new":
        strike(logits, Seen(histories.offsets, histories.item))


def _check_numbers(served: ServedModel, scores: torch.Tensor) -> None:
    """Raises DamagedArtefact for NaN, which ranks above every number and so is among the best ones."""
    if scores.isnan().any():
        raise DamagedArtefact(phrase("run.no_numbers", run=served.run_id), remedy=phrase("do.train_again"))
