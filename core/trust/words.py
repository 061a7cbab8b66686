"""An explanation as a sentence in two languages, made from claims that were each re-run; templates only, no model.

Both languages are written as prose of their own. Every sentence ends by saying that it explains the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MOST_LEADS = 3
_MODEL = {"en": "This explains the model, not the person.", "zh": "以上解释的是模型，而不是这个人。"}
_COUNTED = {1: "这次行为", 2: "这两次行为", 3: "这三次行为"}


@dataclass(frozen=True)
class Claims:
    """What a sentence may say, all of it measured by separate runs of the served model.

    `leads` are titles of the events that raise the item most, `mainly` whether they hold half of all that raises it;
    empty where none does; an earlier event of the item itself is told as that. `rank_without` and `probability_without`
    belong to the history without the leads, or, where there are none, without all `n_players` events. `recommended`:
    the item stands in the slate.
    """

    item: str
    recommended: bool
    rank: int
    probability: float
    leads: Sequence[str]
    n_removed: int
    mainly: bool
    n_players: int
    rank_without: int
    probability_without: float


def leading(phi: npt.NDArray[np.float64]) -> list[int]:
    """The players that raise the item most, largest first: as few as hold half of all that raises it, at most three."""
    order = np.argsort(-phi, kind="stable")
    raised = phi[order].clip(min=0)
    enough = int(np.searchsorted(np.cumsum(raised), raised.sum() / 2)) + 1 if raised.sum() > 0 else 0
    return [int(place) for place in order[: min(enough, MOST_LEADS)] if phi[place] > 0]


def words(claims: Claims) -> dict[str, str]:
    """{"en", "zh"}: the reason, and the reminder of what it explains."""
    return {"en": f"{_english(claims)} {_MODEL['en']}", "zh": f"{_chinese(claims)}{_MODEL['zh']}"}


def _english(c: Claims) -> str:
    if not c.n_players:
        return f"There is no history to go by: {c.item} is what the model expects of a newcomer, at rank {c.rank}."
    if not c.leads:
        some = "The last event does not raise" if c.n_players == 1 else f"None of the last {c.n_players} events raises"
        without = "it," if c.n_players == 1 else "them"
        return f"{some} {c.item}: without {without} it would stand at rank {c.rank_without}, now at {c.rank}."
    if c.probability_without >= c.probability:
        return f"No few events carry {c.item} by themselves; it stands at rank {c.rank}."
    stands = "is recommended" if c.recommended else f"stands at rank {c.rank}"
    reason = "mainly because of" if c.mainly else "in part because of"
    leads = [f"an earlier {title}" if title == c.item else title for title in c.leads]
    without = "it," if c.n_removed == 1 else "them"
    if c.rank_without > c.rank:
        effect = f"without {without} it would fall from rank {c.rank} to {c.rank_without}"
    else:
        kept = f"it would keep rank {c.rank}, but " if c.rank_without == c.rank else ""
        falls = f"fall from {_percent(c.probability)} to {_percent(c.probability_without)}"
        effect = f"without {without} {kept}its probability would {falls}"
    return f"{c.item} {stands} {reason} {_listing(leads)}: {effect}."


def _chinese(c: Claims) -> str:
    item = f"《{c.item}》"
    if not c.n_players:
        return f"还没有历史可以依据：{item}是模型对新用户的预期，排在第 {c.rank} 位。"
    if not c.leads:
        some = "最近一次行为并没有" if c.n_players == 1 else f"最近 {c.n_players} 次行为都没有"
        return f"{some}推高{item}：去掉之后，它会排在第 {c.rank_without} 位，现在是第 {c.rank} 位。"
    if c.probability_without >= c.probability:
        return f"没有哪几次行为能单独解释{item}；它现在排在第 {c.rank} 位。"
    stands = f"推荐{item}" if c.recommended else f"{item}排在第 {c.rank} 位"
    reason = "主要因为" if c.mainly else "部分原因是"
    without = f"若没有{_COUNTED.get(c.n_removed, f'这 {c.n_removed} 次行为')}"
    if c.rank_without > c.rank:
        effect = f"{without}，它会从第 {c.rank} 位跌到第 {c.rank_without} 位"
    else:
        kept = f"它仍居第 {c.rank} 位，但概率" if c.rank_without == c.rank else "它的概率"
        effect = f"{without}，{kept}会从 {_percent(c.probability)} 降到 {_percent(c.probability_without)}"
    return f"{stands}，{reason}{_chinese_listing(c.leads, own=c.item)}：{effect}。"


def _listing(titles: Sequence[str]) -> str:
    """A; A and B; A, B and C."""
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"


def _chinese_listing(titles: Sequence[str], *, own: str) -> str:
    """《A》; 《A》和《B》; 《A》、《B》和《C》; an item of its own is had before."""
    marked = [f"此前的《{title}》" if title == own else f"《{title}》" for title in titles]
    return marked[0] if len(marked) == 1 else f"{'、'.join(marked[:-1])}和{marked[-1]}"


def _percent(share: float) -> str:
    """Three significant digits."""
    return f"{100 * share:.3g}%"
