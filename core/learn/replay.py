"""The encoder's passes as CUDA graphs: a GPU that is told of one graph instead of some hundred kernels.

At a width of 64 a batch's kernels take a tenth of the time that it takes to launch them one by one. A graph is recorded
for a shape, so batches are padded to one of a few: lengths to the next multiple of 16, rows to what a batch of that
length may hold at most. Padding stands behind everything that is asked for, and causal attention does not look there.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.learn.model import Recommender, encoded

STEP = 16  # lengths are padded to multiples of it
MOST_NUMBERS = 2**22  # of a padded batch: a larger one keeps a GPU busy anyway, and its graph would hold much memory


class Replayed:
    """`Recommender.encode` in training mode, forward and backward, recorded at a shape's first batch and replayed.

    Each shape's states and gradients lie where they lay the last time: they are good until its next batch, and two
    backward passes must not be added up. When a shape is recorded, no graph of an earlier plain pass may be alive.
    """

    def __init__(self, model: Recommender, *, batch_tokens: int) -> None:
        self.model, self.batch_tokens = model, batch_tokens
        self.recorded: dict[tuple[int, int], nn.Module] = {}
        self.memory = torch.cuda.graph_pool_handle()  # no two shapes are at work at once
        torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)  # recording has a stream of its own

    def __call__(self, inputs: Tensor) -> Tensor:
        """(B, 1 + L, d) -> (B, 1 + L, d), under the caller's autocast as it was at the shape's first batch."""
        rows, length, dim = inputs.shape
        shape = padded(rows, length, batch_tokens=self.batch_tokens)
        if shape[0] * shape[1] * dim > MOST_NUMBERS or not torch.is_grad_enabled():
            return self.model.encode(inputs)
        if shape not in self.recorded:
            self.recorded[shape] = self._record(inputs.new_zeros(*shape, dim).requires_grad_())
        states: Tensor = self.recorded[shape](F.pad(inputs, (0, 0, 0, shape[1] - length, 0, shape[0] - rows)))
        return states[:rows, :length]

    def _record(self, example: Tensor) -> nn.Module:
        half = torch.is_autocast_enabled("cuda")
        # a resumed training records its shapes anew, and must find the chances that it would have had
        with (
            torch.random.fork_rng(devices=[example.device]),
            torch.autocast("cuda", torch.get_autocast_dtype("cuda"), enabled=half, cache_enabled=False),
        ):
            recorded = torch.cuda.make_graphed_callables(_Encoder(self.model), (example,), pool=self.memory)
        assert isinstance(recorded, nn.Module), "as was given"
        return recorded


class _Encoder(nn.Module):
    """A module of its own for each shape, since recording puts a graph in its place; the weights are the model's."""

    def __init__(self, model: Recommender) -> None:
        super().__init__()
        self.blocks, self.last_norm = model.blocks, model.last_norm

    def forward(self, x: Tensor) -> Tensor:
        """`Recommender.encode`."""
        return encoded(x, self.blocks, self.last_norm)


def padded(rows: int, length: int, *, batch_tokens: int) -> tuple[int, int]:
    """The shape that a batch of `rows` histories of `length` places is padded to: one for each multiple of STEP, unless
    a single history is longer than a batch."""
    wide = -(-length // STEP) * STEP
    return max(rows, batch_tokens // (wide - STEP + 1)), wide
