"""Cleaning rules: each against the same rule in plain Python, their order, their counts, and what they leave alone."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data import cleaning
from data.cleaning import REASONS, reasons_of
from data.errors import InvalidSpec, TooManyRefused, UnreadableFile
from data.extend import extend
from data.ingest import IngestResult, ingest
from data.quality import quality_of
from data.rehearsal import examples, preview, rehearse
from data.spec import CleanSection, DatasetSpec, parse_spec
from data.warehouse import Warehouse

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
START = 1_704_103_200
HEAD = "user,item,ts,kind,value\n"
SPEC = (
    '[dataset]\nname = "d"\ntask = "{task}"\n[events]\nfiles = "log.csv"\nuser = "user"\nitem = "item"\nts = "ts"\n'
    'kind = "kind"\nvalue = "value"\n'
)


def spec(rules: str = "", *, task: str = "next-new", more: str = "") -> DatasetSpec:
    return parse_spec(SPEC.format(task=task) + more + (f"[clean]\n{rules}" if rules else ""))


TWO = "least_events_per_user = 2\n"


@dataclass(frozen=True)
class Row:
    """A line of the log, whose first is 0."""

    no: int
    user: str
    item: str
    ts: int
    kind: str
    value: float | None
    reason: str | None = None


def log(seed: int, *, n: int = 600, users: int = 25, items: int = 30, span: int = 4_000) -> list[Row]:
    """A log in which a few users and items have much, times are not in order and often equal, and repeats are near."""
    rng = random.Random(seed)
    rows: list[Row] = []
    for no in range(n):
        user = f"u{min(int(rng.expovariate(0.2)), users - 1)}"
        item = f"i{min(int(rng.expovariate(0.15)), items - 1)}"
        value = rng.choice([None, 1.0, 2.0, 2.5, 4.0])
        row = Row(no, user, item, START + rng.randrange(span), rng.choice(["view", "view", "cart"]), value)
        if rows and rng.random() < 0.2:
            row = replace(rng.choice(rows), no=no, ts=max(rng.choice(rows).ts - rng.randrange(9), START))
        if rows and rng.random() < 0.2:
            before = rng.choice(rows)
            row = replace(before, no=no, ts=before.ts + rng.randrange(7), value=value)
        rows.append(row)
    return rows


def written(folder: Path, rows: list[Row]) -> None:
    lines = [f"{r.user},{r.item},{r.ts},{r.kind},{'' if r.value is None else r.value}\n" for r in rows]
    (folder / "log.csv").write_text(HEAD + "".join(lines))


def made(folder: Path, described: DatasetSpec, rows: list[Row] | None = None, **more: Any) -> IngestResult:
    if rows is not None:
        written(folder, rows)
    return ingest(described, base=folder, home=folder / "home", now=NOW, **more)


def kept(result: IngestResult) -> list[int]:
    """The lines that became events, the first being 0."""
    with Warehouse.open(result.path) as warehouse:
        return [
            int(no) for no in warehouse.run("SELECT event_id FROM events ORDER BY event_id")["event_id"].to_pylist()
        ]


def set_aside(result: IngestResult) -> dict[int, str]:
    return {row["line"] - 2: row["reason"] for row in pq.read_table(result.quarantine).to_pylist()}


# ---- the rules in plain Python, one row after the other


Rule = Callable[[list[Row]], set[int]]


def by(rows: list[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    found: dict[Any, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.ts, row.no)):
        found[key(row)].append(row)
    return found


def repeats(seconds: float) -> Rule:
    def rule(rows: list[Row]) -> set[int]:
        gone = set()
        for of_one in by(rows, lambda r: (r.user, r.item, r.kind)).values():
            for before, row in pairwise(of_one):
                if row.ts - before.ts <= seconds:
                    gone.add(row.no)
        return gone

    return rule


def rates(most: int, span: int, *, baskets: bool = False) -> Rule:
    def rule(rows: list[Row]) -> set[int]:
        gone = set()
        for of_one in by(rows, lambda r: r.user).values():
            times = [row.ts for row in of_one]
            times = sorted(set(times)) if baskets else times
            if any(sum(begun <= ts < begun + span for ts in times) > most for begun in times):
                gone |= {row.no for row in of_one}
        return gone

    return rule


def user_cap(most: int) -> Rule:
    return lambda rows: {row.no for of_one in by(rows, lambda r: r.user).values() for row in of_one[:-most]}


def item_cap(most: int, seed: int = 0) -> Rule:
    with duckdb.connect() as connection:
        hashes = connection.sql(f"SELECT hash(range, CAST({seed} AS BIGINT)) FROM range(5000)").fetchall()

    def rule(rows: list[Row]) -> set[int]:
        gone = set()
        for of_one in by(rows, lambda r: r.item).values():
            drawn = sorted(of_one, key=lambda r: (hashes[r.no][0], r.no))
            gone |= {row.no for row in drawn[most:]}
        return gone

    return rule


def core(users: int, items: int, rounds: int | None = None) -> Rule:
    def rule(rows: list[Row]) -> set[int]:
        left, done = list(rows), 0
        while rounds is None or done < rounds:
            before = len(left)
            of_user = Counter(row.user for row in left)
            left = [row for row in left if of_user[row.user] >= users]
            of_item = Counter(row.item for row in left)
            left = [row for row in left if of_item[row.item] >= items]
            done += 1
            if len(left) == before:
                break
        return {row.no for row in rows} - {row.no for row in left}

    return rule


def applied(rows: list[Row], rules: list[tuple[str, Rule]]) -> dict[int, str]:
    """line -> the reason for which it goes; rules one after the other, each over what is left."""
    gone: dict[int, str] = {}
    for reason, rule in rules:
        gone |= dict.fromkeys(rule([row for row in rows if row.no not in gone]), reason)
    return gone


ALONE: list[tuple[str, str, Rule]] = [
    ('drop_kinds = ["cart", "never"]', "clean-kind", lambda rows: {r.no for r in rows if r.kind == "cart"}),
    ("least_value = 2.5", "clean-value", lambda rows: {r.no for r in rows if r.value is not None and r.value < 2.5}),
    ("repeats_within = 3", "clean-repeat", repeats(3)),
    ("repeats_within = 2.5", "clean-repeat", repeats(2.5)),
    ("most_events_per_minute = 4", "clean-burst", rates(4, 60)),
    ("most_events_per_day = 60", "clean-bot", rates(60, 86_400)),
    ("most_events_per_user = 7", "clean-user-cap", user_cap(7)),
    ("most_events_per_item = 9", "clean-item-cap", item_cap(9)),
    ("most_events_per_item = 9\nseed = 5", "clean-item-cap", item_cap(9, 5)),
    ("least_events_per_user = 14", "clean-k-core", core(14, 0)),
    ("least_events_per_item = 14", "clean-k-core", core(0, 14)),
    ("least_events_per_user = 14\nleast_events_per_item = 14", "clean-k-core", core(14, 14)),
    ("least_events_per_user = 14\nleast_events_per_item = 14\ncore_rounds = 1", "clean-k-core", core(14, 14, 1)),
]


@pytest.mark.parametrize(("rules", "reason", "rule"), ALONE, ids=[one[0].replace("\n", ", ") for one in ALONE])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_rule_removes_what_it_says(tmp_path: Path, rules: str, reason: str, rule: Rule, seed: int) -> None:
    rows = log(seed)
    result = made(tmp_path, spec(rules), rows)
    expected = rule(rows)
    assert 0 < len(expected) < len(rows), "a rule that is not put to the test"
    assert set_aside(result) == dict.fromkeys(expected, reason)
    assert kept(result) == [row.no for row in rows if row.no not in expected]
    assert result.cleaned == result.reasons == {reason: len(expected)}


EVERY = (
    'drop_kinds = ["cart"]\nleast_value = 1.5\nrepeats_within = 4\nmost_events_per_minute = 6\n'
    "most_events_per_day = 55\nmost_events_per_user = 30\nmost_events_per_item = 14\n"
    "least_events_per_user = 6\nleast_events_per_item = 5\n"
)
IN_ORDER: list[tuple[str, Rule]] = [
    ("clean-kind", lambda rows: {r.no for r in rows if r.kind == "cart"}),
    ("clean-value", lambda rows: {r.no for r in rows if r.value is not None and r.value < 1.5}),
    ("clean-repeat", repeats(4)),
    ("clean-burst", rates(6, 60)),
    ("clean-bot", rates(55, 86_400)),
    ("clean-user-cap", user_cap(30)),
    ("clean-item-cap", item_cap(14)),
    ("clean-k-core", core(6, 5)),
]


@pytest.mark.parametrize("seed", range(4))
def test_all_rules_run_in_the_told_order_and_every_count_adds_up(tmp_path: Path, seed: int) -> None:
    rows = log(seed, n=900)
    turned = "".join(reversed(EVERY.splitlines(keepends=True)))
    result = made(tmp_path, spec(turned), rows)
    expected = applied(rows, IN_ORDER)
    assert set_aside(result) == expected
    assert result.accepted + result.quarantined == result.read == len(rows)
    assert result.accepted == len(rows) - len(expected) > 0
    assert sum(result.cleaned.values()) == sum(result.reasons.values()) == result.quarantined
    assert list(result.cleaned) == [reason for reason in REASONS if reason in expected.values()]
    told = quality_of(result.path)["cleaned"]
    assert [one["reason"] for one in told] == list(REASONS)
    left = rows
    for one in told:
        before, left = left, [row for row in left if expected.get(row.no) != one["reason"]]
        assert one["events"] == len(before) - len(left)
        assert one["users"] == len({row.user for row in before}) - len({row.user for row in left})
        assert one["items"] == len({row.item for row in before}) - len({row.item for row in left})
    assert (result.facts.n_users, result.facts.n_items) == (len({r.user for r in left}), len({r.item for r in left}))


def test_the_seeds_reach_every_rule() -> None:
    met = {reason for seed in range(4) for reason in applied(log(seed, n=900), IN_ORDER).values()}
    assert met == set(REASONS)


def test_caps_and_core_hold_in_the_build(tmp_path: Path) -> None:
    rules = "most_events_per_user = 20\nmost_events_per_item = 25\nleast_events_per_user = 8\nleast_events_per_item = 8"
    with Warehouse.open(made(tmp_path, spec(rules), log(3, n=1500)).path) as warehouse:
        for of, most in (("user_id", 20), ("item_id", 25)):
            counts = warehouse.run(f"SELECT count(*) AS n FROM events GROUP BY {of}")["n"].to_pylist()
            assert min(counts) >= 8 and max(counts) <= most


def test_a_long_chain_is_peeled_to_its_end(tmp_path: Path) -> None:
    """Each user shares an item with the next: taking the ends away bares the next ends, until nothing is left but a
    ring that stands apart."""
    chain = [(f"c{n}", f"i{n + step}") for n in range(40) for step in (0, 1)]
    ring = [(f"r{n}", f"j{(n + step) % 5}") for n in range(5) for step in (0, 1)]
    rows = [Row(no, user, item, START + no, "view", None) for no, (user, item) in enumerate(chain + ring)]
    both = "least_events_per_user = 2\nleast_events_per_item = 2\n"
    assert kept(made(tmp_path, spec(both), rows)) == list(range(80, 90))
    once = made(tmp_path, spec(both + "core_rounds = 1\n"))
    assert set_aside(once) == dict.fromkeys(core(2, 2, 1)(rows), "clean-k-core") != {}
    assert once.accepted > 10


def test_of_equal_moments_the_file_decides(tmp_path: Path) -> None:
    rows = [Row(no, "u", f"i{no % 2}", START, "view", None) for no in range(6)]
    assert kept(made(tmp_path, spec("repeats_within = 1"), rows)) == [0, 1]
    assert kept(made(tmp_path, spec("most_events_per_user = 2"))) == [4, 5]


def test_a_row_of_quick_repeats_leaves_its_first_however_long_it_is(tmp_path: Path) -> None:
    rows = [Row(no, "u", "i", START + 2 * no, "view", None) for no in range(10)]
    rows += [Row(10, "u", "i", START + 21, "view", None), Row(11, "u", "i", START + 2, "cart", None)]
    assert kept(made(tmp_path, spec("repeats_within = 2"), rows)) == [0, 10, 11]


def test_a_rate_is_met_just_above_its_bound(tmp_path: Path) -> None:
    def at(*seconds: int) -> list[Row]:
        return [Row(no, "u", f"i{no}", START + second, "view", None) for no, second in enumerate(seconds)] + [
            Row(len(seconds) + no, "v", "i", START + 1000 * no, "view", None) for no in range(3)
        ]

    rules = spec("most_events_per_minute = 2")
    assert made(tmp_path, rules, at(0, 59)).cleaned == {}
    assert made(tmp_path, rules, at(0, 30, 60)).cleaned == {}
    assert made(tmp_path, rules, at(0, 30, 59)).cleaned == {"clean-burst": 3}
    assert made(tmp_path, rules, at(0, 30, 59, 90_000)).cleaned == {"clean-burst": 4}, "all that the user has"


def test_a_basket_counts_once_where_the_task_is_of_baskets(tmp_path: Path) -> None:
    rows = [Row(no, "u", f"i{no}", START + no // 5, "view", None) for no in range(15)]
    rows.append(Row(15, "v", "i", START, "view", None))
    assert made(tmp_path, spec("most_events_per_minute = 3", task="repurchase"), rows).cleaned == {}
    assert made(tmp_path, spec("most_events_per_minute = 2", task="repurchase")).cleaned == {"clean-burst": 15}
    assert made(tmp_path, spec("most_events_per_minute = 3")).cleaned == {"clean-burst": 15}
    expected = rates(2, 60, baskets=True)(log(5))
    assert 0 < len(expected) < 600
    result = made(tmp_path, spec("most_events_per_minute = 2", task="repurchase"), log(5))
    assert set(set_aside(result)) == expected


def test_kinds_are_named_as_they_are_called_here(tmp_path: Path) -> None:
    rows = [Row(no, f"u{no}", "i", START + no, kind, None) for no, kind in enumerate(["put_in", "view", "cart"])]
    named = spec('drop_kinds = "cart"\n[kinds]\nput_in = "cart"\n')
    assert kept(made(tmp_path, named, rows)) == [1]


# ---- beside everything else


def test_the_same_rows_go_each_time_with_any_number_of_threads(tmp_path: Path) -> None:
    rows = log(7, n=3000)
    one = made(tmp_path, spec(EVERY), rows, threads=1)
    two = made(tmp_path, spec(EVERY), threads=2)
    assert set_aside(one) == set_aside(two) and kept(one) == kept(two)
    other = made(tmp_path, spec(EVERY + "seed = 1\n"))
    assert kept(other) != kept(one), "another seed draws others"


def test_rows_that_come_later_do_not_change_who_is_drawn_of_those_before(tmp_path: Path) -> None:
    rows = [Row(no, f"u{no}", "i", START + no, "view", None) for no in range(400)]
    before = kept(made(tmp_path, spec("most_events_per_item = 50"), rows[:300]))
    after = kept(made(tmp_path, spec("most_events_per_item = 50"), rows))
    assert {no for no in after if no < 300} < set(before) and len(before) == len(after) == 50


def test_faults_stay_faults_and_stand_before_what_rules_removed(tmp_path: Path) -> None:
    rows = log(1, n=100)
    written(tmp_path, rows)
    with (tmp_path / "log.csv").open("a") as file:
        file.write(f"u0,i0,never,view,1\nu0,i0,{START},view\n,i0,{START},view,1\n")
    result = made(tmp_path, spec("least_events_per_user = 4"))
    plain = made(tmp_path, spec())
    assert plain.cleaned == {} and sum(plain.reasons.values()) == 3
    assert result.accepted + result.quarantined == result.read == 103
    assert result.reasons == plain.reasons | result.cleaned
    table = pq.read_table(result.quarantine).to_pylist()
    assert table[:3] == pq.read_table(plain.quarantine).to_pylist()
    removed = table[3:]
    assert [row["line"] for row in removed] == sorted(row["line"] for row in removed)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert all(row["raw"] == lines[row["line"] - 1] for row in removed)
    assert {(row["table"], row["source"], row["column"]) for row in removed} == {("events", "log.csv", None)}
    checks = {one["check"]: one for one in result.quality["checks"]}
    assert (checks["refused-rows"]["n"], checks["cleaned-rows"]["n"]) == (3, len(removed))
    assert "cleaned-rows" not in {one["check"] for one in plain.quality["checks"]}


def test_of_very_many_removed_rows_the_first_keep_their_text_and_faults_keep_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.quarantine.RAW_ROWS", 5)
    rows = [Row(no, f"u{no}", "i", START + no, "view", None) for no in range(30)]
    rows += [Row(30 + no, "w", f"i{no}", START + no, "view", None) for no in range(3)]
    written(tmp_path, rows)
    with (tmp_path / "log.csv").open("a") as file:
        file.write("u0,i0,never,view,1\n" * 4)
    result = made(tmp_path, spec("least_events_per_user = 2", more="most_refused = 1\n"))
    table = pq.read_table(result.quarantine).to_pylist()
    assert (len(table), result.accepted) == (34, 3)
    assert [row["raw"] for row in table[:4]] == ["u0,i0,never,view,1"] * 4
    assert [row["raw"] for row in table[4:]] == [f"u{no},i,{START + no},view," for no in range(5)] + [None] * 25
    assert [row["line"] for row in table[4:]] == list(range(2, 32))


def test_removed_rows_are_found_again_in_each_of_several_files(tmp_path: Path) -> None:
    columns = {"user": ["b", "a"], "item": ["x", "y"], "ts": [START, START + 1]}
    both = columns | {"kind": ["view", "view"], "value": [None, 2.0]}
    pq.write_table(pa.table(both), tmp_path / "b.parquet")
    (tmp_path / "a.csv").write_text(f"{HEAD}a,x,{START},view,\nc,x,{START},view,1\n")
    two = parse_spec(SPEC.format(task="next-new").replace('"log.csv"', '["a.csv", "b.parquet"]') + "[clean]\n" + TWO)
    table = pq.read_table(made(tmp_path, two).quarantine).to_pylist()
    assert [(row["source"], row["line"], row["raw"]) for row in table] == [
        ("a.csv", 3, f"c,x,{START},view,1"),
        ("b.parquet", 1, f"b\tx\t{START}\tview"),
    ]


def test_the_column_of_a_kind_or_a_value_that_is_not_wanted_is_named(tmp_path: Path) -> None:
    result = made(tmp_path, spec('drop_kinds = "cart"\nleast_value = 2\n'), log(1))
    found = {(row["reason"], row["column"]) for row in pq.read_table(result.quarantine).to_pylist()}
    assert found == {("clean-kind", "kind"), ("clean-value", "value")}


def test_what_rules_remove_does_not_count_as_refused(tmp_path: Path) -> None:
    rows = log(1, n=2000, users=40)
    rules = "most_events_per_user = 10"
    result = made(tmp_path, spec(rules, more="most_refused = 0.01\n"), rows)
    assert result.quarantined > 0.8 * result.read
    with (tmp_path / "log.csv").open("a") as file:
        file.write("u0,i0,never,view,1\n" * 25)
    with pytest.raises(TooManyRefused, match="25 of 2,025 rows"):
        made(tmp_path, spec(rules, more="most_refused = 0.01\n"))


def test_rules_that_leave_nothing_are_said_to(tmp_path: Path) -> None:
    rows = log(1, n=50)
    with pytest.raises(
        UnreadableFile, match=r"rules under \[clean\] leave none of 50 rows \(user or item with too few: 50\)"
    ) as error:
        made(tmp_path, spec("least_events_per_user = 1000"), rows)
    assert "loosen" in error.value.remedy
    assert list((tmp_path / "home" / "warehouse").iterdir()) == []


def test_no_build_goes_on_from_another_where_rules_are_on_or_were(tmp_path: Path) -> None:
    """Who has too few events is told by all of them, also by those that the older build does without."""
    plain, cleaned = spec(), spec("least_events_per_user = 3")
    before = {name: made(tmp_path, described, log(1)) for name, described in (("plain", plain), ("cleaned", cleaned))}
    written(tmp_path, log(2))
    for older, newer in (("cleaned", cleaned), ("cleaned", plain), ("plain", cleaned)):
        with pytest.raises(InvalidSpec, match=r"\[clean\]") as error:
            made(tmp_path, newer, onto=before[older].path)
        assert error.value.remedy == "ingest everything anew"
    assert made(tmp_path, plain, onto=before["plain"].path).accepted == 600


def test_what_came_back_is_taken_as_it_is_and_what_rules_removed_is_remembered(tmp_path: Path) -> None:
    before = made(tmp_path, spec("least_events_per_user = 30"), log(1))
    fed = pa.table(
        {
            "feedback_id": pa.array([1], pa.int64()),
            "user": ["once"],
            "item": ["i0"],
            "ts": pa.array([datetime(2024, 6, 1, tzinfo=UTC)], pa.timestamp("us", tz="UTC")),
            "kind": ["click"],
            "value": pa.array([None], pa.float64()),
        }
    )
    after = extend(before.path, fed, home=tmp_path / "home", now=NOW)
    assert (after.read, after.accepted) == (before.read + 1, before.accepted + 1)
    assert after.cleaned == before.cleaned != {} and after.quality["cleaned"] == before.quality["cleaned"]
    assert made(tmp_path, spec("least_events_per_user = 30"), feedback=fed).accepted == before.accepted, "it goes then"


def test_duplicates_go_first_and_as_what_they_are(tmp_path: Path) -> None:
    rows = [Row(no, "u", "i", START, "view", value) for no, value in enumerate([1.0, 1.0, 2.0])]
    result = made(tmp_path, spec("repeats_within = 1", more="drop_duplicates = true\n"), rows)
    assert set_aside(result) == {1: "duplicate", 2: "clean-repeat"}
    assert result.cleaned == {"clean-repeat": 1}


def test_without_a_rule_nothing_is_asked_and_everything_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = log(1)
    empty = parse_spec(SPEC.format(task="next-new") + "[clean]\nseed = 0\n")
    assert empty == spec() and "clean" not in empty.to_toml() and reasons_of(empty) == []
    before = made(tmp_path, spec(), rows)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a statement was run for no rule")

    monkeypatch.setattr(cleaning, "_run", never)
    after = made(tmp_path, empty)
    assert (after.reasons, after.quality["checks"]) == (before.reasons, before.quality["checks"])
    assert "cleaned" not in after.quality and kept(after) == [row.no for row in rows]
    with Warehouse.open(before.path) as one, Warehouse.open(after.path) as other:
        names = one.run("SELECT table_name FROM duckdb_tables() ORDER BY table_name")["table_name"].to_pylist()
        assert "events" in names
        for name in names:
            if name != "facts":
                rows = f"SELECT {'* EXCLUDE (build_id)' if name == 'files' else '*'} FROM {name}"
                assert one.run(rows).equals(other.run(rows)), name


def test_lists_that_are_the_events_own_forget_who_is_gone_and_catalogues_do_not(tmp_path: Path) -> None:
    rows = [Row(no, f"u{no % 3}", f"i{no % 3}", START + no, "view", None) for no in range(9)]
    rows += [Row(9, "u9", "i9", START, "view", None)]
    (tmp_path / "items.csv").write_text("item,title\ni9,Nine\ni0,Nought\n")
    rules = "least_events_per_user = 2\nleast_events_per_item = 2\n"
    own = made(tmp_path, spec(rules + '[items]\ntitle = "item"\n[users]\nattributes = []\n'), rows)
    assert (own.facts.n_users, own.facts.n_items) == (3, 3)
    listed = made(tmp_path, spec(rules + '[items]\nfiles = "items.csv"\ntitle = "title"\n'))
    with Warehouse.open(listed.path) as warehouse:
        assert warehouse.run("SELECT key FROM items ORDER BY item_id")["key"].to_pylist() == ["i9", "i0", "i1", "i2"]


# ---- before it is done


def test_the_preview_says_what_the_ingest_then_does(tmp_path: Path) -> None:
    rows = log(2, n=900)
    written(tmp_path, rows)
    with (tmp_path / "log.csv").open("a") as file:
        file.write("u0,i0,never,view,1\n")
    told = preview(spec(EVERY), base=tmp_path, home=tmp_path / "home", now=NOW)
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file()], "nothing is kept"
    result = made(tmp_path, spec(EVERY))
    assert (told.read, told.accepted) == (result.read, result.accepted)
    assert told.refused.equals(pq.read_table(result.quarantine))
    assert told.tally.as_json() == result.quality["cleaned"]
    assert (told.tally.events, told.tally.users, told.tally.items) == (
        result.accepted,
        result.facts.n_users,
        result.facts.n_items,
    )
    lines = (tmp_path / "log.csv").read_text().splitlines()
    for one in told.tally.removed:
        shown = examples(told.refused, one.reason)
        assert len(shown) == min(one.events, 3) and all(row["raw"] == lines[row["line"] - 1] for row in shown)


def test_a_preview_of_rules_that_leave_nothing_still_tells(tmp_path: Path) -> None:
    written(tmp_path, log(1, n=50))
    told = preview(spec("least_events_per_item = 1000"), base=tmp_path, home=tmp_path / "home", now=NOW)
    assert (told.accepted, told.tally.events, told.tally.removed[0].events) == (0, 0, 50)


def test_a_preview_without_a_rule_is_refused(tmp_path: Path) -> None:
    written(tmp_path, log(1, n=50))
    with pytest.raises(InvalidSpec, match="no cleaning rule"):
        preview(spec(), base=tmp_path, home=tmp_path / "home", now=NOW)


def test_the_try_says_what_rules_do_to_the_rows_that_it_has(tmp_path: Path) -> None:
    written(tmp_path, log(2, n=900))
    tried = rehearse(spec(EVERY), base=tmp_path, home=tmp_path / "home", now=NOW)
    assert tried.quality["cleaned"] == made(tmp_path, spec(EVERY)).quality["cleaned"]
    part = rehearse(spec("least_events_per_user = 6"), base=tmp_path, home=tmp_path / "home", now=NOW, rows=50)
    expected = core(6, 0)(log(2, n=900)[:50])
    assert part.quality["cleaned"][0]["events"] == len(expected) > 0


# ---- the spec


def test_rules_survive_a_round_trip() -> None:
    told = spec(EVERY + "core_rounds = 3\nseed = 9\n")
    assert parse_spec(told.to_toml()) == told
    assert told.clean == CleanSection(
        drop_kinds=("cart",),
        least_value=1.5,
        repeats_within=4,
        most_events_per_minute=6,
        most_events_per_day=55,
        most_events_per_user=30,
        most_events_per_item=14,
        seed=9,
        least_events_per_user=6,
        least_events_per_item=5,
        core_rounds=3,
    )


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        ("least_events = 5", "clean.least_events"),
        ("least_events_per_user = 1", "clean.least_events_per_user"),
        ("least_events_per_item = 2.5", "clean.least_events_per_item"),
        ("repeats_within = 0", "clean.repeats_within"),
        ("repeats_within = inf", "clean.repeats_within"),
        ("least_value = nan", "clean.least_value"),
        ("most_events_per_user = 0", "clean.most_events_per_user"),
        ("most_events_per_day = 9999999999", "clean.most_events_per_day"),
        ("most_events_per_minute = -1", "clean.most_events_per_minute"),
        ('drop_kinds = ["view", "view"]', "clean.drop_kinds"),
        ('drop_kinds = [" "]', "clean.drop_kinds"),
        ("core_rounds = 2", "core_rounds"),
        ("seed = -1", "clean.seed"),
    ],
)
def test_a_rule_that_cannot_be_names_its_field(rules: str, named: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        spec(rules)
    assert named in str(caught.value) and "\n" not in str(caught.value) and caught.value.remedy
