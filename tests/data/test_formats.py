"""Whatever a file comes as, the same rows make the same build, and what is refused keeps its line."""

import bz2
import gzip
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data import reads
from data.errors import InvalidSpec, LodestarError, MissingColumn, UnreadableFile
from data.ingest import IngestResult, ingest
from data.reading import decoding, jsonlines
from data.reading.decoding import decode
from data.spec import parse_spec
from data.warehouse import Warehouse
from tests.data.conftest import NOW

SPEC = """
[dataset]
name = "shop"
[events]
{where}
user = "user"
item = "item"
ts = "ts"
value = "value"
"""
ROWS = [
    ("安娜", "绿茶", "2024-01-01", "5"),
    ("bob", "café", "2024-01-02", ""),
    ("", "绿茶", "2024-01-03", "1"),  # on line 4: no user
    ("Ünal", "绿茶", "2024-01-04", "2.5"),
]
TEXT = "user,item,ts,value\n" + "".join(",".join(row) + "\n" for row in ROWS)
EVENTS = [("安娜", "绿茶", 5.0), ("bob", "café", None), ("Ünal", "绿茶", 2.5)]
zstd = pa.Codec("zstd")


def made(folder: Path, where: str = 'files = "events.csv"') -> IngestResult:
    return ingest(parse_spec(SPEC.format(where=where)), base=folder, home=folder / "home", now=NOW)


def events(result: IngestResult) -> list[tuple[Any, ...]]:
    with Warehouse.open(result.path) as warehouse:
        table = warehouse.run(
            "SELECT users.key AS user, items.key AS item, value FROM events JOIN users USING (user_id)"
            " JOIN items USING (item_id) ORDER BY event_id"
        )
    return [tuple(row.values()) for row in table.to_pylist()]


def refused(result: IngestResult) -> list[tuple[Any, ...]]:
    rows = pq.read_table(result.quarantine).to_pylist()
    return [(row["source"], row["line"], row["reason"], row["raw"]) for row in rows]


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("events.csv", lambda raw: raw),
        ("events.csv.gz", gzip.compress),
        ("events.csv.gz", lambda raw: gzip.compress(raw[:30]) + gzip.compress(raw[30:])),
        ("events.csv.zst", lambda raw: zstd.compress(raw, asbytes=True)),
        ("events.bz2", bz2.compress),
        ("events", bz2.compress),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030"])
def test_compressed_and_in_other_encodings(
    tmp_path: Path, name: str, packed: Callable[[bytes], bytes], encoding: str
) -> None:
    (tmp_path / name).write_bytes(packed(TEXT.encode(encoding)))
    result = made(tmp_path, f'files = "{name}"')
    assert events(result) == EVENTS
    assert refused(result) == [(name, 4, "missing-user", ",绿茶,2024-01-03,1")]
    assert (result.read, result.accepted) == (4, 3)


def test_bytes_that_an_encoding_does_not_know_refuse_their_own_line_alone(tmp_path: Path) -> None:
    for encoding, broken in (("utf-16-le", b"\x00\xd8"), ("gb18030", b"\xff"), ("utf-8", b"\xff")):
        lines = [line.encode(encoding) for line in TEXT.splitlines(keepends=True)]
        lines[2] = lines[2].replace("café".encode(encoding), broken)
        (tmp_path / "events.csv").write_bytes(b"".join(lines))
        result = made(tmp_path)
        assert [row[1:3] for row in refused(result)] == [(3, "bad-encoding"), (4, "missing-user")], encoding
        assert (result.read, result.accepted) == (4, 2)


def test_an_encoding_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    western = "user,item,ts,value\nÜnal,café crème,2024-01-01,1\nJosé,thé à la menthe,2024-01-02,2\n"
    (tmp_path / "events.csv").write_bytes(western.encode("cp1252"))
    with pytest.raises(UnreadableFile, match="not UTF-8") as caught:
        made(tmp_path)
    assert "encoding = " in (caught.value.remedy or "")
    found = made(tmp_path, 'files = "events.csv"\nencoding = "cp1252"')
    assert [row[:2] for row in events(found)] == [("Ünal", "café crème"), ("José", "thé à la menthe")]
    for name in ("utf-9", "rot13", "hex", "unicode_escape", "idna", "a\\u0000b"):
        with pytest.raises(InvalidSpec, match="no encoding of text"):
            made(tmp_path, f'files = "events.csv"\nencoding = "{name}"')


@pytest.mark.parametrize(
    ("header", "encoding", "read"),
    [
        ("学号,试卷编号,考试时间,成绩", "gb18030", True),
        ("ДАТА,НОМЕР,ВРЕМЯ,ЦЕНА", "cp1251", False),
        ("Größe,Schlüssel,Zeit,Käufer", "cp1252", False),
        ("ユーザー,商品コード,日時,評価", "shift_jis", False),
    ],
)
def test_a_header_alone_tells_chinese_by_its_words(tmp_path: Path, header: str, encoding: str, read: bool) -> None:
    (tmp_path / "events.csv").write_bytes((header + "\nu1,i1,2024-01-01,5\n").encode(encoding))
    if read:
        assert decode(tmp_path / "events.csv", into=tmp_path).encoding == "gb18030"
    else:
        with pytest.raises(UnreadableFile, match="encoding"):
            decode(tmp_path / "events.csv", into=tmp_path)


@pytest.mark.parametrize("zone", ["PST", "PDT", "CST", "BST", "IST", "EST", "CEST", "cst"])
def test_letters_that_many_zones_share_are_no_zone(tmp_path: Path, zone: str) -> None:
    (tmp_path / "events.csv").write_text(
        "user,item,ts,value\n"
        f"a,b,2023-07-01 10:00:00 {zone},1\na,c,2023-07-01 10:00:00{zone},1\n"
        + "".join(
            f"a,d{n},2023-07-01 {time},1\n"
            for n, time in enumerate(
                ("10:00:00 UTC", "10:00:00 gmt", "10:00:00Z", "12:00:00 Europe/Berlin", "12:00:00+02", "10:00")
            )
        )
    )
    result = made(tmp_path)
    assert result.reasons == {"unreadable-time": 2} and result.accepted == 6
    with Warehouse.open(result.path) as warehouse:
        assert warehouse.facts.first_ts == warehouse.facts.last_ts


def test_a_stream_that_is_cut_off_or_grows_beyond_belief(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = TEXT.encode() * 500
    for packed in (gzip.compress(whole), zstd.compress(whole, asbytes=True), bz2.compress(whole)):
        (tmp_path / "events.csv").write_bytes(packed[: len(packed) // 2])
        with pytest.raises(UnreadableFile, match="damaged or cut off"):
            made(tmp_path)
    for packed in (gzip.compress(whole), zstd.compress(whole, asbytes=True), bz2.compress(whole)):
        (tmp_path / "events.csv").write_bytes(packed + b"what is behind it")
        with pytest.raises(UnreadableFile, match="damaged or cut off"):
            made(tmp_path)
    monkeypatch.setattr(decoding, "MOST_FREE", 1000)
    (tmp_path / "events.csv").write_bytes(gzip.compress(b"\n" * 10_000_000))
    with pytest.raises(UnreadableFile, match="times as large"):
        made(tmp_path)
    (tmp_path / "events.csv").write_bytes(gzip.compress(gzip.compress(whole)))
    with pytest.raises(UnreadableFile, match="compressed with gzip"):
        made(tmp_path)


def test_text_is_decoded_alike_wherever_its_chunks_break(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("utf-16", "utf-16-be", "gb18030", "utf-32"):
        marked = "\ufeff" + TEXT if encoding == "utf-16-be" else TEXT
        (tmp_path / "t").write_bytes(marked.encode(encoding))
        for size in (1, 2, 3, 5, 7, 64):
            monkeypatch.setattr(decoding, "_CHUNK_BYTES", size)
            assert decode(tmp_path / "t", into=tmp_path).text.read_text(encoding="utf-8") == TEXT, (encoding, size)


# ---- JSON lines


def lines_of(*rows: object) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows)


def test_json_lines(tmp_path: Path) -> None:
    text = lines_of(
        {"user": "安娜", "item": "绿茶", "ts": "2024-01-01", "value": 5},
        "",
        {"item": "café", "value": None, "ts": 1704153600.0, "user": "bob"},
        "not json",
        [1, 2],
        {"user": None, "item": "x", "ts": "2024-01-01"},
        '{"user": "a", "item": "b", "ts": "2024-01-01"',
        {"user": 7.0, "item": 12345678901234567890, "ts": "2024-01-01", "value": "Infinity"},
        {"user": "Ünal", "item": "绿茶", "ts": "2024-01-04", "value": "2.5", "more": {"a": [1]}},
        {"user": "a\0b", "item": "b", "ts": "2024-01-01"},
    )
    (tmp_path / "events.jsonl").write_text("\ufeff" + text.replace("1704153600.0", '"2024-01-02"'), encoding="utf-8")
    result = made(tmp_path, 'files = "events.jsonl"')
    assert events(result) == EVENTS
    assert [row[1:3] for row in refused(result)] == [
        (4, "unreadable-json"),
        (5, "no-json-object"),
        (6, "missing-user"),
        (7, "unreadable-json"),
        (8, "infinite-value"),
        (10, "unprintable-user"),
    ]
    assert refused(result)[0][3] == "not json"
    assert result.read == result.accepted + result.quarantined == 9


def test_nested_members_are_named_by_dots_and_lists_are_joined(tmp_path: Path) -> None:
    spec = (
        SPEC.format(where='files = "e.ndjson"')
        .replace('user = "user"', 'user = "who.id"')
        .replace('item = "item"', 'item = "what/\\"it\\""')
        + '[items]\ntitle = "a.b"\ncategories = "tags"\n'
    )
    first = {"who": {"id": 3}, 'what/"it"': "x", "ts": "2024-01-01", "value": 1, "a.b": "plain", "a": {"b": "nested"}}
    second = {"who": {"id": "4"}, 'what/"it"': "y", "ts": "2024-01-02", "value": 1, "tags": ["tea", "cup"]}
    (tmp_path / "e.ndjson").write_text(lines_of(first, second))
    result = ingest(parse_spec(spec), base=tmp_path, home=tmp_path / "home", now=NOW)
    with Warehouse.open(result.path) as warehouse:
        items = warehouse.run("SELECT key, title, categories FROM items ORDER BY item_id").to_pylist()
        users = warehouse.run("SELECT key FROM users ORDER BY user_id").to_pylist()
    assert [row["key"] for row in users] == ["3", "4"]
    assert items[0]["title"] == "plain" and items[1]["categories"] == ["tea", "cup"]


def test_a_member_that_comes_late_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonlines, "_SAMPLE_LINES", 2)
    first = {"user": "a", "item": "b", "ts": "2024-01-01"}
    (tmp_path / "e.jsonl").write_text(lines_of(first, first, first, first | {"value": 3}, first))
    assert [row[2] for row in events(made(tmp_path, 'files = "e.jsonl"'))] == [None, None, None, 3.0, None]
    (tmp_path / "e.jsonl").write_text(lines_of(*[first] * 5))
    with pytest.raises(MissingColumn, match="'value'"):
        made(tmp_path, 'files = "e.jsonl"')


def test_a_member_that_one_file_leaves_out_is_not_said_there(tmp_path: Path) -> None:
    first = {"user": "a", "item": "b", "ts": "2024-01-01"}
    (tmp_path / "day1.jsonl").write_text(lines_of(first))
    (tmp_path / "day2.jsonl").write_text(lines_of(first | {"value": 3}))
    (tmp_path / "day3.jsonl").write_text("")  # nothing happened
    assert [row[2] for row in events(made(tmp_path, 'files = "day*.jsonl"'))] == [None, 3.0]
    (tmp_path / "day4.jsonl").write_text(lines_of({"user": "a", "ts": "2024-01-01"}))
    with pytest.raises(MissingColumn, match=r"day4\.jsonl has no column 'item'"):
        made(tmp_path, 'files = "day*.jsonl"')
    with pytest.raises(UnreadableFile, match=r"day3\.jsonl"):
        made(tmp_path, 'files = "day3.jsonl"')
    with pytest.raises(MissingColumn, match=r"'value'.*'user', 'item', 'ts'"):
        made(tmp_path, 'files = "day1.jsonl"')


def test_json_that_is_not_an_object_a_line(tmp_path: Path) -> None:
    for text, said in (('[{"user": 1}]', "JSON array"), ("[" * 100_000, "no column"), ("{}\n", "no column 'user'")):
        (tmp_path / "events.jsonl").write_text(text)
        with pytest.raises(LodestarError, match=said):
            made(tmp_path, 'files = "events.jsonl"')


# ---- folders


def test_a_folder_of_files_is_read_in_the_order_of_its_paths(tmp_path: Path) -> None:
    for day, row in zip(("01", "02", "03", "04"), ROWS, strict=True):
        folder = tmp_path / "log" / f"day={day}"
        folder.mkdir(parents=True)
        columns = dict(zip(("user", "item", "ts", "value"), ([cell or None] for cell in row), strict=True))
        pq.write_table(pa.table(columns), folder / "part-0.parquet")
    (tmp_path / "log" / "_SUCCESS").touch()
    (tmp_path / "log" / ".part-0.parquet.crc").touch()
    result = made(tmp_path, 'files = "log"\ncontext = "day"')
    assert events(result) == EVENTS
    assert [row[:3] for row in refused(result)] == [("log/day=03/part-0.parquet", 1, "missing-user")]
    with Warehouse.open(result.path) as warehouse:
        days = warehouse.run(
            "SELECT context['day'] AS day, source FROM events ASOF JOIN files ON event_id >= place ORDER BY event_id"
        ).to_pylist()
    assert [row["day"] for row in days] == ["01", "02", "04"]
    (tmp_path / "log" / "notes.docx").touch()
    with pytest.raises(UnreadableFile, match=r"notes\.docx"):
        made(tmp_path, 'files = "log"')


def test_a_folders_name_says_nothing_of_a_column_that_the_file_has_or_from_above_the_spec(tmp_path: Path) -> None:
    above = tmp_path / "user=backup"
    (above / "item=7").mkdir(parents=True)
    columns = {"user": ["a", "b"], "item": ["x", "y"], "ts": ["2024-01-01"] * 2, "value": [1.0, 2.0]}
    pq.write_table(pa.table(columns), above / "e.parquet")
    assert [row[:2] for row in events(made(above, 'files = "e.parquet"'))] == [("a", "x"), ("b", "y")]
    pq.write_table(pa.table(columns), above / "item=7" / "e.parquet")
    with pytest.raises(UnreadableFile, match="has a column 'item', and so has its folder"):
        made(above, 'files = "item=7"')
    twice = pa.table([pa.array(["a"])] * 2 + [pa.array(["2024-01-01"])], names=["user", "user", "ts"])
    pq.write_table(
        twice.append_column("item", pa.array(["x"])).append_column("value", pa.array([1.0])), above / "t.parquet"
    )
    with pytest.raises(UnreadableFile, match="two columns named 'user'"):
        made(above, 'files = "t.parquet"')


def test_a_file_that_is_named_twice_or_is_none(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(TEXT, encoding="utf-8")
    for files in ('["events.csv", "*.csv"]', '["events.csv", "./events.csv"]'):
        with pytest.raises(InvalidSpec, match="more than once"):
            made(tmp_path, f"files = {files}")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UnreadableFile, match="is no file"):
        made(tmp_path, 'files = "pipe.csv"')


def test_a_link_that_leads_to_a_folder_or_nowhere_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "a.csv").write_text(TEXT, encoding="utf-8")
    (tmp_path / "log" / "b.csv").symlink_to(tmp_path / "nothing.csv")
    for files in ("log", "log/*.csv"):
        with pytest.raises(UnreadableFile, match=r"b\.csv"):
            made(tmp_path, f'files = "{files}"')
    (tmp_path / "log" / "b.csv").unlink()
    (tmp_path / "other").mkdir()
    (tmp_path / "log" / "c").symlink_to(tmp_path / "other")
    with pytest.raises(UnreadableFile, match="a link to a folder"):
        made(tmp_path, 'files = "log"')


@pytest.mark.parametrize("files", ["**x*", "a**/*.csv", "a\\u0000b.csv", "e" * 300 + ".csv", "e" * 300 + "*"])
def test_a_path_that_is_none(tmp_path: Path, files: str) -> None:
    with pytest.raises(UnreadableFile) as caught:
        made(tmp_path, f'files = "{files}"')
    assert caught.value.remedy and "\n" not in str(caught.value)


def test_a_file_whose_name_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "log") + b"/\xff.csv")).write_text(TEXT, encoding="utf-8")
    with pytest.raises(UnreadableFile, match="files: "):
        made(tmp_path, 'files = "log"')


def test_the_whole_text_of_a_refused_record_is_kept(tmp_path: Path) -> None:
    record = '"","tea\ngreen\nloose",2024-01-01,1'
    (tmp_path / "events.csv").write_text(f"user,item,ts,value\n{record}\n\nbob,cup,2024-01-02,\n")
    assert refused(made(tmp_path)) == [("events.csv", 2, "missing-user", record)]
    (tmp_path / "events.csv").write_text(TEXT.replace("bob,café", ",café"), encoding="utf-8")
    assert [row[3] for row in refused(made(tmp_path))] == [",café,2024-01-02,", ",绿茶,2024-01-03,1"]


def test_a_cell_of_many_characters_is_read_quoted_or_not(tmp_path: Path) -> None:
    long = "x" * 200_000
    for cell in (f'"{long}"', long, f'"{long}\n"'):
        (tmp_path / "events.csv").write_text(f"user,item,ts,value,note\na,b,2024-01-01,1,{cell}\n")
        assert events(made(tmp_path)) == [("a", "b", 1.0)]


def test_bytes_that_are_no_text_refuse_their_record_on_whichever_of_its_lines(tmp_path: Path) -> None:
    head = "note,user,item,ts,value\nplain,安娜,绿茶,2024-01-01,5\n".encode()
    other = b"".join(b'"two\nlines",u' + byte + b"1,x,2024-01-02,1\n" for byte in (b"\xff", b"\xfe"))
    (tmp_path / "events.csv").write_bytes(head + other + b'"two\nlines",bob,x,2024-01-03,2\n')
    result = made(tmp_path, 'files = "events.csv"\nencoding = "utf-8"')
    assert events(result) == [("安娜", "绿茶", 5.0), ("bob", "x", 2.0)]
    assert result.reasons == {"bad-encoding": 4}
    assert [row[1] for row in refused(result)] == [3, 4, 5, 6]


@pytest.mark.parametrize("kind", [pa.string(), pa.binary(), pa.large_string()])
def test_a_text_of_parquet_that_is_none_refuses_its_row_alone(tmp_path: Path, kind: pa.DataType) -> None:
    keys = pa.array([b"u1", b"\xff\xfe", b"u3", b"u4"], pa.large_binary() if kind == pa.large_string() else pa.binary())
    users = keys if kind == pa.binary() else pa.Array.from_buffers(kind, len(keys), keys.buffers())
    (tmp_path / "day=2024-01-01").mkdir()
    rest = {"item": list("abcd"), "value": [1.0, 2.0, None, 4.0]}
    pq.write_table(pa.table({"user": users, **rest}), tmp_path / "day=2024-01-01" / "events.parquet")
    where = 'files = "day=2024-01-01/events.parquet"'
    spec = parse_spec(SPEC.format(where=where).replace('ts = "ts"', 'ts = "day"'))
    result = ingest(spec, base=tmp_path, home=tmp_path / "home", now=NOW)
    assert events(result) == [("u1", "a", 1.0), ("u3", "c", None), ("u4", "d", 4.0)]
    assert [row[1:3] for row in refused(result)] == [(2, "bad-encoding")]
    with Warehouse.open(result.path) as warehouse:
        assert [reads.lineage(warehouse, number)["line"][0].as_py() for number in (0, 1, 2)] == [1, 3, 4]


def test_titles_of_a_log_are_those_of_its_events_whichever_rows_are_read_for_them(tmp_path: Path) -> None:
    """A title that is no text has its row left out where titles are read, not where events are."""
    rows = {
        "user": ["a", "b", "c", "d", "e"],
        "item": ["x", "y", "z", "x", "y"],
        "ts": ["2024-01-01", "soon", "2024-01-03", "2024-01-04", "2024-01-05"],
        "value": [1.0, 2.0, 3.0, 4.0, 5.0],
        "name": pa.array([b"bad \xff", b"of a refused row", b"Z", b"X", b"Y"], pa.binary()),
    }
    pq.write_table(pa.table(rows), tmp_path / "events.parquet")
    spec = SPEC.format(where='files = "events.parquet"') + '[items]\ntitle = "name"\n'
    result = ingest(parse_spec(spec), base=tmp_path, home=tmp_path / "home", now=NOW)
    with Warehouse.open(result.path) as warehouse:
        titles = warehouse.run("SELECT key, title FROM items ORDER BY key").to_pylist()
    assert result.accepted == 4
    assert titles == [{"key": key, "title": key.upper()} for key in "xyz"]


def test_a_text_of_sqlite_that_is_none_refuses_its_row_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE log (user, item, ts, value)")
        rows = [(b"\xff\xfe" if n == 2 else f"u{n}", "a", "2024-01-01", n) for n in range(5)]
        connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?)", rows)
    result = made(tmp_path, 'database = "sqlite:///shop.db"\nquery = "SELECT * FROM log"')
    assert [row[0] for row in events(result)] == ["u0", "u1", "u3", "u4"]
    assert [row[1:3] for row in refused(result)] == [(3, "bad-encoding")]


@pytest.mark.parametrize(("column", "reason"), [("user", "missing-user"), ("kind", "missing-kind")])
def test_a_folder_of_rows_without_a_value_has_none(tmp_path: Path, column: str, reason: str) -> None:
    for value in ("u1", "__HIVE_DEFAULT_PARTITION__"):
        folder = tmp_path / "log" / f"{column}={value}"
        folder.mkdir(parents=True)
        rest = {name: ["x"] for name in ("user", "item", "kind") if name != column}
        pq.write_table(pa.table({**rest, "ts": ["2024-01-01"], "value": [1.0]}), folder / "part.parquet")
    result = made(tmp_path, 'files = "log"\nkind = "kind"')
    assert (result.accepted, result.reasons) == (1, {reason: 1})


def test_a_file_that_only_the_exact_reader_sees_right_is_read_again_alone(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text(TEXT, encoding="utf-8")
    (tmp_path / "2.csv").write_text('user,item,ts,value\n"cyd","te"a,2024-01-05,3\n"dan","tea",2024-01-06,4\n')
    (tmp_path / "3.csv").write_text(TEXT, encoding="utf-8")
    result = made(tmp_path, 'files = "?.csv"')
    assert events(result) == [*EVENTS, ("dan", "tea", 4.0), *EVENTS]
    assert [row[:3] for row in refused(result)] == [
        ("1.csv", 4, "missing-user"),
        ("2.csv", 2, "bad-quotes"),
        ("3.csv", 4, "missing-user"),
    ]


def test_a_long_name_and_a_long_header(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("x" * 200_000 + "\n" + "y\n" * 3)
    with pytest.raises(MissingColumn):
        made(tmp_path)
    name = "e" * 240 + ".csv.gz"
    (tmp_path / name).write_bytes(gzip.compress(TEXT.encode()))
    assert events(made(tmp_path, f'files = "{name}"')) == EVENTS


def test_patterns_reach_below_and_mix_kinds(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one.csv").write_text("user,item,ts,value\nann,tea,2024-01-01,1\n")
    (tmp_path / "a" / "b" / "two.csv.gz").write_bytes(gzip.compress(b"value;user;ts;item\n2;bob;2024-01-02;cup\n"))
    third = {"user": "c", "item": "d", "ts": "2024-01-03", "value": 3}
    (tmp_path / "a" / "b" / "three.jsonl").write_text(lines_of(third))
    result = made(tmp_path, 'files = ["a/**/*.csv*", "a/b/*.jsonl"]')
    assert sorted(events(result)) == [("ann", "tea", 1.0), ("bob", "cup", 2.0), ("c", "d", 3.0)]


# ---- databases

QUERY = 'SELECT u AS \\"user\\", i AS item, at AS ts, value FROM log ORDER BY n'


def test_a_query_to_sqlite(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE log (n INTEGER, u TEXT, i TEXT, at TEXT, value REAL)")
        rows = [(n, user or None, item, at, value or None) for n, (user, item, at, value) in enumerate(ROWS)]
        connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?)", rows)
    where = f'database = "sqlite:///shop.db"\nquery = "{QUERY}"'
    result = made(tmp_path, where)
    assert events(result) == EVENTS
    assert [row[:3] for row in refused(result)] == [("shop.db", 3, "missing-user")]
    for query, said in (
        ("SELECT * FROM nowhere", "nowhere"),
        ("DELETE FROM log", "no single SELECT"),
        ("WITH x AS (SELECT 1) DELETE FROM log", "shop.db"),
        ("SELECT 1 AS one", "no column 'user'"),
        ("", "no single SELECT"),
    ):
        with pytest.raises(LodestarError, match=said):
            made(tmp_path, f'database = "sqlite:///shop.db"\nquery = "{query}"')
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        assert connection.execute("SELECT count(*) FROM log").fetchone() == (4,)
    with pytest.raises(UnreadableFile, match="no database"):
        made(tmp_path, where.replace("shop.db", "none.db"))
    assert not (tmp_path / "none.db").exists()


def test_what_sqlite_holds_is_taken_as_it_is_whatever_its_kind(tmp_path: Path) -> None:
    rows = [
        (10000001, 9007199254740993, 1704100000.25, 1234567.89),
        ("guest", "x", "2024-01-02", None),
        (10000002, 2.5, 1704109999, "7"),
        (7.0, b"blob", 1704100001, 0.1),
        (None, "x", 1704100001, 1),
    ]
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE log (user, item, ts, value)")
        connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?)", [rows[0]] * 2000 + rows)
    result = made(tmp_path, 'database = "sqlite:///shop.db"\nquery = "SELECT * FROM log; "')
    assert events(result)[1999:] == [
        ("10000001", "9007199254740993", 1234567.89),
        ("10000001", "9007199254740993", 1234567.89),
        ("10000002", "2.5", 7.0),
        ("7", "blob", 0.1),
    ]
    assert result.reasons == {"missing-user": 1, "unreadable-time": 1}
    with Warehouse.open(result.path) as warehouse:
        assert warehouse.facts.first_ts.microsecond == 250_000
    for query in ("ATTACH 'new.db' AS n", "SELECT 1; SELECT 2", "PRAGMA user_version = 7"):
        with pytest.raises(InvalidSpec, match="no single SELECT"):
            made(tmp_path, f'database = "sqlite:///shop.db"\nquery = "{query}"')
    assert not Path("new.db").exists()


def test_a_query_to_postgresql(tmp_path: Path, empty_database: str) -> None:
    with psycopg.connect(empty_database) as connection:
        connection.execute("CREATE TABLE log (n int, u text, i text, at timestamptz, value numeric)")
        for n, (user, item, at, value) in enumerate(ROWS):
            connection.execute(
                "INSERT INTO log VALUES (%s, %s, %s, %s, %s)", (n, user or None, item, f"{at} 12:00+08", value or None)
            )
    result = made(tmp_path, f'database = "{empty_database}"\nquery = "{QUERY}"')
    assert events(result) == EVENTS
    with Warehouse.open(result.path) as warehouse:
        assert warehouse.facts.first_ts.isoformat() == "2024-01-01T04:00:00+00:00"
    with pytest.raises(UnreadableFile, match="read-only"):
        made(tmp_path, f'database = "{empty_database}"\nquery = "DELETE FROM log RETURNING *"')
    for query, said in (
        ("SELECT 'a' AS item, '10.0.0.1'::inet AS user, now() AS ts, 1 AS value", "only the database can write"),
        (
            "SELECT 'a' AS item, n::text AS user, now() AS ts, 1 / (n - 900) AS value FROM generate_series(1, 999) n",
            "zero",
        ),
    ):
        quoted = query.replace("AS user", 'AS \\"user\\"')
        with pytest.raises(UnreadableFile, match=said):
            made(tmp_path, f'database = "{empty_database}"\nquery = "{quoted}"')
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("SELECT count(*) FROM log").fetchone() == (4,)


def test_a_database_of_another_encoding(tmp_path: Path, empty_database: str) -> None:
    query = "SELECT 'u1' AS \\\"user\\\", 'caf' || chr(233) AS item, timestamptz '2024-01-01' AS ts, 1 AS value"
    with psycopg.connect(empty_database, autocommit=True) as connection:
        name = f"{connection.info.dbname}_latin"
        connection.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
        address = empty_database.replace(connection.info.dbname, name)
        result = made(tmp_path, f'database = "{address}"\nquery = "{query}"')
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert [one[1] for one in events(result)] == ["café"]


@pytest.mark.parametrize("value", ["19.99::money", "4000000000::oid", "ARRAY[19.99::money]"])
def test_what_a_driver_reads_as_another_number_is_asked_for_as_text(
    tmp_path: Path, empty_database: str, value: str
) -> None:
    query = f"SELECT 'u1' AS \\\"user\\\", 'i1' AS item, timestamptz '2024-01-01' AS ts, {value} AS value"
    with pytest.raises(UnreadableFile, match="value::text AS value"):
        made(tmp_path, f'database = "{empty_database}"\nquery = "{query}"')


@pytest.mark.parametrize("name", ["a?b.db", "a#b.db", "a b.db", "a%20b.db"])
@pytest.mark.parametrize("scheme", ["sqlite", "SQLite"])
def test_a_file_of_sqlite_by_any_name(tmp_path: Path, name: str, scheme: str) -> None:
    with closing(sqlite3.connect(tmp_path / name)) as connection, connection:
        connection.execute("CREATE TABLE log (user, item, ts, value)")
        connection.execute("INSERT INTO log VALUES ('u', 'i', '2024-01-01', 1)")
    assert made(tmp_path, f'database = "{scheme}:///{name}"\nquery = "SELECT * FROM log"').accepted == 1


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:secret@host/shop",
        "postgresql://host/shop?password=secret",
        "postgresql://host/shop?pass%77ord=secret",
        "postgresql://me:sec/secret@host/shop",
        "mysql://host/shop",
        "shop.db",
        "postgresql://[host",
    ],
)
def test_an_address_that_is_no_database_or_tells_a_password(tmp_path: Path, address: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        made(tmp_path, f'database = "{address}"\nquery = "SELECT 1"')
    assert "secret" not in str(caught.value) and caught.value.remedy


def test_a_section_has_one_place(tmp_path: Path) -> None:
    both = 'files = "e.csv"\ndatabase = "sqlite:///a.db"\nquery = "SELECT 1"'
    for where in ("", 'database = "sqlite:///a.db"', both):
        with pytest.raises(InvalidSpec):
            made(tmp_path, where)
    (tmp_path / "events.jsonl").write_text(lines_of({"user": "a", "item": "b", "ts": "2024-01-01"}))
    with pytest.raises(MissingColumn, match="value"):
        made(tmp_path, 'files = "events.jsonl"')
