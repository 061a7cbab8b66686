"""Models: which run should serve. The served blend against each of its parts, every run beside the
champion, and promotion.
"""

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st

from core.ops import registry
from core.ops.runs import RunRow
from dashboard import board, charts, findings, loaders, parts, state
from dashboard.desk import actor
from dashboard.parts import Card
from dashboard.scene import Scene, scene

METRICS = ("ndcg@10", "hr@10")


def main() -> None:
    s = scene()
    t, run = s.t, s.run()
    state.link(dataset=state.chosen("dataset"), run=state.chosen("run"))
    evaluation = loaders.run_json(s.home, run.run_id, "evaluation.json") or {}
    parts.heading(
        t.md("models.title", dataset=s.dataset),
        t.md(
            "models.context",
            run=run.run_id,
            n=evaluation["metrics"]["ndcg@10"]["n"],
            protocol=t.name("protocol_short", run.protocol),
            items=evaluation["n_items"],
            seed=evaluation["seed"],
        ),
    )
    pick_run(s, run)
    served = evaluation["metrics"]
    parts.cards([parts.measure(t, name, served[name]) for name in METRICS] + [lora(s, evaluation)])
    everyone = {"champion": served, **evaluation["components"]}
    for column, metric in zip(parts.pair(level=True), METRICS, strict=True):
        said = verdict(s, evaluation.get("against") or {}, metric)
        with column:
            parts.figure(charts.model_dots(everyone, metric=metric, title=said, look=s.look), key=f"models-{metric}")
    gain = lora_gain(evaluation)
    if gain:
        parts.note(t(f"models.lora_{findings.verdict(gain)}", gain=t("value.signed_interval", **gain)))
    board.leaderboard(s, run.run_id)
    runs_table(s)
    promotion(s, run)


def pick_run(s: Scene, run: RunRow) -> None:
    """Which run the figures are about."""
    ids = [row.run_id for row in s.finished_runs()]
    st.selectbox(
        s.t("models.pick"),
        format_func=lambda run_id: s.t("models.serving", run=run_id) if run_id == s.champion else run_id,
        label_visibility="collapsed",
        width=280,
        **state.tied("run", ids, default=run.run_id),
    )


def lora_gain(evaluation: dict[str, Any]) -> dict[str, Any] | None:
    """What fine-tuning the language model brought over leaving it frozen, paired over users; None where it was not
    tuned.
    """
    return ((evaluation.get("language_model") or {}).get("lora_vs_frozen") or {}).get("ndcg@10")


def lora(s: Scene, evaluation: dict[str, Any]) -> Card:
    """That gain as a card."""
    t, gain = s.t, lora_gain(evaluation)
    if not gain:
        return Card(t("models.lora"), t("models.lora_none"), t("models.lora_frozen"))
    return parts.measure(t, t("models.lora"), gain, signed=True, help=t("models.lora_help"))


def verdict(s: Scene, against: dict[str, Any], metric: str) -> str:
    """The figure's title: what the served blend beats, and what it cannot be told apart from."""
    t, named = s.t, s.t.name("metric", metric)
    found = findings.verdicts(against, metric=metric)
    for key in ("worse", "level"):
        if found[key]:
            names = t.listing([t.name("component", name) for name in found[key]])
            return t(f"models.{key}", metric=named, names=names)
    return t("models.above", metric=named)


def runs_table(s: Scene) -> None:
    """Every finished run with its two headline metrics, the champion and then those of its protocol first; by which
    protocol, or, where that is the same for all, when."""
    t, rows, shown = s.t, [], []
    ours, finished = s.champion_protocol, s.finished_runs()
    mixed = len({row.protocol for row in finished}) > 1
    for row in sorted(finished, key=lambda row: (row.run_id != s.champion, row.protocol != ours)):
        told = loaders.run_json(s.home, row.run_id, "evaluation.json") or {}
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


def promotion(s: Scene, run: RunRow) -> None:
    """Make the run in view the champion, with a reason; or say that it is."""
    t = s.t
    parts.section(t("models.promote"))
    version = registry.champion_version(s.ledger, s.dataset)
    if run.run_id == s.champion:
        parts.note(t("models.is_champion", run=run.run_id))
    else:
        if run.protocol != s.champion_protocol:
            parts.note(t.md("models.other_protocol", run=run.run_id, protocol=t.name("protocol", run.protocol)))
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            reason = st.text_input(t("models.reason"), key="promote-reason", placeholder=t("models.reason_hint"))
            asked = st.button(
                t("models.make", run=run.run_id),
                type="primary",
                key="promote",
                disabled=not reason,
                on_click=state.keep,  # what stood when the button was drawn is what its reader agreed to change
                args=("champion-seen", version),
            )
        if asked:
            registry.promote(
                s.ledger,
                dataset=s.dataset,
                run_id=run.run_id,
                actor=actor(),
                reason=reason,
                expected_version=state.recall("champion-seen", version),
                now=datetime.now(UTC),
            )
            st.rerun()
    history = registry.promotions(s.ledger, s.dataset)
    if history:
        last = history[0]
        reason = t("models.first_run") if last.reason == registry.FIRST else last.reason
        parts.note(t.md("models.last", run=last.run_id, actor=last.actor, at=last.at, reason=reason))


main()
