"""What speaks for putting a run in the champion's place, and what against: the evidence of a promotion.

A run may serve when it is *not inferior*: over the users that both were tested on, the 95% interval of the paired
difference in NDCG@10 stays above a loss of `MARGIN` of the champion's value (Piaggio et al., "Reporting of
noninferiority and equivalence randomized trials", JAMA 2012). It is called better only when the whole interval lies
above zero. No declared attribute's gap may have grown beyond chance. The rest is told and judged mildly: how old the
data is, how often this hold-out was read. Two runs of different builds, protocols or test users are not compared: that
is said, and the run does not pass, since not inferior has to be shown; but a run of a newer build was measured beside
the champion as it stands there. Nothing here decides; `core.ops.registry` keeps to `passes`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from core.ops.builds import build_of, current_build
from core.ops.ledger import Ledger
from core.ops.registry import champion, count_test_reads
from core.ops.runs import RunRow, run_folder, run_of
from core.predict.effects import BESIDE, RIVAL
from core.predict.intervals import LARGE, POWER_FACTOR, RESAMPLES, Measure, bounds, paired_gap, resampled_sums
from core.predict.significance import holm
from core.trust.drift import drift_since
from core.trust.groups import UNKNOWN, pairs, suppressed_groups
from data import reads
from data.errors import StoreError, UnknownBuild
from data.finite import finite
from data.warehouse import Warehouse

MARGIN: Final = 0.02  # the share of the champion's NDCG@10 that a run may lose and still count as not inferior
OFTEN: Final = 50  # readings of one hold-out after which intervals on it flatter whoever was chosen by them
JUDGED: Final = "ndcg@10"
SHOWN: Final = "hr@10"
LEVEL: Final = 0.05
SMALLEST: Final = 10  # users; smaller groups are no evidence, and not to be shown

Verdict = Literal["pass", "fail", "unknown"]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Check:
    """One thing looked at. `finding` names what was found among the check's possible findings, `said` is it in one
    sentence, `figures` the numbers behind it."""

    name: str
    verdict: Verdict
    finding: str
    said: str
    figures: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The check as JSON, null for what is no number."""
        return {**vars(self), "figures": finite(self.figures)}


@dataclass(frozen=True)
class Evidence:
    """All checks of one run against the champion of that moment (None: nothing served yet)."""

    dataset: str
    run_id: str
    champion: str | None
    at: datetime
    checks: tuple[Check, ...]

    @property
    def passes(self) -> bool:
        """Whether no check fails and the run was compared; what else is unknown stops nobody, and is listed."""
        return not self.named("fail") and "accuracy" not in self.named("unknown")

    @property
    def better(self) -> bool:
        """Whether the run's NDCG@10 lies above the champion's by its whole interval."""
        return any(check.finding == "better" for check in self.checks)

    def named(self, verdict: Verdict) -> list[str]:
        """The checks of one verdict."""
        return [check.name for check in self.checks if check.verdict == verdict]

    def as_json(self) -> dict[str, Any]:
        """What the ledger keeps with a promotion: {dataset, run_id, champion, at, passes, better, failed, unknown,
        checks[{name, verdict, finding, said, figures}]}."""
        return {
            "dataset": self.dataset,
            "run_id": self.run_id,
            "champion": self.champion,
            "at": self.at.isoformat(timespec="seconds"),
            "passes": self.passes,
            "better": self.better,
            "failed": self.named("fail"),
            "unknown": self.named("unknown"),
            "checks": [check.as_json() for check in self.checks],
        }


def gather(ledger: Ledger, home: Path, run: RunRow, *, now: datetime, seed: int = 0) -> Evidence:
    """The evidence for a finished run against its data set's champion."""
    holder_id = champion(ledger, run.dataset)
    holder = None if holder_id is None or holder_id == run.run_id else run_of(ledger, holder_id)
    if holder is None:
        why = "first" if holder_id is None else "same"
        checks = [_uncompared("accuracy", why), _uncompared("fairness", why)]
    else:
        mine, theirs = tested_users(home, run.run_id), tested_users(home, holder.run_id)
        apart = apart_by(run, holder, mine, theirs)
        if apart == "build" and run.protocol == holder.protocol and rival_of(home, run) == holder.run_id:
            (mine, theirs), apart = tested_beside(home, run.run_id), None
        if apart or mine is None or theirs is None:
            checks = [_apart(name, apart) for name in ("accuracy", "fairness")]
        else:
            checks = [accuracy(mine, theirs, seed=seed), _fairness_of(ledger, run, mine, theirs, seed=seed)]
    checks += [_drift(ledger, run), _data_age(ledger, run, holder, now=now), _test_reads(ledger, run)]
    return Evidence(run.dataset, run.run_id, holder_id, now, tuple(checks))


def tested_users(home: Path, run_id: str) -> pd.DataFrame | None:
    """A run's tested users: user_id, the judged and the shown metric and, where it was kept, queries; ascending. None
    for a run that was not measured."""
    file = run_folder(home, run_id) / "users.parquet"
    if not file.is_file():
        return None
    table = pd.read_parquet(file)
    kept = [name for name in ("user_id", "queries", JUDGED, SHOWN) if name in table.columns]
    return table[kept].sort_values("user_id", ignore_index=True)


def rival_of(home: Path, run: RunRow) -> str | None:
    """The run that was measured on this one's test users beside it; None where none was."""
    file = run_folder(home, run.run_id) / "evaluation.json"
    told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    rival: str | None = told.get(RIVAL, {}).get("run_id")
    return rival


def tested_beside(home: Path, run_id: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same of a run and of that other one as it stood on this one's build, on the questions that both were asked;
    users whose every answer the other had learned from are left out."""
    table = pd.read_parquet(run_folder(home, run_id) / "users.parquet").sort_values("user_id", ignore_index=True)
    table = table.dropna(subset=[f"{RIVAL}:{JUDGED}"])

    def of(side: str) -> pd.DataFrame:
        columns = {f"{side}:{name}": name for name in (JUDGED, SHOWN)}
        return table[["user_id", *columns]].rename(columns=columns).reset_index(drop=True)

    return of(BESIDE), of(RIVAL)


def apart_by(run: RunRow, other: RunRow, mine: pd.DataFrame | None, theirs: pd.DataFrame | None) -> str | None:
    """What keeps two runs from being compared, in one word (build, protocol, users, unmeasured); None: nothing."""
    if run.build_id != other.build_id:
        return "build"
    if run.protocol != other.protocol:
        return "protocol"
    if mine is None or theirs is None or min(len(mine), len(theirs)) < 2:
        return "unmeasured"
    asked = [name for name in ("user_id", "queries") if name in mine.columns and name in theirs.columns]
    return None if mine[asked].equals(theirs[asked]) else "users"


def difference(mine: pd.DataFrame, theirs: pd.DataFrame, *, metric: str = JUDGED, seed: int) -> Measure:
    """The paired difference of two runs over the same users in the same order, with its 95% interval."""
    return paired_gap(mine[metric].to_numpy(), theirs[metric].to_numpy(), seed=seed)


def accuracy(mine: pd.DataFrame, theirs: pd.DataFrame, *, seed: int) -> Check:
    """Whether a run is shown not to lose more than `MARGIN` of the champion's NDCG@10. An interval that reaches below
    that has not shown it: the run fails, though it need not be worse."""
    change = difference(mine, theirs, seed=seed)
    value = float(theirs[JUDGED].mean())
    margin = MARGIN * value
    figures = {
        "change": change,
        "shown": {SHOWN: difference(mine, theirs, metric=SHOWN, seed=seed)},
        "champion_value": value,
        "run_value": float(mine[JUDGED].mean()),
        "margin": margin,
        "margin_share": MARGIN,
    }
    told = f"NDCG@10 {_signed(change)} against the champion's {value:.3f}, paired over {change['n']} users"
    if change["low"] > 0:
        return Check("accuracy", "pass", "better", f"Better: {told}.", figures)
    if change["low"] >= -margin:
        return Check(
            "accuracy", "pass", "non_inferior", f"Not inferior: {told}; a loss of {margin:.4f} may be.", figures
        )
    if change["high"] < 0:
        return Check("accuracy", "fail", "worse", f"Worse: {told}.", figures)
    return Check(
        "accuracy", "fail", "not_shown", f"A loss above {margin:.4f} ({MARGIN:.0%}) is not ruled out: {told}.", figures
    )


def fairness(
    mine: pd.DataFrame, theirs: pd.DataFrame, people: pd.DataFrame, *, attributes: Sequence[str], seed: int
) -> Check:
    """Whether the gap in NDCG@10 between two groups of a declared attribute has grown beyond chance: users drawn anew
    with both runs' figures, p-values corrected for the number of gaps (Holm). people: user_id and the attributes, one
    row a user; groups of fewer than `SMALLEST` tested users and those not stated do not enter."""
    if not attributes:
        said = "The data set declares no attribute to look at."
        return Check("fairness", "unknown", "undeclared", said, {"gaps": []})
    both = pd.DataFrame({"user_id": mine["user_id"], "mine": mine[JUDGED], "theirs": theirs[JUDGED]})
    table = both.dropna().merge(people, on="user_id", how="left", validate="one_to_one")
    gaps = [gap for name in attributes if name in table.columns for gap in _gap_changes(table, name, seed=seed)]
    if not gaps:
        said = f"No attribute has two groups of {SMALLEST} tested users to compare."
        return Check("fairness", "unknown", "too_small", said, {"gaps": []})
    adjusted = holm({place: gap["p"] for place, gap in enumerate(gaps)})
    gaps = [{**gap, "p_holm": adjusted[place]} for place, gap in enumerate(gaps)]
    grown = [gap for gap in gaps if gap["change"]["estimate"] > 0 and gap["p_holm"] < LEVEL]
    reach = [min(gap["detectable"] for gap in gaps), max(gap["detectable"] for gap in gaps)]
    figures = {"gaps": gaps, "grown": grown, "attributes": list(attributes), "detectable": reach, "n": len(table)}
    if grown:
        told = "; ".join(
            f"{gap['a']} and {gap['b']} ({gap['attribute']}) from {gap['before']:.3f} to {gap['after']:.3f},"
            f" {_signed(gap['change'])}"
            for gap in grown
        )
        return Check("fairness", "fail", "grown", f"A gap between groups grew beyond chance: {told}.", figures)
    said = (
        f"None of {len(gaps)} gaps between groups grew beyond chance; a growth below {reach[0]:.3f} to {reach[1]:.3f},"
        f" by the groups' size, could not have been seen among {len(table)} users."
    )
    return Check("fairness", "pass", "not_grown", said, figures)


def _gap_changes(table: pd.DataFrame, name: str, *, seed: int) -> list[dict[str, Any]]:
    """How one attribute's gaps changed from the champion (theirs) to the run (mine), by size; the same pairs of groups
    as in the audit."""
    stated = table[table[name].notna() & (table[name].astype(str) != UNKNOWN)]
    sizes = {str(group): int(count) for group, count in stated[name].astype(str).value_counts().items()}
    hidden = suppressed_groups(sizes, k=SMALLEST)
    part = stated[~stated[name].astype(str).isin(hidden)]
    groups = sorted(set(part[name].astype(str)))
    if len(groups) < 2:
        return []
    code = pd.Categorical(part[name].astype(str), categories=groups).codes.astype(np.int64)
    values = part[["mine", "theirs"]].to_numpy(dtype=np.float64)
    n = np.bincount(code, minlength=len(groups))
    means = np.stack([np.bincount(code, weights=values[:, run], minlength=len(groups)) / n for run in (0, 1)])
    drawn = _drawn_means(values, code, len(groups), seed=seed)  # (R, 2, G)
    found = []
    for a, b in pairs(groups, sizes):
        one, two = groups.index(a), groups.index(b)
        after, before = np.abs(means[:, one] - means[:, two])
        sizes_drawn = np.abs(drawn[:, :, one] - drawn[:, :, two])
        changes = sizes_drawn[:, 0] - sizes_drawn[:, 1]
        low, high = bounds(changes)
        tail = min((changes <= 0).sum(), (changes >= 0).sum())
        m = Measure(estimate=float(after - before), low=float(low), high=float(high), n=int(n[one] + n[two]))
        about = {"attribute": name, "a": a, "b": b, "before": float(before), "after": float(after), "change": m}
        seen = {"detectable": POWER_FACTOR * float(np.nanstd(changes, ddof=1))}
        found.append({**about, **seen, "p": min(1.0, 2 * (1 + int(tail)) / (1 + len(changes)))})
    return found


def _drawn_means(values: Floats, code: npt.NDArray[np.int64], n_groups: int, *, seed: int) -> Floats:
    """(R, 2, G) group means of both runs, users drawn anew. values (n, 2). Above `LARGE` users the means are drawn from
    their own normal distribution, which is the same to the digits shown."""
    if len(values) > LARGE:
        rng = np.random.default_rng(seed)
        drawn = [
            rng.multivariate_normal(some.mean(axis=0), np.cov(some, rowvar=False) / len(some), size=RESAMPLES)
            for some in (values[code == group] for group in range(n_groups))
        ]
        return np.stack(drawn, axis=2)
    member = np.zeros((len(values), n_groups))
    member[np.arange(len(values)), code] = 1.0
    columns = np.concatenate([member * values[:, :1], member * values[:, 1:], member], axis=1)
    sums = resampled_sums(columns, seed=seed).reshape(-1, 3, n_groups)
    count = sums[:, 2:]
    means: Floats = np.divide(sums[:, :2], count, out=np.full_like(sums[:, :2], math.nan), where=count > 0)
    return means


def _fairness_of(ledger: Ledger, run: RunRow, mine: pd.DataFrame, theirs: pd.DataFrame, *, seed: int) -> Check:
    try:
        with Warehouse.open(build_of(ledger, run.build_id).path) as warehouse:
            people, attributes = reads.user_table(warehouse).to_pandas(), list(warehouse.facts.spec.sensitive)
    except (UnknownBuild, StoreError):
        return Check("fairness", "unknown", "gone", "The run's build is gone, so nobody's group can be told.", {})
    return fairness(mine, theirs, people, attributes=attributes, seed=seed)


_UNCOMPARED = {
    "first": "Nothing serves yet, so there is nothing to lose.",
    "same": "The run is the champion itself.",
}


def _uncompared(name: str, why: str) -> Check:
    return Check(name, "pass", why, _UNCOMPARED[why], {})


_APART = {
    "build": "The champion was measured on another build, so the two cannot be paired.",
    "protocol": "The champion was measured by another protocol, so the two cannot be paired.",
    "users": "The champion was measured on other test users, so the two cannot be paired.",
    "unmeasured": "One of the two was not measured on test users.",
}


def _apart(name: str, why: str | None) -> Check:
    return Check(name, "unknown", why or "unmeasured", _APART[why or "unmeasured"], {})


def _drift(ledger: Ledger, run: RunRow) -> Check:
    """Whether what people do has shifted since the run's build: then it should learn from the newer one first."""
    newest = current_build(ledger, run.dataset)
    if newest.build_id == run.build_id:
        return Check("drift", "pass", "current", "It learned from the newest build.", {})
    try:
        with Warehouse.open(build_of(ledger, run.build_id).path) as warehouse:
            since = warehouse.facts.last_ts
        with Warehouse.open(newest.path) as warehouse:
            found = drift_since(warehouse, since)
    except (UnknownBuild, StoreError):
        return Check("drift", "unknown", "gone", "The run's build is gone, so this cannot be told.", {})
    figures = {
        "n": found.n_since,
        "build": newest.build_id,
        "launched": found.launched,
        "aspects": [aspect.as_json() for aspect in found.aspects],
    }
    if found.verdict is None:
        said = f"Build {newest.build_id} has {found.n_since} newer events, too few to compare."
        return Check("drift", "unknown", "few", said, figures)
    told = ", ".join(f"{one.name} {one.psi:.3f} (by chance {one.chance:.3f})" for one in found.aspects)
    said = f"Over {found.n_since:,} newer events, stability index: {told}; .1 is a move, .25 a shift."
    return Check("drift", "fail" if found.verdict == "shifted" else "pass", found.verdict, said, figures)


def _data_age(ledger: Ledger, run: RunRow, holder: RunRow | None, *, now: datetime) -> Check:
    """Fails only where a promotion would go back to data older than the champion's."""
    try:
        build = build_of(ledger, run.build_id)
        with Warehouse.open(build.path) as warehouse:
            last = warehouse.facts.last_ts
    except (UnknownBuild, StoreError):
        return Check("data_age", "unknown", "gone", "The run's build is gone, so its age cannot be told.", {})
    days = max(0.0, (now - last).total_seconds() / 86_400)
    newest = current_build(ledger, run.dataset)
    behind = newest.build_id != run.build_id
    figures = {"age_days": days, "last_event": last.isoformat(), "build_id": run.build_id, "newer_build": None}
    told = f"Its last event is {days:,.0f} days old"
    if not behind:
        return Check("data_age", "pass", "current", f"{told}; the data set has no newer build.", figures)
    figures["newer_build"] = newest.build_id
    if holder is not None and holder.build_id != run.build_id and _made_after(ledger, holder.build_id, build.created):
        said = f"{told}, and the champion learned from a newer build."
        return Check("data_age", "fail", "older_than_champion", said, figures)
    return Check("data_age", "pass", "newer_build", f"{told}; there is a newer build, {newest.build_id}.", figures)


def _made_after(ledger: Ledger, build_id: str, moment: datetime) -> bool:
    try:
        return build_of(ledger, build_id).created > moment
    except UnknownBuild:
        return False


def _test_reads(ledger: Ledger, run: RunRow) -> Check:
    times = count_test_reads(ledger, run.dataset, protocol=run.protocol, build_id=run.build_id)
    figures = {"reads": times, "often": OFTEN}
    told = f"This hold-out was read {times:,} {'time' if times == 1 else 'times'}"
    if times > OFTEN:
        said = f"{told}: what was chosen by it looks better than it is; a newer build brings fresh test events."
        return Check("test_reads", "unknown", "often", said, figures)
    return Check("test_reads", "pass", "few", f"{told}.", figures)


def _signed(m: Mapping[str, Any]) -> str:
    return f"{m['estimate']:+.4f} [{m['low']:+.4f}, {m['high']:+.4f}]"
