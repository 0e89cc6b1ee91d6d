"""Feature planes of the object's unit frame: where a point falls on each, and how features go there and come back.

Three kinds of plane: `top` (x, y) and `side` (x, z) are orthographic cuts through the unit box; `camera` is a pinhole
image from the viewpoint, so that what one pixel saw, and all that hides behind it, share a place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

KINDS = ("top", "side", "front", "camera")
# Axes of the orthographic planes, and the part of the unit frame that they cover (the unit box and a little more).
_AXES = {"top": (0, 1), "side": (0, 2), "front": (1, 2)}
_LOW = (-0.72, -0.56, -0.06)
_HIGH = (0.50, 0.56, 1.06)
BOX_CENTRE = torch.tensor([-0.08, 0.0, 0.45])  # middle of the unit box above the table
_REACH = 0.8  # half width of the camera plane at the centre's distance, units
_NEAREST = 0.05  # depth in the camera below which nothing is projected any larger, units


def _on(device: torch.device, name: str) -> Tensor:
    """A constant on a device: the middle of the box (3,), or lower and upper corner (2, 2) of a kind of plane."""
    # What is made while a network is exported is no real tensor, and must not be kept.
    return _made_on(device, name) if torch.compiler.is_compiling() else _kept_on(device, name)


def _made_on(device: torch.device, name: str) -> Tensor:
    if name == "centre":
        return BOX_CENTRE.to(device)
    return torch.tensor([[corner[axis] for axis in _AXES[name]] for corner in (_LOW, _HIGH)], device=device)


# Copied there once: a copy makes the host wait, and cannot be recorded in a CUDA graph.
_kept_on = lru_cache(maxsize=64)(_made_on)


@dataclass(frozen=True)
class CameraView:
    """Pinhole views of B unit frames, looking at the middle of the unit box.

    Attributes:
        axes: (B, 3, 3) rows right, down, forward.
        viewpoint: (B, 3).
        distance: (B, 1) from viewpoint to the middle, units.
        reach: half width of the camera plane at that distance, units.
    """

    axes: Tensor
    viewpoint: Tensor
    distance: Tensor
    reach: float = _REACH

    @classmethod
    def looking_at_box(cls, viewpoint: Tensor, reach: float = _REACH) -> CameraView:
        """viewpoint: (B, 3) unit frame."""
        offset = _on(viewpoint.device, "centre") - viewpoint
        distance = offset.norm(dim=1, keepdim=True)
        forward = offset / distance
        # The camera stands on the +x side: +y is to its right however high it looks from.
        right = torch.zeros_like(forward)
        right[:, 1] = 1.0
        right = right - (right * forward).sum(dim=1, keepdim=True) * forward
        right = right / right.norm(dim=1, keepdim=True).clamp(min=1e-6)
        down = torch.linalg.cross(forward, right)
        return cls(torch.stack([right, down, forward], dim=1), viewpoint, distance, reach)

    def of(self, number: int) -> CameraView:
        """The view of one object, as a batch of one."""
        own = slice(number, number + 1)
        return CameraView(self.axes[own], self.viewpoint[own], self.distance[own], self.reach)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(B, M, 3) unit frame -> (B, M, 2) in [-1, 1] over the plane, and (B, M) depth beyond the middle, units."""
        in_camera = (points - self.viewpoint.unsqueeze(1)) @ self.axes.transpose(1, 2)
        depth = in_camera[..., 2].clamp(min=_NEAREST)
        flat = in_camera[..., :2] / depth.unsqueeze(2) * (self.distance / self.reach).unsqueeze(2)
        return flat, depth - self.distance


def place_on_plane(kind: str, points: Tensor, view: CameraView) -> Tensor:
    """(B, M, 3) unit frame -> (B, M, 2) in [-1, 1], clamped to the plane."""
    if kind == "camera":
        flat = view.project(points)[0]
    else:
        first, second = _AXES[kind]
        low, high = _on(points.device, kind)
        flat = points[..., first : second + 1 : second - first]
        flat = (flat - low) / (high - low) * 2.0 - 1.0
    return flat.clamp(-1.0, 1.0)


class PixelProjection:
    """`place_on_plane` and `CameraView.project` for given views, as one matrix product.

    Args:
        kinds: of the K planes.
        view: of B objects.
        resolution: R, cells along an edge of a plane.

    Attributes:
        matrix: (B, 4, 2 K + 1) of place and 1 -> columns and rows of the planes, before division by the depth on those
            of the camera, and the depth from the viewpoint.
        distance: (B, 1) from viewpoint to the middle of the box.
        cameras: the first columns in `matrix` of the camera's planes; camera_bits: bit k is set where plane k is one.
        nearest: depth below which nothing is projected any larger.
    """

    def __init__(self, kinds: Sequence[str], view: CameraView, resolution: int) -> None:
        self.cameras = [2 * number for number, kind in enumerate(kinds) if kind == "camera"]
        self.camera_bits, self.nearest = sum(1 << (column // 2) for column in self.cameras), _NEAREST
        self.distance = view.distance
        in_camera = torch.cat([view.axes, -view.axes @ view.viewpoint.unsqueeze(2)], dim=2)  # (B, 3, 4)
        in_camera[:, :2] *= (view.distance / view.reach * (0.5 * resolution)).unsqueeze(2)
        rows = _plane_rows(tuple(kinds), resolution, view.axes.device).repeat(view.axes.shape[0], 1, 1)
        for column in self.cameras:
            rows[:, column : column + 2] = in_camera[:, :2]
        rows[:, -1] = in_camera[:, 2]
        self.matrix = rows.transpose(1, 2).contiguous()

    def project(self, objects: Tensor, points: Tensor) -> Tensor:
        """Points (M, 3) of objects (M,) -> (M, 2 K + 1), what `finished` goes on from."""
        matrix = self.matrix[objects]
        return torch.baddbmm(matrix[:, 3:], points.unsqueeze(1), matrix[:, :3]).squeeze(1)

    @staticmethod
    def finished(projected: Tensor, cameras: Sequence[int], resolution: int) -> tuple[Tensor, Tensor]:
        """Columns and rows on the planes, cell centres at whole numbers, and the depth from the viewpoint.

        Args:
            projected: (..., 2 K + 1), of `project`.
            cameras: the first columns of the camera's planes.

        Returns:
            (..., 2 K) columns and rows, and (..., 1) depth.
        """
        depth = projected[..., -1:].clamp(min=_NEAREST)
        middle = 0.5 * resolution - 0.5
        pairs = [
            projected[..., column : column + 2] / depth + middle
            if column in cameras
            else projected[..., column : column + 2]
            for column in range(0, projected.shape[-1] - 1, 2)
        ]
        return torch.cat(pairs, dim=-1).clamp(0.0, resolution - 1.0), depth


@lru_cache(maxsize=8)
def _plane_rows(kinds: tuple[str, ...], resolution: int, device: torch.device) -> Tensor:
    """(2 K + 1, 4) float32, of place and 1 -> columns and rows of the planes; nought where the camera decides."""
    table = torch.zeros(2 * len(kinds) + 1, 4)
    for number, kind in enumerate(kinds):
        for row, axis in enumerate(_AXES.get(kind, ())):
            per_unit = resolution / (_HIGH[axis] - _LOW[axis])
            table[2 * number + row, axis] = per_unit
            table[2 * number + row, 3] = -0.5 - per_unit * _LOW[axis]
    return table.to(device)


def cell_index(place: Tensor, resolution: int) -> Tensor:
    """(B, M, 2) in [-1, 1] -> (B, M) index of the cell in the flattened R x R plane; x runs fastest."""
    cell = ((place + 1.0) * 0.5 * resolution).long().clamp(0, resolution - 1)
    return cell[..., 1] * resolution + cell[..., 0]


def scatter_mean(features: Tensor, index: Tensor, cells: int) -> Tensor:
    """(B, cells, C) float32, the mean of the features (B, M, C) that fall into each cell; 0 where none does."""
    total, count, _ = _scatter_sum(features, index, cells)
    return (total / count.clamp(min=1.0)).view(features.shape[0], cells, -1)


def scatter_mean_of_own(features: Tensor, index: Tensor, cells: int) -> Tensor:
    """(B, M, C) float32, for each of the features (B, M, C) the mean of those in its cell."""
    total, count, rows = _scatter_sum(features, index, cells)
    return (total.index_select(0, rows) / count.index_select(0, rows)).view(features.shape)


def _scatter_sum(features: Tensor, index: Tensor, cells: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sums (B cells, C) and numbers (B cells, 1) of the features in each cell, and the cell of each feature (B M,)."""
    features = features.float()  # sums and counts of many are no work for bfloat16
    batch, size = features.shape[0], features.shape[2]
    rows = (index + cells * torch.arange(batch, device=index.device).unsqueeze(1)).flatten()
    flat = features.flatten(0, 1)
    total = torch.zeros(batch * cells, size, device=flat.device, dtype=flat.dtype).index_add_(0, rows, flat)
    count = torch.zeros(batch * cells, 1, device=flat.device, dtype=flat.dtype)
    return total, count.index_add_(0, rows, torch.ones_like(flat[:, :1])), rows


def sample_planes(planes: Tensor, places: Tensor) -> Tensor:
    """Sum over K planes of bilinearly interpolated features.

    Args:
        planes: (B, K, R, R, C).
        places: (B, K, M, 2) in [-1, 1]; cell centres carry the features.

    Returns:
        (B, M, C). One gather of 4 K weighted rows a point, which a CPU does several times faster than `grid_sample`.
    """
    b, k, r, _, c = planes.shape
    m = places.shape[2]
    position = ((places + 1.0) * (0.5 * r) - 0.5).clamp(0.0, r - 1.0)
    low = position.floor().clamp(max=r - 2.0)
    share = position - low
    column, row = low[..., 0].long(), low[..., 1].long()
    base = (torch.arange(b * k, device=planes.device) * (r * r)).view(b, k, 1)
    corner = base + row * r + column
    index = torch.stack([corner, corner + 1, corner + r, corner + r + 1], dim=3)
    right, below = share[..., 0], share[..., 1]
    weight = torch.stack([(1 - right) * (1 - below), right * (1 - below), (1 - right) * below, right * below], dim=3)
    # (B, K, M, 4) -> (B M, 4 K)
    index = index.permute(0, 2, 1, 3).reshape(b * m, 4 * k)
    weight = weight.permute(0, 2, 1, 3).reshape(b * m, 4 * k).to(planes.dtype)
    table = planes.reshape(b * k * r * r, c)
    return F.embedding_bag(index, table, per_sample_weights=weight, mode="sum").view(b, m, c)
