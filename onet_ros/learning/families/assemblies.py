"""Things put together from unlike parts: animals, vehicles, cameras, headphones, teapots, staplers, lamps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onet_ros.learning import primitives as sd
from onet_ros.learning.primitives import column
from onet_ros.learning.solid import Draw, Solid, points_2d, points_3d


def animal(draw: Draw) -> Solid:
    """Piggy banks, elephants, rabbits, ducks: a body with head and snout, legs, ears and a tail."""
    size = draw.log_uniform(0.018, 0.06)
    long = draw.uniform(0.9, 1.8)
    body = torch.stack([size * long, size * draw.uniform(0.7, 1.0), size * draw.uniform(0.75, 1.1)], dim=1)
    zero = draw.zeros()
    head_radius = size * draw.uniform(0.4, 0.8)
    head = torch.stack([body[:, 0] * draw.uniform(0.7, 1.1), zero, body[:, 2] * draw.uniform(0.1, 1.3)], dim=1)
    snout = head + torch.stack([head_radius * draw.uniform(0.5, 1.6), zero, head_radius * draw.uniform(-1.0, 0.2)], 1)
    snout_radius = head_radius * draw.uniform(0.25, 0.6)
    legs = draw.chance(0.75)
    leg_radius = size * draw.uniform(0.15, 0.32)
    foot = body[:, 2] + size * draw.uniform(0.1, 0.8)
    stride, stance = body[:, 0] * draw.uniform(0.4, 0.7), body[:, 1] * draw.uniform(0.4, 0.75)
    ear_radius = head_radius * draw.uniform(0.15, 0.5)
    ear_length = head_radius * draw.uniform(0.2, 1.8)
    ear = head + torch.stack([-ear_radius * 0.5, head_radius * draw.uniform(0.3, 0.7), head_radius * 0.7], dim=1)
    ear_tip = ear + torch.stack([ear_length * draw.uniform(-0.4, 0.2), ear_length * 0.3, ear_length], dim=1)
    tail = torch.stack([-body[:, 0] * 0.9, zero, body[:, 2] * draw.uniform(0.0, 0.5)], dim=1)
    tail_tip = tail + torch.stack([-size * draw.uniform(0.2, 0.8), zero, size * draw.uniform(0.0, 0.7)], dim=1)
    tail_radius = size * draw.uniform(0.1, 0.25)
    fillet = size * draw.uniform(0.05, 0.4)
    ends = [(snout, snout_radius), (ear_tip, ear_radius), (tail_tip, tail_radius), (head, head_radius)]
    ends.append((torch.stack([stride, stance, -foot], dim=1), leg_radius))
    reach = torch.stack([end.norm(dim=1) + radius for end, radius in ends] + [body.norm(dim=1)]).amax(dim=0)

    def distance(p: Tensor) -> Tensor:
        side = torch.stack([p[..., 0], p[..., 1].abs(), p[..., 2]], dim=2)  # left and right are alike
        trunk = sd.ellipsoid(p, body)
        face = sd.smooth_union(sd.sphere(p - head.unsqueeze(1), head_radius), trunk, fillet)
        nose = sd.round_cone(p, head, snout, head_radius * 0.7, snout_radius)
        ears = sd.round_cone(side, ear, ear_tip, ear_radius, ear_radius * 0.7)
        back = sd.round_cone(p, tail, tail_tip, tail_radius, tail_radius * 0.6)
        corner = torch.stack([p[..., 0].abs(), p[..., 1].abs(), p[..., 2]], dim=2)
        hip, ground = (torch.stack([stride, stance, z], dim=1) for z in (zero, -foot))
        leg = sd.round_cone(corner, hip, ground, leg_radius, leg_radius)
        leg = torch.where(column(legs), leg, torch.full_like(leg, 1.0))
        whole = sd.smooth_union(face, torch.minimum(nose, ears), fillet * 0.4)
        return sd.smooth_union(whole, torch.minimum(leg, back), fillet * 0.4)

    return Solid(distance, reach + fillet, upright=0.7)


def vehicle(draw: Draw) -> Solid:
    """Toy cars, trains, carts: a chassis with a cabin, a chimney perhaps, and wheels."""
    half = torch.stack([draw.log_uniform(0.025, 0.09), draw.log_uniform(0.012, 0.035), draw.uniform(0.006, 0.02)], 1)
    cabin = half * torch.stack([draw.uniform(0.2, 0.7), draw.uniform(0.7, 1.0), draw.uniform(0.8, 2.5)], dim=1)
    cabin_at = torch.stack([(half - cabin)[:, 0] * draw.uniform(-1.0, 1.0), draw.zeros(), half[:, 2] + cabin[:, 2]], 1)
    boiler = draw.chance(0.4)
    boiler_radius = half[:, 1] * draw.uniform(0.4, 0.8)
    wheel = half[:, 2] * draw.uniform(0.6, 1.4)
    axle = half[:, 0] * draw.uniform(0.45, 0.8)
    tread = half[:, 1] * draw.uniform(0.1, 0.3)
    zero = draw.zeros()
    top = half[:, 2] + 2.0 * cabin[:, 2]
    chimney = draw.chance(0.3)
    chimney_at = half[:, 0] * 0.7
    reach = torch.sqrt(half[:, 0] ** 2 + (half[:, 1] + tread) ** 2 + torch.maximum(top, half[:, 2] + wheel) ** 2)

    def distance(p: Tensor) -> Tensor:
        body = torch.minimum(
            sd.box(p, half, half.amin(dim=1) * 0.3), sd.box(p - cabin_at.unsqueeze(1), cabin, cabin.amin(dim=1) * 0.2)
        )
        low = torch.stack([zero, zero, half[:, 2] + boiler_radius * 0.8], dim=1).unsqueeze(1)
        tank = sd.cylinder(sd.swap_axes(p - low, (1, 2, 0)), boiler_radius, half[:, 0], boiler_radius * 0.2)
        stack = torch.stack([chimney_at, zero, half[:, 2] + boiler_radius], dim=1).unsqueeze(1)
        pipe = sd.cylinder(p - stack, boiler_radius * 0.35, boiler_radius * 1.6, zero + 1e-3)
        tank = torch.where(column(chimney), torch.minimum(tank, pipe), tank)
        body = torch.where(column(boiler), torch.minimum(body, tank), body)
        corner = torch.stack([p[..., 0].abs(), p[..., 1].abs(), p[..., 2]], dim=2)
        hub = torch.stack([axle, half[:, 1], -half[:, 2]], dim=1).unsqueeze(1)
        round_ = sd.cylinder(sd.swap_axes(corner - hub, (2, 0, 1)), wheel, tread, tread * 0.3)
        return torch.minimum(body, round_)

    return Solid(distance, torch.maximum(reach, half.norm(dim=1) + boiler_radius * 3.5) + 1e-3, upright=0.8)


def aeroplane(draw: Draw) -> Solid:
    """Aeroplanes, rockets, fish, swords: a slender body with flat wings and fins."""
    length = draw.log_uniform(0.04, 0.13)
    radius = length * draw.uniform(0.1, 0.28)
    nose, tail = radius * draw.uniform(0.3, 1.0), radius * draw.uniform(0.2, 0.8)
    wing = torch.stack(
        [length * draw.uniform(0.12, 0.35), length * draw.uniform(0.4, 1.1), length * draw.uniform(0.02, 0.05)], dim=1
    )
    wing = torch.maximum(wing, draw.zeros()[:, None] + 0.0015)
    fin = torch.stack([wing[:, 0] * 0.6, wing[:, 2], length * draw.uniform(0.15, 0.4)], dim=1)
    zero = draw.zeros()
    wing_at = torch.stack([length * draw.uniform(-0.2, 0.4), zero, radius * draw.uniform(-0.7, 0.7)], dim=1)
    fin_at = torch.stack([-length * 0.8, zero, fin[:, 2]], dim=1)
    sweep = draw.uniform(0.0, 0.4)
    small = draw.uniform(0.3, 0.55)
    reach = length * 2.0 + wing[:, 1] + radius

    def distance(p: Tensor) -> Tensor:
        front, back = torch.stack([length, zero, zero], 1), torch.stack([-length, zero, zero], 1)
        hull = torch.minimum(
            sd.round_cone(p, torch.zeros_like(front), front, radius, nose),
            sd.round_cone(p, back, torch.zeros_like(back), tail, radius),
        )
        # Swept wings: a shear along x by the distance from the body, which stretches by at most 1 + sweep.
        leaning = torch.stack([p[..., 0] + column(sweep) * p[..., 1].abs(), p[..., 1], p[..., 2]], dim=2)
        slack = 1.0 / (1.0 + sweep)
        main = sd.box(leaning - wing_at.unsqueeze(1), wing, wing[:, 2] * 0.5) * column(slack)
        at = torch.stack([-length * 0.85, zero, zero], dim=1).unsqueeze(1)
        rear = wing * torch.stack([small, small, zero + 1.0], dim=1)
        tailplane = sd.box(leaning - at, rear, rear.amin(dim=1) * 0.5) * column(slack)
        rudder = sd.box(p - fin_at.unsqueeze(1), fin, fin.amin(dim=1) * 0.5)
        return torch.minimum(torch.minimum(hull, main), torch.minimum(tailplane, rudder))

    return Solid(distance, reach, upright=0.6)


def lens_camera(draw: Draw) -> Solid:
    """Cameras, projectors, clocks, meters: a box with a round thing in front, knobs and a hump on top."""
    half = torch.stack([draw.log_uniform(0.012, 0.03), draw.log_uniform(0.03, 0.07), draw.log_uniform(0.02, 0.05)], 1)
    lens = torch.minimum(half[:, 1], half[:, 2]) * draw.uniform(0.45, 0.95)
    tube = half[:, 0] * draw.uniform(0.3, 2.5)
    lens_at = torch.stack([half[:, 0] + tube * 0.8, (half[:, 1] - lens) * draw.uniform(-1.0, 1.0), draw.zeros()], dim=1)
    hump = half * torch.stack([draw.uniform(0.4, 0.9), draw.uniform(0.2, 0.5), draw.uniform(0.1, 0.4)], dim=1)
    humped = draw.chance(0.6)
    knob = half[:, 1] * draw.uniform(0.1, 0.2)
    knob_at = half[:, 1] * draw.uniform(0.4, 0.8)
    zero = draw.zeros()
    reach = torch.hypot(half[:, 0] + 2.0 * tube, torch.hypot(half[:, 1], half[:, 2] + 2.0 * hump[:, 2] + knob))

    def distance(p: Tensor) -> Tensor:
        body = sd.box(p, half, half.amin(dim=1) * 0.35)
        ring = sd.cylinder(sd.swap_axes(p - lens_at.unsqueeze(1), (1, 2, 0)), lens, tube, tube * 0.15)
        above = torch.stack([zero, zero, half[:, 2] + hump[:, 2] * 0.8], dim=1).unsqueeze(1)
        roof = sd.box(p - above, hump, hump.amin(dim=1) * 0.4)
        roof = torch.where(column(humped), roof, torch.full_like(roof, 1.0))
        on_top = torch.stack([zero, knob_at, half[:, 2]], dim=1).unsqueeze(1)
        button = sd.cylinder(p - on_top, knob, knob * 0.6, knob * 0.1)
        return torch.minimum(torch.minimum(body, ring), torch.minimum(roof, button))

    return Solid(distance, reach, upright=0.75)


def headphones(draw: Draw) -> Solid:
    """Headphones, horseshoes, tiaras, handcuffs: a bent band with a thicker thing at either end."""
    radius = draw.log_uniform(0.03, 0.085)
    band = torch.maximum(radius * draw.uniform(0.05, 0.12), draw.zeros() + 0.0025)
    opening = draw.uniform(0.3, 1.2)  # radians on either side that are left out below
    cups = draw.chance(0.7)
    cup = radius * draw.uniform(0.25, 0.5)
    cup_half = cup * draw.uniform(0.25, 0.6)
    breadth = draw.uniform(1.0, 2.5)  # the band is broader than it is thick
    angles = torch.linspace(-1.0, 1.0, 9, device=draw.device)[None] * (math.pi - opening)[:, None]
    path = torch.stack([angles.sin(), torch.zeros_like(angles), angles.cos()], dim=2) * radius[:, None, None]
    radii = band[:, None].expand(-1, 9)
    end = path[:, -1]

    def distance(p: Tensor) -> Tensor:
        flat = torch.stack([p[..., 0], p[..., 1] / column(breadth), p[..., 2]], dim=2)
        bow = sd.sweep(flat, path, radii)
        side = torch.stack([p[..., 0].abs(), p[..., 1], p[..., 2]], dim=2)
        ear = sd.cylinder(sd.swap_axes(side - end.unsqueeze(1), (1, 2, 0)), cup, cup_half, cup_half * 0.4)
        return torch.where(column(cups), torch.minimum(bow, ear), bow)

    return Solid(distance, radius + cup + band * breadth + cup_half, upright=0.1)


def spectacles(draw: Draw) -> Solid:
    """Glasses, goggles, trivets, frames: two rims with a bridge and temples, folded away or not."""
    lens = draw.log_uniform(0.018, 0.035)
    rim = torch.maximum(lens * draw.uniform(0.06, 0.15), draw.zeros() + 0.0018)
    apart = lens * draw.uniform(1.15, 1.4)
    temple = lens * draw.uniform(1.5, 4.5)
    spread = lens * draw.uniform(-0.3, 0.3)
    filled = draw.chance(0.4)
    zero = draw.zeros()
    hinge = apart + lens
    path = points_3d((zero, hinge, zero), (-temple * 0.8, hinge + spread, zero), (-temple, hinge + spread, -lens * 0.5))
    radii = torch.stack([rim, rim, rim * 1.3], dim=1)
    bridge_end = torch.stack([zero, apart - lens, lens * 0.3], dim=1)

    def distance(p: Tensor) -> Tensor:
        side = torch.stack([p[..., 0], p[..., 1].abs(), p[..., 2]], dim=2)
        eye = torch.stack([zero, apart, zero], dim=1).unsqueeze(1)
        facing = sd.swap_axes(side - eye, (1, 2, 0))
        ring = sd.torus(facing, lens, rim)
        pane = sd.cylinder(facing, lens, rim * 0.7, rim * 0.2)
        front = torch.where(column(filled), torch.minimum(ring, pane), ring)
        nose = sd.round_cone(side, torch.stack([zero, zero, lens * 0.4], dim=1), bridge_end, rim, rim)
        return torch.minimum(torch.minimum(front, nose), sd.sweep(side, path, radii))

    return Solid(distance, torch.hypot(hinge + spread.abs(), temple + lens * 0.5) + lens, upright=0.4)


def teapot(draw: Draw) -> Solid:
    """Teapots, kettles, watering cans, oil lamps: a belly with a lid, a spout and a handle behind it or above."""
    radius = draw.log_uniform(0.03, 0.085)
    height = radius * draw.uniform(0.9, 2.2)
    foot, neck = radius * draw.uniform(0.5, 0.9), radius * draw.uniform(0.3, 0.8)
    knob = neck * draw.uniform(0.15, 0.4)
    lid = height * draw.uniform(0.05, 0.2)
    zero = draw.zeros()
    profile = points_2d(
        (zero, zero),
        (foot, zero),
        ((foot + radius) * 0.55, height * 0.18),
        (radius, height * 0.45),
        ((radius + neck) * 0.55, height * 0.82),
        (neck, height),
        (neck * 0.6, height + lid),
        (knob, height + lid * 1.1),
        (knob * 1.2, height + lid * 1.1 + knob),
        (zero, height + lid * 1.1 + knob * 2.0),
    )
    top = height + lid * 1.1 + knob * 2.0
    half = torch.stack([zero, zero, top / 2.0], dim=1).unsqueeze(1)
    out = radius * draw.uniform(0.4, 1.0)
    mouth = height * draw.uniform(0.75, 1.15)
    spout = points_3d(
        (radius * 0.7, zero, height * draw.uniform(0.2, 0.5)), (radius + out * 0.5, zero, height * 0.6),
        (radius + out, zero, mouth),
    )  # fmt: skip
    thick = radius * draw.uniform(0.12, 0.28)
    spout_radii = torch.stack([thick, thick * 0.75, thick * draw.uniform(0.4, 0.7)], dim=1)
    above = draw.chance(0.35)
    bow = radius * draw.uniform(0.35, 0.8)
    behind = points_3d(
        (-radius * 0.8, zero, height * 0.8), (-radius - bow, zero, height * 0.75), (-radius - bow, zero, height * 0.35),
        (-radius * 0.85, zero, height * 0.25),
    )  # fmt: skip
    over = points_3d(
        (radius * 0.55, zero, height * 0.85), (radius * 0.45, zero, top + bow * 0.6),
        (-radius * 0.45, zero, top + bow * 0.6), (-radius * 0.55, zero, height * 0.85),
    )  # fmt: skip
    handle = torch.where(above[:, None, None], over, behind)
    grip = torch.maximum(radius * draw.uniform(0.05, 0.12), zero + 0.003)[:, None].expand(-1, 4)
    reach = torch.hypot(radius + torch.maximum(out, bow) + thick, top / 2.0 + bow)

    def distance(p: Tensor) -> Tensor:
        q = p + half
        body = sd.lathe(q, profile)
        return torch.minimum(body, torch.minimum(sd.sweep(q, spout, spout_radii), sd.sweep(q, handle, grip)))

    return Solid(distance, reach + 0.005, upright=0.85)


def gamepad(draw: Draw) -> Solid:
    """Game controllers, boomerangs, handlebars, bones: a middle part and two grips bent away from it."""
    reach_y = draw.log_uniform(0.035, 0.08)
    thick = reach_y * draw.uniform(0.15, 0.35)
    bend = draw.uniform(0.1, 1.2)
    grip = reach_y * draw.uniform(0.5, 1.0)
    middle = torch.stack([reach_y * draw.uniform(0.25, 0.55), reach_y, thick * draw.uniform(0.5, 1.0)], dim=1)
    zero = draw.zeros()
    start = torch.stack([zero, reach_y * 0.85, zero], dim=1)
    end = start + torch.stack([-grip * bend.cos(), grip * bend.sin() * 0.7, -grip * draw.uniform(0.0, 0.5)], dim=1)
    stick = middle[:, 0] * draw.uniform(0.2, 0.4)
    sticks = draw.chance(0.5)
    fillet = thick * 0.5

    def distance(p: Tensor) -> Tensor:
        side = torch.stack([p[..., 0], p[..., 1].abs(), p[..., 2]], dim=2)
        body = sd.box(p, middle, middle.amin(dim=1) * 0.6)
        whole = sd.smooth_union(body, sd.round_cone(side, start, end, thick, thick * 0.8), fillet)
        at = torch.stack([zero, reach_y * 0.45, middle[:, 2]], dim=1).unsqueeze(1)
        knob = sd.cylinder(side - at, stick, stick * 0.8, stick * 0.2)
        return torch.where(column(sticks), torch.minimum(whole, knob), whole)

    return Solid(distance, torch.hypot(reach_y, middle[:, 0]) + grip + thick + stick + fillet, upright=0.85)


def stapler(draw: Draw) -> Solid:
    """Staplers, hole punches, tongs, clothes pegs, mouse traps: two long parts that meet at a hinge."""
    length = draw.log_uniform(0.03, 0.1)
    width = length * draw.uniform(0.12, 0.3)
    lower = torch.stack([length, width, length * draw.uniform(0.04, 0.12)], dim=1)
    upper = torch.stack([length * draw.uniform(0.7, 1.0), width * draw.uniform(0.6, 1.0), length * 0.12], dim=1)
    upper[:, 2] = upper[:, 2] * draw.uniform(0.5, 1.6)
    angle = draw.uniform(0.0, 0.35)
    hinge = torch.stack([-length * 0.9, draw.zeros(), lower[:, 2]], dim=1).unsqueeze(1)
    lift = torch.stack([upper[:, 0] - length * 0.1, draw.zeros(), upper[:, 2] * 0.9], dim=1).unsqueeze(1)
    axle = upper[:, 2] * draw.uniform(0.6, 1.1)
    soft = draw.uniform(0.1, 0.8)

    def distance(p: Tensor) -> Tensor:
        base = sd.box(p, lower, lower.amin(dim=1) * 0.3)
        q = p - hinge
        c, s = column(angle.cos()), column(angle.sin())
        turned = torch.stack([c * q[..., 0] + s * q[..., 2], q[..., 1], c * q[..., 2] - s * q[..., 0]], dim=2)
        arm = sd.box(turned - lift, upper, upper.amin(dim=1) * soft)
        pin = sd.cylinder(sd.swap_axes(q, (0, 2, 1)), axle, lower[:, 1], axle * 0.1)
        return torch.minimum(torch.minimum(base, arm), pin)

    return Solid(distance, length * 2.2 + width, upright=0.8)


def squeezed_tube(draw: Draw) -> Solid:
    """Tubes of toothpaste and cream, purses, pouches: round at the capped end, flat at the other."""
    length = draw.log_uniform(0.04, 0.1)
    radius = length * draw.uniform(0.15, 0.32)
    flat = torch.maximum(radius * draw.uniform(0.06, 0.2), draw.zeros() + 0.0015)
    cap, cap_length = radius * draw.uniform(0.4, 0.95), length * draw.uniform(0.1, 0.25)
    broad = draw.uniform(1.0, 1.35)
    slope = (radius - flat) / (2.0 * length)
    slack = 1.0 / (1.0 + slope.square()).sqrt()
    zero = draw.zeros()

    def distance(p: Tensor) -> Tensor:
        # A wedge in y between z = -length (flat) and z = length (round), within an elliptic cylinder.
        thickness = column(radius) + column(slope) * (p[..., 2] - column(length))
        wedge = (p[..., 1].abs() - thickness) * column(slack)
        section = torch.hypot(p[..., 0] / column(broad), p[..., 1]) - column(radius)
        body = torch.maximum(torch.maximum(section, wedge), p[..., 2].abs() - column(length))
        at = torch.stack([zero, zero, length + cap_length * 0.8], dim=1).unsqueeze(1)
        return torch.minimum(body, sd.cylinder(p - at, cap, cap_length, cap * 0.1))

    return Solid(distance, torch.hypot(length + 2.0 * cap_length, radius * broad), upright=0.1)


def lamp(draw: Draw) -> Solid:
    """Table lamps, microphones on a stand, goblets turned over, plungers, door knobs: foot, stem and head."""
    height = draw.log_uniform(0.06, 0.26)
    foot, foot_height = height * draw.uniform(0.15, 0.35), height * draw.uniform(0.03, 0.12)
    stem = torch.maximum(height * draw.uniform(0.02, 0.06), draw.zeros() + 0.003)
    head_height = height * draw.uniform(0.15, 0.45)
    low, top = height * draw.uniform(0.08, 0.35), height * draw.uniform(0.05, 0.3)
    zero = draw.zeros()
    lean = height * draw.uniform(0.0, 0.35) * draw.chance(0.4)
    profile = points_2d(
        (zero, zero), (foot, zero), (foot, foot_height), (stem * 1.5, foot_height * 1.3),
        (stem * 0.5, foot_height * 2.0), (zero, foot_height * 2.0),
    )  # fmt: skip
    half = torch.stack([zero, zero, height / 2.0], dim=1).unsqueeze(1)
    knee = torch.stack([lean, zero, height - head_height], dim=1)
    neck = points_3d((zero, zero, foot_height), (lean * 0.3, zero, height * 0.5), (knee[:, 0], zero, knee[:, 2]))
    radii = stem[:, None].expand(-1, 3)
    shade = points_2d((zero, zero), (low, zero), (top, head_height), (zero, head_height))
    wide = torch.maximum(torch.maximum(low, top) + lean, foot)

    def distance(p: Tensor) -> Tensor:
        q = p + half
        standing = torch.minimum(sd.lathe(q, profile), sd.sweep(q, neck, radii))
        return torch.minimum(standing, sd.lathe(q - knee.unsqueeze(1), shade))

    return Solid(distance, torch.hypot(height / 2.0, wide) + 1e-3, upright=0.8)
