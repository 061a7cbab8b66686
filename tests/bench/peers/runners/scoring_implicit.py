"""implicit's own `recommend` over given factors."""

import warnings

import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from scoring_turn import K, hand_back, take_work


def main() -> None:
    """Time the batch call of a factor model; which one it is does not matter to it."""
    work = take_work()
    n = len(work.users)
    seen = sp.csr_matrix((np.ones(len(work.seen), np.float32), work.seen, work.offsets), shape=(n, len(work.items)))
    model = AlternatingLeastSquares(factors=work.users.shape[1], num_threads=work.threads)
    model.user_factors, model.item_factors = work.users, work.items
    hand_back({"implicit recommend": lambda: model.recommend(np.arange(n), seen, N=K)[0]})


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
