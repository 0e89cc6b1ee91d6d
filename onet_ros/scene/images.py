"""Depth images and masks as sensor_msgs/Image carries them, and the cameras that took them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from onet_ros.scene.cloud import CloudError, PointCloud

# Encodings by sensor_msgs/image_encodings.hpp, and their pixels.
DEPTH_ENCODINGS = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}
MASK_ENCODINGS = {"mono8": "u1", "8UC1": "u1", "mono16": "u2", "16UC1": "u2", "32SC1": "i4"}
# Red first in all of them, but for those turned round below.
COLOUR_ENCODINGS = {
    "rgb8": "3u1",
    "bgr8": "3u1",
    "rgba8": "4u1",
    "bgra8": "4u1",
    "8UC3": "3u1",
    "mono8": "u1",
    "8UC1": "u1",
}
BLUE_FIRST = ("bgr8", "bgra8", "8UC3")
DISTORTIONS = {"": 0, "none": 0, "plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}

# OpenCV 4 has another name for the function that lets one say when to stop.
_undistort = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)
_UNDISTORT_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-6)


class DepthImageDecoder:
    """Depth images of one camera to clouds. The camera's rays are kept from image to image."""

    def __init__(self) -> None:
        self._camera: tuple[Any, ...] = ()
        self._rays = np.empty((0, 0, 3), np.float32)

    def decode(
        self, image: Any, camera_info: Any, unit: float = 0.001, rectified: bool = False, max_points: int = 5_000_000
    ) -> PointCloud:
        """The points of a depth image, optical frame (x right, y down, z forward), in the image's rows and columns.

        Args:
            image: as sensor_msgs/Image: height, width, encoding, is_bigendian, step and data.
            camera_info: as sensor_msgs/CameraInfo of the same camera.
            unit: metres of 1 in an image of integers; images of floats are in metres.
            rectified: the image is free of distortion already, and P holds; otherwise K and D do.
            max_points: images with more pixels are refused.

        Raises:
            CloudError: a malformed or empty image, or a camera that is not calibrated or not this image's; quotes the
                value at fault.
        """
        count = int(image.height) * int(image.width)
        if count > max_points:
            raise CloudError(
                f"depth image of {image.height} x {image.width} = {count} pixels exceeds the limit of {max_points}"
            )
        pixels = decode_image(image, DEPTH_ENCODINGS, "depth image")
        rays = self._rays_of(camera_info, rectified)
        if rays.shape[:2] != pixels.shape:
            raise CloudError(
                f"depth image of {pixels.shape[0]} x {pixels.shape[1]} pixels, but camera_info is of "
                f"{rays.shape[0]} x {rays.shape[1]}"
            )
        depth = pixels.astype(np.float32) * (1.0 if pixels.dtype.kind == "f" else np.float32(unit))
        with np.errstate(over="ignore", invalid="ignore"):  # what is absurd is missing
            depth[~(depth > 0)] = np.nan
            return PointCloud.from_points(rays * depth[..., None])

    def _rays_of(self, camera_info: Any, rectified: bool) -> NDArray[np.float32]:
        camera = (*_camera_key(camera_info), rectified)
        if camera != self._camera:
            self._rays = camera_rays(camera_info, rectified)
            self._camera = camera
        return self._rays


def camera_rays(camera_info: Any, rectified: bool) -> NDArray[np.float32]:
    """(H, W, 3) float32, optical frame: the point at depth 1 m that the centre of each pixel of an image sees.

    Args:
        camera_info: as sensor_msgs/CameraInfo; its binning and region of interest are taken into account.
        rectified: the image is free of distortion: P holds, and not K and D.

    Raises:
        CloudError: not calibrated, or a distortion model that is not known.
    """
    camera = _Pinhole.of(camera_info, rectified)
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    # Binning merges pixels: the centre of a merged one lies in the middle of those that went into it.
    columns = (u + 0.5) * camera.binning[0] - 0.5 + camera.offset[0]
    rows = (v + 0.5) * camera.binning[1] - 0.5 + camera.offset[1]
    pixels = np.stack([columns, rows], axis=-1).astype(np.float64).reshape(-1, 1, 2)
    K = np.array([[camera.fx, 0.0, camera.cx], [0.0, camera.fy, camera.cy], [0.0, 0.0, 1.0]])
    if not camera.distortion.any():
        flat: NDArray[Any] = (pixels[:, 0] - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
    elif camera.model == "equidistant":
        flat = cv2.fisheye.undistortPoints(pixels, K, camera.distortion)[:, 0]
    else:
        flat = _undistort(pixels, K, camera.distortion, R=None, P=None, criteria=_UNDISTORT_CRITERIA)[:, 0]
    rays = np.column_stack([flat, np.ones(len(flat))]).reshape(camera.height, camera.width, 3)
    return rays.astype(np.float32)


def camera_matrix(camera_info: Any, rectified: bool) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    """Intrinsics (3, 3) of an image's pixels, its distortion coefficients (none where it is free of it), their model.

    Args:
        camera_info: as sensor_msgs/CameraInfo; its binning and region of interest are taken into account.
        rectified: the image is free of distortion: P holds, and not K and D.

    Raises:
        CloudError: as `camera_rays`.
    """
    camera = _Pinhole.of(camera_info, rectified)
    (across, down), (left, top) = camera.binning, camera.offset
    K = np.array(
        [
            [camera.fx / across, 0.0, (camera.cx - left + 0.5) / across - 0.5],
            [0.0, camera.fy / down, (camera.cy - top + 0.5) / down - 0.5],
            [0.0, 0.0, 1.0],
        ]
    )
    return K, camera.distortion, camera.model or "plumb_bob"


def decode_mask(image: Any) -> NDArray[np.integer]:
    """An instance mask as labels (H, W): 0 for none, any other number for one object.

    Args:
        image: as sensor_msgs/Image, mono8, mono16, 8UC1, 16UC1 or 32SC1.

    Raises:
        CloudError: another encoding, or a malformed image; quotes the value at fault.
    """
    return decode_image(image, MASK_ENCODINGS, "mask")


def decode_colours(image: Any) -> NDArray[np.uint8]:
    """A camera's picture (H, W, 3) RGB, or (H, W) grey, 8 bits a channel.

    Args:
        image: as sensor_msgs/Image in one of `COLOUR_ENCODINGS`.

    Raises:
        CloudError: another encoding, or a malformed image; quotes the value at fault.
    """
    pixels: NDArray[np.uint8] = decode_image(image, COLOUR_ENCODINGS, "image")
    if pixels.ndim == 2:
        return pixels
    return np.ascontiguousarray(pixels[..., 2::-1] if image.encoding in BLUE_FIRST else pixels[..., :3])


def decode_image(image: Any, encodings: Mapping[str, str], what: str) -> NDArray[Any]:
    """Pixels (H, W), or (H, W, C) of C channels, of a sensor_msgs/Image; copied, in this machine's byte order.

    Args:
        encodings: those allowed, with NumPy's codes for their pixels, as u2 or 3u1.
        what: the image's name in messages.

    Raises:
        CloudError: another encoding, no pixels, or fewer bytes than it takes; quotes the value at fault.
    """
    height, width, step = int(image.height), int(image.width), int(image.step)
    if image.encoding not in encodings:
        raise CloudError(f"{what} must be encoded as {', '.join(encodings)}, got {image.encoding!r}")
    pixel = np.dtype(encodings[image.encoding]).newbyteorder(">" if image.is_bigendian else "<")
    if height * width == 0:
        raise CloudError(f"empty {what}: height {height} x width {width} holds no pixels")
    if step < width * pixel.itemsize:
        raise CloudError(f"{what} with step {step}, which is less than width {width} x {pixel.itemsize} bytes")
    data = np.frombuffer(image.data, np.uint8) if len(image.data) else np.empty(0, np.uint8)
    if data.size < height * step:
        raise CloudError(f"{what} holds {data.size} bytes, height {height} x step {step} = {height * step} expected")
    rows = np.ndarray((height, width), pixel, data, strides=(step, pixel.itemsize))
    return rows.astype(rows.dtype.newbyteorder("="))


@dataclass(frozen=True)
class _Pinhole:
    """What a sensor_msgs/CameraInfo says of an image: its size, and where in the full image each pixel lies."""

    height: int
    width: int
    fx: float
    fy: float
    cx: float
    cy: float
    model: str
    distortion: NDArray[np.float64]
    binning: tuple[int, int]
    offset: tuple[int, int]

    @classmethod
    def of(cls, info: Any, rectified: bool) -> _Pinhole:
        matrix = np.asarray(info.p, dtype=np.float64).reshape(3, 4)[:, :3] if rectified else _matrix(info.k)
        name = "P" if rectified else "K"
        if not np.isfinite(matrix).all() or not (matrix[0, 0] > 0 and matrix[1, 1] > 0):
            raise CloudError(f"camera_info is not calibrated: {name} has no focal lengths: {matrix.round(3).tolist()}")
        distortion = np.zeros(0) if rectified else np.asarray(info.d, dtype=np.float64)
        model = str(info.distortion_model)
        if distortion.any() and model not in DISTORTIONS:
            raise CloudError(
                f"camera_info with distortion_model {model!r}: known are "
                f"{', '.join(name for name in DISTORTIONS if name)}; or rectify the image and say so"
            )
        if distortion.any() and (len(distortion) < 4 or not np.isfinite(distortion).all()):
            raise CloudError(f"camera_info with the distortion {distortion.tolist()}, which {model} cannot be")
        binning = (max(int(info.binning_x), 1), max(int(info.binning_y), 1))
        roi = info.roi
        width, height = int(roi.width or info.width), int(roi.height or info.height)
        return cls(
            height=height // binning[1],
            width=width // binning[0],
            fx=float(matrix[0, 0]),
            fy=float(matrix[1, 1]),
            cx=float(matrix[0, 2]),
            cy=float(matrix[1, 2]),
            model=model,
            distortion=distortion[: DISTORTIONS.get(model, 0) or None],
            binning=binning,
            offset=(int(roi.x_offset), int(roi.y_offset)),
        )


def _matrix(k: Any) -> NDArray[np.float64]:
    return np.asarray(k, dtype=np.float64).reshape(3, 3)


def _camera_key(info: Any) -> tuple[Any, ...]:
    """All of a sensor_msgs/CameraInfo that its rays depend on."""
    roi = info.roi
    arrays = tuple(np.asarray(array, dtype=np.float64).tobytes() for array in (info.k, info.d, info.p))
    sizes = (info.height, info.width, info.binning_x, info.binning_y)
    return (*arrays, str(info.distortion_model), *sizes, roi.x_offset, roi.y_offset, roi.height, roi.width)
