"""Cohorts with a name on Explore: saved for every analyst, opened from a list or by a link, deleted by who made them.

A cohort is whom a question is about; the funnel's steps are not of it, and stay when another is opened.
"""

from dataclasses import replace
from datetime import UTC, datetime

import streamlit as st

from core.ops import saved
from core.ops.saved import COHORTS, Saved
from dashboard import desk, exploring, loaders, parts, state
from dashboard.exploring import Question
from dashboard.scene import Scene
from dashboard.whom import show
from dashboard.words import escape
from data.errors import LodestarError, UnknownCohort

DONE = ":material/check:"
_OPENED = "cohort-opened"


def follow_link(s: Scene) -> None:
    """What a link to a saved cohort asks for: whom to look at, its data set in view."""
    wanted, opened = state.chosen("cohort"), state.recall(_OPENED, None)
    if wanted is None or (opened is not None and opened.saved_id == wanted):
        return
    try:
        found = saved.saved_as(s.ledger, wanted, on=COHORTS)
    except UnknownCohort as error:
        state.choose("cohort", None)
        parts.problem(s.t, error)
        return
    put(s, found)
    if found.dataset != s.dataset:
        state.choose("dataset", found.dataset)
        st.rerun()


def put(s: Scene, one: Saved) -> None:
    """Looks at a saved cohort from now on; for callbacks too."""
    steps = exploring.of_text(state.chosen("whom"), loaders.choices(s.build.path)).steps
    state.keep(_OPENED, one)
    state.choose("cohort", one.saved_id)
    show(replace(exploring.every_part_of(one.text), steps=steps))


def in_view(s: Scene, asked: Question) -> Saved | None:
    """The saved cohort that a question is about, as long as it is."""
    opened = state.recall(_OPENED, None)
    if opened is not None and state.chosen("cohort") == opened.saved_id and opened.dataset == s.dataset:
        mine = exploring.of_text(opened.text, loaders.choices(s.build.path))
        if replace(asked, steps=()) == replace(mine, steps=()):
            return opened
    state.keep(_OPENED, None)
    state.choose("cohort", None)
    return None


def said(s: Scene, opened: Saved | None) -> None:
    """Which cohort is in view, and whether this build has all that it asks for."""
    if opened is None:
        return
    t = s.t
    parts.note(t.md("cohort.in_view", name=opened.name, actor=opened.actor, at=opened.at))
    asked = exploring.of_text(opened.text, loaders.choices(s.build.path))
    if replace(asked, steps=()) != replace(exploring.every_part_of(opened.text), steps=()):
        st.warning(t("cohort.partly"), icon=":material/rule:")


def panel(s: Scene) -> None:
    """The saved ones to choose from."""
    t, found = s.t, saved.saved(s.ledger, s.dataset, on=COHORTS)
    if found:
        with st.expander(t("cohort.saved", n=len(found)), icon=":material/bookmarks:", expanded=False):
            for one in found:
                _row(s, one)
    if gone := state.recall("cohort-deleted", None):
        parts.note(f"{DONE} {t.md('sql.deleted', name=gone)}")
        state.keep("cohort-deleted", None)
    if error := state.recall("cohort-error", None):
        parts.problem(t, error)
        state.keep("cohort-error", None)


def _row(s: Scene, one: Saved) -> None:
    t = s.t
    about = exploring.who(exploring.every_part_of(one.text), t)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        with st.container(gap=None, key=f"found-list-cohort-{one.saved_id}"):
            st.button(
                escape(one.name),
                key=f"cohort-{one.saved_id}",
                type="tertiary",
                width="stretch",
                icon=":material/groups:",
                on_click=put,
                args=(s, one),
            )
            parts.note(f"{about} · {t.md('sql.saved_by', actor=one.actor, at=one.at)}")
        if saved.may_delete(s.ledger, one, desk.actor()):
            with st.popover(t("sql.delete_ask"), icon=":material/delete:", type="tertiary"):
                st.markdown(t.md("sql.delete_what", name=one.name))
                st.button(t("sql.delete"), key=f"cohort-delete-{one.saved_id}", on_click=_delete, args=(s, one))


def _delete(s: Scene, one: Saved) -> None:
    try:
        saved.delete(s.ledger, one.saved_id, actor=desk.actor(), now=datetime.now(UTC), on=COHORTS)
    except LodestarError as error:  # somebody was faster, say
        state.keep("cohort-error", error)
        return
    state.keep("cohort-deleted", one.name)


def naming(s: Scene, asked: Question) -> None:
    """A name for whom is looked at."""
    t = s.t
    with st.popover(t("cohort.save"), icon=":material/bookmark_add:", type="tertiary"):
        st.markdown(t("cohort.save_what"))
        with st.form("cohort-name", border=False, clear_on_submit=True):
            name = st.text_input(t("sql.name"), max_chars=saved.MOST_CHARACTERS, key="cohort-name-text")
            wanted = st.form_submit_button(t("cohort.save"), key="cohort-save")
        if wanted:
            _save(s, asked, name)


def _save(s: Scene, asked: Question, name: str) -> None:
    """Saves it, and opens it under its link; what stands against that is said where the name was asked for."""
    text = exploring.as_text(replace(asked, steps=())) or ""
    told = {"dataset": s.dataset, "actor": desk.actor(), "now": datetime.now(UTC)}
    try:
        made = saved.save(s.ledger, name=name, text=text, on=COHORTS, **told)
    except LodestarError as error:
        parts.problem(s.t, error)
        return
    state.keep(_OPENED, made)
    state.choose("cohort", made.saved_id)
    st.rerun()
