"""RecTools' rankers over given factors, through their public `rank`."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from rectools.models.rank import Distance, ImplicitRanker, TorchRanker
from scoring_turn import K, hand_back, take_work


def main() -> None:
    """Time both; a ranker is made anew each time, as RecTools' models do in `recommend`."""
    work = take_work()
    torch.set_num_threads(work.threads)
    n = len(work.users)
    seen = sp.csr_matrix((np.ones(len(work.seen), np.float32), work.seen, work.offsets), shape=(n, len(work.items)))

    def by(make: Callable[[], Any]) -> Callable[[], np.ndarray]:
        return lambda: np.asarray(make().rank(np.arange(n), k=K, filter_pairs_csr=seen)[1]).reshape(n, K)

    hand_back(
        {
            "RecTools ImplicitRanker": by(
                lambda: ImplicitRanker(Distance.DOT, work.users, work.items, num_threads=work.threads)
            ),
            "RecTools TorchRanker": by(lambda: TorchRanker(Distance.DOT, "cpu", work.users, work.items)),
        }
    )


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
