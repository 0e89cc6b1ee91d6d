"""The meshes of many objects in one list, on the device that they were made on."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray

from onet_ros.surface.body_kernels import connected
from onet_ros.surface.body_loops import kept_of_mesh, piece_labels
from onet_ros.surface.field import SurfaceError


@dataclass(frozen=True)
class MeshBatch:
    """The closed meshes of B objects.

    Attributes:
        vertices: (V, 3) float64, metres, those of an object side by side.
        faces: (F, 3) int64, rows of `vertices`; those of an object side by side, objects ascending.
        vertex_counts, face_counts: B numbers, how many are each object's.
        errors: why an object has no mesh, by its number.
    """

    vertices: torch.Tensor
    faces: torch.Tensor
    vertex_counts: list[int]
    face_counts: list[int]
    errors: Mapping[int, SurfaceError] = field(default_factory=dict)

    @classmethod
    def of(cls, mesh: trimesh.Trimesh) -> MeshBatch:
        """The batch that holds this mesh and nothing else."""
        vertices = torch.from_numpy(np.array(mesh.vertices, dtype=np.float64))
        faces = torch.from_numpy(np.array(mesh.faces, dtype=np.int64))
        return cls(vertices, faces, [len(vertices)], [len(faces)])

    def __len__(self) -> int:
        return len(self.face_counts)

    def meshes(self) -> list[trimesh.Trimesh | SurfaceError]:
        """One by one, on the host."""
        first_vertices = np.cumsum([0, *self.vertex_counts])
        first = torch.from_numpy(first_vertices[:-1]).to(self.faces.device)
        own = self.faces - first.repeat_interleave(self._counts(self.face_counts), output_size=len(self.faces))[:, None]
        vertices, faces = _on_host(self.vertices), _on_host(own, torch.int32)
        first_faces = np.cumsum([0, *self.face_counts])
        return [
            self.errors.get(number)
            or trimesh.Trimesh(
                vertices=vertices[first_vertices[number] : first_vertices[number + 1]],
                faces=faces[first_faces[number] : first_faces[number + 1]],
                process=False,
            )
            for number in range(len(self))
        ]

    def only(self, faces: torch.Tensor, errors: Mapping[int, SurfaceError]) -> MeshBatch:
        """The batch with those faces (F,) bool, the vertices that they need, and more errors."""
        if faces.is_cuda:
            kept = self.faces[faces]
            used = torch.zeros(len(self.vertices), dtype=torch.bool, device=self.faces.device)
            used[kept.flatten()] = True
            renumbered = used.cumsum(0) - 1
            vertices, kept = self.vertices[used], renumbered[kept]
        else:
            arrays = kept_of_mesh(self.vertices.numpy(), self.faces.numpy(), faces.numpy())
            vertices, kept, used = (torch.from_numpy(array) for array in arrays)
        return MeshBatch(
            vertices,
            kept,
            self._sums(used, self.vertex_counts),
            self._sums(faces, self.face_counts),
            {**self.errors, **errors},
        )

    @cached_property
    def objects_of_vertices(self) -> torch.Tensor:
        """(V,) int64."""
        objects = torch.arange(len(self), device=self.faces.device)
        return objects.repeat_interleave(self._counts(self.vertex_counts), output_size=len(self.vertices))

    def pieces(self) -> torch.Tensor:
        """(V,) int64, number of the connected piece of surface that each vertex is part of, from 0 on; ascending with
        the objects."""
        if not self.faces.is_cuda:
            return torch.from_numpy(piece_labels(self.faces.numpy(), len(self.vertices)))
        roots = connected(self.faces, len(self.vertices))
        if roots is None:
            roots = _roots(self.faces, len(self.vertices))
        is_root = roots == torch.arange(len(roots), device=roots.device)
        return (is_root.cumsum(0) - 1)[roots]

    def _counts(self, counts: list[int]) -> torch.Tensor:
        return torch.tensor(counts, device=self.faces.device)

    def _sums(self, chosen: torch.Tensor, counts: list[int]) -> list[int]:
        """How many are chosen (N,) bool of each object."""
        running = torch.cat([chosen.new_zeros(1, dtype=torch.int64), chosen.cumsum(0)])
        sums: list[int] = running[self._counts([0, *counts]).cumsum(0)].diff().tolist()
        return sums


def _roots(faces: torch.Tensor, vertices: int) -> torch.Tensor:
    """(V,) the lowest vertex that each is connected with.

    Every vertex takes the lowest number among its neighbours', and then that of the vertex with this number, until
    nothing changes (hooking and jumping: Shiloach and Vishkin, Journal of Algorithms, 1982).
    """
    corners = faces.flatten()
    names = torch.arange(vertices, device=faces.device)
    while True:
        found = names
        for _ in range(4):  # between two looks at whether anything has changed, for which the host waits
            lowest = found[faces].amin(dim=1).repeat_interleave(3)
            hooked = found.scatter_reduce(0, found[corners], lowest, reduce="amin")
            hooked = hooked.scatter_reduce(0, corners, lowest, reduce="amin")
            found = hooked[hooked]
        if torch.equal(found, names):
            return names
        names = found


def _on_host(values: torch.Tensor, way: torch.dtype | None = None) -> NDArray[np.generic]:
    """The values in host memory.

    From a GPU they come through pinned memory that is kept: making some takes longer than copying into it.

    Args:
        way: type in which they come from there, if another than their own holds them in fewer bytes.
    """
    if not values.is_cuda:
        return values.numpy()
    dtype, values = values.dtype, values.to(way or values.dtype)
    size = values.numel() * values.element_size()
    if len(getattr(_staging, "bytes", ())) < size:
        _staging.bytes = torch.empty(2 * size, dtype=torch.uint8, pin_memory=True)
    staged = _staging.bytes[:size].view(values.dtype).view(values.shape).copy_(values)
    host: NDArray[np.generic] = staged.to(dtype, copy=True).numpy()
    return host


_staging = threading.local()
