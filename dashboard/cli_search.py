"""`lodestar search`: better settings for a data set, found on its validation part by a supervised job."""

from typing import Annotated, Any

import typer

from core.ops import roles
from core.ops.builds import build_of, current_build
from core.ops.ledger import utc_now
from dashboard import terminal
from dashboard.desk import AsJson, Config, Dataset, Detach, Home, Set, actor, await_job, desk, setting
from data.errors import InputError

MOST_TRIALS = 10_000


def search(
    trials: Annotated[int, typer.Option("--trials", help="How many to try, unless --minutes end first.")] = 20,
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="How long the trials may take; the last is cut short.")
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option("--space", help="key=low..high or key=a,b,c to change the space; or a TOML file in its place."),
    ] = None,
    config: Config = None,
    set_: Set = None,
    more: Annotated[
        str | None, typer.Option("--continue", help="A search's id: that many trials more, of the same space.")
    ] = None,
    detach: Detach = False,
    dataset: Dataset = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Search for better settings: trials of the first stage, judged on validation, cut short where they fall behind.

    The best settings are written as a TOML file for `lodestar train --config`.
    """
    from core.learn.config import load_config
    from core.learn.space import space_of, told, written_space
    from core.ops.jobs import status, submit, succeeded
    from core.ops.searches import KIND, TOLD, new_search_id, order, read_search, search_folder

    if not 1 <= trials <= MOST_TRIALS:
        raise InputError(f"{trials} trials cannot be", remedy=f"ask for 1 to {MOST_TRIALS:,}")
    if minutes is not None and not minutes > 0:
        raise InputError(f"{minutes} minutes cannot be", remedy="give a time above zero, or none")
    with desk(home) as d:
        roles.require(d.ledger, actor(), roles.Act.TRAIN)
        if more is None:
            fixed = [setting(text) for text in set_ or []]
            base = load_config(config, overrides=fixed)
            dimensions = space_of(written_space(space or [], fixed=[key for key, _ in fixed]), base)
            build = current_build(d.ledger, dataset)
            payload = order(
                new_search_id(),
                build_id=build.build_id,
                config=base.model_dump(),
                space=told(dimensions),
                trials=trials,
                minutes=minutes,
            )
        else:
            if space or config or set_:
                raise InputError("a search goes on in its own space", remedy="give --continue without them")
            before = read_search(d.home, more)
            if not status(d.ledger, before["job_id"]).done:
                raise InputError(
                    f"search {more!r} has not ended", remedy=f"resume it with `lodestar jobs resume {before['job_id']}`"
                )
            build = build_of(d.ledger, before["build_id"])
            payload = order(
                more,
                build_id=build.build_id,
                config=before["base"],
                space=before["space"],
                trials=len(before["trials"]) + trials,
                minutes=None if minutes is None else before["seconds"] / 60 + minutes,
            )
        gpu = payload["config"]["device"] != "cpu"
        job_id = submit(d.ledger, kind=KIND, payload=payload, dataset=build.dataset, now=utc_now(), gpu=gpu)
        job = await_job(d, job_id, detach=detach)
        result: dict[str, Any] = {} if detach else succeeded(job)
        path = search_folder(d.home, payload["search_id"]) / TOLD
    answer = {
        "job_id": job_id,
        "search_id": payload["search_id"],
        "state": job.state,
        "trials": result.get("trials"),
        "best": result.get("best"),
        "seconds": result.get("seconds"),
        "pruned": result.get("pruned"),
        "failed": result.get("failed"),
        "path": str(path),
    }
    terminal.show(answer, as_json=as_json, human=lambda console: console.print(_said(answer)))


def _said(answer: dict[str, Any]) -> Any:
    best = answer["best"]
    if best is None:
        return f"job {answer['job_id']} is {answer['state']}: search {answer['search_id']}"
    rows = [(name, str(value)) for name, value in best["settings"].items()]
    title = (
        f"search {answer['search_id']}: {answer['trials']} trials ({answer['pruned']} cut short, {answer['failed']}"
        f" failed) in {answer['seconds']:.0f} s; best validation NDCG@10 {best['ndcg@10']:.4f}, trial {best['trial']}"
    )
    return terminal.table(("setting", "best"), [*rows, ("", f"lodestar train --config {best['config']}")], title=title)
