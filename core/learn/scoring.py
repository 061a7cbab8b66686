"""The network's scores of many histories. Apart from training, so that serving a run never loads a language model."""

import numpy as np
import torch
from torch import Tensor

from core.learn.batches import Vocabulary, to_events
from core.learn.model import Recommender
from core.learn.sequences import Histories

SCORE_BATCH = 256  # histories scored at once


@torch.no_grad()
def neural_scores(model: Recommender, histories: Histories, vocabulary: Vocabulary) -> Tensor:
    """(H, I) float32 logits of what follows each history, in evaluation mode, in bounded batches of like length."""
    model.eval()
    vectors, bias = model.items()
    out = torch.empty(len(histories), model.n_items)
    device = model.device
    order = np.argsort(histories.lengths, kind="stable")
    for begin in range(0, len(order), SCORE_BATCH):
        rows = order[begin : begin + SCORE_BATCH]
        events = to_events(histories.take(rows), vocabulary, length=model.config.max_length, n_items=model.n_items)
        out[torch.from_numpy(rows)] = model(events.to(device), vectors, bias).cpu()
    return out
