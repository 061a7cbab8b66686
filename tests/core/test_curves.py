"""Curves in event files: what was told, each epoch once, read as TensorBoard does."""

import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from core.learn.curves import LOGS, TENSORBOARD, Curves, WandbRun
from core.ops.events import epochs_told

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def epoch(stage: str, number: int, *, attempt: int = 1) -> dict[str, Any]:
    """An epoch event whose figures tell which it was."""
    return {
        "type": "epoch",
        "t": (NOW + timedelta(minutes=number)).isoformat(),
        "stage": stage,
        "epoch": number,
        "loss": 10.0 * attempt - number,
        "ndcg@10": number / 100,
        "hr@10": number / 50,
        "lr": 0.001 * number,
        "seconds": 2.5,
    }


def drawn(folder: Path) -> list[tuple[str, int, float]]:
    """(name, step, value) of every scalar below a run's folder, in the order written. A record is its length, a
    checksum of that, the event, and a checksum of it."""
    points = []
    for file in sorted((folder / LOGS / TENSORBOARD).glob("events.out.tfevents.*")):
        data, at = file.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + size])
            points += [(value.tag, event.step, round(value.simple_value, 5)) for value in event.summary.value]
            at += 16 + size
    return points


def test_every_curve_is_on_disk_after_each_epoch(tmp_path: Path) -> None:
    with Curves(tmp_path, []) as curves:
        curves.epoch(epoch("frozen", 1), now=NOW)
        curves.epoch(epoch("frozen", 2), now=NOW)
        assert drawn(tmp_path)[5:] == [
            ("frozen/loss", 2, 8.0),
            ("frozen/validation_ndcg_10", 2, 0.02),
            ("frozen/validation_hr_10", 2, 0.04),
            ("frozen/learning_rate", 2, 0.002),
            ("frozen/epoch_seconds", 2, 2.5),
        ]


def test_a_resumed_curve_goes_on_and_draws_no_epoch_twice(tmp_path: Path) -> None:
    told = [epoch("frozen", number) for number in (1, 2, 3, 4)]
    with Curves(tmp_path, []) as curves:
        for event in told:
            curves.epoch(event, now=NOW)
    with Curves(tmp_path, told) as curves:  # killed before the third epoch's checkpoint: it is trained again
        curves.epoch(epoch("frozen", 3, attempt=2), now=NOW)
        curves.epoch(epoch("lora", 1), now=NOW)
    losses = [point for point in drawn(tmp_path) if point[0].endswith("loss")]
    assert losses == [
        ("frozen/loss", 1, 9.0),
        ("frozen/loss", 2, 8.0),
        ("frozen/loss", 3, 17.0),
        ("lora/loss", 1, 9.0),
    ]
    assert len(list((tmp_path / LOGS / TENSORBOARD).iterdir())) == 1


def test_a_run_resumed_after_its_last_epoch_keeps_its_curves(tmp_path: Path) -> None:
    with Curves(tmp_path, []) as curves:
        curves.epoch(epoch("frozen", 1), now=NOW)
    before = drawn(tmp_path)
    with Curves(tmp_path, [epoch("frozen", 1)]):
        pass
    assert drawn(tmp_path) == before


def test_epochs_told_again_count_once() -> None:
    told = [epoch("frozen", 1), {"type": "log"}, epoch("frozen", 2), epoch("lora", 1), epoch("frozen", 2, attempt=2)]
    kept = [(event["stage"], event["epoch"], event["loss"]) for event in epochs_told(told)]
    assert kept == [("frozen", 1, 9.0), ("lora", 1, 9.0), ("frozen", 2, 18.0)]


def test_weights_and_biases_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    asked = WandbRun("lodestar", "r-1", {"lr": 0.001}, offline=False)
    with Curves(tmp_path, [], wandb=asked) as curves:
        curves.epoch(epoch("frozen", 1), now=NOW)
    wandb.teardown()  # its process writes on for a moment, as it may until a worker ends
    (kept,) = (tmp_path / LOGS / "wandb").glob("offline-run-*")
    (file,) = kept.glob("*.wandb")
    assert b"validation_ndcg_10" in file.read_bytes()


def test_weights_and_biases_is_asked_for_by_name_alone(tmp_path: Path) -> None:
    with Curves(tmp_path, []) as curves:
        curves.epoch(epoch("frozen", 1), now=NOW)
    assert [path.name for path in (tmp_path / LOGS).iterdir()] == [TENSORBOARD]
