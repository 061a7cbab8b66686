"""The command line inside the test's own process: what it prints and how it ends, without a Python started for each."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from dashboard.cli import main
from dashboard.settings import settings


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


def given(*words: str, **environment: str) -> Ended:
    """`lodestar WORDS` with an environment beside the process's own."""
    said, complained = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patched,
        redirect_stdout(said),
        redirect_stderr(complained),
        pytest.raises(SystemExit) as ended,
        _read_anew(bool(environment)),
    ):
        patched.setattr(sys, "argv", ["lodestar", *words])
        for name, value in environment.items():
            patched.setenv(name, value)
        main()
    code = ended.value.code
    return Ended(code if isinstance(code, int) else int(code is not None), said.getvalue(), complained.getvalue())


@contextmanager
def _read_anew(needed: bool) -> Iterator[None]:
    """Settings are read once in a process: here again, and by whoever comes after."""
    if needed:
        settings.cache_clear()
    try:
        yield
    finally:
        if needed:
            settings.cache_clear()
