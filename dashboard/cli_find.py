"""The command `find`: users and items by a part of their key or title, slips forgiven."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from core.ops import roles
from dashboard import terminal
from dashboard.desk import AsJson, Dataset, Home, actor, desk
from data.errors import InputError

if TYPE_CHECKING:
    from data.search import Found

MOST_ASKED = 1_000


def find(
    text: Annotated[str, typer.Argument(help="A key or a title, or a part of one; slips are forgiven.")],
    only: Annotated[str | None, typer.Option("--only", metavar="users|items", help="Look among these alone.")] = None,
    k: Annotated[int, typer.Option("--k", min=1, max=MOST_ASKED, help="At most so many of each.")] = 10,
    dataset: Dataset = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Find users and items of the current build: the key that other commands want, from what you remember of it."""
    from core.ops.builds import current_build
    from data import search
    from data.warehouse import Warehouse

    makers = {"users": search.users, "items": search.items}
    if only is not None and only not in makers:
        raise typer.BadParameter("--only takes users or items")
    if not text.strip():
        raise InputError("there is nothing to look for", remedy="write a part of a key or title")
    with desk(home) as d:
        roles.require(d.ledger, actor(), roles.Act.EXPLORE)
        build = current_build(d.ledger, dataset)
        with Warehouse.open(build.path) as warehouse:
            found = {name: make(warehouse).find(text, most=k) for name, make in makers.items() if only in (None, name)}
    told: dict[str, Any] = {"dataset": build.dataset, "build_id": build.build_id}
    for name, some in found.items():
        told[name] = {**vars(some), "matches": list(map(vars, some.matches)), "nearest": list(map(vars, some.nearest))}

    def human(console: Console) -> None:
        for name, some in found.items():
            _draw(console, name, some)

    terminal.show(told, as_json=as_json, human=human)


def _draw(console: Console, name: str, found: "Found") -> None:
    titled = name == "items"
    shown = [(terminal.harmless(m.key), terminal.harmless(m.title), m.events, m.how) for m in found.matches]
    if shown:
        rows = shown if titled else [(key, events, how) for key, _, events, how in shown]
        heads = ("item", "title", "events", "match") if titled else ("user", "events", "match")
        console.print(terminal.table(heads, rows))
    else:
        near = [f"{m.key} ({m.title})" if titled else m.key for m in found.nearest]
        told = f"; the nearest: {', '.join(map(terminal.harmless, near))}" if near else ""
        console.print(f"no {name[:-1]} is called so{told}", soft_wrap=True)
    if found.n > len(shown):
        console.print(f"the best {len(shown)} of {found.n:,} {name}; --k shows more")
