"""The rows of events, staged and judged one by one: typed, with the first reason against each, or none.

What only all of a build together shows is `data.quality`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from data.cleaning import clean
from data.errors import InvalidSpec, UnreadableFile
from data.phrases import file_called, listed, phrase, quoted
from data.quality import PLACEHOLDERS
from data.reading.rows import refuse_absent, stage, stage_feedback
from data.reading.staging import Source, Staged
from data.spec import DatasetSpec
from data.statements import row_of, run_statements, sql
from data.warehouse import Connection

_MICROSECONDS = {"s": 1e6, "ms": 1e3, "us": 1.0}
_SAMPLE_ROWS = 100_000


def check_events(
    connection: Connection,
    spec: DatasetSpec,
    sources: Sequence[Source],
    now: datetime,
    *,
    scratch: Path,
    feedback: pa.Table | None = None,
    goes_on: bool = False,
    ts_unit: str | None = None,
) -> Staged:
    """Leaves `checked` (every staged row, with a reason or none), `accepted` (those with none), `accepted_users` and
    `accepted_items` (the keys that these name); `event_ids` of those that have one; and of a build that goes on from
    the attached `old` one `outdated`, the events of that whose id came again.

    sources: those that are read; scratch: as `stage` takes it; feedback: further events, of the ledger; ts_unit: how
    the older build read times, where the spec does not say. Raises MissingColumn, UnreadableFile and InvalidSpec (a
    column holds something else)."""
    section = spec.events
    main = [section.user, section.item, section.ts, section.kind, section.value]
    staged = stage(
        connection,
        "raw_events",
        sources,
        columns=main if section.id is None else [*main, section.id],
        rest=section.context,
        needed=3,
        scratch=scratch,
    )
    if not goes_on:  # what a member is called was right before
        refuse_absent(staged, [*main, section.id, *section.context])
    if staged.read == 0 and not goes_on:  # a day on which nothing happened is one
        raise UnreadableFile(
            phrase("file.header_only", files=listed(file_called(source.name) for source in sources)),
            remedy=phrase("do.export_events"),
        )
    known = section.ts_unit or ("iso" if section.ts_format else ts_unit)
    known = known or (_guessed_unit(connection, section.ts, goes_on=goes_on) if sources else None)
    unit = known or "iso"
    if feedback is not None and feedback.num_rows:
        scale, n_context = _MICROSECONDS.get(unit), len(section.context)
        staged = stage_feedback(connection, staged, feedback, us_per_unit=scale, n_context=n_context)
    params = {
        "has_kind": section.kind is not None,
        "kind_value": section.kind_value,
        "kind_words": [word.strip() for word in spec.kinds],
        "kind_names": [kind.strip() for kind in spec.kinds.values()],
        "us_per_unit": _MICROSECONDS.get(unit),
        "latest": now + timedelta(days=1),
        "tz": section.tz,
        "of_files": staged.of_files,
        "format": section.ts_format,
    }
    run_statements(connection, sql("check_events"), params)
    if section.id is None:
        connection.execute(sql("no_ids"))
    else:
        run_statements(connection, sql("mark_superseded"), {"placeholders": list(PLACEHOLDERS)})
        if goes_on:
            connection.execute(sql("outdated"))
    if section.drop_duplicates:
        connection.execute(sql("mark_duplicates"))
        if goes_on:
            connection.execute(sql("mark_known"))
    clean(connection, spec)
    connection.execute(sql("accept_events"))
    return replace(staged, ts_unit=known)


def _guessed_unit(connection: Connection, column: str, *, goes_on: bool) -> str | None:
    """s, ms, us or iso, by the size of the numbers in the time column; None where there is no time at all. Raises
    InvalidSpec, in that case only of the first build: a later day may be all wrong."""
    row = row_of(
        connection,
        "WITH sample AS (SELECT f2, try_cast(f2 AS DOUBLE) AS number, try_cast(f2 AS TIMESTAMPTZ) AS date"
        " FROM raw_events WHERE rowid < $rows)"
        " SELECT count(f2) AS n, count(*) FILTER (isfinite(number)) AS numbers, count(date) AS dates,"
        " median(abs(number)) FILTER (isfinite(number)) AS middle, any_value(f2) AS example FROM sample",
        rows=_SAMPLE_ROWS,
    )
    nothing = max(row["numbers"], row["dates"]) == 0
    if nothing and (goes_on or not row["n"]):
        return None
    if nothing:
        raise InvalidSpec(
            phrase("spec.no_times", column=quoted(column), example=quoted(row["example"])),
            remedy=phrase("do.name_times"),
        )
    if row["numbers"] <= row["dates"]:
        return "iso"
    for unit, least, beyond in (("s", 1e8, 1e11), ("ms", 1e11, 1e14), ("us", 1e14, 1e17)):
        if least <= row["middle"] < beyond:
            return unit
    raise InvalidSpec(
        phrase("spec.no_time_numbers", column=quoted(column), example=quoted(row["example"])),
        remedy=phrase("do.name_unit"),
    )


def clock_changes(connection: Connection, spec: DatasetSpec, staged: Staged) -> Mapping[int, int]:
    """By the number of the file, of how many events the time is one that the spec's zone has twice, or never."""
    if spec.events.tz == "UTC":
        return {}
    params = {"tz": spec.events.tz, "format": spec.events.ts_format, "of_files": staged.of_files}
    return by_file(connection, sql("clock_changes"), **params)


def by_file(connection: Connection, statement: str, **params: Any) -> dict[int, int]:
    """n by file, of a statement that gives these two."""
    found = connection.sql(statement, params=params or None).to_arrow_table()
    return dict(zip(found["file"].to_pylist(), found["n"].to_pylist(), strict=True))
