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

from core.learn.sequences import Histories

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


def unseen_weight(seen: sp.csr_matrix, beside: float) -> float:
    """The weight of one unseen item at which all that a user has not seen weighs `beside` times what they have. Told
    so it carries over between catalogues: .3 an item is right for 1,700 of them and drowns all else among 35,000."""
    users = int((np.diff(seen.indptr) > 0).sum())
    return beside * float(seen.nnz) / max(users * int(seen.shape[1]), 1)


def solve(seen: sp.csr_matrix, other: Tensor, *, unseen: float, penalty: float) -> Tensor:
    """(R, d) float32: for each row the w that minimises sum over its entries c (1 - w h)^2 + unseen sum over all h of
    (w h)^2 + penalty (sum of c + unseen C) |w|^2. seen (R, C) weights c, other (C, d) the h.

    In the basis of the Gram matrix of all h, the normal equations of a row with few entries are those of a system no
    larger than their number: (D + B'B)^-1 B'1 = D^-1 B' (1 + B D^-1 B')^-1 1.
    """
    d = other.shape[1]
    gram = unseen * (other.T @ other)
    size, basis = (part.float() for part in torch.linalg.eigh(gram.double()))
    turned = other @ basis
    weight = torch.from_numpy(seen.data.astype(np.float32))
    column = torch.from_numpy(seen.indices.astype(np.int64))
    starts, lengths = seen.indptr[:-1].astype(np.int64), np.diff(seen.indptr).astype(np.int64)
    total = np.asarray(seen.sum(axis=1)).ravel()
    order = np.argsort(lengths, kind="stable")
    out = torch.zeros(len(lengths), d)
    end = len(order)
    while end:  # the longest rows first, so that a block is padded to its own longest
        longest = max(int(lengths[order[end - 1]]), 1)
        rows = order[max(0, end - max(1, _CELLS // (longest * d + min(longest, d) ** 2))) : end]
        end -= len(rows)
        slot = np.minimum(np.arange(longest), np.maximum(lengths[rows, None] - 1, 0)) + starts[rows, None]
        where = torch.from_numpy(np.minimum(slot, max(len(column) - 1, 0)))
        real = torch.from_numpy(np.arange(longest) < lengths[rows, None])
        if not len(column):
            continue
        c = (weight[where] * real).sqrt()[:, :, None]
        own = torch.from_numpy(penalty * (total[rows] + unseen * len(other))).float()
        spread = (size.clamp(min=0) + own[:, None]).rsqrt()[:, None]  # (B, 1, d): D^-1/2
        b = turned[column[where]] * c * spread  # (B, L, d)
        if longest < d:
            left = torch.baddbmm(torch.eye(longest), b, b.transpose(1, 2))
            found = torch.bmm(b.transpose(1, 2), torch.cholesky_solve(c, torch.linalg.cholesky(left)))
        else:
            left = torch.baddbmm(torch.eye(d), b.transpose(1, 2), b)
            found = torch.cholesky_solve(torch.bmm(b.transpose(1, 2), c), torch.linalg.cholesky(left))
        out[torch.from_numpy(rows)] = (found.squeeze(2) * spread.squeeze(1)) @ basis.T
    return out


def gigaflops(train: Histories, *, n_items: int, factors: int) -> float:
    """What `item_factors` costs on histories, each event a pair of its own: every round, for each user and each item
    the matrix of its system and that one's factorisation."""
    entries = np.concatenate([train.lengths, np.bincount(train.item, minlength=n_items)]).astype(np.float64)
    size = np.minimum(entries, factors)
    return EPOCHS * float((2 * entries * factors * size + size**3 / 3).sum()) / 1e9
