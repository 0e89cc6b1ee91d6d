"""A picture's features kept where they are, to be read at the pixels that have to do with a query.

After PIFu (Saito et al., ICCV 2019): what a decoder is told of a query is the feature of its pixel and its depth.
Objects stand on a table, and the camera sees that, too: the feature of the pixel that shows the query's foot, the place
on the table under it, says whether the object can stand there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onet_ros.networks.feature_decoder import FeatureDecoder, PortionedField
from onet_ros.networks.local_encoder import CompletesPlane, PlaneUNet
from onet_ros.networks.observation import ImageObservation
from onet_ros.networks.picture import CHANNELS, picture_channels, picture_view
from onet_ros.networks.planes import CameraView, sample_planes


@dataclass(frozen=True)
class PictureCode:
    """What the decoder reads: a feature plane (B, R, R, C) of each picture, and the view of the picture."""

    plane: Tensor
    view: CameraView


class ImagePlaneEncoder(nn.Module):
    """Picture, mask and viewpoint -> a feature plane of half the picture's resolution.

    Args:
        channels: of the plane.
        image_size: px along an edge of the pictures, a multiple of 16.
    """

    def __init__(self, channels: int = 32, image_size: int = 96) -> None:
        super().__init__()
        if image_size < 16 or image_size % 16:
            raise TypeError(f"image_size must be a multiple of 16, got {image_size}")
        self.image_size = image_size
        self.stem = nn.Sequential(
            nn.Conv2d(CHANNELS, channels, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.net = PlaneUNet(channels, 4 * channels)  # told at its narrowest place what is anywhere in the picture
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out

    def forward(self, observation: ImageObservation) -> PictureCode:
        return self.encode_with(self.stem, self.net, observation)

    def encode_with(
        self, stem: Callable[[Tensor], Tensor], net: CompletesPlane, observation: ImageObservation
    ) -> PictureCode:
        """The plane, made by others than the encoder's own layers: by those, folded."""
        levels = net.down(stem(picture_channels(observation, self.image_size)))
        plane = net.up(levels, levels[3].amax(dim=(2, 3)))
        return PictureCode(plane.permute(0, 2, 3, 1).contiguous(), picture_view(observation))


class ImagePlaneDecoder(FeatureDecoder):
    """Residual blocks over the query's place, its depth in the camera, and the features of its pixel and its foot's.

    Args:
        channels: of the plane.
        hidden_size: width.
        blocks: how many residual blocks.
    """

    def __init__(self, channels: int = 32, hidden_size: int = 64, blocks: int = 4) -> None:
        super().__init__(4, 2 * channels, hidden_size, blocks)

    def forward(self, queries: Tensor, code: PictureCode) -> Tensor:
        """queries: (B, M, 3) unit frame -> logits (B, M)."""
        feet = torch.cat([queries[..., :2], torch.zeros_like(queries[..., 2:])], dim=2)
        place, depth = code.view.project(queries)
        planes = code.plane.unsqueeze(1)
        places = (place, code.view.project(feet)[0])
        features = [sample_planes(planes, one.clamp(-1.0, 1.0).unsqueeze(1)) for one in places]
        known = torch.cat([queries, depth.unsqueeze(2)], dim=2)
        return self.logits(known, torch.cat(features, dim=2))


class PictureField(PortionedField):
    """Logits of B objects, object by object in portions that stay in the cache; an `OccupancyField`.

    Args:
        decoder: in evaluation mode.
        code: of B objects, float32.
    """

    def __init__(self, decoder: ImagePlaneDecoder, code: PictureCode) -> None:
        super().__init__(code.plane.device)
        self._decoder, self._code = decoder, code

    def _portion(self, queries: Tensor, number: int) -> Tensor:
        own = PictureCode(self._code.plane[number : number + 1], self._code.view.of(number))
        logits: Tensor = self._decoder(queries, own)
        return logits
