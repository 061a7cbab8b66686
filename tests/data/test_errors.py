"""An error says the same to a terminal, to another process, and to a reader of another language."""

import json
import pickle

import pytest

from data.errors import Conflict, InputError, UnreadableFile, from_answer
from data.phrases import clauses, file_called, listed, phrase, quoted


@pytest.fixture
def empty() -> UnreadableFile:
    return UnreadableFile(phrase("file.empty", file=file_called("a `b`.csv")), remedy=phrase("do.export_rows"))


def test_an_error_of_phrases_is_told_in_the_readers_language(empty: UnreadableFile) -> None:
    assert str(empty) == "a `b`.csv is empty; export it again; a header and rows are needed"
    assert empty.told("en") == empty.told("tlh") == (empty.message, empty.remedy)
    assert empty.told("zh") == ("“a `b`.csv”是空文件", "请重新导出；需要有表头和数据行")
    assert phrase("look.unread", file="x", error=empty.said).said("zh").startswith("x未使用：“a `b`.csv”是空文件；请")


def test_it_comes_whole_out_of_another_process(empty: UnreadableFile) -> None:
    again = pickle.loads(pickle.dumps(empty))
    assert type(again) is UnreadableFile and again.told("zh") == empty.told("zh") and str(again) == str(empty)


def test_it_comes_whole_out_of_another_machines_answer(empty: UnreadableFile) -> None:
    more = empty.advising(phrase("do.known", names=listed(map(quoted, "abcdefgh"))))
    again = from_answer(json.loads(json.dumps(more.as_answer()))["error"])
    assert type(again) is UnreadableFile and again.parts == more.parts and again.told("zh") == more.told("zh")
    plain = from_answer({"type": "Conflict", "message": "it was changed", "remedy": "look again"})
    assert type(plain) is Conflict and str(plain) == "it was changed; look again"
    assert from_answer({"type": "Any"}) is from_answer({"type": "json"}) is from_answer({}) is None


def test_a_further_remedy_is_told_in_both_languages(empty: UnreadableFile) -> None:
    more = empty.advising(phrase("do.see_refused", file=file_called("q.parquet")))
    assert type(more) is UnreadableFile and more.message == empty.message
    assert more.remedy == f"{empty.remedy}; every refused row is in q.parquet"
    assert more.told("zh")[1] == f"{empty.told('zh')[1]}；所有被拒绝的行都在“q.parquet”"


def test_a_jobs_row_holds_what_its_readers_need(empty: UnreadableFile) -> None:
    message, remedy = empty.told("zh")
    assert empty.as_row() == empty.as_json()["error"] | {"told": {"zh": {"message": message, "remedy": remedy}}}
    plain = Conflict("it was changed", remedy="look again")
    assert plain.told("zh") == ("it was changed", "look again")
    failed = phrase("statement.failed", message="no")
    own = InputError(failed, remedy="look again")
    assert own.told("en")[0] == "The database says: no" and own.message == "the database says: no"
    assert InputError(clauses((failed, "so")), remedy="look again").told("en")[0] == "The database says: no; so"
    setting = InputError(phrase("field.core_rounds"), remedy="look again")
    assert setting.told("en")[0].startswith("core_rounds ")
    named = phrase("file.empty", file=file_called("a.csv"))
    assert InputError(named, remedy="look again").told("en")[0] == str(named) == "a.csv is empty"
    assert plain.as_row() == {"type": "Conflict", "message": "it was changed", "remedy": "look again"}
    assert isinstance(plain.advising("ask"), Conflict) and plain.advising("ask").remedy == "look again; ask"
    assert isinstance(InputError("a", remedy="b").said.said("zh"), str)
