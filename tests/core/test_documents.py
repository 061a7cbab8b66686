"""What language modelling reads: training events alone, in order; what it asks: words, never marks or padding."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from core.learn.config import TextConfig
from core.learn.documents import BETWEEN_TITLES, UNASKED, corpus_of, questions, tokenised
from core.learn.sequences import Histories
from core.learn.splits import leave_last_out

TITLES = [f"title {n}" for n in range(20)]
TEXTS = [f"text of {n}" for n in range(20)]


def test_behaviour_is_the_training_events_in_order(
    tiny_multilingual: Path, two_tastes: Callable[[int], Histories]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_multilingual)
    histories = two_tastes(30)
    split = leave_last_out(histories, "next-new")
    config = TextConfig(max_tokens=40)
    corpus = corpus_of(TITLES, TEXTS, split.train, tokenizer, config, prefix="passage: ", seed=0)
    windows = [*corpus.learned["behaviour"], *corpus.held_out["behaviour"]]
    assert all(len(tokenizer(one)["input_ids"]) <= config.max_tokens for one in windows)
    met = sorted(title for one in windows for title in one.split(BETWEEN_TITLES))
    assert met == sorted(TITLES[item] for item in split.train.item)  # all of them once; none of what is asked for
    whole = [BETWEEN_TITLES.join(TITLES[item] for item in split.train.items_of(row)) for row in range(30)]
    assert all(any(one in told for told in whole) for one in windows)
    assert 0 < len(corpus.held_out["behaviour"]) < len(windows) / 4


def test_no_document_is_both_learned_and_held_out(tiny_multilingual: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_multilingual)
    n = 240  # every event is of another item, so that a title tells its user
    values = np.full(n, np.nan, np.float32)
    histories = Histories(np.arange(0, n + 1, 8), np.arange(n), np.arange(n), np.zeros(n, np.int64), values)
    titles = [f"of {item // 8}" for item in range(n)]
    corpus = corpus_of(titles, [*TEXTS, *TEXTS], histories, tokenizer, TextConfig(), prefix="passage: ", seed=0)
    learned, held = set(corpus.learned["catalogue"]), set(corpus.held_out["catalogue"])
    assert learned | held == {f"passage: {text}" for text in TEXTS} and not learned & held and held
    learners, judges = (
        {title for one in some for title in one.split(BETWEEN_TITLES)}
        for some in (corpus.learned["behaviour"], corpus.held_out["behaviour"])
    )
    assert learners | judges == set(titles) and not learners & judges and judges


def test_without_events_or_texts_there_is_nothing_of_them(tiny_multilingual: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_multilingual)
    empty = np.zeros(0, np.int64)
    train = Histories(np.zeros(3, np.int64), empty, empty, empty, np.zeros(0, np.float32))
    corpus = corpus_of(["a"], [""], train, tokenizer, TextConfig(), prefix="", seed=0)
    assert not any([*corpus.learned.values(), *corpus.held_out.values()])


def test_masks_fall_on_words_alone_in_the_published_shares(tiny_multilingual: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_multilingual)
    documents = tokenised(["abc de" * n for n in range(1, 9)] * 100, tokenizer, 60)
    asked = words = masked = kept = 0
    for tokens, target in questions(documents, tokenizer, causal=False, size=16, rng=np.random.default_rng(0)):
        shown, chosen = tokens["input_ids"], target != UNASKED
        assert not np.isin(target[chosen], tokenizer.all_special_ids).any()
        assert (tokens["attention_mask"][chosen] == 1).all()
        assert np.isin(target[chosen], tokenizer("abc de", add_special_tokens=False)["input_ids"]).all()
        asked += int(chosen.sum())
        masked += int((shown[chosen] == tokenizer.mask_token_id).sum())
        kept += int((shown[chosen] == target[chosen]).sum())
        words += int((tokens["attention_mask"].sum(1) - 2).sum())
    assert asked / words == pytest.approx(0.15, abs=0.01)
    assert masked / asked == pytest.approx(0.8, abs=0.03)
    assert kept / asked == pytest.approx(0.1, abs=0.03)


def test_a_decoder_is_asked_for_what_comes_next_and_never_for_padding(tiny_decoder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_decoder)
    tokenizer.padding_side = "right"
    documents = tokenised(["abc", "", "a", "abcde"], tokenizer, 60)
    ((tokens, target),) = questions(documents, tokenizer, causal=True, size=9, rng=np.random.default_rng(0))
    for ids, mask, asked in zip(tokens["input_ids"], tokens["attention_mask"], target, strict=True):
        n = int(mask.sum())
        assert asked[: n - 1].tolist() == ids[1:n].tolist()
        assert (asked[n - 1 :] == UNASKED).all()
    assert sorted(tokens["attention_mask"].sum(1)) == [1, 3, 5]
