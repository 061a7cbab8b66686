"""A quality report in words, and two builds beside each other."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from dashboard import qualities
from dashboard.words import Words
from data.phrases import as_json, phrase
from data.quality import GRADED
from data.spec import parse_spec
from data.warehouse import BuildFacts

EN, ZH = Words("en"), Words("zh")
SPEC = '[dataset]\nname = "d"\n[events]\nfiles = "e.csv"\nuser = "u"\nitem = "i"\nts = "t"\n'
START = datetime(2024, 1, 1, tzinfo=UTC)
FACTS = BuildFacts(
    build_id="b-1",
    dataset="d",
    task="next-new",
    created=START,
    schema_version=1,
    licence="",
    source="",
    spec=parse_spec(SPEC),
    read=10,
    accepted=8,
    quarantined=2,
    n_events=8,
    n_users=3,
    n_items=4,
    first_ts=START,
    last_ts=START + timedelta(days=9),
)


def check(name: str, n: int, grade: str, example: str | None = None) -> dict[str, object]:
    return {"check": name, "n": n, "of": 100, "grade": grade, "example": example}


def test_a_report_in_a_word() -> None:
    warning, note, fine = check("bots", 3, "warning", "ann"), check("ties", 1, "note"), check("bursts", 0, "fine")
    for found, said in (
        ([], "unknown"),
        ([fine], "fine"),
        ([note, fine], "noted"),
        ([warning, note, fine], "warned"),
    ):
        assert qualities.verdict({"checks": found, "sources": []}) == said


def test_what_was_found_is_listed_and_a_key_in_it_stays_text() -> None:
    quality = {"checks": [check("bots", 1, "warning", "![x](http://spy)"), check("bursts", 0, "fine")], "sources": []}
    found = qualities.table(quality, EN, tz="UTC")
    assert found["share"].tolist() == [0.01, 0.0]
    first, rest = qualities.listed(found, EN).split("\n")
    assert first.startswith("- **Warning** · 1 of 100 users has over 1,000 events")
    assert "![" not in first and "1 other check found nothing" in rest
    assert [grade for grade, _ in qualities.sentences(quality, EN, tz="UTC")] == ["warning"]


def test_every_check_has_its_sentence_in_both_languages() -> None:
    checks = [check(name, 2, "note", "x") for name in GRADED]
    for words in (EN, ZH):
        said = [sentence for _, sentence in qualities.sentences({"checks": checks}, words, tz="UTC")]
        assert len(set(said)) == len(GRADED) and not any("{" in one for one in said)


def test_two_builds_beside_each_other() -> None:
    later = replace(FACTS, n_events=20, quarantined=1, last_ts=START + timedelta(days=10))
    shown = qualities.differences(FACTS, later, EN).set_index("fact")
    assert shown.loc["Events"].tolist() == ["8", "20", "+12"]
    assert shown.loc["Users"].tolist() == ["3", "3", "0"]
    assert shown.loc["Rows set aside", "change"] == "−1"
    assert shown.loc["Last event"].tolist() == ["10 Jan 2024", "11 Jan 2024", "+1 day"]
    assert shown.loc["First event", "change"] == "–"
    assert shown.loc["Spec", "now"] == "the same"
    other = replace(later, spec=parse_spec(SPEC + 'tz = "Asia/Shanghai"\n'))
    assert qualities.differences(FACTS, other, EN).set_index("fact").loc["Spec", "now"] == "another"


def test_how_files_were_read_is_said_in_the_readers_language() -> None:
    read = phrase(
        "read.unpacked", read=phrase("read.as", encoding="utf-8", why=phrase("read.mark")), compression="gzip"
    )
    told = [
        {"name": "a.csv", "rows": 1, "unsplit": 0, "read_as": one, "build_id": "b-1"} for one in (as_json(read), "")
    ]
    quality = {"checks": [], "sources": told}
    assert list(qualities.sources(quality, EN)["read_as"]) == ["utf-8 (its byte order mark), gzip", ""]
    assert list(qualities.sources(quality, ZH)["read_as"]) == ["utf-8（有字节序标记），gzip", ""]
    for name in ("spec", "mark", "wide", "ascii", "begins_ascii", "lines", "chinese", "header"):
        said = phrase(f"read.{name}", n=3, word="编号").said("zh")
        assert "`" not in said, "a cell of a grid is no Markdown"
