"""Lodestar's default recipe: the body of a `train` job, in this process, on the build that the split came from.

Its curve is that of the network, whose seconds count the text's encoding and, unlike the peers', each epoch's
validation; its last point is the served blend, after the closed forms and the blend's own fitting.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from exchange import Course, Lists, give_back, lists_of_scores, ndcg, take_order, timed

from core import pipeline
from core.learn.config import load_config
from core.learn.ranking import mask_seen
from core.learn.sequences import Queries, histories_from
from core.learn.splits import split_histories
from core.ops.builds import current_build
from core.ops.claims import claim, finish
from core.ops.events import read_events
from core.ops.jobs import events_path, status
from core.ops.ledger import Ledger, utc_now
from core.ops.processes import Process
from core.ops.worker import JobContext
from core.predict.recommend import top_of_everyone
from core.predict.served import ServedModel
from dashboard.desk import submit_training
from dashboard.settings import settings as environment
from data import reads
from data.warehouse import Warehouse


def main() -> None:
    """One run, made as the worker makes it; then its lists."""
    order = take_order(__doc__)
    settings, home = order.settings, Path(order.settings["home"])
    torch.set_num_threads(settings["threads"])
    with Ledger.open(home) as ledger:
        build = current_build(ledger, settings["dataset"])
        own = {name: settings[name] for name in ("seed", "protocol")} | settings["overrides"]
        config = load_config(overrides=list(own.items()))
        job_id = submit_training(ledger, home, build, config)
        job = claim(ledger, supervisor=Process.current(), lease_s=86_400, now=utc_now())
        assert job is not None and job.job_id == job_id, "another job is waiting in this store"
        begun = time.perf_counter()
        evaluation = pipeline.train_run(
            JobContext(ledger, home, job), cache=environment().cache, offline=environment().offline
        )
        whole_s = time.perf_counter() - begun
        finish(ledger, job, state="succeeded", now=utc_now(), result={"metrics": evaluation["metrics"]})
        run_id = str(status(ledger, job_id).run_id)
        events = read_events(events_path(home, job_id, run_id))
    with Warehouse.open(build.path) as warehouse:
        served = ServedModel.load(home / "runs" / run_id, warehouse)
        histories = histories_from(reads.histories(warehouse), served.vocabulary.kinds)
        split = split_histories(histories, served.task, settings["protocol"])

    def answer(queries: Queries) -> Lists:
        with torch.no_grad():
            return lists_of_scores(mask_seen(served.logits(queries.context), queries, task=served.task).numpy())

    valid, test = answer(split.valid), answer(split.test)
    stages_s = evaluation["stages_s"]
    course = Course(epochs=10**6, patience=10**6, budget_s=np.inf)
    waited_s = stages_s.get("text", 0.0)
    epochs = [event for event in events if event["type"] == "epoch"]
    for event in epochs:
        course.note(event["seconds"] + waited_s, event["ndcg@10"])
        waited_s = 0.0
    course.note(stages_s["closed-form"] + stages_s["blend"], ndcg(valid, order.split.valid))
    course.best, course.stopped = len(course.curve) - 1, "recipe"  # it is the blend that serves
    give_back(
        order,
        versions=(torch, np),
        course=course,
        valid=valid,
        test=test,
        examples=int(np.minimum(split.train.lengths, config.network.max_length).sum()),
        recommend_s=timed(lambda: top_of_everyone(served, split.test.context, k=10)),
        recommend_call="top_of_everyone(k=10)",
        seconds_per_epoch=float(np.mean([event["seconds"] for event in epochs])),
        config=config.model_dump(),
        stages_s=stages_s,
        whole_s=whole_s,
        metrics=told(evaluation["metrics"]),
    )


def told(metrics: dict[str, Any]) -> dict[str, float]:
    """What the run itself says, which the bench checks against its own."""
    return {name: metrics[name]["estimate"] for name in ("hr@10", "ndcg@10")}


if __name__ == "__main__":
    main()
