"""Profile: one user or one item. For a user: what is recommended and why, what happened before, and what
would change it.
"""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts, findings, loaders, outlook, parts, picking, run_loaders, slate, state
from dashboard.loaders import Subject
from dashboard.parts import Card
from dashboard.scene import Scene, scene

TIMELINE = 300


def main() -> None:
    s = scene()
    if state.chosen("subject") == "item":
        item_profile(s)
    else:
        user_profile(s)


def pickers(s: Scene, *, subject: Subject) -> str:
    """User or item, and which; returns the key in view."""
    t = s.t
    with st.container(horizontal=True, gap="small"):
        st.segmented_control(
            t("profile.subject"),
            format_func=lambda kind: t(f"profile.{kind}"),
            label_visibility="collapsed",
            required=True,
            **state.tied("subject", ["user", "item"], default="user"),
        )
        with st.container(width=picking.WIDTH_PX):
            return picking.choice(s, subject, ends=["item"] if subject == "user" else [])


def user_profile(s: Scene) -> None:
    """While the scorer answers, all is drawn that does not wait for it."""
    t, path = s.t, s.build.path
    place = st.container()
    key = pickers(s, subject="user")
    state.link(dataset=state.chosen("dataset"), user=key, item=state.chosen("item"), run=state.chosen("run"))
    user, run = loaders.user_id(path, key), s.run_if_any()
    facts, events = loaders.user_facts(path, user, s.tz), loaders.user_events(path, user, loaders.EVERYTHING)
    if run is None:
        with place:
            context = t("profile.context_bare", **span(s, facts))
            parts.heading(t.md("profile.title_bare", user=key), context)
        parts.cards(user_cards(s, facts))
        s.tell_no_run()
        timeline(s, events)
        history(s, key, events)
        return
    answer = slate.ask(s, run.run_id, key)
    ahead = outlook.ask(s, run.run_id, key, k=slate.K)
    known = answer.done()
    with place:
        head = parts.reserved(height=68, known=known)

    def told() -> dict[str, Any]:
        served = slate.served(s, run.run_id, key, user, answer)
        picked = slate.picked(s, served)
        with head():
            parts.heading(user_title(s, key, picked), t("profile.context", run=run.run_id, **span(s, facts)))
        with reasons():
            left, right = parts.pair()
        with left:
            parts.section(t("profile.recommended"))
            slate.recommendations(s, served, picked)
        with right:
            slate.explanation(s, served, picked)
        return served

    parts.cards(user_cards(s, facts))
    reasons = parts.reserved(height=912, known=known)
    served = told() if known else None
    next_up = parts.reserved(height=210, known=known)
    timeline(s, events)
    editor = parts.reserved(height=148, known=known)
    history(s, key, events)
    served = served or told()
    with next_up():
        outlook.draw(s, run.run_id, ahead)
    with editor():
        slate.what_if(s, run.run_id, key, events, served)


def timeline(s: Scene, events: pd.DataFrame) -> None:
    """The latest events as a figure."""
    recent = events.head(TIMELINE)
    title = s.t("profile.timeline", n=len(recent))
    parts.figure(charts.timeline(recent, title=title, look=s.look, tz=s.tz, unit=s.t("chart.value")), key="timeline")


def history(s: Scene, key: str, events: pd.DataFrame) -> None:
    """Everything that happened, as a table."""
    parts.section(s.t("profile.history"))
    parts.table(
        events,
        t=s.t,
        name=f"{s.dataset}-user-{key}",
        columns=parts.event_columns(s.t, events),
        shown=parts.kinds_named(s.t, events),
    )


def span(s: Scene, facts: dict[str, Any]) -> dict[str, Any]:
    """How much is known of the user, for the line under the title."""
    return {
        "n": facts["events"],
        "tz": s.tz,
        **{name: facts[f"{name}_ts"] and s.local(facts[f"{name}_ts"]) for name in ("first", "last")},
    }


def user_title(s: Scene, key: str, picked: dict[str, Any] | None) -> str:
    """The page's question: why this item is recommended, or is not, or what there is to know of the user at all."""
    if picked is None:
        return s.t.md("profile.title_bare", user=key)
    asked = "profile.title" if picked["rank"] <= slate.K else "profile.title_not"
    return s.t.md(asked, user=key, item=picked["title"])


def user_cards(s: Scene, facts: dict[str, Any]) -> list[Card]:
    """How much, how liked, how valued, how long ago."""
    t = s.t
    return [
        Card(t("profile.events"), t.count(facts["events"]), t("profile.items", n=facts["items"])),
        Card(t("profile.liked"), t.percent(findings.share(facts["likes"], facts["events"])), liked_rule(s)),
        value_card(s, facts),
        Card(
            t("profile.last"),
            t.day(facts["last_ts"] and s.local(facts["last_ts"])),
            t("profile.days", n=facts["active_days"]),
        ),
    ]


def value_card(s: Scene, facts: dict[str, Any]) -> Card:
    """The mean value (a rating, an amount) beside everyone's."""
    everyone = findings.overall_mean(loaders.kind_counts(s.build.path))
    note = s.t("profile.value_all", value=everyone) if everyone is not None else s.t("profile.no_values")
    return Card(s.t("profile.value"), s.t.figure(facts["mean_value"]), note)


def liked_rule(s: Scene) -> str:
    """What counts as liked in this dataset."""
    t, rule = s.t, s.facts.spec.positive
    if rule.kinds:
        kinds = t.listing([t.name("kind", kind) for kind in rule.kinds])
        key = "profile.liked_kinds" if rule.min_value is None else "profile.liked_kinds_from"
        return t(key, kinds=kinds, value=rule.min_value)
    return t("profile.liked_from", value=rule.min_value) if rule.min_value is not None else t("profile.liked_all")


def item_profile(s: Scene) -> None:
    t, path = s.t, s.build.path
    head = st.container(gap="small")
    key = pickers(s, subject="item")
    state.link(dataset=state.chosen("dataset"), subject="item", item=key, run=state.chosen("run"))
    item = loaders.item_id(path, key)
    facts, events = loaders.item_facts(path, item), loaders.item_events(path, item, TIMELINE)
    with head:
        parts.heading(
            t.md("profile.item_title", item=facts["title"]),
            t.md("profile.item_context", categories=t.listing(list(facts["categories"]))),
        )
    cards = [
        Card(t("profile.events"), t.count(facts["events"]), t("profile.by_users", n=facts["users"])),
        Card(t("profile.rank"), t.count(facts["rank"]), t("profile.of_items", n=facts["n_items"])),
        value_card(s, facts),
    ]
    if (run := s.run_if_any()) is not None:
        reached = run_loaders.recommended_to(s.home, run.run_id, item, 10)
        cards.append(Card(t("profile.reached"), t.count(reached), t("profile.of_users", n=s.facts.n_users)))
    parts.cards(cards)
    grain = findings.grain(s.facts.first_ts, s.facts.last_ts)
    over_time = loaders.item_activity(path, item, s.tz, grain)
    top, most = findings.peak(over_time)
    parts.figure(
        charts.activity(
            over_time,
            title=t(f"pulse.peak_{grain}", top=top, n=most) if most else t("profile.item_untouched"),
            look=s.look,
            tz=s.tz,
            grain=grain,
        ),
        key="item-activity",
    )
    parts.section(t("profile.latest"))
    parts.table(
        events,
        t=t,
        name=f"{s.dataset}-item-{key}",
        columns=parts.item_event_columns(t),
        shown=parts.kinds_named(t, events),
    )


main()
