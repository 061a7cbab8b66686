"""What is like an item, by the vectors that the served network holds of the catalogue.

Likeness is the cosine. In the network's own score a vector's length counts too, and an item's length grows with how
often it was the answer, so that inner products would name the same few favourites beside everything. The vectors are
the text through the adapter plus what training added to it; those of items that training never saw come from text alone
(`core.predict.cold`), so an item is placed among its like before anybody has had it.
"""

from typing import Any

import torch

from core.predict.served import ServedModel
from core.predict.topk import best_of
from data.errors import InputError

MOST = 1000


@torch.no_grad()
def similar_items(served: ServedModel, item: int, *, k: int) -> list[dict[str, Any]]:
    """The k available items nearest to `item` (an item_id), itself left out: key, title, rank from 1, similarity (the
    cosine, -1 to 1), source (`model`, or `cold` for an item without a training event). Raises InputError for k < 1."""
    if not 1 <= k <= MOST:
        raise InputError(f"k is {k}", remedy=f"ask for 1 to {MOST} items")
    catalogue = served.catalogue
    vectors = served.items[0]
    length = vectors.norm(dim=1).clamp(min=1e-12)
    likeness = (vectors @ vectors[item] / length / length[item]).masked_fill(~catalogue.available, -torch.inf)
    likeness[item] = -torch.inf
    best = best_of(likeness[None], k)
    return [
        {
            "key": catalogue.keys[one],
            "title": catalogue.titles[one],
            "rank": place + 1,
            "similarity": float(best.score[0, place]),
            "source": "model" if catalogue.trained[one] else "cold",
        }
        for place, one in enumerate(best.item[0].tolist())
        if one >= 0
    ]
