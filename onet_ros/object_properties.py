"""What a grasp planner or a simulator wants to know of an object's solid: box, volume, middle, axes, mass."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from onet_ros.surface import volume_moments


@dataclass(frozen=True)
class MassProperties:
    """What physics needs to know of a solid.

    Attributes:
        mass: kg.
        centre: (3,) metres, the mesh's frame.
        inertia: (3, 3) kg m^2, about the centre of mass, along the axes of the mesh's frame.
    """

    mass: float
    centre: NDArray[np.float64]
    inertia: NDArray[np.float64]

    @classmethod
    def of_solid(cls, vertices: NDArray[np.float64], faces: NDArray[np.int64], density: float) -> MassProperties:
        """Of what a closed mesh bounds, filled evenly.

        Args:
            vertices: (V, 3) metres; faces: (F, 3), outward.
            density: kg/m^3.

        Raises:
            ValueError: no volume is enclosed.
        """
        volume, centre, moments = volume_moments(vertices, faces)
        if not volume > 0.0:
            raise ValueError(f"a mesh of {len(faces)} triangles encloses {volume:.3g} m^3: no solid")
        return cls(density * volume, centre, density * (np.trace(moments) * np.eye(3) - moments))

    @property
    def principal_axes(self) -> NDArray[np.float64]:
        """(3, 3) rotation whose columns are the principal axes of inertia, the largest moment last."""
        axes = np.linalg.eigh(self.inertia)[1]
        if np.linalg.det(axes) < 0.0:
            axes[:, 0] *= -1.0
        return axes


@dataclass(frozen=True)
class UprightBox:
    """The box about an object whose footprint is smallest and whose z is up; the mesh's frame, metres.

    Attributes:
        T_mesh_box: (4, 4): origin in its middle, x along the longer side of the footprint.
        size: (3,).
    """

    T_mesh_box: NDArray[np.float64]
    size: NDArray[np.float64]

    @classmethod
    def about(cls, vertices: NDArray[np.floating]) -> UprightBox:
        """Of vertices (V, 3) in a frame whose z is up."""
        (x, y), (width, depth), degrees = cv2.minAreaRect(np.asarray(vertices[:, :2], dtype=np.float32))
        if width < depth:
            width, depth, degrees = depth, width, degrees + 90.0
        angle = np.radians(degrees)
        low, high = float(vertices[:, 2].min()), float(vertices[:, 2].max())
        T_mesh_box = np.eye(4)
        T_mesh_box[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        T_mesh_box[:3, 3] = x, y, (low + high) / 2.0
        return cls(T_mesh_box, np.array([width, depth, high - low]))
