"""From the points seen of objects to their completed meshes, all objects of a cloud side by side.

Encoder, field and surface extraction work on the objects as one batch; what concerns a single mesh (simplification,
collision mesh, confidence) is done object by object. An object that fails does so alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from onet_ros.networks import PRECISIONS, Checkpoint, InferenceNetwork, Observation
from onet_ros.scene import UNIT_BOX, SupportPlane, UnitFrame, object_unit_frame, table_beside
from onet_ros.settings import check_settings, setting
from onet_ros.stopwatch import Stopwatch
from onet_ros.surface import ExtractionSettings, Pace, SurfaceError, collision_mesh, extract_surfaces, face_areas

# Up in a camera's optical frame (x right, y down, z forward): what an upright camera without a table goes by.
OPTICAL_UP = np.array([0.0, -1.0, 0.0])

BACKGROUND_POINTS = 1024  # as many as the networks were trained with
MAX_CORNERS = 64_000_000  # of the final grids of one batch, at some 11 bytes each: 28 objects at 128^3, 3 at 256^3


@dataclass(frozen=True)
class CompletionSettings:
    """How the points seen of an object become a field."""

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
    precision: str = setting(
        "float32",
        "Of the wide layers; bfloat16 is quicker on hardware that computes in it, and much slower elsewhere",
        choices=tuple(PRECISIONS),
    )

    def __post_init__(self) -> None:
        check_settings(self)


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
class SeenObject:
    """What the camera saw of one object.

    Attributes:
        points: (N, 3) float64, metres, source frame.
        background: (M, 3) float64, metres, source frame, what was seen around it; M may be 0.
        viewpoint: (3,) float64, metres, source frame.
        frame: the object's unit frame.
        indices: (N,) int64, of the points in their cloud.
    """

    points: NDArray[np.float64]
    background: NDArray[np.float64]
    viewpoint: NDArray[np.float64]
    frame: UnitFrame
    indices: NDArray[np.int64]

    @classmethod
    def on_plane(
        cls,
        points: ArrayLike,
        plane: SupportPlane | None,
        viewpoint: ArrayLike,
        background: ArrayLike | None = None,
        indices: NDArray[np.int64] | None = None,
        min_points: int = 1,
    ) -> SeenObject:
        """An object that stands on a plane; on None, on one under its lowest point in an upright camera's frame.

        Without a background it is taken to stand there alone, so that the table was seen beside it.

        Raises:
            ValueError: points of the wrong shape, fewer than `min_points`, or not finite.
        """
        seen = np.asarray(points, dtype=np.float64)
        if seen.ndim != 2 or seen.shape[1] != 3:
            raise ValueError(f"expected points of shape (N, 3), got {seen.shape}")
        if len(seen) < min_points:
            raise ValueError(f"{len(seen)} points are too few, at least {min_points} are needed")
        if not np.isfinite(seen).all():
            raise ValueError(f"{int((~np.isfinite(seen).all(axis=1)).sum())} of {len(seen)} points are not finite")
        plane = plane or _plane_under(seen, OPTICAL_UP)
        if background is None:
            background = table_beside(seen, plane, viewpoint, BACKGROUND_POINTS)
        return cls(
            points=seen,
            background=np.asarray(background, dtype=np.float64).reshape(-1, 3),
            viewpoint=np.asarray(viewpoint, dtype=np.float64),
            frame=object_unit_frame(seen, plane, viewpoint),
            indices=np.arange(len(seen)) if indices is None else indices,
        )


def object_box() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper corner (3,) of the box in which an object is looked for, unit frame."""
    lower, upper = UNIT_BOX[0].copy(), UNIT_BOX[1].copy()
    lower[2] = 0.0  # nothing of an object lies under its table
    return lower, upper


class ObjectCompleter:
    """A network made ready to complete objects.

    Args:
        checkpoint: the network and what it was trained with.
        completion, extraction: how.
    """

    def __init__(self, checkpoint: Checkpoint, completion: CompletionSettings, extraction: ExtractionSettings) -> None:
        self._checkpoint, self._completion, self._extraction = checkpoint, completion, extraction
        self._network = InferenceNetwork(checkpoint.network, completion.precision)
        self._pace = Pace(extraction.time_budget)

    def complete(
        self, seen: Sequence[SeenObject], watch: Stopwatch | None = None
    ) -> list[ReconstructedObject | SurfaceError]:
        """For each object its completion, or the error that says why there is none.

        Args:
            watch: told of the stages encode, collision and confidence, and those of `extract_surfaces`.
        """
        watch = watch or Stopwatch()
        results: dict[int, ReconstructedObject | SurfaceError] = {}
        for batch in self._batches(seen):
            self._pace.begin(len(batch) / len(seen))
            objects = [seen[number] for number in batch]
            for number, mesh in zip(batch, self._meshes(objects, watch), strict=True):
                if isinstance(mesh, SurfaceError):
                    results[number] = mesh
                else:
                    results[number] = self._described(mesh, seen[number], watch)
            self._pace.end()
        return [results[number] for number in range(len(seen))]

    def _batches(self, seen: Sequence[SeenObject]) -> Iterable[list[int]]:
        """Numbers of objects that go together: with or without background, and no more than memory is to hold."""
        settings = self._extraction
        resolution = settings.max_resolution if settings.voxel_size else settings.resolution
        most = max(1, MAX_CORNERS // (resolution + 3) ** 3)
        for with_background in (True, False):
            alike = [number for number, one in enumerate(seen) if bool(len(one.background)) == with_background]
            for start in range(0, len(alike), most):
                yield alike[start : start + most]

    def _meshes(self, seen: Sequence[SeenObject], watch: Stopwatch) -> list[trimesh.Trimesh | SurfaceError]:
        """Meshes in the source frame."""
        try:
            return self._extracted(seen, watch)
        except SurfaceError as error:  # of any of them: one at a time, those that can are completed
            if len(seen) == 1:
                return [error]
            return [mesh for one in seen for mesh in self._meshes([one], watch)]

    def _extracted(self, seen: Sequence[SeenObject], watch: Stopwatch) -> list[trimesh.Trimesh | SurfaceError]:
        with watch.stage("encode"):
            field = self._network.field(self._network.encode(self.observation(seen)))
        probability = self._completion.threshold or self._checkpoint.threshold
        lower, upper = object_box()
        meshes = extract_surfaces(
            field,
            np.tile(lower, (len(seen), 1)),
            np.tile(upper, (len(seen), 1)),
            threshold=float(np.log(probability / (1.0 - probability))),
            settings=self._extraction,
            device=self._network.device,
            seeds=[one.frame.to_unit(one.points) for one in seen],
            scales=[one.frame.scale for one in seen],
            pace=self._pace,
            watch=watch,
        )
        return [
            mesh
            if isinstance(mesh, SurfaceError)
            else trimesh.Trimesh(one.frame.from_unit(mesh.vertices), mesh.faces, process=False)
            for one, mesh in zip(seen, meshes, strict=True)
        ]

    def observation(self, seen: Sequence[SeenObject]) -> Observation:
        """What the network is told: of every object as many points as it was trained with.

        Args:
            seen: all with background, or all without.
        """
        seed, count = self._completion.seed, self._checkpoint.observation_points

        def tensor(values: Iterable[ArrayLike]) -> torch.Tensor:
            return torch.as_tensor(np.stack([np.asarray(value) for value in values]).astype(np.float32))

        background = BACKGROUND_POINTS if len(seen[0].background) else 0
        return Observation(
            points=tensor(one.frame.to_unit(_drawn(one.points, count, seed)) for one in seen),
            background=tensor(one.frame.to_unit(_drawn(one.background, background, seed)) for one in seen),
            viewpoint=tensor(one.frame.to_unit(one.viewpoint) for one in seen),
            scale=tensor(one.frame.scale for one in seen),
        ).to(self._network.device)

    def _described(self, mesh: trimesh.Trimesh, one: SeenObject, watch: Stopwatch) -> ReconstructedObject:
        with watch.stage("collision"):
            simple = collision_mesh(mesh, self._extraction)
        with watch.stage("confidence"):
            vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
            confidence = self._confidence(vertices, one.points)
            areas = face_areas(vertices, faces)
            seen_area = areas[confidence[faces].mean(axis=1) > 0.5].sum()
        rotation = one.frame.rotation
        along_axes = vertices @ rotation.T
        low, high = along_axes.min(axis=0), along_axes.max(axis=0)
        T_source_object = np.eye(4)
        T_source_object[:3, :3] = rotation.T
        T_source_object[:3, 3] = rotation.T @ ((low + high) / 2.0)
        return ReconstructedObject(
            mesh=mesh,
            confidence=confidence,
            collision_mesh=simple,
            T_source_object=T_source_object,
            size=high - low,
            indices=one.indices,
            seen_fraction=float(seen_area / areas.sum()),
        )

    def _confidence(self, vertices: NDArray[np.float64], seen: NDArray[np.float64]) -> NDArray[np.float32]:
        """(V,), falling with the distance to the nearest seen point as a Gaussian does; 0 where it is below 0.001."""
        sigma = self._completion.seen_distance
        tree = cKDTree(seen, compact_nodes=False, balanced_tree=False)
        distances, _ = tree.query(vertices, eps=0.02, distance_upper_bound=3.7 * sigma, workers=-1)
        confidence: NDArray[np.float32] = np.exp(-0.5 * (distances / sigma) ** 2).astype(np.float32)  # inf when far
        return confidence


def _plane_under(points: NDArray[np.float64], up: NDArray[np.float64]) -> SupportPlane:
    """The plane with normal `up` under all but the lowest half per cent of the points."""
    return SupportPlane(normal=up, offset=-float(np.percentile(points @ up, 0.5)))


def _drawn(points: NDArray[np.float64], count: int, seed: int) -> NDArray[np.float64]:
    """`count` of the points (N, 3), at random; where they are fewer, all of them again and again."""
    if not count:
        return points[:0]
    rng = np.random.default_rng(seed)
    if len(points) >= count:
        return points[rng.choice(len(points), count, replace=False)]
    return points[np.resize(rng.permutation(len(points)), count)]
