"""What a training takes of memory at its peak, told before it begins.

    gigabytes = base + events + items + work, with 1e9 bytes each

    base    Python, torch and the rest, and where texts are read a language model of MiniLM's size with its library
    events  EVENT_BYTES a training event: histories, the questions' contexts, an epoch's targets
    items   4 bytes x I x (T + D + COPIES x (d + 1) + CONTENT): whitened texts, the language model's vectors, the ids'
            table with its averages, its best state and Adam's moments, and the vectors of content
    work    the greatest of what the stages hold beside these, one after the other: the softmax's logits, the closed
            forms, blocks of scores

This module loads no torch, so that a page may ask it; what it knows of the parts is told here and used there.
I items, T `text.dim`, D the language model's width, d `network.dim`. `python -m tests.bench.growth` prints what was
estimated beside what was measured.
"""

from dataclasses import dataclass

from core.learn.config import TrainConfig
from data.errors import LodestarError

BASE_GB = 1.0
LANGUAGE_GB = 0.5
EVENT_BYTES = 150
DENSE = {"ease": 1, "ridge": 2}  # forms whose cost grows with the square of the catalogue, and their memories
FACTORS = 64
CONTENT_DIM = 64  # leading directions of the texts, and most frequent categories (`core.learn.content`)
CONTENT = 6 * CONTENT_DIM  # of text and of categories: what is tried, what is kept by row, and by column
COPIES = 7  # weights, gradient or validation's copy, average, best, two moments, item vectors
LOGIT_COPIES = 3  # logits, their exponentials, their gradients
BLOCKS_GB = 1.5  # scores of a block of questions by every component, and what selects from them


class OverBudget(LodestarError):
    """A training that needs more memory than its configuration allows."""


@dataclass(frozen=True)
class Estimate:
    """What a dense form with `memories` x I rows costs before it is tried."""

    n_items: int
    memories: int

    @property
    def gigabytes(self) -> float:
        """Peak memory: EASE's Gram matrix, the regularised one, its inverse, what that is divided to, and the served
        form; the ridge's Gram matrix, the regularised one, its factor, and eight of its rows by I items."""
        rows = self.memories * self.n_items
        return (36 if self.memories == 1 else 28) * rows**2 / 1e9


@dataclass(frozen=True)
class Needs:
    """Gigabytes of one training, by what takes them."""

    base: float
    events: float
    items: float
    work: float

    @property
    def total(self) -> float:
        """The peak."""
        return self.base + self.events + self.items + self.work


def needs(n_items: int, n_events: int, config: TrainConfig, *, language_dim: int) -> Needs:
    """What a training on `n_events` events of `n_items` items takes; language_dim is 0 without a language model."""
    text = config.text.dim + language_dim if language_dim else 0
    rows = min(config.batch_tokens, max(1, config.logit_memory_mb * 2**20 // (4 * n_items)))
    full = n_items <= config.full_softmax_items
    dense = [Estimate(n_items, memories).gigabytes for memories in DENSE.values()]
    logits = LOGIT_COPIES * 4 * rows * n_items / 1e9 if full else 0.0
    return Needs(
        base=BASE_GB + (LANGUAGE_GB if language_dim else 0.0),
        events=EVENT_BYTES * n_events / 1e9,
        items=4 * n_items * (text + COPIES * (config.network.dim + 1) + CONTENT) / 1e9,
        work=max(logits, BLOCKS_GB, *(cost for cost in dense if cost <= config.closed_form_gb)),
    )


def check_budget(n_items: int, n_events: int, config: TrainConfig, *, language_dim: int) -> Needs:
    """The needs of a training. Raises OverBudget where they are over `memory_gb`."""
    told = needs(n_items, n_events, config, language_dim=language_dim)
    if told.total > config.memory_gb:
        raise OverBudget(
            f"{n_events:,} events of {n_items:,} items take {told.total:.1f} GB of memory, over memory_gb ="
            f" {config.memory_gb:g}",
            remedy=f"where there is more, train with --set memory_gb={told.total + 1:.0f}; else with a smaller"
            " network.dim, text.dim or closed_form_gb",
        )
    return told
