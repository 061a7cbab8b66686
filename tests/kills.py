"""Kills at random moments, of processes that publish and of a worker that trains.

    python -m tests.kills store HOME KILLS SEED
    python -m tests.kills training HOME MODEL KILLS TERMS SEED

A process of its own, because it forks: it loads the modules once and computes nothing itself, so that each of its
children starts within milliseconds and may be killed at any moment of its work. Prints what it did as JSON; ends with
a traceback where something was lost.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from core.learn.config import load_config
from core.ops.builds import builds, current_build, record_build
from core.ops.claims import claim, worker_gone
from core.ops.events import read_events
from core.ops.jobrow import JobRow
from core.ops.jobs import events_path, status, submit
from core.ops.ledger import Ledger, utc_now
from core.ops.processes import Process
from core.ops.registry import champion, promotions
from core.ops.runs import run_folder, runs
from core.ops.supervisor import GRACE_S
from core.ops.worker import work
from core.pipeline import train_run
from data import synthetic
from data.ingest import ingest
from data.presets import preset_text
from data.publish import verify_manifest
from data.spec import load_spec
from tests.crashes import EVENTS, bring_build, promote_run, publish_run, whole_builds, whole_runs

SETTINGS = {
    "epochs": 8,
    "batch_tokens": 1024,
    "network.dim": 16,
    "network.max_length": 40,
    "text.dim": 16,
    "text.rank": 4,
    "text.steps": 4,
    "lr": 0.01,
}
SAVING = ("frozen", "lora")  # the stages with something to save; the others are done again


def child(body: Callable[[], object]) -> int:
    """The pid of a forked process that runs `body`, in a session of its own, and ends with 0 or a traceback."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        body()
        code = 0
    except BaseException:  # noqa: BLE001 - a child must never come back into its parent's code
        traceback.print_exc()
    finally:
        os._exit(code)


def ended_well(pid: int) -> None:
    """Waits for a child whose failure is the test's."""
    _, end = os.waitpid(pid, 0)
    assert end == 0, f"a child ended with {end}"


def kill_writers(home: Path, *, kills: int, seed: int) -> dict[str, int]:
    """Kills a process that ingests, publishes and promotes without end, again and again; whatever it had printed as
    done must be there, and besides that one more at most."""
    chance, told = random.Random(seed), home / "acknowledged"
    home.mkdir(parents=True, exist_ok=True)
    (home / "events.csv").write_text(EVENTS)
    told.touch()
    kinds = ("build", "run", "champion")
    begun = time.monotonic()
    ended_well(child(lambda: _write_on(home, told, rounds=1)))
    within_s = 1.5 * (time.monotonic() - begun)
    for n in range(kills):
        pid = child(lambda: _write_on(home, told, rounds=1000))
        time.sleep(chance.uniform(0.0, within_s))
        os.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL, "it ended by itself"
        ended_well(child(partial(_look, home, told, kills=n + 1)))
    with Ledger.open(home) as ledger:
        known = {
            "build": {row.build_id for row in builds(ledger)},
            "run": {row.run_id for row in runs(ledger) if row.state == "finished"},
            "champion": {row.run_id for row in promotions(ledger, "log")},
        }
    acknowledged = {kind: len(_acknowledged(told, kind)) for kind in kinds}
    ended_well(child(lambda: whole_builds(home)))  # prunes
    beyond = {f"{kind} not acknowledged": len(known[kind]) - acknowledged[kind] for kind in kinds}
    return {"kills": kills, **acknowledged, **beyond, "lost": 0}


def _write_on(home: Path, told: Path, *, rounds: int) -> None:
    def say(kind: str, name: str) -> None:
        with told.open("a") as out:
            out.write(f"{kind} {name}\n")

    with Ledger.open(home) as ledger:
        for _ in range(rounds):
            say("build", bring_build(ledger, home, home))
            for _ in range(3):
                run_id = publish_run(ledger, home)
                say("run", run_id)
                promote_run(ledger, run_id)
                say("champion", run_id)


def _look(home: Path, told: Path, *, kills: int) -> None:
    """Everything that was acknowledged is there and whole, and of each kind at most one more for each kill."""
    finished, _ = whole_runs(home)
    with Ledger.open(home) as ledger:
        built = {row.build_id: row for row in builds(ledger)}
        promoted = [row.run_id for row in promotions(ledger, "log")]
        current = None if not built else current_build(ledger).build_id
        best = champion(ledger, "log")
        closed = {row.run_id for row in runs(ledger) if row.state == "finished"}
    for kind, there in (("build", set(built)), ("run", closed), ("champion", set(promoted))):
        acknowledged = _acknowledged(told, kind)
        assert set(acknowledged) <= there, f"lost: {set(acknowledged) - there}"
        assert len(there) - len(acknowledged) <= kills
        newest = {"build": current, "champion": best}.get(kind)
        assert newest not in acknowledged[:-1], "an older one came back"
    assert finished == len(closed)
    for row in built.values():
        assert row.path.exists()


def _acknowledged(told: Path, kind: str) -> list[str]:
    return [line.split()[1] for line in told.read_text().splitlines() if line.startswith(f"{kind} ")]


def kill_training(home: Path, model: Path, *, kills: int, terms: int, seed: int) -> dict[str, Any]:
    """Trains once undisturbed, then as often as it takes to use up the kills and SIGTERMs at random moments of work;
    every run must end with the first one's bits, and each SIGTERM is answered within the supervisor's patience."""
    home.mkdir(parents=True, exist_ok=True)
    ended_well(child(lambda: _small_world(home)))
    met = Accidents(random.Random(seed))
    first = _train_to_the_end(home, model, met)
    expected = _bits(home, first)
    assert {"model.safetensors", "language_model.safetensors"} <= set(expected)
    evaluation = json.loads((run_folder(home, first) / "evaluation.json").read_bytes())
    met.stages_s = evaluation["stages_s"]
    met.left = [signal.SIGTERM] * terms + [signal.SIGKILL] * kills
    met.chance.shuffle(met.left)
    runs_made = 0
    while met.left:
        run_id = _train_to_the_end(home, model, met)
        runs_made += 1
        assert _bits(home, run_id) == expected, f"{run_id} differs from the run that nobody disturbed"
    return {
        "kills": kills,
        "sigterms": terms,
        "runs": runs_made,
        "files compared": len(expected),
        "undisturbed_s": evaluation["seconds"],
        "slowest end after SIGTERM_s": round(max(met.saved_s), 2) if met.saved_s else None,
        "hit in": dict(sorted(met.hits.items())),
        "lost": 0,
    }


@dataclass
class Accidents:
    """What is still to happen to workers, and what did. stages_s: how long each stage takes."""

    chance: random.Random
    stages_s: dict[str, float] = field(default_factory=dict)
    left: list[signal.Signals] = field(default_factory=list)
    hits: Counter[str] = field(default_factory=Counter)
    saved_s: list[float] = field(default_factory=list)

    def happens_to(self, pid: int, reached: Callable[[str], bool]) -> tuple[signal.Signals, float] | None:
        """The one that came to the worker before it had ended, and after how many seconds it had; it has when this
        returns. It comes at a random moment of a random stage, or of the time from the start to the first stage. As
        under a supervisor, who is told to stop and goes on is killed."""
        stage = self.chance.choice(["", *SAVING, *SAVING, *self.stages_s])
        while stage and not reached(stage):
            if _ends(pid, within_s=0.02):
                return None
        if _ends(pid, within_s=self.chance.uniform(0.0, self.stages_s.get(stage, 1.0))):
            return None
        signum, told_s = self.left.pop(), time.monotonic()
        os.kill(pid, signum)
        if not _ends(pid, within_s=GRACE_S):
            os.kill(pid, signal.SIGKILL)
            assert _ends(pid, within_s=600.0)
        return signum, time.monotonic() - told_s


def _train_to_the_end(home: Path, model: Path, met: Accidents) -> str:
    """Run id of a new job, whose attempts meet with accidents, while there are any, until one comes after the stages
    that save."""
    config = load_config(overrides=[*SETTINGS.items(), ("text.model", str(model))])
    with Ledger.open(home) as ledger:
        payload = {"build_id": current_build(ledger).build_id, "config": config.model_dump()}
        job_id = submit(ledger, kind="train", payload=payload, dataset="synthetic", now=utc_now(), retries=1000)
    spared = False
    while True:
        with Ledger.open(home) as ledger:
            claimed = claim(ledger, supervisor=Process.current(), lease_s=600, now=utc_now())
        assert claimed is not None and claimed.job_id == job_id
        pid, accident = child(lambda: _work(home, job_id)), None
        with Ledger.open(home) as ledger:
            if spared or not met.left:
                assert _ends(pid, within_s=600.0)
            else:
                accident = met.happens_to(pid, partial(_reached, ledger, home, claimed))
            job = worker_gone(ledger, claimed, now=utc_now(), died=True)
            hit = _stage(ledger, home, claimed)
        if accident is not None:
            signum, ended_s = accident
            met.hits[hit or "before its first stage"] += 1
            spared = hit not in (None, "text", *SAVING)
            if signum == signal.SIGTERM:
                met.saved_s.append(ended_s)
                assert ended_s < GRACE_S, f"{hit} did not end in time"
        assert job.state in ("succeeded", "interrupted"), job.error
        if job.state == "succeeded":
            assert job.run_id is not None
            return job.run_id


def _reached(ledger: Ledger, home: Path, attempt: JobRow, stage: str) -> bool:
    return stage in _stages(ledger, home, attempt)


def _stage(ledger: Ledger, home: Path, attempt: JobRow) -> str | None:
    stages = _stages(ledger, home, attempt)
    return stages[-1] if stages else None


def _stages(ledger: Ledger, home: Path, attempt: JobRow) -> list[str]:
    """The stages that an attempt has come to."""
    run_id = status(ledger, attempt.job_id).run_id
    told = read_events(events_path(home, attempt.job_id, run_id))
    return [e["stage"] for e in told if e["type"] == "stage" and e["attempt"] == attempt.attempt]


def _work(home: Path, job_id: str) -> None:
    torch.set_num_threads(1)
    with Ledger.open(home) as ledger:
        work(ledger, home, job_id, {"train": lambda it: train_run(it, cache=home / "cache", offline=True)})


def _ends(pid: int, *, within_s: float) -> bool:
    """Whether a child ends in time; it is reaped then."""
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.002)
    return False


def _small_world(home: Path) -> None:
    files = home / "files"
    files.mkdir()
    synthetic.generate(files, seed=0, world=synthetic.World(n_users=60, n_items=40, n_events=1200))
    (files / "spec.toml").write_text(preset_text("synthetic"), encoding="utf-8")
    now = utc_now()
    made = ingest(load_spec(files / "spec.toml"), base=files, home=home, now=now, threads=1)
    with Ledger.open(home) as ledger:
        record_build(ledger, build_id=made.build_id, dataset=made.dataset, path=made.path, facts={}, now=now)


def _bits(home: Path, run_id: str) -> dict[str, str]:
    """sha256 of a finished run's weights and tables, by name; what holds its id or its seconds is not among them."""
    told = verify_manifest(run_folder(home, run_id))["files"]
    return {name: one["sha256"] for name, one in told.items() if name.endswith((".safetensors", ".parquet"))}


def main(what: str, home: str, *rest: str) -> None:
    """See the module's docstring."""
    if what == "store":
        kills, seed = map(int, rest)
        print(json.dumps(kill_writers(Path(home), kills=kills, seed=seed)))
    else:
        model, *counts = rest
        kills, terms, seed = map(int, counts)
        print(json.dumps(kill_training(Path(home), Path(model), kills=kills, terms=terms, seed=seed)))


if __name__ == "__main__":
    main(*sys.argv[1:])
