"""Fields whose surfaces are known: signed distances in metres, positive inside, for the tests of onet_ros.surface."""

from __future__ import annotations

import torch
from torch import Tensor

from onet_ros.surface import Field

LOWER, UPPER = (-0.5, -0.5, -0.5), (0.5, 0.5, 0.5)


def sphere(radius: float, center: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Field:
    return lambda points: radius - (points - torch.tensor(center)).norm(dim=1)


def torus(major: float, minor: float) -> Field:
    return lambda p: minor - torch.stack([p[:, :2].norm(dim=1) - major, p[:, 2]], dim=1).norm(dim=1)


def _box_distance(offsets: Tensor) -> Tensor:
    """offsets (N, D): how far a point lies outside each pair of faces, negative inside; result positive inside."""
    return -(offsets.clamp(min=0).norm(dim=1) + offsets.amax(dim=1).clamp(max=0))


def box(half_size: tuple[float, float, float], turned: bool = False) -> Field:
    """An axis-aligned box, or one turned so that no face is parallel to the grid."""
    rotation = _rotation() if turned else torch.eye(3)
    return lambda points: _box_distance((points @ rotation).abs() - torch.tensor(half_size))


def cylinder(radius: float, low: float, high: float) -> Field:
    middle, half = (low + high) / 2, (high - low) / 2
    return lambda p: _box_distance(torch.stack([p[:, :2].norm(dim=1) - radius, (p[:, 2] - middle).abs() - half], dim=1))


def union(*fields: Field) -> Field:
    return lambda points: torch.stack([field(points) for field in fields]).amax(dim=0)


def difference(field: Field, hole: Field) -> Field:
    return lambda points: torch.minimum(field(points), -hole(points))


def box_with_hole() -> Field:
    return difference(box((0.35, 0.3, 0.25)), cylinder(0.15, -1.0, 1.0))


def cup(wall: float = 0.03) -> Field:
    return difference(cylinder(0.35, -0.4, 0.4), cylinder(0.35 - wall, -0.4 + wall, 1.0))


def thin_plate(thickness: float = 0.02) -> Field:
    return box((0.4, 0.3, thickness / 2), turned=True)


def two_bodies() -> Field:
    return union(sphere(0.18, (-0.25, 0.1, 0.0)), sphere(0.1, (0.3, -0.2, 0.15)))


def gaussians(seed: int, count: int = 12, width: float = 0.1) -> Field:
    """A sum of positive and negative bumps less an offset: smooth, of any topology; values are no distances."""
    generator = torch.Generator().manual_seed(seed)
    centers = 0.7 * (torch.rand(count, 3, generator=generator) - 0.5)
    widths = width * (0.5 + torch.rand(count, generator=generator))
    heights = 2 * torch.rand(count, generator=generator) - 0.6

    def field(points: Tensor) -> Tensor:
        squares = ((points[:, None] - centers) ** 2).sum(dim=2)
        return (heights * torch.exp(-squares / (2 * widths**2))).sum(dim=1) - 0.15

    return field


def occupancy_logits(distance: Field, slope: float, ceiling: float = 8.0) -> Field:
    """A learned field's look: linear near the surface, flat away from it; the surface is at 0."""
    return lambda points: ceiling * torch.tanh(slope / ceiling * distance(points))


def _rotation() -> Tensor:
    """(3, 3) a fixed rotation about no axis of the grid."""
    return torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
