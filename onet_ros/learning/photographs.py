"""Pictures of the simulated world: objects on a table among others, lit and textured, by ray marching in torch.

World frame: z up, the table at z = 0, metres. Everything is batched over N scenes with one picture each, on the CPU and
on a GPU alike; no display, no files. Shadows and ambient occlusion by marching the distance field, after I. Quilez,
"soft shadows in raymarched SDFs".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from onet_ros.learning.appearance import Lights, Materials, draw_lights, draw_materials
from onet_ros.learning.neighbours import Neighbours, draw_neighbours
from onet_ros.learning.placing import distance_and_gradient
from onet_ros.learning.tracing import enter_box
from onet_ros.learning.world import NEIGHBOUR, NOTHING, OBJECT, TABLE, PlacedObjects

SHADOW_STEPS = 10
CLEARANCE = 0.002  # metres off a surface from which a shadow ray starts
OCCLUSION_REACH = 0.02  # metres


class Rays(Protocol):
    """N cameras with h x w rays each.

    Attributes:
        position: (N, 3) metres, world.
        directions: (N, h * w, 3) world; of any length.
        shape: (h, w).
    """

    @property
    def position(self) -> Tensor: ...
    @property
    def directions(self) -> Tensor: ...
    @property
    def shape(self) -> tuple[int, int]: ...


@dataclass(frozen=True)
class RayGrid:
    """Plain `Rays`."""

    position: Tensor
    directions: Tensor
    shape: tuple[int, int]


@dataclass(frozen=True)
class PhotoScene:
    """N objects with what stands around them, and what all of it looks like."""

    objects: PlacedObjects
    neighbours: Neighbours
    lights: Lights
    own: Materials
    others: Materials
    table: Materials
    wall: Materials
    table_edge: Tensor  # (N, 3): x cos + y sin = distance, (cos, sin, distance): the table ends there
    floor: Tensor  # (N,) metres under the table


@dataclass(frozen=True)
class Seen:
    """What the rays of N pictures meet: distance (N, m) in lengths of the ray, inf for nothing; label (N, m); and
    (N, m) bool, where the object would be seen if nothing hid it."""

    distance: Tensor
    label: Tensor
    silhouette: Tensor


def draw_scene(objects: PlacedObjects, neighbours: float, glass: float, generator: torch.Generator) -> PhotoScene:
    """Surroundings and looks for N objects.

    Args:
        neighbours: probability that other things stand around.
        glass: probability that an object can be seen through.
    """
    n, device = len(objects.surface), objects.surface.device
    angle = torch.rand(n, generator=generator) * 2.0 * math.pi
    reach = torch.exp(torch.rand(n, generator=generator) * math.log(8.0)) * 0.25
    endless = torch.rand(n, generator=generator) < 0.4
    edge = torch.stack([angle.cos(), angle.sin(), torch.where(endless, torch.full_like(reach, 99.0), reach)], dim=1)
    return PhotoScene(
        objects=objects,
        neighbours=draw_neighbours(objects.surface, neighbours, generator),
        lights=draw_lights(n, generator, device),
        own=draw_materials(n, generator, device, glass),
        others=draw_materials(n, generator, device),
        table=draw_materials(n, generator, device),
        wall=draw_materials(n, generator, device),
        table_edge=edge.to(device),
        floor=(0.3 + 0.6 * torch.rand(n, generator=generator)).to(device),
    )


def look(scene: PhotoScene, rays: Rays) -> Seen:
    """What each ray meets first."""
    directions = rays.directions
    origins = rays.position.unsqueeze(1).expand_as(directions)
    table = _down_to(0.0, origins, directions)
    place = origins + torch.nan_to_num(table, posinf=0.0).unsqueeze(2) * directions
    edge = scene.table_edge
    beyond = (place[..., :2] * edge[:, None, :2]).sum(dim=2) > edge[:, 2:]
    table = torch.where(beyond, torch.inf, table)
    near, far = enter_box(origins, directions, scene.objects.low, scene.objects.high)
    own = scene.objects.trace(origins, directions, near, torch.minimum(far, table + 1e-3))
    stacked = torch.stack([table, own, scene.neighbours.trace(origins, directions)])
    distance, which = stacked.min(dim=0)
    label = torch.where(distance.isfinite(), which + 1, torch.full_like(which, NOTHING))
    return Seen(distance, label, own.isfinite())


def photograph(scene: PhotoScene, rays: Rays, seen: Seen) -> Tensor:
    """Linear RGB (N, h * w, 3) of what the rays meet."""
    directions = rays.directions
    towards = -directions / directions.norm(dim=2, keepdim=True)
    origins = rays.position.unsqueeze(1)
    behind = _background(scene, origins, directions)
    place = origins + torch.nan_to_num(seen.distance, posinf=0.0).unsqueeze(2) * directions
    is_own, is_other = seen.label == OBJECT, seen.label == NEIGHBOUR
    normal = torch.zeros_like(place)
    normal[..., 2] = 1.0
    normal = torch.where(is_other.unsqueeze(2), _normals_by_neighbours(place, towards, rays.shape), normal)
    normal = torch.where(is_own.unsqueeze(2), _own_normals(scene.objects, place, is_own), normal)
    lit, openness = _light_that_arrives(scene, place, normal)

    size = (scene.objects.high - scene.objects.low).amax(dim=1)[:, None, None]
    middle = ((scene.objects.low + scene.objects.high) / 2.0).unsqueeze(1)
    surfaces = (
        (seen.label == TABLE, scene.table, place / 0.3),
        (is_other, scene.others, place / 0.1),
        (is_own, scene.own, (place - middle) / size),
    )
    picture = behind
    for own, material, local in surfaces:
        shaded = scene.lights.shade(material.albedo(local), normal, towards, lit, openness, material)
        if material is scene.own:
            shaded = _through_glass(scene, shaded, behind, origins, directions, towards)
        picture = torch.where(own.unsqueeze(2), shaded, picture)
    return picture


def _down_to(level: Tensor | float, origins: Tensor, directions: Tensor) -> Tensor:
    """(N, m) lengths of the rays down to z = level; inf for those that go up."""
    down = directions[..., 2] < -1e-6
    return torch.where(down, (level - origins[..., 2]) / directions[..., 2].clamp(max=-1e-6), torch.inf)


def _background(scene: PhotoScene, origins: Tensor, directions: Tensor) -> Tensor:
    """Linear RGB (N, m, 3) of the floor and the wall beyond the table."""
    floor = _down_to(-scene.floor.unsqueeze(1), origins, directions).clamp(max=6.0)
    place = origins + floor.unsqueeze(2) * directions
    room = scene.lights.sky.unsqueeze(1) * (0.4 + 0.3 * torch.exp(-floor)).unsqueeze(2)
    return scene.wall.albedo(place / 0.8) * room * 1.5


def _through_glass(
    scene: PhotoScene, shaded: Tensor, behind: Tensor, origins: Tensor, directions: Tensor, towards: Tensor
) -> Tensor:
    """Objects that can be seen through: the table behind them shows, unbent."""
    opacity = scene.own.opacity
    if not bool((opacity < 1.0).any()):
        return shaded
    table = _down_to(0.0, origins, directions)
    place = origins + torch.nan_to_num(table, posinf=0.0).unsqueeze(2) * directions
    edge = scene.table_edge
    on_table = table.isfinite() & ((place[..., :2] * edge[:, None, :2]).sum(dim=2) <= edge[:, 2:])
    up = torch.zeros_like(place)
    up[..., 2] = 1.0
    open_ = torch.ones_like(table)
    below = scene.lights.shade(scene.table.albedo(place / 0.3), up, towards, open_, 0.8 * open_, scene.table)
    through = torch.where(on_table.unsqueeze(2), below, behind)
    share = opacity[:, None, None]
    return share * shaded + (1.0 - share) * through * (0.6 + 0.4 * scene.own.colours[:, :1])


def _own_normals(objects: PlacedObjects, place: Tensor, own: Tensor) -> Tensor:
    """(N, m, 3) unit normals where `own` (N, m), by the gradient of the distance; anything elsewhere."""
    width = int(own.sum(dim=1).max()) if own.numel() else 0
    normals = torch.zeros_like(place)
    if width == 0:
        return normals
    order = own.to(torch.uint8).topk(width, dim=1).indices.unsqueeze(2).expand(-1, -1, 3)
    _, gradient = distance_and_gradient(objects.distance, place.gather(1, order))
    unit = gradient / gradient.norm(dim=2, keepdim=True).clamp(min=1e-6)
    return normals.scatter(1, order, unit)


def _normals_by_neighbours(place: Tensor, towards: Tensor, shape: tuple[int, int]) -> Tensor:
    """(N, m, 3) unit normals towards the eye, by the places that the pixels around see."""
    image = place.view(len(place), *shape, 3).permute(0, 3, 1, 2)
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    along = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    normal = torch.linalg.cross(across, along, dim=1).permute(0, 2, 3, 1).reshape_as(place)
    normal = normal / normal.norm(dim=2, keepdim=True).clamp(min=1e-12)
    return torch.where((normal * towards).sum(dim=2, keepdim=True) < 0.0, -normal, normal)


def _light_that_arrives(scene: PhotoScene, place: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """(N, m) shares of the first light and of the surroundings' light that the object does not keep off."""
    low, high = scene.objects.low, scene.objects.high
    start = place + CLEARANCE * normal
    towards = scene.lights.directions[:, :1].expand_as(start)
    near, far = enter_box(start, towards, low - 0.02, high + 0.02)
    lit = _where(near < far, lambda pick: _soft_shadow(scene, *map(pick, (start, towards, near, far))))
    beside = ((place > low.unsqueeze(1) - OCCLUSION_REACH) & (place < high.unsqueeze(1) + OCCLUSION_REACH)).all(dim=2)
    gap = _where(beside, lambda pick: scene.objects.distance(pick(place + OCCLUSION_REACH * normal)) / OCCLUSION_REACH)
    return lit, (0.35 + 0.65 * gap).clamp(0.35, 1.0)


def _soft_shadow(scene: PhotoScene, start: Tensor, towards: Tensor, near: Tensor, far: Tensor) -> Tensor:
    """(N, k) share of the first light along rays (N, k, 3) between `near` and `far`: the less, the closer they pass."""
    step = 0.04 * (scene.objects.high - scene.objects.low).norm(dim=1, keepdim=True)
    lit, t = torch.ones_like(far), near + CLEARANCE
    for _ in range(SHADOW_STEPS):
        gap = scene.objects.distance(start + t.unsqueeze(2) * towards)
        share = (scene.lights.softness.unsqueeze(1) * gap / t.clamp(min=0.01)).clamp(0.0, 1.0)
        lit = torch.where(t < far, torch.minimum(lit, share), lit)
        t = t + torch.maximum(gap, step)
    return lit


def _where(chosen: Tensor, function: Callable[[Callable[[Tensor], Tensor]], Tensor]) -> Tensor:
    """(N, m): what a function says where `chosen` (N, m), 1 elsewhere.

    The function is given a way to pick, from any (N, m, ...), the chosen places and as many others as fill up the rows.
    """
    result = torch.ones(chosen.shape, device=chosen.device)
    width = int(chosen.sum(dim=1).max()) if chosen.numel() else 0
    if width == 0:
        return result
    order = chosen.to(torch.uint8).topk(width, dim=1).indices

    def pick(values: Tensor) -> Tensor:
        index = order if values.ndim == 2 else order.unsqueeze(2).expand(-1, -1, values.shape[2])
        return values.gather(1, index)

    found = torch.where(chosen.gather(1, order), function(pick), 1.0)
    return result.scatter(1, order, found)
