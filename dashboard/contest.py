"""The contest on the Models page: all runs in a table, every run beside the champion, paired over the same users, and
what accuracy costs in time and in gaps between groups. Only runs of the champion's build and protocol can be set side
by side in a figure.
"""

from typing import Any

import pandas as pd
import streamlit as st

from core.ops.runs import RunRow
from core.trust.gate import JUDGED, MARGIN
from dashboard import charts, findings, parts, run_loaders
from dashboard.scene import Scene

MOST = 12  # runs in a figure, the newest
METRICS = ("ndcg@10", "hr@10")


def section(s: Scene, run: RunRow) -> None:
    """Both figures, or what is missing for them."""
    t = s.t
    parts.section(t("contest.title"))
    runs, left_out = rivals(s, run)
    if len(runs) < 2:
        parts.empty(t, "contest.alone", command="lodestar train")
        return
    if s.champion is not None:
        forest(s, [row for row in runs if row.run_id != s.champion])
    costs = [_cost(s, row, run) for row in runs]
    spans = {"score_ms": "contest.score", "train_s": "contest.train"}
    span = "score_ms" if all(cost["score_ms"] for cost in costs) else "train_s"
    left, right = parts.pair(level=True)
    with left:
        tradeoff(s, run, costs, span, spans[span])
    with right:
        if all(cost["gap"] for cost in costs):
            tradeoff(s, run, costs, "gap", "contest.gap")
        else:
            parts.note(t("contest.no_gap"))
    if span == "train_s":
        parts.note(t("contest.no_score"))
    if left_out:
        parts.note(t("contest.left_out", n=left_out))


def rivals(s: Scene, run: RunRow) -> tuple[list[RunRow], int]:
    """The runs that can be set beside the champion (or, without one, the run in view), newest first, and how many runs
    are not among them."""
    finished = s.finished_runs()
    anchor = next((row for row in finished if row.run_id == s.champion), run)
    like = [row for row in finished if (row.build_id, row.protocol) == (anchor.build_id, anchor.protocol)]
    measured = [row for row in like if run_loaders.run_json(s.home, row.run_id, "evaluation.json")]
    always = {anchor.run_id, run.run_id}
    rest = [row for row in measured if row.run_id not in always][: MOST - len(always)]
    kept = [row for row in measured if row.run_id in always or row in rest]
    return kept, len(finished) - len(kept)


def forest(s: Scene, runs: list[RunRow]) -> None:
    """Each run less the champion, the largest difference on top."""
    t = s.t
    told = {row.run_id: run_loaders.difference(s.home, row.run_id, str(s.champion)) for row in runs}
    rows = [{"run": run_id, **m} for run_id, m in told.items() if m is not None and m["n"] >= 2]
    if not rows:
        parts.note(t("contest.unpaired"))
        return
    data = pd.DataFrame(rows).sort_values("estimate", ascending=False, ignore_index=True)
    champion = run_loaders.run_json(s.home, str(s.champion), "evaluation.json") or {}
    margin = MARGIN * champion["metrics"][JUDGED]["estimate"]
    axis = t("contest.axis", metric=t.name("metric", JUDGED), run=s.champion)
    title = forest_finding(s, rows)
    parts.figure(charts.forest(data, margin=margin, title=title, look=s.look, axis=axis), key="models-forest")
    if len(rows) < len(runs):
        parts.note(t("contest.some_unpaired", n=len(runs) - len(rows)))


def forest_finding(s: Scene, rows: list[dict[str, Any]]) -> str:
    """The forest's title: who is better by an interval, or that nobody is."""
    t = s.t
    by = {kind: [row["run"] for row in rows if findings.verdict(row) == kind] for kind in ("better", "level", "worse")}
    if by["better"]:
        return t("contest.better", names=t.listing(by["better"]), run=s.champion)
    if by["level"]:
        return t("contest.level", n=len(by["level"]), m=len(rows), run=s.champion)
    return t("contest.all_worse", n=len(rows), run=s.champion)


def _cost(s: Scene, row: RunRow, run: RunRow) -> dict[str, Any]:
    """What one run reached and what it cost."""
    told = run_loaders.run_json(s.home, row.run_id, "evaluation.json") or {}
    audit = run_loaders.run_json(s.home, row.run_id, "audit.json") or {"gaps": []}
    role = "champion" if row.run_id == s.champion else "view" if row.run_id == run.run_id else "other"
    scoring = (told.get("stages_s") or {}).get("score")
    return {
        "run": row.run_id,
        "role": role,
        "accuracy": told["metrics"][JUDGED],
        "score_ms": scoring and 1000 * scoring / max(told.get("n_users", 0), 1),
        "train_s": told.get("seconds"),
        "gap": findings.widest_gap(audit["gaps"], metric=JUDGED),
    }


def tradeoff(s: Scene, run: RunRow, costs: list[dict[str, Any]], cost: str, words: str) -> None:
    """One figure of accuracy against one cost, titled by where the run in view stands."""
    t = s.t
    points = []
    for one in costs:
        at = one[cost] if isinstance(one[cost], dict) else {"estimate": one[cost], "low": None, "high": None}
        y = one["accuracy"]
        about = {"run": one["run"], "role": one["role"], "n": y["n"]}
        across = {"x": at["estimate"], "x_low": at["low"], "x_high": at["high"]}
        points.append({**about, **across, "y": y["estimate"], "low": y["low"], "high": y["high"]})
    data = pd.DataFrame(points).astype({name: float for name in ("x", "x_low", "x_high", "y", "low", "high")})
    free = dict(zip(data["run"], findings.frontier(data["x"], data["y"]), strict=True))
    title = t(f"{words}_{'free' if free[run.run_id] else 'beaten'}", run=run.run_id)
    figure = charts.tradeoff(
        data, title=title, look=s.look, axis=t(f"{words}_axis"), metric=JUDGED, hover=t(f"{words}_hover", x="{x}")
    )
    parts.figure(figure, key=f"models-{cost}")


def every_run(s: Scene) -> None:
    """Every finished run with its two headline metrics, the champion and then those of its protocol first; by which
    protocol, or, where that is the same for all, when."""
    t, rows, shown = s.t, [], []
    ours, finished = s.champion_protocol, s.finished_runs()
    mixed = len({row.protocol for row in finished}) > 1
    for row in sorted(finished, key=lambda row: (row.run_id != s.champion, row.protocol != ours)):
        told = run_loaders.run_json(s.home, row.run_id, "evaluation.json") or {}
        metrics = {name: told.get("metrics", {}).get(name) for name in METRICS}
        serves = row.run_id == s.champion
        flat = {
            f"{name}_{part}": m[part] for name, m in metrics.items() if m for part in ("estimate", "low", "high", "n")
        }
        about = {"protocol": row.protocol, "build_id": row.build_id, "seed": told.get("seed"), "finished": row.finished}
        rows.append({"run_id": row.run_id, "champion": serves, **flat, **about})
        named = t("models.serving", run=row.run_id) if serves else row.run_id
        shown.append(
            {
                "run": named,
                **{name: parts.interval(t, m) for name, m in metrics.items()},
                **({"protocol": t.name("protocol_short", row.protocol)} if mixed else {"ended": row.finished}),
            }
        )
    parts.section(t("models.runs"))
    if mixed:
        parts.note(t("models.protocols"))
    parts.table(
        pd.DataFrame(rows),
        t=t,
        name=f"{s.dataset}-runs",
        shown=pd.DataFrame(shown),
        columns={
            "run": st.column_config.TextColumn(t("column.run")),
            "protocol": st.column_config.TextColumn(t("column.protocol")),
            **{name: st.column_config.TextColumn(t.name("metric", name)) for name in METRICS},
            "ended": st.column_config.DatetimeColumn(t("column.ended"), format="YYYY-MM-DD"),
        },
    )
