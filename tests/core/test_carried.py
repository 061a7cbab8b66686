"""On a newer build a run is asked only about what neither it nor what it went on from has learned."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from core.learn.sequences import Histories, IntArray, Sampling
from core.learn.splits import leave_last_out
from core.predict.carried import LEARNED, NEVER, asked_anew, last_moments, not_learned, write_learned
from core.predict.fit import KNOWN_WEIGHT, by_what_is_new


def histories(*lengths: int) -> Histories:
    """Users of so many events, an event an hour, each of an item of its own."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    item = np.concatenate([np.arange(n) for n in lengths]).astype(np.int64)
    nothing = np.full(len(item), np.nan, dtype=np.float32)
    return Histories(offsets, item, item * 3600, np.zeros(len(item), dtype=np.int64), nothing)


def learned_by(before: Histories, now: Histories, *, tested: int) -> IntArray:
    until = last_moments(leave_last_out(before, "next-any", tested=tested).train)
    return np.bincount(now.owner[now.ts <= until[now.owner]], minlength=len(now))


def test_what_was_learned_from_whole_is_no_question_later() -> None:
    before, now = histories(6, 10, 0), histories(8, 10, 9)
    learned = learned_by(before, now, tested=5)
    assert learned.tolist() == [6, 4, 0], "six events are too few to hold five and one back"
    split = leave_last_out(now, "next-any", tested=5)
    left = asked_anew(split, learned)
    assert split.test.target.tolist() == [3, 4, 5, 6, 7, 5, 6, 7, 8, 9, 4, 5, 6, 7, 8]
    assert left.test.target.tolist() == [6, 7, 5, 6, 7, 8, 9, 4, 5, 6, 7, 8]
    assert (split.valid.user.tolist(), left.valid.user.tolist()) == ([0, 1, 2], [1, 2])


def test_with_one_question_a_user_only_validation_was_ever_learned_from() -> None:
    before, now = histories(2, 5), histories(3, 6)
    split = leave_last_out(now, "next-any")
    left = asked_anew(split, learned_by(before, now, tested=1))
    assert left.test.target.tolist() == split.test.target.tolist() == [2, 5]
    assert left.valid.user.tolist() == [1]


def test_an_event_that_comes_late_does_not_hide_what_was_learned() -> None:
    """An older event that a newer build has puts every later one a place further on; moments stay."""
    before, now = histories(6), histories(8)
    late = Histories(now.offsets, now.item, np.array([0, 1, 2, 3, 4, 5, 5, 9]) * 3600, now.kind, now.value)
    learned = learned_by(before, late, tested=5)
    assert learned.tolist() == [7]
    test = leave_last_out(late, "next-any", tested=5).test
    assert test.target[not_learned(test, learned)].tolist() == [7]


def test_what_a_run_went_on_from_had_learned_is_kept_with_it(tmp_path: Path) -> None:
    train = histories(3, 0, 2)
    write_learned(tmp_path, train)
    assert pq.read_table(tmp_path / LEARNED)["until"].to_pylist() == [7200, NEVER, 3600]
    write_learned(tmp_path, train, before=np.array([3600, NEVER, 36_000]))
    assert pq.read_table(tmp_path / LEARNED)["until"].to_pylist() == [7200, NEVER, 36_000]


def test_training_onward_draws_histories_by_what_is_new_in_them() -> None:
    before, now = histories(6, 10, 0), histories(6, 14, 3)
    split = leave_last_out(now, "next-any")
    until = last_moments(leave_last_out(before, "next-any").train)
    users = by_what_is_new(split, until).sampling.users
    assert users is not None and users.tolist() == [KNOWN_WEIGHT, 4 + KNOWN_WEIGHT, 1 + KNOWN_WEIGHT]
    balanced = replace(split, sampling=Sampling(users=np.array([2.0, 1.0, 0.0])))
    users = by_what_is_new(balanced, until).sampling.users
    assert users is not None and users.tolist() == [2 * KNOWN_WEIGHT, 4 + KNOWN_WEIGHT, 0.0], "the recipe's own weights"
