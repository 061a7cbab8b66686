"""A search as the Studio page shows it: its trials as parallel coordinates and as a table, and what to do with the
best. It reads `search.json` and asks the ledger; it never trains.
"""

import shlex
from typing import Any

import pandas as pd
import streamlit as st

from core.learn.config import TrainConfig
from core.learn.space import with_settings
from core.ops import jobs
from core.ops.jobrow import JobRow
from core.ops.searches import BEST, latest_search, search_folder
from core.ops.supervisor import ensure_supervisor
from dashboard import charts, parts, queueing
from dashboard.desk import submit_training, supervisor_argv
from dashboard.scene import Scene
from data.errors import UnknownJob

METRIC = "ndcg@10"


def section(s: Scene) -> None:
    """The data set's newest search, looked at again and again while it is at work."""
    parts.section(s.t("search.title"))
    told = latest_search(s.home, s.dataset)
    if told is None:
        command = f"lodestar search --dataset {shlex.quote(s.dataset)} --trials 20"
        parts.empty(s.t, "search.empty", command=command, dataset=s.dataset)
        return
    job = _job(s, told["job_id"])
    active = job is not None and job.state == "running"

    def look() -> None:
        now = latest_search(s.home, s.dataset) or told
        show(s, now, _job(s, now["job_id"]))

    st.fragment(look, run_every=3.0 if active else None)()


def show(s: Scene, told: dict[str, Any], job: JobRow | None) -> None:
    """What a search has come to so far."""
    t = s.t
    state = t.name("state", job.state) if job is not None else ""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"{t('search.name')} `{told['search_id']}` · {state}", width="stretch")
        if job is not None:
            queueing.acts(s, job)
    if job is not None:
        queueing.confirmed(s, job)
    if job is not None and job.state == "running":
        left = t("studio.left", seconds=job.eta_s) if job.eta_s is not None else ""
        st.progress(min(max(job.progress, 0.0), 1.0), text=f"{t('search.running')} {left}".strip())
    best = told["best"]
    if best is None:
        parts.note(t("search.no_trial"))
        return
    figure = charts.parallel(told["trials"], told["space"], best=best["trial"], title=finding(s, told), look=s.look)
    parts.figure(figure, key=f"search-{told['search_id']}")
    states = [row["state"] for row in told["trials"]]
    counts = {"pruned": states.count("pruned"), "failed": states.count("failed"), "asked": told["n_valid"]}
    parts.note(t("search.context", n=len(states), **counts))
    if (search_folder(s.home, told["search_id"]) / BEST).is_file():
        use(s, told)
    trials(s, told)


def finding(s: Scene, told: dict[str, Any]) -> str:
    """What the search says so far, beside the recipe it began with where that was its first trial."""
    best, first = told["best"], told["trials"][0]
    own = all(_same(told["base"], key, value) for key, value in first["settings"].items())
    if own and first[METRIC] is not None and first["trial"] != best["trial"]:
        return s.t("search.finding_over", trial=best["trial"], value=best[METRIC], first=first[METRIC])
    return s.t("search.finding_own" if own else "search.finding", trial=best["trial"], value=best[METRIC])


def use(s: Scene, told: dict[str, Any]) -> None:
    """The command that trains with the best settings, and the button that does."""
    t = s.t
    file = search_folder(s.home, told["search_id"]) / BEST
    st.code(
        f"lodestar train --dataset {shlex.quote(s.dataset)} --config {shlex.quote(str(file))}",
        language=None,
        wrap_lines=True,
    )
    if st.button(t("search.train"), key="search-train", icon=":material/play_arrow:"):
        start(s, told)
        st.rerun(scope="app")


def start(s: Scene, told: dict[str, Any]) -> str:
    """Queues a training with the best settings and sees to a supervisor; the job's id. Raises InvalidConfig."""
    config = with_settings(TrainConfig.model_validate(told["base"]), told["best"]["settings"])
    job_id = submit_training(s.ledger, s.home, s.build, config)
    ensure_supervisor(s.home, supervisor_argv(s.home))
    st.toast(s.t("studio.queued", job=job_id))
    return job_id


def trials(s: Scene, told: dict[str, Any]) -> None:
    """Every trial, the best first."""
    t = s.t
    rows = [{k: v for k, v in row.items() if k != "settings"} | row["settings"] for row in told["trials"]]
    frame = pd.DataFrame(rows).sort_values(METRIC, ascending=False, na_position="last", kind="stable")
    shown = frame.assign(state=frame["state"].map(lambda state: t.name("trial", str(state))))
    numbers = {key: _column(t.name("setting", key), frame[key]) for key in told["space"]}
    parts.table(
        frame,
        t=t,
        name=f"{told['search_id']}-trials",
        shown=shown,
        columns={
            "trial": st.column_config.NumberColumn(t("search.trial"), width=64),
            "state": st.column_config.TextColumn(t("column.state")),
            METRIC: st.column_config.NumberColumn(t("setting.ndcg@10"), format="%.4f"),
            "epochs": st.column_config.NumberColumn(t("search.epochs"), width=72),
            "seconds": st.column_config.NumberColumn(t("search.seconds"), format="%.1f", width=88),
            **numbers,
        },
    )


def _column(label: str, values: pd.Series) -> Any:
    if pd.api.types.is_float_dtype(values):
        return st.column_config.NumberColumn(label, format="%.3g")
    return st.column_config.Column(label)


def _same(base: dict[str, Any], key: str, value: Any) -> bool:
    node: Any = base
    for part in key.split("."):
        node = node[part]
    return bool(node == value)


def _job(s: Scene, job_id: str) -> JobRow | None:
    try:
        return jobs.status(s.ledger, job_id)
    except UnknownJob:
        return None
