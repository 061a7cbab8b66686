"""How a command speaks: one JSON object or a table on stdout, progress and words on stderr, one line for an error."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from core.ops.jobrow import JobRow
from data.errors import LodestarError
from data.finite import finite

Report = Callable[[float, str], None]


def show(answer: Mapping[str, Any], *, as_json: bool, human: Callable[[Console], None]) -> None:
    """Print an answer: as JSON on one line, what is no number as null, or as `human` draws it."""
    if as_json:
        typer.echo(json.dumps(finite(answer), ensure_ascii=False, default=str, allow_nan=False))
    else:
        human(_console())


def fail(error: LodestarError, *, as_json: bool) -> int:
    """Print an error, in the shape asked for; returns the exit status."""
    if as_json:
        typer.echo(json.dumps(error.as_json(), ensure_ascii=False))
    else:
        typer.echo(f"lodestar: {error}", err=True)
    return 1


def draw(what: Table) -> None:
    """A table on stdout, before what else a command has to say."""
    _console().print(what)


def _console() -> Console:
    """Stdout, where what data and people say stays as they said it: brackets are no markup, colons no emoji."""
    return Console(markup=False, emoji=False)


def say(line: str) -> None:
    """A word to whoever watches, never on stdout."""
    typer.echo(line, err=True)


class Bar:
    """A progress bar on a terminal's stderr, nothing elsewhere. Use as a context manager; call with (share, words)."""

    def __init__(self, what: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task(what, total=1.0)

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, share: float, words: str) -> None:
        self._progress.update(self._task, completed=share, description=words)

    def follow(self, job: JobRow) -> None:
        """Show where a job stands."""
        self(job.progress, f"{job.kind} {job.job_id}: {job.stage or job.state}")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> Table:
    """A plain table; numbers to the right."""
    out = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        out.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        out.add_row(*(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row))
    return out


def harmless(text: str) -> str:
    """Text on one line, in which nothing is that a terminal would obey."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def interval(figure: Mapping[str, Any]) -> str:
    """`.123 [.101, .145]`, or the estimate alone where there is no interval."""
    if figure.get("low") is None:
        return f"{figure['estimate']:.3f}"
    return f"{figure['estimate']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
