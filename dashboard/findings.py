"""What a figure says, worked out from its table: the numbers that titles and sentences are made of. Pure,
and tested by hand.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd

Grain = Literal["day", "week", "month"]
_DAYS_BY_DAY = 500
_DAYS_BY_WEEK = 1500
_STEPS = {"day": pd.DateOffset(days=1), "week": pd.DateOffset(days=7), "month": pd.DateOffset(months=1)}
DAYS_BY_WEEKLY_COHORT = 240
LEVEL = 0.05
LEVELS = ("low", "middle", "high")
UNKNOWN = "unknown"


def grain(first: datetime, last: datetime) -> Grain:
    """The period that an activity line is drawn by, so that it has some hundred points at most."""
    days = (last - first).days
    return "day" if days <= _DAYS_BY_DAY else "week" if days <= _DAYS_BY_WEEK else "month"


def peak(activity: pd.DataFrame) -> tuple[date | None, int]:
    """The busiest period and its events; (None, 0) without any."""
    if activity.empty:
        return None, 0
    row = activity.loc[activity["events"].idxmax()]
    return row["period"], int(row["events"])


def slow_grain(first: datetime, last: datetime) -> Literal["week", "month"]:
    """The period that people's coming and going is told by."""
    return "week" if (last - first).days <= _DAYS_BY_WEEK else "month"


def whole(periods: pd.DataFrame, *, first: date, last: date, grain: Grain) -> pd.DataFrame:
    """The rows of those periods that the log covers from their first day to their last; first, last: its own days, in
    the zone of the periods."""
    begins = pd.to_datetime(periods["period"])
    ends = begins + _STEPS[grain] - pd.Timedelta(days=1)
    return periods[(begins >= pd.Timestamp(first)) & (ends <= pd.Timestamp(last))].reset_index(drop=True)


def stickiness(days: pd.DataFrame, periods: pd.DataFrame, *, grain: Grain) -> pd.DataFrame:
    """From (period, users) by day and by longer period, one row a longer period that somebody was there in: period,
    users, daily (users of an average day, quiet ones too) and share, daily users among the period's (DAU/WAU or
    DAU/MAU)."""
    begins = pd.to_datetime(periods["period"])
    places = np.searchsorted(begins.to_numpy(), pd.to_datetime(days["period"]).to_numpy(), side="right") - 1
    summed = np.bincount(places, weights=days["users"].to_numpy(dtype=float), minlength=len(periods))
    lengths = (begins + _STEPS[grain] - begins).dt.days.to_numpy()
    found = periods[["period", "users"]].assign(daily=summed / lengths)
    found = found[found["users"] > 0].reset_index(drop=True)
    return found.assign(share=found["daily"] / found["users"])


def head_share(long_tail: pd.DataFrame, *, share: float = 0.2) -> float:
    """The share of events that the most popular `share` of items takes; NaN without items."""
    if long_tail.empty:
        return float("nan")
    ordered = long_tail.sort_values("rank")
    items = np.concatenate([[0.0], ordered["rank"].to_numpy(dtype=float) / len(ordered)])
    return float(np.interp(share, items, np.concatenate([[0.0], ordered["cumulative"].to_numpy(dtype=float)])))


def wilson(positive: int, n: int) -> tuple[float, float]:
    """The 95% interval of a share of `positive` among `n` (Wilson, JASA 22, 1927); (0, 1) of none."""
    if not n:
        return 0.0, 1.0
    z, p = 1.959964, positive / n
    middle, spread = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = ((middle + sign * spread) / (1 + z**2 / n) for sign in (-1, 1))
    return max(low, 0.0), min(high, 1.0)


def largest_loss(funnel: pd.DataFrame) -> tuple[str, str, float] | None:
    """The two steps between which the largest share is lost, by kind, and that share; None below two steps, or where
    nobody made the first."""
    users = funnel["users"].tolist()
    losses = [1 - after / before if before else -1.0 for before, after in pairwise(users)]
    if not losses or max(losses) < 0:
        return None
    at = losses.index(max(losses))
    return str(funnel["kind"].iloc[at]), str(funnel["kind"].iloc[at + 1]), losses[at]


def returned(retention: pd.DataFrame, *, age: int = 1) -> tuple[int, int] | None:
    """Of the users whom the log follows so many periods: how many came in the last of these, and how many they are;
    None where it follows none."""
    rows = retention[retention["age"] == age]
    return (int(rows["users"].sum()), int(rows["size"].sum())) if len(rows) else None


def busiest_hour(hours: pd.DataFrame) -> tuple[int, int, float] | None:
    """The ISO weekday and hour with the most events, and how many times the mean of all 168 hours that is; None without
    any."""
    if not hours["events"].sum():
        return None
    row = hours.loc[hours["events"].idxmax()]
    return int(row["weekday"]), int(row["hour"]), float(row["events"] / hours["events"].mean())


def verdict(m: Mapping[str, Any]) -> str:
    """How a gain reads: `better`, `worse`, or `level` where its interval covers zero."""
    return "better" if m["low"] > 0 else "worse" if m["high"] < 0 else "level"


def verdicts(against: Mapping[str, Mapping[str, Any]], *, metric: str) -> dict[str, list[str]]:
    """Names of components by how the served model stands to them: `better`, `level` (the interval covers zero),
    `worse`.

    `against` maps a component to its paired gains {metric: M}, as in a run's evaluation.
    """
    found: dict[str, list[str]] = {"better": [], "level": [], "worse": []}
    for name, gains in against.items():
        m = gains.get(metric)
        if m is not None and m["n"] >= 2:
            found[verdict(m)].append(name)
    return found


def frontier(cost: Sequence[float], gain: Sequence[float]) -> list[bool]:
    """Which points none beats: no other costs at most as much and gains at least as much, and differs in one."""
    points = list(zip(cost, gain, strict=True))
    return [not any(x <= at[0] and y >= at[1] and (x, y) != at for x, y in points) for at in points]


def widest_gap(gaps: Sequence[Mapping[str, Any]], *, metric: str) -> dict[str, Any] | None:
    """The widest gap of one metric between declared groups, as a size with its interval: {attribute, estimate, low,
    high, n}; the interval may reach below zero, into the other group's favour. None where no two can be compared."""
    some = [
        gap for gap in gaps if gap["metric"] == metric and gap["attribute"] != "activity" and gap["gap"] is not None
    ]
    if not some:
        return None
    gap = max(some, key=lambda gap: abs(gap["gap"]))
    low, high = (gap["low"], gap["high"]) if gap["gap"] >= 0 else (-gap["high"], -gap["low"])
    return {"attribute": gap["attribute"], "estimate": abs(gap["gap"]), "low": low, "high": high, "n": gap["n"]}


def gap_seen(gap: Mapping[str, Any]) -> bool:
    """Whether a gap can be told from zero, all gaps of its metric considered (Holm-corrected p below .05)."""
    return gap["p_holm"] is not None and gap["p_holm"] < LEVEL


def visible_gaps(gaps: Sequence[Mapping[str, Any]], *, metric: str) -> list[Mapping[str, Any]]:
    """The gaps of one metric that can be told from zero, the widest first."""
    seen = [gap for gap in gaps if gap["metric"] == metric and gap_seen(gap)]
    return sorted(seen, key=lambda gap: -abs(gap["gap"]))


def moved(before: Sequence[str], after: Sequence[str]) -> list[tuple[str, int, int | None]]:
    """Each key of a new slate with its rank now and its rank before (None: it was not there); ranks from 1."""
    was = {key: rank for rank, key in enumerate(before, 1)}
    return [(key, rank, was.get(key)) for rank, key in enumerate(after, 1)]


def largest_players(players: Sequence[Mapping[str, Any]], *, limit: int = 2) -> list[str]:
    """Titles of the events that raised a recommendation most, for a figure's title."""
    raised = sorted((p for p in players if p["phi"] > 0), key=lambda p: -p["phi"])
    return list(dict.fromkeys(str(p["title"]) for p in raised))[:limit]


def share(part: float | None, whole: float | None) -> float | None:
    """A part of a whole in [0, 1]; None where there is no whole (absence of data is not zero)."""
    return part / whole if part is not None and whole else None


def overall_mean(kinds: pd.DataFrame) -> float | None:
    """The mean value over all events that have one, from (kind, valued, mean_value); None where none has."""
    valued = kinds.dropna(subset=["mean_value"])
    return float(np.average(valued["mean_value"], weights=valued["valued"])) if len(valued) else None


def in_order(names: Sequence[str]) -> list[str] | None:
    """Groups in an order of their own, where they have one: ages and incomes by their first number ("under 18", "55+"),
    levels from low to high; None for names without one. What is `unknown` stands last."""
    known = [name for name in names if name != UNKNOWN]
    if set(known) <= set(LEVELS):
        ordered = sorted(known, key=LEVELS.index)
    elif all(re.search(r"\d", name) for name in known):
        ordered = sorted(known, key=_first_number)
    else:
        return None
    return [*ordered, *(name for name in names if name == UNKNOWN)]


def groups_in_order(groups: pd.DataFrame) -> pd.DataFrame:
    """Rows of one attribute and metric in the groups' own order, else the best first, those withheld last."""
    own = in_order([str(name) for name in groups["group"]])
    if own is not None:
        return groups.set_index("group").loc[own].reset_index()[list(groups.columns)]
    return groups.sort_values("estimate", ascending=False, na_position="last", kind="stable")


def gaps_in_order(gaps: pd.DataFrame) -> pd.DataFrame:
    """Rows of one attribute and metric: by the first group's own order, else the widest in favour of the first on
    top.
    """
    own = in_order([str(name) for name in dict.fromkeys([*gaps["a"], *gaps["b"]])])
    if own is None:
        return gaps.sort_values("gap", ascending=False, kind="stable")
    return gaps.sort_values(["a", "b"], key=lambda names: names.map(own.index), kind="stable")


def _first_number(name: str) -> tuple[float, bool]:
    number = float(re.findall(r"\d+", name)[0])
    below = re.match(r"\s*(under|below|less|up to|<)", name, re.IGNORECASE) is not None
    return number, not below


def guide_against_push(targets: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """ahead, behind: the judged targets on which guiding's interval lies wholly above, or below, pushing's; all targets
    count, so that no headline is the best of several."""
    lifts = {name: (judged["lift"]["guide"], judged["lift"]["push"]) for name, judged in targets.items()}
    return {
        "ahead": sorted(name for name, (guide, push) in lifts.items() if guide["low"] > push["high"]),
        "behind": sorted(name for name, (guide, push) in lifts.items() if guide["high"] < push["low"]),
    }
