"""`lodestar demo`: the whole line on real data, each part skipped when it is already there.

Fetch, ingest, train (a supervised job), make champion, train the guidance evaluators, explain twenty users, report.
Run again it finds the build, the run and every artefact, and is done in seconds.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from rich.console import Console

from core.guide.lift import judge_run
from core.learn.config import TrainConfig
from core.ops import registry
from core.ops.builds import BuildRow, builds
from core.ops.ledger import Ledger, utc_now
from core.ops.runs import RunRow, run_folder
from core.serve.answers import open_run
from core.trust.explain import attributions
from dashboard import terminal
from dashboard.desk import actor
from dashboard.intake import ingest_dataset
from dashboard.measuring import stored
from dashboard.publishing import report_of, write_report
from dashboard.recipes import run_of
from dashboard.settings import Settings
from data.publish import staged

EXPLAINED_USERS = 20
EXPLAINED_ITEMS = 3


def run_demo(
    mine: Settings, ledger: Ledger, *, dataset: str, as_json: bool, supervisor_argv: Sequence[str]
) -> dict[str, Any]:
    """Do what is missing, print the table, and give the `demo` JSON."""
    begun = time.perf_counter()
    build = _build(mine, ledger, dataset)
    run = _run(mine, ledger, build, supervisor_argv)
    if registry.champion(ledger, build.dataset) is None:
        registry.promote(
            ledger,
            dataset=build.dataset,
            run_id=run.run_id,
            actor=actor(),
            reason=registry.FIRST,
            expected_version=None,
            now=utc_now(),
        )
    folder = run_folder(mine.home, run.run_id)
    if not (folder / "judges").is_dir() or not (folder / "attributions").is_dir():
        _accompany(mine, ledger, run, folder)
    report = mine.home / "exports" / f"{build.dataset}-{run.run_id}.html"
    if not report.is_file():
        report.parent.mkdir(parents=True, exist_ok=True)
        made = report_of(ledger, mine.home, run.run_id, language="en", tz=mine.tz, now=utc_now())
        write_report(made, report)
    evaluation = stored(ledger, mine.home, run.run_id, "evaluation.json")
    audit = stored(ledger, mine.home, run.run_id, "audit.json")
    told = {**evaluation, "report": str(report), "seconds": round(time.perf_counter() - begun, 1)}
    terminal.show(told, as_json=as_json, human=lambda console: _table(console, told, audit, build))
    return told


def _build(mine: Settings, ledger: Ledger, dataset: str) -> BuildRow:
    """The data set's current build, made now if there is none."""
    found = next((build for build in builds(ledger) if build.dataset == dataset and build.current), None)
    if found is not None and found.path.is_file():
        return found
    terminal.say(f"1/5 fetching and ingesting {dataset}")
    with terminal.Bar("ingest") as bar:
        made = ingest_dataset(mine, ledger, dataset, progress=bar)
    return next(build for build in builds(ledger) if build.build_id == made["build_id"])


def _run(mine: Settings, ledger: Ledger, build: BuildRow, supervisor_argv: Sequence[str]) -> RunRow:
    """A finished run of the default recipe on this build: an earlier one, one that is being made, or a new one."""

    def announce(job_id: str) -> None:
        terminal.say(
            f"2/5 training (job {job_id}): language model, sequence model, closed forms, blend, evaluation, audit"
        )

    return run_of(ledger, mine.home, build, TrainConfig(), supervisor_argv=supervisor_argv, announce=announce)


def _accompany(mine: Settings, ledger: Ledger, run: RunRow, folder: Path) -> None:
    """Guidance evaluators with the lift they find, and the explanations of twenty users, beside the run."""
    torch.set_num_threads(mine.threads)
    with open_run(ledger, mine.home, run.run_id) as it:
        if not (folder / "judges").is_dir():
            terminal.say("3/5 training the guidance evaluators and measuring lift")
            with terminal.Bar("judges") as bar, staged(folder, "judges") as made:
                lift = judge_run(it.served, it.warehouse, made, seed=run.config["seed"], progress=bar)
                (made / "lift.json").write_text(json.dumps(lift))
        if not (folder / "attributions").is_dir():
            terminal.say("4/5 explaining the recommendations of twenty users")
            with terminal.Bar("explain") as bar, staged(folder, "attributions") as made:
                table = attributions(
                    it.served, it.warehouse, users=range(EXPLAINED_USERS), items=EXPLAINED_ITEMS, progress=bar
                )
                pq.write_table(table, made / "attributions.parquet")
    terminal.say("5/5 writing the report")


def _table(console: Console, told: dict[str, Any], audit: dict[str, Any], build: BuildRow) -> None:
    rows = [
        (
            "data",
            f"{told['dataset']}: {told['n_users']:,} users, {told['n_items']:,} items, {told['n_events']:,} events",
        ),
        ("", f"build {build.build_id}; licence: {told['licence']}"),
        (
            "model",
            f"run {told['run_id']} (champion), seed {told['seed']}, trained in {sum(told['stages_s'].values()):.0f} s",
        ),
        ("HR@10", f"{terminal.interval(told['metrics']['hr@10'])}, n = {told['metrics']['hr@10']['n']}"),
        ("NDCG@10", terminal.interval(told["metrics"]["ndcg@10"])),
    ]
    gain = told["language_model"].get("lora_vs_frozen")
    if gain:
        rows.append(("LoRA over frozen", f"NDCG@10 {terminal.interval(gain['ndcg@10'])}, paired"))
    rows += _gaps([gap for gap in audit["gaps"] if gap["metric"] == "ndcg@10" and gap["p_holm"] is not None])
    rows += [("report", told["report"]), ("console", "lodestar app, then http://localhost:8501")]
    console.print(
        terminal.table(("", ""), rows, title="Lodestar demo: leave-last-out, every item ranked, 95% intervals")
    )


def _gaps(gaps: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """One line an attribute: the gap that stands out most, and whether it stands after Holm's correction."""
    rows: list[tuple[str, str]] = []
    for attribute in dict.fromkeys(gap["attribute"] for gap in gaps):
        of_it = [gap for gap in gaps if gap["attribute"] == attribute]
        most = min(of_it, key=lambda gap: (gap["p_holm"], -abs(gap["gap"]) / gap["detectable"]))
        verdict = "seen" if most["p_holm"] < 0.05 else "cannot be told from none"
        rows.append(
            (
                f"gap by {attribute}",
                f"{most['a']} - {most['b']}: {most['gap']:+.3f} [{most['low']:+.3f}, {most['high']:+.3f}], {verdict}"
                f" after correction for all {len(gaps)} gaps (visible from {most['detectable']:.3f})",
            )
        )
    return rows
