"""Training pictures: objects of the simulated world, photographed, cut out by their masks, in their unit frames.

What the network gets is made as at run time: `scene.picture` finds the frame from a mask and a table, both a little
wrong, and the crop that it prescribes is photographed directly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from onet_ros.learning.camera import look_at_objects
from onet_ros.learning.photo_faults import developed, mask_faults, photo_faults
from onet_ros.learning.photographs import RayGrid, draw_scene, look, photograph
from onet_ros.learning.source import Batch, draw_queries, left_or_right
from onet_ros.learning.world import OBJECT, PlacedObjects, place_objects
from onet_ros.networks import ImageObservation
from onet_ros.scene.picture import PICTURE_BOX, PictureError, crop_axes, picture_frame
from onet_ros.scene.plane import SupportPlane
from onet_ros.scene.unit_frame import UnitFrame

FINDER = 40  # rays along an edge of the first, coarse look that finds the mask
MINIMUM_PIXELS = 40  # of the mask, there
MINIMUM_VISIBLE = 0.5  # of the object's silhouette


@dataclass(frozen=True)
class ImageWorldSettings:
    """What the pictures are like.

    Attributes:
        image_size: px along an edge, a multiple of 8.
        queries: labelled points per sample.
        neighbours: probability that other objects stand around.
        glass: probability that an object can be seen through.
        mask_errors: probability that a part of the object is missing from the mask.
        plane_error: strength of the error of the table, 1 is about 0.5 degrees and 2 mm.
        faults: strength of the faults of cameras and outlines, 0 to 1.
        families: names of shape families, None for all.
    """

    image_size: int = 64
    queries: int = 8192
    neighbours: float = 0.4
    glass: float = 0.08
    mask_errors: float = 0.1
    plane_error: float = 1.0
    faults: float = 1.0
    families: Sequence[str] | None = None


@dataclass(frozen=True)
class ImageSamples:
    """N training samples, coordinates in each object's unit frame.

    Attributes:
        images: (N, 4, S, S) uint8, sRGB and mask (0 or 255).
        viewpoint: (N, 3) float32.
        queries: (N, Q, 3) float32; the first half uniform in PICTURE_BOX, the others near the surface.
        inside: (N, Q) bool, the labels.
        families: (N,) names.
    """

    images: Tensor
    viewpoint: Tensor
    queries: Tensor
    inside: Tensor
    families: list[str]


@dataclass(frozen=True)
class ImageSource:
    """`SampleSource` of pictures."""

    world: ImageWorldSettings

    def make(self, n: int, generator: torch.Generator, device: torch.device | str) -> ImageSamples:
        return make_image_samples(n, generator, self.world, device)

    def draw(self, samples: ImageSamples, points: int, queries: int, generator: torch.Generator) -> Batch:
        """The pictures as other cameras would have taken them, half of them mirrored left to right."""
        asked, labels = draw_queries(samples, queries, generator)
        side = left_or_right(len(samples.images), generator, samples.images.device)
        mirror = torch.cat([torch.ones_like(side), side, torch.ones_like(side)], dim=2).float()
        images = samples.images.float() / 255.0
        images = torch.where(side.unsqueeze(3) < 0, images.flip(3), images)
        colours = photo_faults(images[:, :3], self.world.faults, generator)
        masks = mask_faults(images[:, 3], self.world.faults, generator)
        pictures = torch.cat([colours, masks.unsqueeze(1)], dim=1)
        observation = ImageObservation(pictures, samples.viewpoint * mirror.squeeze(1))
        return Batch(observation, asked * mirror, labels)


def make_image_samples(
    n: int, generator: torch.Generator, settings: ImageWorldSettings | None = None, device: torch.device | str = "cpu"
) -> ImageSamples:
    """About n training samples (a few fewer: pictures in which the object can hardly be seen are dropped)."""
    settings = settings or ImageWorldSettings()
    objects = place_objects(n, generator, device, settings.families)
    scene = draw_scene(objects, settings.neighbours, settings.glass, generator)
    cameras = look_at_objects(objects.surface, FINDER, generator)
    finder = RayGrid(cameras.position, cameras.directions, (FINDER, FINDER))
    missing = _missing_parts(objects, settings.mask_errors, generator)
    coarse = look(scene, finder)
    visible = (coarse.label == OBJECT).sum(dim=1) / coarse.silhouette.sum(dim=1).clamp(min=1)
    mask = (coarse.label == OBJECT) & ~missing.of(finder, coarse.distance)
    planes = _taken_for_tables(n, settings.plane_error, generator)
    frames, rows = _frames(mask, finder, planes, visible)
    rotation, origin, scale = (torch.tensor(np.stack(part), dtype=torch.float32, device=device) for part in zip(
        *((frame.rotation, frame.origin, np.float64(frame.scale)) for frame in frames), strict=True))  # fmt: skip
    origin = origin + cameras.position  # from frames about the camera to the world
    viewpoint = ((cameras.position - origin).unsqueeze(1) @ rotation.transpose(1, 2)).squeeze(1) / scale[:, None]

    rays = crop_rays(viewpoint, rotation, cameras.position, settings.image_size)
    seen = look(scene, rays)
    colours = developed(photograph(scene, rays, seen), generator)
    own = (seen.label == OBJECT) & ~missing.of(rays, seen.distance)
    images = torch.cat([colours, torch.where(own, 255, 0).to(torch.uint8).unsqueeze(2)], dim=2)
    images = images.transpose(1, 2).reshape(n, 4, settings.image_size, settings.image_size)

    surface = (objects.surface - origin.unsqueeze(1)) @ rotation.transpose(1, 2) / scale[:, None, None]
    queries = _query_points(surface, settings.queries, generator)
    inside = objects.contains(queries * scale[:, None, None] @ rotation + origin.unsqueeze(1))
    keep = torch.tensor(rows, dtype=torch.long, device=images.device)
    return ImageSamples(
        images[keep], viewpoint[keep], queries[keep], inside[keep], [objects.families[row] for row in rows]
    )


def crop_rays(viewpoint: Tensor, rotation: Tensor, position: Tensor, size: int) -> RayGrid:
    """The rays of the crops that `scene.picture.crop_picture` makes.

    Args:
        viewpoint: (N, 3) unit frame; rotation: (N, 3, 3) R_unit_world; position: (N, 3) metres, world.
    """
    ticks = (torch.arange(size, device=viewpoint.device) + 0.5) / size * 2.0 - 1.0
    v, u = torch.meshgrid(ticks, ticks, indexing="ij")
    flat = torch.stack([u, v], dim=2).view(1, -1, 2)
    cameras = [crop_axes(one.double().cpu().numpy()) for one in viewpoint]
    axes = torch.tensor(np.stack([one for one, _ in cameras])).to(rotation)
    reach = torch.tensor([one for _, one in cameras]).to(rotation)[:, None, None]
    in_camera = torch.cat([flat * reach, torch.ones(len(viewpoint), size * size, 1, device=flat.device)], dim=2)
    return RayGrid(position, in_camera @ axes @ rotation, (size, size))


@dataclass(frozen=True)
class _MissingParts:
    """Of each of N objects, all beyond a plane is missing from the mask: normal (N, 3), offset (N,), world."""

    normal: Tensor
    offset: Tensor

    def of(self, rays: RayGrid, distance: Tensor) -> Tensor:
        """(N, m) bool: what the rays meet at `distance` (N, m) is missing."""
        place = rays.position.unsqueeze(1) + torch.nan_to_num(distance, posinf=0.0).unsqueeze(2) * rays.directions
        return (place * self.normal.unsqueeze(1)).sum(dim=2) > self.offset.unsqueeze(1)


def _missing_parts(objects: PlacedObjects, probability: float, generator: torch.Generator) -> _MissingParts:
    n, device = len(objects.surface), objects.surface.device
    normal = torch.randn(n, 3, generator=generator).to(device)
    normal = normal / normal.norm(dim=1, keepdim=True)
    along = (objects.surface @ normal.unsqueeze(2)).squeeze(2)
    share = 0.7 + 0.25 * torch.rand(n, generator=generator).to(device)
    wrong = (torch.rand(n, generator=generator) < probability).to(device)
    low, high = along.amin(dim=1), along.amax(dim=1)
    return _MissingParts(normal, torch.where(wrong, low + share * (high - low), torch.inf))


def _taken_for_tables(n: int, strength: float, generator: torch.Generator) -> Tensor:
    """(N, 4) what a robot takes for the table z = 0: nx, ny, nz, d."""
    tilt = torch.randn(n, 2, generator=generator) * math.radians(0.5) * strength
    offset = torch.randn(n, 1, generator=generator) * 0.002 * strength
    normal = torch.cat([tilt, torch.ones(n, 1)], dim=1)
    return torch.cat([normal / normal.norm(dim=1, keepdim=True), offset], dim=1)


def _frames(mask: Tensor, rays: RayGrid, planes: Tensor, visible: Tensor) -> tuple[list[UnitFrame], list[int]]:
    """Unit frames of all pictures, in world axes about the camera, and which of them are usable."""
    frames, rows = [UnitFrame(np.eye(3), np.array([-1.0, 0.0, -1.0]), 1.0)] * len(mask), []
    directions, position = rays.directions.double().cpu().numpy(), rays.position.double().cpu().numpy()
    chosen = mask.cpu().numpy()
    for row, share in enumerate(visible.tolist()):
        own = directions[row][chosen[row]]
        if len(own) < MINIMUM_PIXELS or share < MINIMUM_VISIBLE:
            continue
        nx, ny, nz, d = planes[row].double().tolist()
        offset = float(np.dot([nx, ny, nz], position[row]) + d)
        try:
            frames[row] = picture_frame(own, SupportPlane.from_coefficients([nx, ny, nz, offset]))
        except PictureError:
            continue
        rows.append(row)
    return frames, rows


def _query_points(surface: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(N, count, 3): half uniform in PICTURE_BOX, half scattered about the surface by 0.003 to 0.06 units."""
    n, device = len(surface), surface.device
    low, high = (torch.tensor(corner, dtype=torch.float32, device=device) for corner in PICTURE_BOX)
    uniform = low + (high - low) * torch.rand(n, count // 2, 3, generator=generator).to(device)
    near = count - count // 2
    picks = torch.randint(surface.shape[1], (n, near), generator=generator).to(device)
    spread = torch.exp(torch.rand(n, near, 1, generator=generator) * math.log(20.0)) * 0.003
    scatter = (torch.randn(n, near, 3, generator=generator) * spread).to(device)
    around = surface.gather(1, picks.unsqueeze(2).expand(-1, -1, 3)) + scatter
    return torch.cat([uniform, torch.maximum(torch.minimum(around, high), low)], dim=1)
