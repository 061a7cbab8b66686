"""Roles: who may do what. The matrix stands here alone; pages hide what it forbids, and the core asks again.

A store in which nobody was given a role is one person's own: everybody who can open it is its admin. From the first
grant on, who has no role is a reader.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from core.ops import trail
from core.ops.ledger import Ledger
from core.ops.schema import roles as table
from data.errors import Conflict, InputError, NotAllowed
from data.phrases import listed, phrase, quoted

MOST_CHARACTERS = 128  # of an account's name


class Role(StrEnum):
    """From the least to the most."""

    READER = "reader"
    ANALYST = "analyst"
    OPERATOR = "operator"
    ADMIN = "admin"


class Act(StrEnum):
    """What a role may allow."""

    READ = "read"  # Pulse, Audit, published reports
    EXPLORE = "explore"  # Explore, Profile, the preview of a path, exports of keys that are pseudonyms
    RESPOND = "respond"  # feedback through the console
    INGEST = "ingest"
    TRAIN = "train"  # and every other job
    PROMOTE = "promote"  # roll back and split the traffic, too
    PUBLISH = "publish"
    GRANT = "grant"
    ERASE = "erase"
    IDENTIFY = "identify"  # turn pseudonyms back
    LOOK_BACK = "look-back"  # the trail


_LEAST: dict[Act, Role] = {
    Act.READ: Role.READER,
    Act.EXPLORE: Role.ANALYST,
    Act.RESPOND: Role.ANALYST,
    Act.INGEST: Role.OPERATOR,
    Act.TRAIN: Role.OPERATOR,
    Act.PROMOTE: Role.OPERATOR,
    Act.PUBLISH: Role.OPERATOR,
    Act.GRANT: Role.ADMIN,
    Act.ERASE: Role.ADMIN,
    Act.IDENTIFY: Role.ADMIN,
    Act.LOOK_BACK: Role.ADMIN,
}
_ORDER = list(Role)


def may(role: Role, act: Act) -> bool:
    """The matrix."""
    return _ORDER.index(role) >= _ORDER.index(_LEAST[act])


def role_of(ledger: Ledger, actor: str) -> Role:
    """What an actor is here."""
    with ledger.read() as connection:
        return _role(connection, actor)


def require(ledger: Ledger, actor: str, act: Act) -> None:
    """Raises NotAllowed unless the actor's role allows the act."""
    with ledger.read() as connection:
        check(connection, actor, act)


def check(connection: Connection, actor: str, act: Act) -> None:
    """The same inside a transaction, so that what it allows is done under the role that was looked at."""
    role = _role(connection, actor)
    if not may(role, act):
        raise NotAllowed(
            phrase("member.may_not", actor=actor, role=phrase(f"member.{role}"), act=phrase(f"act.{act}")),
            remedy=phrase("do.ask_admin", role=phrase(f"member.{_LEAST[act]}"), actor=actor, name=_LEAST[act].value),
        )


def granted(ledger: Ledger) -> list[dict[str, Any]]:
    """Every grant in force, by actor."""
    with ledger.read() as connection:
        return [dict(row) for row in connection.execute(sa.select(table).order_by(table.c.actor)).mappings()]


def grant(ledger: Ledger, actor: str, role: str, *, by: str, now: datetime) -> None:
    """Gives an actor a role, noted in the trail. The first grant of a store makes an admin, so that one is left to make
    others, and who gives it is one too; for the same reason the last admin stays. Raises NotAllowed, InputError (no
    such role, no name), Conflict."""
    if not actor.strip() or not actor.isprintable() or len(actor) > MOST_CHARACTERS:
        raise InputError(phrase("member.no_account", name=quoted(actor)), remedy=phrase("do.name_account"))
    if role not in _ORDER:
        raise InputError(phrase("member.no_role", name=quoted(role)), remedy=phrase("do.one_of", names=listed(_ORDER)))
    with ledger.write() as connection:
        check(connection, by, Act.GRANT)
        others = sa.select(table.c.actor).where(table.c.role == Role.ADMIN, table.c.actor != actor).limit(1)
        if role != Role.ADMIN and connection.execute(others).first() is None:
            raise Conflict(phrase("member.last_admin", actor=actor), remedy=phrase("do.other_admin"))
        values = {"role": role, "granted_by": by, "at": now}
        if _alone(connection) and actor != by:
            connection.execute(sa.insert(table).values(actor=by, **values))
            trail.note(connection, actor=by, act="grant", subject=by, detail={"role": role}, now=now)
        changed = connection.execute(sa.update(table).where(table.c.actor == actor).values(**values))
        if changed.rowcount == 0:
            connection.execute(sa.insert(table).values(actor=actor, **values))
        trail.note(connection, actor=by, act="grant", subject=actor, detail={"role": role}, now=now)


def _role(connection: Connection, actor: str) -> Role:
    found = connection.scalar(sa.select(table.c.role).where(table.c.actor == actor))
    if found is not None:
        return Role(found)
    return Role.ADMIN if _alone(connection) else Role.READER


def _alone(connection: Connection) -> bool:
    """Whether nobody was given a role yet."""
    return connection.execute(sa.select(table.c.actor).limit(1)).first() is None
