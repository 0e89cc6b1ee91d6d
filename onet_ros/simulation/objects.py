"""Household objects at true scale for the demo: the truth that reconstructions are compared with.

Lathe profiles, sweeps along curves, convex hulls and exact booleans (Manifold), all in code. The networks' training
shapes come from another generator, so that these objects are new to every model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import trimesh
from manifold3d import CrossSection, FillRule, Manifold, Mesh, OpType
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

_SEGMENTS = 96  # about 3 mm of arc at a mug's radius

# sRGB in 0..1, for pictures and for the colours of simulated clouds.
OBJECT_COLOURS: dict[str, tuple[float, float, float]] = {
    "mug": (0.30, 0.55, 0.76),
    "spray_bottle": (0.91, 0.64, 0.26),
    "bowl": (0.85, 0.83, 0.76),
    "drill": (0.80, 0.70, 0.22),
    "teapot": (0.35, 0.64, 0.56),
    "banana": (0.93, 0.80, 0.30),
    "toy_car": (0.79, 0.29, 0.27),
    "tape_roll": (0.63, 0.52, 0.41),
    "block": (0.80, 0.64, 0.46),
    "pan": (0.36, 0.38, 0.41),
}


def demo_objects() -> dict[str, trimesh.Trimesh]:
    """Watertight solids by name, the same at every call.

    Vertices in metres; each stands upright on z = 0 with the centre of its footprint's box at x = y = 0. Vessels are
    hollow where they are open (mug, bowl, pan) and solid where they are closed (bottle, teapot).
    """
    makers: dict[str, Callable[[], Manifold]] = {
        "mug": _mug,
        "spray_bottle": _spray_bottle,
        "bowl": _bowl,
        "drill": _drill,
        "teapot": _teapot,
        "banana": _banana,
        "toy_car": _toy_car,
        "tape_roll": _tape_roll,
        "block": _block,
        "pan": _pan,
    }
    return {name: _standing_mesh(make()) for name, make in makers.items()}


# Every maker works in millimetres, z up.


def _mug() -> Manifold:
    outer = _lathe([(0, 0), (34, 0), (37, 2), (40.5, 30), (41.5, 93), (41, 95), (40, 96), (0, 96)])
    cavity = _lathe([(0, 7), (28, 7), (33, 10), (36.3, 30), (37.3, 93), (38.2, 95), (39.3, 96.5), (0, 96.5)])
    loop = _curve([(36, 0, 79), (58, 0, 80), (69, 0, 62), (65, 0, 38), (37, 0, 22)], 40)
    return outer + _sweep(loop, radii=(4.2, 7.5)) - cavity


def _spray_bottle() -> Manifold:
    shoulders = [
        (0, 0),
        (39, 0),
        (43, 4),
        *_curve([(44, 12), (44, 70), (41, 110), (44, 145), (33, 178), (14, 196)], 40),
    ]
    body = _lathe([*shoulders, (14, 205), (0, 205)]).scale((1.0, 0.68, 1.0))
    collar = _cylinder((0, 0, 200), (0, 0, 218), 17, 16)
    head = Manifold.batch_hull(
        [_ball(centre, radius) for x, z, radius in ((-30, 232, 9), (34, 238, 9), (30, 222, 6), (-12, 218, 6))
         for centre in ((x, -6, z), (x, 6, z))]
    )  # fmt: skip
    nozzle = _cylinder((38, 0, 236), (52, 0, 236), 9, 8) - _cylinder((47, 0, 236), (60, 0, 236), 4, 4)
    lever = _curve([(24, 0, 222), (33, 0, 205), (34, 0, 188), (43, 0, 172)], 24)
    return body + collar + head + nozzle + _sweep(lever, radii=(3.5, 8.0))


def _bowl() -> Manifold:
    outside = _curve([(36, 4), (52, 9), (70, 30), (78, 62)], 40)
    inside = _curve([(74.5, 62), (66.5, 32), (49, 13.5), (20, 8.5), (0, 8)], 40)
    return _lathe([(0, 3), (30, 3), (31.5, 0), (36, 0), *outside, (77.5, 63.6), (76.2, 64.2), (75, 63.6), *inside])


def _drill() -> Manifold:
    barrel_profile = [(0, -62), (18, -62), (26, -58), (30, -45), (30, 28), (27, 44), (24, 52), (0, 52)]
    chuck_profile = [(0, 50), (20, 50), (21, 54), (21, 72), (16, 84), (10, 90), (3.5, 90), (3.5, 122), (0, 126)]
    barrel = (_lathe(barrel_profile) + _lathe(chuck_profile)).rotate((0, 90, 0)).translate((0, 0, 172))
    grip_levels = ((-14, 40, 27, 17), (-22, 84, 22, 16), (-20, 120, 23, 17), (-12, 160, 30, 18))
    discs = [_cylinder((0, 0, z - 2), (0, 0, z + 2), 1, 1).scale((a, b, 1)).translate((x, 0, 0))
             for x, z, a, b in grip_levels]  # fmt: skip
    grip = Manifold.batch_boolean([Manifold.batch_hull([*pair]) for pair in pairwise(discs)], OpType.Add)
    trigger = _sweep(_curve([(6, 0, 148), (13, 0, 138), (8, 0, 122)], 16), radii=(6.0, 7.0))
    foot = _rounded_box((92, 66, 30), 7).translate((-4, 0, 15)) + _rounded_box((78, 58, 22), 6).translate((-8, 0, 35))
    return barrel + grip + trigger + foot


def _teapot() -> Manifold:
    belly = _curve([(42, 3), (62, 22), (70, 52), (58, 86), (34, 102)], 60)
    lid = _curve([(33, 103), (27, 109), (12, 114), (5, 117)], 24)
    knob = _curve([(5, 118), (9, 124), (8, 131), (0, 134)], 16)
    body = _lathe([(0, 0), (38, 0), (40, 3), *belly, *lid, *knob])
    spout_path = _curve([(52, 0, 34), (80, 0, 44), (97, 0, 72), (116, 0, 98)], 32)
    taper = np.linspace(0, 1, len(spout_path))[:, None]
    spout = _sweep(spout_path, radii=(1 - taper) * (20, 15) + taper * (8.5, 8.5))
    mouth = _sweep(spout_path[-10:] + (spout_path[-1] - spout_path[-2]) * 0.8, radii=(5.5, 5.5))
    handle = _sweep(
        _curve([(-54, 0, 88), (-88, 0, 97), (-106, 0, 72), (-96, 0, 42), (-62, 0, 28)], 40), radii=(5.5, 8.0)
    )
    return body + handle + (spout - mouth)


def _banana() -> Manifold:
    angle = np.linspace(-0.93, 0.93, 72)
    knots = (0.0, 0.05, 0.10, 0.2, 0.5, 0.8, 0.93, 0.98, 1.0)
    radius = CubicSpline(knots, (5.0, 5.2, 6.5, 13.0, 18.0, 15.5, 8.0, 4.5, 3.8))(np.linspace(0, 1, len(angle)))
    path = np.column_stack([105 * np.sin(angle), 105 * (1 - np.cos(angle)), 0.95 * radius])  # rests on its whole length
    ridges = 1.0 + 0.05 * np.cos(5 * np.linspace(0, 2 * np.pi, 40, endpoint=False) - 0.5 * np.pi)  # a flat side below
    return _sweep(path, radii=np.column_stack([radius, radius]), section=ridges)


def _toy_car() -> Manifold:
    lower = Manifold.batch_hull(
        [_rounded_box((112, 52, 20), 6).translate((0, 0, 20)), _rounded_box((96, 46, 10), 4).translate((4, 0, 29))]
    )
    cabin = Manifold.batch_hull(
        [_rounded_box((70, 48, 8), 3.5).translate((-8, 0, 33)), _rounded_box((42, 40, 8), 3.5).translate((-10, 0, 52))]
    )
    side_windows = Manifold.batch_hull(
        [_box((46, 80, 2)).translate((-8, 0, 39)), _box((34, 80, 2)).translate((-10, 0, 49))]
    ) - _box((120, 41, 80)).translate((0, 0, 40))
    car = lower + cabin - side_windows
    for x in (-34, 34):
        car = car - _cylinder((x, -40, 13), (x, 40, 13), 15.5, 15.5) + _cylinder((x, -20, 13), (x, 20, 13), 4, 4)
        for side in (-1, 1):
            rim = [(0, 0), (12, 0), (13, 1), (13, 9), (12, 10), (8, 10), (7, 8), (0, 8)]
            car = car + _lathe(rim).rotate((-90 * side, 0, 0)).translate((x, 18 * side, 13))
        car = car + _box((28, 38, 8)).translate((x, 0, 25))
    return car


def _tape_roll() -> Manifold:
    return _lathe(
        [(38, 0), (41, 0), (41, 0.8), (54.2, 0.8), (55, 1.6), (55, 47.4), (54.2, 48.2), (41, 48.2), (41, 49), (38, 49)]
    )


def _block() -> Manifold:
    return _rounded_box((90, 45, 45), 3).translate((0, 0, 22.5)) - _cylinder((-14, -40, 22.5), (-14, 40, 22.5), 13, 13)


def _pan() -> Manifold:
    outside = _curve([(66, 0), (72, 3), (80, 24), (88, 42)], 32)
    inside = [*_curve([(84.5, 42), (76.8, 25), (69, 8), (58, 4)], 40), (0, 4)]
    vessel = _lathe([(0, 0), *outside, (87.2, 43.3), (85.3, 43.3), *inside])
    arm = _curve([(80, 0, 32), (112, 0, 43), (170, 0, 52), (232, 0, 50)], 48)
    thickness = np.column_stack(
        [np.full(len(arm), 5.0), np.interp(np.linspace(0, 1, len(arm)), (0, 0.3, 1), (8, 10, 12))]
    )
    cavity = _lathe([*inside, (0, 80), (84.5, 80)])
    eye = _cylinder((220, 0, 0), (220, 0, 100), 5, 5)
    return vessel + (_sweep(arm, radii=thickness) - cavity) - eye


def _lathe(profile: Sequence[ArrayLike]) -> Manifold:
    """Revolve a closed outline of (radius, z), in either direction, about z."""
    return CrossSection([np.asarray(profile, dtype=np.float64)], FillRule.NonZero).revolve(_SEGMENTS)


def _cylinder(start: ArrayLike, end: ArrayLike, radius_start: float, radius_end: float) -> Manifold:
    """A cone frustum between two points (3,)."""
    axis = np.subtract(end, start).astype(np.float64)
    height = float(np.linalg.norm(axis))
    cone = Manifold.cylinder(height, radius_start, radius_end, _SEGMENTS // 2)
    pose = trimesh.geometry.align_vectors((0, 0, 1), axis)
    pose[:3, 3] = start
    return cone.transform(pose[:3])


def _ball(centre: ArrayLike, radius: float) -> Manifold:
    return Manifold.sphere(radius, _SEGMENTS // 3).translate(tuple(np.asarray(centre, dtype=float)))


def _box(size: tuple[float, float, float]) -> Manifold:
    return Manifold.cube(size, True)


def _rounded_box(size: tuple[float, float, float], radius: float) -> Manifold:
    """A box about the origin whose edges and corners are rounded: the hull of eight balls."""
    reach = 0.5 * np.asarray(size) - radius
    signs = np.stack(np.meshgrid(*[(-1.0, 1.0)] * 3), axis=-1).reshape(-1, 3)
    return Manifold.batch_hull([_ball(sign * reach, radius) for sign in signs])


def _curve(points: Sequence[ArrayLike], count: int) -> NDArray[np.float64]:
    """(count, D) points of a cubic spline through control points, parametrised by chord length."""
    control = np.asarray(points, dtype=np.float64)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(control, axis=0), axis=1))])
    return CubicSpline(length, control)(np.linspace(0.0, length[-1], count))


def _sweep(path: NDArray[np.float64], radii: ArrayLike, section: NDArray[np.float64] | None = None) -> Manifold:
    """A closed tube along a curve that lies nearly in one plane.

    path: (N, 3). radii: (2,) or (N, 2) half axes of the section, in the curve's plane and across it.
    section: (S,) factor on the radii around the tube; None is an ellipse.
    """
    shape = np.ones(32) if section is None else section
    sides = len(shape)
    around = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    tangents = np.gradient(path, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    normal = np.linalg.svd(path - path.mean(0))[2][2]  # of the curve's plane; its sign is the decomposition's whim
    across = np.broadcast_to(normal * np.sign(normal[np.abs(normal).argmax()]), path.shape)
    inward = np.cross(across, tangents)
    inward /= np.linalg.norm(inward, axis=1, keepdims=True)
    half_axes = np.broadcast_to(np.asarray(radii, dtype=np.float64), (len(path), 2))
    rings = path[:, None] + shape[:, None] * (
        (half_axes[:, :1] * np.cos(around))[..., None] * inward[:, None]
        + (half_axes[:, 1:] * np.sin(around))[..., None] * across[:, None]
    )
    vertices = np.concatenate([rings.reshape(-1, 3), path[[0, -1]]])
    return _solid(vertices, _tube_faces(len(path), sides))


def _tube_faces(rings: int, sides: int) -> NDArray[np.int64]:
    """(F, 3) triangles between consecutive rings of vertices and two fans to the caps' centres, which come last."""
    ring, side = np.divmod(np.arange((rings - 1) * sides), sides)
    a, b = ring * sides + side, ring * sides + (side + 1) % sides
    c, d = a + sides, b + sides
    first, last = np.arange(sides), (rings - 1) * sides + np.arange(sides)
    start, end = np.full(sides, rings * sides), np.full(sides, rings * sides + 1)
    return np.concatenate(
        [
            np.column_stack([a, b, d]),
            np.column_stack([a, d, c]),
            np.column_stack([start, np.roll(first, -1), first]),
            np.column_stack([end, last, np.roll(last, -1)]),
        ]
    )


def _solid(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> Manifold:
    if trimesh.Trimesh(vertices, faces, process=False).volume < 0:
        faces = faces[:, ::-1]
    return Manifold(Mesh(vertices.astype(np.float32), np.ascontiguousarray(faces, dtype=np.uint32)))


def _standing_mesh(solid: Manifold) -> trimesh.Trimesh:
    """Millimetres to metres, with the lowest point on z = 0 and the footprint's box centred."""
    mesh = solid.to_mesh()
    vertices = 1e-3 * np.asarray(mesh.vert_properties, dtype=np.float64)[:, :3]
    low, high = vertices.min(0), vertices.max(0)
    vertices -= np.array([0.5 * (low[0] + high[0]), 0.5 * (low[1] + high[1]), low[2]])
    return trimesh.Trimesh(vertices, np.asarray(mesh.tri_verts, dtype=np.int64), process=False)
