"""The simulated world: an object settled on a table among others, seen by a depth camera, cut out as the robot would.

`make_samples` is the door: it gives training samples, each in its object's unit frame, with occupancy labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from onet_ros.learning.camera import Cameras, draw_faults, look_at_objects, sense
from onet_ros.learning.neighbours import draw_neighbours
from onet_ros.learning.placing import lowest_along, rotation_with_down, settle, starting_directions, surface_points
from onet_ros.learning.shapes import DistanceField, draw_shapes
from onet_ros.learning.tracing import enter_box, sphere_trace
from onet_ros.scene.plane import SupportPlane
from onet_ros.scene.unit_frame import UNIT_BOX, UnitFrame, object_unit_frame

NOTHING, TABLE, OBJECT, NEIGHBOUR = 0, 1, 2, 3  # pixel labels

MINIMUM_POINTS = 30  # fewer seen points are not worth completing
MINIMUM_VISIBLE = 0.3  # of the object's silhouette


@dataclass(frozen=True)
class WorldSettings:
    """What the world is like; the defaults are what training uses, others serve ablations.

    Attributes:
        grid: rays along each side of an image.
        queries: labelled points per sample.
        seen_points, background_points: how many of each are kept per sample (drawn with replacement if fewer).
        sensor: strength of the sensor's faults, 0 to 1.
        neighbours: probability that other objects stand around.
        mask_errors: probability that the object was cut out imperfectly.
        plane_error: strength of the error of the fitted table, 1 is about 0.3 degrees and 1 mm.
        families: names of shape families, None for all.
    """

    grid: int = 64
    queries: int = 8192
    seen_points: int = 3072
    background_points: int = 1024
    sensor: float = 1.0
    neighbours: float = 0.6
    mask_errors: float = 0.6
    plane_error: float = 1.0
    families: Sequence[str] | None = None


@dataclass(frozen=True)
class Samples:
    """N training samples, coordinates in each object's unit frame.

    Attributes:
        points: (N, seen_points, 3) float32, what was cut out as the object.
        background: (N, background_points, 3) float32, what was seen around it: the rays to these points are free.
        viewpoint: (N, 3) float32.
        scale: (N,) float32, metres per unit.
        queries: (N, Q, 3) float32; the first half uniform in UNIT_BOX, the others near the surface.
        inside: (N, Q) bool, the labels.
        families: (N,) names.
    """

    points: Tensor
    background: Tensor
    viewpoint: Tensor
    scale: Tensor
    queries: Tensor
    inside: Tensor
    families: list[str]


class ObjectsAtRest(Protocol):
    """N objects at rest in their worlds, wherever they come from; world frame (table z = 0), metres.

    Attributes:
        surface: (N, P, 3) points on the surface.
        low, high: (N, 3) bounding box.
        families: (N,) names.
    """

    @property
    def surface(self) -> Tensor: ...
    @property
    def low(self) -> Tensor: ...
    @property
    def high(self) -> Tensor: ...
    @property
    def families(self) -> list[str]: ...

    def trace(self, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor) -> Tensor:
        """As `sphere_trace`."""
        ...

    def contains(self, p: Tensor) -> Tensor:
        """(N, m, 3) world -> (N, m) bool, which points are inside."""
        ...


@dataclass(frozen=True)
class PlacedObjects:
    """N procedural objects, `ObjectsAtRest`.

    Attributes:
        parts: (first row, end row, distance) of rows that share a family; distance takes (rows, m, 3) world points.
    """

    parts: list[tuple[int, int, DistanceField]]
    surface: Tensor
    low: Tensor
    high: Tensor
    families: list[str]

    def distance(self, p: Tensor) -> Tensor:
        """(N, m, 3) world -> (N, m) signed distance."""
        return torch.cat([distance(p[start:end]) for start, end, distance in self.parts])

    def contains(self, p: Tensor) -> Tensor:
        """(N, m, 3) world -> (N, m) bool."""
        return self.distance(p) < 0.0

    def trace(self, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor) -> Tensor:
        """As `sphere_trace`; family by family, so that the slow ones do not keep the others waiting."""
        pieces = [
            sphere_trace(distance, origins[start:end], directions[start:end], near[start:end], far[start:end])
            for start, end, distance in self.parts
        ]
        return torch.cat(pieces)


def place_objects(
    n: int, generator: torch.Generator, device: torch.device | str = "cpu", families: Sequence[str] | None = None
) -> PlacedObjects:
    """Draw n objects and let each settle on the table z = 0, about the origin."""
    shapes = draw_shapes(n, generator, device, families)
    surface = surface_points(shapes.distance, shapes.reach, 512, generator)
    down = settle(surface, starting_directions(shapes.upright, generator))
    yaw = (torch.rand(n, generator=generator) * 2.0 * math.pi).to(surface.device)
    rotation = rotation_with_down(down, yaw)
    low, high = _bounds(surface @ rotation.transpose(1, 2))
    shift = -(low + high) / 2.0
    shift[:, 2] = lowest_along(shapes.distance, surface, down, generator)
    offset = shift.unsqueeze(1)
    parts = [
        (start, end, _moved(solid.distance, rotation[start:end], offset[start:end]))
        for _, start, end, solid in shapes.groups
    ]
    margin = 0.003  # sampled surface points miss the very tips
    placed = surface @ rotation.transpose(1, 2) + offset
    return PlacedObjects(parts, placed, low + shift - margin, high + shift + margin, shapes.names)


def _bounds(points: Tensor) -> tuple[Tensor, Tensor]:
    return points.amin(dim=1), points.amax(dim=1)


def _moved(distance: DistanceField, rotation: Tensor, offset: Tensor) -> DistanceField:
    """The field of a solid in its own frame, as a field of the world: x_world = R x_own + offset."""
    return lambda p: distance((p - offset) @ rotation)


def make_samples(
    n: int, generator: torch.Generator, settings: WorldSettings | None = None, device: torch.device | str = "cpu"
) -> Samples:
    """About n training samples (a few fewer: views in which the object can hardly be seen are dropped)."""
    settings = settings or WorldSettings()
    return observe(place_objects(n, generator, device, settings.families), generator, settings)


def observe(objects: ObjectsAtRest, generator: torch.Generator, settings: WorldSettings) -> Samples:
    """Look at each object once, as a robot would; views in which it can hardly be seen are dropped."""
    n, device = len(objects.surface), objects.surface.device
    cameras = look_at_objects(objects.surface, settings.grid, generator)
    view = _render(objects, cameras, settings, generator)
    faults = draw_faults(n, generator, device, settings.sensor)
    measured = sense(view.depth, view.incidence, cameras, faults, generator)
    seen = cameras.position[:, None, None] + measured.unsqueeze(3) * cameras.directions.view(n, *measured.shape[1:], 3)
    planes = _fitted_planes(n, settings.plane_error, generator)
    mask = cut_out(seen, view.label, planes.to(seen.device), settings.mask_errors, generator)
    return _to_unit_frames(objects, cameras, seen, mask, view.visible, planes, settings, generator)


@dataclass(frozen=True)
class View:
    """Clean images of N objects and what stands around: depth (N, G, G) metres with inf for nothing, label of each
    pixel, cosine of incidence, and (N,) the share of the object's silhouette that nothing hides."""

    depth: Tensor
    label: Tensor
    incidence: Tensor
    visible: Tensor


def _render(objects: ObjectsAtRest, cameras: Cameras, settings: WorldSettings, generator: torch.Generator) -> View:
    grid, rays = cameras.grid, cameras.directions
    origins = cameras.position.unsqueeze(1).expand_as(rays)
    neighbours = draw_neighbours(objects.surface, settings.neighbours, generator)
    table = torch.where(rays[..., 2] < -1e-6, -origins[..., 2] / rays[..., 2].clamp(max=-1e-6), torch.inf)
    near, far = enter_box(origins, rays, objects.low, objects.high)
    own = objects.trace(origins, rays, near, torch.minimum(far, table + 1e-3))
    stacked = torch.stack([table, own, neighbours.trace(origins, rays)])
    depth, which = stacked.min(dim=0)
    label = torch.where(depth.isfinite(), which + 1, torch.full_like(which, NOTHING))
    silhouette = own.isfinite()
    visible = (label == OBJECT).sum(dim=1) / silhouette.sum(dim=1).clamp(min=1)
    image = depth.view(-1, grid, grid)
    return View(image, label.view_as(image), ray_incidence(image, cameras), visible)


def ray_incidence(depth: Tensor, cameras: Cameras) -> Tensor:
    """Cosine between rays and surface normals, from central differences of the depth image; (N, G, G)."""
    grid = depth.shape[1]
    rays = cameras.directions.view(-1, grid, grid, 3)
    p = torch.nan_to_num(depth, posinf=9.0).unsqueeze(3) * rays
    across = F.pad((p[:, :, 2:] - p[:, :, :-2]).permute(0, 3, 1, 2), (1, 1, 0, 0), mode="replicate")
    along = F.pad((p[:, 2:] - p[:, :-2]).permute(0, 3, 1, 2), (0, 0, 1, 1), mode="replicate")
    normal = torch.linalg.cross(across, along, dim=1).permute(0, 2, 3, 1)
    return F.cosine_similarity(normal, rays, dim=3, eps=1e-15).abs()


def _fitted_planes(n: int, strength: float, generator: torch.Generator) -> Tensor:
    """(N, 4) the table as the robot fitted it: nx, ny, nz, d, a little off from (0, 0, 1, 0)."""
    tilt = torch.randn(n, 2, generator=generator) * math.radians(0.3) * strength
    offset = torch.randn(n, 1, generator=generator) * 0.001 * strength
    normal = torch.cat([tilt, torch.ones(n, 1)], dim=1)
    return torch.cat([normal / normal.norm(dim=1, keepdim=True), offset], dim=1)


def cut_out(seen: Tensor, label: Tensor, planes: Tensor, errors: float, generator: torch.Generator) -> Tensor:
    """The pixels a robot would take for the object: right, or with the usual mistakes.

    Mistakes: everything under a low height is cut off as table; table pixels above it and beside the object are kept; a
    strip of a touching neighbour is kept; a part is missing.

    Args:
        seen: (N, G, G, 3) measured points, world, nan where missing.
        label: (N, G, G) true labels.
        planes: (N, 4) the fitted table.
        errors: probability of mistakes.

    Returns:
        (N, G, G) bool.
    """
    n, grid = label.shape[0], label.shape[1]
    lots = torch.rand(8, n, 1, 1, generator=generator).to(seen.device)
    valid = seen.isfinite().all(dim=3)
    right = (label == OBJECT) & valid
    height = (seen * planes[:, None, None, :3]).sum(dim=3) + planes[:, None, None, 3:].squeeze(3)
    wrong = lots[0] < errors
    cut = 0.001 + 0.006 * lots[1] * lots[2]  # metres
    above = height > cut
    beside = _dilate(right, 2)
    mask = torch.where(wrong, (right | (beside & valid & (label == TABLE))) & above, right)
    strip = beside & valid & (label == NEIGHBOUR) & (lots[3] < 0.3) & wrong
    mask = mask | strip
    # A missing part: everything beyond a random line through the image.
    ticks = torch.linspace(-1.0, 1.0, grid, device=seen.device)
    turn = lots[4] * 2.0 * math.pi
    side = turn.cos() * ticks[None, :, None] + turn.sin() * ticks[None, None, :]
    missing = (side > 0.15 + 0.7 * lots[5]) & (lots[6] < 0.2) & wrong
    return mask & ~missing


def _dilate(mask: Tensor, cells: int) -> Tensor:
    size = 2 * cells + 1
    return F.max_pool2d(mask.float().unsqueeze(1), size, stride=1, padding=cells).squeeze(1) > 0.5


def _to_unit_frames(
    objects: ObjectsAtRest,
    cameras: Cameras,
    seen: Tensor,
    mask: Tensor,
    visible: Tensor,
    planes: Tensor,
    settings: WorldSettings,
    generator: torch.Generator,
) -> Samples:
    """Choose points, enter each object's unit frame exactly as at run time, and label query points there."""
    device = seen.device
    flat, flat_mask = seen.flatten(1, 2), mask.flatten(1, 2)
    around = seen.isfinite().all(dim=3).flatten(1, 2) & ~flat_mask
    rows = torch.nonzero((flat_mask.sum(dim=1) >= MINIMUM_POINTS) & (visible >= MINIMUM_VISIBLE)).flatten().tolist()
    points = _pick(flat, flat_mask, settings.seen_points, generator)
    background = _pick(flat, around, settings.background_points, generator)
    viewpoint = cameras.position
    frames: list[UnitFrame] = [UnitFrame(np.eye(3), np.zeros(3), 1.0)] * len(seen)
    for row in rows:
        plane = SupportPlane.from_coefficients(planes[row].double().numpy())
        seen_from = viewpoint[row].cpu().numpy()
        frames[row] = object_unit_frame(points[row].cpu().numpy(), plane, seen_from, background[row].cpu().numpy())
    rotation = torch.tensor(np.stack([frame.rotation for frame in frames]), dtype=torch.float32, device=device)
    origin = torch.tensor(np.stack([frame.origin for frame in frames]), dtype=torch.float32, device=device)
    scale = torch.tensor([frame.scale for frame in frames], dtype=torch.float32, device=device)

    def to_unit(p: Tensor) -> Tensor:
        return (p - origin.unsqueeze(1)) @ rotation.transpose(1, 2) / scale[:, None, None]

    queries = _query_points(to_unit(objects.surface), settings.queries, generator)
    world = queries * scale[:, None, None] @ rotation + origin.unsqueeze(1)
    inside = objects.contains(world)
    keep = torch.tensor(rows, dtype=torch.long, device=device)
    return Samples(
        points=to_unit(points)[keep],
        background=to_unit(background)[keep],
        viewpoint=to_unit(viewpoint.unsqueeze(1)).squeeze(1)[keep],
        scale=scale[keep],
        queries=queries[keep],
        inside=inside[keep],
        families=[objects.families[row] for row in rows],
    )


def _pick(points: Tensor, mask: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` of the masked points of each row, without repetition as long as there are enough; (N, count, 3).

    Rows with no masked point at all give zeros.
    """
    lots = torch.rand(mask.shape, generator=generator).to(points.device)
    order = torch.where(mask, lots, 2.0 + lots).argsort(dim=1)
    available = mask.sum(dim=1, keepdim=True).clamp(min=1)
    slots = torch.arange(count, device=points.device)[None] % available
    chosen = points.gather(1, order.gather(1, slots).unsqueeze(2).expand(-1, -1, 3))
    return torch.where(mask.any(dim=1)[:, None, None], chosen, torch.zeros_like(chosen))


def _query_points(surface: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(N, count, 3): half uniform in UNIT_BOX, half scattered about the surface by 0.003 to 0.06 units."""
    n, device = len(surface), surface.device
    low, high = (torch.tensor(corner, dtype=torch.float32, device=device) for corner in UNIT_BOX)
    uniform = low + (high - low) * torch.rand(n, count // 2, 3, generator=generator).to(device)
    near = count - count // 2
    picks = torch.randint(surface.shape[1], (n, near), generator=generator).to(device)
    spread = torch.exp(torch.rand(n, near, 1, generator=generator) * math.log(20.0)) * 0.003
    scatter = (torch.randn(n, near, 3, generator=generator) * spread).to(device)
    around = surface.gather(1, picks.unsqueeze(2).expand(-1, -1, 3)) + scatter
    around = torch.maximum(torch.minimum(around, high), low)
    return torch.cat([uniform, around], dim=1)
