"""One batch's loss and gradients, in as many pieces as the memory at hand asks for.

What chance decides (which ids are dropped, which negatives are drawn) it decides once a batch, so that the pieces add
up to what the whole batch would have given, up to rounding and to the network's own dropout, which is drawn anew.

Batches arrive on the CPU, and what is counted or looked up in them is there, so that a GPU is seldom waited for: it
works on one batch while the next is put together. Only the sequence encoder runs in half precision; item vectors,
logits and the loss are float32, since bfloat16 tells logits of about 10 apart by steps of .06.
"""

import shutil
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import NamedTuple

import torch
from torch import Tensor

from core.learn.batches import TrainingBatch, pieces
from core.learn.config import TrainConfig
from core.learn.losses import Sample, Sampler, full_softmax, sampled_softmax
from core.learn.model import Events, Recommender
from core.learn.replay import Replayed
from core.learn.whitening import Whitening
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
        self.encode: Callable[[Tensor], Tensor] = model.encode
        if config.compile:
            self.encode = torch.compile(model.encode, dynamic=True)
        elif model.device.type == "cuda":
            self.encode = Replayed(model, batch_tokens=config.batch_tokens)
        seen = counts > 0
        self.sampler: Sampler | None = None
        if int(seen.sum()) > config.full_softmax_items:
            self.sampler = Sampler.of(counts, negatives=config.negatives)
        self.trained = seen.nonzero().squeeze(1).to(model.device)  # items of the softmax, and where each stands in it
        self.place = torch.cumsum(seen, 0) - 1
        self.touched: Tensor | None = None
        self.n_pieces = 1
        bf16 = model.device.type == "cuda" and torch.cuda.is_bf16_supported()
        self.half = config.precision == "bfloat16" or (config.precision == "auto" and bf16)

    def of(
        self, batch: TrainingBatch, raw: Tensor | None, *, optimizers: Iterable[torch.optim.Optimizer]
    ) -> tuple[Tensor, Tensor | None]:
        """The mean loss, 0-d and detached, and d loss / d raw, raw (I, D) being the language model's vectors if it is
        tuned; the network's gradients are left in the parameters of `optimizers`. batch: on the CPU.

        A batch that a GPU's memory does not hold is computed in twice as many pieces, and so are those after it. Raises
        torch.OutOfMemoryError where not even one row fits.
        """
        drawn, asked, optimizers = self._draw(batch), int((batch.target >= 0).sum()), list(optimizers)
        while True:
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            leaf = None if raw is None else raw.detach().requires_grad_(True)
            try:
                parts = [self._piece(piece, drawn, leaf, asked) for piece in pieces(drawn.batch, self.n_pieces)]
            except torch.OutOfMemoryError:
                if self.n_pieces >= len(batch.target):
                    raise
                self.n_pieces *= 2
                if isinstance(self.encode, Replayed):  # it gives its gradients in one place, and cannot add them up
                    self.encode = self.model.encode
            else:
                return torch.stack(parts).sum(), None if leaf is None else leaf.grad
            torch.cuda.empty_cache()

    def _draw(self, batch: TrainingBatch) -> _Drawn:
        keep = (torch.rand(self.model.n_items) >= self.config.id_dropout).float().to(self.model.device)
        if self.sampler is None:
            return _Drawn(batch, keep, None)
        sample = self.sampler.sample(batch)
        self.touched = sample.rows.to(self.model.device)
        return _Drawn(sample.batch, keep, sample)

    def _piece(self, piece: TrainingBatch, drawn: _Drawn, raw: Tensor | None, asked: int) -> Tensor:
        """A piece's share of the batch's mean loss over `asked` targets, its gradients added to those of the others."""
        loss = self._loss(piece, drawn, raw) * (int((piece.target >= 0).sum()) / asked)
        torch.autograd.backward(loss)
        return loss.detach()

    def _loss(self, batch: TrainingBatch, drawn: _Drawn, raw: Tensor | None) -> Tensor:
        model, sample, device = self.model, drawn.sample, self.model.device
        where = (batch.target >= 0).flatten().nonzero().squeeze(1)  # states that have a target
        target, where = batch.target.flatten()[where], where.to(device)
        if sample is None:
            vectors, bias = model.items(text=self._whitened(raw), keep_id=drawn.keep)
            states, target = self._states(batch.events, vectors, where), self.place[target].to(device)
            seen = self.trained
            return full_softmax(states, vectors[seen], bias[seen], target, memory_mb=self.config.logit_memory_mb)
        rows = sample.rows.to(device)
        text = self._whitened(None if raw is None else raw[rows])
        vectors, bias = model.items(text=text, keep_id=drawn.keep, rows=rows)
        states, target, negative = self._states(batch.events, vectors, where), target.to(device), sample.negative
        return sampled_softmax(states, vectors, bias, target, negative.to(device), log_q=sample.log_q.to(device))

    def _states(self, events: Events, vectors: Tensor, where: Tensor) -> Tensor:
        """(T, d) float32: the states of a batch at `where` (T,) among its B (1 + L) places."""
        inputs = self.model.inputs(events.to(self.model.device), vectors)
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.half):
            states = self.encode(inputs)
        return states.float().flatten(0, 1)[where]

    def _whitened(self, raw: Tensor | None) -> Tensor | None:
        return None if raw is None or self.whitening is None else self.whitening(raw)
