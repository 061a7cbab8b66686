"""What training does on a GPU, beside the same on a CPU. Everything here skips where torch sees no CUDA.

The tests of whole runs (`test_pipeline.py`) take the GPU by themselves where there is one.
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from core.learn.batches import epoch, fit_vocabulary
from core.learn.config import NetworkConfig, TextConfig, TrainConfig
from core.learn.model import Recommender
from core.learn.replay import Replayed
from core.learn.scoring import neural_scores
from core.learn.sequences import Histories, Split
from core.learn.splits import leave_last_out
from core.learn.text import TextEncoder
from core.learn.train import Stopped, Trainer
from core.learn.whitening import fit_whitening

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
]
N_ITEMS = 20
EXACT = {"precision": "float32", "network": NetworkConfig(dim=16, max_length=20, dropout=0.0)}
LOSSES = pytest.mark.parametrize("how", [{}, {"full_softmax_items": 5, "negatives": 16}], ids=["full", "sampled"])


class Told:
    """Collects epochs; stops after `most` of them."""

    def __init__(self, most: int = 1000) -> None:
        self.losses: list[float] = []
        self.most = most

    def epoch(self, **fields: Any) -> None:
        self.losses.append(fields["loss"])

    def stopping(self) -> bool:
        return len(self.losses) >= self.most


@pytest.fixture
def split(two_tastes: Callable[[int], Histories]) -> Split:
    return leave_last_out(two_tastes(200), "next-new")


@pytest.fixture
def full_memory() -> Iterator[None]:
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def trainer(split: Split, config: TrainConfig, device: str, language_model: Path | None = None) -> Trainer:
    torch.manual_seed(config.seed)
    text, tuning = torch.zeros(N_ITEMS, 0), {}
    if language_model is not None:
        texts = [f"item {n}" for n in range(N_ITEMS)]
        encoder = TextEncoder(language_model, config.text, texts=texts, device=device)
        raw = encoder.encode().cpu()
        whitening = fit_whitening(raw, config.text.dim)
        text, tuning = whitening(raw), {"encoder": encoder, "whitening": whitening.to(device)}
        encoder.adapt(seed=0)
    network = Recommender(config.network, text=text, n_kinds=1).to(device)
    vocabulary = fit_vocabulary(split.train, ("view",), buckets=config.network.value_buckets)
    return Trainer(network, split, vocabulary, config, stage=config.text.tune if tuning else "frozen", **tuning)


@LOSSES
def test_in_single_precision_it_learns_what_a_cpu_learns(split: Split, how: dict[str, int]) -> None:
    config = TrainConfig(epochs=3, **EXACT, **how)
    ended = {}
    for device in ("cpu", "cuda"):
        one, told = trainer(split, config, device), Told()
        one.run(told, lambda _: None)
        assert isinstance(one.gradients.encode, Replayed) == (device == "cuda")
        ended[device] = (told.losses, neural_scores(one.model, split.test.context, one.vocabulary))
    assert ended["cuda"][0] == pytest.approx(ended["cpu"][0], rel=1e-3)
    torch.testing.assert_close(ended["cuda"][1], ended["cpu"][1], rtol=1e-2, atol=1e-2)


@LOSSES
def test_in_half_precision_it_learns_whose_taste_is_whose(split: Split, how: dict[str, int]) -> None:
    one = trainer(split, TrainConfig(epochs=30, lr=0.01, batch_tokens=512, **how), "cuda")
    assert one.gradients.half == torch.cuda.is_bf16_supported()
    one.run(Told(), lambda _: None)
    best = neural_scores(one.model, split.test.context, one.vocabulary).argmax(1).numpy()
    assert np.mean((best >= 10) == (np.arange(len(best)) % 2)) > 0.95


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_a_replayed_pass_gives_the_states_and_gradients_of_a_plain_one(half: bool) -> None:
    torch.manual_seed(0)
    shape = NetworkConfig(dim=16, max_length=40, dropout=0.0)
    model = Recommender(shape, text=torch.zeros(N_ITEMS, 0), n_kinds=1).to("cuda").train()
    replayed = Replayed(model, batch_tokens=256)
    for rows, length in [(5, 40), (3, 17), (16, 9), (4, 39)]:  # two of them share a recording
        inputs = torch.randn(rows, length, 16, device="cuda", requires_grad=True)
        told = []
        for encode in (replayed, model.encode):
            model.zero_grad(set_to_none=True)
            inputs.grad = None
            with torch.autocast("cuda", torch.bfloat16, enabled=half):
                states = encode(inputs)
            states.float().square().sum().backward()
            assert inputs.grad is not None
            told.append([states.detach().float().clone(), inputs.grad.clone()])
            told[-1] += [p.grad.clone() for p in model.blocks.parameters() if p.grad is not None]
            del states  # and its graph: nothing of a plain pass may be alive when a shape is recorded
        assert len(told[0]) == len(told[1]) > 2
        for again, plain in zip(*told, strict=True):
            torch.testing.assert_close(again, plain, rtol=3e-2 if half else 1e-4, atol=0.3 if half else 1e-4)
    assert len(replayed.recorded) == 3


@pytest.mark.parametrize("tune", ["none", "lora", "full"])
def test_an_interrupted_stage_goes_on_where_it_stood(split: Split, tiny_language_model: Path, tune: str) -> None:
    text = TextConfig(tune=tune, steps=4, rank=2, dim=8, lr=0.01)
    config = TrainConfig(epochs=4, text=text, network=NetworkConfig(dim=16, max_length=20))
    language_model = None if tune == "none" else tiny_language_model

    def made() -> Trainer:
        return trainer(split, config, "cuda", language_model)

    kept: list[Any] = []
    told, later = Told(), Told()
    made().run(told, lambda _: None)
    with pytest.raises(Stopped):
        made().run(Told(most=2), lambda one: kept.append(copy.deepcopy(one.snapshot())))
    tensors, values = kept[-1]
    second = made()
    torch.manual_seed(999)  # what the process did before must not matter
    second.restore({name: tensor.cpu() for name, tensor in tensors.items()}, values)
    second.run(later, lambda _: None)
    assert later.losses == pytest.approx(told.losses[2:], rel=1e-3)  # sums on a GPU have no fixed order
    assert all(tensor.device.type == "cpu" for tensor in second.stage.best_text.values())


def test_what_does_not_fit_its_memory_is_computed_in_pieces_with_the_same_gradients(full_memory: None) -> None:
    rng, n_users, length, n_items = np.random.default_rng(0), 512, 200, 2000
    items = rng.integers(n_items, size=n_users * length)
    none = np.full(len(items), np.nan, np.float32)
    every = Histories(
        np.arange(n_users + 1) * length, items, np.arange(len(items)), np.zeros(len(items), np.int64), none
    )
    shape = NetworkConfig(dim=256, dropout=0.0)
    config = TrainConfig(batch_tokens=10**6, epoch_tokens=10**6, precision="float32", network=shape)
    split = leave_last_out(every, "next-new")
    torch.manual_seed(0)
    network = Recommender(shape, text=torch.zeros(n_items, 0), n_kinds=1).to("cuda")
    one = Trainer(network, split, fit_vocabulary(split.train, ("view",), buckets=8), config, stage="frozen")
    how = {"length": 200, "batch_tokens": 10**6, "epoch_tokens": 10**6, "n_items": n_items, "rng": rng}
    batch = next(iter(epoch(split.lessons, one.vocabulary, **how)))

    def gradients() -> tuple[float, dict[str, torch.Tensor]]:
        torch.manual_seed(3)
        loss, _ = one.gradients.of(batch, None, optimizers=one._sequence_optimizers())
        return float(loss), {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}

    torch.cuda.reset_peak_memory_stats()
    loss, expected = gradients()
    most = torch.cuda.max_memory_allocated()
    assert one.gradients.n_pieces == 1
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(0.5 * most / whole)
    again, told = gradients()
    assert one.gradients.n_pieces > 1
    assert again == pytest.approx(loss, rel=1e-4)
    for name, gradient in expected.items():
        torch.testing.assert_close(told[name], gradient, rtol=1e-2, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # torch warns itself while it loads its compiler and traces
def test_a_compiled_pass_learns_the_same(split: Split) -> None:
    losses = []
    for compiled in (False, True):
        told = Told()
        counters.clear()
        trainer(split, TrainConfig(epochs=3, compile=compiled, **EXACT), "cuda").run(told, lambda _: None)
        losses.append(told.losses)
        assert (counters["stats"]["unique_graphs"] > 0) == compiled
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
