"""From one picture, or one coarse voxel grid, of objects to their completed meshes.

What `completion` is for seen points, this is for the paper's other observations: a subject knows its own frame, the box
in which it is looked for and what the network is to be told of it; field, surface and collision mesh are made as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
import trimesh
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from onet_ros.completion import MAX_CORNERS, CompletionSettings, ReconstructedObject, object_pose, probabilities
from onet_ros.networks import (
    AnyObservation,
    Checkpoint,
    ImageObservation,
    OccupancyField,
    VoxelObservation,
    make_engine,
)
from onet_ros.ray_casting import RayScene
from onet_ros.scene import (
    OCCUPIED,
    PICTURE_BOX,
    PictureError,
    PictureView,
    SeenObject,
    SupportPlane,
    UnitFrame,
    VoxelError,
    VoxelGrid,
    checked_picture,
    crop_picture,
    view_object,
)
from onet_ros.stopwatch import Stopwatch
from onet_ros.surface import (
    ExtractedSurface,
    ExtractionSettings,
    Pace,
    SurfaceError,
    extract_surfaces,
    face_areas,
    face_means,
    simplify_mesh,
)
from onet_ros.trust import Trust, suggest_view

PICTURED = 0.5  # confidence of a vertex that the camera saw, but whose distance nobody measured
VISIBLE = 0.995  # of a vertex's distance: what its ray meets before that hides it
MIN_DEPTH_POINTS = 3  # of those that lie on the object, to scale it by
LEVEL_CELLS = 48  # along an edge of the box, at which an expected volume is summed
LEAST_CELLS = 8  # of them: less is no object
ASSUMED_HEIGHT = 1.0  # metres of the camera above an unknown table, until depth says better


class Subject(Protocol):
    """One observed object.

    Attributes:
        frame: its own frame, in which the network answers; its rotation's third row is up.
        box: lower and upper corner (3,), own frame, of where it is looked for.
        seeds: (S, 3) own frame, points near its surface; S may be 0.
        indices: (M,) int64, what was seen of it: pixels of the flattened picture, or cells of the flattened grid.
    """

    @property
    def frame(self) -> UnitFrame: ...
    @property
    def box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
    @property
    def seeds(self) -> NDArray[np.float64]: ...
    @property
    def indices(self) -> NDArray[np.int64]: ...

    def factor(self, mesh: trimesh.Trimesh) -> float:
        """By which the mesh, source frame, is to be scaled about the origin; SurfaceError where that is not known."""
        ...

    def confidence(self, mesh: trimesh.Trimesh) -> NDArray[np.float32]:
        """(V,) how far each vertex of the finished mesh is backed by what was observed, 0 to 1."""
        ...


@dataclass(frozen=True, eq=False)
class PicturedObject:
    """One object in a picture; the source frame is the camera's optical frame.

    Attributes:
        image: (4, S, S) float32, 0 to 1, the crop that `crop_picture` makes.
        view: how it was made.
        indices: (M,) int64, the mask's pixels in the flattened picture.
        depth_points: (N, 3) metres, measured on the object, for an object whose table is not known; None where it is.
    """

    image: NDArray[np.float32]
    view: PictureView
    indices: NDArray[np.int64]
    depth_points: NDArray[np.float64] | None = None

    @classmethod
    def from_picture(
        cls,
        image: ArrayLike,
        mask: ArrayLike,
        K: ArrayLike,
        size: int,
        plane: SupportPlane | None = None,
        depth_points: ArrayLike | None = None,
        up: ArrayLike = (0.0, -1.0, 0.0),
    ) -> PicturedObject:
        """Cut an object out of a picture.

        Args:
            image: (H, W, 3) uint8 RGB or (H, W) uint8, free of lens distortion.
            mask: (H, W), anything but 0 is the object.
            K: (3, 3) intrinsics, pixels.
            size: px along an edge of the crop, as the network was trained with.
            plane: what the object stands on, camera frame: it gives place and size.
            depth_points: (N, 3) metres, camera frame, measured on the object; without a plane they give place and size.
            up: (3,) camera frame, where there is no plane; by default that of an upright camera.

        Raises:
            PictureError: anything in it that cannot be used; neither plane nor depth points.
        """
        picture, inside = checked_picture(image, mask, K)
        measured = None
        if plane is None:
            measured = _checked_depth_points(depth_points)
            direction = np.asarray(up, dtype=np.float64)
            if direction.shape != (3,) or not np.isfinite(direction).all() or not np.linalg.norm(direction) > 1e-9:
                raise PictureError(f"up must be 3 finite numbers with a length, got {np.asarray(up).tolist()}")
            # All that follows is true up to a scale about the camera, which the depth points decide in the end.
            plane = SupportPlane(direction / np.linalg.norm(direction), ASSUMED_HEIGHT)
        view = view_object(inside, K, plane)
        return cls(crop_picture(picture, inside, K, view, size), view, np.flatnonzero(inside), measured)

    @property
    def frame(self) -> UnitFrame:
        return self.view.frame

    @property
    def box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return PICTURE_BOX

    @property
    def seeds(self) -> NDArray[np.float64]:
        return np.zeros((0, 3))

    def factor(self, mesh: trimesh.Trimesh) -> float:
        """With a known table 1; without one what puts the mesh at the depth points."""
        if self.depth_points is None:
            return 1.0
        rays = np.concatenate([np.zeros_like(self.depth_points), self.depth_points], axis=1).astype(np.float32)
        hits = RayScene([mesh]).cast(rays)
        if hits.hit.sum() < MIN_DEPTH_POINTS:
            raise SurfaceError(
                f"{int(hits.hit.sum())} of {len(rays)} depth points lie on the object as the network sees it, at least "
                f"{MIN_DEPTH_POINTS} are needed to tell its size"
            )
        return 1.0 / float(np.median(hits.distance[hits.hit]))  # the rays are as long as the points are far away

    def confidence(self, mesh: trimesh.Trimesh) -> NDArray[np.float32]:
        """`PICTURED` for what the camera saw, 0 for what it did not see."""
        vertices = np.asarray(mesh.vertices, dtype=np.float32)
        rays = np.concatenate([np.zeros_like(vertices), vertices], axis=1)
        visible = RayScene([mesh]).cast(rays).distance > VISIBLE
        return np.where(visible, PICTURED, 0.0).astype(np.float32)


@dataclass(frozen=True, eq=False)
class GriddedObject:
    """One object in a voxel grid.

    Attributes:
        grid: about it; the source frame is the grid's, z up, unless it is turned.
        rotation: (3, 3), rows: the grid's axes in the source frame.
        occupied: (N, 3) metres, source frame: middles of the occupied cells.
    """

    grid: VoxelGrid
    rotation: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    occupied: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "occupied", self.grid.occupied_centres @ self.rotation)

    @classmethod
    def from_seen(cls, seen: SeenObject) -> GriddedObject:
        """The cells that hold points seen of an object, upright as it stands; the source frame is that of the points.

        Raises:
            VoxelError: too few cells.
        """
        rotation = seen.frame.rotation
        return cls(VoxelGrid.around_cells(seen.all_points @ rotation.T, seen.cell_size), rotation)

    @property
    def frame(self) -> UnitFrame:
        """The cube, -0.5 to 0.5 along each axis."""
        return UnitFrame(self.rotation, self.rotation.T @ (self.grid.origin + self.grid.edge / 2.0), self.grid.edge)

    @property
    def box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.full(3, -0.5), np.full(3, 0.5)

    @property
    def seeds(self) -> NDArray[np.float64]:
        return self.frame.to_unit(self.occupied)

    @property
    def indices(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.grid.values > OCCUPIED)

    def factor(self, mesh: trimesh.Trimesh) -> float:
        return 1.0

    def confidence(self, mesh: trimesh.Trimesh) -> NDArray[np.float32]:
        """1 within half a cell of an occupied cell's middle, falling beyond as a Gaussian of a cell's width does."""
        cell = self.grid.cell_size
        distance, _ = cKDTree(self.occupied).query(np.asarray(mesh.vertices))
        beyond = np.maximum(distance - cell / 2.0, 0.0)
        return np.asarray(np.exp(-0.5 * (beyond / cell) ** 2), dtype=np.float32)


class ShapeCompleter:
    """A network that observes pictures or voxel grids, made ready to complete objects.

    Args:
        checkpoint: the network and what it was trained with.
        completion, extraction: how; of the former, threshold and precision.
    """

    def __init__(self, checkpoint: Checkpoint, completion: CompletionSettings, extraction: ExtractionSettings) -> None:
        self._extraction = extraction
        self._network = make_engine(checkpoint, completion.engine, completion.precision)
        probability = completion.threshold or checkpoint.threshold
        self._threshold = float(np.log(probability / (1.0 - probability)))
        self._coverage = completion.coverage
        self._pace = Pace(extraction.time_budget)

    def complete_pictures(
        self, objects: Sequence[PicturedObject], watch: Stopwatch | None = None
    ) -> list[ReconstructedObject | SurfaceError]:
        """For each object its completion, camera frame, or the error that says why there is none.

        Args:
            watch: told of the stages encode, collision and confidence, and those of `extract_surfaces`.
        """
        images = [one.image for one in objects]
        viewpoints = [one.view.viewpoint for one in objects]

        def observed(chosen: Sequence[int]) -> AnyObservation:
            return ImageObservation(_tensor([images[n] for n in chosen]), _tensor([viewpoints[n] for n in chosen]))

        return self._complete(objects, observed, watch or Stopwatch())

    def complete_grids(
        self, objects: Sequence[GriddedObject], watch: Stopwatch | None = None
    ) -> list[ReconstructedObject | SurfaceError]:
        """As `complete_pictures`, in each grid's own frame.

        Raises:
            VoxelError: a grid of another size than the network was trained with.
        """
        resolution = self._network.network.encoder.resolution  # of every encoder of grids
        for one in objects:
            if one.grid.values.shape != 3 * (resolution,):
                size = " x ".join(str(cells) for cells in one.grid.values.shape)
                raise VoxelError(f"the network takes grids of {resolution}^3 voxels, got {size}; resample the grid")
        values = [one.grid.values for one in objects]

        def observed(chosen: Sequence[int]) -> AnyObservation:
            return VoxelObservation(_tensor([values[n] for n in chosen]))

        return self._complete(objects, observed, watch or Stopwatch())

    def grid_occupancy(self, objects: Sequence[GriddedObject], points: ArrayLike) -> NDArray[np.float32]:
        """As `ObjectCompleter.occupancy`, of objects in grids."""

        def field() -> OccupancyField:
            told = VoxelObservation(_tensor([one.grid.values for one in objects]))
            return self._network.field(self._network.encode(told.to(self._network.device)))

        return probabilities(
            field, [one.frame for one in objects], [one.box for one in objects], points, self._network.device
        )

    def _complete(
        self, subjects: Sequence[Subject], observed: _Observed, watch: Stopwatch
    ) -> list[ReconstructedObject | SurfaceError]:
        settings = self._extraction
        resolution = settings.max_resolution if settings.voxel_size else settings.resolution
        most = max(1, MAX_CORNERS // (resolution + 3) ** 3)
        results: list[ReconstructedObject | SurfaceError] = []
        for start in range(0, len(subjects), most):
            batch = list(range(start, min(start + most, len(subjects))))
            self._pace.begin(len(batch) / len(subjects))
            found = self._surfaces(subjects, batch, observed, watch)
            results += [self._described(one, subjects[n], watch) for n, one in zip(batch, found, strict=True)]
            self._pace.end()
        return results

    def _surfaces(
        self, subjects: Sequence[Subject], batch: list[int], observed: _Observed, watch: Stopwatch
    ) -> list[_Surface | SurfaceError]:
        """In their own frames; where one spoils the batch, each is tried alone."""
        try:
            return self._extracted(subjects, batch, observed, watch)
        except SurfaceError as error:
            if len(batch) == 1:
                return [error]
            return [surface for n in batch for surface in self._surfaces(subjects, [n], observed, watch)]

    def _extracted(
        self, subjects: Sequence[Subject], batch: list[int], observed: _Observed, watch: Stopwatch
    ) -> list[_Surface | SurfaceError]:
        chosen = [subjects[n] for n in batch]
        with watch.stage("encode"):
            occupancy = self._network.field(self._network.encode(observed(batch).to(self._network.device)))
        found: list[_Surface | SurfaceError] = []
        for number, surface in enumerate(self._extract(occupancy, chosen, self._threshold, watch)):
            if not isinstance(surface, SurfaceError):
                found.append(_Surface(surface))
            else:
                found.append(self._faint(occupancy, number, chosen[number], surface, watch))
        return found

    def _extract(
        self, occupancy: OccupancyField, chosen: Sequence[Subject], threshold: float, watch: Stopwatch
    ) -> list[ExtractedSurface | SurfaceError]:
        seeds = [one.seeds for one in chosen]
        return extract_surfaces(
            occupancy,
            np.stack([one.box[0] for one in chosen]),
            np.stack([one.box[1] for one in chosen]),
            threshold=threshold,
            settings=self._extraction,
            device=self._network.device,
            seeds=seeds if any(len(own) for own in seeds) else None,
            scales=[one.frame.scale for one in chosen],
            pace=self._pace,
            watch=watch,
            collision_meshes=False,
            coverage=self._coverage,
        )

    def _faint(
        self, occupancy: OccupancyField, number: int, subject: Subject, error: SurfaceError, watch: Stopwatch
    ) -> _Surface | SurfaceError:
        """Of an object that is there, and of which the network is nowhere sure enough (a thin plate somewhere along
        the line of sight): the surface that holds the volume to be expected, or the error where there is none."""

        def alone(points: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
            return occupancy(points, torch.full_like(objects, number))

        with watch.stage("evaluate"):
            level, surest = _level_of_expected_volume(alone, *subject.box, self._network.device)
        if level is None or level >= self._threshold:
            return error
        (surface,) = self._extract(alone, [subject], level, watch)
        if isinstance(surface, SurfaceError):
            return error
        return _Surface(
            surface, f"the network is nowhere sure that the object is there: {100.0 * surest:.0f} % at most"
        )

    def _described(
        self, found: _Surface | SurfaceError, subject: Subject, watch: Stopwatch
    ) -> ReconstructedObject | SurfaceError:
        if isinstance(found, SurfaceError):
            return found
        try:
            mesh, conservative = _in_source_frame(found.surface, subject)
        except SurfaceError as error:
            return error
        with watch.stage("collision"):
            simple = simplify_mesh(mesh, self._extraction.max_collision_triangles)
        with watch.stage("confidence"):
            confidence = subject.confidence(mesh)
        vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
        areas = face_areas(vertices, faces)
        with watch.stage("trust"):
            view = suggest_view(mesh, 1.0 - confidence, subject.frame.rotation)
        T_source_object, size = object_pose(vertices, subject.frame.rotation)
        return ReconstructedObject(
            mesh=mesh,
            confidence=confidence,
            error=np.full(len(vertices), np.nan, dtype=np.float32),
            collision_mesh=simple,
            conservative_mesh=conservative,
            T_source_object=T_source_object,
            size=size,
            indices=subject.indices,
            seen_fraction=float(areas[face_means(confidence, faces) >= PICTURED].sum() / areas.sum()),
            trust=Trust.unknown(self._coverage, view, found.doubt),
        )


@dataclass(frozen=True)
class _Surface:
    """In an object's own frame; doubt: why it is not to be relied on, empty where nothing speaks against it."""

    surface: ExtractedSurface
    doubt: str = ""


def _level_of_expected_volume(
    field: OccupancyField, lower: NDArray[np.float64], upper: NDArray[np.float64], device: torch.device
) -> tuple[float | None, float]:
    """The logit above which a box holds as much volume as is expected in it, the sum of the probabilities; and the
    highest probability. None where not even a few cells are expected."""
    axes = [
        torch.linspace(float(low), float(high), LEVEL_CELLS, device=device)
        for low, high in zip(lower, upper, strict=True)
    ]
    points = torch.cartesian_prod(*axes)
    logits = field(points, torch.zeros(len(points), dtype=torch.int64, device=device)).sort(descending=True).values
    probability = torch.sigmoid(logits)
    expected = int(probability.sum())
    return (float(logits[expected]) if expected >= LEAST_CELLS else None), float(probability[0])


def _in_source_frame(surface: ExtractedSurface, subject: Subject) -> tuple[trimesh.Trimesh, trimesh.Trimesh]:
    """The mesh and the conservative mesh; SurfaceError where their size is not known."""
    pair = [surface.mesh, surface.conservative_mesh or surface.mesh]
    meshes = [trimesh.Trimesh(subject.frame.from_unit(one.vertices), one.faces, process=False) for one in pair]
    factor = subject.factor(meshes[0])
    tight, conservative = (trimesh.Trimesh(factor * np.asarray(m.vertices), m.faces, process=False) for m in meshes)
    return tight, conservative


class _Observed(Protocol):
    """What the network is told of the objects with these numbers."""

    def __call__(self, chosen: Sequence[int]) -> AnyObservation: ...


def _tensor(arrays: Sequence[ArrayLike]) -> torch.Tensor:
    return torch.as_tensor(np.stack([np.asarray(array) for array in arrays]).astype(np.float32))


def _checked_depth_points(points: ArrayLike | None) -> NDArray[np.float64]:
    """Those of (N, 3) that are measurements."""
    if points is None:
        raise PictureError("neither a support plane nor depth points: the size of the object cannot be told")
    given = np.asarray(points, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] != 3:
        raise PictureError(f"expected depth points of shape (N, 3), got {given.shape}")
    usable = given[np.isfinite(given).all(axis=1) & (given[:, 2] > 0.0)]
    if len(usable) < MIN_DEPTH_POINTS:
        raise PictureError(
            f"no support plane, and {len(usable)} of {len(given)} depth points are usable: at least {MIN_DEPTH_POINTS} "
            "are needed to tell the size of the object"
        )
    return usable
