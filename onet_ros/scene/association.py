"""Which cluster of a cloud is which of the objects that are known: by position, size and shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from onet_ros import columns
from onet_ros.nearest import NearestPoint
from onet_ros.scene.evidence import KnownShape, sampled
from onet_ros.scene.segmentation import ObjectCluster

SAMPLE = 100  # points of a cluster that are compared
ON_SHAPE = 0.015  # metres; points this near to a shape can be its own
FRAGMENT_SHARE = 0.8  # of a cluster's points on the shape of another cluster's object: a piece of that object
JOINED_SHARE = 0.85  # of a cluster's points on several shapes together: these objects, not told apart
COVERED_SHARE = 0.3  # of a shape's points in the cluster, so that it is one of them
SMALLER_WEIGHT = 0.25  # what is smaller than it was may be hidden in part; what is larger is another object


def assign(
    clusters: Sequence[ObjectCluster], shapes: Sequence[KnownShape], same_object_distance: float
) -> list[tuple[ObjectCluster, int | None]]:
    """Give each shape the cluster that it most probably is.

    The cost of a pair is the mean distance of the cluster's points to the shape, and `same_object_distance` times the
    logarithm of how much larger the cluster is (a quarter of that where it is smaller). The cheapest assignment is
    taken (Hungarian method); a pair that costs more than `same_object_distance` is none.

    Known shapes also mend the segmentation: a cluster that holds several known objects where they stood is divided
    among them, and a piece of a known object that was cut off by something in front joins the rest of it.

    Args:
        clusters: of one cloud.
        shapes: of the known objects, same frame.
        same_object_distance: metres.

    Returns:
        The clusters, mended, those with most points first, each with the number of its shape or None.
    """
    mended = [piece for cluster in clusters for piece in _divided(cluster, shapes, same_object_distance)]
    numbers: list[int | None] = [None] * len(mended)
    if mended and shapes:
        costs = np.array([_costs(cluster, shapes, same_object_distance) for cluster in mended])
        # Pairs that are none all cost the same, so that they never displace a pair that is one.
        rows, columns = linear_sum_assignment(np.minimum(costs, 2.0 * same_object_distance + 1e-6))
        for row, column in zip(rows, columns, strict=True):
            if costs[row, column] <= same_object_distance:
                numbers[row] = int(column)
    joined = _with_fragments(mended, numbers, shapes)
    return sorted(joined, key=lambda pair: (-len(pair[0].indices), pair[0].indices[0]))


def _costs(cluster: ObjectCluster, shapes: Sequence[KnownShape], same_object_distance: float) -> list[float]:
    """What it costs to take the cluster for each of the shapes, metres; infinite for those far away."""
    centre, radius = _bounds(cluster)
    points = sampled(cluster.points, SAMPLE)
    costs = []
    for shape in shapes:
        if np.linalg.norm(centre - shape.centre) > radius + shape.radius + same_object_distance:
            costs.append(np.inf)
            continue
        distance = float(shape.distances(points, 4.0 * same_object_distance + 1e-3).mean())
        growth = float(np.log(max(radius, 1e-4) / max(shape.radius, 1e-4)))
        costs.append(distance + same_object_distance * (growth if growth > 0 else -SMALLER_WEIGHT * growth))
    return costs


def _bounds(cluster: ObjectCluster) -> tuple[NDArray[np.floating], float]:
    """Middle (3,) of a cluster's box, and the distance of its farthest point from there, metres."""
    centre = columns.centre(cluster.points)
    return centre, float(columns.lengths(cluster.points - centre).max())


def _divided(cluster: ObjectCluster, shapes: Sequence[KnownShape], same_object_distance: float) -> list[ObjectCluster]:
    """The cluster, or its parts where it holds several known objects."""
    centre, radius = _bounds(cluster)
    near = [shape for shape in shapes if np.linalg.norm(centre - shape.centre) < radius + same_object_distance]
    if len(near) < 2:
        return [cluster]
    nearest = NearestPoint(np.asarray(sampled(cluster.points, 20 * SAMPLE), dtype=np.float64))

    def covers(shape: KnownShape) -> bool:
        some = np.asarray(sampled(shape.points, 3 * SAMPLE), dtype=np.float64)
        return bool((nearest(some, within=ON_SHAPE)[0] < ON_SHAPE).mean() > COVERED_SHARE)

    covered = [shape for shape in near if covers(shape)]
    if len(covered) < 2:
        return [cluster]
    distances = np.stack([shape.distances(cluster.points) for shape in covered])
    if (distances.min(axis=0) < ON_SHAPE).mean() < JOINED_SHARE:
        return [cluster]
    owner = distances.argmin(axis=0)
    parts = [np.flatnonzero(owner == number) for number in range(len(covered))]
    return [_part(cluster, part) for part in parts if len(part)]


def _part(cluster: ObjectCluster, part: NDArray[np.int64]) -> ObjectCluster:
    return ObjectCluster(cluster.indices[part], cluster.points[part], cluster.touches_border)


def _with_fragments(
    clusters: Sequence[ObjectCluster], numbers: Sequence[int | None], shapes: Sequence[KnownShape]
) -> list[tuple[ObjectCluster, int | None]]:
    """The clusters and their shapes, those that are pieces of an object put together with the rest of it."""
    whole = {number: [cluster] for cluster, number in zip(clusters, numbers, strict=True) if number is not None}
    others: list[tuple[ObjectCluster, int | None]] = []
    for cluster, number in zip(clusters, numbers, strict=True):
        if number is not None:
            continue
        points = sampled(cluster.points, SAMPLE)
        shares = {owner: float((shapes[owner].distances(points) < ON_SHAPE).mean()) for owner in whole}
        best = max(shares, key=lambda owner: shares[owner], default=None)
        if best is not None and shares[best] >= FRAGMENT_SHARE:
            whole[best].append(cluster)
        else:
            others.append((cluster, None))
    return [(_union(pieces), number) for number, pieces in whole.items()] + others


def _union(pieces: Sequence[ObjectCluster]) -> ObjectCluster:
    if len(pieces) == 1:
        return pieces[0]
    indices = np.concatenate([piece.indices for piece in pieces])
    points = np.concatenate([piece.points for piece in pieces])
    order = np.argsort(indices)
    return ObjectCluster(indices[order], points[order], any(piece.touches_border for piece in pieces))
