"""A finished run carried to a newer build: what training goes on from, and what a newer run is compared with there.

A user who has too few events to be asked is learned from whole, and by a newer build has enough: what was learned then
is a question now. So a run keeps until when it learned from each user, and on a newer build is asked only about what
came later.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.learn.config import TrainConfig
from core.learn.sequences import Histories, IntArray, Queries, Split, histories_from
from core.learn.splits import split_histories
from core.ops.builds import build_of
from core.ops.ledger import Ledger
from core.ops.runs import RunRow, finished_run, run_folder
from core.predict.onward import Language, Onward, Texts, as_it_stands, kinds_onward, onward, read_onward
from core.predict.served import Catalogue, ServedModel
from data import reads
from data.warehouse import Warehouse

PRETRAINED = "pretrained"  # the folder of a run whose language model was pretrained
LEARNED = "learned.parquet"  # user_id, until: the moment (seconds) of the last event that was learned from
NEVER = int(np.iinfo(np.int64).min)
Weights = Callable[[str], Path]  # a language model's folder by its name; raises WeightsMissing


@dataclass(frozen=True)
class Carried:
    """A run with its model over its own build, the texts that this one had, and until when the run, or one that it went
    on from, learned from each user (seconds by the user's key)."""

    row: RunRow
    folder: Path
    served: ServedModel
    texts: Texts
    until: Mapping[str, int]

    @classmethod
    def open(cls, ledger: Ledger, home: Path, run_id: str) -> "Carried":
        """Raises UnknownRun, RunUnfinished, UnknownBuild, DamagedArtefact, SchemaMismatch."""
        row = finished_run(ledger, home, run_id)
        folder = run_folder(home, row.run_id)
        with Warehouse.open(build_of(ledger, row.build_id).path) as warehouse:
            served = ServedModel.load(folder, warehouse)
            texts = [str(text) for text in reads.catalogue(warehouse)["text"].to_pylist()]
            keys = reads.user_table(warehouse)["key"].to_pylist()
            until = _read_learned(folder, warehouse, row, n_users=len(keys))
        known = dict(zip(keys, until.tolist(), strict=True))
        return cls(row, folder, served, Texts(served.catalogue.keys, texts), known)

    def learned(self, keys: Sequence[str], histories: Histories) -> IntArray:
        """(U,) how many of each user's first events, on a newer build with these users' keys, were learned from."""
        known = histories.ts <= self.moments(keys)[histories.owner]
        return np.bincount(histories.owner[known], minlength=len(histories))

    def moments(self, keys: Sequence[str]) -> IntArray:
        """(U,) until when each of these users was learned from; NEVER where nothing was."""
        return np.array([self.until.get(key, NEVER) for key in keys], dtype=np.int64)

    def start(self, now: Texts, *, kinds: Sequence[str], weights: Weights, device: str) -> Onward:
        """What training can go on from over the catalogue `now`. kinds: as `kinds_onward` orders them. Raises
        WeightsMissing where a text has to be read anew."""
        config = TrainConfig.model_validate(self.row.config)
        language = Language.load(self.folder, tuned=self.served.network.text)
        if language is not None:
            pretrained = self.folder / PRETRAINED
            language = read_onward(
                language,
                self.texts,
                now,
                config.text,
                base=lambda: pretrained if pretrained.is_dir() else weights(config.text.model),
                device=device,
                seed=config.seed,
            )
        return onward(self.served, now.keys, kinds=kinds, language=language)

    def standing(
        self, catalogue: Catalogue, texts: Sequence[str], *, kinds: Sequence[str], weights: Weights, device: str
    ) -> ServedModel:
        """The model as it stands over a newer catalogue, with nothing learned. kinds: the newer build's; its own
        numbers stay, so questions have to be `renumbered` for it."""
        now = Texts(catalogue.keys, texts)
        start = self.start(now, kinds=kinds_onward(self.served, kinds), weights=weights, device=device)
        return as_it_stands(self.served, start, catalogue)


def write_learned(folder: Path, train: Histories, before: IntArray | None = None) -> None:
    """Keeps until when a run learned from each user: the end of its training part, or of what it went on from, whose
    moments are `before` (U,)."""
    until = last_moments(train)
    until = until if before is None else np.maximum(until, before)
    pq.write_table(pa.table({"user_id": np.arange(len(train)), "until": until}), folder / LEARNED)


def last_moments(histories: Histories) -> IntArray:
    """(U,) the moment of each user's last event; NEVER without any."""
    there = histories.lengths > 0
    until = np.full(len(histories), NEVER, dtype=np.int64)
    until[there] = histories.ts[histories.offsets[1:][there] - 1]
    return until


def _read_learned(folder: Path, warehouse: Warehouse, row: RunRow, *, n_users: int) -> IntArray:
    """(U,) of a run's own build; of a run that is older than the file, from its protocol."""
    if (folder / LEARNED).is_file():
        kept = pq.read_table(folder / LEARNED).sort_by("user_id")["until"].to_numpy()
        assert len(kept) == n_users, "a run's users are its build's"
        until: IntArray = kept.astype(np.int64)
        return until
    whole = histories_from(reads.histories(warehouse), ())
    protocol = TrainConfig.model_validate(row.config).protocol
    return last_moments(split_histories(whole, warehouse.facts.spec.task, protocol).train)


def asked_anew(split: Split, learned: IntArray) -> Split:
    """The split without the questions about what was learned from; learned (U,): each user's first events that were."""
    valid, test = (part.take(not_learned(part, learned)) for part in (split.valid, split.test))
    return replace(split, valid=valid, test=test)


def not_learned(questions: Queries, learned: IntArray) -> IntArray:
    """Which questions ask for what comes after a user's `learned` (U,) first events."""
    return np.flatnonzero(questions.context.lengths >= learned[questions.user])


def renumbered(questions: Queries, kinds: Sequence[str], model: ServedModel) -> Queries:
    """Questions whose events' kinds are numbered as `kinds`, with the model's own numbers."""
    own = np.asarray([model.vocabulary.kinds.index(kind) for kind in kinds], dtype=np.int64)
    context = questions.context
    if not len(own) or not len(context.kind):
        return questions
    return replace(questions, context=replace(context, kind=own[context.kind]))
