"""Evaluation cases of the procedural world that no training sees: one object, one camera, everything that it shows.

A depth image and a picture are taken from the same place, so that what observes points, pictures or maps is asked about
the same objects.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray

from onet_ros.learning.camera import Cameras, draw_faults, optical_axes, sense
from onet_ros.learning.evaluation_data import Frame, Picture, Truth
from onet_ros.learning.photo_faults import developed
from onet_ros.learning.photographs import RayGrid, draw_scene, look, photograph
from onet_ros.learning.pool import stream_generator
from onet_ros.learning.shape_meshes import SETTINGS
from onet_ros.learning.world import OBJECT, PlacedObjects, place_objects, ray_incidence
from onet_ros.scene import PointCloud, SupportPlane
from onet_ros.surface import SurfaceError, extract_surface

EVALUATION_STREAM = 7
SIZE = 224  # px along an edge of the picture
FOCAL_LENGTH_PX = 260.0
THIN = 0.0036  # metres of mean thickness 2 V / A under which an object counts as thin-walled
NEAREST = 0.25  # metres from the camera to the object
LEAST_PIXELS = 60  # of the object; others are looked at again from elsewhere
TRIES = 20


@dataclass(frozen=True)
class ProceduralData:
    """`count` objects; the n-th is the same however many there are.

    Attributes:
        neighbours: probability that other objects stand around each.
    """

    count: int
    seed: int = 0
    neighbours: float = 0.0

    def frames(self) -> Iterator[Frame]:
        for number in range(self.count):
            yield held_out_frame(self.seed, number, self.neighbours)


@torch.no_grad()
def held_out_frame(seed: int, number: int, neighbours: float = 0.0) -> Frame:
    """Object `number`, seen by a camera of its own: part "procedural"."""
    for attempt in range(TRIES):
        generator = stream_generator(seed, EVALUATION_STREAM, TRIES * number + attempt)
        objects = place_objects(1, generator)
        frame = _looked_at(objects, generator, f"{number:03d}", neighbours)
        if frame is not None:
            return frame
    raise RuntimeError(f"object {number} of seed {seed} could not be seen in {TRIES} tries")


def _looked_at(objects: PlacedObjects, generator: torch.Generator, name: str, neighbours: float) -> Frame | None:
    """What a camera sees of the object; None where that is next to nothing, or the object cannot be meshed."""
    position, rotation = _camera(objects, generator)
    scene = draw_scene(objects, neighbours=neighbours, glass=0.0, generator=generator)
    ticks = torch.arange(SIZE, dtype=torch.float32) - (SIZE - 1) / 2.0
    v, u = torch.meshgrid(ticks, ticks, indexing="ij")
    in_camera = torch.stack([u, v, torch.full_like(u, FOCAL_LENGTH_PX)], dim=2).view(1, -1, 3) / FOCAL_LENGTH_PX
    rays = RayGrid(position, in_camera @ rotation, (SIZE, SIZE))
    seen = look(scene, rays)
    own = (seen.label == OBJECT).view(SIZE, SIZE).numpy()
    if own.sum() < LEAST_PIXELS:
        return None
    try:
        mesh = _mesh(objects)
    except SurfaceError:
        return None
    picture = developed(photograph(scene, rays, seen), generator).view(SIZE, SIZE, 3).numpy()
    depth = seen.distance.view(1, SIZE, SIZE)
    cameras = Cameras(position, rotation, rays.directions, torch.ones(1), torch.tensor([FOCAL_LENGTH_PX]))
    measured = sense(depth, ray_incidence(depth, cameras), cameras, draw_faults(1, generator, "cpu"), generator)
    points = measured.view(SIZE, SIZE, 1) * in_camera.view(SIZE, SIZE, 3)
    cloud = PointCloud.from_points(points.numpy())

    R, eye = rotation[0].double().numpy(), position[0].double().numpy()
    T_cam_world = np.eye(4)
    T_cam_world[:3, :3], T_cam_world[:3, 3] = R, -R @ eye
    mesh.apply_transform(T_cam_world)
    indices = np.flatnonzero(own & cloud.valid)
    if len(indices) < LEAST_PIXELS // 2:
        return None
    thin = 2.0 * abs(mesh.volume) / mesh.area < THIN
    truth = Truth(objects.families[0], mesh, bool(thin), indices)
    K = np.array([[FOCAL_LENGTH_PX, 0.0, (SIZE - 1) / 2.0], [0.0, FOCAL_LENGTH_PX, (SIZE - 1) / 2.0], [0.0, 0.0, 1.0]])
    plane = SupportPlane(R[:, 2], float(eye[2]))
    return Frame("procedural", name, cloud, plane, [truth], Picture(picture, own.astype(np.int64), K))


def _camera(objects: PlacedObjects, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Position (1, 3) and R_camera_world (1, 3, 3) of a camera that has the object somewhere in the middle."""
    lots = torch.rand(6, generator=generator)
    elevation = math.radians(20.0) + math.radians(45.0) * float(lots[0])
    middle, size = (objects.low + objects.high)[0] / 2.0, float((objects.high - objects.low).norm())
    away = max(NEAREST, (1.8 + 2.2 * float(lots[1])) * size)
    towards = torch.tensor([math.cos(elevation), 0.0, math.sin(elevation)])
    position = middle + away * towards
    target = middle + 0.12 * away * (lots[2:5] - 0.5)
    forward = (target - position) / (target - position).norm()
    axes = optical_axes(forward[None])
    roll = 0.2 * (float(lots[5]) - 0.5)
    c, s = math.cos(roll), math.sin(roll)
    turn = torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return position[None], turn @ axes


def _mesh(objects: PlacedObjects) -> trimesh.Trimesh:
    """The closed mesh of the object, world frame, 192 cells along its longest edge."""
    low, high = objects.low[0], objects.high[0]
    middle, half = (low + high) / 2.0, 0.52 * float((high - low).max())

    def field(points: torch.Tensor) -> torch.Tensor:
        return -objects.distance(points.unsqueeze(0)).squeeze(0)

    seeds: NDArray[np.float32] = objects.surface[0].numpy()
    return extract_surface(field, (middle - half).numpy(), (middle + half).numpy(), 0.0, SETTINGS, seeds=seeds)
