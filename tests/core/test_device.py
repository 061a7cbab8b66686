"""A GPU is found by the driver's files, without torch."""

from pathlib import Path

from core.ops.device import has_gpu


def test_a_card_shows_in_the_drivers_folder_or_as_a_device(tmp_path: Path) -> None:
    cards, nodes = tmp_path / "gpus", tmp_path / "dev"
    nodes.mkdir()
    assert not has_gpu(cards=cards, nodes=nodes)
    cards.mkdir()
    (nodes / "nvidiactl").touch()
    assert not has_gpu(cards=cards, nodes=nodes), "a driver without a card"
    (nodes / "nvidia0").touch()
    assert has_gpu(cards=cards, nodes=nodes)
    (nodes / "nvidia0").unlink()
    (cards / "0000:01:00.0").mkdir()
    assert has_gpu(cards=cards, nodes=nodes)
