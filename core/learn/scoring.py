"""The network's scores of many histories. Apart from training, so that serving a run never loads a language model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.learn.batches import Vocabulary, to_events
from core.learn.model import Recommender
from core.learn.ranking import Ranks, ranks
from core.learn.sequences import Histories, IntArray, Queries, Task
from core.learn.threads import side_by_side

BATCH_TOKENS = 4096  # padded tokens read at once: more of them leave a processor's cache
GPU_BATCH_TOKENS = 262_144
BLOCK_CELLS = 8_000_000  # scores held at once


@torch.no_grad()
def neural_scores(model: Recommender, histories: Histories, vocabulary: Vocabulary) -> Tensor:
    """(H, I) float32 logits of what follows each history, in evaluation mode, on the CPU."""
    vectors, bias = model.items()
    states = user_states(model, histories, vocabulary, vectors=vectors)
    return torch.addmm(bias.cpu(), states, vectors.cpu().T)


@torch.no_grad()
def neural_ranks(model: Recommender, queries: Queries, vocabulary: Vocabulary, *, task: Task) -> Ranks:
    """(T,) rank of every target by `neural_scores`, which are made for a block of queries at a time."""
    vectors, bias = model.items()
    states = user_states(model, queries.context, vocabulary, vectors=vectors)
    vectors, bias = vectors.cpu(), bias.cpu()
    parts, begin = [], 0
    for some in queries.blocks(max(1, BLOCK_CELLS // model.n_items)):
        parts.append(ranks(torch.addmm(bias, states[begin : begin + len(some)], vectors.T), some, task=task))
        begin += len(some)
    return np.concatenate(parts)


@torch.no_grad()
def user_states(
    model: Recommender, histories: Histories, vocabulary: Vocabulary, *, vectors: Tensor | None = None
) -> Tensor:
    """(H, d) float32 states after each history, in evaluation mode, on the CPU, in bounded batches of like length.

    vectors (I, d): the model's own, for a caller who has them already.
    """
    model.eval()
    vectors = model.items()[0] if vectors is None else vectors
    out = torch.empty(len(histories), model.config.dim)

    @torch.no_grad()
    def read(rows: IntArray) -> None:
        events = to_events(histories.take(rows), vocabulary, length=model.config.max_length, n_items=model.n_items)
        out[torch.from_numpy(rows)] = model.last_states(events.to(model.device), vectors).cpu()

    on_cpu = model.device.type == "cpu"
    size = np.minimum(histories.lengths, model.config.max_length) + 1
    batches = _like_length(size, tokens=BATCH_TOKENS if on_cpu else GPU_BATCH_TOKENS)
    with _no_kernel_a_shape():
        for _ in side_by_side(read, batches) if on_cpu else map(read, batches):
            pass
    return out


@contextmanager
def _no_kernel_a_shape() -> Iterator[None]:
    """Products by the plain library: oneDNN keeps a compiled kernel for each of the last thousand shapes, hundreds of
    megabytes where every batch has a shape of its own, and is no faster at these."""
    kernels: Any = torch.backends.mkldnn
    before, kernels.enabled = kernels.enabled, False
    try:
        yield
    finally:
        kernels.enabled = before


def _like_length(size: IntArray, *, tokens: int) -> list[IntArray]:
    """Rows by ascending size (H,), in batches whose rows times their greatest size are at most `tokens`."""
    order = np.argsort(size, kind="stable")
    batches, begin = [], 0
    while begin < len(order):
        widest = size[order[begin : begin + tokens]] * np.arange(1, len(order[begin : begin + tokens]) + 1)
        end = begin + max(1, int(np.searchsorted(widest, tokens, side="right")))
        batches.append(order[begin:end])
        begin = end
    return batches
