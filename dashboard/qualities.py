"""A build's quality report as sentences and tables, the gravest first, and one build beside another."""

from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd

from dashboard.words import Words, escape
from data.differences import Differences
from data.phrases import Phrase, from_json
from data.quality import BOT_EVENTS, BOT_TIMES, BURST
from data.warehouse import BuildFacts

GRADES = ("warning", "note", "fine")


def sentences(quality: Mapping[str, Any], words: Words, *, tz: str) -> list[tuple[str, str]]:
    """(grade, sentence) of each check that is a note at least. tz: the spec's zone."""
    return [(one["grade"], _said(one, words, tz=tz)) for one in quality["checks"] if one["grade"] != "fine"]


def counted(quality: Mapping[str, Any]) -> dict[str, int]:
    """How many checks came out at each grade."""
    return {grade: sum(one["grade"] == grade for one in quality["checks"]) for grade in GRADES}


def verdict(quality: Mapping[str, Any]) -> Literal["unknown", "warned", "noted", "fine"]:
    """The report in a word; unknown for a build from before there was one."""
    counts = counted(quality)
    if not quality["checks"]:
        return "unknown"
    return "warned" if counts["warning"] else "noted" if counts["note"] else "fine"


def table(quality: Mapping[str, Any], words: Words, *, tz: str) -> pd.DataFrame:
    """check, grade, graded (in words), said, n, of, share, example; a row a check, the gravest first."""
    rows = [
        {
            **one,
            "graded": words(f"quality_grade.{one['grade']}"),
            "said": _said(one, words, tz=tz),
            "share": one["n"] / one["of"] if one["of"] else float("nan"),
        }
        for one in quality["checks"]
    ]
    return pd.DataFrame(rows, columns=["check", "grade", "graded", "said", "n", "of", "share", "example"])


def listed(found: pd.DataFrame, words: Words) -> str:
    """What stands in a `table` above fine as a Markdown list, and how much else was looked at."""
    told = found[found["grade"] != "fine"]
    lines = [f"- **{row.graded}** · {escape(str(row.said))}" for row in told.itertuples()]
    return "\n".join([*lines, f"- {words.md('datasets.others', n=len(found) - len(told))}"])


def cleaned(quality: Mapping[str, Any], words: Words) -> pd.DataFrame:
    """reason, rule (in words), events, users, items; a row a cleaning rule, in the order in which they ran."""
    rows = [{**one, "rule": words.name("reason", one["reason"])} for one in quality.get("cleaned", [])]
    return pd.DataFrame(rows, columns=["reason", "rule", "events", "users", "items"])


def sources(quality: Mapping[str, Any], words: Words) -> pd.DataFrame:
    """name, rows, unsplit, read_as, build_id (which build read it); a row a source, in the order in which they were
    read."""
    rows = [{**one, "read_as": _said_by(one["read_as"], words)} for one in quality["sources"]]
    return pd.DataFrame(rows, columns=["name", "rows", "unsplit", "read_as", "build_id"])


def _said_by(told: Any, words: Words) -> str:
    """A phrase as a manifest keeps it; older ones keep English text."""
    found = from_json(told)
    return found.said(words.language) if isinstance(found, Phrase) else found


def differences(before: BuildFacts, now: BuildFacts, words: Words) -> pd.DataFrame:
    """fact, before, now, change, each as it is shown: two builds of one data set beside each other."""
    rows = []
    for name in ("n_events", "n_users", "n_items", "quarantined"):
        then, here = getattr(before, name), getattr(now, name)
        rows.append(
            (words(f"differs.{name}"), words.count(then), words.count(here), words("differs.by", n=here - then))
        )
    for name in ("first_ts", "last_ts"):
        then, here = getattr(before, name), getattr(now, name)
        days = (here.date() - then.date()).days  # as they are shown
        moved = words("differs.days", n=days) if days else "–"
        rows.append((words(f"differs.{name}"), words("value.date", day=then), words("value.date", day=here), moved))
    same = words(f"differs.{'same' if before.spec == now.spec else 'other'}")
    rows.append((words("differs.spec"), "", same, ""))
    return pd.DataFrame(rows, columns=["fact", "before", "now", "change"])


def _said(one: Mapping[str, Any], words: Words, *, tz: str) -> str:
    return words(
        f"quality.{one['check']}",
        n=one["n"],
        of=one["of"],
        example="" if one["example"] is None else words("quality.example", example=one["example"]),
        burst=BURST,
        bot_events=BOT_EVENTS,
        bot_times=BOT_TIMES,
        tz=tz,
    )


def came_and_went(found: Differences, words: Words) -> pd.DataFrame:
    """what, before, now, added, gone: users, items, events, then each kind of event, whose two last are empty."""
    rows = [{**row, "what": words(f"came.{row['what']}")} for row in found.counts.to_pylist()]
    rows += [
        {**row, "what": words("came.kind", kind=words.name("kind", row["kind"])), "added": None, "gone": None}
        for row in found.kinds.to_pylist()
    ]
    shown = pd.DataFrame(rows, columns=["what", "before", "now", "added", "gone"])
    return shown.astype(dict.fromkeys(("before", "now", "added", "gone"), "Int64"))


def said_otherwise(found: Differences, words: Words) -> str:
    """How much of what both builds hold is said otherwise, field by field, as a Markdown list."""
    lines = []
    for table in ("users", "items"):
        rows = [row for row in found.fields.to_pylist() if row["table"] == table and row["changed"]]
        if rows:
            changed = words("came.between").join(_changed(row, words) for row in rows)
            told = {"of": rows[0]["of"], "what": words(f"came.what_{table}"), "changed": changed}
            lines.append(f"- {words.md('came.said', **told)}")
    return "\n".join(lines) or f"- {words('came.nothing')}"


def _changed(row: Mapping[str, Any], words: Words) -> str:
    key = f"came.field_{row['field']}"
    own = row["table"] == "items" and words.has(key)
    return words(
        "came.changed_one", n=row["changed"], field=words(key) if own else words.name("attribute", row["field"])
    )
