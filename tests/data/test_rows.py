import io
from pathlib import Path

import numpy as np
import pytest

from data import rows as rows_module
from data.rows import MAX_LINES_IN_QUOTES, Reject, Staged, exact_rows, stage
from data.warehouse import build_connection


def split(text: str, *, columns: int = 3) -> tuple[list[tuple[int, list[str]]], list[Reject]]:
    rejects: list[Reject] = []
    lines = io.BytesIO(text.encode())
    return list(exact_rows(lines, columns=columns, delimiter=",", rejects=rejects)), rejects


def staged(path: Path, *columns: str) -> tuple[Staged, list[dict[str, str]], list[int]]:
    """The staging, its rows, and the line of each."""
    with build_connection(None, threads=1) as connection:
        found = stage(connection, "raw", [path], columns=list(columns))
        rows = connection.sql("SELECT rowid AS at, * FROM raw ORDER BY rowid").to_arrow_table()
    _, lines = found.locate(rows["at"].to_numpy().astype(np.int64))
    return found, rows.drop_columns(["at", "rest", "file"]).to_pylist(), lines.tolist()


def test_quotes_commas_and_line_ends_inside_quotes() -> None:
    records, rejects = split('a,b,c\n1,"x,y",2\n\n3,"two\n\nlines",4\n5,"say ""hi""",6\n7,it"s,8\n')
    assert records == [
        (2, ["1", "x,y", "2"]),
        (4, ["3", "two\n\nlines", "4"]),
        (7, ["5", 'say "hi"', "6"]),
        (8, ["7", 'it"s', "8"]),
    ]
    assert rejects == []


def test_an_unclosed_quote_costs_its_own_line_alone() -> None:
    records, rejects = split('a,b,c\n1,"open,2\n3,x,4\n5,"y",6\n')
    assert [line for line, _ in records] == [3, 4]
    assert rejects == [Reject(2, "bad-quotes", '1,"open,2')]


def test_an_unclosed_quote_before_many_lines_gives_up_and_goes_on() -> None:
    many = "".join(f"{number},x,y\n" for number in range(3 * MAX_LINES_IN_QUOTES))
    records, rejects = split('a,b,c\n1,"open,2\n' + many)
    assert len(records) == 3 * MAX_LINES_IN_QUOTES
    assert records[-1][0] == 2 + 3 * MAX_LINES_IN_QUOTES
    assert [reject.line for reject in rejects] == [2]


def test_ragged_and_undecodable_lines_are_told_with_their_text() -> None:
    rejects: list[Reject] = []
    lines = io.BytesIO(b"a,b,c\n1,2\n1,2,3,4\n\xff,2,3\n1,2,3\n")
    assert [line for line, _ in exact_rows(lines, columns=3, delimiter=",", rejects=rejects)] == [5]
    assert [(reject.line, reject.reason) for reject in rejects] == [
        (2, "ragged-row"),
        (3, "ragged-row"),
        (4, "bad-encoding"),
    ]
    assert rejects[1].raw == "1,2,3,4"


PLAIN = "a,b\n1,x\n2\n3,y\n4,5,6\n7,z\n"
EXPECTED = [{"f0": "1", "f1": "x"}, {"f0": "3", "f1": "y"}, {"f0": "7", "f1": "z"}]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("blank_lines", [False, True])
def test_both_readers_agree_on_rows_and_lines(tmp_path: Path, ending: str, blank_lines: bool) -> None:
    text = PLAIN.replace("\n3,y", "\n\n3,y") if blank_lines else PLAIN
    path = tmp_path / "t.csv"
    path.write_bytes(text.replace("\n", ending).encode())
    found, rows, lines = staged(path, "a", "b")
    shift = int(blank_lines)
    assert rows == EXPECTED
    assert lines == [2, 4 + shift, 6 + shift]
    assert [(reject.line, reject.raw) for reject in found.files[0].rejects] == [(3, "2"), (5 + shift, "4,5,6")]
    assert found.read == 5


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.tsv", "a\tb\n1\tx, y\n"),
        ("t.csv", "a;b\n1;x, y\n"),
        ("t.csv", "a|b\n1|x, y\n"),
        ("t.txt", "a\tb\n1\tx, y\n"),
        ("t.csv", '\ufeffa,b\n1,"x, y"\n'),
        ("t.csv", 'b,c,a\n"x, y",0,1'),
        ("t.csv", "a , b\n1,x; y\n".replace("x; y", '"x, y"')),
        ("t[1].tsv", "a\tb\n1\tx, y\n"),
    ],
)
def test_dialects_are_found_from_the_header(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    _, rows, lines = staged(tmp_path / name, "a", "b")
    assert rows == [{"f0": "1", "f1": "x, y"}]
    assert lines == [2]


def test_when_the_fast_reader_miscounts_the_exact_one_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(PLAIN)
    true_shape = rows_module._shape_of

    def one_more(where: Path) -> rows_module._Shape:
        shape = true_shape(where)
        return rows_module._Shape(shape.plain, shape.newline, shape.records + 1)

    monkeypatch.setattr(rows_module, "_shape_of", one_more)
    found, rows, lines = staged(path, "a", "b")
    assert (rows, lines, found.read) == (EXPECTED, [2, 4, 6], 5)


def test_the_shape_of_a_file_does_not_depend_on_where_chunks_break(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\r\n1,2\r\n3,4\r\n")
    shapes = set()
    for size in range(1, 20):
        monkeypatch.setattr(rows_module, "_CHUNK_BYTES", size)
        shapes.add(rows_module._shape_of(path))
    assert shapes == {rows_module._Shape(True, "\\r\\n", 2)}
    path.write_bytes(b"a,b\r\n1,2\r\n\r\n3,4\r\n")
    for size in range(1, 20):
        monkeypatch.setattr(rows_module, "_CHUNK_BYTES", size)
        assert not rows_module._shape_of(path).plain
