"""Voxel grids of simulated objects: whole ones, as a coarse model stores them, and what a depth-fusion map knows.

World frame as in `world`: z up, the table at z = 0. A grid fills a cube around its object, -0.5 to 0.5 along each axis
in the object's frame; z stays up, any direction may be x.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from onet_ros.learning.camera import Cameras, draw_faults, look_at_objects, sense
from onet_ros.learning.source import Batch, draw_queries
from onet_ros.learning.tracing import enter_box
from onet_ros.learning.world import PlacedObjects, place_objects, ray_incidence
from onet_ros.networks import VoxelObservation

FREE, UNKNOWN, OCCUPIED = 0, 1, 2  # states of a voxel; the network is told half of the number
MOST_VIEWS = 3
MINIMUM_CELLS = 6  # fewer occupied ones are not worth completing


@dataclass(frozen=True)
class VoxelWorldSettings:
    """What the grids are like.

    Attributes:
        resolution: cells along an edge.
        queries: labelled points per sample.
        partial: share of the samples that are what depth cameras saw; the others are whole.
        rays: along each side of such a camera's image.
        faults: strength of missing and spurious cells and of the sensor's faults, 0 to 1.
        families: names of shape families, None for all.
    """

    resolution: int = 32
    queries: int = 8192
    partial: float = 0.5
    rays: int = 64
    faults: float = 1.0
    families: Sequence[str] | None = None


@dataclass(frozen=True)
class VoxelSamples:
    """N training samples, coordinates in each object's cube.

    Attributes:
        states: (N, R, R, R) uint8, FREE, UNKNOWN or OCCUPIED, indexed x, y, z.
        queries: (N, Q, 3) float32; the first half uniform in the cube, the others near the surface.
        inside: (N, Q) bool, the labels.
        families: (N,) names.
    """

    states: Tensor
    queries: Tensor
    inside: Tensor
    families: list[str]


@dataclass(frozen=True)
class Cubes:
    """Where the grids of N objects lie: centre (N, 3) and edge (N,), metres, world."""

    centre: Tensor
    edge: Tensor

    def to_cube(self, points: Tensor) -> Tensor:
        """(N, M, 3) world -> cube."""
        return (points - self.centre.unsqueeze(1)) / self.edge[:, None, None]

    def from_cube(self, points: Tensor) -> Tensor:
        """(N, M, 3) cube -> world."""
        return points * self.edge[:, None, None] + self.centre.unsqueeze(1)


@dataclass(frozen=True)
class VoxelSource:
    """`SampleSource` of voxel grids."""

    world: VoxelWorldSettings

    def make(self, n: int, generator: torch.Generator, device: torch.device | str) -> VoxelSamples:
        """Whole grids first, then partial ones."""
        partial = round(self.world.partial * n)
        parts = [
            make(count, generator, self.world, device)
            for make, count in ((whole_grids, n - partial), (partial_grids, partial))
            if count
        ]
        return VoxelSamples(
            states=torch.cat([part.states for part in parts]),
            queries=torch.cat([part.queries for part in parts]),
            inside=torch.cat([part.inside for part in parts]),
            families=[family for part in parts for family in part.families],
        )

    def draw(self, samples: VoxelSamples, points: int, queries: int, generator: torch.Generator) -> Batch:
        """The samples turned by quarter turns about z and mirrored, at random."""
        asked, labels = draw_queries(samples, queries, generator)
        voxels = samples.states.float() / OCCUPIED
        lots = torch.randint(2, (3, len(voxels), 1, 1, 1), generator=generator).bool().to(voxels.device)
        sides = torch.ones_like(asked[:, :1])
        for axis in (0, 1):
            voxels = torch.where(lots[axis], voxels.flip(axis + 1), voxels)
            sides[:, 0, axis] = torch.where(lots[axis, :, 0, 0, 0], -1.0, 1.0)
        asked = asked * sides
        voxels = torch.where(lots[2], voxels.transpose(1, 2), voxels)
        asked = torch.where(lots[2, :, :, 0], asked[..., [1, 0, 2]], asked)
        return Batch(VoxelObservation(voxels), asked, labels)


def whole_grids(
    n: int, generator: torch.Generator, settings: VoxelWorldSettings, device: torch.device | str = "cpu"
) -> VoxelSamples:
    """Grids of whole objects: cells whose middle is inside, or all that the object touches, or something in between."""
    objects = place_objects(n, generator, device, settings.families)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return (low + (high - low) * torch.rand(n, *shape, generator=generator)).to(objects.surface.device)

    cubes = _cubes_around(objects.low, objects.high, uniform(0.6, 0.95), uniform(-0.5, 0.5, 3))
    distance = cell_distances(objects, cubes, settings.resolution)
    reach = uniform(0.0, 1.0) * (uniform(0.0, 1.0) < 0.7) * 0.9  # in cells; at 0.87 what touches a corner counts
    occupied = distance < (reach * cubes.edge / settings.resolution)[:, None, None, None]
    states = torch.where(occupied, OCCUPIED, FREE).to(torch.uint8)
    damaged = (uniform(0.0, 1.0) < 0.5).float() * settings.faults
    states = _damaged(states, damaged * uniform(0.0, 0.1), damaged * uniform(0.0, 0.05), generator)
    return _labelled(objects, cubes, states, settings, generator)


def partial_grids(
    n: int, generator: torch.Generator, settings: VoxelWorldSettings, device: torch.device | str = "cpu"
) -> VoxelSamples:
    """What one to three depth cameras saw, fused: cells with a measured point, those in front of one, and the rest.

    Half of the maps do not tell unknown from free. The table, which a robot cuts off, is in none of them. Objects of
    which hardly a cell was seen are left out.
    """
    objects = place_objects(n, generator, device, settings.families)
    seen = [_look(objects, settings, generator) for _ in range(MOST_VIEWS)]
    views = torch.randint(1, MOST_VIEWS + 1, (n,), generator=generator).to(objects.surface.device)
    low, high = _seen_box(seen, views)
    keep = torch.nonzero((high - low).amax(dim=1) > 0.004).flatten()

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return (low + (high - low) * torch.rand(n, *shape, generator=generator)).to(objects.surface.device)

    low, high = torch.minimum(low, high), torch.maximum(high, low + 0.004)
    cubes = _cubes_around(low, high, uniform(0.5, 0.85), uniform(-0.35, 0.35, 3))
    states = torch.full((n, *3 * [settings.resolution]), UNKNOWN, dtype=torch.uint8, device=low.device)
    for number, view in enumerate(seen):
        fused = view.fused_into(states, cubes)
        states = torch.where((views > number)[:, None, None, None], fused, states)
    damaged = torch.full_like(cubes.edge, settings.faults)
    states = _damaged(states, damaged * uniform(0.0, 0.2), damaged * uniform(0.0, 0.05), generator)
    told = uniform(0.0, 1.0) < 0.5
    states = torch.where(told[:, None, None, None] | (states == OCCUPIED), states, FREE)
    samples = _labelled(objects, cubes, states, settings, generator)
    enough = ((samples.states == OCCUPIED).sum(dim=(1, 2, 3)) >= MINIMUM_CELLS).nonzero().flatten()
    rows = [row for row in keep.tolist() if row in set(enough.tolist())]
    return VoxelSamples(
        samples.states[rows], samples.queries[rows], samples.inside[rows], [samples.families[row] for row in rows]
    )


def cell_centres(resolution: int, device: torch.device | str = "cpu") -> Tensor:
    """(R^3, 3) middles of the cells in the cube, z running fastest."""
    ticks = (torch.arange(resolution, device=device) + 0.5) / resolution - 0.5
    return torch.cartesian_prod(ticks, ticks, ticks)


def cell_distances(objects: PlacedObjects, cubes: Cubes, resolution: int) -> Tensor:
    """(N, R, R, R) metres: signed distances of the cells' middles, negative inside."""
    centres = cell_centres(resolution, cubes.edge.device)
    distance = objects.distance(cubes.from_cube(centres.expand(len(cubes.edge), -1, -1)))
    return distance.view(-1, *3 * [resolution])


def _cubes_around(low: Tensor, high: Tensor, share: Tensor, offset: Tensor) -> Cubes:
    """Cubes in which boxes (N, 3) fill a share (N,) of the edge, off the middle by `offset` (N, 3) of the room left."""
    extent = high - low
    edge = extent.amax(dim=1) / share
    return Cubes((low + high) / 2.0 + offset * (edge.unsqueeze(1) - extent), edge)


def _damaged(states: Tensor, lost: Tensor, spurious: Tensor, generator: torch.Generator) -> Tensor:
    """Grids in which occupied cells are lost with probability `lost` (N,), and cells beside them are taken for occupied
    with probability `spurious` (N,)."""
    occupied = states == OCCUPIED
    chance = torch.rand(2, *states.shape, generator=generator).to(states.device)
    beside = F.max_pool3d(occupied.float().unsqueeze(1), 3, stride=1, padding=1).squeeze(1) > 0.5
    states = torch.where(occupied & (chance[0] < lost[:, None, None, None]), FREE, states)
    taken = beside & ~occupied & (chance[1] < spurious[:, None, None, None])
    return torch.where(taken, OCCUPIED, states).to(torch.uint8)


def _labelled(
    objects: PlacedObjects, cubes: Cubes, states: Tensor, settings: VoxelWorldSettings, generator: torch.Generator
) -> VoxelSamples:
    n, device = len(states), states.device
    uniform = torch.rand(n, settings.queries // 2, 3, generator=generator).to(device) - 0.5
    near = settings.queries - settings.queries // 2
    picks = torch.randint(objects.surface.shape[1], (n, near), generator=generator).to(device)
    spread = torch.exp(torch.rand(n, near, 1, generator=generator) * math.log(20.0)) * 0.003
    scatter = (torch.randn(n, near, 3, generator=generator) * spread).to(device)
    surface = cubes.to_cube(objects.surface)
    around = (surface.gather(1, picks.unsqueeze(2).expand(-1, -1, 3)) + scatter).clamp(-0.5, 0.5)
    queries = torch.cat([uniform, around], dim=1)
    return VoxelSamples(states, queries, objects.contains(cubes.from_cube(queries)), list(objects.families))


def _seen_box(seen: Sequence[_DepthView], views: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 3) corners of the box about what the first `views` (N,) of the views saw of each object; low above high where
    they saw nothing."""
    lows, highs = zip(*(view.low_high() for view in seen), strict=True)
    used = torch.arange(len(seen), device=views.device)[:, None, None] < views[:, None]  # (V, N, 1)
    low = torch.where(used, torch.stack(lows), 9.0).amin(dim=0)
    return low, torch.where(used, torch.stack(highs), -9.0).amax(dim=0)


@dataclass(frozen=True)
class _DepthView:
    """What a depth camera measured of each of N objects and their table.

    Attributes:
        position: (N, 3) metres, world; rotation: (N, 3, 3) R_camera_world.
        corner, step: (N, 2) direction (x/z, y/z) of the first pixel, and from one pixel to the next.
        depth: (N, G, G) metres, nan where nothing was measured.
        points: (N, G * G, 3) world, nan where the object was not measured.
    """

    position: Tensor
    rotation: Tensor
    corner: Tensor
    step: Tensor
    depth: Tensor
    points: Tensor

    def low_high(self) -> tuple[Tensor, Tensor]:
        """(N, 3) corners of the box about the object's points; low above high where there is none."""
        low = torch.nan_to_num(self.points, nan=9.0).amin(dim=1)
        high = torch.nan_to_num(self.points, nan=-9.0).amax(dim=1)
        return low, high

    def fused_into(self, states: Tensor, cubes: Cubes) -> Tensor:
        """(N, R, R, R) states with this view's cells added: occupied ones stay, free ones are known from now on."""
        n, r = states.shape[:2]
        centres = cubes.from_cube(cell_centres(r, states.device).expand(n, -1, -1))
        in_camera = (centres - self.position.unsqueeze(1)) @ self.rotation.transpose(1, 2)
        place = in_camera[..., :2] / in_camera[..., 2:].clamp(min=1e-3)
        pixel = ((place - self.corner.unsqueeze(1)) / self.step.unsqueeze(1)).round().long()
        grid = self.depth.shape[1]
        in_image = ((pixel >= 0) & (pixel < grid)).all(dim=2)
        flat = (pixel[..., 1] * grid + pixel[..., 0]).clamp(0, grid * grid - 1)
        measured = self.depth.flatten(1).gather(1, flat)
        cell = (cubes.edge / r).unsqueeze(1)
        free = in_image & (in_camera[..., 2] < measured - 0.7 * cell)  # never true for nan
        states = torch.where(free.view_as(states) & (states == UNKNOWN), FREE, states)

        place = cubes.to_cube(self.points)
        within = ((place > -0.5) & (place < 0.5)).all(dim=2)
        cells = torch.nan_to_num((place + 0.5) * r).long().clamp(0, r - 1)
        numbers = (cells[..., 0] * r + cells[..., 1]) * r + cells[..., 2]
        hits = torch.zeros(n, r**3, device=states.device).scatter_add(1, numbers, within.float())
        return torch.where(hits.view_as(states) > 0, OCCUPIED, states).to(torch.uint8)


def _look(objects: PlacedObjects, settings: VoxelWorldSettings, generator: torch.Generator) -> _DepthView:
    """One depth image of each object from any side, with the sensor's faults."""
    n, grid = len(objects.surface), settings.rays
    azimuth = (torch.rand(n, generator=generator) * 2.0 * math.pi).to(objects.surface.device)
    turn = _turn_about_z(azimuth)  # R_world_turned: the camera stands on the +x side of the turned world
    cameras = look_at_objects(objects.surface @ turn, grid, generator)
    position = (turn @ cameras.position.unsqueeze(2)).squeeze(2)
    rays = cameras.directions @ turn.transpose(1, 2)
    rotation = cameras.rotation @ turn.transpose(1, 2)
    origins = position.unsqueeze(1).expand_as(rays)
    table = torch.where(rays[..., 2] < -1e-6, -origins[..., 2] / rays[..., 2].clamp(max=-1e-6), torch.inf)
    near, far = enter_box(origins, rays, objects.low, objects.high)
    hit = objects.trace(origins, rays, near, torch.minimum(far, table + 1e-3))
    depth = torch.minimum(table, hit).view(n, grid, grid)
    turned = Cameras(position, rotation, rays, cameras.stride, cameras.focal_length)
    faults = draw_faults(n, generator, depth.device, settings.faults)
    measured = sense(depth, ray_incidence(depth, turned), turned, faults, generator)
    own = hit.isfinite() & (hit < table)
    points = origins + torch.where(own, measured.flatten(1), torch.nan).unsqueeze(2) * rays
    in_camera = rays @ rotation.transpose(1, 2)
    corner = in_camera[:, 0, :2]
    step = (in_camera[:, -1, :2] - corner) / (grid - 1)
    return _DepthView(position, rotation, corner, step, measured, points)


def _turn_about_z(angle: Tensor) -> Tensor:
    """(N,) radians -> (N, 3, 3)."""
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([c, -s, zero, s, c, zero, zero, zero, one], dim=1).view(-1, 3, 3)
