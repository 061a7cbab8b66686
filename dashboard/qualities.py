"""A build's quality report as sentences, the gravest first."""

from collections.abc import Mapping
from typing import Any

from dashboard.words import Words
from data.quality import BOT_EVENTS, BOT_TIMES, BURST


def sentences(quality: Mapping[str, Any], words: Words, *, tz: str, least: str = "note") -> list[tuple[str, str]]:
    """(grade, sentence) of each check that is a `least` (note or warning) at least. tz: the spec's zone."""
    grades = ("warning", "note") if least == "note" else ("warning",)
    return [
        (
            one["grade"],
            words(
                f"quality.{one['check']}",
                n=one["n"],
                of=one["of"],
                example="" if one["example"] is None else words("quality.example", example=one["example"]),
                burst=BURST,
                bot_events=BOT_EVENTS,
                bot_times=BOT_TIMES,
                tz=tz,
            ),
        )
        for one in quality["checks"]
        if one["grade"] in grades
    ]
