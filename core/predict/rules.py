"""Rules on a slate, above the model's ranking: what may stand on it, what must, and how much alike it may be.

In this order, each on what those before it left: availability (always on), what the user has waved away, only these
categories, never those, pins (an item at a rank; none that was waved away), caps (at most n items of a category),
diversity. Every rule that changed the slate is named in a receipt, item by item: the slate is made with one rule after
another, and what differs is that rule's doing.

Diversity is maximal marginal relevance (Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking for
Reordering Documents and Producing Summaries", SIGIR 1998): the next item is the one of greatest

    (1 - L) rel(i) - L max over items j on the slate of cos(i, j),

L = 1 - their lambda being the diversity asked for, rel the score scaled to [0, 1] over the best `POOL` + 10 k items
that the rules before leave, cos that of the items' vectors in the network. Scores and probabilities stay the model's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from core.predict.served import Catalogue
from data.errors import InputError

POOL = 100
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pin(_Frozen):
    """The item of a key at a rank, from 1."""

    key: Name
    rank: Count

    @model_validator(mode="before")
    @classmethod
    def _told_in_words(cls, told: Any) -> Any:
        """`KEY@RANK`."""
        if not isinstance(told, str):
            return told
        key, _, rank = told.rpartition("@")
        if not key or not rank.isdecimal():
            raise ValueError(f"{told!r} is not KEY@RANK")
        return {"key": key, "rank": rank}


class Cap(_Frozen):
    """At most so many items of a category, or, without one, of each category."""

    most: Count
    category: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _told_in_words(cls, told: Any) -> Any:
        """`CATEGORY=N`, or `N` for each."""
        if not isinstance(told, str | int):
            return told
        category, named, most = str(told).rpartition("=")
        if not most.isdecimal():
            raise ValueError(f"{told!r} is not CATEGORY=N or N")
        return {"most": most, **({"category": category} if named else {})}


class SlateRules(_Frozen):
    """What a slate must obey; the defaults change nothing."""

    dismissed: tuple[Name, ...] = ()
    only: tuple[Name, ...] = ()
    never: tuple[Name, ...] = ()
    pins: tuple[Pin, ...] = ()
    caps: tuple[Cap, ...] = ()
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _agree(self) -> Self:
        both = sorted(set(self.only) & set(self.never))
        if both:
            raise ValueError(f"category {both[0]!r} is asked for alone and never")
        _once("two pins name the item", [pin.key for pin in self.pins])
        _once("two pins name the rank", [pin.rank for pin in self.pins])
        _once("two caps name the category", [cap.category or "any" for cap in self.caps])
        return self

    @property
    def idle(self) -> bool:
        """Whether no rule was given."""
        return self == SlateRules()


def _once(fault: str, named: Sequence[object]) -> None:
    twice = [one for one in named if named.count(one) > 1]
    if twice:
        raise ValueError(f"{fault} {twice[0]!r}")


def rules_from(told: Mapping[str, Any]) -> SlateRules:
    """Rules from plain values, as a command line or a request has them; a pin may be told as `KEY@RANK`, a cap as
    `CATEGORY=N` or `N`. Raises InputError."""
    try:
        return SlateRules.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        where = " ".join(str(part) for part in first["loc"]) or "rules"
        raise InputError(
            f"{where}: {first['msg'].removeprefix('Value error, ')}",
            remedy="pins are KEY@RANK and caps CATEGORY=N or N, from 1; diversity is from 0 to 1",
        ) from error


@dataclass(frozen=True)
class Shelf:
    """What rules choose from. score (I,) float64, -inf at what the user had; vector (I, d); k places."""

    catalogue: Catalogue
    score: Tensor
    vector: Tensor
    k: int


def arranged(rules: SlateRules, shelf: Shelf) -> tuple[list[int], list[dict[str, Any]]]:
    """The slate's item ids in order, and its receipt: {rule, change, key, title, before, after}, one a changed item.

    change is `taken out`, `put in`, `moved`, or `left out` (a pin of what the user had or waved away); before and after
    are ranks, null off the slate. Shifts that only follow from another item's leaving are not told. Raises UnknownItem,
    UnknownCategory, and InputError for a pin beyond the slate, of what is not available, or against another rule.
    """
    gone = (shelf.score == -torch.inf) | _named(rules.dismissed, shelf.catalogue)
    pinned = _pinned(rules, shelf, gone)
    receipt = [
        _line(shelf.catalogue, "pin", "left out", shelf.catalogue.find(pin.key), None, None)
        for pin in rules.pins
        if gone[shelf.catalogue.find(pin.key)]
    ]
    everything = torch.ones(len(shelf.catalogue), dtype=torch.bool)
    before = _fill(SlateRules(), shelf, everything, {})
    for name, so_far, allowed in _one_after_another(rules, shelf.catalogue):
        after = _fill(so_far, shelf, allowed, pinned if so_far.pins else {})
        receipt += _difference(shelf.catalogue, name, before, after, pinned=set(pinned.values()))
        before = after
    return before, receipt


def _one_after_another(rules: SlateRules, catalogue: Catalogue) -> Iterator[tuple[str, SlateRules, Tensor]]:
    """Each rule's name, the rules down to it, and the items (I,) bool that may stand on the slate under them."""
    allowed, so_far = catalogue.available, SlateRules()
    yield "availability", so_far, allowed
    if rules.dismissed:
        allowed = allowed & ~_named(rules.dismissed, catalogue)
        so_far = so_far.model_copy(update={"dismissed": rules.dismissed})
        yield "dismissed", so_far, allowed
    if rules.only:
        allowed = allowed & torch.stack([catalogue.members(name) for name in rules.only]).any(0)
        so_far = so_far.model_copy(update={"only": rules.only})
        yield "only-category", so_far, allowed
    if rules.never:
        allowed = allowed & ~torch.stack([catalogue.members(name) for name in rules.never]).any(0)
        so_far = so_far.model_copy(update={"never": rules.never})
        yield "never-category", so_far, allowed
    for field, name in (("pins", "pin"), ("caps", "cap"), ("diversity", "diversity")):
        if getattr(rules, field):
            so_far = so_far.model_copy(update={field: getattr(rules, field)})
            yield name, so_far, allowed


def _named(keys: Sequence[str], catalogue: Catalogue) -> Tensor:
    """(I,) bool: the items of these keys. Raises UnknownItem."""
    named = torch.zeros(len(catalogue), dtype=torch.bool)
    named[[catalogue.find(key) for key in keys]] = True
    return named


def _pinned(rules: SlateRules, shelf: Shelf, gone: Tensor) -> dict[int, int]:
    """Place (from 0) -> item of each pin that is not `gone` (I,); what contradicts it is an error."""
    catalogue, out = shelf.catalogue, {}
    for cap in rules.caps:
        if cap.category is not None:
            catalogue.members(cap.category)
    *_, (_, _, allowed) = _one_after_another(rules.model_copy(update={"pins": (), "diversity": 0.0}), catalogue)
    for pin in rules.pins:
        item = catalogue.find(pin.key)
        if pin.rank > shelf.k:
            raise InputError(
                f"item {pin.key!r} is pinned at rank {pin.rank} of {shelf.k}", remedy="pin it higher, or raise --k"
            )
        if not catalogue.available[item]:
            raise InputError(f"item {pin.key!r} is not available", remedy="pin another")
        if gone[item]:
            continue
        if not allowed[item]:
            raise InputError(f"item {pin.key!r} is pinned, and its category ruled out", remedy="drop one of the two")
        out[pin.rank - 1] = item
    counts = Counts(rules, catalogue)
    for item in out.values():
        if not counts.room(item):
            raise InputError(
                f"item {catalogue.keys[item]!r} is pinned over a cap", remedy="drop a pin or raise the cap"
            )
        counts.add(item)
    return out


class Counts:
    """How many items of each category stand on the slate, against the caps."""

    def __init__(self, rules: SlateRules, catalogue: Catalogue) -> None:
        self._categories = catalogue.categories
        self._of_each = next((cap.most for cap in rules.caps if cap.category is None), None)
        self._most = {cap.category: cap.most for cap in rules.caps if cap.category is not None}
        self._count: dict[str, int] = {}

    def room(self, item: int) -> bool:
        """Whether the slate bears one more item of its categories."""
        limits = ((name, self._most.get(name, self._of_each)) for name in self._categories[item])
        return all(most is None or self._count.get(name, 0) < most for name, most in limits)

    def add(self, item: int) -> None:
        """Count an item in each of its categories."""
        for name in self._categories[item]:
            self._count[name] = self._count.get(name, 0) + 1


def _fill(rules: SlateRules, shelf: Shelf, allowed: Tensor, pinned: Mapping[int, int]) -> list[int]:
    """The slate under `rules`: at most k items, fewer where no more are left; pins then close up."""
    order = shelf.score.masked_fill(~allowed, -torch.inf).sort(descending=True, stable=True)
    left = order.indices[order.values > -torch.inf]
    left = left[~torch.isin(left, torch.tensor(list(pinned.values()), dtype=torch.int64))]
    counts = Counts(rules, shelf.catalogue)
    for item in pinned.values():
        counts.add(item)
    free = [place for place in range(shelf.k) if place not in pinned]
    chosen: list[int] = []
    if rules.diversity:
        chosen = _diverse(rules, shelf, left[: POOL + 10 * shelf.k], len(free), counts, list(pinned.values()))
        left = left[POOL + 10 * shelf.k :]
    for item in left.tolist() if len(chosen) < len(free) else ():
        if counts.room(item):
            counts.add(item)
            chosen.append(item)
        if len(chosen) == len(free):
            break
    slate = {**pinned, **dict(zip(free, chosen, strict=False))}
    return [slate[place] for place in sorted(slate)]


def _diverse(rules: SlateRules, shelf: Shelf, pool: Tensor, n: int, counts: Counts, standing: list[int]) -> list[int]:
    """At most n items of `pool` (best first) by maximal marginal relevance, beside those that stand already."""
    chosen: list[int] = []
    if not len(pool):
        return chosen
    score = shelf.score[pool]
    relevance = (score - score[-1]) / (score[0] - score[-1]).clamp(min=1e-12)
    vector, beside = (F.normalize(shelf.vector[items].double(), dim=1) for items in (pool, standing))
    alike = (vector @ beside.T).amax(1) if standing else torch.zeros_like(relevance)
    free = torch.ones(len(pool), dtype=torch.bool)
    while len(chosen) < n:
        for place in free.nonzero().squeeze(1).tolist() if rules.caps else ():
            free[place] = counts.room(int(pool[place]))
        if not free.any():
            break
        gain = (1 - rules.diversity) * relevance - rules.diversity * alike
        place = int(gain.masked_fill(~free, -torch.inf).argmax())
        free[place] = False
        mine = vector @ vector[place]
        alike = torch.maximum(alike, mine) if chosen or standing else mine
        chosen.append(int(pool[place]))
        counts.add(chosen[-1])
    return chosen


def _difference(
    catalogue: Catalogue, rule: str, before: list[int], after: list[int], *, pinned: set[int]
) -> list[dict[str, Any]]:
    """What a rule took out, put in, or moved; only pins and diversity move anything by themselves."""
    was, now = ({item: place + 1 for place, item in enumerate(slate)} for slate in (before, after))
    mine = pinned if rule == "pin" else set(after) if rule == "diversity" else set()
    lines = [_line(catalogue, rule, "taken out", item, was[item], None) for item in before if item not in now]
    for item in after:
        if item not in was:
            lines.append(_line(catalogue, rule, "put in", item, None, now[item]))
        elif item in mine and was[item] != now[item]:
            lines.append(_line(catalogue, rule, "moved", item, was[item], now[item]))
    return lines


def _line(
    catalogue: Catalogue, rule: str, change: str, item: int, before: int | None, after: int | None
) -> dict[str, Any]:
    named = {"key": catalogue.keys[item], "title": catalogue.titles[item]}
    return {"rule": rule, "change": change, **named, "before": before, "after": after}
