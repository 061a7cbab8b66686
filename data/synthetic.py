"""A dataset with a planted truth, so that what a model, an audit or a policy finds can be checked against it.

The world: items belong to categories, and their titles and texts say so in words. A user has a taste over
categories that may drift from one to another during the year. A logging policy shows unseen items by popularity,
taste and a planted successor of the last item taken; the user accepts what is shown with a probability that
rises with taste (the acceptance curve). Accepted ones become events; every showing is kept with its propensity.
One group is rare, has tastes of its own, and so is served worse by popularity.

Where a world says so, people come back to what they had, what is new draws them more, and some leave for good: the
samples of `data/samples.py` are such worlds, told in the words of their domains.
"""

import csv
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

START = datetime(2024, 1, 1, tzinfo=UTC)
_WORDS: dict[str, tuple[str, ...]] = {
    "Astronomy": ("telescope", "comet", "galaxy", "eclipse", "star chart", "nebula", "orbit"),
    "Baking": ("sourdough", "pastry", "oven", "cake", "brioche", "flour", "rye loaf"),
    "Chess": ("opening", "endgame", "gambit", "checkmate", "knight", "rook", "grandmaster"),
    "Cycling": ("bicycle", "peloton", "gravel road", "mountain pass", "derailleur", "saddle", "sprint"),
    "Gardening": ("rose bed", "compost", "seedling", "orchard", "pruning", "greenhouse", "tulip"),
    "Jazz": ("saxophone", "quartet", "swing", "improvisation", "trumpet", "ballad", "double bass"),
    "Painting": ("watercolour", "canvas", "portrait", "easel", "pigment", "fresco", "still life"),
    "Robotics": ("actuator", "drone", "gripper", "sensor", "autopilot", "circuit", "android"),
    "Sailing": ("regatta", "harbour", "keel", "spinnaker", "tide", "skipper", "lighthouse"),
    "Travel": ("night train", "old town", "market square", "island", "desert", "border", "ferry"),
}
_MOODS = ("Quiet", "Golden", "Hidden", "First", "Winter", "Midnight", "Little", "Northern", "Lost", "Open")
_SHAPES = ("Companion", "Stories", "Handbook", "Evening", "Lessons", "Journal", "Season", "Workshop", "Notes")


RATING_AT_ZERO, RATING_SLOPE, RATING_NOISE = 2.6, 2.2, 0.7  # a rating is rounded from this line in taste, plus noise


@dataclass(frozen=True)
class World:
    """Sizes and strengths of the planted truth; shares and probabilities in [0, 1]."""

    n_users: int = 2_000
    n_items: int = 500
    n_events: int = 60_000  # aimed at; the acceptances decide
    days: int = 360
    drifting_share: float = 0.3
    rare_group_share: float = 0.12
    second_category_share: float = 0.15
    taste_concentration: float = 0.25  # of the Dirichlet tastes: the smaller, the narrower
    popularity_exponent: float = 0.6
    logging_taste: float = 2.0
    logging_successor: float = 4.0
    acceptance_at_zero: float = -0.6  # logit of acceptance with no taste for the item
    acceptance_slope: float = 3.0  # gain of that logit from no taste to all taste
    launched_share: float = 0.0  # of the items, which come out during the first part of the year
    launch_span: float = 0.5  # how long that part is
    n_categories: int = len(_WORDS)
    again: bool = False  # whether an item can be shown to a user who has had it
    repeat: float = 0.0  # then: gain of its logit for each doubling of how often the user has had it
    fresh_days: float | None = None  # an item's logit falls by one each so many days after it came out
    within_visit: float = 0.75  # of a user's showings, which follow the one before within minutes
    churn_share: float = 0.0  # of the users, who leave for good in the first half

    def __post_init__(self) -> None:
        if min(self.n_users, self.n_items, self.n_events) < 1 or self.n_items < self.n_categories:
            raise ValueError(f"a world needs users, events, and at least {self.n_categories} items")


def generate(folder: Path, *, seed: int, world: World | None = None) -> None:
    """Write events.tsv, items.tsv, users.tsv, impressions.parquet, truth.npz and truth.json into `folder`.

    events: user, item, time, kind, rating, propensity. impressions: user i64, item i64 (row numbers of the
    users and items files), ts, propensity, acceptance (the true probability), accepted.
    truth.npz: taste_start and taste_end (users x categories), drifts (users), affinity (items x categories),
    popularity (items), successor (items), rare (users), launched (items, seconds since the start). The same seed and
    world give the same bytes (in truth.npz, the same arrays).
    """
    world = world or World()
    rng = np.random.default_rng(seed)
    truth = plant(world, rng)
    shown = live(world, truth, rng)
    _write_users(folder / "users.tsv", world, truth, rng)
    _write_items(folder / "items.tsv", truth, rng)
    _write_events(folder / "events.tsv", shown, rng)
    pq.write_table(
        pa.table({name: column for name, column in shown.items() if name != "taste"}), folder / "impressions.parquet"
    )
    np.savez(folder / "truth.npz", allow_pickle=False, **truth)
    told = {"seed": seed, "categories": list(_WORDS), "world": asdict(world)}
    (folder / "truth.json").write_text(json.dumps(told, indent=1), encoding="utf-8")


def plant(world: World, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """The truth of a world, the arrays of truth.npz."""
    n_categories = world.n_categories
    first = np.arange(world.n_items) % n_categories
    rng.shuffle(first)
    affinity = np.zeros((world.n_items, n_categories))
    affinity[np.arange(world.n_items), first] = 1.0
    two = np.flatnonzero(rng.random(world.n_items) < world.second_category_share)
    other = (first[two] + rng.integers(1, n_categories, len(two))) % n_categories
    affinity[two, first[two]], affinity[two, other] = 0.6, 0.4

    rare = rng.random(world.n_users) < world.rare_group_share
    usual = np.full(n_categories, world.taste_concentration)
    usual[-3:] *= 0.2
    own = usual[::-1]  # the rare group leans to the categories that the others neglect
    taste_start = np.where(rare[:, None], rng.dirichlet(own, world.n_users), rng.dirichlet(usual, world.n_users))
    drifts = rng.random(world.n_users) < world.drifting_share
    moved = np.where(rare[:, None], rng.dirichlet(own, world.n_users), rng.dirichlet(usual, world.n_users))
    taste_end = np.where(drifts[:, None], moved, taste_start)

    popularity = 1.0 / np.arange(1, world.n_items + 1) ** world.popularity_exponent
    rng.shuffle(popularity)
    popularity *= 0.3 + affinity[:, :-3].sum(axis=1)  # what the many like is what is popular
    return {
        "taste_start": taste_start,
        "taste_end": taste_end,
        "drifts": drifts,
        "affinity": affinity,
        "popularity": popularity / popularity.sum(),
        "successor": _successors(first, rng),
        "rare": rare,
        "launched": _launches(world, rng),
    }


def _launches(world: World, rng: np.random.Generator) -> Ints:
    """Seconds after which each item can be shown; 0 for those that are there from the start."""
    launched = np.zeros(world.n_items, dtype=np.int64)
    late = round(world.launched_share * world.n_items)
    if late:  # so that a world without launches draws as it did before there were any
        chosen = rng.choice(world.n_items, late, replace=False)
        launched[chosen] = rng.integers(0, int(world.days * 86_400 * world.launch_span), late)
    return launched


def _successors(first: Ints, rng: np.random.Generator) -> Ints:
    """A ring through the items of each category: the next chapter, as it were."""
    successor = np.arange(len(first))
    for category in np.unique(first):
        ring = rng.permutation(np.flatnonzero(first == category))
        successor[ring] = np.roll(ring, -1)
    return successor


def live(world: World, truth: dict[str, npt.NDArray[Any]], rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Every showing, by time: user, item, ts, propensity, acceptance, accepted, taste (for the item then)."""
    shows = _shows_per_user(world, truth, rng)
    moments = _moments(world, shows, rng)
    base = np.log(truth["popularity"])
    seen = np.zeros((world.n_users, world.n_items), dtype=bool)
    had = np.zeros((world.n_users, world.n_items) if world.again else (0, 0))
    last = np.full(world.n_users, -1)
    always = truth["launched"] == 0
    columns: list[dict[str, npt.NDArray[Any]]] = []
    for step in range(int(shows.max())):
        users = np.flatnonzero((shows > step) & (world.again | ~seen[:, always].all(axis=1)))
        ts = moments[users, step]
        progress = (ts / (world.days * 86_400))[:, None]
        taste = (1 - progress) * truth["taste_start"][users] + progress * truth["taste_end"][users]
        affinity = taste @ truth["affinity"].T
        logits = base + world.logging_taste * affinity
        follows = np.flatnonzero(last[users] >= 0)
        logits[follows, truth["successor"][last[users[follows]]]] += world.logging_successor
        if world.again:
            logits += world.repeat * np.log2(1 + had[users])
        if world.fresh_days is not None:
            logits -= (ts[:, None] - truth["launched"]) / (world.fresh_days * 86_400)
        hidden = truth["launched"] > ts[:, None]
        logits[hidden if world.again else hidden | seen[users]] = -np.inf
        propensities = np.exp(logits - logits.max(axis=1, keepdims=True))
        propensities /= propensities.sum(axis=1, keepdims=True)
        cumulative = propensities.cumsum(axis=1)
        items = (cumulative < rng.random(len(users))[:, None] * cumulative[:, -1:]).sum(axis=1)
        rows = np.arange(len(users))
        fit = affinity[rows, items]
        acceptance = 1 / (1 + np.exp(-(world.acceptance_at_zero + world.acceptance_slope * fit)))
        accepted = rng.random(len(users)) < acceptance
        seen[users, items] = True
        if world.again:
            had[users[accepted], items[accepted]] += 1
        last[users[accepted]] = items[accepted]
        columns.append(
            {
                "user": users,
                "item": items,
                "ts": ts,
                "propensity": propensities[rows, items],
                "acceptance": acceptance,
                "accepted": accepted,
                "taste": fit,
            }
        )
    shown = {name: np.concatenate([column[name] for column in columns]) for name in columns[0]}
    order = np.lexsort((shown["user"], shown["ts"]))
    return {name: column[order] for name, column in shown.items()}


def _shows_per_user(world: World, truth: dict[str, npt.NDArray[Any]], rng: np.random.Generator) -> Ints:
    """How often each user looks; skewed, the rare group half as often. About half of it is accepted."""
    weight = rng.lognormal(0.0, 0.6, world.n_users) * np.where(truth["rare"], 0.5, 1.0)
    mean_taste = float((truth["taste_start"] @ truth["affinity"].T * truth["popularity"]).sum(axis=1).mean())
    logit = world.acceptance_at_zero + world.acceptance_slope * min(1.0, 2.2 * mean_taste)
    wanted = world.n_events * (1 + np.exp(-logit)) * weight / weight.sum()
    most = np.inf if world.again else max(12, world.n_items * 3 // 4)
    shows: Ints = np.clip(np.round(wanted), 12, most).astype(np.int64)
    return shows


def _moments(world: World, shows: Ints, rng: np.random.Generator) -> Ints:
    """Seconds since the start of each user's showings (users x showings), rising: evenings, in sittings."""
    length = int(shows.max())
    gaps = np.where(
        rng.random((world.n_users, length)) < world.within_visit,
        rng.integers(20, 900, (world.n_users, length)),
        rng.exponential(4 * 86_400, (world.n_users, length)),
    )
    raw = gaps.cumsum(axis=1)
    ends = raw[np.arange(world.n_users), shows - 1]
    span = world.days * 86_400 * rng.uniform(0.5, 0.95, world.n_users)
    begin = rng.uniform(0, world.days * 86_400 * 0.95 - span)
    if world.churn_share:  # so that a world in which nobody leaves draws as it did before anybody could
        leaves = rng.random(world.n_users) < world.churn_share
        span = np.minimum(np.where(leaves, 0.45 * span, span), ends)
        begin = rng.uniform(0, world.days * 86_400 * np.where(leaves, 0.5, 0.95) - span)
    stretched = begin[:, None] + raw * np.minimum(1.0, span / ends)[:, None]
    evening = rng.normal(18.0, 1.8, world.n_users)[:, None]
    days = np.floor(stretched / 86_400)
    hour = (stretched / 86_400 - days) * 5 - 2.5 + evening  # a sitting falls within five hours of one's evening
    seconds: Ints = np.floor(days * 86_400 + np.clip(hour, 0, 23.99) * 3_600).astype(np.int64)
    return np.maximum.accumulate(seconds, axis=1)


def _write_users(path: Path, world: World, truth: dict[str, npt.NDArray[Any]], rng: np.random.Generator) -> None:
    ages = np.clip(np.round(rng.normal(38, 14, world.n_users)), 14, 85).astype(int)
    told = rng.random(world.n_users) < 0.95
    rows = [
        (user_key(number), "" if not said else "north" if rare else "south", age)
        for number, (rare, said, age) in enumerate(zip(truth["rare"], told, ages.tolist(), strict=True))
    ]
    _write(path, ("user", "region", "age"), rows)


def _write_items(path: Path, truth: dict[str, npt.NDArray[Any]], rng: np.random.Generator) -> None:
    names = list(_WORDS)
    rows, used = [], set[str]()
    for number, affinity in enumerate(truth["affinity"]):
        order = [int(at) for at in np.argsort(-affinity, kind="stable") if affinity[at] > 0]
        words = [str(word) for at in order for word in rng.permutation(_WORDS[names[at]])[: 3 if at == order[0] else 2]]
        title = f"{rng.choice(_MOODS)} {words[0].title()} {rng.choice(_SHAPES)}"
        while title in used:
            title = f"{title.removesuffix(' II')} {_SHAPES[len(used) % len(_SHAPES)]}"
        used.add(title)
        about = f"About {', '.join(words[:-1])} and {words[-1]}"
        rows.append((item_key(number), title, "|".join(names[at] for at in order), about))
    _write(path, ("item", "title", "categories", "about"), rows)


def _write_events(path: Path, shown: dict[str, npt.NDArray[Any]], rng: np.random.Generator) -> None:
    taken = np.flatnonzero(shown["accepted"])
    opinion = RATING_AT_ZERO + RATING_SLOPE * shown["taste"][taken]
    ratings = np.clip(np.round(opinion + rng.normal(0, RATING_NOISE, len(taken))), 1, 5).astype(int)
    kinds = np.where(rng.random(len(taken)) < 0.4, "click", "view")
    kinds = np.where((ratings == 5) & (rng.random(len(taken)) < 0.5), "favourite", kinds)
    rows = [
        (
            user_key(shown["user"][at]),
            item_key(shown["item"][at]),
            (START + timedelta(seconds=int(shown["ts"][at]))).strftime("%Y-%m-%dT%H:%M:%SZ"),
            kind,
            rating,
            f"{shown['propensity'][at]:.6g}",
        )
        for at, kind, rating in zip(taken, kinds.tolist(), ratings.tolist(), strict=True)
    ]
    _write(path, ("user", "item", "time", "kind", "rating", "propensity"), rows)


def user_key(number: int) -> str:
    """The key of a user in the files, by its row in the truth."""
    return f"u{number + 1:05d}"


def item_key(number: int) -> str:
    """The key of an item in the files, by its row in the truth."""
    return f"i{number + 1:05d}"


def _write(path: Path, header: tuple[str, ...], rows: list[Any]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
