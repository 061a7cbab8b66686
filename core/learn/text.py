"""The language model that reads items: encoding, whitening, and fine-tuning through a gradient cache.

Fine-tuning end to end would hold the language model's graph over the whole catalogue for each batch of histories.
A gradient cache (Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021) cuts the
graph at the text vectors: encode without a graph, train the sequence model on the vectors and sum the loss's gradient
with respect to them, then encode again in micro-batches and push that gradient through. Memory does not grow with the
batch of histories or with the catalogue.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from core.learn.config import TextConfig
from core.learn.reading import pool, reading_of
from data.errors import WeightsMissing

MODULES_NEVER_ADAPTED = "pooler"


class TextEncoder:
    """A Hugging Face text model, encoder or causal decoder, that reads a fixed list of texts, each as its checkpoint
    wants it read (`core.learn.reading`).

    The texts are tokenised once and kept in micro-batches of like length. The model stays in evaluation mode, so that
    the two passes of the gradient cache agree.
    """

    def __init__(self, folder: Path, config: TextConfig, *, texts: Sequence[str], device: str = "cpu") -> None:
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # of parts that reading leaves out
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            self.model: nn.Module = AutoModel.from_pretrained(
                folder, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
            )
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise WeightsMissing(
                f"{folder} holds no text model that can be loaded: {error}",
                remedy="name a folder with config.json, a tokenizer and model.safetensors",
            ) from error
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.tokenizer.padding_side = "right"  # a decoder's places count from a text's first token, its mask is causal
        self.model.config.use_cache = False
        self.config, self.device = config, device
        self.reading = reading_of(folder, self.model.config, config)
        self.model.to(device).eval().requires_grad_(False)
        self.batches = list(self._tokenise(texts))
        self.n_texts = len(texts)

    def adapt(self, *, seed: int) -> None:
        """Make the model trainable as `config.tune` says: low-rank adapters (Hu et al., 2021) on every linear layer,
        or all its weights."""
        torch.manual_seed(seed)
        if self.config.tune == "lora":
            left_out = any(MODULES_NEVER_ADAPTED in name.split(".") for name, _ in self.model.named_modules())
            adapters = LoraConfig(
                r=self.config.rank,
                lora_alpha=self.config.rank,
                target_modules="all-linear",
                exclude_modules=rf".*\b{MODULES_NEVER_ADAPTED}\b.*" if left_out else None,
            )
            with warnings.catch_warnings():  # peft asks transformers for an attribute that the latter has renamed
                warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
                self.model = get_peft_model(self.model, adapters)
        elif self.config.tune == "full":
            self.model.requires_grad_(True)
        self.model.eval()

    @property
    def dim(self) -> int:
        """D, the width of its vectors."""
        config: Any = self.model.config
        return int(config.hidden_size)

    def gigaflops(self) -> float:
        """What one reading of all texts costs in the model's linear layers."""
        weights = sum(layer.weight.numel() for layer in self.model.modules() if isinstance(layer, nn.Linear))
        return 2 * weights * sum(tokens["input_ids"].numel() for _, tokens in self.batches) / 1e9

    def trainable(self) -> list[nn.Parameter]:
        """The parameters that fine-tuning moves."""
        return [p for p in self.model.parameters() if p.requires_grad]

    @torch.no_grad()
    def encode(self, progress: Callable[[float], None] | None = None) -> Tensor:
        """(I, D) float32: every text's vector, without a graph."""
        out: Tensor | None = None
        for done, (rows, tokens) in enumerate(self.batches):
            pooled = self._pool(tokens)
            out = pooled.new_empty(self.n_texts, pooled.shape[1]) if out is None else out
            out[rows] = pooled
            if progress is not None:
                progress((done + 1) / len(self.batches))
        if out is None:
            raise WeightsMissing("there are no texts to encode", remedy="ingest a data set with items")
        return out

    def backward(self, gradient: Tensor) -> None:
        """Accumulate d loss / d parameters from `gradient` (I, D) = d loss / d `encode()`."""
        for rows, tokens in self.batches:
            part = gradient[rows]
            if part.abs().sum() > 0:
                torch.autograd.backward(self._pool(tokens), part)

    def state(self) -> dict[str, Tensor]:
        """What fine-tuning changed: the adapters' weights, or the whole model's."""
        if self.config.tune == "lora":
            return {k: v.detach().cpu().contiguous() for k, v in get_peft_model_state_dict(self.model).items()}
        return {k: v.detach().cpu().contiguous() for k, v in self.model.state_dict().items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put `state()` back, after `adapt`."""
        if self.config.tune == "lora":
            set_peft_model_state_dict(self.model, dict(state))
        else:
            self.model.load_state_dict(dict(state))

    def _tokenise(self, texts: Sequence[str]) -> list[tuple[Tensor, dict[str, Tensor]]]:
        read = [self.reading.prefix + text for text in texts]
        tokens = self.tokenizer(read, truncation=True, max_length=self.config.max_tokens)
        for row, ids in enumerate(tokens["input_ids"]):
            if not ids:  # a decoder's tokenizer adds no marks of its own: an empty text reads as one of them
                for name in tokens:
                    tokens[name][row] = [1 if name == "attention_mask" else self.tokenizer.eos_token_id]
        order = sorted(range(len(texts)), key=lambda row: len(tokens["input_ids"][row]))
        out: list[tuple[Tensor, dict[str, Tensor]]] = []
        for begin in range(0, len(order), self.config.micro_batch):
            rows = order[begin : begin + self.config.micro_batch]
            some: dict[str, Any] = {name: [tokens[name][row] for row in rows] for name in tokens}
            padded = self.tokenizer.pad(some, return_tensors="pt")
            out.append((torch.tensor(rows), {name: padded[name].to(self.device) for name in padded}))
        return out

    def _pool(self, tokens: dict[str, Tensor]) -> Tensor:
        hidden = self.model(**tokens).last_hidden_state
        return pool(hidden, tokens["attention_mask"], self.reading.pooling)
