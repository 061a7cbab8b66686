"""Where a spec's rows lie: its paths, patterns, folders and databases as a list of sources in a fixed order."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from data.errors import InvalidSpec, UnreadableFile
from data.phrases import file_called, phrase
from data.publish import sha256_of
from data.reading.databases import check_address, is_sqlite
from data.reading.faults import unreachable
from data.reading.staging import Source
from data.spec import DatasetSpec, EventsSection, ItemsSection, UsersSection

_KINDS = frozenset({".csv", ".tsv", ".tab", ".txt", ".jsonl", ".ndjson", ".json", ".parquet", ".pq", ".dat", ".data"})
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # what writers of partitions call a folder of rows without a value
_PACKED = frozenset({".gz", ".zst", ".bz2"})


def sources_of(section: EventsSection | ItemsSection | UsersSection, base: Path) -> list[Source]:
    """The sources of a section, relative to the folder `base`: a pattern stands for its sorted matches, a folder for
    every file below it, numbers in names by their size. A file is known by its path from `base`, whatever others there
    are, so that it is the same one in a later build; by its whole path where the spec names it so. Raises
    UnreadableFile and InvalidSpec."""
    if section.database is not None:
        return [_query(section.database, section.query, base)]
    try:
        paths = _paths(section.files, base)
        again = [path for path, n in Counter(path.resolve() for path in paths).items() if n > 1]
        odd = [path for path in paths if path.exists() and not path.is_file()]
        for path in paths:
            path.name.encode()
    except (ValueError, OSError) as error:  # a NUL, a pattern that is none, a name too long, or in no encoding
        raise UnreadableFile(phrase("file.no_path", error=str(error)), remedy=phrase("do.check_paths")) from error
    if again:
        raise InvalidSpec(phrase("file.named_twice", file=file_called(again[0].name)), remedy=phrase("do.name_once"))
    if odd:
        raise UnreadableFile(phrase("file.no_file", file=file_called(str(odd[0]))), remedy=phrase("do.check_path"))
    return [
        Source(
            _known_by(path, base),
            path,
            section.encoding,
            _partitions(path, base),
            delimiter=section.delimiter,
        )
        for path in paths
    ]


def fingerprints(spec: DatasetSpec, base: Path) -> list[dict[str, Any]]:
    """name, bytes and sha256 of every file that a spec reads, each once, in the order of the sections. Raises
    UnreadableFile and InvalidSpec."""
    sections = [one for one in (spec.events, spec.items, spec.users) if one is not None and one.named]
    sources = [source for section in sections for source in sources_of(section, base) if source.query is None]
    found = dict[Path, dict[str, Any]]()
    for source in sources:
        found.setdefault(source.path.resolve(), _told_of(source))
    return list(found.values())


def digests_of(sources: Sequence[Source]) -> dict[str, str]:
    """The sha256 of each file by the name of its source. Raises UnreadableFile."""
    return {source.name: _told_of(source)["sha256"] for source in sources if source.query is None}


def lists_of(spec: DatasetSpec, base: Path) -> dict[str, str] | None:
    """The sha256 of the files of items and users by their names; None where a database is asked for some, which tells
    not whether it has changed. Raises UnreadableFile and InvalidSpec."""
    sections = [one for one in (spec.items, spec.users) if one is not None and one.named]
    if any(section.database is not None for section in sections):
        return None
    return {name: told for section in sections for name, told in digests_of(sources_of(section, base)).items()}


def _told_of(source: Source) -> dict[str, Any]:
    try:
        return {"name": source.name, "bytes": source.path.stat().st_size, "sha256": sha256_of(source.path)}
    except OSError as error:
        raise unreachable(source.path, error) from error


def _query(address: str, query: str | None, base: Path) -> Source:
    check_address(address)
    if is_sqlite(address):
        path = base / address[len("sqlite://") :].removeprefix("/")  # sqlite:///below and sqlite:////from/the/root
        return Source(path.name, path, address=address, query=query)
    parts = urlsplit(address)
    return Source(f"{parts.hostname or 'postgresql'}{parts.path}", address=address, query=query)


def _paths(patterns: Sequence[str], base: Path) -> list[Path]:
    found: list[Path] = []
    for pattern in patterns:
        place = base / pattern
        if place.is_dir():
            found += _below(place)
        elif any(mark in pattern for mark in "*?[") and not place.exists():
            root = Path(place.anchor) if Path(pattern).is_absolute() else base
            matches = [
                match
                for match in sorted(root.glob(pattern.removeprefix(place.anchor)), key=by_size)
                if not match.is_dir()
            ]
            found += matches
            if not matches:
                raise UnreadableFile(
                    phrase("file.none_matches", pattern=file_called(pattern), folder=file_called(str(base))),
                    remedy=phrase("do.check_path"),
                )
        else:
            found.append(place)
    return found


def _below(folder: Path) -> list[Path]:
    """Every file below a folder, hidden ones and marks of other programs (_SUCCESS) aside."""
    every = [path for path in sorted(folder.rglob("*"), key=by_size) if not _aside(path.relative_to(folder))]
    for path in every:
        if path.is_symlink() and not path.is_file():
            raise UnreadableFile(phrase("file.link", file=file_called(str(path))), remedy=phrase("do.name_target"))
    inside = [path for path in every if path.is_file()]
    if not inside:
        raise UnreadableFile(
            phrase("file.folder_empty", folder=file_called(str(folder))), remedy=phrase("do.check_path")
        )
    for path in inside:
        kinds = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in _PACKED]
        if not kinds or kinds[-1] not in _KINDS:
            raise UnreadableFile(
                phrase("file.folder_holds", folder=file_called(str(folder)), file=file_called(path.name)),
                remedy=phrase("do.use_pattern"),
            )
    return inside


def _aside(inside: Path) -> bool:
    return any(part.startswith((".", "_")) for part in inside.parts)


def _partitions(path: Path, base: Path) -> tuple[tuple[str, str], ...]:
    """key=value in the names of folders between `base` and the file."""
    inside = path.relative_to(base).parts[:-1] if path.is_relative_to(base) else ()
    pairs = (part.partition("=") for part in inside if "=" in part)
    return tuple((key, "" if value == _NO_VALUE else unquote(value)) for key, _, value in pairs if key)


def _known_by(path: Path, base: Path) -> str:
    """The way from `base` to a file, which may lead up; the whole path of one that was named by it."""
    written = path.relative_to(base) if path.is_relative_to(base) else path
    return Path(os.path.normpath(written)).as_posix()


def by_size(path: Path) -> list[list[str | int]]:
    """What sorts day9 before day10: parts of a path, each as text and numbers in turn."""
    pieces = ([*re.split(r"([0-9]+)", part)] for part in path.parts)
    return [[int(piece) if place % 2 else piece for place, piece in enumerate(inside)] for inside in pieces]
