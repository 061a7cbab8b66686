"""Statements with a name: of a data set, for everyone who may ask it anything; deleted by who made them, or an admin.

Saving under a name again replaces one's own statement, and links to it stay; somebody else's is never replaced.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from core.ops import roles, trail
from core.ops.ledger import Ledger, one_row
from core.ops.schema import saved_statements as table
from data.errors import Conflict, InputError, NotAllowed, UnknownStatement
from data.free_sql.sandbox import MOST_BYTES

MOST_CHARACTERS = 80  # of a name


@dataclass(frozen=True)
class Saved:
    """A statement under a name that no other of its data set has."""

    saved_id: str
    dataset: str
    name: str
    text: str
    actor: str
    at: datetime


def save(ledger: Ledger, *, dataset: str, name: str, text: str, actor: str, now: datetime) -> Saved:
    """Raises NotAllowed, InputError (no name, or too much text) and Conflict (somebody else's name)."""
    name = " ".join(name.split())
    if not name or not name.isprintable() or len(name) > MOST_CHARACTERS:
        raise InputError(
            f"{name[:MOST_CHARACTERS]!r} is no name for a statement", remedy=f"write up to {MOST_CHARACTERS} characters"
        )
    stored = text.encode("utf-8", "replace")
    if not text.strip() or "\x00" in text or len(stored) > MOST_BYTES or stored.decode() != text:
        raise InputError("there is no statement to save", remedy=f"write one of up to {MOST_BYTES} bytes")
    with ledger.write() as connection:
        roles.check(connection, actor, roles.Act.EXPLORE)
        row = one_row(connection, sa.select(table).where(table.c.dataset == dataset, table.c.name == name))
        if row is not None and row["actor"] != actor:
            raise Conflict(f"{row['actor']} has saved a statement as {name!r}", remedy="choose another name")
        made = Saved(row["saved_id"] if row else f"sq-{secrets.token_hex(4)}", dataset, name, text, actor, now)
        connection.execute(sa.delete(table).where(table.c.saved_id == made.saved_id))
        connection.execute(sa.insert(table).values(**vars(made)))
        detail = {"saved_id": made.saved_id, "name": name}
        trail.note(connection, actor=actor, act="save statement", subject=dataset, now=now, detail=detail)
    return made


def saved(ledger: Ledger, dataset: str) -> list[Saved]:
    """Every saved statement of a data set, by name."""
    query = sa.select(table).where(table.c.dataset == dataset).order_by(sa.func.lower(table.c.name), table.c.name)
    with ledger.read() as connection:
        return [Saved(**row) for row in connection.execute(query).mappings()]


def saved_as(ledger: Ledger, saved_id: str) -> Saved:
    """One saved statement. Raises UnknownStatement."""
    with ledger.read() as connection:
        row = one_row(connection, sa.select(table).where(table.c.saved_id == saved_id))
    if row is None:
        raise UnknownStatement(
            f"no saved statement {saved_id!r}", remedy="it was deleted: choose another from the list, or write it anew"
        )
    return Saved(**row)


def may_delete(ledger: Ledger, statement: Saved, actor: str) -> bool:
    """Whether it is the actor's own, or the actor an admin."""
    return statement.actor == actor or roles.role_of(ledger, actor) == roles.Role.ADMIN


def delete(ledger: Ledger, saved_id: str, *, actor: str, now: datetime) -> Saved:
    """Raises UnknownStatement and NotAllowed."""
    statement = saved_as(ledger, saved_id)
    if not may_delete(ledger, statement, actor):
        raise NotAllowed(
            f"{statement.actor} has saved {statement.name!r}, not {actor}", remedy="ask them, or an admin, to delete it"
        )
    with ledger.write() as connection:
        roles.check(connection, actor, roles.Act.EXPLORE)
        connection.execute(sa.delete(table).where(table.c.saved_id == saved_id))
        detail = {"saved_id": saved_id, "name": statement.name}
        trail.note(connection, actor=actor, act="delete statement", subject=statement.dataset, now=now, detail=detail)
    return statement
