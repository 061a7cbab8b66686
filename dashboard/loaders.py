"""Cached reads of builds, and of what is brought, for the pages. Every input is an argument: a build's path (never
reused), a user's id; nothing here looks at the session, since these caches are shared by everyone who has the console
open. What runs tell is in `run_loaders`.
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import streamlit as st

from core.ops.ledger import Ledger
from core.trust.drift import Drift, drift_since
from core.trust.unusual import Looked, unusual_days
from dashboard.exploring import Choices
from dashboard.querying import Results
from data import explore, periods, reads, search
from data.differences import Differences
from data.differences import differences as compared
from data.errors import UnreadableFile
from data.explore import Cohort
from data.free_sql import sandbox
from data.guessing.guess import Guess, guess
from data.guessing.samples import sample_of
from data.kpis import kpis as kpi_figures
from data.phrases import Phrase, file_called, phrase
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
def activity(path: Path, tz: str, grain: periods.Grain) -> pd.DataFrame:
    return periods.activity(warehouse(path), tz=tz, grain=grain).to_pandas()


@st.cache_data(**_TABLES)
def growth(path: Path, tz: str, grain: Literal["week", "month"]) -> pd.DataFrame:
    return periods.growth(warehouse(path), tz=tz, grain=grain).to_pandas()


@st.cache_data(**_TABLES)
def session_activity(path: Path, tz: str, grain: periods.Grain) -> pd.DataFrame:
    return periods.session_activity(warehouse(path), tz=tz, grain=grain).to_pandas()


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
    return periods.hour_weekday(warehouse(path), tz=tz).to_pandas()


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
def user_facts(path: Path, user: int, tz: str) -> dict[str, Any]:
    return dict(reads.user_facts(warehouse(path), user, tz=tz).to_pylist()[0])


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
def item_activity(path: Path, item: int, tz: str, grain: periods.Grain) -> pd.DataFrame:
    return periods.item_activity(warehouse(path), item, tz=tz, grain=grain).to_pandas()


@st.cache_data(**_TABLES)
def catalogue(path: Path) -> pd.DataFrame:
    return reads.catalogue(warehouse(path)).to_pandas()


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
            unread.append(phrase("look.unread", file=file_called(name), error=error.said))
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
