"""The one door: points in metres to completed objects. The node, the command line and the evaluation all come in here.

    model = Reconstructor.load("models/default")
    mesh = model.complete(points, plane).mesh                  # one object's points
    objects = model.reconstruct(cloud).objects                 # a whole cloud

    model = Reconstructor.load("models/image")
    objects = model.reconstruct_image(image, K, labels, plane).objects    # a picture and its instance mask

    model = Reconstructor.load("models/voxels")
    mesh = model.complete_voxels(grid).mesh                    # a coarse voxel grid

The way of a cloud: support plane, clusters, each object's unit frame, encoder, occupancy field, MISE, mesh. No ROS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onet_ros import columns
from onet_ros.completion import CompletionSettings, ObjectCompleter, ReconstructedObject
from onet_ros.networks import Checkpoint, load_checkpoint
from onet_ros.scene import (
    AROUND_POINTS,
    OPTICAL_UP,
    ObjectCluster,
    PictureError,
    PlaneSettings,
    PlaneTracker,
    PointCloud,
    RegionOfInterest,
    SeenObject,
    SegmentationSettings,
    SupportPlane,
    Surroundings,
    TrackingSettings,
    VoxelError,
    VoxelGrid,
    checked_labels,
    find_support_plane,
    masked_objects,
    segment_objects,
)
from onet_ros.shape_completion import GriddedObject, PicturedObject, ShapeCompleter
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
    tracking: TrackingSettings = field(default_factory=TrackingSettings)


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
    labels: NDArray[np.integer] | None = None,
) -> Scene:
    """The first half of `Reconstructor.reconstruct`, which explains the arguments; needs no network.

    Args:
        watch: told of the stages crop, plane and segment.

    Raises:
        CloudError: there is not one usable point, or the labels are not of the cloud's layout.
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
        if labels is None:
            clusters = segment_objects(cloud, plane, settings.segmentation, viewpoint)
        else:
            clusters = masked_objects(cloud, labels, settings.segmentation)
    return Scene(cloud, plane, clusters)


class Reconstructor:
    """A network and the settings of its surroundings; safe to use from one thread at a time."""

    def __init__(self, checkpoint: Checkpoint, settings: ReconstructorSettings | None = None) -> None:
        self.checkpoint = checkpoint
        self.settings = settings or ReconstructorSettings()
        how = self.settings.completion, self.settings.extraction
        self._points = ObjectCompleter(checkpoint, *how) if self.observes == "points" else None
        self._shapes = ShapeCompleter(checkpoint, *how) if self.observes != "points" else None

    @classmethod
    def load(
        cls, checkpoint: str | Path, settings: ReconstructorSettings | None = None, device: str = "cpu"
    ) -> Reconstructor:
        """From a checkpoint folder.

        Raises:
            CheckpointError: the folder holds no usable checkpoint.
        """
        return cls(load_checkpoint(checkpoint, device), settings)

    def warm_up(self) -> None:
        """Have what is compiled at its first use compiled before the first cloud.

        Loops for a CPU, which are kept for later processes: the first time on a machine it takes about a minute.
        And kernels for a GPU. Of networks that observe points; others compile as they go.
        """
        if self._points is not None:
            self._points.warm_up()

    @property
    def observes(self) -> str:
        """What the network is to be given: "points", "image" or "voxels"."""
        return self.checkpoint.network.observes

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
        (result,) = self._point_completer.complete([seen])
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
        labels: NDArray[np.integer] | None = None,
    ) -> Reconstruction:
        """Find and complete the objects on the table of a whole cloud.

        Args:
            cloud: a PointCloud, or (N, 3) or (H, W, 3) float metres; organized clouds are segmented as images.
            viewpoint: (3,) metres, the cloud's frame: where the camera stood.
            plane: the support plane if it is known; found in the cloud otherwise.
            up: (3,) roughly upwards in the cloud's frame, where that is known.
            watch: keeps the time instead of one of the call's own.
            tracker: for the clouds of a stream in one frame, where each probably shows the plane of the one before.
            labels: (H, W) int, the cloud's layout: 0 for none, any other number for one object. Somebody else's
                segmentation, in place of our own.

        Raises:
            CloudError: there is not one usable point, or the labels are not of the cloud's layout.
        """
        watch = watch or Stopwatch()
        scene = find_objects(cloud, self.settings, viewpoint, plane, up, watch, tracker, labels)
        if scene.plane is None:
            return Reconstruction(None, [], [scene.reason], watch.seconds)
        seen, failures = self.seen_objects(scene, scene.clusters, viewpoint, watch)
        objects: list[ReconstructedObject] = []
        found = [one for one in seen if one is not None]
        for one, result in zip(found, self.complete_seen(found, watch, apart=True), strict=True):
            if isinstance(result, SurfaceError):
                failures.append(failure(one.points, result))
            else:
                objects.append(result)
        return Reconstruction(scene.plane, objects, failures, watch.seconds)

    def seen_objects(
        self,
        scene: Scene,
        clusters: Sequence[ObjectCluster],
        viewpoint: ArrayLike,
        watch: Stopwatch | None = None,
        around: bool = True,
    ) -> tuple[list[SeenObject | None], list[str]]:
        """What was seen of each cluster and around it, in the order given.

        Args:
            scene: with a plane.
            clusters: of its cloud.
            watch: told of the stage surroundings.
            around: False leaves out what was seen around them, until `looked_around` adds it.

        Returns:
            One for each cluster, None for what cannot be completed; and a sentence for each of these.
        """
        watch = watch or Stopwatch()
        failures: list[str] = []
        if scene.plane is None:
            raise ValueError(f"a scene without a support plane has no objects: {scene.reason}")
        with watch.stage("surroundings"):
            surroundings = Surroundings(scene.cloud, self.settings.completion.seed) if around else None
            seen = [self._seen(cluster, surroundings, scene, viewpoint, failures) for cluster in clusters]
        return seen, failures

    def looked_around(
        self, scene: Scene, seen: Sequence[SeenObject], watch: Stopwatch | None = None
    ) -> list[SeenObject]:
        """The same objects with what was seen around them in the scene's cloud."""
        with (watch or Stopwatch()).stage("surroundings"):
            around = Surroundings(scene.cloud, self.settings.completion.seed)
            return [one.with_background(around.around(one.indices, one.viewpoint, AROUND_POINTS)) for one in seen]

    def complete_seen(
        self, seen: Sequence[SeenObject], watch: Stopwatch | None = None, apart: bool = False
    ) -> list[ReconstructedObject | SurfaceError]:
        """For each object its completion, or the error that says why there is none; all of them side by side.

        Args:
            watch: keeps the time.
            apart: they are different objects of one scene, so that no two of them can be at the same place.
        """
        if self.observes != "voxels":
            return self._point_completer.complete(seen, watch, apart)
        gridded: dict[int, GriddedObject] = {}
        results: dict[int, ReconstructedObject | SurfaceError] = {}
        for number, one in enumerate(seen):
            try:
                gridded[number] = GriddedObject.from_seen(one)
            except VoxelError as error:
                results[number] = SurfaceError(str(error))
        completed = self._completer_of("voxels").complete_grids(list(gridded.values()), watch)
        for number, result in zip(gridded, completed, strict=True):
            if not isinstance(result, SurfaceError):  # of a cloud its points were seen, and not cells of a grid
                result = replace(result, indices=seen[number].indices)
            results[number] = result
        return [results[number] for number in range(len(seen))]

    def occupancy(self, seen: Sequence[SeenObject], points: ArrayLike) -> NDArray[np.float32]:
        """(B, N) float32: the probability that each of B objects is at each of N points.

        Args:
            points: (N, 3) metres, source frame, finite.
        """
        if self.observes == "voxels":
            return self._completer_of("voxels").grid_occupancy([GriddedObject.from_seen(one) for one in seen], points)
        return self._point_completer.occupancy(seen, points)

    def complete_image(
        self,
        image: ArrayLike,
        K: ArrayLike,
        mask: ArrayLike,
        plane: SupportPlane | None = None,
        depth_points: ArrayLike | None = None,
        up: ArrayLike = OPTICAL_UP,
    ) -> ReconstructedObject:
        """Complete one object from a picture of it.

        Place and size come from the plane, or else from a few measured points; what the camera saw has a confidence of
        one half, because nobody measured how far away it is.

        Args:
            image: (H, W, 3) uint8 RGB or (H, W) uint8, free of lens distortion (see `scene.undistorted`).
            K: (3, 3) intrinsics, pixels; integer pixel = pixel centre.
            mask: (H, W), anything but 0 is the object.
            plane: what the object stands on, in the camera's optical frame.
            depth_points: (N, 3) metres, optical frame, measured on the object; used where there is no plane.
            up: (3,) optical frame, roughly upwards; used where there is no plane.

        Raises:
            PictureError: wrong shapes or types, no intrinsics, an empty mask, neither plane nor depth points.
            SurfaceError: the network sees no object in this picture.
            ValueError: the network does not observe images.
        """
        completer = self._completer_of("image")
        pictured = PicturedObject.from_picture(image, mask, K, self._image_size, plane, depth_points, up)
        (result,) = completer.complete_pictures([pictured])
        if isinstance(result, SurfaceError):
            raise result
        return result

    def reconstruct_image(
        self,
        image: ArrayLike,
        K: ArrayLike,
        labels: ArrayLike,
        plane: SupportPlane | None = None,
        cloud: ArrayLike | None = None,
        up: ArrayLike = OPTICAL_UP,
        watch: Stopwatch | None = None,
    ) -> Reconstruction:
        """Complete all objects of a picture that an instance mask tells apart, in the order of their labels.

        The `indices` of each are its pixels in the flattened picture.

        Args:
            image, K, up: as in `complete_image`.
            labels: (H, W) whole numbers, 0 where there is no object.
            plane: the support plane, optical frame; looked for in the cloud if there is one, when None.
            cloud: (H, W, 3) metres, optical frame, registered to the image: whatever depth there is, NaN elsewhere.
            watch: keeps the time instead of one of the call's own.

        Raises:
            PictureError: as in `complete_image`, for what concerns all objects.
            ValueError: the network does not observe images.
        """
        completer, watch = self._completer_of("image"), watch or Stopwatch()
        numbers = checked_labels(image, labels, K)
        points = None if cloud is None else np.asarray(cloud, dtype=np.float64)
        if points is not None and points.shape != (*numbers.shape, 3):
            raise PictureError(f"expected a cloud of shape {(*numbers.shape, 3)}, as the image, got {points.shape}")
        if plane is None and points is not None and np.isfinite(points).all(axis=2).any():
            with watch.stage("plane"):
                usable = points[np.isfinite(points).all(axis=2)]
                plane = find_support_plane(usable, settings=self.settings.plane, up=up).plane
        found: dict[int, PicturedObject] = {}
        failures: list[str] = []
        with watch.stage("crop"):
            for label in np.unique(numbers[numbers != 0]).tolist():
                mask = numbers == label
                measured = None if points is None else points[mask]
                try:
                    found[label] = PicturedObject.from_picture(image, mask, K, self._image_size, plane, measured, up)
                except PictureError as error:
                    failures.append(f"object of label {label}: {error}")
        objects: list[ReconstructedObject] = []
        results = completer.complete_pictures(list(found.values()), watch)
        for label, result in zip(found, results, strict=True):
            if isinstance(result, SurfaceError):
                failures.append(f"object of label {label}: {result}")
            else:
                objects.append(result)
        return Reconstruction(plane, objects, failures, watch.seconds)

    def complete_voxels(self, grid: VoxelGrid, watch: Stopwatch | None = None) -> ReconstructedObject:
        """Complete one object from a coarse voxel grid, at any resolution that the settings ask for.

        Args:
            grid: of as many voxels as the network was trained with (32 x 32 x 32); see `VoxelGrid.resampled` and
                `VoxelGrid.around_cells`.
            watch: keeps the time.

        Raises:
            VoxelError: a grid of another size.
            SurfaceError: the network sees no object in this grid.
            ValueError: the network does not observe voxels.
        """
        (result,) = self._completer_of("voxels").complete_grids([GriddedObject(grid)], watch)
        if isinstance(result, SurfaceError):
            raise result
        return result

    @property
    def _point_completer(self) -> ObjectCompleter:
        if self._points is None:
            raise self._wrong_network("points")
        return self._points

    def _completer_of(self, kind: str) -> ShapeCompleter:
        if self._shapes is None or self.observes != kind:
            raise self._wrong_network(kind)
        return self._shapes

    def _wrong_network(self, wanted: str) -> ValueError:
        architecture = self.checkpoint.network.config["architecture"]
        return ValueError(f"this network ({architecture}) observes {self.observes}; a network for {wanted} is needed")

    @property
    def _image_size(self) -> int:
        size: int = self.checkpoint.network.encoder.image_size  # type: ignore[assignment]  # of every image encoder
        return size

    def _seen(
        self,
        cluster: ObjectCluster,
        surroundings: Surroundings | None,
        scene: Scene,
        viewpoint: ArrayLike,
        failures: list[str],
    ) -> SeenObject | None:
        """The cluster with what was seen around it, or None and one more failure."""
        settings = self.settings.completion
        around: ArrayLike = ()
        if surroundings is not None:
            around = surroundings.around(cluster.indices, viewpoint, AROUND_POINTS)
        try:
            seen = SeenObject.on_plane(
                cluster.points, scene.plane, viewpoint, around, cluster.indices, min_points=settings.min_points
            )
        except ValueError as error:
            failures.append(failure(cluster.points, error))
            return None
        return replace(seen, cell_size=scene.cloud.cell_size) if scene.cloud.cell_size else seen


def failure(points: NDArray[np.floating], error: ValueError) -> str:
    """A sentence on an object that could not be completed.

    Args:
        points: (N, 3) metres, of the object.
        error: why.
    """
    where = np.round(columns.mean(points), 3).tolist()
    return f"object of {len(points)} points at {where} m: {error}"


__all__ = [
    "CompletionSettings",
    "ReconstructedObject",
    "Reconstruction",
    "Reconstructor",
    "ReconstructorSettings",
    "SurfaceError",
]
