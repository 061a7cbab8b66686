"""Weights by package, by folder and from a hub; the hub is a small one on loopback that speaks its protocol."""

import hashlib
import json
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import constants, file_download

from core.learn import weights
from core.learn.bundles import Bundle, Wheel, published
from core.learn.config import TextConfig
from core.learn.text import TextEncoder
from core.learn.weights import weights_folder
from data.errors import WeightsMissing

MODEL = "someone/tiny-bert"
TEXTS = ["a film about stars", "baking bread", "chess"]


@pytest.fixture
def hub(serve_hub: Callable[[Path], Any], tiny_language_model: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A hub that holds the tiny model."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return serve_hub(tiny_language_model)


def encoded(folder: Path) -> torch.Tensor:
    return TextEncoder(folder, TextConfig(), texts=TEXTS).encode()


def refused(model: str, **options: object) -> WeightsMissing:
    """The error, which is one line and ends with what to do."""
    with pytest.raises(WeightsMissing) as caught:
        weights_folder(model, **options)  # type: ignore[arg-type]
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


def test_a_hub_id_is_fetched_and_reads_texts_then_works_offline(
    hub: Any, tmp_path: Path, tiny_language_model: Path
) -> None:
    folder = weights_folder(MODEL, cache=tmp_path, endpoint=hub.url)
    assert torch.equal(encoded(folder), encoded(tiny_language_model))
    fetched = [line for line in hub.asked if line.startswith("GET") and "/resolve/" in line]
    assert len(fetched) == len(set(fetched)) == len(hub.files)
    hub.asked.clear()
    assert weights_folder(MODEL, cache=tmp_path, endpoint=hub.url, offline=True) == folder
    assert hub.asked == []
    assert weights_folder(MODEL, cache=tmp_path, endpoint=hub.url) == folder
    assert not any("/resolve/" in line for line in hub.asked)


@pytest.mark.parametrize("fault", ["broken", "login page", "silent"])
def test_what_is_cached_serves_while_the_hub_is_ill(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    folder = weights_folder(MODEL, cache=tmp_path, endpoint=hub.url)
    monkeypatch.setattr(weights, "HUB_SECONDS", 0.2)
    hub.fault = fault
    assert weights_folder(MODEL, cache=tmp_path, endpoint=hub.url) == folder


def test_an_unknown_or_malformed_id(hub: Any, tmp_path: Path) -> None:
    for name in ("someone/nothing", "not an id", "a/b/c"):
        error = refused(name, cache=tmp_path, endpoint=hub.url)
        assert repr(name) in error.message
        assert "check the name" in error.remedy


def test_gated_weights_need_a_token(hub: Any, tmp_path: Path) -> None:
    hub.fault = "gated"
    error = refused(MODEL, cache=tmp_path, endpoint=hub.url)
    assert "terms" in error.message
    assert "HF_TOKEN" in error.remedy


@pytest.mark.parametrize(
    ("fault", "said"), [("silent", "timed out"), ("login page", "could not be fetched"), ("cut", "Consistency check")]
)
def test_a_hub_that_answers_badly(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, said: str
) -> None:
    if fault == "silent":
        monkeypatch.setattr(weights, "HUB_SECONDS", 0.2)
    hub.fault = fault
    error = refused(MODEL, cache=tmp_path, endpoint=hub.url)
    assert said in error.message
    assert hub.url in error.message
    assert "LODESTAR_HUB" in error.remedy
    hub.fault = None
    hub.release.set()
    assert encoded(weights_folder(MODEL, cache=tmp_path, endpoint=hub.url)).shape == (3, 32)


def test_a_hub_that_breaks_off_for_ever_is_left(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that came count as progress for the hub's client, which begins anew each time, once a second."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr(file_download, "time", SimpleNamespace(sleep=lambda _: None))
    hub.fault = "breaks off"
    assert "breaks off again and again" in refused(MODEL, cache=tmp_path, endpoint=hub.url).message


def test_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = refused(MODEL, cache=tmp_path, endpoint=f"http://127.0.0.1:{port}")
    assert "check the network" in error.remedy


def test_offline_with_an_empty_cache_asks_nobody(hub: Any, tmp_path: Path) -> None:
    error = refused(MODEL, cache=tmp_path, endpoint=hub.url, offline=True)
    assert "LODESTAR_OFFLINE" in error.remedy
    assert hub.asked == []


def test_bytes_that_differ_from_the_hubs_hash_are_removed(hub: Any, tmp_path: Path) -> None:
    hub.fault = "flipped"
    assert "is not what the hub says it is" in refused(MODEL, cache=tmp_path, endpoint=hub.url).message
    hub.fault = None
    folder = weights_folder(MODEL, cache=tmp_path, endpoint=hub.url)
    assert (folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]


def test_pickled_weights_are_refused(hub: Any, tmp_path: Path) -> None:
    hub.files["pytorch_model.bin"] = hub.files.pop("model.safetensors")
    assert ".safetensors" in refused(MODEL, cache=tmp_path / "cache", endpoint=hub.url).message
    assert not list((tmp_path / "cache").rglob("*.bin"))
    own = tmp_path / "own"
    own.mkdir()
    for name, body in hub.files.items():
        (own / name).write_bytes(body)
    assert ".safetensors" in refused(str(own), cache=tmp_path / "cache").message


@pytest.mark.parametrize("known", [True, False], ids=["a known kind", "a kind of its own"])
def test_code_that_comes_with_weights_never_runs(hub: Any, tmp_path: Path, known: bool) -> None:
    mark = tmp_path / "it-ran"
    hub.files["modeling_own.py"] = f"open({str(mark)!r}, 'w')\nclass Own: pass\n".encode()
    config = json.loads(hub.files["config.json"])
    config["auto_map"] = {"AutoModel": "modeling_own.Own", "AutoConfig": "modeling_own.Own"}
    hub.files["config.json"] = json.dumps(config if known else {**config, "model_type": "own"}).encode()
    folder = weights_folder(MODEL, cache=tmp_path / "cache", endpoint=hub.url)
    assert not list(folder.rglob("*.py"))
    (folder / "modeling_own.py").write_bytes(hub.files["modeling_own.py"])  # not even when it lies there
    if known:
        assert encoded(folder).shape == (3, 32)
    else:
        with pytest.raises(WeightsMissing):
            encoded(folder)
    assert not mark.exists()


def test_a_damaged_file_in_a_folder_is_a_stated_error(tmp_path: Path, tiny_language_model: Path) -> None:
    for file in tiny_language_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsMissing, match="no text model"):
        encoded(weights_folder(str(tmp_path), cache=tmp_path))


@pytest.fixture
def bundled(tiny_language_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes a cache that already holds the wheel of `tiny`, a bundle whose weights should have the sha256 given."""

    def make(weights_sha256: str) -> Path:
        wheel = tmp_path / "wheels" / "tiny_weights-1.0-py3-none-any.whl"
        wheel.parent.mkdir()
        with zipfile.ZipFile(wheel, "w") as archive:
            for file in tiny_language_model.iterdir():
                archive.write(file, f"tiny/model/{file.name}")
            archive.writestr("tiny/model/run.py", "print()")
            archive.writestr("tiny/other/config.json", "{}")
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        bundle = Bundle((Wheel("tiny-weights", "1.0", sha256),), published("tiny/model"), weights_sha256)
        monkeypatch.setitem(weights.BUNDLES, "tiny", bundle)
        return tmp_path

    return make


def test_a_bundled_name_needs_no_hub(bundled: Callable[[str], Path], tiny_language_model: Path) -> None:
    published = hashlib.sha256((tiny_language_model / "model.safetensors").read_bytes()).hexdigest()
    cache = bundled(published)
    folder = weights_folder("tiny", cache=cache)
    given = {file.name for file in tiny_language_model.iterdir()}
    assert {file.name for file in folder.iterdir()} == given | {"manifest.json"}
    assert torch.equal(encoded(folder), encoded(tiny_language_model))
    assert weights_folder("tiny", cache=cache, offline=True) == folder


def test_bundled_weights_other_than_the_published_ones_are_refused(bundled: Callable[[str], Path]) -> None:
    cache = bundled("0" * 64)
    assert "delete" in refused("tiny", cache=cache).remedy


def test_what_was_put_in_the_cache_is_checked_whole(bundled: Callable[[str], Path], tiny_language_model: Path) -> None:
    cache = bundled(hashlib.sha256((tiny_language_model / "model.safetensors").read_bytes()).hexdigest())
    tokenizer = weights_folder("tiny", cache=cache) / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes().replace(b"a", b"b", 1))
    refusal = refused("tiny", cache=cache)
    assert "tokenizer.json" in str(refusal) and "delete" in refusal.remedy
