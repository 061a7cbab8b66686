from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.reading import rows as rows_module
from data.reading.rows import stage
from data.reading.staging import Source, Staged
from data.reading.textfile import Shape, shape_of
from data.warehouse import build_connection


def scratch(path: Path) -> Path:
    """A folder beside a file, for what is written on the way."""
    folder = path.parent / "scratch"
    folder.mkdir(exist_ok=True)
    return folder


def staged(path: Path, *columns: str) -> tuple[Staged, list[dict[str, str]], list[int]]:
    """The staging, its rows, and the line of each."""
    with build_connection(None, threads=1) as connection:
        found = stage(connection, "raw", [Source(path.name, path)], columns=list(columns), scratch=scratch(path))
        rows = connection.sql("SELECT rowid AS at, * FROM raw ORDER BY rowid").to_arrow_table()
    _, lines = found.locate(rows["at"].to_numpy().astype(np.int64))
    return found, rows.drop_columns(["at", "rest", "file"]).to_pylist(), lines.tolist()


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

    def one_more(where: Path, **dialect: Any) -> Shape:
        shape = shape_of(where, **dialect)
        return Shape(shape.plain, shape.newline, shape.records + 1)

    monkeypatch.setattr(rows_module, "shape_of", one_more)
    found, rows, lines = staged(path, "a", "b")
    assert (rows, lines, found.read) == (EXPECTED, [2, 4, 6], 5)


CELLS = st.sampled_from(['"q, r"', '"x ""y"""', "p", '""', " z ", '"e"', 'te"a', '"a" ', "", "x,y"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.lists(CELLS, min_size=2, max_size=3).map(",".join), min_size=1, max_size=5))
def test_both_readers_agree_on_quotes(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.mktemp("quotes") / "t.csv"
    path.write_text("\n".join(["a,b", *lines, ""]))
    fast, rows, places = staged(path, "a", "b")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "shape_of", lambda *_, **__: Shape(False, "\\n", 0))
        exact, same_rows, same_places = staged(path, "a", "b")
    told = [[(one.line, one.reason) for one in found.files[0].rejects] for found in (fast, exact)]
    assert told[0] == told[1] and places == same_places
    assert [{k: v or "" for k, v in row.items()} for row in rows] == [
        {k: v or "" for k, v in row.items()} for row in same_rows
    ]
