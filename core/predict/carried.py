"""A finished run carried to a newer build: what training goes on from, and what a newer run is compared with there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.learn.config import TrainConfig
from core.learn.sequences import Queries
from core.ops.builds import build_of
from core.ops.ledger import Ledger
from core.ops.runs import RunRow, finished_run, run_folder
from core.predict.onward import Language, Onward, Texts, as_it_stands, kinds_onward, onward, read_onward
from core.predict.served import Catalogue, ServedModel
from data import reads
from data.warehouse import Warehouse

PRETRAINED = "pretrained"  # the folder of a run whose language model was pretrained
Weights = Callable[[str], Path]  # a language model's folder by its name; raises WeightsMissing


@dataclass(frozen=True)
class Carried:
    """A run with its model over its own build, and the texts that this one had."""

    row: RunRow
    folder: Path
    served: ServedModel
    texts: Texts

    @classmethod
    def open(cls, ledger: Ledger, home: Path, run_id: str) -> "Carried":
        """Raises UnknownRun, RunUnfinished, UnknownBuild, DamagedArtefact, SchemaMismatch."""
        row = finished_run(ledger, home, run_id)
        folder = run_folder(home, row.run_id)
        with Warehouse.open(build_of(ledger, row.build_id).path) as warehouse:
            served = ServedModel.load(folder, warehouse)
            texts = [str(text) for text in reads.catalogue(warehouse)["text"].to_pylist()]
        return cls(row, folder, served, Texts(served.catalogue.keys, texts))

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


def renumbered(questions: Queries, kinds: Sequence[str], model: ServedModel) -> Queries:
    """Questions whose events' kinds are numbered as `kinds`, with the model's own numbers."""
    own = np.asarray([model.vocabulary.kinds.index(kind) for kind in kinds], dtype=np.int64)
    context = questions.context
    if not len(own) or not len(context.kind):
        return questions
    return replace(questions, context=replace(context, kind=own[context.kind]))
