"""A small folder of evaluation data: a box and a tray on a table, looked at from 42 degrees above the horizontal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import trimesh

from onet_ros.ray_casting import RayScene, look_rotation, pixel_rays

K = np.array([[150.0, 0.0, 79.5], [0.0, 150.0, 59.5], [0.0, 0.0, 1.0]])
SIZE = (160, 120)
EYE = np.array([0.45, 0.0, 0.40])


def write_evaluation_folder(folder: Path) -> None:
    """The box alone in two views, which are the same, and both objects in one scene."""
    shapes = {"box": trimesh.creation.box((0.06, 0.08, 0.10)), "tray": trimesh.creation.box((0.10, 0.08, 0.04))}
    (folder / "meshes").mkdir()
    for name, mesh in shapes.items():
        mesh.export(folder / "meshes" / f"{name}.ply")
    (folder / "meshes.json").write_text(json.dumps({n: {"thin_walled": n == "tray"} for n in shapes}))
    rotation = look_rotation(-EYE, (0.0, 0.0, 1.0))
    T_cam_world = np.eye(4)
    T_cam_world[:3, :3], T_cam_world[:3, 3] = rotation, -rotation @ EYE
    plane = np.array([*rotation[:, 2], EYE[2]])
    poses = {name: np.eye(4) for name in shapes}
    poses["box"][:3, 3], poses["tray"][:3, 3] = (0.0, -0.08, 0.05), (0.0, 0.08, 0.02)
    views = {"K": K, "names": np.array(["box"])}
    for view in ("v0", "v1"):
        depth, which = _image([shapes["box"].copy().apply_transform(poses["box"])], rotation)
        views[f"box/{view}/points"] = (depth[..., None] * pixel_rays(K, *SIZE))[which == 1].astype(np.float32)
        views[f"box/{view}/plane"] = plane
        views[f"box/{view}/T_cam_object"] = T_cam_world @ poses["box"]
    np.savez(folder / "views.npz", **views)
    (folder / "scenes").mkdir()
    depth, which = _image([mesh.copy().apply_transform(poses[name]) for name, mesh in shapes.items()], rotation)
    np.savez(
        folder / "scenes" / "scene_00.npz",
        depth_mm=np.round(1000 * depth).astype(np.uint16),
        seg=which.astype(np.uint8),
        K=K,
        plane=plane,
        names=np.array(list(shapes)),
        T_cam_object=np.stack([T_cam_world @ poses[name] for name in shapes]),
    )


def _image(meshes, rotation):
    """Depth (H, W) and 0 for the table, i for the i-th mesh."""
    table = trimesh.creation.box((1.0, 1.0, 0.02)).apply_translation((0.0, 0.0, -0.01))
    directions = pixel_rays(K, *SIZE) @ rotation
    rays = np.concatenate([np.broadcast_to(EYE, directions.shape), directions], axis=-1).astype(np.float32)
    hits = RayScene([table, *meshes]).cast(rays)
    return np.where(hits.hit, hits.distance, 0.0), np.where(hits.hit, hits.mesh, 255)
