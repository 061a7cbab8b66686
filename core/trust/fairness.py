"""Group fairness of a run: per-user metrics by declared attribute, with signed gaps that say what could be seen.

Metrics are measured per user first and then grouped with Fairlearn's MetricFrame. Its own `difference_ci` is unsigned
and never covers zero, so intervals are made here: users are drawn anew, the same draw for all groups, and the signed
gap of group means is taken each time. A gap comes with the smallest one that this many users would have shown in 80%
of cases, with a p-value corrected for the number of gaps looked at (Holm 1979), and with the gap that remains between
users of like activity. Groups too small to show are suppressed, with as many more as keep them from being worked out.

Users drawn anew from a small group say nothing of what it did not happen to hold: twelve users without a hit would have
no hit for certain. So p is by dealing the pair's users out anew (a permutation test; for large groups its normal form),
and below `SMALL` users no interval is narrower than the spread of all users together would make it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from fairlearn.metrics import MetricFrame, count
from scipy.stats import norm

from core.predict.intervals import POWER_FACTOR, RESAMPLES, bounds, resampled_sums
from core.trust.groups import UNKNOWN, pairs, suppressed_groups

SMALL: Final = 50  # users, below which a group's own spread is not taken at its word
LARGE: Final = 150  # users, from which on a permutation test's normal form is the same
DEALS: Final = 5000  # of a permutation test
_BLOCK: Final = 500  # deals at once
METRICS: Final = ("ndcg@10", "hr@10")
ACTIVITY: Final = "activity"

_Z: Final = 1.959964
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Audit:
    """group_metrics: metric, attribute, group, n (null where suppressed), estimate, low, high (NaN where suppressed or
    without data), suppressed. gaps: metric, attribute, a, b, gap, low, high (of mean(a) - mean(b)), detectable, n,
    p_holm, and adjusted, adjusted_low, adjusted_high (between users of like activity; NaN where that is not known)."""

    group_metrics: pd.DataFrame
    gaps: pd.DataFrame

    def as_json(self) -> dict[str, Any]:
        """{"groups": [...], "gaps": [...]}, null for what is no number."""
        return {"groups": _records(self.group_metrics), "gaps": _records(self.gaps)}


def audit(
    per_user: pd.DataFrame,
    users: pd.DataFrame,
    *,
    attributes: Sequence[str],
    k: int = 10,
    resamples: int = RESAMPLES,
    seed: int,
    activity: pd.Series | None = None,
) -> Audit:
    """Group one run's per-user metrics.

    per_user: one row a tested user: user_id, ndcg@10, hr@10. users: one row a user: user_id and the `attributes`,
    missing ones `unknown`. activity: events of each user, by user_id; its terciles become a group of their own and the
    strata of the adjusted gaps. Groups of fewer than `k` tested users are suppressed.
    """
    missing = pd.DataFrame({name: pd.Series(dtype=object) for name in attributes if name not in users.columns})
    declared = pd.concat([users, missing], axis=1)[["user_id", *attributes]]
    table = per_user[["user_id", *METRICS]].merge(declared, on="user_id", how="left", validate="one_to_one")
    table[list(attributes)] = table[list(attributes)].astype(object).fillna(UNKNOWN).astype(str)
    strata = _terciles(activity, table["user_id"]) if activity is not None else None
    if strata is not None:
        table[ACTIVITY] = strata.to_numpy()
    names = [*attributes, *([ACTIVITY] if strata is not None and ACTIVITY not in attributes else [])]
    groups: list[dict[str, Any]] = []
    gaps: list[dict[str, Any]] = []
    for name in names:
        all_groups = _all_groups(users, table, name)
        of_groups, of_gaps = _one_attribute(table, name, all_groups, k=k, resamples=resamples, seed=seed)
        groups += of_groups
        gaps += of_gaps
    columns = ["metric", "attribute", "group", "n", "estimate", "low", "high", "suppressed"]
    frame = pd.DataFrame(groups, columns=columns).astype({"n": "Int64", "suppressed": bool})
    return Audit(frame, _corrected(pd.DataFrame(gaps, columns=_GAP_COLUMNS)))


_GAP_COLUMNS = [
    "metric", "attribute", "a", "b", "gap", "low", "high", "detectable", "n", "p", "p_holm",
    "adjusted", "adjusted_low", "adjusted_high",
]  # fmt: skip


def _one_attribute(
    table: pd.DataFrame, name: str, all_groups: Sequence[str], *, k: int, resamples: int, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of groups and of gaps for one attribute."""
    measured = _by_group(table, name)
    sizes = {group: int(measured["n"].get(group, 0)) for group in all_groups}
    hidden = suppressed_groups(sizes, k=k)
    cells = _cells(table, name, all_groups)
    groups, gaps = [], []
    shown = [group for group in all_groups if group not in hidden and sizes[group] > 0]
    compared = pairs([group for group in shown if group != UNKNOWN], sizes)
    for metric in METRICS:
        drawn = _drawn_means(table, cells, metric, resamples=resamples, seed=seed)
        low, high = bounds(drawn.of_groups)
        spread = float(table[metric].std(ddof=1)) if len(table) > 1 else math.nan
        values = {group: table.loc[table[name] == group, metric].to_numpy(dtype=np.float64) for group in shown}
        for row, group in enumerate(all_groups):
            visible = group in shown
            least = _Z * spread / math.sqrt(sizes[group]) if visible and sizes[group] < SMALL else 0.0
            estimate = float(measured[metric][group]) if visible else math.nan
            groups.append(
                {
                    "metric": metric,
                    "attribute": name,
                    "group": group,
                    "n": pd.NA if group in hidden else sizes[group],
                    "estimate": estimate,
                    "low": max(min(float(low[row]), estimate - least), 0.0) if visible else math.nan,
                    "high": min(max(float(high[row]), estimate + least), 1.0) if visible else math.nan,
                    "suppressed": group in hidden,
                }
            )
        for a, b in compared:
            gap = float(measured[metric][a] - measured[metric][b])
            found = _gap_interval(drawn, all_groups.index(a), all_groups.index(b))
            error = _pooled_error(values[a], values[b])
            if min(sizes[a], sizes[b]) < SMALL:
                found["low"] = min(found["low"], gap - _Z * error)
                found["high"] = max(found["high"], gap + _Z * error)
            found |= {"detectable": POWER_FACTOR * error, "p": _p_value(values[a], values[b], gap, error, seed=seed)}
            named = {"metric": metric, "attribute": name, "a": a, "b": b}
            gaps.append({**named, "gap": gap, "n": sizes[a] + sizes[b], **found})
    return groups, gaps


def _by_group(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Mean of each metric and number of users by group (index), from Fairlearn's MetricFrame."""
    if table.empty:
        return pd.DataFrame(columns=[*METRICS, "n"], dtype=float)
    frames = {
        metric: MetricFrame(
            metrics=_mean, y_true=table[metric], y_pred=table[metric], sensitive_features=table[name]
        ).by_group
        for metric in METRICS
    }
    frames["n"] = MetricFrame(
        metrics=count, y_true=table["user_id"], y_pred=table["user_id"], sensitive_features=table[name]
    ).by_group
    return pd.DataFrame(frames)


def _mean(y_true: pd.Series, y_pred: pd.Series) -> float:
    return float(np.mean(y_pred))


@dataclass(frozen=True)
class _Cells:
    """member (n, G * S) one-hot of group x stratum; shares (S,) of all users in each stratum."""

    member: Floats
    n_groups: int
    n_strata: int
    controlled: bool


@dataclass(frozen=True)
class _Drawn:
    """Resampled group means (R, G), and the adjusted ones' parts: sums and counts (R, G, S), the first row of the
    `whole` arrays being the data itself."""

    of_groups: Floats
    sums: Floats
    counts: Floats
    whole_sums: Floats
    whole_counts: Floats
    controlled: bool


def _cells(table: pd.DataFrame, name: str, all_groups: Sequence[str]) -> _Cells:
    controlled = ACTIVITY in table.columns and name != ACTIVITY
    group = pd.Categorical(table[name], categories=list(all_groups)).codes.astype(np.int64)
    stratum = np.zeros(len(table), dtype=np.int64)
    n_strata = 1
    if controlled:
        categories = sorted(table[ACTIVITY].unique())
        stratum = pd.Categorical(table[ACTIVITY], categories=categories).codes.astype(np.int64)
        n_strata = max(len(categories), 1)
    member = np.zeros((len(table), len(all_groups) * n_strata))
    member[np.arange(len(table)), group * n_strata + stratum] = 1.0
    return _Cells(member, len(all_groups), n_strata, controlled)


def _drawn_means(table: pd.DataFrame, cells: _Cells, metric: str, *, resamples: int, seed: int) -> _Drawn:
    values = table[metric].to_numpy(dtype=np.float64)
    columns = np.concatenate([cells.member * values[:, None], cells.member], axis=1)
    drawn = resampled_sums(columns, seed=seed, resamples=resamples)
    shape = (cells.n_groups, cells.n_strata)  # (0, 1) where nobody was tested
    half = cells.member.shape[1]
    sums, counts = drawn[:, :half].reshape(len(drawn), *shape), drawn[:, half:].reshape(len(drawn), *shape)
    whole = columns.sum(axis=0)
    return _Drawn(
        of_groups=_ratio(sums.sum(2), counts.sum(2)),
        sums=sums,
        counts=counts,
        whole_sums=whole[:half].reshape(1, *shape),
        whole_counts=whole[half:].reshape(1, *shape),
        controlled=cells.controlled,
    )


def _gap_interval(drawn: _Drawn, a: int, b: int) -> dict[str, Any]:
    differences = drawn.of_groups[:, a] - drawn.of_groups[:, b]
    low, high = bounds(differences)
    out: dict[str, Any] = {"low": float(low), "high": float(high)}
    if not drawn.controlled:
        return out | dict.fromkeys(("adjusted", "adjusted_low", "adjusted_high"), math.nan)
    low, high = bounds(_adjusted(drawn.sums, drawn.counts, a, b))
    adjusted = float(_adjusted(drawn.whole_sums, drawn.whole_counts, a, b)[0])
    return out | {"adjusted": adjusted, "adjusted_low": float(low), "adjusted_high": float(high)}


def _pooled_error(a: Floats, b: Floats) -> float:
    """The standard error of mean(a) - mean(b), by the spread within groups that both are taken to share."""
    if len(a) + len(b) < 3:
        return math.nan
    within = float(((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()) / (len(a) + len(b) - 2)
    return math.sqrt(within * (1 / len(a) + 1 / len(b)))


def _p_value(a: Floats, b: Floats, gap: float, error: float, *, seed: int) -> float:
    """Two-sided, of mean(a) - mean(b) = gap where who is in which group were dealt anew; NaN where all are alike."""
    if not error > 0:
        return math.nan
    n, both = min(len(a), len(b)), np.concatenate([a, b])
    if n >= LARGE:
        return float(2 * norm.sf(abs(gap) / error))
    rng = np.random.default_rng(seed)
    few = len(both) <= SMALL * n  # of more, drawing some twice makes no difference
    total = np.concatenate([both[_dealt(rng, len(both), n, twice=not few)].sum(axis=1) for _ in range(DEALS // _BLOCK)])
    dealt = np.abs(total / n - (both.sum() - total) / (len(both) - n))
    return float((1 + (dealt >= abs(gap) - 1e-12).sum()) / (1 + DEALS))


def _dealt(rng: np.random.Generator, among: int, n: int, *, twice: bool) -> npt.NDArray[np.intp]:
    """(_BLOCK, n) draws of n out of `among`, none of them twice in a draw unless that is allowed."""
    if twice:
        return rng.integers(among, size=(_BLOCK, n))
    return np.argpartition(rng.random((_BLOCK, among)), n - 1, axis=1)[:, :n]


def _adjusted(sums: Floats, counts: Floats, a: int, b: int) -> Floats:
    """(R,) gap of a and b within strata, weighted by both groups' users there; strata with one group alone are left
    out. NaN where none has both."""
    gap = _ratio(sums[:, a], counts[:, a]) - _ratio(sums[:, b], counts[:, b])
    weight = np.where(np.isnan(gap), 0.0, counts[:, a] + counts[:, b])
    return _ratio(np.nansum(gap * weight, axis=1), weight.sum(axis=1))


def _ratio(total: Floats, n: Floats) -> Floats:
    ratio: Floats = np.divide(total, n, out=np.full(np.broadcast(total, n).shape, math.nan), where=n > 0)
    return ratio


def _terciles(activity: pd.Series, user_id: pd.Series) -> pd.Series:
    """`low`, `middle` or `high` by the terciles of the tested users' activity; ties fall together."""
    events = activity.reindex(user_id.to_numpy()).fillna(0).to_numpy(dtype=np.float64)
    edges = np.quantile(events, [1 / 3, 2 / 3]) if len(events) else np.zeros(2)
    return pd.Series(np.asarray(["low", "middle", "high"])[np.searchsorted(edges, events)], dtype=object)


def _all_groups(users: pd.DataFrame, table: pd.DataFrame, name: str) -> list[str]:
    """Every group that any user has, tested or not, in their own order."""
    if name == ACTIVITY and name not in users.columns:
        return [group for group in ("low", "middle", "high") if group in set(table[name])]
    known = users[name].astype(object).fillna(UNKNOWN).astype(str) if name in users.columns else table[name]
    return sorted({*known, *table[name]})


def _corrected(gaps: pd.DataFrame) -> pd.DataFrame:
    """With Holm's correction of p over all gaps of one metric; without the raw p."""
    for _, part in gaps.groupby("metric"):
        p = part["p"].astype(float).dropna().sort_values()
        steps = np.minimum(np.maximum.accumulate(p.to_numpy() * (len(p) - np.arange(len(p)))), 1.0)
        gaps.loc[p.index, "p_holm"] = steps
    return gaps.drop(columns="p").astype({name: float for name in ("gap", "low", "high", "detectable", "p_holm")})


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in frame.astype(object).to_dict("records")
    ]
