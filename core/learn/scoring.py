"""The network's scores of many histories. Apart from training, so that serving a run never loads a language model."""

import numpy as np
import torch
from torch import Tensor

from core.learn.batches import Vocabulary, to_events
from core.learn.model import Recommender
from core.learn.ranking import Ranks, ranks
from core.learn.sequences import Histories, Queries, Task

SCORE_BATCH = 256  # histories read at once
BLOCK_CELLS = 8_000_000  # scores held at once


@torch.no_grad()
def neural_scores(model: Recommender, histories: Histories, vocabulary: Vocabulary) -> Tensor:
    """(H, I) float32 logits of what follows each history, in evaluation mode, on the CPU."""
    vectors, bias = (part.cpu() for part in model.items())
    return torch.addmm(bias, user_states(model, histories, vocabulary), vectors.T)


@torch.no_grad()
def neural_ranks(model: Recommender, queries: Queries, vocabulary: Vocabulary, *, task: Task) -> Ranks:
    """(T,) rank of every target by `neural_scores`, which are made for a block of queries at a time."""
    states = user_states(model, queries.context, vocabulary)
    vectors, bias = (part.cpu() for part in model.items())
    parts, begin = [], 0
    for some in queries.blocks(max(1, BLOCK_CELLS // model.n_items)):
        parts.append(ranks(torch.addmm(bias, states[begin : begin + len(some)], vectors.T), some, task=task))
        begin += len(some)
    return np.concatenate(parts)


@torch.no_grad()
def user_states(model: Recommender, histories: Histories, vocabulary: Vocabulary) -> Tensor:
    """(H, d) float32 states after each history, in evaluation mode, on the CPU, in bounded batches of like length."""
    model.eval()
    vectors, _ = model.items()
    out = torch.empty(len(histories), model.config.dim)
    order = np.argsort(histories.lengths, kind="stable")
    for begin in range(0, len(order), SCORE_BATCH):
        rows = order[begin : begin + SCORE_BATCH]
        events = to_events(histories.take(rows), vocabulary, length=model.config.max_length, n_items=model.n_items)
        out[torch.from_numpy(rows)] = model.last_states(events.to(model.device), vectors).cpu()
    return out
