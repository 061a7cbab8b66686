"""A second web that has imported everything and waits: when the first one dies, it serves at once, where a new process
would first import for some seconds. It hears `serve` on its standard input, and ends when that closes, so that no
launcher can leave one behind.
"""

import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from core.ops.processes import end_group, has_ended

SPARE, SERVE = "--spare", "serve"  # the flag that makes it wait, the word that ends its waiting

# The web that has just begun to serve keeps the machine to itself for so long.
_AFTER_S = 10.0
_ANEW_AFTER_S = 60.0


class Spare:
    """The waiting process of one launcher, or none yet. It costs memory (some 200 MB), not time."""

    def __init__(
        self, argv: Sequence[str], log: Path, environment: Mapping[str, str], *, after_s: float = _AFTER_S
    ) -> None:
        self._argv, self._log, self._environment, self._after_s = argv, log, environment, after_s
        self._process: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        self._due_s = time.monotonic() + after_s

    def tend(self) -> None:
        """Starts one that is due; one that has ended by itself is started anew a minute later."""
        if self._process is not None and has_ended(self._process):
            end_group(self._process)
            self._process, self._due_s = None, time.monotonic() + _ANEW_AFTER_S
        if self._process is None and time.monotonic() >= self._due_s:
            self._process = start_logged(self._argv, self._log, self._environment, stdin=subprocess.PIPE)
            self._pid = self._process.pid

    @property
    def pid(self) -> int | None:
        """Of the one that was started last, whether it waits or has been told to serve."""
        return self._pid

    @property
    def waits(self) -> bool:
        """Whether one is there to be taken."""
        return self._process is not None and not has_ended(self._process)

    def take(self) -> "subprocess.Popen[bytes] | None":
        """The process, which serves from now on and is the caller's; None where none waits."""
        process, self._process, self._due_s = self._process, None, time.monotonic() + self._after_s
        if process is None:
            return None
        assert process.stdin is not None, "it was started with a pipe"
        try:
            process.stdin.write(f"{SERVE}\n".encode())
            process.stdin.close()
        except OSError:  # it has ended
            _close(process)
            return None
        return process

    def close(self) -> None:
        """Ends the one that waits, if any."""
        _close(self._process)
        self._process = None


def start_logged(
    argv: Sequence[str], log: Path, environment: Mapping[str, str], *, stdin: int = subprocess.DEVNULL
) -> "subprocess.Popen[bytes]":
    """Starts a process of a session of its own whose output is appended to `log`."""
    with log.open("ab") as out:
        return subprocess.Popen(
            list(argv), stdin=stdin, stdout=out, stderr=subprocess.STDOUT, env=dict(environment), start_new_session=True
        )


def _close(process: "subprocess.Popen[bytes] | None") -> None:
    if process is None:
        return
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
    end_group(process)
