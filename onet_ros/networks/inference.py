"""A trained network made ready to answer quickly: the same function, folded.

Everything that is constant is worked in once: batch norms into the layers beside them when the network is made ready,
what a code decides when a field is made from it. Nothing here can be trained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from onet_ros.networks.camera_frame import TurnedCode, TurnedField, camera_axes, turned_observation
from onet_ros.networks.cbn_decoder import CBNDecoder
from onet_ros.networks.cbn_field import CBNField
from onet_ros.networks.checkpoint import Checkpoint
from onet_ros.networks.folded_local_decoder import FoldedLocalDecoder
from onet_ros.networks.folded_local_encoder import FoldedImagePlaneEncoder, FoldedLocalEncoder
from onet_ros.networks.folded_pointnet import FoldedPointNet
from onet_ros.networks.folded_resnet import FoldedResNet18
from onet_ros.networks.image_plane import ImagePlaneDecoder, ImagePlaneEncoder, PictureField
from onet_ros.networks.local_decoder import LocalDecoder
from onet_ros.networks.local_encoder import LocalEncoder
from onet_ros.networks.local_field import LocalField
from onet_ros.networks.observation import AnyObservation, Observation
from onet_ros.networks.occupancy_network import OccupancyNetwork, check_kind
from onet_ros.networks.pointnet import ResidualPointNet
from onet_ros.networks.recorded import RecordedEncoder
from onet_ros.networks.resnet import ResNet18Encoder
from onet_ros.networks.voxel_decoder import VoxelDecoder, VoxelField

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ENGINES = ("torch", "onnxruntime")
AUTO = "auto"  # as a precision: what the processor has matrix units for


class OccupancyField(Protocol):
    """Logits of a batch of B objects at any points.

    `field(points, objects)`: points (N, 3) float32, unit frame; objects (N,) int64, 0 to B - 1, which object each point
    asks about -> (N,) float32. Any order is answered; points of one object side by side are answered quickest.
    Gradients are recorded where `points` requires them.
    """

    def __call__(self, points: Tensor, objects: Tensor) -> Tensor: ...


class Engine(Protocol):
    """A trained network that answers: `InferenceNetwork` by torch, `OnnxNetwork` by ONNX Runtime."""

    @property
    def network(self) -> OccupancyNetwork: ...
    @property
    def precision(self) -> str: ...
    @property
    def device(self) -> torch.device:
        """Where observations and points are taken and logits are given."""
        ...

    def encode(self, observation: Any) -> Any: ...

    def field(self, code: Any) -> OccupancyField: ...


def make_engine(checkpoint: Checkpoint, engine: str = "torch", precision: str = AUTO) -> Engine:
    """A checkpoint's network made ready.

    Args:
        engine: of ENGINES.
        precision: of PRECISIONS or AUTO; graphs for ONNX Runtime are float32.

    Raises:
        ValueError: an unknown engine or precision.
        CheckpointError: the graphs that onnxruntime needs are missing or of other weights.
    """
    if engine == "onnxruntime":
        try:
            from onet_ros.networks.onnx_engine import OnnxNetwork

            return OnnxNetwork(checkpoint)
        except ImportError as error:
            raise ValueError(f"engine onnxruntime is not installed ({error}): pip install onnxruntime") from error
    if engine != "torch":
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    return InferenceNetwork(checkpoint.network, precision)


def best_precision(device: torch.device) -> str:
    """bfloat16 where a processor multiplies matrices of it in hardware, float32 elsewhere."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)  # Intel's AMX; since torch 2.4
    return "bfloat16" if tiles is not None and tiles() else "float32"


class InferenceNetwork:
    """An OccupancyNetwork in evaluation mode, folded. Later changes of the network's weights do not reach it.

    Args:
        network: any architecture.
        precision: "float32" equals the network up to rounding. "bfloat16" runs the wide layers, where it pays, in
            bfloat16 with sums in float32: the convolutions of LocalEncoder, ImagePlaneEncoder and ResNet18Encoder,
            ResidualPointNet and CBNDecoder.

    Raises:
        ValueError: an unknown precision.
    """

    def __init__(self, network: OccupancyNetwork, precision: str = "float32") -> None:
        if precision == AUTO:
            precision = best_precision(network.device)
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {AUTO}, {', '.join(PRECISIONS)}, got {precision!r}")
        self.network = network
        self.precision = precision
        dtype = PRECISIONS[precision]
        with torch.no_grad():
            self._encoder = RecordedEncoder(_folded_encoder(network.encoder, dtype))
            decoder = network.decoder
            self._local = FoldedLocalDecoder.of(decoder) if isinstance(decoder, LocalDecoder) else None

    @torch.no_grad()
    def encode(self, observation: AnyObservation) -> Any:
        """The code of B objects, as `OccupancyNetwork.encode` gives it."""
        check_kind(self.network, observation)
        if self.network.frame == "unit":
            return self._encoder(observation)
        seen = cast(Observation, observation)
        axes = camera_axes(seen)
        return TurnedCode(self._encoder(turned_observation(seen, axes)), axes)

    @torch.no_grad()
    def field(self, code: Any) -> OccupancyField:
        """The field of the B objects of a code."""
        if isinstance(code, TurnedCode):
            return TurnedField(self.field(code.code), code.axes)
        decoder = self.network.decoder
        if self._local is not None:
            return LocalField(self._local, code)
        if isinstance(decoder, ImagePlaneDecoder):
            return PictureField(decoder, code)
        if isinstance(decoder, VoxelDecoder):
            return VoxelField(decoder, code)
        return CBNField(cast(CBNDecoder, decoder), code, PRECISIONS[self.precision])

    @property
    def device(self) -> torch.device:
        return self.network.device


def _folded_encoder(encoder: nn.Module, dtype: torch.dtype) -> Callable[[Any], Any]:
    """The function of an encoder in evaluation mode; those without anything to fold stay as they are."""
    if isinstance(encoder, LocalEncoder):
        return FoldedLocalEncoder(encoder, dtype)
    if isinstance(encoder, ResidualPointNet):
        return FoldedPointNet(encoder, dtype)
    if isinstance(encoder, ImagePlaneEncoder):
        return FoldedImagePlaneEncoder(encoder, dtype)
    if isinstance(encoder, ResNet18Encoder):
        return FoldedResNet18(encoder, dtype)
    return encoder
