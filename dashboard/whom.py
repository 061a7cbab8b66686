"""Explore's form: whom to look at, and by which steps. It asks when it is sent; the address holds what was asked."""

from datetime import date
from typing import Any

import streamlit as st

from dashboard import exploring, loaders, state
from dashboard.exploring import FIRST_DAY, LAST_DAY, Question
from dashboard.scene import Scene


def show(question: Question) -> None:
    """Looks at others from now on; for callbacks."""
    state.choose("whom", exploring.as_text(question))


def form(s: Scene, asked: Question) -> None:
    """The form, closed."""
    t, offered = s.t, loaders.choices(s.build.path)
    version = exploring.as_text(asked) or ""  # another question makes the widgets anew, holding it
    with st.expander(t("explore.form"), icon=":material/filter_alt:", expanded=False):
        with st.form(f"whom-{version}", border=False):
            steps = st.multiselect(
                t("explore.steps"),
                offered.kinds,
                list(asked.steps),
                max_selections=exploring.MOST_STEPS,
                format_func=lambda kind: t.name("kind", kind),
                placeholder=t("explore.steps_default"),
            )
            st.caption(t("explore.whom_form"))
            kinds = st.multiselect(
                t("explore.kinds"),
                offered.kinds,
                list(asked.kinds),
                format_func=lambda kind: t.name("kind", kind),
                placeholder=t("explore.any_kind"),
            )
            categories = st.multiselect(
                t("explore.categories"),
                offered.categories,
                list(asked.categories),
                placeholder=t("explore.any_category"),
            )
            left, right = st.columns(2)
            least = left.number_input(t("explore.least"), min_value=1, max_value=1_000_000, value=asked.least, step=1)
            segments = right.multiselect(
                t("explore.segments"),
                exploring.SEGMENTS,
                list(asked.segments),
                format_func=lambda name: t(f"segment.{name}"),
                placeholder=t("explore.any_segment"),
            )
            acted = _span(left, s, t("explore.acted"), asked.since, asked.until)
            joined = _span(right, s, t("explore.first_seen"), asked.joined_since, asked.joined_until)
            mine = dict(asked.groups)
            groups = {
                name: st.multiselect(
                    t.name("attribute", name),
                    of,
                    list(mine.get(name, ())),
                    format_func=lambda group: t.name("group", group),
                    placeholder=t("explore.any_group"),
                )
                for name, of in offered.groups.items()
            }
            sent = st.form_submit_button(t("explore.show"), type="primary")
        if sent:
            show(
                Question(
                    kinds=tuple(kinds),
                    categories=tuple(categories),
                    least=int(least),
                    since=acted[0],
                    until=acted[1],
                    joined_since=joined[0],
                    joined_until=joined[1],
                    groups=tuple((name, tuple(some)) for name, some in groups.items() if some),
                    segments=tuple(segments),
                    steps=tuple(steps),
                )
            )
            st.rerun()


def back(s: Scene, asked: Question) -> None:
    """The way back to everyone, by the same steps."""
    st.button(
        s.t("explore.reset"),
        key="explore-reset",
        icon=":material/groups:",
        type="tertiary",
        on_click=show,
        args=(Question(steps=asked.steps),),
    )


def _span(room: Any, s: Scene, text: str, since: date | None, until: date | None) -> tuple[date | None, date | None]:
    """Two days, each of which may be left open."""
    with room:
        one, two = st.columns(2)
        begins = one.date_input(s.t("explore.since", what=text), since, min_value=FIRST_DAY, max_value=LAST_DAY)
        ends = two.date_input(s.t("explore.until", what=text), until, min_value=FIRST_DAY, max_value=LAST_DAY)
    return begins, ends
