"""From where a picture is taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onet_ros.ray_casting import look_rotation, pixel_rays


@dataclass(frozen=True)
class View:
    """A pinhole camera.

    Attributes:
        intrinsics: K (3, 3) in pixels; integer pixel = pixel centre.
        T_camera_world: (4, 4) from the world to the optical frame (x right, y down, z forward).
        width, height: size of the image in pixels.
    """

    intrinsics: NDArray[np.float64]
    T_camera_world: NDArray[np.float64]
    width: int
    height: int

    @classmethod
    def around(
        cls,
        points: ArrayLike,
        direction: ArrayLike,
        up: ArrayLike = (0.0, 0.0, 1.0),
        size: tuple[int, int] = (480, 480),
        field_of_view: float = np.radians(24.0),
        margin: float = 1.12,
    ) -> View:
        """The closest view that holds all points.

        Args:
            points: (N, 3) world.
            direction: (3,) from the scene to the eye, of any length; not along `up`.
            up: (3,) what is up in the image.
            size: (width, height) in px.
            field_of_view: rad, of the image's longer side.
            margin: room about the points, as a factor.
        """
        width, height = size
        focal = 0.5 * max(size) / np.tan(0.5 * field_of_view)
        rotation = look_rotation(-np.asarray(direction, dtype=np.float64), up)
        local = np.asarray(points, dtype=np.float64).reshape(-1, 3) @ rotation.T
        if not len(local) or not np.isfinite(local).all():
            raise ValueError(f"a view needs finite points to look at, got {len(local)} points")
        # Along each image axis the points bound both sides of the frustum, and those meet in the eye.
        eye, distances = np.zeros(3), []
        for axis, pixels in ((0, width), (1, height)):
            slope = 0.5 * pixels / (focal * margin)
            high = (local[:, axis] / slope - local[:, 2]).max()
            low = (-local[:, axis] / slope - local[:, 2]).max()
            eye[axis] = 0.5 * slope * (high - low)
            distances.append(0.5 * (high + low))
        eye[2] = -max(distances)
        transform = np.eye(4)
        transform[:3, :3], transform[:3, 3] = rotation, -eye
        intrinsics = np.array([[focal, 0, 0.5 * (width - 1)], [0, focal, 0.5 * (height - 1)], [0, 0, 1]])
        return cls(intrinsics, transform, width, height)

    @property
    def eye(self) -> NDArray[np.float64]:
        """(3,) the camera's centre in the world."""
        return -self.T_camera_world[:3, :3].T @ self.T_camera_world[:3, 3]

    @property
    def up(self) -> NDArray[np.float64]:
        """(3,) the image's upward direction in the world."""
        return -self.T_camera_world[1, :3]

    @property
    def backward(self) -> NDArray[np.float64]:
        """(3,) out of the image towards the viewer, in the world."""
        return -self.T_camera_world[2, :3]

    def resized(self, factor: float) -> View:
        """The same view in an image of `factor` times the size; the image's corner, half a pixel out, stays."""
        intrinsics = self.intrinsics * np.array([[factor], [factor], [1.0]])
        intrinsics[:2, 2] += 0.5 * (factor - 1.0)
        return View(intrinsics, self.T_camera_world, round(factor * self.width), round(factor * self.height))

    def rays(self) -> NDArray[np.float32]:
        """(height, width, 6) float32: eye and unit direction of every pixel's centre, in the world."""
        directions = pixel_rays(self.intrinsics, self.width, self.height) @ self.T_camera_world[:3, :3]
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        return np.concatenate([np.broadcast_to(self.eye, directions.shape), directions], axis=-1).astype(np.float32)

    def project(self, points: ArrayLike) -> NDArray[np.float64]:
        """(N, 3) world points -> (N, 3): pixel u, pixel v, depth in metres."""
        local = np.asarray(points, dtype=np.float64) @ self.T_camera_world[:3, :3].T + self.T_camera_world[:3, 3]
        depth = local[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = (local @ self.intrinsics.T)[:, :2] / depth[:, None]
        return np.column_stack([pixels, depth])

    def pixels_per_metre(self, point: ArrayLike) -> float:
        """Image scale at the depth of a world point (3,)."""
        return float(self.intrinsics[0, 0] / self.project(np.reshape(point, (1, 3)))[0, 2])
