"""A recipe's run on a build: one that was finished before, one that is being made, or a new one.

A run's recipe under another protocol is its twin. It has to be trained anew: the run itself may have learned from
targets that the other protocol keeps for the test, so that its own figures there would be praise for remembering.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.learn.config import Protocol, TrainConfig
from core.ops.builds import BuildRow, build_of
from core.ops.jobs import jobs, succeeded
from core.ops.ledger import Ledger
from core.ops.runs import RunRow, finished_run, run_folder, runs
from core.ops.supervisor import wait_for
from dashboard import terminal
from dashboard.desk import submit_training
from data.errors import InvalidConfig
from data.publish import MANIFEST


def run_of(
    ledger: Ledger,
    home: Path,
    build: BuildRow,
    config: TrainConfig,
    *,
    supervisor_argv: Sequence[str],
    announce: Callable[[str], None],
) -> RunRow:
    """The newest finished run of `config` on a build; else waits for a job that makes one, of which `announce` is told
    the id. Raises JobFailed."""
    for run in runs(ledger, build.dataset):
        whole = run.state == "finished" and (run_folder(home, run.run_id) / MANIFEST).is_file()
        if whole and run.build_id == build.build_id and recipe(run.config) == config:
            return run
    under_way = [
        job for job in jobs(ledger) if job.kind == "train" and not job.done and _makes(job.payload, build, config)
    ]
    job_id = under_way[0].job_id if under_way else submit_training(ledger, home, build, config)
    announce(job_id)
    with terminal.Bar(f"train {job_id}") as bar:
        job = wait_for(ledger, home, job_id, supervisor_argv=supervisor_argv, on_change=bar.follow)
    succeeded(job)
    assert job.run_id is not None, "a training job that succeeded has made its run"
    return finished_run(ledger, home, job.run_id)


def twin(ledger: Ledger, home: Path, run: RunRow, protocol: Protocol, *, supervisor_argv: Sequence[str]) -> RunRow:
    """The run's recipe trained and measured by `protocol`: the run itself where that is its own. Raises JobFailed,
    UnknownBuild, and InvalidConfig for a recipe of another version."""
    if run.protocol == protocol:
        return run
    config = recipe(run.config)
    if config is None:
        raise InvalidConfig(
            f"the configuration of run {run.run_id!r} is of another version", remedy="train again with `lodestar train`"
        )

    def announce(job_id: str) -> None:
        told = (
            f"run {run.run_id} learned on the split of {run.protocol}, so its recipe is trained on that of {protocol}"
        )
        terminal.say(f"{told} (job {job_id})")

    build, wanted = build_of(ledger, run.build_id), config.model_copy(update={"protocol": protocol})
    return run_of(ledger, home, build, wanted, supervisor_argv=supervisor_argv, announce=announce)


def recipe(config: Any) -> TrainConfig | None:
    """A configuration as stored, defaults filled in; None where this version does not know it."""
    try:
        return TrainConfig.model_validate(config)
    except ValidationError:
        return None


def _makes(payload: Any, build: BuildRow, config: TrainConfig) -> bool:
    return payload.get("build_id") == build.build_id and recipe(payload.get("config")) == config
