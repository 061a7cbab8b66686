"""Uploads: under names of ours, within their limits also when unpacked, text alone, and whole or not there."""

import bz2
import errno
import gzip
import io
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import pyarrow as pa
import pytest

from data import uploads
from data.errors import DamagedArtefact, DiskFull, InputError, InvalidSpec, UnknownUpload, UnreadableFile
from data.spec import parse_spec
from data.uploads import Limits, receive, safe_name

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LIMITS = Limits(most_bytes=1_000_000, most_unpacked=4_000_000, kept_for=timedelta(days=7))
CSV = b"user,item,ts\nu1,i1,2025-01-01\n"


def bring(home: Path, *files: tuple[str, bytes], limits: Limits = LIMITS) -> uploads.Upload:
    incoming: list[tuple[str, IO[bytes]]] = [(name, io.BytesIO(data)) for name, data in files]
    return receive(home, incoming, limits=limits, by="ann", now=NOW)


def left(home: Path) -> list[str]:
    return [path.name for path in (home / uploads.FOLDER).glob("*")]


def test_files_lie_under_the_home_with_their_hashes(tmp_path: Path) -> None:
    one = bring(tmp_path, ("clicks.csv", CSV), ("goods.jsonl", b'{"sku": "i1"}\n'))
    assert list(one.files) == ["clicks.csv", "goods.jsonl"]
    assert one.folder.parent == tmp_path / "uploads" and (one.by, one.at) == ("ann", NOW)
    assert one.files["clicks.csv"][0] == one.bytes - 14 == len(CSV)
    assert (one.folder / "clicks.csv").read_bytes() == CSV
    assert uploads.upload(tmp_path, one.upload_id) == one
    assert one.draft is None
    uploads.keep_draft(one, "a = 1")
    assert one.draft == "a = 1"
    uploads.drop(tmp_path, one.upload_id)
    uploads.drop(tmp_path, one.upload_id)
    assert left(tmp_path) == []
    with pytest.raises(UnknownUpload):
        uploads.upload(tmp_path, one.upload_id)
    with pytest.raises(UnknownUpload):
        uploads.keep_draft(one, "a = 2")


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("../../etc/passwd.csv", "passwd.csv"),
        ("C:\\Users\\ann\\my clicks.CSV", "my_clicks.csv"),
        (".hidden.csv", "hidden.csv"),
        ("a*b?[c].csv.gz", "a_b_c.csv.gz"),
        ("![x](http://203.0.113.9/b.png).csv", "b.png.csv"),
        ("a\0b\n.tsv", "a_b.tsv"),
        ("点击.csv", "点击.csv"),
        (".csv", "csv"),
        ("n" * 400 + ".jsonl", "n" * 120 + ".jsonl"),
        ("点" * 400 + ".jsonl", "点" * 40 + ".jsonl"),
    ],
)
def test_a_name_is_ours_whatever_the_callers_was(told: str, kept: str) -> None:
    assert safe_name(told) == kept


def test_two_files_of_one_name_are_both_kept(tmp_path: Path) -> None:
    one = bring(tmp_path, ("a/log.csv", CSV), ("b/LOG.csv", CSV + b"u2,i2,2025-01-02\n"))
    assert list(one.files) == ["log.csv", "LOG-2.csv"]
    again = bring(tmp_path, ("log.csv", CSV))
    assert again.upload_id != one.upload_id and len(uploads.uploads(tmp_path)) == 2


def test_the_limit_holds_as_it_comes_and_unpacked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more than 1 MB") as told:
        bring(tmp_path, ("a.csv", CSV + b"x" * 600_000), ("b.csv", b"y" * 600_000))
    assert "LODESTAR_UPLOAD_MB" in told.value.remedy
    bomb = gzip.compress(b"user,item,ts\n" + b"0" * 50_000_000)
    assert len(bomb) < 100_000
    for name, data in (("bomb.csv.gz", bomb), ("bomb.csv", bomb), ("bomb.csv.bz2", bz2.compress(b"0" * 50_000_000))):
        with pytest.raises(UnreadableFile, match="MB that are left"):
            bring(tmp_path, (name, data))
    halves = gzip.compress(CSV + b"0" * 3_000_000)
    with pytest.raises(UnreadableFile, match="1 MB that are left"):
        bring(tmp_path, ("a.csv.gz", halves), ("b.csv.gz", halves))
    assert left(tmp_path) == []
    assert bring(tmp_path, ("a.csv.gz", halves)).files


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rows.parquet", b"PAR1"),
        ("shop.sqlite", b"SQLite format 3\0"),
        ("rows.xlsx", b"PK\3\4"),
        ("rows", CSV),
        ("rows.csv", b""),
        ("rows.csv", b"PAR1" + b"x" * 50),
        ("rows.csv", b"SQLite format 3\0" + b"x" * 50),
        ("rows.csv", b"PK\3\4" + b"x" * 50),
        ("rows.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        ("rows.csv.gz", gzip.compress(b"PAR1" + b"\0" * 50, mtime=0)),
        ("rows.csv.gz", gzip.compress(gzip.compress(CSV, mtime=0), mtime=0)),
        ("rows.csv.gz", gzip.compress(CSV * 1000, mtime=0)[:-20]),
        ("rows.jsonl", b"[\n{}\n]"),
    ],
)
def test_what_is_no_text_of_rows_is_refused_and_nothing_stays(tmp_path: Path, name: str, data: bytes) -> None:
    with pytest.raises(InputError) as told:
        bring(tmp_path, ("good.csv", CSV), (name, data))
    assert told.value.remedy and left(tmp_path) == []


@pytest.mark.parametrize("data", [CSV.decode().encode("utf-16"), CSV.decode().encode("utf-16-le"), "名,b\n".encode()])
def test_wide_text_is_text(tmp_path: Path, data: bytes) -> None:
    assert bring(tmp_path, ("rows.csv", data)).bytes == len(data)


def test_what_is_packed_is_told_by_its_bytes(tmp_path: Path) -> None:
    packed = pa.Codec("zstd").compress(CSV, asbytes=True)
    assert bring(tmp_path, ("rows.csv.gz", packed)).files


def test_none_and_too_many_files_are_told(tmp_path: Path) -> None:
    for files in ((), [("a.csv", CSV)] * 13):
        with pytest.raises(InputError, match="files at once"):
            bring(tmp_path, *files)


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    class Full(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DiskFull, match="no space left"):
        receive(tmp_path, [("a.csv", Full())], limits=LIMITS, by="ann", now=NOW)
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", ["..", "u-1", "u-0000000g", "../warehouse", "u-12345678/x", ""])
def test_an_id_is_never_a_path(tmp_path: Path, name: str) -> None:
    for act in (uploads.upload, uploads.drop, uploads.upload_folder):
        with pytest.raises(UnknownUpload):
            act(tmp_path, name)


def test_a_damaged_upload_is_told_and_hides_no_other(tmp_path: Path) -> None:
    bad, good = bring(tmp_path, ("a.csv", CSV)), bring(tmp_path, ("a.csv", CSV))
    (bad.folder / "manifest.json").write_text("{}")
    with pytest.raises(DamagedArtefact):
        uploads.upload(tmp_path, bad.upload_id)
    assert uploads.uploads(tmp_path) == [good]
    old = datetime.now(UTC) + timedelta(days=8)
    assert set(uploads.outdated(tmp_path, kept_for=timedelta(days=7), now=old)) == {bad.upload_id, good.upload_id}
    assert not list(uploads.outdated(tmp_path, kept_for=timedelta(days=9), now=old))


@pytest.mark.parametrize(
    "section",
    [
        'files = "/etc/passwd"',
        'files = ["a.csv", "../other/a.csv"]',
        'files = "*.csv"',
        'database = "sqlite:///x.db"\nquery = "select 1"',
    ],
)
def test_a_spec_of_an_upload_reads_nothing_else(tmp_path: Path, section: str) -> None:
    one = bring(tmp_path, ("a.csv", CSV))
    text = f'[dataset]\nname = "d"\n[events]\n{section}\nuser = "user"\nitem = "item"\nts = "ts"\n'
    with pytest.raises(InvalidSpec, match=r"events\."):
        uploads.refuse_others(parse_spec(text), one)
    own = parse_spec(text.replace(section, 'files = "a.csv"') + '[items]\ntitle = "t"\n')
    uploads.refuse_others(own, one)
    with pytest.raises(InvalidSpec, match="users"):
        uploads.refuse_others(parse_spec(own.to_toml() + '[users]\nfiles = "b.csv"\n'), one)


def test_of_a_packed_file_only_so_much_is_unpacked_to_look_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from data.guessing import samples

    packed = tmp_path / "log.csv.gz"
    packed.write_bytes(
        gzip.compress(b"user,item,ts\n" + b"".join(b"u%d,i%d,1704103200\n" % (n, n) for n in range(30_000)))
    )
    monkeypatch.setattr(samples, "decode", None)  # which would write all of it out
    few = samples.sample_of(packed, most_bytes=10_000)
    assert few.column_names == ["user", "item", "ts"] and 400 < few.num_rows < 700
    assert few.column(0).to_pylist()[-1] == f"u{few.num_rows - 1}"
    assert samples.sample_of(packed, most_bytes=10_000_000).num_rows == samples.SAMPLE_ROWS
