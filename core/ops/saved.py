"""Statements and cohorts with a name: of a data set, for everyone who may ask it anything; deleted by who made them, or
an admin.

Saving under a name again replaces one's own, and links to it stay; somebody else's is never replaced. The text of a
cohort is the page's, which reads it as it reads one from an address.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from core.ops import roles, trail
from core.ops.ledger import Ledger, one_row
from core.ops.schema import saved_cohorts, saved_statements
from data.errors import Conflict, InputError, NotAllowed, NotFound, UnknownCohort, UnknownStatement
from data.free_sql.sandbox import MOST_BYTES
from data.phrases import Phrase, phrase, quoted

MOST_CHARACTERS = 80  # of a name


@dataclass(frozen=True)
class Shelf:
    """Where what is saved lies, and what it is called there. Names are told apart on each."""

    what: str
    table: sa.Table
    prefix: str
    unknown: type[NotFound]

    @property
    def said(self) -> Phrase:
        """`what` as errors say it."""
        return phrase(f"saved.{self.what}")


STATEMENTS = Shelf("statement", saved_statements, "sq", UnknownStatement)
COHORTS = Shelf("cohort", saved_cohorts, "co", UnknownCohort)


@dataclass(frozen=True)
class Saved:
    """A text under a name that no other of its data set has on the same shelf."""

    saved_id: str
    dataset: str
    name: str
    text: str
    actor: str
    at: datetime


def save(
    ledger: Ledger, *, dataset: str, name: str, text: str, actor: str, now: datetime, on: Shelf = STATEMENTS
) -> Saved:
    """Raises NotAllowed, InputError (no name, or too much text) and Conflict (somebody else's name)."""
    name, table = " ".join(name.split()), on.table
    if not name or not name.isprintable() or len(name) > MOST_CHARACTERS:
        raise InputError(
            phrase("saved.no_name", name=quoted(name), what=on.said), remedy=phrase("do.characters", n=MOST_CHARACTERS)
        )
    stored = text.encode("utf-8", "replace")
    if not text.strip() or "\x00" in text or len(stored) > MOST_BYTES or stored.decode() != text:
        raise InputError(phrase("saved.nothing", what=on.said), remedy=phrase("do.bytes", n=MOST_BYTES))
    with ledger.write() as connection:
        roles.check(connection, actor, roles.Act.EXPLORE)
        row = one_row(connection, sa.select(table).where(table.c.dataset == dataset, table.c.name == name))
        if row is not None and row["actor"] != actor:
            taken = phrase("saved.taken", actor=row["actor"], what=on.said, name=quoted(name))
            raise Conflict(taken, remedy=phrase("do.other_name"))
        saved_id = row["saved_id"] if row else f"{on.prefix}-{secrets.token_hex(4)}"
        made = Saved(saved_id, dataset, name, text, actor, now)
        connection.execute(sa.delete(table).where(table.c.saved_id == made.saved_id))
        connection.execute(sa.insert(table).values(**vars(made)))
        detail = {"saved_id": made.saved_id, "name": name}
        trail.note(connection, actor=actor, act=f"save {on.what}", subject=dataset, now=now, detail=detail)
    return made


def saved(ledger: Ledger, dataset: str, *, on: Shelf = STATEMENTS) -> list[Saved]:
    """All that a data set has on a shelf, by name."""
    table = on.table
    query = sa.select(table).where(table.c.dataset == dataset).order_by(sa.func.lower(table.c.name), table.c.name)
    with ledger.read() as connection:
        return [Saved(**row) for row in connection.execute(query).mappings()]


def saved_as(ledger: Ledger, saved_id: str, *, on: Shelf = STATEMENTS) -> Saved:
    """One of them. Raises UnknownStatement, UnknownCohort."""
    with ledger.read() as connection:
        row = one_row(connection, sa.select(on.table).where(on.table.c.saved_id == saved_id))
    if row is None:
        raise on.unknown(phrase("find.no_saved", what=on.said, name=quoted(saved_id)), remedy=phrase("do.choose_saved"))
    return Saved(**row)


def may_delete(ledger: Ledger, one: Saved, actor: str) -> bool:
    """Whether it is the actor's own, or the actor an admin."""
    return one.actor == actor or roles.role_of(ledger, actor) == roles.Role.ADMIN


def delete(ledger: Ledger, saved_id: str, *, actor: str, now: datetime, on: Shelf = STATEMENTS) -> Saved:
    """Raises UnknownStatement, UnknownCohort and NotAllowed."""
    one = saved_as(ledger, saved_id, on=on)
    if not may_delete(ledger, one, actor):
        raise NotAllowed(
            phrase("saved.not_own", owner=one.actor, name=quoted(one.name), actor=actor), remedy=phrase("do.ask_owner")
        )
    with ledger.write() as connection:
        roles.check(connection, actor, roles.Act.EXPLORE)
        connection.execute(sa.delete(on.table).where(on.table.c.saved_id == saved_id))
        detail = {"saved_id": saved_id, "name": one.name}
        trail.note(connection, actor=actor, act=f"delete {on.what}", subject=one.dataset, now=now, detail=detail)
    return one
