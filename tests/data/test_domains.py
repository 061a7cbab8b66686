"""A preset is a file, not code: what specs take over from it, what files of one's own make of it, and its sample."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from data.described import describe
from data.domains import domain, domain_names
from data.errors import CannotGuess, InvalidSpec
from data.ingest import IngestResult, ingest
from data.kpis import kpis
from data.presets import preset
from data.publish import sha256_of
from data.samples import generate, sample_spec
from data.spec import DatasetSpec, PositiveRule, parse_spec
from data.warehouse import Warehouse

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SMALL = {"n_users": 120, "n_items": 60, "n_events": 1_500}
OWN = """
preset = "news"
[dataset]
name = "paper"
[events]
files = "events.csv"
user = "u"
item = "i"
ts = "t"
kind = "k"
"""
Ingest = Callable[..., IngestResult]


def made(name: str, folder: Path, *, seed: int = 0) -> tuple[DatasetSpec, Path]:
    """The spec and the folder of a small sample."""
    folder.mkdir()
    generate(folder, name, seed=seed, **SMALL)
    return parse_spec(sample_spec(name)), folder


def test_the_domains_are_the_promised_ones() -> None:
    promised = ["ads", "books", "education", "finance", "music", "news", "retail", "video"]
    assert domain_names() == promised
    assert {name: parse_spec(sample_spec(name)).task for name in promised} == {
        **dict.fromkeys(promised, "next-new"),
        **{"retail": "repurchase", "music": "next-any", "ads": "next-any"},
    }


@pytest.mark.parametrize("name", domain_names())
def test_a_domain_is_whole(name: str) -> None:
    spec = parse_spec(sample_spec(name))
    assert parse_spec(spec.to_toml()) == spec
    assert (spec.name, spec.dataset.domain) == (f"sample-{name}", name)
    assert spec.sensitive and spec.kpis and spec.weights and spec.positive != PositiveRule()
    known = {stage.kind for stage in domain(name).sample.funnel}
    called = set(spec.kinds.values())
    assert known <= called | set(spec.weights), "every kind of the sample is one of the domain's"
    for kpi in spec.kpis.values():
        assert {*kpi.of, *kpi.to} <= called | known | set(spec.weights)


@pytest.mark.parametrize("name", domain_names())
def test_a_sample_is_taken_whole_and_has_every_figure_that_it_can(name: str, tmp_path: Path) -> None:
    spec, folder = made(name, tmp_path / "files")
    result = ingest(spec, base=folder, home=tmp_path / "home", now=NOW)
    assert (result.quarantined, result.catalogue_reasons) == (0, {})
    assert (result.facts.n_users, result.facts.n_items) == (SMALL["n_users"], SMALL["n_items"])
    with Warehouse.open(result.path) as warehouse:
        kinds = set(warehouse.run("SELECT DISTINCT kind FROM events")["kind"].to_pylist())
        assert kinds == {stage.kind for stage in domain(name).sample.funnel}
        texts = warehouse.run("SELECT title, text, categories FROM items").to_pylist()
        assert len({row["title"] for row in texts}) == SMALL["n_items"]
        assert all(row["text"].startswith(row["title"]) and row["categories"][0] in row["text"] for row in texts)
        assert not any("{" in row["text"] for row in texts)
        figures = {row["name"]: row for row in kpis(warehouse).to_pylist()}
    for key, kpi in spec.kpis.items():
        if {*kpi.of, *kpi.to} <= kinds:
            assert figures[key]["low"] <= figures[key]["estimate"] <= figures[key]["high"]


def test_the_same_seed_gives_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    folders = [made("music", tmp_path / name, seed=seed)[1] for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    first, same, other = ({it.name: sha256_of(it) for it in one.glob("*.csv")} for one in folders)
    assert first == same
    assert first["events.csv"] != other["events.csv"]


def test_what_a_domain_is_known_for_is_planted(tmp_path: Path) -> None:
    """Baskets with a price and what is bought again, tracks heard again, news that is clicked while it is new."""
    found = {}
    for name in ("retail", "music", "news", "video"):
        spec, folder = made(name, tmp_path / name)
        with Warehouse.open(ingest(spec, base=folder, home=tmp_path / f"{name}-home", now=NOW).path) as warehouse:
            found[name] = {row["name"]: row["estimate"] for row in kpis(warehouse).to_pylist()}
            if name == "news":
                launched = np.load(folder / "truth.npz", allow_pickle=False)["launched"]
                ages = warehouse.run("SELECT item_id, epoch(ts - TIMESTAMPTZ '2024-01-01') AS at FROM events")
                age_days = (ages["at"].to_numpy() - launched[ages["item_id"].to_numpy()]) / 86_400
                assert np.median(age_days) < 5 and age_days.min() >= 0
            if name == "retail":
                baskets = warehouse.run(
                    "SELECT count(DISTINCT ts) AS moments, count(*) AS bought, sum(value) AS paid,"
                    " count(price) AS priced"
                    " FROM events JOIN items USING (item_id) WHERE kind = 'purchase' GROUP BY context['basket_id']"
                ).to_pylist()
                assert {row["moments"] for row in baskets} == {1}
                assert all(row["paid"] > 0 and row["priced"] == row["bought"] for row in baskets)
            if name == "video":
                again = warehouse.run("SELECT count(*) AS n FROM events WHERE kind = 'view' GROUP BY user_id, item_id")
                assert set(again["n"].to_pylist()) == {1}
    assert found["retail"]["basket_size"] > 1.5 and found["retail"]["bought_again"] > 0.2
    assert found["music"]["heard_again"] > 0.5


def test_a_spec_takes_over_what_its_preset_says_and_overrules_it() -> None:
    spec = parse_spec(OWN)
    news = parse_spec(sample_spec("news"))
    assert (spec.task, spec.kinds, spec.weights, spec.kpis) == (news.task, news.kinds, news.weights, news.kpis)
    assert spec.positive == news.positive and spec.dataset.domain == "news"
    own = parse_spec(
        OWN.replace("[events]", 'task = "next-any"\n[events]')
        + '[positive]\nmin_value = 30\n[weights]\nread = 9.0\n[kpis.age_when_clicked]\nmeasure = "returning"\n'
    )
    assert (own.task, own.positive.kinds, own.positive.min_value) == ("next-any", (), 30.0)
    assert own.weights == {**news.weights, "read": 9.0}
    assert own.kpis["age_when_clicked"].of == () and len(own.kpis) == len(news.kpis)
    again = parse_spec(own.to_toml())
    assert again == own, "a build keeps what it was made with, whatever the preset says later"


def test_the_public_sets_speak_their_domains_language() -> None:
    shop, films = preset("complete-journey"), preset("movielens-100k")
    assert (shop.dataset.domain, shop.task, shop.positive) == ("retail", "repurchase", PositiveRule())
    assert (films.dataset.domain, films.task, films.positive.kinds, films.positive.min_value) == (
        "video",
        "next-new",
        (),
        4.0,
    )


def test_an_unknown_preset_is_named_with_the_known_ones() -> None:
    with pytest.raises(InvalidSpec, match=r"there is no domain 'newz'.*ads, books"):
        parse_spec(OWN.replace('"news"', '"newz"'))
    with pytest.raises(InvalidSpec, match="preset"):
        parse_spec(OWN.replace('"news"', '["news"]'))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[kpis.it]\nmeasure = "sales"\n', "kpis.it.measure"),
        ('[kpis.it]\nmeasure = "conversion"\nof = "view"\n', "conversion and rate"),
        ('[kpis.it]\nmeasure = "returning"\nto = "view"\n', "conversion and rate"),
        ('[kpis.it]\nmeasure = "completion"\n', "min_value"),
        ('[kpis.it]\nmeasure = "repeats"\nmin_value = 1\n', "min_value"),
        ('[kinds]\nopened = " "\n', "kinds"),
    ],
)
def test_a_figure_or_a_kind_that_means_nothing_is_refused(text: str, named: str) -> None:
    with pytest.raises(InvalidSpec, match=named):
        parse_spec(OWN + text)


def test_kinds_are_called_as_the_spec_calls_them_whatever_their_case(bring: Ingest) -> None:
    rows = [
        "u,i,t,k",
        *(f"a,x,2024-01-01T10:0{n}:00Z,{kind}" for n, kind in enumerate(("Clicked", "曝光", "read", "hm"))),
    ]
    with Warehouse.open(bring("\n".join(rows) + "\n", spec=parse_spec(OWN)).path) as warehouse:
        kinds = warehouse.run("SELECT kind FROM events ORDER BY event_id")["kind"].to_pylist()
    assert kinds == ["click", "impression", "read", "hm"]


def test_a_word_of_a_kind_is_overruled_whatever_its_case() -> None:
    assert parse_spec(OWN + '[kinds]\nCLICKED = "read"\n').kinds["CLICKED"] == "read"
    assert "clicked" not in parse_spec(OWN + '[kinds]\nCLICKED = "read"\n').kinds


# ---- Files of one's own


def test_files_are_described_by_their_columns_names(tmp_path: Path) -> None:
    headers = {
        "log/a.csv": ["UserID", "NewsId", "EventTime", "EventType", "referrer", "note"],
        "log/b.csv": ["UserID", "NewsId", "EventTime", "EventType", "referrer", "note"],
        "stories.csv": ["NewsId", "Headline", "section", "abstract"],
        "people.csv": ["UserID", "country", "age", "email"],
    }
    text = describe(headers, "news", dataset={"name": "paper"})
    spec = parse_spec(text)
    assert text.startswith('preset = "news"')
    assert (spec.events.files, spec.events.user, spec.events.item) == (("log/a.csv", "log/b.csv"), "UserID", "NewsId")
    assert (spec.events.ts, spec.events.kind, spec.events.value) == ("EventTime", "EventType", None)
    assert spec.events.context == ("referrer",)
    assert spec.items is not None and spec.users is not None
    assert (spec.items.files, spec.items.key, spec.items.title) == (("stories.csv",), "NewsId", "Headline")
    assert spec.items.text_template == "{title}. {categories}. {abstract}"
    assert spec.users.attributes == ("country",), "what no role names never enters a store"
    assert spec.sensitive == ("country", "age_group") and spec.derive["age_group"].source == "age"


def test_a_log_alone_gives_its_own_titles() -> None:
    spec = parse_spec(
        describe({"plays.csv": ["user", "track", "ts", "track_name", "artist"]}, "music", dataset={"name": "mine"})
    )
    assert spec.items is not None and spec.users is None
    assert (spec.items.files, spec.items.title, spec.events.item) == ((), "track_name", "track")
    assert spec.items.text_template == "{title} by {artist}"


def test_an_item_without_a_title_is_read_by_its_key() -> None:
    guessed = parse_spec(
        '[dataset]\nname = "x"\n[events]\nfiles = "plays.csv"\nuser = "user"\nitem = "track"\nts = "ts"\n'
        '[items]\ncategories = "artist"\n'
    )
    text = describe({"plays.csv": ["user", "track", "ts", "artist"]}, "music", dataset={"name": "m"}, guessed=guessed)
    items = parse_spec(text).items
    assert items is not None and items.text_template.startswith("{title}")


def test_of_what_was_shown_a_column_tells_what_was_clicked(tmp_path: Path) -> None:
    rows = [f"u{n % 9},c{n % 7},2024-01-01T10:{n:02}:00Z,{n % 4 == 0:d},0.5" for n in range(40)]
    (tmp_path / "log.csv").write_text("uid,creative_id,time,clicked,cost\n" + "".join(f"{row}\n" for row in rows))
    spec = parse_spec(
        describe({"log.csv": ["uid", "creative_id", "time", "clicked", "cost"]}, "ads", dataset={"name": "a"})
    )
    result = ingest(spec, base=tmp_path, home=tmp_path / "home", now=NOW)
    with Warehouse.open(result.path) as warehouse:
        kinds = warehouse.run("SELECT kind, count(*) AS n FROM events GROUP BY kind ORDER BY kind").to_pylist()
    assert kinds == [{"kind": "click", "n": 10}, {"kind": "impression", "n": 30}]


def test_names_tell_what_they_tell_where_they_do_not_tell_all() -> None:
    headers = {"x.csv": ["slot_no", "device_id", "advertiser_id", "ad_id", "request_time"]}
    guessed = parse_spec(
        '[dataset]\nname = "x"\n[events]\nfiles = "x.csv"\nuser = "device_id"\nitem = "advertiser_id"\n'
        'ts = "request_time"\nts_unit = "iso"\n'
    )
    events = parse_spec(describe(headers, "ads", dataset={"name": "mine"}, guessed=guessed)).events
    assert (events.user, events.item, events.ts, events.ts_unit) == ("device_id", "ad_id", "request_time", "iso")
    crossed = guessed.model_copy(update={"events": guessed.events.model_copy(update={"user": "ad_id"})})
    events = parse_spec(
        describe(
            {"x.csv": ["ad_id", "advertiser_id", "request_time"]}, "ads", dataset={"name": "mine"}, guessed=crossed
        )
    ).events
    assert (events.user, events.item) == ("ad_id", "advertiser_id"), "one column is not two"


def test_names_that_no_domain_has_need_a_guess() -> None:
    headers = {"x.csv": ["a", "b", "c", "d"]}
    with pytest.raises(CannotGuess, match=r"ticker|fund_id"):
        describe(headers, "finance", dataset={"name": "mine"})
    guessed = parse_spec(
        '[dataset]\nname = "x"\n[events]\nfiles = "x.csv"\nuser = "a"\nitem = "b"\nts = "c"\nvalue = "d"\n'
        'kind_value = "rate"\n[positive]\nmin_value = 4\n'
    )
    spec = parse_spec(describe(headers, "finance", dataset={"name": "mine"}, guessed=guessed))
    assert (spec.events.user, spec.events.kind_value, spec.events.value) == ("a", "rate", "d")
    assert spec.positive.min_value == 4.0 and spec.positive.kinds == (), (
        "stars are not what the domain's rule is made for"
    )
    assert spec.dataset.domain == "finance" and spec.kpis
