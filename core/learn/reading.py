"""How a checkpoint wants its texts read: what stands before each, and which tokens' vectors are the text's vector.

It is a property of the checkpoint, told by its own files in the way of sentence-transformers: the default prompt of
`config_sentence_transformers.json` is the prefix, `1_Pooling/config.json` names the pooling. A folder that tells
nothing has no prefix; it is pooled over all tokens (mean) where they see each other, and by the last where each sees
only what came before it (a causal decoder), since no earlier one has read the whole text. `text.prefix` and
`text.pooling` overrule both.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from core.learn.config import TextConfig
from data.errors import WeightsMissing

Pooling = Literal["mean", "cls", "last"]
PROMPTS = "config_sentence_transformers.json"
POOLING = "1_Pooling/config.json"
_MODES: Mapping[str, Pooling] = {
    "mean": "mean",
    "mean_tokens": "mean",
    "cls": "cls",
    "cls_token": "cls",
    "lasttoken": "last",
}
_MODE = "pooling_mode"


@dataclass(frozen=True)
class Reading:
    """What stands before every text, and how its tokens become one vector."""

    prefix: str
    pooling: Pooling


def reading_of(folder: Path, model: PretrainedConfig, config: TextConfig) -> Reading:
    """What `config` says, else the checkpoint's own files, else its architecture. Raises WeightsMissing where those
    files cannot be read or name a pooling that is not known here."""
    prefix, pooling = config.prefix, config.pooling
    if prefix is None:
        told = _json(folder / PROMPTS)
        prefix = str((told.get("prompts") or {}).get(told.get("default_prompt_name")) or "")
    if pooling == "auto":
        pooling = _told_pooling(folder) or ("last" if is_causal(model) else "mean")
    return Reading(prefix, pooling)


def is_causal(model: PretrainedConfig) -> bool:
    """Whether a token sees only what came before it. BERT's kin can be built as decoders, so that only a model that
    cannot fill in masked words, or says that it is a decoder, is one."""
    kind = model.model_type
    if kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return bool(getattr(model, "is_decoder", False))
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """(B, L, D) and a right-padded mask (B, L) with at least one token a text -> (B, D)."""
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1)


def _told_pooling(folder: Path) -> Pooling | None:
    told = _json(folder / POOLING)
    modes = [str(told[_MODE])] if _MODE in told else []
    modes += [name.removeprefix(f"{_MODE}_") for name, on in told.items() if name.startswith(f"{_MODE}_") and on]
    if not modes:
        return None
    if len(modes) > 1 or modes[0] not in _MODES:
        raise WeightsMissing(
            f"{folder} pools its tokens by {' and '.join(modes)}, which is not known here",
            remedy="choose one of mean, cls and last, for example --set text.pooling=mean",
        )
    return _MODES[modes[0]]


def _json(path: Path) -> dict[str, Any]:
    """The object in a file, empty where there is none."""
    if not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsMissing(f"{path} cannot be read: {error}", remedy="fetch or copy the checkpoint again") from error
    return told if isinstance(told, dict) else {}
