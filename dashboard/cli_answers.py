"""The commands that ask a finished run: what to recommend and why, what is like it, what happens next, where to lead.

Each is answered in this process by `core.serve.answers`, as the scorer would, and needs none of the three running.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from core.ops import roles
from dashboard import terminal
from dashboard.desk import AsJson, Dataset, Home, Run, actor, desk, listed
from data.errors import InputError

User = Annotated[str | None, typer.Option("--user", help="A user's key.")]


def recommend(
    run: Run,
    user: User = None,
    history: Annotated[
        str | None,
        typer.Option("--history", help="Item keys, oldest first, with commas; one that holds commas in double quotes."),
    ] = None,
    k: Annotated[int, typer.Option("--k")] = 10,
    explain: Annotated[bool, typer.Option("--explain", help="With the reason for each.")] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only-category", help="Only items of these; may be repeated.")
    ] = None,
    never: Annotated[
        list[str] | None, typer.Option("--never-category", help="No item of these; may be repeated.")
    ] = None,
    pin: Annotated[
        list[str] | None, typer.Option("--pin", help="KEY@RANK: this item at this rank; may be repeated.")
    ] = None,
    cap: Annotated[
        list[str] | None,
        typer.Option("--cap", help="CATEGORY=N, or N for each: at most so many; may be repeated."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also what the user has waved away, by the feedback.")] = False,
    diversity: Annotated[float, typer.Option("--diversity", help="0 (the ranking) to 1 (all unlike).")] = 0.0,
    dataset: Dataset = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """What a user, or a history that was never seen, should get next; under rules, with a receipt of what they did."""
    from core.predict.rules import rules_from

    rules = rules_from(
        {"only": only or [], "never": never or [], "pins": pin or [], "caps": cap or [], "diversity": diversity}
    )
    with opened(home, run, dataset, user=user) as (answers, it, arm):
        about = {"user": user, "history": listed(history)}
        told = answers.recommend(it, **about, k=k, explain=explain, rules=rules, again=again) | arm
    rows = [
        (
            i["rank"],
            i["key"],
            i["title"],
            f"{i['probability']:.2%}",
            i["explanation"]["words"]["en"] if explain else i["source"],
        )
        for i in told["items"]
    ]
    changes = [
        (c["rule"], c["change"], c["key"], c["title"], c["before"] or "", c["after"] or "")
        for c in told.get("receipt", ())
    ]

    def human(console: Any) -> None:
        console.print(terminal.table(("", "item", "title", "p", "why" if explain else "from"), rows))
        if changes:
            console.print(terminal.table(("rule", "did", "item", "title", "was", "is"), changes, title="receipt"))

    terminal.show(told, as_json=as_json, human=human)


def similar(
    item: Annotated[str, typer.Argument(help="An item's key.")],
    k: Annotated[int, typer.Option("--k")] = 10,
    run: Annotated[str, typer.Option("--run", help="A run's id, or `champion`.")] = "champion",
    dataset: Dataset = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """The items most like one, in the eyes of a run's network."""
    with opened(home, run, dataset) as (answers, it, arm):
        told = answers.similar(it, item=item, k=k) | arm
    rows = [(i["rank"], i["key"], i["title"], i["similarity"], i["source"]) for i in told["items"]]
    terminal.show(
        told,
        as_json=as_json,
        human=lambda console: console.print(
            terminal.table(("", "item", "title", "cosine", "from"), rows, title=f"like {told['item']['title']}")
        ),
    )


def predict(
    run: Run,
    user: Annotated[str, typer.Option("--user", help="A user's key.")],
    k: Annotated[int, typer.Option("--k", help="How many recommended items to tell P(like) of.")] = 10,
    dataset: Dataset = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """What a user does next: kinds of behaviour, whether they will like what is recommended, when they return."""
    with opened(home, run, dataset, user=user) as (answers, it, arm):
        told = answers.predict(it, user=user, k=k) | arm
    kinds = ", ".join(f"{kind} {p:.0%}" for kind, p in sorted(told["kinds"].items(), key=lambda pair: -pair[1]))
    days = told["return_days"]
    low, median, high = (_days(days[name], days.get("seen_days")) for name in ("low", "median", "high"))
    rows = [(one["key"], one["title"], f"{one['p']:.0%}") for one in told["like"] or []]

    def human(console: Any) -> None:
        console.print(f"next behaviour: {kinds or 'not told'}")
        console.print(f"days from the last event to the return: {median} (80%: {low} to {high})")
        if rows:
            console.print(terminal.table(("item", "title", "P(like)"), rows))
        for field, why in told["notes"].items():
            console.print(f"{field}: {why}")

    terminal.show(told, as_json=as_json, human=human)


def explain(
    run: Run,
    item: Annotated[str, typer.Option("--item", help="An item's key.")],
    user: User = None,
    history: Annotated[
        str | None,
        typer.Option("--history", help="Item keys, oldest first, with commas; one that holds commas in double quotes."),
    ] = None,
    dataset: Dataset = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Why an item is (or is not) recommended: exact Shapley values of the last events, and what would change it."""
    with opened(home, run, dataset, user=user) as (answers, it, arm):
        told = answers.explain(it, user=user, history=listed(history), item=item) | arm
    game = told["games"][0]
    rows = [(p["title"], p["phi"]) for p in game["players"]]

    def human(console: Any) -> None:
        console.print(told["words"]["en"])
        console.print(terminal.table(("event", "change in log-probability"), rows))

    terminal.show(told, as_json=as_json, human=human)


def guide(
    run: Run,
    user: Annotated[str, typer.Option("--user", help="A user's key.")],
    target: Annotated[str, typer.Option("--target", help="category=NAME")],
    steps: Annotated[int, typer.Option("--steps", min=1, max=50)] = 10,
    dataset: Dataset = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """A path of acceptable steps that leads a user toward a category, and how much such paths lift."""
    name, found, category = target.partition("=")
    if not found or name != "category" or not category:
        raise InputError(f"the target {target!r} is not category=NAME", remedy="write --target category=Comedy, say")
    with opened(home, run, dataset, user=user) as (answers, it, arm):
        told = answers.guide(it, user=user, category=category, steps=steps) | arm
        told["lift"] = answers.lift_toward(it, category)
    rows = [(n + 1, s["key"], s["title"], s["acceptance"], s["mass"]) for n, s in enumerate(told["steps"])]
    terminal.show(
        told,
        as_json=as_json,
        human=lambda console: console.print(
            terminal.table(("", "item", "title", "acceptance", f"mass on {category}"), rows)
        ),
    )


@contextmanager
def opened(
    home: Path | None, run: str, dataset: str | None, *, user: str | None = None
) -> Iterator[tuple[Any, Any, dict[str, str]]]:
    """The answering functions and one opened run, on one thread as in the scorer; and the arm of the user that the
    champion is asked about, to be told with the answer."""
    import torch

    from core.serve import answers

    torch.set_num_threads(1)
    with desk(home) as d:
        roles.require(d.ledger, actor(), roles.Act.EXPLORE)
        run_id, arm = answers.routed(d.ledger, d.home, run, dataset=dataset, user=user)
        if arm == "challenger":
            terminal.say(f"{run_id} answers: this user is in the challenger's arm")
        with answers.open_run(d.ledger, d.home, run_id) as it:
            yield answers, it, {} if arm is None else {"arm": arm}


def _days(days: float | None, seen_days: float | None) -> str:
    if days is not None:
        return f"{days:.2g}" if days < 10 else f"{days:.0f}"
    return "not told" if seen_days is None else f"more than {seen_days:.0f}"
