"""What items are like by their content alone: unit vectors of their texts, of their categories, and of both.

A history's likeness to an item is the inner product of the item's vector with the decayed sum of the history's: nearest
neighbours as a linear form (`core.learn.closed`), to which an item that nobody has had yet is like any other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from core.learn.memory import CONTENT_DIM
from core.learn.whitening import Whitening


@dataclass(frozen=True)
class Content:
    """text (I, T) float32, the texts' leading directions in order, each of variance 1, with their deviations, scale
    (T,); categories (I, C) float32 of 0 and 1. T and C are at most CONTENT_DIM, 0 where there is none of the kind."""

    text: Tensor
    scale: Tensor
    categories: Tensor

    @classmethod
    def of(cls, categories: Sequence[Sequence[str]], texts: tuple[Tensor, Whitening] | None) -> "Content":
        """From each item's categories, and the language model's vectors (I, D), untuned, with their whitening."""
        text, scale = torch.zeros(len(categories), 0), torch.zeros(0)
        if texts is not None:
            frozen, whitening = texts
            leading = Whitening(whitening.mean, whitening.projection[:, :CONTENT_DIM])
            text, scale = leading(frozen), 1 / leading.projection.norm(dim=0)
        return cls(text, scale, _of_categories(categories))

    @property
    def dim(self) -> int:
        """Numbers of an item's widest vector."""
        return self.text.shape[1] + self.categories.shape[1]

    def vectors(self) -> Iterator[Tensor]:
        """(I, F) float32 each, rows of length 1, or 0 where an item has no such content: texts as they vary, texts with
        every direction alike, categories, and the first of these beside categories, half of it each."""
        texts = F.normalize(self.text * self.scale, dim=1)
        named = F.normalize(self.categories, dim=1)
        if self.text.shape[1]:
            yield texts
            yield F.normalize(self.text, dim=1)
        if self.categories.shape[1]:
            yield named
            if self.text.shape[1]:
                yield torch.cat([texts, named], dim=1) / 2**0.5


def _of_categories(categories: Sequence[Sequence[str]]) -> Tensor:
    """(I, C) float32: 1 where an item is of one of the CONTENT_DIM most frequent categories."""
    counts: dict[str, int] = {}
    for own in categories:
        for name in own:
            counts[name] = counts.get(name, 0) + 1
    kept = sorted(counts, key=lambda name: (-counts[name], name))[:CONTENT_DIM]
    place = {name: column for column, name in enumerate(kept)}
    told = torch.zeros(len(categories), len(kept))
    for item, own in enumerate(categories):
        told[item, [place[name] for name in own if name in place]] = 1.0
    return told
