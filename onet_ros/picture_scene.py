"""The objects of a stream of pictures with instance masks, numbered by their labels, completed when their mask changes.

What `LiveScene` is for clouds. The segmentation that makes the masks decides which object is which, so that an object's
number is its label; no picture tells what is free, so that an object goes when its label does.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onet_ros.live_scene import LiveObject, SceneUpdate
from onet_ros.reconstructor import ReconstructedObject, Reconstructor
from onet_ros.scene import NANOSECONDS, OPTICAL_UP, RegionOfInterest, SupportPlane
from onet_ros.stopwatch import Stopwatch

SAME_MASK = 0.95  # intersection over union from which on a mask shows nothing new


@dataclass(frozen=True, eq=False)
class Picture:
    """A camera's picture, free of lens distortion, and what is in it.

    Attributes:
        image: (H, W, 3) uint8 RGB or (H, W) uint8.
        K: (3, 3) intrinsics, pixels.
        labels: (H, W) whole numbers, 0 where there is no object.
        cloud: (H, W, 3) metres, optical frame, what was measured at each pixel, NaN elsewhere; None without depth.
    """

    image: NDArray[np.uint8]
    K: NDArray[np.float64]
    labels: NDArray[np.integer]
    cloud: NDArray[np.float32] | None = None


@dataclass
class _Known:
    """One object: its mask when it was completed, and its shape, None where it could not be."""

    mask: NDArray[np.bool_]
    shape: ReconstructedObject | None
    first_seen: int
    completed: int
    last_seen: int
    seen_now: bool = True
    place: bytes = b""


class PictureScene:
    """A `Reconstructor` of pictures with a memory; to be used from one thread at a time."""

    def __init__(self, reconstructor: Reconstructor) -> None:
        self._reconstructor = reconstructor
        self._known: dict[int, _Known] = {}
        self._vanished: list[int] = []
        self._plane: SupportPlane | None = None  # of the newest picture that showed it, camera frame

    @property
    def reconstructor(self) -> Reconstructor:
        """What completes the objects."""
        return self._reconstructor

    @reconstructor.setter
    def reconstructor(self, reconstructor: Reconstructor) -> None:
        """Go on with another one: all objects are completed anew when they are seen next."""
        self._reconstructor = reconstructor
        for known in self._known.values():
            known.mask = np.zeros((0, 0), dtype=bool)

    def clear(self) -> list[int]:
        """Forget everything; the numbers of the objects forgotten."""
        forgotten = [number for number, known in self._known.items() if known.shape is not None]
        vanished, self._vanished, self._known, self._plane = self._vanished, [], {}, None
        return [*vanished, *forgotten]

    def update(
        self,
        picture: Picture,
        stamp: int,
        T_target_camera: ArrayLike | None = None,
        plane: SupportPlane | None = None,
        everything: bool = False,
        region: RegionOfInterest | None = None,
        watch: Stopwatch | None = None,
    ) -> SceneUpdate:
        """Take in the next picture.

        Args:
            picture: the camera's.
            stamp: nanoseconds, when it was taken; not before the one before.
            T_target_camera: (4, 4), the frame that the objects are wanted in; None for the camera's own.
            plane: the table, camera frame, where it is known; otherwise it is looked for in the picture's cloud.
            everything: complete every object in the picture, whatever is known of it.
            region: tell of those completed only whose middle lies in this box, target frame; for `everything`.
            watch: keeps the time instead of one of the call's own.

        Raises:
            PictureError: the picture, its mask or its camera cannot be used.
        """
        watch, settings = watch or Stopwatch(), self._reconstructor.settings.tracking
        T = np.eye(4) if T_target_camera is None else np.asarray(T_target_camera, dtype=np.float64)
        due = self._due(picture, stamp, T, settings.update_period, everything)
        wanted = replace(picture, labels=np.where(np.isin(picture.labels, due), picture.labels, 0))
        failures: list[str] = []
        completed: list[int] = []
        if due or not picture.labels.any():  # an empty mask is told of as what is wrong with it
            up = T[2, :3] if T_target_camera is not None else OPTICAL_UP
            made = self._reconstructor.reconstruct_image(
                picture.image, picture.K, wanted.labels, plane, picture.cloud, up, watch
            )
            failures = made.failures
            self._plane = made.plane
            for label, shape in self._by_label(picture, made.objects).items():
                self._known[label].shape = _moved(shape, T)
                completed.append(label)
        self._expire(stamp, settings.keep_missing)
        if region is not None:
            shown = {item.number: item.shape for item in self.objects()}
            completed = [number for number in completed if region.contains(shown[number].T_source_object[:3, 3])]
        vanished, self._vanished = self._vanished, []
        return SceneUpdate(
            plane=None if self._plane is None else self._plane.transformed(T),
            objects=self.objects(),
            completed=completed,
            vanished=vanished,
            failures=failures,
            timings=watch.seconds,
        )

    def objects(self) -> list[LiveObject]:
        """All known objects that have a shape, by number."""
        return [
            LiveObject(number, one.shape, one.first_seen, one.last_seen, one.completed, one.seen_now, 1, "")
            for number, one in sorted(self._known.items())
            if one.shape is not None
        ]

    def occupancy(self, points: ArrayLike, numbers: Collection[int] | None = None) -> dict[int, NDArray[np.float32]]:
        """Not of pictures: raises ValueError."""
        raise ValueError("occupancy cannot be asked in mode image: what a picture is completed to has no lasting field")

    def _due(self, picture: Picture, stamp: int, T: NDArray[np.float64], period: float, everything: bool) -> list[int]:
        """Labels to be completed; notes what is seen of each."""
        due, place = [], T.round(4).tobytes()
        for known in self._known.values():
            known.seen_now = False
        for label in np.unique(picture.labels[picture.labels != 0]).tolist():
            mask = picture.labels == label
            if label not in self._known:
                self._known[label] = _Known(mask, None, stamp, stamp, stamp, place=place)
                due.append(label)
                continue
            known = self._known[label]
            known.last_seen, known.seen_now = stamp, True
            changed = known.place != place or not _same(known.mask, mask)
            if everything or (changed and stamp - known.completed >= period * NANOSECONDS):
                known.mask, known.completed, known.place = mask, stamp, place
                due.append(label)
        return due

    def _by_label(self, picture: Picture, objects: list[ReconstructedObject]) -> dict[int, ReconstructedObject]:
        labels = picture.labels.ravel()
        return {int(labels[one.indices[0]]): one for one in objects}

    def _expire(self, stamp: int, patience: float) -> None:
        for number, known in list(self._known.items()):
            if not known.seen_now and stamp - known.last_seen >= patience * NANOSECONDS:
                del self._known[number]
                if known.shape is not None:
                    self._vanished.append(number)


def _same(before: NDArray[np.bool_], now: NDArray[np.bool_]) -> bool:
    if before.shape != now.shape:
        return False
    return bool((before & now).sum() >= SAME_MASK * (before | now).sum())


def _moved(shape: ReconstructedObject, T: NDArray[np.float64]) -> ReconstructedObject:
    """The object in another frame; T (4, 4) is a rotation and a translation."""
    mesh, collision_mesh = shape.mesh.copy(), shape.collision_mesh.copy()
    for one in (mesh, collision_mesh):
        one.apply_transform(T)
    return replace(shape, mesh=mesh, collision_mesh=collision_mesh, T_source_object=T @ shape.T_source_object)
