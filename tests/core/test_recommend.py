"""Everyone's slates: the served score's best candidates, whoever else is asked about, in parts or at once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from core.learn.closed import ClosedForm, decayed, squash
from core.learn.scoring import user_states
from core.learn.sequences import Histories
from core.predict import recommend
from core.predict.recommend import ruled_slate, slate, top_of_everyone, write_everyone
from core.predict.rules import rules_from
from core.predict.served import ServedModel
from core.predict.terms import terms_of
from data.errors import DamagedArtefact


def everyone(lengths: list[int], *, seed: int = 0, n_items: int = 39) -> Histories:
    """A random history for each length."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    n = int(offsets[-1])
    items = np.concatenate([rng.permutation(n_items)[:length] for length in lengths]).astype(np.int64)
    ts = np.concatenate([np.sort(rng.integers(0, 10**7, length)) for length in lengths])
    return Histories(offsets, items, ts, rng.integers(0, 2, n), rng.choice([1.0, 3.0, np.nan], n).astype(np.float32))


@pytest.mark.parametrize("task", ["next-new", "repurchase"])
def test_they_are_the_best_of_the_served_score_over_the_candidates(
    make_served: Callable[..., ServedModel], task: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    served = make_served(task)
    histories = everyone([0, 3, 12, 39, 1, 25, 7, 30, 2, 5, 0])
    monkeypatch.setattr(recommend, "BLENDED_CELLS", 80)  # blocks of two users
    monkeypatch.setattr(recommend, "USERS_OF_A_PART", 5)
    table = top_of_everyone(served, histories, k=8)
    rows = table.to_pandas().groupby("user_id")
    for user in range(len(histories)):
        one = histories.take([user])
        told = served.log_probability(one)[0]
        order = told.sort(descending=True, stable=True)
        left = int(torch.isfinite(told).sum())
        if not left:  # 39 of 40 items were seen, the last is not available
            assert user == 3
            assert user not in rows.groups
            continue
        mine = rows.get_group(user)
        assert mine["item_id"].tolist() == order.indices[: min(8, left)].tolist()
        np.testing.assert_allclose(mine["probability"], order.values[: min(8, left)].exp(), rtol=1e-4)
        assert mine["item_id"].tolist() == [int(i["key"][1:]) for i in slate(served, one, k=8)]
        assert mine["source"].tolist() == [i["source"] for i in slate(served, one, k=8)]
    write_everyone(served, histories, tmp_path / "scores.parquet", k=8)
    assert pq.read_table(tmp_path / "scores.parquet").equals(table)


def test_scores_that_single_precision_cannot_tell_apart_are_ranked_by_double(
    make_served: Callable[..., ServedModel],
) -> None:
    served = make_served()
    served = replace(served, blend=replace(served.blend, mean=(3e6, 0.1, -0.2, 0.2)))  # float32 steps of about .3
    histories = everyone([3, 5, 7, 2, 9])
    logits = served.logits(histories).masked_fill(~served.candidates(histories), -torch.inf)
    exact = logits.sort(dim=1, descending=True, stable=True).indices[:, :3]
    assert not torch.equal(exact, logits.float().sort(dim=1, descending=True, stable=True).indices[:, :3])
    told = top_of_everyone(served, histories, k=3)["item_id"].to_numpy()
    assert told.reshape(-1, 3).tolist() == exact.tolist()


def test_nobody_has_no_slate(make_served: Callable[..., ServedModel]) -> None:
    assert top_of_everyone(make_served(), everyone([3]).take([])).num_rows == 0


def test_scores_that_are_no_numbers_are_an_error(make_served: Callable[..., ServedModel]) -> None:
    served = make_served()
    broken = replace(served, blend=replace(served.blend, mean=(float("nan"), 0.1, -0.2, 0.2)))
    with pytest.raises(DamagedArtefact):
        top_of_everyone(broken, everyone([3]))
    with pytest.raises(DamagedArtefact):
        ruled_slate(broken, everyone([3]), k=3, rules=rules_from({"diversity": 0.5}))


def test_a_closed_form_is_the_sum_of_its_decayed_rows(make_served: Callable[..., ServedModel]) -> None:
    histories = everyone([0, 39, 3, 0, 12, 0])
    for form in make_served().closed.values():
        assert form.weights is not None
        x = np.hstack([decayed(histories, "next-new", d, n_items=40).toarray() for d in form.decays])
        whole = torch.from_numpy(x).double() @ form.weights.double()
        whole = whole if form.across is None else whole @ form.across.double()
        torch.testing.assert_close(
            form.scores(histories, n_items=40).double(), squash(whole / form.unit), atol=1e-5, rtol=1e-5
        )


def test_a_form_that_the_blend_left_aside_is_measured_and_never_asked(
    make_served: Callable[..., ServedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    served, histories = make_served(), everyone([3, 1, 5])
    whole = served.blend
    kept = [place for place, name in enumerate(whole.names) if name != "ease"]
    columns = ("names", "mean", "deviation", "weight", "cold_weight")
    lean = replace(whole, **{column: tuple(getattr(whole, column)[place] for place in kept) for column in columns})
    served = replace(served, blend=lean)
    parts = served.components(histories)
    assert set(parts) == {"neural", "ease", "ridge", "factors"}
    expected = lean.logits(parts, trained=served.catalogue.trained)
    asked: list[str] = []
    scores = ClosedForm.scores
    monkeypatch.setattr(
        ClosedForm, "scores", lambda form, *args, **named: asked.append(form.name) or scores(form, *args, **named)
    )
    assert torch.equal(served.logits(histories), expected)
    assert top_of_everyone(served, histories)["item_id"].to_pylist()
    assert set(asked) == {"ridge", "factors"}
    terms = terms_of(served)
    plain = [form.sums(histories).sum(0) for form in terms.forms]
    torch.testing.assert_close(terms.logits(parts["neural"], plain), expected, atol=1e-4, rtol=1e-4)


def test_a_state_is_that_of_the_whole_sequence_and_does_not_depend_on_who_is_read_beside(
    make_served: Callable[..., ServedModel],
) -> None:
    served = make_served()
    histories = everyone([0, 39, 3, 20, 12, 1])
    together = user_states(served.network, histories, served.vocabulary)
    alone = [user_states(served.network, histories.take([user]), served.vocabulary) for user in range(6)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)
