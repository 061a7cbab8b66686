"""A corpus of files that people really bring, each refused for its reason or taken to the row; then files gone wrong at
random, of which no row may go missing without a word.
"""

import bz2
import gzip
import lzma
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.errors import InputError, InvalidSpec, LodestarError, MissingColumn, UnreadableFile
from data.ingest import ingest
from data.phrases import phrase
from data.spec import parse_spec
from tests.data.conftest import NOW

SPEC = """
[dataset]
name = "shop"
[events]
files = "{name}"
user = "user"
item = "item"
ts = "ts"
kind = "kind"
value = "value"
"""
HEAD = b"user,item,ts,kind,value\n"
GOOD = b"ann,tea,2024-01-01,buy,1\n"
MORE = b"bob,cup,2024-01-02,buy,2\n"


def parquet(**columns: object) -> bytes:
    out = BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def rows(*bad: bytes, head: bytes = HEAD) -> bytes:
    """Bad lines between good ones."""
    return head + GOOD + b"".join(line + b"\n" for line in bad) + MORE


FIELDS = {"user": ["ann"], "item": ["tea"], "ts": ["2024-01-01"], "kind": ["buy"], "value": [1.0]}
JSON_GOOD = b'{"user": "ann", "item": "tea", "ts": "2024-01-01", "kind": "buy", "value": 1}\n'

# what is no file of these rows at all: name, bytes, error, what it says
HOPELESS: list[tuple[str, bytes, type[LodestarError], str]] = [
    ("empty.csv", b"", UnreadableFile, "is empty"),
    ("blank.csv", b"\n \n\t\n", UnreadableFile, "is empty"),
    ("header.csv", HEAD, UnreadableFile, "no rows"),
    ("no-newline.csv", HEAD.strip(), UnreadableFile, "no rows"),
    ("no-header.csv", GOOD + MORE, MissingColumn, "no column 'user'"),
    ("missing.csv", HEAD.replace(b"item,", b"") + b"ann,2024-01-01,buy,1\n", MissingColumn, "no column 'item'"),
    ("case.csv", HEAD.upper() + GOOD, MissingColumn, "no column 'user'"),
    ("twice.csv", HEAD.replace(b"value", b"ts") + GOOD, LodestarError, "ts|value"),
    ("twice-empty.csv", HEAD.replace(b"\n", b",user\n") + GOOD.replace(b"\n", b",x\n"), UnreadableFile,
     "two columns"),
    ("comment.csv", b"# exported by hand\n" + HEAD + GOOD, MissingColumn, "no column 'user'"),
    ("nul.csv", b"\0" * 100, UnreadableFile, "column names|is not UTF-8"),
    ("nul-header.csv", HEAD.replace(b"item", b"it\0em") + GOOD, LodestarError, "column"),
    ("cr.csv", (HEAD + GOOD).replace(b"\n", b"\r"), UnreadableFile, "line of column names"),
    ("binary.csv", bytes(range(256)) * 20, LodestarError, "binary.csv"),
    ("zip.csv", b"PK\x03\x04" + b"\0" * 200, UnreadableFile, "zip archive"),
    ("old.xls.csv", b"\xd0\xcf\x11\xe0" + b"\0" * 200, UnreadableFile, "spreadsheet"),
    ("paper.csv", b"%PDF-1.7\n%abc\n", UnreadableFile, "a PDF"),
    ("shop.db", b"SQLite format 3\0" + b"\0" * 200, UnreadableFile, "SQLite"),
    ("log.7z", b"7z\xbc\xaf\x27\x1c" + b"\0" * 200, UnreadableFile, "7z"),
    ("log.rar", b"Rar!\x1a\x07" + b"\0" * 200, UnreadableFile, "rar"),
    ("log.tar", b"x" * 257 + b"ustar" + b"\0" * 300, UnreadableFile, "tar archive"),
    ("log.tar.gz", gzip.compress(b"x" * 257 + b"ustar" + b"\0" * 300), UnreadableFile, "tar archive"),
    ("log.arrow", b"ARROW1\0\0" + b"\0" * 100, UnreadableFile, "Arrow"),
    ("log.avro", b"Obj\x01" + b"\0" * 100, UnreadableFile, "Avro"),
    ("log.orc", b"ORC" + b"\0" * 100, UnreadableFile, "ORC"),
    ("cut.csv.gz", gzip.compress(rows() * 50)[:-20], UnreadableFile, "damaged or cut off"),
    ("flipped.csv.gz", gzip.compress(rows() * 50)[:-6] + b"\x00\x01\x02\x03\x04\x05", UnreadableFile, "damaged"),
    ("cut.csv.bz2", bz2.compress(rows() * 50)[:-20], UnreadableFile, "damaged or cut off"),
    ("log.csv.xz", lzma.compress(rows()), UnreadableFile, "compressed with xz"),
    ("cut.csv.zst", pa.Codec("zstd").compress(rows() * 50, asbytes=True)[:-20], UnreadableFile, "damaged or cut off"),
    ("gz-of-gz.csv.gz", gzip.compress(gzip.compress(rows())), UnreadableFile, "compressed with gzip"),
    ("plain.csv.gz", b"\x1f\x8bplain text", UnreadableFile, "damaged"),
    ("cut.parquet", parquet(**FIELDS)[:-40], UnreadableFile, "Parquet"),
    ("text.parquet", rows(), UnreadableFile, "Parquet"),
    ("mark.parquet", b"PAR1", UnreadableFile, "Parquet"),
    ("other.parquet", parquet(a=[1]), MissingColumn, "no column 'user'"),
    ("latin.csv", HEAD + "José,thé à la menthe,2024-01-01,b,1\nÜnal,café crème,2024-01-01,b,1\n".encode("latin-1"),
     UnreadableFile, "not UTF-8"),
    ("array.json", b"[" + JSON_GOOD.strip() + b"]", UnreadableFile, "JSON array"),
    ("pretty.json", b"[\n" + JSON_GOOD + b"]", UnreadableFile, "JSON array"),
    ("others.jsonl", b'{"a": 1}\n', MissingColumn, "no column 'user'"),
    ("deep.jsonl", b"[" * 50_000 + b"\n", LodestarError, "no column"),
    ("no-times.csv", HEAD + b"ann,tea,soon,buy,1\nbob,cup,later,buy,1\n", InvalidSpec, "holds no times"),
    ("small-times.csv", HEAD + b"ann,tea,17,buy,1\nbob,cup,18,buy,1\n", InvalidSpec, "no times"),
    ("all-bad.csv", HEAD + b",tea,2024-01-01,buy,1\nbob,,2024-01-01,buy,1\n", UnreadableFile, "none of 2 rows"),
]  # fmt: skip

# what has some bad rows: name, bytes, accepted, reasons
PARTLY: list[tuple[str, bytes, int, dict[str, int]]] = [
    ("bom.csv", b"\xef\xbb\xbf" + rows(), 2, {}),
    ("crlf.csv", rows().replace(b"\n", b"\r\n"), 2, {}),
    ("mixed-ends.csv", rows().replace(b"\n", b"\r\n", 2), 2, {}),
    ("no-end.csv", rows().removesuffix(b"\n"), 2, {}),
    ("blank-lines.csv", rows(b"", b"", b"").replace(b"buy,2\n", b"buy,2\n\n\n"), 2, {}),
    ("semicolons.csv", rows().replace(b",", b";"), 2, {}),
    ("tabs.txt", rows().replace(b",", b"\t"), 2, {}),
    ("padded.csv", rows(b" cyd , tea , 2024-01-03 , buy , 3 "), 3, {}),
    ("quoted.csv", rows(b'"cyd","tea, green","2024-01-03","buy","3"'), 3, {}),
    ("quoted-lines.csv", rows(b'cyd,"tea\ngreen",2024-01-03,buy,3'), 2, {"unprintable-item": 1}),
    ("doubled-quotes.csv", rows(b'cyd,"tea ""green""",2024-01-03,buy,3'), 3, {}),
    ("open-quote.csv", rows(b'cyd,"tea,2024-01-03,buy,3', b"dan,pot,2024-01-04,buy,4"), 3, {"bad-quotes": 1}),
    ("stray-quote.csv", rows(b'cyd,te"a,2024-01-03,buy,3'), 3, {}),
    ("short.csv", rows(b"cyd,tea", b"x"), 2, {"ragged-row": 2}),
    ("long.csv", rows(b"cyd,tea,2024-01-03,buy,3,4,5"), 2, {"ragged-row": 1}),
    ("header-again.csv", rows(HEAD.strip()), 2, {"unreadable-time": 1}),
    ("total.csv", rows(b"total,,,,3"), 2, {"missing-item": 1}),
    ("no-user.csv", rows(b",tea,2024-01-03,buy,3", b"  ,tea,2024-01-03,buy,3"), 2, {"missing-user": 2}),
    ("no-item.csv", rows(b"cyd,,2024-01-03,buy,3"), 2, {"missing-item": 1}),
    ("no-time.csv", rows(b"cyd,tea,,buy,3"), 2, {"missing-time": 1}),
    ("no-kind.csv", rows(b"cyd,tea,2024-01-03,,3"), 2, {"missing-kind": 1}),
    ("no-value.csv", rows(b"cyd,tea,2024-01-03,buy,"), 3, {}),
    ("nul-user.csv", rows(b"c\0yd,tea,2024-01-03,buy,3"), 2, {"unprintable-user": 1}),
    ("bell-item.csv", rows(b"cyd,te\x07a,2024-01-03,buy,3"), 2, {"unprintable-item": 1}),
    ("nul-kind.csv", rows(b"cyd,tea,2024-01-03,b\0uy,3"), 2, {"unprintable-kind": 1}),
    ("nan.csv", rows(b"cyd,tea,2024-01-03,buy,nan", b"cyd,tea,2024-01-03,buy,NaN"), 2, {"infinite-value": 2}),
    ("inf.csv", rows(b"cyd,tea,2024-01-03,buy,inf", b"cyd,tea,2024-01-03,buy,-Infinity"), 2, {"infinite-value": 2}),
    ("words.csv", rows(b"cyd,tea,2024-01-03,buy,three", b"cyd,tea,2024-01-03,buy,1_000"), 2, {"unreadable-value": 2}),
    ("huge.csv", rows(b"cyd,tea,2024-01-03,buy,1e999"), 2, {"infinite-value": 1}),
    ("feb30.csv", rows(b"cyd,tea,2024-02-30,buy,3", b"cyd,tea,2024-13-01,buy,3"), 2, {"unreadable-time": 2}),
    ("future.csv", rows(b"cyd,tea,2999-01-01,buy,3", b"cyd,tea,290000-01-01,buy,3"), 2, {"impossible-time": 2}),
    ("past.csv", rows(b"cyd,tea,1815-06-18,buy,3"), 2, {"impossible-time": 1}),
    ("infinity-time.csv", rows(b"cyd,tea,infinity,buy,3"), 2, {"impossible-time": 1}),
    ("bytes.csv", rows(b"cyd,t\xffea,2024-01-03,buy,3", "dan,thé,2024-01-04,buy,4".encode()), 3, {"bad-encoding": 1}),
    ("surrogate.csv", rows(b"cyd,t\xed\xa0\x80,2024-01-03,buy,3", "dan,thé,2024-01-04,buy,4".encode()), 3,
     {"bad-encoding": 1}),
    ("endless.csv", rows(b"cyd," + b"x" * 2_100_000 + b",2024-01-03,buy,3"), 2, {"line-too-long": 1}),
    ("emoji.csv", rows("cyd,🍵,2024-01-03,buy,3".encode()), 3, {}),
    ("right-to-left.csv", rows("كوب,شاي,2024-01-03,buy,3".encode()), 3, {}),
    ("formula.csv", rows(b"=cmd|'/c calc'!A1,tea,2024-01-03,buy,3"), 3, {}),
    ("markup.csv", rows(b"<script>alert(1)</script>,tea,2024-01-03,buy,3"), 3, {}),
    ("sql.csv", rows(b"'; DROP TABLE events; --,tea,2024-01-03,buy,3"), 3, {}),
    ("odd name [1] *.csv", rows(), 2, {}),
    ("gz-without-its-name.csv", gzip.compress(rows(b"cyd")), 2, {"ragged-row": 1}),
    ("utf16.csv", rows(b"cyd").decode().encode("utf-16"), 2, {"ragged-row": 1}),
    ("broken.jsonl", JSON_GOOD + b'{"user": "cyd", "item"\n' + b"plain text\n" + JSON_GOOD, 2, {"unreadable-json": 2}),
    ("values.jsonl", JSON_GOOD + b'[1]\n"text"\n7\nnull\n', 1, {"no-json-object": 4}),
    ("gaps.jsonl", JSON_GOOD + b'{"user": "cyd"}\n{}\n', 1, {"missing-item": 1, "missing-user": 1}),
    ("types.jsonl", JSON_GOOD + b'{"user": 7, "item": true, "ts": "2024-01-03", "kind": ["a", "b"], "value": {}}\n', 1,
     {"unreadable-value": 1}),
    ("nan.jsonl", JSON_GOOD + JSON_GOOD.replace(b": 1}", b": NaN}"), 1, {"infinite-value": 1}),
    ("two-on-a-line.jsonl", JSON_GOOD + JSON_GOOD.strip() + JSON_GOOD, 1, {"unreadable-json": 1}),
    ("bytes.jsonl", JSON_GOOD + JSON_GOOD.replace(b"tea", b"t\xff\xfe") + "{\"user\": \"é\"}\n".encode(), 1,
     {"bad-encoding": 1, "missing-item": 1}),
    ("nulls.parquet", parquet(**{name: [*cells, None] for name, cells in FIELDS.items()}), 1, {"missing-user": 1}),
    ("nan.parquet", 
     parquet(**{name: cells * 2 for name, cells in FIELDS.items() if name != "value"}, value=[1.0, float("nan")]), 1,
     {"infinite-value": 1}),
]  # fmt: skip


def brought(folder: Path, name: str, content: bytes) -> tuple[int, dict[str, int]]:
    """Accepted and refused rows; what was read is their sum, and each refused row stands in the quarantine."""
    (folder / name).write_bytes(content)
    spec = parse_spec(SPEC.format(name=name))
    result = ingest(spec, base=folder, home=folder / "home", now=NOW)
    kept = pq.read_table(result.quarantine)
    assert result.read == result.accepted + result.quarantined
    assert kept.num_rows == result.quarantined == sum(result.reasons.values())
    assert all(phrase(f"reason.{reason}").said("zh") for reason in result.reasons), "each can be said"
    assert all(line >= 1 for line in kept["line"].to_pylist())
    return result.accepted, result.reasons


@pytest.mark.parametrize(("name", "content", "error", "said"), HOPELESS, ids=[case[0] for case in HOPELESS])
def test_what_is_no_file_of_rows(
    tmp_path: Path, name: str, content: bytes, error: type[LodestarError], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        brought(tmp_path, name, content)
    assert isinstance(caught.value, InputError) and caught.value.remedy and "\n" not in str(caught.value)
    assert not any(path.is_file() for path in (tmp_path / "home").rglob("*")), "nothing is published"


@pytest.mark.parametrize(("name", "content", "accepted", "reasons"), PARTLY, ids=[case[0] for case in PARTLY])
def test_what_has_rows_that_cannot_be_used(
    tmp_path: Path, name: str, content: bytes, accepted: int, reasons: dict[str, int]
) -> None:
    assert brought(tmp_path, name, content) == (accepted, reasons)


# ---- gone wrong at random

CHINESE = (("张三", "绿茶"), ("李四", "红茶"), ("王小明", "保温杯"), ("赵丽", "茶壶与茶杯"), ("刘洋", "明前龙井"))
KINDS: dict[str, Callable[[], bytes]] = {
    "e.csv": lambda: rows(b'"cyd, the third",tea,2024-01-03,buy,3', "é,茶,2024-01-04,buy,".encode()) * 2,
    "e.tsv": lambda: rows().replace(b",", b"\t") * 2,
    "e.jsonl": lambda: JSON_GOOD * 3,
    "e.csv.gz": lambda: gzip.compress(rows(b"cyd,tea,2024-01-03,buy,3"), mtime=0),
    "u.csv": lambda: rows(b"cyd,tea,2024-01-03,buy,3").decode().encode("utf-16"),
    "g.csv": lambda: rows(*(f"{who},{what},2024-01-03,购买,3".encode("gb18030") for who, what in CHINESE)),
    "e.parquet": lambda: parquet(**FIELDS),
}
PIECES = [
    b"\n",
    b"\r",
    b"\r\n",
    b'"',
    b",",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"nan",
    b"\t",
    b"{",
    b"}",
    b"\\",
    b"1e999",
]


@st.composite
def wounded(draw: st.DrawFn) -> tuple[str, bytes]:
    """A sound file after some blows: bytes flipped, put in, left out, doubled, or the rest cut off."""
    name = draw(st.sampled_from(sorted(KINDS)))
    content = bytearray(KINDS[name]())
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        blow = draw(st.sampled_from(["flip", "put", "drop", "double", "cut"]))
        if blow == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif blow == "put":
            content[at:at] = draw(st.one_of(st.sampled_from(PIECES), st.binary(min_size=1, max_size=4)))
        elif blow == "drop":
            del content[at : at + draw(st.integers(1, 20))]
        elif blow == "double":
            content[at:at] = content[at : at + draw(st.integers(1, 40))]
        elif draw(st.integers(0, 3)) == 0:
            del content[at:]
    return name, bytes(content)


def taken(folder: Path, case: tuple[str, bytes]) -> bool:
    """Whether a file's rows were taken, and so add up; else it was refused with a remedy in one line."""
    try:
        brought(folder, *case)
    except LodestarError as error:
        assert error.remedy and "\n" not in str(error)
        return False
    return True


def test_the_files_are_sound_before_they_are_wounded(tmp_path: Path) -> None:
    assert all(taken(tmp_path, (name, made())) for name, made in KINDS.items())


def fuzzed(folder: pytest.TempPathFactory, *, examples: int) -> list[bool]:
    """Of so many wounded files, which were taken."""
    seen: list[bool] = []

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=wounded())
    def one(case: tuple[str, bytes]) -> None:
        seen.append(taken(folder.mktemp("wounded"), case))

    one()
    return seen


def test_a_wounded_file_adds_up_or_is_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    seen = fuzzed(tmp_path_factory, examples=40)
    assert len(seen) >= 40 and {True, False} <= set(seen), "some can still be used, and some cannot"


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_thousand_wounded_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    seen = fuzzed(tmp_path_factory, examples=2_000)
    assert len(seen) >= 2_000 and sum(seen) > 200 and len(seen) - sum(seen) > 200
