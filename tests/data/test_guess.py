"""Files of many shapes, as strangers have them: what each column is taken for, and that ingest accepts the rows."""

import csv
import gzip
import json
import random
import re
import time
import tomllib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data import samples, synthetic
from data.domains import domain_names
from data.errors import CannotGuess, UnreadableFile
from data.guessing.guess import Guess, dataset_name, guess
from data.guessing.lexicon import strength
from data.guessing.profile import column_of
from data.guessing.samples import LATER_ROWS, SAMPLE_ROWS, rows_of, sample_of
from data.ingest import IngestResult, ingest
from data.spec import parse_spec
from data.warehouse import Warehouse

NOW = datetime(2026, 1, 1, tzinfo=UTC)
START = datetime(2024, 3, 1, 8, tzinfo=UTC)
GENRES = ("Drama", "Comedy", "Action", "Horror", "Sci-Fi")
ADJECTIVES = ("Quiet", "Golden", "Hidden", "First", "Last", "Northern", "Little", "Open")
NOUNS = ("River", "House", "Evening", "Garden", "Road", "Letter", "Winter", "Island", "Harbour", "Song")
Row = Sequence[object]


def write(path: Path, header: Sequence[str], rows: Iterable[Row], *, mark: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, delimiter=mark, lineterminator="\n")
        out.writerow(header)
        out.writerows(rows)
    return path


def met(*, users: int = 60, items: int = 80, each: int = 12, seed: int = 0) -> list[tuple[int, int, datetime]]:
    """(user, item, time): every user meets `each` different items in one sitting; in the order of time."""
    rng = random.Random(seed)
    rows = []
    for user in range(users):
        begin = START + timedelta(hours=rng.random() * 24 * 90)
        for order, item in enumerate(rng.sample(range(items), each)):
            rows.append((user, item, begin + timedelta(seconds=70 * order + rng.randrange(60))))
    return sorted(rows, key=lambda row: row[2])


def title(item: int) -> str:
    return f"{ADJECTIVES[item % 8]} {NOUNS[item // 8 % 10]} {item}"


def genres(item: int, mark: str) -> str:
    return mark.join(sorted({GENRES[item % 5], GENRES[item * 7 % 5], GENRES[item // 5 % 5]}))


def guessed(*paths: Path, name: str = "shop") -> Guess:
    """The guess, whose text says the same as its spec, and whose Chinese is Chinese."""
    found = guess({path.name: sample_of(path) for path in paths}, name=name)
    assert parse_spec(found.toml) == found.spec
    assert max(map(len, found.toml.splitlines())) < 2_000
    assert foreign(found) == {}
    return found


def foreign(found: Guess) -> dict[str, set[str]]:
    """What the guess says in Chinese with words of another language, names and values from the files aside."""
    said = [*found.warnings, *(part for one in found.decisions for part in (one.reason, *one.alternatives))]
    chinese = [part.said("zh") for part in said]
    words = {text: set(re.findall("[A-Za-z]+", re.sub("“[^”]*”", "", text))) - {"ISO"} for text in chinese}
    return {text: found for text, found in words.items() if found}


def brought(found: Guess, folder: Path) -> IngestResult:
    return ingest(found.spec, base=folder, home=folder / "home", now=NOW, threads=1)


def told(found: Guess, word: str) -> bool:
    return any(word in str(warning) for warning in found.warnings)


# ---- Shapes


def test_films_with_flags_of_genres(tmp_path: Path) -> None:
    rng = random.Random(1)
    rows = [(f"{u + 1}", i + 1, rng.randint(1, 5), int(t.timestamp())) for u, i, t in met()]
    events = write(tmp_path / "u.data", ("user id", "item id", "rating", "timestamp"), rows, mark="\t")
    films = [
        (i + 1, f"{title(i)} (1995)", "01-Jan-1995", f"http://films.example/{i}", *(int(i % 5 == g) for g in range(5)))
        for i in range(80)
    ]
    header = ("movie id", "movie title", "release date", "IMDb URL", *GENRES)
    items = write(tmp_path / "u.item", header, films, mark="|")
    people = [
        (u + 1, 15 + u * 7 % 60, "MF"[u % 2], ("nurse", "clerk", "cook")[u % 3], f"{10000 + u}") for u in range(60)
    ]
    users = write(tmp_path / "u.user", ("user id", "age", "gender", "occupation", "zip code"), people, mark="|")
    found = guessed(events, items, users, name="Meine Filme (2)")
    spec = found.spec
    assert spec.name == "meine-filme-2"
    assert (spec.events.files, spec.events.user, spec.events.item) == (("u.data",), "user id", "item id")
    assert (spec.events.ts, spec.events.ts_unit, spec.events.value) == ("timestamp", "s", "rating")
    assert (spec.events.kind_value, spec.task, spec.positive.min_value) == ("rate", "next-new", 4)
    assert spec.items and (spec.items.files, spec.items.key, spec.items.title) == (
        ("u.item",),
        "movie id",
        "movie title",
    )
    assert spec.items.categories is None
    assert told(found, "look like categories")
    assert spec.users and spec.users.attributes == ("gender", "occupation")
    assert (spec.derive["age_group"].source, spec.sensitive) == ("age", ("age_group", "gender", "occupation"))
    assert "could tell who someone is" in " ".join(found.toml.split("\n# "))
    result = brought(found, tmp_path)
    assert (result.accepted, result.quarantined, result.facts.n_items) == (720, 0, 80)


def baskets(folder: Path, times: Callable[[datetime], str]) -> Path:
    """Lines of receipts: each customer comes back for the same few goods."""
    rng = random.Random(2)
    rows = []
    for bill in range(400):
        customer = bill % 40
        at = START + timedelta(hours=5 * bill)
        for good in rng.sample(range(customer % 7, customer % 7 + 9), 4):
            price = f"{1 + good * 0.35:.2f}"
            rows.append(
                (
                    f"B{bill:05}",
                    f"G{good:03}",
                    title(good).upper(),
                    rng.randint(1, 6),
                    times(at),
                    price,
                    10_000 + customer,
                )
            )
    header = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID")
    return write(folder / "online retail.csv", header, rows)


def test_baskets_in_one_file(tmp_path: Path) -> None:
    found = guessed(baskets(tmp_path, lambda at: f"{at:%Y-%m-%d %H:%M:%S}"))
    events, items = found.spec.events, found.spec.items
    assert (events.user, events.item, events.ts, events.value) == ("CustomerID", "StockCode", "InvoiceDate", "Quantity")
    assert (events.context, events.kind_value, found.spec.task) == (("InvoiceNo",), "purchase", "repurchase")
    assert items and (items.files, items.title, items.price) == ((), "Description", "UnitPrice")
    result = brought(found, tmp_path)
    assert (result.accepted, result.quarantined) == (1600, 0)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("%d/%m/%Y %H:%M", "the day first"),
        ("%m/%d/%Y %I:%M:%S %p", "the month first"),
        ("%d.%m.%y", "the day first"),
        ("%d-%b-%Y", "the month as a word"),
        ("%b %d, %Y %I:%M %p", "the month as a word"),
        ("%d/%b/%Y:%H:%M:%S +0000", "the month as a word"),
        ("%a, %d %b %Y %H:%M:%S GMT", "the month as a word"),
        ("%a %b %d %H:%M:%S +0000 %Y", "the month as a word"),
        ("%Y年%m月%d日", "the year first"),
        ("%Y-%m-%d %H:%M:%S,%f", "the year first"),
        ("%Y%m%dT%H%M%SZ", "compact"),
        ("%Y%m%d%H%M%S", "compact"),
    ],
)
def test_dates_that_are_no_iso(tmp_path: Path, form: str, words: str) -> None:
    found = guessed(baskets(tmp_path, lambda at: at.strftime(form)))
    events, strptime = found.spec.events, form.replace("+0000", "%z")
    assert (events.ts, events.ts_unit, events.ts_format) == ("InvoiceDate", None, strptime)
    assert words in " ".join(found.toml.split("\n# ")).lower()
    result = brought(found, tmp_path)
    assert (result.quarantined, result.facts.first_ts.date()) == (0, START.date())


def test_dates_with_day_and_month_in_doubt_are_told(tmp_path: Path) -> None:
    found = guessed(baskets(tmp_path, lambda at: f"{at.day % 12 + 1:02}.{at.month:02}.2024"))
    assert told(found, "nothing tells day from month")
    assert brought(found, tmp_path).quarantined == 0


def test_json_lines_and_what_is_compressed(tmp_path: Path) -> None:
    rows = met()
    with gzip.open(tmp_path / "events.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(
            json.dumps({"user": {"id": f"u{u}"}, "item": i, "at": t.isoformat(), "stars": 1.0 + (u + i) % 5}) + "\n"
            for u, i, t in rows
        )
    goods = write(tmp_path / "goods.csv", ("商品编号", "名称"), [(i, f"好商品第{i}号") for i in range(80)])
    goods.write_bytes(goods.read_text(encoding="utf-8").encode("gb18030"))
    found = guessed(tmp_path / "events.jsonl.gz", goods)
    events = found.spec.events
    assert (events.user, events.item, events.ts, events.value) == ("user.id", "item", "at", "stars")
    assert found.spec.items and found.spec.items.title == "名称"
    assert brought(found, tmp_path).accepted == len(rows)


def test_clicks_on_news_in_milliseconds(tmp_path: Path) -> None:
    rng = random.Random(3)
    rows = [
        (
            f"a{i:04}",
            int(t.timestamp() * 1000) + rng.randrange(999),
            f"s{u}-{i % 3}",
            f"v{u:03}",
            rng.choice(("view", "view", "click")),
        )
        for u, i, t in met(users=80)
    ]
    events = write(
        tmp_path / "clickstream.csv", ("articleId", "eventTime", "sessionId", "visitorId", "eventType"), rows
    )
    text = "a longer piece of text that nobody else has, with some words and a number"
    news = [(f"a{i:04}", title(i), f"{GENRES[i % 5]}", f"{text} {i}. {text}", 1) for i in range(80)]
    items = write(tmp_path / "articles.csv", ("id", "headline", "section", "body", "published"), news)
    found = guessed(events, items)
    spec = found.spec
    assert (spec.events.user, spec.events.item, spec.events.ts_unit) == ("visitorId", "articleId", "ms")
    assert (spec.events.kind, spec.events.context, spec.positive.kinds) == ("eventType", ("sessionId",), ("click",))
    assert spec.items and (spec.items.key, spec.items.title, spec.items.categories) == ("id", "headline", "section")
    assert spec.items.text_template == "{title}. {categories}. {body}"
    assert brought(found, tmp_path).accepted == len(rows)


def test_chinese_names(tmp_path: Path) -> None:
    rng = random.Random(4)
    rows = [
        (f"用户{u}", f"P{i}", f"{t:%Y-%m-%d %H:%M:%S}", rng.choice(("浏览", "浏览", "收藏", "购买")), rng.randint(1, 5))
        for u, i, t in met()
    ]
    events = write(tmp_path / "行为日志.csv", ("用户编号", "商品编号", "时间", "行为类型", "评分"), rows)
    goods = [
        (f"P{i}", f"好商品第{i}号", ("图书;文学", "电器", "图书;历史", "电器;厨房")[i % 4], 9.5 + i) for i in range(80)
    ]
    items = write(tmp_path / "商品.csv", ("商品编号", "商品名称", "商品类别", "价格"), goods)
    people = [(f"用户{u}", "男女"[u % 2], 18 + u % 50) for u in range(60)]
    users = write(tmp_path / "用户.csv", ("用户编号", "性别", "年龄"), people)
    found = guessed(events, items, users, name="商店")
    spec = found.spec
    assert spec.name == "dataset"
    assert (spec.events.user, spec.events.item, spec.events.ts) == ("用户编号", "商品编号", "时间")
    assert (spec.events.kind, spec.events.value, spec.positive.min_value) == ("行为类型", "评分", 4)
    assert spec.items and (spec.items.title, spec.items.categories, spec.items.price) == (
        "商品名称",
        "商品类别",
        "价格",
    )
    assert spec.items.categories_separator == ";"
    assert (spec.derive["age_group"].source, spec.sensitive) == ("年龄", ("age_group",))
    assert told(found, "性别")  # an attribute's name is letters, digits, spaces and _ alone
    assert brought(found, tmp_path).quarantined == 0


@pytest.mark.parametrize(
    "header",
    [
        ("Kundennummer", "Artikelnummer", "Kaufdatum", "Bewertung"),
        ("id_usuario", "id_producto", "fecha", "puntuación"),
        ("utilisateur", "produit", "horodatage", "note"),
    ],
)
def test_other_languages(tmp_path: Path, header: tuple[str, str, str, str]) -> None:
    rng = random.Random(5)
    rows = [(1000 + u, 1000 + i, t.isoformat(), rng.randint(1, 5)) for u, i, t in met()]
    shuffled = write(tmp_path / "log.csv", [header[at] for at in (3, 2, 1, 0)], [row[::-1] for row in rows])
    events = guessed(shuffled).spec.events
    assert (events.user, events.item, events.ts, events.value) == header


def test_one_denormalised_file(tmp_path: Path) -> None:
    rows = [
        (
            u,
            ("north", "south", "east")[u % 3],
            i + 500,
            title(i),
            genres(i, "|"),
            f"{3 + i * 0.5:.2f}",
            f"{t:%Y-%m-%dT%H:%M:%SZ}",
            ("web", "app")[(u + i) % 2],
        )
        for u, i, t in met()
    ]
    header = ("customer", "region", "sku", "product_name", "tags", "price", "at", "device")
    found = guessed(write(tmp_path / "orders.csv", header, rows))
    spec = found.spec
    assert (spec.events.user, spec.events.item, spec.events.kind_value) == ("customer", "sku", "purchase")
    assert "by the file's name" in next(str(one.reason) for one in found.decisions if one.field == "events.kind_value")
    assert spec.events.context == ("device",)
    assert spec.items and (spec.items.files, spec.items.title) == ((), "product_name")
    assert (spec.items.categories, spec.items.categories_separator, spec.items.price) == ("tags", "|", "price")
    assert spec.users and (spec.users.files, spec.users.attributes, spec.sensitive) == ((), ("region",), ("region",))
    assert brought(found, tmp_path).accepted == len(rows)


@pytest.mark.parametrize(("half", "read"), [("PM", True), ("p.m.", False), ("P.M", False), ("pm.", False)])
def test_halves_of_a_day_with_dots_are_not_taken_for_text(tmp_path: Path, half: str, read: bool) -> None:
    rows = [(u, i, f"{t:%d/%m/%Y %I:%M} {half}") for u, i, t in met()]
    path = write(tmp_path / "log.csv", ("user", "item", "at"), rows)
    found = guessed(path)
    assert found.spec.events.ts_format == ("%d/%m/%Y %I:%M %p" if read else None)
    assert told(found, "write AM and PM") != read
    if read:
        with Warehouse.open(brought(found, tmp_path).path) as warehouse:
            assert min(warehouse.run("SELECT hour(ts) AS hour FROM events")["hour"].to_pylist()) >= 12


@pytest.mark.parametrize(
    ("name", "offered"), [("event_id", True), ("Beleg", True), ("row_id", False), ("Unnamed: 0", False)]
)
def test_what_differs_in_every_row_is_offered_as_an_id_and_goes_along_with_none(
    tmp_path: Path, name: str, offered: bool
) -> None:
    rows = [
        (f"e{n}", u, i, f"{t:%Y-%m-%dT%H:%M:%SZ}", ("web", "app")[(u + i) % 2]) for n, (u, i, t) in enumerate(met())
    ]
    found = guessed(write(tmp_path / "log.csv", (name, "user", "item", "at", "device"), rows))
    assert (found.spec.events.id, found.spec.events.context) == (None, ("device",))
    reasons = [one.reason for one in found.decisions if one.field == "events.id"]
    assert [f"'{name}' differs in every row" in str(reason) for reason in reasons] == [True] * offered
    assert ("# No id: " in found.toml) == offered


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_names_that_say_nothing(tmp_path: Path, order: Sequence[int]) -> None:
    rng = random.Random(6)
    rows = [(u, i, rng.randint(1, 5), int(t.timestamp())) for u, i, t in met(users=100, items=60, each=15)]
    path = write(tmp_path / "x.tsv", ("c1", "c2", "c3", "c4"), [[row[at] for at in order] for row in rows], mark="\t")
    found = guessed(path)
    events = found.spec.events
    place = {was: f"c{now + 1}" for now, was in enumerate(order)}
    assert (events.user, events.item, events.value, events.ts) == tuple(place[was] for was in range(4))
    assert "crowd in time" in found.toml
    assert brought(found, tmp_path).accepted == len(rows)


def test_parquet_with_lists_and_times(tmp_path: Path) -> None:
    rows = met()
    table = {
        "member": pa.array([f"m{u}" for u, _, _ in rows]),
        "track": pa.array([i for _, i, _ in rows]),
        "played_at": pa.array([t for _, _, t in rows], pa.timestamp("us", "UTC")),
        "seconds": pa.array([30.0 + 7 * i for _, i, _ in rows]),
    }
    pq.write_table(pa.table(table), tmp_path / "plays.parquet")
    songs = {
        "track": list(range(80)),
        "name": [title(i) for i in range(80)],
        "tags": [genres(i, "|").split("|") for i in range(80)],
    }
    pq.write_table(pa.table(songs), tmp_path / "tracks.parquet")
    found = guessed(tmp_path / "plays.parquet", tmp_path / "tracks.parquet")
    spec = found.spec
    assert (spec.events.user, spec.events.item, spec.events.ts) == ("member", "track", "played_at")
    assert spec.items and (spec.items.title, spec.items.categories, spec.items.categories_separator) == (
        "name",
        "tags",
        "|",
    )
    assert brought(found, tmp_path).accepted == len(rows)


def test_two_files_of_events_and_a_log_of_another_shape(tmp_path: Path) -> None:
    rows = [(f"u{u}", f"i{i}", f"{t:%Y%m%d}") for u, i, t in met()]
    january = write(tmp_path / "log-1.csv", ("user", "item", "day"), rows[:400])
    february = write(tmp_path / "log-2.csv", ("user", "item", "day"), rows[400:])
    searches = write(tmp_path / "searches.csv", ("user", "item", "day", "words"), [(*row, "q") for row in rows[:100]])
    found = guessed(january, february, searches)
    events = found.spec.events
    assert events.files == ("log-1.csv", "log-2.csv")
    assert (events.ts, events.ts_format) == ("day", "%Y%m%d")
    assert told(found, "searches.csv could be a log of events too")
    assert told(found, "days without hours")
    result = brought(found, tmp_path)
    assert (result.accepted, result.quarantined) == (len(rows), 0)
    assert result.facts.first_ts == datetime(
        *(int(rows[0][2][at]) for at in (slice(4), slice(4, 6), slice(6, 8))), tzinfo=UTC
    )


def test_ages_years_of_birth_and_incomes_become_bins(tmp_path: Path) -> None:
    events = write(
        tmp_path / "events.csv", ("user", "item", "ts"), [(f"u{u}", f"i{i}", t.isoformat()) for u, i, t in met()]
    )
    header = ("user", "birth_year", "salary", "plan", "email", "faith")
    people = [
        (
            f"u{u}",
            1950 + u % 50,
            20_000 + 731 * u,
            ("free", "paid")[u % 2],
            f"u{u}@x.example",
            ("catholic", "muslim", "none")[u % 3],
        )
        for u in range(60)
    ]
    found = guessed(events, write(tmp_path / "people.csv", header, people))
    spec = found.spec
    assert spec.users and spec.users.attributes == ("plan", "faith")
    assert set(spec.derive) == {"birth_decade", "income_group"}
    assert spec.derive["birth_decade"].label_of("1967") == "1960 to below 1970"
    assert set(spec.sensitive) == {"birth_decade", "income_group", "faith"}
    assert brought(found, tmp_path).accepted == 720


@pytest.mark.parametrize(
    ("first", "second", "made"),
    [
        ("age", "partner_age", "age_group"),
        ("income", "household_income", "income_group"),
        ("birth_year", "year_of_birth", "birth_decade"),
    ],
)
def test_of_two_columns_of_one_meaning_one_is_binned_and_the_other_stays_out(
    tmp_path: Path, first: str, second: str, made: str
) -> None:
    log = write(tmp_path / "log.csv", ("user", "item", "at"), [(f"u{u}", f"i{i}", t.isoformat()) for u, i, t in met()])
    low = {"age": 18, "income": 20_000, "birth_year": 1950}[first]
    people = [(f"u{u}", low + u % 50, low + u * 7 % 50) for u in range(60)]
    found = guessed(log, write(tmp_path / "users.csv", ("user", first, second), people))
    assert (list(found.spec.derive), found.spec.derive[made].source) == ([made], first)
    assert found.spec.sensitive == (made,) and found.spec.users is not None and found.spec.users.attributes == ()


def test_decoys(tmp_path: Path) -> None:
    """A numeric id that looks like seconds since 1970, a constant, a row number; the items tell when they changed."""
    rows = [
        (n + 1, 1_600_000_000 + u, f"sku-{i}", int(t.timestamp()), "eu", f"{t.year}")
        for n, (u, i, t) in enumerate(met())
    ]
    events = write(tmp_path / "a.csv", ("row_id", "account", "thing", "moment", "shop", "year"), rows)
    goods = [
        (
            f"sku-{i}",
            title(i),
            GENRES[i % 5],
            ("Acme", "Umbrella", "Initech")[i % 3],
            f"{START + timedelta(days=i // 4):%Y-%m-%d %H:%M:%S}",
        )
        for i in range(80)
    ]
    items = write(tmp_path / "b.csv", ("sku", "title", "category", "brand", "updated_at"), goods)
    found = guessed(items, events)
    spec = found.spec
    assert spec.events.files == ("a.csv",)
    assert (spec.events.user, spec.events.item, spec.events.ts) == ("account", "thing", "moment")
    assert "shop" not in spec.events.context
    assert spec.items and (spec.items.key, spec.items.categories, spec.items.attributes) == (
        "sku",
        "category",
        ("brand",),
    )
    assert brought(found, tmp_path).accepted == len(rows)


def test_repeated_rows_are_refused_on_advice(tmp_path: Path) -> None:
    rows = [(f"u{u}", f"i{i}", t.isoformat()) for u, i, t in met()]
    found = guessed(write(tmp_path / "views.csv", ("user", "item", "ts"), [*rows, *rows[:50]]))
    assert found.spec.events.drop_duplicates
    assert found.spec.task == "next-new"
    result = brought(found, tmp_path)
    assert (result.accepted, result.quarantined) == (len(rows), 50)


def test_repeats_of_a_long_log_are_foreseen_from_a_sample(tmp_path: Path) -> None:
    """A year of weekly baskets in order of time: its sampled beginning holds each customer's first ones alone."""
    rng = random.Random(8)
    rows = []
    for week in range(150):
        for user in range(400):
            at = START + timedelta(weeks=week, seconds=user)
            rows += [(f"o{week}-{user}", user, f"g{good}", at.isoformat()) for good in rng.sample(range(120), 2)]
    found = guessed(write(tmp_path / "orders.csv", ("order_id", "customer", "product", "at"), rows))
    assert found.spec.task == "repurchase"
    assert "in the whole log" in found.toml
    assert "in one 'order_id'" in " ".join(found.toml.split("\n# "))


def test_visits_without_users_are_told(tmp_path: Path) -> None:
    rows = [(f"s{u}", f"i{i}", t.isoformat()) for u, i, t in met()]
    found = guessed(write(tmp_path / "clicks.csv", ("session_id", "item_id", "ts"), rows))
    assert found.spec.events.user == "session_id"
    assert told(found, "a visit stands for a user")


def test_odd_names_of_columns(tmp_path: Path) -> None:
    user, item, at = 'the "user"\nof it', "item\t# [x] = 'y'", "ts\\\u2028 时间"
    rows = met()
    table = {
        user: pa.array([f"u{u}" for u, _, _ in rows]),
        item: pa.array([f"i{i}" for _, i, _ in rows]),
        at: pa.array([int(t.timestamp()) for _, _, t in rows]),
        "a]\n[dataset]\nname = 'x'": pa.array(["x", "y"] * (len(rows) // 2)),
    }
    pq.write_table(pa.table(table), tmp_path / "odd.parquet")
    found = guessed(tmp_path / "odd.parquet")
    events = found.spec.events
    assert (events.user, events.item, events.ts) == (user, item, at)
    assert brought(found, tmp_path).accepted == len(rows)


# ---- The known sets


def test_the_synthetic_set_is_guessed_as_its_preset_says(tmp_path: Path) -> None:
    synthetic.generate(tmp_path, seed=1, world=synthetic.World(n_users=150, n_items=60, n_events=3_000))
    found = guessed(*(tmp_path / f"{name}.tsv" for name in ("events", "items", "users")), name="synthetic").spec
    preset = parse_spec((Path(synthetic.__file__).parent / "presets" / "synthetic.toml").read_text(encoding="utf-8"))
    assert found.events == preset.events
    assert found.items == preset.items
    assert found.users == preset.users
    assert (found.task, found.positive, found.derive) == (preset.task, preset.positive, preset.derive)
    assert set(found.sensitive) == set(preset.sensitive)


@pytest.mark.parametrize("name", ["movielens-100k", "complete-journey"])
def test_a_fetched_set_is_guessed_as_its_preset_says(name: str) -> None:
    folder = Path.home() / ".cache" / "lodestar" / "datasets" / name
    if not folder.is_dir():
        pytest.skip("not fetched here")
    files = [one for one in sorted(folder.iterdir()) if one.suffix in (".tsv", ".parquet")]
    found = guessed(*files, name=name).spec
    preset = parse_spec((Path(synthetic.__file__).parent / "presets" / f"{name}.toml").read_text(encoding="utf-8"))
    assert found.events == preset.events
    assert found.items == preset.items
    assert found.users == preset.users
    assert (found.task, found.positive, found.derive) == (preset.task, preset.positive, preset.derive)
    assert set(found.sensitive) == set(preset.sensitive)


def test_a_hundred_thousand_rows_take_less_than_two_seconds(tmp_path: Path) -> None:
    rng = random.Random(7)
    rows = [(rng.randrange(943), rng.randrange(1682), rng.randint(1, 5), 880_000_000 + 40 * n) for n in range(100_000)]
    path = write(tmp_path / "ratings.tsv", ("user", "item", "rating", "ts"), rows, mark="\t")
    begun = time.process_time()
    found = guessed(path)
    assert time.process_time() - begun < 2
    assert (found.spec.events.user, found.spec.events.item) == ("user", "item")


# ---- Samples


def test_a_sample_has_the_first_rows_and_later_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "long.csv", ("n", "text"), ((n, "x" * (n % 7)) for n in range(100_000)))
    sample = sample_of(path)
    numbers = [int(text) for text in sample.column("n").to_pylist()]
    assert numbers[:SAMPLE_ROWS] == list(range(SAMPLE_ROWS))
    assert max(numbers) > 90_000
    assert len(numbers) == SAMPLE_ROWS + 4 * LATER_ROWS
    assert rows_of(sample) == pytest.approx(100_000, rel=0.1)


def test_decimal_commas_are_told(tmp_path: Path) -> None:
    rows = [(f"u{u}", f"i{i}", t.isoformat(), f"{i % 9},5") for u, i, t in met()]
    found = guessed(write(tmp_path / "k.csv", ("kunde", "artikel", "zeit", "betrag"), rows, mark=";"))
    assert found.spec.events.value is None
    assert told(found, "decimal comma")
    assert brought(found, tmp_path).accepted == len(rows)


# ---- What cannot be guessed


def test_no_times(tmp_path: Path) -> None:
    rows = [(u, i) for u, i, _ in met()]
    with pytest.raises(
        CannotGuess, match=r"no column of times in any file: pairs.csv \(user: 60 different numbers such as"
    ):
        guessed(write(tmp_path / "pairs.csv", ("user", "item"), rows))


def test_times_without_users_and_items(tmp_path: Path) -> None:
    rows = [(n, f"{START + timedelta(hours=n):%Y-%m-%d %H:%M}", n * 0.37) for n in range(100)]
    with pytest.raises(CannotGuess, match="no two columns beside the times"):
        guessed(write(tmp_path / "weather.csv", ("n", "time", "degrees"), rows))


def test_a_file_without_names_of_columns(tmp_path: Path) -> None:
    rows = [(u, i, 3, int(t.timestamp())) for u, i, t in met()]
    path = write(tmp_path / "ratings.csv", [str(cell) for cell in rows[0]], rows[1:])
    with pytest.raises(CannotGuess, match="seems to lack a line of column names"):
        guessed(path)


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d", "%d.%m.%Y %H:%M", "%Y/%m/%d %H:%M:%S"])
def test_a_time_for_a_name_is_no_name(tmp_path: Path, form: str) -> None:
    rows = [(f"user_{u}", t.strftime(form), f"artist {i % 9}", f"song {i}", "home", "free") for u, i, t in met()]
    with pytest.raises(CannotGuess, match="seems to lack a line of column names"):
        guessed(write(tmp_path / "plays.csv", rows[0], rows[1:]))


def test_a_header_that_comes_again_is_one(tmp_path: Path) -> None:
    rows = [(f"u{u}", f"i{i}", t.isoformat()) for u, i, t in met()]
    found = guessed(write(tmp_path / "clicks.csv", ("user", "item", "time"), [*rows, ("user", "item", "time")]))
    assert (found.spec.events.user, found.spec.events.item) == ("user", "item")


def test_exams_in_chinese(tmp_path: Path) -> None:
    rows = [
        (
            f"2021{u:04}",
            f"学生{u}号",
            f"Q{i:03}",
            f"第{i}题",
            f"章{i % 4}",
            i % 6,
            f"{t:%Y/%m/%d %H:%M:%S}",
            u * i % 290,
        )
        for u, i, t in met()
    ]
    header = ("学号", "姓名", "试题编号", "题目", "知识点", "得分", "作答时间", "用时(秒)")
    found = guessed(write(tmp_path / "答题记录.csv", header, rows))
    assert (found.spec.events.user, found.spec.events.item) == ("学号", "试题编号")
    assert "姓名" not in found.toml.split("[events]")[1].split("#")[0]


def test_episodes_rather_than_their_shows(tmp_path: Path) -> None:
    rows = [(f"p{u}", f"e{i}", f"show {i % 9}", t.isoformat()) for u, i, t in met()]
    found = guessed(write(tmp_path / "plays.csv", ("listener", "episode", "show", "at"), rows))
    assert (found.spec.events.user, found.spec.events.item) == ("listener", "episode")


def test_what_counts_attempts_is_no_quantity_that_was_bought(tmp_path: Path) -> None:
    rows = [(f"s{u}", f"x{i}", t.isoformat(), 1 + i % 4) for u, i, t in met()]
    found = guessed(write(tmp_path / "log.csv", ("student", "exercise", "at", "attempt_count"), rows))
    assert (found.spec.events.kind_value, found.spec.events.value) == ("view", None)


def test_pages_are_items_and_where_people_came_from_is_none(tmp_path: Path) -> None:
    rows = [
        (
            f"10.1.{u % 50}.{u // 50}",
            f"ck{u:05}",
            f"https://n.example/{i}",
            f"from{i * u % 3}",
            t.isoformat(),
        )
        for u, i, t in met()
    ]
    header = ("ip", "cookie_id", "url", "referrer", "at")
    found = guessed(write(tmp_path / "pageviews.csv", header, rows))
    assert (found.spec.events.user, found.spec.events.item) == ("cookie_id", "url")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (bytes(range(256)) * 50, "UTF-8|line of column names"), (b"PK\x03\x04 and so on", "zip")],
)
def test_what_is_no_table(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(UnreadableFile, match=words):
        sample_of(tmp_path / "x.csv")


def test_a_header_alone(tmp_path: Path) -> None:
    with pytest.raises(CannotGuess, match=r"x\.csv has a header and no rows"):
        guessed(write(tmp_path / "x.csv", ("user", "item", "ts"), []))


def test_one_row_goes_by_names(tmp_path: Path) -> None:
    found = guessed(write(tmp_path / "x.csv", ("item", "user", "ts"), [("tea", "ann", "2024-01-01")]))
    assert (found.spec.events.user, found.spec.events.item) == ("user", "item")
    assert told(found, "1 rows: too few")
    assert brought(found, tmp_path).accepted == 1


def test_three_thousand_columns(tmp_path: Path) -> None:
    noise = [f"x{n}" for n in range(2997)]
    rows = [(*(["0.5"] * 2997), u, i, int(t.timestamp())) for u, i, t in met(users=30)]
    found = guessed(write(tmp_path / "wide.csv", (*noise, "user", "item", "ts"), rows))
    assert (found.spec.events.user, found.spec.events.item, found.spec.events.ts) == ("user", "item", "ts")
    assert told(found, "has 3,000 columns")


def test_names_that_stand_twice_are_not_used(tmp_path: Path) -> None:
    rows = [(f"u{u}", f"i{i}", t.isoformat(), "a", "b") for u, i, t in met()]
    found = guessed(write(tmp_path / "x.csv", ("user", "item", "ts", "note", "note"), rows))
    assert told(found, "several columns named 'note'")
    assert brought(found, tmp_path).accepted == len(rows)


def test_columns_without_a_name_are_told_apart_from_names_that_stand_twice(tmp_path: Path) -> None:
    rows = [(f"u{u}", f"i{i}", t.isoformat(), "", "", "a", "b") for u, i, t in met()]
    found = guessed(write(tmp_path / "x.csv", ("user", "item", "ts", "", "", "note", "note"), rows))
    assert told(found, "2 columns without a name") and told(found, "several columns named 'note'")


@pytest.mark.parametrize("domain", domain_names())
def test_files_of_every_domain_are_told_in_chinese_too(tmp_path: Path, domain: str) -> None:
    samples.generate(tmp_path, domain, seed=0, n_users=60, n_items=50, n_events=1_500)
    found = guessed(*(tmp_path / f"{name}.csv" for name in ("events", "items", "users")), name=domain)
    reasons = {one.field: one.reason.said("zh") for one in found.decisions}
    assert "用户和物品反复出现" in reasons["events.files"]
    assert f"见于“users.csv”的“{found.spec.users.key if found.spec.users else ''}”列" in reasons["users.key"]
    guessed(tmp_path / "events.csv", name=domain)


# ---- The text


ONE_ROW = """\
# Guessed from x.csv. Read the reason above each line, and mend what is wrong.
# To look at: x.csv has 1 rows: too few to tell much, names decide.
# To look at: 'ts' has days without hours: events of one day keep the file's order.

[dataset]
# From 'x'.
name = "x"
# 0.0% of 1 events are of an item that this user had before, 0% stand at one time with other items, where a time is a
# day (next-new below 10%, else repurchase from 30% in baskets on, else next-any). Also weighed: next-any; repurchase.
task = "next-new"

[events]
# Users and items that repeat, and ISO 8601 dates, in about 1 rows.
files = "x.csv"
# 1 different values in 1 rows; the name says user.
user = "user"
# 1 different values in 1 rows; the name says item.
item = "item"
# ISO 8601 dates, such as '2024-01-01'.
ts = "ts"
# By the values' form.
ts_unit = "iso"
# All events are of one kind; no column of kinds.
kind_value = "view"
# No value: no column looks like a rating, an amount or seconds.
# No context: no further column says something about an event.
"""
IN_DOUBT = """\
# Guessed from clicks.csv, goods.csv. Read the reason above each line, and mend what is wrong.
# To look at: 'at': nothing tells day from month, both stay below 13: the day is taken to come first.
# To look at: 'at' has days without hours: events of one day keep the file's order.
# To look at: 'price' sounds like a price, but 'dear' is no number.

[dataset]
# From 'A shop'.
name = "a-shop"
# 50.0% of 40 events are of an item that this user had before, 0% stand at one time with other items, where a time is
# a day (next-new below 10%, else repurchase from 30% in baskets on, else next-any). Also weighed: next-new;
# repurchase.
task = "next-any"

[events]
# Users and items that repeat, and dates with day and month in doubt, in about 40 rows.
files = "clicks.csv"
# 5 different values in 40 rows; the name says user.
user = "user"
# 4 different values in 40 rows; 100% of its values are among the unique 'item' of goods.csv, 100% the other way
# round; the name says item.
item = "item"
# Dates with day and month in doubt, such as '01.01.2024'.
ts = "at"
# By the values' form; not ISO 8601.
ts_format = "%d.%m.%Y"
# All events are of one kind; the value is a rating.
kind_value = "rate"
# A rating: numbers from 1 to 3.
value = "stars"
# No context: no further column says something about an event. Also weighed: 'shop' (says the same throughout).

[items]
# It lists what the events' 'item' names.
files = "goods.csv"
# 100% of its values are among the unique 'item' of goods.csv, 100% the other way round. Also weighed: 'name' (its
# values are unique too).
key = "item"
# Readable text of 7 characters, 100% of it different. Also weighed: 'tags' (2 different texts such as 'b').
title = "name"
# Lists of 1.5 on average, of 2 different ones, between ';'.
categories = "tags"
# Of the marks tried it makes the most parts that items share.
categories_separator = ";"
# What the language model reads of an item.
text_template = "{title}. {categories}"
# No attributes: no further column has values that items share. Also weighed: 'price' (1 different texts such as
# 'dear').

[positive]
# The upper part of a scale from 1 to 3; say what counts as liked here.
min_value = 3.0
"""


def test_the_text_of_a_spec_is_written_to_the_letter(tmp_path: Path) -> None:
    """People keep these files and compare them: another word in a comment is a difference to them."""
    row = write(tmp_path / "x.csv", ("item", "user", "ts"), [("tea", "ann", "2024-01-01")])
    assert guessed(row, name="x").toml == ONE_ROW
    stars = [(f"u{n % 5}", f"i{n % 4}", f"0{n % 9 + 1}.01.2024", n % 3 + 1, "web") for n in range(40)]
    clicks = write(tmp_path / "clicks.csv", ("user", "item", "at", "stars", "shop"), stars)
    things = [(f"i{n}", f"Thing {n}", "a;b" if n % 2 else "b", "dear") for n in range(4)]
    goods = write(tmp_path / "goods.csv", ("item", "name", "tags", "price"), things)
    assert guessed(clicks, goods, name="A shop").toml == IN_DOUBT


# ---- Parts


@pytest.mark.parametrize(
    ("name", "concept", "least"),
    [
        ("visitorId", "user", 0.9),
        ("Kundennummer", "user", 0.9),
        ("用户编号", "user", 0.9),
        ("item_price", "price", 0.9),
        ("商品名称", "title", 0.9),
        ("section_name", "category", 0.9),
        ("product_name", "title", 0.9),
        ("Kaufdatum", "time", 0.6),
    ],
)
def test_names_speak(name: str, concept: str, least: float) -> None:
    assert strength(name, concept) >= least
    assert strength(name, "religion") == 0


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("2024-01-31", "iso"),
        ("2024/1/3 8:26", "iso"),
        ("2024-01-31T10:15:00.123+01:00", "iso"),
        ("20240131", "%Y%m%d"),
        ("20240131T101500Z", "%Y%m%dT%H%M%SZ"),
        ("1706696100", "s"),
        ("1706696100.25", "s"),
        ("1706696100123", "ms"),
        ("1706696100123456", "us"),
        ("1706696100123456789", None),
        ("31.01.2024", "%d.%m.%Y"),
        ("31-Jan-2024", "%d-%b-%Y"),
        ("2024年1月31日", "%Y年%m月%d日"),
        ("31.1.24 08:05:06.5", "%d.%m.%y %H:%M:%S.%f"),
        ("1/31/2024 8:05pm", "%m/%d/%Y %I:%M%p"),
        ("31 January 2024", "%d %B %Y"),
        ("31-JAN-24 10.15.00.000000 AM", "%d-%b-%y %I.%M.%S.%f %p"),
        ("January 31, 2024", "%B %d, %Y"),
        ("Jan. 31, 2024", "%b. %d, %Y"),
        ("Sep 3, 2024, 3:04 PM", "%b %d, %Y, %I:%M %p"),
        ("Wednesday, January 31, 2024", "%A, %B %d, %Y"),
        ("WEDNESDAY, JANUARY 31, 2024", "%A, %B %d, %Y"),
        ("31.01.2024 10:15UTC", "%d.%m.%Y %H:%MUTC"),
        ("Wed Jan  3 10:15:00 2024", "%a %b %d %H:%M:%S %Y"),
        ("Wed Jan 31 10:15:00 +0000 2024", "%a %b %d %H:%M:%S %z %Y"),
        ("Wed, 31 Jan 2024 10:15:00 -0500", "%a, %d %b %Y %H:%M:%S %z"),
        ("Wed, 31 Jan 2024 10:15:00 GMT", "%a, %d %b %Y %H:%M:%S GMT"),
        ("31/Jan/2024:10:15:00 +0200", "%d/%b/%Y:%H:%M:%S %z"),
        ("2024-01-31 10:15:00 +0200", "%Y-%m-%d %H:%M:%S %z"),
        ("2024-01-31 10:15:00,123", "%Y-%m-%d %H:%M:%S,%f"),
        ("31.01.2024 10:15:00.123456789", "%d.%m.%Y %H:%M:%S.%n"),
        ("31.01.2024 10:15 a.m.", None),
        ("31. März 2024", None),
        ("Sept 3, 2024", None),
        ("31 Jan 2024 10:15 EST", None),
    ],
)
def test_forms_of_times(text: str, unit: str | None) -> None:
    form = column_of("x", pa.chunked_array([[text]])).time
    assert form is not None
    assert (form.unit or form.format) == unit
    assert (form.caution is None) == (unit is not None)


def test_the_form_that_most_times_have_is_taken_and_the_others_are_told() -> None:
    days = [START + timedelta(days=n) for n in range(300)]
    named = [f"{day:%B %d, %Y}" for day in days]  # May is an abbreviation, too
    form = column_of("x", pa.chunked_array([named])).time
    assert form and (form.format, form.caution) == ("%B %d, %Y", None)
    assert (np.diff(form.rough) > 0).all()
    mixed = [f"{day:Sept %d, %Y}" if day.month == 9 else f"{day:%b %d, %Y}" for day in days]
    form = column_of("x", pa.chunked_array([mixed])).time
    assert form and form.format == "%b %d, %Y"
    assert "30 of 300" in str(form.caution) and "Sept 01, 2024" in str(form.caution)
    clocks = [f"{day:%d.%m.%Y %I:%M %p}" for day in days[:2]]
    form = column_of("x", pa.chunked_array([[clocks[0], clocks[0].replace("AM", "PM"), clocks[1]]])).time
    assert form and list(np.diff(form.rough) / 3600) == [12, 12]


def test_what_is_doubtful_and_what_is_refused_are_both_told() -> None:
    form = column_of("x", pa.chunked_array([["01/02/2024 10:00", "03/04/2024 11:00", "05/06/2024"]])).time
    assert form and "1 of 3" in str(form.caution) and "nothing tells day from month" in str(form.caution)


@pytest.mark.parametrize("text", ["Week 12 2024", "Film 12, 1999", "12345", "2024", "12:30", "tea", "99999999", "1.5"])
def test_what_is_no_time(text: str) -> None:
    assert column_of("x", pa.chunked_array([[text]])).time is None


def test_names_of_datasets() -> None:
    assert [dataset_name(text) for text in ("My Shop", "Bücher & mehr", "...", "用户")] == [
        "my-shop",
        "bucher-mehr",
        "dataset",
        "dataset",
    ]


def test_decisions_are_json_and_toml(tmp_path: Path) -> None:
    rows = [(f"u{u}", f"i{i}", t.isoformat()) for u, i, t in met()]
    found = guessed(write(tmp_path / "x.csv", ("user", "item", "ts"), rows))
    plain = json.loads(json.dumps([one.as_json() for one in found.decisions]))
    assert {"field", "value", "reason", "alternatives"} == set(plain[0])
    assert tomllib.loads(found.toml)["events"]["user"] == "user"
