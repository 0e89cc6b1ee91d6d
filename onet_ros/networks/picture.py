"""A picture as convolutions get it: its colours and mask, and for each pixel where in the unit frame its ray goes.

How steeply the camera looks down decides what a pixel's place means. Told where each ray meets the table, a convolution
need not learn the geometry of cameras (the idea of CoordConv, Liu et al., NeurIPS 2018, in the unit frame).
"""

from __future__ import annotations

import torch
from torch import Tensor

from onet_ros.networks.observation import IMAGE_CHANNELS, ImageObservation
from onet_ros.networks.planes import CameraView

CHANNELS = IMAGE_CHANNELS + 3
REACH = 0.58  # half the width of the picture at the middle of the box, units: that of `scene.picture`
MEAN, DEVIATION = 0.45, 0.25  # of the channels of a picture, so that inputs are about -2 to 2
FARTHEST = 2.0  # units from the origin at which a place on the table is cut off


def picture_view(observation: ImageObservation) -> CameraView:
    """The camera whose picture it is."""
    return CameraView.looking_at_box(observation.viewpoint, REACH)


def picture_channels(observation: ImageObservation, size: int) -> Tensor:
    """(B, CHANNELS, S, S), channels last: the picture about 0, x and y where a pixel's ray meets the table, and how
    steeply it comes down.

    Raises:
        ValueError: pictures of another size than `size` px.
    """
    images = observation.images
    if images.shape[2] != size:
        raise ValueError(f"expected images of {size} x {size} px, got {tuple(images.shape[2:])}")
    channels = torch.cat([(images - MEAN) / DEVIATION, _places(picture_view(observation), size)], dim=1)
    return channels.contiguous(memory_format=torch.channels_last)


def _places(view: CameraView, size: int) -> Tensor:
    """(B, 3, S, S): x and y of the table where the rays meet it, unit frame, and the rays' descent."""
    ticks = (torch.arange(size, device=view.axes.device, dtype=view.axes.dtype) + 0.5) / size * 2.0 - 1.0
    v, u = torch.meshgrid(ticks, ticks, indexing="ij")
    flat = torch.stack([u, v], dim=2).view(1, -1, 2) * (view.reach / view.distance).unsqueeze(2)
    rays = torch.cat([flat, torch.ones_like(flat[..., :1])], dim=2) @ view.axes  # (B, S * S, 3), unit frame
    rays = rays / rays.norm(dim=2, keepdim=True)
    descent = -rays[..., 2:]
    length = view.viewpoint[:, None, 2:] / descent.clamp(min=1e-3)
    table = view.viewpoint[:, None, :2] + length * rays[..., :2]
    places = torch.cat([table.clamp(-FARTHEST, FARTHEST), descent], dim=2)
    return places.transpose(1, 2).unflatten(2, (size, size))
