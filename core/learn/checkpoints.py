"""Checkpoints: a training stage's whole state, published whole, verified before it is believed.

Each lies in a folder of its own with a manifest written last. The two newest of a stage are kept, so that a damaged one
has a predecessor to fall back to.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import load_file, save_file
from torch import Tensor

from data.errors import DamagedArtefact
from data.publish import remove_orphans, staged, verify_manifest

KEPT = 2


class Staged(Protocol):
    """A training stage that can be kept and taken up: `core.learn.train.Trainer`."""

    stage: Any

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values."""

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Take up where a snapshot was made."""


def keep(parent: Path, trainer: Staged) -> None:
    """A checkpoint of where a stage stands."""
    tensors, values = trainer.snapshot()
    save_checkpoint(parent, trainer.stage.name, trainer.stage.epoch, tensors=tensors, values=values)


def take_up(parent: Path, trainer: Staged) -> bool:
    """Puts a stage where its newest whole checkpoint stands; False where there is none."""
    found = load_checkpoint(parent, trainer.stage.name)
    if found is not None:
        trainer.restore(*found)
    return found is not None


def save_checkpoint(
    parent: Path, stage: str, epoch: int, *, tensors: Mapping[str, Tensor], values: Mapping[str, Any]
) -> Path:
    """Publish one checkpoint as `<stage>-<epoch>` under `parent`, and drop the stage's older ones but one."""
    name = f"{stage}-{epoch:05d}"
    remove_orphans(parent)  # of an attempt that was killed while it saved: as large as a checkpoint
    with staged(parent, name, replace=True) as folder:  # one of this name was taken for damaged
        save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "tensors.safetensors")
        (folder / "values.json").write_text(json.dumps(values))
    for old in _of_stage(parent, stage)[:-KEPT]:
        shutil.rmtree(old)
    return parent / name


def load_checkpoint(parent: Path, stage: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest checkpoint of a stage whose files are what its manifest says, or None."""
    for folder in reversed(_of_stage(parent, stage)):
        try:
            verify_manifest(folder)
        except DamagedArtefact:
            continue
        return load_file(folder / "tensors.safetensors"), json.loads((folder / "values.json").read_text())
    return None


def _of_stage(parent: Path, stage: str) -> list[Path]:
    return sorted(path for path in parent.glob(f"{stage}-[0-9]*") if path.is_dir())
