"""events.jsonl: what a job said while it worked, one JSON object a line, appended and never rewritten.

A worker may die in the middle of a line; what it wrote before stays readable, and its successor starts a new
line.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def append_event(path: Path, event: dict[str, Any]) -> None:
    """Appends one line and hands it to the operating system, so that a reader sees it at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(event, default=str).encode() + b"\n"
    with path.open("ab+") as file:
        if file.tell() > 0:
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                line = b"\n" + line
        file.write(line)


def read_events(path: Path, *, after: int = 0) -> list[dict[str, Any]]:
    """The events in order, without the first `after`; [] for a file that is not there yet.

    Lines that are not whole JSON objects (a writer died in them, or is in the middle of one) are left out.
    """
    if not path.is_file():
        return []
    events = []
    for line in path.read_bytes().split(b"\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            events.append(event)
    return events[after:]


def epochs_told(events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The `epoch` events that count, in order: an epoch that was trained again after an interruption stands once, as
    it was told last, and what came after it in its stage is gone."""
    kept: list[dict[str, Any]] = []
    for event in events:
        if event.get("type") == "epoch":
            kept = [
                e
                for e in kept
                if (e["stage"], e.get("trial")) != (event["stage"], event.get("trial")) or e["epoch"] < event["epoch"]
            ]
            kept.append(dict(event))
    return kept
