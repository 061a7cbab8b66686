"""A user keeps the arm they met, a growing share only ever adds to the challenger, and a new champion ends it all."""

import math
from itertools import pairwise
from typing import Any

import pytest

from core.ops.ledger import Ledger
from core.ops.registry import promote, rollback
from core.ops.runs import run_folder
from core.ops.traffic import Split, end_split, split, split_in_force, splits
from core.serve import answers
from core.serve.scorer import PredictQuestion, Shelf
from data.errors import InputError, RunUnfinished, UnknownRun
from tests.core.made_runs import NOON, make_run

USERS = [f"u{i}" for i in range(10_000)]
WHO: dict[str, Any] = {"actor": "ann", "reason": "to see", "now": NOON}


@pytest.fixture
def ledger(two_datasets: Ledger) -> Ledger:
    return two_datasets


def serve(ledger: Ledger, run_id: str) -> None:
    promote(ledger, dataset="films", run_id=run_id, expected_version=None, override=True, **WHO)


def at(share: float, *, salt: str = "films/r-1/") -> Split:
    return Split("films", 1, "r-1", share, salt, 1, "ann", "", NOON)


def challenged(share: float, **options: Any) -> set[str]:
    made = at(share, **options)
    return {user for user in USERS if made.arm_of(user) == "challenger"}


def test_the_arm_of_a_user_is_what_their_hash_says() -> None:
    # printf films/r-1/u7 | sha256sum begins with 177e01862f711ade, which is .0917664 of 2**64
    assert at(0.09176).arm_of("u7") == "champion"
    assert at(0.09177).arm_of("u7") == "challenger"
    assert challenged(0.1) == challenged(0.1)


def test_a_growing_share_takes_nobody_back() -> None:
    shares = (0.0, 0.01, 0.1, 0.35, 0.9, 1.0)
    arms = [challenged(share) for share in shares]
    assert all(fewer <= more for fewer, more in pairwise(arms))
    assert (len(arms[0]), len(arms[-1])) == (0, len(USERS))


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
@pytest.mark.parametrize("salt", ["films/r-1/", "films/r-2/"])
def test_the_share_of_users_is_what_was_asked_for(share: float, salt: str) -> None:
    n = len(USERS)
    spread = math.sqrt(n * share * (1 - share))
    assert abs(len(challenged(share, salt=salt)) - n * share) < 4 * spread


def test_two_challengers_are_drawn_independently() -> None:
    both = challenged(0.5) & challenged(0.5, salt="films/r-2/")
    assert abs(len(both) - len(USERS) / 4) < 4 * math.sqrt(len(USERS) * 3 / 16)


def test_a_split_is_kept_and_raised_for_the_same_users(ledger: Ledger) -> None:
    champion, rival = make_run(ledger), make_run(ledger)
    serve(ledger, champion)
    assert split_in_force(ledger, "films") is None
    first = split(ledger, dataset="films", run_id=rival, share=0.1, **WHO)
    more = split(ledger, dataset="films", run_id=rival, share=0.2, **WHO)
    assert split_in_force(ledger, "films") == more and more.salt == first.salt
    assert split_in_force(ledger, "retail") is None
    ended = end_split(ledger, dataset="films", **WHO)
    assert (ended.share, split_in_force(ledger, "films")) == (0.0, None)
    assert [(row.version, row.share) for row in splits(ledger, "films")] == [(3, 0.0), (2, 0.2), (1, 0.1)]
    with pytest.raises(UnknownRun, match="in force"):
        end_split(ledger, dataset="films", **WHO)


def test_whichever_way_the_champion_changes_the_split_ends(ledger: Ledger) -> None:
    first, second, rival = (make_run(ledger) for _ in range(3))
    serve(ledger, first)
    serve(ledger, second)
    split(ledger, dataset="films", run_id=rival, share=0.1, **WHO)
    rollback(ledger, dataset="films", expected_version=None, **WHO)
    assert split_in_force(ledger, "films") is None
    split(ledger, dataset="films", run_id=rival, share=0.1, **WHO)
    serve(ledger, rival)
    assert split_in_force(ledger, "films") is None


def test_what_cannot_challenge_is_refused(ledger: Ledger) -> None:
    champion = make_run(ledger)
    with pytest.raises(UnknownRun, match="no champion"):
        split(ledger, dataset="films", run_id=champion, share=0.1, **WHO)
    serve(ledger, champion)
    for share in (0.0, 0.51, 1.0, -0.1, math.nan):
        with pytest.raises(InputError, match="does not get"):
            split(ledger, dataset="films", run_id=make_run(ledger), share=share, **WHO)
    with pytest.raises(InputError, match="champion itself"):
        split(ledger, dataset="films", run_id=champion, share=0.1, **WHO)
    with pytest.raises(RunUnfinished):
        split(ledger, dataset="films", run_id=make_run(ledger, finished=False), share=0.1, **WHO)
    with pytest.raises(UnknownRun, match="of films"):
        split(ledger, dataset="films", run_id=make_run(ledger, "retail"), share=0.1, **WHO)


def test_the_champion_is_asked_and_the_users_arm_answers(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ledger.home is not None
    champion, rival = make_run(ledger), make_run(ledger)
    for run_id in (champion, rival):
        (run_folder(ledger.home, run_id) / "manifest.json").write_text("{}")
    monkeypatch.setattr(answers, "open_run", lambda ledger, home, run_id: run_id)
    shelf = Shelf(ledger, ledger.home)

    def ask(run: str = "champion", **subject: Any) -> dict[str, Any]:
        return shelf.ask(PredictQuestion(run=run, dataset="films", **subject), lambda run: {"run_id": run})

    serve(ledger, champion)
    assert ask(user="u7") == {"run_id": champion, "arm": "champion"}
    standing = split(ledger, dataset="films", run_id=rival, share=0.5, **WHO)
    met = {user: ask(user=user) for user in USERS[:40]}
    assert {told["run_id"] for told in met.values()} == {champion, rival}
    for user, told in met.items():
        arm = standing.arm_of(user)
        assert told == {"run_id": rival if arm == "challenger" else champion, "arm": arm}
    assert ask(history=["i1"]) == {"run_id": champion, "arm": "champion"}, "nobody's history is nobody's arm"
    assert ask(champion, user="u7") == {"run_id": champion}, "a run by its name answers by itself"
    end_split(ledger, dataset="films", **WHO)
    assert {ask(user=user)["run_id"] for user in met} == {champion}
