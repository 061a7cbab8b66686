"""The planner: its choice is the brute-force one, its figures are what would be served, the user's word counts."""

import numpy as np
import pytest
import torch

from core.guide.plan import FLOOR, LAMBDA, acceptance_of, guide_path, next_step
from core.guide.walks import Lens, Walks, appended
from data.errors import InputError, UnknownCategory

TASKS = ["next-new", "next-any", "repurchase"]


def mass_of(served, history, members, counted):
    return float(served.log_probability(history, allowed=counted)[0, members].exp().sum())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("n_events", [0, 5, 19, 20, 30])
@pytest.mark.parametrize("typical_gap", [0, 60])
def test_a_candidate_ahead_is_what_would_be_served(task, n_events, typical_gap, make_served, make_history):
    served = make_served(task, typical_gap=typical_gap)
    history = make_history(n_events, baskets=task == "repurchase")
    members, counted = served.catalogue.members("Chess"), served.candidates(history)
    items = served.log_probability(history).topk(6).indices
    found = Walks(Lens.on(served), history, room=1).masses_after(items, members[None])[0]
    real = [mass_of(served, appended(served, history, [item]), members, counted) for item in items[0].tolist()]
    assert found.tolist() == pytest.approx(real, abs=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_a_walk_takes_up_what_is_accepted_and_nothing_else(task, make_served, make_history):
    served, history = make_served(task), make_history(12)
    walks = Walks(Lens.on(served), history.take([0, 0]), room=3)
    path = [20, 33, 21]
    path = [item for item in path if item not in history.item]
    for item in path:
        walks.accept(torch.tensor([item, item]), torch.tensor([True, False]))
    found, far = walks.log_p(), served.log_probability(appended(served, history, path))[0]
    assert torch.equal(found[0].isfinite(), far.isfinite())
    assert (found[0] - far)[far.isfinite()].abs().max() < 1e-4
    same = served.log_probability(history)[0]
    assert (found[1] - same)[same.isfinite()].abs().max() < 1e-4


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", range(4))
def test_the_greedy_choice_is_the_brute_force_one(task, seed, make_served, make_history):
    served, history = make_served(task, seed=seed), make_history(10, seed=seed)
    members, counted = served.catalogue.members("Jazz"), served.candidates(history)
    log_p = served.log_probability(history)[0]
    acceptance = 0.9 * np.sqrt(np.exp(log_p.numpy() - float(log_p.max())))
    before = mass_of(served, history, members, counted)
    best, reached = None, -np.inf
    for item in log_p.topk(8).indices.tolist():
        if acceptance[item] < FLOOR:
            continue
        after = mass_of(served, appended(served, history, [item]), members, counted)
        worth = float(log_p[item]) + LAMBDA * (np.log(after) - np.log(before))
        if worth > reached:
            best, reached = item, worth
    step = next_step(served, history, category="Jazz", top=8)
    assert step["key"] == f"k{best}"
    assert step["acceptance"] == pytest.approx(acceptance[best], abs=1e-6)
    assert step["logp"] == pytest.approx(float(log_p[best]), abs=1e-6)
    assert step["mass_before"] == pytest.approx(before, abs=1e-6)
    assert step["mass"] == pytest.approx(mass_of(served, appended(served, history, [best]), members, counted), abs=1e-5)


def test_a_path_is_its_steps_one_after_the_other(make_served, make_history):
    served, history = make_served(), make_history(10)
    path = guide_path(served, history, category="Chess", steps=4)
    taken = []
    assert path["target"] == {"category": "Chess"} and path["mass"] == path["steps"][0]["mass_before"]
    for planned in path["steps"]:
        single = next_step(served, history, category="Chess", accepted=taken)
        assert single["key"] == planned["key"] and single["mass"] == pytest.approx(planned["mass"], abs=1e-6)
        taken.append(served.catalogue.find(planned["key"]))
    assert len(set(taken)) == 4
    assert path["reach"] == pytest.approx(np.prod([step["acceptance"] for step in path["steps"]]))


def test_what_is_skipped_is_not_shown_again_and_not_learned_from(make_served, make_history):
    served, history = make_served(), make_history(10)
    first = next_step(served, history, category="Chess")
    refused = served.catalogue.find(first["key"])
    second = next_step(served, history, category="Chess", skipped=[refused])
    assert second["key"] != first["key"]
    assert second["mass_before"] == first["mass_before"]


def test_leading_to_a_category_raises_it_more_than_following(make_served, make_history):
    served, history = make_served(), make_history(10)
    led = guide_path(served, history, category="Chess", steps=5)["steps"][-1]["mass"]
    followed = guide_path(served, history, category="Chess", steps=5, weight=0.0)["steps"][-1]["mass"]
    assert led > followed


def test_items_below_the_floor_are_never_shown():
    log_p = torch.tensor([[-1.0, -1.2, -9.0, -torch.inf]])
    found = acceptance_of(log_p)[0]
    assert found[0] == pytest.approx(0.9) and found[1] == pytest.approx(0.9 * np.exp(-0.1), abs=1e-6)
    assert found[2] < FLOOR and found[3] == 0


def test_a_path_ends_where_items_end(make_served, make_history):
    served, history = make_served(), make_history(36)  # three items are left, one of them unavailable at most
    left = int(served.candidates(history).sum())
    steps = guide_path(served, history, category="Chess", steps=9) if _some_chess(served, history) else None
    if steps is not None:
        assert len(steps["steps"]) == left


def _some_chess(served, history):
    return bool((served.candidates(history)[0] & served.catalogue.members("Chess")).any())


def test_nothing_left_to_show_is_an_error_with_a_remedy(make_served, make_history):
    served, history = make_served(), make_history(39)  # everything available has been had
    for ask in (next_step, guide_path):
        with pytest.raises(InputError) as caught:
            ask(served, history, category="Chess")
        assert caught.value.remedy


def test_an_unknown_category_names_the_nearest(make_served, make_history):
    with pytest.raises(UnknownCategory, match="'Chess'"):
        next_step(make_served(), make_history(5), category="Ches")
