"""What may be searched, as it is written: in options, in a file, and in what is stored."""

from pathlib import Path

import pytest

from core.learn.config import TrainConfig, load_config
from core.learn.space import DEFAULT, Choice, Range, settings_of, space_of, told, with_settings, written_space
from data.errors import InvalidConfig, UnreadableFile

BASE = TrainConfig()


def test_the_default_space_holds_the_default_recipe() -> None:
    space = space_of(DEFAULT, BASE)
    own = settings_of(BASE, list(space))
    assert all(dimension.holds(own[key]) for key, dimension in space.items())


def test_a_space_is_written_as_it_is_read() -> None:
    space = space_of(DEFAULT, BASE)
    assert space_of(told(space), BASE) == space


@pytest.mark.parametrize(
    ("key", "written", "meant"),
    [
        ("lr", "5e-4..1e-2", Range(5e-4, 1e-2, whole=False)),
        ("network.dropout", "0..0.5", Range(0, 0.5, whole=False)),
        ("network.blocks", "1..4", Range(1, 4, whole=True)),
        ("network.dim", "32,64", Choice((32, 64))),
        ("network.dim", ["32", 64], Choice((32, 64))),
        ("text.model", "minilm, other", Choice(("minilm", "other"))),
    ],
)
def test_a_dimension_is_of_its_settings_type(key: str, written: object, meant: object) -> None:
    assert space_of({key: written}, BASE) == {key: meant}


def test_wide_ranges_are_searched_by_their_logarithm() -> None:
    assert Range(1e-4, 1e-3, whole=False).log
    assert not Range(1e-4, 9e-4, whole=False).log
    assert not Range(0, 1, whole=False).log


@pytest.mark.parametrize(
    ("key", "written", "said"),
    [
        ("network.width", "1..4", "network.width"),
        ("network", "1..4", "group"),
        ("network.dim", "1..4.5", "whole"),
        ("network.dim", "32,33", "heads"),
        ("network.dropout", "0..1", "dropout"),
        ("lr", "0..1e-2", "lr"),
        ("lr", "1e-2..1e-3", "down"),
        ("lr", "a..b", "range"),
        ("lr", "0.1", "nothing to choose"),
        ("lr", [], "nothing to choose"),
        ("seed", "0..9", "same for all"),
        ("protocol", "last,time", "same for all"),
        ("text.rank", "4..16", "frozen text"),
        ("text.tune", "none,frozen", "frozen text"),
        ("text.model", "a..b", "range"),
    ],
)
def test_what_cannot_be_searched_is_named(key: str, written: object, said: str) -> None:
    with pytest.raises(InvalidConfig, match=said):
        space_of({key: written}, BASE)


def test_options_change_the_space_and_a_file_takes_its_place(tmp_path: Path) -> None:
    changed = written_space(["lr=1e-4..1e-1", "text.dim=64,128"], fixed=["network.dim"])
    assert changed == {**{k: v for k, v in DEFAULT.items() if k != "network.dim"}} | {
        "lr": "1e-4..1e-1",
        "text.dim": "64,128",
    }
    file = tmp_path / "space.toml"
    file.write_text('lr = "1e-3..1e-2"\n[network]\ndim = [16, 32]\n')
    assert written_space([str(file), "id_dropout=0..0.3"]) == {
        "lr": "1e-3..1e-2",
        "network.dim": [16, 32],
        "id_dropout": "0..0.3",
    }
    file.write_text("lr = ")
    with pytest.raises(InvalidConfig, match="TOML"):
        written_space([str(file)])
    with pytest.raises(UnreadableFile):
        written_space(["nowhere.toml"])
    with pytest.raises(InvalidConfig, match="empty"):
        space_of({}, BASE)


def test_settings_go_into_a_base_and_its_other_settings_stay() -> None:
    base = load_config(overrides=[("network.heads", 4), ("epochs", 5)])
    made = with_settings(base, {"network.dim": 128, "lr": 0.01})
    assert (made.network.dim, made.network.heads, made.epochs, made.lr) == (128, 4, 5, 0.01)
    assert base.network.dim == 64
