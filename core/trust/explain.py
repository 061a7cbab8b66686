"""The explanation of a recommendation, as the commands and the console hand it on.

The history game (`core.trust.shapley`) gives the values; everything said about removals is then run again by the served
model on the really edited history, in a batch of its own, and the figures that are shown are that run's. The candidates
stay those of the unedited history, so a removed item does not itself enter the slate.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from core.learn.sequences import Histories, IntArray
from core.predict.served import ServedModel
from core.trust.faithfulness import faithfulness
from core.trust.shapley import MOST_PLAYERS, HistoryGame, play
from core.trust.words import Claims, leading, words
from data.warehouse import Warehouse

ATTRIBUTIONS = pa.schema(
    [
        ("user_id", pa.int64()),
        ("item_id", pa.int64()),
        ("game", pa.string()),
        ("player", pa.int64()),
        ("phi", pa.float64()),
        ("base", pa.float64()),
        ("value", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Removal:
    """What the served model says of one item before and after events were really removed, by a run of its own."""

    rank_before: int
    rank_after: int
    probability_before: float
    probability_after: float


def explain_history(
    served: ServedModel,
    history: Histories,
    items: Sequence[int],
    *,
    n_players: int = MOST_PLAYERS,
    k: int = 10,
    dated: bool = True,
) -> list[dict[str, Any]]:
    """One explanation for each of `items`, by the last `n_players` events of one history (H = 1), in a slate of k.

    Fields: key, title, rank, probability, games, faithfulness, counterfactual, words (see the README's JSON contract).
    `counterfactual` holds the smallest set of players without which the item leaves the first k, or nothing: `verified`
    tells whether the separate run agrees. With `dated` false the players' `ts` is null, for a history whose times are
    stand-ins. Raises InputError for an item that is no candidate.
    """
    if not len(items):
        return []
    game = play(served, history, items, n_players=n_players, k=k)
    n = len(game.players)
    smallest = [smallest_removal(game.value[:, c], game.stays[:, c]) for c in range(len(items))]
    leads = [leading(game.phi[:, c]) for c in range(len(items))]
    tried: list[tuple[int, Sequence[int]]] = []
    for column, (found, lead) in enumerate(zip(smallest, leads, strict=True)):
        tried.append((column, found or ()))
        tried.append((column, lead or range(n)))
    runs = run_removals(
        served,
        history,
        [(int(items[column]), game.players[list(places)]) for column, places in tried],
        allowed=game.allowed,
    )
    return [
        _told(
            served, history, game, column, runs[2 * column : 2 * column + 2], smallest[column], leads[column], k, dated
        )
        for column in range(len(items))
    ]


def attributions(
    served: ServedModel,
    warehouse: Warehouse,
    *,
    users: Iterable[int],
    items: int,
    progress: Callable[[float, str], None] | None = None,
) -> pa.Table:
    """The `attributions` table, one row a user, item and player: the history game of each user's best `items`.

    Columns: user_id, item_id, game ("history"), player (place of the event in the user's history), phi, base, value.
    Users who are not in the build are left out. `progress` is called with (share done, words).
    """
    rows: dict[str, list[Any]] = {name: [] for name in ATTRIBUTIONS.names}
    asked = list(users)
    for index, user in enumerate(asked):
        if progress is not None:
            progress(index / len(asked), f"explaining user {index + 1} of {len(asked)}")
        history = served.history_of(warehouse, user)
        if len(history) != 1:
            continue
        log_p = served.log_probability(history)[0]
        best = log_p.topk(min(items, int(log_p.isfinite().sum()))).indices.tolist()
        game = play(served, history, best)
        for column, item in enumerate(best):
            n = len(game.players)
            rows["user_id"] += [user] * n
            rows["item_id"] += [item] * n
            rows["game"] += ["history"] * n
            rows["player"] += game.players.tolist()
            rows["phi"] += game.phi[:, column].tolist()
            rows["base"] += [float(game.base[column])] * n
            rows["value"] += [float(game.whole[column])] * n
    return pa.table(rows, schema=ATTRIBUTIONS)


def smallest_removal(value: npt.NDArray[np.float64], stays: npt.NDArray[np.bool_]) -> list[int] | None:
    """The fewest players without which the item leaves the slate, from v and `stays` (2^n,); of several such sets the
    one that costs the most. None where it is not in the slate or none takes it out."""
    whole = len(value) - 1
    out = np.flatnonzero(~stays)
    if not stays[whole] or not len(out):
        return None
    removed = np.bitwise_count(whole - out)
    fewest = out[removed == removed.min()]
    mask = whole - int(fewest[value[fewest].argmin()])
    return [player for player in range(whole.bit_length()) if mask >> player & 1]


def run_removals(
    served: ServedModel, history: Histories, removals: Sequence[tuple[int, IntArray]], *, allowed: Tensor
) -> list[Removal]:
    """Really remove events and ask the served model again, apart from the game: for each (item, places in the history)
    its rank (1 + candidates above) and probability before and after. `allowed` (1, I) are the candidates throughout.

    Items often share their reasons: a history that is asked for twice is run once."""
    keep = np.ones((1 + len(removals), len(history.item)), dtype=bool)
    for row, (_, places) in enumerate(removals, start=1):
        keep[row, places] = False
    histories, run_of = np.unique(keep, axis=0, return_inverse=True)
    edited = history.take(np.zeros(len(histories), dtype=np.int64)).events(histories.ravel())
    log_p = served.log_probability(edited, allowed=allowed)[torch.from_numpy(run_of)]
    found = []
    for row, (item, _) in enumerate(removals, start=1):
        before, after = log_p[0], log_p[row]
        found.append(
            Removal(
                rank_before=1 + int((before > before[item]).sum()),
                rank_after=1 + int((after > after[item]).sum()),
                probability_before=math.exp(float(before[item])),
                probability_after=math.exp(float(after[item])),
            )
        )
    return found


def _told(  # noqa: PLR0913
    served: ServedModel,
    history: Histories,
    game: HistoryGame,
    column: int,
    runs: Sequence[Removal],
    smallest: list[int] | None,
    leads: list[int],
    k: int,
    dated: bool,
) -> dict[str, Any]:
    catalogue, item, phi = served.catalogue, int(game.items[column]), game.phi[:, column]
    without_smallest, without_leads = runs
    players = [
        {
            "key": catalogue.keys[history.item[place]],
            "title": catalogue.titles[history.item[place]],
            "ts": datetime.fromtimestamp(int(history.ts[place]), UTC).isoformat() if dated else None,
            "phi": float(phi[player]),
        }
        for player, place in enumerate(game.players.tolist())
    ]
    counterfactual = []
    if smallest is not None:
        counterfactual.append(
            {
                "remove": [players[player]["key"] for player in smallest],
                "players": smallest,
                "verified": without_smallest.rank_before <= k < without_smallest.rank_after,
                "rank_before": without_smallest.rank_before,
                "rank_after": without_smallest.rank_after,
            }
        )
    claims = Claims(
        item=catalogue.titles[item],
        recommended=without_leads.rank_before <= k,
        rank=without_leads.rank_before,
        probability=without_leads.probability_before,
        leads=list(dict.fromkeys(str(players[player]["title"]) for player in leads)),
        n_removed=len(leads),
        mainly=bool(phi[leads].sum() >= phi.clip(min=0).sum() / 2),
        n_players=len(players),
        rank_without=without_leads.rank_after,
        probability_without=without_leads.probability_after,
    )
    return {
        "key": catalogue.keys[item],
        "title": catalogue.titles[item],
        "rank": without_leads.rank_before,
        "probability": without_leads.probability_before,
        "games": [
            {
                "game": "history",
                "value": float(game.whole[column]),
                "base": float(game.base[column]),
                "players": players,
            }
        ],
        "faithfulness": faithfulness(game.value[:, column], phi),
        "counterfactual": counterfactual,
        "words": words(claims),
    }
