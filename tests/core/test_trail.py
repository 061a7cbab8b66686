"""The trail holds, and shows where it was tampered with; roles allow what the matrix says and keep an admin."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.ops import trail
from core.ops.ledger import Ledger
from core.ops.roles import Act, Role, grant, granted, may, require, role_of
from core.ops.schema import trail as table
from data.errors import Conflict, InputError, NotAllowed

NOON = datetime(2026, 1, 1, 12, 30, 15, 250, tzinfo=UTC)


@pytest.fixture
def ledger(ledger_address: str, tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(ledger_address, home=tmp_path) as ledger:
        yield ledger


def write(ledger: Ledger, n: int) -> None:
    for number in range(n):
        with ledger.write() as connection:
            detail = {"n": number, "share": 0.1, "who": "安娜"}
            trail.note(connection, actor="ann", act="promote", subject="films", detail=detail, now=NOON)


def test_an_untouched_chain_holds(ledger: Ledger) -> None:
    assert trail.broken_at(ledger) is None
    write(ledger, 5)
    assert trail.broken_at(ledger) is None
    entries = trail.trail(ledger, limit=2)
    assert [entry.entry for entry in entries] == [5, 4] and entries[0].before == entries[1].hash


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (sa.update(table).where(table.c.entry == 3).values(actor="bob"), 3),
        (sa.update(table).where(table.c.entry == 3).values(detail={"n": 2, "share": 0.2, "who": "安娜"}), 3),
        (sa.delete(table).where(table.c.entry == 2), 2),
        (sa.delete(table).where(table.c.entry == 1), 1),
        (sa.update(table).where(table.c.entry == 4).values(before=trail.START), 4),
    ],
)
def test_a_changed_chain_says_where(ledger: Ledger, change: sa.Update | sa.Delete, broken: int) -> None:
    write(ledger, 5)
    with ledger.write() as connection:
        connection.execute(change)
    assert trail.broken_at(ledger) == broken


def test_an_act_that_is_undone_leaves_no_entry(ledger: Ledger) -> None:
    with pytest.raises(RuntimeError), ledger.write() as connection:
        trail.note(connection, actor="ann", act="promote", subject="films", now=NOON)
        raise RuntimeError
    assert trail.trail(ledger) == []


def test_the_matrix_only_grows_with_the_role() -> None:
    for act in Act:
        allowed = [may(role, act) for role in Role]
        assert allowed == sorted(allowed) and allowed[-1], act
    assert may(Role.READER, Act.READ) and not may(Role.READER, Act.EXPLORE)
    assert may(Role.OPERATOR, Act.PROMOTE) and not may(Role.ANALYST, Act.PROMOTE)
    assert not may(Role.OPERATOR, Act.ERASE)


def test_a_store_of_one_person_becomes_one_of_roles_with_the_first_grant(ledger: Ledger) -> None:
    assert role_of(ledger, "anyone") == Role.ADMIN
    with pytest.raises(Conflict, match="no admin would be left"):
        grant(ledger, "bob", "operator", by="ann", now=NOON)
    grant(ledger, "ann", "admin", by="ann", now=NOON)
    assert role_of(ledger, "bob") == Role.READER
    with pytest.raises(NotAllowed, match="lodestar roles grant bob operator"):
        require(ledger, "bob", Act.TRAIN)
    grant(ledger, "bob", "operator", by="ann", now=NOON)
    require(ledger, "bob", Act.TRAIN)
    with pytest.raises(NotAllowed):
        grant(ledger, "bob", "admin", by="bob", now=NOON)
    with pytest.raises(Conflict):
        grant(ledger, "ann", "reader", by="ann", now=NOON)
    with pytest.raises(InputError, match="reader, analyst, operator, admin"):
        grant(ledger, "bob", "king", by="ann", now=NOON)
    assert [(row["actor"], row["role"]) for row in granted(ledger)] == [("ann", "admin"), ("bob", "operator")]
    assert [(entry.subject, entry.detail) for entry in trail.trail(ledger)] == [
        ("bob", {"role": "operator"}),
        ("ann", {"role": "admin"}),
    ]
    assert trail.broken_at(ledger) is None
