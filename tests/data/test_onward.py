"""A build that goes on from an older one holds what an ingest of everything does, and each event tells its line."""

import json
import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data import reads
from data.errors import Conflict, InvalidSpec, MissingColumn, UnknownEvent, UnreadableFile
from data.extend import extend
from data.ingest import IngestResult, ingest
from data.spec import DatasetSpec, parse_spec
from data.warehouse import Warehouse, manifest_path, verify_build

NOW = datetime(2025, 1, 1, tzinfo=UTC)
SPEC = """
[dataset]
name = "shop"
[events]
files = "day*.csv"
user = "who"
item = "what"
ts = "at"
kind = "kind"
value = "value"
context = ["page"]
drop_duplicates = {distinct}
[items]
files = "items.csv"
key = "what"
title = "title"
[users]
files = "users.csv"
key = "who"
attributes = ["plan"]
"""


def shop(distinct: bool = False) -> DatasetSpec:
    return parse_spec(SPEC.format(distinct=str(distinct).lower()))


def write_day(base: Path, name: str, rows: Sequence[str]) -> None:
    (base / name).write_text("who,what,at,kind,value,page\n" + "".join(row + "\n" for row in rows))


def write_lists(base: Path, *, items: int, plans: Sequence[str] = ("free", "pro")) -> None:
    (base / "items.csv").write_text("what,title\n" + "".join(f"i{n},The {n}\n" for n in range(items)))
    (base / "users.csv").write_text("who,plan\n" + "".join(f"u{n},{plans[n % len(plans)]}\n" for n in range(6)))


def begun(folder: Path) -> tuple[Path, Path]:
    """Where the files lie, lists of 8 items and of users already; and the store."""
    base = folder / "in"
    base.mkdir()
    write_lists(base, items=8)
    return base, folder / "home"


def some_rows(rng: random.Random, n: int, *, day: int) -> list[str]:
    """Good rows, rows that have to be refused, equal ones, late ones (of days before), quotes over two lines."""
    rows = []
    for _ in range(n):
        at = 1_700_000_000 + 86_400 * rng.randint(max(day - 2, 0), day) + 600 * rng.randrange(144)
        page = rng.choice(["", "home", "list", '"two\nlines"'])
        rows.append(
            f"u{rng.randrange(9)},i{rng.randrange(12)},{at},{rng.choice(['view', 'buy'])},{rng.randint(1, 3)},{page}"
        )
        if rng.random() < 0.1:
            rows.append(
                rng.choice([",i1,1700000000,view,1,", "u1,i1,soon,view,1,", "u1,i1,1700000000,view,1", rows[-1]])
            )
    return rows


def made(spec: DatasetSpec, base: Path, home: Path, **more: object) -> IngestResult:
    return ingest(spec, base=base, home=home, now=NOW, **more)  # type: ignore[arg-type]


def told(result: IngestResult) -> dict[str, Any]:
    """What a build holds, by keys, whatever its numbers are."""
    with Warehouse.open(result.path) as warehouse:
        events = warehouse.run(
            "SELECT users.key AS who, items.key AS what, ts, kind, value, context, source FROM events"
            " ASOF JOIN files ON event_id >= place"
            " JOIN users USING (user_id) JOIN items USING (item_id) ORDER BY ALL"
        ).to_pylist()
        users = warehouse.run("SELECT * EXCLUDE (user_id) FROM users ORDER BY key").to_pylist()
        items = warehouse.run("SELECT * EXCLUDE (item_id) FROM items ORDER BY key").to_pylist()
        order = warehouse.run(
            "SELECT key, list((ts, item, kind) ORDER BY place) AS acts FROM (SELECT users.key AS key, events.ts AS ts,"
            " items.key AS item, kind, events.rowid AS place FROM events JOIN users USING (user_id)"
            " JOIN items USING (item_id)) GROUP BY key ORDER BY key"
        ).to_pylist()
        returns = warehouse.run("SELECT * FROM returns ORDER BY ALL").to_pylist()
        people = warehouse.run(
            "SELECT key, people.* EXCLUDE (user_id) FROM people JOIN users USING (user_id) ORDER BY key"
        ).to_pylist()
    refused = pq.read_table(result.quarantine).to_pylist()
    checks = {one["check"]: (one["n"], one["of"]) for one in result.quality["checks"]}
    facts = result.facts
    counts = (facts.read, facts.accepted, facts.quarantined, facts.n_events, facts.n_users, facts.n_items)
    return {
        "events": events,
        "order": order,
        "users": users,
        "items": items,
        "returns": returns,
        "people": people,
        "refused": sorted(refused, key=str),
        "checks": checks,
        "counts": counts,
        "span": (facts.first_ts, facts.last_ts),
    }


@pytest.mark.parametrize("distinct", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_days_brought_one_after_another_make_the_build_of_all_of_them(
    tmp_path: Path, seed: int, distinct: bool
) -> None:
    rng, base, home = random.Random(seed), tmp_path / "in", tmp_path / "home"
    base.mkdir()
    spec = shop(distinct)
    write_lists(base, items=8)
    latest: Path | None = None
    for day in range(3):
        write_day(base, f"day{day}.csv", some_rows(rng, 30, day=day))
        write_lists(base, items=8 + day, plans=("free", "pro", f"new{day}"))
        going_on = made(spec, base, home, onto=latest)
        assert going_on.read == going_on.accepted + going_on.quarantined
        latest = going_on.path
    verify_build(going_on.path)
    assert told(going_on) == told(made(spec, base, home))


IDS = SPEC.replace('context = ["page"]', 'context = ["page"]\nid = "act"')


def write_acts(base: Path, name: str, rows: Sequence[str]) -> None:
    (base / name).write_text("who,what,at,kind,value,page,act\n" + "".join(row + "\n" for row in rows))


@pytest.mark.parametrize("distinct", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_a_later_row_of_an_id_corrects_the_earlier_one_on_the_same_day_or_another(
    tmp_path: Path, seed: int, distinct: bool
) -> None:
    rng, base, home = random.Random(seed), tmp_path / "in", tmp_path / "home"
    base.mkdir()
    spec = parse_spec(IDS.format(distinct=str(distinct).lower()))
    write_lists(base, items=8)
    latest: Path | None = None
    for day in range(3):
        acts = [rng.choice(["", f"a{rng.randrange(40)}", f" a{rng.randrange(40)} "]) for _ in range(60)]
        rows = some_rows(rng, 30, day=day)
        write_acts(base, f"day{day}.csv", [f"{row},{act}" for row, act in zip(rows, acts, strict=False)])
        going_on = made(spec, base, home, onto=latest)
        assert going_on.read == going_on.accepted + going_on.quarantined
        latest = going_on.path
    whole = made(spec, base, home)
    here, there = told(going_on), told(whole)
    for one in (here, there):  # lines that are not read again are told by their values
        one["refused"] = [{**row, "raw": None} for row in one["refused"] if row["reason"] == "superseded"] + [
            row for row in one["refused"] if row["reason"] != "superseded"
        ]
        one["refused"].sort(key=str)
    assert here == there
    assert going_on.reasons["superseded"] > 10
    ids = (
        "SELECT ids.key, users.key AS who, ts FROM ids JOIN events USING (event_id) JOIN users USING (user_id)"
        " ORDER BY 1"
    )
    with Warehouse.open(going_on.path) as one, Warehouse.open(whole.path) as other:
        found = one.run(ids).to_pylist()
        assert found == other.run(ids).to_pylist() and len(found) == len({row["key"] for row in found}) > 10
        assert one.run("SELECT count(*) AS n FROM ids ANTI JOIN events USING (event_id)")["n"][0].as_py() == 0


def test_a_correction_that_cannot_be_used_leaves_what_it_would_have_corrected(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    spec = parse_spec(IDS.format(distinct="false"))
    write_acts(
        base, "day0.csv", ["u1,i1,1700000000,view,1,,a1", "u1,i1,1700000000,view,2,,a2", "u1,i1,soon,view,3,,a2"]
    )
    before = made(spec, base, home)
    assert before.reasons == {"unreadable-time": 1}
    write_acts(base, "day1.csv", ["u2,i2,1700000900,buy,,,a1", "u2,i2,soon,buy,,,a2"])
    after = made(spec, base, home, onto=before.path)
    assert (after.read, after.accepted, after.reasons) == (5, 2, {"superseded": 1, "unreadable-time": 2})
    row = next(one for one in pq.read_table(after.quarantine).to_pylist() if one["reason"] == "superseded")
    assert (row["source"], row["line"], row["column"]) == ("day0.csv", 2, "act")
    assert row["raw"] == "u1\ti1\t2023-11-14 22:13:20+00\tview\t1.0"
    with Warehouse.open(after.path) as warehouse:
        left = warehouse.run("SELECT users.key, value FROM events JOIN users USING (user_id) ORDER BY 1").to_pylist()
    assert left == [{"key": "u1", "value": 2.0}, {"key": "u2", "value": None}]
    write_acts(base, "day1.csv", ["u2,i2,1700000901,buy,,,a1"])
    with pytest.raises(Conflict, match="came again"):
        made(spec, base, home, onto=after.path)


def test_a_file_read_anew_whose_ids_others_hold_is_refused(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    spec = parse_spec(IDS.format(distinct="false"))
    write_acts(base, "day0.csv", ["u1,i1,1700000000,view,1,,a1", "u1,i2,1700000001,view,1,,a2"])
    before = made(spec, base, home)
    write_acts(base, "day1.csv", ["u1,i1,1700000000,view,99,,a1"])
    after = made(spec, base, home, onto=before.path)
    write_acts(base, "day0.csv", ["u1,i1,1700000000,view,1,,a1", "u1,i2,1700000001,view,5,,a2"])
    with pytest.raises(Conflict, match="later ones cannot be told"):
        made(spec, base, home, onto=after.path)
    with Warehouse.open(made(spec, base, home).path) as warehouse:
        assert warehouse.run("SELECT value FROM events ORDER BY ts")["value"].to_pylist() == [99.0, 5.0]


def test_times_in_doubt_are_no_more_than_the_events_that_are_left(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    spec = parse_spec(IDS.format(distinct="false"))
    write_acts(base, "day0.csv", [f"u1,i{n},2024-01-01 10:00:0{n},view,1,,a{n}" for n in range(3)])
    before = made(spec, base, home)
    for day in (1, 2):
        write_acts(base, f"day{day}.csv", [f"u1,i1,2024-01-01 10:00:00,view,{day},,a1"])
        before = made(spec, base, home, onto=before.path)
    assert told(before)["checks"] == told(made(spec, base, home))["checks"]


def test_what_is_no_id_corrects_nothing(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    spec = parse_spec(IDS.format(distinct="false"))
    ids = ["nan", "NaN", "\t", "\t", ""]
    write_acts(base, "day0.csv", [f"u1,i{n},170000000{n},view,1,,{one}" for n, one in enumerate(ids)])
    assert made(spec, base, home).accepted == len(ids)
    with pytest.raises(MissingColumn):
        made(parse_spec(IDS.format(distinct="false").replace('id = "act"', 'id = ""')), base, home)


def test_an_id_that_tells_no_event_apart_is_warned_of_and_equal_events_with_ids_are_not(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    spec = parse_spec(IDS.format(distinct="false"))
    write_acts(base, "day0.csv", [f"u1,i{n % 8},17000000{n},view,1,,order{n // 10}" for n in range(10, 60)])
    found = {one["check"]: one for one in made(spec, base, home).quality["checks"]}
    assert (found["superseded-rows"]["n"], found["superseded-rows"]["grade"]) == (45, "warning")
    write_acts(base, "day0.csv", ["u1,i1,1700000000,view,1,,a1", "u1,i1,1700000000,view,1,,a2"])
    found = {one["check"]: one for one in made(spec, base, home).quality["checks"]}
    assert (found["duplicate-events"]["n"], found["superseded-rows"]["n"]) == (0, 0)


def test_a_file_of_each_folder_is_its_own_whatever_others_there_are(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    spec = parse_spec(SPEC.format(distinct="false").replace("day*.csv", "days"))

    def write(day: int, rows: Sequence[str]) -> Path:
        folder = base / "days" / f"day={day}"
        folder.mkdir(parents=True, exist_ok=True)
        write_day(folder, "part.csv", rows)
        return folder / "part.csv"

    first = write(1, ["u1,i1,1700000000,view,1,", "u1,i2,1700000001,view,1,"])
    before = made(spec, base, home)
    write(2, ["u2,i2,1700000002,view,1,"])
    both = made(spec, base, home, onto=before.path)
    assert (both.read, both.accepted) == (3, 3)
    write(1, ["u1,i1,1700000000,view,1,"])
    corrected = made(spec, base, home, onto=both.path)
    assert (corrected.read, corrected.accepted) == (2, 2)
    first.unlink()
    write(3, ["u3,i3,1700000003,view,1,"])
    gone = made(spec, base, home, onto=corrected.path)
    assert (gone.read, gone.accepted) == (3, 3)


def test_feedback_has_no_ids_and_leaves_those_of_files(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    spec = parse_spec(IDS.format(distinct="false"))
    write_acts(base, "day0.csv", ["u1,i1,1700000000,view,1,,a1"])
    acts = pa.table(
        {
            "feedback_id": [1],
            "user": ["u1"],
            "item": ["i2"],
            "ts": pa.array([NOW], pa.timestamp("us", "UTC")),
            "kind": ["view"],
            "value": pa.array([None], pa.float64()),
        }
    )
    fed = extend(made(spec, base, home).path, acts, home=home, now=NOW)
    whole = made(spec, base, home, feedback=acts)
    write_acts(base, "day1.csv", ["u3,i3,1700000900,view,5,,a1"])
    for before in (fed, whole):
        after = made(spec, base, home, onto=before.path)
        assert (after.read, after.accepted, after.reasons) == (3, 2, {"superseded": 1})


def test_a_day_that_was_corrected_takes_the_place_of_what_it_was(tmp_path: Path) -> None:
    rng, base, home = random.Random(3), tmp_path / "in", tmp_path / "home"
    base.mkdir()
    write_lists(base, items=8)
    for day in range(3):
        write_day(base, f"day{day}.csv", some_rows(rng, 20, day=day))
    before = made(shop(), base, home)
    write_day(base, "day1.csv", some_rows(rng, 15, day=1))
    after = made(shop(), base, home, onto=before.path)
    here, whole = told(after), told(made(shop(), base, home))
    assert here.pop("checks") == whole.pop("checks")
    assert here == whole
    with Warehouse.open(after.path) as warehouse:
        by = {one["source"]: one["build_id"] for one in reads.files(warehouse).to_pylist()}
    assert by == {"day0.csv": before.build_id, "day1.csv": after.build_id, "day2.csv": before.build_id}


def test_a_day_that_is_gone_stays_and_one_that_was_renamed_is_not_read_twice(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    write_day(base, "day0.csv", ["u1,i1,1700000000,view,1,"])
    write_day(base, "day1.csv", ["u1,i2,1700000001,view,1,"])
    before = made(shop(), base, home)
    (base / "day0.csv").unlink()
    (base / "day1.csv").rename(base / "day1-again.csv")
    write_day(base, "day2.csv", ["u2,i2,1700000002,view,1,"])
    after = made(shop(), base, home, onto=before.path)
    assert (after.read, after.accepted) == (3, 3)


def test_a_file_beside_the_specs_folder_is_known_by_its_way(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    spec = parse_spec(SPEC.format(distinct="false").replace("day*.csv", "../days/*/log.csv"))

    def write(day: int, rows: Sequence[str]) -> None:
        (tmp_path / "days" / f"d{day}").mkdir(parents=True, exist_ok=True)
        write_day(tmp_path / "days" / f"d{day}", "log.csv", rows)

    write(1, ["u1,i1,1700000000,view,1,", "u1,i2,1700000001,view,1,"])
    one = made(spec, base, home)
    write(2, ["u2,i2,1700000002,view,1,"])
    two = made(spec, base, home, onto=one.path)
    write(1, ["u1,i1,1700000000,view,5,"])
    corrected = made(spec, base, home, onto=two.path)
    assert told(corrected)["events"] == told(made(spec, base, home))["events"]
    (tmp_path / "days" / "d1" / "log.csv").unlink()
    write(3, ["u3,i3,1700000003,view,1,"])
    assert made(spec, base, home, onto=corrected.path).accepted == 3, "a file that is gone stays"


def test_a_file_that_was_renamed_is_known_by_its_new_name(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    write_day(base, "day0.csv", ["u1,i1,1700000000,view,1,", "u1,i1,soon,view,1,"])
    before = made(shop(), base, home)
    (base / "day0.csv").rename(base / "day1.csv")
    renamed = made(shop(), base, home, onto=before.path)
    whole = told(made(shop(), base, home))
    assert {name: told(renamed)[name] for name in ("events", "refused")} == {
        name: whole[name] for name in ("events", "refused")
    }
    assert made(shop(), base, home, onto=renamed.path).build_id == renamed.build_id
    write_day(base, "day1.csv", ["u1,i1,1700000000,view,2,"])
    assert told(made(shop(), base, home, onto=renamed.path))["events"] == told(made(shop(), base, home))["events"]


def test_logs_that_are_rotated_lose_nothing(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    write_day(base, "day.csv", ["u1,i1,1700000000,view,1,", "u1,i1,soon,view,1,"])
    before = made(shop(), base, home)
    for day in range(1, 4):
        for old in range(day - 1, 0, -1):
            (base / f"day.{old}.csv").rename(base / f"day.{old + 1}.csv")
        (base / "day.csv").rename(base / "day.1.csv")
        write_day(base, "day.csv", [f"u{day},i2,170000090{day},view,1,"])
        before = made(shop(), base, home, onto=before.path)
    here, whole = told(before), told(made(shop(), base, home))
    assert {name: here[name] for name in ("events", "refused", "counts")} == {
        name: whole[name] for name in ("events", "refused", "counts")
    }


def test_logs_that_are_rotated_and_thrown_away_stay(tmp_path: Path) -> None:
    """Of two logs the older one is overwritten each night: its events stay, under its name and some of its hash."""
    base, home = begun(tmp_path)
    write_day(base, "day.csv", ["u0,i1,1700000000,view,1,"])
    before = made(shop(), base, home)
    for day in range(1, 5):
        (base / "day.csv").replace(base / "day.1.csv")
        write_day(base, "day.csv", [f"u{day},i2,170000090{day},view,1,"])
        before = made(shop(), base, home, onto=before.path)
        assert (before.facts.read, before.facts.accepted) == (day + 1, day + 1)
    with Warehouse.open(before.path) as warehouse:
        users = warehouse.run("SELECT key FROM users SEMI JOIN events USING (user_id) ORDER BY key")["key"].to_pylist()
        names = [one["source"] for one in reads.files(warehouse).to_pylist()]
        (traced,) = reads.lineage(warehouse, 0).to_pylist()
    assert users == ["u0", "u1", "u2", "u3", "u4"] and len({*names}) == 5 and {"day.csv", "day.1.csv"} < {*names}
    assert all(re.fullmatch(r"day\.1\.csv \([0-9a-f]{8}\)|day(\.1)?\.csv", name) for name in names)
    assert traced["source"] == names[0] and "(" in names[0]


LOG = """
[dataset]
name = "log"
[events]
files = "day*.csv"
user = "who"
item = "what"
ts = "at"
{id}
[items]
title = "title"
categories = "shelf"
[users]
attributes = ["plan"]
"""


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_what_a_log_tells_of_items_and_users_is_what_its_first_good_row_does(
    tmp_path: Path, seed: int, ids: bool
) -> None:
    rng, spec = random.Random(seed), parse_spec(LOG.format(id='id = "id"' if ids else ""))
    days: dict[str, list[str]] = {}

    def write(day: int) -> None:
        rows = [
            f"u{rng.randrange(5)},i{rng.randrange(6)},{rng.choice(['soon', *(1_700_000_000 + n for n in range(4))])},"
            f"{rng.randrange(40)},T{rng.randrange(99)},S{rng.randrange(99)},P{rng.randrange(99)}"
            for _ in range(rng.randrange(1, 5))
        ]
        days[f"day{day}.csv"] = rows
        text = "who,what,at,id,title,shelf,plan\n" + "".join(f"{row}\n" for row in rows)
        (tmp_path / f"day{day}.csv").write_text(text + "u0,i0,1700000009,a,T,S,P\n")

    def of_log(result: IngestResult) -> tuple[list[Any], list[Any]]:
        with Warehouse.open(result.path) as warehouse:
            return tuple(
                warehouse.run(f"SELECT * EXCLUDE ({n}) FROM {t} SEMI JOIN events USING ({n}) ORDER BY key").to_pylist()
                for t, n in (("items", "item_id"), ("users", "user_id"))
            )

    write(5)
    before = made(spec, tmp_path, tmp_path / "home")
    for _ in range(3):
        write(rng.randrange(10))  # late, corrected, or new
        whole = made(spec, tmp_path, tmp_path / "whole")
        assert (whole.facts.n_items, whole.facts.n_users) == tuple(map(len, of_log(whole)))
        try:
            before = made(spec, tmp_path, tmp_path / "home", onto=before.path)
        except Conflict:
            before = made(spec, tmp_path, tmp_path / "home")
        assert of_log(before) == of_log(whole)
        usable = [row.split(",") for name in sorted(days) for row in days[name] if "soon" not in row]
        if not ids:
            firsts = {row[1]: row[4] for row in reversed([*usable])}
            titles = {one["key"]: one["title"] for one in of_log(whole)[0]}
            assert {key: titles[key] for key in firsts if key != "i0"} == {k: v for k, v in firsts.items() if k != "i0"}


def test_a_title_whose_row_was_taken_away_asks_for_everything(tmp_path: Path) -> None:
    spec, head = parse_spec(LOG.format(id="")), "who,what,at,id,title,shelf,plan\n"
    (tmp_path / "day0.csv").write_text(head + "u1,i1,1700000000,,Wrong,,\nu1,i2,1700000001,,Two,,\n")
    (tmp_path / "day1.csv").write_text(head + "u2,i1,1700000100,,Right,,\n")
    before = made(spec, tmp_path, tmp_path / "home")
    (tmp_path / "day0.csv").write_text(head + "u1,i2,1700000001,,Two,,\n")
    with pytest.raises(Conflict, match="1 items were told of first in rows that were corrected"):
        made(spec, tmp_path, tmp_path / "home", onto=before.path)
    (tmp_path / "day0.csv").write_text(head + "u1,i1,1700000001,,Mended,,\n")
    onward = made(spec, tmp_path, tmp_path / "home", onto=before.path)
    assert [one["title"] for one in told(onward)["items"]] == ["Mended", "Two"]


def test_items_and_users_that_changed_alone_are_something_new(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    write_day(base, "day0.csv", ["u1,i1,1700000000,view,1,"])
    before = made(shop(), base, home)
    (base / "items.csv").write_text("what,title\ni1,Another title\n")
    items = made(shop(), base, home, onto=before.path)
    assert told(items)["items"][0]["title"] == "The 0"  # what is no longer listed stays
    assert told(items)["items"][1]["title"] == "Another title"
    write_lists(base, items=8, plans=("gold",))
    users = made(shop(), base, home, onto=items.path)
    assert told(users)["users"][1]["plan"] == "gold"


def test_a_spec_that_changed_alone_is_something_new(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    write_day(base, "day0.csv", ["u1,i1,1700000000,view,1,"])
    before = made(shop(), base, home)
    spec = parse_spec('sensitive = ["plan"]\n' + SPEC.format(distinct="false") + "[sessions]\ngap_minutes = 30\n")
    after = made(spec, base, home, onto=before.path)
    assert (after.facts.spec.sensitive, after.facts.spec.sessions) == (("plan",), spec.sessions)
    assert made(spec, base, home, onto=after.path).build_id == after.build_id


def test_of_files_numbers_go_by_their_size(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    spec = parse_spec(IDS.format(distinct="false"))
    write_acts(base, "day9.csv", ["u1,i1,1700000000,view,1,,a1"])
    before = made(spec, base, home)
    write_acts(base, "day10.csv", ["u1,i1,1700000000,view,2,,a1"])
    for result in (made(spec, base, home, onto=before.path), made(spec, base, home)):
        assert [event["value"] for event in told(result)["events"]] == [2.0]


def test_a_late_file_with_ids_of_those_behind_it_asks_for_everything(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    spec = parse_spec(IDS.format(distinct="false"))
    write_acts(base, "day2.csv", ["u1,i1,1700000000,view,1,,a1"])
    before = made(spec, base, home)
    write_acts(base, "day1.csv", ["u1,i1,1700000000,view,2,,a2"])
    late = made(spec, base, home, onto=before.path)
    write_acts(base, "day0.csv", ["u1,i1,1700000000,view,3,,a1"])
    with pytest.raises(Conflict, match=r"1 events of day2\.csv, which stands after day0\.csv"):
        made(spec, base, home, onto=late.path)
    with Warehouse.open(made(spec, base, home).path) as warehouse:
        assert sorted(warehouse.run("SELECT value FROM events")["value"].to_pylist()) == [1.0, 2.0]


def test_what_a_corrected_file_tells_of_its_items_is_told_anew(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    text = SPEC.format(distinct="false").partition("[items]")[0] + '[items]\ntitle = "page"\n'
    spec = parse_spec(text.replace('context = ["page"]\n', ""))
    write_day(base, "day0.csv", ["u1,i1,1700000000,view,1,Wrnog", "u1,i2,1700000001,view,1,Two"])
    write_day(base, "day1.csv", ["u1,i3,1700000002,view,1,Three", "u1,i2,1700000003,view,1,Not the first"])
    before = made(spec, base, home)
    write_day(base, "day0.csv", ["u1,i1,1700000000,view,1,Right", "u1,i2,1700000001,view,1,Two"])
    after = made(spec, base, home, onto=before.path)
    assert told(after)["items"] == told(made(spec, base, home))["items"]
    assert [item["title"] for item in told(after)["items"]] == ["Right", "Two", "Three"]


def test_a_correction_that_leaves_no_event_is_refused(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    write_day(base, "day0.csv", ["u1,i1,1700000000,view,1,"])
    before = made(shop(), base, home)
    write_day(base, "day0.csv", [])
    with pytest.raises(UnreadableFile, match="no event would be left"):
        made(shop(), base, home, onto=before.path)


def test_a_day_on_which_nothing_happened_is_a_day(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    write_day(base, "day0.csv", ["u1,i1,1700000000,view,1,"])
    before = made(shop(), base, home)
    write_day(base, "day1.csv", [])
    quiet = made(shop(), base, home, onto=before.path)
    assert (quiet.read, quiet.accepted) == (1, 1)
    assert told(quiet) == told(made(shop(), base, home))
    assert made(shop(), base, home, onto=quiet.path).build_id == quiet.build_id, "it is not read again"


@pytest.mark.parametrize("row", ["u1,i1,soon,view,1,", ",i1,1700000001,view,1,", "u1,,2024-01-01,view,1,"])
def test_a_day_of_which_nothing_can_be_used_is_a_day(tmp_path: Path, row: str) -> None:
    base, home = begun(tmp_path)
    write_day(base, "day0.csv", ["u1,i1,1700000000,view,1,"] * 2)
    before = made(shop(), base, home)
    write_day(base, "day1.csv", [row])
    wrong = made(shop(), base, home, onto=before.path)
    assert (wrong.read, wrong.accepted) == (3, 2)
    if "2024" not in row:
        assert told(wrong) == told(made(shop(), base, home))


def test_a_later_day_is_read_by_the_unit_of_the_first(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    write_day(base, "day0.csv", [f"u1,i1,2024-01-0{n},view,1," for n in range(1, 4)])
    before = made(shop(), base, home)
    write_day(base, "day1.csv", ["u1,i2,1704110400,view,1,"])
    after = made(shop(), base, home, onto=before.path)
    assert after.reasons == {"unreadable-time": 1}
    assert told(after) == told(made(shop(), base, home))


def test_a_day_without_a_time_tells_no_unit(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    write_day(base, "day0.csv", ["u1,i1,1700000000,view,1,"])
    before = made(shop(), base, home)
    manifest = manifest_path(before.path)
    kept = json.loads(manifest.read_text())
    del kept["quality"]["ts_unit"]  # as of a build from before it was kept
    manifest.write_text(json.dumps(kept))
    for number, row in enumerate(["u1,i1,soon,view,1,", "u1,i2,1700000900,view,1,"], start=1):
        write_day(base, f"day{number}.csv", [row])
        before = made(shop(), base, home, onto=before.path)
    assert (before.accepted, before.reasons) == (2, {"unreadable-time": 1})


def test_a_file_that_is_called_as_feedback_is_takes_nothing_of_it(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    spec = parse_spec(SPEC.format(distinct="false").replace("day*.csv", "feedback"))
    write_day(base, "feedback", ["u1,i1,1700000000,view,1,"])
    acts = pa.table(
        {
            "feedback_id": [1],
            "user": ["u1"],
            "item": ["i2"],
            "ts": pa.array([datetime(2024, 1, 1, tzinfo=UTC)], pa.timestamp("us", "UTC")),
            "kind": ["click"],
            "value": pa.array([None], pa.float64()),
        }
    )
    before = made(spec, base, home, feedback=acts)
    write_day(base, "feedback", ["u2,i1,1700000000,view,1,"])
    after = made(spec, base, home, onto=before.path)
    with Warehouse.open(after.path) as warehouse:
        kinds = warehouse.run("SELECT key, kind FROM events JOIN users USING (user_id) ORDER BY ALL").to_pylist()
    assert kinds == [{"key": "u1", "kind": "click"}, {"key": "u2", "kind": "view"}]


def test_where_nothing_is_new_the_build_stays(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    write_day(base, "day0.csv", ["u1,i1,1700000000,view,1,", "u1,i1,soon,view,1,"])
    before = made(shop(), base, home)
    after = made(shop(), base, home, onto=before.path)
    assert (after.build_id, after.reasons, after.quality) == (before.build_id, before.reasons, before.quality)
    assert len(list((home / "warehouse").glob("*.duckdb"))) == 1


def test_what_would_be_read_otherwise_is_refused(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    write_day(base, "day0.csv", ["u1,i1,1700000000,view,1,"])
    before = made(shop(), base, home)
    write_day(base, "day1.csv", ["u1,i1,1700000000,view,1,"])
    with pytest.raises(InvalidSpec, match=r"events\.drop_duplicates"):
        made(shop(distinct=True), base, home, onto=before.path)
    other = parse_spec(SPEC.format(distinct="false").replace('"shop"', '"other"'))
    with pytest.raises(InvalidSpec, match="of shop"):
        made(other, base, home, onto=before.path)


def test_a_correction_that_may_bring_refused_duplicates_back_asks_for_everything(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    write_day(base, "day0.csv", ["u1,i1,1700000000,view,1,"])
    write_day(base, "day1.csv", ["u1,i1,1700000000,view,1,", "u2,i1,1700000000,view,1,"])
    before = made(shop(distinct=True), base, home)
    write_day(base, "day0.csv", ["u3,i1,1700000000,view,1,"])
    with pytest.raises(Conflict, match="1 rows of other files"):
        made(shop(distinct=True), base, home, onto=before.path)


@pytest.mark.parametrize("seed", range(3))
def test_every_event_tells_its_line_and_every_line_its_event(tmp_path: Path, seed: int) -> None:
    rng, base, home = random.Random(seed), tmp_path / "in", tmp_path / "home"
    base.mkdir()
    write_lists(base, items=8)
    latest: IngestResult | None = None
    for day in range(2):
        write_day(base, f"day{day}.csv", some_rows(rng, 40, day=day))
        latest = made(shop(), base, home, onto=latest and latest.path)
    assert latest is not None
    with Warehouse.open(latest.path) as warehouse:
        numbers = warehouse.run("SELECT event_id FROM events")["event_id"].to_pylist()
        seen = set()
        for event_id in numbers:
            (row,) = reads.lineage(warehouse, event_id).to_pylist()
            text = (base / row["source"]).read_text().split("\n")[row["line"] - 1]
            assert text.startswith(f"{row['user']},{row['item']},{row['ts'].timestamp():.0f},{row['kind']},")
            assert reads.event_of_line(warehouse, row["source"], row["line"]) == event_id
            seen.add((row["source"], row["line"]))
        assert len(seen) == len(numbers) == latest.accepted
        for row in pq.read_table(latest.quarantine).to_pylist():
            assert reads.event_of_line(warehouse, row["source"], row["line"]) is None
            (refused,) = reads.refusals_of_line(latest.quarantine, row["source"], row["line"]).to_pylist()
            assert refused["reason"] == row["reason"]
        assert reads.event_of_line(warehouse, "day0.csv", 10_000) is None
        with pytest.raises(UnknownEvent):
            reads.lineage(warehouse, 10_000)


def test_feedback_tells_its_number(tmp_path: Path) -> None:
    base, home = begun(tmp_path)
    write_day(base, "day0.csv", ["u1,i1,1700000000,view,1,"])
    acts = pa.table(
        {
            "feedback_id": [7, 9],
            "user": ["u1", "u9"],
            "item": ["i2", "i3"],
            "ts": pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC")),
            "kind": ["click", "click"],
            "value": pa.array([None, None], pa.float64()),
        }
    )
    before = made(shop(), base, home)
    for after in (
        extend(before.path, acts, home=home, now=NOW),
        made(shop(), base, home, onto=before.path, feedback=acts),
    ):
        with Warehouse.open(after.path) as warehouse:
            lines = [reads.lineage(warehouse, event_id).to_pylist()[0] for event_id in (1, 2)]
        assert [(one["source"], one["line"], one["user"]) for one in lines] == [
            ("feedback", 7, "u1"),
            ("feedback", 9, "u9"),
        ]
        assert [one["build_id"] for one in lines] == [after.build_id] * 2
