"""Numbers of objects that stay the same from one cloud to the next."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment


class ObjectIds:
    """Gives each object a number; an object near one of the cloud before keeps that one's number.

    A number is never used a second time, so that a planner cannot take a new object for one that it knows.
    """

    def __init__(self) -> None:
        self._positions: dict[int, NDArray[np.float64]] = {}
        self._frame_id = ""
        self._next_id = 0

    def update(
        self, positions: NDArray[np.float64], frame_id: str, same_object_distance: float
    ) -> tuple[list[int], list[int]]:
        """Number the objects of a cloud.

        Args:
            positions: (N, 3) metres, centres of the objects.
            frame_id: frame of the positions; in another frame than before, all objects are new.
            same_object_distance: metres that an object may have moved since the cloud before.

        Returns:
            The N numbers in the order of the positions, and the numbers of the objects that are there no more.
        """
        positions = np.asarray(positions, dtype=np.float64).reshape(-1, 3)
        known = list(self._positions)
        ids = [-1] * len(positions)
        if known and len(positions) and frame_id == self._frame_id:
            before = np.array([self._positions[number] for number in known])
            distances = np.linalg.norm(positions[:, None] - before, axis=2)
            # Pairs too far apart all cost the same, so that they never displace a pair that is near.
            rows, columns = linear_sum_assignment(np.minimum(distances, 2.0 * same_object_distance))
            for row, column in zip(rows, columns, strict=True):
                if distances[row, column] <= same_object_distance:
                    ids[row] = known[column]
        for row in range(len(positions)):
            if ids[row] < 0:
                ids[row] = self._next_id
                self._next_id += 1
        self._positions, self._frame_id = dict(zip(ids, positions, strict=True)), frame_id
        return ids, [number for number in known if number not in self._positions]

    def clear(self) -> list[int]:
        """Forget all objects; their numbers."""
        _, vanished = self.update(np.empty((0, 3)), self._frame_id, 0.0)
        return vanished
