"""A search proposes, cuts short, survives what stops it, and counts nothing twice."""

import importlib.util
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch

from core.learn import search as searching
from core.learn.train import Stopped
from core.predict.fit import fit
from core.predict.served import Catalogue

SMALL_SEARCH = Path(__file__).with_name("small_search.py")
found = importlib.util.spec_from_file_location("small_search", SMALL_SEARCH)
assert found is not None
assert found.loader is not None
small_search = importlib.util.module_from_spec(found)
found.loader.exec_module(small_search)
BASE, Followed, ground, opened = (getattr(small_search, n) for n in ("BASE", "Followed", "ground", "opened"))
TRIALS = 8


def told(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what a clock says."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The trials of a search that nothing interrupted."""
    with opened(tmp_path_factory.mktemp("whole")) as search:
        search.run(ground(), Followed(), trials=TRIALS)
        return search.rows()


def test_the_base_is_tried_first_and_the_best_is_no_worse(whole: list[dict[str, Any]]) -> None:
    assert whole[0]["settings"] == {"lr": 0.01, "network.dropout": 0.2, "network.dim": 16}
    assert len({str(row["settings"]) for row in whole}) == TRIALS
    assert max(row["ndcg@10"] for row in whole) >= whole[0]["ndcg@10"] > 0
    assert all(1e-4 <= row["settings"]["lr"] <= 3e-2 and row["settings"]["network.dim"] in (8, 16) for row in whole)


class Alone(Followed):  # type: ignore[misc, valid-type]
    """What follows a fit."""

    def stage(self, name: str) -> Any:
        return nullcontext()

    def log(self, message: str) -> None:
        pass


def test_a_trial_trains_as_a_run_does(whole: list[dict[str, Any]]) -> None:
    n = small_search.N_ITEMS
    everything = torch.ones(n, dtype=torch.bool)
    names = tuple(str(item) for item in range(n))
    catalogue = Catalogue(names, names, tuple(() for _ in names), everything, everything)
    made = fit(ground().split, catalogue, list(names), BASE, kinds=("view",), language_model=None, follow=Alone())
    assert made.stages["frozen"].best_ndcg == whole[0]["ndcg@10"]
    assert made.stages["frozen"].best_epoch + 1 == whole[0]["best_epoch"]


def test_the_test_part_is_not_read(tmp_path: Path, whole: list[dict[str, Any]]) -> None:
    here = ground()
    other = replace(here.split.test, target=(here.split.test.target + 7) % small_search.N_ITEMS)
    with opened(tmp_path) as search:
        search.run(replace(here, split=replace(here.split, test=other)), Followed(), trials=2)
        assert told(search.rows()) == told(whole[:2])


def test_what_falls_behind_is_cut_short_by_validation(tmp_path: Path) -> None:
    """Rates that teach nothing after four trials that learn: none of them runs to the end."""
    base = BASE.model_copy(update={"epochs": 8, "batch_tokens": 64, "id_dropout": 0.0, "lr": 0.02})
    with opened(tmp_path, base, {"lr": "1e-6..3e-2"}) as search:
        for lr in (0.018, 0.022, 0.025, 1e-6, 2e-6):
            search.study.enqueue_trial({"lr": lr})
        search.run(ground(), Followed(), trials=6)
        rows = search.rows()
    assert [row["state"] for row in rows[:4]] == ["complete"] * 4
    assert [row["state"] for row in rows[4:]] == ["pruned", "pruned"]
    assert all(searching.WARM_EPOCHS <= row["epochs"] < base.epochs for row in rows[4:])


def test_stopped_and_taken_up_anywhere_it_is_the_same_search(tmp_path: Path, whole: list[dict[str, Any]]) -> None:
    """Stopped every four epochs: in the middle of trials, at their ends, and while the first is at work."""
    for _ in range(200):
        with opened(tmp_path) as search:
            try:
                search.run(ground(), Followed(4), trials=TRIALS)
            except Stopped:
                continue
            assert told(search.rows()) == told(whole)
            break
    else:
        pytest.fail("it did not come to an end")
    assert not list((tmp_path / searching.CHECKPOINTS).iterdir())


@pytest.mark.parametrize("killed_in", [(1, 2), (3, 1), (3, 5)])
def test_killed_it_goes_on_with_the_same_study(
    tmp_path: Path, whole: list[dict[str, Any]], killed_in: tuple[int, int]
) -> None:
    argv = [sys.executable, "-P", str(SMALL_SEARCH), str(tmp_path), str(TRIALS)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        for line in worker.stdout:
            if tuple(map(int, line.split())) == killed_in:
                worker.send_signal(signal.SIGKILL)
                break
    with opened(tmp_path) as search:
        before = search.rows()
        assert told(before) == told(whole[: len(before)])
        assert len(before) < TRIALS
        follow = Followed()
        search.run(ground(), follow, trials=TRIALS)
        assert told(search.rows()) == told(whole)
        assert [row["trial"] for row in follow.trials] == list(range(len(before) + 1, TRIALS + 1))
        in_flight = [e["epoch"] for e in follow.epochs if e["trial"] == len(before) + 1]
        if killed_in == (1, 2):
            assert in_flight[0] > 1, "it goes on from its checkpoint"
        assert search.seconds > 0


def test_a_trial_that_workers_die_of_counts_as_failed_once(tmp_path: Path) -> None:
    for _ in range(searching.MOST_DEATHS):
        with opened(tmp_path) as search:
            search.study.ask({k: searching._distribution(d) for k, d in search.space.items()})  # and then: killed
            assert search.rows() == []
    with opened(tmp_path) as search:
        search.run(ground(), Followed(), trials=2)
        rows = search.rows()
    assert [row["state"] for row in rows] == ["failed", "complete"]
    assert "died" in rows[0]["error"]
    assert rows[0]["ndcg@10"] is None


def test_being_paused_is_no_death(tmp_path: Path) -> None:
    for _ in range(searching.MOST_DEATHS + 1):
        with opened(tmp_path) as search, pytest.raises(Stopped):
            search.run(ground(), Followed(1), trials=1)
    with opened(tmp_path) as search:
        search.run(ground(), Followed(), trials=1)
        assert [row["state"] for row in search.rows()] == ["complete"]


def test_a_trial_that_diverges_or_cannot_be_has_failed_and_says_why(tmp_path: Path) -> None:
    space = {"lr": "1e-3..1e30", "network.dim": [16, 32], "network.heads": [2, 16]}
    with opened(tmp_path, space=space) as search:
        search.study.enqueue_trial({"lr": 1e30, "network.dim": 16, "network.heads": 2})
        search.run(ground(), Followed(), trials=2)
        first, second = search.rows()
        assert first["state"] == "complete"
        assert second["state"] == "failed"
        assert "loss" in second["error"]
        assert search.best() == first


def test_time_ends_it_in_the_middle_of_a_trial(tmp_path: Path) -> None:
    with opened(tmp_path) as search:
        search.run(ground(), Followed(), trials=TRIALS, seconds=1e-3)
        (row,) = search.rows()
        assert (row["state"], row["epochs"]) == ("pruned", 1)
        assert search.best() == row
        search.run(ground(), Followed(), trials=TRIALS, seconds=1e-3)
        assert len(search.rows()) == 1


def test_the_estimator_learns_from_earlier_trials(tmp_path: Path) -> None:
    """Twenty trials told by hand, good at high rates alone: what is proposed next lies there."""
    with opened(tmp_path, space={"lr": "1e-5..1e-1"}) as search:
        distribution = {"lr": optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True)}
        for lr in np.geomspace(1e-5, 1e-1, 20):
            good = float(lr > 1e-2)
            search.study.add_trial(
                optuna.trial.create_trial(params={"lr": float(lr)}, distributions=distribution, value=good)
            )
        search.run(ground(), Followed(), trials=26)
        assert np.median([row["settings"]["lr"] for row in search.rows()[21:]]) > 5e-3
