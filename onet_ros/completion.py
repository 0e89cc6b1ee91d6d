"""From the points seen of objects to their completed meshes, all objects of a cloud side by side.

Encoder, field and surface extraction work on the objects as one batch; what concerns a single mesh (simplification,
confidence) is done object by object. An object that fails does so alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import trimesh
from numpy.typing import ArrayLike, NDArray

from onet_ros import columns
from onet_ros.nearest import NearestPoint
from onet_ros.networks import (
    AUTO,
    ENGINES,
    PRECISIONS,
    Checkpoint,
    FusedField,
    Observation,
    OccupancyField,
    make_engine,
)
from onet_ros.scene import BACKGROUND_POINTS, UNIT_BOX, SeenObject, SupportPlane, UnitFrame, to_unit_frames
from onet_ros.settings import check_settings, setting
from onet_ros.stopwatch import Stopwatch
from onet_ros.surface import (
    ExtractedSurface,
    ExtractionSettings,
    Pace,
    SurfaceError,
    extract_surfaces,
    mesh_normals,
)
from onet_ros.trust import STEPPED, CarvedField, ErrorModel, ExclusiveField, Subject, Trust, VertexEvidence, assess

CONFIDENCE_POINTS = 4096  # of those seen of an object; so many lie closer together than confidence falls off
SOFTNESS_CELL = 1.0 / 32.0  # of the unit frame's edge: vertices as near as that share what is asked about one of them
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
    carve: bool = setting(True, "Keep objects out of the space that the camera saw to be free, and out of each other")
    coverage: float = setting(
        0.95, "Share of an object that its conservative surface is to contain", minimum=0.5, maximum=0.999
    )
    max_error: float = setting(
        0.0,
        "Expected Chamfer distance above which an object is not reliable; 0 goes by the chance of a large error that "
        "the checkpoint allows",
        unit="m",
        minimum=0.0,
        maximum=1.0,
    )
    min_points: int = setting(20, "Fewest seen points worth completing", minimum=1, maximum=10_000)
    seed: int = setting(0, "Seed of the choice among seen points", minimum=0, maximum=2**31 - 1)
    engine: str = setting(
        "torch", "What runs the networks; onnxruntime needs the graphs that `onet export` writes", choices=ENGINES
    )
    precision: str = setting(
        AUTO,
        "Of the wide layers; auto takes bfloat16 where the processor has matrix units for it; elsewhere it is slow",
        choices=(AUTO, *PRECISIONS),
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class ReconstructedObject:
    """One completed object, in the frame its points came in.

    Attributes:
        mesh: closed, outward-facing, metres.
        confidence: (V,) float32, one per vertex of mesh: 1 where the camera saw the surface, 0 where it is guessed.
        error: (V,) float32, metres, how far each vertex of mesh is expected to lie off the true surface; NaN where
            nobody measured the network's errors.
        collision_mesh: closed, fewer triangles.
        conservative_mesh: closed, few triangles: contains the object with the share `trust.coverage`.
        T_source_object: (4, 4) float64, the object's frame: origin in the middle of the mesh's bounding box along the
            frame's axes, z up, x horizontal towards the camera.
        size: (3,) metres, extent of the mesh along those axes.
        indices: (M,) int64, which points of the cloud were seen of this object.
        seen_fraction: share of the mesh's area whose confidence is over one half.
        trust: how far the mesh can be trusted.
    """

    mesh: trimesh.Trimesh
    confidence: NDArray[np.float32]
    error: NDArray[np.float32]
    collision_mesh: trimesh.Trimesh
    conservative_mesh: trimesh.Trimesh
    T_source_object: NDArray[np.float64]
    size: NDArray[np.float64]
    indices: NDArray[np.int64]
    seen_fraction: float
    trust: Trust


@dataclass(frozen=True)
class _Surface:
    """An object's surface in the source frame.

    normals: (V, 3) of the vertices of its mesh; outward, inward: (V,) metres per logit, how soft the field is there.
    """

    surface: ExtractedSurface
    normals: NDArray[np.float64]
    outward: NDArray[np.float64]
    inward: NDArray[np.float64]


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
        self._network = make_engine(checkpoint, completion.engine, completion.precision)
        self._pace = Pace(extraction.time_budget)
        record = checkpoint.training.get("trust")
        self._errors = None if record is None else ErrorModel.from_record(record)

    def complete(
        self, seen: Sequence[SeenObject], watch: Stopwatch | None = None, apart: bool = False
    ) -> list[ReconstructedObject | SurfaceError]:
        """For each object its completion, or the error that says why there is none.

        Args:
            watch: told of the stages encode, softness, confidence and trust, and those of `extract_surfaces`.
            apart: they are different objects of one scene, so that no two of them can be at the same place.
        """
        watch = watch or Stopwatch()
        return [
            subject if isinstance(subject, SurfaceError) else self._described(subject, one, watch)
            for subject, one in zip(self.subjects(seen, watch, apart), seen, strict=True)
        ]

    def warm_up(self) -> None:
        """Complete something made up, see `Reconstructor.warm_up`."""
        x, y = np.meshgrid(np.linspace(-1.0, 1.0, 40), np.linspace(-1.0, 1.0, 40))
        height = np.sqrt(np.maximum(1.0 - x**2 - y**2, 0.0))
        dome = 0.03 * np.stack([x, y, height], axis=2)[height > 0.0]
        points = np.concatenate([dome, dome + [0.1, 0.0, 0.0]])  # two apart: bodies are to be told from each other, too
        table = SupportPlane(np.array([0.0, 0.0, 1.0]), 0.0)
        self.complete([SeenObject.on_plane(points, table, viewpoint=(0.05, -0.3, 0.5))])
        self._pace = Pace(self._extraction.time_budget)  # which does not learn from this how long things take

    def occupancy(self, seen: Sequence[SeenObject], points: ArrayLike) -> NDArray[np.float32]:
        """What the fields of B objects say of points: (B, N) float32, the probability that the object is there.

        Args:
            seen: the objects, as for `complete`.
            points: (N, 3) metres, source frame, finite. What lies outside the box in which an object is looked for is
                not in it: 0.
        """
        asked = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        probability = np.zeros((len(seen), len(asked)), dtype=np.float32)
        for batch in self._batches(seen):
            objects = [seen[number] for number in batch]
            frames = [one.whole_frame() for one in objects]
            field = partial(self._field_alone, objects, frames)
            boxes = [object_box()] * len(objects)
            probability[batch] = probabilities(field, frames, boxes, asked, self._network.device)
        return probability

    def _field_alone(self, seen: Sequence[SeenObject], frames: Sequence[UnitFrame]) -> OccupancyField:
        return self._field(seen, frames)[0]

    def _batches(self, seen: Sequence[SeenObject]) -> Iterable[list[int]]:
        """Numbers of objects that go together: with or without background, and no more than memory is to hold."""
        settings = self._extraction
        resolution = settings.max_resolution if settings.voxel_size else settings.resolution
        most = max(1, MAX_CORNERS // (resolution + 3) ** 3)
        for with_background in (True, False):
            alike = [number for number, one in enumerate(seen) if _has_background(one) == with_background]
            for start in range(0, len(alike), most):
                yield alike[start : start + most]

    def _surfaces(self, seen: Sequence[SeenObject], watch: Stopwatch, apart: bool) -> list[_Surface | SurfaceError]:
        """In the source frame."""
        try:
            return self._extracted(seen, watch, apart)
        except SurfaceError as error:  # of any of them: one at a time, those that can are completed
            if len(seen) == 1:
                return [error]
            return [surface for one in seen for surface in self._surfaces([one], watch, apart)]

    def _extracted(self, seen: Sequence[SeenObject], watch: Stopwatch, apart: bool) -> list[_Surface | SurfaceError]:
        frames = [one.whole_frame() for one in seen]
        with watch.stage("encode"):
            field, seeds = self._field(seen, frames)
        if apart and self._completion.carve:
            field = ExclusiveField(field, frames, *object_box(), self.threshold, self._network.device)
        lower, upper = object_box()
        surfaces = extract_surfaces(
            field,
            np.tile(lower, (len(seen), 1)),
            np.tile(upper, (len(seen), 1)),
            threshold=self.threshold,
            settings=self._extraction,
            device=self._network.device,
            seeds=seeds,
            scales=[frame.scale for frame in frames],
            pace=self._pace,
            watch=watch,
            coverage=self._asked_coverage,
        )
        with watch.stage("softness"):
            normals = {
                number: mesh_normals(np.asarray(one.mesh.vertices), np.asarray(one.mesh.faces))
                for number, one in enumerate(surfaces)
                if not isinstance(one, SurfaceError)
            }
            softness = self._softness(field, surfaces, normals)
        found: list[_Surface | SurfaceError] = []
        for number, (frame, surface) in enumerate(zip(frames, surfaces, strict=True)):
            if isinstance(surface, SurfaceError):
                found.append(surface)
                continue
            outward, inward = frame.scale * softness[number]
            moved = _from_unit(surface, frame)
            found.append(_Surface(moved, normals[number] @ frame.rotation, outward, inward))
        return found

    @property
    def _asked_coverage(self) -> float:
        coverage = self._completion.coverage
        return coverage if self._errors is None else self._errors.asked_for(coverage)

    def _softness(
        self,
        field: OccupancyField,
        surfaces: Sequence[ExtractedSurface | SurfaceError],
        normals: Mapping[int, NDArray[np.float64]],
    ) -> dict[int, NDArray[np.float64]]:
        """For each object with normals (2, V): units of its frame per logit, outwards and inwards of its vertices."""
        asked: list[NDArray[np.float64]] = []
        shared: dict[int, NDArray[np.int64]] = {}
        device = self._network.device
        for number, own in normals.items():
            surface = surfaces[number]
            assert not isinstance(surface, SurfaceError)
            vertices = np.asarray(surface.mesh.vertices)
            if device.type == "cpu":  # a GPU asks all of them in less time than it takes to choose
                chosen, shared[number] = _representatives(vertices, own)
                vertices, own = vertices[chosen], own[chosen]
            asked += [vertices + STEPPED * own, vertices - STEPPED * own]
        if not asked:
            return {}
        points = torch.as_tensor(np.concatenate(asked), dtype=torch.float32, device=device)
        counts = [2 * len(outside) for outside in asked[::2]]
        owners = torch.as_tensor(np.repeat(list(normals), counts), device=device)
        heights = field(points, owners).cpu().double().numpy() - self.threshold
        softness = {}
        for number, values in zip(normals, np.split(heights, np.cumsum(counts)[:-1]), strict=True):
            outside, inside = values.reshape(2, -1)
            found = STEPPED / np.maximum([-outside, inside], 1e-3)
            softness[number] = found[:, shared[number]] if shared else found
        return softness

    @property
    def threshold(self) -> float:
        """Logit above which a point is inside."""
        probability = self._completion.threshold or self._checkpoint.threshold
        return float(np.log(probability / (1.0 - probability)))

    def _field(
        self, seen: Sequence[SeenObject], frames: Sequence[UnitFrame]
    ) -> tuple[OccupancyField, list[NDArray[np.float32]]]:
        """The field of each object in its whole frame, out of those of its views, and where its surface is known."""
        field, seeds = self._fused(seen, frames)
        if not self._completion.carve:
            return field, seeds
        free = [[view.free for view in one.views if view.free is not None] for one in seen]
        return CarvedField(field, free, frames, self.threshold, self._network.device), seeds

    def _fused(
        self, seen: Sequence[SeenObject], frames: Sequence[UnitFrame]
    ) -> tuple[OccupancyField, list[NDArray[np.float32]]]:
        """`_field` as the network has it."""
        views = [view for one in seen for view in one.views]
        told = self.observation(views)
        field = self._network.field(self._network.encode(told.to(self._network.device)))
        if len(views) == len(seen):
            return field, list(told.points.numpy())
        owners = [frame for one, frame in zip(seen, frames, strict=True) for _ in one.views]
        moves = np.stack([owner.matrix_to(view.frame) for view, owner in zip(views, owners, strict=True)])
        lower, upper = (torch.as_tensor(corner, dtype=torch.float32) for corner in object_box())
        T_view_object = torch.as_tensor(moves, dtype=torch.float32, device=self._network.device)
        fused = FusedField(field, [len(one.views) for one in seen], T_view_object, lower, upper)
        points = [frame.to_unit(one.all_points).astype(np.float32) for one, frame in zip(seen, frames, strict=True)]
        return fused, points

    def observation(self, seen: Sequence[SeenObject]) -> Observation:
        """What the network is told, on the host: of every object as many points as it was trained with.

        Args:
            seen: each as one view, its earlier ones aside; all with background, or all without.
        """
        seed, count = self._completion.seed, self._checkpoint.observation_points
        background = BACKGROUND_POINTS if all(len(one.background) for one in seen) else 0
        frames = [one.frame for one in seen]

        def told(places: Sequence[NDArray[np.float64]]) -> torch.Tensor:
            """(B, N, 3) in the unit frames."""
            return torch.from_numpy(to_unit_frames(frames, np.stack(places)).astype(np.float32))

        return Observation(
            points=told([_drawn(one.points, count, seed) for one in seen]),
            background=told([_drawn(one.background, background, seed) for one in seen]),
            viewpoint=told([one.viewpoint[None] for one in seen]).squeeze(1),
            scale=torch.tensor([frame.scale for frame in frames], dtype=torch.float32),
        )

    def subjects(
        self, seen: Sequence[SeenObject], watch: Stopwatch | None = None, apart: bool = False
    ) -> list[Subject | SurfaceError]:
        """`complete` without the last step: what is to be assessed of each object, for those who learn how to."""
        watch = watch or Stopwatch()
        found: dict[int, Subject | SurfaceError] = {}
        for batch in self._batches(seen):
            self._pace.begin(len(batch) / len(seen))
            objects = [seen[number] for number in batch]
            for number, surface in zip(batch, self._surfaces(objects, watch, apart), strict=True):
                if isinstance(surface, SurfaceError):
                    found[number] = surface
                else:
                    found[number] = self._subject(surface, seen[number], watch)
            self._pace.end()
        return [found[number] for number in range(len(seen))]

    def _subject(self, found: _Surface, one: SeenObject, watch: Stopwatch) -> Subject:
        surface = found.surface
        with watch.stage("confidence"):
            distance = self._distances(np.asarray(surface.mesh.vertices), one.all_points)
            confidence = self._confidence(distance)
        return Subject(
            mesh=surface.mesh,
            coarse_mesh=surface.collision_mesh,
            conservative_mesh=surface.conservative_mesh or surface.mesh,
            seen=one.all_points,
            free=[view.free for view in one.views if view.free is not None],
            frame=one.whole_frame(),
            vertices=self._evidence(found, one, distance),
            confidence=confidence,
        )

    def _described(self, subject: Subject, one: SeenObject, watch: Stopwatch) -> ReconstructedObject:
        with watch.stage("trust"):
            error, trust = assess(subject, self._errors, self._completion.coverage, self._completion.max_error)
        T_source_object, size = object_pose(np.asarray(subject.mesh.vertices), one.frame.rotation)
        return ReconstructedObject(
            mesh=subject.mesh,
            confidence=subject.confidence,
            error=error,
            collision_mesh=subject.coarse_mesh,
            conservative_mesh=subject.conservative_mesh,
            T_source_object=T_source_object,
            size=size,
            indices=one.indices,
            seen_fraction=subject.seen_fraction,
            trust=trust,
        )

    @staticmethod
    def _evidence(found: _Surface, one: SeenObject, distance: NDArray[np.float64]) -> VertexEvidence:
        vertices = np.asarray(found.surface.mesh.vertices)
        facing = np.full(len(vertices), -1.0)
        for view in one.views:
            towards = view.viewpoint - vertices
            towards /= np.maximum(columns.lengths(towards), 1e-9)[:, None]
            facing = np.maximum(facing, np.einsum("ij,ij->i", found.normals, towards))
        return VertexEvidence(distance, found.outward, found.inward, facing, one.whole_frame().scale)

    def _distances(self, vertices: NDArray[np.float64], seen: NDArray[np.float64]) -> NDArray[np.float64]:
        """(V,) metres to the nearest seen point."""
        if len(seen) > CONFIDENCE_POINTS:
            seen = _drawn(seen, CONFIDENCE_POINTS, self._completion.seed)
        return NearestPoint(seen)(vertices)[0]

    def _confidence(self, distances: NDArray[np.float64]) -> NDArray[np.float32]:
        """(V,), falling with the distance to the nearest seen point as a Gaussian does; 0 where it is below 0.001."""
        sigma = self._completion.seen_distance
        confidence = np.exp(-0.5 * (distances / sigma) ** 2)
        return np.where(distances < 3.7 * sigma, confidence, 0.0).astype(np.float32)


def _representatives(
    vertices: NDArray[np.float64], normals: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Some of a mesh's vertices (V, 3) that stand for all: their rows (N,), and which of them stands for each (V,).

    One for all in a cube of `SOFTNESS_CELL` whose normals are of one octant, so that the two sides of a wall have their
    own: a third of them at 64 cells, whose softness is within a tenth of that of those they stand for.
    """
    x, y, z = ((vertices - columns.bounds(vertices)[0]) / SOFTNESS_CELL).astype(np.int64).T
    names = ((x << 40) + (y << 20) + z << 3) + (normals > 0.0) @ np.array([1, 2, 4])
    _, chosen, places = np.unique(names, return_index=True, return_inverse=True)
    return chosen, places


def object_pose(
    vertices: NDArray[np.float64], rotation: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """T_source_object (4, 4) and size (3,), see `ReconstructedObject`, of a mesh's vertices and the object's axes."""
    along_axes = vertices @ rotation.T
    low, high = columns.bounds(along_axes)
    T_source_object = np.eye(4)
    T_source_object[:3, :3] = rotation.T
    T_source_object[:3, 3] = rotation.T @ ((low + high) / 2.0)
    return T_source_object, high - low


def probabilities(
    field: Callable[[], OccupancyField],
    frames: Sequence[UnitFrame],
    boxes: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    points: ArrayLike,
    device: torch.device,
) -> NDArray[np.float32]:
    """(B, N) probability that each of B objects is at each of N points; 0 outside its box.

    Args:
        field: makes the field of the B objects; not called where no point lies in a box.
        frames: of the objects; boxes: lower and upper corner (3,) in them.
        points: (N, 3) metres, source frame.
        device: of the field.
    """
    asked = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    probability = np.zeros((len(frames), len(asked)), dtype=np.float32)
    if not len(frames):
        return probability
    places = np.stack([frame.to_unit(asked) for frame in frames])
    lower, upper = (np.stack([box[end] for box in boxes])[:, None] for end in (0, 1))
    row, column = np.nonzero(((places >= lower) & (places <= upper)).all(axis=2))
    if len(row):
        queries = torch.as_tensor(places[row, column].astype(np.float32), device=device)
        logits = field()(queries, torch.as_tensor(row, device=device))
        probability[row, column] = torch.sigmoid(logits).cpu().numpy()
    return probability


def _from_unit(surface: ExtractedSurface, frame: UnitFrame) -> ExtractedSurface:
    def moved(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
        return trimesh.Trimesh(frame.from_unit(mesh.vertices), mesh.faces, process=False)

    conservative = None if surface.conservative_mesh is None else moved(surface.conservative_mesh)
    return ExtractedSurface(moved(surface.mesh), moved(surface.collision_mesh), conservative)


def _has_background(seen: SeenObject) -> bool:
    return all(len(view.background) for view in seen.views)


def _drawn(points: NDArray[np.float64], count: int, seed: int) -> NDArray[np.float64]:
    """`count` of the points (N, 3), at random, as training draws them: some may come twice."""
    if not count:
        return points[:0]
    return np.take(points, np.random.default_rng(seed).integers(len(points), size=count), axis=0)
