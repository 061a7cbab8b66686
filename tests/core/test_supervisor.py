"""Jobs under real processes and real kill -9: nothing is lost, nothing runs twice, nothing is left behind."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.ops.events import read_events
from core.ops.jobrow import JobRow
from core.ops.jobs import (
    events_path,
    jobs,
    log_path,
    request_cancel,
    request_pause,
    resume,
    status,
    submit,
)
from core.ops.ledger import Ledger, utc_now
from core.ops.processes import started_at
from core.ops.supervisor import ensure_supervisor, supervisor_pid, wait_for
from data.errors import JobFailed
from data.publish import write_whole

LONG = 100_000  # more steps than any test waits for: it ends the job itself, with a file named `enough`
SMALL_WORKER = str(Path(__file__).with_name("small_worker.py"))


def supervisor_argv(home: Path, *, idle_exit_s: float = 0, slots: int = 1, grace_s: float = 10) -> list[str]:
    return [sys.executable, SMALL_WORKER, "supervise", str(home), *map(str, (idle_exit_s, slots, grace_s))]


def until(true: Callable[[], object], *, within_s: float = 40.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def gone(pid: int | None) -> bool:
    return pid is None or started_at(pid) is None


def marks(home: Path, job_id: str, what: str) -> list[str]:
    return sorted(path.name for path in (home / "marks").glob(f"{job_id}.*.{what}"))


@pytest.fixture
def home(tmp_path: Path, ledger_address: str) -> Iterator[Path]:
    """A home whose supervisor and workers are gone after the test, whatever happened in it."""
    (tmp_path / "ledger-at").write_text(ledger_address)
    yield tmp_path
    with Ledger.open(ledger_address, home=tmp_path) as ledger:
        for pid in (supervisor_pid(tmp_path), *(job.pid for job in jobs(ledger))):
            if pid is not None and not gone(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def ledger(home: Path, ledger_address: str) -> Iterator[Ledger]:
    with Ledger.open(ledger_address, home=home) as ledger:
        yield ledger


def add(ledger: Ledger, kind: str, **payload: object) -> str:
    return submit(ledger, kind=kind, payload=payload, dataset=None, now=utc_now())


def start(home: Path, *, slots: int = 1, grace_s: float = 10.0) -> int:
    return ensure_supervisor(home, supervisor_argv(home, slots=slots, grace_s=grace_s))


def running(ledger: Ledger, job_id: str) -> JobRow:
    """The job once its worker works (and has shown a first sign of progress)."""
    until(lambda: status(ledger, job_id).progress > 0)
    return status(ledger, job_id)


def test_a_job_runs_to_its_result_and_tells_its_story(home: Path, ledger: Ledger) -> None:
    job_id = add(ledger, "quick", n=42)
    job = wait_for(ledger, home, job_id, supervisor_argv=supervisor_argv(home))
    assert (job.state, job.progress, job.attempt) == ("succeeded", 1.0, 1)
    assert job.result == {"answer": 42}
    assert job.pid is None and job.ended is not None and job.started is not None
    events = read_events(events_path(home, job_id, None))
    assert [(event["type"], event["stage"]) for event in events] == [("stage", "frozen")]
    assert "attempt 1" in log_path(home, job_id).read_text()


def test_a_killed_worker_is_replaced_and_goes_on_where_it_was(home: Path, ledger: Ledger) -> None:
    job_id = add(ledger, "counting", to=LONG)
    start(home)
    kill(running(ledger, job_id).pid)
    until(lambda: status(ledger, job_id).attempt == 2)
    (home / "enough").touch()
    job = wait_for(ledger, home, job_id, supervisor_argv=supervisor_argv(home))
    assert (job.state, job.attempt, job.deaths) == ("succeeded", 2, 1)
    assert job.result is not None and job.result["n"] >= job.result["began_at"] > 0


def test_a_killed_supervisor_leaves_its_worker_to_the_next_one(home: Path, ledger: Ledger) -> None:
    job_id = add(ledger, "counting", to=LONG)
    first = start(home)
    worker = running(ledger, job_id).pid
    kill(first)
    until(lambda: gone(first))
    assert supervisor_pid(home) is None
    second = start(home)
    until(lambda: status(ledger, job_id).supervisor_pid == second)
    adopted = status(ledger, job_id)
    assert (adopted.pid, adopted.attempt, adopted.state) == (worker, 1, "running")
    (home / "enough").touch()
    job = wait_for(ledger, home, job_id, supervisor_argv=supervisor_argv(home))
    assert (job.state, job.attempt) == ("succeeded", 1)
    assert len(marks(home, job_id, "began")) == 1


def test_an_adopted_worker_that_dies_is_replaced_at_once(home: Path, ledger: Ledger) -> None:
    job_id = add(ledger, "counting", to=LONG)
    first = start(home)
    running(ledger, job_id)
    kill(first)
    until(lambda: gone(first))
    second = start(home)
    until(lambda: status(ledger, job_id).supervisor_pid == second)
    kill(status(ledger, job_id).pid)
    until(lambda: status(ledger, job_id).attempt == 2)
    (home / "enough").touch()
    job = wait_for(ledger, home, job_id, supervisor_argv=supervisor_argv(home))
    assert (job.state, job.attempt) == ("succeeded", 2)


def test_a_worker_that_outlives_every_supervisor_still_records_its_result(home: Path, ledger: Ledger) -> None:
    job_id = add(ledger, "counting", to=LONG)
    supervisor = start(home)
    running(ledger, job_id)
    kill(supervisor)
    until(lambda: gone(supervisor))
    (home / "enough").touch()
    until(lambda: status(ledger, job_id).done)
    assert status(ledger, job_id).state == "succeeded"


def test_sigterm_lets_workers_save_and_the_next_supervisor_continues(home: Path, ledger: Ledger) -> None:
    job_id = add(ledger, "counting", to=LONG)
    supervisor = start(home)
    worker = running(ledger, job_id).pid
    os.kill(supervisor, signal.SIGTERM)
    until(lambda: gone(supervisor))
    assert gone(worker)
    stopped = status(ledger, job_id)
    assert (stopped.state, stopped.deaths, stopped.ended) == ("interrupted", 0, None)
    assert marks(home, job_id, "saved")
    (home / "enough").touch()
    start(home)
    until(lambda: status(ledger, job_id).done)
    assert status(ledger, job_id).state == "succeeded" and status(ledger, job_id).attempt == 2


def test_cancel_lets_the_body_save_and_ends_the_job(home: Path, ledger: Ledger) -> None:
    job_id = add(ledger, "counting", to=LONG)
    start(home)
    worker = running(ledger, job_id).pid
    request_cancel(ledger, job_id, now=utc_now())
    until(lambda: status(ledger, job_id).done)
    assert status(ledger, job_id).state == "cancelled"
    assert marks(home, job_id, "saved")
    until(lambda: gone(worker))


def test_cancel_kills_a_deaf_worker_and_its_children(home: Path, ledger: Ledger) -> None:
    job_id = add(ledger, "deaf")
    start(home, grace_s=0.5)
    until(lambda: (home / f"{job_id}.child").exists() and (home / f"{job_id}.child").read_text())
    worker, child = status(ledger, job_id).pid, int((home / f"{job_id}.child").read_text())
    request_cancel(ledger, job_id, now=utc_now())
    until(lambda: status(ledger, job_id).state == "cancelled")
    until(lambda: gone(worker) and gone(child))
    assert not marks(home, job_id, "ended") and status(ledger, job_id).result is None


@pytest.mark.parametrize("asked", ["cancelled", "paused", "interrupted"])
def test_work_that_leaves_nothing_worth_saving_is_left_in_the_middle(home: Path, ledger: Ledger, asked: str) -> None:
    job_id = add(ledger, "absorbed")
    supervisor = start(home, grace_s=600)
    worker = running(ledger, job_id).pid
    if asked == "interrupted":
        os.kill(supervisor, signal.SIGTERM)
    else:
        {"cancelled": request_cancel, "paused": request_pause}[asked](ledger, job_id, now=utc_now())
    until(lambda: status(ledger, job_id).state == asked)
    until(lambda: gone(worker))
    assert status(ledger, job_id).error is None


def test_pause_stops_and_resume_continues(home: Path, ledger: Ledger) -> None:
    job_id = add(ledger, "counting", to=LONG)
    start(home)
    running(ledger, job_id)
    request_pause(ledger, job_id, now=utc_now())
    until(lambda: status(ledger, job_id).state == "paused")
    time.sleep(0.3)
    assert status(ledger, job_id).state == "paused"
    (home / "enough").touch()
    resume(ledger, job_id, now=utc_now())
    until(lambda: status(ledger, job_id).done)
    result = status(ledger, job_id).result
    assert result is not None and result["began_at"] > 0


def test_resume_does_nothing_to_a_living_worker(home: Path, ledger: Ledger) -> None:
    job_id = add(ledger, "counting", to=LONG)
    start(home)
    before = running(ledger, job_id)
    after = resume(ledger, job_id, now=utc_now())
    assert (after.state, after.attempt, after.pid) == ("running", 1, before.pid)


def test_resume_takes_over_a_dead_worker_without_a_supervisor(home: Path, ledger: Ledger) -> None:
    job_id = add(ledger, "counting", to=LONG)
    supervisor = start(home)
    worker = running(ledger, job_id).pid
    kill(supervisor)
    kill(worker)
    until(lambda: gone(worker) and gone(supervisor))
    assert status(ledger, job_id).state == "running", "nobody was left to say otherwise"
    assert resume(ledger, job_id, now=utc_now()).state == "interrupted"
    (home / "enough").touch()
    start(home)
    until(lambda: status(ledger, job_id).done)
    assert status(ledger, job_id).state == "succeeded"


def test_cancel_without_anyone_alive_ends_the_job_at_once(home: Path, ledger: Ledger) -> None:
    job_id = add(ledger, "counting", to=LONG)
    supervisor = start(home)
    worker = running(ledger, job_id).pid
    kill(supervisor)
    kill(worker)
    until(lambda: gone(worker) and gone(supervisor))
    assert request_cancel(ledger, job_id, now=utc_now()).state == "cancelled"


def test_there_is_one_supervisor_however_many_are_started(home: Path) -> None:
    argv = supervisor_argv(home)
    started = [subprocess.Popen(argv) for _ in range(3)]
    pid = ensure_supervisor(home, argv)
    losers = [child for child in started if child.pid != pid]
    assert [child.wait(timeout=20) for child in losers] == [0] * len(losers)
    assert pid == supervisor_pid(home) == ensure_supervisor(home, argv)
    os.kill(pid, signal.SIGTERM)
    for child in started:
        assert child.wait(timeout=20) == 0


def test_a_job_whose_worker_keeps_dying_fails_with_a_remedy(home: Path, ledger: Ledger) -> None:
    job_id = submit(ledger, kind="vanishing", payload={}, dataset=None, now=utc_now(), retries=2)
    start(home)
    until(lambda: status(ledger, job_id).done)
    job = status(ledger, job_id)
    assert (job.state, job.attempt, len(marks(home, job_id, "began"))) == ("failed", 3, 3)
    assert job.error is not None and "jobs logs" in job.error["remedy"]


@pytest.mark.parametrize(
    ("kind", "type_", "message"),
    [
        ("stated", "UnknownItem", "no item 'x'"),
        ("crashing", "JobFailed", "ZeroDivisionError: by zero"),
        ("exiting", "JobFailed", "the worker ended with status 3: the last words"),
        ("never-heard-of", "JobFailed", "nothing here runs jobs of kind 'never-heard-of'"),
    ],
)
def test_an_error_is_recorded_and_not_retried(home: Path, ledger: Ledger, kind: str, type_: str, message: str) -> None:
    job_id = add(ledger, kind)
    start(home)
    until(lambda: status(ledger, job_id).done)
    job = status(ledger, job_id)
    assert (job.state, job.attempt) == ("failed", 1)
    assert job.error is not None
    assert (job.error["type"], job.error["message"]) == (type_, message)
    assert job.error["remedy"]


def test_an_idle_supervisor_leaves_but_misses_no_job(home: Path, ledger: Ledger) -> None:
    argv = supervisor_argv(home, idle_exit_s=0.3)
    pid = ensure_supervisor(home, argv)
    until(lambda: gone(pid))
    job_id = add(ledger, "quick", n=1)
    assert wait_for(ledger, home, job_id, supervisor_argv=argv).state == "succeeded"


def test_a_supervisor_that_cannot_start_says_so(home: Path) -> None:
    with pytest.raises(JobFailed, match="no such thing"):
        ensure_supervisor(home, [sys.executable, "-c", "import sys; sys.exit('no such thing')"])


def test_with_room_for_more_jobs_one_at_a_time_uses_the_gpu(home: Path, ledger: Ledger) -> None:
    def order(gpu: bool) -> str:
        payload = {"to": LONG}
        return submit(ledger, kind="counting", payload=payload, dataset=None, now=utc_now(), gpu=gpu)

    first, second, on_cpu = order(True), order(True), order(False)
    ensure_supervisor(home, [*supervisor_argv(home, slots=3), "gpu"])
    running(ledger, first)
    running(ledger, on_cpu)
    time.sleep(0.3)
    assert status(ledger, second).state == "queued"
    request_cancel(ledger, first, now=utc_now())
    running(ledger, second)
    (home / "enough").touch()
    until(lambda: status(ledger, second).done and status(ledger, on_cpu).done)
    assert {status(ledger, job_id).state for job_id in (second, on_cpu)} == {"succeeded"}


def jobs_under_kills(home: Path, ledger: Ledger, *, n_jobs: int, rivals: int, kills: int) -> dict[str, int]:
    """Lets supervisors that start at once, under a clock that jumps, run jobs while they and the workers are killed at
    random; asserts that each job was done once, and gives how many of each were killed."""
    chance = random.Random(7)
    ids = [
        submit(ledger, kind="counting", payload={"to": 3}, dataset=None, now=utc_now(), retries=100)
        for _ in range(n_jobs)
    ]
    argv = supervisor_argv(home, slots=3)
    killed = {"supervisor": 0, "worker": 0}
    victims = set()
    rival: list[subprocess.Popen[bytes]] = []
    deadline = time.monotonic() + 1000
    while not all(job.done for job in jobs(ledger, n_jobs)):
        assert time.monotonic() < deadline
        if supervisor_pid(home) is None:  # all at once, on the same home
            rival += [subprocess.Popen(argv) for _ in range(rivals)]
        supervisor = ensure_supervisor(home, argv)
        jump_s = chance.choice([0, 86_400, -86_400, 40, -40])  # past every lease, and back
        write_whole(home / "clock-off", str(jump_s).encode())
        time.sleep(chance.uniform(0.2, 1.2))
        at_work = [job.pid for job in jobs(ledger, n_jobs) if job.state == "running" and job.pid is not None]
        victim = supervisor if chance.random() < 0.4 or not at_work else chance.choice(at_work)
        if not gone(victim) and sum(killed.values()) < kills:
            os.kill(victim, signal.SIGKILL)
            victims.add(victim)
            killed["supervisor" if victim == supervisor else "worker"] += 1
        for child in rival:
            child.poll()
    assert {child.poll() for child in rival} <= {None, 0, -signal.SIGKILL}, "who comes second leaves in peace"
    os.kill(ensure_supervisor(home, argv), signal.SIGTERM)
    for child in rival:  # one that was slow to start may have come after that one
        child.terminate()
    for child in rival:
        child.wait(timeout=60)
    for job in jobs(ledger, n_jobs):
        assert job.job_id in ids
        assert job.state == "succeeded"
        assert job.result is not None
        # A worker killed between its body's last act and the ledger's record of it has to be replaced.
        ended = marks(home, job.job_id, "ended")
        lived = [name for name in ended if int((home / "marks" / name).read_text()) not in victims]
        assert ended and len(lived) <= 1, "two workers finished the same job"
        attempts = [int(name.split(".")[1]) for name in ended]
        assert max(attempts) == job.attempt, "not the last attempt's result"
        assert not marks(home, job.job_id, "overlapped"), "two workers were at the same job at once"
    return killed


@pytest.mark.timeout(1100)
@pytest.mark.parametrize(
    ("n_jobs", "rivals", "kills"),
    [(30, 2, 17), *(pytest.param(*size, marks=pytest.mark.slow) for size in ((50, 2, 17), (200, 6, 20)))],
)
def test_jobs_under_random_kills_rival_supervisors_and_a_jumping_clock_are_each_recorded_once(
    home: Path, ledger: Ledger, n_jobs: int, rivals: int, kills: int
) -> None:
    killed = jobs_under_kills(home, ledger, n_jobs=n_jobs, rivals=rivals, kills=kills)
    assert min(killed.values()) >= 3, killed
