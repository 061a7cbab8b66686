"""The network cannot see the future, and the split keeps targets out of training."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from core.learn.batches import epoch, fit_vocabulary, to_events
from core.learn.config import NetworkConfig
from core.learn.model import Recommender, dropped
from core.learn.ranking import hit_rate, ndcg, ranks
from core.learn.replay import padded
from core.learn.sequences import Histories, Lessons
from core.learn.splits import leave_last_out


def histories(lengths: list[int], *, n_items: int = 40, seed: int = 0) -> Histories:
    rng = np.random.default_rng(seed)
    item = np.concatenate([rng.permutation(n_items)[:n] for n in lengths]).astype(np.int64)
    ts = np.concatenate([np.cumsum(rng.integers(1, 1000, n)) for n in lengths]).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Histories(offsets, item, ts, np.zeros(len(item), np.int64), np.ones(len(item), np.float32))


def test_the_future_changes_no_earlier_state() -> None:
    torch.manual_seed(0)
    some = histories([12, 12])
    vocabulary = fit_vocabulary(some, ("rate",), buckets=4)
    network = Recommender(NetworkConfig(dim=16, max_length=20), text=torch.randn(40, 8), n_kinds=1).eval()
    vectors, _ = network.items()
    events = to_events(some, vocabulary, length=20, n_items=40)
    before = network.states(events, vectors)
    changed = events.item.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 40
    after = network.states(events._replace(item=changed), vectors)
    assert torch.allclose(before[:, :8], after[:, :8], atol=1e-6)
    assert not torch.allclose(before[:, 8:], after[:, 8:], atol=1e-3)


@pytest.mark.parametrize("rate", [0.03, 0.2, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(7, 101, 301, requires_grad=True)
    out = dropped(x, rate, training=True)
    out.sum().backward()
    gone = out == 0
    noise = 5 * (rate * (1 - rate) / x.numel()) ** 0.5
    assert gone.float().mean().item() == pytest.approx(rate, abs=noise)
    assert out[~gone].unique().tolist() == pytest.approx([1 / (1 - rate)], rel=1e-4)
    assert x.grad is not None and torch.equal(x.grad, out.detach())
    neighbours = (gone.flatten()[1:] & gone.flatten()[:-1]).float().mean().item()  # coins of one draw are strangers
    assert neighbours == pytest.approx(rate**2, abs=2 * noise)
    torch.manual_seed(0)
    assert torch.equal(dropped(x, rate, training=True), out)
    assert dropped(x, rate, training=False) is x


def test_no_target_is_in_what_is_learned_from() -> None:
    some = histories([5, 9, 2, 14])
    split = leave_last_out(some, "next-new")
    assert split.test.user.tolist() == [0, 1, 3]
    for row, user in enumerate(split.test.user):
        whole = some.items_of(int(user))
        assert split.test.target[row] == whole[-1]
        assert split.valid.target[row] == whole[-2]
        assert split.train.items_of(int(user)).tolist() == whole[:-2].tolist()
        assert split.test.context.items_of(row).tolist() == whole[:-1].tolist()


def test_a_batch_asks_each_event_for_the_one_after_it() -> None:
    some = histories([6])
    rng = np.random.default_rng(0)
    vocabulary = fit_vocabulary(some, ("rate",), buckets=4)
    (batch,) = epoch(
        Lessons("next-new", some),
        vocabulary,
        length=10,
        batch_tokens=100,
        epoch_tokens=1000,
        n_items=40,
        rng=rng,
    )
    assert batch.target[0].tolist() == [*some.items_of(0).tolist(), -1]


def test_ndcg_and_hits_by_hand() -> None:
    queries = leave_last_out(histories([3], n_items=4), "next-any").test
    scores = torch.zeros(1, 4)
    scores[0, queries.target[0]] = 1.0
    others = [i for i in range(4) if i != queries.target[0]]
    scores[0, others[0]] = 2.0
    rank = ranks(scores, queries, task="next-any")
    assert rank.tolist() == [2.0]
    assert np.isclose(ndcg(rank, queries, k=10)[0], 1 / np.log2(3))
    assert hit_rate(rank, queries, k=1)[0] == 0.0
    scores[0, others[1]] = 1.0  # a tie counts half
    assert ranks(scores, queries, task="next-any").tolist() == [2.5]


def test_padding_to_a_recorded_shape_holds_every_batch_and_changes_nothing_of_it() -> None:
    batch_tokens, shapes = 512, set()
    for length in range(1, 202):
        rows = max(1, batch_tokens // length)
        shape = padded(rows, length, batch_tokens=batch_tokens)
        assert shape[0] >= rows and length <= shape[1] < length + 16
        shapes.add(shape)
    assert len(shapes) == 13
    assert padded(1, 600, batch_tokens=512) == (1, 608)
    torch.manual_seed(0)
    network = Recommender(NetworkConfig(dim=16, max_length=20), text=torch.randn(40, 8), n_kinds=1).eval()
    inputs = torch.randn(3, 9, 16)
    wide = F.pad(inputs, (0, 0, 0, 7, 0, 2))
    torch.testing.assert_close(network.encode(wide)[:3, :9], network.encode(inputs))
