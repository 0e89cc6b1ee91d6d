"""Mesh files as people have them: what is in one, and in which unit it was drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import trimesh

MESH_ENDINGS = (".stl", ".obj", ".ply", ".glb")
METRES_PER_UNIT = {"mm": 0.001, "cm": 0.01, "m": 1.0}
# Longest edges in metres: of what a robot has on a table, and of what is taken when the user states the unit.
USUAL_SIZES = (0.01, 0.6)
ACCEPTED_SIZES = (0.005, 1.0)
FLAT = 0.0005  # metres; a body thinner than this everywhere is no body


class RefusedMeshError(ValueError):
    """A mesh that training cannot use; the message says why, with the figures."""


def find_mesh_files(folder: str | Path) -> list[Path]:
    """All mesh files in a folder and the folders in it, sorted.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: none in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}" if not folder.exists() else f"{folder} is not a folder")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in MESH_ENDINGS and path.is_file())
    if not files:
        endings = ", ".join(MESH_ENDINGS)
        raise ValueError(f"{folder} holds no mesh files ({endings}), nor do the folders in it")
    return files


def read_mesh(path: str | Path) -> trimesh.Trimesh:
    """All triangles of a file as one mesh, in the file's unit; vertices at the same place are one.

    Raises:
        RefusedMeshError: the file cannot be read, or holds no triangles.
    """
    path = Path(path)
    options: dict[str, Any] = {"skip_materials": True} if path.suffix.lower() == ".obj" else {}
    try:
        mesh = trimesh.load(str(path), force="mesh", process=False, **options)
    except Exception as error:
        raise RefusedMeshError(f"cannot be read as {path.suffix[1:].upper()}: {_first_line(error)}") from error
    if not isinstance(mesh, trimesh.Trimesh) or len(mesh.faces) == 0:
        raise RefusedMeshError(f"holds no triangles ({path.stat().st_size} bytes)")
    if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        raise RefusedMeshError(f"corrupt: a triangle names vertex {mesh.faces.max()} of {len(mesh.vertices)}")
    # Without what belongs to looks, which keeps vertices apart that are one place.
    bare = trimesh.Trimesh(np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces), process=False)
    bare.merge_vertices()
    return bare


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def metres_per_unit(extents: tuple[float, float, float], unit: str) -> tuple[str, float, str]:
    """The unit of a mesh, given or found out.

    Found out only where one reading alone makes sense: as metres up to 0.6, as millimetres from 60 to 600. In between
    things could be centimetres as well, and the user has to say.

    Args:
        extents: edges of the bounding box in the file's unit.
        unit: "mm", "cm", "m" or "auto".

    Returns:
        (unit, metres per unit, what to tell the user).

    Raises:
        RefusedMeshError: no size at all, ambiguous, or far from anything that stands on a table.
        ValueError: unknown unit.
    """
    longest = max(extents)
    numbers = " x ".join(f"{edge:.4g}" for edge in extents)
    if not longest > 0.0:
        raise RefusedMeshError(f"has no size: its extents are {numbers}")
    if unit in METRES_PER_UNIT:
        factor = METRES_PER_UNIT[unit]
        if not ACCEPTED_SIZES[0] <= longest * factor <= ACCEPTED_SIZES[1]:
            low, high = (1000.0 * size for size in ACCEPTED_SIZES)
            raise RefusedMeshError(
                f"extents {numbers} {unit} make it {1000.0 * longest * factor:.4g} mm long; {low:g} to {high:g} mm are "
                "taken"
            )
        return unit, factor, f"{numbers} {unit}, as said"
    if unit != "auto":
        raise ValueError(f"unit must be auto or one of {', '.join(METRES_PER_UNIT)}, got {unit!r}")
    possible = [name for name, factor in METRES_PER_UNIT.items() if _usual(longest * factor)]
    if possible == ["m"]:
        return "m", 1.0, f"{numbers}, taken as metres"
    if possible == ["mm"]:
        return "mm", 0.001, f"{numbers}, taken as millimetres: as metres it would be {_length(longest)} long"
    readings = ", ".join(f"{_length(longest * factor)} if {name}" for name, factor in METRES_PER_UNIT.items())
    raise RefusedMeshError(f"unit unclear: its extents are {numbers}, so its longest edge is {readings}; say --unit")


def _usual(size: float) -> bool:
    return USUAL_SIZES[0] <= size <= USUAL_SIZES[1]


def _length(metres: float) -> str:
    return f"{metres:.3g} m" if metres >= 1.0 else f"{1000.0 * metres:.3g} mm"
