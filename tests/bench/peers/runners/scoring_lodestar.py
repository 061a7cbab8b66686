"""Ways to the ten best in plain torch, and Lodestar's own as soon as `core.predict.topk` is there."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import torch
from scoring_turn import K, Work, hand_back, take_work
from torch import Tensor

BLOCK = 512  # users at once
OURS = "core.predict.topk"


def main() -> None:
    """Time each way."""
    work = take_work()
    torch.set_num_threads(work.threads)
    users, items = torch.from_numpy(work.users), torch.from_numpy(work.items).T.contiguous()
    seen, offsets = torch.from_numpy(work.seen), work.offsets
    owner = torch.from_numpy(np.repeat(np.arange(len(users)), np.diff(offsets)))
    whole = torch.empty(len(users), items.shape[1])
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

    ways: dict[str, Callable[[], Tensor | None]] = {
        "torch.mm(out=) alone": bare,
        "naive: whole matrix, mask, topk": naive,
        f"blocked by {BLOCK}: mm(out=), mask, topk": blocked,
    }
    if (fused := own(work)) is not None:
        ways["lodestar: " + OURS] = fused
    with torch.no_grad():
        hand_back(ways)


def own(work: Work) -> Callable[[], Tensor] | None:
    """Lodestar's exact top-k over these factors, None while there is none. This is the one place to name its call."""
    if find_spec(OURS) is None:
        return None
    top_k = import_module(OURS).top_k
    users, items = torch.from_numpy(work.users), torch.from_numpy(work.items)
    offsets, seen = torch.from_numpy(work.offsets), torch.from_numpy(work.seen)
    return lambda: top_k(users, items, k=K, seen_offsets=offsets, seen=seen)


if __name__ == "__main__":
    main()
