"""An ingest that is only tried says what the ingest will say, and leaves nothing."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data.errors import InvalidSpec, MissingColumn, TooManyRefused, UnreadableFile
from data.ingest import Birth, ingest, noted, published
from data.rehearsal import rehearse
from data.spec import DatasetSpec, parse_spec
from data.warehouse import remove_build

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SPEC = '[dataset]\nname = "d"\n[events]\nfiles = "{file}"\nuser = "user"\nitem = "item"\nts = "ts"\n'


def spec(file: str = "log.csv", more: str = "") -> DatasetSpec:
    return parse_spec(SPEC.format(file=file) + more)


def rows(n: int, *, bad: int = 0) -> str:
    """A log of n rows, every `bad`-th of which has no time."""
    lines = [f"u{i % 7},i{i % 11},{'never' if bad and i % bad == 0 else 1704103200 + i}" for i in range(n)]
    return "user,item,ts\n" + "\n".join(lines) + "\n"


def test_short_files_are_tried_whole_and_say_what_the_ingest_says(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(rows(100, bad=10))
    tried = rehearse(spec(), base=tmp_path, home=tmp_path / "home", now=NOW)
    made = ingest(spec(), base=tmp_path, home=tmp_path / "home", now=NOW)
    assert tried.whole and tried.stopped is None
    assert (
        (tried.read, tried.accepted, tried.quarantined) == (made.read, made.accepted, made.quarantined) == (100, 90, 10)
    )
    assert tried.reasons == made.reasons == {"unreadable-time": 10}
    first = tried.refused.to_pylist()[0]
    assert (first["source"], first["line"], first["column"], first["raw"]) == ("log.csv", 2, "ts", "u0,i0,never")
    assert tried.quality["checks"] == made.quality["checks"]
    assert (tried.n_users, tried.n_items) == (7, 11)
    assert {one.user for one in tried.histories} <= {f"u{n}" for n in range(7)}
    assert all(len(one.events) == min(one.n, 8) for one in tried.histories)
    assert not list((tmp_path / "home" / "warehouse").glob(".tmp*"))


@pytest.mark.parametrize("kind", ["csv", "gz", "utf-16", "jsonl"])
def test_long_files_end_after_whole_records(tmp_path: Path, kind: str) -> None:
    if kind == "jsonl":
        file, text = (
            "log.jsonl",
            "".join(f'{{"user": "u{i}", "item": "i{i}", "ts": {1704103200 + i}}}\n' for i in range(500)),
        )
    else:  # every third record has a line end inside
        file = "log.csv"
        ends = [f'u{i},"i{i}{chr(10) if i % 3 == 0 else " "}x",{1704103200 + i}' for i in range(500)]
        text = "user,item,ts\n" + "\n".join(ends) + "\n"
    data = text.encode("utf-16" if kind == "utf-16" else "utf-8")
    (tmp_path / file).write_bytes(gzip.compress(data) if kind == "gz" else data)
    tried = rehearse(spec(file), base=tmp_path, home=tmp_path, now=NOW, rows=100)
    assert not tried.whole
    assert tried.read == 100
    assert set(tried.reasons) <= {"unprintable-item"}


def test_what_would_stop_the_ingest_is_part_of_the_answer(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(rows(1200, bad=2))
    tried = rehearse(spec(), base=tmp_path, home=tmp_path, now=NOW)
    assert isinstance(tried.stopped, TooManyRefused) and (tried.read, tried.quarantined) == (1200, 600)
    allowed = rehearse(spec(more="most_refused = 0.6\n"), base=tmp_path, home=tmp_path, now=NOW)
    assert allowed.stopped is None
    (tmp_path / "log.csv").write_text("user,item,ts\n" + ",i1,1704103200\n" * 50)
    none = rehearse(spec(), base=tmp_path, home=tmp_path, now=NOW)
    assert isinstance(none.stopped, UnreadableFile)
    assert (none.read, none.accepted, none.refused.num_rows, none.histories) == (50, 0, 50, ())


def test_lists_that_were_cut_do_not_speak_of_what_is_not_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.rehearsal.LISTED_ROWS", 5)
    (tmp_path / "log.csv").write_text(rows(100))
    (tmp_path / "items.csv").write_text("item,title\n" + "".join(f"i{n},T{n}\n" for n in range(11)))
    whole = '[items]\nfiles = "items.csv"\ntitle = "title"\n'
    tried = rehearse(spec(more=whole), base=tmp_path, home=tmp_path, now=NOW)
    assert not tried.whole and "unlisted-items" not in {one["check"] for one in tried.quality["checks"]}


def test_faults_of_files_and_columns_are_raised(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile):
        rehearse(spec(), base=tmp_path, home=tmp_path, now=NOW)
    (tmp_path / "log.csv").write_text("user,item,when\nu,i,1704103200\n")
    with pytest.raises(MissingColumn):
        rehearse(spec(), base=tmp_path, home=tmp_path, now=NOW)
    (tmp_path / "log.csv").write_text("user,item,ts\n")
    with pytest.raises(UnreadableFile):
        rehearse(spec(), base=tmp_path, home=tmp_path, now=NOW)
    (tmp_path / "log.csv").write_text("user,item,ts\nu,i,7\n")
    with pytest.raises(InvalidSpec):
        rehearse(spec(), base=tmp_path, home=tmp_path, now=NOW)


def test_a_query_is_tried_on_its_first_rows(tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        shop.execute("CREATE TABLE log (user TEXT, item TEXT, ts INTEGER)")
        shop.executemany("INSERT INTO log VALUES (?, ?, ?)", [(f"u{i}", f"i{i}", 1704103200 + i) for i in range(50)])
        shop.commit()
    text = SPEC.replace('files = "{file}"', 'database = "sqlite:///shop.db"\nquery = "SELECT * FROM log;"')
    tried = rehearse(parse_spec(text), base=tmp_path, home=tmp_path / "home", now=NOW, rows=20)
    assert (tried.read, tried.whole) == (20, False)


def test_a_delimiter_that_is_said_is_taken(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user:item:ts,a,b,c,d\n" + "u1:i1:1704103200\nu2:i2:1704103201\n")
    with pytest.raises(MissingColumn):
        rehearse(spec(), base=tmp_path, home=tmp_path, now=NOW)
    named = spec(more='delimiter = ":"\n').model_copy()
    (tmp_path / "log.csv").write_text("user:item:ts\nu1:i1:1704103200\nu2:i2:1704103201\n")
    assert rehearse(named, base=tmp_path, home=tmp_path, now=NOW).accepted == 2
    for mark in ("ab", "", '"', "x", "é"):
        with pytest.raises(InvalidSpec, match="delimiter"):
            spec(more=f"delimiter = '{mark}'\n")


def test_a_build_keeps_its_id_and_what_was_noted_and_is_found_again(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(rows(100, bad=10))
    birth = Birth("b-0000abcd", {"feedback_to": 7})
    assert published(tmp_path, "b-0000abcd") is None
    made = ingest(spec(), base=tmp_path, home=tmp_path, now=NOW, birth=birth)
    again = published(tmp_path, "b-0000abcd")
    assert again is not None and noted(made.path) == {"feedback_to": 7}
    assert (again.read, again.reasons, again.quality) == (made.read, made.reasons, made.quality)
    remove_build(tmp_path, "b-0000abcd")
    assert published(tmp_path, "b-0000abcd") is None


def test_refused_rows_are_kept_where_the_threshold_stops_it(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    (tmp_path / "log.csv").write_text(rows(1200, bad=2))
    place = tmp_path / "home" / "quarantine" / "refused" / "d.parquet"
    with pytest.raises(TooManyRefused, match=r"d\.parquet"):
        ingest(spec(), base=tmp_path, home=tmp_path / "home", now=NOW, birth=Birth(refused_to=place))
    kept = pq.read_table(place)
    assert kept.num_rows == 600 and kept.to_pylist()[0]["line"] == 2
    assert not list((tmp_path / "home" / "warehouse").glob("*"))


def test_files_beside_the_spec_s_folder_are_copied_into_the_rehearsal_s_own(tmp_path: Path) -> None:
    base = tmp_path / "deep" / "specs"
    base.mkdir(parents=True)
    (tmp_path / "log.csv").write_text(rows(100, bad=10))
    tried = rehearse(spec("../../log.csv"), base=base, home=tmp_path / "home", now=NOW)
    assert tried.refused.to_pylist()[0]["source"] == "log.csv"
    assert sorted(path.name for path in (tmp_path / "home").rglob("*") if path.is_file()) == []
    (base / "log.csv").write_text(rows(50, bad=5))
    (tmp_path / "deep" / "log.csv").write_text(rows(30, bad=3))
    text = SPEC.format(file="log.csv").replace('"log.csv"', '["log.csv", "../log.csv", "../../log.csv"]')
    several = rehearse(parse_spec(text), base=base, home=tmp_path / "home", now=NOW)
    assert several.read == 180, "those of one name, too"
    assert sorted(path.name for path in (tmp_path / "home").rglob("*") if path.is_file()) == []
    assert (base / "log.csv").read_text() == rows(50, bad=5)
