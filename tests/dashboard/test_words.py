"""Both catalogues say the same things, write numbers as people do, and let nothing of a title reach Markdown."""

import re
from datetime import UTC, date, datetime
from string import Formatter

import pytest
from markdown_it import MarkdownIt

from dashboard.words import Words, catalogue, duration, escape, metric, number, percent, size
from data.domains import domain_names
from data.phrases import table
from data.samples import sample_spec
from data.spec import parse_spec

EN, ZH = catalogue("en"), catalogue("zh")


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_the_catalogues_have_the_same_keys_and_placeholders() -> None:
    assert EN.keys() == ZH.keys()
    assert {key: placeholders(EN[key]) for key in EN} == {key: placeholders(ZH[key]) for key in ZH}


def test_no_text_is_empty_and_chinese_is_chinese() -> None:
    assert all(text.strip() for text in [*EN.values(), *ZH.values()])
    same = {key for key in EN if EN[key] == ZH[key] and re.search(r"[a-z]{4,}", re.sub(r"\{.*?\}", "", EN[key]))}
    assert same == set()


def test_no_exclamation_marks() -> None:
    assert not [key for key, text in {**EN, **ZH}.items() if "!" in text or "！" in text]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_text_can_be_written(language: str) -> None:
    sample = {"d": date(1998, 4, 22), "dt": datetime(1998, 4, 22, 9, 5, tzinfo=UTC)}
    words = Words(language)
    for key, text in catalogue(language).items():
        kinds = {name: spec for _, name, spec, _ in Formatter().parse(text) if name}
        values = {name: sample.get(spec or "", "x" if spec == "" else 3) for name, spec in kinds.items()}
        assert words(key, **values)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1682, "1,682"),
        (0.12345, "0.123"),
        (9.8125, "9.81"),
        (-0.5, "−0.500"),
        (0, "0"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_three_significant_digits(value: float | None, said: str) -> None:
    assert number(value) == said


def test_percentages_claim_no_false_precision() -> None:
    assert [percent(v) for v in (0.6523, 0.0041, 1.0, 0.0)] == ["65.2%", "0.41%", "100%", "0%"]


def test_metrics_line_up_and_carry_their_sign() -> None:
    assert [metric(0.1, signed=True), metric(-0.0213), metric(None)] == ["+0.100", "−0.021", "–"]


def test_dates_durations_and_plurals_follow_the_language() -> None:
    en, zh = Words("en"), Words("zh")
    assert (en.day(date(1998, 4, 2)), zh.day(date(1998, 4, 2))) == ("2 Apr 1998", "1998年4月2日")
    assert (duration(3720, "en"), duration(75, "zh")) == ("1 h 2 min", "1分15秒")
    assert (duration(3600, "en"), duration(180, "en"), duration(180, "zh")) == ("1 h", "3 min", "3分钟")
    assert en("download.rows", n=1) == "1 row"
    assert en("download.rows", n=2000) == "2,000 rows"


@pytest.mark.parametrize(
    ("seconds", "told"), [(3, "10 s"), (44, "40 s"), (196, "3 min 20 s"), (530, "9 min"), (5000, "1 h 20 min")]
)
def test_an_estimate_of_a_time_claims_no_precision(seconds: float, told: str) -> None:
    assert Words("en").rough(seconds) == told


@pytest.mark.parametrize(
    ("gigabytes", "told"), [(0.0123, "12 MB"), (0.128, "130 MB"), (0.999, "1.0 GB"), (12.34, "12.3 GB"), (None, "–")]
)
def test_a_size_has_the_unit_that_suits_it(gigabytes: float | None, told: str) -> None:
    assert size(gigabytes) == told


def test_lists_are_joined_as_the_language_joins_them() -> None:
    assert Words("en").titles(["A", "B", "C"]) == "A, B and C"
    assert Words("zh").titles(["A", "B"]) == "《A》和《B》"


@pytest.mark.parametrize(
    "title",
    [
        "![x](http://203.0.113.9/beacon.png)",
        "<img src=http://203.0.113.9/x>",
        "[click](http://203.0.113.9)",
        "http://203.0.113.9/a www.example.org a@example.org",
        ":red[loud] :smile: :material/home: $x$ `code` **bold** ~~gone~~ # head | cell",
    ],
)
def test_an_escaped_title_is_only_text(title: str) -> None:
    rendered = MarkdownIt("gfm-like", {"linkify": False, "html": True}).renderInline(escape(title))
    assert "<" not in rendered.replace("&lt;", "")
    assert "smile" not in escape(title) or ":smile:" not in escape(title)


def test_md_escapes_values_and_leaves_the_sentence() -> None:
    said = Words("en").md("profile.title", user="7", item="*Fargo*")
    assert said == r"Why does user 7 get \*Fargo\*?"


def test_a_guess_calls_things_as_the_pages_do() -> None:
    said = table("zh")
    assert all(text == ZH[key] for key, text in said.items() if key.startswith("task."))
    assert all(said[f"kind.{kind}"] == ZH[f"kind.{kind}"] for kind in ("purchase", "click", "play", "rate"))
    topics = {topic: text for key, text in said.items() if (topic := key.removeprefix("topic.")) != key}
    assert all(text == ZH[f"attribute.{topic}"] for topic, text in topics.items() if f"attribute.{topic}" in ZH)


OWN = [key for key in EN if key.startswith("in.")]


def test_a_domain_speaks_of_what_its_preset_is_about_in_both_languages() -> None:
    assert {key.split(".")[1] for key in OWN} == set(domain_names())
    for key in OWN:
        general = key.split(".", 2)[2]
        assert general in EN, f"{key} stands for no text"
        assert placeholders(EN[key]) == placeholders(EN[general])
    shop = Words("en").of("retail")
    assert (shop("pulse.items"), shop.language, shop("pulse.events")) == ("Products", "en", "Events")
    assert Words("en").of("gardening")("pulse.items") == "Items"
    assert shop.of(None)("pulse.items") == "Items"


def test_what_is_no_work_stands_in_no_title_marks() -> None:
    shop, shelf = Words("zh").of("retail"), Words("zh").of("books")
    assert shop.titles(["全脂牛奶", "苹果"]) == "“全脂牛奶”和“苹果”"
    assert shelf.titles(["苹果"]) == "《苹果》"
    assert shop.marked("推荐《全脂牛奶》") == "推荐“全脂牛奶”"
    assert shelf.marked("推荐《苹果》") == "推荐《苹果》"
    assert "《" not in shop("profile.moved_by", item="牛奶", events=shop.titles(["苹果"]))


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", domain_names())
def test_figures_and_kinds_of_every_domain_have_words(name: str, language: str) -> None:
    spec, words = parse_spec(sample_spec(name)), Words(language)
    kinds = {*spec.kinds.values(), *spec.weights, *spec.positive.kinds}
    missing = [f"kind.{kind}" for kind in kinds if not words.has(f"kind.{kind}")]
    missing += [f"kpi_name.{key}" for key in spec.kpis if not words.has(f"kpi_name.{key}")]
    missing += [f"kpi_help.{kpi.measure}" for kpi in spec.kpis.values() if not words.has(f"kpi_help.{kpi.measure}")]
    assert not missing
