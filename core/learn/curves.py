"""Training curves for other tools: TensorBoard's event files always, Weights & Biases for runs that ask for it.

Both lie below `logs/` in the run's folder and stand outside its manifest: they tell nothing that events.jsonl does not,
and their tools write beside them (`wandb sync` does). The event files are made from those events. A resumed run begins
its file anew with the epochs that still count, so that no reader draws an epoch twice that was trained twice.

Event files are written by tensorboardX: torch's own writer needs the `tensorboard` package, a web server with gRPC. Of
it the inner writer is taken, since the outer one hands over to a thread and its `flush` does not wait for that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary

from core.ops.events import epochs_told
from data.errors import InputError

LOGS = "logs"
TENSORBOARD = "tensorboard"
WANDB = "wandb"
# What is drawn of an epoch event, under names that both tools take.
SCALARS = {
    "loss": "loss",
    "ndcg@10": "validation_ndcg_10",
    "hr@10": "validation_hr_10",
    "lr": "learning_rate",
    "seconds": "epoch_seconds",
}


@dataclass(frozen=True)
class WandbRun:
    """What a run tells Weights & Biases: the project to stand in, its id and its configuration. With `offline` nothing
    leaves this machine until someone runs `wandb sync`; else the package's own settings (WANDB_MODE) decide."""

    project: str
    run_id: str
    config: Mapping[str, Any]
    offline: bool


class Curves:
    """The curves of one run, for the time of a `with`. told: the events of the run so far.

    Raises InputError where Weights & Biases is asked for and not installed.
    """

    def __init__(self, folder: Path, told: Iterable[Mapping[str, Any]], *, wandb: WandbRun | None = None) -> None:
        self.folder = folder
        self._told: list[Mapping[str, Any]] = list(told)
        self._writer: EventsWriter | None = None
        self._wandb = None if wandb is None else _begin_wandb(folder / LOGS, wandb)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._wandb is not None:
            self._wandb.finish(exit_code=0 if kind is None else 1)

    def epoch(self, event: Mapping[str, Any], *, now: datetime) -> None:
        """One finished epoch, as events.jsonl tells it; on disk when this returns."""
        self._told = [*epochs_told([*self._told, {**event, "type": "epoch", "t": now.isoformat()}])]
        if self._writer is None:
            self._writer = self._anew(self._told[:-1])
        _write(self._writer, self._told[-1])
        self._writer.flush()
        if self._wandb is not None:  # which drops a step that it has had: an epoch trained again
            self._wandb.log(dict(_scalars(event)), step=len(self._told))

    def _anew(self, earlier: Iterable[Mapping[str, Any]]) -> EventsWriter:
        """An event file of the epochs that count so far, in the place of older files."""
        folder = self.folder / LOGS / TENSORBOARD
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        writer = EventsWriter(str(folder / "events"))
        for event in earlier:
            _write(writer, event)
        return writer


def _write(writer: EventsWriter, event: Mapping[str, Any]) -> None:
    values = [Summary.Value(tag=name, simple_value=value) for name, value in _scalars(event)]
    when = datetime.fromisoformat(event["t"]).timestamp()
    writer.write_event(Event(wall_time=when, step=event["epoch"], summary=Summary(value=values)))


def _scalars(event: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Name and value of each curve; a stage's stand together. What an older version did not tell is left out."""
    return [(f"{event['stage']}/{name}", float(event[field])) for field, name in SCALARS.items() if field in event]


def _begin_wandb(folder: Path, asked: WandbRun) -> Any:
    try:
        import wandb  # noqa: PLC0415 (an extra, which no other run needs)
    except ImportError as error:
        raise InputError(
            "Weights & Biases is not installed", remedy="run `pip install -e .[wandb]`, or train without --wandb"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    return wandb.init(
        project=asked.project,
        id=asked.run_id,
        name=asked.run_id,
        dir=str(folder),
        config=dict(asked.config),
        resume="allow",
        mode="offline" if asked.offline else None,
        # curves and the configuration, and nothing of this machine
        settings=wandb.Settings(
            console="off",
            disable_git=True,
            save_code=False,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            silent=True,
        ),
    )
