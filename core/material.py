"""What a job learns from: a build's histories and catalogue, split by the protocol and cleaned by the recipe's rules.

Training and search read it here, so that a setting means the same to both.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.learn.config import TrainConfig
from core.learn.preprocess import prepared
from core.learn.sequences import Histories, Split, histories_from
from core.learn.splits import split_histories
from core.predict.served import Catalogue, catalogue_of
from data import reads
from data.errors import InvalidConfig
from data.warehouse import Warehouse


@dataclass(frozen=True)
class Material:
    """A build under a recipe. kinds number the events' kinds; histories: everyone's, whole; split: as the protocol cuts
    them; learned: the split with what the recipe's rules leave of its training part; taken: events that each cleaning
    rule took; catalogue and texts in item order."""

    kinds: tuple[str, ...]
    histories: Histories
    split: Split
    learned: Split
    taken: Mapping[str, int]
    catalogue: Catalogue
    texts: list[str]


def material_of(
    warehouse: Warehouse, config: TrainConfig, *, order: Callable[[tuple[str, ...]], tuple[str, ...]] | None = None
) -> Material:
    """order: puts the build's kinds in the order in which they are numbered.

    Raises InputError where events cannot be cut in time, InvalidConfig for rules that do not fit the build.
    """
    kinds = tuple(reads.kind_counts(warehouse)["kind"].to_pylist())
    kinds = kinds if order is None else order(kinds)
    histories = histories_from(reads.histories(warehouse), kinds)
    split = split_histories(histories, warehouse.facts.spec.task, config.protocol)
    texts = [str(text) for text in reads.catalogue(warehouse)["text"].to_pylist()]
    groups = _groups(warehouse, config.preprocess.balance_by)
    learned, taken = prepared(split, config.preprocess, n_items=len(texts), groups=groups)
    return Material(kinds, histories, split, learned, taken, catalogue_of(warehouse, trained=None), texts)


def _groups(warehouse: Warehouse, attribute: str | None) -> npt.NDArray[np.object_] | None:
    """(U,) each user's value of a declared attribute. Raises InvalidConfig for one that is not declared."""
    if attribute is None:
        return None
    declared = list(warehouse.facts.spec.sensitive)
    if attribute not in declared:
        raise InvalidConfig(
            f"preprocess.balance_by: this build declares no attribute {attribute!r}",
            remedy=f"there are {', '.join(declared) or 'none'}",
        )
    return np.asarray(reads.user_table(warehouse)[attribute].to_pylist(), dtype=object)
