"""Depth images, masks and camera parameters as messages: what a camera's driver sends beside or instead of clouds.

The other direction is `onet_ros.scene.images`.
"""

from __future__ import annotations

import array

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

DEPTH_UNIT = 0.001  # metres of 1 in 16UC1, as almost every driver has it


def to_depth_image_msg(header: Header, points: NDArray[np.float32], encoding: str = "16UC1") -> Image:
    """Depth of points (H, W, 3), metres, optical frame, NaN where missing, as 16UC1 or 32FC1.

    Raises:
        ValueError: another encoding.
    """
    depth = np.asarray(points)[..., 2]
    if encoding == "32FC1":
        return to_image_msg(header, depth.astype(np.float32), encoding)
    if encoding == "16UC1":
        millimetres = np.nan_to_num(np.round(depth / DEPTH_UNIT))
        return to_image_msg(header, np.clip(millimetres, 0, 65535).astype(np.uint16), encoding)
    raise ValueError(f"encoding of a depth image must be 16UC1 or 32FC1, got {encoding!r}")


def to_mask_msg(header: Header, labels: NDArray[np.integer]) -> Image:
    """Labels (H, W), 0 for none, as mono8, or mono16 where there are many."""
    small = int(labels.max(initial=0)) < 256
    return to_image_msg(header, labels.astype(np.uint8 if small else np.uint16), "mono8" if small else "mono16")


def to_image_msg(header: Header, pixels: NDArray[np.generic], encoding: str) -> Image:
    """Pixels (H, W) of one channel, in the type that the encoding names."""
    little = pixels.astype(pixels.dtype.newbyteorder("<"))
    return Image(
        header=header,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=pixels.shape[1] * pixels.itemsize,
        data=array.array("B", little.tobytes()),
    )


def to_camera_info_msg(header: Header, intrinsics: NDArray[np.float64], height: int, width: int) -> CameraInfo:
    """Intrinsics, K (3, 3) in pixels, of an image without distortion."""
    message = CameraInfo(header=header, height=height, width=width, distortion_model="plumb_bob", d=[0.0] * 5)
    message.k = intrinsics.ravel()
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p[[0, 1, 2, 4, 5, 6, 8, 9, 10]] = message.k
    return message
