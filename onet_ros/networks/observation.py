"""What a network is told about objects: the camera's evidence, in each object's unit frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Observation:
    """A batch of B observed objects.

    Attributes:
        points: (B, N, 3) float32, unit frame: seen points of the object; N is the same for all (resampled).
        background: (B, M, 3) float32, unit frame: points seen around and behind it; M may be 0. The camera saw through
            to them, so the rays up to them are free.
        viewpoint: (B, 3) float32, unit frame: where the camera stood.
        scale: (B,) float32, metres per unit.
    """

    points: Tensor
    background: Tensor
    viewpoint: Tensor
    scale: Tensor

    def __post_init__(self) -> None:
        batch = self.points.shape[0]
        if self.points.ndim != 3 or self.points.shape[2] != 3 or self.points.shape[1] == 0:
            raise ValueError(f"expected points of shape (B, N, 3) with N >= 1, got {tuple(self.points.shape)}")
        if self.background.ndim != 3 or self.background.shape[::2] != (batch, 3):
            raise ValueError(f"expected background of shape ({batch}, M, 3), got {tuple(self.background.shape)}")
        if self.viewpoint.shape != (batch, 3):
            raise ValueError(f"expected viewpoint of shape ({batch}, 3), got {tuple(self.viewpoint.shape)}")
        if self.scale.shape != (batch,):
            raise ValueError(f"expected scale of shape ({batch},), got {tuple(self.scale.shape)}")

    def to(self, device: torch.device | str) -> Observation:
        return Observation(
            *(tensor.to(device) for tensor in (self.points, self.background, self.viewpoint, self.scale))
        )
