"""Commands about who serves: promote a run by its evidence, let a challenger answer for a share of users, go back."""

from pathlib import Path
from typing import Annotated

import typer

from core.ops.builds import current_build
from core.ops.ledger import utc_now
from dashboard import terminal
from dashboard.desk import AsJson, Dataset, Home, Run, actor, desk
from data.errors import InputError, UnknownRun


def promote(
    run: Run,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; kept in the record.")] = None,
    override: Annotated[
        bool, typer.Option("--override", help="Promote against evidence that fails; needs a --reason.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the evidence.")] = False,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Make a finished run its data set's champion, where the evidence against the present one lets it."""
    from core.ops import registry
    from core.ops.runs import finished_run
    from core.trust.gate import gather

    if override and not (reason or "").strip():
        raise InputError("an override needs a reason", remedy="say after --reason why this run should serve")
    with desk(home) as d:
        row = finished_run(d.ledger, d.home, run)
        version = registry.champion_version(d.ledger, row.dataset)
        evidence = gather(d.ledger, d.home, row, now=utc_now())
        said = evidence.as_json()
        if not as_json:
            rows = [(check.name.replace("_", " "), check.verdict, check.said) for check in evidence.checks]
            against = evidence.champion or "nobody"
            terminal.draw(terminal.table(("check", "verdict", ""), rows, title=f"{row.run_id} against {against}"))
        if not dry_run:
            made = registry.promote(
                d.ledger,
                dataset=row.dataset,
                run_id=row.run_id,
                actor=actor(),
                reason=reason or "promoted by hand",
                expected_version=version,
                now=utc_now(),
                evidence=said,
                override=override,
            )
            version = made.version
    told = {"dataset": row.dataset, "run_id": row.run_id, "version": version, "protocol": row.protocol}
    action = "dry-run" if dry_run else made.action
    label = "" if row.protocol == "last" else f"; its figures are those of the protocol {row.protocol}"
    line = (
        f"nothing was changed; {row.run_id} {'may' if evidence.passes else 'may not'} serve {row.dataset}"
        if dry_run
        else f"{row.run_id} is the champion of {row.dataset} (version {version}){label}"
    )
    terminal.show(
        told | {"action": action, "evidence": said}, as_json=as_json, human=lambda console: console.print(line)
    )


def split(
    run: Annotated[str | None, typer.Argument(help="The challenger's id; not with --end.")] = None,
    share: Annotated[float | None, typer.Option("--share", help="Of users, half at most.")] = None,
    end: Annotated[bool, typer.Option("--end", help="Give every user back to the champion.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the record.")] = "by hand",
    dataset: Dataset = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Let a challenger answer for a share of users; whoever has it keeps it while the share grows. Without a run: what
    people did with what champion and challenger showed them."""
    from core.ops import traffic
    from core.ops.runs import finished_run

    if run is None and share is None and not end:
        _outcomes(home, dataset, as_json=as_json)
        return
    if end == (run is not None) or (share is None) != end:
        raise InputError("a split needs a run and a share, its end neither", remedy="write RUN --share .1, or --end")
    who = {"actor": actor(), "reason": reason}
    with desk(home) as d:
        if run is None or share is None:
            made = traffic.end_split(d.ledger, dataset=current_build(d.ledger, dataset).dataset, **who, now=utc_now())
        else:
            row = finished_run(d.ledger, d.home, run, dataset)
            made = traffic.split(d.ledger, dataset=row.dataset, run_id=row.run_id, share=share, **who, now=utc_now())
    line = (
        f"{made.share:.4g} of the users of {made.dataset} get {made.run_id}, the others the champion"
        if made.share
        else f"every user of {made.dataset} gets the champion again"
    )
    terminal.show(vars(made), as_json=as_json, human=lambda console: console.print(line))


def _outcomes(home: Path | None, dataset: str | None, *, as_json: bool) -> None:
    from core.trust.outcomes import outcomes

    with desk(home) as d:
        name = current_build(d.ledger, dataset).dataset
        found = outcomes(d.ledger, name)
    if found is None:
        raise UnknownRun(f"nothing serves {name} yet", remedy="promote a run first: `lodestar promote RUN`")
    rows = [
        (
            arm.run_id,
            arm.slates,
            arm.users,
            terminal.interval(arm.share) if arm.users else "nothing shown",
            "" if arm.gap is None else terminal.interval(arm.gap),
        )
        for arm in found.arms
    ]
    title = f"{name}: slates answered, by user, since {found.since:%Y-%m-%d %H:%M} UTC"
    heads = ("run", "slates", "users", "answered", "less the champion's")
    terminal.show(
        {"dataset": name, **found.as_json()},
        as_json=as_json,
        human=lambda console: console.print(terminal.table(heads, rows, title=title)),
    )


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
            actor=actor(),
            reason=reason,
            expected_version=registry.champion_version(d.ledger, name),
            now=utc_now(),
        )
    terminal.show(
        {"dataset": made.dataset, "run_id": made.run_id, "version": made.version},
        as_json=as_json,
        human=lambda console: console.print(f"{made.run_id} is the champion of {made.dataset} again"),
    )
