"""Small served models made by hand, on random weights, for every test that asks one."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from core.learn.batches import Vocabulary
from core.learn.closed import ClosedForm
from core.learn.config import NetworkConfig
from core.learn.model import Recommender
from core.learn.sequences import Histories, Task, one_history
from core.ops.builds import record_build
from core.ops.ledger import Ledger
from core.predict.blend import Blend
from core.predict.served import Catalogue, ServedModel
from tests.core.made_runs import NOON
from tests.tiny_bert import write_tiny_bert

N_ITEMS = 40
CATEGORIES = ("Astronomy", "Baking", "Chess", "Jazz")


@pytest.fixture
def two_datasets(ledger_address: str, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger that knows a build of `films` and one of `retail`, on either database."""
    with Ledger.open(ledger_address, home=tmp_path) as ledger:
        for dataset in ("films", "retail"):
            path = tmp_path / f"{dataset}.duckdb"
            record_build(ledger, build_id=f"b-{dataset}", dataset=dataset, path=path, facts={}, now=NOON)
        yield ledger


@pytest.fixture(autouse=True, scope="session")
def operations_on_one_thread() -> Iterator[None]:
    """Models this small gain nothing from a second thread, and lose much to it on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def two_tastes() -> Callable[[int], Histories]:
    """Makes histories of so many users, each of eight items out of the first ten or out of the second ten."""

    def make(n_users: int) -> Histories:
        rng = np.random.default_rng(0)
        item = np.concatenate([rng.permutation(10)[:8] + 10 * (user % 2) for user in range(n_users)]).astype(np.int64)
        n = len(item)
        ts = np.tile(np.arange(8), n_users).astype(np.int64)
        return Histories(np.arange(0, n + 1, 8), item, ts, np.zeros(n, np.int64), np.full(n, np.nan, np.float32))

    return make


@pytest.fixture
def make_served() -> Callable[..., ServedModel]:
    """A served model with a network and closed forms; one item is unavailable, two are untrained."""

    def make(
        task: Task = "next-new", *, max_length: int = 20, seed: int = 0, typical_gap: int = 60, n_items: int = N_ITEMS
    ) -> ServedModel:
        rng = torch.Generator().manual_seed(seed)
        network = Recommender(
            NetworkConfig(dim=16, heads=2, blocks=2, max_length=max_length),
            text=torch.randn(n_items, 6, generator=rng),
            n_kinds=2,
        )
        for parameter in network.parameters():
            parameter.data = torch.randn(parameter.shape, generator=rng) * 0.3
        network.eval().requires_grad_(False)
        closed = {
            "ease": ClosedForm("ease", task, (0.9,), torch.randn(n_items, n_items, generator=rng), 0.5),
            "ridge": ClosedForm("ridge", task, (0.6, 0.95), torch.randn(2 * n_items, n_items, generator=rng), 2.0),
        }
        rows, columns = torch.randn(n_items, 3, generator=rng), torch.randn(3, n_items, generator=rng)
        closed["factors"] = ClosedForm("factors", task, (0.8,), rows, 2.0, columns)
        if task == "repurchase":
            closed["frequency"] = ClosedForm("frequency", task, (0.8,), None, 0.25)
        names = ("neural", *closed)
        available = torch.ones(n_items, dtype=torch.bool)
        trained = available.clone()
        available[n_items - 1], trained[:2] = False, False
        catalogue = Catalogue(
            keys=tuple(f"k{item}" for item in range(n_items)),
            titles=tuple(f"Title {item}" for item in range(n_items)),
            categories=tuple((CATEGORIES[item % len(CATEGORIES)],) for item in range(n_items)),
            available=available,
            trained=trained,
        )
        return ServedModel(
            run_id="r-1",
            build_id="b-1",
            task=task,
            network=network,
            vocabulary=Vocabulary(("rate", "view"), (2.5, 3.5), 0, 4.0, typical_gap),
            closed=closed,
            blend=Blend(
                names,
                tuple([0.3, 0.1, -0.2, 0.2, 0.4][: len(names)]),
                (2.0, 1.5, 1.0, 1.2, 0.5)[: len(names)],
                (1.2, 0.7, 0.5, 0.4, 0.3)[: len(names)],
                (0.9, 0.4, 0.8, 0.6, 0.2)[: len(names)],
                -0.4,
            ),
            catalogue=catalogue,
        )

    return make


@pytest.fixture
def make_history() -> Callable[..., Histories]:
    """One random history; with `baskets`, several events share a time."""

    def make(n: int, *, seed: int = 0, baskets: bool = False, repeats: bool = False, n_items: int = 39) -> Histories:
        rng = np.random.default_rng(seed)
        items = rng.integers(0, n_items, n) if repeats else rng.permutation(n_items)[:n]
        ts = np.sort(rng.integers(0, max(n // 3, 1), n)) * 86_400 if baskets else np.sort(rng.integers(0, 10**7, n))
        values = rng.choice([1.0, 3.0, 5.0, np.nan], n)
        return one_history(items.tolist(), ts.tolist(), rng.integers(0, 2, n).tolist(), values.tolist())

    return make


class Shelf:
    """What stands in for a warehouse where only histories are read: rows of (user_id, items, times)."""

    def __init__(self, histories: Histories, kinds: tuple[str, ...]) -> None:
        self._histories, self._kinds = histories, kinds
        self.facts = SimpleNamespace(n_users=len(histories))

    def run(self, sql: str, *, user_id: int | None = None) -> pa.Table:
        """Everyone's events by user and time, or one user's history."""
        if user_id is None:
            told = self._told(range(len(self._histories)))
            columns = {name: told[name].combine_chunks() for name in told.column_names}
            parents = np.repeat(columns["user_id"].to_numpy(), columns["item_id"].value_lengths().to_numpy())
            flat = {name: column.flatten() for name, column in columns.items() if name != "user_id"}
            return pa.table({"user_id": pa.array(parents, pa.int64()), **flat})
        return self._told([user_id] if user_id < len(self._histories) else [])

    def _told(self, users: Sequence[int]) -> pa.Table:
        some = [self._histories.take([user]) for user in users]
        return pa.table(
            {
                "user_id": pa.array(users, pa.int64()),
                "item_id": pa.array([h.item.tolist() for h in some], pa.list_(pa.int64())),
                "ts": pa.array([(h.ts * 1_000_000).tolist() for h in some], pa.list_(pa.timestamp("us", tz="UTC"))),
                "kind": pa.array([[self._kinds[k] for k in h.kind] for h in some], pa.list_(pa.string())),
                "value": pa.array(
                    [[None if np.isnan(v) else float(v) for v in h.value] for h in some], pa.list_(pa.float64())
                ),
            }
        )


@pytest.fixture
def make_shelf() -> Callable[..., Shelf]:
    """A shelf of one history a user, from lists of items."""

    def make(items: list[list[int]]) -> Shelf:
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in items])]).astype(np.int64)
        flat = np.asarray([item for row in items for item in row], dtype=np.int64)
        ts = np.concatenate([np.arange(len(row)) * 100 for row in items] or [[]]).astype(np.int64)
        n = len(flat)
        histories = Histories(offsets, flat, ts, np.zeros(n, np.int64), np.full(n, np.nan, np.float32))
        return Shelf(histories, ("rate", "view"))

    return make


@pytest.fixture(scope="session")
def tiny_language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real BERT of two layers and a tokenizer of letters, as a hub gives it."""
    folder = tmp_path_factory.mktemp("language-model")
    write_tiny_bert(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_multilingual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real XLM-R of two layers with a word for each letter, and a prefix that the folder itself names."""
    folder = tmp_path_factory.mktemp("multilingual")
    _letters(("<s>", "<pad>", "</s>", "<unk>", "<mask>"), ends=("<s>", "</s>")).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = XLMRobertaConfig(vocab_size=60, max_position_embeddings=128, pad_token_id=1, **shape)
    XLMRobertaForMaskedLM(config).save_pretrained(folder)
    prompts = {"prompts": {"passage": "passage: "}, "default_prompt_name": "passage"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return folder


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real Llama of two layers, whose tokenizer adds no marks, pads with its end mark, and pads on the left."""
    folder = tmp_path_factory.mktemp("decoder")
    _letters(("<s>", "</s>", "<unk>"), pad="</s>", padding_side="left").save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=60, intermediate_size=64, bos_token_id=0, eos_token_id=1, pad_token_id=1, **shape)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def _letters(
    marks: tuple[str, ...], *, ends: tuple[str, str] | None = None, pad: str = "<pad>", padding_side: str = "right"
) -> PreTrainedTokenizerFast:
    """A tokenizer with a token for each letter and the marks before them; `ends` are put around a text."""
    tokens = {token: n for n, token in enumerate([*marks, *" abcdefghijklmnopqrstuvwxyz0123456789.,-&'();:"])}
    made = Tokenizer(models.WordLevel(tokens, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    if ends is not None:
        pairs = [(mark, tokens[mark]) for mark in ends]
        made.post_processor = processors.TemplateProcessing(single=f"{ends[0]} $A {ends[1]}", special_tokens=pairs)
    given = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": pad}
    given |= {"mask_token": "<mask>"} if "<mask>" in marks else {}
    return PreTrainedTokenizerFast(tokenizer_object=made, padding_side=padding_side, **given)
