"""Who takes part, in which environment, and with which settings.

Sequence models share width, depth, heads, length and dropout; loss, batch and learning rate are each library's own
documented ones (RecTools' and RecBole's defaults, with the full softmax). Lodestar's own are the default recipe, and
its network without text at the peers' size.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SEQUENCE = {"dim": 64, "blocks": 2, "heads": 2, "length": 200, "dropout": 0.2}
LODESTAR = "lodestar"  # the environment of the bench itself
BATCH = 128  # users a step: RecTools' default


@dataclass(frozen=True)
class Model:
    """One entry: `runner` is a file of runners/, `smoke` what a smoke run changes of the settings."""

    environment: str
    runner: str
    settings: Mapping[str, Any]
    smoke: Mapping[str, Any] = field(default_factory=dict)
    sequence: bool = True  # trained in epochs, with a curve to compare


_RECTOOLS = {**SEQUENCE, "batch": BATCH, "lr": 1e-3}
_RECBOLE = {**SEQUENCE, "batch": 2048, "lr": 1e-3}
_IDS = {**SEQUENCE, "inner": 2, "batch": BATCH}
_SHORT = {"length": 20, "batch": 1024}

MODELS: dict[str, Model] = {
    "lodestar": Model(
        LODESTAR,
        "lodestar_recipe.py",
        {"overrides": {}},
        smoke={"overrides": {"epochs": 2, "text.steps": 1}},
    ),
    "lodestar-ids": Model(LODESTAR, "lodestar_ids.py", {**_IDS, "times": False}),
    "lodestar-ids-times": Model(LODESTAR, "lodestar_ids.py", {**_IDS, "times": True}),
    "rectools-sasrec": Model("rectools", "rectools_sasrec.py", {**_RECTOOLS, "loss": "softmax"}),
    "rectools-esasrec": Model(
        "rectools",
        "rectools_sasrec.py",
        {**_RECTOOLS, "loss": "sampled_softmax", "layers": "ligr", "negatives": 256},
    ),
    # a prefix of 200 an example: RecBole's 2,048 of them would take some 14 GB, 512 take 4
    "recbole-sasrec": Model("recbole", "recbole_sasrec.py", {**_RECBOLE, "batch": 512}, smoke=_SHORT),
    # its own default length and dropout
    "recbole-sasrec-50": Model(
        "recbole", "recbole_sasrec.py", {**_RECBOLE, "length": 50, "dropout": 0.5}, smoke=_SHORT
    ),
    "implicit-als": Model("implicit", "implicit_models.py", {"kind": "als", "dim": 64}, sequence=False),
    "implicit-bpr": Model("implicit", "implicit_models.py", {"kind": "bpr", "dim": 64}, sequence=False),
    "implicit-knn": Model("implicit", "implicit_models.py", {"kind": "knn", "dim": 64}, sequence=False),
}


def is_ours(name: str) -> bool:
    """Whether a model is Lodestar's."""
    return MODELS[name].environment == LODESTAR
