"""Feedback is written exactly once, in an order that a build can name by one number."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from core.ops import feedback
from core.ops.builds import record_build
from core.ops.feedback import Feedback, Receipt, append
from core.ops.ledger import Ledger

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CLICK = Feedback("ann", "x", "click", NOON)


@pytest.fixture
def ledger(ledger_address: str, tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(ledger_address, home=tmp_path) as ledger:
        yield ledger


def everything(ledger: Ledger) -> list[dict[str, object]]:
    return list(pa.Table.from_batches(feedback.every(ledger, "films"), feedback.COLUMNS).to_pylist())


def held(ledger: Ledger) -> list[tuple[object, ...]]:
    return [(row["user"], row["item"], row["kind"]) for row in everything(ledger)]


def test_a_row_sent_again_is_there_once(ledger: Ledger) -> None:
    named = Feedback("ann", "x", "rating", NOON, value=4.5, key="k-1")
    assert append(ledger, "films", [CLICK, named], now=NOON) == Receipt(2, 0, {})
    later = NOON + timedelta(hours=1)
    assert append(ledger, "films", [named, CLICK, named], now=later) == Receipt(0, 3, {})
    assert held(ledger) == [("ann", "x", "click"), ("ann", "x", "rating")]
    assert append(ledger, "retail", [CLICK], now=NOON).accepted == 1, "another data set's act is another act"


def test_a_key_names_one_act(ledger: Ledger) -> None:
    first, other = Feedback("ann", "x", "click", NOON, key="k"), Feedback("bob", "x", "click", NOON, key="k")
    assert append(ledger, "films", [first, other], now=NOON) == Receipt(1, 0, {1: "key-of-another-act"})
    assert append(ledger, "films", [other], now=NOON) == Receipt(0, 0, {0: "key-of-another-act"})
    assert held(ledger) == [("ann", "x", "click")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (Feedback(" ", "x", "click", NOON), "unusable-user"),
        (Feedback("ann", "x\0", "click", NOON), "unusable-item"),
        (Feedback("a" * 513, "x", "click", NOON), "unusable-user"),
        (Feedback("ann", "x", "clack", NOON), "unknown-kind"),
        (Feedback("ann", "x", "click", NOON.replace(tzinfo=None)), "impossible-time"),
        (Feedback("ann", "x", "click", NOON + timedelta(days=2)), "impossible-time"),
        (Feedback("ann", "x", "rating", NOON), "missing-value"),
        (Feedback("ann", "x", "rating", NOON, value=float("nan")), "infinite-value"),
        (Feedback("ann", "x", "click", NOON, value=3.0), "value-without-rating"),
        (Feedback("ann", "x", "shown", NOON, rank=0), "impossible-rank"),
        (Feedback("ann", "x", "shown", NOON, rank=2**31), "impossible-rank"),
        (Feedback("ann", "x", "shown", NOON, propensity=0.0), "impossible-propensity"),
        (Feedback("ann", "x", "shown", NOON, propensity=1.1), "impossible-propensity"),
    ],
)
def test_what_cannot_be_is_refused_by_its_place_and_the_rest_is_taken(
    ledger: Ledger, row: Feedback, reason: str
) -> None:
    assert append(ledger, "films", [CLICK, row], now=NOON) == Receipt(1, 0, {1: reason})
    assert held(ledger) == [("ann", "x", "click")]


def test_a_build_holds_what_was_there_and_the_next_one_the_rest(ledger: Ledger, tmp_path: Path) -> None:
    append(
        ledger, "films", [CLICK, Feedback("ann", "y", "shown", NOON), Feedback("bob", "x", "dismissal", NOON)], now=NOON
    )
    upto = feedback.watermark(ledger, "films")
    append(ledger, "films", [Feedback("bob", "y", "rating", NOON, value=2.0)], now=NOON)
    table = feedback.events(ledger, "films", upto=upto)
    assert table.select(["user", "item", "kind"]).to_pylist() == [{"user": "ann", "item": "x", "kind": "click"}]
    assert feedback.unfolded(ledger, "films") == 2, "nothing is built yet"
    path = tmp_path / "b-1.duckdb"
    record_build(ledger, build_id="b-1", dataset="films", path=path, facts={}, now=NOON, feedback_to=upto)
    assert feedback.unfolded(ledger, "films") == 1
    rest = feedback.events(ledger, "films", after=upto, upto=feedback.watermark(ledger, "films"))
    assert rest.select(["user", "kind", "value"]).to_pylist() == [{"user": "bob", "kind": "rate", "value": 2.0}]
    assert feedback.events(ledger, "retail", upto=99).num_rows == 0 and feedback.watermark(ledger, "retail") == 0


def test_a_slate_is_rows_that_its_name_and_ranks_make_unique(ledger: Ledger) -> None:
    slate = feedback.new_slate()
    items = [{"key": key, "rank": rank, "propensity": 1.0} for rank, key in enumerate("xyz", start=1)]
    rows = feedback.shown(slate, "ann", items, run_id="r-1", at=NOON)
    assert append(ledger, "films", rows, now=NOON).accepted == 3
    assert append(ledger, "films", rows, now=NOON).repeated == 3
    assert [(row["rank"], row["slate"], row["run_id"]) for row in everything(ledger)] == [
        (rank, slate, "r-1") for rank in (1, 2, 3)
    ]
