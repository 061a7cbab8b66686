"""A shop's pages speak of customers and products, in both languages, and Pulse has the figures of its preset."""

from collections.abc import Callable
from typing import Any

import pytest

from dashboard import kpi_cards
from dashboard.words import Words
from data.spec import Kpi
from tests.dashboard.opening import Opened

FOREIGN = ("film", "movie", "rating", "liked", "影片", "电影", "评分", "喜欢", "《")
OTHERS = ("Film", "评分 30.0%")  # an item's name in the small store, a kind that the stand-in for the scorer foretells


@pytest.fixture
def shown(browse: Opened, new_store: Callable[..., Any]) -> Callable[..., str]:
    """All text of a page of a shop's console."""
    store = new_store(preset="retail")

    def show(page: str, **address: str) -> str:
        test = browse(store.home, page, **address)
        assert not test.exception
        parts = [test.title, test.markdown, test.caption, test.selectbox, test.button]
        told = [getattr(one, field, "") for kind in parts for one in kind for field in ("value", "label")]
        return "\n".join(word for word in told if isinstance(word, str)).replace("\\", "")

    return show


@pytest.mark.parametrize(
    ("language", "page", "said"),
    [
        ("en", "pulse", ("Customers", "Products", "Order value", "Basket size", "What customers chose most")),
        ("zh", "pulse", ("顾客", "商品", "客单价", "每单件数", "顾客选得最多的商品")),
        ("en", "profile", ("Why does customer", "Purchases", "events: bought", "Mean amount", "Will buy")),
        ("zh", "profile", ("为什么给顾客", "购买", "行为：购买", "平均金额", "会购买“")),
    ],
)
def test_a_shop_has_its_own_words(shown: Callable[..., str], language: str, page: str, said: tuple[str, ...]) -> None:
    text = shown(page, lang=language, user="u1")
    assert not [words for words in said if words not in text], text
    for word in OTHERS:
        text = text.replace(word, "")
    assert not [word for word in FOREIGN if word in text]


def test_a_figure_is_written_in_its_unit_with_its_interval_and_meaning() -> None:
    row = {"name": "view_to_play", "measure": "conversion", "unit": "share", "estimate": 0.25, "n": 40, "units": 90}
    kpi = Kpi(measure="conversion", of=("view",), to=("play",))
    card = kpi_cards.card(Words("en"), {**row, "low": 0.2, "high": 0.3}, kpi)
    assert (card.label, card.value, card.note) == ("View to play", "25.0%", "[20.0%, 30.0%] · n 40")
    assert card.help == "Of the items that a user viewed, the share that the same user later played."
    back = kpi_cards.card(Words("en"), {**row, "low": 0.2, "high": 0.3}, Kpi(measure="returning"))
    assert back.help == "Of the users who did anything, the share who did so on a second day (UTC)."
    mean = kpi_cards.card(Words("en"), {**row, "low": 0.2, "high": 0.3}, Kpi(measure="mean_value"))
    assert mean.help == "The mean value of the events “any”."
    alone = kpi_cards.card(Words("zh"), {**row, "low": float("nan"), "high": float("nan"), "n": 1}, kpi)
    assert alone.note == "n 1：太少，给不出区间"
    assert kpi_cards.written(Words("en"), 35.3, "hours") == "35.3 h"
    own = kpi_cards.card(Words("en"), {**row, "name": "my_own", "low": 0.2, "high": 0.3}, kpi)
    assert own.label == "my own"
