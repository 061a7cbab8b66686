"""How a page lets its reader choose a user or an item: what is typed is searched for while it is typed, and a click, or
Tab and Enter, on what was found chooses it. Whoever knows no key to type finds the busiest ones beside it.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import streamlit as st

from dashboard import loaders, parts, state
from dashboard.loaders import Subject
from dashboard.scene import Scene
from data.search import MOST, Found, Match

WIDTH_PX, FIELD_PX = 560, 432  # with the busiest beside the field, and without
LIST_PX, AT_ONCE = 340, 8  # more matches than these are scrolled
BUSIEST = 10


def choice(s: Scene, subject: Subject, *, ends: Sequence[str] = ()) -> str:
    """The key in view: the one chosen, or named by the address, else the first. Choices named in `ends` were made under
    the old one, and end with it."""
    key = state.chosen(subject) or loaders.first(s.build.path, subject)
    _choose(s, subject, key, tuple(ends))
    return key


@st.fragment
def _choose(s: Scene, subject: Subject, chosen: str, ends: tuple[str, ...]) -> None:
    """Alone runs again while something is typed; the page does once something is chosen."""

    def pick(match: Match) -> None:
        if match.key != chosen:
            state.choose(subject, match.key)
            for other in ends:
                state.choose(other, None)
        state.keep("picked", match.key)

    if state.recall("picked", None) not in (None, chosen):
        state.keep("picked", None)
        st.rerun()
    state.keep("picked", None)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        typed = field(s, subject, key=f"find-{subject}", width=FIELD_PX)
        if not typed:  # else Tab would lead there, not to the first match
            with st.popover(s.t(f"find.busiest_{subject}"), type="tertiary", key=f"busiest-of-{subject}-{chosen}"):
                busiest = loaders.busiest(s.build.path, subject, BUSIEST)
                rows(s, subject, busiest, key=f"busiest-{subject}", on_pick=pick)
    matches(s, subject, typed, key=f"find-{subject}", on_pick=pick)


def field(
    s: Scene,
    subject: Subject,
    *,
    key: str,
    label: str | None = None,
    hint: str | None = None,
    width: int | Literal["stretch"] = "stretch",
) -> str:
    """The field to type into, under a label where one is given; what is typed, without space around it."""
    loaders.finder_soon(s.build.path, subject)
    named = s.t(f"profile.pick_{subject}")
    typed = st.text_input(
        label or named,
        type="search",
        live="200ms",
        placeholder=hint or named,
        label_visibility="visible" if label else "collapsed",
        width=width,
        **state.filled(key, ""),
    )
    return (typed or "").strip()


def matches(s: Scene, subject: Subject, typed: str, *, key: str, on_pick: Callable[[Match], None]) -> None:
    """What was found of what is typed; nothing while nothing is."""
    if not typed:
        return
    t, found = s.t, loaders.finder(s.build.path, subject).find(typed)

    def picked(match: Match) -> None:
        state.fill(**{key: ""})
        on_pick(match)

    tall = len(found.matches) > AT_ONCE
    with st.container(border=True, gap=None, key=f"found-{key}", height=LIST_PX if tall else "content"):
        parts.note(say(s, found, typed))
        exact = [match for match in found.matches if match.how != "alike"]
        rows(s, subject, exact, key=key, on_pick=picked)
        alike = found.matches[len(exact) :]
        if alike and exact:
            parts.note(t("find.alike"))
        rows(s, subject, alike or found.nearest, key=f"{key}-alike", on_pick=picked)


def say(s: Scene, found: Found, typed: str) -> str:
    """How many were found, or that none was, and what stands below instead (Markdown, escaped)."""
    t = s.t
    if found.n > MOST:
        return t("find.best", m=len(found.matches), n=found.n)
    if found.n:
        return t("find.found", n=found.n)
    shown = typed if len(typed) <= parts.NAME_CHARACTERS else typed[: parts.NAME_CHARACTERS - 1] + "…"
    return t.md("find.like" if found.matches else "find.nearest" if found.nearest else "find.none", text=shown)


def rows(s: Scene, subject: Subject, found: Sequence[Match], *, key: str, on_pick: Callable[[Match], None]) -> None:
    """One button a match."""
    with st.container(gap=None, key=f"found-list-{key}"):
        for match in found:
            st.button(
                s.t.md(f"find.{subject}", key=match.key, title=match.title, n=match.events),
                key=f"{key}:{match.key}",
                type="tertiary",
                width="stretch",
                on_click=on_pick,
                args=(match,),
            )
