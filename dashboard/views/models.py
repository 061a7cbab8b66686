"""Models: which run should serve. The evidence for the run in view and its promotion, every run beside the champion,
the served blend against each of its parts, and the whole history.
"""

from typing import Any

import streamlit as st

from core.ops import registry
from core.ops.builds import build_of
from core.ops.runs import RunRow
from dashboard import answered, board, charts, contest, findings, loaders, parts, promoting, run_loaders, state
from dashboard.modelcard import model_card
from dashboard.parts import Card
from dashboard.scene import Scene, scene

METRICS = ("ndcg@10", "hr@10")


def main() -> None:
    s = scene()
    t, run = s.t, s.run()
    state.link(dataset=state.chosen("dataset"), run=state.chosen("run"))
    evaluation = run_loaders.run_json(s.home, run.run_id, "evaluation.json") or {}
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
    promoting.section(s, run)
    answered.section(s)
    contest.section(s, run)
    parts.section(t("models.parts"))
    everyone = {"champion": served, **evaluation["components"]}
    for column, metric in zip(parts.pair(level=True), METRICS, strict=True):
        said = verdict(s, evaluation.get("against") or {}, metric)
        with column:
            parts.figure(charts.model_dots(everyone, metric=metric, title=said, look=s.look), key=f"models-{metric}")
    gain = lora_gain(evaluation)
    if gain:
        parts.note(t(f"models.lora_{findings.verdict(gain)}", gain=t("value.signed_interval", **gain)))
    board.leaderboard(s, run.run_id)
    contest.every_run(s)
    promoting.history_table(s)
    card(s, run, evaluation)


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


def card(s: Scene, run: RunRow, evaluation: dict[str, Any]) -> None:
    """The run's model card, to read and to take along."""
    t = s.t
    history = registry.promotions(s.ledger, s.dataset)
    told = model_card(
        t,
        run,
        facts=loaders.build_facts(build_of(s.ledger, run.build_id).path),
        evaluation=evaluation,
        gaps=(run_loaders.run_json(s.home, run.run_id, "audit.json") or {"gaps": []})["gaps"],
        reads=registry.count_test_reads(s.ledger, s.dataset, protocol=run.protocol, build_id=run.build_id),
        serves_since=history[0].at if run.run_id == s.champion else None,
    )
    with st.expander(t("card.title"), icon=":material/description:"):
        st.markdown(told.replace("\n## ", "\n##### ").replace("# ", "#### ", 1))
        st.download_button(
            t("card.download"), told, file_name=f"{run.run_id}.md", mime="text/markdown", on_click="ignore"
        )


main()
