"""Stage 1 of the language model: more language modelling, on the catalogue and on behaviour as text, before any tuning.

Encoders fill in masked words, causal decoders tell the next one; what they read, `core.learn.documents` says. Half of
each step is drawn from the catalogue, half from behaviour, and all weights move (Gururangan et al., "Don't Stop
Pretraining", 2020).

A checkpoint without a head for masked words, such as MiniLM's, gets one as transformers initialises it, its output tied
to the word embeddings and the rest random: it learns at ten times the rate, and its loss before training says nothing
about the checkpoint. What comes out is a checkpoint folder like any other, head included. What a step draws depends on
the seed and the step's number alone, so that a resumed stage goes the same way.
"""

import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from core.learn.checkpoints import load_checkpoint, save_checkpoint
from core.learn.config import TrainConfig
from core.learn.documents import MASKED, UNASKED, Corpus, Tokens, corpus_of, questions, tokenised
from core.learn.reading import POOLING, PROMPTS, is_causal, reading_of
from core.learn.sequences import Histories
from core.learn.train import Diverged, Monitor, Stopped
from data.errors import DamagedArtefact, WeightsMissing
from data.publish import staged, verify_manifest

STAGE = "pretrain"
DOCUMENTS = 32  # read in a step
MICRO = 8  # of them at once, fewer where their logits would not fit
ROUNDS = 10  # checkpoints, one after each
HEAD_RATE = 10  # times the rate, for a head that starts anew
TOLD = "pretraining.json"


@dataclass
class _State:
    """Where the stage stands; what a checkpoint holds beside weights and optimiser."""

    step: int = 0
    seconds: float = 0.0
    before: dict[str, float | None] = field(default_factory=dict)


def pretrain(
    checkpoint: Path,
    corpus_from: tuple[Sequence[str], Sequence[str], Histories],
    config: TrainConfig,
    *,
    into: Path,
    monitor: Monitor,
    checkpoints: Path,
    device: str = "cpu",
) -> tuple[Path, dict[str, Any]]:
    """The folder `into` with `checkpoint` trained for `text.pretrain_steps` more, and what came of it.

    corpus_from: titles and texts in item order, and the training part. Done once: a folder that is whole is taken as
    it is. Told are objective, head, steps, seconds, documents and, by source, the mean held-out loss a token before and
    after, None where nothing is held out. Raises Stopped within a step, Diverged, WeightsMissing.
    """
    told = _done(into)
    if told is None:
        pupil = _Pupil(checkpoint, config, device=device)
        corpus = corpus_of(*corpus_from, pupil.tokenizer, config.text, prefix=pupil.prefix, seed=config.seed)
        result = pupil.run(corpus, monitor, checkpoints)
        with staged(into.parent, into.name) as folder:
            pupil.save(checkpoint, folder)
            (folder / TOLD).write_text(json.dumps(result))
        for old in checkpoints.glob(f"{STAGE}-[0-9]*"):  # large, and of no more use
            shutil.rmtree(old)
        told = _done(into)
    assert told is not None, "what was just published is whole"
    return into, told


class _Pupil:
    """A checkpoint with its head, tokenizer and optimiser: what is trained, step by step."""

    def __init__(self, checkpoint: Path, config: TrainConfig, *, device: str) -> None:
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        torch.manual_seed(config.seed)
        try:
            shape = AutoConfig.from_pretrained(checkpoint, trust_remote_code=False)
            self.causal = is_causal(shape)
            kind = AutoModelForCausalLM if self.causal else AutoModelForMaskedLM
            self.tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint, trust_remote_code=False)
            loaded: Any = kind.from_pretrained(
                checkpoint,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
            self.model, found = loaded
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise WeightsMissing(
                f"the language model in {checkpoint} cannot be trained on text: {error}",
                remedy="name another after text.model, or set text.pretrain_steps to 0",
            ) from error
        if not self.causal and self.tokenizer.mask_token_id is None:
            raise WeightsMissing(
                f"the tokenizer in {checkpoint} has no token for a masked word",
                remedy="name another model after text.model, or set text.pretrain_steps to 0",
            )
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.tokenizer.padding_side = "right"
        self.model.config.use_cache = False
        self._asked: Tensor | None = None
        words = self.model.get_output_embeddings()
        if words is not None:  # the widest layer by far: let it see no more tokens than it is asked for
            words.register_forward_pre_hook(lambda _, given: (given[0][self._asked], *given[1:]))
        self.prefix = reading_of(checkpoint, shape, config.text).prefix
        self.config, self.device = config, device
        self.model.to(device)
        anew = set(found["missing_keys"])
        parts: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for name, parameter in self.model.named_parameters():
            parts[name in anew].append(parameter)
        self.new_head = bool(parts[True])
        self.rates = [config.text.pretrain_lr, config.text.pretrain_lr * HEAD_RATE]
        groups = [{"params": parts[new], "lr": rate} for new, rate in zip((False, True), self.rates, strict=True)]
        self.optimizer = torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.01)

    def run(self, corpus: Corpus, monitor: Monitor, checkpoints: Path) -> dict[str, Any]:
        """Train from the last checkpoint, if there is one, to the end; what came of it."""
        steps = self.config.text.pretrain_steps
        most = self.config.text.max_tokens
        learned = {name: tokenised(some, self.tokenizer, most) for name, some in corpus.learned.items() if some}
        held = {name: tokenised(some, self.tokenizer, most) for name, some in corpus.held_out.items()}
        found = load_checkpoint(checkpoints, STAGE)
        state = _State() if found is None else self._restore(*found)
        if found is None:
            begun = time.perf_counter()
            state.before = {name: self._judge(documents, monitor) for name, documents in held.items()}
            state.seconds += time.perf_counter() - begun
        size = math.ceil(steps / ROUNDS)
        while state.step < steps and learned:
            losses: list[float] = []
            begun = time.perf_counter()
            while state.step < steps and (not losses or state.step % size):
                losses.append(self._step(learned, state.step, monitor))
                state.step += 1
            state.seconds += time.perf_counter() - begun
            tensors = self._snapshot()
            number = math.ceil(state.step / size)
            save_checkpoint(checkpoints, STAGE, number, tensors=tensors, values=vars(state))
            monitor.epoch(
                stage=STAGE,
                epoch=number,
                epochs=math.ceil(steps / size),
                loss=float(np.mean(losses)),
                best=False,
                seconds=time.perf_counter() - begun,
            )
        begun = time.perf_counter()
        after = {name: self._judge(documents, monitor) for name, documents in held.items()}
        return {
            "objective": "causal" if self.causal else "masked",
            "head": "new" if self.new_head else "the checkpoint's",
            "steps": state.step,
            "seconds": round(state.seconds + time.perf_counter() - begun, 2),
            "documents": {name: len(some) for name, some in corpus.learned.items()},
            "held_out": {
                name: {"n": len(held[name]), "before": state.before[name], "after": after[name]} for name in held
            },
        }

    def save(self, checkpoint: Path, folder: Path) -> None:
        """The model with its head, its tokenizer, and how the checkpoint that it came from wants to be read."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        for name in (PROMPTS, POOLING):
            if (checkpoint / name).is_file():
                (folder / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(checkpoint / name, folder / name)

    def _step(self, learned: Mapping[str, Sequence[Tokens]], step: int, monitor: Monitor) -> float:
        """One step of the optimiser, its gradient summed over micro-batches; the mean loss a token."""
        rng = np.random.default_rng([self.config.seed, 1, step])
        torch.manual_seed(int(rng.integers(2**62)))  # for dropout
        names = [list(learned)[n % len(learned)] for n in range(DOCUMENTS)]
        documents = [learned[name][int(rng.integers(len(learned[name])))] for name in names]
        batches = list(self._batches(documents, rng))
        asked = max(sum(int((target != UNASKED).sum()) for _, target in batches), 1)
        steps = self.config.text.pretrain_steps
        share = min((step + 1) / max(0.1 * steps, 1), (steps - step) / steps)  # warm-up, then down to nothing
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=False):
            group["lr"] = rate * min(share, 1.0)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for tokens, target in batches:
            if monitor.stopping():
                raise Stopped
            loss = self._loss(tokens, target) / asked
            torch.autograd.backward(loss)
            total += loss.item()
        if not math.isfinite(total):
            raise Diverged(
                f"the language model's loss became {total} in step {step + 1}",
                remedy=f"pretrain at a smaller rate: --set text.pretrain_lr={self.config.text.pretrain_lr / 4:g}",
            )
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        return total

    @torch.no_grad()
    def _judge(self, documents: Sequence[Tokens], monitor: Monitor) -> float | None:
        """Mean loss a token of held-out documents, the same words masked whenever it is asked."""
        self.model.eval()
        total, asked = 0.0, 0
        for tokens, target in self._batches(documents, np.random.default_rng([self.config.seed, 2])):
            if monitor.stopping():
                raise Stopped
            total += float(self._loss(tokens, target))
            asked += int((target != UNASKED).sum())
        return total / asked if asked else None

    def _loss(self, tokens: Mapping[str, Tensor], target: Tensor) -> Tensor:
        """Cross entropy summed over the tokens that are asked for."""
        self._asked = target != UNASKED
        logits: Tensor = self.model(**tokens).logits
        if logits.dim() > 2:  # a head that is no layer of its own, and spared nothing
            logits = logits[self._asked]
        return F.cross_entropy(logits.float(), target[self._asked], reduction="sum")

    def _batches(
        self, documents: Sequence[Tokens], rng: np.random.Generator
    ) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Micro-batches, as many documents in each as their logits have room."""
        longest = max((len(one["input_ids"]) for one in documents), default=1)
        asked = longest if self.causal else 2 * MASKED * longest  # of a document, and twice as many as there should be
        size = int(self.config.logit_memory_mb * 2**20 / (4 * self.model.config.vocab_size * asked))
        size = max(1, min(MICRO, size))
        for tokens, target in questions(documents, self.tokenizer, causal=self.causal, size=size, rng=rng):
            sent = {name: torch.from_numpy(values).to(self.device) for name, values in tokens.items()}
            yield sent, torch.from_numpy(target).to(self.device)

    def _snapshot(self) -> dict[str, Tensor]:
        tensors = {f"model/{name}": value.detach().clone() for name, value in self.model.state_dict().items()}
        for index, kept in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value).clone() for name, value in kept.items()}
        return tensors

    def _restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> _State:
        model: dict[str, Tensor] = {}
        kept: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            group, _, rest = name.partition("/")
            index, _, key = rest.partition("/")
            if group == "model":
                model[rest] = value
            else:
                kept.setdefault(int(index), {})[key] = value
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": kept})
        return _State(**values)


def _done(into: Path) -> dict[str, Any] | None:
    """What is told of a folder that is whole; one that is not is removed."""
    if not into.exists():
        return None
    try:
        manifest = verify_manifest(into)
    except DamagedArtefact:
        shutil.rmtree(into)
        return None
    told: dict[str, Any] = json.loads((into / TOLD).read_text())
    return {**told, "weights_sha256": manifest["files"]["model.safetensors"]["sha256"]}
