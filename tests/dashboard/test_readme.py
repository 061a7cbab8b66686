"""The README is run: its data set is written, ingested and trained on as printed there, and then every command of its
code blocks is given, word for word. `lodestar demo` is the bench's and takes minutes; its options are asked for here.
"""

import csv
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tomli_w

from dashboard.settings import settings
from tests.dashboard.commands import given

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TAGS = ("Sci-Fi", "Drama", "Comedy")
SMALL = {
    "epochs": 2,
    "network": {"dim": 16, "max_length": 20},
    "text": {"model": "someone/tiny-bert", "dim": 8, "rank": 2, "steps": 1},
}


def commands(block: str) -> list[list[str]]:
    """The commands of a block, each as words after `lodestar`."""
    parts = [part for line in block.splitlines() for part in line.partition("#")[0].split("&&")]
    return [words[1:] for part in parts if (words := shlex.split(part))[:1] == ["lodestar"]]


BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
FIRST, *REST = [block for language, block in BLOCKS if not language and commands(block)]
SPEC, RULES = [block for language, block in BLOCKS if language == "toml"]
(ACTS,) = [block for language, block in BLOCKS if language == "csv"]
ASKED = [command for block in REST for command in commands(block)]


@dataclass(frozen=True)
class Shop:
    folder: Path
    said: dict[str, str]

    @property
    def run_id(self) -> str:
        """The run that training told of."""
        found = re.search(r"run (r-\w+)", self.said["train"])
        assert found, self.said["train"]
        return found[1]


def write_shop(folder: Path) -> None:
    """The CSVs that the README describes: 40 customers, each with a taste; the specs are the README's own text."""
    (folder / "shop.toml").write_text(SPEC, encoding="utf-8")
    (folder / "cleaned.toml").write_text(f"{SPEC}\n{RULES}", encoding="utf-8")
    (folder / "acts.csv").write_text(ACTS, encoding="utf-8")
    rng = np.random.default_rng(0)
    with (folder / "products.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [(sku, f"Thing {sku}", "|".join({TAGS[sku % 3], TAGS[sku // 3 % 3]})) for sku in range(1, 201)]
        csv.writer(file).writerows([("sku", "name", "tags"), *rows])
    with (folder / "clicks.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(("customer", "sku", "at"))
        for customer in range(1, 41):
            liked = 1 + (3 * rng.permutation(66)[:25] + customer % 3)
            for order, sku in enumerate(liked):
                out.writerow((customer, sku, (datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=order)).isoformat()))


def answer(words: list[str]) -> str:
    """What the command prints; it must end well."""
    done = given(*words)
    assert done.returncode == 0, f"{words}: {done.stdout} {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def environment(
    tmp_path_factory: pytest.TempPathFactory, serve_hub: Callable[[Path], Any], tiny_language_model: Path
) -> Iterator[Path]:
    """A folder to work in, whose store is its own and whose hub is on loopback."""
    folder = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.delenv("LODESTAR_HOME", raising=False)
        patched.delenv("LODESTAR_OFFLINE", raising=False)
        patched.setenv("LODESTAR_THREADS", "1")
        patched.setenv("LODESTAR_CACHE", str(folder / "cache"))
        patched.setenv("LODESTAR_HUB", serve_hub(tiny_language_model).url)
        settings.cache_clear()
        yield folder
    settings.cache_clear()


@pytest.fixture(scope="module")
def shop(environment: Path) -> Shop:
    """What came of the README's first block, all but `app`; training takes a small configuration from a file."""
    write_shop(environment)
    (environment / "small.toml").write_text(tomli_w.dumps(SMALL), encoding="utf-8")
    made = Shop(environment, {})
    for command in commands(FIRST):
        if command[0] == "app":
            continue
        words = [made.run_id if word == "RUN" else word for word in command]
        words += ["--config", "small.toml"] if command[0] == "train" else []
        made.said[command[0]] = answer(words)
    return made


def test_a_csv_of_ones_own_is_served(shop: Shop) -> None:
    assert [command[0] for command in commands(FIRST)] == ["ingest", "train", "promote", "app"]
    assert "accepted 1,000, quarantined 0" in shop.said["ingest"].replace("\n", " ")
    assert "NDCG@10" in shop.said["train"]
    assert f"{shop.run_id} is the champion of shop" in shop.said["promote"].replace("\n", " ")
    assert (shop.folder / ".lodestar" / "runs" / shop.run_id / "language_model.safetensors").is_file()


@pytest.mark.parametrize("command", ASKED, ids=[" ".join(command) for command in ASKED])
def test_a_command_of_the_readme_answers(shop: Shop, command: list[str]) -> None:
    assert answer(command).strip()


def test_the_rules_of_the_readme_are_previewed_and_kept_to(shop: Shop) -> None:
    said = " ".join(answer(["ingest", "cleaned.toml", "--preview", "--home", "rules"]).split())
    assert "shop: read 1,000 rows, 0 of which were refused" in said
    left = re.search(r"left: ([\d,]+) events of 40 users", said)
    assert left and int(left[1].replace(",", "")) < 1000, said
    assert f"accepted {left[1]}," in " ".join(answer(["ingest", "cleaned.toml", "--home", "rules"]).split())


def test_the_app_comes_up_and_stops(shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    argv = [sys.executable, "-P", "-m", "dashboard.cli", "app", "--port", str(port)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        until = time.monotonic() + 90
        while time.monotonic() < until and process.poll() is None:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).text == "ok":
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        else:
            pytest.fail("the console did not come up")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


def test_the_demo_has_the_options_that_the_readme_names() -> None:
    assert "make demo ARGS=--no-app" in README
    done = subprocess.run(["make", "-n", "demo", "ARGS=--no-app"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "lodestar demo --no-app" in done.stdout
    argv = [sys.executable, "-P", "-m", "dashboard.cli", "demo", "--help"]
    told = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert "--no-app" in told.stdout
