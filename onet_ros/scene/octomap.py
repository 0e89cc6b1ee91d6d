"""The occupied cells of an OctoMap, as octomap_msgs/Octomap carries it.

Stream formats by the readers and writers of OctoMap 1.9 (OccupancyOcTreeBase.hxx): children in the order of the bits
x + 2 y + 4 z, depth first. Binary: 16 bits a node, two for each child: 1 free leaf, 2 occupied leaf, 3 inner node.
Full: each node's log-odds as float32, its colour where it has one, and 8 bits for its children.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from onet_ros.scene.cloud import CloudError, PointCloud

DEPTH = 16  # levels of every OctoMap tree
NODE_BYTES = {"OcTree": 4, "ColorOcTree": 7}  # of a node in the full format, without its children's bits
OCCUPIED, INNER = 2, 3

_Cell = tuple[int, int, int, int]  # lower corner, in cells of the finest level, and edge


def decode_octomap(message: Any, max_points: int = 5_000_000) -> PointCloud:
    """The middles of the occupied cells of a map, in the map's frame, all of the finest size.

    Args:
        message: as octomap_msgs/Octomap: binary, id, resolution and data.
        max_points: maps with more cells are refused.

    Raises:
        CloudError: another kind of tree, an impossible resolution, truncated or left-over data, or no occupied cell;
            quotes the value at fault.
    """
    if message.id not in NODE_BYTES:
        raise CloudError(f"octomap of type {message.id!r}: known are {', '.join(NODE_BYTES)}")
    resolution = float(message.resolution)
    if not (math.isfinite(resolution) and 1e-4 <= resolution <= 10.0):
        raise CloudError(f"octomap with the resolution {resolution} m")
    data = bytes(np.asarray(message.data, dtype=np.int8).tobytes())
    if not data:
        raise CloudError("empty octomap: it holds no nodes")
    reader = _binary_leaves(data) if message.binary else _full_leaves(data, NODE_BYTES[message.id])
    corners, edges, count = [], [], 0
    for x, y, z, edge in reader:
        count += edge**3
        if count > max_points:
            raise CloudError(f"octomap of more than {max_points} occupied cells of {resolution} m exceeds the limit")
        corners.append((x, y, z))
        edges.append(edge)
    if not corners:
        raise CloudError(f"octomap of {len(data)} bytes without an occupied cell")
    cells = _split(np.array(corners, dtype=np.int64), np.array(edges, dtype=np.int64))
    middles = ((cells - 2 ** (DEPTH - 1) + 0.5) * resolution).astype(np.float32)
    cloud = PointCloud.from_points(middles)
    return PointCloud(cloud.points, cell_size=resolution)


def _split(corners: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(N, 3) int64: cells of the finest level in larger ones, given by lower corners (M, 3) and edges (M,)."""
    parts = []
    for edge in np.unique(edges).tolist():
        offsets = np.stack(np.meshgrid(*3 * [np.arange(edge)], indexing="ij"), axis=-1).reshape(-1, 3)
        parts.append((corners[edges == edge][:, None] + offsets).reshape(-1, 3))
    return np.concatenate(parts)


def _children(cell: _Cell) -> list[_Cell]:
    x, y, z, edge = cell
    half = edge // 2
    return [(x + half * (n & 1), y + half * (n >> 1 & 1), z + half * (n >> 2), half) for n in range(8)]


def _binary_leaves(data: bytes) -> Iterator[_Cell]:
    waiting, place = [(0, 0, 0, 2**DEPTH)], 0
    while waiting:
        cell = waiting.pop()
        if place + 2 > len(data):
            raise CloudError(f"truncated octomap: {len(data)} bytes end in the middle of the tree")
        states, place = int.from_bytes(data[place : place + 2], "little"), place + 2
        inner = []
        for number, child in enumerate(_children(cell)):
            state = states >> 2 * number & 3
            if state == OCCUPIED:
                yield child
            elif state == INNER:
                if child[3] < 2:
                    raise CloudError(f"octomap deeper than {DEPTH} levels at byte {place}")
                inner.append(child)
        waiting += reversed(inner)
    _check_end(data, place)


def _full_leaves(data: bytes, node_bytes: int) -> Iterator[_Cell]:
    waiting, place = [(0, 0, 0, 2**DEPTH)], 0
    while waiting:
        cell = waiting.pop()
        if place + node_bytes + 1 > len(data):
            raise CloudError(f"truncated octomap: {len(data)} bytes end in the middle of the tree")
        (log_odds,) = struct.unpack_from("<f", data, place)
        children, place = data[place + node_bytes], place + node_bytes + 1
        if not children:
            if log_odds >= 0.0:  # as likely as not, where OctoMap draws its line
                yield cell
            continue
        if cell[3] < 2:
            raise CloudError(f"octomap deeper than {DEPTH} levels at byte {place}")
        waiting += [child for n, child in reversed(list(enumerate(_children(cell)))) if children >> n & 1]
    _check_end(data, place)


def _check_end(data: bytes, place: int) -> None:
    if place != len(data):
        raise CloudError(f"octomap of {len(data)} bytes, but its tree ends at byte {place}")
