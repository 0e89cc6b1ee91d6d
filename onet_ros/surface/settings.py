"""Every tunable of surface extraction, with its meaning, unit and range."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from onet_ros.settings import check_settings, setting

MAX_RESOLUTION = 512  # extraction holds some 11 bytes per corner of the final grid: 1.5 GB here, 25 MB at 128


@dataclass(frozen=True)
class ExtractionSettings:
    """How a field becomes a mesh; see `onet_ros.surface.extract_surface`."""

    start_resolution: int = setting(
        32, "Cells along an edge of the coarse grid, which is evaluated everywhere", minimum=2, maximum=256
    )
    doublings: int = setting(
        1, "How often the coarse cells are halved near the surface: 32 and 1 end at 64", minimum=0, maximum=5
    )
    voxel_size: float = setting(
        0.0,
        "Edge length of the final cells, for all objects; 0 gives each start_resolution cells before the doublings",
        unit="m",
        minimum=0.0,
        maximum=0.1,
    )
    min_resolution: int = setting(
        32, "Fewest final cells along an edge that voxel_size may lead to", minimum=4, maximum=MAX_RESOLUTION
    )
    max_resolution: int = setting(
        128, "Most final cells along an edge that voxel_size may lead to", minimum=4, maximum=MAX_RESOLUTION
    )
    time_budget: float = setting(
        0.0,
        "The objects of a cloud get fewer doublings where their meshes would take longer; 0 sets no limit",
        unit="s",
        minimum=0.0,
        maximum=3600.0,
    )
    chunk_size: int = setting(
        0, "Points per call of the field; 0 leaves the choice to the field", minimum=0, maximum=10_000_000
    )
    refinement_steps: int = setting(
        1, "Evaluations per vertex that put it on the field's level set, along its grid edge", minimum=0, maximum=20
    )
    min_body_fraction: float = setting(
        0.05,
        "Least area of a separate body, as a fraction of the largest body's; smaller ones are dropped",
        minimum=0,
        maximum=1,
    )
    max_triangles: int = setting(
        40_000, "Triangle budget of the visual mesh; 0 means no limit", minimum=0, maximum=10_000_000
    )
    gradient_steps: int = setting(
        0, "Evaluations per vertex that move it along the field's gradient after simplification", minimum=0, maximum=20
    )
    max_collision_triangles: int = setting(
        1_000, "Triangle budget of the collision mesh; 0 means no limit", minimum=0, maximum=1_000_000
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.resolution > MAX_RESOLUTION:
            raise ValueError(
                f"start_resolution {self.start_resolution} and doublings {self.doublings} make {self.resolution} cells "
                f"along an edge, more than {MAX_RESOLUTION}"
            )

        if self.max_resolution < self.min_resolution:
            raise ValueError(f"max_resolution {self.max_resolution} is less than min_resolution {self.min_resolution}")

    @property
    def resolution(self) -> int:
        """Cells along an edge of the final grid, where voxel_size is 0."""
        return self.start_resolution << self.doublings

    def start_resolutions(self, edges: Iterable[float]) -> list[int]:
        """Cells of the start grid along an edge, for boxes with these longest edges (metres)."""
        if not self.voxel_size:
            return [self.start_resolution for _ in edges]
        least, most = -(-self.min_resolution >> self.doublings), self.max_resolution >> self.doublings
        cells = [int(np.ceil(edge / self.voxel_size)) for edge in edges]
        return [int(np.clip(-(-count >> self.doublings), max(1, least), max(1, most))) for count in cells]
