"""Grown, moulded and random things: fruit, toys, figures, compositions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onet_ros.learning import primitives as sd
from onet_ros.learning.primitives import column
from onet_ros.learning.solid import Draw, Solid


def round_fruit(draw: Draw) -> Solid:
    """Balls, apples, pears, lemons, onions, eggs: revolved, dimpled or pointed at the ends, a little lopsided."""
    radius = draw.log_uniform(0.015, 0.065)
    corners = 11
    t = torch.linspace(0.0, math.pi, corners, device=draw.device)[None]  # from pole to pole
    dimple = (draw.uniform(0.0, 0.35) * draw.chance(0.5))[:, None]
    pointed = (draw.uniform(0.0, 0.5) * draw.chance(0.4))[:, None]
    pear = (draw.uniform(0.0, 0.4) * draw.chance(0.4))[:, None]
    stretch = torch.where(draw.chance(0.35), draw.zeros() + 1.0, draw.uniform(0.75, 1.5))[:, None]
    r = radius[:, None] * (t.sin().clamp(min=0.0) ** (1.0 + pointed)) * (1.0 + pear * t.cos())
    z = -radius[:, None] * stretch * t.cos() * (1.0 - dimple * (1.0 - t.sin()).square() * 2.0)
    r = torch.where((t < 1e-4) | (t > math.pi - 1e-4), torch.zeros_like(r), r)
    profile = torch.stack([r, z], dim=2)
    # Corners of a coarse profile would show: shrink it a little and let a rounding fill the edges.
    rounding = radius * 0.25
    profile = profile * 0.78
    lopsided = draw.uniform(0.85, 1.0)

    def distance(p: Tensor) -> Tensor:
        q = torch.stack([p[..., 0] / column(lopsided), p[..., 1], p[..., 2]], dim=2)
        return (sd.lathe(q, profile) - column(rounding)) * column(lopsided)

    return Solid(distance, radius * 2.2, upright=0.3)


def long_fruit(draw: Draw) -> Solid:
    """Bananas, cucumbers, carrots, croissants, sausages: bent and tapered."""
    length = draw.log_uniform(0.07, 0.26)
    thick = length * draw.uniform(0.06, 0.16)
    bend = draw.uniform(0.05, 2.2)  # radians along the whole length
    knots = 7
    s = torch.linspace(-0.5, 0.5, knots, device=draw.device)[None]
    curvature = bend / length
    angle = s * bend[:, None]
    x = angle.sin() / curvature[:, None]
    z = (1.0 - angle.cos()) / curvature[:, None]
    path = torch.stack([x, torch.zeros_like(x), z], dim=2)
    tips = draw.uniform(0.15, 0.95, 2)
    end = torch.where(s < 0.0, tips[:, :1], tips[:, 1:])
    radii = thick[:, None] * (end + (1.0 - end) * (1.0 - (2.0 * s).abs() ** 2.5))
    return Solid(lambda p: sd.sweep(p, path, radii), length * 0.55 + thick + bend * length * 0.15, upright=0.1)


def blob(draw: Draw) -> Solid:
    """Figures, ducks, plush and root vegetables: balls and ovals grown together."""
    size = draw.log_uniform(0.02, 0.07)
    count = 5
    used = draw.uniform(0.0, 1.0, count) < 0.75
    used[:, :2] = True
    centres = draw.normal(count, 3) * (size * 0.75)[:, None, None]
    centres[:, 0] = 0.0
    radii = size[:, None] * draw.uniform(0.3, 0.9, count)
    radii[:, 0] = size * 0.8
    width = size * draw.uniform(0.05, 0.9)
    ovals = draw.uniform(0.6, 1.0, count, 3)
    distances = (centres.norm(dim=2) + radii).amax(dim=1)

    def distance(p: Tensor) -> Tensor:
        whole = None
        for i in range(count):
            half = ovals[:, i] * radii[:, i : i + 1]
            part = sd.ellipsoid(p - centres[:, i].unsqueeze(1), half)
            part = torch.where(column(used[:, i]), part, torch.full_like(part, 1.0))
            whole = part if whole is None else sd.smooth_union(whole, part, width)
        assert whole is not None
        return whole

    # A fillet of width w adds at most w / 4.
    return Solid(distance, distances + width * 0.25 * count, upright=0.3)


def toy(draw: Draw) -> Solid:
    """Anything: two to five of boxes, cylinders, balls and cones, joined sharp or soft, often mirrored."""
    size = draw.log_uniform(0.02, 0.08)
    count = 5
    used = draw.uniform(0.0, 1.0, count) < 0.6
    used[:, :2] = True
    centres = draw.normal(count, 3) * (size * 0.6)[:, None, None]
    centres[:, 0] = 0.0
    half = size[:, None, None] * draw.log_uniform(0.15, 1.0, count, 3)
    kind = draw.uniform(0.0, 3.0, count).floor()
    turns = draw.uniform(0.0, math.pi, count) * draw.chance(0.6)[:, None]
    width = size * draw.log_uniform(0.01, 0.5)
    mirrored = draw.chance(0.6)
    reach = (centres.norm(dim=2) + half.norm(dim=2)).amax(dim=1) + width

    def distance(p: Tensor) -> Tensor:
        y = torch.where(column(mirrored), p[..., 1].abs(), p[..., 1])
        folded = torch.stack([p[..., 0], y, p[..., 2]], dim=2)
        whole = None
        for i in range(count):
            q = sd.rotate_z(folded - centres[:, i].unsqueeze(1), turns[:, i])
            h = half[:, i]
            small = h.amin(dim=1)
            lying = sd.swap_axes(q, (1, 2, 0))
            box = sd.box(q, h, small * 0.15)
            barrel = sd.cylinder(lying, h[:, 1], h[:, 0], torch.minimum(h[:, 0], h[:, 1]) * 0.15)
            tip = torch.stack([draw.zeros(), draw.zeros(), h[:, 2]], dim=1)
            cone = sd.round_cone(q, -tip, tip, small, small * 0.4)
            k = column(kind[:, i])
            part = torch.where(k == 0, box, torch.where(k == 1, barrel, cone))
            part = torch.where(column(used[:, i]), part, torch.full_like(part, 1.0))
            whole = part if whole is None else sd.smooth_union(whole, part, width)
        assert whole is not None
        return whole

    return Solid(distance, reach + size * 0.2, upright=0.4)


def twin(draw: Draw) -> Solid:
    """Binoculars, pairs, dumb-bells, candlesticks: two turned bodies side by side and what joins them."""
    length = draw.log_uniform(0.04, 0.16)
    radius = length * draw.uniform(0.15, 0.35)
    nose = radius * draw.uniform(0.5, 1.2)
    apart = torch.maximum(radius, nose) * draw.uniform(0.8, 1.6)
    bridge = torch.stack([apart, radius * draw.uniform(0.2, 0.8), length * draw.uniform(0.1, 0.4)], dim=1)
    level = length * draw.uniform(-0.2, 0.2)
    profile_r = torch.stack([radius * 0.0, radius, radius, radius * 0.85, nose, nose, nose * 0.0], dim=1)
    profile_z = torch.tensor([-0.5, -0.5, -0.1, 0.05, 0.2, 0.5, 0.5], device=draw.device)[None] * length[:, None]
    profile = torch.stack([profile_r, profile_z], dim=2)
    reach = torch.hypot(apart + torch.maximum(radius, nose), length / 2) + 1e-3

    def distance(p: Tensor) -> Tensor:
        folded = torch.stack([p[..., 0].abs(), p[..., 1], p[..., 2]], dim=2)
        shift = torch.stack([apart, draw.zeros(), draw.zeros()], dim=1).unsqueeze(1)
        tubes = sd.lathe(folded - shift, profile)
        lift = torch.stack([draw.zeros(), draw.zeros(), level], dim=1).unsqueeze(1)
        return torch.minimum(tubes, sd.box(p - lift, bridge, bridge.amin(dim=1) * 0.3))

    return Solid(distance, reach, upright=0.3)
