"""Every bench still fits the code it measures: each entry point, and each runner that uses Lodestar, loads."""

from importlib import import_module
from pathlib import Path

import pytest

RUNNERS = Path(__file__).parent / "peers" / "runners"
ENTRIES = (
    "tests.bench.__main__",
    "tests.bench.ablation",
    "tests.bench.behaviour",
    "tests.bench.cold",
    "tests.bench.console",
    "tests.bench.crashes",
    "tests.bench.gpu",
    "tests.bench.growth",
    "tests.bench.ingesting",
    "tests.bench.leaderboard",
    "tests.bench.peers.__main__",
    "tests.bench.nearest",
    "tests.bench.peers.scoring",
    "tests.bench.text",
    "tests.bench.update",
)


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_point_loads(entry: str) -> None:
    assert callable(import_module(entry).main)


@pytest.mark.parametrize("runner", ["lodestar_ids", "lodestar_recipe", "scoring_lodestar", "scoring_blended"])
def test_a_runner_in_lodestars_own_environment_loads(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(RUNNERS)
    assert callable(import_module(runner).main)
