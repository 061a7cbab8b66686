"""Splits by hand-made histories, and that no split of any history lets the future into what is learned from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.learn import splits
from core.learn.config import Protocol
from core.learn.sequences import Histories, Queries, Task
from core.learn.splits import judged, split_histories
from data.errors import InputError

TASKS: tuple[Task, ...] = ("next-new", "next-any", "repurchase")
PROTOCOLS: tuple[Protocol, ...] = ("last", "last-five", "time")


def made(*users: list[tuple[int, int]]) -> Histories:
    """One history a user, of (item, time)."""
    events = [event for user in users for event in user]
    n = len(events)
    return Histories(
        offsets=np.cumsum([0, *map(len, users)]).astype(np.int64),
        item=np.asarray([item for item, _ in events], dtype=np.int64),
        ts=np.asarray([ts for _, ts in events], dtype=np.int64),
        kind=np.zeros(n, dtype=np.int64),
        value=np.arange(n, dtype=np.float32),  # names the event
    )


def told(queries: Queries) -> list[tuple[int, list[int], list[int]]]:
    """(user, items of the context, targets) of each query."""
    edges = queries.target_offsets
    return [
        (int(user), queries.context.items_of(q).tolist(), queries.target[edges[q] : edges[q + 1]].tolist())
        for q, user in enumerate(queries.user)
    ]


def learned(histories: Histories) -> list[list[int]]:
    return [histories.items_of(user).tolist() for user in range(len(histories))]


def test_last_keeps_one_target_of_each_and_what_follows_it_out() -> None:
    """Item 3 comes again after the last new item: under next-new it is nobody's target."""
    split = split_histories(made([(1, 0), (2, 1), (3, 2), (4, 3), (3, 4)], [(5, 0), (6, 1)]), "next-new", "last")
    assert learned(split.train) == [[1, 2], [5, 6]]
    assert told(split.valid) == [(0, [1, 2], [3])]
    assert told(split.test) == [(0, [1, 2, 3], [4])]


def test_last_five_asks_five_times_with_all_that_came_before() -> None:
    eight = [(item, item) for item in range(1, 9)]
    six = [(item, item) for item in range(1, 7)]
    split = split_histories(made(eight, six), "next-new", "last-five")
    assert learned(split.train) == [[1, 2], [1, 2, 3, 4, 5, 6]]  # six targets leave nothing before the validation
    assert told(split.valid) == [(0, [1, 2], [3])]
    assert told(split.test) == [(0, list(range(1, n)), [n]) for n in range(4, 9)]


def test_last_five_counts_new_items_or_all_events() -> None:
    events = [(item, n) for n, item in enumerate([1, 2, 1, 3, 4, 1, 5, 6, 7])]
    new = split_histories(made(events), "next-new", "last-five")
    assert told(new.valid) == [(0, [1], [2])]
    assert [query[2] for query in told(new.test)] == [[3], [4], [5], [6], [7]]
    assert told(new.test)[0][1] == [1, 2, 1]  # the repeat is context, no target
    anything = split_histories(made(events), "next-any", "last-five")
    assert told(anything.valid) == [(0, [1, 2, 1], [3])]
    assert [query[2] for query in told(anything.test)] == [[4], [1], [5], [6], [7]]


def test_last_five_baskets() -> None:
    """Seven baskets of one to three events; an item that is twice in a basket is one target."""
    baskets = [[1], [2, 3], [1, 1], [4, 2, 5], [3], [6], [7, 1]]
    events = [(item, 10 * n) for n, basket in enumerate(baskets) for item in basket]
    split = split_histories(made(events), "repurchase", "last-five")
    assert learned(split.train) == [[1]]
    assert told(split.valid) == [(0, [1], [2, 3])]
    assert [query[2] for query in told(split.test)] == [[1], [2, 4, 5], [3], [6], [1, 7]]
    assert told(split.test)[1][1] == [1, 2, 3, 1, 1]


def test_time_cuts_all_users_at_the_same_moments() -> None:
    """Ten events at 0, 10 .. 90: learned from until 80, validated at 80, tested at 90; user 2 comes at 80."""
    split = split_histories(
        made(
            [(1, 0), (2, 20), (3, 40), (4, 90)],
            [(1, 10), (2, 30), (3, 50), (4, 60), (5, 70)],
            [(6, 80)],
        ),
        "next-new",
        "time",
    )
    assert split.cuts == (80, 90)
    assert learned(split.train) == [[1, 2, 3], [1, 2, 3, 4, 5], []]
    assert told(split.valid) == [(2, [], [6])]
    assert told(split.test) == [(0, [1, 2, 3], [4])]


def test_time_rolls_on_through_the_test_and_keeps_file_order_at_one_moment() -> None:
    early = [(item, item) for item in range(16)]
    late = [(100, 50), (101, 51), (102, 90), (103, 90), (100, 91)]
    split = split_histories(made(early, late), "next-new", "time")
    assert split.cuts == (50, 90)  # of 21 events those at 16 and 18
    assert told(split.valid) == [(1, [], [100]), (1, [100], [101])]
    assert told(split.test) == [(1, [100, 101], [102]), (1, [100, 101, 102], [103])]  # 100 is not new at 91
    again = split_histories(made(early, late), "next-any", "time")
    assert told(again.test)[-1] == (1, [100, 101, 102, 103], [100])
    baskets = split_histories(made(early, late), "repurchase", "time")
    assert told(baskets.test) == [(1, [100, 101], [102, 103]), (1, [100, 101, 102, 103], [100])]


def test_time_asks_the_first_few_targets_of_a_busy_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "MOST_TARGETS", 2)
    split = split_histories(
        made([(item, item) for item in range(100)], [(0, 95), (1, 96), (2, 97)]), "next-any", "time"
    )
    assert [user for user, _, _ in told(split.test)] == [0, 0, 1, 1]
    assert [target for _, _, target in told(split.test)] == [[92], [93], [0], [1]]


def test_events_of_one_moment_cannot_be_cut() -> None:
    for histories in (made([(1, 5), (2, 5), (3, 5)]), made([]), made([(1, 1), (2, 2)])):
        with pytest.raises(InputError, match="cannot be cut in time"):
            split_histories(histories, "next-any", "time")


events = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=14)
worlds = st.lists(events, min_size=1, max_size=5)


def world(users: list[list[tuple[int, int]]]) -> Histories:
    """Steps of time made into times, so that histories are in order with many ties."""
    return made(
        *(
            [(item, int(ts)) for (item, _), ts in zip(user, np.cumsum([s for _, s in user]), strict=True)]
            for user in users
        )
    )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=60, deadline=None)
@given(users=worlds)
def test_nothing_at_or_after_a_target_is_learned_from(
    protocol: Protocol, task: Task, users: list[list[tuple[int, int]]]
) -> None:
    histories = world(users)
    try:
        split = split_histories(histories, task, protocol)
    except InputError:
        assert protocol == "time"
        return
    start = histories.offsets
    for user in range(len(histories)):
        kept = split.train.lengths[user]
        own = histories.value[start[user] : start[user + 1]]
        assert np.array_equal(split.train.take([user]).value, own[:kept])  # a beginning, in file order
        for queries in (split.valid, split.test):
            for q in np.flatnonzero(queries.user == user):
                seen = queries.context.take([q]).value
                assert np.array_equal(seen, own[: len(seen)])  # so is every context
                assert len(seen) >= kept
                targets = queries.target[queries.owner == q]
                following = histories.items_of(user)[len(seen) :]
                size = len(targets) if task != "repurchase" else len(following)
                assert set(targets) <= set(following[:size])
                if task == "next-new":
                    assert not set(targets) & set(histories.items_of(user)[: len(seen)])
        latest = [len(c) for c in map(split.valid.context.items_of, np.flatnonzero(split.valid.user == user))]
        first = [len(c) for c in map(split.test.context.items_of, np.flatnonzero(split.test.user == user))]
        if latest and first:
            assert max(latest) < min(first)


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=60, deadline=None)
@given(users=worlds, other=st.integers(0, 5))
def test_the_future_does_not_change_what_is_learned_from(
    task: Task, users: list[list[tuple[int, int]]], other: int
) -> None:
    """Other items after the first cut leave the training part, and the moments, as they were."""
    histories = world(users)
    try:
        split = split_histories(histories, task, "time")
    except InputError:
        return
    assert split.cuts is not None
    later = histories.ts >= split.cuts[0]
    item = np.where(later, other, histories.item)
    changed = Histories(histories.offsets, item, histories.ts, histories.kind, histories.value)
    again = split_histories(changed, task, "time")
    assert again.cuts == split.cuts
    assert np.array_equal(again.train.item, split.train.item)
    assert np.array_equal(again.train.offsets, split.train.offsets)


def test_a_test_too_large_to_rank_asks_some_users_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    users = [[(item, item) for item in range(8)] for _ in range(20)]
    test = split_histories(made(*users), "next-new", "last-five").test
    assert judged(test, n_items=8) is test
    monkeypatch.setattr(splits, "MAX_TEST_CELLS", 8 * 37)
    some = judged(test, n_items=8)
    assert len(some) == 35  # seven users by five
    assert np.unique(some.user, return_counts=True)[1].tolist() == [5] * 7
    assert told(some) == [one for one in told(test) if one[0] in set(some.user.tolist())]
    assert told(judged(test, n_items=8)) == told(some)
    assert some.user.max() > 7  # drawn, not the first ones
