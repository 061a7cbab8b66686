import io
from pathlib import Path
from typing import Any

import pytest

from data.reading import textfile
from data.reading.textfile import MAX_LINES_IN_QUOTES, Reject, Shape, exact_rows, shape_of


def split(text: str, *, columns: int = 3) -> tuple[list[tuple[int, list[str]]], list[Reject]]:
    rejects: list[Reject] = []
    lines = io.BytesIO(text.encode())
    return list(exact_rows(lines, columns=columns, delimiter=",", rejects=rejects)), rejects


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


DIALECT: dict[str, Any] = {"delimiter": ",", "columns": 2}


def test_the_shape_of_a_file_does_not_depend_on_where_chunks_break(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\r\n1,2\r\n3,4\r\n")
    shapes = set()
    for size in range(1, 20):
        monkeypatch.setattr(textfile, "_CHUNK_BYTES", size)
        shapes.add(shape_of(path, **DIALECT))
    assert shapes == {Shape(True, "\\r\\n", 2)}
    path.write_bytes(b"a,b\r\n1,2\r\n\r\n3,4\r\n")
    for size in range(1, 20):
        monkeypatch.setattr(textfile, "_CHUNK_BYTES", size)
        assert not shape_of(path, **DIALECT).plain


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ('a,b\n"1","2"\n', True),
        ('"a","b"\r\n"1, 2","say ""so"""\r\n"","x"', True),
        ('a,b\n1,"two\nlines"\n', False),
        ('a,b\n1,tw"o"\n', False),
        ('a,b\n1,"two" \n', False),
        ('a,b\n1, "two"\n', False),
        ('a,b\n1,"tw"o"\n', False),
        ("a,b\n1,\n", True),
        ("a,b\n1,2,\n", False),
        ("a,b\n1,2\n3,4,", False),
        ('a,b\n"1,",\n', True),
        ('a,b\n"1,",2,\n', False),
    ],
)
def test_a_file_is_plain_where_all_readers_see_its_cells_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, plain: bool
) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode())
    for size in (1, 2, 3, 7, 1000):
        monkeypatch.setattr(textfile, "_CHUNK_BYTES", size)
        assert shape_of(tmp_path / "t.csv", **DIALECT).plain == plain, size


@pytest.mark.parametrize(
    ("text", "rows", "rejected"),
    [
        ('a,b\n1,"open\n2,x\n3,close"\n4,y\n', [(5, ["4", "y"])], [2, 3, 4]),
        ('a,b\n1,"two\nlines"\n4,y\n', [(2, ["1", "two\nlines"]), (4, ["4", "y"])], []),
        ('a,b\n"two\nlines",1\n4,y\n', [(2, ["two\nlines", "1"]), (4, ["4", "y"])], []),
        ('a,b\n"open,1\n2,x\n3,y",4\n', [], [2, 3, 4]),
    ],
)
def test_where_a_quote_may_have_been_left_open_no_line_is_taken_and_none_lost(
    text: str, rows: list[tuple[int, list[str]]], rejected: list[int]
) -> None:
    rejects: list[Reject] = []
    found = list(exact_rows(iter(text.encode().splitlines(keepends=True)), columns=2, delimiter=",", rejects=rejects))
    assert found == rows
    assert [reject.line for reject in rejects] == rejected
