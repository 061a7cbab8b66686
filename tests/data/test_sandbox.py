"""Good statements give their rows; hostile ones are refused, fail, or are killed, each in a process of its own.

The hostile ones run once, a few at a time, before the tests that look at what became of each.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

from data.errors import (
    InvalidConfig,
    LodestarError,
    QueryError,
    QueryFailed,
    QueryRefused,
    QueryTimeout,
    StoreError,
    UnknownBuild,
)
from data.free_sql import child, sandbox
from data.free_sql.child import Stopped, readable
from data.free_sql.files import SECRET_FILE, Privilege
from data.free_sql.sandbox import Limits
from data.free_sql.snapshot import make_snapshot
from data.warehouse import Warehouse, build_connection

SHORT = Limits(seconds=1.0)
WITHIN_S = 8.0
AT_A_TIME = 4
FLAT_MB = 64

REFUSED = [
    # ---- statements that do more than read
    "CREATE TABLE t (i INT)",
    "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "DELETE FROM events",
    "DROP TABLE events",
    "WITH gone AS (DELETE FROM events RETURNING *) SELECT * FROM gone",
    "WITH made AS (INSERT INTO items (item_id) VALUES (9) RETURNING *) FROM made",
    "EXPORT DATABASE '/tmp/lodestar-leak'",
    "ATTACH '/tmp/lodestar-leak.duckdb' AS leak",
    "SET lock_configuration = false",
    "PRAGMA database_list",
    "CALL enable_logging()",
    "INSTALL httpfs",
    "LOAD '/tmp/evil.duckdb_extension'",
    "PIVOT events ON kind USING count(*)",  # makes a type first
    # ---- more or less than one statement, and what hides one
    "SELECT 1; SELECT 2",
    "SELECT $secret",
    "EXPLAIN INSERT INTO items (item_id) VALUES (9)",
    "EXPLAIN ANALYZE COPY events TO '/tmp/lodestar-leak.csv'",
    "\ufeffDROP TABLE events",
    "SELECT '\udcff'",
    "SELECT 1 -- \x00",
    "SELECT '" + "x" * 1_000_000 + "'",
    # ---- files, networks, settings
    "FROM read_csv('/etc/passwd')",
    "FROM read_blob('/proc/self/environ')",
    "FROM read_blob('/dev/fd/3')",
    "FROM read_parquet('/tmp/*.parquet')",
    "FROM read_duckdb('/dev/fd/3', table_name = 'users')",
    "FROM glob('/**')",
    "FROM sniff_csv('/etc/passwd')",
    "FROM parquet_metadata('/tmp/x.parquet')",
    "FROM read_csv('https://example.com/x.csv')",
    "FROM query('SELECT * FROM read_text(''/etc/passwd'')')",
    "FROM duckdb_extensions()",
    "FROM enable_logging()",
]

FAILED = [
    "",
    "SELEC 1",
    "ｓｅｌｅｃｔ 1",
    "SELECT region FROM users",
    "FROM '/etc/passwd'",
    "FROM facts",
    "FROM histories",
    "SELECT getenv('HOME')",
    "FROM limits",  # names of this program's own Python variables
    "FROM arrow_scan(1, 2, 3)",
    "SELECT 1::POINTER",
    "FROM query('DROP TABLE events')",
    "FROM query_table('read_text')",
    "FROM sqlite_scan('/tmp/x.sqlite', 't')",
    "SELECT error('told by the statement itself')",
    "SELECT " + "[" * 2_000 + "1" + "]" * 2_000,
    "SELECT " + "NOT " * 5_000 + "true",
    "SELECT " + "(SELECT " * 1_500 + "1" + ")" * 1_500,
    "FROM " + "(FROM " * 1_500 + "items" + ")" * 1_500,
    "SELECT len(repeat('x', 2000000000))",
    "SELECT list_resize([1], 2000000000)",
    "SELECT list(i) FROM range(1000000000) AS r(i)",
    "SELECT string_agg(repeat('x', 1000), '') FROM range(10000000)",
    "SELECT " + ", ".join(f"{n} AS a" for n in range(2_000)),  # too wide
    "SELECT " + "[" * 300 + "1" + "]" * 300,  # too deep for Arrow
    "SELECT repeat('x', 20000) || i FROM range(100000) AS r(i)",  # a result too large to show
]

# What takes too long; some of these are out of memory first, on some machines.
ENDED = [
    "SELECT count(*) FROM range(1000000) AS a(i), range(1000000) AS b(j) WHERE (a.i * b.j) % 7 = 3",
    "SELECT sum(sin(i)) FROM range(1000000000000) AS r(i)",
    "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
    "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n, range(1000)) SELECT count(*) FROM n",
    "SELECT levenshtein(repeat('a', 1000000), repeat('b', 1000000))",
    "SELECT damerau_levenshtein(repeat('a', 20000), repeat('b', 20000))",
    "SELECT jaccard(repeat('ab', 50000000), repeat('ba', 50000000)) FROM range(1000)",
    "SELECT count(*) FROM range(100000000) AS r(i) WHERE regexp_matches(repeat('a', 5000) || i, '(a|aa)*b')",
    "SELECT list_reduce(range(100000000), lambda x, y: x + y)",
    "SELECT i FROM range(1000000000) AS r(i) ORDER BY hash(i) LIMIT 1 OFFSET 999999",
    "EXPLAIN ANALYZE SELECT sum(sin(i)) FROM range(1000000000000) AS r(i)",
    "SUMMARIZE SELECT i, hash(i) FROM range(100000000000) AS r(i)",
]
# Told by the parser alone, in this process: nothing of them is run.
BY_TYPE = [
    "SELECT 1; DROP TABLE events",
    "SET memory_limit = '100GB'",
    "COPY events TO '/tmp/lodestar-leak.csv'",
    "CREATE TEMP TABLE t AS SELECT 1",
    "CREATE MACRO f(x) AS x",
    "UPDATE items SET title = 'x'",
    "ALTER TABLE events RENAME TO e",
    "MERGE INTO items USING items AS o ON (items.key = o.key) WHEN MATCHED THEN DELETE",
    "COPY items FROM '/etc/passwd'",
    "COPY FROM DATABASE snapshot TO memory",
    "IMPORT DATABASE '/tmp/lodestar-leak'",
    "ATTACH ':memory:' AS leak",
    "DETACH snapshot",
    "USE system",
    "SET VARIABLE x = 1",
    "RESET max_execution_time",
    "PRAGMA enable_profiling",
    "CALL pragma_database_size()",
    "BEGIN TRANSACTION",
    "VACUUM",
    "CHECKPOINT",
    "PREPARE p AS SELECT 1",
    "/* SELECT */ DROP TABLE events -- SELECT",
    ";",
    "-- nothing",
    "SELECT ?",
    "EXPLAIN (FORMAT json) SELECT 1",
    "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1",
    "INSERT INTO items (item_id) VALUES (9)",
]
HOSTILE = [*REFUSED, *FAILED, *ENDED]


@dataclass(frozen=True)
class Outcome:
    error: LodestarError | None
    seconds: float


@pytest.fixture(scope="module")
def snapshot(shop: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("somebodys-home")
    return make_snapshot(shop, folder, privilege=Privilege("analyst"), threads=1)


@pytest.fixture(scope="module")
def memory() -> dict[str, float]:
    """The peak of this process, in MB: before the hostile statements, and after."""
    return {}


@pytest.fixture(scope="module")
def outcomes(snapshot: Path, memory: dict[str, float]) -> dict[str, Outcome]:
    def tried(statement: str) -> Outcome:
        started = time.monotonic()
        try:
            sandbox.run(snapshot, statement, limits=SHORT if statement in ENDED else sandbox.LIMITS)
        except QueryError as error:
            return Outcome(error, time.monotonic() - started)
        return Outcome(None, time.monotonic() - started)

    sandbox.run(snapshot, "SELECT 1")
    memory["before"] = peak_mb()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        found = dict(zip(HOSTILE, pool.map(tried, HOSTILE), strict=True))
    memory["after"] = peak_mb()
    return found


def peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def short(statement: str) -> str:
    return ascii(statement[:60])


@pytest.mark.parametrize("statement", BY_TYPE, ids=short)
def test_the_parser_tells_what_only_reads(statement: str) -> None:
    with build_connection(None) as connection, pytest.raises(Stopped) as stopped:
        readable(connection, statement)
    assert stopped.value.fault == "refused"


@pytest.mark.parametrize("statement", REFUSED, ids=short)
def test_what_does_more_than_read_is_refused(statement: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[statement]
    assert isinstance(outcome.error, QueryRefused), outcome.error
    assert outcome.seconds < WITHIN_S


@pytest.mark.parametrize("statement", FAILED, ids=short)
def test_what_is_not_there_or_too_much_fails(statement: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[statement]
    assert isinstance(outcome.error, QueryError), outcome.error
    assert outcome.seconds < WITHIN_S


@pytest.mark.parametrize("statement", ENDED, ids=short)
def test_what_takes_too_long_is_ended(statement: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[statement]
    assert isinstance(outcome.error, QueryTimeout | QueryFailed), outcome.error
    assert outcome.seconds < SHORT.seconds + 5


def test_errors_are_clear_and_name_no_path(outcomes: dict[str, Outcome], snapshot: Path) -> None:
    for statement, outcome in outcomes.items():
        told = str(outcome.error)
        assert "\n" not in told, statement
        assert len(told) < 900
        assert outcome.error is not None
        assert outcome.error.remedy
        for secret in (str(snapshot.parent), "site-packages", "Traceback"):
            assert secret not in told, statement
    assert "took longer than 1 s" in str(outcomes["SELECT sum(sin(i)) FROM range(1000000000000) AS r(i)"].error)
    assert 'column "region" not found' in str(outcomes["SELECT region FROM users"].error)
    assert "type DELETE" in str(outcomes["DELETE FROM events"].error)
    assert "2 statements" in str(outcomes["SELECT 1; SELECT 2"].error)
    assert "ON x IN" in str(outcomes["PIVOT events ON kind USING count(*)"].error)


def test_memory_of_this_process_stays_flat(outcomes: dict[str, Outcome], memory: dict[str, float]) -> None:
    assert len(outcomes) == len(HOSTILE)
    assert memory["after"] - memory["before"] < FLAT_MB


def test_nothing_was_written(outcomes: dict[str, Outcome], snapshot: Path) -> None:
    assert outcomes
    assert list(Path("/tmp").glob("lodestar-leak*")) == []
    assert sorted(snapshot.parent.iterdir()) == sorted([snapshot, snapshot.parent / SECRET_FILE])


def test_by_default_a_statement_past_every_interrupt_is_gone_in_time(snapshot: Path) -> None:
    started = time.monotonic()
    with pytest.raises(QueryTimeout, match="longer than 5 s"):
        sandbox.run(snapshot, "SELECT levenshtein(repeat('a', 3000000), repeat('b', 3000000))")
    assert time.monotonic() - started < WITHIN_S
    assert children() == set()


def test_a_process_that_ignores_everything_is_killed(
    snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that takes no timer, no interrupt, no limit, and has a child: as if the database had been broken into."""
    _child_of(
        tmp_path,
        "import os, signal, time\n"
        "for one in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:\n    signal.signal(one, signal.SIG_IGN)\n"
        "os.fork()\ntime.sleep(60)\n",
    )
    monkeypatch.setattr(sandbox, "_ROOT", tmp_path)
    started = time.monotonic()
    with pytest.raises(QueryTimeout):
        sandbox.run(snapshot, "SELECT 1", limits=Limits(seconds=0.5))
    assert time.monotonic() - started < 5
    assert children() == set()


def test_a_process_that_floods_is_cut_off(snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _child_of(
        tmp_path,
        "import sys\nwhile True:\n    sys.stdout.buffer.write(b'x' * 65536)\n",
    )
    monkeypatch.setattr(sandbox, "_ROOT", tmp_path)
    before = peak_mb()
    with pytest.raises(QueryFailed, match="larger than 1 MB"):
        sandbox.run(snapshot, "SELECT 1", limits=Limits(result_bytes=2**20))
    assert peak_mb() - before < 16


def _child_of(root: Path, program: str) -> None:
    """A sandbox's process of another make, under the name by which the sandbox starts its own."""
    of_ours = Path(child.__file__).relative_to(sandbox._ROOT)
    (root / of_ours).parent.mkdir(parents=True)
    for package in of_ours.parents[:-1]:
        (root / package / "__init__.py").touch()
    (root / of_ours).write_text(program)


def children() -> set[str]:
    """Children of this process that are there still."""
    found = set[str]()
    for thread in Path("/proc/self/task").iterdir():
        found |= set((thread / "children").read_text().split())
    return found


# ---- what is let through


GOOD = {
    "SELECT count(*) AS n FROM events": [{"n": 5}],
    "FROM items SELECT title WHERE key = 'tea'": [{"title": "Green tea"}],
    "WITH many AS (SELECT user_id FROM events GROUP BY ALL HAVING count(*) > 2) FROM many": [{"user_id": 1}],
    "(SELECT 1 AS a) UNION ALL SELECT 2 ORDER BY a;": [{"a": 1}, {"a": 2}],
    "SELECT 'é' AS a, sum(user_id) AS a, current_setting('TimeZone') AS tz FROM users": [
        {"a": "é", "a_2": 3, "tz": "UTC"}
    ],
    "SELECT max(ts) AS last, (SELECT count(*) FROM duckdb_secrets()) AS secrets FROM events": [
        {"last": datetime(2024, 1, 3, 8, tzinfo=UTC), "secrets": 0}
    ],
    "DESCRIBE SELECT age_group FROM users": [
        {
            "column_name": "age_group",
            "column_type": "VARCHAR",
            "null": "YES",
            "key": None,
            "default": None,
            "extra": None,
        }
    ],
    "SHOW TABLES": [
        {"name": name}
        for name in ("events", "items", "sensitive_by_kind", "sensitive_by_month", "sensitive_totals", "users")
    ],
    "FROM (PIVOT events ON kind IN ('buy', 'view') USING count(*) GROUP BY user_id) ORDER BY user_id": [
        {"user_id": 0, "buy": 1, "view": 1},
        {"user_id": 1, "buy": 2, "view": 1},
    ],
    "SELECT * EXCLUDE (email) FROM (SELECT 1 AS one, NULL AS email) WHERE false": [],
    "SELECT count(*) AS n FROM duckdb_settings() WHERE value LIKE '/root%' OR value LIKE '/home%'": [{"n": 0}],
}


def test_good_statements_give_their_rows(snapshot: Path) -> None:
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        answers = pool.map(partial(sandbox.run, snapshot), GOOD)
    for (statement, rows), answer in zip(GOOD.items(), answers, strict=True):
        assert answer.table.to_pylist() == rows, statement
        assert not answer.cut
        assert 0 < answer.seconds < WITHIN_S


ODD = {
    "INTERVAL 3 DAY": "3 days",
    "'0101'::BIT": "0101",
    "123456789012345678901234567890123456789012345::BIGNUM": "123456789012345678901234567890123456789012345",
    "[MAP{'a': INTERVAL 1 MONTH}]": "[{a=1 month}]",
    "['290000-01-01'::TIMESTAMP]": "['290000-01-01 00:00:00']",
    "TIMETZ '12:30:01+02'": "12:30:01+02",
    "union_value(k := 1)": "1",
    "42::VARIANT": "42",
    "[1, NULL]": [1, None],
    "{'a': 1.5, 'b': 'x'}": {"a": Decimal("1.5"), "b": "x"},
    "'a'::ENUM ('a', 'b')": "a",
}


def test_odd_types_come_as_the_database_writes_them(snapshot: Path) -> None:
    columns = ", ".join(f'{value} AS "{place}""<b>"' for place, value in enumerate(ODD))
    answer = sandbox.run(snapshot, f"SELECT {columns} FROM range(3) ORDER BY range")
    assert answer.table.column_names == [f'{place}"<b>' for place in range(len(ODD))]
    for row in answer.table.to_pylist():
        assert list(row.values()) == list(ODD.values())


def test_long_results_are_cut_and_say_so(snapshot: Path) -> None:
    answer = sandbox.run(snapshot, "FROM range(1000000000000)")
    assert (answer.table.num_rows, answer.cut) == (10_000, True)
    assert answer.table["range"].to_pylist() == list(range(10_000))
    five = sandbox.run(snapshot, "FROM range(5)", limits=Limits(rows=5))
    assert (five.table.num_rows, five.cut) == (5, False)


def test_plans_are_text_and_run_nothing(snapshot: Path) -> None:
    plan = sandbox.explain(snapshot, "SELECT count(*) FROM events, range(1000000000000) -- all of them")
    assert "events" in plan
    assert "events" in sandbox.explain(snapshot, "EXPLAIN FROM events")
    assert (
        "Total Time" in sandbox.run(snapshot, "/* how */ EXPLAIN ANALYZE FROM events").table["explain_value"][0].as_py()
    )
    with pytest.raises(QueryRefused, match="type DELETE"):
        sandbox.explain(snapshot, "DELETE FROM events")


def test_the_tree_tells_tables_columns_and_rows(snapshot: Path) -> None:
    tree = {branch.table: branch for branch in sandbox.schema_tree(snapshot)}
    assert (tree["events"].n_rows, tree["items"].n_rows, tree["users"].n_rows) == (5, 5, 3)
    assert tree["users"].columns == {"user_id": "BIGINT", "key": "VARCHAR", "age_group": "VARCHAR"}


@pytest.mark.parametrize("asking", ["FROM duckdb_databases()", "FROM pragma_database_list", "FROM duckdb_settings()"])
def test_where_the_snapshot_lies_is_not_told(asking: str, snapshot: Path) -> None:
    told = str(sandbox.run(snapshot, asking).table.to_pylist())
    assert "somebodys-home" not in told
    assert snapshot.stem not in told
    assert str(Path.home()) not in told


def test_no_snapshot_and_no_limit(snapshot: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownBuild, match="there is no snapshot"):
        sandbox.run(tmp_path / "b-00000000-analyst.duckdb", "SELECT 1")
    with pytest.raises(InvalidConfig, match="sandbox limit rows"):
        Limits(rows=0)
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="cannot be linked"):
        sandbox.run(tmp_path / "folder", "SELECT 1")


@pytest.fixture(autouse=True)
def _no_handle_is_left() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 3
