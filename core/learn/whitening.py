"""Whitening of the texts' vectors, fitted on a catalogue. Apart from the language model, which serving never loads."""

from dataclasses import dataclass

import torch
from torch import Tensor

_ROWS = 65_536  # vectors whose covariance is summed at once


@dataclass(frozen=True)
class Whitening:
    """PCA whitening fitted on a catalogue: (x - mean) @ projection has unit variance. mean (D,), projection (D, T)."""

    mean: Tensor
    projection: Tensor

    def __call__(self, raw: Tensor) -> Tensor:
        """(I, D) -> (I, T)."""
        return (raw - self.mean) @ self.projection

    def to(self, device: str) -> "Whitening":
        """The same on another device."""
        return Whitening(self.mean.to(device), self.projection.to(device))


def fit_whitening(raw: Tensor, dim: int) -> Whitening:
    """The leading `dim` principal directions of `raw` (I, D), scaled to unit variance; directions without variance
    (a catalogue of few or equal texts) are left out, so T may be smaller than `dim`, but is at least one."""
    mean = raw.mean(0, dtype=torch.float64)
    centred = (some.double() - mean for some in torch.split(raw, _ROWS))
    covariance = sum((some.T @ some for some in centred), torch.zeros(len(mean), len(mean), dtype=torch.float64))
    variance, directions = torch.linalg.eigh(covariance / max(len(raw) - 1, 1))
    deviation, directions = variance.flip(0).clamp(min=0).sqrt(), directions.flip(1)
    kept = max(1, min(dim, len(raw) - 1, int((deviation > 1e-5 * deviation.max().clamp(min=1e-12)).sum())))
    scale = 1 / deviation[:kept].clamp(min=1e-6)
    return Whitening(mean.float(), (directions[:, :kept] * scale).float())
