"""The network's scores of many histories. Apart from training, so that serving a run never loads a language model."""

import numpy as np
import torch
from torch import Tensor

from core.learn.batches import Vocabulary, to_events
from core.learn.model import Recommender
from core.learn.sequences import Histories

SCORE_BATCH = 256  # histories read at once


@torch.no_grad()
def neural_scores(model: Recommender, histories: Histories, vocabulary: Vocabulary) -> Tensor:
    """(H, I) float32 logits of what follows each history, in evaluation mode, on the CPU."""
    vectors, bias = (part.cpu() for part in model.items())
    return torch.addmm(bias, user_states(model, histories, vocabulary), vectors.T)


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
