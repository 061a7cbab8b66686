"""Drift is seen where it was planted, is not where sides differ by chance alone, and is not guessed from few events."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from core.trust.drift import CATEGORIES, LEAST_EVENTS, _aspect, drift_since, psi
from data.errors import TooManyRefused
from data.ingest import ingest
from data.spec import parse_spec
from data.warehouse import Warehouse

SINCE = datetime(2026, 1, 10, tzinfo=UTC)
SPEC = """
[dataset]
name = "shop"
[events]
files = "events.csv"
user = "user"
item = "item"
ts = "ts"
value = "value"
[items]
files = "items.csv"
key = "item"
title = "item"
categories = "category"
"""
Chooser = Callable[[np.random.Generator, int, bool], tuple[int, float]]


def world(home: Path, choose: Chooser, *, users: int = 120, after: int = 8, categories: int = 4) -> Warehouse:
    """40 items of so many categories; each user has 12 events until SINCE and `after` of them later. choose: the item
    and the value of one of a user's events, by side."""
    rng = np.random.default_rng(0)
    lines = ["user,item,ts,value"]
    for user in range(users):
        for place in range(12 + after):
            newer = place >= 12
            item, value = choose(rng, user, newer)
            at = SINCE + timedelta(minutes=place - 11 if not newer else place)
            lines.append(f"u{user},i{item},{at.isoformat()},{value}")
    (home / "events.csv").write_text("\n".join(lines))
    (home / "items.csv").write_text(
        "item,category\n" + "\n".join(f"i{item},c{item % categories}" for item in range(40))
    )
    made = ingest(parse_spec(SPEC), base=home, home=home, now=datetime(2026, 2, 1, tzinfo=UTC))
    return Warehouse.open(made.path)


def of_own_taste(rng: np.random.Generator, user: int, newer: bool) -> tuple[int, float]:
    """A user keeps to one category; events of one user are far from independent."""
    return 4 * int(rng.integers(10)) + user % 4, float(rng.integers(1, 6))


def test_the_index_is_the_one_by_hand() -> None:
    p, q = (10 + 0.5) / 31, (20 + 0.5) / 31
    by_hand = 2 * (q - p) * math.log(q / p)
    assert psi(np.array([10.0, 20.0]), np.array([20.0, 10.0])) == pytest.approx(by_hand)
    assert psi(np.array([3.0, 5.0]), np.array([3.0, 5.0])) == 0


def test_a_small_newer_side_of_steady_tastes_is_steady() -> None:
    rng = np.random.default_rng(0)
    verdicts = []
    for _ in range(10):
        tastes = rng.dirichlet(np.full(20, 0.3), size=600)
        older = np.stack([rng.multinomial(25, taste) for taste in tastes])
        newer = np.stack([rng.multinomial(5, taste) for taste in tastes[:25]])
        table = np.concatenate([older, newer]).astype(np.float64)
        side = np.arange(625) >= 600
        verdicts.append(_aspect("taste", [str(b) for b in range(20)], table, side, seed=0).verdict)
    assert verdicts == ["steady"] * 10


def test_sides_that_differ_by_chance_are_steady(tmp_path: Path) -> None:
    with world(tmp_path, of_own_taste) as warehouse:
        found = drift_since(warehouse, SINCE)
    assert found.verdict == "steady" and (found.n_before, found.n_since) == (1440, 960)
    assert {aspect.name for aspect in found.aspects} == {"categories", "values"}, "there is one kind"
    assert found.launched == {"estimate": 0.0, "low": 0.0, "high": 0.0, "n": 120}
    for aspect in found.aspects:
        assert sum(before for _, before, _ in aspect.bins) == pytest.approx(1)
        assert sum(since for *_, since in aspect.bins) == pytest.approx(1)


def test_one_loud_user_is_chance(tmp_path: Path) -> None:
    """Few users, each of a single category: their absence from one side is no drift."""
    with world(
        tmp_path, lambda rng, user, newer: (4 * int(rng.integers(10)) + user % 4, 3.0), users=14, after=8
    ) as one:
        found = drift_since(one, SINCE)
    (categories,) = [aspect for aspect in found.aspects if aspect.name == "categories"]
    assert categories.chance > 0.05 and categories.verdict == "steady"


def test_a_planted_shift_is_seen_where_it_is(tmp_path: Path) -> None:
    def turned(rng: np.random.Generator, user: int, newer: bool) -> tuple[int, float]:
        _, value = of_own_taste(rng, user, newer)
        return (4 * int(rng.integers(10)) + (user % 2 if newer else user % 4), value)

    with world(tmp_path, turned) as warehouse:
        found = drift_since(warehouse, SINCE)
    verdicts = {aspect.name: aspect.verdict for aspect in found.aspects}
    assert verdicts == {"categories": "shifted", "values": "steady"} and found.verdict == "shifted"
    told = {name: (before, since) for name, before, since in found.aspects[0].bins}
    assert told["c3"][0] == pytest.approx(0.25, abs=0.05) and told["c3"][1] == 0


def test_items_that_came_out_since_are_a_share_of_the_newer_events(tmp_path: Path) -> None:
    def launched(rng: np.random.Generator, user: int, newer: bool) -> tuple[int, float]:
        return (int(rng.integers(20, 40)) if newer and rng.random() < 0.5 else int(rng.integers(20)), 3.0)

    with world(tmp_path, launched) as warehouse:
        found = drift_since(warehouse, SINCE)
    assert found.launched is not None
    assert found.launched["low"] < 0.5 < found.launched["high"] and found.launched["n"] == 120


def test_an_aspect_that_one_side_lacks_is_left_out(tmp_path: Path) -> None:
    def without(rng: np.random.Generator, user: int, newer: bool) -> tuple[int, float]:
        item, value = of_own_taste(rng, user, newer)
        return item, math.nan if newer else value

    with pytest.raises(TooManyRefused, match="not a finite number: 960"), world(tmp_path, without):
        pass  # nan is no value
    rows = (tmp_path / "events.csv").read_text().replace(",nan", ",")
    (tmp_path / "events.csv").write_text(rows)
    made = ingest(parse_spec(SPEC), base=tmp_path, home=tmp_path, now=datetime(2026, 2, 1, tzinfo=UTC))
    with Warehouse.open(made.path) as warehouse:
        assert [aspect.name for aspect in drift_since(warehouse, SINCE).aspects] == ["categories"]


def test_few_newer_events_tell_nothing(tmp_path: Path) -> None:
    with world(tmp_path, of_own_taste, users=20, after=4) as warehouse:
        found = drift_since(warehouse, SINCE)
        assert found.n_since == 80 < LEAST_EVENTS
        assert found.verdict is None and found.aspects == () and found.launched is None
        assert drift_since(warehouse, SINCE + timedelta(days=9)).n_since == 0


def test_rare_categories_are_one_bin(tmp_path: Path) -> None:
    with world(tmp_path, of_own_taste, categories=40) as warehouse:
        bins = drift_since(warehouse, SINCE).aspects[0].bins
    assert len(bins) == CATEGORIES + 1
    assert sum(name == "other" for name, _, _ in bins) == 1
    for side in (1, 2):
        assert sum(one[side] for one in bins) == pytest.approx(1)
