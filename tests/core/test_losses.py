"""The sampled loss estimates the full one, and computes the items of a batch alone."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.learn.batches import TrainingBatch, fit_vocabulary, to_events
from core.learn.config import NetworkConfig
from core.learn.losses import Sampler, full_softmax, sampled_softmax
from core.learn.model import Recommender
from core.learn.sequences import Histories

N_ITEMS, N_STATES = 50, 6


@pytest.fixture
def world() -> dict[str, Tensor]:
    """States, item vectors, biases, targets, and unequal counts."""
    rng = torch.Generator().manual_seed(0)
    return {
        "states": torch.randn(N_STATES, 8, generator=rng),
        "vectors": torch.randn(N_ITEMS, 8, generator=rng) * 0.5,
        "bias": torch.randn(N_ITEMS, generator=rng),
        "target": torch.tensor([0, 1, 2, 3, 48, 49]),
        "counts": torch.arange(1, N_ITEMS + 1),
    }


def sums_of_the_softmax(world: dict[str, Tensor], *, negatives: int, draws: int) -> tuple[Tensor, Tensor]:
    """exp(loss) of each state alone, which is its sum over the probability of its target: exact (T,), and estimated
    once a draw (draws, T)."""
    states, vectors, bias, target = (world[name] for name in ("states", "vectors", "bias", "target"))
    sampler = Sampler.of(world["counts"], negatives=negatives)
    torch.manual_seed(1)
    exact = F.cross_entropy(states @ vectors.T + bias, target, reduction="none").exp()
    log_q = sampler.q.log().float()
    estimates = []
    for _ in range(draws):
        drawn = torch.multinomial(sampler.q, negatives, replacement=True)
        told = [
            sampled_softmax(states[[t]], vectors, bias, target[[t]], drawn, log_q=log_q).exp() for t in range(N_STATES)
        ]
        estimates.append(torch.stack(told))
    return exact, torch.stack(estimates)


def test_the_softmaxs_sum_is_estimated_without_bias(world: dict[str, Tensor]) -> None:
    exact, estimates = sums_of_the_softmax(world, negatives=20, draws=600)
    error = estimates.std(0) / len(estimates) ** 0.5
    assert ((estimates.mean(0) - exact).abs() < 4 * error).all()
    assert (error < 0.07 * exact).all()


def test_a_large_sample_gives_the_full_loss(world: dict[str, Tensor]) -> None:
    states, vectors, bias, target = (world[name] for name in ("states", "vectors", "bias", "target"))
    sampler = Sampler.of(world["counts"], negatives=200_000)
    torch.manual_seed(2)
    drawn = torch.multinomial(sampler.q, sampler.negatives, replacement=True)
    told = sampled_softmax(states, vectors, bias, target, drawn, log_q=sampler.q.log().float())
    assert float(told) == pytest.approx(float(full_softmax(states, vectors, bias, target, memory_mb=1)), rel=0.01)


def test_the_items_of_a_batch_are_enough() -> None:
    torch.manual_seed(0)
    network = Recommender(NetworkConfig(dim=16, max_length=8), text=torch.randn(N_ITEMS, 4), n_kinds=1).eval()
    item = np.asarray([3, 7, 7, 9, 41, 2])
    histories = Histories(np.asarray([0, 4, 6]), item, np.arange(6) * 60, np.zeros(6, np.int64), np.ones(6, np.float32))
    vocabulary = fit_vocabulary(histories, ("view",), buckets=4)
    events = to_events(histories, vocabulary, length=8, n_items=N_ITEMS)
    target = torch.tensor([[3, 7, 7, 9, 11], [41, 2, 30, -1, -1]])
    sample = Sampler.of(torch.ones(N_ITEMS), negatives=5).sample(TrainingBatch(events, target))
    vectors, _ = network.items()
    some, some_bias = network.items(rows=sample.rows)
    assert len(sample.rows) <= 8 + 5
    torch.testing.assert_close(network.states(sample.batch.events, some), network.states(events, vectors))
    asked = target >= 0
    assert torch.equal(sample.rows[sample.batch.target[asked]], target[asked])
    assert torch.equal(sample.batch.target >= 0, asked)
    (some.sum() + some_bias.sum()).backward()
    assert network.id_vector.grad is not None
    assert network.id_vector.grad.is_sparse
    assert sorted(network.id_vector.grad.coalesce().indices()[0].tolist()) == sample.rows.tolist()


def test_what_nobody_has_had_is_never_drawn() -> None:
    one = np.zeros(1, np.int64)
    history = Histories(np.asarray([0, 1]), one + 1, one, one, np.ones(1, np.float32))
    events = to_events(history, fit_vocabulary(history, ("view",), buckets=2), length=2, n_items=5)
    sampler = Sampler.of(torch.tensor([0, 5, 0, 5, 0]), negatives=100)
    assert sampler.sample(TrainingBatch(events, torch.tensor([[3, -1]]))).rows.tolist() == [1, 3]
