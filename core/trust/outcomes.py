"""What people did with what they were shown: how many of the slates that a run made were answered.

A slate is answered when its user clicks, favourites or rates one of its items under the slate's name. The figure is the
share of a user's slates, averaged over users, so that who sees many counts once; its interval is over users. While a
split is in force the arms are dealt by a hash, so that what differs between them is the run's doing; their users are
others, so a gap's interval draws both anew. A change of share begins it anew: whoever it moved has met both arms, and
before it the arms stood at other odds, so that a trend in time would look like a gain. Every slate was the only one
that its user could have got (propensity 1), so nothing is weighed.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from core.ops import feedback, traffic
from core.ops.ledger import Ledger
from core.ops.registry import promotions
from core.predict.intervals import Floats, Measure, bootstrap_mean, unpaired_gap


@dataclass(frozen=True)
class Outcome:
    """One run's slates: how many, to how many users, their answered share, and that less the champion's (None for the
    champion, and where the champion showed nothing)."""

    run_id: str
    slates: int
    users: int
    share: Measure
    gap: Measure | None


@dataclass(frozen=True)
class Outcomes:
    """The champion's outcome first, then the challenger's, of what was shown since a moment: since the share was set,
    else since the champion serves. weeks: the champion's own by week, (the week's Monday, its Measure)."""

    since: datetime
    champion: str
    arms: list[Outcome]
    weeks: list[tuple[datetime, Measure]]

    def as_json(self) -> dict[str, Any]:
        """What `lodestar split` shows and a page caches."""
        return {
            "since": self.since,
            "champion": self.champion,
            "arms": [vars(arm) for arm in self.arms],
            "weeks": [{"week": week, "share": share} for week, share in self.weeks],
        }


def outcomes(ledger: Ledger, dataset: str, *, seed: int = 0) -> Outcomes | None:
    """The outcomes of those that serve a data set now; None while nothing does."""
    history = promotions(ledger, dataset)
    if not history:
        return None
    standing, since = traffic.split_in_force(ledger, dataset), history[0].at
    runs = [history[0].run_id]
    if standing is not None:
        runs.append(standing.run_id)
        since = standing.at
    made = slates(feedback.of_slates(ledger, dataset, since=since))
    arms: list[Outcome] = []
    for run_id in runs:
        mine = made[made["run_id"] == run_id]
        users = by_user(mine)
        gap = (
            unpaired_gap(users, by_user(made[made["run_id"] == runs[0]]), seed=seed) if arms and arms[0].users else None
        )
        arms.append(Outcome(run_id, len(mine), len(users), bootstrap_mean(users, seed=seed), gap))
    return Outcomes(since, runs[0], arms, weekly(made[made["run_id"] == runs[0]], seed=seed))


def slates(rows: pa.Table) -> pd.DataFrame:
    """One row a slate (run_id, user, at, answered), from feedback's rows that name one; acts of another user than the
    slate's, or on an item that it did not hold, answer nothing."""
    told = rows.to_pandas()
    shown = told[told["kind"] == feedback.SHOWN]
    acts = told.loc[told["kind"].isin(feedback.AS_EVENTS), ["slate", "user", "item"]].drop_duplicates()
    met = shown[["slate", "user", "item"]].merge(acts, on=["slate", "user", "item"])["slate"]
    firsts = {"run_id": ("run_id", "first"), "user": ("user", "first"), "at": ("at", "min")}
    made: pd.DataFrame = shown.groupby("slate", sort=False).agg(**firsts)
    made["answered"] = made.index.isin(met)
    return made.reset_index(drop=True)


def by_user(made: pd.DataFrame) -> Floats:
    """(n,) each user's share of answered slates."""
    return made.groupby("user")["answered"].mean().to_numpy(dtype=np.float64)


def weekly(made: pd.DataFrame, *, seed: int) -> list[tuple[datetime, Measure]]:
    """The answered share of each week in which anything was shown."""
    monday = made["at"].dt.floor("D") - pd.to_timedelta(made["at"].dt.day_of_week, unit="D")
    return [
        (week.to_pydatetime(), bootstrap_mean(by_user(some), seed=seed))
        for week, some in made.groupby(monday, sort=True)
    ]
