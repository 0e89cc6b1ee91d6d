"""Coarse voxel grids of one object: from arrays, files and the cells of a map."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

GRID_RESOLUTION = 32  # cells along an edge that the networks are made for
FILLED = 0.7  # of the cube's edge that an object's cells fill, where the cube is laid around them
OCCUPIED = 0.5  # a cell with more than this counts as occupied
FREE_VALUE, UNKNOWN_VALUE, OCCUPIED_VALUE = 0.0, 0.5, 1.0
MIN_CELLS = 4
MAX_VOXELS = 512**3


class VoxelError(ValueError):
    """A grid, map or file that says nothing of an object; the message quotes the value at fault."""


@dataclass(frozen=True, eq=False)
class VoxelGrid:
    """A cube of R x R x R cells about one object, z up.

    Attributes:
        values: (R, R, R) float32, indexed x, y, z: 1 occupied, 0 free, 0.5 unknown, or a probability. Who cannot tell
            unknown from free says 0.
        origin: (3,) float64, metres, source frame: the cube's lower corner.
        edge: metres, of the cube.
    """

    values: NDArray[np.float32]
    origin: NDArray[np.float64]
    edge: float

    @classmethod
    def from_array(cls, values: ArrayLike, origin: ArrayLike = (0.0, 0.0, 0.0), edge: float = 1.0) -> VoxelGrid:
        """Check an array and where it lies.

        Args:
            values: (R, R, R) bool, or numbers from 0 to 1.
            origin, edge: as in `VoxelGrid`.

        Raises:
            VoxelError: another shape, values out of range, next to nothing occupied, or an impossible cube.
        """
        given = np.asarray(values)
        if given.ndim != 3 or len(set(given.shape)) != 1 or given.size == 0:
            raise VoxelError(f"expected a cubic grid of shape (R, R, R), got {given.shape}")
        if given.dtype.kind not in "biuf":
            raise VoxelError(f"expected voxels of bool or numbers, got {given.dtype}")
        low, high = float(given.min()), float(given.max())
        if not (low >= 0.0 and high <= 1.0):
            raise VoxelError(f"expected voxels from 0 (free) to 1 (occupied), got {low:g} to {high:g}")
        corner = np.asarray(origin, dtype=np.float64)
        if corner.shape != (3,) or not np.isfinite(corner).all():
            raise VoxelError(f"the grid's origin must be 3 finite numbers, got {np.asarray(origin).tolist()}")
        if not (np.isfinite(edge) and edge > 0.0):
            raise VoxelError(f"the grid's edge must be positive and finite, got {edge!r} m")
        occupied = int((given > OCCUPIED).sum())
        if occupied < MIN_CELLS:
            raise VoxelError(f"{occupied} of {given.size} voxels are occupied, at least {MIN_CELLS} are needed")
        return cls(given.astype(np.float32), corner, float(edge))

    @classmethod
    def around_cells(
        cls,
        occupied: ArrayLike,
        cell_size: float = 0.0,
        free: ArrayLike | None = None,
        resolution: int = GRID_RESOLUTION,
    ) -> VoxelGrid:
        """A grid around an object's occupied cells of a map, or around its points.

        Args:
            occupied: (N, 3) metres, source frame (z up), middles of the occupied cells, or points.
            cell_size: metres, edge of the map's cells; what lies in one is occupied. 0 for points: a cell that holds
                one is.
            free: (M, 3) metres, middles of the cells known to be free; all others are unknown then. None: the map does
                not tell.
            resolution: cells along an edge.

        Raises:
            VoxelError: too few cells, not (N, 3), not finite, or an impossible cell size.
        """
        cells = _checked_points(occupied, "occupied cells", MIN_CELLS)
        if not (np.isfinite(cell_size) and cell_size >= 0.0):
            raise VoxelError(f"the cells' size must be finite and not negative, got {cell_size!r} m")
        low, high = cells.min(axis=0) - cell_size / 2.0, cells.max(axis=0) + cell_size / 2.0
        edge = max(float((high - low).max()), 1e-3) / FILLED
        origin = (low + high) / 2.0 - edge / 2.0
        values = np.zeros(3 * (resolution,), dtype=np.float32)
        if free is not None:
            known = _marked(_checked_points(free, "free cells", 0), cell_size, origin, edge, resolution)
            values = np.where(known, FREE_VALUE, UNKNOWN_VALUE).astype(np.float32)
        values[_marked(cells, cell_size, origin, edge, resolution)] = OCCUPIED_VALUE
        return cls.from_array(values, origin, edge)

    def resampled(self, resolution: int = GRID_RESOLUTION) -> VoxelGrid:
        """The object's occupied cells in a grid of another resolution around them; itself if it has that one."""
        if self.values.shape[0] == resolution:
            return self
        unknown = bool((self.values == UNKNOWN_VALUE).any())
        free = self.centres[self.values.ravel() < UNKNOWN_VALUE] if unknown else None
        return VoxelGrid.around_cells(self.occupied_centres, self.cell_size, free, resolution)

    @property
    def cell_size(self) -> float:
        """Metres, edge of a cell."""
        return self.edge / self.values.shape[0]

    @property
    def centres(self) -> NDArray[np.float64]:
        """(R^3, 3) metres, source frame: middles of all cells, z running fastest."""
        ticks = (np.arange(self.values.shape[0]) + 0.5) * self.cell_size
        return np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 3) + self.origin

    @property
    def occupied_centres(self) -> NDArray[np.float64]:
        """(N, 3) metres, source frame: middles of the occupied cells."""
        return self.centres[self.values.ravel() > OCCUPIED]

    def boxes(self) -> trimesh.Trimesh:
        """The occupied cells as a closed surface: what the grid itself says of the shape."""
        return _outer_faces(self.values > OCCUPIED, self.origin, self.cell_size)


def load_voxels(path: str | Path, up: str = "y") -> VoxelGrid:
    """Read a voxel grid.

    - `.npz`: `voxels` (R, R, R), z up, and optionally `origin` (3,) and `edge`, metres; by default a cube of 1 m.
    - `.binvox`: run lengths of occupied cells, with a scale and a translation that are taken for metres.

    Args:
        path: of the file.
        up: "y" or "z": what is up in a .binvox; y by the format's own convention.

    Raises:
        VoxelError: no such file, another format, or nothing in it that is a grid.
    """
    path = Path(path)
    if up not in ("y", "z"):
        raise VoxelError(f"up must be y or z, got {up!r}")
    if path.suffix.lower() not in (".npz", ".binvox"):
        raise VoxelError(f"{path}: a voxel grid ends in .npz or .binvox, not in {path.suffix!r}")
    if not path.is_file():
        raise VoxelError(f"{path}: no such file")
    try:
        return _load_npz(path) if path.suffix.lower() == ".npz" else _load_binvox(path, up)
    except (ValueError, OSError, KeyError, IndexError, zipfile.BadZipFile, zlib.error) as error:
        raise VoxelError(f"{path}: {error}") from error


def _load_npz(path: Path) -> VoxelGrid:
    with np.load(path, allow_pickle=False) as file:
        if "voxels" not in file.files:
            raise VoxelError(f"needs an array 'voxels', found {', '.join(file.files) or 'nothing'}")
        origin = file["origin"] if "origin" in file.files else np.zeros(3)
        edge = np.asarray(file["edge"] if "edge" in file.files else 1.0, dtype=np.float64)
        if edge.size != 1:
            raise VoxelError(f"edge must be one number, found shape {edge.shape}")
        return VoxelGrid.from_array(file["voxels"], origin, float(edge.reshape(())))


def _load_binvox(path: Path, up: str) -> VoxelGrid:
    """A cell i of n lies at translate + (i + 0.5) / n scale (P. Min, "binvox file format")."""
    with path.open("rb") as file:
        header = file.read(400).partition(b"data\n")[0].decode("ascii", errors="replace").splitlines()
    entries = {line.split()[0]: line.split()[1:] for line in header if line.strip()}
    if "#binvox" not in entries or len(entries.get("dim", ())) != 3:
        raise VoxelError(f"not a binvox file: it begins with {' / '.join(header)[:60]!r}")
    if np.prod([float(text) for text in entries["dim"]]) > MAX_VOXELS:
        raise VoxelError(f"{' x '.join(entries['dim'])} voxels are more than {MAX_VOXELS}")
    x, y, z = (float(text) for text in entries.get("translate", ("0", "0", "0")))
    edge = float(entries.get("scale", ["1"])[0])
    with path.open("rb") as file:
        values = np.asarray(trimesh.exchange.binvox.load_binvox(file).matrix)
    if up == "y":  # x, -z, y of theirs are x, y, z here
        return VoxelGrid.from_array(values.transpose(0, 2, 1)[:, ::-1], (x, -z - edge, y), edge)
    return VoxelGrid.from_array(values, (x, y, z), edge)


def _checked_points(points: ArrayLike, name: str, least: int) -> NDArray[np.float64]:
    given = np.asarray(points, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] != 3:
        raise VoxelError(f"expected {name} of shape (N, 3), got {given.shape}")
    if len(given) < least:
        raise VoxelError(f"{len(given)} {name} are too few, at least {least} are needed")
    if not np.isfinite(given).all():
        raise VoxelError(f"{int((~np.isfinite(given).all(axis=1)).sum())} of {len(given)} {name} are not finite")
    return given


def _marked(
    points: NDArray[np.float64], cell_size: float, origin: NDArray[np.float64], edge: float, resolution: int
) -> NDArray[np.bool_]:
    """(R, R, R) bool: the cells that hold a point, or whose middle lies in a map's cell about one."""
    marked = np.zeros(3 * (resolution,), dtype=bool)
    index = np.floor((points - origin) / edge * resolution).astype(np.int64)
    index = index[((index >= 0) & (index < resolution)).all(axis=1)]
    marked[tuple(index.T)] = True
    if cell_size > edge / resolution and len(points):
        ticks = (np.arange(resolution) + 0.5) * edge / resolution
        centres = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 3) + origin
        distance, _ = cKDTree(points).query(centres, p=np.inf, distance_upper_bound=cell_size / 2.0 * (1.0 + 1e-6))
        marked |= np.isfinite(distance).reshape(marked.shape)
    return marked


def _outer_faces(occupied: NDArray[np.bool_], origin: NDArray[np.float64], cell: float) -> trimesh.Trimesh:
    """Squares between occupied and other cells, two triangles each, outward; corners shared."""
    padded = np.pad(occupied, 1)
    quads = []
    for axis in range(3):
        for inward in (False, True):
            ahead = np.roll(padded, 1 if inward else -1, axis=axis)
            cells = np.argwhere(padded & ~ahead) - 1
            u, v = np.eye(3, dtype=np.int64)[(axis + 1) % 3], np.eye(3, dtype=np.int64)[(axis + 2) % 3]
            first = cells + (0 if inward else 1) * np.eye(3, dtype=np.int64)[axis]
            loop = [first, first + u, first + u + v, first + v]
            quads.append(np.stack(loop[::-1] if inward else loop, axis=1))
    corners = np.concatenate(quads)  # (F, 4, 3)
    unique, number = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    number = number.reshape(-1, 4)
    faces = np.concatenate([number[:, [0, 1, 2]], number[:, [0, 2, 3]]])
    return trimesh.Trimesh(unique * cell + origin, faces, process=False)
