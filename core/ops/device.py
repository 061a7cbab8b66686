"""Whether this host has a GPU, told from the driver's own files: the supervisor and the console ask, and neither may
load torch for it. Whether torch can use it `lodestar doctor` says.
"""

from pathlib import Path

_CARDS = Path("/proc/driver/nvidia/gpus")  # a folder of the driver, with one of its own for each card
_NODES = Path("/dev")  # and where that is hidden, in a container say, the cards' device files


def has_gpu(*, cards: Path = _CARDS, nodes: Path = _NODES) -> bool:
    """Whether there is a card of NVIDIA's here."""
    return (cards.is_dir() and any(cards.iterdir())) or any(nodes.glob("nvidia[0-9]*"))
