"""The one door: points in metres to completed objects. The node, the command line and the evaluation all come in here.

    model = Reconstructor.load("models/default")
    mesh = model.complete(points, plane).mesh                  # one object's points
    objects = model.reconstruct(cloud).objects                 # a whole cloud

The way of a cloud: support plane, clusters, each object's unit frame, encoder, occupancy field, MISE, mesh. No ROS.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onet_ros.completion import (
    BACKGROUND_POINTS,
    CompletionSettings,
    ObjectCompleter,
    ReconstructedObject,
    SeenObject,
)
from onet_ros.networks import Checkpoint, load_checkpoint
from onet_ros.scene import (
    ObjectCluster,
    PlaneSettings,
    PlaneTracker,
    PointCloud,
    RegionOfInterest,
    SegmentationSettings,
    SupportPlane,
    Surroundings,
    find_support_plane,
    segment_objects,
)
from onet_ros.stopwatch import Stopwatch
from onet_ros.surface import ExtractionSettings, SurfaceError


@dataclass(frozen=True)
class ReconstructorSettings:
    """The settings of every room a cloud passes through."""

    region: RegionOfInterest = field(default_factory=RegionOfInterest)
    plane: PlaneSettings = field(default_factory=PlaneSettings)
    segmentation: SegmentationSettings = field(default_factory=SegmentationSettings)
    completion: CompletionSettings = field(default_factory=CompletionSettings)
    extraction: ExtractionSettings = field(default_factory=ExtractionSettings)


@dataclass(frozen=True)
class Reconstruction:
    """What came of one cloud.

    Attributes:
        plane: the support plane, or None where there is none (then there are no objects).
        objects: largest first.
        failures: a sentence for each object that was seen but could not be completed, or why there are none.
        timings: seconds by stage.
    """

    plane: SupportPlane | None
    objects: list[ReconstructedObject]
    failures: list[str]
    timings: dict[str, float]


@dataclass(frozen=True)
class Scene:
    """What stands where, before anything is completed.

    Attributes:
        cloud: the part of it that is looked at.
        plane: the support plane, or None.
        clusters: what stands on it, largest first; none without a plane.
        reason: why there is no plane.
    """

    cloud: PointCloud
    plane: SupportPlane | None
    clusters: list[ObjectCluster]
    reason: str = ""


def find_objects(
    cloud: PointCloud | ArrayLike,
    settings: ReconstructorSettings | None = None,
    viewpoint: ArrayLike = (0.0, 0.0, 0.0),
    plane: SupportPlane | None = None,
    up: ArrayLike | None = None,
    watch: Stopwatch | None = None,
    tracker: PlaneTracker | None = None,
) -> Scene:
    """The first half of `Reconstructor.reconstruct`, which explains the arguments; needs no network.

    Args:
        watch: told of the stages crop, plane and segment.
    """
    settings, watch = settings or ReconstructorSettings(), watch or Stopwatch()
    if not isinstance(cloud, PointCloud):
        cloud = PointCloud.from_points(np.asarray(cloud))
    with watch.stage("crop"):
        cloud = settings.region.crop(cloud, viewpoint=viewpoint)
    if plane is None:
        with watch.stage("plane"):
            find = tracker.find if tracker else find_support_plane
            fit = find(cloud.valid_points, viewpoint, settings.plane, up)
        if fit.plane is None:
            return Scene(cloud, None, [], f"no support plane: {fit.reason}")
        plane = fit.plane
    with watch.stage("segment"):
        clusters = segment_objects(cloud, plane, settings.segmentation, viewpoint)
    return Scene(cloud, plane, clusters)


class Reconstructor:
    """A network and the settings of its surroundings; safe to use from one thread at a time."""

    def __init__(self, checkpoint: Checkpoint, settings: ReconstructorSettings | None = None) -> None:
        self.checkpoint = checkpoint
        self.settings = settings or ReconstructorSettings()
        self._completer = ObjectCompleter(checkpoint, self.settings.completion, self.settings.extraction)

    @classmethod
    def load(
        cls, checkpoint: str | Path, settings: ReconstructorSettings | None = None, device: str = "cpu"
    ) -> Reconstructor:
        """From a checkpoint folder.

        Raises:
            CheckpointError: the folder holds no usable checkpoint.
        """
        return cls(load_checkpoint(checkpoint, device), settings)

    def complete(
        self,
        points: ArrayLike,
        plane: SupportPlane | None = None,
        viewpoint: ArrayLike = (0.0, 0.0, 0.0),
        background: ArrayLike | None = None,
    ) -> ReconstructedObject:
        """Complete one object from the points seen of it.

        Args:
            points: (N, 3) float, metres, any frame (the camera's, say).
            plane: what the object stands on, same frame. None: a plane under the lowest point, with the frame taken
                for an upright camera's optical frame (y down).
            viewpoint: (3,) metres, same frame: where the camera stood.
            background: (M, 3) metres, same frame: what was seen around the object (see
                `onet_ros.scene.background_points`); it tells where the object is not. None: the object stood alone on
                its table, and nothing hid a part of it. An empty list: nothing is known.

        Raises:
            ValueError: wrong shape, too few points, or points that are not finite.
            SurfaceError: the network sees no object in these points.
        """
        seen = SeenObject.on_plane(points, plane, viewpoint, background, min_points=self.settings.completion.min_points)
        (result,) = self._completer.complete([seen])
        if isinstance(result, SurfaceError):
            raise result
        return result

    def reconstruct(
        self,
        cloud: PointCloud | ArrayLike,
        viewpoint: ArrayLike = (0.0, 0.0, 0.0),
        plane: SupportPlane | None = None,
        up: ArrayLike | None = None,
        watch: Stopwatch | None = None,
        tracker: PlaneTracker | None = None,
    ) -> Reconstruction:
        """Find and complete the objects on the table of a whole cloud.

        Args:
            cloud: a PointCloud, or (N, 3) or (H, W, 3) float metres; organized clouds are segmented as images.
            viewpoint: (3,) metres, the cloud's frame: where the camera stood.
            plane: the support plane if it is known; found in the cloud otherwise.
            up: (3,) roughly upwards in the cloud's frame, where that is known.
            watch: keeps the time instead of one of the call's own.
            tracker: for the clouds of a stream in one frame, where each probably shows the plane of the one before.

        Raises:
            CloudError: there is not one usable point.
        """
        watch = watch or Stopwatch()
        scene = find_objects(cloud, self.settings, viewpoint, plane, up, watch, tracker)
        if scene.plane is None:
            return Reconstruction(None, [], [scene.reason], watch.seconds)
        failures: list[str] = []
        with watch.stage("surroundings"):
            around = Surroundings(scene.cloud, self.settings.completion.seed)
            seen = [self._seen(cluster, around, scene.plane, viewpoint, failures) for cluster in scene.clusters]
        found = [one for one in seen if one is not None]
        objects: list[ReconstructedObject] = []
        for one, result in zip(found, self._completer.complete(found, watch), strict=True):
            if isinstance(result, SurfaceError):
                failures.append(_failure(one.points, result))
            else:
                objects.append(result)
        return Reconstruction(scene.plane, objects, failures, watch.seconds)

    def _seen(
        self,
        cluster: ObjectCluster,
        surroundings: Surroundings,
        plane: SupportPlane,
        viewpoint: ArrayLike,
        failures: list[str],
    ) -> SeenObject | None:
        """The cluster with what was seen around it, or None and one more failure."""
        settings = self.settings.completion
        around = surroundings.around(cluster.indices, viewpoint, BACKGROUND_POINTS)
        try:
            return SeenObject.on_plane(
                cluster.points, plane, viewpoint, around, cluster.indices, min_points=settings.min_points
            )
        except ValueError as error:
            failures.append(_failure(cluster.points, error))
            return None


def _failure(points: NDArray[np.floating], error: ValueError) -> str:
    where = np.round(points.mean(axis=0), 3).tolist()
    return f"object of {len(points)} points at {where} m: {error}"


__all__ = [
    "CompletionSettings",
    "ReconstructedObject",
    "Reconstruction",
    "Reconstructor",
    "ReconstructorSettings",
    "SurfaceError",
]
