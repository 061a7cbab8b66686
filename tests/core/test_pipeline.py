"""The whole line on a small generated world: build, trained run, slates, explanations, audit, and what damage does."""

import copy
import csv
import dataclasses
import json
import shutil
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fastapi.testclient import TestClient
from safetensors.torch import load_file, save_file

from core import pipeline
from core.learn.config import TextConfig, load_config
from core.learn.content import Content
from core.learn.pretrain import pretrain
from core.learn.scoring import neural_scores
from core.learn.sequences import Histories, histories_from
from core.learn.splits import leave_last_out, split_histories
from core.learn.whitening import Whitening
from core.ops import feedback, registry
from core.ops.builds import record_build
from core.ops.claims import claim
from core.ops.events import read_events
from core.ops.feedback import Feedback
from core.ops.jobs import submit
from core.ops.ledger import Ledger
from core.ops.processes import Process
from core.ops.registry import count_test_reads
from core.ops.runs import finished_run, new_run, run_folder
from core.ops.worker import JobContext, Stopped
from core.predict import carried
from core.predict.effects import KNOWN, LANGUAGE_EFFECTS, component_names
from core.predict.fit import UPDATE_EPOCHS
from core.predict.intervals import paired_gap
from core.predict.measure import evaluate_split
from core.predict.onward import Language, Texts, as_it_stands, onward, read_onward
from core.predict.rules import rules_from
from core.predict.served import Catalogue, ServedModel
from core.serve import answers
from core.serve.client import SCORER_FILE, ScorerClient
from core.serve.scorer import Shelf, make_app, status_of
from core.trust.gate import gather
from data import reads, synthetic
from data.errors import (
    DamagedArtefact,
    DiskFull,
    InputError,
    InvalidConfig,
    LodestarError,
    NothingPredicted,
    RunUnfinished,
    SchemaMismatch,
    UnknownCategory,
    UnknownItem,
    UnknownUser,
)
from data.extend import extend
from data.ingest import ingest
from data.presets import preset_text
from data.publish import verify_manifest
from data.spec import load_spec
from data.warehouse import Warehouse

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SETTINGS = {
    "epochs": 10,
    "batch_tokens": 1024,
    "network.dim": 16,
    "network.max_length": 40,
    "text.dim": 16,
    "text.rank": 4,
    "text.steps": 2,
    "lr": 0.01,
}
NEW_ITEM = "brand-new"


@dataclass(frozen=True)
class Made:
    ledger: Ledger
    home: Path
    run_id: str
    folder: Path
    evaluation: dict[str, Any]
    build: Path


def order(ledger: Ledger, build_id: str, model: Path, **settings: Any) -> str:
    overrides = {**SETTINGS, "text.model": str(model), **settings}
    parent = overrides.pop("onward", None)
    config = load_config(overrides=list(overrides.items()))
    payload = {"build_id": build_id, "config": config.model_dump(), "onward": parent}
    return submit(ledger, kind="train", payload=payload, dataset="synthetic", now=NOW)


def context_of(ledger: Ledger, home: Path) -> JobContext:
    job = claim(ledger, supervisor=Process.current(), lease_s=600, now=NOW)
    assert job is not None
    return JobContext(ledger, home, job)


def stop_after(epochs: int, context: JobContext, home: Path) -> None:
    """Run the job until it has told of so many epochs, and stop it there."""
    emit, seen = context.emit, list[str]()

    def counted(type: str, **fields: Any) -> None:
        emit(type, **fields)
        seen.append(type)
        context._told_to_stop = seen.count("epoch") == epochs

    context.emit = counted  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        pipeline.train_run(context, cache=home / "cache", offline=True)
    context.emit, context._told_to_stop = emit, False  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_language_model: Path) -> Iterator[Made]:
    """A world of 150 users with one item more, of which there is a text and no event; one run on it."""
    home = tmp_path_factory.mktemp("home")
    files = tmp_path_factory.mktemp("files")
    synthetic.generate(files, seed=0, world=synthetic.World(n_users=150, n_items=80, n_events=3000))
    (files / "spec.toml").write_text(preset_text("synthetic"), encoding="utf-8")
    spec = load_spec(files / "spec.toml")
    assert spec.items is not None
    items = files / spec.items.files[0]
    delimiter = "\t" if items.suffix == ".tsv" else ","
    text = items.read_text(encoding="utf-8")
    rows = list(csv.reader(text.splitlines(), delimiter=delimiter))
    key = rows[0].index(str(spec.items.key))
    twin = list(rows[1])
    twin[key] = NEW_ITEM
    with items.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerow(twin)
    result = ingest(spec, base=files, home=home, now=NOW)
    with Ledger.open(home) as ledger:
        facts = {"n_events": result.accepted}
        record_build(ledger, build_id=result.build_id, dataset=result.dataset, path=result.path, facts=facts, now=NOW)
        order(ledger, result.build_id, tiny_language_model)
        context = context_of(ledger, home)
        evaluation = pipeline.train_run(context, cache=home / "cache", offline=True)
        run_id = str(evaluation["run_id"])
        yield Made(ledger, home, run_id, home / "runs" / run_id, evaluation, result.path)


def test_figures_are_those_of_the_test_split_recomputed(made: Made) -> None:
    with answers.open_run(made.ledger, made.home, made.run_id) as run:
        histories = histories_from(reads.histories(run.warehouse), run.served.vocabulary.kinds)
        split = leave_last_out(histories, run.served.task)
        again, users = evaluate_split(run.served, split, frozen=None, language=None, seed=made.evaluation["seed"])
    assert again["metrics"] == made.evaluation["metrics"]
    assert 0.2 < made.evaluation["peak_gb"] < 20, "of this process"
    stored = pq.read_table(made.folder / "users.parquet").to_pandas()
    np.testing.assert_array_equal(stored["ndcg@10"], users["ndcg@10"])
    assert made.evaluation["metrics"]["ndcg@10"]["estimate"] == pytest.approx(stored["ndcg@10"].mean())


def test_what_the_language_model_does_can_be_computed_anew_from_the_users_table(made: Made) -> None:
    users = pq.read_table(made.folder / "users.parquet").to_pandas()
    effects = made.evaluation["language_model"]
    assert set(effects) == set(LANGUAGE_EFFECTS)
    for effect, other in LANGUAGE_EFFECTS.items():
        for metric in ("hr@10", "ndcg@10"):
            gain = paired_gap(users[f"{KNOWN}:{metric}"], users[f"{other}:{metric}"], seed=made.evaluation["seed"])
            assert dict(gain) == pytest.approx(effects[effect][metric])
    assert set(component_names(users.columns)) == set(made.evaluation["components"])


def test_items_placed_by_their_texts_are_no_doing_of_the_tuning(made: Made) -> None:
    """With an untrained item on top of every list the network's own column falls; the two sides of the gain do not."""
    with answers.open_run(made.ledger, made.home, made.run_id) as run:
        histories = histories_from(reads.histories(run.warehouse), run.served.vocabulary.kinds)
        split = leave_last_out(histories, run.served.task)
        same = copy.deepcopy(run.served.network)
        run.served.network.id_bias[~run.served.catalogue.trained] += 100.0
        told, users = evaluate_split(run.served, split, frozen=same, language=None, seed=0)
    gain = told["language_model"]["lora_vs_frozen"]["ndcg@10"]
    assert dict(gain) == dict(paired_gap(users[f"{KNOWN}:ndcg@10"], users["frozen:ndcg@10"], seed=0))
    assert gain["estimate"] == 0.0
    assert users["neural:ndcg@10"].mean() < users[f"{KNOWN}:ndcg@10"].mean()


def test_it_beats_popularity_on_a_world_of_tastes(made: Made) -> None:
    gain = made.evaluation["against"]["popularity"]["ndcg@10"]
    assert gain["low"] > 0


def test_validation_and_test_events_were_not_learned_from(made: Made) -> None:
    """Closed forms fitted anew on the training part alone give the stored weights of all items that are in it."""
    from core.learn.closed import fit_closed_forms

    with answers.open_run(made.ledger, made.home, made.run_id) as run:
        histories = histories_from(reads.histories(run.warehouse), run.served.vocabulary.kinds)
        split = leave_last_out(histories, run.served.task)
        trained = torch.from_numpy(np.bincount(split.train.item, minlength=run.served.n_items) > 0)
        assert torch.equal(run.served.catalogue.trained, trained)
        kept = load_file(made.folder / "text.safetensors")
        content = Content.of(
            run.served.catalogue.categories, (kept["frozen"], Whitening(kept["mean"], kept["projection"]))
        )
        forms = fit_closed_forms(
            split, n_items=run.served.n_items, content=content, budget_gb=1, seed=0, log=lambda _: None
        )
    assert "content" in forms
    stored = load_file(made.folder / "closed.safetensors")
    for name, form in forms.items():
        assert form.weights is not None
        if form.across is None:
            torch.testing.assert_close(
                form.weights[:, trained], stored[f"{name}/weights"][:, trained], atol=1e-5, rtol=1e-4
            )
        else:
            product = form.weights @ form.across[:, trained]
            kept = stored[f"{name}/weights"] @ stored[f"{name}/across"][:, trained]
            torch.testing.assert_close(product, kept, atol=1e-5, rtol=1e-4)


def test_the_language_model_is_no_decoration(made: Made) -> None:
    effects = made.evaluation["language_model"]
    assert effects["text_vs_shuffled"]["top10_shared"]["high"] < 0.9
    assert effects["tuned_vs_zeroed"]["top10_shared"]["high"] < 1.0
    assert {"estimate", "low", "high", "n"} <= set(effects["lora_vs_frozen"]["ndcg@10"])
    assert load_file(made.folder / "language_model.safetensors")


def test_an_item_with_a_text_alone_reaches_someone(made: Made) -> None:
    with answers.open_run(made.ledger, made.home, made.run_id) as run:
        item = run.served.catalogue.find(NEW_ITEM)
        assert not run.served.catalogue.trained[item]
        scores = pq.read_table(made.folder / "scores.parquet").to_pandas()
        shown = scores[(scores["item_id"] == item) & (scores["rank"] <= 10)]
        assert len(shown) > 0
        assert set(shown["source"]) == {"cold"}


def test_the_network_ranks_an_unseen_twin_near_its_sibling(made: Made) -> None:
    with answers.open_run(made.ledger, made.home, made.run_id) as run:
        histories = histories_from(reads.histories(run.warehouse), run.served.vocabulary.kinds)
        scores = neural_scores(run.served.network, histories, run.served.vocabulary)
        twin, sibling = run.served.catalogue.find(NEW_ITEM), 0
        together = np.corrcoef(scores[:, twin], scores[:, sibling])[0, 1]
        others = [np.corrcoef(scores[:, twin], scores[:, item])[0, 1] for item in range(1, 80)]
    assert together > np.quantile(others, 0.8)


def test_slates_hold_nothing_seen_and_probabilities_of_one_softmax(made: Made) -> None:
    scores = pq.read_table(made.folder / "scores.parquet").to_pandas()
    with Warehouse.open(made.build) as warehouse:
        seen = {row["user_id"]: set(row["item_id"]) for row in reads.histories(warehouse).to_pylist()}
    for user, slate in scores.groupby("user_id"):
        assert not seen[user] & set(slate["item_id"])
        assert slate["rank"].tolist() == list(range(1, len(slate) + 1))
        assert slate["score"].is_monotonic_decreasing
        assert slate["probability"].sum() <= 1 + 1e-5
    ratio = scores.groupby("user_id").apply(lambda s: np.log(s["probability"]).sub(s["score"]).std())
    assert ratio.max() < 1e-3


def test_a_user_a_new_history_and_none(made: Made) -> None:
    with answers.open_run(made.ledger, made.home, made.run_id) as run:
        key = reads.user_table(run.warehouse)["key"].to_pylist()[0]
        told = answers.recommend(run, user=key, k=5, explain=True)
        assert [item["rank"] for item in told["items"]] == [1, 2, 3, 4, 5]
        game = told["items"][0]["explanation"]["games"][0]
        assert game["base"] + sum(p["phi"] for p in game["players"]) == pytest.approx(game["value"], abs=1e-9)
        assert game["value"] == pytest.approx(np.log(told["items"][0]["probability"]), abs=1e-4)
        keys = list(run.served.catalogue.keys[:3])
        fresh = answers.recommend(run, history=keys, k=5)
        assert not set(keys) & {item["key"] for item in fresh["items"]}
        empty = answers.recommend(run, history=[], k=5)
        assert {item["source"] for item in empty["items"]} <= {"fallback", "cold"}
        with pytest.raises(UnknownItem):
            answers.recommend(run, history=["nothing"], k=5)
        with pytest.raises(UnknownUser):
            answers.recommend(run, user="nobody", k=5)
        with pytest.raises(InputError):
            answers.recommend(run, k=5)
        with pytest.raises(InputError):
            answers.recommend(run, user=key, k=0)


@pytest.mark.parametrize("protocol", ["last-five", "time"])
def test_a_run_of_another_protocol_is_measured_by_it_user_by_user(
    made: Made, tiny_language_model: Path, protocol: str
) -> None:
    build_id = made.evaluation["build_id"]
    order(made.ledger, build_id, tiny_language_model, protocol=protocol, epochs=2, **{"text.tune": "none"})
    told = pipeline.train_run(context_of(made.ledger, made.home), cache=made.home / "cache", offline=True)
    with Warehouse.open(made.build) as warehouse:
        histories = histories_from(reads.histories(warehouse), ("view",))
        split = split_histories(histories, warehouse.facts.spec.task, protocol)  # type: ignore[arg-type]
    users = pq.read_table(made.home / "runs" / told["run_id"] / "users.parquet").to_pandas()
    assert told["protocol"] == protocol
    assert told["n_queries"] == len(split.test) == users["queries"].sum() > len(users)
    assert users["user_id"].tolist() == sorted(set(split.test.user.tolist()))
    assert told["metrics"]["mrr@5"]["n"] == len(users)
    assert told["metrics"]["mrr@5"]["estimate"] == pytest.approx(users["mrr@5"].mean())
    assert len(told["cuts"]) == (2 if protocol == "time" else 0)
    assert count_test_reads(made.ledger, "synthetic", protocol=protocol) == 1


def test_tuning_that_costs_too_much_stands_aside_and_says_so(made: Made, tiny_language_model: Path) -> None:
    build_id = made.evaluation["build_id"]
    order(made.ledger, build_id, tiny_language_model, epochs=1, **{"text.tune_gigaflops": 1e-6})
    told = pipeline.train_run(context_of(made.ledger, made.home), cache=made.home / "cache", offline=True)
    folder = made.home / "runs" / told["run_id"]
    assert set(told["epochs"]) == {"frozen"}
    assert "text_vs_shuffled" in told["language_model"] and "lora_vs_frozen" not in told["language_model"]
    assert not (folder / "language_model.safetensors").exists()
    events = read_events(folder / "events.jsonl")
    said = [event["message"] for event in events if event["type"] == "log"]
    assert any("text.tune=lora stands aside" in message for message in said)
    shares = [event["progress"] for event in events if event["type"] == "stage"]
    assert shares == sorted(shares)
    assert shares[-1] > 0.9, "what stood aside is no longer waited for"


def test_a_run_says_what_was_cleaned_and_how_users_were_drawn(made: Made, tiny_language_model: Path) -> None:
    build_id, rules = made.evaluation["build_id"], {"preprocess.min_user_events": 8, "text.tune": "none"}
    order(made.ledger, build_id, tiny_language_model, epochs=1, **rules, **{"preprocess.balance_by": "region"})
    told = pipeline.train_run(context_of(made.ledger, made.home), cache=made.home / "cache", offline=True)
    with Warehouse.open(made.build) as warehouse:
        train = split_histories(histories_from(reads.histories(warehouse), ("view",)), "next-new", "last").train
    few = train.lengths[train.lengths < 8].sum()
    assert few > 0
    assert told["preprocess"] == {
        "min_user_events": 8,
        "balance_by": "region",
        "events_taken": {"min_user_events": few},
    }
    assert told["n_queries"] == made.evaluation["n_queries"]
    order(made.ledger, build_id, tiny_language_model, epochs=1, **{"preprocess.balance_by": "shoe size"})
    with pytest.raises(InvalidConfig, match="no attribute 'shoe size'"):
        pipeline.train_run(context_of(made.ledger, made.home), cache=made.home / "cache", offline=True)


def test_behaviour_is_foretold_and_judged_beside_the_linear_model(made: Made) -> None:
    told = made.evaluation["behaviour"]
    assert told["like"]["n"] == made.evaluation["n_queries"]
    for name, metrics in {"like": ("auc", "log_loss"), "kind": ("log_loss",), "return": ("concordance",)}.items():
        for metric in metrics:
            for one in (told[name][metric], told[name]["linear"][metric], told[name]["against"]["linear"][metric]):
                assert {"estimate", "low", "high", "n"} == set(one)
    assert "behaviour" in made.evaluation["stages_s"]
    with answers.open_run(made.ledger, made.home, made.run_id) as run:
        key = reads.user_table(run.warehouse)["key"].to_pylist()[0]
        about = answers.predict(run, user=key, k=4)
        slate = answers.recommend(run, user=key, k=4)["items"]
        assert [(one["key"], one["title"]) for one in about["like"]] == [(i["key"], i["title"]) for i in slate]
        assert all(0 < one["p"] < 1 for one in about["like"])
        assert sum(about["kinds"].values()) == pytest.approx(1)
        assert set(about["kinds"]) == {"view", "click", "favourite"}
        assert 1 / 24 < about["return_days"]["low"] < (about["return_days"]["median"] or np.inf)
        undated = answers.predict(run, history=list(run.served.catalogue.keys[:3]))
        assert undated["return_days"] == {"median": None, "low": None, "high": None}
        assert "times" in undated["notes"]["return_days"]
        with pytest.raises(UnknownUser):
            answers.predict(run, user="nobody")


def test_a_run_from_before_there_were_heads_says_what_to_do(made: Made) -> None:
    with answers.open_run(made.ledger, made.home, made.run_id) as run:
        moved = made.folder / "behaviour.json"
        kept = moved.read_bytes()
        moved.unlink()
        try:
            with pytest.raises(NothingPredicted, match="train again"):
                answers.predict(run, history=[])
        finally:
            moved.write_bytes(kept)
        assert answers.predict(run, history=[])["like"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="sums on a GPU have no fixed order")
def test_stopped_then_resumed_is_the_same_run(made: Made, tiny_language_model: Path) -> None:
    """A second job with the same configuration, interrupted after three epochs and taken up again."""
    build_id = made.evaluation["build_id"]
    order(made.ledger, build_id, tiny_language_model)
    context = context_of(made.ledger, made.home)
    opened = {"dataset": "synthetic", "build_id": build_id, "job_id": context.job_id, "config": {}}
    run_folder(made.home, new_run(made.ledger, made.home, **opened, now=NOW)).rmdir()  # the kill was faster than mkdir
    stop_after(3, context, made.home)
    assert context.run_id is not None
    with pytest.raises(RunUnfinished):
        finished_run(made.ledger, made.home, context.run_id)
    again = pipeline.train_run(context, cache=made.home / "cache", offline=True)
    assert again["metrics"] == made.evaluation["metrics"]
    folder = made.home / "runs" / context.run_id
    (curves,) = (folder / "logs" / "tensorboard").iterdir()
    stages = again["epochs"].items()
    assert [curves.read_bytes().count(f"{stage}/loss".encode()) for stage, _ in stages] == [n for _, n in stages]
    assert not [name for name in verify_manifest(folder)["files"] if name.startswith("logs")]
    for name, value in load_file(made.folder / "model.safetensors").items():
        assert torch.equal(value, load_file(made.home / "runs" / context.run_id / "model.safetensors")[name]), name
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*") if path.name != "events.jsonl"}
    assert pipeline.train_run(context, cache=made.home / "cache", offline=True)["metrics"] == again["metrics"]
    after = {path: path.stat().st_mtime_ns for path in folder.glob("*") if path.name != "events.jsonl"}
    assert after == before, "a worker that was killed after it had published is replaced; what is read stays as it is"


@pytest.mark.skipif(torch.cuda.is_available(), reason="sums on a GPU have no fixed order")
def test_pretraining_is_a_stage_of_the_run_and_is_resumed_like_the_others(
    made: Made, tiny_multilingual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Histories] = []

    def noted(checkpoint: Path, corpus_from: tuple[Any, Any, Histories], *given: Any, **more: Any) -> Any:
        read.append(corpus_from[2])
        return pretrain(checkpoint, corpus_from, *given, **more)

    monkeypatch.setattr(pipeline, "pretrain", noted)
    few = {"text.pretrain_steps": 20, "text.pretrain_lr": 1e-3, "epochs": 2, "text.steps": 1}
    runs = []
    for stops in (False, True):
        order(made.ledger, made.evaluation["build_id"], tiny_multilingual, **few)
        context = context_of(made.ledger, made.home)
        for epochs in (4, 7) * stops:  # within its rounds, and after it, at the first epoch of the sequence model
            stop_after(epochs, context, made.home)
        told = pipeline.train_run(context, cache=made.home / "cache", offline=True)
        runs.append((told, made.home / "runs" / str(context.run_id)))
    with answers.open_run(made.ledger, made.home, made.run_id) as run:
        histories = histories_from(reads.histories(run.warehouse), run.served.vocabulary.kinds)
        train = leave_last_out(histories, run.served.task).train
    assert all(one.item.tolist() == train.item.tolist() for one in read)  # and nothing of validation or test
    (whole, folder), (broken, other) = runs
    for source in ("catalogue", "behaviour"):
        assert whole["pretrain"]["held_out"][source]["after"] < whole["pretrain"]["held_out"][source]["before"]
    assert whole["stages_s"]["pretrain"] > 0
    assert json.loads((folder / "evaluation.json").read_text())["pretrain"] == whole["pretrain"]
    assert made.evaluation["pretrain"] is None  # it is off by default
    assert broken["pretrain"]["weights_sha256"] == whole["pretrain"]["weights_sha256"]
    assert broken["metrics"] == whole["metrics"]
    for name in ("model.safetensors", "text.safetensors"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()


def test_a_flipped_byte_is_noticed(made: Made, tmp_path: Path) -> None:
    path = made.folder / "model.safetensors"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(DamagedArtefact):
            answers.open_run(made.ledger, made.home, made.run_id)
    finally:
        path.write_bytes(whole)


def test_a_run_of_an_older_format_says_so(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(made.folder, folder)
    told = json.loads((folder / "served.json").read_text())
    (folder / "served.json").write_text(json.dumps({**told, "format": told["format"] - 1}))
    blend = json.loads((folder / "blend.json").read_text())
    (folder / "blend.json").write_text(json.dumps({name: blend[name] for name in ("names", "weight")}))
    with Warehouse.open(made.build) as warehouse:
        with pytest.raises(SchemaMismatch, match="format"):
            ServedModel.load(folder, warehouse, verify=False)
        (folder / "served.json").write_text(json.dumps(told))
        with pytest.raises(DamagedArtefact):
            ServedModel.load(folder, warehouse, verify=False)


def spoilt_blend(name: str, values: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        blend = json.loads((folder / "blend.json").read_text())
        (folder / "blend.json").write_text(json.dumps({**blend, name: values(blend[name])}))

    return spoil


def spoilt_network(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state["id_vector"][3, 0] = torch.nan
    save_file(state, folder / "model.safetensors")


def another_shape(folder: Path) -> None:
    told = json.loads((folder / "served.json").read_text())
    told["network"]["blocks"] += 1
    (folder / "served.json").write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (spoilt_blend("names", lambda names: ["nural", *names[1:]]), "nural"),
        (spoilt_blend("weight", lambda weights: [float("nan")] * len(weights)), "no numbers"),
        (spoilt_network, "no numbers"),
        (another_shape, "cannot be loaded"),
    ],
    ids=["an unknown component", "a weight", "an item", "another shape"],
)
def test_a_run_whose_parts_do_not_fit_is_not_served(
    made: Made, tmp_path: Path, spoil: Callable[[Path], None], named: str
) -> None:
    folder = tmp_path / "spoilt"
    shutil.copytree(made.folder, folder)
    spoil(folder)
    with Warehouse.open(made.build) as warehouse, pytest.raises(DamagedArtefact, match=named):
        ServedModel.load(folder, warehouse, verify=False)


def test_the_audit_names_every_declared_attribute(made: Made) -> None:
    told = json.loads((made.folder / "audit.json").read_text())
    with Warehouse.open(made.build) as warehouse:
        declared = set(warehouse.facts.spec.sensitive)
    assert declared <= {group["attribute"] for group in told["groups"]}


def test_the_scorer_says_what_the_command_line_says_to_those_with_the_token(made: Made) -> None:
    shelf = Shelf(made.ledger, made.home)
    with TestClient(make_app(shelf, token="secret")) as client:
        assert client.get("/health").json() == {"ok": True}
        question = {"run": made.run_id, "history": [NEW_ITEM], "k": 3}
        assert client.post("/recommend", json=question).status_code == 401
        client.headers["Authorization"] = "Bearer secret"
        told = client.post("/recommend", json=question).json()
        with answers.open_run(made.ledger, made.home, made.run_id) as run:
            assert told == answers.recommend(run, history=[NEW_ITEM], k=3)
            predicted = client.post("/predict", json=question).json()
            assert predicted == answers.predict(run, history=[NEW_ITEM], k=3)
        unknown = client.post("/recommend", json={**question, "history": ["nothing"]})
        assert unknown.status_code == 404
        assert unknown.json()["error"]["type"] == "UnknownItem"
        assert client.post("/recommend", json={**question, "k": -1}).status_code == 422


def test_rules_and_likeness_are_answered_over_http_as_by_the_command_line(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(made.ledger, made.home)
    with TestClient(make_app(shelf, token="secret"), headers={"Authorization": "Bearer secret"}) as client:
        with answers.open_run(made.ledger, made.home, made.run_id) as run:
            keys, categories = run.served.catalogue.keys, run.served.catalogue.categories
            plain = answers.recommend(run, history=[keys[0]], k=5)
            never = plain["items"][0]["categories"][0]
            pinned = next(k for k, names in zip(keys[40:], categories[40:], strict=True) if never not in names)
            rules = {"never": [never], "pins": [f"{pinned}@2"], "caps": ["2"], "diversity": 0.3}
            told = answers.recommend(run, history=[keys[0]], k=5, rules=rules_from(rules), explain=True)
            like = answers.similar(run, item=NEW_ITEM, k=4)
        assert "receipt" not in plain
        assert not [item for item in told["items"] if never in item["categories"]]
        assert told["items"][1]["key"] == pinned
        assert told["items"][1]["explanation"]["words"]["en"]
        assert {"never-category", "pin"} <= {line["rule"] for line in told["receipt"]}
        question = {"run": made.run_id, "history": [keys[0]], "k": 5, "rules": rules, "explain": True}
        assert client.post("/recommend", json=question).json() == told
        assert client.post("/similar", json={"run": made.run_id, "item": NEW_ITEM, "k": 4}).json() == like
        assert like["items"][0]["key"] == keys[0]  # the text's twin
        (tmp_path / SCORER_FILE).write_text(json.dumps({"address": "http://scorer", "token": "secret"}))
        with monkeypatch.context() as patched:
            patched.setattr(httpx, "Client", lambda **_: TestClient(make_app(shelf, token="secret")))
            asked = ScorerClient(tmp_path)
            assert asked.recommend(made.run_id, history=[keys[0]], k=5, rules=rules, explain=True) == told
            assert asked.recommend(made.run_id, history=[keys[0]], k=5) == plain
            assert asked.similar(made.run_id, item=NEW_ITEM, k=4) == like
            with pytest.raises(UnknownCategory) as unknown:
                asked.recommend(made.run_id, history=[keys[0]], k=5, rules={"never": [never + "x"]})
            assert "类别" in unknown.value.told("zh")[0] and never in unknown.value.told("zh")[1]
        wrong = client.post("/recommend", json={**question, "rules": {"never": [never + "x"]}})
        assert wrong.status_code == 404
        assert never in wrong.json()["error"]["remedy"]
        malformed = client.post("/recommend", json={**question, "rules": {"diversity": 2}})
        assert malformed.json()["error"]["type"] == "InputError"
        assert client.post("/similar", json={"run": made.run_id, "item": "nothing"}).status_code == 404


def test_what_was_shown_and_done_comes_back_over_http_exactly_once(made: Made) -> None:
    shelf = Shelf(made.ledger, made.home)
    with TestClient(make_app(shelf, token="secret")) as client:
        at = "2026-01-01T12:00:00+00:00"
        with Warehouse.open(made.build) as warehouse:
            user, dataset = reads.user_table(warehouse)["key"][0].as_py(), warehouse.facts.dataset
        act = {"user": user, "item": NEW_ITEM, "kind": "click", "at": at, "key": "http-1"}
        assert client.post("/feedback", json={"rows": [act]}).status_code == 401
        client.headers["Authorization"] = "Bearer secret"
        plain = client.post("/recommend", json={"run": made.run_id, "user": user, "k": 3}).json()
        logged = client.post("/recommend", json={"run": made.run_id, "user": user, "k": 3, "log": True}).json()
        assert [item["key"] for item in logged["items"]] == [item["key"] for item in plain["items"]]
        assert "slate" not in plain and all(item["propensity"] == 1.0 for item in logged["items"])
        shown = [
            row
            for row in pa.Table.from_batches(feedback.every(made.ledger, dataset), feedback.COLUMNS).to_pylist()
            if row["slate"] == logged["slate"]
        ]
        assert [(row["item"], row["rank"], row["run_id"]) for row in shown] == [
            (item["key"], item["rank"], made.run_id) for item in logged["items"]
        ]
        nobody = client.post("/recommend", json={"run": made.run_id, "history": [NEW_ITEM], "log": True})
        assert nobody.json()["error"]["type"] == "InputError"
        first = client.post("/feedback", json={"rows": [act, {**act, "item": "nothing", "key": "http-2"}]}).json()
        assert first == {"accepted": 1, "repeated": 0, "refused": [{"row": 1, "reason": "unknown-item"}]}
        assert client.post("/feedback", json={"rows": [act]}).json()["repeated"] == 1
        assert client.post("/feedback", json={"rows": []}).status_code == 422
        unread = [{**act, "at": "noon"}, {**act, "at": 1_700_000_000, "key": "http-3"}, {**act, "rank": 2**70}]
        told = client.post("/feedback", json={"rows": unread}).json()
        assert (told["accepted"], [row["reason"] for row in told["refused"]]) == (
            1,
            ["unreadable-at", "impossible-rank"],
        )
        assert client.post("/feedback", json={"rows": [{**act, "value": True}]}).status_code == 422
        paths = client.get("/openapi.json").json()["paths"]
        assert {"/recommend", "/similar", "/feedback"} <= set(paths)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/recommend", '{"user": "7", "k": NaN}'),
        ("/recommend", '{"user": "7", "unknown": Infinity}'),
        ("/recommend", '{"user": "\\ud800"}'),
        ("/recommend", '{"user": "7", "dataset": ""}'),
        ("/recommend", "no JSON"),
        (
            "/feedback",
            '{"dataset": "\\ud800", "rows": [{"user": "a", "item": "b", "kind": "click", "at": "2026-01-01"}]}',
        ),
    ],
)
def test_a_question_that_cannot_be_read_is_refused_in_the_common_shape(made: Made, path: str, body: str) -> None:
    with TestClient(make_app(Shelf(made.ledger, made.home), token="secret"), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = "Bearer secret"
        told = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert told.status_code in (404, 422)
    assert {"type", "message", "remedy"} <= set(told.json()["error"])


@pytest.mark.parametrize(
    ("error", "status"), [(UnknownItem, 404), (InvalidConfig, 422), (DiskFull, 507), (DamagedArtefact, 503)]
)
def test_an_error_is_told_by_the_status_of_who_has_to_mend_it(error: type[LodestarError], status: int) -> None:
    assert status_of(error("so", remedy="thus")) == status


def test_what_a_user_waved_away_is_not_offered_again(made: Made) -> None:
    with TestClient(make_app(Shelf(made.ledger, made.home), token="secret")) as client:
        client.headers["Authorization"] = "Bearer secret"
        with Warehouse.open(made.build) as warehouse:
            user, other = (row.as_py() for row in reads.user_table(warehouse)["key"][1:3])

        def slate(**how: Any) -> list[str]:
            told = client.post("/recommend", json={"run": made.run_id, "user": user, "k": 3, **how}).json()
            return [item["key"] for item in told["items"]]

        def acts(kind: str, minute: int) -> None:
            row = {
                "user": user,
                "item": first,
                "kind": kind,
                "at": (datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(minutes=minute)).isoformat(),
            }
            assert client.post("/feedback", json={"rows": [row]}).json()["accepted"] == 1

        before, others = slate(), slate(user=other)
        first = before[0]
        acts("dismissal", 0)
        after = slate()
        assert first not in after and after[:2] == before[1:]
        assert slate(again=True) == before and slate(user=other) == others
        predicted = client.post("/predict", json={"run": made.run_id, "user": user, "k": 3}).json()
        assert first not in [one["key"] for one in predicted["like"] or []]
        category = client.post("/recommend", json={"run": made.run_id, "user": other}).json()["items"][0]["categories"][
            0
        ]
        way = {"run": made.run_id, "user": user, "target": {"category": category}}
        step = client.post("/guide/next", json=way).json()
        act = {"user": user, "item": step["key"], "kind": "dismissal", "at": "2026-01-01"}
        assert client.post("/feedback", json={"rows": [act]}).json()["accepted"] == 1
        assert client.post("/guide/next", json=way).json()["key"] != step["key"]
        planned = client.post("/guide", json={**way, "steps": 3}).json()["steps"]
        assert step["key"] not in [one["key"] for one in planned]
        told = client.post("/recommend", json={"run": made.run_id, "user": user, "k": 3}).json()
        assert ("dismissed", "taken out", first) in [(c["rule"], c["change"], c["key"]) for c in told["receipt"]]
        client.post("/feedback", json={"rows": [{**act, "kind": "favourite", "at": "2026-01-02"}]})
        acts("click", -5)
        assert first not in slate(), "what was done before it, and comes later, does not undo it"
        acts("favourite", 1)
        assert slate() == before, "who comes to like it gets it again"


def test_training_goes_on_from_a_run_with_what_came_back(
    made: Made, tiny_language_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Warehouse.open(made.build) as warehouse:
        users = reads.user_table(warehouse)["key"].to_pylist()
        seen = reads.click_stream(warehouse).to_pylist()
    of_first = {row["item"] for row in seen if row["user"] == users[0]}
    fresh = [key for key in sorted({row["item"] for row in seen}) if key not in of_first][:3]
    acts = [
        Feedback(user, item, "rating", NOW, value=4.0)
        for user in (users[0], "came-later")
        for item in (*fresh, NEW_ITEM)
    ]
    after = feedback.watermark(made.ledger, "synthetic")
    assert feedback.append(made.ledger, "synthetic", acts, now=NOW).accepted == 8
    upto = feedback.watermark(made.ledger, "synthetic")
    result = extend(
        made.build, feedback.events(made.ledger, "synthetic", after=after, upto=upto), home=made.home, now=NOW
    )
    record_build(
        made.ledger,
        build_id=result.build_id,
        dataset="synthetic",
        path=result.path,
        facts={},
        now=NOW,
        feedback_to=upto,
    )
    order(made.ledger, result.build_id, tiny_language_model, onward=made.run_id)
    context = context_of(made.ledger, made.home)

    def no_model(*_: object, **__: object) -> Path:
        raise AssertionError("every text is known: nothing is read anew")

    monkeypatch.setattr(pipeline, "weights_folder", no_model)
    told = pipeline.train_run(context, cache=made.home / "cache", offline=True)
    folder = made.home / "runs" / told["run_id"]
    verify_manifest(folder)
    assert (
        told["onward"] == made.run_id
        and set(told["epochs"]) == {"update"}
        and told["epochs"]["update"] <= UPDATE_EPOCHS
    )
    assert told["language_model"] != {}
    with answers.open_run(made.ledger, made.home, told["run_id"]) as run, Warehouse.open(made.build) as before:
        old = ServedModel.load(made.folder, before)
        assert run.served.vocabulary.kinds == (*old.vocabulary.kinds, "rate")
        assert run.served.catalogue.trained[run.served.catalogue.find(fresh[0])]
        assert [item["key"] for item in answers.recommend(run, user="came-later", k=3)["items"]]
        decays = {name: (form.decays, form.strength) for name, form in old.closed.items()}
        assert {name: (form.decays, form.strength) for name, form in run.served.closed.items()} == decays
        users = pq.read_table(folder / "users.parquet").to_pandas()
        assert told["rival"]["metrics"]["ndcg@10"]["estimate"] == pytest.approx(users["rival:ndcg@10"].mean())
        assert told["rival"]["run_id"] == made.run_id and "rival" not in told["components"]
        assert told["rival"]["n_queries"] == told["n_queries"], "one question a user: its answer was never learned from"
        assert users["beside:ndcg@10"].equals(users["ndcg@10"])
        kept = carried.Carried.open(made.ledger, made.home, made.run_id).until
        later = carried.Carried.open(made.ledger, made.home, told["run_id"]).until
        assert set(kept) < set(later) and all(later[user] >= until for user, until in kept.items())
        with monkeypatch.context() as older:  # a run from before that was kept
            older.setattr(carried, "LEARNED", "none.parquet")
            assert carried.Carried.open(made.ledger, made.home, made.run_id).until == kept
        why = {"actor": "ann", "reason": "first", "expected_version": None, "now": NOW}
        registry.promote(made.ledger, dataset="synthetic", run_id=made.run_id, **why)
        row = finished_run(made.ledger, made.home, told["run_id"])
        found = {check.name: check for check in gather(made.ledger, made.home, row, now=NOW).checks}
        assert found["accuracy"].figures["champion_value"] == pytest.approx(users["rival:ndcg@10"].mean())
        assert found["accuracy"].verdict != "unknown" and found["fairness"].finding != "build"
        order(made.ledger, result.build_id, tiny_language_model, **{"text.tune": "none", "epochs": 1})
        with monkeypatch.context() as unhindered:
            unhindered.undo()
            anew = pipeline.train_run(context_of(made.ledger, made.home), cache=made.home / "cache", offline=True)
        assert anew["rival"]["run_id"] == made.run_id and anew["onward"] is None
        # The same model on the same questions, whatever kinds are numbered there and whoever asks.
        for metric, measure in told["rival"]["metrics"].items():
            assert anew["rival"]["metrics"][metric]["estimate"] == pytest.approx(measure["estimate"], abs=1e-6), metric
        before, after = old.network.id_vector, run.served.network.id_vector
        assert not torch.equal(before, after) and after.norm() > before.norm()
        assert float((before * after).sum() / (before * before).sum()) > 0.9, "what was learned is gone on from"


def test_a_text_that_changed_is_read_by_the_runs_own_language_model(made: Made, tiny_language_model: Path) -> None:
    with Warehouse.open(made.build) as warehouse:
        served = ServedModel.load(made.folder, warehouse)
        texts = [str(text) for text in reads.catalogue(warehouse)["text"].to_pylist()]
    keys, config = served.catalogue.keys, TextConfig(**made_text_config(made))
    language = Language.load(made.folder, tuned=served.network.text)
    assert language is not None and language.tuned is not None
    places = [3, 0, 1]
    now = Texts([*(keys[place] for place in places), "newest"], [texts[3], "another text", texts[1], texts[2]])
    read = read_onward(
        language, Texts(keys, texts), now, config, base=lambda: tiny_language_model, device="cpu", seed=0
    )
    assert read.tuned is not None
    assert torch.equal(read.tuned[[0, 2]], language.tuned[[3, 1]])
    assert torch.allclose(read.tuned[3], language.tuned[2], atol=1e-4), "the same text under the same model"
    assert torch.allclose(read.frozen[3], language.frozen[2], atol=1e-5)
    assert not torch.allclose(read.tuned[1], language.tuned[0], atol=1e-2)
    onto = onward(served, now.keys, kinds=served.vocabulary.kinds, language=read)
    assert torch.equal(onto.network.id_vector[[0, 1, 2]], served.network.id_vector[places])
    assert not onto.network.id_vector[3].any()


def test_a_model_as_it_stands_on_another_order_of_its_items_says_the_same(made: Made) -> None:
    with Warehouse.open(made.build) as warehouse:
        served = ServedModel.load(made.folder, warehouse)
        histories = histories_from(reads.histories(warehouse), served.vocabulary.kinds).take([0, 1, 2, 3])
    size, old = served.n_items, served.catalogue
    order = torch.randperm(size, generator=torch.Generator().manual_seed(1))
    place = torch.argsort(order)  # of an old item in the new order

    def put(values: Sequence[Any], last: Any) -> tuple[Any, ...]:
        return (*(values[item] for item in order.tolist()), last)

    catalogue = Catalogue(
        put(old.keys, "newest"),
        put(old.titles, "Newest"),
        put(old.categories, ()),
        torch.cat([old.available[order], torch.tensor([True])]),
        torch.ones(size + 1, dtype=torch.bool),
    )
    language = Language.load(made.folder, tuned=served.network.text)
    assert language is not None and language.tuned is not None
    rows = torch.cat([order, order[:1]])
    moved = dataclasses.replace(language, frozen=language.frozen[rows], tuned=language.tuned[rows])
    start = onward(served, catalogue.keys, kinds=served.vocabulary.kinds, language=moved)
    stood = as_it_stands(served, start, catalogue)
    elsewhere = dataclasses.replace(histories, item=place.numpy()[histories.item])
    here, there = served.logits(histories), stood.logits(elsewhere)
    known = served.catalogue.trained
    assert torch.allclose(there[:, place][:, known], here[:, known], atol=1e-5)
    assert not stood.catalogue.trained[size] and there[:, size].isfinite().all()


def made_text_config(made: Made) -> dict[str, Any]:
    return dict(tomllib.loads((made.folder / "config.toml").read_text())["text"])
