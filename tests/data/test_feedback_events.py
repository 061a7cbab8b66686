"""Feedback joins a build as if it were one file of events more."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from data.extend import extend
from data.ingest import IngestResult, ingest
from data.spec import parse_spec
from data.warehouse import Warehouse

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
FILES = {
    "s": "user,item,ts,kind,value,place\na,x,1700000000,view,,shop\na,y,1700000001,view,,shop\n",
    "iso": "user,item,ts,kind,value,place\na,x,2023-11-14 22:13:20,view,,shop\na,y,2023-11-14 22:13:21,view,,shop\n",
}


def feedback(*rows: tuple[int, str, str, datetime, str, float | None]) -> pa.Table:
    names = ("feedback_id", "user", "item", "ts", "kind", "value")
    types = (pa.int64(), pa.string(), pa.string(), pa.timestamp("us", tz="UTC"), pa.string(), pa.float64())
    return pa.table({n: pa.array(c, t) for n, c, t in zip(names, zip(*rows, strict=True), types, strict=True)})


def build(home: Path, unit: str, acts: pa.Table | None, *, kinds: bool = True, more: str = "") -> IngestResult:
    (home / "events.csv").write_text(FILES[unit])
    (home / "people.csv").write_text("user,plan\na,free\n,paid\n")
    kind = 'kind = "kind"\nvalue = "value"' if kinds else 'kind_value = "view"'
    spec = parse_spec(
        '[dataset]\nname = "shop"\n[events]\nfiles = "events.csv"\nuser = "user"\nitem = "item"\nts = "ts"\n'
        f"{kind}\n{more}"
    )
    return ingest(spec, base=home, home=home, now=NOON, feedback=acts)


@pytest.mark.parametrize("unit", ["s", "iso"])
@pytest.mark.parametrize("kinds", [True, False])
def test_acts_follow_the_files_with_their_own_kinds_and_moments(tmp_path: Path, unit: str, kinds: bool) -> None:
    at = datetime(2026, 1, 1, 8, 0, 0, 123456, tzinfo=UTC)
    acts = feedback((7, "a", "y", at, "click", None), (9, "new", "x", at, "rate", 4.0))
    made = build(tmp_path, unit, acts, kinds=kinds, more='context = ["place"]\n')
    assert (made.read, made.accepted, made.quarantined) == (4, 4, 0)
    with Warehouse.open(made.path) as warehouse:
        found = warehouse.run(
            "SELECT u.key AS user, i.key AS item, ts, kind, value, source FROM events"
            " ASOF JOIN files ON event_id >= place"
            " JOIN users u USING (user_id) JOIN items i USING (item_id) ORDER BY event_id"
        ).to_pylist()
    assert [(row["user"], row["item"], row["kind"], row["value"], row["source"]) for row in found[2:]] == [
        ("a", "y", "click", None, "feedback"),
        ("new", "x", "rate", 4.0, "feedback"),
    ]
    assert abs((found[2]["ts"] - at).total_seconds()) < 1e-5
    assert {row["kind"] for row in found[:2]} == {"view"}


def test_an_act_that_a_file_tells_too_counts_once_where_duplicates_are_dropped(tmp_path: Path) -> None:
    seen = datetime.fromtimestamp(1700000000, UTC)
    acts = feedback((7, "a", "x", seen, "view", None))
    made = build(tmp_path, "s", acts, more="drop_duplicates = true\n")
    assert (made.read, made.accepted, made.reasons) == (3, 2, {"duplicate": 1})
    assert build(tmp_path, "s", None).read == 2


def test_what_a_later_rule_refuses_is_named_by_its_number(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    late = datetime(2031, 1, 1, tzinfo=UTC)
    made = build(tmp_path, "s", feedback((41, "a", "x", late, "click", None)))
    refused = pq.read_table(made.quarantine).to_pylist()
    assert [(row["source"], row["line"], row["reason"]) for row in refused] == [("feedback", 41, "impossible-time")]


TABLES = ("users", "items", "events", "histories")


def contents(path: Path) -> dict[str, list[dict[str, object]]]:
    with Warehouse.open(path) as warehouse:
        return {name: warehouse.run(f"SELECT * FROM {name} ORDER BY 1").to_pylist() for name in TABLES}


def checks_of(made: IngestResult) -> dict[str, dict[str, object]]:
    return {one["check"]: one for one in made.quality["checks"]}


LISTED = 'tz = "Europe/Berlin"\n[users]\nfiles = "people.csv"\nattributes = ["plan"]\nmost_refused = 0.9\n'


@pytest.mark.parametrize("more", ["", 'context = ["place"]\n', "drop_duplicates = true\n", LISTED])
def test_an_older_build_and_what_came_since_make_what_an_ingest_of_all_would(tmp_path: Path, more: str) -> None:
    at = datetime(2026, 1, 1, 8, tzinfo=UTC)
    first = feedback((7, "a", "y", at, "click", None), (9, "new", "x", at, "rate", 4.0))
    later = feedback(
        (11, "newer", "y", at, "click", None),
        (12, "a", "x", datetime.fromtimestamp(1700000000, UTC), "view", None),
        (13, "newer", "y", at, "click", None),
    )
    whole = build(tmp_path, "s", pa.concat_tables([first, later]), more=more)
    extended = extend(build(tmp_path, "s", first, more=more).path, later, home=tmp_path, now=NOON)
    assert contents(extended.path) == contents(whole.path)
    counts = ("read", "accepted", "quarantined", "reasons", "catalogue_reasons")
    assert [getattr(extended, name) for name in counts] == [getattr(whole, name) for name in counts]
    for name in ("n_users", "n_items", "n_events", "first_ts", "last_ts", "spec", "licence"):
        assert getattr(extended.facts, name) == getattr(whole.facts, name)
    untold = {"unlisted-users"} if more == LISTED else set()  # one of before is not listed: who is, is not kept
    assert checks_of(extended) == {name: one for name, one in checks_of(whole).items() if name not in untold}
    if "drop" in more:
        assert extended.reasons == {"duplicate": 2}


def test_who_comes_with_feedback_is_in_no_list(tmp_path: Path) -> None:
    at = datetime(2026, 1, 1, 8, tzinfo=UTC)
    later = feedback((11, "newer", "y", at, "click", None), (12, "a", "x", at, "view", None))
    whole = build(tmp_path, "s", later, more=LISTED)
    extended = extend(build(tmp_path, "s", None, more=LISTED).path, later, home=tmp_path, now=NOON)
    assert checks_of(extended) == checks_of(whole)
    assert checks_of(extended)["unlisted-users"]["n"] == 1


def test_an_item_that_the_build_does_not_know_is_refused(tmp_path: Path) -> None:
    made = extend(
        build(tmp_path, "s", None).path, feedback((3, "a", "z", NOON, "click", None)), home=tmp_path, now=NOON
    )
    assert (made.read, made.accepted, made.reasons) == (3, 2, {"unknown-item": 1})
