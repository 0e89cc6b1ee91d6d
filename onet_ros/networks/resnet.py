"""ResNet-18 (He et al., CVPR 2016): a picture of an object to one code, as the image encoder of Occupancy Networks.

Occupancy Networks (Mescheder et al., CVPR 2019), supplementary section 1.2. Two things are added for a robot's camera:
the object's mask, and where in the unit frame each pixel's ray goes (`picture`), so that the code can be of the upright
unit frame, however steeply the camera looked down.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from onet_ros.networks.observation import ImageObservation
from onet_ros.networks.picture import CHANNELS, picture_channels

BLOCKS_PER_STAGE = (2, 2, 2, 2)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm around a shortcut; (B, size_in, H, W) -> (B, size_out, H/stride, ...)."""

    def __init__(self, size_in: int, size_out: int, stride: int) -> None:
        super().__init__()
        self.conv_0 = nn.Conv2d(size_in, size_out, 3, stride, padding=1, bias=False)
        self.norm_0 = nn.BatchNorm2d(size_out)
        self.conv_1 = nn.Conv2d(size_out, size_out, 3, padding=1, bias=False)
        self.norm_1 = nn.BatchNorm2d(size_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or size_in != size_out:
            self.shortcut = nn.Sequential(nn.Conv2d(size_in, size_out, 1, stride, bias=False), nn.BatchNorm2d(size_out))

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.norm_1(self.conv_1(torch.relu(self.norm_0(self.conv_0(x)))))
        return torch.relu(change + self.shortcut(x))


class ResNet18Encoder(nn.Module):
    """Picture, mask and viewpoint -> code.

    With the default sizes it has 11,320,384 parameters: 11,176,512 of ResNet-18 without its classes, 12,544 for the
    four channels more, and 131,328 for the code.

    Args:
        code_size: width of the code.
        width: channels of the first stage, doubled from stage to stage; 64 is ResNet-18.
        image_size: px along an edge of the pictures that it is made for.
    """

    def __init__(self, code_size: int = 256, width: int = 64, image_size: int = 224) -> None:
        super().__init__()
        if image_size < 32:
            raise TypeError(f"image_size must be at least 32 px, got {image_size}")
        self.image_size = image_size
        self.conv_in = nn.Conv2d(CHANNELS, width, 7, stride=2, padding=3, bias=False)
        self.norm_in = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        blocks: list[BasicBlock] = []
        size_in = width
        for stage, count in enumerate(BLOCKS_PER_STAGE):
            size_out = width << stage
            for number in range(count):
                blocks.append(BasicBlock(size_in, size_out, stride=2 if stage and not number else 1))
                size_in = size_out
        self.blocks = nn.Sequential(*blocks)
        self.fc_code = nn.Linear(size_in, code_size)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out

    def forward(self, observation: ImageObservation) -> Tensor:
        """ImageObservation of B objects -> (B, code_size)."""
        x = self.norm_in(self.conv_in(picture_channels(observation, self.image_size)))
        x = self.blocks(self.pool(torch.relu(x)))
        code: Tensor = self.fc_code(x.mean(dim=(2, 3)))
        return code


def basic_blocks(encoder: ResNet18Encoder) -> list[BasicBlock]:
    """The encoder's blocks, typed."""
    return [cast(BasicBlock, block) for block in encoder.blocks]
