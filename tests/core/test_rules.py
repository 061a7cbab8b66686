"""Rules on a slate: each does what it says, names what it did, and refuses what cannot be."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from core.learn.sequences import Histories
from core.predict.recommend import ruled_slate, slate
from core.predict.rules import Shelf, SlateRules, arranged, rules_from
from core.predict.served import Catalogue, ServedModel
from data.errors import InputError, UnknownCategory, UnknownItem

KINDS = ("Chess", "Jazz")


def shelf(*scores: float, k: int = 3, gone: tuple[int, ...] = (), vector: torch.Tensor | None = None) -> Shelf:
    """Items a, b, c, ... of these scores, by turns of Chess and Jazz."""
    n = len(scores)
    available = torch.ones(n, dtype=torch.bool)
    available[list(gone)] = False
    keys = tuple("abcdefghij"[:n])
    catalogue = Catalogue(keys, keys, tuple((KINDS[i % 2],) for i in range(n)), available, available.clone())
    return Shelf(catalogue, torch.tensor(scores, dtype=torch.float64), torch.eye(n) if vector is None else vector, k)


def made(rules: dict[str, Any], on: Shelf) -> tuple[str, list[tuple[Any, ...]]]:
    """The slate as a word, and the receipt as short rows."""
    ids, receipt = arranged(rules_from(rules), on)
    rows = [(line["rule"], line["change"], line["key"], line["before"], line["after"]) for line in receipt]
    return "".join(on.catalogue.keys[item] for item in ids), rows


FALLING = (6.0, 5.0, 4.0, 3.0, 2.0, 1.0)


@pytest.mark.parametrize(
    ("rules", "word", "receipt"),
    [
        ({}, "abc", []),
        ({"only": ["Jazz"]}, "bdf", [("a", "out"), ("c", "out"), ("d", "in"), ("f", "in")]),
        ({"never": ["Jazz"]}, "ace", [("b", "out"), ("e", "in")]),
        ({"only": ["Jazz", "Chess"]}, "abc", []),
        ({"pins": ["e@1"]}, "eab", [("c", "out"), ("e", "in")]),
        ({"pins": ["c@1"]}, "cab", [("c", "moved")]),
        ({"pins": ["a@1"]}, "abc", []),
        ({"caps": ["1"]}, "ab", [("c", "out")]),
        ({"caps": ["Chess=1"]}, "abd", [("c", "out"), ("d", "in")]),
        ({"caps": ["Jazz=2", "1"]}, "abd", [("c", "out"), ("d", "in")]),
        ({"dismissed": ["b"]}, "acd", [("b", "out"), ("d", "in")]),
        (
            {"dismissed": ["b", "a"], "only": ["Jazz"]},
            "df",
            [(k, "out") for k in "ab"] + [("d", "in"), ("e", "in")] + [(k, "out") for k in "ce"] + [("f", "in")],
        ),
        ({"dismissed": ["e"], "pins": ["e@1"]}, "abc", [("e", "left")]),
        ({"pins": ["c@3"], "caps": ["Chess=1"]}, "bdc", [("a", "out"), ("d", "in")]),
    ],
)
def test_a_rule_and_its_receipt(rules: dict[str, Any], word: str, receipt: list[tuple[str, str]]) -> None:
    found, rows = made(rules, shelf(*FALLING))
    assert found == word
    short = {"out": "taken out", "left": "left out", "in": "put in", "moved": "moved"}
    assert [(key, change) for _, change, key, _, _ in rows] == [(key, short[change]) for key, change in receipt]


def test_the_receipt_names_the_rule_and_both_ranks() -> None:
    _, rows = made({"never": ["Jazz"], "pins": ["e@1"], "caps": ["Chess=2"]}, shelf(*FALLING))
    assert rows == [
        ("never-category", "taken out", "b", 2, None),
        ("never-category", "put in", "e", None, 3),
        ("pin", "moved", "e", 3, 1),
        ("cap", "taken out", "c", 3, None),
    ]


def test_what_is_not_available_is_told_and_what_was_had_is_never_pinned() -> None:
    word, rows = made({"pins": ["b@1"]}, shelf(6.0, -torch.inf, 4.0, 3.0, 2.0, gone=(2,)))
    assert word == "ade"
    assert rows == [
        ("pin", "left out", "b", None, None),
        ("availability", "taken out", "c", 2, None),
        ("availability", "put in", "e", None, 3),
    ]


def test_diversity_is_maximal_marginal_relevance() -> None:
    """By hand: a and b are the same, c is across. rel = 1, .9, .5, 0; after a, b has .5 x .9 - .5 x 1 = -.05 and c has
    .5 x .5 - 0 = .25; then b -.05, d 0 - .5 x .6 = -.3."""
    vector = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    word, rows = made({"diversity": 0.5}, shelf(10.0, 9.0, 5.0, 0.0, vector=vector))
    assert word == "acb"
    assert rows == [("diversity", "moved", "c", 3, 2), ("diversity", "moved", "b", 2, 3)]
    assert made({"diversity": 0.05}, shelf(10.0, 9.0, 5.0, 0.0, vector=vector)) == ("abc", [])
    beside, _ = made({"diversity": 0.9, "pins": ["b@3"]}, shelf(10.0, 9.0, 5.0, 0.0, vector=vector))
    assert beside == "cdb"  # a is the twin of what is pinned


def test_a_capped_category_ends_diversity_there_too() -> None:
    word, _ = made({"diversity": 0.5, "caps": ["Chess=1"]}, shelf(*FALLING, k=4))
    assert sum(letter in "ace" for letter in word) == 1
    assert len(word) == 4


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        ({"only": ["Jaz"]}, UnknownCategory),
        ({"never": ["Chss"]}, UnknownCategory),
        ({"caps": ["Jaz=2"]}, UnknownCategory),
        ({"pins": ["z@1"]}, UnknownItem),
        ({"pins": ["a@4"]}, InputError),  # beyond the slate
        ({"pins": ["c@1"]}, InputError),  # not available
        ({"pins": ["b@1"], "never": ["Jazz"]}, InputError),
        ({"pins": ["b@1", "d@2"], "caps": ["Jazz=1"]}, InputError),
        ({"pins": ["b@1", "b@2"]}, InputError),
        ({"pins": ["a@1", "b@1"]}, InputError),
        ({"only": ["Jazz"], "never": ["Jazz"]}, InputError),
        ({"caps": ["Jazz=1", "Jazz=2"]}, InputError),
        ({"caps": ["1", "2"]}, InputError),
        ({"pins": ["a"]}, InputError),
        ({"pins": ["a@x"]}, InputError),
        ({"pins": ["a@0"]}, InputError),
        ({"caps": ["Jazz=0"]}, InputError),
        ({"caps": ["=2"]}, InputError),
        ({"diversity": 1.5}, InputError),
        ({"diversity": float("nan")}, InputError),
        ({"nonsense": 1}, InputError),
    ],
)
def test_what_cannot_be_is_refused(rules: dict[str, Any], fault: type[Exception]) -> None:
    with pytest.raises(fault) as told:
        made(rules, shelf(*FALLING, gone=(2,)))
    if fault is UnknownCategory:
        assert "'Jazz'" in str(told.value) or "'Chess'" in str(told.value)


def test_nothing_left_is_an_empty_slate() -> None:
    assert made({"only": ["Jazz"], "diversity": 0.4}, shelf(3.0, -torch.inf, 1.0, -torch.inf))[0] == ""


@pytest.mark.parametrize("task", ["next-new", "repurchase"])
def test_scores_are_the_models_own_under_rules_and_idle_rules_give_the_plain_slate(
    make_served: Callable[..., ServedModel], make_history: Callable[..., Histories], task: str
) -> None:
    served, history = make_served(task), make_history(12, baskets=task == "repurchase")
    plain = slate(served, history, k=8)
    same, receipt = ruled_slate(served, history, k=8, rules=SlateRules())
    assert [item["key"] for item in same] == [item["key"] for item in plain]
    assert {line["rule"] for line in receipt} <= {"availability"}
    first, *_, last = plain
    got, _ = ruled_slate(served, history, k=8, rules=rules_from({"pins": [f"{last['key']}@1"], "diversity": 0.2}))
    assert got[0]["key"] == last["key"]
    assert got[0]["rank"] == 1
    assert got[0]["score"] == last["score"]
    assert got[0]["probability"] == pytest.approx(last["probability"], rel=1e-12)
    if task == "next-new":
        assert not {item["key"] for item in got} & {f"k{item}" for item in history.item}
    unlike, _ = ruled_slate(served, history, k=8, rules=rules_from({"diversity": 0.9}))
    assert likeness(served, unlike) < likeness(served, plain)
    assert unlike[0] == first


def likeness(served: ServedModel, items: list[dict[str, Any]]) -> float:
    """Mean cosine between the slate's items."""
    vector = F.normalize(served.network.items()[0][[int(item["key"][1:]) for item in items]], dim=1)
    between = vector @ vector.T
    return float(between[~torch.eye(len(items), dtype=torch.bool)].mean())


def test_an_unavailable_favourite_is_in_the_receipt(
    make_served: Callable[..., ServedModel], make_history: Callable[..., Histories]
) -> None:
    served, history = make_served(), make_history(12)
    best = int(slate(served, history, k=1)[0]["key"][1:])
    available = served.catalogue.available.clone()
    available[best] = False
    poorer = replace(served, catalogue=replace(served.catalogue, available=available))
    _, receipt = ruled_slate(poorer, history, k=5, rules=rules_from({"never": ["Jazz"]}))
    assert receipt[0] | {"title": ""} == {
        "rule": "availability",
        "change": "taken out",
        "key": f"k{best}",
        "title": "",
        "before": 1,
        "after": None,
    }
