"""`lodestar ingest --guess` as people give it: what it writes and where, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dashboard.cli import app
from data.errors import CannotGuess, InputError, InvalidSpec, LodestarError, UnreadableFile
from data.spec import load_spec

RUNNER = CliRunner()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder named shop with a log, its goods, and things that are no tables."""
    folder = tmp_path / "my shop"
    folder.mkdir()
    rows = [
        f"c{user},g{(user * 3 + step * 5) % 20},2025-01-{step + 1:02}T{user % 24:02}:00:00Z"
        for user in range(20)
        for step in range(6)
    ]
    (folder / "clicks.csv").write_text("customer,sku,at\n" + "\n".join(rows) + "\n")
    goods = [f"g{good},Thing number {good},{('a|b', 'b', 'a|c')[good % 3]}" for good in range(20)]
    (folder / "products[1].csv").write_text("sku,name,tags\n" + "\n".join(goods) + "\n")
    (folder / "notes.md").write_text("# not a table\n")
    (folder / "picture.dat").write_bytes(bytes(range(256)))
    return folder


def told(*words: object) -> dict[str, Any]:
    done = RUNNER.invoke(app, ["ingest", *map(str, words), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def refused(*words: object) -> LodestarError:
    done = RUNNER.invoke(app, ["ingest", *map(str, words)])
    assert isinstance(done.exception, LodestarError), done.output
    return done.exception


def test_a_folder_is_guessed_beside_its_files_and_then_ingested(shop: Path, tmp_path: Path) -> None:
    found = told("--guess", shop)
    assert found["spec"] == str(shop / "my-shop.toml")
    assert found["next"] == f"lodestar ingest '{shop}/my-shop.toml'"
    assert (shop / "my-shop.toml").read_text(encoding="utf-8") == found["toml"]
    values = {one["field"]: one["value"] for one in found["decisions"]}
    assert (values["events.user"], values["events.item"], values["events.ts"]) == ("customer", "sku", "at")
    assert values["items.files"] == "products[1].csv"
    assert all(one["reason"] for one in found["decisions"])
    assert any("picture.dat is left out" in warning for warning in found["warnings"])
    assert not (tmp_path / "home").exists()
    made = told(shop / "my-shop.toml", "--home", tmp_path / "home")
    assert (made["read"], made["accepted"]) == (120, 120)


def test_a_folder_of_partitions_is_looked_into(shop: Path, tmp_path: Path) -> None:
    log = (shop / "clicks.csv").read_text().splitlines(keepends=True)
    for day in (1, 2, 10):
        (tmp_path / "log" / f"day={day}").mkdir(parents=True)
        (tmp_path / "log" / f"day={day}" / "part.csv").write_text("".join([log[0], *log[day::10]]))
    (tmp_path / "log" / "_tmp").mkdir()
    (tmp_path / "log" / "_tmp" / "part.csv").write_text("half")
    found = told("--guess", tmp_path / "log")
    values = {one["field"]: one["value"] for one in found["decisions"]}
    assert values["events.files"] == [f"day={day}/part.csv" for day in (1, 2, 10)]
    assert told(found["spec"], "--home", tmp_path / "home")["accepted"] == 36


def test_people_read_the_spec_and_what_to_say_next(shop: Path) -> None:
    done = RUNNER.invoke(app, ["ingest", "--guess", str(shop / "*.csv")], catch_exceptions=False)
    assert 'user = "customer"' in done.stdout
    assert done.stdout.rstrip().endswith(f"lodestar ingest '{shop}/my-shop.toml'")


def test_a_spec_that_stands_is_replaced_only_by_force(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere" / "spec.toml"
    files = (shop / "clicks.csv", shop / "products[1].csv")
    assert told("--guess", *files, "--out", out)["spec"] == str(out)
    assert load_spec(out).events.files == (str(shop / "clicks.csv"),)
    assert told("--guess", *files, "--out", out.parent)["spec"] == str(out.parent / "my-shop.toml")
    out.write_text("mine", encoding="utf-8")
    error = refused("--guess", *files, "--out", out)
    assert (type(error), "--force" in error.remedy, out.read_text()) == (InputError, True, "mine")
    told("--guess", *files, "--out", out, "--force")
    assert load_spec(out).name == "my-shop"
    assert told(out, "--home", tmp_path / "home")["accepted"] == 120


def test_what_cannot_be_guessed_is_told(shop: Path, tmp_path: Path) -> None:
    assert isinstance(refused("--guess", shop / "products[1].csv"), CannotGuess)
    assert isinstance(refused("--guess", shop / "picture.dat"), UnreadableFile)
    assert isinstance(refused("--guess", shop / "nothing.csv"), UnreadableFile)
    assert isinstance(refused("--guess", tmp_path / "*.none"), UnreadableFile)
    assert not list(shop.glob("*.toml"))


@pytest.mark.parametrize("path", ["~nobody-has-this-name/x.csv", "a\0b.csv", "n" * 300 + ".csv", "*" * 300, "a\0*.csv"])
def test_a_path_that_no_file_could_have_is_told(shop: Path, path: str) -> None:
    error = refused("--guess", path)
    assert isinstance(error, UnreadableFile) and len(error.message) < 200
    assert "\0" not in error.message
    assert isinstance(refused("--guess", shop / "clicks.csv", path), UnreadableFile)
    assert not list(shop.glob("*.toml"))


def test_a_place_for_the_spec_that_cannot_be_is_told(shop: Path) -> None:
    assert isinstance(refused("--guess", shop / "clicks.csv", "--out", "n" * 300 + ".toml"), InputError)


@pytest.mark.parametrize("words", [("a.toml", "b.toml"), ("a.toml", "--force"), ("a.toml", "--out", "b.toml")])
def test_options_of_the_guess_alone_are_usage_errors(words: tuple[str, ...]) -> None:
    assert RUNNER.invoke(app, ["ingest", *words]).exit_code == 2


def test_files_of_a_domain_are_described_by_it_and_ingested(shop: Path, tmp_path: Path) -> None:
    made = told("--preset", "retail", shop, "--home", tmp_path / "home")
    assert (made["dataset"], made["accepted"]) == ("my-shop", 120)
    spec = load_spec(shop / "my-shop.toml")
    assert (spec.dataset.domain, spec.task, spec.positive.kinds) == ("retail", "repurchase", ("purchase",))
    assert (spec.events.user, spec.events.item, spec.events.ts) == ("customer", "sku", "at"), "at is the guess's"
    assert spec.items is not None and (spec.items.title, spec.items.categories) == ("name", "tags")
    assert "picture.dat is left out" in (shop / "my-shop.toml").read_text(encoding="utf-8").replace("\n# ", " ")
    assert "--force" in refused("--preset", "retail", shop).remedy
    only = told("--guess", "--preset", "news", shop, "--out", tmp_path / "news.toml")
    assert only["toml"].count('preset = "news"') == 1 and only["warnings"]


def test_a_preset_that_there_is_not_is_refused_before_anything_is_written(shop: Path) -> None:
    error = refused("--preset", "gardening", shop)
    assert (type(error), "retail" in error.remedy) == (InvalidSpec, True)
    assert not list(shop.glob("*.toml"))
