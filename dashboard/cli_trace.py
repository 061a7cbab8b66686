"""The command `trace`: from an event to the line it came from, and from a line to what became of it."""

from typing import Annotated, Any

import typer

from core.ops import roles
from dashboard import terminal
from dashboard.desk import AsJson, Dataset, Home, actor, desk, noted


def trace(
    event: Annotated[int | None, typer.Option("--event", min=0, help="An event_id.")] = None,
    line: Annotated[str | None, typer.Option("--line", metavar="SOURCE:LINE", help="A line of a source.")] = None,
    dataset: Dataset = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Say which line of which file an event of the current build comes from, or what became of a line."""
    from core.ops.builds import current_build
    from data import reads
    from data.cleaning import REASONS
    from data.errors import UnknownEvent
    from data.phrases import kept_text
    from data.quality import quality_of
    from data.warehouse import Warehouse

    source, _, number = (line or "").rpartition(":")
    if (event is None) == (line is None) or (line is not None and not (source and number.isdecimal())):
        raise typer.BadParameter("name an event, --event 17, or a line, --line events.csv:18")
    with desk(home) as d:
        roles.require(d.ledger, actor(), roles.Act.EXPLORE)
        build = current_build(d.ledger, dataset)
        with Warehouse.open(build.path) as warehouse:
            if line is not None:
                event = reads.event_of_line(warehouse, source, int(number))
            rows = [] if event is None else reads.lineage(warehouse, event).to_pylist()
            rows = [row | {"read_as": str(kept_text(row["read_as"]))} for row in rows]
        refused: list[dict[str, Any]] = []
        if line is not None and not rows:
            quarantine = d.home / "quarantine" / f"{build.build_id}.parquet"
            refused = reads.refusals_of_line(quarantine, source, int(number)).to_pylist()
            if not refused and source in (quality_of(build.path).get("lists") or ()):
                raise UnknownEvent(
                    f"build {build.build_id} refused no row at line {number} of {source!r}, and keeps no lines of items"
                    " or users that it took",
                    remedy="look the key up with `lodestar find`, or name a line of events",
                )
            if not refused:
                raise UnknownEvent(
                    f"no row begins at line {number} of {source!r} in build {build.build_id}",
                    remedy="name the line where a row begins, and the source as the page Data lists it",
                )
        noted(d.ledger, "trace", build.dataset, {"build_id": build.build_id, "event": event, "line": line})
    of = {"dataset": build.dataset, "build_id": build.build_id}
    told = of | {"event_id": event, "events": rows, "refused": refused}

    def human(console: Any) -> None:
        for row in rows:
            value = "" if row["value"] is None else f" {row['value']:g}"
            act = f"user {row['user']}, item {row['item']}, {row['kind']}{value}, {row['ts']:%F %T} UTC"
            said(console, f"event {event}: {act}")
            bytes_ = "" if row["sha256"] is None else f", sha256 {row['sha256']}"
            said(console, f"line {row['line']} of {row['source']}, read by build {row['build_id']}{bytes_}")
        for row in refused:
            where = f" (column {row['column']})" if row["column"] else ""
            told_raw = f": {row['raw']}" if row["raw"] else ""
            done = "taken out by a rule" if row["reason"] in REASONS else "refused"
            said(console, f"line {number} of {source} was {done}: {row['reason']}{where}{told_raw}")

    def said(console: Any, text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    terminal.show(told, as_json=as_json, human=human)
