"""What a behaviour head may know when it is asked, the hazard's arithmetic, and a planted truth found again."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.learn.behaviour import (
    TEST,
    TRAIN,
    VALID,
    Moments,
    fit_norms,
    item_features,
    liked_events,
    moments_before,
    n_user_features,
    parts_of,
    returns_between,
    tallies_before,
    tally,
    user_features,
)
from core.learn.heads import N_SHAPES, Bins, Head, Sample, fit_bins, fit_head, in_stretches, like_loss, states_at
from core.learn.sequences import Histories, one_history
from core.learn.splits import cut_in_time, leave_last_out
from core.predict.behaviour import (
    Behaviour,
    expected_days,
    survival_at,
    survival_curve,
    time_at,
)
from core.predict.behaviour_figures import behaviour_figures
from core.predict.behaviour_fit import fit_behaviour, log_of
from core.predict.reliability import calibration_error, chance_error
from core.predict.served import ServedModel
from data.errors import DamagedArtefact, NothingPredicted
from data.spec import PositiveRule

DAY = 86_400
RULE = PositiveRule(min_value=4.0)


def several(rows: list[list[tuple[int, int, int, float]]]) -> Histories:
    """Histories of (item, ts, kind, value)."""
    flat = [event for row in rows for event in row]
    item, ts, kind, value = (np.asarray(column) for column in zip(*flat, strict=True))
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Histories(offsets, item.astype(np.int64), ts.astype(np.int64), kind.astype(np.int64), value.astype("f4"))


def world(n_users: int = 300, *, n_items: int = 40, seed: int = 0, returning: float = 1.0) -> Histories:
    """Users with 14 or so events in sittings some days apart; even items are liked far more than odd ones, and eager
    users come back after half the time. `returning`: the chance that there is another sitting."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        now = int(rng.integers(0, 60 * DAY))
        row = []
        for item in rng.permutation(n_items - 1)[:14]:
            if rng.random() < 0.35 and row:
                if rng.random() > returning:
                    break
                now += int(rng.exponential(2 + 6 * (user % 2)) * DAY) + 3601
            else:
                now += int(rng.integers(10, 600))
            p = (0.8 if item % 2 == 0 else 0.25) + 0.1 * (user % 3 - 1)
            row.append((int(item), now, int(rng.random() < 0.3), 5.0 if rng.random() < p else 2.0))
        rows.append(row)
    return several(rows)


@pytest.fixture(scope="module")
def histories() -> Histories:
    return world()


def test_liked_is_the_spec_s_rule() -> None:
    one = several([[(0, 0, 0, 4.0), (1, 1, 1, 5.0), (2, 2, 0, 3.0), (3, 3, 0, math.nan)]])
    assert liked_events(one, min_value=4.0, kinds=None).tolist() == [True, True, False, False]
    assert liked_events(one, min_value=4.0, kinds=[0]).tolist() == [True, False, False, False]
    assert liked_events(one, min_value=None, kinds=None).all()


def test_every_event_lies_on_one_side_of_the_split(histories: Histories) -> None:
    split = leave_last_out(histories, "next-new", tested=2)
    part = parts_of(histories, split)
    for user in range(len(histories)):
        mine = part[histories.offsets[user] : histories.offsets[user + 1]].tolist()
        expected = [TRAIN] * (len(mine) - 3) + [VALID, TEST, TEST] if len(mine) >= 4 else [TRAIN] * len(mine)
        assert mine == expected
    split = cut_in_time(histories, "next-new")
    assert split.cuts is not None
    part = parts_of(histories, split)
    assert (histories.ts[part == TRAIN] < split.cuts[0]).all()
    assert ((histories.ts[part == VALID] >= split.cuts[0]) & (histories.ts[part == VALID] < split.cuts[1])).all()
    assert (histories.ts[part == TEST] >= split.cuts[1]).all()
    assert (part == TRAIN).sum() == len(split.train.item)


def test_a_basket_is_asked_about_before_its_first_event() -> None:
    one = several([[(0, 0, 0, 1.0), (1, 5, 0, 1.0), (2, 5, 0, 1.0), (3, 9, 0, 1.0)]])
    rows = np.arange(4)
    assert moments_before(one, rows, "repurchase").place.tolist() == [0, 1, 1, 3]
    assert moments_before(one, rows, "next-new").place.tolist() == [0, 1, 2, 3]


def test_training_sees_an_item_as_it_stood_before() -> None:
    """Item 7: liked at 10 and 20 (twice, at once), not liked at 30. Nobody sees their own event or one as late."""
    log = several([[(7, 10, 0, 5.0), (8, 15, 0, 5.0)], [(7, 20, 0, 5.0)], [(7, 20, 0, 4.0)], [(7, 30, 0, 1.0)]])
    liked = liked_events(log, min_value=4.0, kinds=None)
    before = tallies_before(log, liked, np.arange(5))
    assert before.n.tolist() == [0, 0, 1, 1, 3]
    assert before.liked.tolist() == [0, 0, 1, 1, 3]
    assert before.value.tolist() == [0, 0, 5, 5, 14]
    after = tally(log, liked, np.ones(5, dtype=bool), n_items=9)
    assert (after.n[7], after.liked[7], after.value[7]) == (4, 3, 15)
    changed = replace(log, value=np.array([5.0, 5.0, 5.0, 4.0, 5.0], dtype="f4"))
    again = tallies_before(changed, liked_events(changed, min_value=4.0, kinds=None), np.arange(5))
    assert again.liked.tolist() == before.liked.tolist()  # an event's own value is nowhere in what it is asked with


def test_the_features_of_a_moment_by_hand() -> None:
    ts = [0, 600, 600 + 2 * DAY, 1200 + 2 * DAY]
    log = several([[(n, at, n % 2, value) for n, (at, value) in enumerate(zip(ts, [5.0, 1.0, 5.0, 5.0], strict=True))]])
    liked = liked_events(log, min_value=4.0, kinds=None)
    norms = fit_norms(log, liked, np.ones(4, dtype=bool), n_kinds=2)
    x = user_features(log, liked, Moments(np.zeros(5, np.int64), np.arange(5)), norms)
    assert x.shape == (5, n_user_features(2))
    assert (x[0] == 0).all()
    prior = norms.liked
    assert x[2, 1] == pytest.approx(math.log((1 + 5 * prior) / (7 - 1 - 5 * prior)), rel=1e-5)
    assert x[3, 5] == pytest.approx(math.log1p(2 + 600 / DAY), rel=1e-5)  # days since the first event
    assert x[3, 6] == pytest.approx(math.log1p(2 * DAY), rel=1e-5)  # the last gap
    assert x[:, 7] == pytest.approx(np.log1p([0, 1, 1, 2, 2]), rel=1e-5)  # sessions
    assert x[:, 8] == pytest.approx(np.log1p([0, 1, 2, 1, 2]), rel=1e-5)  # events of the present one
    assert x[4, 10] == pytest.approx(math.log(2), rel=1e-5)  # the session before it was two days ago


def test_session_ends_and_where_they_are_lost_from_sight() -> None:
    log = several(
        [
            [(0, 0, 0, 1.0), (1, 1800, 0, 1.0), (2, 2 * DAY, 0, 1.0)],  # ends at 1800, back at 2 d; ends at 2 d
            [(3, DAY, 0, 1.0), (4, DAY + 3600, 0, 1.0)],  # one session: an hour apart is not beyond the hour
        ]
    )
    seen = returns_between(log, 0, 10 * DAY)
    assert list(zip(seen.moments.owner.tolist(), seen.moments.place.tolist(), strict=True)) == [(0, 2), (0, 3), (1, 2)]
    assert seen.came.tolist() == [True, False, False]
    assert seen.days == pytest.approx([2 - 1800 / DAY, 8, 9 - 3600 / DAY])
    early = returns_between(log, 0, DAY + 3600)  # what comes later is not known yet
    assert early.came.tolist() == [False]
    assert early.days == pytest.approx([1 + 1800 / DAY])


def test_what_comes_later_changes_nothing_that_is_known_now(
    histories: Histories, make_served: Callable[..., ServedModel]
) -> None:
    """The future of every history is rewritten: other items, kinds, values, times. Features and states stay."""
    served = make_served(max_length=8)
    rng = np.random.default_rng(5)
    place = (rng.random(len(histories)) * (histories.lengths + 1)).astype(np.int64)
    moments = Moments(np.arange(len(histories)), place)
    later = np.arange(len(histories.item)) - histories.offsets[histories.owner] >= place[histories.owner]
    n = len(histories.item)
    other = replace(
        histories,
        item=np.where(later, rng.integers(0, 39, n), histories.item),
        kind=np.where(later, 1 - histories.kind, histories.kind),
        value=np.where(later, 1.0, histories.value).astype("f4"),
        ts=np.where(later, histories.ts + 90 * DAY, histories.ts),
    )
    liked = [liked_events(one, min_value=4.0, kinds=None) for one in (histories, other)]
    norms = fit_norms(histories, liked[0], np.ones(n, dtype=bool), n_kinds=2)
    one, two = (user_features(h, y, moments, norms) for h, y in zip((histories, other), liked, strict=True))
    np.testing.assert_array_equal(one, two)
    for stride in (1, 4):
        a, b = (states_at(served.network, h, moments, served.vocabulary, stride=stride) for h in (histories, other))
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_a_state_is_the_served_one(histories: Histories, make_served: Callable[..., ServedModel]) -> None:
    served = make_served(max_length=20)
    moments = Moments(np.array([3, 0, 7, 3]), np.array([5, 0, 14, 2]))
    moments = Moments(moments.owner, np.minimum(moments.place, histories.lengths[moments.owner]))
    states = states_at(served.network, histories, moments, served.vocabulary, stride=10)
    vectors, bias = served.network.items()
    for row, (owner, place) in enumerate(zip(moments.owner, moments.place, strict=True)):
        history = histories.take([owner]).until(np.array([place]))
        torch.testing.assert_close((states[row] @ vectors.T + bias)[None], served.components(history)["neural"])


def test_a_network_that_reads_little_has_a_state_late_in_a_long_history(
    make_served: Callable[..., ServedModel],
) -> None:
    served = make_served(max_length=20)
    n = 150
    flat = np.arange(n) % 30
    long = Histories(np.array([0, n]), flat, np.arange(n) * 60, np.zeros(n, np.int64), np.full(n, np.nan, np.float32))
    places = np.array([30, 75, 149])
    moments = Moments(np.zeros(3, np.int64), places)
    states = states_at(served.network, long, moments, served.vocabulary, stride=100)
    near = states_at(served.network, long, moments, served.vocabulary, stride=10)
    torch.testing.assert_close(states, near)


def test_stretches_are_read_whole_and_bounded() -> None:
    moments = Moments(np.repeat(np.arange(50), 300), np.tile(np.arange(300), 50))
    rows = in_stretches(moments, length=200, most=1000, most_read=2000, seed=0)
    assert len(rows) == 1000 == len(set(rows.tolist()))
    assert len(set(moments.owner[rows].tolist())) < 15


def test_the_hazard_s_likelihood_by_hand() -> None:
    bins = Bins((1.0, 2.0, 4.0), (math.log(0.5), math.log(0.25)))
    days = np.array([1.5, 3.0, 3.0, 9.0])
    exposure = bins.exposure(days)
    assert exposure.tolist() == [[0.5, 0], [1, 1], [1, 1], [1, 2]]
    event = torch.tensor([0, 1, -1, -1])
    losses = bins.loss(torch.zeros(4, N_SHAPES), exposure, event)
    expected = [0.25 - math.log(0.5), 0.75 - math.log(0.25), 0.75, 1.0]
    assert losses.tolist() == pytest.approx(expected)
    doubled = bins.loss(torch.tensor([[math.log(2)] + [0.0] * (N_SHAPES - 1)]), exposure[:1], event[:1])
    assert doubled.tolist() == pytest.approx([0.5 - math.log(1.0)])
    assert bins.place(np.array([1.5, 2.0, 2.1, 4.0, 4.1])).tolist() == [0, 0, 1, 1, 2]


def test_times_from_a_curve_by_hand() -> None:
    bins = Bins((1.0, 2.0, 4.0), (math.log(math.log(2)), math.log(math.log(2) / 4)))
    curve = survival_curve(bins, bins.log_hazard(torch.zeros(1, N_SHAPES)))
    half = math.sqrt(0.5)
    assert curve[0] == pytest.approx([1, 0.5, 0.5 * half])
    assert time_at(bins, curve[0], 0.5) == pytest.approx(2)
    assert time_at(bins, curve[0], 0.4) == pytest.approx(2 + 2 * math.log(0.5 / 0.4) / math.log(1 / half))
    assert time_at(bins, curve[0], 0.1) is None
    assert survival_at(bins, np.repeat(curve, 4, axis=0), np.array([0.5, 1.5, 3.0, 9.0])) == pytest.approx(
        [1, half, 0.5 * math.sqrt(half), 0.5 * half]
    )
    assert expected_days(bins, curve)[0] == pytest.approx(0.75 + (0.5 + 0.5 * half))


def test_bins_find_a_constant_hazard_under_censoring() -> None:
    rng = np.random.default_rng(0)
    days, lost = 0.05 + rng.exponential(5, 20_000), 0.05 + rng.exponential(5, 20_000)
    bins = fit_bins(np.minimum(days, lost), days < lost, first=0.05, most=6)
    early = np.asarray(bins.log_rate)[2:5]  # the bins with most returns
    assert np.exp(early) == pytest.approx(np.full(3, 0.2), rel=0.1)


def test_a_head_finds_a_planted_logit_and_reads_no_further_than_it_should() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 3, generator=rng) * torch.tensor([1.0, 10.0, 1.0])
    logit = 0.5 + 2 * x[:, 0] - 0.1 * x[:, 1]
    liked = (torch.rand(4000, generator=rng) < logit.sigmoid()).float()
    head = Head(2, 1, hidden=0)
    fit_head(head, Sample(x[:3000], (liked[:3000],)), Sample(x[3000:], (liked[3000:],)), like_loss, seed=0)
    found = head(x).squeeze(1)
    assert np.polyfit(logit.numpy(), found.numpy(), 1) == pytest.approx([1.0, 0.0], abs=0.12)
    assert torch.equal(head(x), head(torch.cat([x[:, :2], 9 * x[:, 2:]], dim=1)))
    before = head(x)
    head.calibrate(0.5, torch.tensor([0.25]))
    torch.testing.assert_close(head(x), 0.5 * before + 0.25)


def test_a_planted_truth_is_found_and_its_probabilities_hold(make_served: Callable[..., ServedModel]) -> None:
    histories = world(1500, seed=3)
    served = make_served()
    log = log_of(histories, leave_last_out(histories, "next-new"), RULE, served.vocabulary.kinds)
    made, linear = fit_behaviour(served, log, RULE, seed=0, say=lambda _: None)
    figures = behaviour_figures(made, linear, served, log, seed=0)
    like, kind, back = figures["like"], figures["kind"], figures["return"]
    assert like is not None and kind is not None and back is not None
    # what is planted: P(like) = (.8 or .25) + (-.1, 0, .1); half of it seen gives this much of a ROC
    assert like["auc"]["low"] > 0.7
    assert like["log_loss"]["high"] < like["base_rate_log_loss"]
    assert like["ece"]["estimate"] < 1.5 * like["ece"]["by_chance"]["high"]
    # kinds are thrown: nothing beats the base rate, and what is said is the base rate
    assert kind["log_loss"]["estimate"] == pytest.approx(kind["base_rate_log_loss"], abs=0.01)
    # half the users wait four times as long as the others
    assert back["concordance"]["low"] > 0.52
    assert back["interval80"] == pytest.approx(0.8, abs=0.08)
    assert back["came"] < back["n"]
    assert {"linear"} == set(like["against"]) == set(back["against"])
    # against the planted probability itself, not outcomes alone
    part = parts_of(histories, log.split)
    rows = np.flatnonzero(part == TEST)
    even = histories.item[rows] % 2 == 0
    true = np.where(even, 0.8, 0.25) + 0.1 * (histories.owner[rows] % 3 - 1)
    said = np.array(
        [
            made.like_probability(served, histories.before(np.array([row])), histories.item[[row]])[0]
            for row in rows[:300]
        ]
    )
    assert np.abs(said - true[:300]).mean() < 0.12
    assert abs(said.mean() - true[:300].mean()) < 0.05
    drawn = np.random.default_rng(0).random(300) < true[:300]
    assert calibration_error(said, drawn) < 2 * chance_error(said, seed=0)["high"]


def test_what_is_saved_answers_the_same(
    histories: Histories, make_served: Callable[..., ServedModel], tmp_path: Path
) -> None:
    served = make_served()
    log = log_of(histories, cut_in_time(histories, "next-new"), RULE, served.vocabulary.kinds)
    made, _ = fit_behaviour(served, log, RULE, seed=0, say=lambda _: None)
    made.save(tmp_path)
    again = Behaviour.load(tmp_path)
    one = histories.take([4])
    items = np.array([0, 1, 39])
    np.testing.assert_array_equal(made.like_probability(served, one, items), again.like_probability(served, one, items))
    assert made.kind_probability(served, one) == again.kind_probability(served, one)
    assert sum(again.kind_probability(served, one).values()) == pytest.approx(1)
    back = again.return_days(served, one)
    assert back == made.return_days(served, one)
    assert back is not None and back["low"] is not None and back["low"] < (back["median"] or math.inf)
    empty = one_history([], [], [], [])
    assert again.return_days(served, empty) is None
    assert again.like_probability(served, empty, items) is not None
    (tmp_path / "behaviour.safetensors").write_bytes(b"nothing")
    with pytest.raises(DamagedArtefact):
        Behaviour.load(tmp_path)
    with pytest.raises(NothingPredicted, match="lodestar train"):
        Behaviour.load(tmp_path / "older")


def test_what_cannot_be_told_is_not(make_served: Callable[..., ServedModel]) -> None:
    """One kind, all liked, nobody ever back: no head, and words that say so."""
    served = make_served()
    served = replace(served, vocabulary=replace(served.vocabulary, kinds=("rate",)))
    histories = world(120, returning=0.0)
    histories = replace(histories, kind=np.zeros_like(histories.kind))
    said: list[str] = []
    log = log_of(histories, leave_last_out(histories, "next-new"), PositiveRule(), ("rate",))
    made, linear = fit_behaviour(served, log, PositiveRule(), seed=0, say=said.append)
    assert made.like is made.kind is made.back is None
    assert [line.split(":")[0] for line in said] == ["no like head", "no head for the next kind", "no return times"]
    one = histories.take([0])
    assert made.like_probability(served, one, np.array([1])) is None
    assert made.kind_probability(served, one) == {"rate": 1.0}
    assert made.return_days(served, one) is None
    assert behaviour_figures(made, linear, served, log, seed=0) == {"like": None, "kind": None, "return": None}


def test_without_a_held_out_event_heads_still_answer(make_served: Callable[..., ServedModel]) -> None:
    """Users of two events: all is learned from, nothing validates, and figures say that they rest on nothing."""
    served = make_served()
    histories = world(400).until(np.full(400, 2))
    log = log_of(histories, leave_last_out(histories, "next-new"), RULE, served.vocabulary.kinds)
    made, linear = fit_behaviour(served, log, RULE, seed=0, say=lambda _: None)
    p = made.like_probability(served, histories.take([0]), np.array([2, 3]))
    assert p is not None and np.isfinite(p).all()
    assert behaviour_figures(made, linear, served, log, seed=0)["like"] is None


def test_item_features_draw_the_rare_to_the_common() -> None:
    log = several([[(0, 0, 0, 5.0)], [(1, 0, 0, 1.0)]])
    liked = liked_events(log, min_value=4.0, kinds=None)
    norms = fit_norms(log, liked, np.ones(2, dtype=bool), n_kinds=1)
    x = item_features(tally(log, liked, np.ones(2, dtype=bool), n_items=3), norms)
    assert x[2, 0] == pytest.approx(0.0)  # nothing known: the common rate, one half here
    assert x[0, 0] == pytest.approx(math.log(6 / 5), rel=1e-5)
    assert x[0, 1] == pytest.approx(
        1 / 11, rel=1e-5
    )  # (5 + 10 * 3) / 11 is 2 / 11 above the mean of 3; the deviation is 2
    assert x[:, 2] == pytest.approx([math.log(2), math.log(2), 0])
