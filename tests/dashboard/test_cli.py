"""The command line as a program: what it prints, how it ends, and what bad input gets."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.ops import runs
from core.ops.jobs import submit
from core.ops.ledger import Ledger, utc_now
from dashboard.cli import app
from dashboard.desk import listed
from dashboard.terminal import show
from data.errors import InputError
from tests.dashboard.commands import Ended, given

SPEC = """
[dataset]
name = "shop"
licence = "made for tests"
[events]
files = "clicks.csv"
user = "customer"
item = "sku"
ts = "at"
"""


def lodestar(*arguments: str, home: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-m", "dashboard.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "LODESTAR_HOME": str(home), "LODESTAR_OFFLINE": "1", **environment},
    )


def inside(*arguments: str, home: Path, **environment: str) -> Ended:
    """The same in this process."""
    return given(*arguments, LODESTAR_HOME=str(home), LODESTAR_OFFLINE="1", **environment)


def told(done: "subprocess.CompletedProcess[str] | Ended") -> dict[str, Any]:
    """The one JSON object on stdout, of a command that ended as a stated error or well: never with a traceback."""
    assert "Traceback" not in done.stderr, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1, done.stdout
    return dict(json.loads(lines[0]))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with a spec and a log of two users."""
    rows = [f"{user},{sku},2025-01-0{day}T10:00:00Z" for user in "ab" for day, sku in enumerate("xyz", 1)]
    (tmp_path / "clicks.csv").write_text("customer,sku,at\n" + "\n".join(rows) + "\n")
    (tmp_path / "shop.toml").write_text(SPEC)
    return tmp_path


def test_ingest_then_builds(shop: Path) -> None:
    home = shop / "home"
    made = told(lodestar("ingest", str(shop / "shop.toml"), "--json", home=home))
    assert (made["read"], made["accepted"], made["quarantined"]) == (6, 6, 0)
    (build,) = told(lodestar("builds", "--json", home=home))["builds"]
    assert build["build_id"] == made["build_id"]
    assert build["current"] is True


def test_a_day_is_appended_and_every_line_can_be_traced(shop: Path) -> None:
    (shop.parent / "days").mkdir()
    spec = shop.parent / "days.toml"
    spec.write_text('[dataset]\nname = "days"\n[events]\nfiles = "days/*.csv"\nuser = "u"\nitem = "i"\nts = "t"\n')
    home = shop.parent / "days-home"
    (shop.parent / "days" / "one.csv").write_text("u,i,t\na,x,1700000000\nb,x,1700000001\n")
    told(inside("ingest", str(spec), "--json", home=home))
    (shop.parent / "days" / "two.csv").write_text("u,i,t\na,y,1700000002\nb,y,soon\n")
    two = told(inside("ingest", str(spec), "--append", "--json", home=home))
    assert (two["read"], two["accepted"]) == (4, 3)
    assert "nothing new" in inside("ingest", str(spec), "--append", home=home).stdout
    (row,) = told(inside("trace", "--line", "days/two.csv:2", "--json", home=home))["events"]
    assert (row["user"], row["item"], row["build_id"]) == ("a", "y", two["build_id"])
    assert row["read_as"] == "utf-8 (ASCII alone)"
    assert "line 2 of days/one.csv" in inside("trace", "--event", "0", home=home).stdout
    assert "refused: unreadable-time" in inside("trace", "--line", "days/two.csv:3", home=home).stdout
    assert inside("trace", "--line", "days/two.csv:1", home=home).returncode == 1
    assert inside("trace", home=home).returncode == 2
    (shop.parent / "goods.csv").write_text("i,name\nx,Tea\n,Nameless\n")
    listed = '[items]\nfiles = "goods.csv"\ntitle = "name"\n'
    spec.write_text(spec.read_text() + listed + "[clean]\nmost_events_per_user = 1\n")
    told(inside("ingest", str(spec), "--json", home=home))
    assert "taken out by a rule: clean-user-cap" in inside("trace", "--line", "days/one.csv:2", home=home).stdout
    assert "refused: missing-key" in inside("trace", "--line", "goods.csv:3", home=home).stdout
    assert "keeps no lines of items" in inside("trace", "--line", "goods.csv:2", home=home).stderr


def test_a_dry_run_foretells_and_orders_nothing(shop: Path) -> None:
    home = shop / "home"
    inside("ingest", str(shop / "shop.toml"), home=home)
    foretold = told(inside("train", "--preset", "fast", "--dry-run", "--json", home=home))
    assert (foretold["dry_run"], foretold["dataset"], foretold["verdict"]) == (True, "shop", "fits")
    assert foretold["seconds"]["runs"] == 0
    assert 0 < foretold["seconds"]["low"] < foretold["seconds"]["estimate"] < foretold["seconds"]["high"]
    assert all(foretold[name]["gb"] < foretold[name]["free_gb"] for name in ("memory", "disk"))
    assert "a guess" in inside("train", "--dry-run", home=home).stdout
    assert told(inside("jobs", "--json", home=home))["jobs"] == []


def test_jobs_change_places_in_line(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        a, b, c = (submit(ledger, kind="train", payload={}, dataset=None, now=utc_now()) for _ in range(3))

    def line(*arguments: str) -> list[str]:
        return [job["job_id"] for job in told(inside("jobs", *arguments, "--json", home=tmp_path))["jobs"]]

    assert line("first", c) == [c, a, b]
    assert line("before", b, a) == [c, b, a]
    assert line("last", c) == [b, a, c]
    places = {job["job_id"]: job["place"] for job in told(inside("jobs", "--json", home=tmp_path))["jobs"]}
    assert places == {b: 1, a: 2, c: 3}


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("recommend", "champion", "--user", "1"), "UnknownDataset"),
        (("recommend", "r-none", "--user", "1"), "UnknownRun"),
        (("ingest", "nowhere.toml"), "InvalidSpec"),
        (("fetch", "no-such-set"), "UnknownDataset"),
        (("fetch", "movielens-100k"), "FetchFailed"),
        (("train", "--set", "epochs=0"), "InvalidConfig"),
        (("train", "--set", "epochs"), "InvalidConfig"),
        (("train", "--preset", "huge"), "InvalidConfig"),
        (("train",), "UnknownDataset"),
        (("search",), "UnknownDataset"),
        (("search", "--trials", "0"), "InputError"),
        (("search", "--minutes", "0"), "InputError"),
        (("search", "--space", "nowhere.toml"), "UnreadableFile"),
        (("search", "--space", "lr=1..0"), "InvalidConfig"),
        (("search", "--space", "network.width=1..2"), "InvalidConfig"),
        (("search", "--continue", "s-none"), "UnknownSearch"),
        (("recommend", "champion", "--user", "1", "--cap", "Comedy=0"), "InputError"),
        (("recommend", "champion", "--user", "1", "--pin", "50"), "InputError"),
        (("recommend", "champion", "--user", "1", "--diversity", "2"), "InputError"),
        (("similar", "50"), "UnknownDataset"),
        (("guide", "champion", "--user", "1", "--target", "Comedy"), "InputError"),
        (("jobs", "cancel", "j-none"), "UnknownJob"),
        (("jobs", "first", "j-none"), "UnknownJob"),
        (("jobs", "before", "j-none", "j-neither"), "UnknownJob"),
        (("train", "--dry-run"), "UnknownDataset"),
        (("report", "champion", "--out", "x.docx"), "InputError"),
        (("verify", "nothing.html"), "UnreadableFile"),
    ],
)
def test_bad_input_is_one_stated_error(tmp_path: Path, arguments: tuple[str, ...], kind: str) -> None:
    done = inside(*arguments, "--json", home=tmp_path / "home", LODESTAR_CACHE=str(tmp_path / "cache"))
    error = told(done)["error"]
    assert done.returncode == 1
    assert error["type"] == kind, error
    assert error["remedy"]


def test_a_spec_that_names_a_missing_column(shop: Path) -> None:
    (shop / "shop.toml").write_text(SPEC.replace('"sku"', '"product"'))
    done = lodestar("ingest", str(shop / "shop.toml"), home=shop / "home")
    assert done.returncode == 1
    assert "product" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list((shop / "home" / "warehouse").glob("*"))


def test_usage_is_status_two(tmp_path: Path) -> None:
    assert lodestar("no-such-command", home=tmp_path / "home").returncode == 2
    assert lodestar("recommend", home=tmp_path / "home").returncode == 2


def test_a_malformed_environment_names_its_variable(tmp_path: Path) -> None:
    done = lodestar("builds", "--json", home=tmp_path / "home", LODESTAR_PORT="many")
    assert done.returncode == 1
    assert "LODESTAR_PORT" in told(done)["error"]["message"]


def test_listing_jobs_loads_no_model_and_threads_will_sleep_when_one_is_loaded(tmp_path: Path) -> None:
    code = (
        "import os, sys; sys.argv = ['lodestar', 'jobs', '--json']\n"
        "from dashboard.cli import app\n"
        "try:\n    app()\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'transformers', 'shap', 'fairlearn', 'peft'} & set(sys.modules)\n"
        "assert os.environ['OMP_WAIT_POLICY'] == 'PASSIVE'"
    )
    environment = {**os.environ, "LODESTAR_HOME": str(tmp_path / "home")}
    environment.pop("OMP_WAIT_POLICY", None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


def test_answering_loads_no_language_model() -> None:
    code = "import sys, core.serve.scorer; assert not {'transformers', 'peft'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_that_people_are_told_of_exists() -> None:
    """In the README, and in the remedies of errors wherever they are written."""
    root = Path(__file__).parents[2]
    sources = [root / "README.md", *(f for part in ("data", "core", "dashboard") for f in (root / part).rglob("*.py"))]
    sources += (root / "dashboard" / "catalogues").glob("*.toml")
    texts = [file.read_text(encoding="utf-8") for file in sources]
    told = {name for text in texts for name in re.findall(r"(?:`|^)lodestar ([a-z][a-z-]+)", text, re.MULTILINE)}
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert {"ingest", "train", "recommend", "report"} <= told
    assert told <= known | {"jobs", "roles"}


def test_what_is_no_number_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"a": float("nan"), "b": [1.5, float("inf"), {"c": float("nan"), "d": None}], "e": "nan"}
    show(answer, as_json=True, human=lambda console: None)
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1.5, None, {"c": None, "d": None}], "e": "nan"}


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (None, None),
        ("", []),
        (",, ,", []),
        ("50, 181,172", ["50", "181", "172"]),
        ('"红色,鞋", 😀', ["红色,鞋", "😀"]),
        ('say ""hello""', ['say ""hello""']),
    ],
)
def test_keys_are_read_from_between_commas_and_may_hold_some(text: str | None, keys: list[str] | None) -> None:
    assert listed(text) == keys


def test_keys_over_two_lines_are_refused() -> None:
    with pytest.raises(InputError):
        listed("50\n172")


def test_a_promotion_shows_its_evidence_and_keeps_to_it(new_store: Callable[..., Any]) -> None:
    own = new_store(rival=True)
    with Ledger.open(own.home) as ledger:
        (rival,) = [run.run_id for run in runs.runs(ledger, "tiny") if run.run_id != own.run_id]
    looked = told(inside("promote", rival, "--dry-run", "--json", home=own.home))
    assert (looked["action"], looked["version"]) == ("dry-run", 1)
    assert (looked["evidence"]["passes"], looked["evidence"]["failed"]) == (False, ["accuracy"])
    refused = inside("promote", rival, "--reason", "mine", home=own.home)
    assert refused.returncode == 1
    assert re.search(r"accuracy +fail ", refused.stdout) and re.search(r"drift +pass ", refused.stdout)
    assert "--override" in refused.stderr and len(refused.stderr.strip().splitlines()) == 1
    assert told(inside("promote", rival, "--override", "--json", home=own.home))["error"]["type"] == "InputError"
    made = told(inside("promote", rival, "--override", "--reason", "I know them", "--json", home=own.home))
    assert (made["action"], made["version"], made["evidence"]["champion"]) == ("override", 2, own.run_id)
    assert told(inside("rollback", "--json", home=own.home))["run_id"] == own.run_id


def test_a_split_begins_and_ends(new_store: Callable[..., Any]) -> None:
    own = new_store(rival=True)
    with Ledger.open(own.home) as ledger:
        (rival,) = [run.run_id for run in runs.runs(ledger, "tiny") if run.run_id != own.run_id]
    begun = told(inside("split", rival, "--share", ".1", "--json", home=own.home))
    assert (begun["run_id"], begun["share"]) == (rival, 0.1)
    judged = told(inside("split", "--json", home=own.home))
    assert [(arm["run_id"], arm["slates"]) for arm in judged["arms"]] == [(own.run_id, 0), (rival, 0)]
    assert "nothing shown" in inside("split", home=own.home).stdout
    ended = inside("split", "--end", home=own.home)
    assert ended.returncode == 0 and "the champion again" in ended.stdout
    for wrong in (("split", rival), ("split", rival, "--end"), ("split", "--end", "--share", ".1")):
        assert told(inside(*wrong, "--json", home=own.home))["error"]["type"] == "InputError"
