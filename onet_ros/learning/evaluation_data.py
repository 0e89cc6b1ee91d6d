"""Evaluation cases: what a camera saw of an object, and the true shape in the camera's frame.

Reads a folder with `meshes/*.ply`, `meshes.json`, `views.npz` (single objects), `scenes/*.npz` (several objects, depth
and masks) and `real/*.npz` (captures, some with registered true poses).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from onet_ros.scene import PointCloud, SupportPlane, depth_to_points

PARTS = ("views", "scenes", "real")


@dataclass(frozen=True)
class Truth:
    """An object of a case: its name, true mesh in the camera's frame, whether its walls are thin, and which points of
    the cloud are its own ((M,) int64, by the true mask)."""

    name: str
    mesh: trimesh.Trimesh
    thin_walled: bool
    indices: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Picture:
    """What the camera shows: image (H, W, 3) uint8 RGB, labels (H, W) int64, the i-th true object's pixels i + 1 and
    all others 0, and intrinsics K (3, 3)."""

    image: NDArray[np.uint8]
    labels: NDArray[np.int64]
    K: NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """One image with the objects whose shape is known.

    Attributes:
        part: one of PARTS.
        name: unique in its part.
        cloud: camera frame. For `views` only the object's own pixels, not organized.
        plane: the table as given with the data.
        truths: objects with at least one seen point.
        picture: in colour, where there is one.
        K: (3, 3) intrinsics, where there is no picture but one can be drawn.
    """

    part: str
    name: str
    cloud: PointCloud
    plane: SupportPlane
    truths: list[Truth]
    picture: Picture | None = None
    K: NDArray[np.float64] | None = None


class EvaluationData:
    """A folder of evaluation data; `frames(part)` goes through it."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self._about: dict[str, Any] = json.loads((self.folder / "meshes.json").read_text())
        except OSError as error:
            raise FileNotFoundError(
                f"{self.folder} holds no evaluation data: cannot read {self.folder / 'meshes.json'} ({error.strerror})"
            ) from error
        self._meshes: dict[str, trimesh.Trimesh] = {}

    def frames(self, part: str) -> Iterator[Frame]:
        """All frames of a part, in a fixed order.

        Raises:
            ValueError: unknown part.
        """
        if part == "views":
            yield from self._views()
        elif part == "scenes":
            yield from (self._image(path, part) for path in sorted((self.folder / "scenes").glob("*.npz")))
        elif part == "real":
            images = (self._image(path, part) for path in sorted((self.folder / "real").glob("*.npz")))
            yield from (image for image in images if image.truths)
        else:
            raise ValueError(f"unknown part {part!r}; known are {', '.join(PARTS)}")

    def _truth(self, name: str, T_cam_object: NDArray[np.float64], indices: NDArray[np.int64]) -> Truth:
        if name not in self._meshes:
            self._meshes[name] = trimesh.load_mesh(self.folder / "meshes" / f"{name}.ply", process=False)
        mesh = self._meshes[name].copy()
        mesh.apply_transform(T_cam_object)
        return Truth(name, mesh, bool(self._about[name]["thin_walled"]), indices)

    def _views(self) -> Iterator[Frame]:
        with np.load(self.folder / "views.npz") as views:
            for name in views["names"]:
                for view in ("v0", "v1"):
                    points = views[f"{name}/{view}/points"]
                    plane = SupportPlane.from_coefficients(views[f"{name}/{view}/plane"])
                    pose = views[f"{name}/{view}/T_cam_object"]
                    truth = self._truth(str(name), pose, np.arange(len(points)))
                    cloud = PointCloud.from_points(points)
                    yield Frame("views", f"{name}/{view}", cloud, plane, [truth], K=views["K"])

    def _image(self, path: Path, part: str) -> Frame:
        with np.load(path) as data:
            depth = data["depth"] if "depth" in data else data["depth_mm"].astype(np.float32) / 1000.0
            cloud = PointCloud.from_points(depth_to_points(depth, data["K"]))
            plane = SupportPlane.from_coefficients(data["plane"])
            truths, picture = [], None
            if "T_cam_object" in data:
                masks = data["seg"].ravel()
                seen = cloud.valid.ravel()
                for i, (name, pose) in enumerate(zip(data["names"], data["T_cam_object"], strict=True), start=1):
                    indices = np.flatnonzero((masks == i) & seen)
                    if len(indices) and str(name) in self._about and np.isfinite(pose).all():
                        truths.append(self._truth(str(name), pose, indices))
            if "rgb" in data and truths:
                labels = np.zeros(depth.size, dtype=np.int64)
                for number, truth in enumerate(truths, start=1):
                    labels[truth.indices] = number
                picture = Picture(data["rgb"], labels.reshape(depth.shape), data["K"])
        return Frame(part, path.stem, cloud, plane, truths, picture)
