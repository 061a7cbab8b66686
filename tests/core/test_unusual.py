"""Days that stand out: planted ones are found, and where nothing is unusual hardly any log is told of one."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from math import sqrt

import numpy as np
import pytest

from core.trust.unusual import LEAST_DAYS, LEVEL, Looked, unusual_days

MONDAY = date(2024, 1, 1)
WEEK = np.array([1, 1.1, 1.05, 1, 1.3, 1.8, 0.6])


def looked(counts: Sequence[int], first: date = MONDAY) -> Looked:
    days = [first + timedelta(days=at) for at in range(len(counts))]
    return unusual_days(days, [int(n) for n in counts], [int(n) // 2 for n in counts])


def day(at: int) -> date:
    return MONDAY + timedelta(days=at)


def usual(size: int, *, mean: float, rng: np.random.Generator) -> np.ndarray:
    """The means of a log with a week, growth and seasons."""
    at = np.arange(size)
    growth = np.exp(np.log(2) * at / 365) * (1 + 0.2 * np.sin(2 * np.pi * at / 182))
    return mean * WEEK[at % 7] * growth


NOISES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "few": lambda mean, rng: rng.poisson(mean / 300),
    "poisson": lambda mean, rng: rng.poisson(mean),
    "overdispersed": lambda mean, rng: rng.poisson(mean * rng.gamma(5, 1 / 5, len(mean))),
    "skewed": lambda mean, rng: rng.poisson(10 * mean * np.exp(rng.normal(0, 0.3, len(mean)))),
    "no weekends": lambda mean, rng: rng.poisson(np.where(np.arange(len(mean)) % 7 < 5, mean, 0)),
}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("size", [LEAST_DAYS, 180])
def test_where_nothing_is_unusual_hardly_any_log_is_told_of_a_day(noise: str, size: int) -> None:
    """At most LEVEL of logs, and what 200 of them may be off by: three standard errors."""
    rng = np.random.default_rng(0)
    logs = 200
    told = sum(bool(looked(NOISES[noise](usual(size, mean=100, rng=rng), rng)).found) for _ in range(logs))
    assert told / logs <= LEVEL + 3 * sqrt(LEVEL * (1 - LEVEL) / logs)


def test_that_bound_fails_where_days_are_unusual() -> None:
    rng = np.random.default_rng(0)
    told = 0
    for _ in range(40):
        counts = rng.poisson(usual(120, mean=100, rng=rng))
        counts[rng.integers(10, 110)] *= 2
        told += bool(looked(counts).found)
    assert told >= 36


def test_a_planted_day_is_found_with_its_evidence() -> None:
    rng = np.random.default_rng(3)
    mean = usual(120, mean=200, rng=rng)
    counts = rng.poisson(mean)
    counts[71], counts[90] = 900, 30  # a Tuesday and a Sunday
    (more, less) = sorted(looked(counts).found, key=lambda one: one.first)
    assert (more.first, more.last, more.how, more.events, more.users) == (day(71), day(71), "more", 900, 450)
    assert (more.weekday, more.n) == (2, 17)
    assert more.usual == pytest.approx(mean[71], rel=0.15)
    assert more.ratio == pytest.approx(900 / mean[71], rel=0.15)
    assert more.z > 5 and more.p < 0.001
    assert (less.first, less.how, less.weekday, less.n) == (day(90), "less", 7, 17)
    assert less.z < -5


def test_a_weekday_of_its_own_is_no_news() -> None:
    """Saturdays have five times as much; that they do is usual, and one with a fifth is not."""
    rng = np.random.default_rng(4)
    mean = np.where(np.arange(140) % 7 == 5, 500, 100)
    counts = rng.poisson(mean)
    assert looked(counts).found == ()
    counts[75] = 100  # as on any other day, but a Saturday
    assert [(one.first, one.how) for one in looked(counts).found] == [(day(75), "less")]


def test_z_by_hand() -> None:
    """A hundred on every day but one: usual is 100, the spread of a Poisson count 1/2, and the nearer of the two z."""
    counts = [100] * 90
    counts[45] = 169
    (found,) = looked(counts).found
    y, level = sqrt(169.375), sqrt(100.375)
    assert found.z == pytest.approx(level * np.log(y / level) / 0.5)
    assert found.usual == pytest.approx(100)
    counts[45] = 49
    (found,) = looked(counts).found
    assert found.z == pytest.approx((sqrt(49.375) - level) / 0.5)


def test_stretches_without_an_event_are_told_as_one_and_hide_nothing_else() -> None:
    rng = np.random.default_rng(5)
    counts = rng.poisson(50, 200)
    counts[60:105] = 0
    counts[150] = 0
    counts[170] = 150
    found = {one.first: one for one in looked(counts).found}
    gap = found[day(60)]
    assert (gap.last, gap.days, gap.how, gap.events) == (day(104), 45, "none", 0)
    assert gap.usual == pytest.approx(50, rel=0.1)
    assert (found[day(150)].how, found[day(150)].days, found[day(170)].how) == ("none", 1, "more")
    assert len(found) == 3


def test_empty_days_of_a_thin_log_are_its_way() -> None:
    counts = np.zeros(300, int)
    counts[::9] = 1
    assert looked(counts).found == ()


def test_a_lasting_change_of_level_is_no_row_of_unusual_days() -> None:
    rng = np.random.default_rng(6)
    assert looked(np.concatenate([rng.poisson(100, 90), rng.poisson(300, 90)])).found == ()


def test_a_log_that_begins_and_ends_within_a_day_is_not_blamed_for_it() -> None:
    rng = np.random.default_rng(7)
    counts = rng.poisson(200, 100)
    counts[0] = counts[-1] = 20
    assert looked(counts).found == ()
    counts[1] = 20
    assert [one.first for one in looked(counts).found] == [day(1)]


@pytest.mark.parametrize(
    "counts",
    [[], [5], [0], [0] * 100, [7] * 100, [3] * (LEAST_DAYS - 1), [0] * 50 + [1] + [0] * 49, [1] + [0] * 98 + [1]],
    ids=["none", "one day", "one empty day", "all empty", "constant", "short", "all empty but one", "two ends"],
)
def test_logs_that_tell_nothing(counts: list[int]) -> None:
    told = looked(counts)
    assert (told.found, told.days) == ((), len(counts))
    assert bool(told.tested) == (len(counts) >= LEAST_DAYS and any(counts))
