"""Tools and utensils: long things with heads, jaws, rings and blades."""

from __future__ import annotations

import torch
from torch import Tensor

from onet_ros.learning import primitives as sd
from onet_ros.learning.primitives import column
from onet_ros.learning.solid import Draw, Solid, points_2d, points_3d


def screwdriver(draw: Draw) -> Solid:
    """Screwdrivers, brushes, markers and torches: a turned handle, a thinner shaft, perhaps a thicker head."""
    length = draw.log_uniform(0.09, 0.3)
    share = draw.uniform(0.3, 0.85)  # of the handle
    grip = length * draw.log_uniform(0.045, 0.15)
    shaft = torch.maximum(grip * draw.uniform(0.15, 0.8), draw.zeros() + 0.0025)
    head = torch.where(draw.chance(0.4), shaft * draw.uniform(1.0, 2.2), shaft)
    waist = draw.uniform(0.75, 1.0)
    bevel = grip * draw.uniform(0.05, 0.5)
    end = length * share
    profile = points_2d(
        (draw.zeros(), draw.zeros()),
        (grip - bevel, draw.zeros()),
        (grip, bevel),
        (grip, end * 0.3),
        (grip * waist, end * 0.6),
        (grip * 0.95, end - bevel),
        (shaft, end),
        (shaft, length * (share * 0.2 + 0.8)),
        (head, length * (share * 0.1 + 0.9)),
        (head * 0.7, length),
        (draw.zeros(), length),
    )
    half = torch.stack([draw.zeros(), draw.zeros(), length / 2], dim=1).unsqueeze(1)
    reach = torch.hypot(torch.maximum(grip, head), length / 2) + 1e-3
    return Solid(lambda p: sd.lathe(p + half, profile), reach, upright=0.05)


def hammer(draw: Draw) -> Solid:
    """Hammers, mallets, axes and hairbrushes: a handle with a cross-piece at its end."""
    length = draw.log_uniform(0.12, 0.33)
    grip = length * draw.uniform(0.03, 0.065)
    head = torch.stack(
        [length * draw.uniform(0.12, 0.28), grip * draw.uniform(0.9, 1.8), grip * draw.uniform(0.9, 2.2)], 1
    )
    round_head = draw.chance(0.5)
    offset = head[:, 0] * draw.uniform(-0.4, 0.4)
    peen = draw.uniform(0.25, 1.0)
    path = points_3d(
        (draw.zeros(), draw.zeros(), -length / 2),
        (length * draw.uniform(-0.02, 0.02), draw.zeros(), draw.zeros()),
        (draw.zeros(), draw.zeros(), length / 2),
    )
    radii = torch.stack([grip, grip * draw.uniform(0.75, 1.1), grip * draw.uniform(0.5, 0.8)], dim=1)
    reach = torch.hypot(length / 2 + head[:, 2], head[:, 0] + offset.abs()) + grip

    def distance(p: Tensor) -> Tensor:
        at = torch.stack([offset, draw.zeros(), length / 2], dim=1).unsqueeze(1)
        q = p - at
        block = sd.box(q, head, head.amin(dim=1) * 0.2)
        tip = torch.stack([head[:, 0], draw.zeros(), draw.zeros()], dim=1)
        barrel = sd.round_cone(q, -tip, tip, head[:, 1], head[:, 1] * peen)
        return torch.minimum(sd.sweep(p, path, radii), torch.where(column(round_head), barrel, block))

    return Solid(distance, reach, upright=0.03)


def wrench(draw: Draw) -> Solid:
    """Spanners and bottle openers: flat, with a jaw or a ring at each end."""
    length = draw.log_uniform(0.09, 0.26)
    width = length * draw.uniform(0.035, 0.07)
    thick = torch.maximum(width * draw.uniform(0.3, 0.7), draw.zeros() + 0.002)
    head = width * draw.uniform(1.5, 2.5)
    opening = head * draw.uniform(0.4, 0.65)
    ring = draw.chance(0.6)
    centre = length / 2 - head
    zero = draw.zeros()

    def distance(p: Tensor) -> Tensor:
        x, y = p[..., 0], p[..., 1]
        bar = torch.hypot(torch.relu(x.abs() - column(centre)), y) - column(width)
        jaw = torch.hypot(x - column(centre), y) - column(head)
        slot = torch.maximum(y.abs() - column(opening), column(centre - head * 0.2) - x)
        jaw = torch.maximum(torch.minimum(jaw, bar), -slot)
        far = torch.hypot(x + column(centre), y)
        eye = torch.maximum(torch.minimum(far - column(head * 0.85), jaw), column(opening) - far)
        flat = torch.where(column(ring), eye, jaw)
        return sd.slab(flat, p[..., 2], thick, zero + 1e-4)

    return Solid(distance, length / 2 + head, upright=0.7)


def scissors(draw: Draw) -> Solid:
    """Scissors, pliers and tongs: two arms that cross at a pivot, rings or plain grips behind it."""
    length = draw.log_uniform(0.09, 0.24)
    angle = draw.uniform(0.06, 0.5)
    front, back = length * draw.uniform(0.35, 0.6), length * draw.uniform(0.35, 0.5)
    thick = torch.maximum(length * draw.uniform(0.015, 0.035), draw.zeros() + 0.002)
    bow = back * draw.uniform(0.0, 0.35)
    rings = draw.chance(0.55)
    ring = back * draw.uniform(0.25, 0.38)
    zero = draw.zeros()
    radii = torch.stack([thick * 0.6, thick, thick, thick], dim=1)

    def arm(p: Tensor, side: float) -> Tensor:
        c, s = angle.cos(), angle.sin() * side
        path = points_3d(
            (front * c, front * s * 0.6, zero),
            (zero, zero, zero),
            (-back * c * 0.5, -back * s - bow * side, zero),
            (-back * c, -back * s * 1.2, zero),
        )
        blade = sd.sweep(p, path, radii)
        eye = torch.stack([-back * c - ring * 0.8, -back * s * 1.2 - ring * 0.4 * side, zero], dim=1)
        loop = sd.torus(p - eye.unsqueeze(1), ring, thick)
        return torch.where(column(rings), torch.minimum(blade, loop), blade)

    reach = torch.maximum(front, back + 2.2 * ring) + back * 0.7 + thick
    return Solid(lambda p: torch.minimum(arm(p, 1.0), arm(p, -1.0)), reach, upright=0.85)


def clamp(draw: Draw) -> Solid:
    """C and spring clamps, hooks, headphones: a bent bar with feet, with or without a screw."""
    width, height = draw.log_uniform(0.03, 0.12), draw.log_uniform(0.03, 0.12)
    thick = torch.maximum(torch.minimum(width, height) * draw.uniform(0.06, 0.16), draw.zeros() + 0.003)
    round_back = draw.uniform(0.0, 0.5)
    zero = draw.zeros()
    depth = draw.uniform(1.0, 2.5)  # the bar is deeper than it is thick
    path = points_3d(
        (width / 2, zero, height / 2),
        (-width * 0.2, zero, height / 2),
        (-width / 2, zero, height / 2 * (1 - round_back)),
        (-width / 2, zero, -height / 2 * (1 - round_back)),
        (-width * 0.2, zero, -height / 2),
        (width * draw.uniform(0.2, 0.5), zero, -height / 2),
    )
    radii = thick[:, None].expand(-1, 6)
    screw = draw.chance(0.4)
    screw_top, screw_low = height * draw.uniform(0.6, 0.95), height * draw.uniform(-0.4, 0.3)
    screw_path = points_3d((width * 0.4, zero, screw_top), (width * 0.4, zero, screw_low))
    reach = torch.hypot(width / 2, height) + thick * depth

    def distance(p: Tensor) -> Tensor:
        q = torch.stack([p[..., 0], p[..., 1] / column(depth), p[..., 2]], dim=2)
        bar = sd.sweep(q, path, radii)
        bolt = sd.round_cone(p, screw_path[:, 0], screw_path[:, 1], thick * 1.3, thick * 0.8)
        return torch.where(column(screw), torch.minimum(bar, bolt), bar)

    return Solid(distance, reach, upright=0.2)


def spoon(draw: Draw) -> Solid:
    """Spoons, spatulas, knives and paddles: a slim handle and a broad thin end."""
    length = draw.log_uniform(0.1, 0.32)
    thick = torch.maximum(length * draw.uniform(0.01, 0.025), draw.zeros() + 0.0015)
    blade = torch.stack([length * draw.uniform(0.12, 0.28), length * draw.uniform(0.05, 0.14), thick], dim=1)
    hollow = blade[:, 1] * draw.uniform(0.0, 0.8) * draw.chance(0.5)
    centre = length / 2 - blade[:, 0]
    zero = draw.zeros()
    path = points_3d(
        (-length / 2, zero, length * draw.uniform(0.0, 0.08)),
        (zero, zero, thick),
        (centre - blade[:, 0] * 0.8, zero, zero),
    )
    radii = torch.stack([thick * draw.uniform(1.0, 2.5), thick * 1.2, thick * 1.2], dim=1)
    exponent = draw.uniform(2.0, 6.0)

    def distance(p: Tensor) -> Tensor:
        q = p - torch.stack([centre, zero, zero], dim=1).unsqueeze(1)
        plate = sd.superquadric(q, torch.stack([blade[:, 0], blade[:, 1], blade[:, 1]], 1), exponent, zero + 2.0)
        inner = plate + column(thick * 2.0)
        # A cup-shaped end is a shell of half an ellipsoid; a flat one is a slab of it.
        shell = torch.maximum(torch.maximum(plate, -inner), q[..., 2])
        slab = torch.maximum(plate, q[..., 2].abs() - column(thick))
        end = torch.where(column(hollow > 0.0), shell, slab)
        return torch.minimum(end, sd.sweep(p, path, radii))

    return Solid(distance, length / 2 + blade[:, 1] + thick * 3.0, upright=0.7)


def pistol(draw: Draw) -> Solid:
    """Drills, spray guns, hair dryers, glue guns, watering nozzles: a barrel, a grip, perhaps a foot."""
    barrel = draw.log_uniform(0.05, 0.12)
    radius = barrel * draw.uniform(0.2, 0.42)
    nose = radius * draw.uniform(0.3, 1.0)
    grip_length = barrel * draw.uniform(0.8, 1.6)
    lean = grip_length * draw.uniform(-0.1, 0.35)
    grip = radius * draw.uniform(0.45, 0.8)
    zero = draw.zeros()
    foot = torch.stack(
        [radius * draw.uniform(0.8, 1.5), radius * draw.uniform(0.6, 1.0), radius * draw.uniform(0.15, 0.5)], 1
    )
    with_foot = draw.chance(0.6)
    start = barrel * draw.uniform(-0.6, 0.0)
    end = torch.stack([start - lean, zero, -radius - grip_length], dim=1)
    reach = barrel + grip_length + radius * 1.6

    def distance(p: Tensor) -> Tensor:
        a, b = torch.stack([-barrel, zero, zero], 1), torch.stack([barrel, zero, zero], 1)
        body = sd.round_cone(p, a, b, radius, nose)
        handle = sd.round_cone(p, torch.stack([start, zero, zero], 1), end, grip, grip * 0.95)
        joined = sd.smooth_union(body, handle, radius * 0.4)
        base = sd.box(p - end.unsqueeze(1), foot, foot.amin(dim=1) * 0.3)
        return torch.where(column(with_foot), sd.smooth_union(joined, base, radius * 0.15), joined)

    return Solid(distance, reach, upright=0.35)
