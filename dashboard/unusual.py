"""Pulse's days that stand out, as sentences with what they rest on, and the way to who did it."""

import pandas as pd
import streamlit as st

from core.ops import roles
from core.trust.unusual import LEAST_DAYS, Looked, Unusual
from dashboard import desk, exploring, loaders, parts
from dashboard.exploring import Question
from dashboard.scene import Scene
from dashboard.words import Words

TOLD = 3  # in words; the rest is a table
CARD_PX = 280


def section(s: Scene) -> None:
    """The least likely days, or that none stands out, or that there are too few to tell."""
    t, looked = s.t, loaders.unusual(s.build.path, s.tz)
    parts.section(t("unusual.section"))
    if not looked.tested:
        parts.note(t("unusual.few", n=looked.days, least=LEAST_DAYS))
        return
    if not looked.found:
        st.markdown(t("unusual.nothing", n=looked.tested))
    told = looked.found[:TOLD]
    grid = st.grid(len(told) or 1, min_column_width=CARD_PX, gap="small", border=True)
    for one in told:
        with grid.cell(), st.container(gap="xsmall"):
            st.markdown(sentence(t, one))
            way_to(s, one)
    if len(looked.found) > TOLD:
        with st.expander(t("unusual.all", n=len(looked.found)), icon=":material/table_rows:"):
            everything(s, looked)
    parts.note(t("unusual.method", n=looked.tested, tz=s.tz))


def sentence(t: Words, one: Unusual) -> str:
    """A day, or a stretch of days, with its evidence (Markdown; nothing in it comes from a file)."""
    if one.days > 1:
        return t("unusual.stretch", first=one.first, last=one.last, days=one.days, usual=one.usual, p=rounded(one.p))
    weekday = t(f"weekday_name.{one.weekday}")
    told = {"day": one.first, "weekday": weekday, "usual": one.usual, "of": one.n, "z": one.z, "n": one.events}
    size = {"ratio": one.ratio, "users": one.users}
    how = "rare" if one.usual < 1 and one.events else one.how  # so many times next to nothing says nothing
    return t(f"unusual.{how}", **told, **size)


def way_to(s: Scene, one: Unusual) -> None:
    """The people of that day on Explore, for whoever may go there."""
    if one.events and roles.may(roles.role_of(s.ledger, desk.actor()), roles.Act.EXPLORE):
        whom = exploring.as_text(Question(since=one.first, until=one.last))
        st.page_link(
            "views/explore.py",
            label=s.t("unusual.who"),
            icon=":material/groups:",
            query_params={"dataset": s.dataset, "whom": str(whom)},
        )


def rounded(p: float) -> str:
    """A p-value in words of a sentence."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def everything(s: Scene, looked: Looked) -> None:
    """All that was found, the least likely first."""
    t = s.t
    rows = pd.DataFrame(
        [{**vars(one), "days": one.days, "weekday": one.weekday, "ratio": one.ratio} for one in looked.found]
    )
    number = st.column_config.NumberColumn
    parts.table(
        rows,
        t=t,
        name=f"{s.dataset}-unusual-days",
        shown=rows.assign(weekday=rows["weekday"].map(lambda day: t(f"weekday.{day}")), usual=rows["usual"].round()),
        columns={
            "first": st.column_config.DateColumn(t("unusual.day"), format="YYYY-MM-DD"),
            "weekday": st.column_config.TextColumn(t("unusual.weekday"), width="small"),
            "days": number(t("unusual.days"), width="small"),
            "events": number(t("column.events"), format="localized"),
            "usual": number(t("unusual.usual"), format="localized"),
            "ratio": number(t("unusual.times"), format="%.2f"),
            "users": number(t("unusual.users"), format="localized"),
            "z": number("z", format="%.1f"),
            "n": number("n"),
            "p": number("p", format="scientific"),
        },
    )
