"""From paths that someone types to a spec beside them: what `ingest --guess` and `ingest --preset` write. Nothing
enters the store.
"""

import glob
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dashboard.terminal import Report
from data.described import describe
from data.domains import domain
from data.errors import CannotGuess, InputError, UnreadableFile
from data.guessing.annotated import Decision, commented
from data.guessing.guess import dataset_name, guess
from data.guessing.samples import sample_of
from data.phrases import Phrase, file_called, phrase
from data.publish import write_whole
from data.reading.places import by_size
from data.spec import parse_spec

_OTHER_ENDINGS = "toml md rst html htm pdf png jpg jpeg gif svg py ipynb sh npz npy duckdb sqlite db log lock"
_NO_TABLES = frozenset(f".{ending}" for ending in _OTHER_ENDINGS.split())
_PATTERN_MARKS = "*?["
_MOST_FILES = 200
_SHOWN = 60  # characters of a path that is none


def guess_dataset(
    paths: Sequence[str],
    *,
    preset: str | None = None,
    out: Path | None = None,
    force: bool = False,
    progress: Report | None = None,
) -> dict[str, Any]:
    """Guess the spec of files, folders and patterns and write it to `out`, by default beside them; the JSON of
    `ingest --guess`. preset: the domain whose names of columns come first and whose settings the spec takes over.
    Raises InputError where a spec stands already and `force` is not given, CannotGuess, UnreadableFile, InvalidSpec."""
    if preset is not None:
        domain(preset)
    files, folder, called = _found(paths)
    spec_path = _spec_path(out, folder, called)
    if spec_path.exists() and not force:
        raise InputError(f"there is {spec_path} already", remedy="say --force to replace it, or --out FILE for another")
    samples, unread = dict[str, pa.Table](), list[Phrase]()
    faults = list[UnreadableFile]()
    for number, path in enumerate(files):
        if progress:
            progress(number / len(files), f"looking at {path.name}")
        try:
            samples[_as_spec_says(path, spec_path.parent)] = sample_of(path)
        except UnreadableFile as error:
            faults.append(error)
            unread.append(phrase("look.unread", file=file_called(path.name), error=error.said))
    if faults and not samples:
        raise faults[0]
    decisions: tuple[Decision, ...] = ()
    warnings = tuple(unread)
    if preset is None:
        found = guess(samples, name=called, unread=unread)
        text, decisions, warnings = found.toml, found.decisions, found.warnings
    else:
        text, warnings = _as_domain(samples, preset, name=called, unread=unread)
    try:
        spec_path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(spec_path, text.encode())
    except OSError as error:
        raise InputError(f"cannot write {spec_path}: {error.strerror}", remedy="name another with --out") from error
    return {
        "spec": str(spec_path),
        "toml": text,
        "decisions": [decision.as_json() for decision in decisions],
        "warnings": list(map(str, warnings)),
        "next": f"lodestar ingest {shlex.quote(str(spec_path))}",
    }


def _spec_path(out: Path | None, folder: Path, called: str) -> Path:
    """Where the spec is written: `out`, or a file named after the data in that folder or the files' own."""
    named = f"{dataset_name(called)}.toml"
    try:
        target = folder / named if out is None else out / named if out.is_dir() else out
        target.exists()
        return target
    except (OSError, ValueError) as error:
        raise _no_path(str(out), error) from error


def _as_domain(
    samples: Mapping[str, pa.Table], preset: str, *, name: str, unread: Sequence[Phrase]
) -> tuple[str, tuple[Phrase, ...]]:
    """The spec of a domain's files as TOML, under a word on what it is, and what a person should look at. Raises
    CannotGuess and InvalidSpec."""
    guessed, warnings = None, tuple(unread)
    try:
        found = guess(samples, name=name, unread=unread)
        guessed, warnings = found.spec, found.warnings
    except CannotGuess:  # names that the domain knows may tell all the same
        pass
    headers = {file: sample.column_names for file, sample in samples.items() if sample.num_rows}
    text = describe(headers, preset, dataset={"name": dataset_name(name)}, guessed=guessed)
    parse_spec(text)
    told = [
        f"Columns found for the preset {preset} by their names, and by a guess where no name told.",
        "What else the preset says (task, kinds, weights, positive rule, figures) can be overruled here.",
    ]
    told += [f"Look at this: {warning}" for warning in warnings]
    return "\n".join([*(line for paragraph in told for line in commented(paragraph)), text]), warnings


def _found(paths: Sequence[str]) -> tuple[list[Path], Path, str]:
    """The files that paths, folders and patterns stand for, the folder they share, and what the data may be called."""
    files: list[Path] = []
    for text in paths:
        try:
            files += _at(text)
        except (OSError, RuntimeError, ValueError) as error:  # a name too long, nobody's home, a NUL
            raise _no_path(text, error) from error
    files = list(dict.fromkeys(files))
    if not files:
        raise UnreadableFile(
            f"no file that could hold rows at {', '.join(paths)}",
            remedy="name CSV, TSV, JSON lines or Parquet files, or their folder",
        )
    if len(files) > _MOST_FILES:
        raise InputError(f"{len(files)} files are too many to look at", remedy=f"name {_MOST_FILES} of them at most")
    folder = Path(os.path.commonpath([one.parent.resolve() for one in files]))
    alone = len(files) == 1 and not Path(paths[0]).expanduser().is_dir()
    return files, folder, files[0].stem if alone else folder.name


def _at(text: str) -> list[Path]:
    """The files that one path, folder or pattern stands for. Raises OSError, RuntimeError or ValueError for what no
    file system could name."""
    path = Path(text).expanduser()
    path.resolve()
    if path.is_dir():
        inside = [one for one in path.iterdir() if one.is_file() and _may_hold_rows(one)]
        return sorted(inside or _further_below(path), key=by_size)
    if path.exists() or not any(mark in text for mark in _PATTERN_MARKS):
        return [path]
    return sorted((Path(one) for one in glob.glob(str(path)) if Path(one).is_file()), key=by_size)  # noqa: PTH207


def _further_below(folder: Path) -> list[Path]:
    """Files in the folders of a folder that holds none itself, as partitions (day=2024-01-01) are."""
    return [
        one
        for one in folder.rglob("*")
        if not any(part.startswith((".", "_")) for part in one.relative_to(folder).parts)
        and one.is_file()
        and _may_hold_rows(one)
    ]


def _no_path(text: str, error: Exception) -> UnreadableFile:
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UnreadableFile(f"{shown!r} cannot be looked at: {why}", remedy="name files that are there, or their folder")


def _may_hold_rows(path: Path) -> bool:
    return (
        not path.name.startswith((".", "_")) and path.suffix.lower() not in _NO_TABLES and path.name != "manifest.json"
    )


def _as_spec_says(path: Path, base: Path) -> str:
    """A path from the spec's folder. Raises InputError for one that is no text."""
    whole, folder = path.resolve(), base.resolve()
    named = (whole.relative_to(folder) if whole.is_relative_to(folder) else whole).as_posix()
    try:
        named.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{named!r} is not UTF-8", remedy="rename that file or folder") from error
    return named
