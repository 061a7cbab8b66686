"""`lodestar bench`: the leaderboard is measured once, and kept whole beside the run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from core.ops.ledger import Ledger
from core.ops.registry import count_test_reads
from core.ops.runs import run_folder
from dashboard.benching import board, run_bench
from dashboard.settings import Settings
from data.errors import DamagedArtefact, InputError
from data.publish import verify_manifest, write_manifest


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Benches a store's champion without a language model at hand."""

    def run(home: Path, **asked: Any) -> dict[str, Any]:
        mine = Settings(home=home, cache=tmp_path / "cache", offline=True, threads=1)
        with Ledger.open(home) as ledger:
            return run_bench(mine, ledger, "champion", **{"seeds": [0], **asked})

    return run


def test_the_board_is_kept_whole_beside_the_run(
    new_store: Callable[..., Any], bench: Callable[..., dict[str, Any]]
) -> None:
    own = new_store()
    folder = run_folder(own.home, own.run_id)
    before = (folder / "manifest.json").read_bytes()
    told = bench(own.home)
    rows = {row["model"]: row for row in told["rows"]}
    assert json.loads((folder / "leaderboard" / "leaderboard.json").read_text()) == told
    verify_manifest(folder / "leaderboard")
    assert (folder / "manifest.json").read_bytes() == before
    users = pd.read_parquet(folder / "leaderboard" / "users.parquet")
    served = pd.read_parquet(folder / "users.parquet")
    for model in ("popularity", "item_knn", "ials", "ease", "linear", "softmax_similarity", "total_interest"):
        assert rows[model]["ndcg@10"]["estimate"] == pytest.approx(users[f"{model}:ndcg@10"].mean())
        gain = (served["ndcg@10"] - users[f"{model}:ndcg@10"]).mean()
        assert rows[model]["gain"]["ndcg@10"]["estimate"] == pytest.approx(gain)
    assert rows["served"]["ndcg@10"]["estimate"] == pytest.approx(served["ndcg@10"].mean())
    assert rows["bert"]["too_much"]
    with Ledger.open(own.home) as ledger:
        assert count_test_reads(ledger, "tiny") == 1
    console = Console(width=200, record=True)
    console.print(board(told))
    assert "stands aside" in console.export_text()
    bench(own.home, models=["markov"])  # asked again: replaced
    verify_manifest(folder / "leaderboard")
    assert "markov:hr@10" in pd.read_parquet(folder / "leaderboard" / "users.parquet")


def test_an_unknown_model_is_named_and_nothing_is_kept(
    new_store: Callable[..., Any], bench: Callable[..., dict[str, Any]]
) -> None:
    own = new_store()
    with pytest.raises(InputError, match="gpt"):
        bench(own.home, models=["gpt"])
    assert not (run_folder(own.home, own.run_id) / "leaderboard").exists()


def test_other_users_than_the_runs_are_not_paired(
    new_store: Callable[..., Any], bench: Callable[..., dict[str, Any]]
) -> None:
    own = new_store()
    folder = run_folder(own.home, own.run_id)
    pd.read_parquet(folder / "users.parquet").iloc[1:].to_parquet(folder / "users.parquet", index=False)
    with pytest.raises(DamagedArtefact):
        bench(own.home, models=["markov"])
    write_manifest(folder)
    with pytest.raises(DamagedArtefact, match="other users"):
        bench(own.home, models=["markov"])
