"""The one door: points in metres to completed objects. The node, the command line and the evaluation all come in here.

    model = Reconstructor.load("models/default")
    mesh = model.complete(points, plane).mesh                  # one object's points
    objects = model.reconstruct(cloud).objects                 # a whole cloud

The way of a cloud: support plane, clusters, each object's unit frame, encoder, occupancy field, MISE, mesh. No ROS.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import trimesh
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from onet_ros.networks import Checkpoint, Observation, load_checkpoint
from onet_ros.scene import (
    UNIT_BOX,
    ObjectCluster,
    PlaneSettings,
    PointCloud,
    RegionOfInterest,
    SegmentationSettings,
    SupportPlane,
    UnitFrame,
    background_points,
    find_support_plane,
    object_unit_frame,
    segment_objects,
)
from onet_ros.settings import check_settings, setting
from onet_ros.surface import ExtractionSettings, SurfaceError, collision_mesh, extract_surface

# Up in a camera's optical frame (x right, y down, z forward): what an upright camera without a table goes by.
OPTICAL_UP = (0.0, -1.0, 0.0)

BACKGROUND_POINTS = 1024  # as many as the networks were trained with


@dataclass(frozen=True)
class CompletionSettings:
    """How one object's points become a field."""

    threshold: float = setting(
        0.0, "Probability above which a point is inside; 0 takes the checkpoint's own", minimum=0.0, maximum=0.99
    )
    seen_distance: float = setting(
        0.005,
        "Distance to the nearest seen point at which a vertex's confidence has fallen to 0.6",
        unit="m",
        minimum=1e-4,
        maximum=0.1,
    )
    min_points: int = setting(20, "Fewest seen points worth completing", minimum=1, maximum=10_000)
    seed: int = setting(0, "Seed of the choice among seen points", minimum=0, maximum=2**31 - 1)

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class ReconstructorSettings:
    """The settings of every room a cloud passes through."""

    region: RegionOfInterest = field(default_factory=RegionOfInterest)
    plane: PlaneSettings = field(default_factory=PlaneSettings)
    segmentation: SegmentationSettings = field(default_factory=SegmentationSettings)
    completion: CompletionSettings = field(default_factory=CompletionSettings)
    extraction: ExtractionSettings = field(default_factory=ExtractionSettings)


@dataclass(frozen=True)
class ReconstructedObject:
    """One completed object, in the frame its points came in.

    Attributes:
        mesh: closed, outward-facing, metres.
        confidence: (V,) float32, one per vertex of mesh: 1 where the camera saw the surface, 0 where it is guessed.
        collision_mesh: closed, fewer triangles.
        T_source_object: (4, 4) float64, the object's frame: origin in the middle of the mesh's bounding box along the
            frame's axes, z up, x horizontal towards the camera.
        size: (3,) metres, extent of the mesh along those axes.
        indices: (M,) int64, which points of the cloud were seen of this object.
        seen_fraction: share of the mesh's area whose confidence is over one half.
    """

    mesh: trimesh.Trimesh
    confidence: NDArray[np.float32]
    collision_mesh: trimesh.Trimesh
    T_source_object: NDArray[np.float64]
    size: NDArray[np.float64]
    indices: NDArray[np.int64]
    seen_fraction: float


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
    timings: dict[str, float] | None = None,
) -> Scene:
    """The first half of `Reconstructor.reconstruct`, which explains the arguments; needs no network.

    Args:
        timings: seconds by stage are added here.
    """
    settings = settings or ReconstructorSettings()
    timings = {} if timings is None else timings
    if not isinstance(cloud, PointCloud):
        cloud = PointCloud.from_points(np.asarray(cloud))
    cloud = settings.region.crop(cloud, viewpoint=viewpoint)
    if plane is None:
        with _timed(timings, "plane"):
            fit = find_support_plane(cloud.valid_points, viewpoint, settings.plane, up)
        if fit.plane is None:
            return Scene(cloud, None, [], f"no support plane: {fit.reason}")
        plane = fit.plane
    with _timed(timings, "segment"):
        clusters = segment_objects(cloud, plane, settings.segmentation, viewpoint)
    return Scene(cloud, plane, clusters)


class Reconstructor:
    """A network and the settings of its surroundings; safe to use from one thread at a time."""

    def __init__(self, checkpoint: Checkpoint, settings: ReconstructorSettings | None = None) -> None:
        self.checkpoint = checkpoint
        self.settings = settings or ReconstructorSettings()

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
        background: ArrayLike = (),
    ) -> ReconstructedObject:
        """Complete one object from the points seen of it.

        Args:
            points: (N, 3) float, metres, any frame (the camera's, say).
            plane: what the object stands on, same frame. None: a plane under the lowest point, with the frame taken
                for an upright camera's optical frame (y down).
            viewpoint: (3,) metres, same frame: where the camera stood.
            background: (M, 3) metres, same frame: what was seen around the object, if known (see
                `onet_ros.scene.background_points`); it tells where the object is not.

        Raises:
            ValueError: wrong shape, too few points, or points that are not finite.
            SurfaceError: the network sees no object in these points.
        """
        return self._complete(points, background, plane, viewpoint, {})

    def reconstruct(
        self,
        cloud: PointCloud | ArrayLike,
        viewpoint: ArrayLike = (0.0, 0.0, 0.0),
        plane: SupportPlane | None = None,
        up: ArrayLike | None = None,
    ) -> Reconstruction:
        """Find and complete the objects on the table of a whole cloud.

        Args:
            cloud: a PointCloud, or (N, 3) or (H, W, 3) float metres; organized clouds are segmented as images.
            viewpoint: (3,) metres, the cloud's frame: where the camera stood.
            plane: the support plane if it is known; found in the cloud otherwise.
            up: (3,) roughly upwards in the cloud's frame, where that is known.

        Raises:
            CloudError: there is not one usable point.
        """
        timings: dict[str, float] = {}
        scene = find_objects(cloud, self.settings, viewpoint, plane, up, timings)
        if scene.plane is None:
            return Reconstruction(None, [], [scene.reason], timings)
        objects, failures = self._complete_clusters(scene, scene.plane, viewpoint, timings)
        return Reconstruction(scene.plane, objects, failures, timings)

    def _complete_clusters(
        self, scene: Scene, plane: SupportPlane, viewpoint: ArrayLike, timings: dict[str, float]
    ) -> tuple[list[ReconstructedObject], list[str]]:
        objects: list[ReconstructedObject] = []
        failures: list[str] = []
        for cluster in scene.clusters:
            around = background_points(
                scene.cloud, cluster.indices, viewpoint, BACKGROUND_POINTS, self.settings.completion.seed
            )
            try:
                objects.append(self._complete(cluster.points, around, plane, viewpoint, timings, cluster.indices))
            except ValueError as error:
                where = np.round(cluster.points.mean(axis=0), 3).tolist()
                failures.append(f"object of {len(cluster.points)} points at {where} m: {error}")
        return objects, failures

    def _complete(
        self,
        points: ArrayLike,
        background: ArrayLike,
        plane: SupportPlane | None,
        viewpoint: ArrayLike,
        timings: dict[str, float],
        indices: NDArray[np.int64] | None = None,
    ) -> ReconstructedObject:
        seen = np.asarray(points, dtype=np.float64)
        if seen.ndim != 2 or seen.shape[1] != 3:
            raise ValueError(f"expected points of shape (N, 3), got {seen.shape}")
        if len(seen) < self.settings.completion.min_points:
            raise ValueError(
                f"{len(seen)} points are too few, at least {self.settings.completion.min_points} are needed"
            )
        if not np.isfinite(seen).all():
            raise ValueError(f"{int((~np.isfinite(seen).all(axis=1)).sum())} of {len(seen)} points are not finite")
        if plane is None:
            plane = _plane_under(seen, np.asarray(OPTICAL_UP))
        frame = object_unit_frame(seen, plane, viewpoint)
        with _timed(timings, "encode"):
            code = self._encode(seen, np.asarray(background, dtype=np.float64).reshape(-1, 3), frame, viewpoint)
        with _timed(timings, "extract"):
            mesh = self._extract(code, frame, seen)
        with _timed(timings, "collision"):
            simple = collision_mesh(mesh, self.settings.extraction)
        indices = np.arange(len(seen)) if indices is None else indices
        return self._described(mesh, simple, frame, seen, indices)

    @torch.no_grad()
    def _encode(
        self, seen: NDArray[np.float64], background: NDArray[np.float64], frame: UnitFrame, viewpoint: ArrayLike
    ) -> object:
        """What the network makes of `observation_points` seen points, drawn without repetition if they suffice."""
        count = self.checkpoint.observation_points
        rng = np.random.default_rng(self.settings.completion.seed)
        picks = rng.choice(len(seen), count, replace=len(seen) < count)
        network = self.checkpoint.network

        def tensor(values: ArrayLike) -> torch.Tensor:
            return torch.as_tensor(np.asarray(values), dtype=torch.float32, device=network.device).unsqueeze(0)

        observation = Observation(
            points=tensor(frame.to_unit(seen[picks])),
            background=tensor(frame.to_unit(background)),
            viewpoint=tensor(frame.to_unit(np.asarray(viewpoint))),
            scale=tensor(frame.scale),
        )
        return network.encode(observation)

    def _extract(self, code: object, frame: UnitFrame, seen: NDArray[np.float64]) -> trimesh.Trimesh:
        """The field's surface as a mesh in the source frame."""
        network = self.checkpoint.network
        threshold = self.settings.completion.threshold or self.checkpoint.threshold
        lower, upper = UNIT_BOX[0].copy(), UNIT_BOX[1]
        lower[2] = 0.0  # nothing of an object lies under its table
        mesh = extract_surface(
            lambda queries: network.decode(queries.unsqueeze(0), code).squeeze(0),
            lower,
            upper,
            threshold=float(np.log(threshold / (1.0 - threshold))),
            settings=self.settings.extraction,
            device=network.device,
            seeds=frame.to_unit(seen),
        )
        return trimesh.Trimesh(frame.from_unit(mesh.vertices), mesh.faces, process=False)

    def _described(
        self,
        mesh: trimesh.Trimesh,
        simple: trimesh.Trimesh,
        frame: UnitFrame,
        seen: NDArray[np.float64],
        indices: NDArray[np.int64],
    ) -> ReconstructedObject:
        distances, _ = cKDTree(seen).query(mesh.vertices)
        confidence = np.exp(-0.5 * (distances / self.settings.completion.seen_distance) ** 2).astype(np.float32)
        seen_area = mesh.area_faces[confidence[mesh.faces].mean(axis=1) > 0.5].sum()
        along_axes = mesh.vertices @ frame.rotation.T
        low, high = along_axes.min(axis=0), along_axes.max(axis=0)
        T_source_object = np.eye(4)
        T_source_object[:3, :3] = frame.rotation.T
        T_source_object[:3, 3] = frame.rotation.T @ ((low + high) / 2.0)
        return ReconstructedObject(
            mesh=mesh,
            confidence=confidence,
            collision_mesh=simple,
            T_source_object=T_source_object,
            size=high - low,
            indices=indices,
            seen_fraction=float(seen_area / mesh.area),
        )


def _plane_under(points: NDArray[np.float64], up: NDArray[np.float64]) -> SupportPlane:
    """The plane with normal `up` under all but the lowest half per cent of the points."""
    return SupportPlane(normal=up, offset=-float(np.percentile(points @ up, 0.5)))


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    """Add the seconds spent in the block to a stage's total."""
    start = time.perf_counter()
    try:
        yield
    finally:
        timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - start


__all__ = [
    "CompletionSettings",
    "ReconstructedObject",
    "Reconstruction",
    "Reconstructor",
    "ReconstructorSettings",
    "SurfaceError",
]
