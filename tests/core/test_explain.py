"""Explanations: what is said of a removal was really run, the smallest set is the smallest, sentences claim no more."""

from itertools import combinations

import numpy as np
import pytest

from core.trust import explain
from core.trust.explain import ATTRIBUTIONS, attributions, explain_history, leading, run_removals, smallest_removal
from core.trust.faithfulness import faithfulness
from core.trust.shapley import play, shapley_values
from core.trust.words import Claims, words


def slate_of(served, history, k=3):
    return served.log_probability(history)[0].topk(k).indices.tolist()


def rank_without(served, history, item, places, allowed):
    keep = np.ones(len(history.item), dtype=bool)
    keep[list(places)] = False
    log_p = served.log_probability(history.events(keep), allowed=allowed)[0]
    return 1 + int((log_p > log_p[item]).sum())


def test_fields_are_those_of_the_contract(make_served, make_history):
    served, history = make_served(), make_history(15)
    item = slate_of(served, history)[0]
    (told,) = explain_history(served, history, [item], k=5)
    (game,) = told["games"]
    assert game["game"] == "history" and len(game["players"]) == 12
    assert set(game["players"][0]) == {"key", "title", "ts", "phi"}
    assert game["players"][-1]["key"] == f"k{history.item[-1]}"
    assert game["players"][0]["ts"].endswith("+00:00")
    assert game["base"] + sum(p["phi"] for p in game["players"]) == pytest.approx(game["value"], abs=1e-9)
    assert told["rank"] == 1 and set(told["words"]) == {"en", "zh"}
    assert {"deletion", "recency", "leave_one_out", "random"} <= set(told["faithfulness"])


def test_times_that_stand_in_are_not_shown(make_served, make_history):
    served, history = make_served(), make_history(4)
    (told,) = explain_history(served, history, slate_of(served, history, 1), dated=False)
    assert [player["ts"] for player in told["games"][0]["players"]] == [None] * 4


def test_the_removal_is_the_smallest_that_really_works(make_served, make_history):
    served, history = make_served(seed=3), make_history(12)
    asked = slate_of(served, history, 4)
    allowed = served.candidates(history)
    found = 0
    for item, told in zip(asked, explain_history(served, history, asked, n_players=7, k=4), strict=True):
        sizes = [
            size
            for size in range(1, 8)
            if any(
                rank_without(served, history, item, places, allowed) > 4 for places in combinations(range(5, 12), size)
            )
        ]
        removals = told["counterfactual"]
        assert len(removals) == bool(sizes)
        if sizes:
            (removal,) = removals
            places = [5 + player for player in removal["players"]]
            assert len(places) == sizes[0] and removal["verified"]
            assert removal["rank_after"] == rank_without(served, history, item, places, allowed) > 4
            assert removal["remove"] == [f"k{history.item[place]}" for place in places]
            found += 1
    assert found


def test_a_planted_lie_is_not_verified(make_served, make_history, monkeypatch):
    served, history = make_served(), make_history(12)
    item = slate_of(served, history, 1)[0]
    game = play(served, history, [item], k=10)
    harmless = next(p for p in range(12) if game.stays[-1 - (1 << p), 0])
    monkeypatch.setattr(explain, "smallest_removal", lambda value, stays: [harmless])
    (told,) = explain_history(served, history, [item])
    assert [found["verified"] for found in told["counterfactual"]] == [False]


def test_a_wrong_enumeration_cannot_pass_its_own_check(make_served, make_history, monkeypatch):
    served, history = make_served(), make_history(12)
    item = slate_of(served, history, 1)[0]
    honest = explain.play

    def lying(*args, **options):
        game = honest(*args, **options)
        game.stays[: len(game.stays) - 1] = False  # claims that every removal takes the item off
        return game

    monkeypatch.setattr(explain, "play", lying)
    (told,) = explain_history(served, history, [item])
    (removal,) = told["counterfactual"]
    truth = rank_without(served, history, item, removal["players"], served.candidates(history))
    assert removal["rank_after"] == truth and removal["verified"] == (truth > 10)


def test_the_figures_of_the_sentence_are_those_of_the_edited_history(make_served, make_history):
    served, history = make_served(seed=1), make_history(14)
    item = slate_of(served, history, 1)[0]
    game = play(served, history, [item])
    leads = leading(game.phi[:, 0])
    (told,) = explain_history(served, history, [item])
    after = rank_without(served, history, item, game.players[leads], game.allowed)
    (run,) = run_removals(served, history, [(item, game.players[leads])], allowed=game.allowed)
    assert run.rank_after == after > 1
    assert f"from rank 1 to {after}." in told["words"]["en"]
    assert f"从第 1 位跌到第 {after} 位" in told["words"]["zh"]
    for place in game.players[leads]:
        assert f"Title {history.item[place]}" in told["words"]["en"]
        assert f"《Title {history.item[place]}》" in told["words"]["zh"]


def test_nothing_to_explain_with_no_items_or_no_history(make_served, make_history):
    served, nobody = make_served(), make_history(0)
    assert explain_history(served, nobody, []) == []
    (told,) = explain_history(served, nobody, [5])
    assert told["counterfactual"] == [] and told["games"][0]["players"] == []
    assert told["faithfulness"]["deletion"] is None
    assert "no history" in told["words"]["en"] and "还没有历史" in told["words"]["zh"]


def test_an_item_outside_the_slate_has_no_removal(make_served, make_history):
    served, history = make_served(), make_history(12)
    last = int(served.log_probability(history)[0].nan_to_num(neginf=9e9).argmin())
    (told,) = explain_history(served, history, [last], k=5)
    assert told["counterfactual"] == [] and "recommended" not in told["words"]["en"]


def test_smallest_removal_prefers_the_costlier_of_two():
    value = np.asarray([-9.0, -3.0, -2.0, -1.0])
    assert smallest_removal(value, np.asarray([False, False, False, True])) == [1]  # without the second it is -3
    assert smallest_removal(-value, np.asarray([False, False, False, True])) == [0]
    assert smallest_removal(value, np.asarray([True, True, True, True])) is None
    assert smallest_removal(value, np.asarray([False, False, False, False])) is None


def test_leads_hold_half_of_what_raises_and_never_lower():
    assert leading(np.asarray([0.1, 3.0, -5.0, 1.0])) == [1]
    assert leading(np.asarray([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])) == [0, 1, 2]
    assert leading(np.asarray([-1.0, 0.0])) == []


def test_faithfulness_of_an_additive_game_by_hand():
    gains = np.asarray([1.0, 4.0, 2.0])  # oldest first
    value = np.asarray([sum(gains[p] for p in range(3) if mask >> p & 1) for mask in range(8)])
    found = faithfulness(value, shapley_values(value[:, None])[:, 0])
    assert found["deletion"] == pytest.approx((4 + 6 + 7) / 3)
    assert found["leave_one_out"] == pytest.approx(found["deletion"])
    assert found["recency"] == pytest.approx((2 + 6 + 7) / 3)
    assert found["random"] == pytest.approx((7 / 3 + 14 / 3 + 7) / 3)
    assert found["insertion"]["deletion"] == pytest.approx(found["deletion"])
    assert found["comprehensiveness@3"] == dict.fromkeys(("deletion", "recency", "leave_one_out", "random"), 7.0)


def claims(**changed):
    told = {
        "item": "Fargo", "recommended": True, "rank": 1, "probability": 0.031, "leads": ["Pulp Fiction", "Heat"],
        "n_removed": 2, "mainly": True, "n_players": 12, "rank_without": 17, "probability_without": 0.004,
    }  # fmt: skip
    return Claims(**{**told, **changed})


@pytest.mark.parametrize(
    ("changed", "english", "chinese"),
    [
        (
            {},
            "Fargo is recommended mainly because of Pulp Fiction and Heat:"
            " without them it would fall from rank 1 to 17.",
            "推荐《Fargo》，主要因为《Pulp Fiction》和《Heat》：若没有这两次行为，它会从第 1 位跌到第 17 位。",
        ),
        (
            {"leads": ["Heat"], "n_removed": 1, "mainly": False, "rank_without": 1},
            "Fargo is recommended in part because of Heat:"
            " without it, it would keep rank 1, but its probability would fall from 3.1% to 0.4%.",
            "推荐《Fargo》，部分原因是《Heat》：若没有这次行为，它仍居第 1 位，但概率会从 3.1% 降到 0.4%。",
        ),
        (
            {"leads": [], "n_removed": 0, "rank_without": 2},
            "None of the last 12 events raises Fargo: without them it would stand at rank 2, now at 1.",
            "最近 12 次行为都没有推高《Fargo》：去掉之后，它会排在第 2 位，现在是第 1 位。",
        ),
        (
            {"probability_without": 0.05},
            "No few events carry Fargo by themselves; it stands at rank 1.",
            "没有哪几次行为能单独解释《Fargo》；它现在排在第 1 位。",
        ),
        (
            {"recommended": False, "rank": 40, "rank_without": 90, "leads": ["A", "B", "C"], "n_removed": 3},
            "Fargo stands at rank 40 mainly because of A, B and C: without them it would fall from rank 40 to 90.",
            "《Fargo》排在第 40 位，主要因为《A》、《B》和《C》：若没有这三次行为，它会从第 40 位跌到第 90 位。",
        ),
        (
            {"rank_without": 39, "leads": ["Fargo", "A"], "n_removed": 2},
            "Fargo is recommended mainly because of an earlier Fargo and A: without them it would fall from rank 1 to"
            " 39.",
            "推荐《Fargo》，主要因为此前的《Fargo》和《A》：若没有这两次行为，它会从第 1 位跌到第 39 位。",
        ),
    ],
)
def test_sentences(changed, english, chinese):
    said = words(claims(**changed))
    assert said["en"] == f"{english} This explains the model, not the person."
    assert said["zh"] == f"{chinese}以上解释的是模型，而不是这个人。"


def test_attributions_of_some_users(make_served, make_shelf):
    served = make_served()
    shelf = make_shelf([[3, 4, 5], [], [7, 8, 9, 10]])
    table = attributions(served, shelf, users=[0, 1, 2, 99], items=2)
    assert table.schema == ATTRIBUTIONS
    rows = table.to_pandas()
    assert rows.groupby("user_id").size().to_dict() == {0: 6, 2: 8}
    for _, one in rows.groupby(["user_id", "item_id"]):
        assert one["base"].iloc[0] + one["phi"].sum() == pytest.approx(one["value"].iloc[0], abs=1e-9)
        assert one["player"].tolist() == list(range(len(one)))
