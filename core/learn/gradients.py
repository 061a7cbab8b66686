"""One batch's loss and gradients, in as many pieces as the memory at hand asks for.

What chance decides (which ids are dropped, which negatives are drawn) it decides once a batch, so that the pieces add
up to what the whole batch would have given, up to rounding and to the network's own dropout, which is drawn anew.
"""

import shutil
from collections.abc import Iterable
from importlib import import_module
from typing import NamedTuple

import torch
from torch import Tensor

from core.learn.batches import TrainingBatch, pieces
from core.learn.config import TrainConfig
from core.learn.losses import Sample, Sampler, full_softmax, sampled_softmax
from core.learn.model import Recommender
from core.learn.text import Whitening
from data.errors import InvalidConfig


def check_compiler(config: TrainConfig, *, device: str) -> None:
    """Raises InvalidConfig where a pass is to be compiled for a CPU and there is nothing to compile it with."""
    if not config.compile or device != "cpu":
        return
    compilers = import_module("torch._inductor.config").cpp.cxx  # CXX or g++; takes a second, which few recipes need
    if not any(shutil.which(name) for name in compilers if name):
        raise InvalidConfig(
            "compile = true needs a C++ compiler, and there is none",
            remedy="install g++, name one in CXX, or train with --set compile=false",
        )


class _Drawn(NamedTuple):
    """What chance gave a batch: keep (I,) of 0 and 1, the ids that are not dropped; where the loss is sampled, the
    sample, and the batch in places among its items."""

    batch: TrainingBatch
    keep: Tensor
    sample: Sample | None


class Gradients:
    """Of a model's mean softmax cross entropy (`core.learn.losses`) over the items that training has seen.

    Items without a training event stand outside: that nobody chose what nobody could see is no evidence, and as mere
    negatives they would be pushed below everything. touched (R,): the items of the last batch, where its loss was
    sampled. counts (I,): training events of each item.
    """

    def __init__(self, model: Recommender, counts: Tensor, config: TrainConfig, *, whitening: Whitening | None) -> None:
        self.model, self.config, self.whitening = model, config, whitening
        self.states = torch.compile(model.states, dynamic=True) if config.compile else model.states
        seen = (counts > 0).to(model.device)
        self.sampler: Sampler | None = None
        if int(seen.sum()) > config.full_softmax_items:
            self.sampler = Sampler.of(counts, negatives=config.negatives)
        self.trained = seen.nonzero().squeeze(1)  # items of the softmax, and where each stands in it
        self.place = torch.cumsum(seen, 0) - 1
        self.touched: Tensor | None = None
        self.n_pieces = 1
        bf16 = model.device.type == "cuda" and torch.cuda.is_bf16_supported()
        self.half = config.precision == "bfloat16" or (config.precision == "auto" and bf16)

    def of(
        self, batch: TrainingBatch, raw: Tensor | None, *, optimizers: Iterable[torch.optim.Optimizer]
    ) -> tuple[float, Tensor | None]:
        """The mean loss and d loss / d raw, raw (I, D) being the language model's vectors if it is tuned; the network's
        gradients are left in the parameters of `optimizers`.

        A batch that a GPU's memory does not hold is computed in twice as many pieces, and so are those after it. Raises
        torch.OutOfMemoryError where not even one row fits.
        """
        drawn, asked, optimizers = self._draw(batch), int((batch.target >= 0).sum()), list(optimizers)
        while True:
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            leaf = None if raw is None else raw.detach().requires_grad_(True)
            try:
                loss = sum(self._piece(piece, drawn, leaf, asked) for piece in pieces(drawn.batch, self.n_pieces))
            except torch.OutOfMemoryError:
                if self.n_pieces >= len(batch.target):
                    raise
                self.n_pieces *= 2
            else:
                return loss, None if leaf is None else leaf.grad
            torch.cuda.empty_cache()

    def _draw(self, batch: TrainingBatch) -> _Drawn:
        keep = (torch.rand(self.model.n_items) >= self.config.id_dropout).float().to(self.model.device)
        if self.sampler is None:
            return _Drawn(batch, keep, None)
        sample = self.sampler.sample(batch)
        self.touched = sample.rows
        return _Drawn(sample.batch, keep, sample)

    def _piece(self, piece: TrainingBatch, drawn: _Drawn, raw: Tensor | None, asked: int) -> float:
        """A piece's share of the batch's mean loss over `asked` targets, its gradients added to those of the others."""
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.half):
            share = int((piece.target >= 0).sum()) / asked
            loss = self._loss(piece, drawn, raw) * share
        torch.autograd.backward(loss)
        return loss.item()

    def _loss(self, batch: TrainingBatch, drawn: _Drawn, raw: Tensor | None) -> Tensor:
        model, sample, asked = self.model, drawn.sample, batch.target >= 0
        if sample is None:
            vectors, bias = model.items(text=self._whitened(raw), keep_id=drawn.keep)
            states, target = self.states(batch.events, vectors)[asked], self.place[batch.target[asked]]
            seen = self.trained
            return full_softmax(states, vectors[seen], bias[seen], target, memory_mb=self.config.logit_memory_mb)
        text = self._whitened(None if raw is None else raw[sample.rows])
        vectors, bias = model.items(text=text, keep_id=drawn.keep, rows=sample.rows)
        states, target = self.states(batch.events, vectors)[asked], batch.target[asked]
        return sampled_softmax(states, vectors, bias, target, sample.negative, log_q=sample.log_q)

    def _whitened(self, raw: Tensor | None) -> Tensor | None:
        return None if raw is None or self.whitening is None else self.whitening(raw)
