"""Intervals: no number without data, and cover as often as they claim."""

import math

import numpy as np
import pytest

from core.predict.intervals import LARGE, bootstrap_mean, paired_gap, resampled_sums, unpaired_gap


def test_no_data_gives_no_number():
    for values in ([], [math.nan, math.nan]):
        found = bootstrap_mean(values, seed=0)
        assert found["n"] == 0 and all(math.isnan(found[name]) for name in ("estimate", "low", "high"))


def test_one_user_has_an_estimate_without_bounds():
    found = bootstrap_mean([0.4, math.nan], seed=0)
    assert found["n"] == 1 and found["estimate"] == 0.4 and math.isnan(found["low"]) and math.isnan(found["high"])


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).random(50)
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)


def test_a_mean_is_covered_about_as_often_as_claimed():
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        found = bootstrap_mean(rng.exponential(size=60), seed=trial, resamples=400)
        covered += found["low"] <= 1 <= found["high"]
    assert 0.87 <= covered / 200 <= 0.99


def test_many_users_take_the_normal_interval_of_the_same_width():
    values = np.random.default_rng(2).random(LARGE + 1)
    found, few = bootstrap_mean(values, seed=0), bootstrap_mean(values[:LARGE], seed=0, resamples=300)
    assert found["high"] - found["low"] == pytest.approx(few["high"] - few["low"], rel=0.2)


def test_a_paired_gap_is_narrower_than_its_sides():
    rng = np.random.default_rng(3)
    a = rng.random(300)
    gap = paired_gap(a + 0.01, a, seed=0)
    assert gap["estimate"] == pytest.approx(0.01) and gap["high"] - gap["low"] < 1e-9
    assert paired_gap([1.0, math.nan], [0.0, 1.0], seed=0)["n"] == 1


def test_resampled_sums_draw_the_same_users_for_every_column():
    values = np.random.default_rng(4).random(40)
    drawn = resampled_sums(np.stack([values, 2 * values, np.ones(40)], axis=1), seed=0, resamples=50)
    assert drawn.shape == (50, 3) and np.allclose(2 * drawn[:, 0], drawn[:, 1]) and (drawn[:, 2] == 40).all()


def test_an_unpaired_gap_covers_about_as_often_as_claimed():
    rng, hits = np.random.default_rng(1), 0
    for seed in range(200):
        a, b = rng.random(60) < 0.4, rng.random(90) < 0.3
        m = unpaired_gap(a, b, seed=seed, resamples=400)
        hits += m["low"] <= 0.1 <= m["high"]
    assert 180 <= hits <= 198
    assert unpaired_gap([1.0], [0.0, 1.0], seed=0)["estimate"] == 0.5
    assert math.isnan(unpaired_gap([], [0.0], seed=0)["estimate"])
    large = unpaired_gap(np.r_[np.ones(15_000), np.zeros(15_000)], np.zeros(30_000), seed=0)
    assert large["low"] == pytest.approx(0.5 - 1.96 * 0.5 / math.sqrt(30_000), abs=1e-4)
