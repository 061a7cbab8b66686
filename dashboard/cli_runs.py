"""Commands about runs: train one, measure it, hand it over."""

from pathlib import Path
from typing import Annotated

import typer

from core.learn.config import Protocol
from core.ops import roles
from core.ops.builds import BuildRow, current_build
from core.ops.ledger import utc_now
from core.preflight import Preflight
from dashboard import terminal
from dashboard.desk import (
    AsJson,
    Config,
    Dataset,
    Detach,
    Home,
    Run,
    Set,
    actor,
    await_job,
    desk,
    foresee,
    listed,
    noted,
    setting,
    submit_training,
    supervisor_argv,
)
from data.errors import InputError, InvalidConfig
from data.warehouse import Warehouse


def train(
    config: Config = None,
    set_: Set = None,
    preset: Annotated[str | None, typer.Option("--preset", help="fast, balanced or best.")] = None,
    wandb: Annotated[
        str | None, typer.Option("--wandb", help="Send the curves to this Weights & Biases project too.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train nothing; say what it would take of time, memory and disk.")
    ] = False,
    detach: Detach = False,
    dataset: Dataset = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Train a new run, as a supervised job of its own, and wait for it."""
    from core.learn.config import PRESETS, load_config
    from core.ops.jobs import succeeded

    if preset is not None and preset not in PRESETS:
        raise InvalidConfig(f"there is no preset {preset!r}", remedy=f"choose one of {', '.join(PRESETS)}")
    chosen = [*PRESETS[preset or "balanced"].items(), *(setting(text) for text in set_ or [])]
    settled = load_config(config, overrides=chosen)
    with desk(home) as d:
        build = current_build(d.ledger, dataset)
        if dry_run:
            with Warehouse.open(build.path) as warehouse:
                told = foresee(d.ledger, d.home, warehouse.facts, settled)
            show_preflight(build, told, as_json=as_json)
            return
        job_id = submit_training(d.ledger, d.home, build, settled, wandb=wandb)
        job = await_job(d, job_id, detach=detach)
        result = {} if detach else succeeded(job)
    answer = {
        "job_id": job_id,
        "run_id": job.run_id,
        "state": job.state,
        "seconds": result.get("seconds"),
        "best_epoch": result.get("best_epoch"),
        "peak_gb": result.get("peak_gb"),
        "estimate": job.payload["estimate"],
    }
    terminal.show(
        answer,
        as_json=as_json,
        human=lambda console: console.print(
            f"job {job_id} is {job.state}"
            + (f": run {job.run_id}" if job.run_id else "")
            + (f"; NDCG@10 {terminal.interval(result['metrics']['ndcg@10'])}" if result else "")
        ),
    )


def update(
    run: Annotated[str, typer.Argument(help="The run to go on from: an id, or `champion`.")] = "champion",
    detach: Detach = False,
    dataset: Dataset = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Fold what came back into a new build and train a run onward on it, in a fraction of a training's time.

    The language model stays as it is; whether the new run should serve is for `promote` to say.
    """
    from core.learn.config import TrainConfig
    from core.ops.jobs import succeeded
    from core.ops.runs import finished_run
    from dashboard.intake import fold_feedback

    with desk(home) as d:
        parent = finished_run(d.ledger, d.home, run, dataset)
        build = fold_feedback(d.settings, d.ledger, current_build(d.ledger, parent.dataset))
        if build.build_id == parent.build_id:
            raise InputError(
                f"{parent.run_id} was trained on {build.build_id}, and nothing came since",
                remedy="bring newer events with `lodestar ingest`, or acts with `lodestar feedback`",
            )
        recipe = TrainConfig.model_validate(parent.config)
        job_id = submit_training(d.ledger, d.home, build, recipe, onward=parent.run_id)
        job = await_job(d, job_id, detach=detach)
        result = {} if detach else succeeded(job)
    told = {
        "job_id": job_id,
        "run_id": job.run_id,
        "onward": parent.run_id,
        "build_id": build.build_id,
        "state": job.state,
        "seconds": result.get("seconds"),
    }
    terminal.show(
        told,
        as_json=as_json,
        human=lambda console: console.print(
            f"job {job_id} is {job.state}"
            + (f": run {job.run_id} on {build.build_id}, onward from {parent.run_id}" if job.run_id else "")
            + (f"; NDCG@10 {terminal.interval(result['metrics']['ndcg@10'])}" if result else "")
        ),
    )


def show_preflight(build: BuildRow, told: Preflight, *, as_json: bool) -> None:
    """What a training would take, as `train --dry-run` says it."""
    seconds, runs = told.seconds, told.seconds.runs
    rests = f"by {runs} {'run' if runs == 1 else 'runs'} here" if runs else "a guess: no run was timed here yet"
    rows = [
        ("time", f"{minutes(seconds.estimate)} ({minutes(seconds.low)} to {minutes(seconds.high)})", rests),
        ("memory", f"{told.memory.gb:.1f} GB of {told.memory.free_gb:.1f} free", told.memory.verdict),
        ("disk", f"{told.disk.gb:.2f} GB of {told.disk.free_gb:.1f} free", told.disk.verdict),
    ]
    title = f"{build.dataset}, build {build.build_id}, on the {'GPU' if told.on_gpu else 'CPU'}; nothing was started:"
    terminal.show(
        {"dry_run": True, "dataset": build.dataset, "build_id": build.build_id, **told.as_json()},
        as_json=as_json,
        human=lambda console: console.print(title, terminal.table(("", "", ""), rows)),
    )


def minutes(seconds: float) -> str:
    """Roughly so long."""
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )


def evaluate(
    run: Run,
    protocol: Annotated[
        Protocol | None, typer.Option("--protocol", help="Which targets are the test; default: the run's own.")
    ] = None,
    unmasked: Annotated[bool, typer.Option("--unmasked", help="The other masking of seen items.")] = False,
    dataset: Dataset = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """A run's figures on its test split: HR, NDCG and MRR with intervals, beside each component's.

    Under another protocol than the run's own, those of its recipe trained anew without that protocol's test.
    """
    from core.ops.runs import finished_run
    from dashboard.measuring import evaluation_of
    from dashboard.recipes import twin

    with desk(home) as d:
        asked = finished_run(d.ledger, d.home, run, dataset)
        row = asked
        if protocol is not None:
            row = twin(d.ledger, d.home, asked, protocol, supervisor_argv=supervisor_argv(d.home))
        told = evaluation_of(d.ledger, d.home, row.run_id, unmasked=unmasked) | {"asked_run": asked.run_id}
    rows = [
        (name, *(terminal.interval(m[key]) for key in ("hr@10", "ndcg@10", "mrr@10")))
        for name, m in {"served": told["metrics"], **told["components"]}.items()
    ]
    users = told["metrics"]["ndcg@10"]["n"]
    queries = told.get("n_queries", users)
    drawn = f" of {every}" if (every := told.get("n_queries_of", queries)) > queries else ""
    about = f"protocol {told['protocol']}: {users} users, {queries} queries{drawn}, 95% intervals"
    title = f"{told['dataset']}, {told['run_id']}, {about}"
    terminal.show(
        told,
        as_json=as_json,
        human=lambda console: console.print(terminal.table(("", "HR@10", "NDCG@10", "MRR@10"), rows, title=title)),
    )


def bench(
    run: Annotated[str, typer.Argument(help="A run's id, or `champion`.")] = "champion",
    seeds: Annotated[str, typer.Option("--seeds", help="For models that are random, with commas.")] = "0",
    models: Annotated[str | None, typer.Option("--models", help="Some of the contenders, with commas.")] = None,
    dataset: Dataset = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """The leaderboard: baselines and other models fitted beside a run on its build and split; minutes.

    Kept in the run's folder, where the Models page finds it.
    """
    from dashboard.benching import board, run_bench

    wanted = [text.strip() for text in seeds.split(",")]
    if not all(text.isdecimal() for text in wanted):
        raise InputError(f"{seeds!r} are not seeds", remedy="write --seeds 0,1,2, say")
    with desk(home) as d:
        roles.require(d.ledger, actor(), roles.Act.TRAIN)
        told = run_bench(
            d.settings,
            d.ledger,
            run,
            seeds=[int(text) for text in wanted],
            models=listed(models) or (),
            dataset=dataset,
        )
    terminal.show(told, as_json=as_json, human=lambda console: console.print(board(told)))


def score(run: Run, dataset: Dataset = None, as_json: AsJson = False, home: Home = None) -> None:
    """How many users a run has slates for, and where they lie."""
    import pyarrow.parquet as pq

    from core.ops.runs import finished_run, run_folder

    with desk(home) as d:
        row = finished_run(d.ledger, d.home, run, dataset)
        path = run_folder(d.home, row.run_id) / "scores.parquet"
        rows = pq.read_metadata(path).num_rows
    told = {"run_id": row.run_id, "rows": rows, "path": str(path)}
    terminal.show(told, as_json=as_json, human=lambda console: console.print(f"{rows:,} rows in {path}"))


def audit(run: Run, dataset: Dataset = None, as_json: AsJson = False, home: Home = None) -> None:
    """A run's figures by declared group, with signed gaps and the smallest gap that could have been seen."""
    from dashboard.measuring import stored

    with desk(home) as d:
        told = stored(d.ledger, d.home, run, "audit.json", dataset=dataset)
    rows = [
        (
            g["attribute"],
            g["group"],
            g["metric"],
            "" if g["n"] is None else g["n"],
            "suppressed" if g["suppressed"] else terminal.interval(g),
        )
        for g in told["groups"]
    ]
    terminal.show(
        told,
        as_json=as_json,
        human=lambda console: console.print(terminal.table(("attribute", "group", "metric", "n", "estimate"), rows)),
    )


def export(
    run: Run,
    out: Annotated[Path, typer.Option("--out", help="A .parquet or .csv file.")],
    k: Annotated[int, typer.Option("--k")] = 10,
    dataset: Dataset = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Everyone's top k as Parquet or CSV, in the caller's keys."""
    from dashboard.measuring import export_slates

    with desk(home) as d:
        roles.require(d.ledger, actor(), roles.Act.PUBLISH)
        rows = export_slates(d.ledger, d.home, run, out, k=k, dataset=dataset)
        noted(d.ledger, "hand out", run, {"as": "slates", "rows": rows})
    terminal.show(
        {"run": run, "rows": rows, "path": str(out)},
        as_json=as_json,
        human=lambda console: console.print(f"{rows:,} rows in {out}"),
    )


def report(
    run: Run,
    out: Annotated[Path, typer.Option("--out", help="An .html file.")],
    language: Annotated[str, typer.Option("--language", help="en or zh")] = "en",
    dataset: Dataset = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """One self-contained HTML file with a run's figures, which `verify` recomputes."""
    from dashboard.publishing import report_of, write_report

    if out.suffix != ".html":
        raise InputError(f"{out} is not an .html file", remedy="name one after --out; PDF comes with a later version")
    if language not in ("en", "zh"):
        raise InputError(f"no report in {language!r}", remedy="choose --language en or zh")
    with desk(home) as d:
        roles.require(d.ledger, actor(), roles.Act.PUBLISH)
        made = report_of(d.ledger, d.home, run, language=language, tz=d.settings.tz, now=utc_now(), dataset=dataset)
        write_report(made, out)
    terminal.show(
        {"path": str(out), "sha256": made.sha256},
        as_json=as_json,
        human=lambda console: console.print(f"{out}\nsha256 of its data: {made.sha256}"),
    )


def verify(file: Path, as_json: AsJson = False, home: Home = None) -> None:
    """Recompute a report's numbers from the store; exit 1 when one differs or the page reaches out."""
    from dashboard.verify import verify as check

    with desk(home) as d:
        result = check(file, d.home, address=d.settings.ledger)
    told = result.as_json()
    terminal.show(
        told,
        as_json=as_json,
        human=lambda console: console.print(
            "\n".join(
                [
                    *(f"differs: {finding}" for finding in told["findings"]),
                    *(f"note: {note}" for note in told["notes"]),
                    "verified" if told["ok"] else "NOT verified",
                ]
            )
        ),
    )
    if not told["ok"]:
        raise typer.Exit(1)
