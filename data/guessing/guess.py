"""A stranger's files described for them: samples of tables in, a dataset spec with its reasons out.

The guess reads values first and names second, in five languages. It says what each line rests on, what else it weighed
and what it could not decide; it reads no file and writes none. `data/guessing/samples.py` makes the samples.

    samples = {path.name: sample_of(path) for path in paths}
    print(guess(samples, name="shop").toml)
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from data.errors import CannotGuess
from data.guessing.annotated import Decision, annotated
from data.guessing.catalogue import decide_items, decide_users
from data.guessing.events import (
    decide_context,
    decide_habits,
    decide_id,
    decide_keys,
    decide_positive,
    decide_traits,
    rest_of,
)
from data.guessing.lexicon import is_called
from data.guessing.log import Log, Match, Told, find_log, leaning
from data.guessing.profile import Column, File, column_of, file_of, joined
from data.guessing.samples import rows_of
from data.phrases import Phrase, clauses, file_called, listed, phrase, quoted
from data.spec import DatasetSpec, parse_spec

_FEW_ROWS = 20
_WORTH_A_LOOK = ("user", "item", "time", "kind", "rating", "amount", "title", "category", "session")
_ORDER = ("sensitive", "dataset", "events", "items", "users", "positive", "derive")


@dataclass(frozen=True)
class Guess:
    """A spec, the same as TOML with a reason above each line, and what a person should look at."""

    spec: DatasetSpec
    toml: str
    decisions: tuple[Decision, ...]
    warnings: tuple[Phrase, ...]


def guess(samples: Mapping[str, pa.Table], *, name: str, unread: Sequence[Phrase] = ()) -> Guess:
    """Guess the spec of files, each under the name or pattern that the spec will call it by.

    samples: text columns (see `sample_of`), rows as in the file; name: the data set's, made fit by `dataset_name`;
    unread: what to warn of besides. Raises CannotGuess, which tells what was missing and what the columns look like.
    """
    told = Told(warnings=list(unread))
    files = _files(samples, told)
    log, others = find_log(files)
    if log.file.sampled < _FEW_ROWS:
        told.warnings.append(phrase("look.few_rows", file=log.file.title, n=log.file.sampled))
    fit = dataset_name(name)
    told.decide("dataset.name", fit, phrase("name.from", name=quoted(name)))
    decide_keys(log, told)
    traits = decide_traits(log, told)
    of_item, of_user, of_event = rest_of(traits, log)
    items, users = _catalogues(log, files, told)
    decide_context(log, decide_id(of_event, told), told)
    decide_habits(log, traits, told)
    decide_items(log, items, of_item, told)
    decide_users(log, users, of_user, told)
    decide_positive(traits, told)
    _tell_of_the_rest(files, log, others, (items, users), told)
    return _guessed(told, samples)


def dataset_name(text: str) -> str:
    """A name as specs allow it, made of a folder's or file's."""
    ascii_ = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", ascii_).strip("-._")[:64].lower() or "dataset"


def _files(samples: Mapping[str, pa.Table], told: Told) -> list[File]:
    """The samples as files; those with one header, and each with times or of one name but for its digits, as one."""
    groups: dict[object, list[File]] = {}
    for name, sample in samples.items():
        if sample.num_rows == 0:
            told.warnings.append(phrase("look.no_rows", file=file_called(name)))
            continue
        wanted = [one for one in sample.column_names[:5000] if is_called(one, *_WORTH_A_LOOK) > 0.9]
        file, unused = file_of(name, sample, rows=rows_of(sample), wanted=wanted)
        told.warnings += unused
        if _headless(file):
            told.warnings.append(phrase("look.no_header", file=file.title, names=listed(map(quoted, file.header))))
            continue
        timed = any(column.time is not None for column in file.columns)
        stem = re.sub(r"[\d_.-]+", "", name)
        groups.setdefault((file.header, "" if timed else stem), []).append(file)
    if not groups:
        why = phrase("cannot.no_rows_why", faults=clauses(told.warnings)) if told.warnings else ""
        raise CannotGuess(phrase("cannot.no_rows", why=why), remedy=phrase("cannot.no_rows_remedy"))
    return [joined(group) for group in groups.values()]


def _headless(file: File) -> bool:
    """Whether the names are values: a time over times, numbers over numbers, or several that stand in their columns
    again. (Where all of them do, it is the header that came again.)"""
    numbers = [one for one in file.columns if re.fullmatch(r"[+-]?\d+(\.\d+)?", one.name) and one.numeric]
    times = [one for one in file.columns if one.time is not None and _is_time(one.name, of=one)]
    again = [one for one in file.columns if one.name in one.value_set]
    return bool(times) or len(numbers) >= max(1, 0.3 * len(file.columns)) or 2 <= len(again) < len(file.columns)


def _is_time(name: str, *, of: Column) -> bool:
    """Whether a column's name is a time of the form that the column's are."""
    form = column_of("", pa.chunked_array([[name]])).time
    return form is not None and of.time is not None and form.unit == of.time.unit and form.format == of.time.format


def _catalogues(log: Log, files: Sequence[File], told: Told) -> tuple[Match | None, Match | None]:
    """The item and the user file: by the values they share with the log, else by names, which is told."""
    items, users = log.items, log.users
    for role, column, found in (("item", log.item, items), ("user", log.user, users)):
        called = phrase(f"role.{role}")
        if found is not None:
            if found.share < 0.95:
                told.warnings.append(phrase("look.share_listed", share=found.share, role=called, file=found.file.title))
            continue
        taken = [one.file for one in (items, users) if one is not None]
        sign = 1 if role == "item" else -1
        for file in files:
            same = [key for key in file.keys if key.name == column.name]
            if file is log.file or file in taken or not same or sign * leaning(file) <= 0.5:
                continue
            told.warnings.append(phrase("look.by_names_alone", file=file.title, role=called, name=quoted(column.name)))
    return items, users


def _tell_of_the_rest(
    files: Sequence[File], log: Log, others: Sequence[Log], catalogues: Sequence[Match | None], told: Told
) -> None:
    used = [log.file, *(one.file for one in catalogues if one is not None)]
    for file in files:
        if file in used:
            continue
        if any(other.file is file for other in others):
            told.warnings.append(phrase("look.other_log", file=file.title))
        else:
            told.warnings.append(phrase("look.left_out", file=file.title))


def _guessed(told: Told, samples: Mapping[str, pa.Table]) -> Guess:
    decisions = sorted(told.decisions, key=lambda one: _ORDER.index(one.field.partition(".")[0]))
    heading = [
        f"Guessed from {listed(samples)}. Read the reason above each line, and mend what is wrong.",
        *(f"To look at: {warning}." for warning in told.warnings),
    ]
    text = annotated(decisions, heading=heading)
    return Guess(parse_spec(text, origin=phrase("spec.of_guess")), text, tuple(decisions), tuple(told.warnings))
