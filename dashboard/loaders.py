"""Cached reads for the pages. Every input is an argument: a build's path (never reused), a run's id and
what its manifest weighs, a user's id; nothing here looks at the session, since these caches are shared by
everyone who has the console open.
"""

import json
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import streamlit as st

from core.ops.ledger import Ledger
from core.ops.runs import run_folder, run_of
from core.serve.client import ScorerClient
from core.trust import gate, outcomes
from core.trust.drift import Drift, drift_since
from core.trust.outcomes import Outcomes
from core.trust.unusual import Looked, unusual_days
from dashboard.exploring import Choices
from dashboard.publishing import Report, report_of
from dashboard.querying import Results
from data import explore, reads, search
from data.differences import Differences
from data.differences import differences as compared
from data.errors import UnreadableFile
from data.explore import Cohort
from data.free_sql import sandbox
from data.guessing.guess import Guess, guess
from data.guessing.phrases import Phrase, file_called, phrase
from data.guessing.samples import sample_of
from data.kpis import kpis as kpi_figures
from data.quality import quality_of
from data.rehearsal import Rehearsal, rehearse
from data.search import Finder, Match
from data.spec import parse_spec
from data.warehouse import BuildFacts, Warehouse

_TABLES = {"show_spinner": False, "max_entries": 64}
SAMPLE_BYTES = 64 << 20  # of an upload that is packed
Subject = Literal["user", "item"]
EVERYTHING = 1_000_000  # rows: no user and no item has more
_ANSWERS = {"show_spinner": False, "max_entries": 512}


@st.cache_resource(show_spinner=False)
def ledger(address: str | Path, home: Path) -> Ledger:
    """The store's ledger; safe for all threads."""
    return Ledger.open(address, home=home)


@st.cache_resource(show_spinner=False, max_entries=8, on_release=lambda warehouse: warehouse.close())
def warehouse(path: Path) -> Warehouse:
    """A build, read-only; safe for all threads, since each read takes a cursor of its own."""
    return Warehouse.open(path)


def build_facts(path: Path) -> BuildFacts:
    """What a build says of itself."""
    return warehouse(path).facts


@st.cache_data(**_TABLES)
def activity(path: Path, tz: str, grain: reads.Grain) -> pd.DataFrame:
    return reads.activity(warehouse(path), tz=tz, grain=grain).to_pandas()


@st.cache_data(**_TABLES)
def session_activity(path: Path, tz: str, grain: reads.Grain) -> pd.DataFrame:
    return reads.session_activity(warehouse(path), tz=tz, grain=grain).to_pandas()


@st.cache_data(**_TABLES)
def session_facts(path: Path) -> dict[str, Any]:
    return dict(reads.session_facts(warehouse(path)).to_pylist()[0])


@st.cache_data(**_TABLES)
def unusual(path: Path, tz: str) -> Looked:
    """Days of a zone that stand out."""
    days = activity(path, tz, "day")
    return unusual_days(days["period"].tolist(), days["events"].tolist(), days["users"].tolist())


@st.cache_data(**_TABLES)
def drift(path: Path, since: datetime) -> Drift:
    return drift_since(warehouse(path), since)


@st.cache_data(**_TABLES)
def long_tail(path: Path) -> pd.DataFrame:
    return reads.long_tail(warehouse(path)).to_pandas()


@st.cache_data(**_TABLES)
def hour_weekday(path: Path, tz: str) -> pd.DataFrame:
    return reads.hour_weekday(warehouse(path), tz=tz).to_pandas()


@st.cache_data(**_TABLES)
def top_items(path: Path, limit: int) -> pd.DataFrame:
    return reads.top_items(warehouse(path), limit=limit).to_pandas()


@st.cache_data(**_TABLES)
def kind_counts(path: Path) -> pd.DataFrame:
    return reads.kind_counts(warehouse(path)).to_pandas()


@st.cache_data(**_TABLES)
def kpis(path: Path) -> pd.DataFrame:
    """The figures of the domain that a build's spec names."""
    return kpi_figures(warehouse(path)).to_pandas()


@st.cache_data(**_TABLES)
def categories(path: Path) -> pd.DataFrame:
    return reads.categories(warehouse(path)).to_pandas()


@st.cache_data(**_TABLES)
def quarantine(home: Path, build_id: str) -> pd.DataFrame:
    """Rejected rows by reason; empty where nothing was rejected."""
    file = home / "quarantine" / f"{build_id}.parquet"
    return reads.quarantine_summary(file).to_pandas() if file.is_file() else pd.DataFrame()


@st.cache_data(**_TABLES)
def refused(home: Path, build_id: str) -> pd.DataFrame:
    """The first rejected rows, each with its file, line, column, reason and text."""
    file = home / "quarantine" / f"{build_id}.parquet"
    return reads.quarantine_rows(file).to_pandas() if file.is_file() else pd.DataFrame()


@st.cache_data(**_TABLES)
def quality(path: Path) -> dict[str, Any]:
    """A build's quality report."""
    return quality_of(path)


@st.cache_resource(show_spinner=False, max_entries=4)
def finder(path: Path, subject: Subject) -> Finder:
    """What finds a build's users, or its items; safe for all threads, since nothing in it changes."""
    return search.items(warehouse(path)) if subject == "item" else search.users(warehouse(path))


@st.cache_resource(show_spinner=False)
def _maker() -> ThreadPoolExecutor:
    """One thread, so that those who wait for the scorer never stand behind what takes seconds to make."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="makes-finder")


def finder_soon(path: Path, subject: Subject) -> None:
    """Has it made, so that it is there when something is typed."""
    _maker().submit(finder, path, subject)


@st.cache_data(**_TABLES)
def first(path: Path, subject: Subject) -> str:
    """The key that is looked at before anything was chosen: the first user's, or the most popular item's."""
    return str(top_items(path, 1)["key"].iloc[0]) if subject == "item" else reads.first_user(warehouse(path))


@st.cache_data(**_TABLES)
def busiest(path: Path, subject: Subject, limit: int) -> list[Match]:
    """The users, or the items, with most events, as if they had been searched for."""
    table = top_items(path, limit) if subject == "item" else reads.top_users(warehouse(path), limit=limit).to_pandas()
    return [
        Match(str(row["key"]), str(row.get("title", row["key"])), int(row["events"]), "exact", 1.0)
        for row in table.to_dict("records")
    ]


@st.cache_data(**_ANSWERS)
def titles(path: Path, keys: tuple[str, ...]) -> dict[str, str]:
    """Titles of items by key, in the order of the keys; a key that is not there is its own."""
    found = reads.titles(warehouse(path), keys).to_pydict()
    known = dict(zip(found["key"], found["title"], strict=True))
    return {key: known.get(key, key) for key in keys}


@st.cache_data(**_ANSWERS)
def user_id(path: Path, key: str) -> int:
    """Raises UnknownUser, which names the nearest keys."""
    return reads.user_by_key(warehouse(path), key)


@st.cache_data(**_ANSWERS)
def item_id(path: Path, key: str) -> int:
    """Raises UnknownItem, which names the nearest keys."""
    return reads.item_by_key(warehouse(path), key)


@st.cache_data(**_ANSWERS)
def user_events(path: Path, user: int, limit: int) -> pd.DataFrame:
    return reads.user_events(warehouse(path), user, limit=limit).to_pandas()


@st.cache_data(**_ANSWERS)
def user_facts(path: Path, user: int) -> dict[str, Any]:
    return dict(reads.user_facts(warehouse(path), user).to_pylist()[0])


@st.cache_data(**_ANSWERS)
def item_facts(path: Path, item: int) -> dict[str, Any]:
    """What is known of one item: its counts, and its title and categories."""
    row = catalogue(path).set_index("item_id").loc[item]
    counted = reads.item_facts(warehouse(path), item).to_pylist()[0]
    return {**counted, "title": str(row["title"]), "categories": [str(name) for name in row["categories"]]}


@st.cache_data(**_ANSWERS)
def item_events(path: Path, item: int, limit: int) -> pd.DataFrame:
    return reads.item_events(warehouse(path), item, limit=limit).to_pandas()


@st.cache_data(**_ANSWERS)
def item_activity(path: Path, item: int, tz: str, grain: reads.Grain) -> pd.DataFrame:
    return reads.item_activity(warehouse(path), item, tz=tz, grain=grain).to_pandas()


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
    store = ledger(address, home)
    return gate.gather(store, home, run_of(store, run_id), now=hour).as_json()


@st.cache_data(show_spinner=False, max_entries=64)
def served_outcomes(
    address: str | Path, home: Path, dataset: str, champion_version: int, split_version: int, watermark: int
) -> Outcomes | None:
    """What people did with what those who serve now showed them, up to this feedback."""
    return outcomes.outcomes(ledger(address, home), dataset)


@st.cache_data(**_ANSWERS)
def stored_slate(home: Path, run_id: str, path: Path, user: int) -> list[dict[str, Any]]:
    """What a run's `scores` table holds for one user, best first, as `recommend` gives items.

    `explanation` holds the history game where the run's `attributions` table has it, else it is None.
    """
    rows = _of_user(run_folder(home, run_id) / "scores.parquet", user).sort_values("rank")
    items = catalogue(path).set_index("item_id")[["key", "title", "categories"]]
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
    history = user_events(path, user, EVERYTHING).iloc[::-1].reset_index(drop=True)
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


@st.cache_data(**_TABLES)
def catalogue(path: Path) -> pd.DataFrame:
    return reads.catalogue(warehouse(path)).to_pandas()


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
    return report_of(ledger(address, home), home, run_id, language=language, tz=tz, now=datetime.now(UTC))


def stamp(home: Path, run_id: str) -> int:
    """Changes whenever an artefact of a run is added or replaced."""
    folder = run_folder(home, run_id)
    return sum(file.stat().st_mtime_ns for file in folder.rglob("*.json"))


@st.cache_data(**_TABLES)
def schema_tree(snapshot: Path) -> list[sandbox.Branch]:
    """The tables of a snapshot, whose name says build and role."""
    return sandbox.schema_tree(snapshot)


@st.cache_resource(show_spinner=False)
def results() -> Results:
    """What statements gave, for everyone, within a fixed number of bytes."""
    return Results()


# ---- what Explore asks, each question by its text


@st.cache_data(**_TABLES)
def choices(path: Path) -> Choices:
    """What a build offers to choose from."""
    found = categories(path)["category"].tolist()
    return Choices(tuple(kind_counts(path)["kind"]), tuple(found), explore.groups(warehouse(path)))


@st.cache_data(**_ANSWERS)
def cohort_size(path: Path, cohort: Cohort) -> dict[str, int]:
    return explore.size(warehouse(path), cohort)


@st.cache_data(**_TABLES)
def funnel(path: Path, kinds: tuple[str, ...], cohort: Cohort) -> pd.DataFrame:
    return explore.funnel(warehouse(path), kinds, cohort).to_pandas()


@st.cache_data(**_TABLES)
def retention(path: Path, cohort: Cohort, tz: str, grain: Literal["week", "month"]) -> pd.DataFrame:
    return explore.retention(warehouse(path), cohort, tz=tz, grain=grain).to_pandas()


@st.cache_data(**_TABLES)
def transitions(path: Path, cohort: Cohort) -> pd.DataFrame:
    return explore.transitions(warehouse(path), cohort).to_pandas()


@st.cache_data(**_TABLES)
def segments(path: Path, cohort: Cohort) -> pd.DataFrame:
    return explore.segments(warehouse(path), cohort).to_pandas()


# ---- what is brought: uploads, which never change, and specs by their text


@st.cache_data(show_spinner=False, max_entries=24)
def sample(file: Path, encoding: str | None, delimiter: str | None) -> pa.Table:
    """A sample of an uploaded file. Raises UnreadableFile."""
    return sample_of(file, encoding=encoding, delimiter=delimiter, most_bytes=SAMPLE_BYTES)


@st.cache_data(show_spinner=False, max_entries=32)
def guessed(folder: Path, files: tuple[str, ...], called: str) -> Guess:
    """The guessed spec of an upload's files; those that cannot be read are told among its warnings. Raises CannotGuess,
    UnreadableFile."""
    samples, unread = dict[str, pa.Table](), list[Phrase]()
    for name in files:
        try:
            samples[name] = sample(folder / name, None, None)
        except UnreadableFile as error:
            if len(files) == 1:
                raise
            unread.append(phrase("look.unread", file=file_called(name), error=str(error)))
    return guess(samples, name=called, unread=unread)


@st.cache_data(show_spinner=False, max_entries=16)
def rehearsed(home: Path, base: Path, text: str, asked: str) -> Rehearsal:
    """What an ingest of a spec's first rows does. asked: another word where the files may have changed. Raises what
    `rehearse` does."""
    return rehearse(parse_spec(text), base=base, home=home, now=datetime.now(UTC))


@st.cache_data(**_TABLES)
def differences(before: Path, now: Path) -> Differences:
    """What changed from one build to another."""
    return compared(warehouse(before), warehouse(now))


@st.cache_data(**_TABLES)
def refused_at(file: Path, stamp: int) -> pd.DataFrame:
    """The first rows that stopped an ingest."""
    return reads.quarantine_rows(file).to_pandas()
