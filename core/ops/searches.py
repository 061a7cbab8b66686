"""Searches: a folder each, `searches/<search_id>/`, that a search's job fills and that is read here.

study.sqlite holds the study, search.json what can be told of it (written whole after each trial), and once the search
has ended trials.parquet, best.toml (a configuration for `lodestar train --config`) and the manifest lie beside them.
Nothing in the ledger points here but the job that was given the id.
"""

import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.errors import UnknownSearch
from data.phrases import phrase, quoted

FOLDER = "searches"
TOLD = "search.json"
TRIALS = "trials.parquet"
BEST = "best.toml"
KIND = "search"
_SEARCH_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def new_search_id() -> str:
    """An id that no search has."""
    return f"s-{uuid.uuid4().hex[:8]}"


def search_folder(home: Path, search_id: str) -> Path:
    """Where a search's files lie. Raises UnknownSearch for a name that no search could have (a path, say)."""
    if not _SEARCH_ID.fullmatch(search_id):
        raise _unknown(search_id)
    return home / FOLDER / search_id


def read_search(home: Path, search_id: str) -> dict[str, Any]:
    """What a search has told so far (`core.searching` has its fields). Raises UnknownSearch."""
    try:
        return dict(json.loads((search_folder(home, search_id) / TOLD).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise _unknown(search_id) from error


def latest_search(home: Path, dataset: str) -> dict[str, Any] | None:
    """What the search of a data set that wrote last has told; None where there was none."""
    files = sorted((home / FOLDER).glob(f"*/{TOLD}"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    told = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    return next((one for one in told if one["dataset"] == dataset), None)


def order(
    search_id: str,
    *,
    build_id: str,
    config: Mapping[str, Any],
    space: Mapping[str, Any],
    trials: int,
    minutes: float | None,
) -> dict[str, Any]:
    """The payload of a search's job. `trials` is how many the study should have in the end, `minutes` how long all of
    them may take."""
    return {
        "search_id": search_id,
        "build_id": build_id,
        "config": dict(config),
        "space": dict(space),
        "trials": trials,
        "minutes": minutes,
    }


def _unknown(search_id: str) -> UnknownSearch:
    return UnknownSearch(phrase("find.no_search", name=quoted(search_id)), remedy=phrase("do.start_search"))
