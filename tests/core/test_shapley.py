"""The history game: its values are Shapley's, and every coalition is what the served model says of that history."""

import numpy as np
import pytest

from core.learn.sequences import one_history
from core.trust.shapley import play, shapley_values
from data.errors import InputError

BASKETS = {"next-new": False, "next-any": False, "repurchase": True}


def edited(history, players):
    """One history a coalition, in the game's order, by really dropping events."""
    masks = np.arange(1 << len(players))
    keep = np.ones((len(masks), len(history.item)), dtype=bool)
    for bit, place in enumerate(players):
        keep[:, place] = (masks >> bit) & 1
    return history.take(np.zeros(len(masks), dtype=np.int64)).events(keep.ravel())


def test_values_of_two_players_by_hand():
    worth = np.asarray([[0.0], [1.0], [2.0], [4.0]])  # nobody, the first, the second, both
    assert shapley_values(worth)[:, 0].tolist() == pytest.approx([1.5, 2.5])


def test_values_of_the_glove_game_by_hand():
    # the first player holds a left glove, the others a right one each; only a pair is worth 1
    worth = np.asarray([[float(mask & 1 and mask & 6 > 0)] for mask in range(8)])
    assert shapley_values(worth)[:, 0].tolist() == pytest.approx([2 / 3, 1 / 6, 1 / 6])


@pytest.mark.parametrize("task", ["next-new", "next-any", "repurchase"])
@pytest.mark.parametrize(("n_events", "max_length"), [(30, 40), (30, 20), (24, 20), (6, 20), (9, 4), (1, 20)])
def test_every_coalition_is_what_is_served_for_the_edited_history(
    task, n_events, max_length, make_served, make_history
):
    served = make_served(task, max_length=max_length)
    history = make_history(n_events, baskets=BASKETS[task], repeats=task != "next-new")
    asked = served.log_probability(history)[0].topk(3).indices.tolist()
    game = play(served, history, asked, n_players=6, k=5)
    apart = served.log_probability(edited(history, game.players), allowed=game.allowed)
    assert np.abs(game.value - apart[:, asked].numpy()).max() < 1e-5
    above = np.stack([(apart > apart[:, [item]]).sum(1).numpy() for item in asked], axis=1)
    assert (game.stays == (above < 5)).all()


def test_a_basket_may_hold_old_events_and_players(make_served):
    served = make_served("repurchase")
    history = one_history([3, 4, 5, 6, 7, 4], [0, 9, 9, 9, 20, 20], [0] * 6, [1.0] * 6)
    game = play(served, history, [8, 9], n_players=4)  # the basket at 9 is cut in two
    apart = served.log_probability(edited(history, game.players), allowed=game.allowed)
    assert np.abs(game.value - apart[:, [8, 9]].numpy()).max() < 1e-5


@pytest.mark.parametrize("n_events", [0, 1, 5, 12, 30])
def test_base_and_values_add_up_to_the_served_log_probability(n_events, make_served, make_history):
    served, history = make_served(), make_history(n_events)
    log_p = served.log_probability(history)[0]
    asked = log_p.topk(4).indices.tolist()
    game = play(served, history, asked)
    assert len(game.players) == min(n_events, 12)
    assert np.abs(game.base + game.phi.sum(0) - game.whole).max() <= 1e-9
    assert np.abs(game.whole - log_p[asked].numpy()).max() <= 1e-4


def test_order_of_events_matters_to_the_game(make_served):
    served = make_served()
    first = one_history([5, 6, 7], [0, 10, 20], [0] * 3, [4.0] * 3)
    other = one_history([6, 5, 7], [0, 10, 20], [0] * 3, [4.0] * 3)
    a, b = play(served, first, [20]).phi[:, 0], play(served, other, [20]).phi[:, 0]
    assert abs(a[0] - b[1]) > 1e-3


def test_shap_finds_the_same_values_by_its_own_regression(make_served, make_history):
    shap = pytest.importorskip("shap")
    served, history = make_served(), make_history(15)
    asked = served.log_probability(history)[0].topk(2).indices.tolist()
    game = play(served, history, asked, n_players=5)

    def worth(masks):
        keep = np.ones((len(masks), len(history.item)), dtype=bool)
        keep[:, game.players] = masks > 0
        rows = history.take(np.zeros(len(masks), dtype=np.int64)).events(keep.ravel())
        return served.log_probability(rows, allowed=game.allowed)[:, asked].numpy()

    found = shap.KernelExplainer(worth, np.zeros((1, 5))).shap_values(
        np.ones((1, 5)), nsamples=64, l1_reg=False, silent=True
    )
    assert np.asarray(found).reshape(5, 2) == pytest.approx(game.phi, abs=1e-4)


def test_an_item_of_the_history_is_no_candidate(make_served, make_history):
    served, history = make_served(), make_history(8)
    with pytest.raises(InputError, match="cannot be recommended"):
        play(served, history, [int(history.item[0])])


def test_more_players_than_can_be_enumerated_is_an_error(make_served, make_history):
    with pytest.raises(InputError, match="13 players"):
        play(make_served(), make_history(20), [39 - 1], n_players=13)
