"""Which cells of a table of groups may be shown, when every other table and each single row may be read beside it.

A cell counts the users of a group in one slice (a kind of behaviour, a month). It is hidden where it, or what is left
of its group without it, is of fewer than k users: whoever sees the rows knows who is in a slice and who is not, so
that "none of this group" tells as much as "all of it". Then as many more are hidden as keep the hidden ones from being
worked out by subtraction from a slice's total, which anybody can count, or from a group's. No module here knows what
the groups are.
"""

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def hidden_cells(totals: Counts, tables: list[Counts], *, k: int) -> tuple[Mask, list[Mask]]:
    """Which groups' totals are hidden, (G,), and which cells of each table, (G, slices).

    totals: users by group, (G,). tables: users by group and slice, (G, slices) each; a user may be in several slices,
    but in one group. A group whose total is hidden has all its cells hidden. In each slice either nothing is hidden,
    or everything, or at least two groups of k users together; and each other hidden cell is a corner of a rectangle of
    hidden cells, so that its count may be one more or less without any total's changing.
    """
    gone = _completed((totals < k)[:, None], totals[:, None], k=k)[:, 0]
    while True:
        masks = [_hidden(table, totals, gone, k=k) for table in tables]
        stuck = np.zeros_like(gone)
        for mask in masks:
            stuck |= (mask & ~gone[:, None] & ~_corners(mask)).any(axis=1)
        if not stuck.any():
            return gone, masks
        gone = _completed((gone | stuck)[:, None], totals[:, None], k=k)[:, 0]


def _hidden(users: Counts, totals: Counts, gone: Mask, *, k: int) -> Mask:
    """One table's hidden cells, complete wherever there are groups and slices enough to complete them with."""
    without = totals[:, None] - users
    mask = (users < k) | ((without < k) & (without.sum(axis=0) > 0)) | gone[:, None]
    while True:
        before = int(mask.sum())
        mask = _completed(mask, users, k=k)
        lonely = np.argwhere(mask & ~gone[:, None] & ~_corners(mask))
        if len(lonely) and min(mask.shape) > 1:
            _complete_rectangle(mask, users, *lonely[0])
        if int(mask.sum()) == before:
            return mask


def _completed(mask: Mask, users: Counts, *, k: int) -> Mask:
    """With a slice's smallest shown cells hidden too where any is, until two groups of k users together are, or all."""
    mask = mask.copy()
    for slice_ in np.flatnonzero(mask.any(axis=0)):
        shown = sorted(np.flatnonzero(~mask[:, slice_]), key=lambda group: users[group, slice_])
        for group in shown:
            if mask[:, slice_].sum() > 1 and users[mask[:, slice_], slice_].sum() >= k:
                break
            mask[group, slice_] = True
    return mask


def _corners(mask: Mask) -> Mask:
    """Hidden cells that are a corner of a rectangle of hidden cells."""
    flags = mask.astype(np.int64)
    shared = flags @ flags.T - 1  # by two groups: slices beside a given one in which both are hidden
    np.fill_diagonal(shared, 0)
    corners: Mask = mask & ((np.maximum(shared, 0) @ flags) > 0)
    return corners


def _complete_rectangle(mask: Mask, users: Counts, group: int, slice_: int) -> None:
    """Hides the three other corners of the rectangle that costs the fewest users, where there are two of each."""
    cost = np.where(mask, 0.0, users + 1.0)
    rectangles = cost[group][None, :] + cost[:, slice_][:, None] + cost
    rectangles[group, :] = np.inf
    rectangles[:, slice_] = np.inf
    other, beside = np.unravel_index(int(rectangles.argmin()), rectangles.shape)
    mask[group, beside] = mask[other, slice_] = mask[other, beside] = True
