"""Boxes and blocks: cartons, books, bricks with studs, prisms, soap, devices."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onet_ros.learning import primitives as sd
from onet_ros.learning.primitives import column
from onet_ros.learning.solid import Draw, Solid, points_2d


def carton(draw: Draw) -> Solid:
    """Cartons, books, blocks and dice, sharp or rounded."""
    half = draw.log_uniform(0.015, 0.12, 3)
    half = torch.where(draw.chance(0.5)[:, None], half, half.sort(dim=1).values)  # half of them stand tall
    smallest = half.amin(dim=1)
    rounding = torch.where(draw.chance(0.6), draw.uniform(0.0, 0.08), draw.uniform(0.08, 0.6)) * smallest
    lean = draw.uniform(0.0, 0.25) * draw.chance(0.25)  # tapered tubs and trays

    def distance(p: Tensor) -> Tensor:
        q, stretch = taper(p, half, lean)
        return sd.box(q, half, rounding) * column(stretch)

    return Solid(distance, half.norm(dim=1) * (1.0 + 1.5 * lean), upright=0.6)


def gable(draw: Draw) -> Solid:
    """Milk cartons, tents and wedges: a prism over a five-cornered front."""
    half_x, half_y = draw.log_uniform(0.02, 0.06), draw.log_uniform(0.015, 0.08)
    wall = half_x * draw.log_uniform(0.2, 5.0)
    wall = wall.clamp(max=0.2)
    roof = half_x * draw.uniform(0.3, 1.6)
    ridge = half_x * draw.uniform(-1.0, 1.0) * draw.chance(0.4)
    height = wall + roof
    corners = points_2d(
        (-half_x, -height / 2),
        (half_x, -height / 2),
        (half_x, wall - height / 2),
        (ridge, height / 2),
        (-half_x, wall - height / 2),
    )
    reach = torch.sqrt(half_x**2 + half_y**2 + (height / 2) ** 2)

    def distance(p: Tensor) -> Tensor:
        return sd.extrusion(sd.swap_axes(p, (0, 2, 1)), corners, half_y, draw.zeros() + 1e-4)

    return Solid(distance, reach + 1e-3, upright=0.6)


def prism(draw: Draw) -> Solid:
    """Nuts, coasters, stars and other polygons pulled to a height, with or without a hole."""
    sides = 10
    radius = draw.log_uniform(0.015, 0.08)
    regular = (draw.uniform(3.0, 8.99)).floor()
    angle = torch.arange(sides, device=draw.device)[None] / regular[:, None]
    angle = torch.where(angle < 1.0, angle, torch.zeros_like(angle)) * 2.0 * math.pi  # spare corners repeat the first
    irregular = 1.0 + draw.uniform(-0.45, 0.3, sides) * draw.chance(0.5)[:, None]
    irregular = torch.where(angle > 0.0, irregular, irregular[:, :1])
    corners = torch.stack([angle.cos(), angle.sin()], dim=2) * (radius[:, None] * irregular)[..., None]
    half_height = radius * draw.log_uniform(0.15, 2.5)
    rounding = torch.minimum(radius, half_height) * draw.uniform(0.0, 0.2) + 1e-4
    hole = torch.where(draw.chance(0.35), radius * draw.uniform(0.15, 0.4), draw.zeros() - 1.0)
    reach = torch.hypot(radius * 1.3 + rounding, half_height)

    def distance(p: Tensor) -> Tensor:
        body = sd.extrusion(p, corners, half_height, rounding)
        return sd.difference(body, p[..., :2].norm(dim=2) - column(hole))

    return Solid(distance, reach, upright=0.6)


def stud_brick(draw: Draw) -> Solid:
    """Toy bricks with studs, hollow from below, and foam or clay bricks with holes."""
    pitch = draw.log_uniform(0.008, 0.02)
    count_x, count_y = draw.uniform(1.0, 4.99).floor(), draw.uniform(1.0, 2.99).floor()
    half = torch.stack([count_x * pitch / 2, count_y * pitch / 2, pitch * draw.uniform(0.3, 0.8)], dim=1)
    stud_radius, stud_height = pitch * draw.uniform(0.25, 0.34), pitch * draw.uniform(0.15, 0.28)
    wall = torch.maximum(pitch * draw.uniform(0.08, 0.2), draw.zeros() + 0.0012)
    hollow = draw.chance(0.6)
    holes = draw.chance(0.25)  # holes instead of studs
    top = half[:, 2]

    def distance(p: Tensor) -> Tensor:
        body = sd.box(p, half, 0.02 * pitch)
        # All studs at once: fold the query into the cell of its nearest stud.
        q = torch.stack([_fold(p[..., 0], pitch, count_x), _fold(p[..., 1], pitch, count_y), p[..., 2]], dim=2)
        shift = torch.stack([draw.zeros(), draw.zeros(), top], dim=1).unsqueeze(1)
        stud = sd.cylinder(q - shift, stud_radius, stud_height, draw.zeros())
        shaft = q[..., :2].norm(dim=2) - column(stud_radius)
        solid = torch.where(column(holes), sd.difference(body, shaft), torch.minimum(body, stud))
        inner = half - wall.unsqueeze(1)
        below = torch.stack([draw.zeros(), draw.zeros(), -2.0 * wall], dim=1).unsqueeze(1)
        cavity = sd.box(p - below, inner + torch.stack([draw.zeros(), draw.zeros(), wall], 1), draw.zeros())
        return torch.where(column(hollow & ~holes), sd.difference(solid, cavity), solid)

    return Solid(distance, half.norm(dim=1) + stud_height, upright=0.75)


def soap(draw: Draw) -> Solid:
    """Superquadrics: soap, pebbles, eggs, cushions, pills."""
    half = draw.log_uniform(0.012, 0.07, 3)
    exponent_xy, exponent_z = draw.log_uniform(1.3, 8.0), draw.log_uniform(1.3, 8.0)
    lean = draw.uniform(0.0, 0.35) * draw.chance(0.5)

    def distance(p: Tensor) -> Tensor:
        q, stretch = taper(p, half, lean)
        return sd.superquadric(q, half, exponent_xy, exponent_z) * column(stretch)

    return Solid(distance, half.norm(dim=1) * (1.0 + 1.5 * lean), upright=0.5)


def device(draw: Draw) -> Solid:
    """Computer mice, remotes, phones, boxes with a raised part: flat, rounded, cut off below."""
    half = torch.stack(
        [draw.log_uniform(0.035, 0.1), draw.log_uniform(0.02, 0.045), draw.log_uniform(0.006, 0.03)], dim=1
    )
    dome = draw.chance(0.6)
    shift = half[:, 0] * draw.uniform(-0.35, 0.35)
    bump = half * torch.stack([draw.uniform(0.3, 0.7), draw.uniform(0.4, 0.9), draw.uniform(0.2, 0.8)], dim=1)
    exponent_xy, exponent_z = draw.uniform(2.2, 5.0), draw.uniform(1.8, 3.0)

    def distance(p: Tensor) -> Tensor:
        domed = torch.cat([half[:, :2], 2.0 * half[:, 2:]], dim=1)
        low = torch.stack([draw.zeros(), draw.zeros(), -half[:, 2]], dim=1).unsqueeze(1)
        shell = sd.superquadric(p - low, domed, exponent_xy, exponent_z)
        mouse = torch.maximum(shell, -(p[..., 2] + column(half[:, 2])))
        lift = torch.stack([shift, draw.zeros(), half[:, 2]], dim=1).unsqueeze(1)
        box = sd.box(p, half, half[:, 2] * 0.4)
        raised = sd.smooth_union(box, sd.box(p - lift, bump, bump.amin(dim=1) * 0.4), half[:, 2] * 0.3)
        return torch.where(column(dome), mouse, raised)

    return Solid(distance, half.norm(dim=1) * 1.7, upright=0.8)


def crate(draw: Draw) -> Solid:
    """Open boxes: trays, crates, drawers, baskets, soap dishes."""
    half = torch.stack(
        [draw.log_uniform(0.03, 0.14), draw.log_uniform(0.03, 0.1), draw.log_uniform(0.012, 0.08)], dim=1
    )
    wall = draw.log_uniform(0.002, 0.007)
    rounding = half.amin(dim=1) * draw.uniform(0.02, 0.5)
    lean = draw.uniform(-0.25, 0.0)  # wider above
    # The hollow: the box shrunk by the wall and pulled out through the open top.
    up = torch.stack([draw.zeros(), draw.zeros(), half[:, 2] * 2.0], dim=1)
    hollow_half = half - wall[:, None] + up
    hollow_centre = up + torch.stack([draw.zeros(), draw.zeros(), wall], dim=1)
    hollow_rounding = (rounding - wall).clamp(min=1e-4)

    def distance(p: Tensor) -> Tensor:
        q, stretch = taper(p, half, lean)
        body = torch.maximum(sd.box(q, half, rounding), q[..., 2] - column(half[:, 2] * 0.8))  # a flat rim
        hollow = sd.box(q - hollow_centre.unsqueeze(1), hollow_half, hollow_rounding)
        return sd.difference(body, hollow) * column(stretch)

    return Solid(distance, half.norm(dim=1) * (1.0 + 1.5 * lean.abs()), upright=0.9)


def taper(p: Tensor, half: Tensor, lean: Tensor) -> tuple[Tensor, Tensor]:
    """Widen queries with height, so that a solid with half extents `half` (n, 3) narrows from its middle to its top.

    Args:
        lean: (n,) share of the width lost from middle to top, -0.5 to 0.5; less for flat solids, so that walls
            never lean by more than that slope.

    Returns:
        The warped queries, and the factor (n,) by which a distance must shrink to stay a bound: for q = xy / w(z) and
        a surface point y, |q(p) - q(y)| <= |p - y| (1 + r |w'|) / w_min, with r the solid's radius.
    """
    radius = half[:, :2].norm(dim=1)
    slope = lean * (half[:, 2] / radius).clamp(max=1.0)
    width = 1.0 - column(slope) * (p[..., 2] / column(half[:, 2])).clamp(-1.5, 1.5)
    q = torch.stack([p[..., 0] / width, p[..., 1] / width, p[..., 2]], dim=2)
    bound = (1.0 - 1.5 * slope.abs()) / (1.0 + slope.abs() * radius / half[:, 2])
    return q, bound


def _fold(x: Tensor, pitch: Tensor, count: Tensor) -> Tensor:
    """Offset of x from the nearest of `count` positions spaced by `pitch` about the origin."""
    first = (count - 1.0) / 2.0
    index = torch.minimum((x / column(pitch) + column(first)).round().clamp(min=0.0), column(count - 1.0))
    return x - (index - column(first)) * column(pitch)
