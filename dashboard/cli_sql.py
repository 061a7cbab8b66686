"""The command `sql`: one statement that only reads, over what whoever runs it may see of a build."""

from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer
from rich.console import Console

from core.ops.ledger import utc_now
from dashboard import terminal
from dashboard.desk import AsJson, Dataset, Home, actor, desk
from data.errors import InputError

SHOWN = 50  # rows on a terminal
CELL_CHARACTERS = 60


def sql(
    statement: Annotated[str, typer.Argument(help="One SELECT, FROM, WITH, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN.")],
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the rows to this file instead.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the plan, and run nothing.")] = False,
    dataset: Dataset = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Ask the current build a question of your own, in a sandbox: no sensitive attributes but as counts, at most 10,000
    rows. Each statement is noted in the trail."""
    from core.ops import statements
    from core.ops.builds import current_build
    from dashboard.tables import csv_of, legible
    from data.publish import write_whole

    if explain and csv is not None:
        raise typer.BadParameter("a plan has no rows for --csv")
    if csv is not None and not csv.parent.is_dir():
        raise InputError(f"there is no folder {csv.parent}", remedy="name an existing one")
    with desk(home) as d:
        build = current_build(d.ledger, dataset)
        asked = {"actor": actor(), "now": utc_now()}
        if explain:
            plan = statements.explain(d.ledger, d.home, build, statement, **asked)
            terminal.show(
                {"dataset": build.dataset, "build_id": build.build_id, "plan": plan},
                as_json=as_json,
                human=lambda console: console.print(plan, highlight=False, soft_wrap=True),
            )
            return
        answer = statements.run(d.ledger, d.home, build, statement, **asked).answer
    table = legible(answer.table)
    told: dict[str, Any] = {
        "dataset": build.dataset,
        "build_id": build.build_id,
        "columns": table.column_names,
        "n": table.num_rows,
        "cut": answer.cut,
        "seconds": answer.seconds,
    }
    if csv is not None:
        try:
            write_whole(csv, csv_of(answer.table))
        except (OSError, ValueError) as error:  # a folder, a name too long or none
            raise InputError(f"cannot write {csv}: {error}", remedy="name another file after --csv") from error
        told["path"] = str(csv)
    elif as_json:
        told["rows"] = table.to_pylist()
    terminal.show(told, as_json=as_json, human=lambda console: _draw(console, table, told))


def _draw(console: Console, table: pa.Table, told: dict[str, Any]) -> None:
    n = f"{told['n']:,} {'row' if told['n'] == 1 else 'rows'}"
    count = f"the first {n} of more" if told["cut"] else n
    where = f"{told['build_id']} of {told['dataset']}, {told['seconds']:.2f} s"
    if "path" in told:
        console.print(f"{told['path']}: {count} from {where}", soft_wrap=True)
        return
    rows = [[_cell(value) for value in row.values()] for row in table.slice(0, SHOWN).to_pylist()]
    console.print(terminal.table([_cell(name) for name in table.column_names], rows))
    more = f"; {SHOWN} are shown, --csv FILE has them all" if told["n"] > SHOWN else ""
    console.print(f"{count} from {where}{more}", soft_wrap=True)


def _cell(value: object) -> object:
    """A value for a terminal, cut where it is long."""
    if value is None or isinstance(value, int | float):
        return "" if value is None else value
    text = terminal.harmless(str(value))
    return text if len(text) <= CELL_CHARACTERS else text[: CELL_CHARACTERS - 1] + "…"
