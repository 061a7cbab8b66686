"""Training learns, resumes bit for bit, and stops when asked; checkpoints survive damage."""

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from core.learn import losses as losses_module
from core.learn.batches import epoch, fit_vocabulary
from core.learn.checkpoints import load_checkpoint, save_checkpoint
from core.learn.config import NetworkConfig, TextConfig, TrainConfig, epoch_tokens, load_config
from core.learn.gradients import check_compiler
from core.learn.model import Recommender
from core.learn.sequences import Histories, Split
from core.learn.splits import leave_last_out
from core.learn.text import TextEncoder
from core.learn.train import Diverged, Stopped, Trainer
from core.learn.whitening import fit_whitening
from core.predict.fit import pick_device
from data.errors import InvalidConfig

N_ITEMS = 30
NETWORK = NetworkConfig(dim=16, max_length=20)
SAMPLED = {"full_softmax_items": 5, "negatives": 8}


class Watcher:
    """Collects epochs; stops after `most` of them."""

    def __init__(self, most: int = 1000) -> None:
        self.epochs: list[dict[str, Any]] = []
        self.most = most

    def epoch(self, **fields: Any) -> None:
        self.epochs.append(fields)

    def stopping(self) -> bool:
        return len(self.epochs) >= self.most


def cyclic(n_users: int = 60, length: int = 12) -> Histories:
    """Everyone walks the catalogue in the same order from a start of their own: the next item is certain."""
    rng = np.random.default_rng(0)
    item = np.concatenate([(rng.integers(N_ITEMS) + np.arange(length)) % N_ITEMS for _ in range(n_users)])
    n = n_users * length
    return Histories(
        np.arange(n_users + 1) * length,
        item.astype(np.int64),
        np.tile(np.arange(length) * 60, n_users),
        np.zeros(n, np.int64),
        np.full(n, np.nan, np.float32),
    )


def trainer(split: Split, config: TrainConfig, *, device: str = "cpu", **tuning: Any) -> Trainer:
    torch.manual_seed(config.seed)
    text = tuning["whitening"](tuning["encoder"].encode()).cpu() if tuning else torch.zeros(N_ITEMS, 0)
    network = Recommender(config.network, text=text, n_kinds=1).to(device)
    vocabulary = fit_vocabulary(split.train, ("view",), buckets=config.network.value_buckets)
    return Trainer(network, split, vocabulary, config, stage="lora" if tuning else "frozen", **tuning)


def test_a_certain_successor_is_learned() -> None:
    split = leave_last_out(cyclic(), "next-new")
    config = TrainConfig(epochs=30, patience=30, lr=0.01, batch_tokens=256, ema=0.9, id_dropout=0.0, network=NETWORK)
    stage = trainer(split, config).run(Watcher(), lambda _: None)
    assert stage.best_ndcg > 0.9  # chance is about .15 over 30 items


def test_a_certain_successor_is_learned_from_a_sample_of_the_catalogue() -> None:
    split = leave_last_out(cyclic(), "next-new")
    config = TrainConfig(
        epochs=30, patience=30, lr=0.01, batch_tokens=256, ema=0.9, id_dropout=0.0, network=NETWORK, **SAMPLED
    )
    one = trainer(split, config)
    assert one.run(Watcher(), lambda _: None).best_ndcg > 0.9
    assert one.gradients.touched is not None
    assert len(one.gradients.touched) <= N_ITEMS


@pytest.mark.parametrize("how", [{}, SAMPLED], ids=["full", "sampled"])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path: Path, how: dict[str, int]) -> None:
    split = leave_last_out(cyclic(), "next-new")
    config = TrainConfig(epochs=6, lr=0.01, batch_tokens=256, network=NETWORK, **how)
    whole = trainer(split, config)
    whole.run(Watcher(), lambda _: None)

    def save(one: Trainer) -> None:
        tensors, values = one.snapshot()
        save_checkpoint(tmp_path, one.stage.name, one.stage.epoch, tensors=tensors, values=values)

    first = trainer(split, config)
    with pytest.raises(Stopped):
        first.run(Watcher(most=3), save)
    second = trainer(split, config)
    found = load_checkpoint(tmp_path, "frozen")
    assert found is not None
    torch.manual_seed(999)  # what the process did before must not matter
    second.restore(*found)
    second.run(Watcher(), save)
    for name, value in whole.stage.best_state.items():
        assert torch.equal(value, second.stage.best_state[name]), name
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_a_stage_on_frozen_text_keeps_no_copies_of_it() -> None:
    config = TrainConfig(epochs=1, batch_tokens=256, network=NETWORK)
    one = trainer(leave_last_out(cyclic(), "next-new"), config)
    kept: list[Any] = []
    stage = one.run(Watcher(), lambda it: kept.append(it.snapshot()[0]))
    assert "text" in one.model.state_dict()
    assert not [name for name in (*kept[0], *stage.best_state, *one.average) if name.endswith("text")]
    one.put(stage.best_state)
    for name, value in stage.best_state.items():
        assert torch.equal(one.model.state_dict()[name], value), name


@pytest.mark.parametrize("how", [{}, SAMPLED], ids=["full", "sampled"])
def test_a_resumed_language_stage_ends_with_the_same_bits(tiny_language_model: Path, how: dict[str, int]) -> None:
    split = leave_last_out(cyclic(), "next-new")
    text = TextConfig(steps=3, rank=2, dim=8, lr=0.01)
    config = TrainConfig(batch_tokens=256, network=NETWORK, text=text, **how)

    def made() -> Trainer:
        encoder = TextEncoder(tiny_language_model, text, texts=[f"item {n}" for n in range(N_ITEMS)])
        whitening = fit_whitening(encoder.encode(), text.dim)
        encoder.adapt(seed=0)
        return trainer(split, config, encoder=encoder, whitening=whitening)

    whole = made()
    before = whole.model.text.clone()
    whole.run(Watcher(), lambda _: None)
    assert not torch.allclose(before, whole.model.text, atol=1e-4)  # the language model did move
    first = made()
    kept: list[Any] = []
    with pytest.raises(Stopped):
        first.run(Watcher(most=2), lambda one: kept.append(copy.deepcopy(one.snapshot())))
    second = made()
    second.restore(*kept[-1])
    second.run(Watcher(), lambda _: None)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        save_checkpoint(tmp_path, "frozen", number, tensors={"x": torch.tensor([float(number)])}, values={"n": number})
    assert len(list(tmp_path.iterdir())) == 2
    damaged = tmp_path / "frozen-00003" / "tensors.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x7f")
    found = load_checkpoint(tmp_path, "frozen")
    assert found is not None
    assert found[1] == {"n": 2}


def test_a_loss_that_is_no_number_ends_the_run() -> None:
    split = leave_last_out(cyclic(), "next-new")
    broken = trainer(split, TrainConfig(epochs=1, network=NETWORK))
    with torch.no_grad():
        broken.model.id_bias.fill_(float("nan"))
    with pytest.raises(Diverged, match="smaller rate"):
        broken.run(Watcher(), lambda _: None)


def test_a_last_step_that_spoils_the_weights_ends_the_run() -> None:
    everything_at_once = TrainConfig(epochs=1, batch_tokens=100_000, lr=1e30, network=NETWORK)
    with pytest.raises(Diverged, match="best rank"):
        trainer(leave_last_out(cyclic(), "next-new"), everything_at_once).run(Watcher(), lambda _: None)


@pytest.mark.parametrize("how", [{}, SAMPLED])
def test_a_batch_that_does_not_fit_is_computed_in_pieces_with_the_same_gradients(
    tiny_language_model: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, int]
) -> None:
    split = leave_last_out(cyclic(), "next-new")
    network = NETWORK.model_copy(update={"dropout": 0.0})
    config = TrainConfig(network=network, text=TextConfig(dim=8), **how)

    def gradients(most: int) -> tuple[Trainer, float, Tensor, dict[str, Tensor]]:
        encoder = TextEncoder(tiny_language_model, config.text, texts=[f"item {n}" for n in range(N_ITEMS)])
        encoder.adapt(seed=0)
        one = trainer(split, config, encoder=encoder, whitening=fit_whitening(encoder.encode(), 8))
        batch = next(iter(epoch(split.lessons, one.vocabulary, length=20, batch_tokens=240,
                                epoch_tokens=10_000, n_items=N_ITEMS, rng=np.random.default_rng(0))))  # fmt: skip
        encode = one.model.encode

        def limited(inputs: Tensor) -> Tensor:
            if len(inputs) > most:
                raise torch.OutOfMemoryError
            return encode(inputs)

        monkeypatch.setattr(one.model, "encode", limited)
        monkeypatch.setattr(one.gradients, "encode", limited)
        torch.manual_seed(3)
        loss, of_text = one.gradients.of(batch, one.raw, optimizers=one._sequence_optimizers())
        assert of_text is not None
        return (
            one,
            loss.item(),
            of_text,
            {name: p.grad.to_dense() for name, p in one.model.named_parameters() if p.grad is not None},
        )

    whole, whole_loss, whole_text, expected = gradients(10_000)
    pieces, loss, of_text, told = gradients(6)
    assert (whole.gradients.n_pieces, pieces.gradients.n_pieces) == (1, 4)
    assert loss == pytest.approx(whole_loss, rel=1e-5)
    torch.testing.assert_close(of_text, whole_text, atol=1e-6, rtol=1e-3)
    assert told.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(told[name], gradient, atol=1e-6, rtol=1e-3)
    with pytest.raises(torch.OutOfMemoryError):
        gradients(0)


def trained(**how: Any) -> tuple[Trainer, list[dict[str, Any]]]:
    """Thirty epochs on certain successors, and what they told."""
    settings = {"epochs": 30, "patience": 30, "lr": 0.01, "batch_tokens": 256, "ema": 0.9, "id_dropout": 0.0, **how}
    one, watcher = trainer(leave_last_out(cyclic(), "next-new"), TrainConfig(network=NETWORK, **settings)), Watcher()
    assert one.run(watcher, lambda _: None).best_ndcg > 0.9
    return one, watcher.epochs


def test_sgd_learns_too() -> None:
    one, _ = trained(optimizer="sgd", lr=0.5)
    assert isinstance(one.optimizers["optimizer"], torch.optim.SGD)


def test_bfloat16_learns_too_and_is_coarser() -> None:
    first = [trained(precision=precision)[1][0]["loss"] for precision in ("float32", "bfloat16")]
    assert first[0] == pytest.approx(first[1], rel=0.01) and first[0] != first[1]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("ignore")  # torch warns itself while it loads its compiler and traces
def test_a_compiled_pass_learns_the_same() -> None:
    network = NETWORK.model_copy(update={"dropout": 0.0, "blocks": 1})
    split = leave_last_out(cyclic(), "next-new")
    losses, graphs = [], []
    for compiled in (False, True):
        counters.clear()
        watcher = Watcher()
        trainer(split, TrainConfig(network=network, epochs=3, compile=compiled)).run(watcher, lambda _: None)
        losses.append([told["loss"] for told in watcher.epochs])
        graphs.append(counters["stats"]["unique_graphs"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert graphs[0] == 0 and graphs[1] > 0, "it was compiled"


def test_nothing_to_compile_with_is_said_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    check_compiler(TrainConfig(), device="cpu")
    check_compiler(TrainConfig(compile=True), device="cuda")
    with pytest.raises(InvalidConfig, match="needs a C"):
        check_compiler(TrainConfig(compile=True), device="cpu")


def test_a_gpu_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (pick_device("auto"), pick_device("cpu")) == ("cpu", "cpu")
    with pytest.raises(InvalidConfig, match="no GPU"):
        pick_device("cuda")


@pytest.mark.parametrize(
    ("events", "tuning", "told", "expected"),
    [
        (100_000, False, None, 250_000),
        (900_000, False, None, 600_000),
        (900_000, True, None, 250_000),
        (10_000_000, False, None, 1_000_000),
        (900_000, False, 5_000, 5_000),
        (900_000, True, 5_000, 5_000),
    ],
)
def test_an_epoch_grows_with_the_data(events: int, tuning: bool, told: int | None, expected: int) -> None:
    assert epoch_tokens(TrainConfig(epoch_tokens=told), events, tuning=tuning) == expected


def test_the_rate_falls_as_its_schedule_says() -> None:
    last = {name: trained(schedule=name)[1][-1]["lr"] for name in ("cosine", "linear", "constant")}
    assert last["constant"] == pytest.approx(0.01)
    assert last["linear"] == pytest.approx(0.01 * (1 - 0.9 * 29 / 30))
    assert last["cosine"] == pytest.approx(0.01 * (0.55 + 0.45 * np.cos(np.pi * 29 / 30)))


def test_chunked_loss_equals_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    split = leave_last_out(cyclic(), "next-new")
    chunks: list[int] = []
    whole = losses_module._chunk
    monkeypatch.setattr(
        losses_module, "_chunk", lambda states, *rest: chunks.append(len(states)) or whole(states, *rest)
    )
    losses = []
    for memory_mb in (256, 0):  # 0: a chunk a target
        config = TrainConfig(id_dropout=0.0, network=NetworkConfig(dim=16, max_length=20, dropout=0.0))
        one = trainer(split, config.model_copy(update={"logit_memory_mb": memory_mb}))
        assert not chunks
        losses.append(one._epoch(Watcher()))
    assert set(chunks) == {1}
    assert np.isclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        (("network.dim", "33"), "network"),
        (("epochs", "0"), "epochs"),
        (("nonsense", "1"), "nonsense"),
        (("lr", "x"), "lr"),
        (("lr", "inf"), "lr"),
        (("text.model", ""), "model"),
        (("preprocess.recent_days", "-1"), "recent_days"),
        (("preprocess.frequent_target", "2"), "frequent_target"),
        (("optimizer", "lion"), "optimizer"),
    ],
)
def test_a_malformed_setting_is_named(override: tuple[str, str], named: str) -> None:
    with pytest.raises(InvalidConfig, match=named):
        load_config(overrides=[override])


def test_pretraining_what_nobody_reads_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="pretrain_steps"):
        load_config(overrides=[("text.tune", "none"), ("text.pretrain_steps", "5")])


def test_a_configuration_survives_its_file(tmp_path: Path) -> None:
    config = load_config(overrides=[("seed", "3"), ("text.tune", "frozen")])
    (tmp_path / "c.toml").write_text(config.to_toml())
    assert load_config(tmp_path / "c.toml") == config
