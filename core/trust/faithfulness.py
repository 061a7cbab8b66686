"""How faithful an explanation is: whether removing events in its order really takes the recommendation's reasons away.

All figures come from the enumerated worth of every coalition, so they are exact, the random order's expectation too.
Deletion and insertion after Petsiuk et al., "RISE" (BMVC 2018), comprehensiveness after DeYoung et al., "ERASER"
(ACL 2020), both on the log-probability.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
TOP = 3


def faithfulness(value: Floats, phi: Floats) -> dict[str, Any]:
    """Compare the order by `phi` (n,) with recency, leave-one-out and random removal, from the worth (2^n,).

    `deletion` (by phi), `recency`, `leave_one_out`, `random`: mean log-probability lost while events are taken away one
    by one in that order; more is more faithful. `insertion`: mean gained while they are put back on nothing.
    `comprehensiveness@3`: lost without the first three. None where there is no player.
    """
    n = len(phi)
    order = {
        "deletion": np.argsort(-phi, kind="stable"),
        "recency": np.arange(n)[::-1],
        "leave_one_out": np.argsort(-leave_one_out(value), kind="stable"),
    }
    sizes = np.bitwise_count(np.arange(len(value)))
    by_size = np.bincount(sizes, weights=value) / np.bincount(sizes)  # a random coalition's expected worth
    curves = {name: (_removed(value, places), _inserted(value, places)) for name, places in order.items()}
    curves["random"] = (value[-1] - by_size[::-1][1:], by_size[1:] - value[0])
    if n == 0:
        none = dict.fromkeys(curves)
        return {**none, "insertion": none, f"comprehensiveness@{TOP}": none}
    first = min(TOP, n) - 1
    return {
        **{name: float(lost.mean()) for name, (lost, _) in curves.items()},
        "insertion": {name: float(gained.mean()) for name, (_, gained) in curves.items()},
        f"comprehensiveness@{TOP}": {name: float(lost[first]) for name, (lost, _) in curves.items()},
    }


def leave_one_out(value: Floats) -> Floats:
    """(n,) what the whole loses without each player, from the worth (2^n,)."""
    n = len(value).bit_length() - 1
    whole = len(value) - 1
    lost: Floats = value[whole] - value[whole - (1 << np.arange(n))]
    return lost


def _removed(value: Floats, places: npt.NDArray[np.int64]) -> Floats:
    """(n,) worth lost after removing the first 1, 2, ... n of `places` from everything."""
    left = len(value) - 1 - np.cumsum(1 << places)
    lost: Floats = value[-1] - value[left]
    return lost


def _inserted(value: Floats, places: npt.NDArray[np.int64]) -> Floats:
    """(n,) worth gained after putting the first 1, 2, ... n of `places` on nothing."""
    gained: Floats = value[np.cumsum(1 << places)] - value[0]
    return gained
