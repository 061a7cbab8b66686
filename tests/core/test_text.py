"""The language model: gradients through the cache are the true ones, adapters can be put back, whitening is white."""

from pathlib import Path

import pytest
import torch

from core.learn.config import TextConfig
from core.learn.text import TextEncoder, fit_whitening
from data.errors import WeightsMissing

TEXTS = ["a film of war", "the jazz age", "chess", "war and chess, a long documentary film", "jazz at night", "bread"]


def encoder(folder: Path, tune: str) -> TextEncoder:
    made = TextEncoder(folder, TextConfig(tune=tune, micro_batch=2, rank=4), texts=TEXTS)
    made.adapt(seed=1)
    return made


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_cached_gradients_equal_those_of_one_graph(tiny_language_model: Path, tune: str) -> None:
    cached = encoder(tiny_language_model, tune)
    weight = torch.randn(len(TEXTS), 32, generator=torch.Generator().manual_seed(2))
    raw = cached.encode().requires_grad_(True)
    ((raw * weight).sin().sum()).backward()
    assert raw.grad is not None
    cached.backward(raw.grad)

    direct = encoder(tiny_language_model, tune)
    whole = torch.zeros(len(TEXTS), 32)
    parts = [(rows, direct._pool(tokens)) for rows, tokens in direct.batches]
    whole = whole.index_put((torch.cat([rows for rows, _ in parts]),), torch.cat([pooled for _, pooled in parts]))
    (whole * weight).sin().sum().backward()

    compared = 0
    for mine, true in zip(cached.trainable(), direct.trainable(), strict=True):
        if true.grad is not None:
            assert mine.grad is not None
            assert torch.allclose(mine.grad, true.grad, atol=1e-5)
            compared += int(true.grad.abs().max() > 0)
    assert compared > 3


def test_adapters_change_the_vectors_and_can_be_put_back(tiny_language_model: Path) -> None:
    first = encoder(tiny_language_model, "lora")
    frozen = first.encode()
    for parameter in first.trainable():
        parameter.data += 0.3
    moved = first.encode()
    assert not torch.allclose(frozen, moved, atol=1e-3)
    second = encoder(tiny_language_model, "lora")
    assert torch.allclose(second.encode(), frozen, atol=1e-6)  # fresh adapters add nothing
    second.load(first.state())
    assert torch.allclose(second.encode(), moved, atol=1e-6)


def test_a_text_is_read_alike_whatever_stands_beside_it(tiny_language_model: Path) -> None:
    together = TextEncoder(tiny_language_model, TextConfig(micro_batch=6), texts=TEXTS).encode()
    alone = TextEncoder(tiny_language_model, TextConfig(micro_batch=1), texts=TEXTS).encode()
    assert torch.allclose(together, alone, atol=1e-5)


def test_whitened_vectors_have_unit_variance_and_no_correlation() -> None:
    raw = torch.randn(500, 12, generator=torch.Generator().manual_seed(0)) @ torch.randn(12, 12)
    white = fit_whitening(raw, 8)(raw)
    assert torch.allclose(torch.cov(white.T), torch.eye(8), atol=1e-2)


def test_equal_texts_leave_one_direction() -> None:
    assert fit_whitening(torch.ones(5, 4), 3)(torch.ones(5, 4)).isfinite().all()


def test_a_folder_without_a_model_is_a_stated_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="no text model"):
        TextEncoder(tmp_path, TextConfig(), texts=TEXTS)
