"""Every tunable of collision geometry."""

from __future__ import annotations

from dataclasses import dataclass

from onet_ros.settings import check_settings, setting


@dataclass(frozen=True)
class CollisionSettings:
    """What a planner is given of an object.

    The default is the mesh: FCL, which MoveIt uses unless told otherwise, takes its triangles as they are, hollows and
    all, and it is there at once. Bullet makes a convex hull of each mesh: with it, pieces keep a mug hollow.
    """

    surface: str = setting(
        "conservative",
        "Conservative: contains the object with the probability `completion.coverage`, to keep clear of it; tight: the "
        "likeliest surface. Of an object that is not reliable always the conservative one",
        choices=("conservative", "tight"),
    )
    shape: str = setting(
        "mesh",
        "One mesh within `extraction.max_collision_triangles`, its convex hull, or convex pieces; these take seconds, "
        "and the hull stands in for them until they are there",
        choices=("mesh", "hull", "pieces"),
    )
    max_pieces: int = setting(32, "Most pieces of an object", minimum=1, maximum=512)
    max_vertices: int = setting(64, "Most vertices of a piece or hull", minimum=8, maximum=256)
    concavity: float = setting(
        0.004,
        "Deepest hollow that a piece may fill, where the number of pieces allows",
        unit="m",
        minimum=0.0005,
        maximum=0.1,
    )
    time_limit: float = setting(
        30.0, "Longest time for the pieces of an object; then its hull stays", unit="s", minimum=0.1, maximum=600.0
    )
    table: bool = setting(False, "Give the planner the table as well: a box under what was seen of it")
    table_thickness: float = setting(0.05, "Thickness of that box", unit="m", minimum=0.001, maximum=2.0)
    via: str = setting(
        "topic",
        "How planners are told: on the topic `collision_object`, or by the service `apply_planning_scene`, which "
        "acknowledges it",
        choices=("topic", "service"),
    )

    def __post_init__(self) -> None:
        check_settings(self)
