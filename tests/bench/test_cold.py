"""The figures of items taken out, by hand."""

from typing import Any

import numpy as np
import pytest
import torch

from core.learn.sequences import Histories
from tests.bench.cold import AMONG_ALL, AMONG_COLD, HR_FIFTY, IN_FIFTY, Asked
from tests.bench.text import METRICS


@pytest.fixture
def asked() -> Asked:
    """Two users and 100 items, of which the last twenty are out; each liked two of these, and has seen item 0."""
    wanted = torch.zeros(2, 100, dtype=torch.bool)
    wanted[0, [80, 81]] = wanted[1, [90, 99]] = True
    seen = torch.zeros(2, 100, dtype=torch.bool)
    seen[:, 0] = True
    one = np.zeros(2, np.int64)
    context = Histories(np.arange(3), one, one, one, np.full(2, np.nan, np.float32))
    return Asked(np.arange(2), context, wanted, seen, torch.arange(100) >= 80)


def test_ranks_among_the_cold_and_among_all(asked: Asked) -> None:
    scores = -torch.arange(100.0).repeat(2, 1)  # a lower number stands above; item 0, first of all, was seen
    scores[0, 81] = 0.5  # first of the cold, and of all that is new; item 80 is second among the cold, 81st of all
    told: dict[str, Any] = {name: figure.tolist() for name, figure in asked.figures(scores).items()}
    full = 1 + 1 / np.log2(3)
    assert told[AMONG_COLD] == pytest.approx([1.0, 0.0])  # the second user's stand at 11 and 20
    assert told[AMONG_ALL] == pytest.approx([1 / full, 0.0])
    assert told[HR_FIFTY] == [1.0, 0.0]
    assert told[IN_FIFTY] == [0.5, 0.0]
    assert {AMONG_COLD, IN_FIFTY} < set(METRICS)
