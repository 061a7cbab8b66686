"""A job's row takes only the steps it may, whoever asks."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.ops.claims import beat, claim, finish, report_worker, take_over, worker_gone
from core.ops.jobrow import JobRow
from core.ops.jobs import (
    jobs,
    log_path,
    move,
    queue,
    request_cancel,
    request_pause,
    resume,
    status,
    submit,
    succeeded,
)
from core.ops.ledger import Ledger
from core.ops.processes import Process
from data.errors import Conflict, JobFailed, UnknownJob

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ME = Process.current()
DEAD = Process(host=ME.host, pid=ME.pid, started=ME.started - 1)  # an earlier process with the same pid
ELSEWHERE = Process(host="another-host", pid=7, started=7.0)


@pytest.fixture
def ledger(ledger_address: str, tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(ledger_address, home=tmp_path) as ledger:
        yield ledger


def add(ledger: Ledger, *, retries: int = 3, gpu: bool = False) -> str:
    return submit(ledger, kind="train", payload={"seed": 1}, dataset="films", now=NOON, retries=retries, gpu=gpu)


def claimed(ledger: Ledger, supervisor: Process = ME, *, now: datetime = NOON, has_gpu: bool = False) -> JobRow:
    job = claim(ledger, supervisor=supervisor, lease_s=30, now=now, has_gpu=has_gpu)
    assert job is not None
    return job


def line(ledger: Ledger) -> list[str]:
    return [job.job_id for job in queue(ledger)]


def test_jobs_are_claimed_in_the_order_of_the_queue_and_once(ledger: Ledger) -> None:
    ids = [add(ledger) for _ in range(3)]
    assert [claimed(ledger).job_id for _ in range(3)] == ids
    assert claim(ledger, supervisor=ME, lease_s=30, now=NOON) is None
    assert [job.job_id for job in jobs(ledger)] == ids[::-1]


def test_the_queue_can_be_put_in_another_order(ledger: Ledger) -> None:
    a, b, c, d = (add(ledger) for _ in range(4))
    move(ledger, c, to="first")
    assert line(ledger) == [c, a, b, d]
    move(ledger, a, to="last")
    assert line(ledger) == [c, b, d, a]
    move(ledger, d, before=b)
    assert line(ledger) == [c, d, b, a]
    move(ledger, d, before=d)
    assert line(ledger) == [c, d, b, a]
    late = add(ledger)
    assert [claimed(ledger).job_id for _ in range(5)] == [c, d, b, a, late]


def test_only_what_waits_is_moved_and_a_refusal_changes_nothing(ledger: Ledger) -> None:
    running, first, second, paused = (add(ledger) for _ in range(4))
    claimed(ledger)
    request_pause(ledger, paused, now=NOON)
    refused: list[tuple[str, dict[str, Any]]] = [
        (running, {"to": "last"}),
        (paused, {"to": "first"}),
        (second, {"before": running}),
    ]
    for job, where in refused:
        with pytest.raises(Conflict, match="does not wait: it is"):
            move(ledger, job, **where)
    with pytest.raises(UnknownJob):
        move(ledger, "j-none", to="first")
    with pytest.raises(UnknownJob):
        move(ledger, first, before="j-none")
    assert line(ledger) == [first, second]


def test_who_was_moved_behind_still_comes_after_the_one_that_was_interrupted(ledger: Ledger) -> None:
    began, waits, later = (add(ledger) for _ in range(3))
    job = claimed(ledger)
    move(ledger, later, to="first")
    worker_gone(ledger, job, now=NOON, died=True)
    assert line(ledger) == [began, later, waits]


def test_a_gpu_is_one_jobs_at_a_time_and_keeps_no_other_waiting(ledger: Ledger) -> None:
    first, second, on_cpu = add(ledger, gpu=True), add(ledger, gpu=True), add(ledger)
    held = claimed(ledger, has_gpu=True)
    assert held.job_id == first and held.gpu
    assert claimed(ledger, has_gpu=True).job_id == on_cpu, "it was kept waiting behind a job for the GPU"
    assert claim(ledger, supervisor=ME, lease_s=30, now=NOON, has_gpu=True) is None
    assert line(ledger) == [second]
    finish(ledger, held, state="succeeded", now=NOON, result={})
    assert claimed(ledger, has_gpu=True).job_id == second


def test_every_host_has_its_own_gpu_or_does_without(ledger: Ledger) -> None:
    for _ in range(4):
        add(ledger, gpu=True)
    here, there = claimed(ledger, ME, has_gpu=True), claimed(ledger, ELSEWHERE, has_gpu=True)
    assert (here.host, there.host) == (ME.host, ELSEWHERE.host)
    assert claim(ledger, supervisor=ME, lease_s=30, now=NOON, has_gpu=True) is None, "its GPU is held"
    without = Process(host="a-third-host", pid=8, started=8.0)
    assert {claimed(ledger, without).host, claimed(ledger, without).host} == {"a-third-host"}, "it trains on the CPU"
    assert line(ledger) == []


def test_an_interrupted_job_goes_before_those_that_came_later(ledger: Ledger) -> None:
    first, _second = add(ledger), add(ledger)
    worker_gone(ledger, claimed(ledger), now=NOON, died=True)
    again = claimed(ledger)
    assert (again.job_id, again.attempt, again.deaths) == (first, 2, 1)


def test_an_older_claim_can_change_nothing(ledger: Ledger) -> None:
    job_id = add(ledger)
    old = claimed(ledger)
    worker_gone(ledger, old, now=NOON, died=True)
    new = claimed(ledger)
    assert beat(ledger, old, lease_s=30, now=NOON) is None
    assert not finish(ledger, old, state="succeeded", now=NOON, result={"by": "the old one"})
    assert worker_gone(ledger, old, now=NOON, died=True).state == "running"
    assert finish(ledger, new, state="succeeded", now=NOON, result={"by": "the new one"})
    assert status(ledger, job_id).result == {"by": "the new one"}


def test_retries_are_counted_and_resume_restores_them(ledger: Ledger) -> None:
    job_id = add(ledger, retries=1)
    assert worker_gone(ledger, claimed(ledger), now=NOON, died=True).state == "interrupted"
    failed = worker_gone(ledger, claimed(ledger), now=NOON, died=True)
    assert (failed.state, failed.deaths, failed.ended) == ("failed", 2, NOON)
    assert resume(ledger, job_id, now=NOON).state == "queued"
    assert (claimed(ledger).attempt, status(ledger, job_id).deaths) == (3, 0)


def test_being_told_to_stop_is_no_death(ledger: Ledger) -> None:
    add(ledger, retries=0)
    for _ in range(3):
        assert worker_gone(ledger, claimed(ledger), now=NOON, died=False).state == "interrupted"


def test_cancel_ends_what_waits_at_once_and_flags_what_runs(ledger: Ledger) -> None:
    waiting, running = add(ledger), add(ledger)
    assert request_cancel(ledger, waiting, now=NOON).state == "cancelled"
    job = claimed(ledger)
    assert job.job_id == running
    asked = request_cancel(ledger, running, now=NOON)
    assert (asked.state, asked.cancel_requested) == ("running", True)
    orders = beat(ledger, job, lease_s=30, now=NOON)
    assert orders is not None and orders.cancel and not orders.pause
    assert worker_gone(ledger, job, now=NOON, died=True).state == "cancelled"
    assert request_cancel(ledger, running, now=NOON + timedelta(hours=1)).ended == NOON, "cancelled for good"


def test_a_paused_job_waits_until_it_is_resumed(ledger: Ledger) -> None:
    job_id = add(ledger)
    assert request_pause(ledger, job_id, now=NOON).state == "paused"
    assert claim(ledger, supervisor=ME, lease_s=30, now=NOON) is None
    resume(ledger, job_id, now=NOON)
    request_pause(ledger, claimed(ledger).job_id, now=NOON)
    assert resume(ledger, job_id, now=NOON).pause_requested is False, "taken back before it stopped"


def test_resume_leaves_a_finished_job_alone(ledger: Ledger) -> None:
    job_id = add(ledger)
    finish(ledger, claimed(ledger), state="succeeded", now=NOON, result={})
    assert resume(ledger, job_id, now=NOON).state == "succeeded"
    assert request_pause(ledger, job_id, now=NOON).state == "succeeded"


def test_a_late_worker_of_a_dead_supervisor_is_turned_away(ledger: Ledger) -> None:
    add(ledger)
    job = claimed(ledger)
    late = Process(host=ME.host, pid=99_999, started=1.0)
    assert report_worker(ledger, job, worker=late, parent_pid=1) is None
    mine = report_worker(ledger, job, worker=ME, parent_pid=ME.pid)
    assert mine is not None and mine.worker == ME
    assert report_worker(ledger, job, worker=late, parent_pid=ME.pid) is None, "the place is taken"


def test_a_supervisor_leaves_the_living_alone_and_takes_over_from_the_dead(ledger: Ledger) -> None:
    living, dead_too, worker_alive = add(ledger), add(ledger), add(ledger)
    assert claimed(ledger, ME).job_id == living
    assert claimed(ledger, DEAD).job_id == dead_too
    job = claimed(ledger, DEAD)
    report_worker(ledger, job, worker=ME, parent_pid=DEAD.pid)
    other = Process(host=ME.host, pid=1, started=2.0)
    adopted = take_over(ledger, supervisor=other, now=NOON)
    assert [row.job_id for row in adopted] == [worker_alive]
    assert status(ledger, living).supervisor == ME
    assert status(ledger, dead_too).state == "interrupted"
    assert (status(ledger, worker_alive).supervisor, status(ledger, worker_alive).attempt) == (other, 1)


def test_a_job_that_its_supervisor_does_not_know_of_is_settled(ledger: Ledger) -> None:
    add(ledger)
    job = claimed(ledger)
    assert take_over(ledger, supervisor=ME, now=NOON, known=[job.job_id]) == []
    assert status(ledger, job.job_id).state == "running"
    assert take_over(ledger, supervisor=ME, now=NOON) == [], "its worker was never started: the disk was full, say"
    assert (status(ledger, job.job_id).state, status(ledger, job.job_id).deaths) == ("interrupted", 1)


def test_a_jump_of_the_clock_interrupts_nothing_here_but_leases_bind_other_hosts(ledger: Ledger) -> None:
    here, there = add(ledger), add(ledger)
    claimed(ledger, ME)
    claimed(ledger, ELSEWHERE)
    other = Process(host=ME.host, pid=1, started=2.0)
    take_over(ledger, supervisor=other, now=NOON + timedelta(seconds=20))
    assert status(ledger, there).state == "running", "its lease still holds"
    take_over(ledger, supervisor=other, now=NOON + timedelta(days=365))
    assert status(ledger, here).state == "running", "its supervisor lives"
    assert status(ledger, there).state == "interrupted"


def test_the_end_of_a_job_is_its_result_or_its_error(ledger: Ledger) -> None:
    done, failed, gone = add(ledger), add(ledger), add(ledger)
    finish(ledger, claimed(ledger), state="succeeded", now=NOON, result={"run_id": "r-1"})
    error = {"type": "DiskFull", "message": "no space", "remedy": "free some"}
    finish(ledger, claimed(ledger), state="failed", now=NOON, error=error)
    request_cancel(ledger, gone, now=NOON)
    assert succeeded(status(ledger, done)) == {"run_id": "r-1"}
    with pytest.raises(JobFailed, match="no space; free some"):
        succeeded(status(ledger, failed))
    with pytest.raises(JobFailed, match=f"cancelled; resume it with `lodestar jobs resume {gone}`"):
        succeeded(status(ledger, gone))


def test_what_is_no_number_is_null_in_either_database(ledger: Ledger) -> None:
    add(ledger)
    job = claimed(ledger)
    figures = {"ndcg@10": {"estimate": float("nan"), "low": float("-inf"), "n": 0}, "seconds": (1.5, float("inf"))}
    assert finish(ledger, job, state="succeeded", now=NOON, result=figures)
    told = {"ndcg@10": {"estimate": None, "low": None, "n": 0}, "seconds": [1.5, None]}
    assert status(ledger, job.job_id).result == told


def test_the_json_of_a_job_has_the_promised_fields(ledger: Ledger) -> None:
    add(ledger)
    said = claimed(ledger).as_json()
    promised = "job_id kind state progress run_id pid supervisor_pid attempt submitted started ended"
    assert set(promised.split()) <= set(said)
    assert (said["state"], said["submitted"]) == ("running", "2026-01-01T12:00:00+00:00")


@pytest.mark.parametrize("job_id", ["j-none", "", "../../etc/passwd"])
def test_no_such_job(ledger: Ledger, tmp_path: Path, job_id: str) -> None:
    for ask in (status, lambda ledger, job_id: resume(ledger, job_id, now=NOON)):
        with pytest.raises(UnknownJob, match="lodestar jobs"):
            ask(ledger, job_id)
    if not job_id.startswith("j-"):
        with pytest.raises(UnknownJob):
            log_path(tmp_path, job_id)
