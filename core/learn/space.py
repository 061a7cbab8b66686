"""What a search may change: settings of the training configuration, each with a range or a list of choices.

A dimension is written as text, so that a TOML file, the command line and what is stored say it alike: `"5e-4..1e-2"` is
a range, `[32, 64]` or `"32,64"` a choice. Whether a range holds whole numbers is the setting's own type; one that spans
a factor of ten or more is searched by its logarithm. Every end and every choice is validated as a setting first.

How many epochs a trial may take is not in the default space: it is the base's `epochs`, the same for all, since a
pruner compares trials at equal epochs and the rate falls over that many.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.learn.config import TrainConfig, load_config
from data.errors import InvalidConfig, UnreadableFile

DEFAULT: Mapping[str, Any] = {
    "lr": "5e-4..1e-2",
    "batch_tokens": [1024, 2048, 4096],
    "weight_decay": [0.0, 0.001, 0.01, 0.1],
    "id_dropout": "0..0.6",
    "network.dim": [32, 64, 128],
    "network.blocks": "1..6",
    "network.dropout": "0..0.5",
}
LOG_FROM = 10.0  # a range whose ends differ by this factor or more is searched by its logarithm
_SAME_FOR_ALL = ("seed", "protocol", "device", "closed_form_gb", "logit_memory_mb", "memory_gb")
_NOT_TRAINED = ("text.tune", "text.rank", "text.lr", "text.steps", "text.micro_batch")


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included; `whole` ones only."""

    low: float
    high: float
    whole: bool

    @property
    def log(self) -> bool:
        """Whether it is searched by its logarithm."""
        return self.low > 0 and self.high >= LOG_FROM * self.low

    def holds(self, value: Any) -> bool:
        """Whether a setting's value lies in it."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    def told(self) -> str:
        """As it is written."""
        return f"{self.low:g}..{self.high:g}"


@dataclass(frozen=True)
class Choice:
    """One of some values, without an order."""

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        """Whether a setting's value is one of them."""
        return value in self.values

    def told(self) -> list[Any]:
        """As it is written."""
        return list(self.values)


Space = Mapping[str, Range | Choice]


def space_of(written: Mapping[str, Any], base: TrainConfig) -> Space:
    """The space that a mapping from settings to dimensions writes, in its order. Raises InvalidConfig."""
    if not written:
        raise InvalidConfig("the space is empty", remedy="name a setting to search, --space lr=5e-4..1e-2, say")
    return {key: _dimension(key, dimension, base) for key, dimension in written.items()}


def told(space: Space) -> dict[str, Any]:
    """A space as it is written: what `space_of` reads."""
    return {key: dimension.told() for key, dimension in space.items()}


def written_space(given: Sequence[str], *, fixed: Sequence[str] = ()) -> dict[str, Any]:
    """The space that options name: the default one with `key=dimension` put in, or a TOML file in its place.

    A setting that is `fixed` leaves the default space. Raises UnreadableFile and InvalidConfig.
    """
    written: dict[str, Any] = {key: dimension for key, dimension in DEFAULT.items() if key not in fixed}
    for text in given:
        key, found, dimension = text.partition("=")
        if found:
            written[key.strip()] = dimension.strip()
        else:
            written = _flat(_read(Path(text)))
    return written


def settings_of(config: TrainConfig, keys: Sequence[str]) -> dict[str, Any]:
    """The values that a configuration has for some settings, by their dotted names."""
    return {key: _leaf(config, key) for key in keys}


def with_settings(base: TrainConfig, settings: Mapping[str, Any]) -> TrainConfig:
    """The base with other settings. Raises InvalidConfig, for a combination that cannot be, say."""
    return load_config(overrides=[*base.model_dump().items(), *settings.items()])


def _dimension(key: str, written: Any, base: TrainConfig) -> Range | Choice:
    if key in _SAME_FOR_ALL:
        raise InvalidConfig(f"{key} is the same for all trials", remedy=f"give it with --set {key}=..., not in a space")
    if key in _NOT_TRAINED:
        raise InvalidConfig(
            f"{key} does nothing in a search: its trials train on frozen text",
            remedy="take it out of the space and compare two runs of `lodestar train` instead",
        )
    now = _leaf(base, key)
    if isinstance(written, str) and ".." in written:
        return _range(key, written, whole=isinstance(now, int), base=base)
    values = written if isinstance(written, list) else [part.strip() for part in str(written).split(",")]
    found = tuple(dict.fromkeys(_leaf(with_settings(base, {key: value}), key) for value in values))
    if len(found) < 2:
        raise InvalidConfig(
            f"{key}: {written!r} leaves nothing to choose",
            remedy=f"write low..high or several values, or fix it with --set {key}=VALUE",
        )
    return Choice(found)


def _range(key: str, written: str, *, whole: bool, base: TrainConfig) -> Range:
    try:
        low, high = (float(part) for part in written.split(".."))
    except ValueError as error:
        raise InvalidConfig(f"{key}: {written!r} is no range", remedy="write low..high, 5e-4..1e-2, say") from error
    if whole and not (low.is_integer() and high.is_integer()):
        raise InvalidConfig(f"{key}: {written!r} has ends that are not whole", remedy="write 1..4, say")
    if not low < high:
        raise InvalidConfig(f"{key}: {written!r} goes down or nowhere", remedy="write the smaller end first")
    for end in (low, high):
        found = _leaf(with_settings(base, {key: int(end) if whole else end}), key)
        if not isinstance(found, int | float):
            raise InvalidConfig(f"{key} is no number", remedy="write its values with commas")
    return Range(low, high, whole)


def _leaf(config: TrainConfig, key: str) -> Any:
    node: Any = config.model_dump()
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            raise InvalidConfig(f"{key!r} does not name a setting", remedy="see README, 'Training configuration'")
        node = node[part]
    if isinstance(node, dict):
        raise InvalidConfig(f"{key!r} is a group of settings", remedy=f"name one of {', '.join(node)} in it")
    return node


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableFile(
            f"cannot read {path}", remedy="after --space stands key=low..high or an existing TOML file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{path} is not TOML: {error}", remedy="mend the line it names") from error


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
