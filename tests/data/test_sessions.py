"""Sessions against the same in plain Python, what is read of them, and builds that have none."""

import random
import statistics
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from data import periods, reads
from data.errors import InvalidSpec
from data.extend import extend
from data.ingest import IngestResult, ingest
from data.spec import DatasetSpec, parse_spec
from data.warehouse import Warehouse

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
START = 1_704_103_200  # ten in the morning, UTC
SPEC = '[dataset]\nname = "d"\n[events]\nfiles = "log.csv"\nuser = "user"\nitem = "item"\nts = "ts"\n'
Acts = list[tuple[str, int]]  # user, seconds since START


def spec(gap: float | None) -> DatasetSpec:
    return parse_spec(SPEC + ("" if gap is None else f"[sessions]\ngap_minutes = {gap}\n"))


def made(folder: Path, acts: Acts, gap: float | None) -> IngestResult:
    rows = [f"{user},i{no % 7},{START + second}\n" for no, (user, second) in enumerate(acts)]
    (folder / "log.csv").write_text("user,item,ts\n" + "".join(rows))
    return ingest(spec(gap), base=folder, home=folder / "home", now=NOW)


def counted(acts: Acts, gap_s: float) -> list[tuple[str, int, int, int]]:
    """user, first and last second, events; users as they first appear, each one's sessions in time."""
    found: list[tuple[str, int, int, int]] = []
    for user in dict.fromkeys(user for user, _ in acts):
        times = sorted(second for who, second in acts if who == user)
        begun, before, n = times[0], times[0], 0
        for second in times:
            if second - before > gap_s:
                found.append((user, begun, before, n))
                begun, n = second, 0
            before, n = second, n + 1
        found.append((user, begun, before, n))
    return found


@pytest.mark.parametrize(("seed", "gap"), [(0, 30), (1, 30), (2, 1.5), (3, 200)])
def test_sessions_end_at_gaps_and_belong_to_one_user(tmp_path: Path, seed: int, gap: float) -> None:
    rng = random.Random(seed)
    acts = [(f"u{rng.randrange(30)}", 60 * rng.randrange(3_000)) for _ in range(1_500)]
    expected = counted(acts, 60 * gap)
    assert len(expected) > 30
    with Warehouse.open(made(tmp_path, acts, gap).path) as warehouse:
        rows = warehouse.run("SELECT * FROM sessions ORDER BY session_id").to_pylist()
        keys = reads.user_table(warehouse)["key"].to_pylist()
        told = reads.session_facts(warehouse).to_pylist()[0]
    moment = datetime.fromtimestamp(START, UTC)
    assert [row["session_id"] for row in rows] == list(range(len(rows)))
    assert [
        (
            keys[row["user_id"]],
            int((row["first_ts"] - moment).total_seconds()),
            int((row["last_ts"] - moment).total_seconds()),
            row["events"],
        )
        for row in rows
    ] == expected
    lengths_s = [last - first for _, first, last, _ in expected]
    low, middle, high = statistics.quantiles(lengths_s, n=4, method="inclusive")
    assert (told["low_s"], told["median_s"], told["high_s"]) == pytest.approx((low, middle, high))
    low, middle, high = statistics.quantiles([row[3] for row in expected], n=4, method="inclusive")
    assert (told["low_events"], told["median_events"], told["high_events"]) == pytest.approx((low, middle, high))
    assert (told["sessions"], told["users"]) == (len(expected), len({row[0] for row in expected}))
    assert told["alone"] == sum(row[3] == 1 for row in expected)


def test_a_gap_as_long_as_the_bound_ends_nothing(tmp_path: Path) -> None:
    with Warehouse.open(made(tmp_path, [("u", 0), ("u", 1800), ("u", 3601)], 30).path) as warehouse:
        assert warehouse.run("SELECT events FROM sessions ORDER BY session_id")["events"].to_pylist() == [2, 1]


def test_sessions_are_counted_by_the_local_day_on_which_they_begin(tmp_path: Path) -> None:
    night = 13 * 3600 + 1740  # 23:29 UTC
    acts = [("u", 0), ("v", 0), ("u", night), ("u", night + 1800), ("u", 2 * 86_400)]
    with Warehouse.open(made(tmp_path, acts, 30).path) as warehouse:
        days = periods.session_activity(warehouse, tz="UTC").to_pylist()
        assert days == [
            {"period": date(2024, 1, 1), "sessions": 3, "users": 2},
            {"period": date(2024, 1, 2), "sessions": 0, "users": 0},
            {"period": date(2024, 1, 3), "sessions": 1, "users": 1},
        ]
        shanghai = periods.session_activity(warehouse, tz="Asia/Shanghai")
        assert dict(zip(shanghai["period"].to_pylist(), shanghai["sessions"].to_pylist(), strict=True)) == {
            date(2024, 1, 1): 2,
            date(2024, 1, 2): 1,
            date(2024, 1, 3): 1,
        }
        assert periods.session_activity(warehouse, tz="UTC", grain="month")["sessions"].to_pylist() == [4]


@pytest.mark.parametrize("grain", ["day", "week", "month"])
@pytest.mark.parametrize("tz", ["UTC", "America/New_York", "Asia/Kolkata"])  # the last is no whole hours off
def test_what_was_counted_beforehand_is_what_the_sessions_say(tmp_path: Path, tz: str, grain: periods.Grain) -> None:
    rng = random.Random(5)
    acts = [(f"u{rng.randrange(9)}", 60 * rng.randrange(200_000)) for _ in range(900)]
    with Warehouse.open(made(tmp_path, acts, 60).path) as warehouse:
        began = warehouse.run("SELECT user_id, timezone($tz, first_ts) AS local FROM sessions", tz=tz).to_pylist()
        told = periods.session_activity(warehouse, tz=tz, grain=grain).to_pylist()

    def period(local: datetime) -> date:
        day = local.date()
        return day if grain == "day" else day - timedelta(day.weekday()) if grain == "week" else day.replace(day=1)

    users = defaultdict(list)
    for row in began:
        users[period(row["local"])].append(row["user_id"])
    expected = {at: (len(of_one), len(set(of_one))) for at, of_one in users.items()}
    assert {row["period"]: (row["sessions"], row["users"]) for row in told if row["sessions"]} == expected


def test_a_build_without_them_has_none_and_opens(tmp_path: Path) -> None:
    result = made(tmp_path, [("u", 0)], None)
    with Warehouse.open(result.path) as warehouse:
        names = warehouse.run("SELECT table_name FROM duckdb_tables()")["table_name"].to_pylist()
    assert "sessions" not in names and result.facts.spec.sessions is None


def test_what_came_back_joins_the_sessions(tmp_path: Path) -> None:
    before = made(tmp_path, [("u", 0), ("u", 7200), ("v", 0)], 30)
    fed = pa.table(
        {
            "feedback_id": pa.array([1], pa.int64()),
            "user": ["u"],
            "item": ["i0"],
            "ts": pa.array([datetime.fromtimestamp(START, UTC) + timedelta(minutes=20)], pa.timestamp("us", tz="UTC")),
            "kind": ["click"],
            "value": pa.array([None], pa.float64()),
        }
    )
    after = extend(before.path, fed, home=tmp_path / "home", now=NOW)
    for result, expected in ((before, [1, 1, 1]), (after, [2, 1, 1])):
        with Warehouse.open(result.path) as warehouse:
            rows = warehouse.run("SELECT user_id, events FROM sessions ORDER BY session_id").to_pylist()
        assert [row["events"] for row in rows] == expected
        assert Counter(row["user_id"] for row in rows) == {0: 2, 1: 1}


def test_the_gap_survives_a_round_trip_and_has_to_be_one() -> None:
    told = spec(12.5)
    assert parse_spec(told.to_toml()) == told and told.sessions is not None and told.sessions.gap_minutes == 12.5
    for bad in ("gap_minutes = 0", "gap_minutes = inf", "gap_minutes = nan", "", "gap_minutes = 30\nminutes = 3"):
        with pytest.raises(InvalidSpec, match="sessions"):
            parse_spec(SPEC + f"[sessions]\n{bad}\n")
