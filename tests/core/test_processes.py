"""Who goes first: a training yields to what answers a person."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.ops.processes import NICENESS

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


def test_what_cannot_yield_goes_on(tmp_path: Path) -> None:
    refused = f"import core.ops.processes as p; from pathlib import Path; p._PROC = Path({str(tmp_path)!r}); {TOLD}"
    subprocess.run([sys.executable, "-c", refused], check=True, start_new_session=True)
