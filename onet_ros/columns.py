"""Reductions over arrays of points, (N, k) with a k of two or three, one column after the other.

Along so short an axis, or across it, NumPy's own take some ten to fifteen times as long; and of rows as short, indexing
with them takes five times as long as `take`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Real = TypeVar("Real", bound=np.floating)


def bounds(points: NDArray[Real]) -> tuple[NDArray[Real], NDArray[Real]]:
    """The least and the largest coordinates (k,) of N points, N >= 1."""
    columns = points.T
    return np.array([one.min() for one in columns]), np.array([one.max() for one in columns])


def centre(points: NDArray[Real]) -> NDArray[Real]:
    """The middle (k,) of the box about N points, N >= 1."""
    low, high = bounds(points)
    return np.asarray((low + high) / 2, dtype=points.dtype)


def mean(points: NDArray[Real]) -> NDArray[Real]:
    """The mean (k,) of N points."""
    return np.array([one.mean() for one in points.T])


def percentiles(values: NDArray[Real], *percents: float) -> NDArray[np.float64]:
    """(len(percents),) or (len(percents), k): of numbers (N,), or of each column of N points, as
    `numpy.percentile` interpolates them; NaN of none."""
    if values.ndim == 2:
        return np.stack([percentiles(one, *percents) for one in values.T], axis=1)
    if not len(values):
        return np.full(len(percents), np.nan)
    places = np.array(percents) / 100.0 * (len(values) - 1)
    low = places.astype(np.int64)
    high = np.minimum(low + 1, len(values) - 1)
    ordered = np.partition(values, np.unique([low, high]))
    below, above = ordered[low].astype(np.float64), ordered[high].astype(np.float64)
    return np.asarray(below + (above - below) * (places - low))


def lengths(vectors: NDArray[Real]) -> NDArray[Real]:
    """(N,), Euclidean."""
    first, *others = vectors.T
    squared = first * first
    for one in others:
        squared += one * one
    found: NDArray[Real] = np.sqrt(squared)
    return found


def cross(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,), the cross product of two vectors (3,): NumPy's own takes ten times as long."""
    (a, b, c), (d, e, f) = one.tolist(), other.tolist()
    return np.array([b * f - c * e, c * d - a * f, a * e - b * d])


def in_all(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N,) where all of a row (N, k) is true."""
    first, *others = mask.T
    whole = first.copy()
    for one in others:
        whole &= one
    return whole


def rows(points: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
    """Those of N points where the mask (N,) is true: points[mask]."""
    return points.take(np.flatnonzero(mask), axis=0)
