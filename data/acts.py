"""Files of feedback: CSV and TSV with a header, or JSON lines; every record is either a row or a refusal with its line.

Columns are user, item, kind and at (ISO 8601, UTC where no zone is said, or seconds since 1970); value, slate, rank,
propensity, run_id and key may be there. What else a file holds is left alone.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data.errors import UnreadableFile
from data.reading.textfile import MAX_LINE_BYTES, Reject, check_columns, exact_rows, first_bytes, header_of, shown

NEEDED = ("user", "item", "kind", "at")
OPTIONAL = ("value", "slate", "rank", "propensity", "run_id", "key")
JSON_LINES = (".jsonl", ".ndjson")
_SECONDS = re.compile(r"\d{9,11}(\.\d*)?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")  # what `float` reads without its digits' underscores
_NUMBERS: dict[str, type[float] | type[int]] = {"value": float, "propensity": float, "rank": int}


def acts(path: Path) -> Iterator[tuple[int, str, dict[str, Any] | str]]:
    """(line, raw text, the row's fields or the reason against it), in the file's order; empty fields are left out.

    Raises UnreadableFile and MissingColumn.
    """
    for line, raw, fields in _json_lines(path) if path.suffix.lower() in JSON_LINES else _delimited(path):
        yield line, raw, fields if isinstance(fields, str) else typed(fields)


def moment(told: object) -> datetime | None:
    """A moment as ISO 8601 or as seconds since 1970, UTC where no zone is said; None for what is neither. Seconds are
    those from 1973 on (nine digits): a smaller number is a date without its hyphens, or none at all."""
    text = str(told).strip()
    try:
        if _SECONDS.fullmatch(text):
            return datetime.fromtimestamp(float(text), UTC)
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (OverflowError, OSError, ValueError):
        return None


def _delimited(path: Path) -> Iterator[tuple[int, str, dict[str, Any] | str]]:
    if path.suffix.lower() in (".json", ".parquet", ".pq"):
        raise UnreadableFile(f"{path.name} holds no acts that can be read", remedy="bring CSV, TSV or .jsonl")
    head = first_bytes(path, name=path.name)
    header, delimiter = header_of(path.name, head, NEEDED)
    check_columns(path.name, header, [name for name in OPTIONAL if name in header])
    wanted = {name: header.index(name) for name in (*NEEDED, *OPTIONAL) if name in header}
    rejects: list[Reject] = []
    with path.open("rb") as stream:
        for line, cells in exact_rows(stream, columns=len(header), delimiter=delimiter, rejects=rejects):
            yield from ((reject.line, reject.raw, reject.reason) for reject in rejects)
            rejects.clear()
            yield line, shown(delimiter.join(cells)), {name: cells[place] for name, place in wanted.items()}
    yield from ((reject.line, reject.raw, reject.reason) for reject in rejects)


def _json_lines(path: Path) -> Iterator[tuple[int, str, dict[str, Any] | str]]:
    try:
        with path.open("rb") as stream:
            for line, raw in enumerate(stream, start=1):
                if not raw.strip():
                    continue
                text = shown(raw.decode("utf-8", errors="replace"))
                try:
                    found = json.loads(raw) if len(raw) <= MAX_LINE_BYTES else None
                except (ValueError, RecursionError):
                    found = None
                if not isinstance(found, dict):
                    yield line, text, "unreadable-row"
                else:
                    yield line, text, {name: found[name] for name in (*NEEDED, *OPTIONAL) if name in found}
    except OSError as error:
        raise UnreadableFile(
            f"{path} cannot be read: {error.strerror or error}", remedy="check the path, and its permissions"
        ) from error


def typed(fields: Mapping[str, Any]) -> dict[str, Any] | str:
    """An act's fields as what they are, or the reason why they are not: so that a file and a request are read alike."""
    read: dict[str, Any] = {}
    for name, told in fields.items():
        if told is None or (text := str(told).strip()) == "":
            if name in NEEDED:
                return f"missing-{name}"
            continue
        if isinstance(told, dict | list | bool):
            return f"unreadable-{name}"
        if name == "at":
            if (at := moment(text)) is None:
                return "unreadable-at"
            read[name] = at
        elif name in _NUMBERS:
            try:
                read[name] = _NUMBERS[name](text) if _NUMBER.fullmatch(text) else None
            except ValueError:
                read[name] = None
            if read[name] is None:
                return f"unreadable-{name}"
        else:
            read[name] = text
    missing = [name for name in NEEDED if name not in read]
    return f"missing-{missing[0]}" if missing else read
