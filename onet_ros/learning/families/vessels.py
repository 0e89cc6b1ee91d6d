"""Things of revolution and things that hold something: cans, bottles, cups, bowls, plates, jugs, pans, glasses."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from onet_ros.learning import primitives as sd
from onet_ros.learning.primitives import column
from onet_ros.learning.solid import Draw, Solid, points_2d, points_3d


def can(draw: Draw) -> Solid:
    """Tins and cans with a recessed lid and bevelled rims, from tuna tins to tall drink cans."""
    radius = draw.log_uniform(0.018, 0.07)
    height = radius * draw.log_uniform(0.4, 4.5)
    height = height.clamp(0.02, 0.28)
    bevel = radius * draw.uniform(0.02, 0.2)
    recess = torch.where(draw.chance(0.7), draw.uniform(0.001, 0.006), draw.zeros())
    rim = radius * draw.uniform(0.05, 0.15)
    profile = points_2d(
        (draw.zeros(), draw.zeros()),
        (radius - bevel, draw.zeros()),
        (radius, bevel),
        (radius, height - bevel),
        (radius - bevel * 0.5, height),
        (radius - bevel * 0.5 - rim, height),
        (radius - bevel * 0.5 - rim, height - recess),
        (draw.zeros(), height - recess),
    )
    return _centred(profile, height, upright=0.6)


def jar(draw: Draw) -> Solid:
    """Jars with a lid, wider or narrower than the body."""
    radius = draw.log_uniform(0.02, 0.055)
    height = radius * draw.uniform(1.2, 4.0)
    lid = radius * draw.uniform(0.7, 1.08)
    lid_height = height * draw.uniform(0.1, 0.3)
    bevel = radius * draw.uniform(0.05, 0.25)
    shoulder = height - lid_height - radius * draw.uniform(0.02, 0.35)
    profile = points_2d(
        (draw.zeros(), draw.zeros()),
        (radius - bevel, draw.zeros()),
        (radius, bevel),
        (radius, shoulder),
        (lid * 0.93, height - lid_height),
        (lid, height - lid_height),
        (lid, height - 0.002),
        (lid - 0.002, height),
        (draw.zeros(), height),
    )
    return _centred(profile, height, upright=0.7)


def bottle(draw: Draw) -> Solid:
    """Bottles with shoulder, neck and cap; round, oval or nearly rectangular in section."""
    radius = draw.log_uniform(0.02, 0.06)
    height = radius * draw.uniform(3.0, 7.0)
    height = height.clamp(max=0.34)
    neck = radius * draw.uniform(0.2, 0.55)
    cap = neck * draw.uniform(1.0, 1.5)
    cap_start = height * draw.uniform(0.82, 0.95)
    shoulder_end = cap_start - height * draw.uniform(0.0, 0.15)
    shoulder = shoulder_end - (radius - neck) * draw.uniform(0.3, 2.5)
    shoulder = torch.maximum(shoulder, height * 0.3)
    waist = 1.0 - draw.uniform(0.0, 0.2) * draw.chance(0.4)
    bevel = radius * draw.uniform(0.05, 0.3)
    bend = draw.uniform(0.2, 1.0)  # 1: a quarter of an ellipse, 0: a cone
    arc = []
    for t in (0.3, 0.6, 0.85):
        straight = radius + (neck - radius) * t
        round_ = neck + (radius - neck) * (1.0 - t * t) ** 0.5
        arc.append((straight + (round_ - straight) * bend, shoulder + (shoulder_end - shoulder) * t))
    profile = points_2d(
        (draw.zeros(), draw.zeros()),
        (radius - bevel, draw.zeros()),
        (radius, bevel),
        (radius * waist, shoulder * 0.5),
        (radius, shoulder),
        *arc,
        (neck, shoulder_end),
        (neck, cap_start),
        (cap, cap_start),
        (cap * 0.95, height),
        (draw.zeros(), height),
    )
    squash = torch.where(draw.chance(0.5), draw.uniform(0.45, 1.0), draw.zeros() + 1.0)
    exponent = torch.where(draw.chance(0.4), draw.uniform(2.0, 6.0), draw.zeros() + 2.0)
    return _centred(profile, height, upright=0.6, squash=squash, exponent=exponent)


def cup(draw: Draw) -> Solid:
    """Cups, mugs, tumblers and beakers: hollow, most with a handle."""
    top = draw.log_uniform(0.025, 0.055)
    height = top * draw.uniform(1.2, 3.2)
    bottom = top * draw.uniform(0.6, 1.05)
    belly = draw.uniform(-0.05, 0.12) * top
    wall = draw.log_uniform(0.0018, 0.006)
    floor = draw.uniform(0.002, 0.009)
    outer = [(bottom + (top - bottom) * t + belly * 4.0 * t * (1.0 - t), height * t) for t in (0.03, 0.3, 0.65, 1.0)]
    inner = [(r - wall, torch.maximum(z, floor)) for r, z in reversed(outer[1:])]
    profile = points_2d(
        (draw.zeros(), draw.zeros()),
        (outer[0][0] - height * 0.03, draw.zeros()),
        *outer,
        *inner,
        (outer[0][0] - wall * 1.2, floor + 0.002),
        (outer[0][0] - wall * 1.2 - 0.003, floor),
        (draw.zeros(), floor),
    )
    with_handle = draw.chance(0.7)
    handle, reach_out = _side_handle(draw, outer, height, wall)
    reach = torch.hypot(torch.maximum(top, bottom) + belly.abs() + reach_out, height / 2.0) + 0.004

    def distance(p: Tensor) -> Tensor:
        q = p + _lift(height)
        body = sd.lathe(q, profile)
        # The handle stays outside the inner wall: cut it with the cone of the cavity.
        cavity = _cone(q, bottom - wall, top - wall, height)
        grip = sd.difference(handle(q), cavity)
        return torch.where(column(with_handle), torch.minimum(body, grip), body)

    return Solid(distance, reach, upright=0.65)


def bowl(draw: Draw) -> Solid:
    """Bowls with a foot, 2 to 6 mm thick; upside down now and then."""
    rim = draw.log_uniform(0.04, 0.11)
    return _dish(draw, rim, height=rim * draw.uniform(0.35, 1.0), foot=rim * draw.uniform(0.3, 0.6), upright=0.85)


def plate(draw: Draw) -> Solid:
    """Plates, saucers, trays and lids."""
    rim = draw.log_uniform(0.045, 0.14)
    return _dish(draw, rim, height=rim * draw.uniform(0.1, 0.3), foot=rim * draw.uniform(0.45, 0.75), upright=0.95)


def jug(draw: Draw) -> Solid:
    """Pitchers and vases: hollow with a belly, a neck and often a big handle."""
    height = draw.log_uniform(0.1, 0.28)
    belly = height * draw.uniform(0.25, 0.45)
    foot = belly * draw.uniform(0.5, 0.95)
    neck = belly * draw.uniform(0.4, 0.95)
    rim = torch.maximum(neck, belly * draw.uniform(0.5, 1.0))
    wall = draw.log_uniform(0.002, 0.006)
    floor = draw.uniform(0.003, 0.01)
    outer = [
        (foot, draw.zeros()),
        ((foot + belly) * 0.53, height * 0.15),
        (belly, height * 0.35),
        ((belly + neck) * 0.52, height * 0.6),
        (neck, height * 0.8),
        (rim, height),
    ]
    inner = [(r - wall, torch.maximum(z, floor)) for r, z in reversed(outer[1:])]
    profile = points_2d((draw.zeros(), draw.zeros()), *outer, *inner, (foot - wall, floor), (draw.zeros(), floor))
    with_handle = draw.chance(0.65)
    handle, reach_out = _side_handle(draw, [outer[2], outer[5]], height, wall)
    solid_inside = draw.chance(0.25)  # seen from outside, a closed jug or a detergent bottle with a grip
    reach = torch.hypot(belly + reach_out, height / 2.0) + 0.01

    def distance(p: Tensor) -> Tensor:
        q = p + _lift(height)
        hollow = sd.lathe(q, profile)
        full = sd.lathe(q, points_2d((draw.zeros(), draw.zeros()), *outer, (draw.zeros(), height)))
        body = torch.where(column(solid_inside), full, hollow)
        grip = sd.difference(handle(q), full + column(wall))
        return torch.where(column(with_handle), torch.minimum(body, grip), body)

    return Solid(distance, reach, upright=0.75)


def pan(draw: Draw) -> Solid:
    """Pans and pots: a shallow or deep round wall with a long handle or two short ones."""
    radius = draw.log_uniform(0.05, 0.12)
    height = radius * draw.uniform(0.25, 1.0)
    flare = draw.uniform(0.8, 1.0)
    wall = draw.log_uniform(0.002, 0.005)
    profile = points_2d(
        (draw.zeros(), draw.zeros()),
        (radius * flare - 0.004, draw.zeros()),
        (radius * flare, draw.zeros() + 0.004),
        (radius, height),
        (radius - wall, height),
        (radius * flare - wall, wall + 0.004),
        (radius * flare - wall - 0.004, wall),
        (draw.zeros(), wall),
    )
    length = radius * draw.uniform(0.8, 1.9)
    grip = draw.uniform(0.006, 0.014)
    rise = height * draw.uniform(0.6, 0.95)
    tilt = length * draw.uniform(-0.05, 0.3)
    both = draw.chance(0.35)
    length = torch.where(both, length * 0.25, length)
    path = points_3d(
        (radius - wall / 2.0, draw.zeros(), rise),
        (radius + length * 0.35, draw.zeros(), rise + tilt * 0.4),
        (radius + length, draw.zeros(), rise + tilt),
    )
    radii = torch.stack([grip * 0.55, grip * 0.7, grip], dim=1)
    reach = radius + length + 0.02

    def distance(p: Tensor) -> Tensor:
        q = p + _lift(height)
        body = sd.lathe(q, profile)
        mirrored = torch.stack([torch.where(column(both), q[..., 0].abs(), q[..., 0]), q[..., 1], q[..., 2]], dim=2)
        cavity = sd.cylinder(q - _at(draw.zeros(), height * 2.0), radius - wall, height * 2.0, draw.zeros())
        return torch.minimum(body, sd.difference(sd.sweep(mirrored, path, radii), cavity))

    return Solid(distance, torch.maximum(reach, height * 1.2 + radius), upright=0.95)


def stemware(draw: Draw) -> Solid:
    """Wine glasses, goblets and egg cups: a foot, a stem and a hollow bowl."""
    height = draw.log_uniform(0.08, 0.22)
    foot = height * draw.uniform(0.16, 0.26)
    stem = draw.uniform(0.004, 0.009)
    bowl_start = height * draw.uniform(0.2, 0.5)
    belly = height * draw.uniform(0.16, 0.3)
    rim = belly * draw.uniform(0.7, 1.15)
    wall = draw.log_uniform(0.0018, 0.004)
    middle = bowl_start + (height - bowl_start) * 0.4
    profile = points_2d(
        (draw.zeros(), draw.zeros()),
        (foot, draw.zeros()),
        (foot, draw.zeros() + 0.004),
        (stem * 1.6, draw.zeros() + 0.012),
        (stem, bowl_start * 0.6),
        (stem * 1.3, bowl_start),
        (belly * 0.75, bowl_start + (middle - bowl_start) * 0.35),
        (belly, middle),
        (rim, height),
        (rim - wall, height),
        (belly - wall, middle),
        (belly * 0.75 - wall, bowl_start + (middle - bowl_start) * 0.35 + wall),
        (draw.zeros(), bowl_start + wall * 2.0),
    )
    return _centred(profile, height, upright=0.6)


def tube(draw: Draw) -> Solid:
    """Rings, rolls of tape, pipes and napkin rings."""
    outer = draw.log_uniform(0.015, 0.07)
    inner = outer * draw.uniform(0.35, 0.95)
    inner = torch.minimum(inner, outer - 0.002)
    height = outer * draw.log_uniform(0.2, 4.0)
    height = height.clamp(max=0.3)
    bevel = (outer - inner) * draw.uniform(0.02, 0.3)
    profile = points_2d(
        (inner, draw.zeros()),
        (outer - bevel, draw.zeros()),
        (outer, bevel),
        (outer, height - bevel),
        (outer - bevel, height),
        (inner, height),
    )
    return _centred(profile, height, upright=0.5)


def turned(draw: Draw) -> Solid:
    """Anything from a lathe: bulbs, skittles, knobs, pawns, candles, spinning tops."""
    height = draw.log_uniform(0.03, 0.25)
    slender = draw.log_uniform(0.12, 0.6)
    corners = 9
    radii = draw.uniform(0.35, 1.0, corners)
    smooth = draw.chance(0.6)[:, None]
    neighbours = (torch.roll(radii, 1, 1) + torch.roll(radii, -1, 1)) / 2.0
    radii = torch.where(smooth, (radii + neighbours) / 2.0, radii) * (height * slender)[:, None]
    z = torch.linspace(0.0, 1.0, corners, device=draw.device)[None] * height[:, None]
    body = torch.stack([radii, z], dim=2)
    ends = points_2d((draw.zeros(), draw.zeros())), points_2d((draw.zeros(), height))
    profile = torch.cat([ends[0], body, ends[1]], dim=1)
    return _centred(profile, height, upright=0.4)


def _dish(draw: Draw, rim: Tensor, height: Tensor, foot: Tensor, upright: float) -> Solid:
    wall = draw.log_uniform(0.002, 0.006)
    power = draw.uniform(1.2, 3.0)  # 1: a cone, 2: a parabola, 3: a flat floor with a steep wall
    foot_height = draw.uniform(0.001, 0.008)
    steps = (0.0, 0.3, 0.55, 0.75, 0.9, 1.0)
    outer = [(foot + (rim - foot) * t, foot_height + (height - foot_height) * t**power) for t in steps]
    inner = [(r - wall * 0.8, z + wall * (1.0 - t) * 0.6) for (r, z), t in zip(outer, steps, strict=True)]
    floor = foot_height + wall
    inner = [(r, torch.maximum(z, floor)) for r, z in inner]
    profile = points_2d(
        (draw.zeros(), foot_height),
        (foot * 0.85, foot_height),
        (foot * 0.87, draw.zeros()),
        (foot * 0.97, draw.zeros()),
        *outer,
        *reversed(inner),
        (draw.zeros(), floor),
    )
    return _centred(profile, height, upright=upright)


def _side_handle(
    draw: Draw, outer: list[tuple[Tensor, Tensor]], height: Tensor, wall: Tensor
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """A grip on the +x side between two heights of a wall; returns its distance function and how far it stands out."""
    low, high = draw.uniform(0.1, 0.35), draw.uniform(0.65, 0.93)
    r_low, r_high = _radius_at(outer, height, low) - wall / 2, _radius_at(outer, height, high) - wall / 2
    out = torch.maximum(height * draw.uniform(0.18, 0.4), draw.zeros() + 0.018)
    thick = draw.uniform(0.003, 0.008)
    flat = draw.uniform(1.0, 2.2)  # straps are broader than they are thick
    middle = torch.maximum(r_low, r_high)
    knots = [(r_high, high)]
    for t in (0.15, 0.38, 0.62, 0.85):
        bulge = out * (4.0 * t * (1.0 - t)) ** 0.5
        knots.append((middle + bulge, high + (low - high) * t))
    knots.append((r_low, low))
    path = points_3d(*((r, draw.zeros(), h * height) for r, h in knots))
    radii = thick[:, None].expand(-1, len(knots))

    def distance(q: Tensor) -> Tensor:
        # Shrinking y by `flat` makes the strap broader; it can only bring points nearer, so the bound holds.
        return sd.sweep(torch.stack([q[..., 0], q[..., 1] / column(flat), q[..., 2]], dim=2), path, radii)

    return distance, out + thick


def _radius_at(outer: list[tuple[Tensor, Tensor]], height: Tensor, share: Tensor) -> Tensor:
    """Radius of a wall, given as (radius, z) corners from below, at a share of its height; (n,)."""
    z = share * height
    radius = outer[0][0]
    for (r_a, z_a), (r_b, z_b) in itertools.pairwise(outer):
        t = ((z - z_a) / (z_b - z_a).clamp(min=1e-6)).clamp(0.0, 1.0)
        radius = torch.where(z >= z_a, r_a + (r_b - r_a) * t, radius)
    return radius


def _cone(q: Tensor, bottom: Tensor, top: Tensor, height: Tensor) -> Tensor:
    """Inside of a conical wall, open above; a bound on the distance, negative inside."""
    slope = (top - bottom) / height
    radius = column(bottom) + column(slope) * q[..., 2]
    return (q[..., :2].norm(dim=2) - radius) / (1.0 + column(slope).square()).sqrt()


def _lift(height: Tensor) -> Tensor:
    """Solids are drawn standing on z = 0 and centred at half their height."""
    return _at(torch.zeros_like(height), height / 2.0)


def _at(x: Tensor, z: Tensor) -> Tensor:
    return torch.stack([x, torch.zeros_like(x), z], dim=1).unsqueeze(1)


def _centred(
    profile: Tensor,
    height: Tensor,
    upright: float,
    squash: Tensor | None = None,
    exponent: Tensor | None = None,
) -> Solid:
    """Revolve a profile drawn from z = 0 to height; optionally squashed along x and with a superelliptic section."""
    widest = profile[..., 0].amax(dim=1)
    power = torch.full_like(height, 2.0) if exponent is None else exponent
    narrow = torch.ones_like(height) if squash is None else squash
    # A superellipse of exponent e reaches 2 ** (1/2 - 1/e) times further along its diagonal.
    reach = torch.hypot(widest * 2.0 ** (0.5 - 1.0 / power), height / 2.0) + 1e-3

    def distance(p: Tensor) -> Tensor:
        q = p + _lift(height)
        if squash is None:
            return sd.lathe(q, profile)
        # The p-norm (exponent >= 2) and division by `narrow` stretch by at most 1 / narrow.
        x, y = q[..., 0].abs() / column(narrow) + sd.TINY, q[..., 1].abs() + sd.TINY
        radius = (x ** column(power) + y ** column(power)) ** (1.0 / column(power))
        section = torch.stack([radius, torch.zeros_like(radius), q[..., 2]], dim=2)
        return sd.lathe(section, profile) * column(narrow)

    return Solid(distance, reach, upright)
