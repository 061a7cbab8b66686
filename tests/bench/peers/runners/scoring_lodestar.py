"""Lodestar's own way to the ten best, and plain torch's beside it."""

from collections.abc import Callable

import numpy as np
import torch
from scoring_turn import K, hand_back, take_work
from torch import Tensor

from core.predict.topk import Seen, best_products

BLOCK = 512  # users at once


def main() -> None:
    """Time each way."""
    work = take_work()
    torch.set_num_threads(work.threads)
    users, items = torch.from_numpy(work.users), torch.from_numpy(work.items).T.contiguous()
    seen, offsets = torch.from_numpy(work.seen), work.offsets
    owner = torch.from_numpy(np.repeat(np.arange(len(users)), np.diff(offsets)))
    whole = torch.empty(len(users), items.shape[1])
    vectors = torch.from_numpy(work.items)
    buffer = torch.empty(BLOCK, items.shape[1])

    def bare() -> None:
        torch.mm(users, items, out=whole)

    def naive() -> Tensor:
        scores = users @ items
        scores[owner, seen] = -torch.inf
        return scores.topk(K, dim=1).indices

    def blocked() -> Tensor:
        best = torch.empty(len(users), K, dtype=torch.int64)
        for begin in range(0, len(users), BLOCK):
            some = users[begin : begin + BLOCK]
            scores = buffer[: len(some)]
            torch.mm(some, items, out=scores)
            inside = slice(offsets[begin], offsets[begin + len(some)])
            scores[owner[inside] - begin, seen[inside]] = -torch.inf
            best[begin : begin + BLOCK] = scores.topk(K, dim=1).indices
        return best

    def lodestar() -> Tensor:
        return best_products(users, vectors, K, seen=Seen(offsets, work.seen)).item

    ways: dict[str, Callable[[], Tensor | None]] = {
        "torch.mm(out=) alone": bare,
        "naive: whole matrix, mask, topk": naive,
        f"blocked by {BLOCK}: mm(out=), mask, topk": blocked,
        "Lodestar best_products": lodestar,
    }
    with torch.no_grad():
        hand_back(ways)


if __name__ == "__main__":
    main()
