"""Judges never see whom they judge; trials keep the rules of a walk; the lift file has no number without data."""

import json

import numpy as np
import pytest
import torch

from core.guide import lift, trials
from core.guide.judges import JudgeConfig, Judges, half_of, train_judges
from core.guide.lift import choose_targets, judge_run, target_lift
from core.guide.trials import CURVES, POLICIES, Trial, run_trials
from core.learn.sequences import histories_from
from data import reads
from data.errors import DamagedArtefact, UnknownCategory

QUICK = JudgeConfig(dim=8, epochs=2)


@pytest.fixture
def people(make_shelf):
    """Sixty users with taste: whoever starts with a category stays in it."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(60):
        own = rng.permutation([item for item in range(39) if item % 4 == user % 4])[:7]
        rows.append(own.tolist())
    return make_shelf(rows)


def histories_of(shelf):
    return histories_from(reads.histories(shelf), ("rate", "view"))


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_halves_are_even_and_the_same_everywhere():
    users = np.arange(10_000)
    halves = half_of(users, seed=0)
    assert abs(halves.mean() - 0.5) < 0.02
    assert halves[:8].tolist() == half_of(np.arange(8), seed=0).tolist() == [1, 1, 0, 1, 0, 0, 0, 1]
    assert (halves != half_of(users, seed=1)).mean() == pytest.approx(0.5, abs=0.03)


def test_a_judge_never_learns_from_the_users_it_judges(people, make_shelf):
    train = histories_of(people)
    before = train_judges(train, task="next-new", n_items=40, seed=0, config=QUICK)
    judged_by_first = np.flatnonzero(before.judge_of(np.arange(60)) == 0)
    rows = [train.items_of(user).tolist() for user in range(60)]
    for user in judged_by_first:
        rows[user] = rows[user][::-1]
    after = train_judges(histories_of(make_shelf(rows)), task="next-new", n_items=40, seed=0, config=QUICK)
    assert same(before.judges[0], after.judges[0])
    assert not same(before.judges[1], after.judges[1])


def test_training_repeats_bit_for_bit_while_both_learn_at_once(people, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    one, other = (train_judges(histories_of(people), task="next-new", n_items=40, seed=3, config=QUICK) for _ in "ab")
    assert same(one.judges[0], other.judges[0]) and same(one.judges[1], other.judges[1])


def test_only_the_training_part_is_learned_from(make_served, people, make_shelf, tmp_path, monkeypatch):
    monkeypatch.setattr(lift, "JudgeConfig", lambda: QUICK)
    served = make_served()
    rows = [histories_of(people).items_of(user).tolist() for user in range(60)]
    for name, shelf in (("a", people), ("b", make_shelf([[*row[:-2], row[-1], row[-2]] for row in rows]))):
        (tmp_path / name).mkdir()
        judge_run(served, shelf, tmp_path / name, seed=0, n_users=2, n_targets=1, steps=1)
    assert (tmp_path / "a/judge-0.safetensors").read_bytes() == (tmp_path / "b/judge-0.safetensors").read_bytes()


def test_judges_come_back_as_they_were_saved(people, tmp_path):
    judges = train_judges(histories_of(people), task="next-new", n_items=40, seed=2, config=QUICK)
    judges.save(tmp_path, QUICK)
    again = Judges.load(tmp_path)
    assert again.seed == 2 and same(judges.judges[0], again.judges[0]) and same(judges.judges[1], again.judges[1])
    (tmp_path / "judge-1.safetensors").write_bytes(b"half a file")
    with pytest.raises(DamagedArtefact, match="judges"):
        Judges.load(tmp_path)


def test_one_step_more_is_the_longer_history(people):
    judge = train_judges(histories_of(people), task="next-new", n_items=40, seed=0, config=QUICK).judges[0]
    some = histories_of(people).take([0, 1, 2])
    shorter = some.until(some.lengths - 1)
    last = torch.from_numpy(some.item[some.offsets[1:] - 1])
    assert torch.allclose(judge.step(judge.read(shorter), last), judge.read(some), atol=1e-5)
    assert judge.read(some.until(np.zeros(3, dtype=np.int64))).shape == (3, 8)


def test_trials_keep_the_rules(make_served, people):
    served, histories = make_served(), histories_of(people)
    judges = train_judges(histories, task="next-new", n_items=40, seed=0, config=QUICK)
    found = run_trials(served, histories, judges, users=np.arange(9), targets=["Chess", "Jazz"], steps=3)
    assert set(found) == {(c, t, p) for c in CURVES for t in ("Chess", "Jazz") for p in POLICIES}
    starts = found["judge", "Chess", "guide"].mass[:, 0]
    for (_, target, policy), trial in found.items():
        assert trial.mass.shape == (9, 4) and trial.accepted.shape == (9, 3)
        assert ((trial.mass > 0) & (trial.mass < 1)).all()
        moved = np.abs(np.diff(trial.mass, axis=1)) > 1e-6
        assert not (moved & ~trial.accepted).any()  # what is refused changes nothing
        if target == "Chess":
            assert np.allclose(trial.mass[:, 0], starts)
        if policy != "push":
            assert not np.isnan(trial.log_p).any()
    assert np.array_equal(found["constant", "Chess", "passive"].accepted, found["constant", "Jazz", "passive"].accepted)


def test_a_curve_that_accepts_everything_and_one_that_refuses(make_served, people, monkeypatch):
    served, histories = make_served(), histories_of(people)
    judges = train_judges(histories, task="next-new", n_items=40, seed=0, config=QUICK)
    for chance in (0.0, 1.0):
        monkeypatch.setattr(trials, "CONSTANT", chance)
        found = run_trials(
            served, histories, judges, users=np.arange(6), targets=["Chess"], steps=3, curves=["constant"]
        )
        for policy in ("guide", "random", "passive"):
            trial = found["constant", "Chess", policy]
            assert trial.accepted.mean() == chance
            assert chance or np.allclose(trial.mass, trial.mass[:, :1])


def test_the_lift_file_has_every_figure_and_no_nan(make_served, people, tmp_path, monkeypatch):
    monkeypatch.setattr(lift, "JudgeConfig", lambda: QUICK)
    heard = []
    told = judge_run(
        make_served(), people, tmp_path, seed=0, n_users=8, n_targets=2, steps=2,
        progress=lambda share, words: heard.append(share),
    )  # fmt: skip
    json.dumps(told, allow_nan=False)
    assert heard and max(heard) <= 1.0
    assert len(told["targets"]) == 2 and told["users"] == 8 and told["main_curve"] in told["acceptance_curves"]
    assert [judge["learned_from"] for judge in told["judges"]] == np.bincount(half_of(np.arange(60), seed=0)).tolist()
    for found in told["targets"].values():
        assert {"guide", "push", "random"} <= set(found["lift"])
        assert set(found["lift"]["guide"]) == {"estimate", "low", "high", "n"}
        assert set(found["by_curve"]) == set(CURVES)
        shown = found["curves"]["shown"]
        assert {row["step"] for row in shown} == {0, 1, 2} and {row["policy"] for row in shown} == set(POLICIES)
        last = next(row for row in shown if row["policy"] == "guide" and row["step"] == 2)
        assert last["estimate"] == pytest.approx(found["lift"]["guide"]["estimate"])
    found = target_lift(make_served(), people, tmp_path, category="Baking", n_users=6, steps=2)
    assert found["guide"]["n"] == 6
    with pytest.raises(UnknownCategory):
        target_lift(make_served(), people, tmp_path, category="Sailing")


def test_lift_by_accepted_step_by_hand():
    trial = Trial(
        mass=np.asarray([[0.1, 0.1, 0.3, 0.4], [0.2, 0.2, 0.2, 0.2]]),
        accepted=np.asarray([[False, True, True], [False, False, False]]),
        log_p=np.log(np.asarray([[0.5, 0.25, 0.5], [np.nan, np.nan, np.nan]])),
    )
    assert lift._after_accepted(trial, 1) == pytest.approx([0.2, np.nan], nan_ok=True)
    assert lift._after_accepted(trial, 2) == pytest.approx([0.3, np.nan], nan_ok=True)
    assert lift._per_accepted(trial) == pytest.approx([0.15, np.nan], nan_ok=True)
    assert lift._surprise(trial) == pytest.approx([np.log(16) / 3, np.nan], nan_ok=True)


def test_targets_are_chosen_by_share_alone(make_served, make_shelf):
    served = make_served()  # item i belongs to category i mod 4
    rows = [[0] * 10, [1], [2] * 2, [3] * 60]  # shares of about .14, .01, .03 and .82
    assert choose_targets(served, histories_of(make_shelf(rows)), n=5) == ["Astronomy", "Chess"]
    assert choose_targets(served, histories_of(make_shelf(rows)), n=1) == ["Astronomy"]
    only = histories_of(make_shelf([[3] * 60]))
    assert len(choose_targets(served, only, n=2)) == 2
