"""Fingers that close on a shape: what their pads touch, and whether that holds.

A pad touches where its area first meets the surface, which on a shape that is not flat need not be where the contact
was meant to be; its force can act anywhere between the points that it touches. Two contacts with friction hold in force
closure when the line between them lies in both friction cones (V.-D. Nguyen, "Constructing Force-Closure Grasps",
International Journal of Robotics Research, 1988).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onet_ros.grasping.gripper import GraspSettings
from onet_ros.ray_casting import RayScene

PAD_LENGTH = 0.015  # metres of the fingertips that touch
PAD_ROWS, PAD_COLUMNS = 4, 7  # rays of each
# Metres that a rubber pad gives way: what it meets within that after the first contact it touches as well.
YIELD = 0.0015


def pad_places(settings: GraspSettings) -> NDArray[np.float64]:
    """(28, 2) y and z, gripper's frame, of points spread over a pad."""
    y = np.linspace(-settings.finger_width / 2.0, settings.finger_width / 2.0, PAD_COLUMNS)
    z = np.linspace(-PAD_LENGTH, 0.0, PAD_ROWS)
    return np.stack(np.meshgrid(y, z), axis=-1).reshape(-1, 2)


def closing_cosines(
    shape: RayScene,
    frames: NDArray[np.float64],
    opening: NDArray[np.float64],
    places: NDArray[np.float64],
    give: float = YIELD,
) -> NDArray[np.float64]:
    """How well grippers that close on a shape hold it.

    Args:
        shape: what they close on.
        frames: (G, 4, 4) T_shape_gripper: x closing, z approach, metres.
        opening: (G,) metres, from which they close.
        places: (G, N, 2) or (N, 2) y and z of the points of the pads that can touch.
        give: metres that the pads give way.

    Returns:
        (G,) the worse of the two cosines between the line from contact to contact and the inward normal, a mean over
        what the pad touches; -1 where a pad meets nothing, and less than 0 where it begins in the shape.
    """
    count, rotation = len(frames), frames[:, :3, :3]
    places = np.broadcast_to(places, (count, *places.shape[-2:]))
    side = np.array([-1.0, 1.0])
    local = np.empty((count, 2, places.shape[1], 3))
    local[..., 0] = side[:, None] * opening[:, None, None] / 2.0
    local[..., 1:] = places[:, None]
    starts = np.einsum("gij,gsnj->gsni", rotation, local) + frames[:, None, None, :3, 3]
    directions = -side[None, :, None] * rotation[:, None, :, 0]  # (G, 2, 3)
    rays = np.concatenate([starts, np.broadcast_to(directions[:, :, None], starts.shape)], axis=3)
    hits = shape.cast(rays.astype(np.float32))
    distance = np.where(hits.hit & (hits.distance <= opening[:, None, None]), hits.distance, np.inf)
    nearest = distance.min(axis=2, keepdims=True)
    touched = np.isfinite(distance) & (distance <= nearest + give)
    weights = touched / np.maximum(touched.sum(axis=2, keepdims=True), 1)
    depth = np.einsum("gsn,gsn->gs", weights, np.where(touched, distance, 0.0))
    normals = np.einsum("gsn,gsnj,gji->gsi", weights, hits.normal, rotation, optimize=True)  # in the gripper's frame
    line = np.column_stack([np.maximum(opening - depth.sum(axis=1), 1e-6), _gaps(places, touched)])
    lengths = np.linalg.norm(line, axis=1)[:, None] * np.linalg.norm(normals, axis=2)
    inward = side * np.einsum("gi,gsi->gs", line, normals)
    cosines = np.where(lengths > 1e-9, inward / np.maximum(lengths, 1e-9), -1.0)
    return np.asarray(np.where(touched.any(axis=2).all(axis=1), cosines.min(axis=1), -1.0))


def _gaps(places: NDArray[np.float64], touched: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(G, 2) metres in y and z from what the first pad touches to what the second does, 0 where these overlap: the
    pressure of a pad can come together anywhere between the points that it touches."""
    inside = touched[..., None]
    low = np.where(inside, places[:, None], 1.0).min(axis=2)  # (G, 2, 2)
    high = np.where(inside, places[:, None], -1.0).max(axis=2)
    return np.asarray(np.maximum(low[:, 1] - high[:, 0], 0.0) - np.maximum(low[:, 0] - high[:, 1], 0.0))
