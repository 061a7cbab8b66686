"""A run's model card as Markdown (Mitchell et al., "Model Cards for Model Reporting", 2019): what it learned from, how
it was made, how well it does with intervals, what it is not good for, and the licence of its data. Pure.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from core.learn.config import TrainConfig
from core.ops.runs import RunRow
from dashboard.findings import widest_gap
from dashboard.words import Words, escape
from data.warehouse import BuildFacts

METRICS = ("hr@10", "ndcg@10", "mrr@10")


def model_card(
    t: Words,
    run: RunRow,
    *,
    facts: BuildFacts,
    evaluation: Mapping[str, Any],
    gaps: Sequence[Mapping[str, Any]],
    reads: int,
    serves_since: datetime | None,
) -> str:
    """The card in the words of `t`. evaluation and gaps are the run's own files; reads: uses of its hold-out so far."""
    names = {"dataset": escape(run.dataset), "run": f"`{run.run_id}`"}
    standing = t("card.stands_by", **names) if serves_since is None else t("card.serves", at=serves_since, **names)
    about = {
        "data": _data(t, run, facts),
        "recipe": _recipe(t, run, evaluation),
        "figures": _figures(t, run, evaluation),
        "groups": [_groups(t, gaps)],
        "limits": [
            f"- {line}"
            for line in (
                t("card.limit_offline"),
                t("card.limit_reads", reads=reads),
                t("card.limit_age", last=facts.last_ts),
                t("card.limit_person"),
            )
        ],
    }
    parts = [f"# {t('card.heading', **names)}", standing]
    parts += [f"## {t(f'card.{name}')}\n\n" + "\n".join(lines) for name, lines in about.items()]
    return "\n\n".join(parts) + "\n"


def _data(t: Words, run: RunRow, facts: BuildFacts) -> list[str]:
    told = t(
        "card.data_is",
        dataset=escape(run.dataset),
        build=f"`{run.build_id}`",
        events=facts.n_events,
        users=facts.n_users,
        items=facts.n_items,
        first=facts.first_ts,
        last=facts.last_ts,
    )
    source, licence = (t(f"card.{name}", **{name: escape(getattr(facts, name))}) for name in ("source", "licence"))
    return [f"- {line}" for line in (told, source, licence)]


def _recipe(t: Words, run: RunRow, evaluation: Mapping[str, Any]) -> list[str]:
    config = TrainConfig.model_validate(run.config)
    tuned = {"model": escape(config.text.model), "tune": config.text.tune}
    language = t("card.no_language_model") if config.text.tune == "none" else t("card.language_model", **tuned)
    network = t("card.network", dim=config.network.dim, blocks=config.network.blocks, seed=config.seed)
    lines = [language, network]
    if evaluation.get("blend"):
        weighed = [f"{t.name('component', name)} {t.figure(w)}" for name, w in evaluation["blend"].items() if w]
        lines.append(t("card.blend", weights=t.listing(weighed)))
    lines.append(t("card.trained", seconds=evaluation.get("seconds")))
    return [f"- {line}" for line in lines]


def _figures(t: Words, run: RunRow, evaluation: Mapping[str, Any]) -> list[str]:
    metrics = evaluation["metrics"]
    how = t(
        "card.measured",
        protocol=t.name("protocol", run.protocol),
        n=metrics["ndcg@10"]["n"],
        items=evaluation["n_items"],
    )
    rows = [
        f"| {t.name('metric', name)} | {t('value.interval', **{**m, 'value': m['estimate']})} | {t.count(m['n'])} |"
        for name in METRICS
        if (m := metrics.get(name)) is not None
    ]
    return [how, "", f"| {t('card.metric')} | {t('card.estimate')} | n |", "|---|---|---|", *rows]


def _groups(t: Words, gaps: Sequence[Mapping[str, Any]]) -> str:
    gap = widest_gap(gaps, metric="ndcg@10")
    if gap is None:
        return t("card.no_groups")
    return t("card.group_gap", **{**gap, "gap": gap["estimate"], "attribute": t.name("attribute", gap["attribute"])})
