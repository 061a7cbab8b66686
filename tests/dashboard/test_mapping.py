"""A spec as a form and back: faults stand at their fields, and what comes from files stays text."""

from typing import Any

import pyarrow as pa
import pytest

from dashboard import mapping
from dashboard.words import Words
from data.spec import parse_spec

EN, ZH = Words("en"), Words("zh")
SPEC = """
sensitive = ["gender"]
[dataset]
name = "shop"
task = "repurchase"
[events]
files = ["a.csv", "b.csv"]
user = "u"
item = "i"
ts = "t"
context = ["shop"]
delimiter = ";"
tz = "Europe/Berlin"
[items]
files = "items.csv"
key = "i"
title = "n"
[users]
files = "users.csv"
attributes = ["gender"]
[positive]
min_value = 4
kinds = ["buy"]
[weights]
buy = 2.0
[derive.age_group]
from = "age"
edges = [18]
labels = ["young", "old"]
"""
LEAST: dict[str, Any] = {
    "dataset.name": "shop",
    "events.files": ["a.csv"],
    "events.user": "u",
    "events.item": "i",
    "events.ts": "t",
}


def test_a_spec_goes_through_the_form_unchanged() -> None:
    spec = parse_spec(SPEC)
    values = mapping.values_of(spec)
    assert values["events.files"] == ["a.csv", "b.csv"] and values["positive.min_value"] == 4
    assert mapping.spec_of(values) == (spec, [])


def test_what_is_empty_is_left_out_and_so_is_a_section_of_nothing() -> None:
    blank = {"items.title": None, "items.attributes": [], "users.key": "", "positive.kinds": [], "events.tz": "UTC"}
    spec, faults = mapping.spec_of(LEAST | blank)
    assert not faults and spec is not None
    assert spec.items is None and spec.users is None and spec.derive == {}
    assert "items" not in spec.to_toml()


def test_what_is_derived_of_the_logs_own_columns_goes_through_the_form() -> None:
    text = SPEC.partition("[users]")[0] + SPEC[SPEC.index("[derive.age_group]") :]
    spec = parse_spec(
        text.replace("[dataset]", 'sensitive = ["age_group"]\n[dataset]', 1).replace('sensitive = ["gender"]\n', "")
    )
    assert mapping.spec_of(mapping.values_of(spec)) == (spec, [])
    derive = mapping.values_of(spec)["derive"]
    assert mapping.derivable(derive, {"age": object(), "u": object()}) == derive
    assert mapping.derivable(derive, {"u": object()}) == {}


@pytest.mark.parametrize(
    ("change", "field", "kind"),
    [
        ({"events.user": None}, "events.user", "missing"),
        ({"dataset.name": "a shop!"}, "dataset.name", "string_pattern_mismatch"),
        ({"dataset.name": ""}, "dataset.name", "missing"),
        ({"events.files": []}, "events.files", "value_error"),
        ({"events.ts_format": "no form %Q"}, "events.ts_format", "value_error"),
        ({"items.title": "n", "items.text_template": "{title"}, "items.text_template", "value_error"),
        ({"users.attributes": ["a-b"]}, "users.attributes", "value_error"),
        ({"users.attributes": ["key"]}, "users.attributes", "value_error"),
        ({"sensitive": ["gender"]}, "sensitive", "value_error"),
        ({"events.most_refused": 1.5}, "events.most_refused", "less_than_equal"),
    ],
)
def test_a_fault_stands_at_its_field_in_words(change: dict[str, Any], field: str, kind: str) -> None:
    spec, faults = mapping.spec_of(LEAST | change)
    assert spec is None
    (fault,) = mapping.faults_of(faults, field)
    assert fault.kind.startswith(kind)
    for words in (EN, ZH):
        assert mapping.said(words, fault)


def test_every_fault_is_told_at_once() -> None:
    _, faults = mapping.spec_of({"dataset.name": "shop"})
    assert {one.field for one in faults} >= {"events.user", "events.item", "events.ts"}


def test_what_a_column_holds_stays_text() -> None:
    sample = pa.table(
        {"![x](http://spy/a.png)": ["![y](http://spy/b.png)", "b\nc", None], "empty": pa.nulls(3, pa.string())}
    )
    columns = mapping.columns_of(sample)
    said = mapping.shown(EN, columns["![x](http://spy/a.png)"])
    assert "![" not in said and "\n" not in said and said.startswith("66")
    assert mapping.shown(EN, columns["empty"]) == EN("mapping.nothing_in")
    assert "\n" not in mapping.option(columns["![x](http://spy/a.png)"], "x")
    assert mapping.columns_of(pa.table([pa.array(["1"]), pa.array(["2"])], names=["a", "a"]))["a"].values == ["1"]
