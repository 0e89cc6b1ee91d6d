"""Room for the gripper: approaches along which the open fingers and the hand touch nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray

from onet_ros.grasping.gripper import GraspSettings, Gripper

ANGLES = 12  # approaches about each closing direction, from straight above on: level ones are among them
STEEPEST = 0.3  # cosine between approach and up: nothing comes from below
AT_ONCE = 256  # approaches that room is looked for, so that what is computed of them stays in the cache
WIDER = 0.02  # metres that a gripper opens farther than it has to, where it cannot all the way
SURFACE_POINTS = 900  # of the object, that must not be in the gripper; half as many of each neighbour
FARTHEST = 0.015  # metres that the surface is looked for outside the mesh at most, however uncertain it is


@dataclass(frozen=True)
class Approaches:
    """K open grippers that touch nothing: for which of the pairs of contacts (K,), T_source_gripper (K, 4, 4), opening
    (K,) metres."""

    rows: NDArray[np.int64]
    frames: NDArray[np.float64]
    opening: NDArray[np.float64]

    def only(self, chosen: NDArray[np.integer] | NDArray[np.bool_]) -> Approaches:
        return Approaches(self.rows[chosen], self.frames[chosen], self.opening[chosen])


def approaches(contacts: NDArray[np.float64], table: NDArray[np.float64], settings: GraspSettings) -> Approaches:
    """To each pair of contacts all that do not come from below, opened as little as possible, whether there is room or
    not; the fingertips as far beyond the contacts as the table lets them.

    Args:
        contacts: (G, 2, 3) metres.
        table: (4,) n.x + d, metres above it.
    """
    axis, up = _unit(contacts[:, 1] - contacts[:, 0]), np.asarray(table[:3], dtype=np.float64)
    rows, approach = _directions(axis, up)
    frames = np.tile(np.eye(4), (len(rows), 1, 1))
    x = axis[rows]
    frames[:, :3, 0], frames[:, :3, 1], frames[:, :3, 2] = x, np.cross(approach, x), approach
    frames[:, :3, 3] = contacts[rows].mean(axis=1)
    width = np.linalg.norm(contacts[rows, 1] - contacts[rows, 0], axis=1)
    tried = Approaches(rows, frames, np.minimum(width + 2.0 * settings.clearance, settings.max_opening))
    room = _lowest(frames, *Gripper(settings).boxes(tried.opening), table) - 1.2 * settings.clearance
    descent = np.maximum(-approach @ up, 1e-6)
    frames[:, :3, 3] += np.clip(room / descent, 0.0, settings.tip)[:, None] * approach
    return tried


def _directions(axis: NDArray[np.float64], up: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Of approaches square to axes (G, 3): the row of the axis (K,), and unit vectors (K, 3)."""
    down = (axis @ up)[:, None] * axis - up
    standing = np.linalg.norm(down, axis=1, keepdims=True) < 1e-3  # closing up and down: all approaches are level
    across = np.cross(axis, np.eye(3)[np.abs(axis).argmin(axis=1)])
    first = _unit(np.where(standing, across, down))
    other = np.cross(axis, first)
    angle = 2.0 * np.pi * np.arange(ANGLES) / ANGLES
    approach = np.cos(angle)[None, :, None] * first[:, None] + np.sin(angle)[None, :, None] * other[:, None]
    rows, approach = np.repeat(np.arange(len(axis)), ANGLES), approach.reshape(-1, 3)
    kept = approach @ up < STEEPEST
    return rows[kept], approach[kept]


def with_room(
    tried: Approaches, table: NDArray[np.float64], points: NDArray[np.float32], settings: GraspSettings, most: int
) -> Approaches:
    """The first of approaches along which nothing is touched, in their order, opened as far as there is room.

    Args:
        tried: with the least opening.
        table: (4,) n.x + d, metres above it.
        points: (P, 3) that must not be in the gripper, in any order.
        most: how many are enough.
    """
    found, enough = [tried.only(np.arange(0))], 0
    for start in range(0, len(tried.rows), AT_ONCE):
        if enough >= most:
            break
        part = tried.only(np.arange(start, min(start + AT_ONCE, len(tried.rows))))
        free, opening = np.arange(len(part.rows)), np.zeros(len(part.rows))
        for farther in (0.0, WIDER, settings.max_opening):
            wider = np.minimum(part.opening[free] + farther, settings.max_opening)
            still = _is_free(part.only(free), wider, table, points, settings)
            free = free[still]
            opening[free] = wider[still]
        found.append(Approaches(part.rows, part.frames, opening).only(opening > 0.0))
        enough += len(found[-1].rows)
    return Approaches(
        *(np.concatenate([getattr(one, name) for one in found]) for name in ("rows", "frames", "opening"))
    )


def _is_free(
    grippers: Approaches,
    opening: NDArray[np.float64],
    table: NDArray[np.float64],
    points: NDArray[np.float32],
    settings: GraspSettings,
) -> NDArray[np.bool_]:
    """(K,) whether they touch nothing, opened that far (K,), nor when they close to their own opening."""
    lower, upper = Gripper(settings).boxes(opening, grippers.opening)
    free = _lowest(grippers.frames, lower, upper, table) > settings.clearance
    for some in np.split(points, [len(points) // 8]):  # a few show most collisions
        still = np.flatnonzero(free)
        free[still] = ~touches(some, grippers.frames[still], lower[still], upper[still])
    return free


def _lowest(
    frames: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64], table: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(K,) metres over the table of the lowest corner of boxes (K, 3, 3)."""
    up = table[:3] @ frames[:, :3, :3]  # in the gripper's frame
    middle, half = (lower + upper) / 2.0, (upper - lower) / 2.0
    lowest = (middle @ up[..., None])[..., 0] - (half @ np.abs(up)[..., None])[..., 0]
    return np.asarray(lowest.min(axis=1) + frames[:, :3, 3] @ table[:3] + table[3])


def touches(
    points: NDArray[np.float32], frames: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(K,) whether any of the points (P, 3) lies in one of the boxes (K, 3, 3) of a gripper."""
    rotation = frames[:, :3, :3].transpose(0, 2, 1).astype(np.float32)
    own = rotation @ points.T - (rotation @ frames[:, :3, 3:].astype(np.float32))  # (K, 3, P)
    low, high = (corners.astype(np.float32)[..., None] for corners in (lower, upper))
    touched = np.zeros((len(frames), len(points)), dtype=bool)
    for box in range(lower.shape[1]):
        inside = own[:, 0] > low[:, box, 0]
        inside &= own[:, 0] < high[:, box, 0]
        for axis in (1, 2):
            inside &= own[:, axis] > low[:, box, axis]
            inside &= own[:, axis] < high[:, box, axis]
        touched |= inside
    return np.asarray(touched.any(axis=1))


def points_around(
    mesh: trimesh.Trimesh, error: NDArray[np.floating], obstacles: Sequence[trimesh.Trimesh]
) -> NDArray[np.float32]:
    """(P, 3) in random order: on the mesh, where its surface may be as well, and on what stands around it.

    error: (V,) metres expected at its vertices, NaN where it is not known.
    """
    places, faces = trimesh.sample.sample_surface(mesh, SURFACE_POINTS, seed=0)
    doubt = np.nan_to_num(np.asarray(error, dtype=np.float64))[np.asarray(mesh.faces)[faces]].mean(axis=1)
    outside = places + np.minimum(doubt, FARTHEST)[:, None] * mesh.face_normals[faces]
    points = [places, outside[doubt > 0.0]]
    points += [trimesh.sample.sample_surface(one, SURFACE_POINTS // 2, seed=0)[0] for one in obstacles]
    return np.random.default_rng(0).permutation(np.concatenate(points).astype(np.float32))


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))
