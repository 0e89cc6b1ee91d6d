"""A batch of solids of one family, and the draws its parameters come from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Solid:
    """n solids of one family, upright in their own frame (z up, near the origin).

    Attributes:
        distance: (n, m, 3) metres -> (n, m) metres, negative inside, never above the true distance in magnitude.
        reach: (n,) metres; a ball of this radius about the origin holds the solid.
        upright: how likely the solid is put down standing rather than anyhow, 0 to 1.
    """

    distance: Callable[[Tensor], Tensor]
    reach: Tensor
    upright: float = 0.6


class Draw:
    """Seeded random parameters for n solids, drawn on the CPU so that every device sees the same shapes."""

    def __init__(self, n: int, generator: torch.Generator, device: torch.device | str = "cpu") -> None:
        self.n = n
        self.generator = generator
        self.device = torch.device(device)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """(n, *shape) uniform in [low, high]."""
        values = torch.rand(self.n, *shape, generator=self.generator)
        return (low + (high - low) * values).to(self.device)

    def log_uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """(n, *shape), uniform on a logarithmic scale: sizes."""
        return self.uniform(math.log(low), math.log(high), *shape).exp()

    def normal(self, *shape: int) -> Tensor:
        """(n, *shape) standard normal."""
        return torch.randn(self.n, *shape, generator=self.generator).to(self.device)

    def chance(self, probability: float) -> Tensor:
        """(n,) bool."""
        return self.uniform(0.0, 1.0) < probability

    def zeros(self, *shape: int) -> Tensor:
        return torch.zeros(self.n, *shape, device=self.device)


def points_2d(*pairs: tuple[Tensor, Tensor]) -> Tensor:
    """k pairs of (n,) coordinates -> (n, k, 2)."""
    return torch.stack([torch.stack(pair, dim=1) for pair in pairs], dim=1)


def points_3d(*triples: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """k triples of (n,) coordinates -> (n, k, 3)."""
    return torch.stack([torch.stack(triple, dim=1) for triple in triples], dim=1)
