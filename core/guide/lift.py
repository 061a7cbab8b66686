"""What guiding achieves by independent judges: lift of the target's probability, beside pushing, chance and nothing.

Lift is the judge's probability of the target after the last shown step less that before the first, a mean over users
with an interval over users. A run's `judges/` folder holds the judges and `lift.json`, made here.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from core.guide.judges import JudgeConfig, Judges, train_judges
from core.guide.plan import FLOOR, LAMBDA, TOP
from core.guide.trials import CURVES, POLICIES, Progress, Trial, run_trials
from core.learn.ranking import ndcg, ranks
from core.learn.sequences import Histories, IntArray, Split, histories_from
from core.learn.splits import leave_last_out
from core.predict.intervals import Measure, bootstrap_mean
from core.predict.served import ServedModel
from data import reads
from data.finite import finite
from data.warehouse import Warehouse

MAIN_CURVE: Final = "judge"
RESAMPLES: Final = 1000
_SHARE_OF_EVENTS = (0.02, 0.3)  # what a target may hold: something to show, and room to grow
_TRAINING = 0.4  # of the time

Floats = npt.NDArray[np.float64]


def judge_run(
    served: ServedModel,
    warehouse: Warehouse,
    folder: Path,
    *,
    seed: int,
    n_users: int = 100,
    n_targets: int = 5,
    steps: int = 10,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train the judges on the run's training part, save them in `folder`, and give what `lift.json` holds:

    targets {category: {lift, acceptance, success, perplexity, per_accepted {policy: M}, start M, curves {shown,
    accepted: [{policy, step, estimate, low, high, n}]}, by_curve {curve: {policy: M}}}}, judges, acceptance_curves
    {name: formula}, main_curve and the settings. All but `by_curve` is under the main curve; M's are null where there
    is nothing. No targets where the build has no categories.
    """
    tell = progress or _silent
    histories = histories_from(reads.histories(warehouse), served.vocabulary.kinds)
    split = leave_last_out(histories, served.task)
    config = JudgeConfig()
    judges = train_judges(
        split.train,
        task=split.task,
        n_items=served.n_items,
        seed=seed,
        config=config,
        progress=lambda share, words: tell(share * _TRAINING, words),
    )
    judges.save(folder, config)
    targets = choose_targets(served, histories, n=n_targets)
    users = sample_users(histories, n=n_users, seed=seed)
    trials: dict[tuple[str, str, str], Trial] = {}
    if targets and len(users):
        trials = run_trials(
            served,
            histories,
            judges,
            users=users,
            targets=targets,
            steps=steps,
            progress=lambda share, words: tell(_TRAINING + share * (1 - _TRAINING), words),
        )
    told: dict[str, Any] = {
        "targets": {target: _summary(trials, target, seed) for target in targets} if trials else {},
        "judges": judge_quality(judges, split, seed=seed),
        "acceptance_curves": dict(CURVES),
        "main_curve": MAIN_CURVE,
        "policies": list(POLICIES),
        "users": len(users),
        "steps": steps,
        "top": TOP,
        "lambda": LAMBDA,
        "floor": FLOOR,
        "seed": seed,
    }
    plain: dict[str, Any] = finite(told)
    return plain


def target_lift(
    served: ServedModel,
    warehouse: Warehouse,
    folder: Path,
    *,
    category: str,
    n_users: int = 60,
    steps: int = 10,
) -> dict[str, Measure]:
    """{policy: M} of one category by the judges that `judge_run` saved in `folder`, for a target it did not choose:
    seconds, the main curve alone. Raises UnknownCategory and DamagedArtefact."""
    judges = Judges.load(folder)
    histories = histories_from(reads.histories(warehouse), served.vocabulary.kinds)
    users = sample_users(histories, n=n_users, seed=judges.seed)
    trials = run_trials(
        served,
        histories,
        judges,
        users=users,
        targets=[category],
        steps=steps,
        curves=[MAIN_CURVE],
    )
    lift = {policy: _lift(trials[MAIN_CURVE, category, policy]) for policy in POLICIES}
    return {name: bootstrap_mean(of, seed=judges.seed, resamples=RESAMPLES) for name, of in lift.items()}


def choose_targets(served: ServedModel, histories: Histories, *, n: int) -> list[str]:
    """Up to `n` categories to judge, by a rule that sees no result: of those with a middling share of all events, the
    ones evenly spaced in the order of that share, largest first. Without any such, those nearest to a tenth."""
    catalogue = served.catalogue
    counts = np.bincount(histories.item, minlength=len(catalogue)) / max(len(histories.item), 1)
    share: dict[str, float] = {}
    for item, names in enumerate(catalogue.categories):
        for name in set(names) if catalogue.available[item] else ():
            share[name] = share.get(name, 0.0) + float(counts[item])
    low, high = _SHARE_OF_EVENTS
    fit = sorted((name for name in share if low <= share[name] <= high), key=lambda name: (-share[name], name))
    if not fit:
        return sorted(share, key=lambda name: (abs(share[name] - 0.1), name))[:n]
    return [fit[place] for place in np.unique(np.linspace(0, len(fit) - 1, min(n, len(fit))).round().astype(int))]


def sample_users(histories: Histories, *, n: int, seed: int) -> IntArray:
    """Up to `n` users with a history, drawn once by `seed`, in order."""
    some = np.flatnonzero(histories.lengths > 0)
    if len(some) <= n:
        return some
    return np.sort(np.random.default_rng([seed, 11]).choice(some, n, replace=False))


def judge_quality(judges: Judges, split: Split, *, seed: int) -> list[dict[str, Any]]:
    """Of each judge: how many users it learned from, and its NDCG@10 on the test events of those it never saw."""
    out = []
    judge_of = judges.judge_of(split.test.user)
    everyone = judges.judge_of(np.arange(len(split.train)))
    for number, judge in enumerate(judges.judges):
        unseen = split.test.take(np.flatnonzero(judge_of == number))
        scores = judge.logits(judge.read(unseen.context))
        reached = ndcg(ranks(scores, unseen, task=split.task), unseen, k=10) if len(unseen) else np.zeros(0)
        learned_from = int((everyone != number).sum())
        out.append({"learned_from": learned_from, "ndcg@10": bootstrap_mean(reached, seed=seed, resamples=RESAMPLES)})
    return out


def _summary(trials: Mapping[tuple[str, str, str], Trial], target: str, seed: int) -> dict[str, Any]:
    def mean(values: Floats) -> Measure:
        return bootstrap_mean(values, seed=seed, resamples=RESAMPLES)

    def each(of: Callable[[Trial], Floats], curve: str = MAIN_CURVE) -> dict[str, Measure]:
        return {policy: mean(of(trials[curve, target, policy])) for policy in POLICIES}

    return {
        "lift": each(_lift),
        "start": mean(trials[MAIN_CURVE, target, "guide"].mass[:, 0]),
        "acceptance": each(lambda trial: trial.accepted.mean(axis=1)),
        "success": each(lambda trial: (_lift(trial) > 0).astype(np.float64)),
        "perplexity": {policy: _perplexity(m) for policy, m in each(_surprise).items()},
        "per_accepted": each(_per_accepted),
        "curves": {
            "shown": _by_step(trials, target, seed, _after_shown),
            "accepted": _by_step(trials, target, seed, _after_accepted),
        },
        "by_curve": {curve: each(_lift, curve) for curve in CURVES},
    }


def _by_step(
    trials: Mapping[tuple[str, str, str], Trial], target: str, seed: int, of: Callable[[Trial, int], Floats]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for policy in POLICIES:
        trial = trials[MAIN_CURVE, target, policy]
        for step in range(trial.mass.shape[1]):
            found = bootstrap_mean(of(trial, step), seed=seed, resamples=RESAMPLES)
            rows.append({"policy": policy, "step": step, **found})
    return rows


def _lift(trial: Trial) -> Floats:
    lift: Floats = trial.mass[:, -1] - trial.mass[:, 0]
    return lift


def _after_shown(trial: Trial, step: int) -> Floats:
    """(U,) lift after `step` shown items."""
    lift: Floats = trial.mass[:, step] - trial.mass[:, 0]
    return lift


def _after_accepted(trial: Trial, step: int) -> Floats:
    """(U,) lift just after the `step`th accepted item, NaN for those who accepted fewer."""
    counted = np.concatenate([np.zeros((len(trial.mass), 1), dtype=int), trial.accepted.cumsum(axis=1)], axis=1)
    reached = counted >= step
    lift = trial.mass[np.arange(len(trial.mass)), reached.argmax(axis=1)] - trial.mass[:, 0]
    return np.where(reached.any(axis=1), lift, math.nan)


def _per_accepted(trial: Trial) -> Floats:
    """(U,) lift for each accepted item, NaN for those who accepted none."""
    n = trial.accepted.sum(axis=1)
    return np.where(n > 0, _lift(trial) / np.maximum(n, 1), math.nan)


def _surprise(trial: Trial) -> Floats:
    """(U,) mean negative log-probability of what was shown, by the judge; NaN where nothing was."""
    shown = ~np.isnan(trial.log_p)
    total = -np.where(shown, trial.log_p, 0.0).sum(axis=1)
    return np.where(shown.any(axis=1), total / np.maximum(shown.sum(axis=1), 1), math.nan)


def _perplexity(surprise: Measure) -> Measure:
    return Measure(
        estimate=math.exp(surprise["estimate"]),
        low=math.exp(surprise["low"]),
        high=math.exp(surprise["high"]),
        n=surprise["n"],
    )


def _silent(share: float, words: str) -> None:
    """Nobody listens."""
