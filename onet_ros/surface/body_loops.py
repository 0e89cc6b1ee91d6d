"""Telling bodies apart in compiled loops: what `body_kernels` is on a GPU, this is on a CPU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onet_ros.cpu_kernels import compiled

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@compiled
def piece_labels(faces: Integers, vertices: int) -> Integers:
    """Faces (F, 3) -> (V,) number of each vertex' connected piece, in the order of their lowest ones.

    A forest in which each vertex' parent is a lower one; each face joins the trees of its vertices (union-find: Tarjan,
    Journal of the ACM, 1975).
    """
    parents = np.arange(vertices)
    for face in faces:
        for corner in (1, 2):
            one, other = _root(parents, face[0]), _root(parents, face[corner])
            parents[max(one, other)] = min(one, other)
    labels, count = np.empty(vertices, np.int64), 0
    for vertex in range(vertices):
        if parents[vertex] == vertex:
            labels[vertex] = count
            count += 1
        else:
            labels[vertex] = labels[parents[vertex]]
    return labels


@compiled
def _root(parents: Integers, vertex: int) -> int:
    """The top of a vertex' tree; the way there is halved for those who come after."""
    while parents[vertex] != vertex:
        parents[vertex] = parents[parents[vertex]]
        vertex = parents[vertex]
    return vertex


@compiled
def kept_of_mesh(
    vertices: Floats, faces: Integers, kept: NDArray[np.bool_]
) -> tuple[Floats, Integers, NDArray[np.bool_]]:
    """The vertices that the faces kept (F,) need, these faces, and (V,) which vertices those are."""
    numbers = np.full(len(vertices), -1)
    for i in range(len(faces)):
        if kept[i]:
            for corner in faces[i]:
                numbers[corner] = 0
    count = 0
    for i in range(len(vertices)):
        if numbers[i] == 0:
            numbers[i] = count
            count += 1
    fewer, renumbered, row = np.empty((count, 3)), np.empty((int(np.sum(kept)), 3), np.int64), 0
    for i in range(len(vertices)):
        if numbers[i] >= 0:
            fewer[numbers[i]] = vertices[i]
    for i in range(len(faces)):
        if kept[i]:
            for corner in range(3):
                renumbered[row, corner] = numbers[faces[i, corner]]
            row += 1
    return fewer, renumbered, numbers >= 0
