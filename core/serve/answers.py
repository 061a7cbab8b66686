"""Answers about one run, as JSON: what the command line prints and the scorer sends is made here, once.

A question is about a user of the build (by key) or about a history of item keys that may never have been seen.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from core.guide.lift import target_lift
from core.guide.plan import guide_path, next_step
from core.learn.sequences import Histories
from core.ops.builds import build_of
from core.ops.feedback import dismissed
from core.ops.ledger import Ledger
from core.ops.runs import RunRow, finished_run, run_folder
from core.ops.traffic import Arm, split_in_force
from core.predict.behaviour import Behaviour
from core.predict.recommend import ruled_slate, slate
from core.predict.rules import SlateRules
from core.predict.served import ServedModel
from core.predict.similar import similar_items
from core.trust.explain import explain_history
from data import reads
from data.errors import InputError
from data.warehouse import Warehouse

NO_RULES = SlateRules()


@dataclass(frozen=True)
class OpenRun:
    """A finished run with its build, ready to answer. `close` gives the build back."""

    ledger: Ledger
    row: RunRow
    folder: Path
    warehouse: Warehouse
    served: ServedModel

    @cached_property
    def behaviour(self) -> Behaviour:
        """The run's heads, read when first asked for. Raises NothingPredicted for a run older than they are."""
        return Behaviour.load(self.folder)

    def close(self) -> None:
        """Close the build."""
        self.warehouse.close()

    def __enter__(self) -> "OpenRun":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_run(ledger: Ledger, home: Path, run_id: str, *, dataset: str | None = None) -> OpenRun:
    """Load a run (or `champion`). Raises UnknownRun, RunUnfinished, DamagedArtefact, SchemaMismatch, UnknownBuild."""
    row = finished_run(ledger, home, run_id, dataset)
    folder = run_folder(home, row.run_id)
    warehouse = Warehouse.open(build_of(ledger, row.build_id).path)
    try:
        served = ServedModel.load(folder, warehouse)
    except BaseException:
        warehouse.close()
        raise
    return OpenRun(ledger, row, folder, warehouse, served)


def routed(
    ledger: Ledger, home: Path, run_id: str, *, dataset: str | None = None, user: str | None = None
) -> tuple[str, Arm | None]:
    """The run that answers a question, and the user's arm: a named run answers by itself (None), `champion` by the arm
    of the user it is about while a split is in force. Raises UnknownRun, RunUnfinished, UnknownDataset."""
    row = finished_run(ledger, home, run_id, dataset)
    if run_id != "champion":
        return row.run_id, None
    standing = None if user is None else split_in_force(ledger, row.dataset)
    arm = "champion" if standing is None or user is None else standing.arm_of(user)
    return (row.run_id if standing is None or arm == "champion" else standing.run_id), arm


def subject(run: OpenRun, *, user: str | None, history: Sequence[str] | None) -> Histories:
    """The history that a question is about. Raises UnknownUser, UnknownItem, and InputError unless one is given."""
    if (user is None) == (history is None):
        raise InputError("a question needs either a user or a history", remedy="give --user KEY or --history KEY,KEY")
    if history is not None:
        return run.served.history_from_keys(history)
    assert user is not None
    return run.served.history_of(run.warehouse, reads.user_by_key(run.warehouse, user))


def recommend(
    run: OpenRun,
    *,
    user: str | None = None,
    history: Sequence[str] | None = None,
    k: int = 10,
    explain: bool = False,
    rules: SlateRules = NO_RULES,
    again: bool = False,
) -> dict[str, Any]:
    """{user, run_id, items[{key, title, categories, rank, score, probability, source, explanation}]}, and with rules
    `receipt[{rule, change, key, title, before, after}]`, what they changed (`core.predict.rules.arranged`). What a user
    has waved away, by the feedback, is left out unless it may come `again`."""
    about = subject(run, user=user, history=history)
    if user is not None and not again:
        rules = rules.model_copy(update={"dismissed": (*rules.dismissed, *_waved(run, user))})
    more: dict[str, Any] = {}
    if rules.idle:
        items = slate(run.served, about, k=k)
    else:
        items, more["receipt"] = ruled_slate(run.served, about, k=k, rules=rules)
    explanations: list[Any] = [None] * len(items)
    if explain and items:
        ids = [run.served.catalogue.find(item["key"]) for item in items]
        explanations = explain_history(run.served, about, ids, k=max(k, 10), dated=history is None)
    told = [{**item, "explanation": why} for item, why in zip(items, explanations, strict=True)]
    return {"user": user, "run_id": run.row.run_id, "items": told, **more}


def _waved(run: OpenRun, user: str) -> list[str]:
    """The keys of what a user has waved away, of what the run knows."""
    waved = dismissed(run.ledger, run.row.dataset, user)
    return sorted(set(waved) & set(run.served.catalogue.keys)) if waved else []


def similar(run: OpenRun, *, item: str, k: int = 10) -> dict[str, Any]:
    """{item{key, title}, run_id, items[{key, title, rank, similarity, source}]}: what is like an item. Raises
    UnknownItem and InputError."""
    item_id = run.served.catalogue.find(item)
    return {"item": _named(run, item_id), "run_id": run.row.run_id, "items": similar_items(run.served, item_id, k=k)}


def explain(
    run: OpenRun, *, item: str, user: str | None = None, history: Sequence[str] | None = None
) -> dict[str, Any]:
    """{games, faithfulness, counterfactual, words} of one item, with user, run_id and the item's key and title."""
    about = subject(run, user=user, history=history)
    item_id = run.served.catalogue.find(item)
    (why,) = explain_history(run.served, about, [item_id], k=10, dated=history is None)
    return {"user": user, "run_id": run.row.run_id, "item": _named(run, item_id), **why}


def _named(run: OpenRun, item_id: int) -> dict[str, str]:
    return {"key": run.served.catalogue.keys[item_id], "title": run.served.catalogue.titles[item_id]}


def predict(
    run: OpenRun, *, user: str | None = None, history: Sequence[str] | None = None, k: int = 10, again: bool = False
) -> dict[str, Any]:
    """{user, run_id, kinds{kind: p}, like[{key, title, p}] of the k items recommended (`again` as there),
    return_days{median, low, high, seen_days, share_by_then}, notes{field: why it tells little or nothing}}.

    like is None and the return days are where the run cannot tell. Raises NothingPredicted and what `recommend` does.
    """
    about, told = subject(run, user=user, history=history), run.behaviour
    items = recommend(run, user=user, history=history, k=k, again=again)["items"]
    ids = np.asarray([run.served.catalogue.find(item["key"]) for item in items], dtype=np.int64)
    liked = told.like_probability(run.served, about, ids)
    back = told.return_days(run.served, about) if history is None else None
    notes = {}
    if liked is None:
        notes["like"] = "the data set's positive rule holds for all its events, or for too few, or fails for too few"
    if len(told.kinds) < 2:
        notes["kinds"] = "this data set has one kind of behaviour"
    if history is not None or not len(about.item):
        notes["return_days"] = "a history without times does not say when its user returns"
    elif back is None:
        notes["return_days"] = "too few users of this data set ever return"
    else:
        order = json.loads((run.folder / "evaluation.json").read_text())["behaviour"]["return"]["concordance"]
        if not order["low"] > 0.5:
            notes["return_days"] = "who returns sooner could not be told from chance on this run's test"
    return {
        "user": user,
        "run_id": run.row.run_id,
        "kinds": told.kind_probability(run.served, about),
        "like": None
        if liked is None
        else [{"key": i["key"], "title": i["title"], "p": p} for i, p in zip(items, liked.tolist(), strict=True)],
        "return_days": back or dict.fromkeys(("median", "low", "high")),
        "notes": notes,
    }


def guide(run: OpenRun, *, user: str, category: str, steps: int) -> dict[str, Any]:
    """{user, target, steps[{key, title, acceptance, mass, logp}], ...}: the planned path, without what the user has
    waved away. Raises UnknownCategory."""
    about, find = subject(run, user=user, history=None), run.served.catalogue.find
    path = guide_path(run.served, about, category=category, steps=steps, without=[find(k) for k in _waved(run, user)])
    return {"user": user, "run_id": run.row.run_id, **path}


def lift_toward(run: OpenRun, category: str) -> dict[str, Any] | None:
    """{"guide", "push", "random", ...: M} of a category: as the run's judges found it, or judged now for a category
    they did not look at; None for a run without judges. Raises UnknownCategory."""
    folder = run.folder / "judges"
    if not folder.is_dir():
        return None
    found = json.loads((folder / "lift.json").read_text())["targets"].get(category)
    if found is not None:
        return dict(found["lift"])
    return dict(target_lift(run.served, run.warehouse, folder, category=category))


def guide_next(
    run: OpenRun, *, user: str, category: str, accepted: Sequence[str], skipped: Sequence[str]
) -> dict[str, Any]:
    """The next step of a path, after what was accepted and skipped, and never what was waved away. Raises
    UnknownCategory, UnknownItem."""
    about = subject(run, user=user, history=None)
    find = run.served.catalogue.find
    away = [find(k) for k in (*skipped, *_waved(run, user))]
    step = next_step(run.served, about, category=category, accepted=[find(k) for k in accepted], skipped=away)
    return {"user": user, "run_id": run.row.run_id, **step}
