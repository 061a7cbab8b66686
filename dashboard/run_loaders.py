"""Cached reads of runs: what their files keep, and what the scorer answers of them. As in `loaders`, every input is an
argument, and nothing here looks at the session.
"""

import json
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import streamlit as st

from core.ops.runs import run_folder, run_of
from core.serve.client import ScorerClient
from core.trust import gate, outcomes
from core.trust.outcomes import Outcomes
from dashboard import loaders
from dashboard.publishing import Report, report_of

_TABLES = {"show_spinner": False, "max_entries": 64}
_ANSWERS = {"show_spinner": False, "max_entries": 512}


def run_json(home: Path, run_id: str, name: str) -> dict[str, Any] | None:
    """A JSON artefact of a finished run (`evaluation.json`, `judges/lift.json`); None where it was not
    made.
    """
    return _json(*_stamped(run_folder(home, run_id) / name))


@st.cache_data(**_ANSWERS)
def difference(home: Path, run_id: str, other: str) -> dict[str, Any] | None:
    """The paired difference of two runs in NDCG@10 with its interval; None where their test users are not the same."""
    mine, theirs = gate.tested_users(home, run_id), gate.tested_users(home, other)
    if mine is None or theirs is None or not mine["user_id"].equals(theirs["user_id"]):
        return None
    return dict(gate.difference(mine, theirs, seed=0))


@st.cache_data(show_spinner=False, max_entries=64)
def evidence(
    address: str | Path, home: Path, run_id: str, champion_version: int, build_id: str, hour: datetime
) -> dict[str, Any]:
    """What speaks for a run against the champion of this version, while `build_id` is current and within an hour."""
    store = loaders.ledger(address, home)
    return gate.gather(store, home, run_of(store, run_id), now=hour).as_json()


@st.cache_data(show_spinner=False, max_entries=64)
def served_outcomes(
    address: str | Path, home: Path, dataset: str, champion_version: int, split_version: int, watermark: int
) -> Outcomes | None:
    """What people did with what those who serve now showed them, up to this feedback."""
    return outcomes.outcomes(loaders.ledger(address, home), dataset)


@st.cache_data(**_ANSWERS)
def stored_slate(home: Path, run_id: str, path: Path, user: int) -> list[dict[str, Any]]:
    """What a run's `scores` table holds for one user, best first, as `recommend` gives items.

    `explanation` holds the history game where the run's `attributions` table has it, else it is None.
    """
    rows = _of_user(run_folder(home, run_id) / "scores.parquet", user).sort_values("rank")
    items = loaders.catalogue(path).set_index("item_id")[["key", "title", "categories"]]
    games = stored_games(home, run_id, path, user)
    return [
        {**row, "categories": list(row["categories"]), "explanation": games.get(row["item_id"])}
        for row in rows.join(items, on="item_id").to_dict("records")
    ]


def stored_games(home: Path, run_id: str, path: Path, user: int) -> dict[int, dict[str, Any]]:
    """The explanations that a run's `attributions` table holds for one user, by item; a player is a place in the
    history.
    """
    file = run_folder(home, run_id) / "attributions" / "attributions.parquet"
    if not file.is_file():
        return {}
    kept = _of_user(file, user)
    history = loaders.user_events(path, user, loaders.EVERYTHING).iloc[::-1].reset_index(drop=True)
    found = {}
    for item, rows in kept[kept["game"] == "history"].groupby("item_id"):
        events = history.loc[rows["player"]]
        players = [
            {"key": event.key, "title": event.title, "ts": event.ts.isoformat(), "phi": phi}
            for event, phi in zip(events.itertuples(), rows["phi"], strict=True)
        ]
        base, value = float(rows["base"].iloc[0]), float(rows["value"].iloc[0])
        found[int(item)] = {"games": [{"game": "history", "base": base, "value": value, "players": players}]}
    return found


def _of_user(file: Path, user: int) -> pd.DataFrame:
    return pq.read_table(file, filters=[("user_id", "==", user)]).to_pandas()


@st.cache_data(**_ANSWERS)
def recommended_to(home: Path, run_id: str, item: int, k: int) -> int:
    """How many users have an item among their first k."""
    file = run_folder(home, run_id) / "scores.parquet"
    return pq.read_table(file, columns=["user_id"], filters=[("item_id", "==", item), ("rank", "<=", k)]).num_rows


@st.cache_data(**_ANSWERS)
def slate(home: Path, run_id: str, user: str, history: tuple[str, ...] | None, k: int) -> dict[str, Any]:
    """The scorer's `recommend` with explanations, for a user or for a history of keys; the model's ranking, whatever
    the user has waved away. Raises ScorerUnavailable.
    """
    client = ScorerClient(home)
    if history is None:
        return client.recommend(run_id, user=user, k=k, explain=True, again=True)
    return client.recommend(run_id, history=list(history), k=k, explain=False)


@st.cache_resource(show_spinner=False)
def _askers() -> ThreadPoolExecutor:
    """Threads that wait for the scorer."""
    return ThreadPoolExecutor(max_workers=8, thread_name_prefix="asks-scorer")


def slate_soon(home: Path, run_id: str, user: str, k: int) -> "Future[dict[str, Any]]":
    """A user's slate with explanations, asked for now: a page draws what it knows meanwhile."""
    return _askers().submit(slate, home, run_id, user, None, k)


@st.cache_data(**_ANSWERS)
def outlook(home: Path, run_id: str, user: str, k: int) -> dict[str, Any]:
    """The scorer's `predict` for one user. Raises ScorerUnavailable and NothingPredicted."""
    return ScorerClient(home).predict(run_id, user=user, k=k, again=True)


def outlook_soon(home: Path, run_id: str, user: str, k: int) -> "Future[dict[str, Any]]":
    """What a user does next, asked for now."""
    return _askers().submit(outlook, home, run_id, user, k)


@st.cache_data(**_ANSWERS)
def explanation(home: Path, run_id: str, user: str, item: str) -> dict[str, Any]:
    """The scorer's `explain` for one item, wherever it ranks.

    Raises ScorerUnavailable, UnknownItem, and InputError for an item that cannot be recommended to this user.
    """
    return ScorerClient(home).explain(run_id, item=item, user=user)


@st.cache_data(**_ANSWERS)
def next_step(
    home: Path, run_id: str, user: str, category: str, accepted: tuple[str, ...], skipped: tuple[str, ...]
) -> dict[str, Any]:
    """The next item of a guided path, after what was accepted and skipped. Raises ScorerUnavailable."""
    target = {"category": category}
    return ScorerClient(home).next_step(
        run_id, user=user, target=target, accepted=list(accepted), skipped=list(skipped)
    )


@st.cache_data(**_ANSWERS)
def path_ahead(home: Path, run_id: str, user: str, category: str, steps: int) -> dict[str, Any]:
    """The whole planned path, were every step accepted. Raises ScorerUnavailable."""
    return ScorerClient(home).guide(run_id, user=user, target={"category": category}, steps=steps)


def _stamped(file: Path) -> tuple[Path, int]:
    return file, file.stat().st_mtime_ns if file.is_file() else 0


@st.cache_data(**_TABLES)
def _json(file: Path, stamp: int) -> dict[str, Any] | None:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if stamp else None


@st.cache_data(show_spinner=False, max_entries=16)
def report(address: str | Path, home: Path, run_id: str, manifest_stamp: int, language: str, tz: str) -> Report:
    """The report of a run as it stands; made anew when the run's artefacts change."""
    return report_of(loaders.ledger(address, home), home, run_id, language=language, tz=tz, now=datetime.now(UTC))


def stamp(home: Path, run_id: str) -> int:
    """Changes whenever an artefact of a run is added or replaced."""
    folder = run_folder(home, run_id)
    return sum(file.stat().st_mtime_ns for file in folder.rglob("*.json"))
