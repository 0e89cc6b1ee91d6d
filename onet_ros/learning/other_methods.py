"""Ways from a picture or a voxel grid to a closed mesh: checkpoints, and what they have to beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
import trimesh
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from onet_ros.learning.image_world import ImageWorldSettings, make_image_samples
from onet_ros.learning.pool import CHUNK_STREAM, stream_generator
from onet_ros.reconstructor import Reconstructor
from onet_ros.scene import PICTURE_BOX, SupportPlane, VoxelGrid, view_object
from onet_ros.surface import ExtractionSettings, extract_surface

MEAN_RESOLUTION = 24  # cells along an edge of the mean shape
MEAN_SAMPLES, MEAN_CHUNK = 768, 64
MEAN_THRESHOLDS = tuple(np.round(np.arange(0.05, 0.65, 0.05), 2).tolist())
EXTRACTION = ExtractionSettings(32, 1, max_triangles=0)


@dataclass(frozen=True, eq=False)
class Pictured:
    """What a camera shows of one object: image (H, W, 3) uint8, mask (H, W) bool, intrinsics K (3, 3)."""

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    K: NDArray[np.float64]


class ImageModel:
    """A checkpoint that observes pictures."""

    observes = "image"

    def __init__(self, model: Reconstructor) -> None:
        self._model = model

    def __call__(self, picture: Pictured, plane: SupportPlane) -> trimesh.Trimesh:
        """The completed mesh, camera frame; ValueError where there is none."""
        return self._model.complete_image(picture.image, picture.K, picture.mask, plane).mesh


class VoxelModel:
    """A checkpoint that observes voxel grids."""

    observes = "voxels"

    def __init__(self, model: Reconstructor) -> None:
        self._model = model

    def __call__(self, grid: VoxelGrid) -> trimesh.Trimesh:
        """The completed mesh, the grid's frame; ValueError where there is none."""
        return self._model.complete_voxels(grid).mesh


class InputGrid:
    """The occupied cells themselves, as boxes: what super-resolution starts from."""

    observes = "voxels"

    def __call__(self, grid: VoxelGrid) -> trimesh.Trimesh:
        return grid.boxes()


class SmoothedGrid:
    """Marching cubes through the cells' middles, values interpolated between them: smoothing without a network."""

    observes = "voxels"

    def __call__(self, grid: VoxelGrid) -> trimesh.Trimesh:
        values = torch.from_numpy(np.where(grid.values > 0.5, 1.0, 0.0).astype(np.float32))
        # One more layer of free cells, so that the surface closes within the box.
        around = grid.cell_size
        field = _interpolated(F.pad(values, [1] * 6), grid.origin - around, grid.edge + 2.0 * around)
        low = grid.origin - around
        settings = ExtractionSettings(grid.values.shape[0] + 2, 1, max_triangles=0, min_body_fraction=0.0)
        return extract_surface(field, low, low + grid.edge + 2.0 * around, 0.5, settings)


class MeanShape:
    """The average object of the training world in the unit frame of a picture, whatever the picture shows.

    How often each cell is inside is counted on training samples, and the level that suits those best is its surface.
    """

    observes = "image"

    def __init__(self, samples: int = MEAN_SAMPLES, seed: int = 0, progress: bool = True) -> None:
        share, self.threshold = _mean_occupancy(samples, seed, progress)
        low, high = PICTURE_BOX
        field = _interpolated(share, low, high - low)
        self._mesh = extract_surface(field, low, high, self.threshold, EXTRACTION)

    def __call__(self, picture: Pictured, plane: SupportPlane) -> trimesh.Trimesh:
        frame = view_object(picture.mask, picture.K, plane).frame
        return trimesh.Trimesh(frame.from_unit(self._mesh.vertices), self._mesh.faces, process=False)


@torch.no_grad()
def _mean_occupancy(samples: int, seed: int, progress: bool) -> tuple[Tensor, float]:
    """(R, R, R) share of the training objects that hold each cell of PICTURE_BOX, and the best level for a surface."""
    r = MEAN_RESOLUTION
    low, high = (torch.tensor(corner, dtype=torch.float32) for corner in PICTURE_BOX)
    inside, asked = torch.zeros(r**3), torch.zeros(r**3)
    cells: list[tuple[Tensor, Tensor]] = []
    small = ImageWorldSettings(image_size=8)  # the frame is what counts here, not the picture
    for index in tqdm(range(-(-samples // MEAN_CHUNK)), desc="mean shape", disable=not progress):
        made = make_image_samples(MEAN_CHUNK, stream_generator(seed, CHUNK_STREAM, index), small)
        half = made.queries.shape[1] // 2
        place = ((made.queries[:, :half] - low) / (high - low) * r).long().clamp(0, r - 1)
        number = (place[..., 0] * r + place[..., 1]) * r + place[..., 2]
        labels = made.inside[:, :half]
        inside.scatter_add_(0, number.flatten(), labels.flatten().float())
        asked.scatter_add_(0, number.flatten(), torch.ones(number.numel()))
        cells.append((number, labels))
    share = inside / asked.clamp(min=1.0)
    scores = {level: _mean_iou(share > level, cells) for level in MEAN_THRESHOLDS}
    return share.view(r, r, r), max(scores, key=lambda level: scores[level])


def _mean_iou(guess: Tensor, cells: list[tuple[Tensor, Tensor]]) -> float:
    """Mean over the samples of the IoU of cells (R^3,) bool with their labels."""
    scores = [
        (guess[number] & labels).sum(dim=1) / (guess[number] | labels).sum(dim=1).clamp(min=1)
        for number, labels in cells
    ]
    return float(torch.cat(scores).mean())


class _interpolated:  # noqa: N801 - a function with a memory
    """Field of cell values (X, Y, Z), trilinear between the cells' middles: (N, 3) metres -> (N,)."""

    def __init__(self, values: Tensor, low: NDArray[np.float64], extent: NDArray[np.float64] | float) -> None:
        self._values = values.permute(2, 1, 0)[None, None].contiguous()  # grid_sample names its axes backwards
        self._low = torch.as_tensor(np.asarray(low), dtype=torch.float32)
        self._extent = torch.as_tensor(np.asarray(extent), dtype=torch.float32)

    def __call__(self, points: Tensor) -> Tensor:
        place = ((points - self._low) / self._extent * 2.0 - 1.0)[None, None, None]
        return F.grid_sample(self._values, place, padding_mode="border", align_corners=False).flatten()


OTHER_BASELINES = {"mean-shape": MeanShape, "grid": InputGrid, "smoothed-grid": SmoothedGrid}
