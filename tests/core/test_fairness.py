"""Group fairness: by hand, with a planted bias, with none, and with groups that must not be seen."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from core.trust.fairness import audit
from core.trust.groups import suppressed_groups


def world(groups, ndcg, **columns):
    n = len(groups)
    users = pd.DataFrame({"user_id": range(n), "key": [f"u{i}" for i in range(n)], "gender": groups, **columns})
    return pd.DataFrame({"user_id": range(n), "ndcg@10": ndcg, "hr@10": (np.asarray(ndcg) > 0).astype(float)}), users


def row(frame, **wanted):
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_groups_and_the_signed_gap_by_hand():
    per_user, users = world(["F"] * 10 + ["M"] * 10, [0.0] * 5 + [0.2] * 5 + [0.5] * 10)
    found = audit(per_user, users, attributes=["gender"], seed=0)
    women = row(found.group_metrics, metric="ndcg@10", group="F")
    assert women["n"] == 10 and women["estimate"] == pytest.approx(0.1) and not women["suppressed"]
    assert women["low"] < 0.1 < women["high"]
    gap = row(found.gaps, metric="ndcg@10")
    assert (gap["a"], gap["b"]) == ("F", "M") and gap["gap"] == pytest.approx(-0.4) and gap["high"] < 0
    # the error of a mean of ten values that are 0 or .2 half of the time is .1 / sqrt(10), the other group has none
    assert gap["detectable"] == pytest.approx(2.8016 * 0.1 / math.sqrt(10), rel=0.1)
    assert row(found.group_metrics, metric="hr@10", group="F")["estimate"] == pytest.approx(0.5)


def test_a_group_without_tested_users_is_nan_and_has_no_gap():
    per_user, users = world(["F"] * 10 + ["M"] * 10 + ["X"] * 3, [0.1] * 23)
    found = audit(per_user[per_user["user_id"] < 20], users, attributes=["gender"], seed=0)
    absent = row(found.group_metrics, metric="ndcg@10", group="X")
    assert absent["n"] == 0 and math.isnan(absent["estimate"]) and not absent["suppressed"]
    assert set(found.gaps["a"]) | set(found.gaps["b"]) == {"F", "M"}


def test_no_tested_user_at_all_gives_no_number_and_no_warning():
    per_user, users = world(["F", "M"], [0.1, 0.1])
    found = audit(per_user.head(0), users, attributes=["gender"], seed=0)
    assert found.group_metrics["estimate"].isna().all() and len(found.gaps) == 0


def test_a_missing_value_is_unknown_and_enters_no_gap():
    per_user, users = world(["F"] * 12 + ["M"] * 12 + [None] * 12, [0.1] * 36)
    found = audit(per_user, users, attributes=["gender"], seed=0)
    assert row(found.group_metrics, metric="ndcg@10", group="unknown")["n"] == 12
    assert "unknown" not in {*found.gaps["a"], *found.gaps["b"]}


def test_small_groups_are_hidden_with_as_many_more_as_keep_them_hidden():
    assert suppressed_groups({"a": 50, "b": 20, "c": 4}, k=10) == {"b", "c"}  # c alone would follow from the total
    assert suppressed_groups({"a": 50, "b": 20, "c": 4, "d": 7}, k=10) == {"c", "d"}
    assert suppressed_groups({"a": 50, "b": 20, "c": 1, "d": 2}, k=10) == {"b", "c", "d"}  # 3 users are too few
    assert suppressed_groups({"a": 50, "b": 20, "c": 0}, k=10) == set()
    assert suppressed_groups({"a": 3}, k=10) == {"a"}


def test_a_hidden_group_leaves_no_figure_behind():
    per_user, users = world(["F"] * 30 + ["M"] * 20 + ["X"] * 4, list(np.linspace(0, 1, 54)))
    found = audit(per_user, users, attributes=["gender"], seed=0)
    told = json.loads(json.dumps(found.as_json(), allow_nan=False))
    for group in ("M", "X"):
        hidden = [one for one in told["groups"] if one["group"] == group]
        assert all(
            one["suppressed"] and one["n"] is one["estimate"] is one["low"] is one["high"] is None for one in hidden
        )
    assert told["gaps"] == []


def test_a_planted_bias_is_found():
    rng = np.random.default_rng(0)
    groups = np.where(rng.random(600) < 0.3, "F", "M")
    per_user, users = world(groups, np.where(groups == "F", 0.05, 0.25) * rng.random(600))
    gap = row(audit(per_user, users, attributes=["gender"], seed=1).gaps, metric="ndcg@10")
    assert gap["low"] < -0.1 < gap["high"] or gap["high"] < 0
    assert gap["gap"] == pytest.approx(-0.1, abs=0.02) and gap["high"] < 0 and gap["p_holm"] < 1e-6


def test_without_bias_the_interval_covers_zero_about_as_often_as_claimed():
    covered = []
    for trial in range(60):
        rng = np.random.default_rng([5, trial])
        groups = np.where(rng.random(200) < 0.35, "F", "M")
        per_user, users = world(groups, rng.random(200) * (rng.random(200) < 0.4))
        gap = row(audit(per_user, users, attributes=["gender"], seed=trial, resamples=300).gaps, metric="ndcg@10")
        covered.append(gap["low"] <= 0 <= gap["high"])
    assert np.mean(covered) >= 0.85


def test_a_gap_that_is_all_activity_vanishes_when_activity_is_held():
    rng = np.random.default_rng(2)
    activity = np.repeat([5, 100, 250], 300)
    busy = activity >= 200
    groups = np.where(rng.random(900) < np.where(busy, 0.8, 0.2), "F", "M")
    per_user, users = world(groups, np.where(busy, 0.1, 0.5) + rng.normal(0, 0.01, 900))
    found = audit(per_user, users, attributes=["gender"], seed=0, activity=pd.Series(activity))
    gap = row(found.gaps, metric="ndcg@10", attribute="gender")
    assert gap["high"] < -0.1 and abs(gap["adjusted"]) < 0.01 and gap["adjusted_low"] < 0 < gap["adjusted_high"]
    assert set(found.group_metrics.query("attribute == 'activity'")["group"]) == {"low", "middle", "high"}


def test_many_groups_are_compared_with_the_largest():
    groups = [f"g{i}" for i in range(6) for _ in range(12 + i)]
    per_user, users = world(groups, [0.1] * len(groups))
    gaps = audit(per_user, users, attributes=["gender"], seed=0).gaps.query("metric == 'ndcg@10'")
    assert len(gaps) == 5 and set(gaps["b"]) == {"g5"}


def test_groups_of_an_attribute_share_the_draw_so_that_runs_repeat():
    per_user, users = world(["F"] * 20 + ["M"] * 20, list(np.linspace(0, 1, 40)))
    first = audit(per_user, users, attributes=["gender"], seed=3).as_json()
    assert first == audit(per_user, users, attributes=["gender"], seed=3).as_json()


def test_small_groups_without_a_gap_have_no_significant_one():
    """Family-wise: at most a few of 40 worlds in which all groups are alike, small ones included."""
    sizes = [196, 67, 45, 26, 18, 14, 12, 12]
    group = np.repeat([f"g{place}" for place in range(len(sizes))], sizes)
    found, narrow = 0, 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        hit = rng.random(len(group)) < 0.24
        per_user = pd.DataFrame({"user_id": np.arange(len(group)), "ndcg@10": hit / np.log2(1 + rng.integers(1, 11))})
        per_user["hr@10"] = hit.astype(float)
        people = pd.DataFrame({"user_id": np.arange(len(group)), "job": group})
        told = audit(per_user, people, attributes=["job"], seed=seed, resamples=200)
        found += bool((told.gaps["p_holm"] < 0.05).any())
        shown = told.group_metrics[told.group_metrics["metric"] == "hr@10"]
        narrow += int((shown["high"] - shown["low"] < 1e-9).sum())
    assert found <= 5 and narrow == 0
