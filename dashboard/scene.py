"""What every page starts from: the words, the look, the dataset in view, its build, its champion, and the
store they lie in.

A page asks for a `Scene`; where there is nothing to show yet the page ends with a sentence and the command
that changes that.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import streamlit as st

from core.ops.builds import BuildRow, current_build, datasets
from core.ops.ledger import Ledger
from core.ops.registry import champion
from core.ops.runs import RunRow, finished_run
from core.ops.runs import runs as all_runs
from dashboard import loaders, parts, state
from dashboard.charts import Look
from dashboard.settings import Settings, settings
from dashboard.words import Words
from data.errors import LodestarError
from data.warehouse import BuildFacts


@dataclass(frozen=True)
class Place:
    """One reader's view of a store, before any dataset of it."""

    t: Words
    look: Look
    settings: Settings
    ledger: Ledger

    @property
    def home(self) -> Path:
        return self.settings.home


@dataclass(frozen=True)
class Scene(Place):
    """One reader's view of one dataset."""

    build: BuildRow
    champion: str | None

    @property
    def tz(self) -> str:
        return self.settings.tz

    @property
    def dataset(self) -> str:
        return self.build.dataset

    @property
    def facts(self) -> BuildFacts:
        return loaders.build_facts(self.build.path)

    @property
    def span(self) -> tuple[datetime, datetime]:
        """The first and the last event's moment, on the clocks that the pages show."""
        return self.local(self.facts.first_ts), self.local(self.facts.last_ts)

    def local(self, moment: datetime) -> datetime:
        """A moment on the clocks that the pages show."""
        return moment.astimezone(ZoneInfo(self.tz))

    def finished_runs(self) -> list[RunRow]:
        """Finished runs of this dataset, newest first."""
        return [run for run in all_runs(self.ledger, self.dataset) if run.finished is not None]

    @property
    def champion_protocol(self) -> str:
        """What the champion was measured by, and so what a rival should be; the default where there is none."""
        serving = [run for run in self.finished_runs() if run.run_id == self.champion]
        return serving[0].protocol if serving else "last"

    def run(self) -> RunRow:
        """As `run_if_any`; ends the page where there is none."""
        found = self.run_if_any()
        if found is None:
            st.title(self.t("empty.title_no_run"), anchor=False)
            self.tell_no_run()
            st.stop()
        return found

    def run_if_any(self) -> RunRow | None:
        """The run in view: the one chosen, else the champion, else the newest that is measured as a champion would
        be; None where there is none.
        """
        finished = self.finished_runs()
        wanted = state.chosen("run")
        if wanted and wanted != "champion":
            row = finished_run(self.ledger, self.home, wanted, self.dataset)
            if row.dataset == self.dataset:
                return row
        if self.champion is None and not finished:
            return None
        alike = [run for run in finished if run.protocol == self.champion_protocol] or finished
        return finished_run(self.ledger, self.home, self.champion or alike[0].run_id, self.dataset)

    def tell_no_run(self) -> None:
        """What there would be with a model, and the command that makes one."""
        parts.empty(self.t, "empty.no_run", command=f"lodestar train --dataset {shlex.quote(self.dataset)}")


def opening() -> tuple[Words, Look, Settings]:
    """What can be said before anything is read."""
    found = settings()
    t = state.words(found.language)
    return t, state.look(t), found


def place() -> Place:
    """The store in view, whether or not there is anything in it."""
    t, look, found = opening()
    return Place(t, look, found, loaders.ledger(found.ledger_at, found.home))


def scene(*, otherwise: Callable[[Place], None] | None = None) -> Scene:
    """The scene of the dataset in view; ends the page with the demo's command where nothing was ingested
    yet, and with what is drawn `otherwise`.
    """
    here = place()
    known = datasets(here.ledger)
    if not known:
        st.title(here.t("empty.title"), anchor=False)
        parts.empty(here.t, "empty.no_build", command="lodestar demo")
        if otherwise is not None:
            otherwise(here)
        st.stop()
    wanted = state.chosen("dataset")
    build = current_build(here.ledger, wanted if wanted in known else None)
    return at_build(here, build)


def at_build(here: Place, build: BuildRow) -> Scene:
    """The scene of one build, in the words of its domain."""
    t = here.t.of(domain_of(build))
    return Scene(t, replace(here.look, t=t), here.settings, here.ledger, build, champion(here.ledger, build.dataset))


def domain_of(build: BuildRow) -> str | None:
    """The domain whose words a build's pages use; None for a build that cannot be read, as its page will say."""
    try:
        return loaders.build_facts(build.path).spec.dataset.domain
    except LodestarError:
        return None


def header() -> None:
    """The strip above every page: the dataset in view, its build and champion, and the language switch."""
    t, _, found = opening()
    ledger = loaders.ledger(found.ledger_at, found.home)
    known = datasets(ledger)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="header"):
        if known:
            wanted = state.chosen("dataset")
            build = current_build(ledger, wanted if wanted in known else None)
            if len(known) > 1:
                st.selectbox(
                    t("header.dataset"),
                    label_visibility="collapsed",
                    width=240,
                    **state.tied("dataset", known, default=build.dataset, ends=("user", "item", "before")),
                )
            serving = champion(ledger, build.dataset)
            parts.whereabouts(
                t, dataset=build.dataset if len(known) == 1 else None, build=build.build_id, champion=serving
            )
        parts.language_switch(t)
