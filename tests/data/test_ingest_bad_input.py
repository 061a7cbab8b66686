"""Bad input gets one clear line that names the remedy, and nothing is lost."""

import errno
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data import publish
from data.errors import DiskFull, InvalidSpec, LodestarError, MissingColumn, StoreError, UnreadableFile
from data.ingest import IngestResult, ingest
from data.spec import DatasetSpec, parse_spec

Ingest = Callable[..., IngestResult]
HEADER = "user,item,ts,value\n"
GOOD = "a,x,1704103200,1\n"


def nothing_published(home: Path) -> bool:
    return not any(path.is_file() for path in home.rglob("*")) and not list(home.rglob(".tmp-*"))


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (None, UnreadableFile, "events.csv cannot be read"),
        (b"", UnreadableFile, "is empty"),
        (b"\n\n  \n", UnreadableFile, "is empty"),
        (HEADER.encode(), UnreadableFile, "a header and no rows"),
        (b"user,item,when,value\na,x,1,1\n", MissingColumn, "no column 'ts'; it has: 'user', 'item', 'when', 'value'"),
        (GOOD.encode() * 3, MissingColumn, "no column 'user'"),
        (b"user,item,ts,value,ts\na,x,1704103200,1,1704103200\n", UnreadableFile, "two columns named 'ts'"),
        (bytes(range(256)) * 50, UnreadableFile, "events.csv"),
        (b"\x00" * 500, UnreadableFile, "column names"),
        ("Ünïcode,item,ts\n".encode("latin-1"), UnreadableFile, "not UTF-8"),
        (HEADER.encode("utf-16"), UnreadableFile, "a header and no rows"),
        (b"PK\x03\x04" + b"x" * 100, UnreadableFile, "zip archive or spreadsheet"),
        (b"\x1f\x8b" + b"x" * 100, UnreadableFile, "damaged or cut off"),
        (b"PAR1" + b"x" * 100, UnreadableFile, "Parquet"),
        (HEADER.replace("\n", "\r").encode() + b"a,x,1704103200,1\r", UnreadableFile, "line of column names"),
        ((HEADER + "a,x,4,1704103200\nb,x,5,1704103201\n").encode(), InvalidSpec, "no times (for instance '4')"),
        ((HEADER + "a,x,Toy Story,1\n").encode(), InvalidSpec, "holds no times (for instance 'Toy Story')"),
        ((HEADER + "a,x,2024-01-01,one\n,x,2024-01-01,1\n").encode(), UnreadableFile, "none of 2 rows"),
    ],
)
def test_a_file_that_cannot_be_used(
    bring: Ingest, tmp_path: Path, content: bytes | None, kind: type[LodestarError], said: str
) -> None:
    with pytest.raises(kind) as caught:
        bring(content)
    assert said in str(caught.value)
    assert caught.value.remedy and "\n" not in str(caught.value)
    assert nothing_published(tmp_path / "home")


def test_a_folder_json_and_an_unmatched_pattern(tmp_path: Path, bring: Ingest, event_spec: DatasetSpec) -> None:
    (tmp_path / "events.csv").mkdir()
    with pytest.raises(UnreadableFile, match="holds no files"):
        bring()
    for files, said in (("events.jsonl", "no column 'item'"), ("none-*.csv", "no file matches")):
        (tmp_path / "events.jsonl").write_text('{"user": 1}\n')
        spec = event_spec.model_copy(update={"events": event_spec.events.model_copy(update={"files": (files,)})})
        with pytest.raises(LodestarError, match=said):
            bring(spec=spec)


def test_every_kind_of_bad_row_is_quarantined_with_its_line_column_and_reason(bring: Ingest) -> None:
    rows = [
        (GOOD.strip(), None, None),
        (",x,1704103200,1", "missing-user", "user"),
        ("a,  ,1704103200,1", "missing-item", "item"),
        ("a,x,,1", "missing-time", "ts"),
        ("a,x,soon,1", "unreadable-time", "ts"),
        ("a,x,nan,1", "unreadable-time", "ts"),
        ("a,x,1e300,1", "impossible-time", "ts"),
        ("a,x,-5,1", "impossible-time", "ts"),
        ("a,x,4102444800,1", "impossible-time", "ts"),  # the year 2100
        ("a,x,1704103200,one", "unreadable-value", "value"),
        ("a,x,1704103200,nan", "infinite-value", "value"),
        ("a,x,1704103200,-inf", "infinite-value", "value"),
        ("a\0b,x,1704103200,1", "unprintable-user", "user"),
        ("a,x\x07,1704103200,1", "unprintable-item", "item"),
        ("a,x,1704103200", "ragged-row", None),
        ("a,x,1704103200,1,2", "ragged-row", None),
        ("a,x,1704103200,", None, None),
        (" b ,x,1704103200,2", None, None),
    ]
    result = bring(HEADER + "\n".join(row for row, _, _ in rows) + "\n")
    bad = [(line, row, reason, column) for line, (row, reason, column) in enumerate(rows, start=2) if reason]
    refused = pq.read_table(result.quarantine).to_pylist()
    assert [(row["line"], row["raw"], row["reason"], row["column"]) for row in refused] == bad
    assert {row["source"] for row in refused} == {"events.csv"}
    assert (result.read, result.accepted, result.quarantined) == (len(rows), len(rows) - len(bad), len(bad))
    assert sum(result.reasons.values()) == result.quarantined


def test_impossible_dates_of_a_calendar(bring: Ingest) -> None:
    days = ["2024-01-31", "2023-02-30", "2024-13-01", "290000-01-01", "0001-01-01", "2024-01-31T25:00:00", "infinity"]
    result = bring(HEADER + "".join(f"a,x,{day},1\n" for day in days))
    assert (result.accepted, result.quarantined) == (1, 6)
    assert set(result.reasons) == {"unreadable-time", "impossible-time"}


def test_plain_numbers_on_both_sides_are_not_the_wrong_way_round(tmp_path: Path, bring: Ingest) -> None:
    """Users 1 to 50 are all in a list of items that knows 130 of the 200 that the log has."""
    rows = "".join(f"{1 + n % 50},{1 + n % 200},{1704103200 + n}\n" for n in range(400))
    (tmp_path / "events.csv").write_text("who,what,t\n" + rows)
    (tmp_path / "items.csv").write_text("i\n" + "".join(f"{n}\n" for n in range(1, 131)))
    text = (
        '[dataset]\nname = "d"\n[events]\nfiles = "events.csv"\nuser = "{}"\nitem = "{}"\nts = "t"\n'
        '[items]\nfiles = "items.csv"\nkey = "i"\n'
    )
    straight, crosswise = (parse_spec(text.format(*names)) for names in (("who", "what"), ("what", "who")))
    assert bring(spec=straight).accepted == 400
    named = "".join(f"{n % 50},sku{n % 20},{1704103200 + n}\n" for n in range(400))
    (tmp_path / "events.csv").write_text("who,what,t\n" + named)
    (tmp_path / "items.csv").write_text("i\n" + "".join(f"sku{n}\n" for n in range(20)))
    with pytest.raises(InvalidSpec, match="look swapped"):
        bring(spec=crosswise)


def test_user_and_item_the_wrong_way_round(tmp_path: Path, bring: Ingest) -> None:
    (tmp_path / "events.csv").write_text("who,what,t\n" + "".join(f"{n % 3},{n},1704103200\n" for n in range(9)))
    (tmp_path / "items.csv").write_text("i\n" + "".join(f"{n}\n" for n in range(9)))
    (tmp_path / "users.csv").write_text("u\n0\n1\n2\n")
    text = (
        '[dataset]\nname = "d"\n[events]\nfiles = "events.csv"\nuser = "what"\nitem = "who"\nts = "t"\n'
        '[items]\nfiles = "items.csv"\nkey = "i"\n[users]\nfiles = "users.csv"\nkey = "u"\n'
    )
    with pytest.raises(InvalidSpec, match="look swapped"):
        bring(spec=parse_spec(text))
    right = text.replace('user = "what"\nitem = "who"', 'user = "who"\nitem = "what"')
    assert bring(spec=parse_spec(right)).accepted == 9


def test_a_full_disk_leaves_the_store_as_it_was(bring: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = bring(HEADER + GOOD)
    before = sorted(path for path in (tmp_path / "home").rglob("*"))
    left = 0
    true_flush = publish.flush

    def filling(path: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        true_flush(path)

    monkeypatch.setattr(publish, "flush", filling)
    for flushes in range(5):
        left = flushes
        with pytest.raises(DiskFull):
            bring(HEADER + GOOD)
        assert sorted(path for path in (tmp_path / "home").rglob("*")) == before
    assert kept.path.exists()


def test_a_home_that_cannot_be_written(tmp_path: Path, event_spec: DatasetSpec, bring: Ingest) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written"):
        bring(HEADER + GOOD)


CELLS = st.one_of(
    st.sampled_from(
        ["a", "b", "x", "1704103200", "1704103201.5", "1", "nan", "inf", "", " ", '"', '""', "a\tb", "\0", "é"]
    ),
    st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=8),
)
LINES = st.one_of(
    st.lists(CELLS, min_size=4, max_size=4).map(",".join),
    st.lists(CELLS, max_size=6).map(",".join),
    st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20),
    st.just('a,"two'),
    st.just('lines",1704103200,3'),
    st.just("a,x,1704103200,3"),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINES, max_size=25), ending=st.sampled_from(["\n", "\r\n"]), threads=st.sampled_from([1, 2]))
def test_accepted_and_quarantined_are_what_was_read(
    tmp_path_factory: pytest.TempPathFactory,
    event_spec: DatasetSpec,
    now: datetime,
    lines: list[str],
    ending: str,
    threads: int,
) -> None:
    base = tmp_path_factory.mktemp("any")
    body = [GOOD.strip(), *lines]
    (base / "events.csv").write_bytes(ending.join([HEADER.strip(), *body, ""]).encode())
    spec = event_spec.model_copy(update={"events": event_spec.events.model_copy(update={"ts_unit": "s"})})
    result = ingest(spec, base=base, home=base / "home", now=now, threads=threads)
    assert result.read == result.accepted + result.quarantined
    assert sum(result.reasons.values()) == result.quarantined
    refused = pq.read_table(result.quarantine)
    assert refused.num_rows == result.quarantined
    filled = [number for number, line in enumerate(body, start=2) if line]
    assert set(refused["line"].to_pylist()) <= set(filled)
    if not any('"' in line for line in lines):  # then a line is a record, and none may go missing
        assert result.read == len(filled)
