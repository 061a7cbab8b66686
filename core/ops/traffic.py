"""A champion's challenger: which share of users gets it, and which user is among them.

A user's place is a hash of the split's salt and the user's key, so nobody has to be remembered: the same user always
meets the same arm, and raising the share only ever moves users to the challenger (Kohavi et al., "Trustworthy Online
Controlled Experiments", 2020, ch. 4). Rows are appended, never edited; the newest of a data set is in force until it is
ended or the champion changes, whichever way: a split belongs to the version of the champion it was made under.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from core.ops import trail
from core.ops.ledger import Ledger, one_row
from core.ops.registry import check_servable, latest_promotion
from core.ops.roles import Act, check
from core.ops.schema import splits as splits_table
from data.errors import InputError, UnknownRun
from data.phrases import phrase

Arm = Literal["champion", "challenger"]
_PLACES = 2.0**64

MOST_SHARE = 0.5  # a challenger passed no gate: most users get the champion


@dataclass(frozen=True)
class Split:
    """One setting of a split. `share` is in [0, MOST_SHARE], 0 ends it; `champion_version` is the promotion it was made
    under."""

    dataset: str
    version: int
    run_id: str
    share: float
    salt: str
    champion_version: int
    actor: str
    reason: str
    at: datetime

    def arm_of(self, user: str) -> Arm:
        """The arm of a user's key."""
        place = int.from_bytes(hashlib.sha256(f"{self.salt}{user}".encode()).digest()[:8], "big")
        return "challenger" if place < self.share * _PLACES else "champion"


def split_in_force(ledger: Ledger, dataset: str) -> Split | None:
    """The split by which users are served now; None without one, or once its champion was replaced."""
    with ledger.read() as connection:
        return _standing(connection, dataset)


def splits(ledger: Ledger, dataset: str) -> list[Split]:
    """Every setting of a split, newest first; a share of 0 is an end."""
    with ledger.read() as connection:
        return [Split(**row) for row in connection.execute(_newest_first(dataset)).mappings()]


def split(ledger: Ledger, *, dataset: str, run_id: str, share: float, actor: str, reason: str, now: datetime) -> Split:
    """Gives a share of users to a challenger, or another share to the one that stands: whoever had it keeps it when the
    share grows. Raises InputError for another share or the champion itself, UnknownRun (also while nothing
    serves), RunUnfinished, NotAllowed."""
    if not 0 < share <= MOST_SHARE:
        raise InputError(phrase("serve.no_share", share=share), remedy=phrase("do.write_share", most=MOST_SHARE))
    with ledger.write() as connection:
        champion = latest_promotion(connection, dataset)
        if champion is None:
            raise UnknownRun(phrase("serve.none_to_challenge", dataset=dataset), remedy=phrase("do.promote"))
        if champion.run_id == run_id:
            raise InputError(phrase("serve.itself", run=run_id), remedy=phrase("do.other_challenger"))
        check_servable(connection, dataset, run_id)
        made = {"run_id": run_id, "share": share, "salt": f"{dataset}/{run_id}/", "champion_version": champion.version}
        return _append(connection, dataset, **made, actor=actor, reason=reason, at=now)


def end_split(ledger: Ledger, *, dataset: str, actor: str, reason: str, now: datetime) -> Split:
    """Gives every user back to the champion. Raises UnknownRun where no split is in force."""
    with ledger.write() as connection:
        standing = _standing(connection, dataset)
        if standing is None:
            raise UnknownRun(phrase("serve.no_challenger", dataset=dataset), remedy=phrase("do.begin_split"))
        kept = {name: getattr(standing, name) for name in ("run_id", "salt", "champion_version")}
        return _append(connection, dataset, **kept, share=0.0, actor=actor, reason=reason, at=now)


def _standing(connection: Connection, dataset: str) -> Split | None:
    row = one_row(connection, _newest_first(dataset).limit(1))
    champion = latest_promotion(connection, dataset)
    if row is None or row["share"] == 0 or champion is None or row["champion_version"] != champion.version:
        return None
    return Split(**row)


def _newest_first(dataset: str) -> sa.Select[Any]:
    return sa.select(splits_table).where(splits_table.c.dataset == dataset).order_by(splits_table.c.version.desc())


def _append(connection: Connection, dataset: str, **fields: Any) -> Split:
    last = connection.scalar(sa.select(sa.func.max(splits_table.c.version)).where(splits_table.c.dataset == dataset))
    row = Split(dataset=dataset, version=1 + int(last or 0), **fields)
    check(connection, row.actor, Act.PROMOTE)
    connection.execute(sa.insert(splits_table).values(**vars(row)))
    detail = {"run_id": row.run_id, "share": row.share, "reason": row.reason}
    trail.note(connection, actor=row.actor, act="split", subject=dataset, now=row.at, detail=detail)
    return row
