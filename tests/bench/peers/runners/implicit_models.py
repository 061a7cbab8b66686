"""implicit's ALS, BPR and item neighbours: a small grid around its defaults, chosen on validation.

They read which items a user has, not in which order. Where the model allows, the test history includes the
validation event: ALS recomputes the user's factors, neighbours read the history itself; BPR can only mask it. Seconds
are those of the chosen setting's fit, the grid's total beside them.
"""

import itertools
import time
import warnings
from collections.abc import Iterator
from typing import Any

import implicit
import numpy as np
import scipy
import scipy.sparse as sp
from exchange import DEPTH, Course, Events, Lists, Part, empty_lists, give_back, ndcg, take_order, timed
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

NEIGHBOURS = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}
GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "als": {"regularization": (0.01, 0.1, 1.0), "alpha": (1.0, 10.0, 40.0)},
    "bpr": {"learning_rate": (0.01, 0.03, 0.1), "regularization": (0.01, 0.1)},
    "knn": {"weighting": tuple(NEIGHBOURS), "K": (20, 100, 300)},
}
FIRST = {"als": {"alpha": 1.0}, "bpr": {"learning_rate": 0.01}, "knn": {"weighting": "bm25"}}  # all a smoke run tries


class Asked:
    """A fitted model of one kind and how its histories are asked."""

    def __init__(self, kind: str, model: Any, *, n_items: int, masked: bool) -> None:
        self.kind, self.model, self.n_items, self.masked = kind, model, n_items, masked

    def recommend(self, part: Part, *, k: int, test: bool) -> tuple[np.ndarray, np.ndarray]:
        """Its own call: items and scores (Q, k)."""
        own = {"recalculate_user": True} if self.kind == "als" and test else {}
        seen = matrix(part.context, n_items=self.n_items)
        k = min(k, self.n_items)
        return self.model.recommend(part.user, seen, N=k, filter_already_liked_items=self.masked, **own)

    def lists(self, part: Part, *, test: bool) -> Lists:
        """Its lists at full depth; what it fills up with is left out: masked items come back with the least score, and
        neighbours pad a short list with zeros."""
        item, score = self.recommend(part, k=DEPTH, test=test)
        out = empty_lists(len(part))
        width = item.shape[1]
        real = score > (0 if self.kind == "knn" else np.finfo(np.float32).min)
        out.item[:, :width] = np.where(real, item, -1)
        out.score[:, :width] = np.where(real, score, -np.inf)
        return out


def main() -> None:
    """Try the grid, keep the best on validation, hand back its lists."""
    order = take_order(__doc__)
    settings, split = order.settings, order.split
    kind = settings["kind"]
    train = matrix(split.train, n_items=split.n_items)
    trials: list[dict[str, Any]] = []
    chosen: tuple[float, Asked, Lists] | None = None
    for setting in grid(kind, smoke=settings["epochs"] < 5):
        model = make(kind, setting, settings)
        begun = time.perf_counter()
        model.fit(train, show_progress=False)
        seconds = time.perf_counter() - begun
        asked = Asked(kind, model, n_items=split.n_items, masked=split.masked)
        lists = asked.lists(split.valid, test=False)
        reached = ndcg(lists, split.valid)
        trials.append({"setting": setting, "seconds": seconds, "ndcg@10": reached})
        if chosen is None or reached > chosen[0]:
            chosen, fit_s = (reached, asked, lists), seconds
    assert chosen is not None
    reached, asked, lists = chosen
    course = Course(epochs=1, patience=1, budget_s=np.inf)
    course.note(fit_s, reached)
    give_back(
        order,
        versions=(implicit, np, scipy),
        course=course,
        valid=lists,
        test=asked.lists(split.test, test=True),
        examples=int(train.nnz) * (1 if kind == "knn" else int(asked.model.iterations)),
        recommend_s=timed(lambda: asked.recommend(split.test, k=10, test=True)),
        recommend_call="model.recommend(N=10)",
        trials=trials,
        grid_seconds=sum(trial["seconds"] for trial in trials),
    )


def grid(kind: str, *, smoke: bool) -> Iterator[dict[str, Any]]:
    """The settings to try; a smoke run takes a few."""
    axes = GRIDS[kind]
    for values in itertools.product(*axes.values()):
        setting = dict(zip(axes, values, strict=True))
        if not smoke or FIRST[kind].items() <= setting.items():
            yield setting


def make(kind: str, setting: dict[str, Any], settings: dict[str, Any]) -> Any:
    """An unfitted model; what is not set is implicit's default."""
    threads = settings["threads"]
    if kind == "knn":
        return NEIGHBOURS[setting["weighting"]](K=setting["K"], num_threads=threads)
    cls = AlternatingLeastSquares if kind == "als" else BayesianPersonalizedRanking
    return cls(factors=settings["dim"], random_state=settings["seed"], num_threads=threads, **setting)


def matrix(events: Events, *, n_items: int) -> sp.csr_matrix:
    """(H, I) float32 of ones where a history holds an item."""
    ones = np.ones(len(events.item), np.float32)
    counts = sp.csr_matrix((ones, (events.owner, events.item)), shape=(len(events), n_items))
    counts.data[:] = 1.0
    return counts


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
