"""What people did with what they were shown is counted by user, and champion and challenger are told apart by it."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from core.ops.feedback import Feedback, append, shown
from core.ops.ledger import Ledger
from core.ops.registry import promote
from core.ops.traffic import split
from core.trust.outcomes import Outcomes, outcomes
from tests.core.made_runs import NOON, make_run

LATER = NOON + timedelta(days=30)


@pytest.fixture
def ledger(two_datasets: Ledger) -> Ledger:
    return two_datasets


def serve(ledger: Ledger, run_id: str) -> None:
    why: dict[str, Any] = {"actor": "ann", "reason": "better", "expected_version": None, "now": NOON}
    promote(ledger, dataset="films", run_id=run_id, **why)


def show(ledger: Ledger, run_id: str, user: str, *, slate: str, acts: str = "", day: int = 1) -> None:
    """A slate of x and y, and what its user does with each item named in `acts`."""
    at = NOON + timedelta(days=day)
    items = [{"key": key, "rank": rank, "propensity": 1.0} for rank, key in enumerate("xy", 1)]
    rows = shown(slate, user, items, run_id=run_id, at=at)
    rows += [Feedback(user, item, "click", at + timedelta(minutes=5), slate=slate) for item in acts]
    append(ledger, "films", rows, now=LATER)


def found(ledger: Ledger) -> Outcomes:
    told = outcomes(ledger, "films")
    assert told is not None
    return told


def test_while_nobody_serves_there_is_no_outcome(ledger: Ledger) -> None:
    make_run(ledger)
    assert outcomes(ledger, "films") is None


def test_a_slate_is_answered_by_its_own_user_on_an_item_that_it_held(ledger: Ledger) -> None:
    run = make_run(ledger)
    serve(ledger, run)
    show(ledger, run, "ann", slate="s-1", acts="xy")
    show(ledger, run, "ann", slate="s-2")
    show(ledger, run, "ann", slate="s-3", day=9)
    show(ledger, run, "bob", slate="s-4")
    show(ledger, "r-other", "cleo", slate="s-5", acts="x")
    strays = [
        Feedback("ann", "y", "click", LATER, slate="s-4"),  # another user's slate
        Feedback("bob", "z", "click", LATER, slate="s-4"),  # no item of it
        Feedback("bob", "x", "dismissal", LATER, slate="s-4"),  # no answer
        Feedback("bob", "x", "click", LATER),  # under no slate's name
        Feedback("bob", "x", "click", LATER, slate="s-none"),
    ]
    append(ledger, "films", strays, now=LATER)
    told = found(ledger)
    (arm,) = told.arms
    assert (arm.slates, arm.users, arm.gap) == (4, 2, None)
    assert arm.share["estimate"] == pytest.approx((1 / 3 + 0) / 2), "by user, whoever sees more lists"
    assert [(week.weekday(), share["n"]) for week, share in told.weeks] == [(0, 2), (0, 1)]
    assert told.since == NOON and told.as_json()["arms"][0]["slates"] == 4


def test_a_planted_difference_is_found_and_none_is_not_invented(ledger: Ledger) -> None:
    champion, better, same = (make_run(ledger) for _ in range(3))
    serve(ledger, champion)
    show(ledger, champion, "early", slate="s-early", acts="x", day=0)  # before there was a challenger
    chance = np.random.default_rng(0)
    rates = {champion: 0.3, better: 0.5, same: 0.3}
    for number in range(1200):
        run = (champion, better, same)[number % 3]
        acts = "x" if chance.random() < rates[run] else ""
        show(ledger, run, f"u{number}", slate=f"s-{number}", acts=acts, day=3)
    who: dict[str, Any] = {"dataset": "films", "actor": "ann", "reason": "see", "now": NOON + timedelta(days=2)}
    split(ledger, run_id=better, share=0.3, **who)
    told = found(ledger)
    assert told.since == NOON + timedelta(days=2)
    mine, other = told.arms
    assert (mine.run_id, mine.slates, other.run_id, other.users) == (champion, 400, better, 400)
    assert other.gap is not None and other.gap["low"] > 0 and other.gap["low"] < 0.2 < other.gap["high"]
    assert other.gap["n"] == 800
    split(ledger, run_id=same, share=0.3, **who)
    level = found(ledger).arms[1].gap
    assert level is not None and level["low"] < 0 < level["high"]
    split(ledger, run_id=better, share=0.4, **who | {"now": NOON + timedelta(days=20)})
    grown = found(ledger)
    assert grown.since == NOON + timedelta(days=20) and [arm.slates for arm in grown.arms] == [0, 0]


def test_a_challenger_that_showed_nothing_is_not_compared(ledger: Ledger) -> None:
    champion, rival = make_run(ledger), make_run(ledger)
    serve(ledger, champion)
    split(ledger, dataset="films", run_id=rival, share=0.1, actor="ann", reason="see", now=NOON)
    told = found(ledger)
    assert [(arm.slates, arm.users) for arm in told.arms] == [(0, 0), (0, 0)] and told.weeks == []
    assert np.isnan(told.arms[0].share["estimate"])
    show(ledger, champion, "ann", slate="s-1", acts="x")
    gap = found(ledger).arms[1].gap
    assert gap is not None and np.isnan(gap["estimate"])
