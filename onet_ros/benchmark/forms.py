"""One completed shape in the forms that 3D networks answer in: voxels, points, a template's mesh, a field's surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import open3d as o3d
import torch
import trimesh
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from onet_ros.learning.metrics import score_mesh
from onet_ros.networks import Checkpoint, InferenceNetwork, OccupancyField, VoxelObservation
from onet_ros.ray_casting import ray_scene
from onet_ros.scene import VoxelGrid
from onet_ros.surface import ExtractionSettings, extract_surface

POINTS = 2048  # of a point cloud
TEMPLATE_SUBDIVISIONS = 4  # of an icosahedron: 2562 vertices
FITTING_STEPS, PULL, SMOOTHING = 120, 0.35, 0.25
EXTRACTION = ExtractionSettings(32, 2, max_triangles=0)


@dataclass(frozen=True)
class Form:
    """A shape in one form.

    Attributes:
        name: of the form.
        mesh: what of it can be drawn and scored as a solid; None for points.
        points: (N, 3) of a cloud; None for the others.
        size: bytes that hold it, without what all shapes share.
    """

    name: str
    mesh: trimesh.Trimesh | None
    points: NDArray[np.float64] | None
    size: int


@dataclass(frozen=True)
class FormScore:
    """How well a form holds a shape: as `metrics.MeshScores`; IoU and normals are None for points. `euler` is the
    surface's Euler number."""

    iou: float | None
    chamfer_l1: float
    normal_consistency: float | None
    closed: bool
    euler: int | None


class CompletedGrid:
    """A network's answer to a voxel grid, to be put into any form.

    Args:
        checkpoint: of a network that observes voxels.
        grid: as that network takes it.
    """

    def __init__(self, checkpoint: Checkpoint, grid: VoxelGrid) -> None:
        self.grid = grid
        self._level = float(np.log(checkpoint.threshold / (1.0 - checkpoint.threshold)))
        network = InferenceNetwork(checkpoint.network)
        observation = VoxelObservation(torch.from_numpy(grid.values)[None])
        self.occupancy: OccupancyField = network.field(network.encode(observation))
        self.surface = self._extracted(np.full(3, -0.5), np.full(3, 0.5), EXTRACTION)

    def logits(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """(N, 3) metres, the grid's frame -> (N,) above the surface's level where inside."""
        unit = (points - self.grid.origin) / self.grid.edge - 0.5
        queries = torch.from_numpy(unit.astype(np.float32))
        values = self.occupancy(queries, torch.zeros(len(queries), dtype=torch.int64))
        return np.asarray(values.numpy() - self._level)

    def voxels(self, resolution: int) -> Form:
        """Occupied cells, one bit each."""
        values = np.zeros(3 * (resolution,), dtype=np.float32)
        grid = VoxelGrid(values, self.grid.origin, self.grid.edge)
        values[(self.logits(grid.centres) > 0.0).reshape(values.shape)] = 1.0
        return Form(f"voxels, {resolution}³", grid.boxes(), None, resolution**3 // 8)

    def cloud(self) -> Form:
        """Points on the surface, three numbers each."""
        points = trimesh.sample.sample_surface(self.surface, POINTS, seed=0)[0]
        return Form(f"point cloud, {POINTS:,}", None, points, POINTS * 12)

    def template(self) -> Form:
        """A sphere's mesh drawn onto the surface; its triangles are every shape's."""
        mesh = fitted_template(self.surface)
        return Form(f"template mesh, {len(mesh.vertices):,} vertices", mesh, None, len(mesh.vertices) * 12)

    def field(self) -> Form:
        """The field itself: the grid that it was made from is all that is this shape's own."""
        return Form("implicit field, 128 cells", self.surface, None, self.grid.values.size // 8)

    def detail(self, lower: NDArray[np.float64], upper: NDArray[np.float64], resolution: int) -> trimesh.Trimesh:
        """The surface in a box of its own (metres, grid's frame), `resolution` cells along an edge."""
        low, high = ((corner - self.grid.origin) / self.grid.edge - 0.5 for corner in (lower, upper))
        start = ExtractionSettings(resolution // 2, 1, max_triangles=0, min_body_fraction=0.0)
        return self._extracted(low, high, start)

    def _extracted(
        self, lower: NDArray[np.float64], upper: NDArray[np.float64], settings: ExtractionSettings
    ) -> trimesh.Trimesh:
        def field(points: torch.Tensor) -> torch.Tensor:
            return self.occupancy(points, torch.zeros(len(points), dtype=torch.int64))

        mesh = extract_surface(field, lower, upper, self._level, settings)
        vertices = (np.asarray(mesh.vertices) + 0.5) * self.grid.edge + self.grid.origin
        return trimesh.Trimesh(vertices, mesh.faces, process=False)


def fitted_template(target: trimesh.Trimesh) -> trimesh.Trimesh:
    """A sphere's mesh about the target, pulled to its surface step by step and kept smooth.

    After each step towards the nearest places of the target every vertex moves towards the middle of its neighbours
    (Laplacian smoothing), less and less.
    """
    sphere = trimesh.creation.icosphere(subdivisions=TEMPLATE_SUBDIVISIONS)
    middle, half = target.bounds.mean(axis=0), target.extents / 2.0
    vertices = middle + sphere.vertices * half * 1.2
    first, second = sphere.edges_unique.T
    count = np.bincount(np.concatenate([first, second]))[:, None]
    scene = ray_scene([target])
    for step in range(FITTING_STEPS):
        nearest = scene.compute_closest_points(o3d.core.Tensor(vertices.astype(np.float32)))["points"].numpy()
        vertices = vertices + PULL * (nearest - vertices)
        around = np.zeros_like(vertices)
        np.add.at(around, first, vertices[second])
        np.add.at(around, second, vertices[first])
        keep = SMOOTHING * (1.0 - step / FITTING_STEPS)
        vertices = vertices + keep * (around / count - vertices)
    return trimesh.Trimesh(vertices, sphere.faces, process=False)


def score_form(form: Form, truth: trimesh.Trimesh, samples: int) -> FormScore:
    """Against the true shape in the same frame; of points only the distances can be said."""
    if form.mesh is None:
        assert form.points is not None
        surface = trimesh.sample.sample_surface(truth, samples, seed=1)[0]
        to_truth = ray_scene([truth]).compute_distance(o3d.core.Tensor(form.points.astype(np.float32))).numpy()
        from_truth, _ = cKDTree(form.points).query(surface)
        return FormScore(None, float(to_truth.mean() + from_truth.mean()) / 2.0, None, False, None)
    scores = score_mesh(form.mesh, truth, samples)
    closed = bool(form.mesh.is_watertight)
    return FormScore(scores.iou, scores.chamfer_l1, scores.normal_consistency, closed, int(form.mesh.euler_number))
