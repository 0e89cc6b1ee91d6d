"""A depth camera that looks at triangle meshes: ray casting on the CPU, then the faults of a real sensor.

What does not change from frame to frame (hits, incidence, edges, the projector's shadow) is computed once per camera
pose; a frame costs only its noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray

from onet_ros.ray_casting import RayHits, RayScene, pixel_rays
from onet_ros.settings import check_settings, setting

NO_DEPTH = 255  # label of a pixel without depth
_SURROUNDINGS = {"table": (0.74, 0.68, 0.60), "floor": (0.47, 0.46, 0.45), "wall": (0.80, 0.81, 0.80)}
_OBJECT_GREY = (0.6, 0.6, 0.6)


@dataclass(frozen=True)
class DepthCameraSettings:
    """Pinhole and noise. sigma_z = noise_floor + noise_growth (z - 0.4 m)^2 is Nguyen et al., 3DIMPVT 2012."""

    width: int = setting(640, "image width", unit="px", minimum=16, maximum=4096)
    height: int = setting(480, "image height", unit="px", minimum=16, maximum=4096)
    focal_length_px: float = setting(600.0, "focal length", unit="px", minimum=10.0, maximum=10000.0)
    near: float = setting(0.25, "nearest depth measured", unit="m", minimum=0.0, maximum=10.0)
    far: float = setting(4.0, "farthest depth measured", unit="m", minimum=0.1, maximum=100.0)
    noise_floor: float = setting(0.0012, "sigma of the depth noise at 0.4 m", unit="m", minimum=0.0, maximum=0.1)
    noise_growth: float = setting(0.0019, "growth of sigma with (z - 0.4 m)^2", unit="1/m", minimum=0.0, maximum=0.1)
    quantisation: float = setting(0.001, "depth step, 0 for none", unit="m", minimum=0.0, maximum=0.1)
    dropout: float = setting(0.015, "share of pixels lost at random", minimum=0.0, maximum=1.0)
    grazing_start: float = setting(1.257, "incidence where loss begins", unit="rad", minimum=0.0, maximum=1.571)
    grazing_end: float = setting(1.484, "incidence where every pixel is lost", unit="rad", minimum=0.0, maximum=1.571)
    edge_step: float = setting(0.010, "depth step that counts as an edge", unit="m", minimum=0.0005, maximum=1.0)
    edge_dropout: float = setting(0.7, "share of edge pixels lost", minimum=0.0, maximum=1.0)
    projector_baseline: float = setting(
        0.05, "projector left of the camera, 0: none", unit="m", minimum=0.0, maximum=1.0
    )

    def __post_init__(self) -> None:
        check_settings(self)
        for low, high in (("near", "far"), ("grazing_start", "grazing_end")):
            if not getattr(self, low) < getattr(self, high):
                raise ValueError(f"{low} {getattr(self, low)} must be less than {high} {getattr(self, high)}")

    @property
    def intrinsics(self) -> NDArray[np.float64]:
        """K (3, 3) in pixels, integer pixel = pixel centre, principal point in the image's middle."""
        f = self.focal_length_px
        return np.array([[f, 0, 0.5 * (self.width - 1)], [0, f, 0.5 * (self.height - 1)], [0, 0, 1]])


@dataclass(frozen=True)
class DepthFrame:
    """One image of the camera, optical frame (x right, y down, z forward)."""

    points: NDArray[np.float32]  # (H, W, 3) metres, NaN where there is no depth
    labels: NDArray[np.uint8]  # (H, W) 0 surroundings, 1..n the objects in order, NO_DEPTH where there is no depth
    colours: NDArray[np.uint8]  # (H, W, 3) sRGB, black where nothing was hit
    T_camera_world: NDArray[np.float64]  # (4, 4)


class DepthCamera:
    """A camera in a world of meshes.

    Args:
        objects: meshes by name, world frame; at most 254. Labels count them in this order, from 1.
        T_camera_world: (4, 4) pose.
        surroundings: further meshes by name, label 0.
        colours: sRGB in 0..1 by name of object or surrounding; what it leaves out is grey.
        seed: with the number of a frame it determines that frame's noise.
    """

    def __init__(
        self,
        objects: Mapping[str, trimesh.Trimesh],
        T_camera_world: NDArray[np.float64],
        surroundings: Mapping[str, trimesh.Trimesh] | None = None,
        colours: Mapping[str, tuple[float, float, float]] | None = None,
        settings: DepthCameraSettings = DepthCameraSettings(),
        seed: int = 0,
    ) -> None:
        if len(objects) >= NO_DEPTH:
            raise ValueError(f"at most {NO_DEPTH - 1} objects have a label, got {len(objects)}")
        self.settings = settings
        self.names = list(objects)
        self._objects = dict(objects)
        self._seed = seed
        known = {**_SURROUNDINGS, **(colours or {})}
        self._palette = np.array([known.get(name, _OBJECT_GREY) for name in [*objects, *(surroundings or {})]])
        self._scene = RayScene([*objects.values(), *(surroundings or {}).values()])
        self.move_to(T_camera_world)

    @property
    def intrinsics(self) -> NDArray[np.float64]:
        """K (3, 3) in pixels."""
        return self.settings.intrinsics

    def move_to(self, T_camera_world: NDArray[np.float64]) -> None:
        """Cast the rays from another pose."""
        settings = self.settings
        self.T_camera_world = np.asarray(T_camera_world, dtype=np.float64)
        self._per_depth = pixel_rays(self.intrinsics, settings.width, settings.height).astype(np.float32)
        self._rays = self._world_rays()
        hits = self._scene.cast(self._rays)
        # Directions have depth 1, so that the ray's length is the depth.
        self._depth, self._hit = hits.distance, hits.hit
        self._labels = np.where(self._hit & (hits.mesh < len(self.names)), hits.mesh + 1, 0).astype(np.uint8)
        cosine = -(hits.normal * self._rays[..., 3:]).sum(-1) / np.linalg.norm(self._rays[..., 3:], axis=-1)
        self._colours = self._shade(hits, cosine)
        self._sigma = settings.noise_floor + settings.noise_growth * (self._finite_depth() - 0.4) ** 2
        self._loss = self._loss_probability(np.abs(cosine))

    def capture(self, frame: int) -> DepthFrame:
        """The frame of that number: the same noise for the same number and seed."""
        settings = self.settings
        rng = np.random.default_rng((self._seed, frame))
        depth = self._finite_depth() + self._sigma * rng.standard_normal(self._depth.shape, dtype=np.float32)
        if settings.quantisation > 0:
            depth = np.round(depth / settings.quantisation) * settings.quantisation
        kept = rng.random(self._depth.shape, dtype=np.float32) >= self._loss
        kept &= (depth >= settings.near) & (depth <= settings.far)
        points = self._per_depth * np.where(kept, depth, np.nan).astype(np.float32)[..., None]
        labels = np.where(kept, self._labels, NO_DEPTH).astype(np.uint8)
        return DepthFrame(points, labels, self._colours, self.T_camera_world)

    def visible_fractions(self) -> dict[str, float]:
        """Share of each object's pixels in the image that no other object hides; 0 for one outside the image."""
        fractions = {}
        for label, (name, mesh) in enumerate(self._objects.items(), start=1):
            pixels = np.count_nonzero(RayScene([mesh]).cast(self._rays).hit)
            fractions[name] = float(np.count_nonzero(self._labels == label) / pixels) if pixels else 0.0
        return fractions

    def _finite_depth(self) -> NDArray[np.float32]:
        return np.where(self._hit, self._depth, np.float32(0.0))

    def _world_rays(self) -> NDArray[np.float32]:
        rotation, translation = self.T_camera_world[:3, :3], self.T_camera_world[:3, 3]
        directions = self._per_depth @ rotation.astype(np.float32)
        eye = np.broadcast_to(-rotation.T @ translation, directions.shape)
        return np.concatenate([eye, directions], axis=-1).astype(np.float32)

    def _loss_probability(self, cosine: NDArray[np.float32]) -> NDArray[np.float32]:
        """(H, W) probability that a pixel has no depth in a frame."""
        settings = self.settings
        incidence = np.arccos(np.clip(cosine, 0, 1))
        grazing = np.clip(
            (incidence - settings.grazing_start) / (settings.grazing_end - settings.grazing_start), 0.0, 1.0
        )
        # The second difference is large beside a jump, and small on a slanted plane, however steep.
        padded = np.pad(np.where(self._hit, self._depth, 2 * settings.far), 1, mode="edge")
        bend_x = np.abs(padded[1:-1, 2:] - 2 * padded[1:-1, 1:-1] + padded[1:-1, :-2])
        bend_y = np.abs(padded[2:, 1:-1] - 2 * padded[1:-1, 1:-1] + padded[:-2, 1:-1])
        edge = settings.edge_dropout * (np.maximum(bend_x, bend_y) > settings.edge_step)
        kept = (1.0 - settings.dropout) * (1.0 - grazing) * (1.0 - edge) * self._hit * self._lit()
        return (1.0 - kept).astype(np.float32)

    def _lit(self) -> NDArray[np.bool_]:
        """(H, W) true where the projector's light arrives."""
        if self.settings.projector_baseline == 0:
            return np.ones_like(self._hit)
        depth = self._finite_depth()[..., None]
        eye, directions = self._rays[..., :3], self._rays[..., 3:]
        left = -self.T_camera_world[0, :3].astype(np.float32)
        start = eye + self.settings.projector_baseline * left
        towards = eye + depth * directions - start
        rays = np.concatenate([start, towards], axis=-1).astype(np.float32)
        return ~self._scene.occluded(rays, far=0.997)  # up to just before the point itself

    def _shade(self, hits: RayHits, cosine: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(H, W, 3) sRGB: a lamp over the camera's left shoulder."""
        lamp = self.T_camera_world[:3, :3].T @ np.array([-0.4, -0.8, -0.45])
        facing = np.clip(np.sign(cosine) * (hits.normal @ lamp), 0, 1)
        light = (0.45 + 0.25 * np.abs(cosine) + 0.3 * facing) * hits.hit
        albedo = self._palette[np.where(hits.hit, hits.mesh, 0)]
        return np.round(255 * np.clip(albedo * light[..., None], 0, 1)).astype(np.uint8)
