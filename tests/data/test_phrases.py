"""What guesses and errors say stands in two tables that agree, and nothing of a file is read as a sentence."""

import ast
import re
from pathlib import Path
from string import Formatter

import pytest

import core.ops
import dashboard
import data.phrases
from core.ops.jobrow import FINAL
from core.ops.roles import Act, Role
from core.ops.saved import COHORTS, STATEMENTS
from data.free_sql.sandbox import _REMEDIES
from data.guessing.lexicon import KINDS_BY_NAME, SENSITIVE
from data.phrases import LANGUAGES, clauses, file_called, listed, phrase, quoted, table
from data.reading.textfile import _FOREIGN

EN, ZH = table("en"), table("zh")
FAMILIES = {  # whose names are data
    "act": tuple(Act),
    "between": ("list", "clauses"),
    "cannot": ("ts", "keys"),
    "foreign": (*_FOREIGN.values(), "tar"),
    "do": tuple(remedy for _, remedy in _REMEDIES.values()),
    "kind": tuple(KINDS_BY_NAME),
    "member": tuple(Role),
    "role": ("user", "item"),
    "onward": ("items", "users"),
    "saved": (STATEMENTS.what, COHORTS.what),
    "state": (*FINAL, "queued", "running", "paused", "interrupted", "finished", "lost"),
    "scale": ("rating", "seconds", "amount", "quantity", "price", "label"),
    "task": ("next-new", "next-any", "repurchase"),
    "time": ("s", "ms", "us", "iso", "compact", "words", "other"),
    "topic": SENSITIVE,
}
OF_COMMANDS = {  # whose errors no page meets: fetching, files of acts, a guess by a preset, limits that code sets
    *("acts", "child", "described", "download", "files", "journey", "movielens", "sources"),
}
TECHNICAL = {
    *("ISO", "CSV", "TSV", "JSON", "Lines", "Parquet", "UTF", "SQLite", "SELECT", "PDF", "Arrow", "Avro", "ORC", "MB"),
    *(
        "TOML",
        "strptime",
        "LODESTAR",
        "UNPACKED",
        "UPLOAD",
        "HOME",
        "LEDGER",
        "Lodestar",
        "DuckDB",
        "PostgreSQL",
        "most",
        "refused",
        "cp",
        "shift",
        "jis",
        "big",
    ),
    *("gb", "zip", "gzip", "bzip", "xz", "zstd", "z", "rar", "tar"),
}


def placeholders(text: str) -> set[tuple[str, str]]:
    return {(name, form or "") for _, name, form, _ in Formatter().parse(text) if name}


def test_the_tables_have_the_same_keys_and_placeholders() -> None:
    assert LANGUAGES == ("en", "zh") and EN.keys() == ZH.keys()
    assert {key: placeholders(EN[key]) for key in EN} == {key: placeholders(ZH[key]) for key in ZH}
    assert all(text.strip() for text in (*EN.values(), *ZH.values()))


def test_what_code_says_has_a_sentence_and_no_sentence_is_left_over() -> None:
    files = [
        *Path(data.phrases.__file__).parent.rglob("*.*"),
        *Path(dashboard.__file__).parent.glob("*.py"),
        *Path(core.__file__).parent.rglob("*.py"),
    ]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files if file.suffix in (".py", ".sql"))
    said = {one for one in re.findall(r'"([a-z]+\.[a-z_]+)"', code) if one in EN}
    said |= set(re.findall(r'phrase\(\s*"([a-z]+\.[a-z_]+)"', code))
    said |= {f"{family}.{name}" for family, names in FAMILIES.items() for name in names}
    said |= {
        key for key in EN if key.startswith("reason.") and re.search(f"[\"']{key.removeprefix('reason.')}[\"']", code)
    }
    assert said == EN.keys()


def test_what_pages_meet_is_said_in_phrases() -> None:
    """Errors of the ledger and of behaviour data: neither their message nor their remedy is an English text."""
    places = [Path(core.ops.__file__).parent, Path(data.phrases.__file__).parent]
    plain = {
        f"{file.name}:{call.lineno}"
        for place in places
        for file in place.rglob("*.py")
        if file.stem not in OF_COMMANDS
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        for said in (*call.args[:1], *(keyword.value for keyword in call.keywords))
        if any(keyword.arg == "remedy" for keyword in call.keywords) and isinstance(said, ast.Constant | ast.JoinedStr)
    }
    assert plain == set()


def test_chinese_is_chinese() -> None:
    plain = {key: re.sub(r"\{.*?\}", "", text) for key, text in ZH.items()}
    plain = {key: re.sub("`.*?`", "", text) for key, text in plain.items()}
    assert {key for key, text in plain.items() if set(re.findall("[A-Za-z]+", text)) - TECHNICAL} == set()
    assert {key for key, text in plain.items() if re.search(r"[;:!?()'\"]|,(?!\d)", text)} == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_braces_and_breaks_in_a_name_are_a_name(language: str) -> None:
    name = "{n} {0.__class__} {parts:list}\n"
    said = phrase("column.told", name=quoted(name), what=phrase("column.unique_too")).said(language)
    assert "{n} {0.__class__} {parts:list}\\n" in said and "\n" not in said
    assert "{name}" in file_called("{name}").said(language)


def test_several_are_joined_as_the_language_joins_them() -> None:
    names = listed((quoted(one) for one in "abcd"), most=2)
    assert (str(names), names.said("zh")) == ("'a', 'b' and 2 more", "“a”、“b”等，另有 2 个")
    both = clauses([phrase("kind.no_column"), phrase("log.distinct", distinct=7, n=1000)])
    assert str(both) == "no column of kinds; 7 different values in 1,000 rows"
    assert both.said("zh") == "没有行为类型列；1,000 行中有 7 个不同取值"
    assert str(clauses([])) == ""


def test_a_language_that_there_is_not_is_english() -> None:
    assert phrase("role.user").said("tlh") == str(phrase("role.user")) == "user"
