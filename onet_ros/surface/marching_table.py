"""The case table of marching cubes, read off PyMCubes."""

from __future__ import annotations

from functools import lru_cache

import mcubes
import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=1)
def case_table() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """PyMCubes' triangles of each case, read off by giving it one cell at a time.

    Case c has corner k inside where bit k of c is set; corner k is at the binary digits of k, x first. An edge of the
    cell is named 3 k + a, after the corner k it starts at and its axis a.

    Returns:
        (256, 5, 3) int64, edges of the vertices of up to five triangles, counter-clockwise from outside;
        (256,) int64, how many of the five are used.
    """
    triangles = np.zeros((256, 5, 3), dtype=np.int64)
    counts = np.zeros(256, dtype=np.int64)
    for case in range(1, 255):
        cell = ((case >> np.arange(8)) & 1).reshape(2, 2, 2).astype(np.float64)
        vertices, faces = mcubes.marching_cubes(cell, 0.5)
        axes = np.argmax(vertices == 0.5, axis=1)
        edges = 3 * (np.floor(vertices).astype(np.int64) @ (4, 2, 1)) + axes
        counts[case] = len(faces)
        triangles[case, : len(faces)] = edges[faces.astype(np.int64)]
    return triangles, counts
