"""The quality report of a build: what no single row can be refused for, counted, with an example, and how grave it is.

Single rows are judged one by one (`data/sql/check_events.sql`, and the quarantine tells each). Here stands what only
all of them together show: events that came twice, users who click faster than people do, keys that are likely one,
events of items that the catalogue does not list, times without a zone. Nothing is removed for it: whoever reads the
report decides, and the cleaning rules of the spec (`data/cleaning.py`), or of a recipe, can.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from data.phrases import as_json, kept_text
from data.spec import DatasetSpec
from data.statements import sql
from data.warehouse import Connection, read_manifest

Grade = Literal["fine", "note", "warning"]
BURST = 60  # events of one user within a minute: one a second is no reading
BOT_EVENTS, BOT_TIMES = 1_000, 100  # a user has over so many events, and over so many times the median user's
PLACEHOLDERS = ("null", "none", "nan", "n/a", "na", "nil", "\\n", "undefined", "inf", "-inf", "infinity", "-")
GRADED: Mapping[str, tuple[float, float]] = {  # shares above which a check is a note, and a warning
    "duplicate-events": (0.0, 0.01),
    "bursts": (0.0, 0.01),
    "bots": (0.0, 0.01),
    "ties": (0.1, 0.5),
    "placeholder-keys": (0.0, 0.01),
    "colliding-users": (0.0, 0.01),
    "colliding-items": (0.0, 0.01),
    "midnight": (0.5, 0.95),
    "early-times": (0.0, 0.0),  # 0 for no time, or seconds among milliseconds
    "untitled-items": (0.0, 0.2),
    "same-titles": (0.0, 0.2),
    "unlisted-items": (0.0, 0.05),
    "unlisted-users": (0.0, 0.05),
    "refused-rows": (0.0, 0.05),
    "refused-listings": (0.0, 0.05),
    "unread-prices": (0.0, 0.05),
    "cleaned-rows": (0.0, 0.5),  # of a spec with cleaning rules
    "superseded-rows": (0.05, 0.5),  # of events with ids: a column that tells no event apart takes nearly all
    "clock-changes": (0.0, 0.05),
    "times-without-zone": (0.0, 2.0),  # a note at most: they are read as the spec's zone, by default UTC
}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: `n` of `of`, with the key or title of one case."""

    check: str
    n: int
    of: int
    grade: Grade
    example: str | None = None


def checks(connection: Connection, *, spec: DatasetSpec, counted: Mapping[str, tuple[int, int]]) -> list[Check]:
    """The checks of the build attached as `build`, the gravest first. counted: (n, of) of those that the ingest counted
    itself. Of baskets the lines share their moment, which says nothing."""
    baskets = spec.task == "repurchase"
    params = {
        "tz": spec.events.tz,
        "baskets": baskets,
        "burst": BURST,
        "bot_events": BOT_EVENTS,
        "bot_times": BOT_TIMES,
        "placeholders": list(PLACEHOLDERS),
    }
    rows = connection.sql(sql("quality"), params=params).to_arrow_table().to_pylist()
    found = [(row["check"], int(row["n"]), int(row["of"]), row["example"]) for row in rows]
    found = [one for one in found if one[0] != "ties" or not baskets]
    found += [(name, n, of, None) for name, (n, of) in counted.items()]
    judged = [Check(name, n, of, _grade(name, n, of), example if n else None) for name, n, of, example in found]
    order = ("warning", "note", "fine")
    return sorted(judged, key=lambda one: (order.index(one.grade), list(GRADED).index(one.check)))


def report(
    found: Sequence[Check],
    files: pa.Table,
    *,
    cleaned: Sequence[Mapping[str, Any]] = (),
    ts_unit: str | None,
    lists: Mapping[str, str] | None,
) -> dict[str, Any]:
    """What a build's manifest keeps: the checks, how each source was read, and what each cleaning rule removed, where
    there were rules.

    files: those of the build, their `read_as` a phrase as JSON or plain text; ts_unit: how times were read, by which
    later days are; lists: the sha256 of the files of items and users by their names, None where some are no files."""
    return {
        "ts_unit": ts_unit,
        "lists": None if lists is None else dict(lists),
        "checks": [asdict(one) for one in found],
        "sources": [
            {
                "name": one["source"],
                "rows": one["read"],
                "unsplit": one["read"] - one["staged"],
                "read_as": as_json(kept_text(one["read_as"])),
                "build_id": one["build_id"],
            }
            for one in files.to_pylist()
        ],
        **({"cleaned": list(cleaned)} if cleaned else {}),
    }


def quality_of(build: Path) -> dict[str, Any]:
    """The report in the manifest of the build at `build`: checks[{check, n, of, grade, example}] and sources[{name,
    rows, unsplit, read_as, build_id}], both empty for a build from before there was one; of one whose spec has cleaning
    rules, cleaned[{reason, events, users, items}], too. Raises DamagedArtefact."""
    kept = read_manifest(build).get("quality")
    return kept if isinstance(kept, dict) else {"checks": [], "sources": []}


def _grade(check: str, n: int, of: int) -> Grade:
    note, warning = GRADED[check]
    share = n / of if of else 0.0
    if not n or share <= note:
        return "fine"
    return "warning" if share > warning else "note"
