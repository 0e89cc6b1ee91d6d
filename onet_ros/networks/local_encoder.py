"""PointNet features kept local: pooled onto feature planes, which a U-Net each completes.

After Convolutional Occupancy Networks (Peng et al., ECCV 2020), for what a single depth camera knows: one of the planes
is the camera's own image, and it also carries what was seen around the object, which is where the object is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from onet_ros.networks.observation import Observation
from onet_ros.networks.planes import (
    KINDS,
    CameraView,
    cell_index,
    place_on_plane,
    scatter_mean,
    scatter_mean_of_own,
)
from onet_ros.networks.pointnet import ResidualBlock


@dataclass(frozen=True)
class PlaneCode:
    """What the decoder reads: feature planes (B, K, R, R, C), their kinds, and the view of the camera plane."""

    planes: Tensor
    kinds: tuple[str, ...]
    view: CameraView


@dataclass(frozen=True)
class SeenPoints:
    """What the network is told of N points of B objects.

    Attributes:
        inputs: (B, N, 5 + 2 K) place in the unit frame, depth in the camera, `own`, place within each plane's cell.
        own: (B, N, 1) 1 for the object's own, 0 for background.
        indices: of each of K planes (B, N) int64 the cell.
    """

    inputs: Tensor
    own: Tensor
    indices: list[Tensor]


class CompletesPlane(Protocol):
    """What `LocalEncoder` asks of a net; `PlaneUNet` explains."""

    def down(self, plane: Tensor) -> list[Tensor]: ...

    def up(self, levels: list[Tensor], context: Tensor) -> Tensor: ...


class PlaneUNet(nn.Module):
    """A small U-Net over an R x R plane, told at its narrowest place what the other planes hold.

    Args:
        channels: in and out, at full resolution; doubled with each halving up to four times.
    """

    def __init__(self, channels: int, context: int) -> None:
        super().__init__()
        c = channels
        self.enter = _convolution(c, c)
        self.down_1, self.down_2, self.down_3 = _down(c, 2 * c), _down(2 * c, 4 * c), _down(4 * c, 4 * c)
        self.from_context = nn.Linear(context, 4 * c)
        self.bottom = _convolution(4 * c, 4 * c)
        self.up_3, self.up_2, self.up_1 = _convolution(8 * c, 4 * c), _convolution(6 * c, 2 * c), _convolution(3 * c, c)
        self.leave = nn.Conv2d(c, c, 3, padding=1)

    def down(self, plane: Tensor) -> list[Tensor]:
        """(B, C, R, R) -> features at R, R/2, R/4, R/8."""
        levels = [self.enter(plane)]
        for step in (self.down_1, self.down_2, self.down_3):
            levels.append(step(levels[-1]))
        return levels

    def up(self, levels: list[Tensor], context: Tensor) -> Tensor:
        """Levels and the (B, context) vector -> (B, C, R, R)."""
        x = self.bottom(levels[3] + self.from_context(context)[:, :, None, None])
        for step, skip in ((self.up_3, levels[2]), (self.up_2, levels[1]), (self.up_1, levels[0])):
            wide = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = step(torch.cat([wide, skip], dim=1))
        out: Tensor = self.leave(x)
        return out


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def _down(inputs: int, outputs: int) -> nn.Sequential:
    halve = nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
    return nn.Sequential(*halve, *_convolution(outputs, outputs))


class LocalEncoder(nn.Module):
    """Observation -> feature planes.

    Args:
        channels: of the planes.
        resolution: cells along an edge of a plane; a multiple of 8.
        point_size: width of the features of a point.
        planes: which planes, joined by "+": "camera+top+side".
    """

    def __init__(
        self, channels: int = 32, resolution: int = 64, point_size: int = 64, planes: str = "camera+top+side"
    ) -> None:
        super().__init__()
        self.kinds = tuple(planes.split("+"))
        if not set(self.kinds) <= set(KINDS) or resolution % 8:
            raise TypeError(
                f"planes must be of {', '.join(KINDS)} and resolution a multiple of 8: {planes}, {resolution}"
            )
        self.resolution = resolution
        k = len(self.kinds)
        # A point brings its place in the unit frame, its depth in the camera, whether it is the object's own or
        # background, and its place within the cell of each plane.
        self.fc_point = nn.Linear(3 + 1 + 1 + 2 * k, 2 * point_size)
        self.blocks = nn.ModuleList(ResidualBlock(2 * point_size, point_size) for _ in range(2))
        self.to_plane = nn.ModuleList(nn.Linear(point_size, channels - 2) for _ in self.kinds)
        self.nets = nn.ModuleList(PlaneUNet(channels, 4 * channels * k + 4) for _ in self.kinds)
        # Planes come out of the pooling with their channels side by side; convolutions of such are a third faster.
        for net in self.nets:
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out

    def forward(self, observation: Observation) -> PlaneCode:
        return self.encode_with(self.pooled, [cast(PlaneUNet, net) for net in self.nets], observation)

    def encode_with(
        self, pooled: Callable[[SeenPoints], list[Tensor]], nets: Sequence[CompletesPlane], observation: Observation
    ) -> PlaneCode:
        """The planes, pooled and completed by others than the encoder itself: by what does the same faster."""
        view = CameraView.looking_at_box(observation.viewpoint)
        planes = pooled(self._seen(observation, view))
        levels = [net.down(plane) for net, plane in zip(nets, planes, strict=True)]
        summary = [level[3].amax(dim=(2, 3)) for level in levels]
        metric = torch.stack([observation.scale.log(), *view.axes[:, 2].unbind(1)], dim=1)
        context = torch.cat([*summary, metric.to(summary[0].dtype)], dim=1)
        finished = [net.up(level, context) for net, level in zip(nets, levels, strict=True)]
        return PlaneCode(torch.stack([plane.permute(0, 2, 3, 1) for plane in finished], dim=1), self.kinds, view)

    def _seen(self, observation: Observation, view: CameraView) -> SeenPoints:
        points, own = _with_background(observation)
        places = [place_on_plane(kind, points, view) for kind in self.kinds]
        within = [(place + 1.0) * 0.5 * self.resolution % 1.0 - 0.5 for place in places]
        depth = view.project(points)[1].unsqueeze(2).clamp(-2.0, 2.0)
        inputs = torch.cat([points.clamp(-2.0, 2.0), depth, own, *within], dim=2)
        return SeenPoints(inputs, own, [cell_index(place, self.resolution) for place in places])

    def pooled(self, points: SeenPoints) -> list[Tensor]:
        """Of each plane (B, channels, R, R): two residual blocks, between which each point hears the mean of its cells,
        pooled onto it."""
        features = self.blocks[0](self.fc_point(points.inputs))
        local = torch.zeros_like(features)
        for index in points.indices:
            local = local + scatter_mean_of_own(features, index, self.resolution**2)
        features = self.blocks[1](torch.cat([features, local], dim=2))
        return [
            self._plane(layer, features, points.own, index)
            for layer, index in zip(self.to_plane, points.indices, strict=True)
        ]

    def _plane(self, layer: nn.Module, features: Tensor, own: Tensor, index: Tensor) -> Tensor:
        """Features pooled onto one plane, with two channels that say whether a cell saw the object or background."""
        pooled = scatter_mean(layer(features), index, self.resolution**2)
        marks = torch.cat([own, 1.0 - own], dim=2)
        seen = torch.zeros(*pooled.shape[:2], 2, device=own.device).scatter_reduce(
            1, index.unsqueeze(2).expand_as(marks), marks, reduce="amax"
        )
        plane = torch.cat([pooled, seen.to(pooled.dtype)], dim=2)
        return plane.transpose(1, 2).unflatten(2, (self.resolution, self.resolution))


def _with_background(observation: Observation) -> tuple[Tensor, Tensor]:
    """All points (B, N + M, 3), and 1 for the object's own, 0 for background, (B, N + M, 1)."""
    own = torch.ones_like(observation.points[..., :1])
    if observation.background.shape[1] == 0:
        return observation.points, own
    points = torch.cat([observation.points, observation.background], dim=1)
    return points, torch.cat([own, torch.zeros_like(observation.background[..., :1])], dim=1)
