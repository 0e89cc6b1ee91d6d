"""The light of the pictures: a uniform sky about the ground's normal and a soft key light from the viewer's upper left.

Sampled by shadow rays, the one mechanism gives ambient occlusion, soft shadows, and the shadow on the ground.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from onet_ros.pictures.view import View
from onet_ros.ray_casting import RayScene

SKY, KEY, HEADLIGHT, BOUNCE = 0.98, 0.72, 0.22, 0.16  # of the dome, of the key, from the viewer, off the ground
_SKY_SHARE, _KEY_SHARE = 12, 6  # lights that one pixel asks
_KEY_SPREAD = 0.3  # radius of the key light's disc at distance 1.2
_POINTS_AT_ONCE = 50_000  # bounds the memory of the shadow rays


def lights(groups: int, up: NDArray[np.float64], view: View) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit directions to the lights (L, 3), and their radiance (L,).

    Every `groups`-th light, from whichever start, is a coarse sample of both sky and key.
    """
    east = np.cross(up, view.backward)
    east /= np.linalg.norm(east)
    axes = np.stack([east, np.cross(up, east), up])  # the second axis points away from the viewer
    sky_count, key_count = groups * _SKY_SHARE, groups * _KEY_SHARE
    height = (np.arange(sky_count) + 0.5) / sky_count
    sky = np.column_stack([_spiral(sky_count) * np.sqrt(1 - height**2)[:, None], height]) @ axes
    key_axis = np.array([-0.55, -0.35, 1.0]) @ axes
    spread = _KEY_SPREAD * np.sqrt((np.arange(key_count) + 0.5) / key_count)[:, None] * _spiral(key_count)
    key = key_axis + spread @ np.linalg.svd(key_axis[None])[2][1:]
    directions = np.concatenate([sky, key / np.linalg.norm(key, axis=-1, keepdims=True)])
    radiance = np.concatenate([np.full(sky_count, SKY / sky_count), np.full(key_count, KEY / key_count)])
    return directions.astype(np.float32), radiance.astype(np.float32)


def irradiance(
    scene: RayScene,
    points: NDArray[np.float32],
    normals: NDArray[np.float32],
    mask: NDArray[np.bool_],
    block: int,
    up: NDArray[np.float64],
    view: View,
) -> NDArray[np.float32]:
    """(n,) light that reaches the points (n, 3) with unit normals (n, 3), seen by the true pixels of `mask` (H, W).

    Interleaved sampling (A. Keller and W. Heidrich, EGWR 2001): the pixels of a block of block x block share out the
    lights, so that the mean over any such block is the mean over all lights.
    """
    groups = block**2
    directions, radiance = lights(groups, up, view)
    rows, columns = np.nonzero(mask)
    group = (rows % block) * block + columns % block
    light = np.zeros(len(points), dtype=np.float32)
    for member in range(groups):
        chosen = np.flatnonzero(group == member)
        for part in np.array_split(chosen, 1 + len(chosen) // _POINTS_AT_ONCE):
            received = np.clip(normals[part] @ directions[member::groups].T, 0, None) * radiance[member::groups]
            point, lamp = np.nonzero(received)
            if len(point):
                rays = np.empty((len(point), 6), dtype=np.float32)
                rays[:, :3], rays[:, 3:] = points[part[point]], directions[member::groups][lamp]
                received[point, lamp] *= ~scene.occluded(rays)
            light[part] = groups * received.sum(-1)
    return light


def block_means(values: NDArray[np.float32], mask: NDArray[np.bool_], block: int) -> NDArray[np.float32]:
    """(n,) values of the true pixels of `mask` (H, W), each averaged with the true ones in block x block about it."""
    layer = np.zeros(mask.shape, dtype=np.float32)
    layer[mask] = values
    total, weight = cv2.blur(layer, (block, block)), cv2.blur(mask.astype(np.float32), (block, block))
    return (total[mask] / np.maximum(weight[mask], 1e-6)).astype(np.float32)


def _spiral(count: int) -> NDArray[np.float64]:
    """(count, 2) unit vectors, each turned by the golden angle from the last, which spreads any run of them evenly."""
    angle = np.pi * (3.0 - np.sqrt(5.0)) * np.arange(count)
    return np.column_stack([np.cos(angle), np.sin(angle)])
