"""What a training job does, from a build to a finished run: a fitted model and its heads, figures, scores, audit.

Each stage may be interrupted. The training stages continue from their checkpoints; the others take seconds and are
done again. The manifest is written last, so a run without one is unfinished, whatever else lies in its folder.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from core.learn.config import TrainConfig
from core.learn.curves import Curves, WandbRun
from core.learn.pretrain import STAGE as PRETRAIN
from core.learn.pretrain import pretrain
from core.learn.sequences import IntArray
from core.learn.splits import judged
from core.learn.train import Stopped
from core.learn.weights import weights_folder
from core.material import Material, material_of
from core.ops.builds import build_of
from core.ops.events import read_events
from core.ops.jobs import events_path
from core.ops.processes import peak_gb
from core.ops.registry import champion, log_test_read
from core.ops.runs import finish_run, new_run, run_folder, run_of
from core.ops.worker import JobContext
from core.ops.worker import Stopped as JobStopped
from core.predict.behaviour_figures import behaviour_figures
from core.predict.behaviour_fit import fit_behaviour, log_of
from core.predict.carried import PRETRAINED, Carried, Weights, asked_anew, write_learned
from core.predict.fit import UPDATE, Fitted, fit, fit_onward, pick_device
from core.predict.measure import Rival, evaluate_split
from core.predict.onward import Texts, as_it_stands, kinds_onward
from core.predict.recommend import write_everyone
from core.predict.served import ServedModel
from core.trust.fairness import audit
from data import reads
from data.errors import DamagedArtefact, LodestarError
from data.publish import make_folder, remove_orphans, verify_manifest, write_manifest
from data.warehouse import Warehouse

EVALUATION = "evaluation.json"
WEIGHT = {
    "text": 4,
    UPDATE: 8,
    "frozen": 36,
    "lora": 40,
    "full": 40,
    "closed-form": 8,
    "blend": 2,
    "behaviour": 10,
    "evaluate": 5,
    "score": 3,
    "audit": 2,
}
# Stages that save themselves when told to stop; the others are left in the middle and begun anew.
CHECKPOINTED = {PRETRAIN, "frozen", "lora", "full", UPDATE}


class Progress:
    """Tells the job where it stands, as a share of the stages' usual seconds, and guesses what is left."""

    def __init__(self, context: JobContext, config: TrainConfig, curves: Curves, *, onward: bool = False) -> None:
        self.context, self.curves = context, curves
        skipped = {"lora", "full", UPDATE} - {config.text.tune} | ({"text"} if config.text.tune == "none" else set())
        if onward:
            skipped = {"frozen", "lora", "full"}
        first = {} if config.text.tune == "none" else {PRETRAIN: config.text.pretrain_steps}  # of about a second each
        self.weights = first | {name: weight for name, weight in WEIGHT.items() if name not in skipped}
        self.now = "text"
        self.begun = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Announces a stage and times it. Raises the worker's Stopped between stages when the job is asked to stop."""
        self.context.raise_if_stopped()
        order = list(self.weights)
        for earlier in order[: order.index(name)]:
            if earlier not in self.seconds:  # it stood aside
                del self.weights[earlier]
        self.now = name
        begun = time.perf_counter()
        self.context.emit("stage", stage=name, **self.position(0.0))
        try:
            with self.context.interruptible() if name not in CHECKPOINTED else nullcontext():
                yield
        except Stopped as stop:
            raise JobStopped from stop
        self.seconds[name] = round(time.perf_counter() - begun, 2)

    def position(self, share: float) -> dict[str, Any]:
        """`progress` in [0, 1] and `eta_s` when `share` of the present stage is done."""
        done = sum(self.weights[name] for name in self.seconds)
        progress = (done + share * self.weights[self.now]) / sum(self.weights.values())
        elapsed = time.perf_counter() - self.begun
        return {"progress": progress, "eta_s": elapsed * (1 - progress) / progress if progress > 0.05 else None}

    def epoch(self, **fields: Any) -> None:
        """One epoch's line in the event stream, and its point on the curves."""
        self.context.emit("epoch", **fields, **self.position(fields["epoch"] / fields["epochs"]))
        self.curves.epoch(fields, now=self.context.clock())

    def stopping(self) -> bool:
        """Whether the job was told to stop."""
        return self.context.should_stop()

    def log(self, message: str) -> None:
        """One line for people."""
        self.context.emit("log", message=message)


def train_run(context: JobContext, *, cache: Path, offline: bool, hub: str | None = None) -> dict[str, Any]:
    """The body of a `train` job. payload: {"config": ..., "build_id": ..., "wandb": a project or None, "onward": the
    run that training goes on from, or None}, beside which `estimate` is for those who look (`core.preflight`). Returns
    the run's `evaluate` JSON.

    cache, offline and hub say where language models come from: see `core.learn.weights`.
    """
    config = TrainConfig.model_validate(context.payload["config"])
    build = build_of(context.ledger, context.payload["build_id"])
    run_id = context.run_id or new_run(
        context.ledger,
        context.home,
        dataset=build.dataset,
        build_id=build.build_id,
        job_id=context.job_id,
        config=config.model_dump(),
        now=context.clock(),
    )
    folder = run_folder(context.home, run_id)
    make_folder(folder)  # an attempt may have ended between the run's row and its folder
    evaluation = _whole(folder)
    if evaluation is None:
        remove_orphans(folder)
        (folder / "config.toml").write_text(config.to_toml())
        told = read_events(events_path(context.home, context.job_id, run_id))
        project, parent = context.payload.get("wandb"), context.payload.get("onward")
        wandb = None if project is None else WandbRun(project, run_id, config.model_dump(), offline=offline)
        with Curves(folder, told, wandb=wandb) as curves, Warehouse.open(build.path) as warehouse:
            progress = Progress(context, config, curves, onward=parent is not None)
            weights = partial(weights_folder, cache=cache, offline=offline, endpoint=hub)
            evaluation = _train(context, progress, config, warehouse, folder, weights=weights, parent=parent)
        write_manifest(folder, extra={"run_id": run_id, "build_id": build.build_id})
    summary = {key: evaluation[key] for key in ("metrics", "components", "protocol", "seconds", "best_epoch", "seed")}
    finish_run(context.ledger, run_id, summary=summary, now=context.clock())
    context.emit("done", metrics=evaluation["metrics"], progress=1.0, eta_s=0.0)
    return evaluation


def _whole(folder: Path) -> dict[str, Any] | None:
    """The evaluation of a run that an earlier attempt published: it is never written again, others may read it."""
    try:
        verify_manifest(folder)
    except DamagedArtefact:
        return None
    return dict(json.loads((folder / EVALUATION).read_bytes()))


def _train(
    context: JobContext,
    progress: Progress,
    config: TrainConfig,
    warehouse: Warehouse,
    folder: Path,
    *,
    weights: Weights,
    parent: str | None,
) -> dict[str, Any]:
    facts, pretrained = warehouse.facts, None
    if parent is None:
        material = _material(warehouse, config, progress)
        fitted, pretrained = _fit_anew(material, config, progress, folder, weights=weights)
        rival, before = None, None
    else:
        material, fitted, rival, before = _fit_onward(
            context, config, progress, warehouse, folder, parent=parent, weights=weights
        )
    split = material.split
    write_learned(folder, split.train, before)
    served = replace(fitted.served, run_id=folder.name, build_id=facts.build_id)
    if fitted.language is not None:
        fitted.language.save(folder)
    served.save(folder)
    with progress.stage("behaviour"):
        behaved = log_of(material.histories, split, facts.spec.positive, material.kinds)
        behaviour, linear = fit_behaviour(served, behaved, facts.spec.positive, seed=config.seed, say=progress.log)
        behaviour.save(folder)
    with progress.stage("evaluate"):
        log_test_read(context.ledger, folder.name, config.protocol, context.clock())
        asked = replace(split, test=judged(split.test, n_items=served.n_items))
        if len(asked.test) < len(split.test):
            progress.log(
                f"{len(asked.test)} of {len(split.test)} test questions are asked, over {served.n_items} items"
            )
        if not len(asked.test):
            progress.log("nobody has events enough to be asked: the run is not measured, and its figures are missing")
        serving = rival or _rival(context, config, progress, material, warehouse, weights=weights)
        evaluation, users = evaluate_split(
            served,
            asked,
            frozen=fitted.first_network,
            language=fitted.language,
            seed=config.seed,
            rival=serving,
            kinds=material.kinds,
        )
        evaluation["behaviour"] = behaviour_figures(behaviour, linear, served, behaved, seed=config.seed)
        users.to_parquet(folder / "users.parquet", index=False)
    with progress.stage("score"):
        write_everyone(served, material.histories, folder / "scores.parquet")
    with progress.stage("audit"):
        people = reads.user_table(warehouse).to_pandas()
        activity = pd.Series(split.train.lengths, name="events")
        attributes = list(facts.spec.sensitive)
        verdict = audit(users, people, attributes=attributes, seed=config.seed, activity=activity)
        pq.write_table(
            pa.Table.from_pandas(verdict.group_metrics, preserve_index=False), folder / "group_metrics.parquet"
        )
        (folder / "audit.json").write_text(json.dumps(verdict.as_json()))
    last, blend = list(fitted.stages.values())[-1], served.blend
    evaluation |= {
        "run_id": folder.name,
        "dataset": facts.dataset,
        "build_id": facts.build_id,
        "protocol": config.protocol,
        "cuts": [datetime.fromtimestamp(cut, UTC).isoformat() for cut in split.cuts or ()],
        "n_queries": len(asked.test),
        "n_queries_of": len(split.test),
        "masked": split.task == "next-new",
        "task": split.task,
        "seed": config.seed,
        "licence": facts.licence,
        "n_users": facts.n_users,
        "n_items": facts.n_items,
        "n_events": facts.n_events,
        "device": fitted.device,
        PRETRAIN: pretrained,
        "preprocess": config.preprocess.model_dump(exclude_defaults=True) | {"events_taken": dict(material.taken)},
        "best_epoch": last.best_epoch + 1,
        "epochs": {name: stage.epoch for name, stage in fitted.stages.items()},
        "blend": dict(zip(blend.names, blend.weight, strict=True)),
        "onward": parent,
        "attempt": context.attempt,  # seconds are those of the last attempt alone
        "stages_s": progress.seconds,
        "seconds": round(time.perf_counter() - progress.begun, 1),
        "peak_gb": round(peak_gb(), 3),
    }
    (folder / EVALUATION).write_text(json.dumps(evaluation))
    return evaluation


def _material(
    warehouse: Warehouse, config: TrainConfig, progress: Progress, *, served: ServedModel | None = None
) -> Material:
    """What is learned from, its kinds numbered as a served model numbers them; the log tells what cleaning took."""
    order = None if served is None else partial(kinds_onward, served)
    material = material_of(warehouse, config, order=order)
    if material.taken:
        left = len(material.learned.train.item)
        progress.log(f"cleaning took events: {dict(material.taken)}; {left} are learned from")
    return material


def _fit_anew(
    material: Material, config: TrainConfig, progress: Progress, folder: Path, *, weights: Weights
) -> tuple[Fitted, dict[str, Any] | None]:
    """A model from nothing but a language model, and what pretraining that reached."""
    source = weights(config.text.model) if config.text.tune != "none" else None
    pretrained = None
    if source is not None and config.text.pretrain_steps:
        with progress.stage(PRETRAIN):
            source, pretrained = pretrain(
                source,
                (material.catalogue.titles, material.texts, material.learned.train),
                config,
                into=folder / PRETRAINED,
                monitor=progress,
                checkpoints=folder / "checkpoints",
                device=pick_device(config.device),
            )
            progress.log(f"{PRETRAIN} {pretrained}")
    fitted = fit(
        material.learned,
        material.catalogue,
        material.texts,
        config,
        kinds=material.kinds,
        language_model=source,
        follow=progress,
        checkpoints=folder / "checkpoints",
    )
    return fitted, pretrained


def _fit_onward(
    context: JobContext,
    config: TrainConfig,
    progress: Progress,
    warehouse: Warehouse,
    folder: Path,
    *,
    parent: str,
    weights: Weights,
) -> tuple[Material, Fitted, Rival, IntArray]:
    """A model that goes on from another run's, on this build and asked about what that has not learned from; that run's
    as it stands there; and until when it learned from each user. Raises UnknownRun, RunUnfinished, DamagedArtefact."""
    carried = Carried.open(context.ledger, context.home, parent)
    material = _material(warehouse, config, progress, served=carried.served)
    keys = reads.user_table(warehouse)["key"].to_pylist()
    learned, n_asked = carried.learned(keys, material.histories), len(material.split.test)
    material = replace(
        material, split=asked_anew(material.split, learned), learned=asked_anew(material.learned, learned)
    )
    if known := n_asked - len(material.split.test):
        progress.log(f"{known} of {n_asked} test questions are not asked: {parent} learned from their answers")
    device = pick_device(config.device)
    with progress.stage("text") if config.text.tune != "none" else nullcontext():
        now = Texts(material.catalogue.keys, material.texts)
        start = carried.start(now, kinds=material.kinds, weights=weights, device=device)
    stood = as_it_stands(carried.served, start, material.catalogue)
    progress.log(f"goes on from {carried.row.run_id} on {carried.row.build_id}")
    until = carried.moments(keys)
    fitted = fit_onward(
        material.learned, material.catalogue, config, start, until, follow=progress, checkpoints=folder / "checkpoints"
    )
    return material, fitted, Rival(carried.row.run_id, stood, learned), until


def _rival(
    context: JobContext,
    config: TrainConfig,
    progress: Progress,
    material: Material,
    warehouse: Warehouse,
    *,
    weights: Weights,
) -> Rival | None:
    """The data set's champion as it stands on this build, where it was trained on another one by the same protocol; on
    its own build it was measured when it was trained. One that cannot be carried here is told in the log."""
    run_id = champion(context.ledger, warehouse.facts.dataset)
    if run_id is None:
        return None
    row = run_of(context.ledger, run_id)
    if row.build_id == warehouse.facts.build_id or row.protocol != config.protocol:
        return None
    try:
        carried = Carried.open(context.ledger, context.home, run_id)
        device = pick_device(config.device)
        model = carried.standing(
            material.catalogue, material.texts, kinds=material.kinds, weights=weights, device=device
        )
    except LodestarError as error:
        progress.log(f"champion {run_id} is not measured on this build: {error.message}")
        return None
    return Rival(run_id, model, carried.learned(reads.user_table(warehouse)["key"].to_pylist(), material.histories))
