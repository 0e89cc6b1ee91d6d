"""What the node works on: frames of a camera, from point clouds or from depth images, with a mask if there is one.

An input subscribes to the topics of one kind of observation, puts together what belongs together, and hands over
`CameraFrame`s. Whatever needs time (unpacking, decoding) is left for later: most clouds are superseded before. Another
kind of observation is another class beside these, and one more name in `make_input`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.time import Time as RosTime
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from onet_ros.picture_scene import Picture
from onet_ros.ros.adaptive_subscription import AdaptiveSubscription
from onet_ros.ros.node_settings import NodeSettings, ParameterError
from onet_ros.ros.packed_message import PackedMessage
from onet_ros.ros.statistics import NO_CAMERA_INFO, NO_MASK, STOPPED, FrameStatistics
from onet_ros.ros.synchronizer import MaskSynchronizer
from onet_ros.scene import (
    CloudError,
    DepthImageDecoder,
    PointCloud,
    camera_matrix,
    decode_colours,
    decode_mask,
    decode_octomap,
    decode_point_cloud2,
    depth_to_points,
    undistorted,
)

try:
    from octomap_msgs.msg import Octomap
except ImportError:
    Octomap = None


@dataclass(frozen=True)
class CameraFrame:
    """One look of the camera, not decoded yet.

    Attributes:
        stamp: when it was taken.
        frame_id: of the camera.
        cloud: function that makes the cloud, camera frame; raises CloudError. Where there is a picture: of its depth.
        labels: function that makes the labels of its mask, see `Reconstructor.reconstruct`; None where there is none.
        pictured: function that makes the picture of a mask; raises CloudError, PictureError. None for clouds.
        of_map: the cloud holds the cells of a map, z up, and no camera looked at them from the origin of the frame.
        picture: the same with the mask that belongs to it; None where there is none (yet).
    """

    stamp: Time
    frame_id: str
    cloud: Callable[[], PointCloud]
    labels: Callable[[], NDArray[np.integer]] | None = None
    of_map: bool = False
    pictured: Callable[[Image], Picture] | None = None
    picture: Callable[[], Picture] | None = None

    def with_mask(self, mask: Callable[[], Image]) -> CameraFrame:
        """The same with a mask, or another one; `mask` gives it."""
        pictured = self.pictured
        if pictured is None:
            return replace(self, labels=lambda: decode_mask(mask()))
        return replace(self, picture=lambda: pictured(mask()))

    @property
    def nanoseconds(self) -> int:
        """The stamp as one number."""
        return nanoseconds(self.stamp)


class Input(Protocol):
    """Subscriptions of one kind of observation."""

    def describe(self) -> str:
        """Where it listens, for people."""

    def forget(self, reason: str) -> None:
        """Drop what waits for what belongs to it, for one of `statistics.REASONS`."""

    def close(self) -> None:
        """Listen no more."""


def make_input(
    node: Node, settings: NodeSettings, statistics: FrameStatistics, on_frame: Callable[[CameraFrame], None]
) -> Input:
    """The input that the settings ask for.

    Args:
        node: that subscribes.
        settings: `input`, `use_mask` and what belongs to them, as they are now; limits that can change are read anew.
        statistics: told of each frame that came in, and of those that wait in vain.
        on_frame: called with each complete one.
    """
    kinds: dict[str, type[MaskedInput]] = {
        "cloud": CloudInput,
        "depth": DepthInput,
        "image": ImageInput,
        "octomap": OctomapInput,
    }
    kind = "image" if settings.mode == "image" else settings.input
    return kinds[kind](node, settings, statistics, on_frame)


class MaskedInput:
    """The part that is the same for all: frames go on at once, or wait for their mask.

    Args:
        node, settings, statistics, on_frame: see `make_input`.
    """

    def __init__(
        self, node: Node, settings: NodeSettings, statistics: FrameStatistics, on_frame: Callable[[CameraFrame], None]
    ) -> None:
        self.node, self.settings, self.statistics = node, settings, statistics
        self.group = MutuallyExclusiveCallbackGroup()
        self.subscriptions: list[AdaptiveSubscription] = []
        self._on_frame = on_frame
        self._lock = threading.Lock()  # time can jump while a message comes in
        self._masks: MaskSynchronizer | None = None
        if settings.use_mask or settings.mode == "image":
            self._masks = MaskSynchronizer(
                self._on_pair, self._without_mask, round(settings.mask_tolerance * 1e9), settings.mask_queue
            )
            self.subscribe(Image, "mask", self._on_mask)

    def subscribe(self, message_type: type, topic: str, on_message: Callable[[Any], None], packed: bool = True) -> None:
        """Listen to one more topic; all callbacks of an input run one after the other.

        Args:
            packed: it is given `PackedMessage`s.
        """
        lost = self.statistics.lose
        self.subscriptions.append(
            AdaptiveSubscription(self.node, message_type, topic, on_message, self.group, on_lost=lost, packed=packed)
        )

    def hand_over(self, frame: CameraFrame) -> None:
        """A frame that was counted as received is complete, but for its mask."""
        if self._masks is None:
            self._on_frame(frame)
        else:
            with self._lock:
                self._masks.add_frame(frame.nanoseconds, frame)

    def describe(self) -> str:
        """The topics listened to."""
        return ", ".join(
            self.node.resolve_topic_name(subscription.topic) for subscription in reversed(self.subscriptions)
        )

    def forget(self, reason: str) -> None:
        """Drop what waits for its mask, for one of `statistics.REASONS`."""
        if self._masks is not None:
            with self._lock:
                waiting = self._masks.clear()
            for _ in waiting:
                self.statistics.drop(reason)

    def close(self) -> None:
        """Listen no more; what waits is dropped."""
        for subscription in self.subscriptions:
            subscription.close()
        self.forget(STOPPED)

    def _on_mask(self, message: PackedMessage) -> None:
        if self._masks is not None:
            with self._lock:
                self._masks.add_mask(nanoseconds(message.stamp), message)

    def _on_pair(self, frame: CameraFrame, mask: PackedMessage) -> None:
        self._on_frame(frame.with_mask(mask.unpacked))

    def _without_mask(self, frame: CameraFrame) -> None:
        stamp = f"{frame.stamp.sec}.{frame.stamp.nanosec:09d}"
        self.statistics.drop(
            NO_MASK,
            f"no message on {self.node.resolve_topic_name('mask')} within {self.settings.mask_tolerance} s of the "
            f"stamp {stamp}",
        )


class CloudInput(MaskedInput):
    """Point clouds on `points`."""

    def __init__(
        self, node: Node, settings: NodeSettings, statistics: FrameStatistics, on_frame: Callable[[CameraFrame], None]
    ) -> None:
        super().__init__(node, settings, statistics, on_frame)
        self.subscribe(PointCloud2, "points", self._on_cloud)

    def _on_cloud(self, message: PackedMessage) -> None:
        self.statistics.receive()
        most = self.settings.max_points
        self.hand_over(
            CameraFrame(message.stamp, message.frame_id, lambda: decode_point_cloud2(message.unpacked(), most))
        )


class DepthInput(MaskedInput):
    """Depth images on `depth_image`, with the newest `camera_info`.

    The camera_info need not have the image's stamp: a camera's lens does not change from image to image, and drivers
    that send it less often, or late, are served, too.
    """

    def __init__(
        self, node: Node, settings: NodeSettings, statistics: FrameStatistics, on_frame: Callable[[CameraFrame], None]
    ) -> None:
        super().__init__(node, settings, statistics, on_frame)
        self._decoder = DepthImageDecoder()
        self._camera_info: CameraInfo | None = None
        self.subscribe(CameraInfo, "camera_info", self._on_camera_info, packed=False)
        self.subscribe(Image, "depth_image", self._on_image)

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message

    def _on_image(self, image: PackedMessage) -> None:
        self.statistics.receive()
        info, settings = self._camera_info, self.settings
        if info is None:
            topic = self.node.resolve_topic_name("camera_info")
            self.statistics.drop(NO_CAMERA_INFO, f"no message on {topic} so far: depth images need it")
            return

        def cloud() -> PointCloud:
            return self._decoder.decode(
                image.unpacked(), info, settings.depth_unit, settings.depth_rectified, settings.max_points
            )

        self.hand_over(CameraFrame(image.stamp, image.frame_id, cloud))


class OctomapInput(MaskedInput):
    """Maps on `octomap`, where octomap_msgs is installed."""

    def __init__(
        self, node: Node, settings: NodeSettings, statistics: FrameStatistics, on_frame: Callable[[CameraFrame], None]
    ) -> None:
        if Octomap is None:
            raise ParameterError(
                "parameter input is 'octomap', but octomap_msgs is not installed: it is in ros-$ROS_DISTRO-octomap-msgs"
            )
        if settings.mode != "voxels":
            raise ParameterError(f"parameter input is 'octomap', which is for mode 'voxels'; mode is {settings.mode!r}")
        super().__init__(node, settings, statistics, on_frame)
        self.subscribe(Octomap, "octomap", self._on_map)

    def _on_map(self, message: PackedMessage) -> None:
        self.statistics.receive()
        most = self.settings.max_points
        self.hand_over(
            CameraFrame(message.stamp, message.frame_id, lambda: decode_octomap(message.unpacked(), most), of_map=True)
        )


class ImageInput(MaskedInput):
    """Pictures on `image` with the newest `camera_info`, each with its mask, and depth images if asked for."""

    def __init__(
        self, node: Node, settings: NodeSettings, statistics: FrameStatistics, on_frame: Callable[[CameraFrame], None]
    ) -> None:
        super().__init__(node, settings, statistics, on_frame)
        self._camera_info: CameraInfo | None = None
        self._depths: deque[PackedMessage] = deque(maxlen=settings.mask_queue)
        self.subscribe(CameraInfo, "camera_info", self._on_camera_info, packed=False)
        if settings.use_depth:
            self.subscribe(Image, "depth_image", self._on_depth)
        self.subscribe(Image, "image", self._on_image)

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message

    def _on_image(self, image: PackedMessage) -> None:
        self.statistics.receive()
        if self._camera_info is None:
            topic = self.node.resolve_topic_name("camera_info")
            self.statistics.drop(NO_CAMERA_INFO, f"no message on {topic} so far: images need it")
            return
        info = self._camera_info

        def pictured(mask: Image) -> Picture:
            return decode_picture(image.unpacked(), info, mask, self._depth_at(nanoseconds(image.stamp)), self.settings)

        self.hand_over(CameraFrame(image.stamp, image.frame_id, _no_cloud, pictured=pictured))

    def _on_depth(self, message: PackedMessage) -> None:
        self._depths.append(message)

    def _depth_at(self, stamp: int) -> Image | None:
        """The depth image nearest to a stamp, nanoseconds; None where none is near enough."""
        away = {abs(nanoseconds(depth.stamp) - stamp): depth for depth in self._depths.copy()}
        nearest = min(away, default=None)
        if nearest is None or nearest > self.settings.mask_tolerance * 1e9:
            return None
        return away[nearest].unpacked()


def decode_picture(
    image: Image, camera_info: CameraInfo, mask: Image, depth: Image | None, settings: NodeSettings
) -> Picture:
    """A picture and its mask without distortion, and the points of its depth image.

    Raises:
        CloudError, PictureError: a message that cannot be used; quotes the value at fault.
    """
    colours, labels = decode_colours(image), decode_mask(mask)
    if colours.shape[0] * colours.shape[1] > settings.max_points:
        raise CloudError(f"image of {colours.shape[:2]} pixels exceeds the limit of {settings.max_points}")
    if labels.shape != colours.shape[:2]:
        raise CloudError(f"mask of {labels.shape} pixels, but the image has {colours.shape[:2]}")
    K, distortion, model = camera_matrix(camera_info, settings.depth_rectified)
    size = (camera_info.roi.height or camera_info.height, camera_info.roi.width or camera_info.width)
    binned = (size[0] // max(camera_info.binning_y, 1), size[1] // max(camera_info.binning_x, 1))
    if binned != labels.shape:
        raise CloudError(f"image of {labels.shape} pixels, but camera_info is of {binned}")
    cloud = None
    if depth is not None:
        z = DepthImageDecoder().decode(depth, camera_info, settings.depth_unit, settings.depth_rectified).points[..., 2]
        if z.shape != labels.shape:
            raise CloudError(
                f"depth image of {z.shape} pixels, but the image has {labels.shape}: it must be registered"
            )
        cloud = _straight_cloud(z, K, distortion, model)
    colours, labels = undistorted(colours, labels, K, distortion, model)
    return Picture(colours, K, labels, cloud)


def _straight_cloud(
    depth: NDArray[np.float32], K: NDArray[np.float64], distortion: NDArray[np.float64], model: str
) -> NDArray[np.float32]:
    """Points (H, W, 3) of the pixels that a camera without distortion has; depth (H, W) metres, NaN where missing."""
    finer = np.round(np.nan_to_num(depth) * 1e4).astype(np.int32)  # a tenth of a millimetre; 0 is missing
    _, straight = undistorted(np.zeros(depth.shape, np.uint8), finer, K, distortion, model)
    metres = straight.astype(np.float32) * np.float32(1e-4)
    points: NDArray[np.float32] = depth_to_points(np.where(metres > 0.0, metres, np.nan), K).astype(np.float32)
    return points


def _no_cloud() -> PointCloud:
    raise CloudError("a picture holds no cloud: mode image works on pictures with their masks")


def cloud_frame(message: PointCloud2, max_points: int, mask: Image | None = None) -> CameraFrame:
    """A cloud, and a mask for it, as a frame."""
    frame = CameraFrame(message.header.stamp, message.header.frame_id, lambda: decode_point_cloud2(message, max_points))
    return frame if mask is None else frame.with_mask(lambda: mask)


def nanoseconds(stamp: Time) -> int:
    """A stamp as one number."""
    return int(RosTime.from_msg(stamp).nanoseconds)
