"""What only all rows together show: counted, with a case, and never in the way of the build."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from data import reads
from data.errors import InvalidSpec, TooManyRefused
from data.extend import extend
from data.ingest import IngestResult, ingest
from data.phrases import as_json, phrase
from data.quality import BOT_EVENTS, BURST, quality_of
from data.spec import parse_spec
from data.warehouse import Warehouse
from tests.data.conftest import NOW

SPEC = """
[dataset]
name = "shop"
[events]
files = "events.csv"
user = "user"
item = "item"
ts = "ts"
"""
START = datetime(2024, 1, 1, 9, tzinfo=UTC)


def made(folder: Path, rows: list[tuple[str, str, str]], more: str = "") -> IngestResult:
    (folder / "events.csv").write_text("user,item,ts\n" + "".join(",".join(row) + "\n" for row in rows), "utf-8")
    return ingest(parse_spec(SPEC + more), base=folder, home=folder / "home", now=NOW)


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


def check(result: IngestResult, name: str) -> tuple[int, int, str, str | None]:
    one: dict[str, Any] = next(one for one in result.quality["checks"] if one["check"] == name)
    return one["n"], one["of"], one["grade"], one["example"]


def test_times_of_1970_in_a_log_of_our_days_are_told(tmp_path: Path) -> None:
    ms = [(f"u{n}", "i", str(1_700_000_000_000 + n)) for n in range(8)]
    assert check(made(tmp_path, [*ms, ("a", "i", "1700000000"), ("b", "i", "0")]), "early-times")[:3] == (
        2,
        10,
        "warning",
    )
    old = [(f"u{n}", "i", f"1970-01-0{n}") for n in range(1, 5)]
    assert check(made(tmp_path, old), "early-times")[:2] == (0, 4), "a log of then"


def test_prices_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    prices = {"a": "12.50", "b": "12,50", "c": "€5", "d": "1_000", "e": ""}
    (tmp_path / "items.csv").write_text("item\tprice\n" + "".join(f"{k}\t{v}\n" for k, v in prices.items()), "utf-8")
    more = '[items]\nfiles = "items.csv"\nkey = "item"\nprice = "price"\n'
    result = made(tmp_path, [("u", "a", at(0))], more)
    assert check(result, "unread-prices")[:3] == (3, 4, "warning")
    assert "unread-prices" not in {one["check"] for one in made(tmp_path, [("u", "a", at(0))]).quality["checks"]}


def test_words_for_kinds_are_found_whatever_the_size_of_their_letters(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user,item,ts,kind\nu,i,2024-01-01,ΑΓΟΡΕΣ\nu,i,2024-01-02,İzle\n", "utf-8")
    spec = parse_spec(SPEC + 'kind = "kind"\n[kinds]\n"ΑΓΟΡΕΣ" = "purchase"\n"İzle" = "watch"\n')
    with Warehouse.open(ingest(spec, base=tmp_path, home=tmp_path / "home", now=NOW).path) as warehouse:
        assert warehouse.run("SELECT kind FROM events ORDER BY ts")["kind"].to_pylist() == ["purchase", "watch"]


PEOPLE = [(f"u{n}", f"i{n % 7}", at(1000 * n + 60 * k)) for n in range(50) for k in range(2)]


def test_a_quiet_log_has_nothing_to_tell(tmp_path: Path) -> None:
    result = made(tmp_path, PEOPLE)
    assert {one["check"] for one in result.quality["checks"] if one["grade"] != "fine"} == {
        "untitled-items"  # the spec names no titles
    }
    assert result.quality["sources"] == [
        {
            "name": "events.csv",
            "rows": 100,
            "unsplit": 0,
            "read_as": as_json(phrase("read.as", encoding="utf-8", why=phrase("read.ascii"))),
            "build_id": result.build_id,
        }
    ]
    assert quality_of(result.path) == result.quality


def test_events_that_came_twice_are_counted_though_they_stay(tmp_path: Path) -> None:
    result = made(tmp_path, PEOPLE + PEOPLE[:3] + PEOPLE[:1])
    assert check(result, "duplicate-events") == (4, 104, "warning", "u0")
    assert result.accepted == 104
    dropped = made(tmp_path, PEOPLE + PEOPLE[:3], "drop_duplicates = true\n")
    assert check(dropped, "duplicate-events")[0] == 0
    assert dropped.reasons == {"duplicate": 3}
    assert check(dropped, "refused-rows")[0] == 0, "left out on request"


def test_bursts_and_bots(tmp_path: Path) -> None:
    burst = [("fast", f"i{n % 7}", at(0.5 * n)) for n in range(BURST + 1)]
    assert check(made(tmp_path, PEOPLE + burst), "bursts") == (1, 51, "warning", "fast")
    across = [("across", f"i{n % 7}", at(30 + 0.9 * n)) for n in range(BURST + 1)]  # two minutes of the clock
    assert check(made(tmp_path, PEOPLE + across), "bursts") == (1, 51, "warning", "across")
    slow = [("slow", f"i{n % 7}", at(2 * n)) for n in range(BURST + 1)]
    assert check(made(tmp_path, PEOPLE + slow), "bursts") == (0, 51, "fine", None)
    bot = [("bot", f"i{n % 7}", at(7 * n)) for n in range(BOT_EVENTS + 1)]
    result = made(tmp_path, PEOPLE + bot)
    assert check(result, "bots") == (1, 51, "warning", "bot")
    assert check(made(tmp_path, PEOPLE + bot[:-1]), "bots")[0] == 0


def test_the_lines_of_a_basket_are_one_moment(tmp_path: Path) -> None:
    basket = [("big", f"i{n}", at(0)) for n in range(BURST + 1)]
    task = SPEC.replace('name = "shop"', 'name = "shop"\ntask = "repurchase"')
    (tmp_path / "events.csv").write_text("user,item,ts\n" + "".join(",".join(row) + "\n" for row in PEOPLE + basket))
    result = ingest(parse_spec(task), base=tmp_path, home=tmp_path / "home", now=NOW)
    assert check(result, "bursts")[0] == 0
    assert "ties" not in {one["check"] for one in result.quality["checks"]}
    assert check(made(tmp_path, PEOPLE + basket), "bursts")[0] == 1


def test_keys_that_are_likely_one(tmp_path: Path) -> None:
    pairs = [("Ann", "007"), ("ann", "7"), ("café", "x"), ("cafe\u0301", "x"), ("bob", "y")]
    result = made(tmp_path, [(user, item, at(n)) for n, (user, item) in enumerate(pairs)])
    assert check(result, "colliding-users")[:2] == (4, 5)
    assert check(result, "colliding-items")[:2] == (2, 4)


def test_keys_that_stand_for_none(tmp_path: Path) -> None:
    result = made(tmp_path, [*PEOPLE, ("NULL", "i1", at(1)), ("u1", "n/a", at(2)), ("None", "NaN", at(3))])
    assert check(result, "placeholder-keys") == (3, 103, "warning", "NULL")


def test_rows_of_a_catalogue_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item,name\ni0,One\n,Two\ni0,Three\ni1,Four\n")
    result = made(tmp_path, PEOPLE, '[items]\nfiles = "items.csv"\ntitle = "name"\n')
    assert check(result, "refused-listings")[:3] == (2, 4, "warning")


def test_events_of_what_the_catalogue_does_not_list(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item,name\n" + "".join(f"i{n},Name {n}\n" for n in range(6)))
    listed = '[items]\nfiles = "items.csv"\ntitle = "name"\n'
    result = made(tmp_path, PEOPLE, listed)
    missing = sum(item == "i6" for _, item, _ in PEOPLE)
    assert check(result, "unlisted-items") == (missing, 100, "warning", None)
    assert "unlisted-users" not in {one["check"] for one in result.quality["checks"]}


def test_times_without_a_zone_are_read_in_the_specs(tmp_path: Path) -> None:
    rows = [
        ("a", "x", "2024-03-01 08:00:00"),
        ("a", "x", "2024-03-01"),
        ("a", "x", "2024-03-01T08:00:00Z"),
        ("a", "x", "2024-03-01 08:00:00+05:30"),
        ("a", "x", "2024-03-01 08:00:00-03"),
    ]
    utc = made(tmp_path, rows)
    assert check(utc, "times-without-zone")[:3] == (2, 5, "note")
    shanghai = made(tmp_path, rows, 'tz = "Asia/Shanghai"\n')
    assert (check(utc, "midnight")[0], check(shanghai, "midnight")[0]) == (1, 1)
    named = made(
        tmp_path,
        [("a", "x", "2024-1-1 8:00 UTC"), ("a", "x", "2024-01-01 08:00:00 Asia/Tokyo")],
        'tz = "Asia/Shanghai"\n',
    )
    assert moments(named) == ["01-01 08:00", "12-31 23:00"]
    assert moments(utc) == ["03-01 08:00", "03-01 00:00", "03-01 08:00", "03-01 02:30", "03-01 11:00"]
    assert moments(shanghai) == ["03-01 00:00", "02-29 16:00", "03-01 08:00", "03-01 02:30", "03-01 11:00"]
    with pytest.raises(InvalidSpec, match="no time zone"):
        made(tmp_path, rows, 'tz = "Mars/Olympus"\n')


def test_times_in_another_form(tmp_path: Path) -> None:
    rows = [("a", "x", "31/01/2024 17:30"), ("a", "x", "01/02/2024 00:10"), ("a", "x", "2024-02-01"), ("a", "x", "")]
    result = made(tmp_path, rows, 'ts_format = "%d/%m/%Y %H:%M"\ntz = "Europe/Berlin"\n')
    assert moments(result) == ["01-31 16:30", "01-31 23:10"]
    assert result.reasons == {"unreadable-time": 1, "missing-time": 1}


def test_times_that_the_clocks_of_a_zone_have_twice_or_never(tmp_path: Path) -> None:
    rows = [("a", "x", f"2023-{day} {hour}:30:00") for day in ("03-26", "10-29") for hour in ("01", "02", "03")]
    assert check(made(tmp_path, rows, 'tz = "Europe/Berlin"\n'), "clock-changes")[:2] == (2, 6)
    written = [(user, item, time.replace("2023-", "").replace(" ", "-2023 ")) for user, item, time in rows]
    form = 'tz = "Europe/Berlin"\nts_format = "%m-%d-%Y %H:%M:%S"\n'
    assert check(made(tmp_path, written, form), "clock-changes")[:2] == (2, 6)
    assert "clock-changes" not in {one["check"] for one in made(tmp_path, rows).quality["checks"]}


def test_a_form_that_tells_the_zone_is_not_moved_again(tmp_path: Path) -> None:
    form = 'ts_format = "%d.%m.%Y %H:%M %z"\ntz = "Europe/Berlin"\n'
    assert moments(made(tmp_path, [("a", "x", "01.03.2024 12:00 +0000")], form)) == ["03-01 12:00"]
    form = 'ts_format = "%d.%m.%Y %H:%MUTC"\ntz = "Europe/Berlin"\n'
    assert moments(made(tmp_path, [("a", "x", "01.03.2024 12:00UTC")], form)) == ["03-01 12:00"]
    form = 'ts_format = "%a %d %b %Y %H:%M:%S GMT"\ntz = "Europe/Berlin"\n'
    assert moments(made(tmp_path, [("a", "x", "Fri 01 Mar 2024 12:00:00 GMT")], form)) == ["03-01 12:00"]
    for bad in ("", "%q", "%"):
        with pytest.raises(InvalidSpec, match="no form of times"):
            made(tmp_path, PEOPLE, f'ts_format = "{bad}"\n')


def moments(result: IngestResult) -> list[str]:
    with Warehouse.open(result.path) as warehouse:
        rows = warehouse.run("SELECT ts FROM events ORDER BY event_id").to_pylist()
    return [row["ts"].strftime("%m-%d %H:%M") for row in rows]


def test_too_many_refused_rows_publish_nothing(tmp_path: Path) -> None:
    bad = [("", "x", at(n)) for n in range(26)]
    assert made(tmp_path, PEOPLE + bad).quarantined == 26, "of so few rows each is looked at"
    with pytest.raises(TooManyRefused, match=r"26 of 126 rows .* more than 20%: no user: 26 \(first: line 102 of"):
        made(tmp_path, PEOPLE + bad, "most_refused = 0.2\n")
    assert made(tmp_path, PEOPLE[:71] + bad + bad[:3], "most_refused = 0.29\n").quarantined == 29, "no more than that"
    many = PEOPLE * 10
    with pytest.raises(TooManyRefused):
        made(tmp_path, many + bad * 10)
    assert made(tmp_path, many + bad * 9).quarantined == 234
    assert made(tmp_path, many + many, "drop_duplicates = true\n").accepted == 100, "what came twice is not bad"


def test_too_many_refused_rows_of_a_catalogue_publish_nothing(tmp_path: Path) -> None:
    lines = [f"i{n},Name {n}\n" for n in range(7)] + [",Nameless\n"] * 3 + ["i0,Again\n"] * 9
    (tmp_path / "items.csv").write_text("item,name\n" + "".join(lines))
    section = '[items]\nfiles = "items.csv"\ntitle = "name"\n'
    assert made(tmp_path, PEOPLE, section).catalogue_reasons == {"duplicate-key": 9, "missing-key": 3}
    with pytest.raises(TooManyRefused, match=r"3 of 19 rows .* no key: 3 .*most_refused under \[items\]"):
        made(tmp_path, PEOPLE, section + "most_refused = 0.1\n")


def test_the_same_text_is_the_same_key_in_every_file(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item,name\n i0 ,One\ni1\u2028,Two\ni2,Three\n", "utf-8")
    rows = [("a", " i0", at(1)), ("a", "i1\u2028", at(2)), ("a", "i2", at(3))]
    result = made(tmp_path, rows, '[items]\nfiles = "items.csv"\ntitle = "name"\n')
    assert check(result, "unlisted-items")[:2] == (0, 3)


def test_words_that_only_a_database_takes_for_times(tmp_path: Path) -> None:
    rows = [("a", "x", time) for time in ("2024-01-01", "2024-01-02", "epoch", "now", "today", "infinity")]
    assert made(tmp_path, rows).reasons == {"unreadable-time": 3, "impossible-time": 1}
    rows = [("a", "x", time) for time in ("1704103200", "1704103201", "1_704_103_200", "0x65")]
    assert made(tmp_path, rows).reasons == {"unreadable-time": 2}


def test_feedback_is_looked_at_with_the_rest(tmp_path: Path) -> None:
    first = made(tmp_path, PEOPLE, 'ts_format = "%Y-%m-%dT%H:%M:%S%z"\n')
    acts = {"feedback_id": [1, 2], "user": ["u1"] * 2, "item": ["i1"] * 2, "ts": [START] * 2, "kind": ["click"] * 2}
    fed = pa.table({**acts, "value": pa.array([None, None], pa.float64())})
    second = extend(first.path, fed, home=tmp_path / "home", now=NOW)
    assert check(second, "duplicate-events")[:2] == (1, 102)
    fed_source = {"name": "feedback", "rows": 2, "unsplit": 0, "read_as": "", "build_id": second.build_id}
    assert second.quality["sources"] == [*first.quality["sources"], fed_source]
    whole = ingest(
        parse_spec(SPEC + 'ts_format = "%Y-%m-%dT%H:%M:%S%z"\n'),
        base=tmp_path,
        home=tmp_path / "home",
        now=NOW,
        feedback=fed,
    )
    assert (whole.accepted, whole.quarantined) == (102, 0), "an act is no line of the files"
    with Warehouse.open(whole.path) as warehouse:
        assert reads.kind_counts(warehouse).num_rows == 2
