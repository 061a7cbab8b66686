"""The gate: by hand, with a planted loss and a planted gap, and silent where two runs cannot be compared."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core.ops.builds import current_build, record_build
from core.ops.ledger import Ledger
from core.ops.registry import log_test_read, promote
from core.ops.runs import RunRow, finish_run, new_run, run_folder, run_of
from core.trust import gate
from core.trust.gate import MARGIN, OFTEN, Check, accuracy, fairness, gather
from data.errors import GateFailed
from data.ingest import ingest
from data.spec import parse_spec

NOON = datetime(2026, 1, 11, 12, tzinfo=UTC)
LAST_EVENT = datetime(2026, 1, 1, 12, tzinfo=UTC)
USERS = 60
SPEC = """
sensitive = ["gender"]
[dataset]
name = "films"
[events]
files = "events.csv"
user = "user"
item = "item"
ts = "ts"
[users]
files = "users.csv"
key = "user"
attributes = ["gender"]
"""


def measured(ndcg: Any, *, n: int = 400) -> pd.DataFrame:
    values = np.broadcast_to(np.asarray(ndcg, np.float64), n)
    return pd.DataFrame({"user_id": range(n), "ndcg@10": values, "hr@10": (values > 0).astype(float)})


def people(n: int = 400, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"user_id": range(n), **columns})


def genders(n: int = 400) -> list[str]:
    return ["F" if user % 2 else "M" for user in range(n)]


def found(check: Check) -> tuple[str, str]:
    return check.verdict, check.finding


def test_a_loss_of_a_tenth_fails_and_one_of_a_hundredth_passes() -> None:
    champion = measured(0.5)
    tenth = accuracy(measured(0.45), champion, seed=0)
    assert found(tenth) == ("fail", "worse")
    assert tenth.figures["margin"] == pytest.approx(MARGIN * 0.5)
    assert tenth.figures["change"] == pytest.approx({"estimate": -0.05, "low": -0.05, "high": -0.05, "n": 400})
    assert found(accuracy(measured(0.495), champion, seed=0)) == ("pass", "non_inferior")
    assert found(accuracy(measured(0.489), champion, seed=0)) == ("fail", "worse")


def test_better_is_said_of_an_interval_above_zero_alone() -> None:
    champion, swing = measured(0.5), np.where(np.arange(400) % 2, 0.05, -0.05)
    better = accuracy(measured(0.501), champion, seed=0)
    assert found(better) == ("pass", "better") and better.said.startswith("Better")
    level = accuracy(measured(0.502 + swing), champion, seed=0)
    # 400 differences of +-.05 around .002 have a mean whose error is .05 / 20
    low, high = level.figures["change"]["low"], level.figures["change"]["high"]
    assert (low, high) == pytest.approx((0.002 - 1.96 * 0.0025, 0.002 + 1.96 * 0.0025), abs=4e-4)
    assert found(level) == ("pass", "non_inferior") and "etter" not in level.said


def test_what_too_few_users_cannot_rule_out_fails_without_being_called_worse() -> None:
    swing = np.where(np.arange(20) % 2, 0.2, -0.2)
    check = accuracy(measured(0.5 + swing, n=20), measured(0.5, n=20), seed=0)
    assert found(check) == ("fail", "not_shown") and "not ruled out" in check.said


def test_a_planted_gap_fails_though_the_mean_stays() -> None:
    groups, champion = genders(), measured(0.5)
    skewed = measured(np.where(np.asarray(groups) == "F", 0.4, 0.6))
    check = fairness(skewed, champion, people(gender=groups), attributes=["gender"], seed=0)
    (gap,) = check.figures["gaps"]
    assert found(check) == ("fail", "grown") and check.figures["grown"] == [gap]
    assert (gap["a"], gap["b"], gap["before"], gap["after"]) == ("F", "M", 0.0, pytest.approx(0.2))
    assert gap["change"]["estimate"] == pytest.approx(0.2) and gap["change"]["n"] == 400
    assert found(accuracy(skewed, champion, seed=0)) == ("pass", "non_inferior")
    healed = fairness(champion, skewed, people(gender=groups), attributes=["gender"], seed=0)
    assert found(healed) == ("pass", "not_grown"), "a gap that closes is no fault"


def test_a_gap_that_moves_by_chance_passes_and_says_what_could_not_be_seen() -> None:
    rng = np.random.default_rng(0)
    champion = rng.random(400)
    rival = champion + rng.normal(0, 0.1, 400)
    check = fairness(measured(rival), measured(champion), people(gender=genders()), attributes=["gender"], seed=0)
    (gap,) = check.figures["gaps"]
    assert found(check) == ("pass", "not_grown")
    assert gap["change"]["low"] < 0 < gap["change"]["high"]
    # the change is of a difference of two means of 200 users, each of which has an error of .1 / sqrt(200)
    assert gap["detectable"] == pytest.approx(2.8016 * 0.1 * np.sqrt(2 / 200), rel=0.25)
    assert f"below {gap['detectable']:.3f} to {gap['detectable']:.3f}" in check.said


def test_a_small_noisy_group_does_not_hide_the_gap_of_two_large_ones() -> None:
    rng = np.random.default_rng(4)
    groups = np.asarray(["X"] * 12 + genders(388))
    champion = rng.random(400)
    rival = champion + np.where(groups == "F", -0.03, 0.03) + rng.normal(0, 0.03, 400)
    apart = np.where(groups == "F", -0.2, 0.0)
    check = fairness(
        measured(rival + apart), measured(champion + apart), people(gender=groups), attributes=["gender"], seed=0
    )
    assert found(check) == ("fail", "grown")
    assert ("F", "M") in {(gap["a"], gap["b"]) for gap in check.figures["grown"]}
    assert len(check.figures["gaps"]) == 3


def test_among_many_attributes_one_must_stand_out_more() -> None:
    rng = np.random.default_rng(1)
    champion, groups = rng.random(400), genders()
    rival = champion + np.where(np.asarray(groups) == "F", -0.011, 0.011) * np.sign(champion[1::2].mean())
    rival += rng.normal(0, 0.1, 400)
    others = {f"a{i}": rng.permutation(groups) for i in range(12)}
    everyone = people(gender=groups, **others)
    alone = fairness(measured(rival), measured(champion), everyone, attributes=["gender"], seed=0)
    among = fairness(measured(rival), measured(champion), everyone, attributes=["gender", *others], seed=0)
    p = {gap["attribute"]: (gap["p"], gap["p_holm"]) for gap in among.figures["gaps"]}
    assert alone.figures["gaps"][0]["p_holm"] == p["gender"][0] <= p["gender"][1]
    assert min(adjusted for _, adjusted in p.values()) == pytest.approx(
        min(1.0, 13 * min(raw for raw, _ in p.values()))
    )


def test_groups_too_small_to_show_are_no_evidence() -> None:
    groups = ["F"] * 5 + ["M"] * 395
    check = fairness(measured(0.4), measured(0.5), people(gender=groups), attributes=["gender"], seed=0)
    assert found(check) == ("unknown", "too_small")
    unstated = people(gender=["unknown"] * 200 + ["M"] * 200)
    assert found(fairness(measured(0.4), measured(0.5), unstated, attributes=["gender"], seed=0))[1] == "too_small"
    assert found(fairness(measured(0.4), measured(0.5), people(), attributes=[], seed=0)) == ("unknown", "undeclared")


def test_of_many_users_the_normal_interval_is_the_bootstraps(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    champion = rng.random(400)
    rival = champion + rng.normal(0, 0.1, 400) + np.where(np.asarray(genders()) == "F", 0.05, 0)
    asked = (measured(rival), measured(champion), people(gender=genders()))
    drawn = fairness(*asked, attributes=["gender"], seed=0).figures["gaps"][0]["change"]
    monkeypatch.setattr(gate, "LARGE", 100)
    normal = fairness(*asked, attributes=["gender"], seed=0).figures["gaps"][0]["change"]
    assert normal["estimate"] == drawn["estimate"]
    assert (normal["low"], normal["high"]) == pytest.approx((drawn["low"], drawn["high"]), abs=0.004)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A store with one build of 60 users, whose last event was ten days ago."""
    events = [f"u{user},i{order},{LAST_EVENT - timedelta(days=order)}" for user in range(USERS) for order in range(3)]
    (tmp_path / "events.csv").write_text("\n".join(["user,item,ts", *events]))
    rows = [f"u{user},{gender}" for user, gender in enumerate(genders(USERS))]
    (tmp_path / "users.csv").write_text("\n".join(["user,gender", *rows]))
    made = ingest(parse_spec(SPEC), base=tmp_path, home=tmp_path / "home", now=NOON, threads=1)
    with Ledger.open(tmp_path / "home") as ledger:
        facts = made.facts.as_dict()
        record_build(ledger, build_id=made.build_id, dataset="films", path=made.path, facts=facts, now=NOON)
        yield ledger


def make_run(
    ledger: Ledger, ndcg: Any, *, build_id: str | None = None, protocol: str = "last", n: int = USERS
) -> RunRow:
    assert ledger.home is not None
    build_id = build_id or current_build(ledger).build_id
    config = {"protocol": protocol}
    run_id = new_run(ledger, ledger.home, dataset="films", build_id=build_id, job_id=None, config=config, now=NOON)
    if ndcg is not None:
        measured(ndcg, n=n).to_parquet(run_folder(ledger.home, run_id) / "users.parquet")
    finish_run(ledger, run_id, summary={}, now=NOON)
    return run_of(ledger, run_id)


def look(ledger: Ledger, run: RunRow) -> gate.Evidence:
    assert ledger.home is not None
    return gather(ledger, ledger.home, run, now=NOON)


def serve(ledger: Ledger, run: RunRow) -> None:
    why = {"actor": "ann", "reason": "first", "expected_version": None, "now": NOON}
    promote(ledger, dataset="films", run_id=run.run_id, **why)


def findings(evidence: gate.Evidence) -> dict[str, tuple[str, str]]:
    return {check.name: found(check) for check in evidence.checks}


def test_two_identical_runs_pass_and_neither_is_better(ledger: Ledger) -> None:
    champion, twin = make_run(ledger, 0.5), make_run(ledger, 0.5)
    serve(ledger, champion)
    evidence = look(ledger, twin)
    assert evidence.passes and not evidence.better
    assert findings(evidence) == {
        "accuracy": ("pass", "non_inferior"),
        "fairness": ("pass", "not_grown"),
        "drift": ("pass", "current"),
        "data_age": ("pass", "current"),
        "test_reads": ("pass", "few"),
    }
    told = json.loads(json.dumps(evidence.as_json(), allow_nan=False))
    assert (told["passes"], told["better"], told["failed"], told["unknown"]) == (True, False, [], [])
    assert (told["run_id"], told["champion"]) == (twin.run_id, champion.run_id)
    assert {check["name"]: check["figures"] for check in told["checks"]}["data_age"]["age_days"] == 10


def test_a_planted_loss_fails_the_whole(ledger: Ledger) -> None:
    serve(ledger, make_run(ledger, 0.5))
    evidence = look(ledger, make_run(ledger, 0.45))
    assert not evidence.passes and evidence.named("fail") == ["accuracy"]


def test_the_first_champion_needs_no_comparison(ledger: Ledger) -> None:
    first = make_run(ledger, None)
    evidence = look(ledger, first)
    assert evidence.passes and evidence.champion is None
    assert findings(evidence)["accuracy"] == ("pass", "first")
    serve(ledger, first)
    assert findings(look(ledger, first))["accuracy"] == ("pass", "same")


@pytest.mark.parametrize(
    ("other", "why"),
    [({"protocol": "time"}, "protocol"), ({"n": USERS - 1}, "users"), ({"ndcg": None}, "unmeasured")],
)
def test_what_cannot_be_paired_is_unknown(ledger: Ledger, other: dict[str, Any], why: str) -> None:
    serve(ledger, make_run(ledger, 0.5))
    rival = make_run(ledger, **{"ndcg": 0.1, **other})
    evidence = look(ledger, rival)
    assert not evidence.passes and not evidence.better and not evidence.named("fail"), "nothing was shown of it"
    with pytest.raises(GateFailed, match="override"):
        promote(
            ledger, dataset="films", run_id=rival.run_id, actor="a", reason="new", expected_version=1, now=NOON,
            evidence=evidence.as_json(),
        )  # fmt: skip
    assert findings(evidence)["accuracy"] == findings(evidence)["fairness"] == ("unknown", why)
    assert evidence.named("unknown")[:2] == ["accuracy", "fairness"]


def test_another_build_cannot_be_paired_and_older_data_does_not_replace_newer(ledger: Ledger, tmp_path: Path) -> None:
    old = make_run(ledger, 0.5)
    text = (tmp_path / "events.csv").read_text()
    (tmp_path / "events.csv").write_text(f"{text}\nu1,i9,{LAST_EVENT + timedelta(days=5)}")
    later = NOON + timedelta(hours=1)
    made = ingest(parse_spec(SPEC), base=tmp_path, home=tmp_path / "home", now=later, threads=1)
    record_build(ledger, build_id=made.build_id, dataset="films", path=made.path, facts={}, now=later)
    rival = make_run(ledger, 0.1)
    assert findings(look(ledger, old))["data_age"] == ("pass", "newer_build")
    assert findings(look(ledger, old))["drift"] == ("unknown", "few")
    serve(ledger, old)
    fresh = findings(look(ledger, rival))
    assert (fresh["accuracy"], fresh["data_age"]) == (("unknown", "build"), ("pass", "current"))
    promote(
        ledger, dataset="films", run_id=rival.run_id, actor="a", reason="new", expected_version=1, now=NOON,
        evidence=look(ledger, rival).as_json(), override=True,
    )  # fmt: skip
    back = look(ledger, old)
    assert findings(back)["data_age"] == ("fail", "older_than_champion") and not back.passes


def test_a_run_of_a_past_that_is_gone_should_learn_from_the_newer_build_first(ledger: Ledger, tmp_path: Path) -> None:
    old = make_run(ledger, 0.5)
    then = (tmp_path / "events.csv").read_text()
    spec = SPEC.replace('ts = "ts"', 'ts = "ts"\nkind = "kind"')
    before = "\n".join(f"{line},{'kind' if not place else 'view'}" for place, line in enumerate(then.splitlines()))
    rng = np.random.default_rng(0)
    newer = [
        f"u{user},i{rng.integers(3)},{LAST_EVENT + timedelta(hours=hour)},{kind}"
        for user in range(60)
        for hour, kind in enumerate(("buy", "buy", "view"), start=1)
    ]
    (tmp_path / "events.csv").write_text("\n".join([before, *newer]))
    made = ingest(parse_spec(spec), base=tmp_path, home=tmp_path / "home", now=NOON + timedelta(hours=1), threads=1)
    record_build(
        ledger, build_id=made.build_id, dataset="films", path=made.path, facts={}, now=NOON + timedelta(hours=1)
    )
    evidence = look(ledger, old)
    (drift,) = [check for check in evidence.checks if check.name == "drift"]
    assert (drift.verdict, drift.finding) == ("fail", "shifted") and not evidence.passes
    assert drift.figures["n"] == 180 and "kinds" in drift.said


def test_a_hold_out_that_is_read_often_is_said_to_flatter(ledger: Ledger) -> None:
    run = make_run(ledger, 0.5)
    for _ in range(OFTEN):
        log_test_read(ledger, run.run_id, "last", NOON)
    assert findings(look(ledger, run))["test_reads"] == ("pass", "few")
    log_test_read(ledger, run.run_id, "last", NOON)
    often = look(ledger, run)
    assert findings(often)["test_reads"] == ("unknown", "often") and often.passes
    assert often.checks[-1].figures["reads"] == OFTEN + 1
