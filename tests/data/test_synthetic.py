import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from data.ingest import ingest
from data.presets import preset
from data.synthetic import World, generate
from data.warehouse import Warehouse

SMALL = World(n_users=300, n_items=100, n_events=6_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("world")
    generate(made, seed=3, world=SMALL)
    return made


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(folder: Path, tmp_path: Path) -> None:
    for name, seed in (("same", 3), ("other", 4)):
        (tmp_path / name).mkdir()
        generate(tmp_path / name, seed=seed, world=SMALL)
    for file in sorted(path.name for path in folder.iterdir() if path.suffix != ".npz"):  # a zip holds the time
        assert (tmp_path / "same" / file).read_bytes() == (folder / file).read_bytes()
    assert (tmp_path / "other" / "events.tsv").read_bytes() != (folder / "events.tsv").read_bytes()


def test_it_ingests_whole_and_to_size(folder: Path, tmp_path: Path) -> None:
    now = datetime(2025, 6, 1, tzinfo=UTC)
    result = ingest(preset("synthetic"), base=folder, home=tmp_path / "home", now=now)
    assert result.quarantined == 0 and result.catalogue_reasons == {}
    assert 0.7 * SMALL.n_events < result.accepted < 1.3 * SMALL.n_events
    assert (result.facts.n_users, result.facts.n_items) == (SMALL.n_users, SMALL.n_items)
    with Warehouse.open(result.path) as warehouse:
        seen = warehouse.run("SELECT count(*) AS n, count(DISTINCT item_id) AS items FROM events GROUP BY user_id")
        assert seen["n"].to_pylist() == seen["items"].to_pylist()  # next-new: nobody meets an item twice
        told = warehouse.run("SELECT text, categories FROM items").to_pylist()
        assert all(category in row["text"] for row in told for category in row["categories"])
        titles = warehouse.run("SELECT count(DISTINCT title) AS n FROM items")["n"].to_pylist()
        assert titles == [SMALL.n_items]
        kinds = set(warehouse.run("SELECT DISTINCT kind FROM events")["kind"].to_pylist())
        assert kinds == set(preset("synthetic").weights)


def test_the_planted_acceptance_and_propensities_are_what_happened(folder: Path) -> None:
    shown = pq.read_table(folder / "impressions.parquet").to_pandas()
    spread = (shown["acceptance"] * (1 - shown["acceptance"])).sum() ** 0.5
    assert abs(shown["accepted"].sum() - shown["acceptance"].sum()) < 4 * spread
    assert ((shown["propensity"] > 0) & (shown["propensity"] <= 1)).all()
    # Importance weights of a uniform policy average to one over showings of unseen items (the first of each user).
    first = shown.groupby("user").head(1)
    weights = 1 / (SMALL.n_items * first["propensity"])
    assert abs(weights.mean() - 1) < 4 * weights.std() / len(first) ** 0.5


def test_the_rare_group_is_rare_less_active_and_of_another_taste(folder: Path) -> None:
    truth = np.load(folder / "truth.npz", allow_pickle=False)
    rare = truth["rare"]
    assert 0.05 < rare.mean() < 0.2
    shown = pq.read_table(folder / "impressions.parquet").to_pandas()
    looks = np.bincount(shown["user"], minlength=SMALL.n_users)
    assert looks[rare].mean() < 0.75 * looks[~rare].mean()
    assert (
        truth["taste_start"][rare][:, -3:].sum(axis=1).mean()
        > 2 * truth["taste_start"][~rare][:, -3:].sum(axis=1).mean()
    )
    assert np.allclose(truth["taste_end"].sum(axis=1), 1)
    assert (np.abs(truth["taste_end"] - truth["taste_start"]).sum(axis=1) > 0).mean() == truth["drifts"].mean()


def test_the_planted_successor_follows_far_more_often_than_chance(folder: Path) -> None:
    successor = np.load(folder / "truth.npz", allow_pickle=False)["successor"]
    assert sorted(successor) == list(range(SMALL.n_items))
    shown = pq.read_table(folder / "impressions.parquet").to_pandas()
    taken = shown[shown["accepted"]]
    before = taken.groupby("user")["item"].shift()
    follows = (successor[before.dropna().astype(int)] == taken["item"][before.notna()]).mean()
    assert follows > 5 / SMALL.n_items
    assert json.loads((folder / "truth.json").read_text())["world"]["n_items"] == SMALL.n_items


def test_a_world_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        World(n_items=3)
