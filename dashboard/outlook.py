"""What a user is expected to do next, on the Profile page: like what is recommended, behave in some way, come back.

The scorer's heads tell it (`core.predict.behaviour`). What a run cannot tell is left out, and one line says why.
"""

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from dashboard import parts, run_loaders
from dashboard.parts import Card
from dashboard.scene import Scene
from data.errors import NothingPredicted, ScorerUnavailable

Outlook = Future[dict[str, Any]]


def ask(s: Scene, run_id: str, key: str, *, k: int) -> Outlook:
    """Asks the scorer; a page draws what it knows meanwhile."""
    return run_loaders.outlook_soon(s.home, run_id, key, k)


def draw(s: Scene, run_id: str, answer: Outlook) -> None:
    """The cards, what the run's own test says of such predictions, and what is not told."""
    t = s.t
    parts.section(t("outlook.title"))
    try:
        told = answer.result()
    except ScorerUnavailable:
        parts.note(t("outlook.needs_scorer"))
        return
    except NothingPredicted as error:
        parts.problem(t, error)
        return
    cards = [*like_card(s, told), *kind_card(s, told), *return_card(s, told)]
    if cards:
        parts.cards(cards, name="outlook")
    parts.note(" ".join([*tested(s, run_id, told), *untold(s, told)]))


def like_card(s: Scene, told: dict[str, Any]) -> Iterator[Card]:
    """How likely the first recommendation is liked, beside all of the slate."""
    if told["like"]:
        p = [item["p"] for item in told["like"]]
        note = s.t("outlook.like_note", n=len(p), low=min(p), high=max(p))
        yield Card(s.t("outlook.like", item=told["like"][0]["title"]), s.t.percent(p[0]), note)


def kind_card(s: Scene, told: dict[str, Any]) -> Iterator[Card]:
    """The likeliest kind of the next event, and the others."""
    first, *others = sorted(told["kinds"].items(), key=lambda pair: -pair[1])
    if others:
        named = [f"{s.t.name('kind', kind)} {s.t.percent(p)}" for kind, p in others[:3]]
        yield Card(s.t("outlook.kind"), f"{s.t.name('kind', first[0])} {s.t.percent(first[1])}", " · ".join(named))


def return_card(s: Scene, told: dict[str, Any]) -> Iterator[Card]:
    """When the user is back, with an interval that holds four of five."""
    t, days = s.t, told["return_days"]
    seen = days.get("seen_days")
    if seen is None:
        return

    def said(value: float | None) -> str:
        return t("outlook.days", n=value) if value is not None else t("outlook.later", n=seen)

    note = t("outlook.back_note", low=said(days["low"]), high=said(days["high"]))
    yield Card(t("outlook.back"), said(days["median"]), note)


def untold(s: Scene, told: dict[str, Any]) -> Iterator[str]:
    """What the run cannot tell, or hardly."""
    if told["like"] is None:
        yield s.t("outlook.no_like")
    if "return_days" in told["notes"]:
        known = told["return_days"].get("seen_days") is not None
        yield s.t("outlook.weak_return" if known else "outlook.no_return")


def tested(s: Scene, run_id: str, told: dict[str, Any]) -> Iterator[str]:
    """How well P(like) held on the run's own test."""
    measured = (run_loaders.run_json(s.home, run_id, "evaluation.json") or {}).get("behaviour") or {}
    like = measured.get("like")
    if told["like"] and like:
        auc, off = like["auc"], like["ece"]["estimate"]
        yield s.t("outlook.tested", auc=auc["estimate"], low=auc["low"], high=auc["high"], n=auc["n"], ece=off)
