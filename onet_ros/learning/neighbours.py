"""Other things on the table: plain bodies that stand near an object, often in front of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

MOST = 3  # per object
BOX, CYLINDER, ELLIPSOID = 0, 1, 2
_TINY = 1e-9


@dataclass(frozen=True)
class Neighbours:
    """Up to MOST upright bodies beside each of N objects, world frame, metres.

    Attributes:
        centre: (N, MOST, 3).
        half: (N, MOST, 3) half extents along the body's own axes; a cylinder's radius is the smaller of the first two.
        turn: (N, MOST) radians about z.
        kind: (N, MOST) int64, BOX, CYLINDER or ELLIPSOID.
        present: (N, MOST) bool.
    """

    centre: Tensor
    half: Tensor
    turn: Tensor
    kind: Tensor
    present: Tensor

    def trace(self, origins: Tensor, directions: Tensor) -> Tensor:
        """Where rays first meet a body: (N, m) such that origin + t * direction is there; inf where none is met.

        Args:
            origins: (N, m, 3) or (N, 1, 3), metres, outside of all bodies.
            directions: (N, m, 3), any length.
        """
        nearest = torch.full(directions.shape[:2], torch.inf, device=directions.device)
        for i in range(MOST):
            o, d = (_turned(v, self.turn[:, i]) for v in (origins - self.centre[:, i].unsqueeze(1), directions))
            half, kind = self.half[:, i].unsqueeze(1), self.kind[:, i].unsqueeze(1)
            met = torch.where(kind == BOX, _meet_box(o, d, half), _meet_ellipsoid(o, d, half))
            met = torch.where(kind == CYLINDER, _meet_cylinder(o, d, half), met)
            nearest = torch.where(self.present[:, i].unsqueeze(1), torch.minimum(nearest, met), nearest)
        return nearest


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
    middle = towards * (edge + gap + half[..., :2].norm(dim=2)).unsqueeze(2)
    return Neighbours(
        centre=torch.cat([middle, half[..., 2:]], dim=2),
        half=half,
        turn=uniform(0.0, math.pi, MOST),
        kind=uniform(0.0, 3.0, MOST).long().clamp(max=ELLIPSOID),
        present=present,
    )


def _turned(v: Tensor, turn: Tensor) -> Tensor:
    """(N, m, 3) world -> the axes of bodies turned by `turn` (N,) about z."""
    c, s = turn.cos().unsqueeze(1), turn.sin().unsqueeze(1)
    return torch.stack([c * v[..., 0] + s * v[..., 1], c * v[..., 1] - s * v[..., 0], v[..., 2]], dim=2)


def _meet_box(o: Tensor, d: Tensor, half: Tensor) -> Tensor:
    """Rays o + t d against boxes |p| <= half: entry of the interval common to the three pairs of planes."""
    inverse = 1.0 / torch.where(d.abs() < _TINY, torch.full_like(d, _TINY), d)
    a, b = (-half - o) * inverse, (half - o) * inverse
    enter, leave = torch.minimum(a, b).amax(dim=2), torch.maximum(a, b).amin(dim=2)
    return torch.where((enter < leave) & (enter > 0.0), enter, torch.inf)


def _meet_ellipsoid(o: Tensor, d: Tensor, half: Tensor) -> Tensor:
    """Rays against |p / half| <= 1: nearer root of a quadratic."""
    o, d = o / half, d / half
    return _nearer_root(d.square().sum(dim=2), (o * d).sum(dim=2), o.square().sum(dim=2) - 1.0)


def _meet_cylinder(o: Tensor, d: Tensor, half: Tensor) -> Tensor:
    """Rays against upright cylinders: the wall where it is met between the caps, or else the cap in between."""
    radius, height = half[..., :2].amin(dim=2), half[..., 2]
    flat_o, flat_d = o[..., :2], d[..., :2]
    squared = radius.square()
    wall = _nearer_root(flat_d.square().sum(dim=2), (flat_o * flat_d).sum(dim=2), flat_o.square().sum(dim=2) - squared)
    wall = torch.where((o[..., 2] + wall * d[..., 2]).abs() <= height, wall, torch.inf)
    down = torch.where(d[..., 2].abs() < _TINY, torch.full_like(wall, _TINY), d[..., 2])
    cap = (-height * down.sign() - o[..., 2]) / down
    inside = (flat_o + cap.unsqueeze(2) * flat_d).square().sum(dim=2) <= squared
    return torch.minimum(wall, torch.where(inside & (cap > 0.0), cap, torch.inf))


def _nearer_root(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The smaller t with a t^2 + 2 b t + c = 0, where it is real and positive; inf elsewhere."""
    determinant = b.square() - a * c
    t = (-b - determinant.clamp(min=0.0).sqrt()) / a.clamp(min=_TINY)
    return torch.where((determinant > 0.0) & (t > 0.0), t, torch.inf)
