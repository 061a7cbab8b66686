"""The language model: gradients through the cache are the true ones, adapters can be put back, whitening is white."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from core.learn.config import TextConfig
from core.learn.reading import Reading
from core.learn.text import TextEncoder
from core.learn.whitening import fit_whitening
from data.errors import WeightsMissing

TEXTS = ["a film of war", "the jazz age", "chess", "war and chess, a long documentary film", "jazz at night", "bread"]


ANY = ["tiny_language_model", "tiny_multilingual", "tiny_decoder"]


@pytest.fixture
def checkpoint(request: pytest.FixtureRequest) -> Path:
    """The folder of the fixture that a test is parametrised with."""
    return request.getfixturevalue(request.param)


def encoder(folder: Path, tune: str) -> TextEncoder:
    made = TextEncoder(folder, TextConfig(tune=tune, micro_batch=2, rank=4), texts=TEXTS)
    made.adapt(seed=1)
    return made


@pytest.mark.parametrize("checkpoint", ["tiny_language_model", "tiny_decoder"], indirect=True)
@pytest.mark.parametrize("tune", ["lora", "full"])
def test_cached_gradients_equal_those_of_one_graph(checkpoint: Path, tune: str) -> None:
    cached = encoder(checkpoint, tune)
    weight = torch.randn(len(TEXTS), 32, generator=torch.Generator().manual_seed(2))
    raw = cached.encode().requires_grad_(True)
    ((raw * weight).sin().sum()).backward()
    assert raw.grad is not None
    cached.backward(raw.grad)

    direct = encoder(checkpoint, tune)
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


@pytest.mark.parametrize("checkpoint", ANY, indirect=True)
@pytest.mark.parametrize("pooling", ["auto", "mean", "cls", "last"])
def test_a_text_is_read_alike_whatever_stands_beside_it(checkpoint: Path, pooling: str) -> None:
    texts = [*TEXTS, ""]
    together = TextEncoder(checkpoint, TextConfig(micro_batch=7, pooling=pooling), texts=texts).encode()
    alone = TextEncoder(checkpoint, TextConfig(micro_batch=1, pooling=pooling), texts=texts).encode()
    assert together.isfinite().all()
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_decoder_is_read_at_its_last_token_and_an_encoder_at_all(tiny_decoder: Path, tiny_multilingual: Path) -> None:
    two = ["jazz at night", "jazz at nigh-"]  # they differ in the last letter alone
    decoder = TextEncoder(tiny_decoder, TextConfig(), texts=two)
    assert decoder.reading == Reading("", "last")
    first, second = decoder.encode()
    assert not torch.allclose(first, second, atol=1e-3)
    hidden = [decoder.model(**tokens).last_hidden_state for _, tokens in decoder.batches]
    assert torch.allclose(hidden[0][0, -1], first, atol=1e-6)
    assert TextEncoder(tiny_multilingual, TextConfig(), texts=two).reading == Reading("passage: ", "mean")


def test_the_prefix_is_the_folders_own_unless_the_recipe_names_one(tiny_multilingual: Path) -> None:
    own = TextEncoder(tiny_multilingual, TextConfig(), texts=TEXTS).encode()
    said = TextEncoder(tiny_multilingual, TextConfig(prefix=""), texts=[f"passage: {text}" for text in TEXTS]).encode()
    other = TextEncoder(tiny_multilingual, TextConfig(prefix=""), texts=TEXTS).encode()
    assert torch.allclose(own, said, atol=1e-6)
    assert not torch.allclose(own, other, atol=1e-3)


@pytest.mark.parametrize(
    ("told", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode": "lasttoken"}, "last"),
    ],
)
def test_a_folder_names_its_pooling(tiny_language_model: Path, tmp_path: Path, told: object, pooling: str) -> None:
    shutil.copytree(tiny_language_model, tmp_path, dirs_exist_ok=True)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(told))
    assert TextEncoder(tmp_path, TextConfig(), texts=TEXTS).reading.pooling == pooling
    assert TextEncoder(tmp_path, TextConfig(pooling="mean"), texts=TEXTS).reading.pooling == "mean"
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(WeightsMissing, match="max_tokens"):
        TextEncoder(tmp_path, TextConfig(), texts=TEXTS)


@pytest.mark.parametrize("checkpoint", ANY, indirect=True)
def test_adapters_sit_on_every_linear_layer_of_any_architecture(checkpoint: Path) -> None:
    plain = TextEncoder(checkpoint, TextConfig(), texts=TEXTS)
    linear = {
        name for name, part in plain.model.named_modules() if isinstance(part, nn.Linear) and "pooler" not in name
    }
    assert len(linear) >= 12
    adapted = encoder(checkpoint, "lora")
    before = adapted.encode()
    found = {
        name.partition("base_model.model.")[2].partition(".lora_A")[0] for name in adapted.state() if "lora_A" in name
    }
    assert found == linear
    wanted = torch.randn(before.shape, generator=torch.Generator().manual_seed(3))
    optimizer = torch.optim.AdamW(adapted.trainable(), lr=1e-2)
    adapted.backward(-wanted)
    optimizer.step()
    assert float((adapted.encode() * wanted).sum()) > float((before * wanted).sum()) + 0.01


def test_whitened_vectors_have_unit_variance_and_no_correlation() -> None:
    raw = torch.randn(500, 12, generator=torch.Generator().manual_seed(0)) @ torch.randn(12, 12)
    white = fit_whitening(raw, 8)(raw)
    assert torch.allclose(torch.cov(white.T), torch.eye(8), atol=1e-2)


def test_equal_texts_leave_one_direction() -> None:
    assert fit_whitening(torch.ones(5, 4), 3)(torch.ones(5, 4)).isfinite().all()


def test_a_folder_without_a_model_is_a_stated_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="no text model"):
        TextEncoder(tmp_path, TextConfig(), texts=TEXTS)
