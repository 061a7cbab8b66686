"""JSON lines, staged: an object a line, its members found by name.

A column is a member's name, or a path to a nested one with dots (`user.id`); a name that holds the dot itself comes
first. Lines are cut here, so that their numbers are exact, and taken apart by DuckDB's parser.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.reading.staging import StagedFile, Target
from data.reading.textfile import MAX_LINE_BYTES, Reject, check_columns, shown

_BATCH_BYTES = 1 << 25
_SAMPLE_LINES = 20_000  # whose members are the columns
_DEPTH = 3  # of nested members that are named
_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json"})
_BOM = b"\xef\xbb\xbf"
_FAULTS = (
    "SELECT line, CASE WHEN NOT json_valid(text) THEN 'unreadable-json'"
    " WHEN json_type(text) <> 'OBJECT' THEN 'no-json-object' END AS fault, text FROM lines ORDER BY line"
)
_CELLS = (
    "(WITH parsed AS (SELECT line, json_extract_string(text, $pointers) AS texts, json_type(text, $pointers) AS kinds,"
    " json_extract(text, $pointers) AS parts FROM lines)"
    " SELECT line, list_transform(texts, lambda x, n: CASE"
    " WHEN kinds[n] = 'ARRAY' THEN array_to_string(TRY_CAST(parts[n] AS VARCHAR[]), $separator)"
    " WHEN kinds[n] = 'DOUBLE' THEN regexp_replace(x, '\\.0$', '') ELSE x END) AS cells FROM parsed) ORDER BY line"
)


def is_json_lines(name: str, head: bytes) -> bool:
    """Whether a text file is told or seen to hold an object a line."""
    suffixes = {suffix.lower() for suffix in Path(name).suffixes[-2:]}
    return bool(suffixes & _SUFFIXES) or head.removeprefix(_BOM).lstrip().startswith(b'{"')


def stage_json_lines(target: Target, file: StagedFile, path: Path) -> StagedFile:
    """Stage the wanted members of every line; which no line has is told. Raises MissingColumn for a needed one that
    none has."""
    header = members(path, wanted=target.wanted)
    needed = [name for name in target.columns[: target.needed] if name is not None]
    check_columns(file.name, list(header), needed)
    file.members = tuple(header)
    header |= {name: _pointer(name) for name in target.wanted if name not in header}
    names = list(header)
    places = {number: at for at, number in enumerate(dict.fromkeys(target.places(names)))}
    pointers = [header[names[number]] for number in places]
    texts = [f"cells[{places[number] + 1}]" if number in places else "NULL" for number in range(len(names))]
    kept: list[npt.NDArray[np.int64]] = []
    for lines in _batches(path, file.rejects):
        target.connection.register("lines", lines)
        faults = target.connection.sql(_FAULTS).to_arrow_table().to_pylist()
        target.connection.unregister("lines")
        bad = {row["line"] for row in faults if row["fault"] is not None}
        file.rejects += [
            Reject(row["line"], row["fault"], shown(row["text"])) for row in faults if row["fault"] is not None
        ]
        good = lines.filter(pa.array([line not in bad for line in lines["line"].to_pylist()])) if bad else lines
        target.connection.register("lines", good)
        target.insert(_CELLS, names, texts, pointers=pointers, separator=target.list_separator)
        target.connection.unregister("lines")
        kept.append(good["line"].to_numpy())
    file.lines = np.concatenate(kept) if kept else np.zeros(0, dtype=np.int64)
    file.count = len(file.lines)
    file.rejects.sort(key=lambda reject: reject.line)
    return file


def members(path: Path, *, wanted: Sequence[str] = ()) -> dict[str, str]:
    """The members that the first lines have, nested ones by their path with dots, and the JSON pointer of each. Those
    that are `wanted` are looked for to the end of the file."""
    found: dict[str, str] = {}
    with path.open("rb") as stream:
        for number, line in enumerate(stream):
            if number >= _SAMPLE_LINES:
                missing = [name for name in wanted if name not in found]
                if not missing:
                    break
                if not any(_as_written(part) in line for name in missing for part in (name, name.rpartition(".")[2])):
                    continue
            try:
                value = json.loads(line[:MAX_LINE_BYTES].removeprefix(_BOM))
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                found = _named(value) | found
    return found


def _as_written(name: str) -> bytes:
    """A name as a JSON file most likely writes it; one that it writes by escapes is found in the sample alone."""
    return json.dumps(name, ensure_ascii=False).encode("utf-8", errors="replace")


def _named(value: dict[str, Any], name: str = "", pointer: str = "", depth: int = 1) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, inside in value.items():
        at = pointer + _pointer(key)
        if isinstance(inside, dict) and depth < _DEPTH:
            found = _named(inside, f"{name}{key}.", at, depth + 1) | found  # a name that holds the dot itself stays
        found[name + key] = at
    return found


def _pointer(name: str) -> str:
    return f"/{name.replace('~', '~0').replace('/', '~1')}"


def _batches(path: Path, rejects: list[Reject]) -> Iterator[pa.Table]:
    """Lines that are text, blank ones left out: line, text; the others go to `rejects`."""
    number = 0
    with path.open("rb") as stream:
        while raw := stream.readlines(_BATCH_BYTES):
            raw[0] = raw[0].removeprefix(_BOM) if number == 0 else raw[0]
            lines = [(number + at, line) for at, line in enumerate(raw, start=1) if line.strip()]
            number += len(raw)
            sound = [(at, line) for at, line in lines if _fault(at, line, rejects) is None]
            if sound:
                numbers, texts = zip(*sound, strict=True)
                yield pa.table(
                    {"line": pa.array(numbers, pa.int64()), "text": pa.array(texts, pa.binary()).cast(pa.string())}
                )


def _fault(at: int, line: bytes, rejects: list[Reject]) -> str | None:
    fault = "line-too-long" if len(line) > MAX_LINE_BYTES else None
    if fault is None and not line.isascii():
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            fault = "bad-encoding"
    if fault is not None:
        rejects.append(Reject(at, fault, shown(line[:MAX_LINE_BYTES].decode("utf-8", errors="replace"))))
    return fault
