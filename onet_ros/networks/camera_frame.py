"""The unit frame turned into the camera's axes: what a network has to work with if nobody tells it where up is.

For comparison only. Origin and scale stay those of the unit frame, and the turn is about the middle of the unit box, so
that what is lost is the alignment with gravity and the table, and nothing else. The camera is held level: its x axis
stays horizontal, and how far it looks down is what the network is no longer told.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from onet_ros.networks.observation import Observation
from onet_ros.networks.planes import BOX_CENTRE, CameraView


@dataclass(frozen=True)
class TurnedCode:
    """What a decoder needs to know of B objects, and (B, 3, 3) the axes that their queries have to be turned into."""

    code: Any
    axes: Tensor


def turned(points: Tensor, axes: Tensor) -> Tensor:
    """(..., M, 3) unit frame, (..., 3, 3) rows of axes -> (..., M, 3), turned about the middle of the unit box."""
    centre = BOX_CENTRE.to(points)
    return (points - centre) @ axes.transpose(-1, -2) + centre


def camera_axes(observation: Observation) -> Tensor:
    """(B, 3, 3) rows right, down, forward of cameras at the viewpoints, looking at the middle of the unit box."""
    return CameraView.looking_at_box(observation.viewpoint).axes


def turned_observation(observation: Observation, axes: Tensor) -> Observation:
    """The same evidence along other axes."""
    return dataclasses.replace(
        observation,
        points=turned(observation.points, axes),
        background=turned(observation.background, axes),
        viewpoint=turned(observation.viewpoint.unsqueeze(1), axes).squeeze(1),
    )


class TurnedField:
    """An `OccupancyField` of turned points, asked in the unit frame.

    Args:
        field: `field(points, objects)` in the camera's axes.
        axes: (B, 3, 3).
    """

    def __init__(self, field: Any, axes: Tensor) -> None:
        self._field, self._axes = field, axes

    def __call__(self, points: Tensor, objects: Tensor) -> Tensor:
        """points: (N, 3) float32, unit frame, objects: (N,) int64 -> logits (N,) float32."""
        in_camera = torch.bmm(self._axes[objects], (points - BOX_CENTRE.to(points)).unsqueeze(2)).squeeze(2)
        logits: Tensor = self._field(in_camera + BOX_CENTRE.to(points), objects)
        return logits
