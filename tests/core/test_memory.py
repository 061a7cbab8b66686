"""The memory that a training is expected to take, and its refusal."""

import pytest

from core.learn.config import TrainConfig, load_config
from core.learn.memory import BASE_GB, BLOCKS_GB, LANGUAGE_GB, OverBudget, check_budget, needs


def test_a_million_items_by_hand() -> None:
    told = needs(1_000_000, 10_000_000, TrainConfig(), language_dim=384)
    assert told.items == pytest.approx(4e-3 * (128 + 384 + 7 * 65 + 384))
    assert told.events == pytest.approx(1.5)
    assert told.work == BLOCKS_GB  # no closed form is dense, and no logits are
    assert told.total == pytest.approx(BASE_GB + LANGUAGE_GB + told.events + told.items + told.work)
    without = needs(1_000_000, 10_000_000, TrainConfig(), language_dim=0)
    assert without.items == pytest.approx(4e-3 * (7 * 65 + 384)) and without.base == BASE_GB


def test_the_greatest_of_the_stages_counts() -> None:
    config = load_config(overrides=[("closed_form_gb", "4.5")])
    assert needs(6_000, 1_000, config, language_dim=0).work == pytest.approx(28 * 12_000**2 / 1e9)  # the ridge
    assert needs(9_000, 1_000, config, language_dim=0).work == pytest.approx(36 * 9_000**2 / 1e9)  # EASE alone
    assert needs(1_000, 1_000, config, language_dim=0).work == BLOCKS_GB
    wide = load_config(overrides=[("full_softmax_items", "10000000"), ("logit_memory_mb", "4096")])
    assert needs(200_000, 1_000, wide, language_dim=0).work == pytest.approx(3 * 4 * 2048 * 200_000 / 1e9)


def test_what_is_over_the_budget_is_refused_with_what_to_do() -> None:
    config = load_config(overrides=[("memory_gb", "3.5")])
    assert check_budget(1_000, 10_000, config, language_dim=384).total < 3.5
    with pytest.raises(OverBudget, match=r"10,000,000 events of 1,000,000 items .* over memory_gb = 3.5") as caught:
        check_budget(1_000_000, 10_000_000, config, language_dim=0)
    assert "--set memory_gb=" in str(caught.value.remedy)
