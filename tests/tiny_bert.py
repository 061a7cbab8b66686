"""A real BERT so small that a training with it takes seconds."""

from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizer


def write_tiny_bert(folder: Path) -> None:
    """Two layers and a tokenizer of letters, in the form that a hub gives."""
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789.,-&'()")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    BertModel(config).save_pretrained(folder)
