"""What a training will take, told before it is ordered: seconds, memory, disk, each beside what there is.

Memory is `core.learn.memory`'s formula. Disk is the sum of the files that a run writes, checkpoints at their most.
Seconds are a formula whose prices were measured once (below), times what this store's own finished runs say of this
machine: how long each took over what the formula gives for its size, its recipe and the epochs that it came to. The
range has the fastest and the slowest of them, and all that early stopping may do; without any run it is wide, and says
that it rests on none.

A page asks this, so nothing here loads torch. The estimate is kept with the job that was ordered by it, and `judged`
compares it with what the run took.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import psutil

from core.learn.config import GPU_IS_FASTER, TrainConfig, epoch_tokens
from core.learn.memory import CONTENT_DIM, DENSE, FACTORS, Estimate, needs
from core.ops.ledger import Ledger
from core.ops.runs import RunRow, run_folder, runs

# Seconds on two quiet cores (MovieLens-100K; large catalogues by README, "Measured"); how much faster a GPU is.
EVENT_S = 3.3 / 250_000  # the network's, an event of an epoch, at 4 blocks of width 64
LOGIT_S = 3.7e-11  # the softmax's, an event, an item and a dimension
SAMPLED = 4  # so many times a sampled logit costs a full one's
ITEM_S = 2e-5  # an epoch's validation and, of a large catalogue, the ids that moved
TEXT_S = 3e-3  # a text read once
TUNE_S = 5e-3  # a text's share of a step that tunes the language model
DENSE_S = 1e-10  # a closed form's, the cube of its rows
FACTORS_S, MOST_FACTORS_S = 5e-5, 300.0  # the factors', an event
REST_S = 20.0  # blend, heads, figures, audit
SLATE_S = 1.6e-7  # figures and slates, a user and an item
PRETRAIN_S = 1.0  # a step
GPU_NETWORK, GPU_TEXT = 12.0, 8.0

TEXT_GIGAFLOPS = 2.1  # a text's share of a tuning step, five readings; what is over `text.tune_gigaflops` stands aside
LANGUAGE_DIM = 384  # MiniLM's and e5's, where no checkpoint says another
TUNED_BYTES = {"lora": 1.7e5, "full": 9.1e7}  # of MiniLM: adapters for each of `text.rank`, or all of it
KEPT = 3  # checkpoints of a stage: two, and the one that is being written
SLATE_ROWS, SLATE_BYTES = 50, 14  # of a user's slate in scores.parquet

UNSEEN = (0.6, 2.5)  # a machine that no run has been seen on, times the formula
ONE_RUN = (0.8, 1.3)  # one where a single run was
LOOKED_AT = 10  # newest runs

Verdict = Literal["fits", "tight", "over"]


@dataclass(frozen=True)
class Size:
    """What a training reads: counts of a build."""

    n_events: int
    n_items: int
    n_users: int


@dataclass(frozen=True)
class Past:
    """A finished run: what it was of, how many epochs it learned in, how many steps its language model was tuned in,
    and the seconds of all."""

    size: Size
    config: TrainConfig
    epochs: int
    steps: int
    seconds: float
    on_gpu: bool


@dataclass(frozen=True)
class Seconds:
    """A training's time, from `low` to `high`; `runs` of this store speak for it."""

    estimate: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True)
class Amount:
    """Gigabytes beside those that are free, and what that means: `tight` is more than is free now (memory) or half of
    it (disk), `over` more than the recipe allows (memory: it will be refused) or than there is."""

    gb: float
    free_gb: float
    verdict: Verdict


@dataclass(frozen=True)
class Preflight:
    """What a training will take. `memory_gb` is the recipe's own limit."""

    seconds: Seconds
    memory: Amount
    disk: Amount
    memory_gb: float
    on_gpu: bool

    @property
    def verdict(self) -> Verdict:
        """The worse of memory's and disk's."""
        order: tuple[Verdict, ...] = ("fits", "tight", "over")
        return max(self.memory.verdict, self.disk.verdict, key=order.index)

    def as_json(self) -> dict[str, Any]:
        """What `train --dry-run --json` shows and a job keeps."""
        return asdict(self) | {"verdict": self.verdict}


def preflight(ledger: Ledger, home: Path, size: Size, config: TrainConfig, *, cache: Path, gpu_here: bool) -> Preflight:
    """What a training of `config` takes on this machine. cache: where language models lie; gpu_here: whether the
    machine has one."""
    on_gpu = gpu_here and config.device != "cpu"
    language_dim = language_width(config, cache)
    memory, disk = needs(size.n_items, size.n_events, config, language_dim=language_dim).total, disk_gb(size, config)
    free_memory, free_disk = psutil.virtual_memory().available / 1e9, shutil.disk_usage(_existing(home)).free / 1e9
    return Preflight(
        seconds=expected(size, config, [run for run in past_runs(ledger, home) if run.on_gpu == on_gpu], on_gpu=on_gpu),
        memory=Amount(
            memory, free_memory, "over" if memory > config.memory_gb else "tight" if memory > free_memory else "fits"
        ),
        disk=Amount(disk, free_disk, "over" if disk > free_disk else "tight" if 2 * disk > free_disk else "fits"),
        memory_gb=config.memory_gb,
        on_gpu=on_gpu,
    )


def expected(size: Size, config: TrainConfig, past: list[Past], *, on_gpu: bool) -> Seconds:
    """The range of seconds that earlier runs on the same kind of device allow."""
    pace = [
        run.seconds / formula(run.size, run.config, epochs=run.epochs, steps=run.steps, on_gpu=on_gpu) for run in past
    ]
    shares = [run.epochs / run.config.epochs for run in past]
    slow, fast, middle = max(pace, default=UNSEEN[1]), min(pace, default=UNSEEN[0]), median(pace) if pace else 1.0
    if len(pace) == 1:
        fast, slow = fast * ONE_RUN[0], slow * ONE_RUN[1]
    earliest = min([min(1.0, (config.patience + 2) / config.epochs), *shares])
    usual = max(earliest, median(shares)) if shares else 1.0

    steps = config.text.steps if tunes(size, config, on_gpu=on_gpu) else 0

    def seconds(share: float) -> float:
        return formula(size, config, epochs=max(1, round(share * config.epochs)), steps=steps, on_gpu=on_gpu)

    return Seconds(middle * seconds(usual), fast * seconds(earliest), slow * seconds(1.0), len(past))


def formula(size: Size, config: TrainConfig, *, epochs: int, steps: int, on_gpu: bool) -> float:
    """Seconds on the machine that the prices were measured on, of so many epochs of the first stage and so many steps
    that tune the language model."""
    items, network, text = size.n_items, config.network, config.text
    faster, reads_faster = (GPU_NETWORK, GPU_TEXT) if on_gpu else (1.0, 1.0)
    logits = items if items <= config.full_softmax_items else SAMPLED * config.negatives
    event_s = EVENT_S * (network.blocks / 4) * (network.dim / 64) + LOGIT_S * logits * network.dim

    def epoch_s(tuning: bool) -> float:
        return (event_s * epoch_tokens(config, size.n_events, tuning=tuning) + ITEM_S * items) / faster

    dense = [(rows * items) ** 3 for rows in DENSE.values() if Estimate(items, rows).gigabytes <= config.closed_form_gb]
    total = epochs * epoch_s(tuning=False) + steps * (epoch_s(tuning=True) + TUNE_S * items / reads_faster)
    total += DENSE_S * sum(dense) + min(FACTORS_S * size.n_events, MOST_FACTORS_S)
    total += REST_S + SLATE_S * size.n_users * items
    reading = TEXT_S * items + PRETRAIN_S * text.pretrain_steps if text.tune != "none" else 0.0
    return total + reading / reads_faster


def tunes(size: Size, config: TrainConfig, *, on_gpu: bool) -> bool:
    """Whether the language model is tuned: what the device cannot pay for stands aside (`core.predict.fit`)."""
    text = config.text
    cost, most = TEXT_GIGAFLOPS * text.steps * size.n_items, text.tune_gigaflops * (GPU_IS_FASTER if on_gpu else 1)
    return text.tune in TUNED_BYTES and cost <= most


def disk_gb(size: Size, config: TrainConfig) -> float:
    """The most that a run's folder holds at once, in 1e9 bytes: checkpoints (weights, their average, the best and
    Adam's two moments; where texts are tuned, three of these tables and four of what tunes them), the model with its
    texts and closed forms, everyone's slates."""
    items, network, text = size.n_items, config.network, config.text
    reads, tuned_too = text.tune != "none", text.tune in TUNED_BYTES
    blocks = network.blocks * (4 + 2 * network.inner) * network.dim**2
    weights = 4 * (items * (network.dim + 1) + blocks + (network.max_length + text.dim) * network.dim)
    checkpoints: float = KEPT * 5 * weights
    if tuned_too:
        tuned = TUNED_BYTES[text.tune] * (text.rank if text.tune == "lora" else 1)
        checkpoints += KEPT * (5 * weights + 3 * 4 * items * text.dim + 4 * tuned) + tuned
    dense = [rows for rows in DENSE.values() if Estimate(items, rows).gigabytes <= config.closed_form_gb]
    forms = 4 * items * (sum(dense) * items + 2 * FACTORS + 4 * CONTENT_DIM)
    texts = 4 * items * (text.dim + LANGUAGE_DIM) if reads else 0
    slates = size.n_users * min(SLATE_ROWS, items) * SLATE_BYTES
    return (checkpoints + weights + forms + texts + slates) / 1e9


def language_width(config: TrainConfig, cache: Path) -> int:
    """Numbers of a text's vector: as the checkpoint's own file says where it is at hand, else MiniLM's; 0 where no text
    is read."""
    if config.text.tune == "none":
        return 0
    for folder in (Path(config.text.model), cache / "models" / config.text.model):
        if (file := folder / "config.json").is_file():
            return int(json.loads(file.read_text(encoding="utf-8")).get("hidden_size", LANGUAGE_DIM))
    return LANGUAGE_DIM


def past_runs(ledger: Ledger, home: Path) -> list[Past]:
    """The newest finished runs of the store, of any data set, that tell what they took."""
    finished = [run for run in runs(ledger) if run.finished is not None]
    return list(_told(finished[:LOOKED_AT], home))


def judged(estimate: Mapping[str, Any], evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a run took beside what was told before it: seconds, their share of the estimate, whether they lie in its
    range, and peak memory beside the formula's. None for a run that was interrupted, whose seconds are its last
    attempt's alone, or that tells nothing."""
    if evaluation.get("attempt") != 1 or evaluation.get("peak_gb") is None:
        return None
    told, took = estimate["seconds"], float(evaluation["seconds"])
    return {
        "seconds": took,
        "estimate": told,
        "over": took / told["estimate"] - 1,
        "within": told["low"] <= took <= told["high"],
        "peak_gb": evaluation["peak_gb"],
        "memory_gb": estimate["memory"]["gb"],
    }


def _told(finished: list[RunRow], home: Path) -> Iterator[Past]:
    for run in finished:
        try:
            told = json.loads((run_folder(home, run.run_id) / "evaluation.json").read_text(encoding="utf-8"))
            size = Size(int(told["n_events"]), int(told["n_items"]), int(told["n_users"]))
            config, epochs = TrainConfig.model_validate(run.config), dict(told["epochs"])
            first = int(epochs.pop("frozen"))
            past = Past(size, config, first, sum(epochs.values()), float(told["seconds"]), told["device"] != "cpu")
        except (OSError, ValueError, KeyError, TypeError):  # pruned, or of another version
            continue
        if told.get("attempt") == 1 and past.seconds > 0 and first > 0:
            yield past


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())
