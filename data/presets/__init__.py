"""The specs of the public datasets that `lodestar fetch` knows, as TOML files beside this one; `domains/` holds what is
known of whole domains (`data/domains.py`)."""

from importlib import resources

from data.phrases import phrase
from data.spec import DatasetSpec, parse_spec


def preset_names() -> list[str]:
    """Names of the known datasets, sorted."""
    files = resources.files("data.presets").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def preset_text(name: str) -> str:
    """The spec of a known dataset as TOML; `name` is one of `preset_names()`."""
    return (resources.files("data.presets") / f"{name}.toml").read_text(encoding="utf-8")


def preset(name: str) -> DatasetSpec:
    """The spec of a known dataset; `name` is one of `preset_names()`."""
    return parse_spec(preset_text(name), origin=phrase("spec.of_preset", name=name))
