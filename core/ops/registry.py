"""Which run of a dataset is its champion, who made it so, and how often each test set was read.

Promotions are appended, never edited: `version` counts them per dataset, and the row with the highest version
is in force. `before` names the version that a rollback returns to, so rolling back twice goes back twice. Whoever takes
a champion's place brings evidence, which `core.trust.gate` gathers; here only its `passes` is looked at, and an
override is recorded as one. Going back needs none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from core.ops import trail
from core.ops.ledger import Ledger, one_row
from core.ops.roles import Act, check
from core.ops.schema import promotions as promotions_table
from core.ops.schema import runs as runs_table
from core.ops.schema import test_reads as test_reads_table
from data.errors import Conflict, GateFailed, InputError, RunUnfinished, UnknownRun
from data.phrases import phrase, quoted

FIRST = "the first run of this data set"  # the reason that Lodestar itself gives, where nobody was asked for one


@dataclass(frozen=True)
class PromotionRow:
    """One change of champion. `action` is `promote`, `override` (against the evidence) or `rollback`; `evidence` is
    what was known of the run when it was promoted, as `core.trust.gate` gives it."""

    dataset: str
    version: int
    run_id: str
    action: str
    before: int | None
    actor: str
    reason: str
    at: datetime
    evidence: dict[str, Any] | None = None


def champion(ledger: Ledger, dataset: str) -> str | None:
    """The run that serves this dataset, or None while none was promoted."""
    with ledger.read() as connection:
        row = latest_promotion(connection, dataset)
    return None if row is None else row.run_id


def champion_version(ledger: Ledger, dataset: str) -> int:
    """What to pass as `expected_version` to change the champion seen now; 0 before the first promotion."""
    with ledger.read() as connection:
        row = latest_promotion(connection, dataset)
    return 0 if row is None else row.version


def latest_promotion(connection: Connection, dataset: str) -> PromotionRow | None:
    """The change of champion in force, within a transaction of the caller's; None before the first."""
    row = one_row(connection, _of(dataset).order_by(promotions_table.c.version.desc()).limit(1))
    return None if row is None else PromotionRow(**row)


def promotions(ledger: Ledger, dataset: str) -> list[PromotionRow]:
    """Every change of champion, newest first."""
    query = _of(dataset).order_by(promotions_table.c.version.desc())
    with ledger.read() as connection:
        return [PromotionRow(**row) for row in connection.execute(query).mappings()]


def promote(  # noqa: PLR0913
    ledger: Ledger,
    *,
    dataset: str,
    run_id: str,
    actor: str,
    reason: str,
    expected_version: int | None,
    now: datetime,
    evidence: Mapping[str, Any] | None = None,
    override: bool = False,
) -> PromotionRow:
    """Makes a finished run the champion, in one transaction.

    `expected_version` is what the actor saw (`champion_version`); None means "whatever stands now". `evidence` is of
    this run against the present champion; a data set's first champion needs none. `override` promotes against evidence
    that fails, or without any, and asks for a reason. Raises Conflict when someone else was first, UnknownRun when the
    run is not this dataset's, RunUnfinished, GateFailed, NotAllowed, and InputError for the
    champion itself and for an override without a reason.
    """
    with ledger.write() as connection:
        current = latest_promotion(connection, dataset)
        _expect(current, expected_version, dataset=dataset)
        check_servable(connection, dataset, run_id)
        if current is not None and current.run_id == run_id:
            raise InputError(phrase("serve.already", run=run_id, dataset=dataset), remedy=phrase("do.other_run"))
        against = _against(current, run_id, evidence)
        if against is not None and not override:
            raise against
        if against is not None and not reason.strip():
            raise InputError(phrase("serve.no_reason"), remedy=phrase("do.say_why"))
        return _append(
            connection,
            PromotionRow(
                dataset=dataset,
                version=1 if current is None else current.version + 1,
                run_id=run_id,
                action="promote" if against is None else "override",
                before=None if current is None else current.version,
                actor=actor,
                reason=reason,
                at=now,
                evidence=None if evidence is None else dict(evidence),
            ),
        )


def rollback(
    ledger: Ledger,
    *,
    dataset: str,
    actor: str,
    reason: str,
    expected_version: int | None,
    now: datetime,
) -> PromotionRow:
    """Returns to the champion before the one in force. Raises UnknownRun when there is none, Conflict."""
    with ledger.write() as connection:
        current = latest_promotion(connection, dataset)
        _expect(current, expected_version, dataset=dataset)
        if current is None or current.before is None:
            raise UnknownRun(phrase("serve.no_earlier", dataset=dataset), remedy=phrase("do.promote"))
        target = one_row(connection, _of(dataset).where(promotions_table.c.version == current.before))
        assert target is not None, "promotions are never deleted"
        return _append(
            connection,
            PromotionRow(
                dataset=dataset,
                version=current.version + 1,
                run_id=target["run_id"],
                action="rollback",
                before=target["before"],
                actor=actor,
                reason=reason,
                at=now,
            ),
        )


def check_servable(connection: Connection, dataset: str, run_id: str) -> None:
    """Raises UnknownRun for a run that is not this data set's, RunUnfinished for one that cannot serve yet."""
    run = one_row(connection, sa.select(runs_table).where(runs_table.c.run_id == run_id))
    if run is None or run["dataset"] != dataset:
        raise UnknownRun(phrase("find.no_run_of", name=quoted(run_id), dataset=dataset), remedy=phrase("do.list_jobs"))
    if run["finished"] is None:
        raise RunUnfinished(
            phrase("run.not_finished", name=quoted(run_id)), remedy=phrase("do.resume", job=str(run["job_id"]))
        )


def log_test_read(ledger: Ledger, run_id: str, protocol: str, now: datetime) -> None:
    """Notes that a run's test figures were computed: a hold-out that is read often is worth less."""
    row = {"run_id": run_id, "protocol": protocol, "at": now}
    with ledger.write() as connection:
        connection.execute(sa.insert(test_reads_table).values(**row))


def count_test_reads(ledger: Ledger, dataset: str, *, protocol: str | None = None, build_id: str | None = None) -> int:
    """How many times the test set of a dataset was read, by any of its runs, or by those of one build."""
    joined = test_reads_table.join(runs_table, test_reads_table.c.run_id == runs_table.c.run_id)
    query = sa.select(sa.func.count()).select_from(joined).where(runs_table.c.dataset == dataset)
    if protocol is not None:
        query = query.where(test_reads_table.c.protocol == protocol)
    if build_id is not None:
        query = query.where(runs_table.c.build_id == build_id)
    with ledger.read() as connection:
        return int(connection.scalar(query) or 0)


def _of(dataset: str) -> sa.Select[Any]:
    return sa.select(promotions_table).where(promotions_table.c.dataset == dataset)


def _expect(current: PromotionRow | None, expected_version: int | None, *, dataset: str) -> None:
    if expected_version is None or expected_version == (current.version if current else 0):
        return
    now = phrase("serve.made", actor=current.actor, run=current.run_id) if current else phrase("serve.none")
    raise Conflict(phrase("serve.changed", dataset=dataset, now=now), remedy=phrase("do.look_again"))


def _against(current: PromotionRow | None, run_id: str, evidence: Mapping[str, Any] | None) -> GateFailed | None:
    """What stands in the way of a promotion. Raises Conflict for evidence of another pair of runs."""
    if current is None:
        return None
    look = phrase("do.look_or_override", run=run_id)
    if evidence is None:
        return GateFailed(phrase("serve.no_evidence", run=run_id, champion=current.run_id), remedy=look)
    if (evidence["run_id"], evidence["champion"]) != (run_id, current.run_id):
        pair = {"other": evidence["run_id"], "before": evidence["champion"], "run": run_id, "champion": current.run_id}
        raise Conflict(phrase("serve.other_evidence", **pair), remedy=phrase("do.look_again"))
    if evidence["passes"]:
        return None
    failed = "; ".join(check["said"] for check in evidence.get("checks", ()) if _blocks(check))
    return GateFailed(f"the evidence for {run_id} fails. {failed}".rstrip(". "), remedy=look)


def _blocks(check: Mapping[str, Any]) -> bool:
    """Whether a check stands in the way: it fails, or it is the comparison, and there was none."""
    return bool(check["verdict"] == "fail" or (check["name"] == "accuracy" and check["verdict"] == "unknown"))


def _append(connection: Connection, row: PromotionRow) -> PromotionRow:
    """Writes the row and tells the trail, for an actor who may. Raises NotAllowed."""
    check(connection, row.actor, Act.PROMOTE)
    connection.execute(sa.insert(promotions_table).values(**vars(row)))
    detail = {"run_id": row.run_id, "version": row.version, "reason": row.reason}
    trail.note(connection, actor=row.actor, act=row.action, subject=row.dataset, now=row.at, detail=detail)
    return row
