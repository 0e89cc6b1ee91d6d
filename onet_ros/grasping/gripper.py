"""The gripper, as boxes, and how grasps are looked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onet_ros.settings import check_settings, setting

APPROACHES = ("above", "side", "any")


@dataclass(frozen=True)
class GraspSettings:
    """Size of a parallel-jaw gripper and what is asked of a grasp. The defaults are near a Robotiq 2F-85."""

    enable: bool = setting(True, "Look for grasps, while somebody listens to them")
    candidates: int = setting(20, "Most candidates of an object", minimum=1, maximum=1000)
    samples: int = setting(500, "Places on an object at which grasps are tried", minimum=10, maximum=100_000)
    approach: str = setting("above", "Approaches that are preferred among those with room", choices=APPROACHES)
    friction: float = setting(0.5, "Coefficient of friction between finger and object", minimum=0.05, maximum=2.0)
    max_opening: float = setting(0.085, "Widest opening", unit="m", minimum=0.005, maximum=1.0)
    finger_width: float = setting(
        0.022, "Width of a finger, across closing direction and approach", unit="m", minimum=0.001, maximum=0.2
    )
    finger_thickness: float = setting(
        0.012, "Thickness of a finger, along the closing direction", unit="m", minimum=0.001, maximum=0.2
    )
    finger_length: float = setting(0.045, "From palm to fingertip", unit="m", minimum=0.005, maximum=0.5)
    palm_width: float = setting(
        0.14, "Width of palm and hand, along the closing direction", unit="m", minimum=0.005, maximum=1.0
    )
    palm_depth: float = setting(0.075, "Depth of the hand across that", unit="m", minimum=0.005, maximum=1.0)
    tip: float = setting(0.008, "How far the fingertips reach beyond the contacts", unit="m", minimum=0.0, maximum=0.1)
    clearance: float = setting(
        0.004,
        "Least distance of the gripper from the table, and of its open fingers from the object",
        unit="m",
        minimum=0.0,
        maximum=0.1,
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class Gripper:
    """Boxes in the gripper's frame: z is the approach, x the closing direction, origin between the fingertips.

    Attributes:
        settings: its size.
    """

    settings: GraspSettings

    def boxes(
        self, opening: NDArray[np.float64], closing_to: NDArray[np.float64] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper corners (G, 3, 3), metres, of both fingers and the palm, of G grippers opened so far.

        closing_to: (G,) metres; the fingers' boxes hold the way that they close to there as well.
        """
        s, half = self.settings, np.asarray(opening, dtype=np.float64) / 2.0
        inner = half if closing_to is None else np.asarray(closing_to, dtype=np.float64) / 2.0
        outer = half + s.finger_thickness
        wide = np.maximum(s.palm_width / 2.0, outer)
        lower, upper = np.empty((len(half), 3, 3)), np.empty((len(half), 3, 3))
        lower[:, 0, 0], upper[:, 0, 0] = -outer, -inner
        lower[:, 1, 0], upper[:, 1, 0] = inner, outer
        lower[:, 2, 0], upper[:, 2, 0] = -wide, wide
        upper[:, :, 1] = s.finger_width / 2.0, s.finger_width / 2.0, s.palm_depth / 2.0
        lower[:, :, 1] = -upper[:, :, 1]
        lower[:, :, 2] = -s.finger_length, -s.finger_length, -s.finger_length - s.palm_depth
        upper[:, :, 2] = 0.0, 0.0, -s.finger_length
        return lower, upper
