"""One user's slate on the Profile page: the recommendation cards, the figure behind the chosen one, and the
history editor.

What a model has to compute comes from the scorer. Where that does not run, the run's own tables still show the slate,
and the reasons of those users whose attributions the run keeps.
"""

import math
from concurrent.futures import Future, wait
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from core.trust.words import leading
from dashboard import charts, findings, loaders, parts, picking, run_loaders, state, thumbs
from dashboard.scene import Scene
from dashboard.words import escape
from data.errors import InputError, NotFound, ScorerUnavailable
from data.search import Match

K = 10
SHOWN = 5
EDITABLE = 60
_AT_ONCE_S = 0.02

Answer = Future[dict[str, Any]]


def ask(s: Scene, run_id: str, key: str) -> Answer:
    """Asks the scorer for the user's slate. An answer that is known already is there when this returns."""
    answer = run_loaders.slate_soon(s.home, run_id, key, K)
    wait([answer], timeout=_AT_ONCE_S)
    return answer


def served(s: Scene, run_id: str, key: str, user: int, answer: Answer) -> dict[str, Any]:
    """The user's slate: `items` as the command `recommend` gives them, and `live`: whether the scorer gave
    them.
    """
    try:
        return {**answer.result(), "live": True}
    except ScorerUnavailable as error:
        items = run_loaders.stored_slate(s.home, run_id, s.build.path, user)[:K]
        return {"user": key, "run_id": run_id, "items": items, "live": False, "error": error}


def picked(s: Scene, served: dict[str, Any]) -> dict[str, Any] | None:
    """The item whose reasons are shown: the one that a link or a click chose, whatever its rank, else the first of the
    slate; None for an empty slate. `refused` tells why a chosen item has no reasons."""
    wanted, items = state.chosen("item"), served["items"]
    first = items[0] if items else None
    found = next((item for item in items if item["key"] == wanted), None)
    if found or not wanted or not served["live"]:
        return found or first
    try:
        told = run_loaders.explanation(s.home, served["run_id"], served["user"], wanted)
    except (InputError, NotFound) as error:
        return None if first is None else {**first, "refused": error}
    return {**told["item"], "rank": told["rank"], "probability": told["probability"], "explanation": told}


def recommendations(s: Scene, served: dict[str, Any], chosen: dict[str, Any] | None) -> None:
    """The first cards of the slate, the rest behind a switch; each card tells its reason and can be chosen."""
    t = s.t
    if not served["items"] or chosen is None:
        st.markdown(t("profile.nothing_left"))
        return
    shown = served["items"] if state.recall("whole-slate", False) else served["items"][:SHOWN]
    given = thumbs.given(s, served["user"])
    for item in shown:
        card(s, item, served, chosen=item["key"] == chosen["key"], thumb=given.get(item["key"]))
    with st.container(horizontal=True, horizontal_alignment="left"):
        if len(served["items"]) > SHOWN:
            whole = state.recall("whole-slate", False)
            st.button(
                t("profile.fewer") if whole else t("profile.more", n=len(served["items"])),
                key="whole-slate",
                type="tertiary",
                on_click=state.keep,
                args=("whole-slate", not whole),
            )


def card(s: Scene, item: dict[str, Any], served: dict[str, Any], *, chosen: bool, thumb: str | None) -> None:
    """Rank, title, categories, reason, probability and thumbs of one recommendation."""
    t = s.t
    name = f"slate-{'chosen' if chosen else 'other'}-{item['rank']}"
    with st.container(border=True, key=name, horizontal=True, vertical_alignment="center", gap="small"):
        with st.container(gap="xxsmall"):
            st.markdown(f"**{item['rank']}\\. {escape(item['title'])}**")
            st.caption(escape(" · ".join(item.get("categories") or [])) or "–")
            if item["explanation"]:
                st.markdown(because(s, item))
        with st.container(width=96, gap="xxsmall", horizontal_alignment="right"):
            st.markdown(f"**{t.percent(item['probability'])}**", text_alignment="right")
            if item["explanation"]:
                st.button(
                    t("profile.why"),
                    key=f"why-{item['rank']}",
                    type="tertiary",
                    disabled=chosen,
                    on_click=state.choose,
                    args=("item", item["key"]),
                )
            thumbs.buttons(s, item, user=served["user"], run_id=served["run_id"], thumb=thumb)


def explanation(s: Scene, served: dict[str, Any], item: dict[str, Any] | None) -> None:
    """The waterfall of the chosen item, the smallest verified removal, and how faithful the figure is."""
    t = s.t
    if item is None:
        return
    parts.section(t("profile.moved"))
    if not served["live"]:
        parts.problem(t, served["error"])
    if item["explanation"] is None:
        return
    if "refused" in item:
        parts.note(escape(item["refused"].message))
    told = item["explanation"]
    game = history_game(told)
    names = findings.largest_players(game["players"])
    title = (
        capital(t("profile.moved_by", events=t.titles(names, own=item["title"]), item=item["title"]))
        if names
        else t("profile.moved_by_none", item=item["title"])
    )
    players = pd.DataFrame(game["players"], columns=["key", "title", "ts", "phi"])
    st.markdown(
        t.md(
            "profile.from_to",
            n=len(game["players"]),
            item=item["title"],
            base=math.exp(game["base"]),
            value=math.exp(game["value"]),
        )
    )
    parts.figure(charts.waterfall(players, title=title, look=s.look), key="waterfall")
    if served["live"]:  # what follows was run again by the model, and no table holds it
        st.markdown(escape(t.marked(told["words"][t.language])))
        st.markdown(removal(s, told, item))
        parts.note(faithfulness(s, told))
    parts.downloads(players, t=t, name=f"{s.dataset}-user-{served['user']}-item-{item['key']}")


def because(s: Scene, item: dict[str, Any]) -> str:
    """A card's reason in a few words: the events that raised the item most."""
    t, names = s.t, findings.largest_players(history_game(item["explanation"])["players"])
    if not names:
        return t("profile.because_none")
    return t.md("profile.because", events=t.titles(names, own=item["title"]))


def capital(title: str) -> str:
    """A figure's title as a sentence begins, whatever stands first in it."""
    return title[:1].upper() + title[1:]


def history_game(told: dict[str, Any]) -> dict[str, Any]:
    """The game whose players are events; its values are the waterfall's."""
    return next(game for game in told["games"] if game["game"] == "history")


def removal(s: Scene, told: dict[str, Any], item: dict[str, Any]) -> str:
    """The smallest set of events without which the item leaves the slate, as a sentence; only what a re-run
    confirmed.
    """
    t, players = s.t, history_game(told)["players"]
    found = next((one for one in told["counterfactual"] if one["verified"] and one["remove"]), None)
    if found is None:
        return t.md("profile.no_removal", item=item["title"], k=K)
    titles = list(dict.fromkeys(players[place]["title"] for place in found["players"]))
    same = sorted(found["players"]) == sorted(leading(np.asarray([player["phi"] for player in players])))
    if same and all(title in told["words"][t.language] for title in titles):  # told just before, with the ranks
        return t("profile.removal_same", n=len(found["players"]))
    ranks = {"before": found["rank_before"], "after": found["rank_after"]}
    return t.md("profile.removal", events=t.titles(titles, own=item["title"]), item=item["title"], **ranks)


def faithfulness(s: Scene, told: dict[str, Any]) -> str:
    """How much better the figure's order takes the reasons away than the newest-first or a random one; "" without
    events.
    """
    measured = told["faithfulness"]
    if measured["deletion"] is None:
        return ""
    return s.t("profile.faithful", **{name: measured[name] for name in ("deletion", "recency", "random")})


@st.fragment
def what_if(s: Scene, run_id: str, key: str, events: pd.DataFrame, served: dict[str, Any]) -> None:
    """The history editor: leave events out, add others, and see the slate ranked anew."""
    t = s.t
    parts.section(t("whatif.title"))
    if not served["live"]:
        parts.note(t("whatif.needs_scorer"))
        return
    recent = events.head(EDITABLE)
    history = list(events.sort_values(["ts", "event_id"])["key"])
    left, right = parts.pair()
    titles = dict(zip(recent["event_id"], recent["title"], strict=True))
    gone = left.multiselect(
        t("whatif.remove"),
        list(titles),
        format_func=titles.__getitem__,
        key=f"whatif-remove-{key}",
        placeholder=t("whatif.remove_hint", n=len(recent)),
    )
    with right:
        added = additions(s, key)
    if not gone and not added:
        parts.note(t("whatif.idle"))
        return
    kept = events[~events["event_id"].isin(gone)].sort_values(["ts", "event_id"])["key"]
    edited = run_loaders.slate(s.home, run_id, key, (*kept, *added), K)
    ranked_anew(s, served, edited, n=len(history), m=len(kept) + len(added))


def additions(s: Scene, user: str) -> list[str]:
    """Items to put at the end of a history: searched for one by one, and taken away again."""
    t, kept, box = s.t, f"whatif-added-{user}", f"whatif-add-{user}"

    def add(match: Match) -> None:
        if match.key not in state.recall(kept, ()):
            state.keep(kept, (*state.recall(kept, ()), match.key))
            state.fill(**{box: list(state.recall(kept, ()))})

    some = loaders.titles(s.build.path, tuple(state.recall(kept, ())))
    told = {"label": t("whatif.add"), "hint": t("whatif.add_hint")}
    typed = picking.field(s, "item", key=f"whatif-find-{user}", **told)
    picking.matches(s, "item", typed, key=f"whatif-find-{user}", on_pick=add)
    if not some:
        return []
    added = st.multiselect(
        t("whatif.add"),
        list(some),
        format_func=some.__getitem__,
        label_visibility="collapsed",
        **state.filled(box, list(some)),
    )
    state.keep(kept, tuple(added))
    return list(added)


def ranked_anew(s: Scene, served: dict[str, Any], edited: dict[str, Any], *, n: int, m: int) -> None:
    """The new slate beside the old: what rose, what fell, what is new."""
    t = s.t
    before = [item["key"] for item in served["items"]]
    after = {item["key"]: item for item in edited["items"]}
    rows = pd.DataFrame(
        [
            {
                "rank": rank,
                "title": after[item]["title"],
                "before": t("whatif.was", rank=was) if was else t("whatif.new"),
                "probability": after[item]["probability"],
            }
            for item, rank, was in findings.moved(before, list(after))
        ]
    )
    parts.note(t("whatif.said", n=n, m=m))
    parts.table(
        rows,
        t=t,
        name=f"{s.dataset}-user-{served['user']}-whatif",
        height=420,
        shown=rows.assign(probability=rows["probability"] * 100),
        columns={
            "rank": st.column_config.NumberColumn(t("column.rank"), width="small"),
            "title": st.column_config.TextColumn(t("column.title")),
            "before": st.column_config.TextColumn(t("column.before")),
            "probability": st.column_config.NumberColumn(t("column.probability"), format="%.2f%%"),
        },
    )
