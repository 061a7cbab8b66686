"""The training configuration: what a run is made from, frozen, validated, and saved beside its weights.

The one default recipe serves every data set; presets change only how long it looks for an answer.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data.errors import InvalidConfig, UnreadableFile

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
EPOCH_SHARE = 2 / 3  # of the training events, where the recipe does not say how many an epoch looks at
EPOCH_TOKENS = (250_000, 1_000_000)  # and at least and at most so many
GPU_IS_FASTER = 50  # times, than the two cores that `text.tune_gigaflops` is told for
Protocol = Literal["last", "last-five", "time"]  # which targets are kept for the test: see core.learn.splits


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NetworkConfig(_Frozen):
    """Shape of the sequence encoder. `max_length` counts events; `value_buckets` quantises events' values."""

    dim: Positive = 64
    blocks: Positive = 4
    heads: Positive = 2
    inner: Positive = 2
    dropout: Rate = 0.2
    max_length: Positive = 200
    value_buckets: Positive = 8

    @model_validator(mode="after")
    def _heads_divide(self) -> "NetworkConfig":
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")
        return self


class TextConfig(_Frozen):
    """The language model and how it is tuned. `steps` gradient-cached updates, one after each sequence epoch; where
    they would cost more than `tune_gigaflops` (an hour on two cores; a GPU may take 50 times as much), it stays frozen
    and the run says so. `prefix` stands before every text, `pooling` makes one vector of its tokens: by default as the
    checkpoint says. `pretrain_steps` of language modelling on the catalogue and on behaviour come before all
    (`core.learn.pretrain`)."""

    model: Annotated[str, Field(min_length=1)] = "minilm"
    prefix: str | None = None
    pooling: Literal["auto", "mean", "cls", "last"] = "auto"
    tune: Literal["none", "frozen", "lora", "full"] = "lora"
    dim: Positive = 128
    max_tokens: Positive = 64
    rank: Positive = 16
    lr: Amount = 1e-3
    steps: Positive = 6
    pretrain_steps: Annotated[int, Field(ge=0)] = 0
    pretrain_lr: Amount = 5e-5
    micro_batch: Positive = 64
    tune_gigaflops: Amount = 500_000.0

    @model_validator(mode="after")
    def _something_reads(self) -> "TextConfig":
        if self.tune == "none" and self.pretrain_steps:
            raise ValueError("pretrain_steps train a language model that tune = 'none' does not read")
        return self


class PreprocessConfig(_Frozen):
    """What of the training part is learned from; questions stay as they are (`core.learn.preprocess`).

    drop_repeats: an event of the same item as the one before it goes. recent_days: what is older, counted from the last
    training event, goes. max_user_events: who has more (a crawler, say) is not learned from. min_item_events,
    min_user_events: nor are items and users with fewer. user_power: a user is drawn with weight events^power (-1: all
    events weigh the same however active their users). balance_by: an attribute whose groups are drawn equally often.
    frequent_target: items with a larger share t of events are foretold with probability sqrt(frequent_target / t) only
    (Mikolov et al., "Distributed Representations of Words and Phrases", 2013).
    """

    drop_repeats: bool = False
    recent_days: Annotated[float, Field(gt=0)] | None = None
    max_user_events: Positive | None = None
    min_item_events: Annotated[int, Field(ge=0)] = 0
    min_user_events: Annotated[int, Field(ge=0)] = 0
    user_power: Annotated[float, Field(ge=-2, le=2)] = 0.0
    balance_by: str | None = None
    frequent_target: Annotated[float, Field(gt=0, lt=1)] | None = None


class TrainConfig(_Frozen):
    """One run. `epochs` is the most sequence epochs of the first stage; validation NDCG@10 stops it earlier. An epoch
    looks at `epoch_tokens` events at most: if that is not told, at two thirds of all, but at 250,000 at least and at a
    million at most, so that a large data set too is gone through some twenty times (the function `epoch_tokens`).
    `protocol` is the split that the run learns from and is judged on. Above `full_softmax_items` items the loss is
    estimated from so many `negatives` a batch, `weight_decay` leaves the items' ids alone, and they are moved by Adam
    whatever the `optimizer` ("sgd" has a momentum of .9 and wants a larger `lr`). `schedule` is how the rate falls
    after its warm-up, to a tenth; `precision` "auto" is bfloat16 on a GPU that has it, float32 elsewhere; `compile`
    fuses the network's training pass by torch.compile, which takes a minute at first and needs a compiler. A training
    that would take more than `memory_gb` (`core.learn.memory`) does not begin; a closed form that would take more than
    `closed_form_gb` stands aside."""

    seed: Annotated[int, Field(ge=0)] = 0
    protocol: Protocol = "last"
    epochs: Annotated[int, Field(gt=0, le=100_000)] = 30
    patience: Positive = 10
    batch_tokens: Positive = 2048
    epoch_tokens: Positive | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    lr: Amount = 2e-3
    ema: Rate = 0.99
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    clip: Amount = 1.0
    id_dropout: Rate = 0.2
    logit_memory_mb: Positive = 256
    full_softmax_items: Positive = 10_000
    negatives: Positive = 2048
    closed_form_gb: Amount = 4.5
    memory_gb: Amount = 12.0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    preprocess: PreprocessConfig = PreprocessConfig()
    network: NetworkConfig = NetworkConfig()
    text: TextConfig = TextConfig()

    def to_toml(self) -> str:
        """The whole configuration, defaults included."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))


def epoch_tokens(config: TrainConfig, n_events: int, *, tuning: bool) -> int:
    """Events that one epoch looks at, of `n_events` of training: what the recipe says, or a share that grows with them;
    the least where each epoch ends with a step of the language model."""
    if config.epoch_tokens is not None:
        return config.epoch_tokens
    least, most = EPOCH_TOKENS
    return least if tuning else min(max(least, round(EPOCH_SHARE * n_events)), most)


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "fast": {"epochs": 8, "patience": 3, "text.tune": "frozen", "network.dim": 32},
    "balanced": {},
    "best": {"epochs": 120, "patience": 12, "text.steps": 16},
}


def load_config(path: Path | None = None, *, overrides: Sequence[tuple[str, Any]] = ()) -> TrainConfig:
    """From a TOML file (or the defaults) with dotted overrides such as ("network.dim", "32") on top.

    Raises UnreadableFile and InvalidConfig, the latter with the field's name.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UnreadableFile(f"cannot read {path}", remedy="name an existing TOML file after --config") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidConfig(f"{path} is not TOML: {error}", remedy="mend the line it names") from error
    for key, value in overrides:
        node = tree
        *parents, leaf = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise InvalidConfig(f"{key!r} does not name a setting", remedy="see `lodestar train --help`")
        node[leaf] = value
    try:
        return TrainConfig.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "configuration"
        raise InvalidConfig(f"{name}: {first['msg']}", remedy="see README, 'Training configuration'") from error
