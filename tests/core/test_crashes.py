"""Power cuts, kills and full disks: what was acknowledged is there afterwards, and nothing is half there."""

from contextlib import closing
from pathlib import Path

import pytest

from data import publish
from data.errors import LodestarError
from tests import crashes
from tests.durable import Disk

MANY = 200  # more than a file system goes through before it gives a freed number again, where it does

LONG = ("ingest, done again",)  # each state of it takes an ingest to look at
SCENES = [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in crashes.SCENES]


@pytest.mark.parametrize("name", SCENES)
def test_a_power_cut_or_a_kill_at_any_step_leaves_the_old_or_the_new(tmp_path: Path, name: str) -> None:
    seen = crashes.replay(crashes.SCENES[name], tmp_path)
    assert seen.points > 3 * seen.done


@pytest.mark.parametrize("name", SCENES)
def test_without_a_flush_a_power_cut_would_be_noticed(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "flush", lambda _: None)
    with pytest.raises((AssertionError, LodestarError)):
        crashes.replay(crashes.SCENES[name], tmp_path)


def test_a_folder_with_the_number_that_a_log_of_sqlites_had_is_not_taken_for_it(tmp_path: Path) -> None:
    root, world = tmp_path / "disk", tmp_path / "after"
    root.mkdir()
    log = root / "ledger.sqlite-wal"
    log.touch()
    freed = log.stat().st_ino
    with closing(Disk(root)) as disk:
        log.unlink()
        for number in range(MANY):
            folder = root / f"{number}"
            folder.mkdir()
            disk.synced(folder)
            if folder.stat().st_ino == freed:
                break
        else:
            pytest.skip("this file system gives no number again")
        disk.materialise(world, "cut")
        assert not any(world.iterdir()), "no name was synced"


@pytest.mark.parametrize("name", ["ingest", "checkpoint", "move_whole"])
def test_a_new_folder_whose_name_is_not_flushed_would_be_noticed(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "make_folder", lambda path: path.mkdir(parents=True, exist_ok=True))
    with pytest.raises((AssertionError, LodestarError)):
        crashes.replay(crashes.SCENES[name], tmp_path)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", crashes.NEEDING_SPACE)
def test_a_full_disk_is_said_costs_nothing_and_goes_by(tmp_path: Path, name: str) -> None:
    with crashes.small_disk(tmp_path / "small") as disk:
        if disk is None:
            pytest.skip("no disk may be mounted here")
        seen = crashes.fill(crashes.SCENES[name], disk, tmp_path / "files")
    assert seen.refused >= 1


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_what_a_killed_writer_had_acknowledged_is_there_and_whole(tmp_path: Path, kills: int) -> None:
    told = crashes.killed("store", tmp_path / "home", kills, 5)
    assert told["build"] >= 1 and told["run"] >= 1 and told["champion"] >= 1


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("kills", "terms"), [(3, 1), pytest.param(20, 5, marks=pytest.mark.slow)])
def test_a_training_under_kills_and_sigterms_ends_with_the_same_bits(
    tmp_path: Path, tiny_language_model: Path, kills: int, terms: int
) -> None:
    told = crashes.killed("training", tmp_path / "home", tiny_language_model, kills, terms, 3)
    assert sum(told["hit in"].values()) == kills + terms
    assert told["runs"] >= 1 and told["files compared"] >= 5
