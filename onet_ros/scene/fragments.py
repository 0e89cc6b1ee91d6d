"""Pixels of a range image into pieces of surface, and pieces that belong together into objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from onet_ros.scene.cloud import depth_noise
from onet_ros.scene.range_image import RangeImage

# Rows and columns to the pixels that one is compared with: its neighbours, and those behind one missing pixel.
_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))

# Two pieces count as near where this many pairs of their pixels are near: one or two may be noise.
_PAIRS = 5
_FREE_PAIRS = 4  # of them, those without table in between
_LOST = 4  # pixels that are missing across a step in depth: two on either side
_FOOT = 0.012  # metres; a piece with pixels this low beside the table is seen to reach it


def connect(
    image: RangeImage, mask: NDArray[np.bool_], table: NDArray[np.bool_], max_incidence: float, min_points: int
) -> NDArray[np.int32]:
    """Pieces of connected surface.

    Two pixels next to each other belong to one surface where it could be seen at no more than `max_incidence`: the
    depth between them then changes by at most the tangent of it per pixel, plus the sensor's noise.

    Args:
        mask: (H, W) bool, the pixels to connect.
        table: (H, W) bool, where the table is seen: it parts what lies on both sides.
        max_incidence: radians between the ray and the surface's normal.
        min_points: pieces of fewer pixels are left out.

    Returns:
        (H, W) int32: 1..n for the pieces, the largest first; 0 elsewhere.
    """
    pixels = np.flatnonzero(mask)
    first, second = _connections(image, mask, table, pixels, max_incidence)
    graph = coo_matrix((np.ones(len(first), np.int8), (first, second)), shape=(len(pixels), len(pixels)))
    _, piece = connected_components(graph, directed=False)
    labels = np.zeros(mask.size, np.int32)
    labels[pixels] = _ranked(piece, min_points)
    return labels.reshape(mask.shape)


def _connections(
    image: RangeImage,
    mask: NDArray[np.bool_],
    table: NDArray[np.bool_],
    pixels: NDArray[np.int64],
    max_incidence: float,
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Both ends of every connection between pixels (N,), as positions in `pixels`."""
    x, y, z = np.ascontiguousarray(image.points.reshape(-1, 3).take(pixels, axis=0).T)
    distance = image.distance.ravel()[pixels]
    noise = np.float32(3.0 * np.sqrt(2.0)) * depth_noise(distance)  # three sigma of the difference of two depths
    slope = np.float32(np.tan(max_incidence) * image.pixel_angle) * distance
    # The position of every pixel in `pixels`, in a frame as wide as the longest step; -1 for the table, -2 for others.
    position = np.full((mask.shape[0] + 2, mask.shape[1] + 4), -2, np.int32)
    position[:-2, 2:-2][table] = -1
    position[:-2, 2:-2][mask] = np.arange(len(pixels), dtype=np.int32)
    stride = position.shape[1]
    row, column = np.divmod(pixels, mask.shape[1])
    framed = row * stride + column + 2
    first, second = [], []
    for down, right in _STEPS:
        partner = position.ravel()[framed + down * stride + right]
        if max(down, right) == 2:
            partner[position.ravel()[framed + (down * stride + right) // 2] == -1] = -1
        here = np.flatnonzero(partner >= 0)
        there = partner[here]
        apart = sum((one.take(here) - one.take(there)) ** 2 for one in (x, y, z))
        limit = noise[here] + max(down, abs(right)) * slope[here]
        near = apart <= limit * limit
        first.append(here[near])
        second.append(there[near])
    return np.concatenate(first), np.concatenate(second)


def _ranked(piece: NDArray[np.int32], min_points: int) -> NDArray[np.int32]:
    """Piece numbers (N,) renamed 1..n, the largest first; 0 for those with fewer than `min_points`."""
    sizes = np.bincount(piece)
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] >= min_points]
    rank = np.zeros(len(sizes), np.int32)
    rank[order] = np.arange(1, len(order) + 1)
    return rank[piece]


def merge(
    image: RangeImage,
    height: NDArray[np.float32],
    labels: NDArray[np.int32],
    table: NDArray[np.bool_],
    gap: float,
    hanging_gap: float,
) -> NDArray[np.int32]:
    """Join the pieces into which an object falls where it hides part of itself: the far wall of a cup, a handle.

    Two pieces are one object where they come close to each other in space and no table is seen between them. Two
    objects that stand apart show the table between them, unless one hides the other. Two objects also both reach the
    table, as a rule; a piece that is not seen to do so hangs on something, and a wider gap may lie between.

    Args:
        height: (H, W) float32, metres above the table.
        labels: (H, W) int32, pieces 1..n.
        table: (H, W) bool, where the table is seen.
        gap: metres, between pieces that both reach the table; the width of the pixels that cameras lose at a step in
            depth comes on top.
        hanging_gap: metres, where one of them does not.

    Returns:
        (H, W) int32: 1..m for the objects, the largest first; 0 where labels is 0.
    """
    count = int(labels.max(initial=0))
    if count < 2:
        return labels
    foot = cv2.dilate(table.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & (height < _FOOT)
    pieces = [_Piece.of(image, outline, foot) for outline in _outlines(labels, count)]
    joined = []
    for i, j in _neighbours(pieces, max(gap, hanging_gap)):
        one, other = pieces[i], pieces[j]
        limit = (hanging_gap if one.hangs or other.hangs else gap) + one.lost
        if _close(one, other, limit, table):
            joined.append((i, j))
    if not joined:
        return labels
    ends = np.array(joined).T
    graph = coo_matrix((np.ones(len(joined), np.int8), (ends[0], ends[1])), shape=(count, count))
    _, group = connected_components(graph, directed=False)
    merged = np.zeros_like(labels)
    inside = labels > 0
    merged[inside] = _ranked(group[labels[inside] - 1], 1)
    return merged


@dataclass(frozen=True, eq=False)
class _Piece:
    """The outline of a piece: N pixels that have a neighbour outside it.

    Attributes:
        pixels: (N, 2) int64, row and column.
        points: (N, 3) float32, metres.
        hangs: the piece is not seen to reach the table.
        lost: metres; the width, at this distance, of the pixels that a camera loses at a step in depth.
    """

    pixels: NDArray[np.int64]
    points: NDArray[np.float32]
    hangs: bool
    lost: float

    @classmethod
    def of(cls, image: RangeImage, outline: NDArray[np.int64], foot: NDArray[np.bool_]) -> _Piece:
        """From flat pixels (N,); foot (H, W) bool: low and beside the table."""
        hangs = int(np.count_nonzero(foot.ravel()[outline])) < _PAIRS
        distance = float(np.median(image.distance.ravel()[outline]))
        return cls(
            np.stack(np.divmod(outline, foot.shape[1]), axis=1),
            image.points.reshape(-1, 3).take(outline, axis=0),
            hangs,
            _LOST * image.pixel_angle * distance,
        )

    @cached_property
    def tree(self) -> cKDTree:
        """The outline's points, to find the nearest."""
        return cKDTree(self.points)


def _neighbours(pieces: list[_Piece], gap: float) -> Iterator[tuple[int, int]]:
    """Pairs whose bounding boxes come near to each other."""
    reach = gap + max(piece.lost for piece in pieces)
    low, high = (np.array([end(piece.points, axis=0) for piece in pieces]) for end in (np.min, np.max))
    for i in range(len(pieces) - 1):
        rest = slice(i + 1, None)
        apart = np.maximum(low[i] - high[rest], low[rest] - high[i]).max(axis=1)
        for j in np.flatnonzero(apart < reach):
            yield i, i + 1 + int(j)


def _close(one: _Piece, other: _Piece, limit: float, table: NDArray[np.bool_]) -> bool:
    """Whether the pieces come within `limit`, metres, of each other and no table is seen where they do."""
    gaps, nearest = one.tree.query(other.points, distance_upper_bound=limit)
    closest = np.argsort(gaps, kind="stable")[:_PAIRS]
    if np.isfinite(gaps[closest]).sum() < _PAIRS:
        return False
    seen = _table_between(table, other.pixels[closest], one.pixels[nearest[closest]])
    return bool((~seen).sum() >= _FREE_PAIRS)


def _outlines(labels: NDArray[np.int32], count: int) -> list[NDArray[np.int64]]:
    """For each piece the flat pixels that have a neighbour outside it."""
    framed = np.pad(labels, 1)
    stride = framed.shape[1]
    inside = np.flatnonzero(framed)
    owner = framed.ravel()[inside]
    at_edge = np.zeros(len(inside), bool)
    for step in (-stride, stride, -1, 1):
        at_edge |= framed.ravel()[inside + step] != owner
    row, column = np.divmod(inside[at_edge], stride)
    return grouped((row - 1) * labels.shape[1] + column - 1, owner[at_edge], count)


def grouped(items: NDArray[np.int64], owner: NDArray[np.integer], count: int) -> list[NDArray[np.int64]]:
    """Items (N,) split by their owner (N,), 1 to `count`; each group keeps the order of the items."""
    order = np.argsort(owner, kind="stable")
    return np.split(items[order], np.searchsorted(owner[order], np.arange(2, count + 1)))


def _table_between(table: NDArray[np.bool_], start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,) bool: whether the straight line in the image between two pixels, (N, 2) each, crosses the table."""
    samples = int(np.abs(start - end).max()) + 1
    line = np.rint(start + np.linspace(0.0, 1.0, samples)[:, None, None] * (end - start)).astype(np.int64)
    return np.asarray(table[line[..., 0], line[..., 1]].any(axis=0))
