"""What every command stands on: the settings with its store, that store's ledger, and the options they all share."""

import csv
import os
import pwd
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from core.learn.config import TrainConfig
from core.ops import roles, trail
from core.ops.builds import BuildRow
from core.ops.device import has_gpu
from core.ops.jobrow import JobRow
from core.ops.jobs import status, submit
from core.ops.ledger import Ledger, utc_now
from core.ops.supervisor import ensure_supervisor, wait_for
from core.preflight import Preflight, Size, preflight
from dashboard import terminal
from dashboard.settings import Settings, settings
from data.errors import InputError, InvalidConfig
from data.publish import full_disk_reported, make_folder
from data.warehouse import BuildFacts, Warehouse

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Home = Annotated[Path | None, typer.Option("--home", help="The store; default LODESTAR_HOME or ./.lodestar.")]
Dataset = Annotated[str | None, typer.Option("--dataset", help="Default: the one ingested last.")]

Config = Annotated[Path | None, typer.Option("--config", help="The recipe to start from, a TOML file.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="A setting of it, key=value; may be repeated.")]
Detach = Annotated[bool, typer.Option("--detach", help="Return at once.")]

Run = Annotated[str, typer.Argument(help="A run's id, or `champion`.")]

IDLE_EXIT_S = 20.0


@dataclass(frozen=True)
class Desk:
    """What a command works with: the settings with its own store, and that store's ledger."""

    settings: Settings
    ledger: Ledger

    @property
    def home(self) -> Path:
        """The store."""
        return self.settings.home


@contextmanager
def desk(home: Path | None) -> Iterator[Desk]:
    """Open the store that a command names. Raises InvalidConfig for a malformed environment, DiskFull."""
    try:
        mine = settings() if home is None else settings().model_copy(update={"home": home.expanduser().resolve()})
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(["LODESTAR", *(str(part).upper() for part in first["loc"])])
        raise InvalidConfig(f"{name}: {first['msg']}", remedy="mend or unset that variable") from error
    with full_disk_reported(mine.home):
        try:
            make_folder(mine.home)
        except OSError as error:
            raise InputError(f"cannot write to {mine.home}: {error}", remedy="name another with --home") from error
        ledger = Ledger.open(mine.ledger_at, home=mine.home)
        try:
            yield Desk(mine, ledger)
        finally:
            ledger.close()


def actor() -> str:
    """Who acts: the account that runs the command or the console, since both are one local operator's, on loopback. The
    system is asked, not the environment, in which anyone may call himself anything."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's account has no name
        return f"uid-{os.geteuid()}"


def noted(ledger: Ledger, act: str, subject: str, detail: dict[str, Any]) -> None:
    """Enters an act of whoever runs this in the trail."""
    with ledger.write() as connection:
        trail.note(connection, actor=actor(), act=act, subject=subject, now=utc_now(), detail=detail)


def supervisor_argv(home: Path) -> list[str]:
    """The command that becomes a store's supervisor."""
    return [
        sys.executable,
        "-P",
        "-m",
        "dashboard.cli",
        "supervise",
        "--home",
        str(home),
        "--idle-exit",
        str(IDLE_EXIT_S),
    ]


def foresee(ledger: Ledger, home: Path, facts: BuildFacts, config: TrainConfig) -> Preflight:
    """What a training on a build will take here."""
    size = Size(facts.n_events, facts.n_items, facts.n_users)
    return preflight(ledger, home, size, config, cache=settings().cache, gpu_here=has_gpu())


def submit_training(
    ledger: Ledger,
    home: Path,
    build: BuildRow,
    config: TrainConfig,
    *,
    wandb: str | None = None,
    onward: str | None = None,
) -> str:
    """Queue a training job on a build, with what it is expected to take; its id. wandb: the project whose curves it
    joins; onward: the run that it goes on from, which takes a share of that. Raises InputError where the package of
    wandb is not installed, UnknownBuild where the build's file is gone."""
    roles.require(ledger, actor(), roles.Act.TRAIN)
    if wandb is not None and find_spec("wandb") is None:
        raise InputError(
            "Weights & Biases is not installed", remedy="run `pip install -e .[wandb]`, or train without --wandb"
        )
    with Warehouse.open(build.path) as warehouse:
        estimate = None if onward else foresee(ledger, home, warehouse.facts, config).as_json()
    payload = {
        "build_id": build.build_id,
        "config": config.model_dump(),
        "wandb": wandb,
        "onward": onward,
        "estimate": estimate,
    }
    gpu = config.device != "cpu"
    return submit(ledger, kind="train", payload=payload, dataset=build.dataset, now=utc_now(), gpu=gpu)


def await_job(d: Desk, job_id: str, *, detach: bool = False) -> JobRow:
    """The job's row once it is done, with a supervisor running meanwhile; at once with `detach`."""
    if detach:
        ensure_supervisor(d.home, supervisor_argv(d.home))
        return status(d.ledger, job_id)
    with terminal.Bar(f"job {job_id}") as bar:
        return wait_for(d.ledger, d.home, job_id, supervisor_argv=supervisor_argv(d.home), on_change=bar.follow)


def listed(text: str | None) -> list[str] | None:
    """What stands between commas, which a key in double quotes may hold; None where nothing was given. Raises
    InputError."""
    if text is None:
        return None
    try:
        keys = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error as error:
        raise InputError(
            f"{text!r} is no list of keys: {error}", remedy='write 50,172,"a key, with a comma"'
        ) from error
    return [key.strip() for key in keys if key.strip()]


def setting(text: str) -> tuple[str, str]:
    """The key and value of `key=value`. Raises InvalidConfig."""
    key, found, value = text.partition("=")
    if not found:
        raise InvalidConfig(f"{text!r} is not key=value", remedy="write --set epochs=20, say")
    return key, value
