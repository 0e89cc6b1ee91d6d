"""`onet reconstruct` of a picture or a voxel file: meshes in a folder. No ROS."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from onet_ros.completion import ReconstructedObject
from onet_ros.reconstructor import Reconstruction, Reconstructor, ReconstructorSettings, find_objects
from onet_ros.resources import model_path
from onet_ros.scene import Capture, PictureError, PointCloud, SupportPlane, depth_to_points, load_capture, load_voxels
from onet_ros.stopwatch import Stopwatch

NO_DEPTH = 255  # in the segmentation of a capture


def reconstruct_shape_file(
    arguments: argparse.Namespace, path: Path, mode: str, settings: ReconstructorSettings
) -> int:
    """Write the meshes of a picture or a voxel file and a report; 1 where there is no mesh.

    Args:
        arguments: those of `onet reconstruct`.
        path: the file.
        mode: image or voxels.
        settings: of the reconstruction.
    """
    model = Reconstructor.load(arguments.model or model_path(mode), settings, device=arguments.device)
    if model.observes != mode:
        raise ValueError(f"{arguments.model} observes {model.observes}, {path} is reconstructed from {mode}")
    if mode == "image":
        result = _from_picture(model, arguments, path)
    else:
        watch = Stopwatch()
        item = model.complete_voxels(load_voxels(path, arguments.up).resampled(), watch)
        result = Reconstruction(None, [item], [], watch.seconds)
    _write(arguments.out, result, mode)
    return 0 if result.objects else 1


def _from_picture(model: Reconstructor, arguments: argparse.Namespace, path: Path) -> Reconstruction:
    plane = None if arguments.plane is None else SupportPlane.from_coefficients(_numbers(arguments.plane, 4, "--plane"))
    if path.suffix.lower() == ".npz":
        capture = load_capture(path)
        if capture.rgb is None or capture.intrinsics is None:
            raise PictureError(f"{path}: needs rgb and K to be reconstructed from its picture")
        labels = _read_mask(arguments.mask) if arguments.mask else _labels(capture)
        known = plane or capture.plane
        return model.reconstruct_image(capture.rgb, capture.intrinsics, labels, known, capture.cloud.points)
    if arguments.intrinsics is None or arguments.mask is None:
        raise PictureError(f"{path}: a picture needs --intrinsics FX,FY,CX,CY and --mask FILE")
    fx, fy, cx, cy = _numbers(arguments.intrinsics, 4, "--intrinsics")
    K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    cloud = None if arguments.depth is None else depth_to_points(_read_depth(arguments.depth), K)
    return model.reconstruct_image(_read_colours(path), K, _read_mask(arguments.mask), plane, cloud)


def _labels(capture: Capture) -> NDArray[np.integer]:
    """The instance mask of a capture: its own, or what our segmentation of its depth finds."""
    if capture.segmentation is not None:
        return np.where(capture.segmentation == NO_DEPTH, 0, capture.segmentation)
    scene = find_objects(PointCloud(capture.cloud.points), plane=capture.plane)
    labels = np.zeros(capture.cloud.valid.size, dtype=np.int64)
    for number, cluster in enumerate(scene.clusters, start=1):
        labels[cluster.indices] = number
    return labels.reshape(capture.cloud.valid.shape)


def _numbers(text: str, count: int, name: str) -> list[float]:
    try:
        values = [float(word) for word in text.replace(",", " ").split()]
    except ValueError as error:
        raise ValueError(f"{name} must be {count} numbers, got {text!r}") from error
    if len(values) != count:
        raise ValueError(f"{name} must be {count} numbers, got {text!r}")
    return values


def _read(path: Path, how: int) -> NDArray[np.generic]:
    if not path.is_file():
        raise PictureError(f"{path}: no such file")
    picture = cv2.imread(str(path), how)
    if picture is None:
        raise PictureError(f"{path}: no picture that can be read ({path.stat().st_size} bytes)")
    return np.asarray(picture)


def _read_colours(path: Path) -> NDArray[np.uint8]:
    return np.ascontiguousarray(_read(path, cv2.IMREAD_COLOR)[..., ::-1]).astype(np.uint8)


def _read_mask(path: Path) -> NDArray[np.integer]:
    mask = _read(path, cv2.IMREAD_UNCHANGED)
    if mask.ndim != 2 or mask.dtype.kind not in "iu":
        raise PictureError(f"{path}: a mask has one channel of 8 or 16 bits, found {mask.shape} {mask.dtype}")
    return mask.astype(np.int64)


def _read_depth(path: Path) -> NDArray[np.float64]:
    """(H, W) metres."""
    if path.suffix.lower() == ".npy":
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    depth = _read(path, cv2.IMREAD_UNCHANGED)
    if depth.ndim != 2 or depth.dtype != np.uint16:
        raise PictureError(f"{path}: a depth picture has one channel of 16 bits, found {depth.shape} {depth.dtype}")
    return depth.astype(np.float64) / 1000.0


def _write(folder: Path, result: Reconstruction, mode: str) -> None:
    """A PLY for each object and report.json; says what it does."""
    for failure in result.failures:
        print(f"not completed: {failure}", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    report = []
    for number, item in enumerate(result.objects):
        path = folder / f"object_{number:02d}.ply"
        item.mesh.export(path)
        report.append(_entry(path, item))
        x, y, z = _size_mm(item)
        print(f"{path}: {x} x {y} x {z} mm, {item.seen_fraction:.0%} seen")
    timings = {stage: round(seconds, 4) for stage, seconds in result.timings.items()}
    about = {"mode": mode, "objects": report, "failures": result.failures, "seconds": timings}
    (folder / "report.json").write_text(json.dumps(about, indent=1) + "\n")


def _entry(path: Path, item: ReconstructedObject) -> dict[str, object]:
    return {
        "file": path.name,
        "size_mm": _size_mm(item),
        "seen_points": len(item.indices),
        "seen": item.seen_fraction,
    }


def _size_mm(item: ReconstructedObject) -> list[float]:
    return [round(1000.0 * float(edge), 1) for edge in item.size]
