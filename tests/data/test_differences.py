"""Two builds beside each other: what came, what went, what is said otherwise."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from data import differences as module
from data.differences import Differences, differences
from data.ingest import ingest
from data.spec import parse_spec
from data.warehouse import Warehouse

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SPEC = parse_spec(
    '[dataset]\nname = "d"\n[events]\nfiles = "log.csv"\nuser = "user"\nitem = "item"\nts = "ts"\nkind = "kind"\n'
    '[items]\nfiles = "items.csv"\ntitle = "title"\ncategories = "tags"\n[users]\nfiles = "users.csv"\n'
    'attributes = ["age", "town"]\n'
)
BEFORE = {
    "log.csv": "user,item,ts,kind\nu1,i1,2025-01-01,view\nu1,i1,2025-01-01,view\nu2,i2,2025-01-02,view\n",
    "items.csv": "item,title,tags\ni1,One,a|b\ni2,Two,a\ni9,Nine,c\n",
    "users.csv": "user,age,town\nu1,30,Bonn\nu2,40,Bonn\n",
}
AFTER = {
    "log.csv": "user,item,ts,kind\nu1,i1,2025-01-01,view\nu3,i2,2025-01-03,buy\nu3,i3,2025-01-04,buy\n",
    "items.csv": "item,title,tags\ni3,Three,a\ni1,Uno,a|b\ni2,Two,a|c\n",
    "users.csv": "user,age,town\nu3,20,Ulm\nu1,31,Bonn\n",
}


def compared(folder: Path) -> Differences:
    opened = []
    for name, files in (("then", BEFORE), ("now", AFTER)):
        (folder / name).mkdir()
        for file, text in files.items():
            (folder / name / file).write_text(text)
        opened.append(ingest(SPEC, base=folder / name, home=folder, now=NOW).path)
    with Warehouse.open(opened[0]) as before, Warehouse.open(opened[1]) as now:
        return differences(before, now)


def test_what_came_and_went_is_counted_by_keys_not_by_numbers(tmp_path: Path) -> None:
    found = compared(tmp_path)
    counts = {row.pop("what"): row for row in found.counts.to_pylist()}
    assert counts["users"] == {"before": 2, "now": 2, "added": 1, "gone": 1}
    assert counts["items"] == {"before": 3, "now": 3, "added": 1, "gone": 1}
    assert counts["events"] == {"before": 3, "now": 3, "added": 2, "gone": 2}
    kinds = found.kinds.to_pylist()
    assert kinds == [{"kind": "buy", "before": 0, "now": 2}, {"kind": "view", "before": 3, "now": 1}]
    fields = {(row["table"], row["field"]): (row["changed"], row["of"]) for row in found.fields.to_pylist()}
    assert fields[("users", "age")] == (1, 1) and fields[("users", "town")] == (0, 1)
    assert fields[("items", "title")] == (1, 2) and fields[("items", "categories")] == (1, 2)
    assert fields[("items", "price")] == (0, 2)
    assert found.items.to_pylist() == [
        {"change": "added", "key": "i3", "title": "Three", "events": 1},
        {"change": "gone", "key": "i9", "title": "Nine", "events": 0},
    ]


def test_events_beyond_what_is_compared_are_counted_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_EVENTS", 2)
    told = {row["what"]: row for row in compared(tmp_path).counts.to_pylist()}["events"]
    assert (told["before"], told["now"], told["added"], told["gone"]) == (3, 3, None, None)
