"""Snapshots of a crowd of sixty whose groups are known, and of the shop, whose three users are too few for any."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import reduce
from operator import xor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from data.errors import InvalidConfig
from data.free_sql.files import SECRET_FILE, Privilege, remove_snapshots, snapshot_path
from data.free_sql.snapshot import _counts, make_snapshot
from data.ingest import ingest
from data.spec import parse_spec
from data.warehouse import Warehouse, build_connection

NOW = datetime(2024, 6, 1, tzinfo=UTC)
ANALYST = Privilege("analyst")
SPEC = """
sensitive = ["gender", "faith"]
[dataset]
name = "crowd"
[events]
files = "events.csv"
user = "who"
item = "what"
ts = "at"
kind = "how"
context = ["device"]
[users]
files = "users.csv"
key = "who"
attributes = ["gender", "faith", "city"]
"""


def crowd_files(base: Path) -> None:
    """60 users, 24 women, of whom 4 buy; 3 Quakers among Lutherans, Jains and others; all view in two months."""
    faiths = ["quaker"] * 3 + ["jain"] * 15 + ["lutheran"] * 42
    users = [f"u{n:02},{'woman' if n % 5 < 2 else 'man'},{faiths[n]},{'Ulm' if n % 2 else 'Rom'}" for n in range(60)]
    events = [f"u{n:02},i{n % 7},2024-0{month}-03T10:00:00Z,view,phone" for n in range(60) for month in (1, 2)]
    buyers = [n for n in range(60) if n % 5 >= 2][:20] + [n for n in range(60) if n % 5 < 2][:4]
    events += [f"u{n:02},i1,2024-02-04T10:00:00Z,buy,phone" for n in buyers]
    events += [f"u{n:02},i2,2024-02-05T10:00:00Z,cart,phone" for n in range(30)]
    (base / "users.csv").write_text("who,gender,faith,city\n" + "\n".join(users) + "\n")
    (base / "events.csv").write_text("who,what,at,how,device\n" + "\n".join(events) + "\n")


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    base = tmp_path_factory.mktemp("crowd")
    crowd_files(base)
    made = ingest(parse_spec(SPEC), base=base, home=base / "home", now=NOW, threads=1)
    with Warehouse.open(made.path) as warehouse:
        yield warehouse


@pytest.fixture(scope="module")
def snapshot(crowd: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_snapshot(crowd, tmp_path_factory.mktemp("snapshots"), privilege=ANALYST, threads=1)


def read(path: Path, statement: str) -> list[dict[str, Any]]:
    with build_connection(None) as connection:
        connection.execute("ATTACH $path AS s (READ_ONLY)", {"path": str(path)})
        connection.execute("USE s")
        rows: list[dict[str, Any]] = connection.sql(statement).to_arrow_table().to_pylist()
        return rows


def test_rows_are_there_without_what_is_sensitive(crowd: Warehouse, snapshot: Path) -> None:
    columns = read(snapshot, "SELECT table_name, list(column_name ORDER BY column_index) AS names FROM duckdb_columns()"
                   " WHERE database_name = 's' GROUP BY ALL ORDER BY ALL")  # fmt: skip
    assert {row["table_name"]: row["names"] for row in columns} == {
        "events": ["event_id", "user_id", "item_id", "ts", "kind", "value"],
        "items": ["item_id", "key", "title", "text", "categories", "attributes", "price", "available"],
        "users": ["user_id", "key", "city"],
        "sensitive_totals": ["attribute", "group_name", "users_rounded", "suppressed"],
        "sensitive_by_kind": ["attribute", "group_name", "kind", "users_rounded", "suppressed"],
        "sensitive_by_month": ["attribute", "group_name", "month", "users_rounded", "suppressed"],
    }
    assert read(snapshot, "SELECT count(*) AS n FROM events") == [{"n": crowd.facts.n_events}]
    assert read(snapshot, "SELECT min(ts) AS first FROM events") == [{"first": crowd.facts.first_ts}]
    assert read(snapshot, "SELECT city, count(*) AS n FROM users GROUP BY city ORDER BY city") == [
        {"city": "Rom", "n": 30},
        {"city": "Ulm", "n": 30},
    ]


def test_groups_are_counted_in_fives(crowd: Warehouse, tmp_path: Path) -> None:
    seen: dict[str, list[int]] = {"man": [], "woman": []}
    for number in range(40):
        snapshot = make_snapshot(crowd, tmp_path / f"{number}", privilege=ANALYST, threads=1)
        rows = read(snapshot, "FROM sensitive_totals WHERE attribute = 'gender' ORDER BY group_name")
        assert [(row["group_name"], row["suppressed"]) for row in rows] == [("man", False), ("woman", False)]
        for row in rows:
            seen[row["group_name"]].append(row["users_rounded"])
        by_month = read(snapshot, "FROM sensitive_by_month WHERE group_name = 'man' ORDER BY month")
        assert {row["users_rounded"] for row in by_month} == {rows[0]["users_rounded"]}, "the same men are there"
    assert (set(seen["man"]), set(seen["woman"])) == ({35, 40}, {20, 25})
    assert abs(sum(seen["man"]) / 40 - 36) < 1.3 and abs(sum(seen["woman"]) / 40 - 24) < 1.3  # four standard errors


def test_two_counts_that_differ_by_one_person_do_not_tell_the_group() -> None:
    """All but one of those who put into a cart buy: whatever the difference comes to, they may be of either group."""
    rng = random.Random(0)
    own = {(group, n): rng.getrandbits(63) for group in ("man", "woman") for n in range(60)}

    def differences(one: str, secret: str) -> tuple[int, ...]:
        def cell(slice_: str, place: str, group: str, n: int) -> dict[str, object]:
            key = reduce(xor, (own[group, number] for number in range(n)))
            return {"slice": slice_, "place": place, "group_name": group, "users": n, "cell_key": key}

        cells = [cell("all", "", group, 60) for group in ("man", "woman")]
        cells += [cell("kind", "buy", group, 32) for group in ("man", "woman")]
        cells += [cell("kind", "cart", group, 32 + (group == one)) for group in ("man", "woman")]
        rows = _counts("gender", pa.Table.from_pylist(cells), k=10, secret=secret)["kind"]
        told: dict[tuple[object, object], Any] = {
            (row["group_name"], row["place"]): row["users_rounded"] for row in rows
        }
        return tuple(told[group, "cart"] - told[group, "buy"] for group in ("man", "woman"))

    secrets = [f"{rng.getrandbits(256):064x}" for _ in range(300)]
    seen = {one: {differences(one, secret) for secret in secrets} for one in ("man", "woman")}
    assert seen["man"] == seen["woman"] == {(men, women) for men in (-5, 0, 5) for women in (-5, 0, 5)}


def test_a_small_group_cannot_be_had_by_subtraction(snapshot: Path) -> None:
    """Four women buy: men's buying is hidden with theirs, and another kind of both, since all kinds make the total."""
    rows = read(snapshot, "FROM sensitive_by_kind WHERE attribute = 'gender'")
    hidden = {(row["kind"], row["group_name"]) for row in rows if row["users_rounded"] is None}
    assert hidden == {(kind, group) for kind in ("buy", "cart") for group in ("woman", "man")}
    assert hidden == {(row["kind"], row["group_name"]) for row in rows if row["suppressed"]}


def test_a_small_group_is_not_even_named(snapshot: Path) -> None:
    totals = read(snapshot, "SELECT group_name FROM sensitive_totals WHERE attribute = 'faith'")
    assert totals == [{"group_name": "lutheran"}]  # the Jains hide the Quakers
    whole = snapshot.read_bytes()
    assert b"lutheran" in whole
    assert b"quaker" not in whole
    assert b"phone" not in whole


def test_a_crowd_of_three_has_no_groups(shop: Warehouse, tmp_path: Path) -> None:
    path = make_snapshot(shop, tmp_path, privilege=ANALYST, threads=1)
    assert read(path, "FROM sensitive_totals") == []
    assert read(path, "SELECT * FROM users ORDER BY user_id")[1] == {"user_id": 1, "key": "ann", "age_group": "old"}
    assert b"north" not in path.read_bytes()


def test_a_snapshot_is_made_once_for_each_privilege(shop: Warehouse, tmp_path: Path) -> None:
    first = make_snapshot(shop, tmp_path, privilege=ANALYST, threads=1)
    assert first == snapshot_path(tmp_path, shop.facts.build_id, privilege=ANALYST)
    made = first.stat().st_mtime_ns
    assert make_snapshot(shop, tmp_path, privilege=ANALYST, threads=1).stat().st_mtime_ns == made
    other = make_snapshot(shop, tmp_path, privilege=Privilege("analyst", user_keys=False), threads=1)
    assert other != first
    assert "key" not in read(other, "SELECT * FROM users")[0]
    assert sorted(tmp_path.iterdir()) == sorted([first, other, tmp_path / SECRET_FILE])
    secret = (tmp_path / SECRET_FILE).read_bytes()
    assert (tmp_path / SECRET_FILE).stat().st_mode & 0o777 == 0o600 and secret not in first.read_bytes()


def test_snapshots_go_with_their_build(shop: Warehouse, tmp_path: Path) -> None:
    path = make_snapshot(shop, tmp_path, privilege=ANALYST, threads=1)
    assert remove_snapshots(tmp_path, kept_builds=[shop.facts.build_id]) == []
    assert remove_snapshots(tmp_path, kept_builds=["b-other"]) == [path]
    assert not path.exists()


def test_privileges_that_make_no_sense() -> None:
    with pytest.raises(InvalidConfig, match="name of a role"):
        Privilege("../analyst")
    with pytest.raises(InvalidConfig, match="single users"):
        Privilege("analyst", smallest=1)
