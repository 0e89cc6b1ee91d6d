"""Other things on the table: plain bodies that stand near an object, often in front of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from onet_ros.learning import primitives as sd
from onet_ros.learning.primitives import column
from onet_ros.learning.shapes import DistanceField
from onet_ros.learning.tracing import sphere_trace

MOST = 3  # per object


@dataclass(frozen=True)
class Neighbours:
    """Up to MOST bodies beside each of N objects; their union as one distance field in the world frame."""

    distance: DistanceField
    low: Tensor
    high: Tensor

    def trace(self, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor) -> Tensor:
        """As `sphere_trace`."""
        return sphere_trace(self.distance, origins, directions, near, far)


def draw_neighbours(surface: Tensor, probability: float, generator: torch.Generator) -> Neighbours:
    """Bodies around N objects, from touching to 8 cm away, nearly half of them on the camera's side (+x).

    Args:
        surface: (N, P, 3) metres, world: the objects' surfaces; nothing is put into them.
        probability: that there are any.
    """
    n, device = len(surface), surface.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return (low + (high - low) * torch.rand(n, *shape, generator=generator)).to(device)

    present = (uniform(0.0, 1.0) < probability)[:, None] & (uniform(0.0, 1.0, MOST) < 0.55)
    in_front = uniform(0.0, 1.0, MOST) < 0.45
    angle = torch.where(in_front, uniform(-0.9, 0.9, MOST), uniform(-math.pi, math.pi, MOST))
    towards = torch.stack([angle.cos(), angle.sin()], dim=2)  # (N, MOST, 2)
    edge = (surface[..., :2] @ towards.transpose(1, 2)).amax(dim=1)
    half = torch.exp(uniform(math.log(0.012), math.log(0.09), MOST, 3))
    gap = torch.exp(uniform(math.log(0.001), math.log(0.08), MOST))
    centre = towards * (edge + gap + half[..., :2].norm(dim=2)).unsqueeze(2)
    centre = torch.cat([centre, half[..., 2:]], dim=2)
    turn = uniform(0.0, math.pi, MOST)
    kind = uniform(0.0, 3.0, MOST).floor()

    def distance(p: Tensor) -> Tensor:
        nearest = torch.full(p.shape[:2], 9.0, device=p.device)
        for i in range(MOST):
            q = sd.rotate_z(p - centre[:, i].unsqueeze(1), turn[:, i])
            body = _body(q, half[:, i], kind[:, i])
            nearest = torch.minimum(nearest, torch.where(column(present[:, i]), body, nearest))
        return nearest

    reach = half[..., :2].norm(dim=2, keepdim=True)
    low = torch.cat([centre[..., :2] - reach, torch.zeros_like(reach)], dim=2)
    high = torch.cat([centre[..., :2] + reach, 2.0 * half[..., 2:]], dim=2)
    absent = ~present.unsqueeze(2)
    low = low.masked_fill(absent, 9.0).amin(dim=1)
    high = high.masked_fill(absent, -9.0).amax(dim=1)
    return Neighbours(distance, low, high)


def _body(q: Tensor, half: Tensor, kind: Tensor) -> Tensor:
    """Box, cylinder or egg with half extents `half` (n, 3), by `kind` (n,) 0, 1, 2."""
    smallest = half.amin(dim=1)
    block = sd.box(q, half, smallest * 0.1)
    barrel = sd.cylinder(q, half[:, :2].amin(dim=1), half[:, 2], smallest * 0.1)
    egg = sd.ellipsoid(q, half)
    k = column(kind)
    return torch.where(k == 0, block, torch.where(k == 1, barrel, egg))
