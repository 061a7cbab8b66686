import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data.errors import InvalidSpec
from data.ingest import ingest
from data.presets import preset, preset_names
from data.spec import load_spec, parse_spec
from data.warehouse import Warehouse

MINIMAL = '[dataset]\nname = "shop"\n[events]\nfiles = "e.csv"\nuser = "u"\nitem = "i"\nts = "t"\n'


def test_a_minimal_spec_has_sound_defaults() -> None:
    spec = parse_spec(MINIMAL)
    assert (spec.name, spec.task, spec.events.files, spec.events.kind_value) == ("shop", "next-new", ("e.csv",), "view")
    assert spec.items is None and spec.sensitive == () and spec.user_attributes == []


@pytest.mark.parametrize("name", preset_names())
def test_presets_read_and_survive_a_round_trip(name: str) -> None:
    spec = preset(name)
    assert parse_spec(spec.to_toml()) == spec
    assert spec.name == name
    assert spec.sensitive and set(spec.sensitive) <= set(spec.user_attributes)


def test_the_known_datasets_are_the_promised_ones() -> None:
    assert {"movielens-100k", "complete-journey", "synthetic"} <= set(preset_names())
    assert preset("complete-journey").task == "repurchase"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (MINIMAL.replace('user = "u"\n', ""), "events.user"),
        (MINIMAL.replace('name = "shop"', 'name = "../../shop"'), "dataset.name"),
        (MINIMAL.replace('name = "shop"', 'name = "shop"\ntask = "guess"'), "dataset.task"),
        (MINIMAL + 'colour = "c"\n', "events.colour"),
        (MINIMAL + 'ts_unit = "days"\n', "events.ts_unit"),
        (MINIMAL.replace('files = "e.csv"', "files = []"), "events.files"),
        (MINIMAL + '[items]\ntext_template = "{title"\n', "items.text_template"),
        (MINIMAL + '[items]\ntext_template = "{title.__class__}"\n', "items.text_template"),
        ('sensitive = ["gender"]\n' + MINIMAL, "gender"),
        (MINIMAL + '[users]\nattributes = ["user_id"]\n', "user_id"),
        (MINIMAL + '[users]\nattributes = ["a;drop"]\n', "a;drop"),
        (MINIMAL + '[users]\n[derive.age]\nfrom = "age"\nedges = [10]\nlabels = ["a"]\n', "derive.age"),
        (MINIMAL + '[derive.age]\nfrom = "age"\nedges = [20, 10]\nlabels = ["a", "b", "c"]\n', "edges must rise"),
        (MINIMAL + "[weights]\nview = -1.0\n", "weights"),
        (MINIMAL + "most_refused = 1.5\n", "events.most_refused: it has to be 1 or less"),
        (MINIMAL + "drop_duplicates = 7\n", "true or false"),
        (MINIMAL + "value = 7\n", "events.value: a text"),
        (MINIMAL + "[clean]\nleast_value = 'x'\n", "clean.least_value: a number"),
        (MINIMAL + "[clean]\nmost_events_per_user = 2.5\n", "clean.most_events_per_user: a whole number"),
        (MINIMAL + "context = 7\n", "events.context"),
        (MINIMAL + "[kpis]\nsold = 7\n", "kpis.sold: a section"),
        (MINIMAL + '[kpis.sold]\nmeasure = "rate"\nof = "view"\n', "kpis.sold"),
        ('preset = "{n}"\n' + MINIMAL, "preset: there is no domain '{n}'"),
        (MINIMAL + "[clean]\nmost_events_per_user = true\n", "clean.most_events_per_user: a number"),
        (MINIMAL + "[clean]\nleast_value = nan\n", "clean.least_value: a number"),
        (MINIMAL + "[positive]\nmin_value = true\n", "positive.min_value: a number"),
        (MINIMAL + "[positive]\nmin_value = nan\n", "positive.min_value: a number"),
        (MINIMAL + "[weights]\nview = inf\n", "weights.view: a number"),
        (MINIMAL + "[weights]\nview = true\n", "weights: a number"),
        (MINIMAL + '[derive.age]\nfrom = "age"\nedges = [nan, 1]\nlabels = ["a", "b", "c"]\n', "derive.age.edges.0"),
        (MINIMAL + '[kinds]\nview = "seen"\nView = "shown"\n', "means two things"),
        ("[dataset\n", "not TOML"),
    ],
)
def test_a_fault_names_its_field_in_one_line(text: str, named: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(text)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    message, remedy = caught.value.told("zh")
    assert re.search("[\u4e00-\u9fff]", message) and re.search("[\u4e00-\u9fff]", remedy)
    assert not re.search("Input|should|valid|must", message), "pydantic's own words"


def test_what_is_derived_of_the_events_own_columns_is_of_users(tmp_path: Path) -> None:
    text = 'sensitive = ["age_group"]\n' + MINIMAL
    text += '[derive.age_group]\nfrom = "age"\nedges = [18]\nlabels = ["young", "old"]\n'
    spec = parse_spec(text)
    assert parse_spec(spec.to_toml()) == spec
    (tmp_path / "e.csv").write_text("u,i,t,age\na,x,2024-01-01,17\nb,x,2024-01-02,18\na,y,2024-01-03,19\n")
    made = ingest(spec, base=tmp_path, home=tmp_path / "home", now=datetime(2025, 1, 1, tzinfo=UTC))
    with Warehouse.open(made.path) as warehouse:
        assert warehouse.run("SELECT key, age_group FROM users ORDER BY key").to_pylist() == [
            {"key": "a", "age_group": "young"},
            {"key": "b", "age_group": "old"},
        ]


def test_a_missing_or_binary_spec_is_a_stated_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="no spec"):
        load_spec(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidSpec, match="cannot be read"):
        load_spec(tmp_path / "binary.toml")
    with pytest.raises(InvalidSpec, match="cannot be read"):
        load_spec(tmp_path)


def test_bins_hold_their_lower_edge_and_call_the_rest_unknown() -> None:
    age = preset("movielens-100k").derive["age_group"]
    assert [age.label_of(text) for text in ("7", "18", "24.9", "25", "55", "", None, "x", "nan")] == [
        "under 18",
        "18-24",
        "18-24",
        "25-34",
        "55+",
        *["unknown"] * 4,
    ]
