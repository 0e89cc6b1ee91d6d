"""What a depth camera node can show: a simulated table, or a recorded capture. Needs no ROS.

The demo makes the same source a second time, to know the truth that the node is not told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

from onet_ros.scene import load_capture
from onet_ros.simulation import NO_DEPTH, OBJECT_COLOURS, DepthCamera, SimulatedTable, demo_objects


@dataclass(frozen=True)
class SourceFrame:
    """One look of the camera.

    Attributes:
        points: (H, W, 3) float32, metres, optical frame, NaN where missing; H is 1 where there is no image.
        colours: (H, W, 3) uint8; None where they are not known.
        labels: (H, W) uint8, 0 for none, another number for each object; None where they are not known.
        T_table_camera: (4, 4), where the camera stands; None where it is not known.
    """

    points: NDArray[np.float32]
    colours: NDArray[np.uint8] | None = None
    labels: NDArray[np.uint8] | None = None
    T_table_camera: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class CameraSource:
    """Frames of a camera, and the truth behind them.

    Attributes:
        frame: number of a frame -> what the camera sees then.
        intrinsics: (3, 3) K in pixels, None where it is not known.
        truth: true meshes by name, optical frame of the first look; empty where they are not known.
        visible_fractions: share of each true object that no other object hides, where it is known.
    """

    frame: Callable[[int], SourceFrame]
    intrinsics: NDArray[np.float64] | None
    truth: dict[str, trimesh.Trimesh]
    visible_fractions: dict[str, float]


def simulated_source(seed: int, object_count: int, orbit: float = 0.0) -> CameraSource:
    """A camera that looks at a table with some of the demo's objects; the same for the same arguments anywhere.

    Args:
        seed: which objects stand where, and the camera's noise.
        object_count: how many.
        orbit: radians that the camera goes around the table from frame to frame.

    Raises:
        ValueError: more objects than there are, or than the table has room for.
    """
    objects = demo_objects()
    if not 1 <= object_count <= len(objects):
        raise ValueError(f"there are 1 to {len(objects)} objects to choose from, got {object_count}")
    chosen = np.random.default_rng(seed).permutation(list(objects))[:object_count]
    table = SimulatedTable.arrange({str(name): objects[name] for name in chosen}, seed)
    pose = table.camera_pose()
    camera = DepthCamera(table.meshes, pose, table.surroundings(), OBJECT_COLOURS, seed=seed)

    def frame(number: int) -> SourceFrame:
        if orbit:
            camera.move_to(table.camera_pose(orbit * number))
        captured = camera.capture(number)
        labels = np.where(captured.labels == NO_DEPTH, 0, captured.labels).astype(np.uint8)
        return SourceFrame(
            captured.points,
            captured.colours,
            labels,
            np.asarray(np.linalg.inv(captured.T_camera_world), dtype=np.float64),
        )

    return CameraSource(frame, camera.intrinsics, table.meshes_in(pose), camera.visible_fractions())


def recorded_source(path: Path, mesh_folder: Path | None = None) -> CameraSource:
    """A recorded capture, the same in every frame.

    Args:
        path: .npz, .ply or .pcd, as `onet_ros.scene.load_capture` takes it.
        mesh_folder: where the true meshes lie as <name>.ply; beside the capture's own folder when left out.

    Raises:
        ValueError, OSError: the capture cannot be read.
    """
    capture = load_capture(path)
    # A camera stands at the origin of its cloud's frame; in a file it may have stood elsewhere.
    points = (capture.cloud.points - capture.viewpoint).astype(np.float32)
    mesh_folder = mesh_folder or path.resolve().parent.parent / "meshes"
    truth: dict[str, trimesh.Trimesh] = {}
    poses = np.empty((0, 4, 4)) if capture.T_cam_object is None else capture.T_cam_object
    for name, pose in zip(capture.names, poses):  # noqa: B905 - names may come without poses
        file = mesh_folder / f"{name}.ply"
        if file.is_file():
            unique_name = name if name not in truth else f"{name} {len(truth) + 1}"
            mesh: trimesh.Trimesh = trimesh.load_mesh(file, process=False)
            truth[unique_name] = mesh.apply_transform(pose).apply_translation(-capture.viewpoint)
    labels = None
    if capture.segmentation is not None:
        labels = np.where(capture.segmentation == NO_DEPTH, 0, capture.segmentation).astype(np.uint8)
    shown = SourceFrame(points, capture.rgb, labels)
    return CameraSource(lambda number: shown, capture.intrinsics, truth, {})
