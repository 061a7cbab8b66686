"""What language modelling reads and asks: the catalogue and behaviour as text, masked words, next words.

Documents are the items' texts, and for each user the titles of the events of the training part, in order, in windows of
`text.max_tokens`: what validation and test ask for is in none of them. Some of either source are held out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from core.learn.config import TextConfig
from core.learn.sequences import Histories

MOST = 20_000  # documents of either source
HELD_OUT = 0.1  # of the documents, of behaviour by user
MOST_HELD_OUT = 200
MASKED, SHOWN_MASK, SHOWN_OTHER = 0.15, 0.8, 0.1  # Devlin et al., "BERT", 2019; the rest is shown as it is
BETWEEN_TITLES = "; "
UNASKED = -100

Tokens = dict[str, npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Corpus:
    """Documents to learn from and to be judged on, by source."""

    learned: Mapping[str, Sequence[str]]
    held_out: Mapping[str, Sequence[str]]


def corpus_of(
    titles: Sequence[str],
    texts: Sequence[str],
    train: Histories,
    tokenizer: Any,
    config: TextConfig,
    *,
    prefix: str,
    seed: int,
) -> Corpus:
    """The items' texts behind the prefix, and windows of the titles that users of `train` met, in their order."""
    rng = np.random.default_rng([seed, 0])
    read = list(dict.fromkeys(prefix + text for text in texts if text))
    catalogue = [read[row] for row in rng.permutation(len(read))[:MOST]]
    held = min(int(HELD_OUT * len(catalogue)), MOST_HELD_OUT)
    lengths = [len(ids) + 1 for ids in tokenizer(list(titles), add_special_tokens=False)["input_ids"]]
    windows: list[list[str]] = []  # of one user each
    users, n_windows = rng.permutation(len(train)), 0
    for user in users:
        windows.append(list(_windows(train.items_of(user).tolist(), titles, lengths, room=config.max_tokens - 2)))
        n_windows += len(windows[-1])
        if n_windows >= MOST:
            break
    held_users, held_windows = 0, 0
    while held_windows < min(HELD_OUT * n_windows, MOST_HELD_OUT) and held_users < len(windows) - 1:
        held_windows += len(windows[held_users])
        held_users += 1
    return Corpus(
        learned={"catalogue": catalogue[held:], "behaviour": [one for some in windows[held_users:] for one in some]},
        held_out={"catalogue": catalogue[:held], "behaviour": [one for some in windows[:held_users] for one in some]},
    )


def _windows(items: list[int], titles: Sequence[str], lengths: Sequence[int], *, room: int) -> Iterator[str]:
    """The items' titles, joined, as many as have room in so many tokens."""
    some: list[str] = []
    left = room
    for item in items:
        if some and lengths[item] > left:
            yield BETWEEN_TITLES.join(some)
            some, left = [], room
        some.append(titles[item])
        left -= lengths[item]
    if some:
        yield BETWEEN_TITLES.join(some)


def tokenised(documents: Sequence[str], tokenizer: Any, most: int) -> list[Tokens]:
    """Each document's ids and marks, (L,) with L <= `most`; documents without a token are left out."""
    if not documents:
        return []
    tokens = tokenizer(list(documents), truncation=True, max_length=most, return_special_tokens_mask=True)
    rows = (row for row, ids in enumerate(tokens["input_ids"]) if ids)
    return [{name: np.asarray(tokens[name][row], dtype=np.int64) for name in tokens} for row in rows]


def questions(
    documents: Sequence[Tokens], tokenizer: Any, *, causal: bool, size: int, rng: np.random.Generator
) -> Iterator[tuple[Tokens, npt.NDArray[np.int64]]]:
    """Batches of `size` documents of like length, right-padded: what the model reads, (B, L) each, and what it is asked
    (B, L), UNASKED where nothing: the word behind a mask, or the word that comes next."""
    ordered = sorted(documents, key=lambda one: len(one["input_ids"]))
    for begin in range(0, len(ordered), size):
        some = ordered[begin : begin + size]
        names = [name for name in some[0] if name != "special_tokens_mask"]
        padded = tokenizer.pad({name: [one[name].tolist() for one in some] for name in names})
        tokens = {name: np.asarray(padded[name], dtype=np.int64) for name in names}
        ids, words = tokens["input_ids"], tokens["attention_mask"] > 0
        target = np.full_like(ids, UNASKED)
        if causal:
            follows = words[:, 1:]
            target[:, :-1][follows] = ids[:, 1:][follows]
        else:
            for row, one in enumerate(some):
                words[row, : len(one["special_tokens_mask"])] &= one["special_tokens_mask"] == 0
            chosen = words & (rng.random(ids.shape) < MASKED)
            target[chosen] = ids[chosen]
            tokens["input_ids"] = _shown(ids, chosen, tokenizer, rng)
        yield tokens, target


def _shown(
    ids: npt.NDArray[np.int64], chosen: npt.NDArray[np.bool_], tokenizer: Any, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """`ids` with most of the chosen behind a mask, and some of them another word."""
    how, other = rng.random(ids.shape), rng.integers(0, len(tokenizer), ids.shape)
    shown = np.where(chosen & (how < SHOWN_MASK), tokenizer.mask_token_id, ids)
    return np.where(chosen & (how >= SHOWN_MASK) & (how < SHOWN_MASK + SHOWN_OTHER), other, shown)
