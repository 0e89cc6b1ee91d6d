"""Reconstructed objects as files that simulators, planners and pose trackers load.

Each object is written in its own frame (origin in the middle of its bounding box, z up), with its pose apart: as
`object_7.stl`, or another format; with `object_7.urdf`, which also holds mass and inertia, and the simplified mesh for
collisions. `objects.json` says where everything stood.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import trimesh
from numpy.typing import NDArray

from onet_ros.completion import ReconstructedObject
from onet_ros.object_properties import MassProperties
from onet_ros.settings import check_settings, setting
from onet_ros.trust import Trust

FORMATS = ("ply", "stl", "obj", "glb")
URDF_FORMATS = ("stl", "obj")  # what every reader of URDF takes
INDEX_FILE = "objects.json"
DEFAULT_DENSITY = 500.0  # kg/m^3


@dataclass(frozen=True)
class ObjectFileSettings:
    """How objects are written."""

    format: str = setting("ply", "Format of the meshes", choices=FORMATS)
    urdf: bool = setting(True, "Write a URDF with inertia, and a collision mesh, for each object as well")
    density: float = setting(
        DEFAULT_DENSITY,
        "Density from which mass and inertia are taken: about that of a full carton; of solid plastic it is 1000",
        unit="kg/m^3",
        minimum=1.0,
        maximum=25_000.0,
    )

    def __post_init__(self) -> None:
        check_settings(self)


def save_objects(
    folder: Path,
    objects: Mapping[int, ReconstructedObject],
    frame_id: str = "",
    stamp: int = 0,
    settings: ObjectFileSettings | None = None,
) -> list[Path]:
    """Write objects into a folder, over what was written there before under the same names.

    Args:
        folder: made where it does not exist.
        objects: by number, in one frame.
        frame_id: name of that frame.
        stamp: nanoseconds, when they stood so.
        settings: what is written.

    Returns:
        The files, the index last.

    Raises:
        OSError: the folder cannot be made or written to.
        ValueError: an object without volume.
    """
    settings = settings or ObjectFileSettings()
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    records: list[dict[str, Any]] = []
    for number, item in objects.items():
        own, record = _save_object(folder, f"object_{number}", item, settings)
        files += own
        records.append({"id": number, **record})
    index = {"frame_id": frame_id, "stamp": {"sec": stamp // 10**9, "nanosec": stamp % 10**9}, "objects": records}
    path = folder / INDEX_FILE
    path.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return [*files, path]


def _save_object(
    folder: Path, name: str, item: ReconstructedObject, settings: ObjectFileSettings
) -> tuple[list[Path], dict[str, Any]]:
    """The files of one object, and what the index says of it."""
    mesh, collision = in_own_frame(item.mesh, item), in_own_frame(item.collision_mesh, item)
    solid = MassProperties.of_solid(np.asarray(mesh.vertices), np.asarray(mesh.faces), settings.density)
    path = folder / f"{name}.{settings.format}"
    _coloured(mesh, item.confidence, settings.format).export(path)
    files, urdf = [path], None
    if settings.urdf:
        visual = path
        if settings.format not in URDF_FORMATS:
            visual = folder / f"{name}.{URDF_FORMATS[0]}"
            mesh.export(visual)
            files.append(visual)
        collision_path = folder / f"{name}_collision.{URDF_FORMATS[0]}"
        collision.export(collision_path)
        urdf = folder / f"{name}.urdf"
        urdf.write_text(urdf_text(name, visual.name, collision_path.name, solid), encoding="utf-8")
        files += [collision_path, urdf]
    w, x, y, z = (float(value) for value in trimesh.transformations.quaternion_from_matrix(item.T_source_object))
    record = {
        "mesh": path.name,
        "urdf": urdf.name if urdf else None,
        "position": item.T_source_object[:3, 3].tolist(),
        "orientation_xyzw": [x, y, z, w],
        "size": np.asarray(item.size).tolist(),
        "volume": solid.mass / settings.density,
        "density": settings.density,
        "mass": solid.mass,
        "centre_of_mass": solid.centre.tolist(),
        "inertia": solid.inertia.tolist(),
        "seen_fraction": float(item.seen_fraction),
        "trust": _trust_record(item.trust),
    }
    return files, record


def _trust_record(trust: Trust) -> dict[str, Any]:
    """For JSON, which knows no NaN."""
    record = {**asdict(trust), "next_view": trust.next_view.tolist()}
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in record.items()}


def in_own_frame(mesh: trimesh.Trimesh, item: ReconstructedObject) -> trimesh.Trimesh:
    """A mesh of the object, given in its source frame, in the object's own frame."""
    rotation, position = item.T_source_object[:3, :3], item.T_source_object[:3, 3]
    return trimesh.Trimesh((np.asarray(mesh.vertices) - position) @ rotation, mesh.faces, process=False)


def _coloured(mesh: trimesh.Trimesh, confidence: NDArray[np.float32], file_format: str) -> trimesh.Trimesh:
    """With the colours of the pictures where the format has colours that every reader understands."""
    if file_format in ("ply", "glb"):
        from onet_ros.pictures import confidence_colours  # here, because it brings matplotlib along

        colours = np.rint(255 * confidence_colours(confidence)).astype(np.uint8)
        mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=colours)
    return mesh


def urdf_text(name: str, visual: str, collision: str, solid: MassProperties) -> str:
    """A URDF of one link.

    Args:
        name: of robot and link.
        visual, collision: names of mesh files beside the URDF, whose frame is the link's.
        solid: of the mesh.
    """
    centre = " ".join(f"{value:.9g}" for value in solid.centre)
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = solid.inertia
    tensor = {"ixx": xx, "ixy": xy, "ixz": xz, "iyy": yy, "iyz": yz, "izz": zz}
    moments = " ".join(f'{key}="{value:.9g}"' for key, value in tensor.items())
    return f"""<?xml version="1.0"?>
<robot name={quoteattr(name)}>
  <link name={quoteattr(name)}>
    <inertial>
      <origin xyz="{centre}" rpy="0 0 0"/>
      <mass value="{solid.mass:.9g}"/>
      <inertia {moments}/>
    </inertial>
    <visual>
      <geometry>
        <mesh filename={quoteattr(visual)}/>
      </geometry>
    </visual>
    <collision>
      <geometry>
        <mesh filename={quoteattr(collision)}/>
      </geometry>
    </collision>
  </link>
</robot>
"""
