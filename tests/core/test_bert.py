"""A language model that reads histories: what it reads, that it learns from texts alone, that it recommends."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.learn.bert import NOTHING, BERTRecommender, BERTSettings, Reader
from core.learn.sequences import Histories, Split, one_history
from core.learn.splits import leave_last_out

TITLES = [f"low {item}" if item < 10 else f"high {item}" for item in range(20)]


def one(items: list[int]) -> Histories:
    return one_history(items, list(range(len(items))), [0] * len(items), [1.0] * len(items))


def by_word(texts: Sequence[str]) -> Tensor:
    """A reader that sees how often the two words occur, and nothing of the numbers."""
    counts = torch.tensor([[text.count("low"), text.count("high")] for text in texts]).float()
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


@pytest.fixture
def split(two_tastes: Callable[[int], Histories]) -> Split:
    """Sixty users who stay in one of two kinds of titles."""
    return leave_last_out(two_tastes(60), "next-new")


def test_a_history_reads_newest_first_and_is_cut() -> None:
    model = BERTRecommender(by_word, TITLES, TITLES, settings=BERTSettings(events=2))
    assert model.preprocess(one([1, 12, 3])) == ["low 3; high 12"]
    assert model.preprocess(one([])) == [NOTHING]


def test_it_learns_from_what_it_reads(split: Split) -> None:
    settings = BERTSettings(lr=0.02, dropout=0.1)
    model = BERTRecommender(by_word, TITLES, TITLES, settings=settings)
    reached = model.train(split)
    assert reached > 0.6  # four of ten titles are left: in any order of these .64, of all .33
    told = model.recommend(one([10, 11, 12]), k=7)[0]
    assert set(told.tolist()) == set(range(13, 20))
    mute = BERTRecommender(lambda texts: torch.ones(len(texts), 2), TITLES, TITLES, settings=settings)
    assert mute.train(split) < reached - 0.2
    again = BERTRecommender(by_word, TITLES, TITLES, settings=settings)
    again.train(split)
    assert torch.equal(again.scores(split.test.context, n_items=20), model.scores(split.test.context, n_items=20))


def test_what_is_left_of_nothing_is_nothing(split: Split) -> None:
    model = BERTRecommender(by_word, TITLES, TITLES, settings=BERTSettings(epochs=1))
    model.train(split)
    told = model.recommend(one(list(range(18))), k=10)[0]
    assert set(told[:2].tolist()) == {18, 19}
    assert (told[2:] == -1).all()


def test_a_text_is_read_once(tiny_language_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.learn import bert

    read: list[list[str]] = []
    encoder = bert.TextEncoder

    def spied(folder: Path, config: object, *, texts: list[str]) -> object:
        read.append(texts)
        return encoder(folder, config, texts=texts)

    monkeypatch.setattr(bert, "TextEncoder", spied)
    reader = Reader(tiny_language_model)
    first = reader(["one", "two", "one"])
    assert first.shape == (3, 32)
    torch.testing.assert_close(first[0], first[2])
    torch.testing.assert_close(reader(["three", "two"])[1], first[1])
    assert read == [["one", "two"], ["three"]]
