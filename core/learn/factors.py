"""Implicit alternating least squares: factors of users and items that explain what was seen and, faintly, what was not.

Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets" (ICDM 2008), with the loss, the scaled
regularisation and the start of Rendle et al., "Revisiting the Performance of iALS on Item Recommendation Benchmarks"
(RecSys 2022): sum over seen (1 - w_u h_i)^2 + unseen sum over all (w_u h_i)^2 + penalty (sum over u (n_u + unseen I)
|w_u|^2 + sum over i (n_i + unseen U) |h_i|^2).
"""

import math

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

EPOCHS = 10
SPREAD = 0.1  # of the first factors, over the root of their number
_CELLS = 4_000_000  # numbers of one block held at once


def item_factors(seen: sp.csr_matrix, *, factors: int, unseen: float, penalty: float, seed: int) -> Tensor:
    """(I, d) float32 after `EPOCHS` rounds over seen (U, I) of weights; 0 for an item that nobody had."""
    by_item = seen.T.tocsr()
    start = torch.Generator().manual_seed(seed)
    items = torch.randn(seen.shape[1], factors, generator=start) * SPREAD / math.sqrt(factors)
    for _ in range(EPOCHS):
        users = solve(seen, items, unseen=unseen, penalty=penalty)
        items = solve(by_item, users, unseen=unseen, penalty=penalty)
    return items


def solve(seen: sp.csr_matrix, other: Tensor, *, unseen: float, penalty: float) -> Tensor:
    """(R, d) float32: for each row the w that minimises sum over its entries c (1 - w h)^2 + unseen sum over all h of
    (w h)^2 + penalty (sum of c + unseen C) |w|^2. seen (R, C) weights c, other (C, d) the h."""
    d = other.shape[1]
    gram = unseen * (other.T @ other)
    weight = torch.from_numpy(seen.data.astype(np.float32))
    column = torch.from_numpy(seen.indices.astype(np.int64))
    starts, lengths = seen.indptr[:-1].astype(np.int64), np.diff(seen.indptr).astype(np.int64)
    total = np.asarray(seen.sum(axis=1)).ravel()
    order = np.argsort(lengths, kind="stable")
    out = torch.zeros(len(lengths), d)
    end = len(order)
    while end:  # the longest rows first, so that a block is padded to its own longest
        longest = max(int(lengths[order[end - 1]]), 1)
        rows = order[max(0, end - max(1, _CELLS // (max(longest, d) * d))) : end]
        end -= len(rows)
        slot = np.minimum(np.arange(longest), np.maximum(lengths[rows, None] - 1, 0)) + starts[rows, None]
        where = torch.from_numpy(np.minimum(slot, max(len(column) - 1, 0)))
        real = torch.from_numpy(np.arange(longest) < lengths[rows, None])
        if not len(column):
            continue
        c = weight[where] * real
        h = other[column[where]]
        scaled = torch.from_numpy(penalty * (total[rows] + unseen * len(other))).float()
        left = gram + torch.einsum("rl,rld,rle->rde", c, h, h) + scaled[:, None, None] * torch.eye(d)
        right = torch.einsum("rl,rld->rd", c, h)
        out[torch.from_numpy(rows)] = torch.cholesky_solve(right[:, :, None], torch.linalg.cholesky(left)).squeeze(2)
    return out


def gigaflops(seen: int, users: int, items: int, *, factors: int) -> float:
    """What `item_factors` costs on `seen` pairs: two Gram matrices a pair and one factorisation a row, every round."""
    return EPOCHS * (4 * seen * factors**2 + (users + items) * factors**3 / 3) / 1e9
