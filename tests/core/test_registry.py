"""One champion at a time, changed by one hand at a time, with its whole history kept."""

import threading
from datetime import timedelta
from typing import Any

import pytest

from core.ops.ledger import Ledger
from core.ops.registry import (
    PromotionRow,
    champion,
    champion_version,
    count_test_reads,
    log_test_read,
    promote,
    promotions,
    rollback,
)
from data.errors import Conflict, GateFailed, InputError, RunUnfinished, UnknownRun
from tests.core.made_runs import NOON, make_run


@pytest.fixture
def ledger(two_datasets: Ledger) -> Ledger:
    return two_datasets


def make_champion(
    ledger: Ledger, run_id: str, *, expected: int | None, actor: str = "ann", dataset: str = "films"
) -> PromotionRow:
    why = {"actor": actor, "reason": "better", "evidence": said_of(ledger, run_id, dataset=dataset)}
    return promote(ledger, dataset=dataset, run_id=run_id, **why, expected_version=expected, now=NOON)


def said_of(ledger: Ledger, run_id: str, *, passes: bool = True, dataset: str = "films") -> dict[str, Any]:
    """Evidence in the shape that the registry looks at."""
    check = {"name": "accuracy", "verdict": "pass" if passes else "fail", "said": "Worse: by far."}
    return {"run_id": run_id, "champion": champion(ledger, dataset), "passes": passes, "checks": [check]}


def undo(ledger: Ledger, *, expected: int | None = None) -> PromotionRow:
    why = {"actor": "bob", "reason": "worse"}
    return rollback(ledger, dataset="films", **why, expected_version=expected, now=NOON + timedelta(hours=1))


def test_promotions_are_counted_and_recorded(ledger: Ledger) -> None:
    first, second = make_run(ledger), make_run(ledger)
    assert champion(ledger, "films") is None and champion_version(ledger, "films") == 0
    make_champion(ledger, first, expected=0)
    make_champion(ledger, second, expected=1, actor="bob")
    assert champion(ledger, "films") == second and champion_version(ledger, "films") == 2
    assert champion(ledger, "retail") is None
    history = [(row.version, row.run_id, row.actor, row.reason, row.at) for row in promotions(ledger, "films")]
    assert history == [(2, second, "bob", "better", NOON), (1, first, "ann", "better", NOON)]


def test_rolling_back_twice_goes_back_twice(ledger: Ledger) -> None:
    a, b, c = (make_run(ledger) for _ in range(3))
    for expected, run_id in enumerate((a, b, c)):
        make_champion(ledger, run_id, expected=expected)
    assert undo(ledger, expected=3).run_id == b
    assert undo(ledger).run_id == a
    with pytest.raises(UnknownRun, match="no earlier champion"):
        undo(ledger)
    make_champion(ledger, c, expected=None)
    assert undo(ledger).run_id == a, "the champion before the one in force"
    assert [row.action for row in promotions(ledger, "films")][:3] == ["rollback", "promote", "rollback"]


def test_who_promotes_what_changed_meanwhile_is_told(ledger: Ledger) -> None:
    first, second = make_run(ledger), make_run(ledger)
    make_champion(ledger, first, expected=0)
    with pytest.raises(Conflict, match=f"ann made {first} champion"):
        make_champion(ledger, second, expected=0, actor="bob")
    with pytest.raises(Conflict):
        undo(ledger, expected=7)
    assert champion(ledger, "films") == first


def test_of_two_operators_at_once_one_wins(ledger: Ledger) -> None:
    runs = [make_run(ledger) for _ in range(8)]
    ready, ends = threading.Barrier(len(runs)), []

    def operator(run_id: str) -> None:
        ready.wait()
        try:
            ends.append(make_champion(ledger, run_id, expected=0).run_id)
        except Conflict:
            ends.append(None)

    threads = [threading.Thread(target=operator, args=(run_id,)) for run_id in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [run_id for run_id in ends if run_id is not None]
    assert len(ends) == 8 and winners == [champion(ledger, "films")]
    assert len(promotions(ledger, "films")) == 1


def test_only_a_finished_run_of_the_dataset_can_serve(ledger: Ledger) -> None:
    with pytest.raises(RunUnfinished, match="has not finished"):
        make_champion(ledger, make_run(ledger, finished=False), expected=0)
    with pytest.raises(UnknownRun, match="of films"):
        make_champion(ledger, make_run(ledger, "retail"), expected=0)
    with pytest.raises(UnknownRun):
        make_champion(ledger, "r-none", expected=0)
    assert promotions(ledger, "films") == []


def test_readings_of_a_test_set_add_up_over_its_runs(ledger: Ledger) -> None:
    mine, other = make_run(ledger), make_run(ledger, "retail")
    for run_id, protocol in ((mine, "last"), (mine, "last"), (make_run(ledger), "time"), (other, "last")):
        log_test_read(ledger, run_id, protocol, NOON)
    assert count_test_reads(ledger, "films") == 3
    assert count_test_reads(ledger, "films", protocol="last") == 2
    assert count_test_reads(ledger, "films", build_id="b-films") == 3
    assert count_test_reads(ledger, "films", build_id="b-other") == 0


def test_a_champion_gives_way_to_evidence_alone(ledger: Ledger) -> None:
    first, second, third = (make_run(ledger) for _ in range(3))
    why = {"dataset": "films", "actor": "ann", "expected_version": None, "now": NOON}
    assert promote(ledger, run_id=first, reason="", **why).action == "promote", "the first needs no comparison"
    with pytest.raises(GateFailed, match="nothing was said"):
        promote(ledger, run_id=second, reason="mine", **why)
    failed = said_of(ledger, second, passes=False)
    with pytest.raises(GateFailed, match="Worse: by far") as refused:
        promote(ledger, run_id=second, reason="mine", evidence=failed, **why)
    assert "--override" in refused.value.remedy
    with pytest.raises(Conflict, match="evidence is of"):
        promote(ledger, run_id=third, reason="mine", evidence=failed, override=True, **why)
    assert champion(ledger, "films") == first
    made = promote(ledger, run_id=second, reason="mine", evidence=said_of(ledger, second), **why)
    assert (made.action, promotions(ledger, "films")[0].evidence) == ("promote", made.evidence)


def test_an_override_needs_a_reason_and_is_recorded_as_one(ledger: Ledger) -> None:
    first, second = make_run(ledger), make_run(ledger)
    make_champion(ledger, first, expected=0)
    failed = said_of(ledger, second, passes=False)
    why = {"dataset": "films", "actor": "ann", "expected_version": 1, "now": NOON, "override": True}
    with pytest.raises(InputError, match="needs a reason"):
        promote(ledger, run_id=second, reason="  ", evidence=failed, **why)
    promote(ledger, run_id=second, reason="the old one offends", evidence=failed, **why)
    (last, _) = promotions(ledger, "films")
    assert (last.action, last.reason, last.evidence) == ("override", "the old one offends", failed)
    back = undo(ledger)
    assert (back.run_id, back.action, back.evidence) == (first, "rollback", None), "going back needs no evidence"


def test_a_champion_is_not_promoted_over_itself(ledger: Ledger) -> None:
    first = make_run(ledger)
    why: dict[str, Any] = {"dataset": "films", "actor": "ann", "reason": "again", "expected_version": None, "now": NOON}
    promote(ledger, run_id=first, **why)
    with pytest.raises(InputError, match="the champion of films already"):
        promote(ledger, run_id=first, override=True, **why)
    assert champion_version(ledger, "films") == 1


def test_an_override_that_nothing_stood_against_is_a_plain_promotion(ledger: Ledger) -> None:
    first, second = make_run(ledger), make_run(ledger)
    make_champion(ledger, first, expected=0)
    why = {"dataset": "films", "actor": "ann", "reason": "", "expected_version": 1, "now": NOON}
    made = promote(ledger, run_id=second, evidence=said_of(ledger, second), override=True, **why)
    assert made.action == "promote"
