"""The transforms of a recording: what tf2 would answer at any moment of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation, Slerp


class TransformError(ValueError):
    """A transform that the recording does not hold; says why."""


class RecordedTransforms:
    """A tree of frames whose edges are fixed, or known at some moments and interpolated between them, as tf2 does.

    Translations are interpolated linearly, rotations spherically. There is no extrapolation.
    """

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}
        self._fixed: dict[str, NDArray[np.float64]] = {}
        self._moving: dict[str, list[tuple[int, NDArray[np.float64]]]] = {}

    def add(
        self, parent: str, child: str, stamp: int | None, translation: ArrayLike, quaternion_xyzw: ArrayLike
    ) -> None:
        """One more transform.

        Args:
            parent, child: names of the frames; the transform takes points of the child to the parent.
            stamp: nanoseconds; None for one that holds always.
            translation: (3,) metres.
            quaternion_xyzw: (4,).

        Raises:
            TransformError: numbers that are no transform.
        """
        values = np.array([*np.ravel(translation), *np.ravel(quaternion_xyzw)], dtype=np.float64)
        if values.shape != (7,) or not np.isfinite(values).all() or not np.linalg.norm(values[3:]) > 1e-6:
            raise TransformError(f"from {child!r} to {parent!r}: {values.round(4).tolist()} is no transform")
        self._parents[child.lstrip("/")] = parent.lstrip("/")
        if stamp is None:
            self._fixed[child.lstrip("/")] = values
        else:
            self._moving.setdefault(child.lstrip("/"), []).append((stamp, values))

    def finish(self) -> None:
        """Sort what was added; to be called before the first `lookup`."""
        for samples in self._moving.values():
            samples.sort(key=lambda sample: sample[0])

    def lookup(self, target: str, source: str, stamp: int) -> NDArray[np.float64]:
        """T_target_source (4, 4) at a stamp, nanoseconds.

        Raises:
            TransformError: unknown or unconnected frames, or no transform at that moment.
        """
        target, source = target.lstrip("/"), source.lstrip("/")
        up, down = self._way_to_root(source), self._way_to_root(target)
        common = next((frame for frame in up if frame in down), None)
        if common is None:
            known = ", ".join(sorted({*self._parents, *self._parents.values()})) or "none"
            raise TransformError(f"{source!r} and {target!r} are not connected; frames of the recording: {known}")
        T_common_source = self._along(up[: up.index(common)], stamp)
        T_common_target = self._along(down[: down.index(common)], stamp)
        answer: NDArray[np.float64] = np.linalg.inv(T_common_target) @ T_common_source
        return answer

    def _way_to_root(self, frame: str) -> list[str]:
        way = [frame]
        while way[-1] in self._parents and self._parents[way[-1]] not in way:
            way.append(self._parents[way[-1]])
        return way

    def _along(self, frames: Sequence[str], stamp: int) -> NDArray[np.float64]:
        """T (4, 4) from the first of the frames to the parent of the last one."""
        T = np.eye(4)
        for frame in frames:
            T = self._edge(frame, stamp) @ T
        return T

    def _edge(self, child: str, stamp: int) -> NDArray[np.float64]:
        """T_parent_child (4, 4)."""
        samples = self._moving.get(child)
        if samples is None:
            return _matrix(self._fixed[child])
        stamps = [moment for moment, _ in samples]
        after = int(np.searchsorted(stamps, stamp))
        if after < len(samples) and stamps[after] == stamp:
            return _matrix(samples[after][1])
        if after in (0, len(samples)):
            nearest = stamps[0] if after == 0 else stamps[-1]
            raise TransformError(
                f"from {child!r} to {self._parents[child]!r} nothing is known {abs(stamp - nearest) * 1e-9:.3f} s "
                f"{'before the first' if after == 0 else 'after the last'} of {len(samples)} transforms"
            )
        (start, first), (end, second) = samples[after - 1], samples[after]
        return _between(first, second, (stamp - start) / (end - start))


def _between(first: NDArray[np.float64], second: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    rotation = Slerp([0.0, 1.0], Rotation.from_quat([first[3:], second[3:]]))(share)
    T = np.eye(4)
    T[:3, :3] = rotation.as_matrix()
    T[:3, 3] = (1.0 - share) * first[:3] + share * second[:3]
    return T


def _matrix(values: NDArray[np.float64]) -> NDArray[np.float64]:
    T = np.eye(4)
    T[:3, :3] = Rotation.from_quat(values[3:]).as_matrix()
    T[:3, 3] = values[:3]
    return T
