"""Commands about people: what they did with what they were shown, who may do what here, and who did what."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from core.ops import roles as matrix
from core.ops.ledger import utc_now
from dashboard import terminal
from dashboard.desk import AsJson, Dataset, Home, actor, desk, noted
from data.errors import DamagedArtefact

roles_app = typer.Typer(help="Who may do what in this store: list, or grant a role.", invoke_without_command=True)


def feedback(
    file: Annotated[Path, typer.Argument(help="CSV, TSV or JSON lines: user, item, kind, at, ...")],
    dataset: Dataset = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Take what people did (shown, click, favourite, rating, dismissal) into the ledger, each act once; the next
    `ingest` folds it into the build."""
    from core.serve.responses import Intake

    with desk(home) as d:
        matrix.require(d.ledger, actor(), matrix.Act.INGEST)
        told = Intake(d.ledger).take_file(file, home=d.home, dataset=dataset, now=utc_now())
        counts = {name: told[name] for name in ("read", "accepted", "repeated", "refused")}
        noted(d.ledger, "feedback", told["dataset"], {"file": file.name, **counts})
    refused = f"; refused {told['refused']:,} {told['reasons']}, in {told['quarantine']}" if told["refused"] else ""
    terminal.show(
        told,
        as_json=as_json,
        human=lambda console: console.print(
            f"{told['dataset']}: read {told['read']:,} rows, accepted {told['accepted']:,}, there before"
            f" {told['repeated']:,}{refused}"
        ),
    )


def interactions(
    out: Annotated[Path, typer.Argument(help="A .csv or .parquet file.")],
    as_: Annotated[
        Literal["clicks", "ratings", "feedback"],
        typer.Option(
            "--as",
            help="clicks: every event in time; ratings: each user's last value of an item; feedback: every act in the"
            " ledger, with slates and propensities.",
        ),
    ] = "clicks",
    dataset: Dataset = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Behaviour as a file, in the caller's keys: the build's click stream or rating matrix, or all feedback."""
    from core.ops import feedback as acts
    from core.ops.builds import current_build
    from dashboard.tables import check_name, write_rows
    from data import reads
    from data.warehouse import Warehouse

    check_name(out)
    with desk(home) as d:
        matrix.require(d.ledger, actor(), matrix.Act.EXPLORE)
        build = current_build(d.ledger, dataset)
        if as_ == "feedback":
            rows = write_rows(acts.every(d.ledger, build.dataset), acts.COLUMNS, out)
        else:
            with Warehouse.open(build.path) as warehouse:
                found = reads.click_stream(warehouse) if as_ == "clicks" else reads.ratings(warehouse)
            rows = write_rows(found.to_batches(), found.schema, out)
        noted(d.ledger, "hand out", build.dataset, {"as": as_, "rows": rows, "build_id": build.build_id})
    told = {"path": str(out), "dataset": build.dataset, "build_id": build.build_id, "rows": rows}
    terminal.show(
        told, as_json=as_json, human=lambda console: console.print(f"{out}: {rows:,} rows of {build.build_id}")
    )


@roles_app.callback()
def roles(context: typer.Context, as_json: AsJson = False, home: Home = None) -> None:
    """Every role that was granted. While there is none, everybody who can open the store is its admin."""
    if context.invoked_subcommand is not None:
        return
    with desk(home) as d:
        found = matrix.granted(d.ledger)
        mine = matrix.role_of(d.ledger, actor())
    rows = [(row["actor"], row["role"], row["granted_by"], f"{row['at']:%Y-%m-%d}") for row in found]
    terminal.show(
        {"roles": found, "actor": actor(), "role": mine},
        as_json=as_json,
        human=lambda console: console.print(
            terminal.table(("who", "role", "granted by", "on"), rows, title=f"you are {actor()}: {mine}")
        ),
    )


@roles_app.command("grant")
def roles_grant(who: str, role: str, as_json: AsJson = False, home: Home = None) -> None:
    """Make somebody reader, analyst, operator or admin."""
    with desk(home) as d:
        matrix.grant(d.ledger, who, role, by=actor(), now=utc_now())
    terminal.show(
        {"actor": who, "role": role}, as_json=as_json, human=lambda console: console.print(f"{who} is {role}")
    )


def trail(
    limit: Annotated[int, typer.Option("--limit", min=0)] = 50, as_json: AsJson = False, home: Home = None
) -> None:
    """Who did what, newest first, after a check of the whole chain; exit 1 where an entry was changed or taken out."""
    from core.ops import statements
    from core.ops import trail as chain

    with desk(home) as d:
        matrix.require(d.ledger, actor(), matrix.Act.LOOK_BACK)
        broken = chain.broken_at(d.ledger)
        entries, newest = chain.trail(d.ledger, limit=limit), chain.trail(d.ledger, limit=1)
        asked = statements.texts(d.ledger, entries) if broken is None else {}
    if broken is not None:
        raise DamagedArtefact(
            f"the trail does not hold from entry {broken} on: it was changed, or one is missing",
            remedy="compare with a backup of the ledger; what comes after it proves nothing",
        )
    rows = [
        (e.entry, f"{e.at:%Y-%m-%d %H:%M:%S}", e.actor, e.act, e.subject, _of(e.detail, asked.get(e.entry)))
        for e in entries
    ]
    head = newest[0].hash if newest else chain.START
    terminal.show(
        {"entries": [vars(entry) | {"text": asked.get(entry.entry)} for entry in entries], "head": head},
        as_json=as_json,
        human=lambda console: console.print(
            terminal.table(("", "at (UTC)", "who", "did", "to", ""), rows, title=f"the chain holds; its head is {head}")
        ),
    )


def _of(detail: dict[str, Any], text: str | None) -> object:
    """An entry's detail for a terminal: of a statement, what came of it and what it was."""
    if "text_hmac" not in detail:
        return detail or ""
    came = ", ".join(f"{name} {detail[name]}" for name in ("outcome", "rows", "seconds") if detail[name] is not None)
    asked = "(forgotten)" if text is None else terminal.harmless(" ".join(text.split()))
    return f"{detail['build_id']}, {came}: {asked}"
