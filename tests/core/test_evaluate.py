"""Figures by hand: several queries of a user are one user, and blocks are no different from the whole."""

import math

import numpy as np
import pytest
import torch

from core.learn.sequences import Histories, Queries
from core.predict import evaluate
from core.predict.evaluate import (
    Scored,
    by_user,
    compare,
    figures,
    in_blocks,
    per_query,
    score_queries,
    slices,
    user_table,
)

N_ITEMS = 30


def histories(lengths: list[int]) -> Histories:
    n = sum(lengths)
    return Histories(
        np.cumsum([0, *lengths]).astype(np.int64),
        np.arange(n, dtype=np.int64) % N_ITEMS,
        np.arange(n, dtype=np.int64),
        np.zeros(n, np.int64),
        np.full(n, np.nan, np.float32),
    )


@pytest.fixture
def queries() -> Queries:
    """User 4 is asked twice, user 7 once, user 9 three times; one target each."""
    user = np.asarray([4, 4, 7, 9, 9, 9])
    return Queries(user, histories([2, 3, 1, 0, 1, 2]), np.arange(7), np.asarray([0, 1, 2, 3, 4, 5]))


@pytest.fixture
def scored() -> Scored:
    """Ranks 1 and 3 for user 4, 2 for user 7, misses but one at 1 for user 9."""
    top = np.tile(np.arange(20), (6, 1))
    return Scored(np.asarray([1.0, 3.0, 2.0, 40.0, np.inf, 1.0]), top)


@pytest.fixture
def train() -> Histories:
    """Ten users; user 9 has no training event."""
    return histories([3] * 9 + [0])


def test_a_users_queries_are_averaged_first(queries: Queries, scored: Scored, train: Histories) -> None:
    ndcg = per_query(scored, queries)["ndcg@10"]
    assert by_user(ndcg, queries).tolist() == pytest.approx([(1 + 0.5) / 2, 1 / math.log2(3), 1 / 3])
    told = figures(scored, queries, train=train, n_items=N_ITEMS, seed=0)
    assert told["hr@10"]["n"] == 3
    assert told["hr@10"]["estimate"] == pytest.approx((1 + 1 + 1 / 3) / 3)  # over six queries it would be 4 / 6
    assert told["mrr@5"]["estimate"] == pytest.approx((2 / 3 + 1 / 2 + 1 / 3) / 3)


def test_the_table_has_one_row_a_user(queries: Queries, scored: Scored) -> None:
    table = user_table({"served": scored, "ease": scored}, queries, served="served")
    assert table["user_id"].tolist() == [4, 7, 9]
    assert table["queries"].tolist() == [2, 1, 3]
    assert table["rank"].tolist() == [1, 2, 1]
    assert table["hr@5"].tolist() == table["ease:hr@10"].tolist() == pytest.approx([1, 1, 1 / 3])


def test_pairs_are_of_users(queries: Queries, scored: Scored) -> None:
    worse = Scored(np.full(6, np.inf), scored.top)
    gain = compare(scored, worse, queries, seed=0)
    assert gain["hr@10"]["n"] == gain["top10_shared"]["n"] == 3
    assert gain["hr@10"]["estimate"] == pytest.approx((1 + 1 + 1 / 3) / 3)
    assert gain["top10_shared"]["estimate"] == 1.0


def test_a_slice_is_of_the_users_who_have_it(queries: Queries, scored: Scored, train: Histories) -> None:
    told = slices(scored, queries, train=train, n_items=N_ITEMS, seed=0)
    unknown = told["no training history"]["hr@10"]
    assert (unknown["n"], unknown["estimate"]) == (1, pytest.approx(1 / 3))
    long = told["long history"]["hr@10"]  # 2, 3 and 2 events are the longest, above two thirds only the 3
    assert (long["n"], long["estimate"]) == (1, 1.0)
    everyone = slices(scored, queries, train=histories([3] * 10), n_items=N_ITEMS, seed=0)
    assert "no training history" not in everyone


def test_blocks_give_what_the_whole_gives(queries: Queries, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = torch.randn(6, N_ITEMS, generator=torch.Generator().manual_seed(0))
    asked: list[int] = []

    def answer(some: Queries) -> dict[str, Scored]:
        asked.append(len(some))
        return {"one": score_queries(scores[torch.from_numpy(some.target)], some, task="next-new")}

    whole = in_blocks(queries, answer, n_items=N_ITEMS)["one"]
    monkeypatch.setattr(evaluate, "BLOCK_CELLS", 4 * N_ITEMS)
    parts = in_blocks(queries, answer, n_items=N_ITEMS)["one"]
    assert asked == [6, 4, 2]
    assert np.array_equal(whole.rank, parts.rank)
    assert np.array_equal(whole.top, parts.top)


def test_nobody_to_ask_gives_no_number(train: Histories) -> None:
    nobody = Queries(np.zeros(0, np.int64), histories([]), np.zeros(1, np.int64), np.zeros(0, np.int64))
    none = in_blocks(
        nobody, lambda some: {"one": score_queries(torch.zeros(0, N_ITEMS), some, task="next-any")}, n_items=30
    )
    told = figures(none["one"], nobody, train=train, n_items=N_ITEMS, seed=0)
    assert told["ndcg@10"]["n"] == 0
    assert math.isnan(told["ndcg@10"]["estimate"])
    assert user_table({"served": none["one"]}, nobody, served="served").empty


def test_what_cannot_be_shown_is_on_no_slate(queries: Queries, train: Histories) -> None:
    """Three items are left to show, whatever fills the rest of a top ten."""
    scores = torch.full((6, N_ITEMS), -torch.inf)
    scores[:, [20, 21, 22]] = torch.tensor([3.0, 2.0, 1.0])
    some = score_queries(scores, queries, task="next-any")
    assert some.top[0].tolist() == [20, 21, 22, *[-1] * 17]
    told = figures(some, queries, train=train, n_items=N_ITEMS, seed=0)
    assert told["coverage@10"]["estimate"] == 3 / N_ITEMS and told["novelty@10"]["n"] == 18
    scores[:, 22], scores[:, 23] = -torch.inf, 0.5
    other = score_queries(scores, queries, task="next-any")
    assert compare(some, other, queries, seed=0)["top10_shared"]["estimate"] == pytest.approx(2 / 3)
