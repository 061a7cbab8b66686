import errno
import fcntl
import json
import os
from pathlib import Path

import pytest

from data import publish
from data.errors import DamagedArtefact, DiskFull, StoreError
from data.publish import remove_orphans, staged, temporary_folder, verify_manifest, write_manifest, write_whole


def test_a_clean_exit_publishes_the_folder_with_a_manifest_that_verifies(tmp_path: Path) -> None:
    with staged(tmp_path, "run", extra={"seed": 7}) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "a.bin").write_bytes(b"abc")
        assert not (tmp_path / "run").exists()
    manifest = verify_manifest(tmp_path / "run")
    assert manifest["seed"] == 7
    assert manifest["files"]["deep/a.bin"]["bytes"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_error_publishes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staged(tmp_path, "run") as folder:
        (folder / "a.bin").write_bytes(b"abc")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_is_published_is_never_rewritten_by_accident(tmp_path: Path) -> None:
    with staged(tmp_path, "run") as folder:
        (folder / "a").write_bytes(b"first")
    with pytest.raises(FileExistsError), staged(tmp_path, "run"):
        pass
    with staged(tmp_path, "run", replace=True) as folder:
        (folder / "a").write_bytes(b"second")
    assert (tmp_path / "run" / "a").read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_cannot_be_swapped_in_one_step_is_replaced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "_SWAP", "no_such_call")
    for word in ("first", "second"):
        with staged(tmp_path, "run", replace=True) as folder:
            (folder / "a").write_text(word)
    assert (tmp_path / "run" / "a").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_full_disk_publishes_nothing_and_keeps_what_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "kept", b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(publish.os, "fsync", full)
    with pytest.raises(DiskFull, match="prune"), staged(tmp_path, "run") as folder:
        (folder / "a").write_bytes(b"x")
    with pytest.raises(DiskFull):
        write_whole(tmp_path / "kept", b"new")
    assert (tmp_path / "kept").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_folder_that_cannot_be_written_is_a_stated_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="cannot be written"), temporary_folder(tmp_path / "file" / "below", "x"):
        pass


@pytest.mark.parametrize("harm", ["flip", "truncate", "remove", "no manifest", "half a manifest"])
def test_damage_is_seen(tmp_path: Path, harm: str) -> None:
    with staged(tmp_path, "run") as folder:
        (folder / "weights").write_bytes(b"0123456789")
    run = tmp_path / "run"
    if harm == "flip":
        (run / "weights").write_bytes(b"0123456780")
    elif harm == "truncate":
        (run / "weights").write_bytes(b"01234")
    elif harm == "remove":
        (run / "weights").unlink()
    elif harm == "no manifest":
        (run / "manifest.json").unlink()
    else:
        (run / "manifest.json").write_text('{"files": ')
    with pytest.raises(DamagedArtefact, match="run"):
        verify_manifest(run)


def test_a_manifest_leaves_out_what_lives_on(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last").write_text("x")
    (tmp_path / "events.jsonl").write_text("{}")
    (tmp_path / "log.txt").write_text("x")
    (tmp_path / "config.toml").write_text("seed = 1")
    (tmp_path / "judges").mkdir()
    (tmp_path / "judges" / "lift.json").write_text("{}")
    write_manifest(tmp_path / "judges")
    write_manifest(tmp_path, extra={"build_id": "b-1"})
    assert list(json.loads((tmp_path / "manifest.json").read_text())["files"]) == ["config.toml"]
    (tmp_path / "events.jsonl").write_text("{}{}")
    verify_manifest(tmp_path)


def test_orphans_of_a_crash_go_and_work_in_progress_stays(tmp_path: Path) -> None:
    (tmp_path / ".tmp-build-1").mkdir()
    (tmp_path / ".tmp-build-1" / "half").write_text("x")
    (tmp_path / ".tmp-file-2").write_text("x")
    with temporary_folder(tmp_path, "now") as folder:
        removed = remove_orphans(tmp_path)
        assert folder.is_dir()
    assert [path.name for path in removed] == [".tmp-build-1", ".tmp-file-2"]
    assert list(tmp_path.iterdir()) == []
    assert remove_orphans(tmp_path / "absent") == []


def test_whoever_clears_orphans_at_any_moment_takes_nothing_from_a_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_flock, true_fsync, cleared = publish.fcntl.flock, os.fsync, []

    def clear_first(handle: int, how: int) -> None:
        if not how & fcntl.LOCK_NB and len(cleared) < 2:  # between a writer's making of a thing and its lock on it
            cleared.append(remove_orphans(tmp_path))
        true_flock(handle, how)

    def clear_meanwhile(handle: int) -> None:
        assert remove_orphans(tmp_path) == []
        true_fsync(handle)

    monkeypatch.setattr(publish.fcntl, "flock", clear_first)
    monkeypatch.setattr(publish.os, "fsync", clear_meanwhile)
    with staged(tmp_path, "run") as folder:
        (folder / "a").write_text("x")
    verify_manifest(tmp_path / "run")
    cleared.clear()
    write_whole(tmp_path / "told.json", b"{}")
    assert (tmp_path / "told.json").read_bytes() == b"{}"
    assert all(cleared), "it did come between"
