"""Discrimination and calibration against numbers worked out by hand."""

import math

import numpy as np
import pytest
from scipy.stats import uniform

from core.predict.reliability import (
    auc,
    calibration_error,
    chance_error,
    concordance,
    known_order,
    log_loss,
    mean_measures,
    pair_measures,
    reliability,
    roc_pairs,
    survival_shares,
    wins,
)


def test_auc_counts_pairs_and_halves_ties() -> None:
    score = np.array([0.9, 0.4, 0.4, 0.1])
    positive = np.array([True, True, False, False])
    # (.9 > .4), (.9 > .1), (.4 = .4), (.4 > .1): 3.5 of 4
    assert auc(score, positive) == pytest.approx(3.5 / 4)
    assert wins(score, roc_pairs(positive)).sum() == pytest.approx(3.5)
    assert math.isnan(auc(score, np.ones(4, dtype=bool)))


def test_concordance_uses_only_pairs_whose_order_is_known() -> None:
    days = np.array([2.0, 5.0, 3.0, 5.0])
    came = np.array([True, True, False, False])
    # known: 2 before each of 5, 3+, 5+; 5 (came) before 5+ (lost at that moment). 3+ against 5 is not known.
    assert known_order(days, came).sum() == 4
    expected = np.array([1.0, 4.0, 9.0, 4.0])  # right on the three first, level on the last
    assert concordance(expected, days, came) == pytest.approx(3.5 / 4)
    assert math.isnan(concordance(expected, days, np.zeros(4, dtype=bool)))


def test_log_loss_is_in_nats() -> None:
    losses = log_loss(np.array([0.8, 0.8]), np.array([True, False]))
    np.testing.assert_allclose(losses, [-math.log(0.8), -math.log(0.2)])


def test_calibration_error_of_two_bins() -> None:
    p = np.array([0.1, 0.2, 0.7, 0.8])
    positive = np.array([False, True, True, True])
    # bins {.1, .2}: mean .15 against .5; {.7, .8}: .75 against 1
    assert calibration_error(p, positive, bins=2) == pytest.approx((0.35 + 0.25) / 2)
    low, high = reliability(p, positive, bins=2)
    assert (low["n"], low["predicted"], low["observed"]) == (2, pytest.approx(0.15), 0.5)
    assert low["low"] == pytest.approx(0.0945, abs=1e-4)  # Wilson's bounds of 1 in 2
    assert high["high"] == pytest.approx(1.0)
    assert math.isnan(calibration_error(np.zeros(0), np.zeros(0, dtype=bool)))


def test_chance_gives_a_true_probability_an_error_of_its_own() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(500)
    by_chance = chance_error(p, seed=0)
    assert 0.01 < by_chance["mean"] < by_chance["high"] < 0.1
    assert calibration_error(p, rng.random(500) < p) < 2 * by_chance["high"]
    assert calibration_error(p, rng.random(500) < p**3) > 2 * by_chance["high"]


def test_survival_shares_spread_what_was_lost_from_sight() -> None:
    # a return at survival .9, one at .3, and a user lost at .5: half of that goes to [0, .25), half to [.25, .5)
    shares = survival_shares(np.array([0.9, 0.3, 0.5]), np.array([True, True, False]), bins=4)
    np.testing.assert_allclose(shares, np.array([0.5, 1.5, 0.0, 1.0]) / 3)
    np.testing.assert_allclose(survival_shares(np.array([0.0]), np.array([False]), bins=2), [1.0, 0.0])


def test_survival_shares_are_even_for_the_true_curve_under_censoring() -> None:
    rng = np.random.default_rng(1)
    days, lost = rng.exponential(3, 20_000), rng.exponential(4, 20_000)
    seen = np.minimum(days, lost)
    np.testing.assert_allclose(survival_shares(np.exp(-seen / 3), days < lost), 0.1, atol=0.006)
    skewed = survival_shares(np.exp(-seen / 6), days < lost)
    assert np.abs(skewed - 0.1).max() > 0.03


def test_intervals_are_over_users_and_gaps_are_paired() -> None:
    rng = np.random.default_rng(2)
    user = np.repeat(np.arange(40), 5)
    positive = rng.random(200) < 0.5
    good = positive + rng.normal(0, 1.0, 200)
    bad = rng.random(200)
    areas, gaps = pair_measures({"good": good, "bad": bad}, roc_pairs(positive), user, seed=0)
    assert areas["good"]["estimate"] == pytest.approx(auc(good, positive))
    assert areas["good"]["n"] == 40
    assert areas["good"]["low"] < areas["good"]["estimate"] < areas["good"]["high"]
    assert gaps["bad"]["estimate"] == pytest.approx(auc(good, positive) - auc(bad, positive))
    assert gaps["bad"]["low"] > 0
    same, none = pair_measures({"good": good, "again": good.copy()}, roc_pairs(positive), user, seed=0)
    assert same["good"] == same["again"]
    assert none["again"]["low"] == none["again"]["high"] == 0
    # five copies of one event of a user are one user's word: the interval is that of the single events
    one, _ = mean_measures({"x": good[::5]}, user[::5], seed=0)
    five, _ = mean_measures({"x": np.repeat(good[::5], 5)}, user, seed=0)
    assert five["x"]["low"] == pytest.approx(one["x"]["low"])


def test_no_data_is_no_number() -> None:
    nothing = np.zeros(0)
    areas, _ = pair_measures({"a": nothing}, roc_pairs(nothing > 0), np.zeros(0, np.int64), seed=0)
    means, _ = mean_measures({"a": nothing}, np.zeros(0, np.int64), seed=0)
    assert math.isnan(areas["a"]["estimate"])
    assert math.isnan(means["a"]["estimate"])
    assert areas["a"]["n"] == means["a"]["n"] == 0
    assert np.isnan(survival_shares(nothing, nothing > 0)).all()


def test_the_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    """AUC of two shifted uniforms, 60 users with 3 events each, 60 samples: about 95% of intervals hold the truth."""
    held = 0
    truth = 1 - (1 - 0.3) ** 2 / 2  # P(U + .3 > V)
    for sample in range(60):
        rng = np.random.default_rng(sample)
        positive = rng.random(180) < 0.5
        score = uniform.rvs(size=180, random_state=rng) + 0.3 * positive
        areas, _ = pair_measures({"a": score}, roc_pairs(positive), np.repeat(np.arange(60), 3), seed=sample)
        held += areas["a"]["low"] <= truth <= areas["a"]["high"]
    assert held >= 52
