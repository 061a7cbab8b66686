"""Where a dataset comes from: cache, official address, package index, in that order."""

from functools import partial
from pathlib import Path

import pytest

from data import sources
from data.errors import FetchFailed, UnknownDataset
from data.presets import preset
from data.publish import sha256_of
from data.sources import fetch
from data.spec import load_spec
from data.synthetic import World, generate


def write_raw(archive: Path, folder: Path) -> None:
    (folder / "events.tsv").write_bytes(archive.read_bytes())


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """No address answers and no index has a wheel; the list fills with what was asked. Archives are copied as is."""
    asked: list[str] = []

    def no_address(url: str, *_: object, **__: object) -> Path:
        asked.append(url)
        raise FetchFailed(f"{url} gave no file", remedy="connect")

    def no_wheel(package: str, *_: object, **__: object) -> Path:
        asked.append(package)
        raise FetchFailed(f"no {package}", remedy="connect")

    monkeypatch.setattr(sources, "fetch_address", no_address)
    monkeypatch.setattr(sources, "fetch_wheel", no_wheel)
    film = sources._Archive(write_raw, wheel=("recbole", "1.2.1", "0"), official=("https://official", "0"))
    monkeypatch.setattr(sources, "_ARCHIVES", {"movielens-100k": film})
    return asked


def arriving(monkeypatch: pytest.MonkeyPatch, name: str, path: Path) -> None:
    monkeypatch.setattr(sources, name, lambda *_, **__: path)


def test_the_official_address_comes_first(nowhere: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"official")
    arriving(monkeypatch, "fetch_address", tmp_path / "a.zip")
    fetched = fetch("movielens-100k", cache=tmp_path / "cache")
    assert nowhere == []
    assert fetched.folder == tmp_path / "cache" / "datasets" / "movielens-100k"
    assert fetched.source == "https://official"
    assert "GroupLens" in fetched.licence
    assert (fetched.folder / "events.tsv").read_bytes() == b"official"
    spec = load_spec(fetched.spec_path)
    assert "https://official" in spec.source
    assert spec.events == preset("movielens-100k").events


def test_the_wheel_is_the_way_out_and_the_cache_asks_nobody(
    nowhere: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a.whl").write_bytes(b"mirror")
    with monkeypatch.context() as patched:
        arriving(patched, "fetch_wheel", tmp_path / "a.whl")
        first = fetch("movielens-100k", cache=tmp_path / "cache")
    assert nowhere == ["https://official"]
    assert first.source == "recbole 1.2.1 on the package index"
    assert fetch("movielens-100k", cache=tmp_path / "cache", offline=True) == first
    assert nowhere == ["https://official"]


def test_a_spoiled_or_outdated_cache_is_made_anew(
    nowhere: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a.whl").write_bytes(b"mirror")
    arriving(monkeypatch, "fetch_wheel", tmp_path / "a.whl")
    fetched = fetch("movielens-100k", cache=tmp_path / "cache")
    (fetched.folder / "events.tsv").write_bytes(b"spoiled")
    fetch("movielens-100k", cache=tmp_path / "cache")
    assert (fetched.folder / "events.tsv").read_bytes() == b"mirror"
    monkeypatch.setattr(sources, "_FORM", 99)
    fetch("movielens-100k", cache=tmp_path / "cache")
    assert len(nowhere) == 3


def test_when_nothing_answers_the_error_tells_all_that_was_tried(nowhere: list[str], tmp_path: Path) -> None:
    with pytest.raises(FetchFailed) as caught:
        fetch("movielens-100k", cache=tmp_path / "cache")
    assert nowhere == ["https://official", "recbole"]
    assert "https://official" in str(caught.value) and "recbole" in str(caught.value)
    assert not (tmp_path / "cache" / "datasets" / "movielens-100k").exists()


def test_an_address_given_by_the_caller_stands_in(nowhere: list[str], tmp_path: Path) -> None:
    with pytest.raises(FetchFailed):
        fetch("movielens-100k", cache=tmp_path / "cache", official=("http://127.0.0.1:9/ml.zip", "0" * 64))
    assert nowhere[0] == "http://127.0.0.1:9/ml.zip"


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownDataset, match="complete-journey, movielens-100k, synthetic"):
        fetch("../etc", cache=tmp_path)


def test_synthetic_needs_no_network_and_each_seed_is_a_world_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = partial(generate, world=World(n_users=30, n_items=20, n_events=300))
    monkeypatch.setattr(sources.synthetic, "generate", small)
    first = fetch("synthetic", cache=tmp_path, offline=True)
    again = fetch("synthetic", cache=tmp_path, offline=True)
    other = fetch("synthetic", cache=tmp_path, offline=True, seed=5)
    assert first == again
    assert (first.folder.name, other.folder.name) == ("synthetic", "synthetic-5")
    assert sha256_of(first.folder / "events.tsv") != sha256_of(other.folder / "events.tsv")
    assert (first.folder / "truth.npz").exists()
    assert load_spec(other.spec_path).name == "synthetic"


def test_a_sample_is_made_once_for_each_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = partial(sources.samples.generate, n_users=30, n_items=20, n_events=300)
    monkeypatch.setattr(sources.samples, "generate", small)
    first = fetch("sample:news", cache=tmp_path, offline=True)
    again = fetch("sample:news", cache=tmp_path, offline=True)
    other = fetch("sample:news", cache=tmp_path, offline=True, seed=5)
    assert first == again
    assert (first.folder.name, other.folder.name) == ("sample-news", "sample-news-5")
    assert sha256_of(first.folder / "events.csv") != sha256_of(other.folder / "events.csv")
    assert load_spec(other.spec_path).dataset.domain == "news"
    with pytest.raises(UnknownDataset, match="sample:books"):
        fetch("sample:gardening", cache=tmp_path)
