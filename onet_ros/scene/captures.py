"""Recorded captures from files: depth images in .npz, clouds in .ply and .pcd."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onet_ros.scene.cloud import PointCloud
from onet_ros.scene.plane import SupportPlane


class CaptureError(ValueError):
    """A file that holds no usable capture; the message quotes the path and what was found in it."""


@dataclass(frozen=True, eq=False)
class Capture:
    """One depth frame with what is known about it.

    Attributes:
        cloud: camera frame; optical (x right, y down, z forward) where it comes from a depth image.
        rgb: (H, W, 3) uint8, the cloud's layout; None when unknown.
        plane: a support plane that came with the capture, the camera's frame; None when unknown.
        segmentation: (H, W) uint8: 0 for no object, i for `names[i - 1]`, 255 without depth; None when unknown.
        names: of the objects, in the order of the segmentation.
        T_cam_object: (n, 4, 4) float64, poses of the named objects' meshes in the camera's frame; None when unknown.
        intrinsics: K (3, 3) float64, pixels; None when unknown.
        viewpoint: (3,) float64, metres, the cloud's frame: where the camera stood.
    """

    cloud: PointCloud
    rgb: NDArray[np.uint8] | None = None
    plane: SupportPlane | None = None
    segmentation: NDArray[np.uint8] | None = None
    names: tuple[str, ...] = ()
    T_cam_object: NDArray[np.float64] | None = None
    intrinsics: NDArray[np.float64] | None = None
    viewpoint: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))


def load_capture(path: str | Path) -> Capture:
    """Read a capture.

    - `.npz`: `depth` (H, W) float, metres, or `depth_mm` (H, W) integer, 0 where missing, and `K` (3, 3); optionally
      `rgb`, `plane`, `seg`, `names`, `T_cam_object` as in `Capture`.
    - `.ply`, `.pcd`: points in metres with optional colours; a PCD of several rows keeps them.

    Raises:
        CaptureError: no such file, another format, or something in it that is no capture.
    """
    path = Path(path)
    readers = {".npz": _load_npz, ".ply": _load_points, ".pcd": _load_points}
    if path.suffix.lower() not in readers:
        raise CaptureError(f"{path}: a capture ends in {', '.join(readers)}, not in {path.suffix!r}")
    if not path.is_file():
        raise CaptureError(f"{path}: no such file")
    try:
        return readers[path.suffix.lower()](path)
    except CaptureError:
        raise
    except (ValueError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise CaptureError(f"{path}: {error}") from error


def depth_to_points(depth: NDArray[np.floating], K: ArrayLike) -> NDArray[np.float32]:
    """Depth image to points.

    Args:
        depth: (H, W) float, metres along the optical axis; 0 or not finite where missing.
        K: (3, 3) pixels; integer pixel = pixel centre.

    Returns:
        (H, W, 3) float32, metres, optical frame; NaN where missing.
    """
    image = np.asarray(depth)
    if image.ndim != 2 or image.dtype.kind != "f":
        raise ValueError(f"depth must be (H, W) float metres, got {image.shape} {image.dtype}")
    intrinsics = _checked_intrinsics(K)
    known = np.where(np.isfinite(image) & (image > 0), image, np.nan)
    v, u = np.indices(image.shape)
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(intrinsics).T
    return (rays * known[..., None]).astype(np.float32)


def _checked_intrinsics(K: ArrayLike) -> NDArray[np.float64]:
    intrinsics = np.asarray(K, dtype=np.float64)
    if intrinsics.shape != (3, 3) or not np.isfinite(intrinsics).all() or not (np.diag(intrinsics) > 0).all():
        raise ValueError(f"K must be 3 x 3 with positive focal lengths, got {intrinsics.tolist()}")
    return intrinsics


def _load_npz(path: Path) -> Capture:
    if not zipfile.is_zipfile(path):
        raise CaptureError(f"{path}: not an .npz archive ({path.stat().st_size} bytes)")
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()  # NumPy's own errors on damaged arrays are of many kinds
    if damaged is not None:
        raise CaptureError(f"{path}: {damaged} in the archive is damaged")
    with np.load(path, allow_pickle=False) as file:
        data = {name: file[name] for name in file.files if name in _NPZ_NAMES}
        found = ", ".join(file.files) or "nothing"
    if "K" not in data or not ("depth" in data or "depth_mm" in data):
        raise CaptureError(f"{path}: needs K and depth or depth_mm, found {found}")
    # float32 only at the end: a millimetre of a uint16 is not representable, and seven digits are enough once.
    depth = data["depth"].astype(np.float64) if "depth" in data else data["depth_mm"].astype(np.float64) / 1000.0
    cloud = PointCloud.from_points(depth_to_points(depth, data["K"]))
    return Capture(
        cloud=cloud,
        rgb=_image(data, "rgb", depth.shape, (3,)),
        plane=SupportPlane.from_coefficients(data["plane"]) if "plane" in data else None,
        segmentation=_image(data, "seg", depth.shape, ()),
        names=tuple(str(name) for name in data.get("names", ())),
        T_cam_object=data["T_cam_object"].astype(np.float64) if "T_cam_object" in data else None,
        intrinsics=_checked_intrinsics(data["K"]),
    )


_NPZ_NAMES = ("depth", "depth_mm", "K", "rgb", "plane", "seg", "names", "T_cam_object")


def _image(
    data: dict[str, Any], name: str, shape: tuple[int, ...], channels: tuple[int, ...]
) -> NDArray[np.uint8] | None:
    """An optional uint8 image of the depth's size."""
    if name not in data:
        return None
    image = data[name]
    if image.shape != shape + channels or image.dtype != np.uint8:
        raise ValueError(f"{name} must be {shape + channels} uint8, found {image.shape} {image.dtype}")
    return np.asarray(image)


def _load_points(path: Path) -> Capture:
    """A PLY or PCD through Open3D, which reads ASCII and binary forms but forgets a PCD's rows and viewpoint."""
    import open3d as o3d  # here, because it takes a second to load

    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):  # the error below says it better
        file = o3d.io.read_point_cloud(path, remove_nan_points=False, remove_infinite_points=False)
    points = np.asarray(file.points)
    if not len(points):
        raise CaptureError(f"{path}: no points could be read from this file of {path.stat().st_size} bytes")
    shape, viewpoint = (1, len(points)), np.zeros(3)
    if path.suffix.lower() == ".pcd":
        header = _pcd_header(path)
        rows, columns = int(header.get("HEIGHT", ["1"])[0]), int(header.get("WIDTH", [str(len(points))])[0])
        if rows * columns != len(points):
            raise CaptureError(f"{path}: HEIGHT {rows} x WIDTH {columns} in the header, but {len(points)} points")
        shape = (rows, columns)
        viewpoint = np.array(header.get("VIEWPOINT", ["0", "0", "0"])[:3], dtype=np.float64)
    colours = None
    if file.has_colors():
        colours = np.rint(255 * np.clip(np.asarray(file.colors), 0, 1)).astype(np.uint8).reshape(*shape, 3)
    return Capture(PointCloud.from_points(points.reshape(*shape, 3)), rgb=colours, viewpoint=viewpoint)


def _pcd_header(path: Path) -> dict[str, list[str]]:
    """The lines of a PCD's header up to DATA, as key and values."""
    header: dict[str, list[str]] = {}
    with path.open("rb") as file:
        for line in file:
            key, *values = line.decode("ascii", errors="replace").split() or [""]
            header[key] = values
            if key == "DATA":
                break
    return header
