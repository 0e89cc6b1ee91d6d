"""An encoder and a decoder joined to one field: observation and query points to occupancy logits."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from onet_ros.networks.camera_frame import TurnedCode, camera_axes, turned, turned_observation
from onet_ros.networks.cbn_decoder import CBNDecoder
from onet_ros.networks.image_plane import ImagePlaneDecoder, ImagePlaneEncoder
from onet_ros.networks.local_decoder import LocalDecoder
from onet_ros.networks.local_encoder import LocalEncoder
from onet_ros.networks.observation import AnyObservation, ImageObservation, Observation, VoxelObservation
from onet_ros.networks.pointnet import ResidualPointNet
from onet_ros.networks.resnet import ResNet18Encoder
from onet_ros.networks.voxel_decoder import VoxelDecoder
from onet_ros.networks.voxel_encoder import VoxelEncoder, VoxelPyramid

# Architectures by the name that a checkpoint's configuration carries: what is observed, encoder and decoder classes.
ARCHITECTURES: dict[str, tuple[str, type[nn.Module], type[nn.Module]]] = {
    "pointnet_cbn": ("points", ResidualPointNet, CBNDecoder),
    "local_planes": ("points", LocalEncoder, LocalDecoder),
    "resnet_cbn": ("image", ResNet18Encoder, CBNDecoder),
    "image_plane": ("image", ImagePlaneEncoder, ImagePlaneDecoder),
    "voxels_cbn": ("voxels", VoxelEncoder, CBNDecoder),
    "voxel_pyramid": ("voxels", VoxelPyramid, VoxelDecoder),
}

OBSERVATIONS: dict[str, type[AnyObservation]] = {
    "points": Observation,
    "image": ImageObservation,
    "voxels": VoxelObservation,
}
FRAMES = ("unit", "camera")


class OccupancyNetwork(nn.Module):
    """f(query | observation) as logits: the probability of being inside the object is sigmoid(logit).

    Attributes:
        observes: the kind of observation it is for, a key of OBSERVATIONS.

    Args:
        architecture: a key of ARCHITECTURES.
        encoder: keyword arguments of the encoder (sizes).
        decoder: keyword arguments of the decoder (sizes).
        frame: "unit" as given, z up; "camera" turns everything into the camera's axes first, to learn what gravity is
            worth (see `camera_frame`).

    Raises:
        ValueError: unknown architecture or frame, or sizes or a frame that the architecture does not take.
    """

    def __init__(
        self, architecture: str, encoder: dict[str, Any], decoder: dict[str, Any], frame: str = "unit"
    ) -> None:
        super().__init__()
        self.observes = observed_by(architecture)
        if frame not in FRAMES:
            raise ValueError(f"unknown frame {frame!r}; known are {', '.join(FRAMES)}")
        if frame == "camera" and architecture != "pointnet_cbn":
            raise ValueError(f"frame 'camera' is not for architecture {architecture!r}, which sees more than points")
        _, encoder_class, decoder_class = ARCHITECTURES[architecture]
        try:
            self.encoder = encoder_class(**encoder)
            self.decoder = decoder_class(**decoder)
        except (TypeError, RuntimeError) as error:
            raise ValueError(
                f"architecture {architecture!r} refuses its sizes {encoder} / {decoder}: {error}"
            ) from error
        self.frame = frame
        self.config: dict[str, Any] = {
            "architecture": architecture,
            "encoder": dict(encoder),
            "decoder": dict(decoder),
            "frame": frame,
        }

    def encode(self, observation: AnyObservation) -> Any:
        """What the decoder needs to know of the B objects; its form is the architecture's own.

        Raises:
            ValueError: another kind of observation than the architecture is for.
        """
        check_kind(self, observation)
        if self.frame == "unit":
            return self.encoder(observation)
        seen = cast(Observation, observation)
        axes = camera_axes(seen)
        return TurnedCode(self.encoder(turned_observation(seen, axes)), axes)

    def decode(self, queries: Tensor, code: Any) -> Tensor:
        """queries: (B, M, 3) float32, unit frame -> logits (B, M)."""
        if isinstance(code, TurnedCode):
            queries, code = turned(queries, code.axes), code.code
        logits: Tensor = self.decoder(queries, code)
        return logits

    def forward(self, observation: AnyObservation, queries: Tensor) -> Tensor:
        return self.decode(queries, self.encode(observation))

    @torch.no_grad()
    def scale_logits(self, factor: float) -> None:
        """Multiply all logits from now on: the same surface at logit 0, more or less sure of it.

        Raises:
            ValueError: the factor is not positive.
        """
        if not factor > 0.0:
            raise ValueError(f"logits can be scaled by positive factors only, got {factor}")
        last = cast(nn.Linear, self.decoder.fc_out)  # every decoder ends in one
        last.weight.mul_(factor)
        last.bias.mul_(factor)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


def observed_by(architecture: str) -> str:
    """The kind of observation that an architecture is for, a key of OBSERVATIONS; ValueError for an unknown one."""
    if architecture not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {architecture!r}; known are {', '.join(sorted(ARCHITECTURES))}")
    return ARCHITECTURES[architecture][0]


def check_kind(network: OccupancyNetwork, observation: AnyObservation) -> None:
    """Raises ValueError unless the observation is of the kind that the network is for."""
    expected = OBSERVATIONS[network.observes]
    if not isinstance(observation, expected):
        architecture = network.config["architecture"]
        raise ValueError(
            f"architecture {architecture!r} observes {network.observes}: expected {expected.__name__}, "
            f"got {type(observation).__name__}"
        )
