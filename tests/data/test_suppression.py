import numpy as np
import numpy.typing as npt

from data.free_sql.suppression import hidden_cells

K = 10


def table(*rows: list[int]) -> npt.NDArray[np.int64]:
    return np.array(rows, dtype=np.int64)


def may_move(mask: npt.NDArray[np.bool_], gone: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """By linear algebra: hidden cells whose value does not follow from the slices' totals and the shown groups'."""
    cells = np.argwhere(mask)
    sums = [np.array([cell[1] == number for cell in cells]) for number in range(mask.shape[1])]
    sums += [np.array([cell[0] == number for cell in cells]) for number in np.flatnonzero(~gone)]
    _, sizes, rows = np.linalg.svd(np.array(sums, dtype=float))
    free = rows[(sizes > 1e-9).sum() :]
    moves = np.zeros_like(mask)
    moves[tuple(cells.T)] = (np.abs(free) > 1e-9).any(axis=0)
    return moves


def test_what_is_large_enough_is_shown() -> None:
    gone, masks = hidden_cells(np.array([40, 60]), [table([20, 15], [30, 25])], k=K)
    assert not gone.any()
    assert not masks[0].any()


def test_a_small_group_takes_the_next_smallest_along() -> None:
    gone, masks = hidden_cells(np.array([3, 60, 20]), [table([1, 2], [30, 30], [10, 10])], k=K)
    assert gone.tolist() == [True, False, True]
    assert masks[0][0].all()
    assert masks[0][2].all()


def test_of_two_groups_the_other_is_the_total_less_the_one() -> None:
    gone, masks = hidden_cells(np.array([9, 900]), [table([9, 9], [900, 50])], k=K)
    assert gone.all()
    assert masks[0].all()


def test_a_slice_without_a_group_tells_as_much_as_one_of_it_alone() -> None:
    _, masks = hidden_cells(np.array([40, 60]), [table([0, 20, 15], [30, 30, 30])], k=K)
    assert masks[0][:, 0].all()  # nobody of the first group: all thirty, known by name, are of the second
    assert masks[0].sum() == 4  # and a second slice, so that neither group's total gives the first away


def test_who_is_left_out_of_a_slice_is_a_group_too() -> None:
    _, masks = hidden_cells(np.array([40, 60]), [table([39, 20, 15], [45, 30, 30])], k=K)
    assert masks[0][:, 0].all()


def test_everybody_in_a_slice_leaves_nobody_out() -> None:
    _, masks = hidden_cells(np.array([40, 60]), [table([40, 20], [60, 30])], k=K)
    assert not masks[0].any()


def test_one_slice_has_no_other_to_hide_behind() -> None:
    gone, masks = hidden_cells(np.array([12, 60, 70]), [table([5], [30], [40])], k=K)
    assert gone[0]
    assert gone.sum() == 2
    assert (masks[0][:, 0] == gone).all()


def test_no_hidden_cell_follows_from_the_totals() -> None:
    random = np.random.default_rng(7)
    seen = 0
    for _ in range(60):
        shape = random.integers(2, 7, size=2)
        counts = random.poisson(random.choice([6, 15, 40]), size=shape)
        totals = counts.max(axis=1) + random.integers(0, 30, size=shape[0])
        gone, (mask,) = hidden_cells(totals, [counts], k=K)
        assert (mask | (counts >= K)).all()
        assert mask[gone].all()
        for column in mask.T:
            assert column.all() or not column.any() or column.sum() > 1
        if mask.any():
            assert may_move(mask, gone)[mask].all() or mask.all()
            seen += 1
    assert seen > 20
