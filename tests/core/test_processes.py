"""Who goes first: a training yields to what answers a person."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.ops.processes import NICENESS, Process, end_orphans, started_at

TOLD = """
import os
from pathlib import Path
from core.ops.processes import yield_to_others

yield_to_others()
group = Path("/proc/self/autogroup")
print(os.nice(0), group.read_text().split()[-1] if group.exists() else "none")
"""


def test_a_worker_yields_with_all_of_its_session() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TOLD], capture_output=True, text=True, start_new_session=True, check=True
    )
    own, group = done.stdout.split()
    assert int(own) == os.nice(0) + NICENESS
    if group == "none":
        pytest.skip("this kernel does not weigh sessions")
    assert int(group) == NICENESS


def test_what_a_dead_leader_left_in_its_group_is_ended() -> None:
    leads = "import subprocess, sys; c = subprocess.Popen(['sleep', '600']); print(c.pid, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", leads], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as leader:
        assert leader.stdout is not None
        child, started = int(leader.stdout.readline()), started_at(leader.pid)
        assert started is not None
        who = Process(host=socket.gethostname(), pid=leader.pid, started=started)
        end_orphans(who)
        assert who.alive() and started_at(child) is not None, "its leader lives"
        leader.kill()
    end_orphans(who)
    deadline = time.monotonic() + 20
    while started_at(child) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert started_at(child) is None


def test_what_cannot_yield_goes_on(tmp_path: Path) -> None:
    refused = f"import core.ops.processes as p; from pathlib import Path; p._PROC = Path({str(tmp_path)!r}); {TOLD}"
    done = subprocess.run([sys.executable, "-c", refused], capture_output=True, text=True, start_new_session=True)
    assert done.returncode == 0 and int(done.stdout.split()[0]) == os.nice(0) + NICENESS, done.stderr
