"""Pulse's figures of the domain, conversion, baskets, what is repeated, as cards; what cannot be measured is left
out.
"""

from collections.abc import Mapping
from typing import Any

from dashboard import loaders, parts
from dashboard.parts import Card
from dashboard.scene import Scene
from dashboard.words import Words
from data.explore import EVERYONE
from data.kpis import most_users
from data.spec import Kpi

A_ROW = 4


def section(s: Scene) -> None:
    """Nothing where the spec names no figure, or none has anything to measure."""
    told = s.facts.spec.kpis
    if not told:
        return
    rows = [row for row in loaders.kpis(s.build.path).to_dict("records") if row["units"]]
    if not rows:
        return
    parts.section(s.t("kpi.section"))
    for start in range(0, len(rows), A_ROW):
        some = [card(s.t, row, told[row["name"]]) for row in rows[start : start + A_ROW]]
        parts.cards(some, name=f"kpi-{start}")
    n, users = most_users(s.facts), loaders.cohort_size(s.build.path, EVERYONE)["users"]
    if n < users:
        parts.note(s.t("explore.looked_at_draw", n=n, users=users))


def card(t: Words, row: Mapping[str, Any], kpi: Kpi) -> Card:
    """A figure with its interval and the users it is of; what it means stands behind the mark."""
    low, high = written(t, row["low"], row["unit"]), written(t, row["high"], row["unit"])
    spread = row["low"] == row["low"]  # not NaN: one user has no interval
    note = t("kpi.users", low=low, high=high, n=row["n"]) if spread else t("kpi.alone", n=row["n"])
    nothing = "kpi.did" if kpi.measure == "returning" else "kpi.any"  # no kinds are named: all are meant
    of, to = (t.listing([t.name("kind", kind) for kind in kinds]) or t(nothing) for kinds in (kpi.of, kpi.to))
    meaning = t.md(f"kpi_help.{kpi.measure}", of=of, to=to, least=kpi.min_value)
    return Card(t.name("kpi_name", row["name"]), written(t, row["estimate"], row["unit"]), note, meaning)


def written(t: Words, value: float, unit: str) -> str:
    """A figure in its unit: a share as a percentage, hours with their sign, other numbers as they are."""
    if unit == "share":
        return t.percent(value)
    return t("kpi.hours", value=value) if unit == "hours" else t.figure(value)
