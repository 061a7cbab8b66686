"""Language modelling before tuning: it learns, it is resumed to the bit, and what comes out is a checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from core.learn.config import TextConfig, TrainConfig
from core.learn.documents import UNASKED, tokenised
from core.learn.pretrain import _Pupil, pretrain
from core.learn.sequences import Histories
from core.learn.splits import leave_last_out
from core.learn.text import TextEncoder
from core.learn.train import Diverged, Stopped
from data.errors import WeightsMissing

TITLES = [f"the film number {n}" for n in range(20)]
TEXTS = [f"the film number {n}, a story of the sea" for n in range(20)]
ANY = ["tiny_language_model", "tiny_multilingual", "tiny_decoder"]


class Watcher:
    """Asks to stop once it was asked so often whether to."""

    def __init__(self, most: int | None = None) -> None:
        self.most, self.asked, self.told = most, 0, list[dict[str, Any]]()

    def epoch(self, **fields: Any) -> None:
        self.told.append(fields)

    def stopping(self) -> bool:
        self.asked += 1
        return self.most is not None and self.asked > self.most


@pytest.fixture
def checkpoint(request: pytest.FixtureRequest) -> Path:
    """The folder of the fixture that a test is parametrised with."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def trained(tmp_path: Path, two_tastes: Callable[[int], Histories]) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Pretrains a checkpoint into a folder of that name."""
    train = leave_last_out(two_tastes(30), "next-new").train

    def make(checkpoint: Path, name: str = "new", *, watch: Watcher | None = None, **text: Any) -> Any:
        config = TrainConfig(text=TextConfig(**{"pretrain_steps": 30, "pretrain_lr": 3e-3, **text}))
        return pretrain(
            checkpoint,
            (TITLES, TEXTS, train),
            config,
            into=tmp_path / name,
            monitor=watch or Watcher(),
            checkpoints=tmp_path / f"checkpoints of {name}",
        )

    return make


@pytest.mark.parametrize("checkpoint", ANY, indirect=True)
def test_held_out_text_is_told_better_afterwards(checkpoint: Path, trained: Callable[..., Any]) -> None:
    watch = Watcher()
    folder, told = trained(checkpoint, watch=watch)
    assert told["objective"] == ("causal" if "decoder" in checkpoint.name else "masked")
    assert told["head"] == ("new" if "language-model" in checkpoint.name else "the checkpoint's")
    for source in ("catalogue", "behaviour"):
        assert told["held_out"][source]["n"] > 0
        assert told["held_out"][source]["after"] < told["held_out"][source]["before"] - 0.3
    assert [one["epoch"] for one in watch.told] == list(range(1, 11))
    assert told["steps"] == 30 and told["seconds"] > 0

    before = TextEncoder(checkpoint, TextConfig(), texts=TEXTS)
    after = TextEncoder(folder, TextConfig(), texts=TEXTS)
    assert after.reading == before.reading  # prefix and pooling came along
    assert not torch.allclose(before.encode(), after.encode(), atol=1e-2)
    state = load_file(folder / "model.safetensors")
    for name, value in after.model.state_dict().items():  # what was trained is what is read, not a new beginning
        kept = [key for key in state if key == name or key.endswith(f".{name}")]
        assert kept or "pooler" in name, name
        assert not kept or torch.equal(value, state[kept[0]]), name


@pytest.mark.parametrize(
    ("checkpoint", "kind"),
    [("tiny_multilingual", AutoModelForMaskedLM), ("tiny_decoder", AutoModelForCausalLM)],
    indirect=["checkpoint"],
)
def test_a_head_that_sees_only_what_it_is_asked_for_says_the_same(checkpoint: Path, kind: Any) -> None:
    pupil = _Pupil(checkpoint, TrainConfig(), device="cpu")
    whole = kind.from_pretrained(checkpoint).eval()
    pupil.model.eval()
    documents = tokenised([*TEXTS, "a"], pupil.tokenizer, 64)
    for tokens, target in pupil._batches(documents, np.random.default_rng(0)):
        logits = whole(**tokens).logits
        true = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=UNASKED, reduction="sum")
        assert pupil._loss(tokens, target).item() == pytest.approx(true.item(), rel=1e-5)


@pytest.mark.parametrize("checkpoint", ANY, indirect=True)
def test_stopped_within_a_step_and_resumed_it_ends_with_the_same_bits(
    checkpoint: Path, trained: Callable[..., Any], tmp_path: Path
) -> None:
    whole, told = trained(checkpoint, "whole")
    for most in (1, 61, 30):  # while judging, and twice between two checkpoints
        with pytest.raises(Stopped):
            trained(checkpoint, "broken", watch=Watcher(most))
    torch.manual_seed(999)  # what the process did before must not matter
    left = len(list((tmp_path / "checkpoints of broken").iterdir()))
    watch = Watcher()
    broken, again = trained(checkpoint, "broken", watch=watch)
    assert left == 2 and 0 < len(watch.told) < 10  # it did go on from a checkpoint
    assert again["held_out"] == told["held_out"]
    assert (whole / "model.safetensors").read_bytes() == (broken / "model.safetensors").read_bytes()
    assert not list((tmp_path / "checkpoints of broken").iterdir())


def test_it_is_done_once_and_anew_where_it_was_damaged(tiny_decoder: Path, trained: Callable[..., Any]) -> None:
    folder, told = trained(tiny_decoder)
    assert trained(tiny_decoder, watch=Watcher(0)) == (folder, told)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    _, again = trained(tiny_decoder)
    assert weights.read_bytes() == whole and again["weights_sha256"] == told["weights_sha256"]


def test_a_loss_that_is_no_number_and_a_model_without_words_are_stated(
    tiny_decoder: Path, trained: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(Diverged, match="pretrain_lr"):
        trained(tiny_decoder, pretrain_lr=1e30)
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsMissing, match="cannot be trained"):
        trained(tmp_path / "empty", "other")
    assert not (tmp_path / "new").exists() and not (tmp_path / "other").exists()
