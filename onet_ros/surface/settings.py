"""Every tunable of surface extraction, with its meaning, unit and range."""

from __future__ import annotations

from dataclasses import dataclass

from onet_ros.settings import check_settings, setting

MAX_RESOLUTION = 512  # extraction holds some 11 bytes per corner of the final grid: 1.5 GB here, 25 MB at 128


@dataclass(frozen=True)
class ExtractionSettings:
    """How a field becomes a mesh; see `onet_ros.surface.extract_surface`."""

    start_resolution: int = setting(
        32, "Cells along an edge of the coarse grid, which is evaluated everywhere", minimum=2, maximum=256
    )
    doublings: int = setting(
        2, "How often the coarse cells are halved near the surface: 32 and 2 end at 128", minimum=0, maximum=5
    )
    chunk_size: int = setting(
        0, "Points per call of the field; 0 means 2,048 on a CPU and 262,144 on a GPU", minimum=0, maximum=10_000_000
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
        20_000, "Triangle budget of the visual mesh; 0 means no limit", minimum=0, maximum=10_000_000
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

    @property
    def resolution(self) -> int:
        """Cells along an edge of the final grid."""
        return self.start_resolution << self.doublings
