"""Cleaning and sampling act on what is learned from alone, as the configuration says."""

from collections.abc import Iterator

import numpy as np
import pytest

from core.learn.batches import TrainingBatch, epoch, fit_vocabulary
from core.learn.config import PreprocessConfig
from core.learn.preprocess import DAY_S, cleaned, prepared, sampling_of
from core.learn.sequences import Histories, Lessons, Sampling
from core.learn.splits import leave_last_out
from data.errors import InvalidConfig


def made(*users: list[tuple[int, int]]) -> Histories:
    """One history a user, of (item, day)."""
    events = [event for user in users for event in user]
    n = len(events)
    return Histories(
        np.cumsum([0, *map(len, users)]).astype(np.int64),
        np.asarray([item for item, _ in events], np.int64),
        np.asarray([day * DAY_S for _, day in events], np.int64),
        np.zeros(n, np.int64),
        np.full(n, np.nan, np.float32),
    )


TRAIN = made([(1, 0), (1, 1), (2, 5), (1, 6)], [(3, 9)], [(2, 1), (1, 2), (4, 8), (2, 9), (1, 9)], [])


@pytest.mark.parametrize(
    ("rules", "left", "taken"),
    [
        ({"drop_repeats": True}, [[1, 2, 1], [3], [2, 1, 4, 2, 1], []], {"drop_repeats": 1}),
        ({"recent_days": 4.0}, [[2, 1], [3], [4, 2, 1], []], {"recent_days": 4}),
        ({"max_user_events": 4}, [[1, 1, 2, 1], [3], [], []], {"max_user_events": 5}),
        ({"min_item_events": 2}, [[1, 1, 2, 1], [], [2, 1, 2, 1], []], {"min_item_events": 2}),
        ({"min_user_events": 2}, [[1, 1, 2, 1], [], [2, 1, 4, 2, 1], []], {"min_user_events": 1}),
        (
            {"max_user_events": 4, "min_item_events": 2},
            [[1, 1, 1], [], [], []],
            {"max_user_events": 5, "min_item_events": 2},
        ),
        ({}, [[1, 1, 2, 1], [3], [2, 1, 4, 2, 1], []], {}),
    ],
)
def test_a_rule_takes_what_it_says_and_is_counted(
    rules: dict[str, float], left: list[list[int]], taken: dict[str, int]
) -> None:
    train, told = cleaned(TRAIN, PreprocessConfig.model_validate(rules))
    assert [train.items_of(user).tolist() for user in range(len(train))] == left
    assert told == taken


def test_questions_stay_as_they_are() -> None:
    whole = made([(item, item) for item in range(1, 8)], [(item, item) for item in range(3, 9)])
    split = leave_last_out(whole, "next-new")
    learned, taken = prepared(split, PreprocessConfig(recent_days=2.0), n_items=10)
    assert taken == {"recent_days": 4}
    assert learned.valid is split.valid and learned.test is split.test
    with pytest.raises(InvalidConfig, match="no event to learn from"):
        prepared(split, PreprocessConfig(min_user_events=100), n_items=10)


def epochs(train: Histories, sampling: Sampling, n: int) -> Iterator[TrainingBatch]:
    """The batches of n epochs over a catalogue of 60 items."""
    vocabulary, rng = fit_vocabulary(train, ("view",), buckets=2), np.random.default_rng(0)
    lessons, room = Lessons("next-any", train, sampling), {"length": 20, "batch_tokens": 500, "epoch_tokens": 10_000}
    for _ in range(n):
        yield from epoch(lessons, vocabulary, n_items=60, rng=rng, **room)


def drawn(sampling: Sampling) -> np.ndarray:
    """How often each of 20 users, told by an item of their own, is drawn in 200 epochs."""
    train = made(*[[(user, day) for day in range(2 + 8 * (user % 2))] for user in range(20)])
    found = [batch.events.item[:, 0].numpy() for batch in epochs(train, sampling, 200)]
    return np.bincount(np.concatenate(found), minlength=20)


def test_users_are_drawn_by_their_activity_and_groups_alike() -> None:
    train = made(*[[(user, day) for day in range(2 + 8 * (user % 2))] for user in range(20)])
    assert (drawn(Sampling()) == 200).all()
    rules = PreprocessConfig(user_power=-1.0)
    quiet, busy = (drawn(sampling_of(train, rules, n_items=20, groups=None))[parity::2].mean() for parity in (0, 1))
    assert quiet / busy == pytest.approx(5, rel=0.1)
    groups = np.asarray(["few"] * 2 + ["many"] * 18, dtype=object)
    seen = drawn(sampling_of(train, PreprocessConfig(balance_by="group"), n_items=20, groups=groups))
    assert seen.sum() == 4000
    assert seen[:2].sum() == pytest.approx(2000, rel=0.05)


def test_frequent_items_are_foretold_less_often() -> None:
    train = made(*[[(0, 0), (1, 1), (0, 2), (2 + user, 3)] for user in range(50)])
    sampling = sampling_of(train, PreprocessConfig(frequent_target=0.05), n_items=60, groups=None)
    assert sampling.targets is not None
    assert sampling.targets[[0, 1, 2]] == pytest.approx([np.sqrt(0.05 / 0.5), np.sqrt(0.05 / 0.25), 1.0])
    targets = np.concatenate([batch.target.numpy().ravel() for batch in epochs(train, sampling, 40)])
    asked = np.bincount(targets[targets >= 0], minlength=60)
    assert asked[0] / 4000 == pytest.approx(sampling.targets[0], abs=0.03)
    assert asked[2:52].tolist() == [40] * 50
