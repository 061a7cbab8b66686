"""Significance: p-values worked out by hand, claims no more often than promised, one coin a user."""

import math

import numpy as np
import pytest

from core.predict.significance import holm, paired_permutation


def test_three_like_signs_are_two_of_eight():
    assert paired_permutation([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], seed=0) == 2 / 8


def test_by_hand_with_one_user_against():
    # |3 + 2 - 1| = 4 is reached by +3+2-1, +3+2+1 and their mirrors: 4 of 8
    assert paired_permutation([3.0, 2.0, 0.0], [0.0, 0.0, 1.0], seed=0) == 4 / 8


def test_sums_that_differ_by_rounding_alone_are_level():
    # |.1 + .2 - .3| is 0 but for rounding, and so every assignment reaches it
    assert paired_permutation([0.1, 0.2, 0.0], [0.0, 0.0, 0.3], seed=0) == 1.0


def test_level_users_neither_help_nor_hurt():
    one = paired_permutation([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], seed=0)
    assert paired_permutation([1.0, 1.0, 1.0, 5.0], [0.0, 0.0, 0.0, 5.0], seed=0) == one
    assert paired_permutation([2.0, 2.0], [2.0, 2.0], seed=0) == 1.0


def test_no_data_gives_no_number():
    assert math.isnan(paired_permutation([], [], seed=0))
    assert math.isnan(paired_permutation([math.nan], [1.0], seed=0))


def test_a_users_queries_are_one_coin():
    a, b = [1.0] * 6, [0.0] * 6
    assert paired_permutation(a, b, seed=0) == 2 / 64
    assert paired_permutation(a, b, user=[7, 7, 8, 8, 9, 9], seed=0) == 2 / 8
    assert paired_permutation([1.0, -1.0], [0.0, 0.0], user=[3, 3], seed=0) == 1.0


def test_drawn_signs_agree_with_the_normal_limit():
    gap = np.random.default_rng(0).normal(0.15, 1.0, 400)
    z = abs(gap.sum()) / math.sqrt((gap**2).sum())
    expected = math.erfc(z / math.sqrt(2))
    assert paired_permutation(gap, np.zeros(400), seed=1) == pytest.approx(expected, abs=0.01)


def test_no_more_false_alarms_than_promised():
    rng = np.random.default_rng(2)
    found = [paired_permutation(rng.random(60), rng.random(60), seed=trial, rounds=400) for trial in range(300)]
    assert 0.02 <= np.mean(np.asarray(found) <= 0.05) <= 0.09
    assert min(found) > 0


def test_holm_by_hand():
    # sorted .01 .03 .04: x3 = .03, x2 = .06, x1 = .04 raised to the .06 before it
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})


def test_holm_stops_at_one_and_leaves_out_what_was_not_tested():
    adjusted = holm({"a": 0.9, "b": 0.8, "c": math.nan})
    assert adjusted["a"] == 1.0 and adjusted["b"] == 1.0 and math.isnan(adjusted["c"])
    assert holm({}) == {}
